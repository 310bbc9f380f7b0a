//! A replay through a mesh: the subscriptions, then the calls, from inside a pod.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use meshproof_record::case::Moment;
use meshproof_record::verdict::{Claim, Verdict};
use meshproof_replay::capture::{Captures, Inputs};
use meshproof_replay::diff::{Frames, Noise};
use meshproof_replay::engine::judge::Judged;
use meshproof_replay::engine::outcome::Run;
use meshproof_replay::engine::pace::{LatenessLimit, Pace};
use meshproof_replay::engine::plan::{self, Connections, Plan, Planning, Recorded, Routes, Skip};
use meshproof_replay::engine::run::{self, Control, Dial, Settings};
use meshproof_replay::engine::subscribe::{self, Api, Asked, Publishing};
use meshproof_replay::engine::{api, judge};
use meshproof_replay::exchange::{Exchange, ExchangeKind, Hop};
use meshproof_replay::hop;
use meshproof_replay::map::{Target, Writes};
use meshproof_replay::targets::Policy;
use meshproof_wire::Protocol;

use super::fit;
use super::folder::{self, Failed, Offline};
use super::judge::{Beats, Symptoms};
use super::shape::{Shape, Shows, Side, enters};
use crate::Error;
use crate::capture::{Captured, Recorder, Size};
use crate::environment::{Environment, Escapes};
use crate::mesh::{Mesh, Setting};
use crate::sut;

/// How a replay goes through a mesh.
#[derive(Clone, Debug)]
pub struct Ways {
    /// When requests are sent.
    pub pace: Pace,
    /// How recorded connections become the replay's.
    pub connections: Connections,
    /// Requests of one connection that may wait for an answer, without a schedule.
    pub window: std::num::NonZeroUsize,
    /// Waits this long for every answer, whatever the request says.
    pub timeout_ms: Option<u32>,
    /// How late sends may be for a word on latency.
    pub lateness: LatenessLimit,
    /// What is shown and not judged in answers.
    pub noise: Noise,
    /// What the sidecar may change.
    pub rules: hop::Rules,
    /// Whether recorded publications are made.
    pub publishing: Publishing,
    /// A folder of its own for the packets of the sidecar's pod, kept where something fails;
    /// without it nothing is said of hops.
    pub captures: Option<PathBuf>,
}

impl Default for Ways {
    fn default() -> Ways {
        let settings = Settings::usual(Pace::Window);
        Ways {
            pace: Pace::Window,
            connections: Connections::Recorded,
            window: settings.window,
            timeout_ms: None,
            lateness: LatenessLimit::default(),
            noise: Noise::default(),
            rules: hop::Rules::default(),
            publishing: Publishing::LeftOut,
            captures: None,
        }
    }
}

/// Where a replay enters a mesh.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The pod that its connections are opened in.
    pub from: String,
    /// Where calls go.
    pub calls: SocketAddr,
    /// The application API; `None` where calls enter at 12200, and of a sidecar without one.
    pub api: Option<SocketAddr>,
    /// On which side that is.
    pub side: Side,
}

impl Entry {
    /// Where the replay of an offline mesh enters it.
    ///
    /// # Errors
    /// The mesh has no such pod.
    pub fn of(mesh: &Mesh, offline: &Offline) -> Result<Entry, Error> {
        Entry::at(mesh, &offline.from, &offline.sut, offline.side)
    }

    /// Where the app of `from` enters, or whoever in `from` calls the sidecar of `sut`.
    ///
    /// # Errors
    /// The mesh has no such pod.
    pub fn at(mesh: &Mesh, from: &str, sut: &str, side: Side) -> Result<Entry, Error> {
        let place = mesh.place(sut)?;
        let adapter = mesh.sidecar_of(sut)?;
        let asks = adapter.is_none_or(|it| it.can("subscribes"));
        Ok(match side {
            Side::Outbound => Entry {
                from: from.to_owned(),
                calls: place.outbound,
                api: Some(place.api).filter(|_| asks),
                side,
            },
            Side::Inbound => Entry {
                from: from.to_owned(),
                calls: place.inbound,
                api: None,
                side,
            },
        })
    }
}

/// Connections from inside a pod.
struct FromPod<'a> {
    environment: &'a dyn Environment,
    pod: &'a str,
}

