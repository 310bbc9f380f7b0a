//! Faults: what goes wrong on purpose, how it is done, what shows that it was done, and that
//! nothing is left of it.
//!
//! ```text
//! Fault --preflight--> Standby (a Plan) --apply--> Lease --evidence--> Evidence --heal--> Residue
//! ```
//! - [`Spec`]: *what* goes wrong, as a person writes it; the same in stories and on the command line.
//! - [`Way`]: *how* it can be done. [`choose`] picks one and says why, and refuses rather than
//!   approximates: a dropped packet is not a dropped frame.
//! - [`Plan`]: a dry run. Exact rules, the same as `iptables` lines, live flows that would match,
//!   what the kernel must offer, what else would be hit.
//! - [`Lease`]: a fault in force. A keeper, a process of one thread, holds it in the place where
//!   it is ([`Ground`]), for a time that is part of the bargain. Dropping the lease heals, and so
//!   does the end of the run, its silence (SIGSTOP), and the end of the time.
//! - [`Evidence`]: what met the fault, by the kernel's counters. Nothing met it: `INVALID`.
//! - [`Residue`]: what is left after healing, looked for, not assumed. [`leftovers`] looks for
//!   those of any tool.
//!
//! Whoever adds a way implements [`Backend`] and names it in [`backend::all`]; it runs in the
//! keeper, so it has one thread and the network of its ground.
//!
//! **Invariant:** what is written here outlives no keeper, unless it is journalled first.

#[macro_use]
mod macros;

pub mod backend;
pub mod choose;
mod course;
pub mod disk;
mod error;
mod evidence;
pub mod flows;
pub mod iptables;
pub mod keeper;
mod lease;
pub mod leftovers;
pub mod link;
pub mod mount;
pub mod netlink;
pub mod nft;
pub mod order;
mod plan;
pub mod process;
pub mod relay;
pub mod rule;
pub mod snapshot;
pub mod soak;
pub mod sockets;
pub mod sockhash;
pub mod spec;
pub mod speed;
mod talk;
mod way;

pub use backend::{Backend, Hold, Scene};
pub use error::Error;
pub use evidence::{Count, Ending, Evidence, Leftover, Occurred, Residue};
pub use lease::{BEAT, Fault, Ground, Healed, Here, Lease, SILENCE, Standby};
pub use plan::{FLOWS_MAX, Family, Flow, Plan, RuleText};
pub use spec::Spec;
pub use way::{Afterlife, Refusal, Way};
