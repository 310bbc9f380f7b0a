//! What a successor or a restart needs to know.

use std::net::IpAddr;

use meshproof_wire::{mesh_api, registry};
use serde::{Deserialize, Serialize};

/// Everything that was learned; for an upgrade, and for the snapshot in the run directory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct State {
    /// The session at the config center: whoever takes it over keeps its leases.
    pub session: String,
    /// As the app named itself.
    pub app: Option<String>,
    /// Whether publications are to stand at the config center, or are only remembered.
    pub registered: bool,
    /// What the app publishes.
    pub publications: Vec<Publication>,
    /// What the app subscribed to.
    pub subscriptions: Vec<Subscription>,
    /// The list of each service that was believed last.
    pub lists: Vec<registry::Push>,
    /// VIP names.
    pub names: Vec<Resolved>,
}

/// One service that the app publishes, with the protocols merged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Publication {
    /// As the config center is told.
    pub provider: registry::Provider,
    /// The app was lost since: what comes back may be another one, and the next publication of
    /// this service says all of it anew.
    #[serde(default)]
    pub outdated: bool,
}

/// One service that the app subscribed to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subscription {
    /// As the app asked.
    pub asked: mesh_api::Subscribe,
    /// How often: two consumers in one app ask the same, and each withdraws once.
    pub times: u32,
}

/// One VIP name and its last good addresses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resolved {
    /// The name.
    pub name: String,
    /// Its addresses, in the order of the answer.
    pub addresses: Vec<IpAddr>,
}
