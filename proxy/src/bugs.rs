//! Historic bugs that a switch brings back, to measure test suites by.

use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

macro_rules! bugs {
    ($($(#[$doc:meta])* $name:ident = $text:literal: $incident:literal,)*) => {
        /// One seeded bug. Off unless it is asked for.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Bug {
            $($(#[$doc])* $name,)*
        }

        impl Bug {
            /// Every bug, in the order in which they are listed.
            pub const ALL: &[Bug] = &[$(Bug::$name,)*];

            /// The name of its switch.
            pub fn name(self) -> &'static str {
                match self {
                    $(Bug::$name => $text,)*
                }
            }

            /// What it does, and the incident that it stands for.
            pub fn incident(self) -> &'static str {
                match self {
                    $(Bug::$name => $incident,)*
                }
            }
        }
    };
}

bugs! {
    /// See its incident.
    TrBoltMixed = "tr-bolt-mixed": "the app is told the first provider's protocol and calls go to all of them: a server that knows only TR logs `Invalid protocol header:1`",
    /// See its incident.
    VipLegacyForm = "vip-legacy-form": "a VIP written as http://APP-pool.ZONE.alipay.net:12200?_TIMEOUT=3000 is taken for a host name and never resolves",
    /// See its incident.
    HeartbeatIgnored = "heartbeat-ignored": "heartbeats to the app go unanswered and nothing follows: the service stays registered in front of a dead app",
    /// See its incident.
    ListenerStaysOpen = "listener-stays-open": "a lost app is deregistered, but 12200 goes on accepting: clients with an old list keep coming",
    /// See its incident.
    DeregisterForgotten = "deregister-forgotten": "12200 closes, but the config center still names this pod: new clients are sent into a closed port",
    /// See its incident.
    NoRecovery = "no-recovery": "the app answers again and the pod stays out of service until somebody restarts the sidecar",
    /// See its incident.
    RegisterBeforeListen = "register-before-listen": "on recovery the service is registered before 12200 listens: the first calls are refused",
    /// See its incident.
    CrcDropped = "crc-dropped": "a BOLT v2 frame with a CRC goes on without its four bytes and with its switch set: the peer eats the next frame's head as a CRC",
    /// See its incident.
    ReplyVersion = "reply-version": "replies that the sidecar makes itself are in the listener's BOLT version: a v2 client gets v1 and cannot read it",
    /// See its incident.
    ForeignFrameHeld = "foreign-frame-held": "a frame of a protocol that is not served is held as if it were the front of a large one: the client waits until its time-out",
    /// See its incident.
    OnewayAnswered = "oneway-answered": "a one-way call gets an answer that nobody waits for, under an id that may be in use",
    /// See its incident.
    IdCollision = "id-collision": "request ids are not remapped on a shared upstream connection: two clients that use the same id get each other's answers",
    /// See its incident.
    CacheStale = "cache-stale": "the routing cache outlives a push: calls go on to a provider that has left",
    /// See its incident.
    EmptyPushWipes = "empty-push-wipes": "one empty push of a config center in trouble wipes every address that was good",
    /// See its incident.
    UpgradeDrops = "upgrade-drops": "calls in flight when the new process takes over are never answered",
    /// See its incident.
    UpgradeDoubles = "upgrade-doubles": "calls in flight when the new process takes over are sent to the app a second time",
    /// See its incident.
    LogLevelIgnored = "log-level-ignored": "the admin interface answers that the log level was changed, and it was not: the emergency plan does nothing",
    /// See its incident.
    VersionLies = "version-lies": "metrics and admin tell a version that is not the one running: the fleet inspection counts a pod as upgraded",
    /// See its incident.
    TimeoutIgnored = "timeout-ignored": "the time-out in the frame is not kept: a slow provider holds every caller",
    /// See its incident.
    HalfOpenLeak = "half-open-leak": "an upstream connection whose peer vanished without a word is kept and used for good: calls go into it and descriptors leak",
}

impl fmt::Display for Bug {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A name that is no bug's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no bug `{0}`; {help}", help = help(.0))]
pub struct NoSuchBug(pub String);

fn help(text: &str) -> String {
    let names: Vec<&str> = Bug::ALL.iter().map(|bug| bug.name()).collect();
    match meshproof_input::suggestion(text, &names) {
        Some(near) => format!("did you mean `{near}`?"),
        None => "`meshproof proxy --list-bugs` names them".to_owned(),
    }
}

impl FromStr for Bug {
    type Err = NoSuchBug;

    fn from_str(text: &str) -> Result<Bug, NoSuchBug> {
        Bug::ALL
            .iter()
            .copied()
            .find(|bug| bug.name() == text)
            .ok_or_else(|| NoSuchBug(text.to_owned()))
    }
}

impl Serialize for Bug {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Bug {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Bug, D::Error> {
        let text = String::deserialize(deserializer)?;
        // The first line says what is wrong, the second what to type.
        text.parse().map_err(|NoSuchBug(text)| {
            serde::de::Error::custom(format!("there is no bug `{text}`\n{}", help(&text)))
        })
    }
}

impl JsonSchema for Bug {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Bug".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let names: Vec<&str> = Bug::ALL.iter().map(|bug| bug.name()).collect();
        json_schema!({ "type": "string", "enum": names })
    }
}

/// The bugs that are switched on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bugs(u32);

impl Bugs {
    /// A correct sidecar.
    pub const NONE: Bugs = Bugs(0);

    /// Whether `bug` is on.
    #[inline]
    pub fn has(self, bug: Bug) -> bool {
        self.0 & (1 << bug as u32) != 0
    }

    /// These and `bug`.
    #[must_use]
    pub fn with(self, bug: Bug) -> Bugs {
        Bugs(self.0 | 1 << bug as u32)
    }

    /// Those that are on, in the order of [`Bug::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Bug> {
        Bug::ALL.iter().copied().filter(move |bug| self.has(*bug))
    }
}

impl FromIterator<Bug> for Bugs {
    fn from_iter<I: IntoIterator<Item = Bug>>(bugs: I) -> Bugs {
        bugs.into_iter().fold(Bugs::NONE, Bugs::with)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bug_has_a_switch_of_its_own() {
        for (n, bug) in Bug::ALL.iter().enumerate() {
            assert_eq!(bug.name().parse(), Ok(*bug));
            assert_eq!(*bug as usize, n);
            assert_eq!(Bugs::NONE.with(*bug).iter().collect::<Vec<_>>(), [*bug]);
        }
        assert!("no-such-bug".parse::<Bug>().is_err());
        let all: Bugs = Bug::ALL.iter().copied().collect();
        assert_eq!(all.iter().count(), 20);
    }
}
