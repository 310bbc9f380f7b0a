//! How a sidecar is configured, started, asked, upgraded and stopped, from a file.

use std::collections::BTreeSet;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The name of the sidecar that ships.
pub const REFERENCE: &str = "reference";

/// An adapter: everything that the harness has to know of a sidecar. A third one is a file.
///
/// In `arguments` and the templates, `{{name}}` stands for values of the pod: `name`, `address`,
/// `local`, `open`, `folder`, `zone`, `registry`, `vip`, `inbound`, `app`, `outbound`, `api`,
/// `admin`, `heartbeat.interval_ms`, …
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Sut {
    /// Its name: a value of matrix axes.
    pub sut: String,
    /// One sentence.
    #[serde(default)]
    pub about: String,
    /// The binary; none: this program itself.
    #[serde(default)]
    pub binary: Option<PathBuf>,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// Files that are written before it starts, by name, into a folder of its own.
    #[serde(default)]
    pub files: meshproof_input::Entries<String, String>,
    /// When it is ready.
    pub ready: ReadyWhen,
    /// What it can do, as `needs:` of scenarios name it: `isolates_on_heartbeat_loss`, `tr`,
    /// `bolt_v2_crc`, `hot_upgrade`, `admin_log_level`, `subscribes`, …
    #[serde(default)]
    pub capabilities: BTreeSet<String>,
}

/// When a program counts as ready.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub enum ReadyWhen {
    /// A line that begins so, on either stream.
    Line(String),
    /// A port that takes connections: `{{inbound}}`.
    Port(String),
    /// An answer over HTTP that holds this text.
    Http {
        /// `http://{{admin}}/api/v1/states`.
        url: String,
        /// `state=6`.
        holds: String,
    },
    /// It ended with code 0.
    Exit,
}
