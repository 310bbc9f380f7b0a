//! What programs of a mesh have written: journals and lines.

use std::path::PathBuf;
use std::sync::Arc;

use super::{Mesh, REGISTRY, VIP, lock};
use crate::Error;
use crate::process::{Line, Process};

/// Lines of one program.
#[derive(Clone, Debug)]
pub struct Logged {
    /// Where it runs, or ran.
    pub pod: String,
    /// `app`, `sidecar`, the name of a peer, `config center`, `VIP names`.
    pub program: String,
    /// Of both its streams, the oldest first.
    pub lines: Vec<Line>,
}

impl Mesh {
    /// Journals of the apps of a pod, one after the other.
    pub fn app_journals(&self, pod: &str) -> Result<Vec<PathBuf>, Error> {
        Ok(lock(self.member(pod)?).journals.clone())
    }

    /// The journal of the config center.
    pub fn registry_journal(&self) -> PathBuf {
        self.journal("registry.jsonl")
    }

    /// The lines of every program that runs or ran, by pod; those of a pod in no order.
    pub fn logs(&self) -> Result<Vec<Logged>, Error> {
        let logged = |pod: &str, program: &str, process: &Process| Logged {
            pod: pod.to_owned(),
            program: program.to_owned(),
            lines: process.lines(),
        };
        let mut all = Vec::new();
        for pod in self.pods() {
            let member = lock(self.member(pod)?);
            let named = |name: &'static str, process: &Option<Arc<Process>>| {
                process.clone().map(|process| (name, process))
            };
            let now = [named("app", &member.app), named("sidecar", &member.sidecar)];
            for (name, process) in now.into_iter().flatten() {
                all.push(logged(pod, name, &process));
            }
            for process in member.peers.iter().chain(&member.past) {
                let program = match process.name() {
                    "the app" => "app",
                    "the sidecar" => "sidecar",
                    name => name,
                };
                all.push(logged(pod, program, process));
            }
        }
        for (pod, process) in lock(&self.running).iter() {
            let program = match pod.as_str() {
                REGISTRY => "config center",
                VIP => "VIP names",
                other => other,
            };
            all.push(logged(pod, program, process));
        }
        Ok(all)
    }
}
