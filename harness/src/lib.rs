//! Environments in which a whole mesh runs as it does in production, and what is shown in them.
//!
//! The modules follow a run: `scenario, matrix → mesh → environment`, and what is seen goes into
//! the record.
//!
//! - [`environment`]: what an environment is: pods with addresses, programs started in them,
//!   sockets opened in them.
//! - [`process`]: one program that was started: its lines, its end.
//! - [`netns`]: the backend of namespaces. It needs no root and leaves nothing behind.
//! - [`capture`]: packets of pods, kept in files.
//! - [`loopback`]: the backend of loopback addresses, for machines that forbid namespaces.
//! - [`pick`]: which of the two this machine allows.
//! - [`flips`]: every byte of a header as every other value, and what a sidecar makes of it.
//! - [`relay`]: a relay between two programs that knows frames and can harm them.
//! - [`ground`]: pods as places of faults.
//! - [`doctor`]: what this machine allows, and why.
//! - [`site`]: facts and capabilities of a place where meshes run.
//! - [`sut`]: how a sidecar is configured, started, asked, upgraded and stopped, from a file.
//! - [`mesh`]: a topology that is up: its pods' apps and sidecars, its config center, its names.
//! - [`standing`]: environments that stand until they are told to end.
//! - [`offline`]: a topology made from a capture, and replays through it.
//! - [`scenario`]: stories: steps, probes, the runner, the evidence of a failure.
//! - [`matrix`]: axes, covering arrays, cells, blame.
//! - [`watch`]: witnesses from outside: the config center's pushes, a port.
//! - [`demo`]: the story of a mesh whose app dies and comes back.
//!
//! **Invariant:** sidecars and peers are programs that are started; none is linked.

pub mod capture;
pub mod demo;
pub mod doctor;
pub mod environment;
mod error;
pub mod flips;
pub mod ground;
pub mod heartbeat;
pub mod inline;
pub mod loopback;
pub mod matrix;
pub mod mesh;
pub mod netns;
pub mod offline;
pub mod pick;
pub mod process;
pub mod relay;
pub mod scenario;
pub mod site;
pub mod standing;
pub mod sut;
pub mod watch;

pub use environment::{
    Backend, Capability, Command, Environment, Escapes, Pod, Ready, Streams, Topology,
};
pub use error::Error;
pub use loopback::Loopback;
pub use netns::Netns;
pub use process::Process;
