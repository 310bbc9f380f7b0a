//! Faults of programs: the ways `trace` (standing still), `signal` (killed, told to end), `burner`
//! (less processor time, less memory) and `limits` (no further descriptors).
//!
//! None of them asks the program, and all but the last are undone by the kernel: a tracer that
//! ends lets go, children end with their parent. A limit of another process is nobody's in
//! particular, so it stays when its keeper is killed.

pub mod burner;
mod limits;
mod pause;
mod signal;

use std::fs;
use std::io;

use rustix::process::Pid;
use serde::{Deserialize, Serialize};

pub use burner::Burner;
pub use limits::Limits;
pub use pause::Trace;
pub use signal::Signal;

use crate::{Error, Plan, Refusal, RuleText, Scene, Spec, Way};

/// A process that is the same one later on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Target {
    /// Its number, as this process sees it.
    pub(crate) process: u32,
    /// When it began, in ticks since the machine did: another process of this number has another.
    pub(crate) began: u64,
}

impl Target {
    /// That of a scene.
    fn of(scene: &Scene) -> Result<Target, Refusal> {
        let Some(process) = scene.process else {
            return Err(Refusal::Inexact("no process was named".to_owned()));
        };
        match began(process) {
            Some(began) => Ok(Target { process, began }),
            None => Err(Refusal::Inexact(format!("there is no process {process}"))),
        }
    }

    /// It, if it still is.
    fn of_plan(plan: &Plan) -> Result<Target, Error> {
        let target: Target = serde_json::from_value(plan.memory.clone())
            .map_err(|error| Error::Refused(format!("a plan that is not of this way: {error}")))?;
        if target.is_there() {
            return Ok(target);
        }
        Err(Error::Refused(format!(
            "process {} has ended since the plan was made",
            target.process
        )))
    }

    fn is_there(self) -> bool {
        began(self.process) == Some(self.began)
    }

    fn pid(self) -> io::Result<Pid> {
        let pid = i32::try_from(self.process).ok().and_then(Pid::from_raw);
        pid.ok_or_else(|| io::Error::from(rustix::io::Errno::SRCH))
    }

    /// The plan of a fault of it.
    fn plan(self, way: Way, spec: &Spec, scene: &Scene, order: String) -> Result<Plan, Refusal> {
        let memory = serde_json::to_value(self)
            .map_err(|error| Refusal::Inexact(format!("a plan as JSON: {error}")))?;
        let mut plan = Plan::bare(way, spec, scene);
        plan.memory = memory;
        plan.rules = vec![RuleText {
            exact: order,
            iptables: None,
        }];
        Ok(plan)
    }
}

/// The fields of a process's line in `/proc`, from its state on; the name in front of them stands
/// in brackets and may hold anything.
fn fields(process: u32) -> Option<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    let (_, rest) = text.rsplit_once(") ")?;
    Some(rest.split_whitespace().map(str::to_owned).collect())
}

/// When a process began; none: it is gone, or a zombie.
fn began(process: u32) -> Option<u64> {
    let fields = fields(process)?;
    match fields.first().map(String::as_str) {
        Some("Z" | "X") | None => None,
        // The 22nd of proc_pid_stat(5).
        Some(_) => fields.get(19)?.parse().ok(),
    }
}
