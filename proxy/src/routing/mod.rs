//! Who is called: providers, zones, weights, static rules, the routing cache, the downgrade to TR.
//!
//! [`Table`] is made by the control side and never changes; a push makes a new one. [`Router`]
//! lives on the data thread, keeps the cache and the counters of the balancer, and chooses.
//!
//! A call of a protocol goes only to providers that speak it. An app that was told BOLT before a
//! TR-only provider came goes on calling in BOLT (the application API cannot tell it anything
//! afterwards): its calls reach those that speak BOLT, never the one that does not.

use std::net::SocketAddr;

use meshproof_wire::Protocol;

mod balance;
mod router;
#[cfg(test)]
mod tests;

pub use router::Router;

/// What the control side knows, at one moment.
#[derive(Clone, Debug, Default)]
pub struct Table {
    /// Grows with every change.
    pub generation: u64,
    /// By service key (`interface:version[:uniqueId]`).
    pub services: std::collections::HashMap<String, Service>,
    /// Static rules, first match wins.
    pub rules: Vec<Rule>,
}

/// Where a service is provided.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Service {
    /// In the order of the config center's answer.
    pub endpoints: Vec<Endpoint>,
    /// From a VIP's options: bounds the time-out of every call.
    pub timeout_ms: Option<u32>,
    /// Some provider speaks TR only, so that everything goes by TR.
    pub downgraded: bool,
}

/// One place to call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Where.
    pub address: SocketAddr,
    /// Speaks BOLT.
    pub bolt: bool,
    /// Speaks TR.
    pub tr: bool,
    /// Its zone; empty where nobody said.
    pub zone: String,
    /// At least 1; 100 where nobody said.
    pub weight: u32,
}

/// A static rule. What it does not name it does not ask for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    /// The service asked for.
    pub service: Option<String>,
    /// The request class asked for.
    pub class: Option<String>,
    /// Where it goes.
    pub target: Service,
}

/// What a call says of itself.
#[derive(Clone, Copy, Debug)]
pub struct Query<'a> {
    /// As the frame spells it; empty where it names none.
    pub service: &'a str,
    /// Class of the request.
    pub class: &'a str,
    /// The frame's protocol: a provider that does not speak it is never chosen.
    pub protocol: Protocol,
}

/// What was chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    /// Where the call goes.
    pub to: SocketAddr,
    /// Bound of its time-out, from a VIP's options or a rule.
    pub timeout_ms: Option<u32>,
}

/// Why nothing was chosen.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NoRoute {
    /// The app calls what it never subscribed to.
    #[error("service `{0}` was never subscribed to, and no route names it")]
    Unknown(String),
    /// A plain BOLT call that no rule is for.
    #[error(
        "the call names no service, and no route is for class `{0}`: add one under `outbound.routes`"
    )]
    Unnamed(String),
    /// The list is empty.
    #[error("service `{0}` has no provider")]
    Empty(String),
    /// Providers are there, none of the protocol.
    #[error("service `{service}` has no provider that speaks {protocol}")]
    Protocol {
        /// The service.
        service: String,
        /// What the frame speaks.
        protocol: Protocol,
    },
}

/// How the router is set up; changes while it runs come as a new value.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// How a provider is chosen.
    pub balance: crate::config::Balance,
    /// This pod's zone where it comes first, else `None`.
    pub zone_first: Option<String>,
    /// Whether answers are remembered.
    pub cache: crate::config::Cache,
    /// For the balancer's chances.
    pub seed: u64,
}

impl Endpoint {
    /// Whether it understands frames of this protocol.
    pub fn speaks(&self, protocol: Protocol) -> bool {
        match protocol {
            Protocol::BoltV1 | Protocol::BoltV2 => self.bolt,
            Protocol::Tr => self.tr,
            _ => false,
        }
    }
}

impl Rule {
    fn is_for(&self, query: &Query<'_>) -> bool {
        let holds = |asked: &Option<String>, given: &str| {
            asked.as_deref().is_none_or(|asked| asked == given)
        };
        holds(&self.service, query.service) && holds(&self.class, query.class)
    }
}
