//! When a heartbeat goes out, and when the app is lost or back.

use meshproof_sys::clock::Nanos;

use crate::config::Heartbeat;
use crate::{Bug, Bugs};

/// One connection to the app, tried or made. Never used again for another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Link(pub u64);

/// What the edge is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Connect to the app; tell by [`Monitor::connected`].
    Connect(Link),
    /// Send a heartbeat with this request id.
    Send {
        /// On which connection.
        link: Link,
        /// The request id.
        id: u32,
    },
    /// Close it, also while it is still being tried.
    Close(Link),
}

/// What was found out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sign {
    /// A heartbeat was answered in time.
    Answered,
    /// One was not.
    Missed {
        /// How many by now, this one included.
        in_a_row: u32,
    },
    /// The app is lost.
    Lost {
        /// How many misses it took.
        misses: u32,
    },
    /// It answered again.
    Back,
}

/// Sends a heartbeat every interval, on a connection of its own, and counts misses.
///
/// Times are slots on a grid that begins with [`Monitor::start`]. A heartbeat goes out in every
/// slot whatever became of the ones before; it is missed when its answer is not there a timeout
/// later, and never sooner: a refused connect and a connection that ends wait for that moment as
/// silence does. So with interval I, timeout T ≤ I and N misses the app is lost exactly T + N·I
/// after the send of the last heartbeat that was answered.
///
/// After a miss the connection is given up, and the next slot opens a new one: what a fault has
/// left waiting in a connection (retransmissions that back off) does not hold up the recovery.
/// One answer is enough to be back.
#[derive(Debug)]
pub struct Monitor {
    settings: Heartbeat,
    bugs: Bugs,
    /// The next slot; `None` while there is nothing to watch.
    due: Option<Nanos>,
    slot: Option<Slot>,
    link: Option<(Link, Made)>,
    in_a_row: u32,
    lost: bool,
    links: u64,
    ids: u32,
    actions: Vec<Action>,
    signs: Vec<(Nanos, Sign)>,
}

/// A heartbeat that is neither answered nor missed.
#[derive(Clone, Copy, Debug)]
struct Slot {
    id: u32,
    deadline: Nanos,
    sent: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Made {
    NotYet,
    Yes,
}

impl Monitor {
    /// Watches nothing yet.
    pub fn new(settings: Heartbeat, bugs: Bugs) -> Monitor {
        Monitor {
            settings,
            bugs,
            due: None,
            slot: None,
            link: None,
            in_a_row: 0,
            lost: false,
            links: 0,
            ids: 0,
            actions: Vec::new(),
            signs: Vec::new(),
        }
    }

    /// As the predecessor left it: an app that was lost stays so until it answers.
    #[must_use]
    pub fn with_app_lost(mut self) -> Monitor {
        self.lost = true;
        self
    }

    /// Begins to watch, with a heartbeat at once. Does nothing while it watches.
    pub fn start(&mut self, now: Nanos) {
        if self.due.is_none() {
            self.due = Some(now);
            self.in_a_row = 0;
            self.tick(now);
        }
    }

    /// Ends the watch. Whether the app is lost stays as it is.
    pub fn stop(&mut self) {
        self.due = None;
        self.slot = None;
        self.close();
    }

    /// Whether heartbeats go out.
    pub fn is_watching(&self) -> bool {
        self.due.is_some()
    }

    /// Whether the app is taken for lost.
    pub fn is_lost(&self) -> bool {
        self.lost
    }

    /// Gives the connection up, for one in another protocol at the next slot. A heartbeat that is
    /// under way is let go of, neither answered nor missed.
    pub fn renew(&mut self) {
        self.slot = None;
        self.close();
    }

    /// Takes new settings. The heartbeat that is under way keeps its deadline; the next slot is
    /// at most one new interval away.
    pub fn configure(&mut self, settings: Heartbeat, now: Nanos) {
        self.settings = settings;
        if let Some(due) = self.due {
            self.due = Some(due.min(now.plus_ns(self.interval_ns())));
        }
    }