/// Within an environment a connect is answered at once, or by nobody.
const CONNECT: Duration = Duration::from_secs(3);

impl Dial for FromPod<'_> {
    fn begin(&self, to: SocketAddr) -> io::Result<TcpStream> {
        let stream = self.connect(to, CONNECT)?;
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    fn connect(&self, to: SocketAddr, limit: Duration) -> io::Result<TcpStream> {
        let connected = self.environment.connect(self.pod, to, limit);
        connected.map_err(|error| match error {
            Error::Io { source, .. } => source,
            other => io::Error::other(other.to_string()),
        })
    }
}

/// What came of a replay through a mesh.
#[derive(Debug)]
pub struct Through {
    /// What was planned.
    pub plan: Plan,
    /// What became of each request.
    pub run: Run,
    /// What the answers show, and every claim.
    pub judged: Judged,
    /// What was said to the application API; nothing where calls enter at 12200.
    pub asked: Option<Vec<Asked>>,
    /// Heartbeats that were made live, in the versions that were recorded.
    pub beats: Vec<Beats>,
    /// What tried to leave; `None` where the backend cannot tell.
    pub escapes: Option<Escapes>,
    /// What the sidecar changed; `None` where packets could not be captured.
    pub hop: Option<hop::Report>,
    /// Why there is no [`Through::hop`], and other things worth telling.
    pub notes: Vec<(String, String)>,
    /// What happened in the mesh.
    pub timeline: Vec<Moment>,
}

impl Through {
    /// What is wrong, in words that two runs share; empty where nothing is.
    pub fn symptoms(&self) -> Symptoms {
        Symptoms::of(self)
    }

    /// Whether nothing fails and something was shown, and what the claims say: what fails, else
    /// all of it.
    pub fn told(&self) -> (bool, String) {
        let claims = &self.judged.claims;
        let fails = |claim: &Claim| claim.verdict == Verdict::Fail;
        // That the sums close shows nothing of the sidecar.
        let shows = |claim: &Claim| claim.verdict == Verdict::Pass && claim.name != "ledger";
        let failed = claims.iter().any(fails);
        let told: Vec<String> = claims
            .iter()
            .filter(|claim| fails(claim) == failed)
            .map(|claim| format!("{}: {}", claim.name, claim.why))
            .collect();
        (!failed && claims.iter().any(shows), told.join("; "))
    }
}

/// Brings an offline mesh up, replays its capture through it, and ends it.
///
/// # Errors
/// There is no mesh, or the machine cannot go on; whatever the sidecar does is a claim.
pub fn run(
    offline: &Offline,
    mut exchanges: Vec<Recorded>,
    setting: &Setting,
    ways: &Ways,
    control: &Control,
) -> Result<Through, Failed> {
    let sut = sut::find(&setting.suts, offline.adapter())?;
    let lacks = fit::exchanges(offline.side, sut, &mut exchanges)?;
    let mut spec = offline.spec.clone();
    fit::topology(&mut spec, &setting.suts)?;
    let mesh = Mesh::up(&spec, setting)?;
    let entry = Entry::of(&mesh, offline)?;
    let tap = Tap::start(&mesh, &offline.sut, ways.captures.as_deref());
    let mut through = on(&mesh, &entry, exchanges, ways, control)?;
    let kept = tap.as_ref().map(|tap| tap.folder.clone()).ok();
    match tap.and_then(|tap| tap.seen(entry.side)) {
        Ok((before, after)) => {
            through.hop = Some(hop::compare(before, after, &ways.rules));
        }
        Err(why) => through.notes.push(("hop-not-seen".to_owned(), why)),
    }
    through.timeline = mesh.timeline();
    through.escapes = mesh.down()?;
    super::judge::finish(&mut through);
    through.judged.claims.extend(lacks);
    // Evidence of a failure is kept only then.
    if let Some(folder) = kept.filter(|_| !through.symptoms().any()) {
        std::fs::remove_dir_all(&folder)
            .map_err(Error::io(format!("the folder {}", folder.display())))?;
    }
    Ok(through)
}

/// Replays exchanges through a mesh that is up: subscriptions, calls, heartbeats.
///
/// # Errors
/// The machine cannot go on.
pub fn on(
    mesh: &Mesh,
    entry: &Entry,
    exchanges: Vec<Recorded>,
    ways: &Ways,
    control: &Control,
) -> Result<Through, Error> {
    let dial = FromPod {
        environment: mesh.environment(),
        pod: &entry.from,
    };
    by(&dial, entry, exchanges, ways, control)
}

