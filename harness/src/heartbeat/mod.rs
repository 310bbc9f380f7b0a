//! The heartbeats between sidecar and app on 12199, and what must follow when they are not
//! answered: measured, and held to two laws.
//!
//! A sidecar asks its app every interval `I`, waits for an answer for `T`, and after `N` misses in
//! a row takes the pod off the config center and closes 12200. When the app answers again, it is
//! all undone. [`trial`] makes the answers stop in one way after the other and stamps what
//! follows on one clock; [`law`] says when it has to follow; [`wire`] reads the stamps that only
//! packets tell.

pub mod law;
pub mod trial;
pub mod wire;

use meshproof_fault::Way;
use meshproof_sys::clock::Nanos;
use serde::Serialize;

/// What followed, on the monotonic clock of the machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Stamps {
    /// The fault came into force: from here on the app is silent.
    pub silent_ns: u64,
    /// When the last heartbeat was sent that the sidecar has an answer to, on the wire.
    pub answered_ns: u64,
    /// The sidecar took the app for lost, by what it says of itself; none: it says nothing.
    pub detected_ns: Option<u64>,
    /// Its message to the config center left the pod, on the wire.
    pub deregistered_ns: u64,
    /// The config center told a subscriber.
    pub known_ns: u64,
    /// 12200 was refused to another pod.
    pub refused_ns: u64,
}

/// The way back, on the same clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Recovery {
    /// The fault was taken away.
    pub healed_ns: u64,
    /// The sidecar had an answer again, on the wire.
    pub answered_ns: u64,
    /// The config center told a subscriber.
    pub known_ns: u64,
    /// 12200 took a connection of another pod.
    pub open_ns: u64,
}

/// One trial.
#[derive(Clone, Debug, Serialize)]
pub struct Trial {
    /// How answers were stopped.
    pub way: Way,
    /// What followed.
    pub stamps: Stamps,
    /// The way back.
    pub recovery: Recovery,
    /// By how much the machine held this process up while it measured, in nanoseconds: the bounds
    /// are wider by that.
    pub late_ns: u64,
}

/// Milliseconds from one moment to another; below 0 where it came before.
pub(crate) fn ms(from: u64, to: u64) -> f64 {
    (Nanos(to).0 as f64 - from as f64) / 1e6
}
