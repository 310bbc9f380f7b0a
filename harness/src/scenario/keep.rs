//! Faults of a story that a keeper holds in a pod.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use meshproof_fault::spec::{Outside, Subject};
use meshproof_fault::{Ending, Error as Broken, Fault as Asked, Healed, Plan, Scene};

use super::harm::{id, pod};
use super::model::Fault;
use super::stand::{Hall, lock, part, refused};
use crate::Error;
use crate::environment::Capability;
use crate::ground::InPod;

/// A fault that says no time of its own is in force for as long as a story may take, an hour; it
/// ends with its story, and with the run.
const LIMIT: Duration = Duration::from_secs(3_600);

/// Rules and doubts of a plan that the timeline tells, each.
const TOLD_MAX: usize = 50;

/// The lease of a fault: stories are told side by side, and call their faults alike.
fn lease(name: &str) -> String {
    static LEASES: AtomicU64 = AtomicU64::new(1);
    let number = LEASES.fetch_add(1, Ordering::Relaxed);
    format!("{name}-{:x}-{number}", std::process::id())
}

impl Hall {
    /// Puts a fault in force that a keeper holds.
    pub(super) fn keep(&self, fault: &Fault) -> Result<(), Error> {
        let (name, pod) = (id(fault), pod(fault));
        let environment = self.mesh.environment();
        // Without a network of its own the pod's rules would be this machine's.
        let of_network = matches!(
            fault.subject(),
            Subject::Packets | Subject::Pod | Subject::Link | Subject::Frames
        );
        if of_network && !environment.can(Capability::Filter) {
            return Err(Error::Unsupported {
                missing: "rules of the packet filter in a pod".into(),
                advice: "use --backend netns, and see `meshproof doctor`".into(),
            });
        }
        let process = match fault.subject() {
            Subject::Program => Some(self.mesh.process(pod, part(fault.program))?.pid()),
            _ => None,
        };
        let asked = Asked {
            spec: self.with_addresses(fault)?,
            scene: Scene {
                run: format!("story-{}", std::process::id()),
                lease: lease(name),
                process,
                control: fault.of.map(|of| self.control(of.value)).transpose()?,
            },
        };
        // What has a schedule ends with it; its last time must not be cut short.
        let limit = match fault.takes() {
            Some(takes) if !fault.is_scheduled() => takes,
            Some(takes) => LIMIT.max(takes * 2),
            None => LIMIT,
        };
        let standby = asked.preflight(&InPod { environment, pod });
        let standby = standby.map_err(|error| not_in_force(name, error))?;
        for line in told(standby.plan()) {
            self.mesh.note("fault", format!("{name}: {line}"));
        }
        let lease = standby.apply(limit);
        let lease = lease.map_err(|error| not_in_force(name, error))?;
        self.mesh.note("fault", format!("{name}: in force"));
        lock(&self.leases).insert(name.to_owned(), lease);
        Ok(())
    }

    /// Where what is outside of the pods takes orders.
    fn control(&self, of: Outside) -> Result<SocketAddr, Error> {
        match of {
            Outside::ConfigCenter => self.mesh.center_control(),
            Outside::Vip => self.mesh.names_control(),
        }
    }

    /// The same fault, with addresses in place of pods.
    fn with_addresses(&self, fault: &Fault) -> Result<Fault, Error> {
        let mut fault = fault.clone();
        let environment = self.mesh.environment();
        let pods = environment.pods();
        for address in &mut fault.addresses {
            if pods.iter().any(|pod| pod.name == address.value) {
                address.value = environment.address(&address.value)?.to_string();
            }
        }
        Ok(fault)
    }

    /// Takes it out of force: it must have met something, and left nothing.
    pub(super) fn unkeep(&self, fault: &Fault) -> Result<(), Error> {
        let name = id(fault);
        let lease = lock(&self.leases).remove(name);
        let lease = lease.ok_or_else(|| refused(format!("fault `{name}` is not in force")))?;
        let healed = lease.heal().map_err(|error| not_in_force(name, error))?;
        let met = healed.evidence.claim(name);
        let left = healed.residue.claim(name);
        self.mesh.note("fault", format!("{name} met: {}", met.why));
        self.mesh
            .note("fault", format!("{name} healed: {}", left.why));
        verdict(name, &healed, fault.takes().is_some())
    }
}

