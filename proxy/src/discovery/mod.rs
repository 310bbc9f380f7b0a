//! What this pod publishes and subscribes to, what the config center and the VIP name service
//! say, and the table of providers that comes of it.

mod event;
mod state;

pub use event::Event;
pub use state::{Publication, Resolved, State, Subscription};
