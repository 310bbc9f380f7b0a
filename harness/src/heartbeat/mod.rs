//! The heartbeats between sidecar and app on 12199, and what must follow when they are not
//! answered: measured, and held to two laws.
//!
//! A sidecar asks its app every interval `I`, waits for an answer for `T`, and after `N` misses in
//! a row takes the pod off the config center and closes 12200. When the app answers again, it is
//! all undone. [`trial`] makes the answers stop in one way after the other and stamps what
//! follows on one clock; [`law`] says when it has to follow; [`wire`] reads the stamps that only
//! packets tell.

pub mod callers;
mod late;
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
    /// Its end was begun: not before this moment.
    pub healing_ns: u64,
    /// The fault was taken away, and it had been looked whether anything is left: not after this
    /// moment.
    pub healed_ns: u64,
    /// When the heartbeat was first sent that was answered first, on the wire.
    pub asked_ns: u64,
    /// The sidecar had that answer, on the wire.
    pub answered_ns: u64,
    /// The config center told a subscriber.
    pub known_ns: u64,
    /// 12200 took a connection of another pod.
    pub open_ns: u64,
}

impl Recovery {
    /// What of the time from the begin of healing to the first answer TCP explains, in nanoseconds: the
    /// heartbeat was under way before, and what carried it was sent again when its time-out was
    /// over. A heartbeat that was sent after healing had nothing to wait for.
    pub fn tcp_ns(&self) -> u64 {
        match self.asked_ns < self.healing_ns {
            true => self.answered_ns.saturating_sub(self.healing_ns),
            false => 0,
        }
    }

    /// The rest of it, which is the sidecar's own and the healing's, in nanoseconds.
    pub fn own_ns(&self) -> u64 {
        let all = self.answered_ns.saturating_sub(self.healing_ns);
        all - self.tcp_ns()
    }
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
    /// What became of calls meanwhile.
    pub callers: callers::Callers,
}

/// Milliseconds from one moment to another; below 0 where it came before.
pub(crate) fn ms(from: u64, to: u64) -> f64 {
    (Nanos(to).0 as f64 - from as f64) / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_back_is_split() {
        let back = |asked_ns| Recovery {
            healing_ns: 1_000,
            healed_ns: 1_050,
            asked_ns,
            answered_ns: 1_300,
            ..Recovery::default()
        };
        assert_eq!((back(900).tcp_ns(), back(900).own_ns()), (300, 0));
        assert_eq!((back(1_000).tcp_ns(), back(1_000).own_ns()), (0, 300));
        assert_eq!(Recovery::default().own_ns(), 0);
    }
}
