//! Meshes for stories.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use meshproof_record::case::Case;

use super::Story;
use super::harm::{Doer, doer, pod};
use super::model::Step;
use super::needs::Offer;
use super::probe::Probe;
use super::stand::Hall;
use super::suite::{Kept, Maker, Stand};
use crate::capture::{Recorder, Size};
use crate::environment::{Capability, Environment, Topology};
use crate::mesh::{Between, Mesh, Setting};
use crate::netns::Options;
use crate::site::Site;
use crate::standing::Folder;
use crate::{Backend, Error, pick};

/// Packets of one pod that are kept while a story is told, in bytes; of more, the oldest go.
const PACKET_BYTES_MAX: u64 = 16 << 20;

/// Brings meshes up as a run is set.
pub(super) struct Meshes<'a> {
    setting: &'a Setting,
    /// What this machine allows; why not, where it allows nothing.
    machine: Result<Machine, Error>,
    /// Journals stand below it: what a killed run leaves is in its own folder.
    artefacts: &'a Path,
    kept: Option<Kept<'a>>,
}

/// What meshes are made of here.
struct Machine {
    backend: Backend,
    capabilities: BTreeSet<String>,
}

impl Machine {
    fn of(setting: &Setting) -> Result<Machine, Error> {
        let options = Options {
            program: setting.program.clone(),
        };
        let raised = pick::raise(&Topology::new(["trial"], None), setting.backend, &options)?;
        let all = [
            (Capability::OwnPorts, "own_ports"),
            (Capability::Names, "names"),
            (Capability::Escapes, "escapes"),
            (Capability::Capture, "capture"),
            (Capability::Filter, "filter"),
            (Capability::OwnDisk, "own_disk"),
        ];
        let can = all
            .iter()
            .filter(|(capability, _)| raised.environment.can(*capability));
        let capabilities = can.map(|(_, name)| (*name).to_owned()).collect();
        raised.environment.down()?;
        Ok(Machine {
            backend: raised.picked.backend,
            capabilities,
        })
    }
}

impl<'a> Meshes<'a> {
    pub(super) fn new(
        setting: &'a Setting,
        artefacts: &'a Path,
        kept: Option<Kept<'a>>,
    ) -> Meshes<'a> {
        Meshes {
            setting,
            machine: Machine::of(setting),
            artefacts,
            kept,
        }
    }

    fn machine(&self) -> Result<&Machine, Error> {
        self.machine.as_ref().map_err(|error| match error {
            Error::Unsupported { missing, advice } => Error::Unsupported {
                missing: missing.clone(),
                advice: advice.clone(),
            },
            other => Error::Refused(other.to_string()),
        })
    }

    /// Where a story is told.
    fn site(&self, story: &Story) -> Site {
        let given = &self.setting.site;
        let named = story.scenario.site.as_ref();
        let named = named.filter(|name| name.value != given.site);
        let named = named.and_then(|name| Site::shipped(name));
        named.unwrap_or_else(|| given.clone())
    }

    /// The adapters of a story: those of its pods, and those that move in.
    fn suts(&self, story: &Story) -> Result<Vec<(String, BTreeSet<String>)>, Error> {
        let mut names: BTreeSet<&str> = BTreeSet::new();
        for (_, pod) in &story.mesh.pods {
            names.extend(pod.sidecar.as_deref());
        }
        moving(&story.scenario.steps, &mut names);
        let found = names.into_iter().map(|name| {
            let sut = self.setting.suts.iter().find(|sut| sut.sut == name);
            let sut =
                sut.ok_or_else(|| Error::Refused(format!("no sidecar is called `{name}`")))?;
            Ok((sut.sut.clone(), sut.capabilities.clone()))
        });
        found.collect()
    }
}

fn moving<'s>(steps: &'s [meshproof_input::Spanned<Step>], names: &mut BTreeSet<&'s str>) {
    for step in steps {
        match &step.value {
            Step::Meshify(meshify) => names.extend(meshify.sidecar.as_ref().map(|it| it.as_str())),
            Step::Upgrade(upgrade) => names.extend(upgrade.to.as_ref().map(|it| it.as_str())),
            Step::Within(within) => moving(&within.steps, names),
            Step::When(when) => {
                moving(&when.meanwhile, names);
                moving(&when.steps, names);
            }
            Step::Parallel(branches) => {
                for (_, steps) in branches {
                    moving(steps, names);
                }
            }
            _ => {}
        }
    }
}

