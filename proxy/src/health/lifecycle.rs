//! In which order the config center and the listener learn of the app's state.

use std::collections::BTreeSet;

use meshproof_sys::clock::Nanos;
use serde::{Deserialize, Serialize};

use super::{Event, What};
use crate::{Bug, Bugs};

/// Names one order that is acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Op(pub u64);

/// What the edge is to do. What has an [`Op`] is acknowledged by [`Lifecycle::done`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// Take this pod off the config center, and keep at it until it is off.
    Deregister(Op),
    /// Put it back, and keep at it until it is there.
    Register(Op),
    /// Close the kernel's socket on 12200, so that new connections are refused.
    CloseListener(Op),
    /// Send GoAway to the clients on 12200; each is closed when nothing of it is in flight.
    GoAway,
    /// Listen on 12200 again.
    OpenListener(Op),
    /// GoAway on both sides, nothing new; acknowledged when nothing is in flight.
    Drain(Op),
    /// The sidecar ends.
    Finish,
}

/// How long acknowledgements are waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waits {
    /// Of the config center, in nanoseconds.
    pub config_center_ns: u64,
    /// Of the data thread, in nanoseconds.
    pub listener_ns: u64,
    /// Until nothing is in flight, in nanoseconds.
    pub drain_ns: u64,
    /// A listener that could not be opened is tried again after this many nanoseconds.
    pub retry_ns: u64,
}

/// Where the sidecar stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// The app is well, or nobody has reason to think otherwise: 12200 listens.
    Serving,
    /// The app is lost; the config center or the listener does not know it yet.
    Isolating,
    /// The app is lost, and the pod is out of service.
    Isolated,
    /// The app is back; the listener or the config center does not know it yet.
    Recovering,
    /// The graceful end.
    Draining,
    /// A successor takes over; nothing is registered or deregistered any more.
    HandingOver,
    /// It has ended.
    Ended,
}

impl State {
    /// Whether calls for the app are wanted here.
    pub fn is_serving(self) -> bool {
        self == State::Serving
    }

    /// As in the admin interface.
    pub fn name(self) -> &'static str {
        match self {
            State::Serving => "serving",
            State::Isolating => "isolating",
            State::Isolated => "isolated",
            State::Recovering => "recovering",
            State::Draining => "draining",
            State::HandingOver => "handing-over",
            State::Ended => "ended",
        }
    }

    /// All of them.
    pub const ALL: [State; 7] = [
        State::Serving,
        State::Isolating,
        State::Isolated,
        State::Recovering,
        State::Draining,
        State::HandingOver,
        State::Ended,
    ];
}

/// What a successor takes over.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Saved {
    /// Services that the app publishes.
    pub services: BTreeSet<String>,
    /// The app is lost.
    pub lost: bool,
    /// 12200 listens.
    pub listening: bool,
    /// Publications stand at the config center, as far as was ordered.
    pub registered: bool,
}

/// One order under way.
#[derive(Clone, Copy, Debug)]
struct Pending {
    op: Op,
    step: Step,
    until: Nanos,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Deregister,
    Register,
    Close,
    Open,
    /// A listener failed; nothing is under way until the next try.
    Rest,
    Drain,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Goal {
    Serve,
    Isolate,
    Drain,
    HandOver,
}

/// Knows what was ordered and acknowledged, compares it with what should be, and orders the next
/// step. One order is under way at a time, so that steps cannot overtake each other, whatever the
/// app does meanwhile.
///
/// An order whose wait is over counts as carried out: whoever got it keeps at it. Publications
/// are remembered by the directory; here only their number matters.
#[derive(Debug)]
pub struct Lifecycle {
    waits: Waits,
    bugs: Bugs,
    services: BTreeSet<String>,
    goal: Goal,
    lost: bool,
    registered: bool,
    listening: bool,
    drained: bool,
    finished: bool,
    /// The state of the last arrival or departure, so that an arrival is told once.
    told: State,
    pending: Option<Pending>,
    ops: u64,
    acts: Vec<Act>,
    events: Vec<Event>,
}

impl Lifecycle {
    /// A sidecar that listens on both sides and whose app has published nothing yet.
    pub fn new(waits: Waits, bugs: Bugs) -> Lifecycle {
        Lifecycle {
            waits,
            bugs,
            services: BTreeSet::new(),
            goal: Goal::Serve,
            lost: false,
            registered: true,
            listening: true,
            drained: false,
            finished: false,
            told: State::Serving,
            pending: None,
            ops: 0,
            acts: Vec::new(),
            events: Vec::new(),
        }
    }

