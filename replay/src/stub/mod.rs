//! A provider that answers from recorded responses.
//!
//! - [`shelf`]: which recorded answer belongs to a request; pure.
//! - [`serve`]: the sockets.
//! - [`known`]: how others learn of it.
//!
//! **Invariant:** an answer that fits only loosely is told, and never makes a pass.

pub mod known;
pub mod serve;
pub mod shelf;

pub use serve::{Latency, Options, Stub};
pub use shelf::{Report, Shelf};