/// What is worst of a fault that is over: that something is left of it, that nothing met it, that
/// it ended before its time.
fn verdict(name: &str, healed: &Healed, timed: bool) -> Result<(), Error> {
    let Healed { evidence, residue } = healed;
    if !residue.is_empty() {
        return Err(refused(format!(
            "residue of fault `{name}`: {}",
            residue.claim(name).why
        )));
    }
    if evidence.is_empty() {
        return Err(Error::Inert(format!(
            "fault `{name}` met nothing: {}",
            evidence.claim(name).why
        )));
    }
    match evidence.ending {
        None | Some(Ending::Healed) => Ok(()),
        Some(Ending::Limit) if timed => Ok(()),
        Some(early) => Err(Error::Inert(format!(
            "fault `{name}` ended before its time: {}",
            early.because()
        ))),
    }
}

/// What a keeper could not do: this machine lacks it, or nobody can, which is no mistake of the
/// mesh.
fn not_in_force(name: &str, error: Broken) -> Error {
    match error {
        Broken::Unsupported { missing, advice } => Error::Unsupported { missing, advice },
        other => Error::Inert(format!("fault `{name}`: {other}")),
    }
}

/// A plan, in lines for the timeline.
fn told(plan: &Plan) -> Vec<String> {
    let mut lines = vec![format!("plan: {}; {}", plan.spec, plan.why)];
    let rules = plan.rules.iter().take(TOLD_MAX);
    lines.extend(rules.map(|rule| format!("rule: {}", rule.exact)));
    if let Some(more) = plan.rules.len().checked_sub(TOLD_MAX).filter(|it| *it > 0) {
        lines.push(format!("and {more} rules more"));
    }
    lines.push(format!("{} live flows match", plan.flows_all));
    let doubts = plan.doubts.iter().take(TOLD_MAX);
    lines.extend(doubts.map(|doubt| format!("doubt: {doubt}")));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use meshproof_fault::{Count, Evidence, Leftover, Residue};

    #[track_caller]
    fn check(met: u64, left: bool, ending: Ending, timed: bool, expected: &str) {
        let healed = Healed {
            evidence: Evidence {
                counts: vec![Count {
                    what: "packets dropped".into(),
                    met,
                }],
                reasons: vec!["no live connection matches".into()],
                ending: Some(ending),
                ..Evidence::default()
            },
            residue: Residue {
                left: match left {
                    true => vec![Leftover {
                        kind: "rule".into(),
                        what: "-A INPUT -j MP-it".into(),
                        whose: "meshproof".into(),
                        advice: String::new(),
                    }],
                    false => Vec::new(),
                },
                ..Residue::default()
            },
        };
        let told = match verdict("it", &healed, timed) {
            Ok(()) => "held".to_owned(),
            Err(Error::Inert(why)) => format!("INVALID {why}"),
            Err(other) => format!("FAIL {other}"),
        };
        assert_eq!(told, expected);
    }

    #[test]
    fn a_fault_that_is_over_has_met_something_and_left_nothing() {
        check(3, false, Ending::Healed, false, "held");
        check(
            0,
            false,
            Ending::Healed,
            false,
            "INVALID fault `it` met nothing: 0 of 1 counters moved; no live connection matches",
        );
        let left =
            "FAIL residue of fault `it`: 1 left behind: rule of meshproof: -A INPUT -j MP-it";
        check(3, true, Ending::Healed, false, left);
        check(0, true, Ending::Healed, false, left);
        check(3, false, Ending::Limit, true, "held");
        check(
            3,
            false,
            Ending::Limit,
            false,
            "INVALID fault `it` ended before its time: its time was over",
        );
        check(
            3,
            false,
            Ending::Told,
            true,
            "INVALID fault `it` ended before its time: its keeper was told to end",
        );
    }
}
