//! The process that takes over.

use std::net::SocketAddr;

use meshproof_sys::clock::Nanos;

use super::{HANDSHAKE_NS, Message, Offer, Refusal, State, VERSION};

/// What a successor does next.
#[derive(Clone, Debug, PartialEq)]
pub enum Next {
    /// Say `hello`, and wait.
    SayHello,
    /// Make everything ready with this: listeners, threads, state; serve nothing yet.
    Prepare(Box<Offer>),
    /// Say `ready`, and wait.
    SayReady,
    /// Serve, by this state: from here on there is no way back.
    Serve(Box<State>),
    /// Serve this connection too; its descriptor and bytes came with the message.
    Adopt(crate::core::Side),
    /// The predecessor is gone, and with it the upgrade is over.
    Finished {
        /// Connections that it says it handed over; `None` where it ended without a word.
        handed: Option<u64>,
    },
    /// End, and leave the predecessor as it was.
    GiveUp(GaveUp),
}

/// Why a successor did not take over. The predecessor serves on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GaveUp {
    /// The predecessor said no.
    #[error("the sidecar that runs does not give way: {0}")]
    Refused(Refusal),
    /// A listener that came is not the one that the configuration wants.
    #[error(
        "the sidecar that runs has `{name}` on {found}, the configuration says {wanted}: an upgrade keeps the addresses; stop it and start anew to change them"
    )]
    Address {
        /// Key of the listener.
        name: String,
        /// As it came.
        found: SocketAddr,
        /// As configured.
        wanted: SocketAddr,
    },
    /// A listener that every sidecar has did not come.
    #[error("the sidecar that runs gave no `{name}` listener: stop it and start anew")]
    Missing {
        /// Key of the listener.
        name: &'static str,
    },
    /// The predecessor's answer is of a version that is not known here.
    #[error(
        "the sidecar that runs speaks version {theirs} of the upgrade messages, this one {VERSION}: stop it and start anew"
    )]
    Version {
        /// Of the predecessor.
        theirs: u32,
    },
    /// A message came that does not belong there.
    #[error(
        "the sidecar that runs said `{said}` where {expected} was expected: stop it and start anew"
    )]
    Unexpected {
        /// Kind of the message.
        said: String,
        /// What would have been right.
        expected: &'static str,
    },
    /// It was silent for too long.
    #[error("the sidecar that runs did not say {expected} within {} s: it serves on", HANDSHAKE_NS / 1_000_000_000)]
    Silent {
        /// What was waited for.
        expected: &'static str,
    },
    /// It hung up.
    #[error("the sidecar that runs hung up before it said {expected}: look at its log")]
    Lost {
        /// What was waited for.
        expected: &'static str,
    },
    /// This process could not be made ready.
    #[error("this process could not be made ready: {0}; the sidecar that runs serves on")]
    Unprepared(String),
}

/// The addresses that a configuration wants. Port 0 takes any.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// By name, in the order in which they are looked at.
    pub listeners: Vec<(&'static str, SocketAddr)>,
    /// Those of them that may be missing: a side that is closed while its app is lost.
    pub may_miss: Vec<&'static str>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    AwaitsOffer(Nanos),
    Prepares,
    AwaitsYours(Nanos),
    Takes,
    Ended,
}

impl Phase {
    fn expects(self) -> &'static str {
        match self {
            Phase::AwaitsOffer(_) => "an offer",
            Phase::AwaitsYours(_) => "`yours`",
            Phase::Prepares => "nothing",
            Phase::Takes | Phase::Ended => "a connection or `done`",
        }
    }
}

/// The successor's decisions.
#[derive(Debug)]
pub struct Successor {
    wanted: Wanted,
    phase: Phase,
}

impl Successor {
    /// Begins: the first step is [`Next::SayHello`].
    pub fn new(wanted: Wanted, now: Nanos) -> (Successor, Next) {
        let phase = Phase::AwaitsOffer(now.plus_ns(HANDSHAKE_NS));
        (Successor { wanted, phase }, Next::SayHello)
    }

