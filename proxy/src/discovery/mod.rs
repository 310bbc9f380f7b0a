//! What this pod publishes and subscribes to, what the config center and the VIP name service
//! say, and the table of providers that comes of it.
//!
//! [`Discovery`] is a pure state machine: [`Discovery::handle`] takes what happened,
//! [`Discovery::advance`] draws the conclusions, [`Discovery::next_output`] hands out what is to
//! be done. The edge may hand in many inputs before it lets it advance.
//!
//! **The way to a service.** A static route that names it (and no class) goes before everything.
//! Else the app's `targetAppAddress` decides together with its flags: `vipOnly` asks the VIP
//! alone; `vipEnforce` takes the VIP, and the config center's list only while the VIP has no
//! address; without them the config center's list is taken, and the VIP where that list is empty.
//! A VIP's `_TIMEOUT` bounds the calls in each of these cases: the app said it of its calls.
//!
//! **What is believed.** An empty list that is not confirmed, and an older revision, change
//! nothing, and the list is asked for again. Providers that a config center without memory does
//! not name yet are kept for the length of a lease. A lost watch keeps everything. A name that
//! does not resolve any more keeps its addresses.
//!
//! **Limits:** 4096 publications, subscriptions, names and providers per service; 1024 waiting
//! calls. More is refused with a message, or counted as not believed.

mod api;
mod center;
mod event;
mod lists;
mod machine;
mod names;
mod state;
mod target;
#[cfg(test)]
mod tests;
mod way;

pub use center::{Said, Say};
pub use event::Event;
pub use machine::{CallId, Discovery, Input, Output, Settings};
pub use names::NoAddress;
pub use state::{Publication, Resolved, State, Subscription};
pub use target::{BadTarget, Target, TargetHost};
