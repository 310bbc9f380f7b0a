//! The YAML file: what a sidecar is, where it listens, whom it asks.
//!
//! [`Config::parse`] reads one and says what is wrong with it, with line, caret and what to type.
//! [`Config::reload`] reads one for a sidecar that runs: what cannot change while it runs must
//! not, or nothing of the file is taken.

mod check;
mod parse;
mod places;
mod reload;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::path::PathBuf;

use meshproof_input::{Addr, Millis, Socket};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use parse::schema;
pub use reload::{FIXED, Reload};

use crate::Bug;

/// The whole file. Every value but `name`, `address` and `run` has a default.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Name of this instance, in logs, metrics and at the config center.
    pub name: String,
    /// The pod's IP address, as the config center tells it to others.
    #[serde(deserialize_with = "parse::ip")]
    #[schemars(with = "Addr")]
    pub address: std::net::IpAddr,
    /// Directory of this instance alone: upgrade socket, lock, snapshot. Two sidecars with
    /// different directories never meet.
    pub run: PathBuf,
    /// The zone that this pod stands in.
    #[serde(default)]
    pub zone: String,
    /// From the network to the app.
    #[serde(default)]
    pub inbound: Inbound,
    /// From the app to the network.
    #[serde(default)]
    pub outbound: Outbound,
    /// The application API; SOFARPC expects 127.0.0.1:13330.
    #[serde(default = "default_api", deserialize_with = "parse::socket")]
    #[schemars(with = "Socket")]
    pub api: SocketAddr,
    /// The admin interface; a loopback address.
    #[serde(default = "default_admin", deserialize_with = "parse::socket")]
    #[schemars(with = "Socket")]
    pub admin: SocketAddr,
    /// The config center as `http://HOST:PORT`; none: static routes and VIPs only.
    #[serde(default)]
    pub config_center: Option<String>,
    /// The VIP name service.
    #[serde(default)]
    pub vip: VipNames,
    /// Heartbeats to the app.
    #[serde(default)]
    pub heartbeat: Heartbeat,
    /// How long things may take.
    #[serde(default)]
    pub timeouts: Timeouts,
    /// How much of things there may be.
    #[serde(default)]
    pub limits: Limits,
    /// Connections to others.
    #[serde(default)]
    pub upstream: Upstream,
    /// What is logged.
    #[serde(default)]
    pub log: Log,
    /// Seeded bugs that are on.
    #[serde(default)]
    pub bugs: Vec<Bug>,
}

fn default_api() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 13330))
}

fn default_admin() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 12230))
}

/// Protocols as people write them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Speaks {
    /// BOLT, v1 and v2.
    Bolt,
    /// TR.
    Tr,
}

/// From the network to the app.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Inbound {
    /// Where others call this pod.
    #[serde(deserialize_with = "parse::socket")]
    #[schemars(with = "Socket")]
    pub listen: SocketAddr,
    /// Where the app serves.
    #[serde(deserialize_with = "parse::socket")]
    #[schemars(with = "Socket")]
    pub app: SocketAddr,
    /// What is let in; a frame of anything else is refused.
    pub protocols: Vec<Speaks>,
}

impl Default for Inbound {
    fn default() -> Self {
        Inbound {
            listen: SocketAddr::from(([0, 0, 0, 0], 12200)),
            app: SocketAddr::from(([127, 0, 0, 1], 12199)),
            protocols: vec![Speaks::Bolt, Speaks::Tr],
        }
    }
}

/// From the app to the network.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Outbound {
    /// Where the app calls out.
    #[serde(deserialize_with = "parse::socket")]
    #[schemars(with = "Socket")]
    pub listen: SocketAddr,
    /// What is let out.
    pub protocols: Vec<Speaks>,
    /// How a provider is chosen among several.
    pub balance: Balance,
    /// Providers of this zone first, others only where it has none.
    pub zone_first: bool,
    /// Whether answers of the routing table are remembered.
    pub cache: Cache,
    /// Calls that go by rule, before the config center is asked.
    pub routes: Vec<Route>,
}

impl Default for Outbound {
    fn default() -> Self {
        Outbound {
            listen: SocketAddr::from(([127, 0, 0, 1], 12220)),
            protocols: vec![Speaks::Bolt, Speaks::Tr],
            balance: Balance::RoundRobin,
            zone_first: true,
            cache: Cache::Warm,
            routes: Vec::new(),
        }
    }
}