/// Whether sidecars move in or out.
fn moves(steps: &[meshproof_input::Spanned<Step>]) -> bool {
    steps.iter().any(|step| match &step.value {
        Step::Meshify(_) | Step::Demesh(_) => true,
        Step::Within(within) => moves(&within.steps),
        Step::When(when) => moves(&when.meanwhile) || moves(&when.steps),
        Step::Parallel(branches) => branches.iter().any(|(_, steps)| moves(steps)),
        _ => false,
    })
}

/// Legs whose frames are looked at.
fn watched<'s>(
    probes: impl IntoIterator<Item = &'s meshproof_input::Spanned<Probe>>,
) -> Vec<(String, Between)> {
    let wires = probes.into_iter().filter_map(|probe| match &probe.value {
        Probe::Wire(wire) => {
            let between = Between::of_port(wire.port.value)?;
            Some((wire.pod.value.clone(), between))
        }
        _ => None,
    });
    wires.collect()
}

/// Legs on which frames are to be harmed or looked at: a relay has to stand there from the
/// beginning.
fn legs(steps: &[meshproof_input::Spanned<Step>]) -> BTreeSet<(String, Between)> {
    let mut all = BTreeSet::new();
    for step in steps {
        match &step.value {
            Step::Fault(fault) if doer(fault) == Doer::Relay => {
                let port = fault.port.as_ref().map(|port| port.value);
                let between = port.and_then(Between::of_port);
                all.extend(between.map(|between| (pod(fault).to_owned(), between)));
            }
            Step::Eventually(wait) => all.extend(watched(wait.all.iter().chain(&wait.any))),
            Step::Always(hold) => all.extend(watched(&hold.all)),
            Step::Never(hold) => all.extend(watched(hold.any.iter().chain(&hold.all))),
            Step::Within(within) => all.extend(legs(&within.steps)),
            Step::When(when) => {
                let frames = when.before.iter().chain(&when.after);
                all.extend(frames.filter_map(|frame| {
                    let between = Between::of_port(frame.port.value)?;
                    Some((frame.pod.value.clone(), between))
                }));
                all.extend(watched(&when.all));
                all.extend(legs(&when.meanwhile));
                all.extend(legs(&when.steps));
            }
            Step::Parallel(branches) => {
                all.extend(branches.iter().flat_map(|(_, steps)| legs(steps)));
            }
            _ => {}
        }
    }
    all
}

impl Maker for Meshes<'_> {
    fn offer(&self, story: &Story) -> Result<Offer, Error> {
        let site = self.site(story);
        let machine = self.machine()?;
        Ok(Offer {
            suts: self.suts(story)?,
            site: (site.site.clone(), site.offers()),
            machine: (
                machine.backend.name().to_owned(),
                machine.capabilities.clone(),
            ),
        })
    }

    fn up(&self, story: &Story, bug: Option<&str>) -> Result<Box<dyn Stand + Send>, Error> {
        // Programs in pods have folders of their own.
        let folder = std::path::absolute(self.artefacts)
            .and_then(|below| tempfile::Builder::new().prefix(".mesh-").tempdir_in(below))
            .map_err(Error::io("a folder for journals"))?;
        let bugs = bug.map(|bug| ("*".to_owned(), vec![bug.to_owned()]));
        let setting = Setting {
            backend: Some(self.machine()?.backend),
            folder: Some(folder.path().to_path_buf()),
            bugs: bugs.into_iter().collect::<BTreeMap<_, _>>(),
            relays: legs(&story.scenario.steps).into_iter().collect(),
            site: self.site(story),
            ..self.setting.clone()
        };
        let mesh = Mesh::up(&story.mesh, &setting)?;
        // A proof is meant to fail: nobody looks at its packets.
        let packets = match mesh.environment().can(Capability::Capture) && bug.is_none() {
            true => {
                let below = folder.path().join("packets");
                let made = std::fs::create_dir_all(&below);
                made.map_err(Error::io("a folder for packets"))?;
                let size = Size::bytes(PACKET_BYTES_MAX);
                Some(Recorder::all(mesh.environment(), &below, size)?)
            }
            false => None,
        };
        let moves = moves(&story.scenario.steps);
        Ok(Box::new(Hall::new(mesh, moves, folder, packets)))
    }

    fn failed(&self, case: &Case, environment: &dyn Environment) -> Option<Folder> {
        self.kept.and_then(|kept| kept(case, environment))
    }
}
