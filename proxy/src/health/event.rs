//! What is told to people when the state of the sidecar changes.

use std::fmt;
use std::net::SocketAddr;

use meshproof_sys::clock::Nanos;
use serde::Serialize;

/// One transition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// When.
    pub at: Nanos,
    /// What.
    pub what: What,
}

macro_rules! happenings {
    ($($(#[$doc:meta])* $name:ident $({ $($field:ident : $type:ty = $field_doc:literal),* })? = $text:literal,)*) => {
        /// What can happen.
        #[derive(Clone, Debug, PartialEq, Eq, Serialize)]
        #[serde(tag = "event", rename_all = "kebab-case")]
        #[non_exhaustive]
        pub enum What {
            $($(#[$doc])* $name $({ $(#[doc = $field_doc] $field: $type),* })?,)*
        }

        impl What {
            /// The names of all of them, in the order of the type.
            pub const NAMES: &[&str] = &[$($text,)*];

            /// Its name, in kebab case.
            pub fn name(&self) -> &'static str {
                match self {
                    $(What::$name $({ $($field: _),* })? => $text,)*
                }
            }
        }
    };
}

happenings! {
    /// The sidecar serves.
    Started = "started",
    /// Heartbeats to the app begin.
    HeartbeatsStarted { to: SocketAddr = "Where the app serves." } = "heartbeats-started",
    /// Heartbeats to the app end: nothing is published any more.
    HeartbeatsStopped = "heartbeats-stopped",
    /// A heartbeat was not answered in time.
    HeartbeatMissed { in_a_row: u32 = "How many by now." } = "heartbeat-missed",
    /// As many heartbeats in a row as it takes.
    AppLost { misses: u32 = "How many." } = "app-lost",
    /// The app answered again.
    AppBack = "app-back",
    /// The config center is being told that this pod provides nothing.
    Deregistering = "deregistering",
    /// It knows.
    Deregistered = "deregistered",
    /// It did not answer in time; it is told again and again in the background, and the next
    /// step is taken.
    DeregisterUnanswered = "deregister-unanswered",
    /// The config center is being told what this pod provides.
    Registering { services: usize = "How many." } = "registering",
    /// It knows.
    Registered { services: usize = "How many." } = "registered",
    /// It did not answer in time; it is told again and again in the background.
    RegisterUnanswered = "register-unanswered",
    /// 12200 is being closed.
    ListenerClosing = "listener-closing",
    /// 12200 is closed, and its clients got GoAway.
    ListenerClosed = "listener-closed",
    /// 12200 is being opened.
    ListenerOpening = "listener-opening",
    /// 12200 listens.
    ListenerOpened = "listener-opened",
    /// 12200 cannot be opened; it is tried again.
    ListenerFailed { error: String = "Why." } = "listener-failed",
    /// The data thread did not answer in time.
    ListenerUnanswered = "listener-unanswered",
    /// The pod is out of service.
    Isolated = "isolated",
    /// The pod is in service.
    Serving = "serving",
    /// The graceful end begins.
    Draining = "draining",
    /// Nothing is in flight any more.
    Drained = "drained",
    /// Something was in flight when the wait was over; it was cut off.
    DrainUnfinished = "drain-unfinished",
    /// A successor takes over.
    HandingOver = "handing-over",
    /// A new configuration is in force.
    Reloaded { changed: String = "What changed, as keys." } = "reloaded",
    /// A new configuration was refused; the old one stays.
    ReloadRefused { error: String = "Why." } = "reload-refused",
    /// A log level was changed at run time.
    LogLevel { target: String = "Of what.", level: String = "To which." } = "log-level",
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        match self {
            What::HeartbeatsStarted { to } => write!(f, " to={to}"),
            What::HeartbeatMissed { in_a_row } => write!(f, " in_a_row={in_a_row}"),
            What::AppLost { misses } => write!(f, " misses={misses}"),
            What::Registering { services } | What::Registered { services } => {
                write!(f, " services={services}")
            }
            What::ListenerFailed { error } | What::ReloadRefused { error } => {
                write!(f, " error={error:?}")
            }
            What::Reloaded { changed } => write!(f, " changed={changed:?}"),
            What::LogLevel { target, level } => write!(f, " target={target} level={level}"),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_same_in_logs_and_in_json() {
        for what in [
            What::AppBack,
            What::HeartbeatMissed { in_a_row: 1 },
            What::ListenerFailed { error: "x".into() },
        ] {
            let json = serde_json::to_value(&what).unwrap();
            assert_eq!(json["event"], what.name());
            assert!(What::NAMES.contains(&what.name()));
            assert!(what.to_string().starts_with(what.name()));
        }
    }
}
