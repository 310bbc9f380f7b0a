//! A program that is killed, or told to end.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{PidfdFlags, Signal as Number, pidfd_open, pidfd_send_signal};

use super::Target;
use crate::spec::Kind;
use crate::{Backend, Count, Error, Evidence, Hold, Plan, Refusal, Residue, Scene, Spec, Way};

/// How long evidence waits for the end of a program that was signalled, in nanoseconds.
const END_NS: i64 = 200_000_000;

/// SIGKILL and SIGTERM. Healing is a new start, which is whoever's business who started it.
#[derive(Debug)]
pub struct Signal;

fn number(kind: Kind) -> Option<(Number, &'static str)> {
    match kind {
        Kind::Kill => Some((Number::KILL, "SIGKILL")),
        Kind::Stop => Some((Number::TERM, "SIGTERM")),
        _ => None,
    }
}

impl Backend for Signal {
    fn way(&self) -> Way {
        Way::Signal
    }

    fn preflight(&self, spec: &Spec, scene: &Scene) -> Result<Plan, Refusal> {
        let kind = spec.kind.value;
        let Some((_, name)) = number(kind) else {
            return Err(Refusal::Inexact(format!("no signal does {kind}")));
        };
        let target = Target::of(scene)?;
        let order = format!("{name} to process {}", target.process);
        let mut plan = target.plan(Way::Signal, spec, scene, order)?;
        plan.also_hit = vec!["every connection of the program".to_owned()];
        Ok(plan)
    }

    fn apply(&self, plan: &Plan, _: &Scene) -> Result<Box<dyn Hold>, Error> {
        let target = Target::of_plan(plan)?;
        let Some((signal, name)) = number(plan.spec.kind.value) else {
            return Err(Error::Refused("a plan that is not of this way".to_owned()));
        };
        let told = Error::io(format!("{name} to process {}", target.process));
        let handle = target
            .pid()
            .and_then(|pid| Ok(pidfd_open(pid, PidfdFlags::empty())?));
        let handle = handle.map_err(Error::io("a handle of the program"))?;
        // The number may have become another's just before the handle was there.
        if !target.is_there() {
            return Err(Error::Refused(format!(
                "process {} has ended",
                target.process
            )));
        }
        pidfd_send_signal(&handle, signal).map_err(|error| told(error.into()))?;
        Ok(Box::new(Sent {
            target,
            name,
            handle,
        }))
    }
}

struct Sent {
    target: Target,
    name: &'static str,
    handle: std::os::fd::OwnedFd,
}

impl Hold for Sent {
    fn evidence(&mut self) -> Result<Evidence, Error> {
        let limit = Timespec {
            tv_sec: 0,
            tv_nsec: END_NS,
        };
        let mut watched = [PollFd::new(&self.handle, PollFlags::IN)];
        let ended = poll(&mut watched, Some(&limit)).is_ok_and(|ready| ready > 0);
        let mut evidence = Evidence {
            counts: vec![Count {
                what: format!("process {} ended after {}", self.target.process, self.name),
                met: u64::from(ended),
            }],
            ..Evidence::default()
        };
        if !ended {
            evidence.reasons.push("it has not ended yet".to_owned());
        }
        Ok(evidence)
    }

    fn heal(&mut self) -> Result<Residue, Error> {
        Ok(Residue {
            // A signal leaves nothing behind but its effect, which is not undone here.
            looked_at: vec![format!("process {}", self.target.process)],
            ..Residue::default()
        })
    }
}
