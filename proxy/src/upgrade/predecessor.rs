//! The process that serves, and gives way.

use meshproof_sys::clock::Nanos;

use super::{HANDSHAKE_NS, Hello, Refusal, VERSION};

/// The end comes this much later than the drain: the core's drain begins only when the control side
/// has stopped and the listeners are closed, and has its grace; all that it cannot wait for is
/// answered at its end.
const LEEWAY_NS: u64 = 5_000_000_000;

/// What a predecessor does next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Tell the one who asked, and hang up on it. Nothing else changes.
    Refuse(Refusal),
    /// Ask the control side for listeners and state, and make the offer. Service goes on.
    Offer,
    /// The successor is gone or too late: hang up on it. Service goes on.
    Resume,
    /// Stop the control side, say `yours` with its last state, accept nothing any more, hand
    /// connections over as they fall idle.
    GiveWay,
    /// The successor is gone, and took nothing that is still here: finish what is in flight and
    /// take no new call.
    Drain,
    /// Say `done` where somebody listens, and end, without deregistering.
    End,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Serving,
    /// Waits for `ready` until then.
    Offering(Nanos),
    /// Hands over, until then at the latest.
    GivingWay(Nanos),
    Ended,
}

/// The predecessor's decisions.
#[derive(Debug)]
pub struct Predecessor {
    name: String,
    drain_ns: u64,
    phase: Phase,
}

impl Predecessor {
    /// Sidecar `name` serves. It gives what is in flight `drain_ns` nanoseconds at a hand-over,
    /// and ends 5 s after them at the latest.
    pub fn new(name: impl Into<String>, drain_ns: u64) -> Predecessor {
        Predecessor {
            name: name.into(),
            drain_ns,
            phase: Phase::Serving,
        }
    }

    /// A hand-over that has not begun takes `drain_ns` nanoseconds at most.
    pub fn configure(&mut self, drain_ns: u64) {
        self.drain_ns = drain_ns;
    }

    /// Somebody wants to take over.
    pub fn asked(&mut self, hello: &Hello, now: Nanos) -> Step {
        if hello.name != self.name {
            return Step::Refuse(Refusal::Name {
                theirs: self.name.clone(),
                ours: hello.name.clone(),
            });
        }
        if hello.version != VERSION {
            return Step::Refuse(Refusal::Version {
                theirs: VERSION,
                ours: hello.version,
            });
        }
        match self.phase {
            Phase::Serving => {
                self.phase = Phase::Offering(now.plus_ns(HANDSHAKE_NS));
                Step::Offer
            }
            Phase::Offering(_) => Step::Refuse(Refusal::Busy),
            Phase::GivingWay(_) | Phase::Ended => Step::Refuse(Refusal::Ending),
        }
    }

    /// The successor can serve.
    pub fn confirmed(&mut self, now: Nanos) -> Option<Step> {
        let Phase::Offering(until) = self.phase else {
            return None;
        };
        if now >= until {
            return self.tick(now);
        }
        let until = now.plus_ns(self.drain_ns).plus_ns(LEEWAY_NS);
        self.phase = Phase::GivingWay(until);
        Some(Step::GiveWay)
    }

    /// The successor is gone, or said what cannot be understood.
    pub fn lost(&mut self) -> Option<Step> {
        match self.phase {
            Phase::Offering(_) => {
                self.phase = Phase::Serving;
                Some(Step::Resume)
            }
            Phase::GivingWay(_) => Some(Step::Drain),
            Phase::Serving | Phase::Ended => None,
        }
    }

    /// Nothing is in flight, and no client is left.
    pub fn drained(&mut self) -> Option<Step> {
        match self.phase {
            Phase::GivingWay(_) => {
                self.phase = Phase::Ended;
                Some(Step::End)
            }
            Phase::Serving | Phase::Offering(_) | Phase::Ended => None,
        }
    }

