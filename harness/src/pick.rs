//! Which backend this machine allows, and why.

use crate::environment::{Backend, Environment, Topology};
use crate::netns::Options;
use crate::{Error, Loopback, Netns};

/// A backend, and why it is that one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picked {
    /// Which.
    pub backend: Backend,
    /// Half a sentence: `it was asked for`.
    pub why: String,
}

/// An environment that is up, and why it is made of what it is made of.
pub struct Raised {
    /// It.
    pub environment: Box<dyn Environment>,
    /// What it is made of.
    pub picked: Picked,
}

/// The backend that was asked for, or else the best that this machine allows. It is found out by
/// making an environment of one pod. [`Error::Unsupported`] where there is none.
pub fn pick(wanted: Option<Backend>, options: &Options) -> Result<Picked, Error> {
    let raised = raise(&Topology::new(["trial"], None), wanted, options)?;
    raised.environment.down()?;
    Ok(raised.picked)
}

/// Makes an environment of the backend that was asked for, or else of the best that this machine
/// allows: namespaces, and loopback addresses where they are forbidden.
/// [`Error::Unsupported`] where neither can be.
pub fn raise(
    topology: &Topology,
    wanted: Option<Backend>,
    options: &Options,
) -> Result<Raised, Error> {
    if let Some(backend) = wanted {
        return Ok(Raised {
            environment: one(topology, backend, options)?,
            picked: Picked {
                backend,
                why: "it was asked for".into(),
            },
        });
    }
    let missing = match one(topology, Backend::Netns, options) {
        Ok(environment) => {
            return Ok(Raised {
                environment,
                picked: Picked {
                    backend: Backend::Netns,
                    why: "this machine lets us have namespaces".into(),
                },
            });
        }
        Err(Error::Unsupported { missing, advice }) => (missing, advice),
        Err(error) => return Err(error),
    };
    let (missing, advice) = missing;
    match one(topology, Backend::Process, options) {
        Ok(environment) => Ok(Raised {
            environment,
            picked: Picked {
                backend: Backend::Process,
                why: format!("this machine lacks {missing}"),
            },
        }),
        Err(Error::Unsupported {
            missing: also,
            advice: or,
        }) => Err(Error::Unsupported {
            missing: format!("{missing}, and {also}"),
            advice: format!("{advice}; or, for the process backend, {or}"),
        }),
        Err(error) => Err(error),
    }
}

fn one(
    topology: &Topology,
    backend: Backend,
    options: &Options,
) -> Result<Box<dyn Environment>, Error> {
    Ok(match backend {
        Backend::Netns => Box::new(Netns::up_with(topology, options)?),
        Backend::Process => Box::new(Loopback::up_with(topology, options)?),
    })
}
