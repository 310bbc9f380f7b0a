//! Heartbeats to the app, and what follows when they are not answered.
//!
//! [`Monitor`] decides when a heartbeat goes out and when the app is lost or back; [`Lifecycle`]
//! decides in which order the config center and the listener learn of it. Both are told what
//! happened and when, and say what to do; [`Event`] is what they tell people.
//!
//! ```text
//!   app lost:  config center forgets the pod  ->  12200 closes, GoAway  ->  isolated
//!   app back:  12200 listens                  ->  config center learns of the pod  ->  serving
//!   drain:     config center forgets the pod  ->  both sides drain      ->  ended
//! ```
//! A step begins when the one before it is acknowledged, or when its bounded wait is over.

mod event;
mod lifecycle;
mod monitor;

pub use event::{Event, What};
pub use lifecycle::{Act, Lifecycle, Op, Saved, State, Waits};
pub use monitor::{Action, Link, Monitor, Sign};
