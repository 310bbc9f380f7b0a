//! Facts and capabilities of a place where meshes run.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A profile of infrastructure: what is there, and what can be relied on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Site {
    /// Its name.
    pub site: String,
    /// One sentence.
    #[serde(default)]
    pub about: String,
    /// How addresses of a service are found.
    pub registry: RegistryKind,
    /// How names of pools are found.
    pub names: NamesKind,
    /// Protocols that apps speak here: `bolt`, `tr`.
    pub protocols: BTreeSet<String>,
    /// Zones, at least one.
    pub zones: Vec<String>,
    /// What else can be relied on, as `needs:` of scenarios name it.
    #[serde(default)]
    pub capabilities: BTreeSet<String>,
}

/// How addresses of a service are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RegistryKind {
    /// A config center that pushes.
    ConfigCenter,
    /// None: addresses stand in the configuration.
    Static,
}

/// How names of pools are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum NamesKind {
    /// VIPs, in both forms, by the VIP name service.
    Vip,
    /// Plain DNS names.
    Dns,
}
