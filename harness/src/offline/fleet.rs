//! One capture through the same deployment with other sidecars: of its client, of its servers, of
//! both, of nobody.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use meshproof_record::row::ExchangeRow;
use meshproof_record::verdict::{Claim, Lacking};
use meshproof_replay::capture::Inputs;
use meshproof_replay::diff::{Noise, RecordDiff, diff_records};
use meshproof_replay::engine::outcome::Stop;
use meshproof_replay::engine::plan::Recorded;
use meshproof_replay::engine::run::Control;
use meshproof_replay::engine::tell;
use meshproof_replay::hop;
use meshproof_replay::map::Map;

use super::fit;
use super::folder::{self, Failed, Offline};
use super::shape::{Shape, Side};
use super::text::Sidecars;
use super::through::{self, Entry, Tap, Through, Ways};
use crate::Error;
use crate::capture::Captured;
use crate::mesh::spec::Heartbeat;
use crate::mesh::{Mesh, Setting};
use crate::sut;

/// No stub falls silent: one on a machine that is busy with other meshes must not count as lost.
const PATIENT_HEARTBEAT: Heartbeat = Heartbeat {
    interval_ms: 2_000,
    timeout_ms: 2_000,
    misses: 5,
};

/// A capture that was rewritten and read, and the deployment that it tells of.
#[derive(Debug)]
pub struct Fleet {
    offline: Offline,
    shape: Shape,
    exchanges: Vec<Recorded>,
}

/// How one replay is carried out.
#[derive(Clone, Copy, Debug)]
pub struct Order<'a> {
    /// Who has a sidecar.
    pub sidecars: Sidecars<'a>,
    /// The order of the config center's answers, as a topology has it.
    pub registry_order: &'a str,
    /// How long it may take; what is not sent then is not sent.
    pub budget: Duration,
    /// A folder for the packets of every pod with a sidecar: what each changed is read from them.
    pub captures: &'a Path,
}

/// What came of one.
pub struct Passed {
    /// What the answers show, and every claim: [`Through::hop`] is that of the first sidecar.
    pub through: Through,
    /// What each sidecar changed, by pod.
    pub hops: Vec<(String, hop::Report)>,
    /// The packets of these pods.
    pub captured: Vec<Captured>,
    /// Whether the budget was over first.
    pub late: bool,
    /// The mesh, which is still up.
    pub mesh: Mesh,
}

impl Passed {
    /// Every exchange with its answer.
    pub fn rows(&self) -> Vec<ExchangeRow> {
        let Through {
            plan, run, judged, ..
        } = &self.through;
        tell::rows(plan, run, judged).collect()
    }
}

/// Answers of one replay beside those of another.
pub fn compare(reference: &[ExchangeRow], rows: Vec<ExchangeRow>) -> RecordDiff {
    diff_records(reference.iter().cloned(), rows, &Noise::default())
}

impl Fleet {
    /// Rewrites a capture by its map into a folder, which must be empty or not there, and reads
    /// it.
    ///
    /// # Errors
    /// As [`folder::make`].
    pub fn make(capture: &Path, map: &Map, folder: &Path) -> Result<Fleet, Failed> {
        let inputs = Inputs::of([capture]);
        // Who is tried is said by each replay.
        let made = folder::make(&inputs, map, None, crate::sut::REFERENCE, folder)?;
        let exchanges = made.offline.load()?.exchanges;
        Ok(Fleet {
            offline: made.offline,
            shape: made.shape,
            exchanges,
        })
    }

    /// Where calls enter.
    pub fn side(&self) -> Side {
        self.shape.side
    }

    /// Pods that answer, by name.
    pub fn servers(&self) -> Vec<String> {
        let pods = self.shape.providers.iter();
        pods.map(|it| it.pod.clone()).collect()
    }

    /// The services that the config center is asked for.
    pub fn is_registered(&self) -> bool {
        let mut providers = self.shape.providers.iter();
        providers.any(|it| !it.services.is_empty())
    }

