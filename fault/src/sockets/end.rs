//! Connections that end at once, by order of the kernel: the way `destroy`.

use meshproof_sys::netlink::{self, Subsystem};
use rustix::io::Errno;
use rustix::thread::{CapabilitySet, capabilities};

use super::State;
use crate::spec::{Kind, Subject};
use crate::{
    Backend, Count, Error, Evidence, FLOWS_MAX, Flow, Hold, Plan, Refusal, Residue, RuleText,
    Scene, Spec, Way, flows,
};

/// Ends the connections that stand when it comes into force, and those alone.
#[derive(Debug)]
pub struct Destroy;

impl Backend for Destroy {
    fn way(&self) -> Way {
        Way::Destroy
    }

    fn preflight(&self, spec: &Spec, scene: &Scene) -> Result<Plan, Refusal> {
        let kind = spec.kind.value;
        if kind != Kind::Close || spec.subject() != Subject::Packets {
            return Err(Refusal::Inexact(format!(
                "the kernel ends connections whole, and `{kind}` is of frames or of something else; \
                 say `kind: close` and `way: destroy`"
            )));
        }
        if spec.only.is_some() || spec.sender().is_some() || spec.group.is_some() {
            return Err(Refusal::Inexact(
                "a connection ends for both sides: `only`, `group`, `from` and `to` \
                 mean nothing"
                    .to_owned(),
            ));
        }
        let may =
            capabilities(None).is_ok_and(|own| own.effective.contains(CapabilitySet::NET_ADMIN));
        if !may {
            return Err(Refusal::Missing {
                missing: "the right to end connections here (CAP_NET_ADMIN)".to_owned(),
                advice: "run inside an environment, or as root".to_owned(),
            });
        }
        let live = flows::live().map_err(|error| Refusal::Missing {
            missing: format!("a list of connections: {error}"),
            advice: "use a kernel that has sock_diag".to_owned(),
        })?;
        let met: Vec<Flow> = live
            .into_iter()
            .filter(|flow| flows::meant(spec, flow))
            .collect();
        let mut plan = Plan::bare(Way::Destroy, spec, scene);
        plan.rules = met
            .iter()
            .take(FLOWS_MAX)
            .map(|flow| RuleText {
                exact: format!("ss -K src {} dst {}", flow.local, flow.remote),
                iptables: None,
            })
            .collect();
        plan.needs = vec!["sock_diag, and the right to end connections here".to_owned()];
        plan.flows_all = met.len() as u64;
        plan.flows = met;
        plan.flows.truncate(FLOWS_MAX);
        plan.also_hit = vec![
            "every call that is under way on such a connection; the program here gets \
             ECONNABORTED, the other end a reset"
                .to_owned(),
        ];
        if plan.flows_all == 0 {
            plan.doubts = vec!["no connection stands at this port: nothing will end".to_owned()];
        }
        Ok(plan)
    }

    fn apply(&self, plan: &Plan, _: &Scene) -> Result<Box<dyn Hold>, Error> {
        let refused = |why: &crate::netlink::ask::Unanswered| match why.errno() {
            Some(Errno::OPNOTSUPP) => Error::Unsupported {
                missing: "the end of connections by order (CONFIG_INET_DIAG_DESTROY)".to_owned(),
                advice: "use a kernel that has it, or `kind: reject`".to_owned(),
            },
            _ => Error::Refused(format!("ending connections: {why}")),
        };
        let socket = netlink::open(Subsystem::Sockets).map_err(Error::io("sock_diag"))?;
        let standing = super::list(&socket, &State::STANDING).map_err(|why| refused(&why))?;
        let mut ended = 0;
        let meant = standing
            .iter()
            .filter(|one| flows::meant(&plan.spec, &flows::flow(one)));
        for connection in meant {
            ended += u64::from(super::destroy(&socket, connection).map_err(|why| refused(&why))?);
        }
        Ok(Box::new(Ended { ended }))
    }
}

struct Ended {
    ended: u64,
}

impl Hold for Ended {
    fn evidence(&mut self) -> Result<Evidence, Error> {
        let mut evidence = Evidence {
            counts: vec![Count {
                what: "connections ended".to_owned(),
                met: self.ended,
            }],
            ..Evidence::default()
        };
        if evidence.is_empty() {
            evidence.reasons.push("no such connection stood".to_owned());
        }
        Ok(evidence)
    }

    fn heal(&mut self) -> Result<Residue, Error> {
        Ok(Residue {
            // What ended is not begun again here, and nothing else was changed.
            looked_at: vec![format!("{} connections, which are gone", self.ended)],
            ..Residue::default()
        })
    }
}