/// As [`on`], by whoever is in the pod already.
///
/// # Errors
/// The machine cannot go on.
pub fn inside(
    entry: &Entry,
    exchanges: Vec<Recorded>,
    ways: &Ways,
    control: &Control,
) -> Result<Through, Error> {
    let mut through = by(&run::Direct, entry, exchanges, ways, control)?;
    super::judge::finish(&mut through);
    // Neither is seen from inside.
    through
        .judged
        .claims
        .retain(|claim| claim.name != "escapes");
    Ok(through)
}

fn by(
    dial: &dyn Dial,
    entry: &Entry,
    exchanges: Vec<Recorded>,
    ways: &Ways,
    control: &Control,
) -> Result<Through, Error> {
    let exchanges = entering(entry.side, exchanges);
    let beats = heartbeats_of(&exchanges);
    let routes = Routes {
        default: Some(entry.calls),
        by_server: Vec::new(),
    };
    let api = entry.api.map(|api| Api {
        routes: Routes {
            default: Some(api),
            by_server: Vec::new(),
        },
        publishing: ways.publishing,
    });
    let policy = policy(entry);
    let planning = Planning {
        routes: &routes,
        policy: &policy,
        pace: ways.pace,
        connections: ways.connections,
        timeout_ms: ways.timeout_ms,
        api: api.as_ref(),
    };
    let plan =
        plan::plan(exchanges, &planning).map_err(|error| Error::Refused(error.to_string()))?;
    let asked = api.is_some().then(|| {
        let said = api::make_by(&plan, dial);
        subscribe::judge(&plan, &said)
    });
    let settings = Settings {
        window: ways.window,
        ..Settings::usual(ways.pace)
    };
    let ran = run::run_by(&plan, &settings, control, dial)
        .map_err(Error::io("replaying through the mesh"))?;
    let beats = beats
        .into_iter()
        .map(|(protocol, recorded)| Beats::ask(dial, entry.calls, protocol, recorded))
        .collect();
    let terms = judge::Terms {
        pace: ways.pace,
        lateness: ways.lateness,
        loose: 0,
    };
    let compare = Frames {
        noise: ways.noise.clone(),
    };
    let judged = judge::judge(&plan, &ran, &compare, &terms).with_api(&plan, asked.as_deref());
    Ok(Through {
        plan,
        run: ran,
        judged,
        asked,
        beats,
        escapes: None,
        hop: None,
        notes: Vec::new(),
        timeline: Vec::new(),
    })
}

/// Replays a capture into a mesh that is up, as the app of `from` where that pod has a sidecar,
/// else as a caller of the one pod that has. What the answers show is told without escapes and
/// hops: those are the mesh's.
///
/// # Errors
/// The capture cannot be read or fits no mesh, or there is no such way in.
pub fn from_pod(
    mesh: &Mesh,
    from: &str,
    capture: &Path,
    ways: &Ways,
    control: &Control,
) -> Result<Through, Failed> {
    let behind = |pod: &str| mesh.sidecar_of(pod).map(|sut| sut.is_some());
    let (side, sut) = match behind(from)? {
        true => (Side::Outbound, from.to_owned()),
        false => {
            let mut with = Vec::new();
            for pod in mesh.pods() {
                if behind(pod)? {
                    with.push(pod.to_owned());
                }
            }
            match <[String; 1]>::try_from(with) {
                Ok([one]) => (Side::Inbound, one),
                Err(with) => {
                    let why = format!(
                        "pod {from} has no sidecar, and {} others have one: name a pod with a \
                         sidecar, or have one in the topology",
                        with.len()
                    );
                    return Err(Error::Refused(why).into());
                }
            }
        }
    };
    let mut exchanges = folder::read(capture)?.exchanges;
    let all: Vec<&Exchange> = exchanges.iter().map(|it| &it.exchange).collect();
    let shape = Shape::of(&all, Some(side))?;
    let asked = folder::subscriptions(&shape.app, &shape.made_up);
    exchanges.splice(0..0, asked.into_iter().map(Recorded::from));
    let entry = Entry::at(mesh, from, &sut, side)?;
    let mut through = on(mesh, &entry, exchanges, ways, control)?;
    super::judge::finish(&mut through);
    through
        .judged
        .claims
        .retain(|claim| claim.name != "escapes");
    Ok(through)
}

