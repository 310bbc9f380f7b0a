//! Facts and capabilities of a place where meshes run.

use std::collections::BTreeSet;

use meshproof_input::Problem;
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

const SHIPPED: [(&str, &str); 2] = [
    (
        "scenarios/sites/ant-like.yaml",
        include_str!("../../scenarios/sites/ant-like.yaml"),
    ),
    (
        "scenarios/sites/public-cloud-like.yaml",
        include_str!("../../scenarios/sites/public-cloud-like.yaml"),
    ),
];

/// The sites that ship; the first is the one where none is named.
pub fn shipped() -> Vec<Site> {
    let parsed = SHIPPED.iter().map(|(name, text)| Site::parse(name, text));
    // A test reads each of them.
    parsed.filter_map(Result::ok).collect()
}

impl Default for Site {
    fn default() -> Self {
        Site {
            site: "ant-like".into(),
            about: String::new(),
            registry: RegistryKind::ConfigCenter,
            names: NamesKind::Vip,
            protocols: ["bolt", "tr"].map(str::to_owned).into(),
            zones: vec!["zone1".into()],
            capabilities: BTreeSet::new(),
        }
    }
}

impl Site {
    /// Reads a site.
    pub fn parse(name: &str, text: &str) -> Result<Site, Problem> {
        meshproof_input::parse(name, text)
    }
}