    /// When [`Predecessor::tick`] wants to be called.
    pub fn next_deadline(&self) -> Option<Nanos> {
        match self.phase {
            Phase::Offering(until) | Phase::GivingWay(until) => Some(until),
            Phase::Serving | Phase::Ended => None,
        }
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Nanos) -> Option<Step> {
        match self.phase {
            Phase::Offering(until) if now >= until => self.lost(),
            Phase::GivingWay(until) if now >= until => self.drained(),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DRAIN_NS: u64 = 10_000_000_000;

    fn hello(name: &str) -> Hello {
        Hello {
            version: VERSION,
            name: name.into(),
            pid: 1,
            program: String::new(),
        }
    }

    /// Plays a script: a word and the second at which it falls; what was done.
    #[track_caller]
    fn check(script: &[(&str, u64)], expected: &[Option<Step>]) {
        let mut it = Predecessor::new("a", DRAIN_NS);
        let mut done = Vec::new();
        for (word, second) in script {
            let now = Nanos(second * 1_000_000_000);
            done.push(match *word {
                "asked" => Some(it.asked(&hello("a"), now)),
                "stranger" => Some(it.asked(&hello("b"), now)),
                "newer" => Some(it.asked(
                    &Hello {
                        version: VERSION + 1,
                        ..hello("a")
                    },
                    now,
                )),
                "ready" => it.confirmed(now),
                "lost" => it.lost(),
                "drained" => it.drained(),
                "tick" => it.tick(now),
                word => unreachable!("{word}"),
            });
        }
        assert_eq!(done, expected);
    }

    #[test]
    fn it_gives_way_step_by_step() {
        check(
            &[
                ("asked", 1),
                ("tick", 2),
                ("ready", 2),
                ("tick", 11),
                ("drained", 11),
            ],
            &[
                Some(Step::Offer),
                None,
                Some(Step::GiveWay),
                None,
                Some(Step::End),
            ],
        );
    }

    #[test]
    fn whatever_happens_before_ready_it_serves_on() {
        check(
            &[
                ("asked", 1),
                ("lost", 2),
                ("tick", 9),
                ("asked", 10),
                ("tick", 15),
                ("ready", 15),
            ],
            &[
                Some(Step::Offer),
                Some(Step::Resume),
                None,
                Some(Step::Offer),
                Some(Step::Resume),
                None,
            ],
        );
        // A `ready` at the very moment at which time is up is one too late.
        check(
            &[("asked", 1), ("ready", 6)],
            &[Some(Step::Offer), Some(Step::Resume)],
        );
    }

    #[test]
    fn it_ends_in_bounded_time() {
        check(
            &[
                ("asked", 1),
                ("ready", 1),
                // What outlasts the drain is answered, and handed over.
                ("tick", 11),
                ("tick", 15),
                ("tick", 16),
                ("drained", 17),
            ],
            &[
                Some(Step::Offer),
                Some(Step::GiveWay),
                None,
                None,
                Some(Step::End),
                None,
            ],
        );
        check(
            &[("asked", 1), ("ready", 1), ("lost", 2), ("drained", 3)],
            &[
                Some(Step::Offer),
                Some(Step::GiveWay),
                Some(Step::Drain),
                Some(Step::End),
            ],
        );
    }

    #[test]
    fn its_time_may_be_changed_until_it_gives_way() {
        let mut it = Predecessor::new("a", DRAIN_NS);
        it.configure(1_000);
        it.asked(&hello("a"), Nanos(0));
        it.configure(3_000);
        it.confirmed(Nanos(1_000));
        it.configure(9_000);
        let end = Nanos(4_000).plus_ns(LEEWAY_NS);
        assert_eq!(it.next_deadline(), Some(end));
        assert_eq!(it.tick(end), Some(Step::End));
    }

    #[test]
    fn strangers_and_second_ones_are_refused_and_change_nothing() {
        let refused = |why| Some(Step::Refuse(why));
        check(
            &[
                ("stranger", 1),
                ("newer", 1),
                ("asked", 1),
                ("asked", 2),
                ("stranger", 2),
                ("ready", 3),
                ("asked", 4),
            ],
            &[
                refused(Refusal::Name {
                    theirs: "a".into(),
                    ours: "b".into(),
                }),
                refused(Refusal::Version {
                    theirs: VERSION,
                    ours: VERSION + 1,
                }),
                Some(Step::Offer),
                refused(Refusal::Busy),
                refused(Refusal::Name {
                    theirs: "a".into(),
                    ours: "b".into(),
                }),
                Some(Step::GiveWay),
                refused(Refusal::Ending),
            ],
        );
    }
}