/// Leaves out what does not enter here.
fn entering(side: Side, mut exchanges: Vec<Recorded>) -> Vec<Recorded> {
    let shows = Shows::of(exchanges.iter().map(|it| &it.exchange));
    for recorded in &mut exchanges {
        let call = matches!(
            recorded.exchange.kind,
            ExchangeKind::Call | ExchangeKind::Oneway
        );
        if call && recorded.left_out.is_none() && !enters(side, shows, &recorded.exchange) {
            recorded.left_out = Some(Skip::Filtered);
        }
    }
    exchanges
}

/// Protocols in which heartbeats were recorded, and how many of each.
fn heartbeats_of(exchanges: &[Recorded]) -> BTreeMap<Protocol, u64> {
    let mut beats = BTreeMap::new();
    for Recorded { exchange, left_out } in exchanges {
        let asks = exchange.kind == ExchangeKind::Heartbeat && exchange.request.is_some();
        if asks && left_out.is_none() {
            *beats.entry(exchange.protocol).or_insert(0) += 1;
        }
    }
    beats
}

/// The run's own namespaces are always allowed, and nothing else.
fn policy(entry: &Entry) -> Policy {
    let ips: BTreeSet<IpAddr> = [Some(entry.calls), entry.api]
        .into_iter()
        .flatten()
        .map(|it| it.ip())
        .collect();
    Policy {
        targets: ips
            .into_iter()
            .map(|ip| Target {
                network: ip.into(),
                owner: "this run".to_owned(),
                writes: Writes::Allow,
                line: 0,
            })
            .collect(),
        ..Policy::default()
    }
}

/// The packets of a pod, and where they are kept.
pub(super) struct Tap {
    recorder: Recorder,
    folder: PathBuf,
}

impl Tap {
    /// From here on; why not, where there is no folder for it or the backend cannot.
    pub(super) fn start(mesh: &Mesh, pod: &str, folder: Option<&Path>) -> Result<Tap, String> {
        let folder = folder.ok_or("nobody said where packets are to be kept")?;
        let recorder = Recorder::start(mesh.environment(), [pod], folder, Size::USUAL)
            .map_err(|error| error.to_string())?;
        Ok(Tap {
            recorder,
            folder: folder.to_owned(),
        })
    }

    /// What went into the sidecar and what came out of it.
    fn seen(self, side: Side) -> Result<(hop::Seen, hop::Seen), String> {
        Tap::read(&self.end(), side)
    }

    /// Ends the capture.
    pub(super) fn end(self) -> Vec<Captured> {
        self.recorder.stop()
    }

    /// The same of what was captured at the sidecar's pod.
    pub(super) fn read(
        captured: &[Captured],
        side: Side,
    ) -> Result<(hop::Seen, hop::Seen), String> {
        let (before, after) = match side {
            Side::Outbound => (Hop::Outbound, Hop::Inbound),
            Side::Inbound => (Hop::Inbound, Hop::App),
        };
        let lost: u64 = captured.iter().map(|it| it.dropped + it.overwritten).sum();
        if lost > 0 {
            return Err(format!(
                "{lost} packets were not kept: there was no room for them"
            ));
        }
        let files: Vec<&PathBuf> = captured.iter().flat_map(|it| &it.files).collect();
        let read = |at: Hop| {
            let mut captures =
                Captures::open(&Inputs::of(&files)).map_err(|error| error.to_string())?;
            hop::read(&mut captures, Some(at)).map_err(|error| error.to_string())
        };
        Ok((read(before)?, read(after)?))
    }
}

/// Whether an exchange is a part of what a replay says, for those who choose some.
pub fn says(side: Side, shows: Shows, exchange: &Exchange) -> bool {
    exchange.kind == ExchangeKind::MeshApi || enters(side, shows, exchange)
}

/// Writes bytes to a stream that must take them at once.
pub(super) fn say(stream: &mut TcpStream, bytes: &[u8]) -> io::Result<()> {
    stream.set_write_timeout(Some(CONNECT))?;
    stream.write_all(bytes)
}