    /// A sidecar that goes on where its predecessor was, with [`Lifecycle::resume`]: also in the
    /// middle of an isolation or a recovery.
    pub fn restored(saved: Saved, waits: Waits, bugs: Bugs) -> Lifecycle {
        let is_isolated = saved.lost && !saved.listening && !saved.registered;
        Lifecycle {
            services: saved.services,
            goal: Goal::HandOver,
            lost: saved.lost,
            registered: saved.registered,
            listening: saved.listening,
            told: match is_isolated {
                true => State::Isolated,
                false => State::Serving,
            },
            ..Lifecycle::new(waits, bugs)
        }
    }

    /// For a successor.
    pub fn saved(&self) -> Saved {
        Saved {
            services: self.services.clone(),
            lost: self.lost,
            listening: self.listening,
            registered: self.registered,
        }
    }

    /// Takes new waits, from the next step on.
    pub fn configure(&mut self, waits: Waits) {
        self.waits = waits;
    }

    /// The app published; `true` where it was the first service, so that heartbeats begin.
    pub fn published(&mut self, service: &str) -> bool {
        let first = self.services.is_empty();
        self.services.insert(service.to_owned());
        first
    }

    /// The app took a service back; `true` where it was the last one, so that heartbeats end.
    pub fn unpublished(&mut self, service: &str) -> bool {
        self.services.remove(service) && self.services.is_empty()
    }

    /// What the app publishes.
    pub fn services(&self) -> &BTreeSet<String> {
        &self.services
    }

    /// The app does not answer.
    pub fn app_lost(&mut self, misses: u32, now: Nanos) {
        self.lost = true;
        self.tell(now, What::AppLost { misses });
        if self.goal == Goal::Serve {
            self.goal = Goal::Isolate;
        }
        self.step(now);
    }

    /// The app answers again.
    pub fn app_back(&mut self, now: Nanos) {
        self.lost = false;
        self.tell(now, What::AppBack);
        if self.goal == Goal::Isolate && !self.bugs.has(Bug::NoRecovery) {
            self.goal = Goal::Serve;
        }
        self.step(now);
    }

    /// Begins the graceful end: off the config center, then drain. Repeated, it does nothing.
    pub fn drain(&mut self, now: Nanos) {
        if matches!(self.goal, Goal::Serve | Goal::Isolate) {
            self.goal = Goal::Drain;
            self.tell(now, What::Draining);
            self.step(now);
        }
    }

    /// A successor takes over: nothing is ordered from now on, and above all nothing is taken off
    /// the config center.
    pub fn hand_over(&mut self, now: Nanos) {
        if self.goal != Goal::HandOver {
            self.goal = Goal::HandOver;
            self.pending = None;
            self.tell(now, What::HandingOver);
        }
    }

    /// The successor did not come up, or this is the successor: goes on.
    pub fn resume(&mut self, now: Nanos) {
        if self.goal == Goal::HandOver {
            self.goal = if self.lost {
                Goal::Isolate
            } else {
                Goal::Serve
            };
            self.step(now);
        }
    }

    /// An order was carried out; an error is one that only another try can mend.
    pub fn done(&mut self, op: Op, result: Result<(), String>, now: Nanos) {
        let Some(pending) = self.pending.filter(|pending| pending.op == op) else {
            return;
        };
        self.pending = None;
        match (pending.step, result) {
            (Step::Open, Err(error)) => {
                self.listening = false;
                self.tell(now, What::ListenerFailed { error });
                self.wait(Step::Rest, self.waits.retry_ns, now);
                return;
            }
            // For the config center an error is an answer that did not come.
            (Step::Register, Err(_)) => self.tell(now, What::RegisterUnanswered),
            (Step::Deregister, Err(_)) => self.tell(now, What::DeregisterUnanswered),
            (Step::Register, Ok(())) => {
                let services = self.services.len();
                self.tell(now, What::Registered { services });
            }
            (Step::Deregister, Ok(())) => self.tell(now, What::Deregistered),
            (Step::Close, _) => self.closed(now),
            (Step::Open, Ok(())) => self.tell(now, What::ListenerOpened),
            (Step::Drain, _) => {
                self.drained = true;
                self.tell(now, What::Drained);
            }
            (Step::Rest, _) => {}
        }
        self.step(now);
    }