    /// Brings the mesh up with these sidecars and replays through it. Without a sidecar of the
    /// client, its calls go to the first server, as those of an app that knows one address.
    ///
    /// # Errors
    /// There is no mesh, or the machine cannot go on; whatever sidecars do is a claim.
    pub fn pass(&self, order: &Order<'_>, setting: &Setting) -> Result<Passed, Failed> {
        let mut offline = self.offline.with_sidecars(&self.shape, order.sidecars)?;
        offline.spec.heartbeat = PATIENT_HEARTBEAT;
        order
            .registry_order
            .clone_into(&mut offline.spec.registry_order);
        fit::topology(&mut offline.spec, &setting.suts)?;
        let mut exchanges = self.exchanges.clone();
        let mut lacks = Vec::new();
        for sidecar in [order.sidecars.client, order.sidecars.server]
            .into_iter()
            .flatten()
        {
            let sut = sut::find(&setting.suts, sidecar)?;
            lacks.extend(fit::exchanges(self.shape.side, sut, &mut exchanges)?);
        }
        let mesh = Mesh::up(&offline.spec, setting)?;
        let entry = self.entry(&mesh, &offline, order.sidecars)?;
        let taps = self.taps(&mesh, &offline, order);
        let control = Control::new().map_err(Error::io("a wake"))?;
        let mut through = within(order.budget, &control, || {
            through::on(&mesh, &entry, exchanges, &Ways::default(), &control)
        })?;
        let (mut hops, mut captured) = (Vec::new(), Vec::new());
        let mut unseen = Vec::new();
        for (pod, side, tap) in taps {
            let seen = tap.and_then(|tap| {
                let mine = tap.end();
                let seen = Tap::read(&mine, side);
                captured.extend(mine);
                seen
            });
            match seen {
                Ok((before, after)) => {
                    let report = hop::compare(before, after, &hop::Rules::default());
                    hops.push((pod, report));
                }
                Err(why) => unseen.push((pod, why)),
            }
        }
        // The claim of the first is made with the others.
        through.hop = (!hops.is_empty()).then(|| hops.remove(0).1);
        through.timeline = mesh.timeline();
        through.escapes = mesh.escapes()?;
        super::judge::finish(&mut through);
        let claims = &mut through.judged.claims;
        claims.extend(lacks);
        for (pod, report) in &hops {
            claims.push(report.claim(&format!("hop {pod}")));
        }
        for (pod, why) in unseen {
            let why = format!("what the sidecar of {pod} changed was not seen: {why}");
            claims.push(Claim::unsupported("hop", Lacking::Machine, why));
        }
        let late = through.run.stop == Stop::Interrupted;
        Ok(Passed {
            through,
            hops,
            captured,
            late,
            mesh,
        })
    }

    fn entry(&self, mesh: &Mesh, offline: &Offline, who: Sidecars<'_>) -> Result<Entry, Error> {
        match (self.shape.side, who.client) {
            (Side::Outbound, None) => {
                let first = self.shape.providers.first();
                let first = first.map_or("", |it| it.pod.as_str());
                Ok(Entry {
                    from: offline.from.clone(),
                    calls: mesh.place(first)?.inbound,
                    api: None,
                    side: Side::Outbound,
                })
            }
            (Side::Outbound, Some(_)) => {
                Entry::at(mesh, &offline.from, &offline.from, Side::Outbound)
            }
            (Side::Inbound, _) => Entry::of(mesh, offline),
        }
    }

    /// Every pod with a sidecar, and on which side of it something is changed.
    fn taps(
        &self,
        mesh: &Mesh,
        offline: &Offline,
        order: &Order<'_>,
    ) -> Vec<(String, Side, Result<Tap, String>)> {
        let mut pods: Vec<(String, Side)> = Vec::new();
        if order.sidecars.client.is_some() {
            pods.push((offline.from.clone(), Side::Outbound));
        }
        if order.sidecars.server.is_some() {
            let servers = self.servers().into_iter();
            pods.extend(servers.map(|pod| (pod, Side::Inbound)));
        }
        let tapped = pods.into_iter().map(|(pod, side)| {
            let folder: PathBuf = order.captures.join(&pod);
            let tap = std::fs::create_dir_all(&folder)
                .map_err(|error| error.to_string())
                .and_then(|()| Tap::start(mesh, &pod, Some(&folder)));
            (pod, side, tap)
        });
        tapped.collect()
    }
}

/// Does something that heeds `control`, which is told to stop when the time is over.
fn within<T>(budget: Duration, control: &Control, work: impl FnOnce() -> T) -> T {
    let (done, over) = mpsc::channel::<()>();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            if over.recv_timeout(budget) == Err(RecvTimeoutError::Timeout) {
                control.stop();
            }
        });
        let result = work();
        drop(done);
        result
    })
}
