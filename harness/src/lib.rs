//! Environments in which a whole mesh runs as it does in production.
//!
//! - [`environment`]: what an environment is: pods with addresses, programs started in them,
//!   sockets opened in them.
//! - [`process`]: one program that was started: its lines, its end.
//! - [`netns`]: the backend of namespaces. It needs no root and leaves nothing behind.
//! - [`demo`]: the story of a mesh whose app dies and comes back.
//!
//! **Invariant:** sidecars and peers are programs that are started; none is linked.

pub mod demo;
pub mod environment;
mod error;
pub mod netns;
pub mod process;

pub use environment::{Command, Environment, Pod, Ready, Topology};
pub use error::Error;
pub use netns::Netns;
pub use process::Process;