    /// Time has passed: a wait may be over.
    pub fn tick(&mut self, now: Nanos) {
        let Some(pending) = self.pending.filter(|pending| now >= pending.until) else {
            return;
        };
        self.pending = None;
        match pending.step {
            Step::Deregister => self.tell(now, What::DeregisterUnanswered),
            Step::Register => self.tell(now, What::RegisterUnanswered),
            Step::Close => {
                self.tell(now, What::ListenerUnanswered);
                self.acts.push(Act::GoAway);
            }
            Step::Open => self.tell(now, What::ListenerUnanswered),
            Step::Rest => {}
            Step::Drain => {
                self.drained = true;
                self.tell(now, What::DrainUnfinished);
            }
        }
        self.step(now);
    }

    /// When [`Lifecycle::tick`] wants to be called next.
    pub fn next_deadline(&self) -> Option<Nanos> {
        self.pending.map(|pending| pending.until)
    }

    /// Where the sidecar stands.
    pub fn state(&self) -> State {
        match self.goal {
            _ if self.finished => State::Ended,
            Goal::HandOver => State::HandingOver,
            Goal::Drain => State::Draining,
            Goal::Serve if self.pending.is_none() => State::Serving,
            Goal::Serve => State::Recovering,
            Goal::Isolate if self.pending.is_none() => State::Isolated,
            Goal::Isolate => State::Isolating,
        }
    }

    /// Whether 12200 listens, as far as was ordered.
    pub fn is_listening(&self) -> bool {
        self.listening
    }

    /// Whether publications stand at the config center, as far as was ordered.
    pub fn is_registered(&self) -> bool {
        self.registered
    }

    /// Takes what is to be done, in order.
    pub fn take_acts(&mut self) -> Vec<Act> {
        std::mem::take(&mut self.acts)
    }

    /// Takes what is to be told, in order.
    pub fn take_events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }

    fn closed(&mut self, now: Nanos) {
        self.tell(now, What::ListenerClosed);
        self.acts.push(Act::GoAway);
    }

    /// Orders the next step towards the goal, if one is to be taken and none is under way.
    fn step(&mut self, now: Nanos) {
        if self.pending.is_some() || self.finished {
            return;
        }
        match self.goal {
            Goal::HandOver => {}
            Goal::Isolate => {
                if self.registered && !self.bugs.has(Bug::DeregisterForgotten) {
                    self.deregister(now);
                } else if self.listening && !self.bugs.has(Bug::ListenerStaysOpen) {
                    self.listening = false;
                    self.tell(now, What::ListenerClosing);
                    let op = self.wait(Step::Close, self.waits.listener_ns, now);
                    self.acts.push(Act::CloseListener(op));
                } else {
                    self.arrive(State::Isolated, What::Isolated, now);
                }
            }
            Goal::Serve => {
                let too_early = self.bugs.has(Bug::RegisterBeforeListen) && !self.registered;
                if !self.listening && !too_early {
                    self.listening = true;
                    self.tell(now, What::ListenerOpening);
                    let op = self.wait(Step::Open, self.waits.listener_ns, now);
                    self.acts.push(Act::OpenListener(op));
                } else if !self.registered {
                    self.registered = true;
                    let services = self.services.len();
                    self.tell(now, What::Registering { services });
                    let op = self.wait(Step::Register, self.waits.config_center_ns, now);
                    self.acts.push(Act::Register(op));
                } else {
                    self.arrive(State::Serving, What::Serving, now);
                }
            }
            Goal::Drain => {
                if self.registered {
                    self.deregister(now);
                } else if !self.drained {
                    let op = self.wait(Step::Drain, self.waits.drain_ns, now);
                    self.acts.push(Act::Drain(op));
                } else {
                    self.finished = true;
                    self.acts.push(Act::Finish);
                }
            }
        }
    }

    fn deregister(&mut self, now: Nanos) {
        self.registered = false;
        self.tell(now, What::Deregistering);
        let op = self.wait(Step::Deregister, self.waits.config_center_ns, now);
        self.acts.push(Act::Deregister(op));
    }

    fn arrive(&mut self, state: State, what: What, now: Nanos) {
        if self.told != state {
            self.told = state;
            self.tell(now, what);
        }
    }

    fn wait(&mut self, step: Step, ns: u64, now: Nanos) -> Op {
        self.ops += 1;
        let op = Op(self.ops);
        self.pending = Some(Pending {
            op,
            step,
            until: now.plus_ns(ns),
        });
        // Whatever it comes to, the next arrival is news.
        self.told = self.state();
        op
    }

    fn tell(&mut self, at: Nanos, what: What) {
        self.events.push(Event { at, what });
    }
}

#[cfg(test)]
mod tests;
