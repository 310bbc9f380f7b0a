//! What is said to the reference config center and by it: JSON over HTTP, pushes as server-sent
//! events.
//!
//! | request | body | answer |
//! |---|---|---|
//! | `POST /v1/register` | [`Register`] | [`Registered`] |
//! | `POST /v1/deregister` | [`Deregister`] | [`Registered`] |
//! | `POST /v1/renew` | [`Renew`] | [`Registered`]; 404 with [`Refused`] where the session is not known (any more): register again |
//! | `GET /v1/services` | | `{"services":["…"]}` |
//! | `GET /v1/services/{service}` | | [`Push`] |
//! | `GET /v1/watch?service=A&service=B` | | server-sent events: at once and after every change `event: providers` with a [`Push`]; `event: alive` in between |
//! | `GET /v1/health` | | [`Health`] |
//!
//! Service keys stand percent-encoded in paths and queries.

use serde::{Deserialize, Serialize};

/// One provider of one service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provider {
    /// `interface:version[:uniqueId]`.
    pub service: String,
    /// `IP:PORT`, as others call it.
    pub address: String,
    /// `bolt`, `tr`; at least one.
    pub protocols: Vec<String>,
    /// The app that provides it.
    #[serde(default)]
    pub app: String,
    /// The zone that it stands in.
    #[serde(default)]
    pub zone: String,
    /// Its share of the calls; 100 is usual.
    #[serde(default = "usual_weight")]
    pub weight: u32,
    /// Whatever else is known: `serializeType`, `version`, …
    #[serde(default, skip_serializing_if = "serde_json::Map::is_empty")]
    pub properties: serde_json::Map<String, serde_json::Value>,
}

fn usual_weight() -> u32 {
    100
}

/// Adds providers to a session; one with the same service and address is replaced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Register {
    /// Chosen by the client; who renews it keeps its providers.
    pub session: String,
    /// Without a renewal for this long, the session's providers are taken out.
    pub lease_ms: u64,
    /// What it provides.
    pub providers: Vec<Provider>,
}

/// Takes providers of a session out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deregister {
    /// The session.
    pub session: String,
    /// Of these services; empty: of all, and the session ends.
    #[serde(default)]
    pub services: Vec<String>,
}

/// Keeps a session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Renew {
    /// The session.
    pub session: String,
}

/// It was done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registered {
    /// The config center's revision after it.
    pub revision: u64,
}

/// It was not done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// Why.
    pub error: String,
}

/// All providers of a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Push {
    /// The service.
    pub service: String,
    /// Grows with every change of this service; starts anew when the config center forgot all.
    pub revision: u64,
    /// A number drawn when the config center started: revisions of different ones do not compare.
    pub epoch: u64,
    /// In the order in which they are to be taken.
    pub providers: Vec<Provider>,
    /// With no provider: the config center knows that there is none (the last one left by
    /// itself, or its lease ran out, or there never was one since a start with memory). Without
    /// this, an empty list is a sign of trouble.
    #[serde(default)]
    pub confirmed: bool,
}

/// How the config center is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// `up`.
    pub status: String,
    /// See [`Push::epoch`].
    pub epoch: u64,
    /// Grows with every change of any service.
    pub revision: u64,
    /// Sessions that are alive.
    pub sessions: usize,
    /// Providers of all services.
    pub providers: usize,
}
