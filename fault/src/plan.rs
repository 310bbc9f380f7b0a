//! What would be done: a dry run.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::{Refusal, Scene, Spec, Way};

/// Live flows that a plan tells of; of more it tells the number.
pub const FLOWS_MAX: usize = 1000;

words! {
    /// A family of rules.
    Family {
        /// IPv4.
        V4 = "ipv4",
        /// IPv6.
        V6 = "ipv6",
    }
}

/// What would be done, in this way, here and now. It is data: it changes nothing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// What is asked for.
    #[serde(with = "crate::spec::travel")]
    pub spec: Spec,
    /// How it would be done.
    pub way: Way,
    /// Why in this way and no other, in one sentence.
    pub why: String,
    /// Ways that come before it in the order of preference, and why they are not gone.
    pub passed_over: Vec<(Way, Refusal)>,
    /// Which lease it would be: part of the names of chains and tables.
    pub lease: String,
    /// The exact rules, or orders.
    pub rules: Vec<RuleText>,
    /// Live flows that it would meet; at most [`FLOWS_MAX`].
    pub flows: Vec<Flow>,
    /// How many live flows that are, all in all.
    pub flows_all: u64,
    /// What the kernel and the machine must offer for it, each found.
    pub needs: Vec<String>,
    /// What else would be hit.
    pub also_hit: Vec<String>,
    /// What may make it inert.
    pub doubts: Vec<String>,
    /// Whatever else the way must remember between plan and lease; its own business.
    pub memory: serde_json::Value,
}

impl Plan {
    /// A plan of which nothing is known but whose it is; everything else is empty.
    pub fn bare(way: Way, spec: &Spec, scene: &Scene) -> Plan {
        Plan {
            spec: spec.clone(),
            way,
            why: String::new(),
            passed_over: Vec::new(),
            lease: scene.lease.clone(),
            rules: Vec::new(),
            flows: Vec::new(),
            flows_all: 0,
            needs: Vec::new(),
            also_hit: Vec::new(),
            doubts: Vec::new(),
            memory: serde_json::Value::Null,
        }
    }
}

/// One rule, or one order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleText {
    /// As the way itself says it.
    pub exact: String,
    /// The same as a line of `iptables` or `ip6tables`, where it is a rule for packets.
    pub iptables: Option<String>,
}

/// A connection that stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Flow {
    /// The end in this network.
    pub local: SocketAddr,
    /// The other end.
    pub remote: SocketAddr,
}

impl std::fmt::Display for Flow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.local, self.remote)
    }
}
