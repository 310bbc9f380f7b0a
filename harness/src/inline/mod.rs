//! Peers inside of this process: for cells that are too many for programs of their own.
//!
//! - [`Pods`]: threads in network namespaces of their own, joined by a bridge. They need what an
//!   environment of namespaces has inside: this process runs in a pod of one, or is privileged.
//! - [`Peers`]: what starts config centers, sidecars, apps and calls. Whoever knows them hands it
//!   in; this crate knows none of them.
//! - [`cell`]: a cell of a matrix, carried out with them; [`measure`]: what pods cost and leave;
//!   [`Networks`]: how many networks are left.

pub mod cell;
pub mod measure;
mod networks;
mod pods;

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use meshproof_sys::namespaces::privileged;

use crate::environment::{Command, Environment, Topology};
use crate::mesh::{Call, Speaks};
use crate::process::{Exit, Line};
use crate::{Error, Netns};

pub use networks::Networks;
pub use pods::Pods;

/// How an app makes itself known, and how a client finds its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Through a sidecar.
    Sidecar {
        /// Its application API.
        api: SocketAddr,
        /// Where it takes calls of its app.
        outbound: SocketAddr,
    },
    /// By the config center, without a sidecar.
    Center {
        /// Where it is.
        at: SocketAddr,
        /// What others call.
        advertise: SocketAddr,
    },
}

/// An app to be started.
#[derive(Clone, Debug)]
pub struct App {
    /// Its name: two apps of one name would share a session at the config center.
    pub name: String,
    /// Where it listens.
    pub listen: SocketAddr,
    /// What it understands.
    pub speaks: Speaks,
    /// How long its answers wait, in milliseconds.
    pub delay_ms: u64,
    /// How it makes itself known.
    pub way: Way,
}

/// Something that runs. Dropping it ends it.
pub trait Peer: Send {
    /// Its journal, a line of JSON each, as its program writes it.
    fn lines(&self) -> Vec<String>;

    /// Waits until its journal has more than `seen` lines, or for as long as `limit`; how many it
    /// has.
    fn wait_beyond(&self, seen: u64, limit: Duration) -> u64;

    /// Of a config center: addresses at which a service is provided, with its protocols.
    fn provided(&self, service: &str) -> Vec<(String, Vec<String>)>;

    /// Of an app: how long its answers wait from now on, in milliseconds.
    fn delay(&self, delay_ms: u64);
}

/// Starts peers, each on the calling thread's network.
pub trait Peers: Send + Sync {
    /// A config center whose answers have an order, as `fixture registry --order` takes it.
    fn registry(&self, at: SocketAddr, order: &str) -> io::Result<Box<dyn Peer>>;

    /// The reference sidecar, by its configuration in YAML and names of seeded bugs.
    fn sidecar(&self, config: &str, bugs: &[String]) -> io::Result<Box<dyn Peer>>;

    /// An app.
    fn app(&self, app: &App) -> io::Result<Box<dyn Peer>>;

    /// Makes calls and waits for their ends.
    fn call(&self, call: &Call, way: Way) -> io::Result<Ended>;
}

/// What calls came to.
#[derive(Clone, Debug, Default)]
pub struct Ended {
    /// Calls with the outcome that belongs to them.
    pub right: u64,
    /// The others by outcome.
    pub wrong: Vec<(String, u64)>,
    /// The first of these in words.
    pub first: Option<String>,
    /// Calls that were not begun, or whose end nobody waited for, since failures were enough.
    pub left_out: u64,
    /// The client's journal, a line of JSON each.
    pub lines: Vec<String>,
}

/// Longer than anybody waits for cells.
const LIMIT: Duration = Duration::from_secs(24 * 3600);

/// Where this process may not make networks: runs it again, with the same arguments, in a pod of
/// an environment, where it may; the code with which that ended. None: it may, and goes on.
///
/// # Errors
/// [`Error::Unsupported`] where this machine allows no namespaces.
pub fn privately(told: &mut dyn FnMut(&Line)) -> Result<Option<u8>, Error> {
    if privileged().map_err(Error::io("looking at what this process may do"))? {
        return Ok(None);
    }
    in_a_pod("cells", std::env::args().skip(1), told).map(Some)
}

/// Runs this program again, with these arguments, in the only pod of an environment: it has a
/// network, mounts and process ids of its own, may do there whatever root may, and nothing of it
/// stays; the code with which that ended.
///
/// # Errors
/// [`Error::Unsupported`] where this machine allows no namespaces.
pub fn in_a_pod(
    name: &str,
    arguments: impl IntoIterator<Item = String>,
    told: &mut dyn FnMut(&Line),
) -> Result<u8, Error> {
    let netns = Netns::up(&Topology::new([name], None))?;
    let process = netns.start(name, Command::own(name, arguments))?;
    let mut next = 0;
    // It ends with an error when nothing more can come.
    while let Ok((line, behind)) = process.line(next, LIMIT, |_| true) {
        told(&line);
        next = behind;
    }
    Ok(match process.wait(LIMIT)? {
        Exit::Code(code) => u8::try_from(code).unwrap_or(1),
        Exit::Signal(_) | Exit::Gone => 1,
    })
}
