//! What a mesh is made of: a topology file, or made by a matrix.

use meshproof_input::{Entries, Spanned};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A topology: pods and what runs in them. The ports are those of production.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MeshSpec {
    /// Its name.
    pub topology: String,
    /// One sentence.
    #[serde(default)]
    pub about: String,
    /// Capabilities of environment, site and sidecars that it cannot do without.
    #[serde(default)]
    pub needs: Vec<Spanned<String>>,
    /// Heartbeats from sidecar to app.
    #[serde(default)]
    pub heartbeat: Heartbeat,
    /// The order of the config center's answers: `as-is`, `reversed`, `shuffled:SEED`,
    /// `fixed:POD,POD`.
    #[serde(default = "as_is")]
    pub registry_order: String,
    /// Pools of the VIP name service: `sample.zone1: [server]`.
    #[serde(default)]
    pub vips: Entries<String, Vec<String>>,
    /// The pods by name. Config center and VIP names have pods of their own, `registry` and
    /// `vip`, that need not be named.
    pub pods: Entries<String, PodSpec>,
}

fn as_is() -> String {
    "as-is".into()
}

/// Heartbeats to the app: every interval, missed when not answered within the timeout, lost
/// after so many misses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Heartbeat {
    /// I, in milliseconds.
    pub interval_ms: u64,
    /// T, in milliseconds, no longer than the interval.
    pub timeout_ms: u64,
    /// N.
    pub misses: u32,
}

impl Default for Heartbeat {
    fn default() -> Self {
        Heartbeat {
            interval_ms: 300,
            timeout_ms: 150,
            misses: 3,
        }
    }
}

/// One pod.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PodSpec {
    /// The zone that it stands in; none: the first of the site.
    pub zone: Option<String>,
    /// Its sidecar, by the name of its adapter; none: the app routes and serves by itself.
    pub sidecar: Option<String>,
    /// What serves in it; none: a pod that only calls.
    pub app: Option<AppSpec>,
    /// Programs by file: peers of other languages.
    pub peers: Vec<PeerSpec>,
}

/// An app that serves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AppSpec {
    /// What it understands.
    pub speaks: Speaks,
    /// Versions of `com.alipay.demo.SampleService` that it publishes.
    pub versions: Vec<String>,
    /// More arguments of the fixture app.
    pub arguments: Vec<String>,
}

impl Default for AppSpec {
    fn default() -> Self {
        AppSpec {
            speaks: Speaks::New,
            versions: vec!["1.0".into()],
            arguments: Vec::new(),
        }
    }
}

/// What an app understands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Speaks {
    /// TR alone: a BOLT frame is refused with `Invalid protocol header:1`.
    Old,
    /// BOLT alone.
    Bolt,
    /// Both.
    New,
}

/// A program that is started by file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PeerSpec {
    /// What messages call it.
    pub name: String,
    /// Program and arguments.
    pub command: Vec<String>,
    /// Variables.
    #[serde(default)]
    pub environment: Entries<String, String>,
    /// Files that are written before it starts, into a folder of its own, which it starts in.
    #[serde(default)]
    pub files: Entries<String, String>,
    /// When it is ready.
    pub ready: crate::sut::ReadyWhen,
}