    /// The predecessor said something.
    pub fn heard(&mut self, message: Message) -> Next {
        match (self.phase, message) {
            (Phase::AwaitsOffer(_), Message::Offer(offer)) => match self.check(&offer) {
                Ok(()) => {
                    self.phase = Phase::Prepares;
                    Next::Prepare(offer)
                }
                Err(why) => self.give_up(why),
            },
            (_, Message::Refused { why }) => self.give_up(GaveUp::Refused(why)),
            (Phase::AwaitsYours(_), Message::Yours { state }) => {
                self.phase = Phase::Takes;
                Next::Serve(state)
            }
            (Phase::Takes, Message::Connection { side }) => Next::Adopt(side.into()),
            (Phase::Takes, Message::Done { handed }) => {
                self.phase = Phase::Ended;
                Next::Finished {
                    handed: Some(handed),
                }
            }
            // It serves already: nonsense of the predecessor ends the upgrade, not the service.
            (Phase::Takes | Phase::Ended, _) => {
                self.phase = Phase::Ended;
                Next::Finished { handed: None }
            }
            (phase, message) => self.give_up(GaveUp::Unexpected {
                said: kind(&message).to_owned(),
                expected: phase.expects(),
            }),
        }
    }

    fn check(&self, offer: &Offer) -> Result<(), GaveUp> {
        if offer.version != VERSION {
            return Err(GaveUp::Version {
                theirs: offer.version,
            });
        }
        for (name, wanted) in &self.wanted.listeners {
            let came = offer.listeners.iter().find(|(came, _)| came == name);
            match came {
                Some((_, Some(found))) => {
                    let same = found.ip() == wanted.ip()
                        && (wanted.port() == 0 || found.port() == wanted.port());
                    if !same {
                        return Err(GaveUp::Address {
                            name: (*name).to_owned(),
                            found: *found,
                            wanted: *wanted,
                        });
                    }
                }
                Some((_, None)) => {}
                None if self.wanted.may_miss.contains(name) => {}
                None => return Err(GaveUp::Missing { name }),
            }
        }
        Ok(())
    }

    /// Everything is ready to serve, or cannot be made so.
    pub fn prepared(&mut self, result: Result<(), String>, now: Nanos) -> Next {
        match (self.phase, result) {
            (Phase::Prepares, Ok(())) => {
                self.phase = Phase::AwaitsYours(now.plus_ns(HANDSHAKE_NS));
                Next::SayReady
            }
            (_, Err(why)) => self.give_up(GaveUp::Unprepared(why)),
            (phase, Ok(())) => self.give_up(GaveUp::Unexpected {
                said: "prepared".to_owned(),
                expected: phase.expects(),
            }),
        }
    }

    /// The predecessor hung up.
    pub fn lost(&mut self) -> Next {
        match self.phase {
            Phase::Takes | Phase::Ended => {
                self.phase = Phase::Ended;
                Next::Finished { handed: None }
            }
            phase => self.give_up(GaveUp::Lost {
                expected: phase.expects(),
            }),
        }
    }

    /// When [`Successor::tick`] wants to be called.
    pub fn next_deadline(&self) -> Option<Nanos> {
        match self.phase {
            Phase::AwaitsOffer(until) | Phase::AwaitsYours(until) => Some(until),
            Phase::Prepares | Phase::Takes | Phase::Ended => None,
        }
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Nanos) -> Option<Next> {
        match self.phase {
            Phase::AwaitsOffer(until) | Phase::AwaitsYours(until) if now >= until => {
                let expected = self.phase.expects();
                Some(self.give_up(GaveUp::Silent { expected }))
            }
            _ => None,
        }
    }

    fn give_up(&mut self, why: GaveUp) -> Next {
        self.phase = Phase::Ended;
        Next::GiveUp(why)
    }
}

