//! What happened, for logs and for whoever follows the state of the pod.

use std::net::SocketAddr;

use serde::Serialize;

/// One thing that happened. Its moment is the receiver's to note.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Event {
    /// The app published a service, or took back one of the protocols that it is served by. From
    /// the first one on its health is watched.
    Published {
        /// The service key.
        service: String,
        /// `bolt`, `tr`: all that it is served by now.
        protocols: Vec<String>,
    },
    /// The app withdrew a service.
    Unpublished {
        /// The service key.
        service: String,
        /// How many are left; without any there is nothing to watch.
        left: usize,
    },
    /// The app subscribed.
    Subscribed {
        /// The service key.
        service: String,
        /// A VIP or an address, as the app wrote it.
        target: Option<String>,
    },
    /// The app needs a service no more.
    Unsubscribed {
        /// The service key.
        service: String,
    },
    /// The config center holds these publications.
    Registered {
        /// Service keys.
        services: Vec<String>,
    },
    /// The config center holds these no more.
    Deregistered {
        /// Service keys.
        services: Vec<String>,
    },
    /// The config center does not answer, or the watch ended. Addresses stay in force.
    ConfigCenterLost {
        /// What was seen.
        why: String,
    },
    /// It answers again.
    ConfigCenterBack,
    /// A list was taken over.
    Providers {
        /// The service key.
        service: String,
        /// Where it is provided.
        addresses: Vec<SocketAddr>,
        /// Some provider speaks TR only, so that the app is told TR.
        downgraded: bool,
    },
    /// A push was not believed.
    PushIgnored {
        /// The service key.
        service: String,
        /// Why.
        why: String,
    },
    /// A VIP name has these addresses from now on.
    Resolved {
        /// The name.
        name: String,
        /// Its addresses.
        addresses: Vec<std::net::IpAddr>,
    },
    /// A VIP name could not be resolved; where it had addresses they stay in force.
    NotResolved {
        /// The name.
        name: String,
        /// What was seen.
        why: String,
    },
    /// A call of the application API was refused.
    Refused {
        /// `publish`, `subscribe`, …
        operation: String,
        /// What the app was told.
        why: String,
    },
}
