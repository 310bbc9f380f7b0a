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
    /// What it has to do without, if anything.
    pub notes: Vec<String>,
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
    let up = |backend, why: &str| one(topology, backend, why, options);
    if let Some(backend) = wanted {
        return up(backend, "it was asked for");
    }
    let (missing, advice) = match up(Backend::Netns, "this machine lets us have namespaces") {
        Err(Error::Unsupported { missing, advice }) => (missing, advice),
        other => return other,
    };
    match up(
        Backend::Process,
        &format!("this machine lacks {missing}: {advice}"),
    ) {
        Err(Error::Unsupported {
            missing: also,
            advice: or,
        }) => Err(Error::Unsupported {
            missing: format!("{missing}, and {also}"),
            advice: format!("{advice}; or, for the process backend, {or}"),
        }),
        other => other,
    }
}

fn one(
    topology: &Topology,
    backend: Backend,
    why: &str,
    options: &Options,
) -> Result<Raised, Error> {
    let (environment, notes): (Box<dyn Environment>, _) = match backend {
        Backend::Netns => {
            let netns = Netns::up_with(topology, options)?;
            let notes = netns.notes().to_vec();
            (Box::new(netns), notes)
        }
        Backend::Process => {
            let loopback = Loopback::up_with(topology, options)?;
            let notes = loopback.notes().to_vec();
            (Box::new(loopback), notes)
        }
    };
    Ok(Raised {
        environment,
        picked: Picked {
            backend,
            why: why.to_owned(),
        },
        notes,
    })
}