fn kind(message: &Message) -> &'static str {
    match message {
        Message::Hello(_) => "hello",
        Message::Refused { .. } => "refused",
        Message::Offer(_) => "offer",
        Message::Ready => "ready",
        Message::Yours { .. } => "yours",
        Message::Connection { .. } => "connection",
        Message::Done { .. } => "done",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::Side;
    use crate::upgrade::State;
    use crate::upgrade::message::SideName;

    const INBOUND: ([u8; 4], u16) = ([0, 0, 0, 0], 12200);
    const API: ([u8; 4], u16) = ([127, 0, 0, 1], 0);

    fn begun() -> Successor {
        let wanted = Wanted {
            listeners: vec![("inbound", INBOUND.into()), ("api", API.into())],
            may_miss: vec!["inbound"],
        };
        let (it, next) = Successor::new(wanted, Nanos(0));
        assert_eq!(next, Next::SayHello);
        it
    }

    fn offer(listeners: &[(&str, ([u8; 4], u16))]) -> Message {
        Message::Offer(Box::new(Offer {
            version: VERSION,
            listeners: listeners
                .iter()
                .map(|(name, address)| ((*name).to_owned(), Some((*address).into())))
                .collect(),
            state: State::default(),
        }))
    }

    fn yours() -> Message {
        Message::Yours {
            state: Box::default(),
        }
    }

    fn ready() -> Successor {
        let mut it = begun();
        let next = it.heard(offer(&[
            ("inbound", INBOUND),
            ("api", ([127, 0, 0, 1], 40000)),
        ]));
        assert!(matches!(next, Next::Prepare(_)), "{next:?}");
        assert_eq!(it.prepared(Ok(()), Nanos(7)), Next::SayReady);
        it
    }

    #[test]
    fn it_takes_over_step_by_step() {
        let mut it = ready();
        assert_eq!(it.heard(yours()), Next::Serve(Box::default()));
        assert_eq!(it.next_deadline(), None);
        let side = SideName::Outbound;
        assert_eq!(
            it.heard(Message::Connection { side }),
            Next::Adopt(Side::Outbound)
        );
        assert_eq!(
            it.heard(Message::Done { handed: 1 }),
            Next::Finished { handed: Some(1) }
        );
    }

    #[test]
    fn once_it_serves_nothing_makes_it_give_up() {
        let mut it = ready();
        assert_eq!(it.heard(yours()), Next::Serve(Box::default()));
        assert_eq!(it.heard(Message::Ready), Next::Finished { handed: None });
        assert_eq!(it.lost(), Next::Finished { handed: None });
    }

    #[track_caller]
    fn check(next: &Next, expected: &str) {
        let Next::GiveUp(why) = next else {
            panic!("{next:?}");
        };
        assert!(why.to_string().contains(expected), "{why}");
    }

    #[test]
    fn before_that_everything_does() {
        check(
            &begun().heard(Message::Refused { why: Refusal::Busy }),
            "under way",
        );
        check(&begun().heard(yours()), "said `yours` where an offer");
        check(&begun().lost(), "hung up before it said an offer");
        check(&ready().lost(), "hung up before it said `yours`");
        check(
            &ready().heard(Message::Done { handed: 0 }),
            "said `done` where `yours`",
        );
        let mut it = begun();
        assert_eq!(it.tick(Nanos(HANDSHAKE_NS - 1)), None);
        check(
            &it.tick(Nanos(HANDSHAKE_NS)).unwrap(),
            "did not say an offer within 5 s",
        );
        let mut it = ready();
        assert_eq!(it.next_deadline(), Some(Nanos(7 + HANDSHAKE_NS)));
        check(
            &it.tick(Nanos(8 + HANDSHAKE_NS)).unwrap(),
            "`yours` within 5 s",
        );
        let mut it = begun();
        it.heard(offer(&[("api", API)]));
        check(
            &it.prepared(Err("no thread".into()), Nanos(1)),
            "could not be made ready: no thread",
        );
    }

    #[test]
    fn listeners_are_those_that_the_configuration_wants() {
        check(
            &begun().heard(offer(&[("inbound", ([0, 0, 0, 0], 12201)), ("api", API)])),
            "has `inbound` on 0.0.0.0:12201, the configuration says 0.0.0.0:12200",
        );
        check(
            &begun().heard(offer(&[("inbound", INBOUND)])),
            "gave no `api` listener",
        );
        // A closed inbound side is one that listens again when the app is back.
        assert!(matches!(
            begun().heard(offer(&[("api", API)])),
            Next::Prepare(_)
        ));
        check(
            &begun().heard(Message::Offer(Box::new(Offer {
                version: 9,
                listeners: Vec::new(),
                state: State::default(),
            }))),
            "speaks version 9",
        );
    }
}
