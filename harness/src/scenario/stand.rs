//! A mesh that a story is told on.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use meshproof_fault::Lease;
use meshproof_sys::clock::Nanos;
use serde_json::Value;

use super::account::Made;
use super::check;
use super::evidence;
use super::look::Registry;
use super::model::{CallStyle, Program};
use crate::Error;
use crate::capture::Recorder;
use crate::mesh::control::Part;
use crate::mesh::{self, Mesh};
use crate::relay::RuleId;

/// A mesh, and what was done to it by a story.
pub(super) struct Hall {
    /// Packets of every pod, while the story is told. Goes before the mesh: it holds sockets of
    /// the pods.
    pub(super) packets: Mutex<Option<Packets>>,
    /// Faults in force that keepers hold in pods. They go before the mesh, too.
    pub(super) leases: Mutex<BTreeMap<String, Lease>>,
    pub(super) mesh: Mesh,
    pub(super) registry: Registry,
    /// Journals of callers, and the step of each.
    pub(super) calls: Mutex<Vec<(u32, CallStyle, PathBuf)>>,
    /// Rules in force, by the fault that they are.
    pub(super) rules: Mutex<BTreeMap<String, RuleId>>,
    /// Frames that there were when a step began, by the step and the place of its probe.
    pub(super) frames: Mutex<BTreeMap<(Nanos, usize), u64>>,
    /// Whether the story moves sidecars in or out.
    pub(super) moves: bool,
    /// Where journals stand; goes with the mesh.
    _folder: tempfile::TempDir,
}

/// Packets that are kept while a story is told, and thrown away when it holds.
pub(super) struct Packets {
    pub(super) recorder: Recorder,
    /// Pods that the story wants kept in any case.
    pub(super) wanted: BTreeSet<String>,
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is held is a list that is whole at any time.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(super) fn part(program: Program) -> Part {
    match program {
        Program::App => Part::App,
        Program::Sidecar => Part::Sidecar,
    }
}

pub(super) fn refused(why: impl Into<String>) -> Error {
    Error::Refused(why.into())
}

impl Hall {
    pub(super) fn new(
        mesh: Mesh,
        moves: bool,
        folder: tempfile::TempDir,
        packets: Option<Recorder>,
    ) -> Hall {
        Hall {
            packets: Mutex::new(packets.map(|recorder| Packets {
                recorder,
                wanted: BTreeSet::new(),
            })),
            leases: Mutex::default(),
            mesh,
            registry: Registry::default(),
            calls: Mutex::default(),
            rules: Mutex::default(),
            frames: Mutex::default(),
            moves,
            _folder: folder,
        }
    }

    pub(super) fn services(&self) -> Vec<String> {
        check::services(self.mesh.spec())
    }

    pub(super) fn service(&self, asked: Option<&str>) -> Result<String, Error> {
        check::service(self.mesh.spec(), asked)
            .ok_or_else(|| refused(format!("no service is called `{}`", asked.unwrap_or("?"))))
    }

    /// Orders of JSON need full names and addresses.
    pub(super) fn services_of(
        &self,
        asked: &[meshproof_input::Spanned<String>],
    ) -> Result<Value, Error> {
        let names = asked.iter().map(|one| self.service(Some(one)));
        let names: Vec<String> = names.collect::<Result<_, _>>()?;
        Ok(names.into())
    }

    pub(super) fn addresses(&self, pods: &[&str]) -> Result<Vec<String>, Error> {
        let all = pods
            .iter()
            .map(|pod| Ok(self.mesh.place(pod.trim())?.inbound.to_string()));
        all.collect()
    }

    /// What the last list of a service says.
    pub(super) fn pushed(
        &self,
        service: &str,
    ) -> Result<Option<meshproof_wire::registry::Push>, Error> {
        let services = self.services();
        let services: Vec<&str> = services.iter().map(String::as_str).collect();
        Ok(self.registry.last(
            self.mesh.environment(),
            mesh::VIP,
            self.mesh.center()?,
            &services,
            service,
        ))
    }

    /// What apps saw, by their journals.
    pub(super) fn sightings(&self) -> Result<Vec<(Nanos, String, Value)>, Error> {
        let mut all = Vec::new();
        for pod in self.mesh.pods() {
            for journal in self.mesh.app_journals(pod)? {
                for line in evidence::lines(&journal)? {
                    let at_us = line.get("at_us").and_then(Value::as_u64).unwrap_or(0);
                    let at = self.mesh.begun().plus_ns(self.mesh.since_begun(at_us));
                    all.push((at, pod.to_owned(), line));
                }
            }
        }
        Ok(all)
    }

    pub(super) fn made(&self) -> Result<Vec<Made>, Error> {
        let mut all = Vec::new();
        let calls = lock(&self.calls).clone();
        for (step, style, journal) in calls {
            for line in evidence::lines(&journal)? {
                let text = |name: &str| line.get(name).and_then(Value::as_str).unwrap_or_default();
                let outcome = text("outcome");
                let right = match style {
                    CallStyle::Sync | CallStyle::Large | CallStyle::Timeout => outcome == "ok",
                    CallStyle::Oneway => outcome == "sent",
                    CallStyle::Exception => outcome == "exception",
                    CallStyle::Heartbeat => continue,
                };
                all.push(Made {
                    step,
                    trace: text("trace").to_owned(),
                    outcome: outcome.to_owned(),
                    right,
                    oneway: style == CallStyle::Oneway,
                });
            }
        }
        Ok(all)
    }

    /// How often each app saw the calls of a journal.
    pub(super) fn seen_by(&self, journal: &Path) -> Result<Vec<(String, u64)>, Error> {
        let traces: BTreeSet<String> = evidence::lines(journal)?
            .iter()
            .filter_map(|line| Some(line.get("trace")?.as_str()?.to_owned()))
            .collect();
        let mut counts: BTreeMap<String, u64> = BTreeMap::new();
        for pod in self.mesh.pods().filter(|pod| self.mesh.has_app(pod)) {
            counts.insert(pod.to_owned(), 0);
        }
        for (_, pod, line) in self.sightings()? {
            let trace = line
                .get("trace")
                .and_then(Value::as_str)
                .unwrap_or_default();
            if is_call(&line) && traces.contains(trace) {
                *counts.entry(pod).or_default() += 1;
            }
        }
        Ok(counts.into_iter().collect())
    }
}

/// Whether a line of an app's journal tells of a call.
pub(super) fn is_call(line: &Value) -> bool {
    let kind = line.get("kind").and_then(Value::as_str);
    matches!(kind, Some("request" | "oneway"))
}
