//! Exact frames by a relay of an environment: what a plan tells of it.
//!
//! The relay itself stands in a mesh, from its beginning: no keeper can put one on a leg that is in
//! use. So this way is planned here, and done there.

use crate::spec::{Listener, Subject};
use crate::{Backend, Error, Hold, Plan, Refusal, RuleText, Scene, Spec, Way};

/// Ports on whose legs a relay can stand.
pub const LEGS: [u16; 3] = [12199, 12200, 12220];

/// A relay of an environment.
pub struct Relay;

impl Backend for Relay {
    fn way(&self) -> Way {
        Way::Relay
    }

    fn preflight(&self, spec: &Spec, scene: &Scene) -> Result<Plan, Refusal> {
        let inexact = |why: String| Err(Refusal::Inexact(why));
        let subject = spec.subject();
        if subject != Subject::Frames {
            return inexact(format!("knows frames, and this happens to {subject}"));
        }
        if spec.listens() == Listener::Elsewhere {
            return inexact("stands in front of who listens in the pod, not elsewhere".into());
        }
        let port = spec.port.map(|port| port.value);
        let Some(port) = port.filter(|port| LEGS.contains(port)) else {
            return inexact("stands on the legs to 12199, 12200 and 12220 alone".into());
        };
        let mut plan = Plan::bare(Way::Relay, spec, scene);
        plan.rules.push(RuleText {
            exact: format!("on the leg to {port}: {spec}"),
            iptables: None,
        });
        plan.needs = vec![
            format!(
                "a mesh in which a relay holds port {port} from the beginning: a step `fault` of \
                 a story has one"
            ),
            "no right of any kind: it works for an ordinary user".into(),
        ];
        plan.also_hit.push(
            "frames are passed on when they are whole; no byte of one that is not meant changes"
                .into(),
        );
        Ok(plan)
    }

    fn apply(&self, plan: &Plan, _scene: &Scene) -> Result<Box<dyn Hold>, Error> {
        Err(Error::Refused(format!(
            "`{}` is done by a relay, which stands in a mesh from its beginning: write a step \
             `fault` of a story",
            plan.spec
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        let spec = Spec::parse("fault.yaml", text).unwrap();
        let scene = Scene {
            control: None,
            run: "r".into(),
            lease: "l".into(),
            process: None,
        };
        let told = match Relay.preflight(&spec, &scene) {
            Ok(plan) => plan.rules[0].exact.clone(),
            Err(refusal) => refusal.to_string(),
        };
        assert_eq!(told, expected);
    }

    #[test]
    fn frames_of_a_leg_are_planned() {
        check(
            "{kind: drop, frame: heartbeat, from: app, port: 12199, nth: 3, last: 5}",
            "on the leg to 12199: drop heartbeat frames 3 to 5 from the app, port 12199",
        );
        check(
            "{kind: drop, from: app, port: 12199}",
            "knows frames, and this happens to packets",
        );
        check(
            "{kind: drop, frame: request, port: 80}",
            "stands on the legs to 12199, 12200 and 12220 alone",
        );
    }
}
