//! What the two processes say to each other.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::core::Side;

/// Version of these messages. A predecessor that speaks another one refuses, and goes on.
pub const VERSION: u32 = 1;

/// What the control side of a predecessor knows and its successor needs. Each part is the
/// business of whoever wrote it; an unknown or missing part is null.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct State {
    /// Publications, subscriptions, the session at the config center ([`crate::discovery::State`]).
    pub directory: serde_json::Value,
    /// Health of the app, levels of the log, and what else the control thread decides by.
    pub control: serde_json::Value,
}

/// A successor presents itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// [`VERSION`] of its messages.
    pub version: u32,
    /// `name` of its configuration.
    pub name: String,
    /// Its process.
    pub pid: u32,
    /// Version of its program, for the log.
    pub program: String,
}

/// What a predecessor gives away.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Offer {
    /// [`VERSION`] of its messages.
    pub version: u32,
    /// Names and addresses of the descriptors that come along, in their order: `inbound`,
    /// `outbound`, `api`, `admin`; and without an address `lock` and `upgrade`, the run directory's
    /// lock and socket. A side that does not listen now is not there.
    pub listeners: Vec<(String, Option<SocketAddr>)>,
    /// What its control side knows, to be checked: the one that counts comes with `yours`.
    pub state: State,
}

/// Why a predecessor does not give way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Refusal {
    /// The messages differ.
    #[error(
        "it speaks version {theirs} of the upgrade messages, this one {ours}: stop it and start anew"
    )]
    Version {
        /// Of the one that refuses.
        theirs: u32,
        /// Of the one that asked.
        ours: u32,
    },
    /// The other one is another sidecar.
    #[error("it is sidecar `{theirs}`, not `{ours}`: give this one a `run` directory of its own")]
    Name {
        /// Of the one that refuses.
        theirs: String,
        /// Of the one that asked.
        ours: String,
    },
    /// Another successor came first, or this one has only just begun itself.
    #[error("an upgrade is under way already: try again when it is done")]
    Busy,
    /// It drains.
    #[error("it is about to end: wait until it has, and start anew")]
    Ending,
}

/// One message. Descriptors and raw bytes travel beside it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Message {
    /// The successor's first word.
    Hello(Hello),
    /// The predecessor will not.
    Refused {
        /// Why.
        why: Refusal,
    },
    /// With the listeners' descriptors.
    Offer(Box<Offer>),
    /// The successor has everything and can serve.
    Ready,
    /// The predecessor decides nothing any more; what the offer said of its state may have
    /// changed since.
    Yours {
        /// The last one.
        state: Box<State>,
    },
    /// With a client connection's descriptor, and the bytes that were read from it.
    Connection {
        /// `inbound` or `outbound`.
        side: SideName,
    },
    /// The predecessor ends.
    Done {
        /// Connections that were handed over.
        handed: u64,
    },
}

/// [`Side`] in a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SideName {
    /// [`Side::Inbound`].
    Inbound,
    /// [`Side::Outbound`].
    Outbound,
}

impl From<Side> for SideName {
    fn from(side: Side) -> SideName {
        match side {
            Side::Inbound => SideName::Inbound,
            Side::Outbound => SideName::Outbound,
        }
    }
}

impl From<SideName> for Side {
    fn from(name: SideName) -> Side {
        match name {
            SideName::Inbound => Side::Inbound,
            SideName::Outbound => Side::Outbound,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(message: &Message, text: &str) {
        assert_eq!(serde_json::to_string(message).unwrap(), text);
        assert_eq!(serde_json::from_str::<Message>(text).unwrap(), *message);
    }

    #[test]
    fn messages_keep_their_form() {
        // A process of an earlier version sends these bytes: they change with `VERSION` only.
        check(
            &Message::Hello(Hello {
                version: 1,
                name: "a".into(),
                pid: 7,
                program: "0.1.0".into(),
            }),
            r#"{"kind":"hello","version":1,"name":"a","pid":7,"program":"0.1.0"}"#,
        );
        check(&Message::Ready, r#"{"kind":"ready"}"#);
        check(
            &Message::Yours {
                state: Box::default(),
            },
            r#"{"kind":"yours","state":{"directory":null,"control":null}}"#,
        );
        check(
            &Message::Connection {
                side: SideName::Outbound,
            },
            r#"{"kind":"connection","side":"outbound"}"#,
        );
        check(
            &Message::Refused {
                why: Refusal::Name {
                    theirs: "a".into(),
                    ours: "b".into(),
                },
            },
            r#"{"kind":"refused","why":{"name":{"theirs":"a","ours":"b"}}}"#,
        );
        check(
            &Message::Offer(Box::new(Offer {
                version: 1,
                listeners: vec![("api".into(), Some(([127, 0, 0, 1], 13330).into()))],
                state: State::default(),
            })),
            r#"{"kind":"offer","version":1,"listeners":[["api","127.0.0.1:13330"]],"state":{"directory":null,"control":null}}"#,
        );
    }

    #[test]
    fn a_part_that_is_not_there_is_null() {
        let state: State = serde_json::from_str(r#"{"later":1}"#).unwrap();
        assert_eq!(state, State::default());
    }
}