/// How a provider is chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Balance {
    /// One after the other.
    #[default]
    RoundRobin,
    /// Any.
    Random,
    /// In proportion to their weights, smoothly.
    Weighted,
}

/// Whether answers of the routing table are remembered. Who is called does not depend on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Cache {
    /// Until the next push, or the next change of the configuration.
    #[default]
    Warm,
    /// Not at all: every call looks in the table.
    Cold,
}

/// One rule. What it does not name, it does not ask for; the first that holds is taken.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Route {
    /// The service of the call.
    pub service: Option<String>,
    /// The class of the request, for BOLT traffic that names no service.
    pub class: Option<String>,
    /// Addresses or VIPs, in either form, options included.
    pub to: Vec<String>,
    /// Time-out of calls that go by this rule.
    pub timeout: Option<Millis>,
}

/// The VIP name service.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct VipNames {
    /// Its address; none: the system's resolver.
    #[serde(deserialize_with = "parse::socket_or_none")]
    #[schemars(with = "Option<Socket>")]
    pub server: Option<SocketAddr>,
    /// How long an answer is waited for.
    pub timeout: Millis,
    /// A name is asked for again after this long.
    pub refresh: Millis,
}

impl Default for VipNames {
    fn default() -> Self {
        VipNames {
            server: None,
            timeout: Millis(1000),
            refresh: Millis(5000),
        }
    }
}

/// Heartbeats to the app: sent every `interval`, lost when not answered within `timeout`; after
/// `misses` in a row the app is taken for lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Heartbeat {
    /// From one to the next.
    pub interval: Millis,
    /// No longer than the interval.
    pub timeout: Millis,
    /// At least 1.
    pub misses: u32,
}

impl Default for Heartbeat {
    fn default() -> Self {
        Heartbeat {
            interval: Millis(1000),
            timeout: Millis(500),
            misses: 3,
        }
    }
}

/// How long things may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Timeouts {
    /// A call whose frame names no time-out.
    pub request: Millis,
    /// A connect to an app or a provider.
    pub connect: Millis,
    /// An upstream connection without traffic is asked by heartbeat after this long.
    pub upstream_idle: Millis,
    /// A heartbeat on an upstream connection is waited for this long.
    pub upstream_heartbeat: Millis,
    /// An upstream connection that nobody uses is closed after this long.
    pub upstream_unused: Millis,
    /// What is in flight at a drain or a hand-over is waited for this long.
    pub drain: Millis,
    /// A call to the config center.
    pub config_center: Millis,
}

impl Default for Timeouts {
    fn default() -> Self {
        Timeouts {
            request: Millis(3000),
            connect: Millis(500),
            upstream_idle: Millis(5000),
            upstream_heartbeat: Millis(1000),
            upstream_unused: Millis(60_000),
            drain: Millis(10_000),
            config_center: Millis(1000),
        }
    }
}

/// How much of things there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Longest frame, in bytes.
    pub frame_bytes: u64,
    /// Accepted connections at a time, on each side.
    pub connections: usize,
    /// Calls in flight, in all.
    pub in_flight: usize,
    /// Calls in flight of one client connection.
    pub in_flight_per_connection: usize,
    /// Bytes that wait for one peer before those who feed it are not read any more.
    pub buffered_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            frame_bytes: 16 << 20,
            connections: 4096,
            in_flight: 65_536,
            in_flight_per_connection: 8192,
            buffered_bytes: 1 << 20,
        }
    }
}

/// Connections to others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Upstream {
    /// Connections at most to one address in one protocol and version.
    pub connections: usize,
    /// Who shares them.
    pub sharing: Sharing,
}

impl Default for Upstream {
    fn default() -> Self {
        Upstream {
            connections: 4,
            sharing: Sharing::Multiplexed,
        }
    }
}

/// Who shares upstream connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Sharing {
    /// Clients share them. A request that comes from the server is passed on only while one
    /// client uses its connection, else it is refused: nobody could tell whom it is for.
    #[default]
    Multiplexed,
    /// Each client connection has one of its own: for servers that call their clients.
    PerClient,
}

/// What is logged.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// `error`, `warn`, `info` (the default), `debug`, `trace`, `off`.
    pub level: Option<String>,
    /// Levels of single targets, such as `proxy::core: debug`.
    pub targets: std::collections::BTreeMap<String, String>,
    /// A file that every line is appended to, beside standard error. What it does not take is
    /// counted, and nobody waits for it.
    pub file: Option<PathBuf>,
}
