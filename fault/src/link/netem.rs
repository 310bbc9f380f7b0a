//! The kernel's own queueing discipline for bad links: whether there is one.

use rustix::io::Errno;

use super::{of_a_link, place, trial};
use crate::{Backend, Error, Hold, Plan, Refusal, Scene, Spec, Way};

/// The discipline `netem`.
///
/// It is never gone: a discipline at a link outlives everybody, and before Linux 6.6 it takes no
/// seed. The plan tells whether this kernel has it all the same, since it is what others use.
#[derive(Debug)]
pub struct Netem;

impl Backend for Netem {
    fn way(&self) -> Way {
        Way::Netem
    }

    fn preflight(&self, spec: &Spec, _: &Scene) -> Result<Plan, Refusal> {
        of_a_link(spec, Way::Netem)?;
        // Tried at a link that nobody uses and that goes at once.
        let device = trial().map_err(|refusal| match spec.way {
            Some(_) => refusal,
            // What tap lacks is told by tap.
            None => Refusal::Inexact(format!("netem cannot be tried: {refusal}")),
        })?;
        match place::netem(device.number()) {
            Ok(()) => Err(Refusal::Inexact(
                "netem is in this kernel, and stays at its link when its keeper is killed; tap \
                 does the same, with choices by seed, and goes"
                    .to_owned(),
            )),
            Err(error) if error.errno() == Some(Errno::NOENT) => Err(Refusal::Missing {
                missing: "the queueing discipline netem (CONFIG_NET_SCH_NETEM)".to_owned(),
                advice: "load the module, `modprobe sch_netem`, or leave `way` out: tap does the \
                         same"
                    .to_owned(),
            }),
            Err(error) => Err(Refusal::Missing {
                missing: format!("the queueing discipline netem: {error}"),
                advice: "leave `way` out: tap does the same".to_owned(),
            }),
        }
    }

    fn apply(&self, _: &Plan, _: &Scene) -> Result<Box<dyn Hold>, Error> {
        Err(Error::Refused("netem makes no plans".to_owned()))
    }
}
