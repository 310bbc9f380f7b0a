//! Who waits for what: requests in flight, matched with what comes back.
//!
//! Pure: sockets and clocks are `run`'s.

use std::collections::BTreeSet;

use meshproof_wire::{Frame, Kind};

use super::outcome::{Counters, End, Late, Loss, Outcome, Unsent};
use super::plan::{Expect, Plan};

/// A connection in use, by number; a planned connection may be opened several times.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Link(pub(crate) u32);

/// Where a request stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Not handed to the kernel.
    Ahead,
    /// Waits for its answer on this connection.
    Waiting(Link),
    /// Timed out on this connection; an answer would be late.
    Overdue(Link),
    /// Nothing more is expected of it.
    Settled,
}

/// What a frame from the server means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// An answer, in time, late or surplus; it is in the book.
    Answer,
    /// A heartbeat that wants an answer.
    Heartbeat,
    /// Nothing more may be sent on this connection.
    Goaway,
    /// Something that is counted and needs nothing done.
    Noted,
}

/// Every request, where it stands and what became of it.
pub(crate) struct Book<'a> {
    plan: &'a Plan,
    states: Vec<State>,
    pub(crate) outcomes: Vec<Outcome>,
    pub(crate) counters: Counters,
    /// Requests that are neither settled nor overdue.
    open: usize,
}

impl<'a> Book<'a> {
    pub(crate) fn new(plan: &'a Plan) -> Book<'a> {
        let outcome = |intended_ns| Outcome {
            end: End::Unsent(Unsent::Interrupted),
            intended_ns,
            sent_ns: None,
            answered_ns: None,
            observed: None,
        };
        Book {
            plan,
            states: vec![State::Ahead; plan.sends.len()],
            outcomes: plan.sends.iter().map(|s| outcome(s.intended_ns)).collect(),
            counters: Counters::default(),
            open: plan.sends.len(),
        }
    }

    /// Whether every request has come to its end.
    pub(crate) fn is_done(&self) -> bool {
        self.open == 0
    }

    /// How many requests have come to their end.
    pub(crate) fn done(&self) -> usize {
        self.states.len() - self.open
    }

    /// Notes when a request without a schedule had its turn.
    pub(crate) fn intended(&mut self, send: usize, at_ns: u64) {
        if let Some(outcome) = self.outcomes.get_mut(send) {
            outcome.intended_ns = at_ns;
        }
    }

    /// The kernel took its last byte. `None` for a one-way, else the time-out in milliseconds.
    pub(crate) fn sent(&mut self, send: usize, link: Link, at_ns: u64) -> Option<u32> {
        debug_assert_eq!(self.states.get(send), Some(&State::Ahead));
        let outcome = self.outcomes.get_mut(send)?;
        let planned = self.plan.sends.get(send)?;
        self.counters.sent += 1;
        outcome.sent_ns = Some(at_ns);
        match planned.expect {
            Expect::Nothing => {
                outcome.end = End::Oneway;
                self.settle(send, State::Settled);
                None
            }
            Expect::Answer { timeout_ms } => {
                *self.states.get_mut(send)? = State::Waiting(link);
                Some(timeout_ms)
            }
        }
    }

    /// It was written in part, or waits, and its connection went.
    pub(crate) fn lost(&mut self, send: usize, why: Loss) {
        match self.states.get(send) {
            // The part that was written was sent, and nobody can tell what came of it.
            Some(State::Ahead) => self.counters.sent += 1,
            Some(State::Waiting(_)) => {}
            _ => return,
        }
        self.end(send, End::Lost(why));
    }

    /// It will not be sent.
    pub(crate) fn unsent(&mut self, send: usize, why: Unsent) {
        if self.states.get(send) == Some(&State::Ahead) {
            self.end(send, End::Unsent(why));
        }
    }

    /// Its time is up. Whether it was still waiting.
    pub(crate) fn expire(&mut self, send: usize) -> bool {
        let Some(State::Waiting(link)) = self.states.get(send).copied() else {
            return false;
        };
        if let Some(outcome) = self.outcomes.get_mut(send) {
            outcome.end = End::TimedOut { late: Late::Never };
        }
        self.settle(send, State::Overdue(link));
        true
    }

    /// A frame came from the server. `heartbeats` are the ids of heartbeats that wait on this
    /// connection; `waiting` its requests, from which what was answered is taken out.
    pub(crate) fn hear(
        &mut self,
        connection: usize,
        link: Link,
        frame: Frame,
        at_ns: u64,
        heartbeats: &mut BTreeSet<u64>,
        waiting: &mut BTreeSet<usize>,
    ) -> Heard {
        match frame.head.kind {
            Kind::Response => {
                self.answer(connection, link, frame, at_ns, waiting);
                Heard::Answer
            }
            Kind::HeartbeatAck => {
                if heartbeats.remove(&frame.head.id.0) {
                    self.counters.heartbeats_answered += 1;
                } else {
                    self.counters.surplus += 1;
                }
                Heard::Noted
            }
            Kind::Heartbeat => {
                self.counters.heartbeats_of_server += 1;
                Heard::Heartbeat
            }
            Kind::Goaway => {
                self.counters.goaways += 1;
                Heard::Goaway
            }
            Kind::Request | Kind::Oneway => {
                self.counters.server_requests += 1;
                Heard::Noted
            }
            Kind::Unknown => {
                self.counters.unreadable_bytes += frame.bytes.len() as u64;
                Heard::Noted
            }
        }
    }

    fn answer(
        &mut self,
        connection: usize,
        link: Link,
        frame: Frame,
        at_ns: u64,
        waiting: &mut BTreeSet<usize>,
    ) {
        let send = self.asked(connection, frame.head.id.0);
        let state = send.and_then(|send| self.states.get(send).copied());
        let (end, send) = match (state, send) {
            (Some(State::Waiting(on)), Some(send)) if on == link => (End::Answered, send),
            (Some(State::Overdue(on)), Some(send)) if on == link => {
                self.counters.late += 1;
                (End::TimedOut { late: Late::Came }, send)
            }
            _ => {
                self.counters.surplus += 1;
                return;
            }
        };
        waiting.remove(&send);
        if let Some(outcome) = self.outcomes.get_mut(send) {
            outcome.end = end;
            outcome.answered_ns = Some(at_ns);
            outcome.observed = Some(frame);
        }
        self.settle(send, State::Settled);
    }

    /// Which request of a connection has this id.
    fn asked(&self, connection: usize, id: u64) -> Option<usize> {
        let connection = self.plan.connections.get(connection)?;
        let nth = id.checked_sub(connection.first_id.0)?;
        connection.sends.get(usize::try_from(nth).ok()?).copied()
    }

    fn end(&mut self, send: usize, end: End) {
        if let Some(outcome) = self.outcomes.get_mut(send) {
            outcome.end = end;
        }
        self.settle(send, State::Settled);
    }

    fn settle(&mut self, send: usize, to: State) {
        if let Some(state) = self.states.get_mut(send) {
            if matches!(state, State::Ahead | State::Waiting(_)) {
                self.open -= 1;
            }
            *state = to;
        }
    }
}