    /// A connect has ended, well or not.
    pub fn connected(&mut self, link: Link, result: Result<(), ()>) {
        if self.link != Some((link, Made::NotYet)) {
            return;
        }
        match result {
            Ok(()) => {
                self.link = Some((link, Made::Yes));
                self.send();
            }
            Err(()) => self.link = None,
        }
    }

    /// A connection has ended from the other side.
    pub fn closed(&mut self, link: Link) {
        if self.link.is_some_and(|(known, _)| known == link) {
            self.link = None;
        }
    }

    /// An answer has come. It counts as long as [`Monitor::tick`] has not judged its heartbeat:
    /// an edge that was held up reads first and ticks afterwards.
    pub fn answered(&mut self, link: Link, id: u32, now: Nanos) {
        let ours = self.link == Some((link, Made::Yes))
            && self.slot.is_some_and(|slot| slot.sent && slot.id == id);
        if !ours {
            return;
        }
        self.slot = None;
        self.in_a_row = 0;
        self.signs.push((now, Sign::Answered));
        if std::mem::take(&mut self.lost) {
            self.signs.push((now, Sign::Back));
        }
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Nanos) {
        if self.slot.is_some_and(|slot| now >= slot.deadline) {
            self.slot = None;
            self.close();
            self.miss(now);
        }
        let Some(due) = self.due.filter(|due| now >= *due) else {
            return;
        };
        // Slots that were slept through are left out: nothing was asked in them.
        let interval_ns = self.interval_ns();
        let slept = now.since(due) / interval_ns;
        let next = due.plus_ns(slept.saturating_add(1).saturating_mul(interval_ns));
        self.due = Some(next);
        self.ids = self.ids.wrapping_add(1);
        let timeout_ns = self.settings.timeout.0.saturating_mul(1_000_000);
        self.slot = Some(Slot {
            id: self.ids,
            // From the send; but no later than the next slot, which it must not hold up.
            deadline: now.plus_ns(timeout_ns).min(next),
            sent: false,
        });
        match self.link {
            Some((_, Made::Yes)) => self.send(),
            Some((_, Made::NotYet)) => {}
            None => {
                self.links += 1;
                let link = Link(self.links);
                self.link = Some((link, Made::NotYet));
                self.actions.push(Action::Connect(link));
            }
        }
    }

    /// When [`Monitor::tick`] wants to be called next.
    pub fn next_deadline(&self) -> Option<Nanos> {
        match (self.slot, self.due) {
            (Some(slot), Some(due)) => Some(slot.deadline.min(due)),
            (_, due) => due,
        }
    }

    /// Takes what is to be done.
    pub fn take_actions(&mut self) -> Vec<Action> {
        std::mem::take(&mut self.actions)
    }

    /// Takes what was found out, and when.
    pub fn take_signs(&mut self) -> Vec<(Nanos, Sign)> {
        std::mem::take(&mut self.signs)
    }

    fn interval_ns(&self) -> u64 {
        self.settings.interval.0.max(1).saturating_mul(1_000_000)
    }

    fn send(&mut self) {
        let Some((link, Made::Yes)) = self.link else {
            return;
        };
        if let Some(slot) = &mut self.slot
            && !slot.sent
        {
            slot.sent = true;
            self.actions.push(Action::Send { link, id: slot.id });
        }
    }

    fn close(&mut self) {
        if let Some((link, _)) = self.link.take() {
            self.actions.push(Action::Close(link));
        }
    }

    fn miss(&mut self, now: Nanos) {
        self.in_a_row = self.in_a_row.saturating_add(1);
        let in_a_row = self.in_a_row;
        self.signs.push((now, Sign::Missed { in_a_row }));
        if in_a_row >= self.settings.misses && !self.lost && !self.bugs.has(Bug::HeartbeatIgnored) {
            self.lost = true;
            self.signs.push((now, Sign::Lost { misses: in_a_row }));
        }
    }
}

#[cfg(test)]
mod tests;
