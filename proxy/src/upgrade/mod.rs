//! Who listens and who serves while one process takes over from another.
//!
//! The successor connects to the predecessor's unix socket and the two speak, in this order:
//!
//! ```text
//! successor                         predecessor
//!   hello: name, version      ->
//!                             <-    offer: listeners (descriptors), state
//!   ready                     ->                                               (now it is decided)
//!                             <-    yours: the last state                      (its control stops)
//!   serves                          accepts nothing any more
//!                             <-    connection (descriptor, bytes read), one by one, as they fall idle
//!                             <-    done                                       (it ends)
//! ```
//!
//! Listeners are shared, never closed and opened: a connect that comes in between waits in the
//! kernel. Calls in flight stay with the predecessor, which has sent them; a connection follows
//! when nothing of it is in flight.
//!
//! [`Predecessor`] and [`Successor`] decide; [`crate::edge::upgrade`] has the socket.
//!
//! **Invariant:** until `ready` was heard, whatever happens to the successor leaves the
//! predecessor serving as before; from `yours` on the predecessor never serves anew.

mod message;
mod predecessor;
mod successor;

pub use message::{Hello, Message, Offer, Refusal, SideName, State, VERSION};
pub use predecessor::{Predecessor, Step};
pub use successor::{GaveUp, Next, Successor, Wanted};

/// The predecessor waits for `ready` for at most this long, and so does a successor for `offer`
/// and for `yours`, in nanoseconds.
pub const HANDSHAKE_NS: u64 = 5_000_000_000;
