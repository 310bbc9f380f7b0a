//! What a story looks at: the wire, the registry, the processes, and what components say.

use meshproof_input::{Millis, Spanned};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::model::{FrameKind, FrameProtocol, Program};
use super::value::{Count, Scalar};

/// One look.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Probe {
    /// A port takes connections, or refuses them.
    Port(PortProbe),
    /// What the config center pushes to a subscriber.
    Registry(RegistryProbe),
    /// A number that a sidecar tells of itself.
    Metric(MetricProbe),
    /// A line that a program wrote.
    Log(LogProbe),
    /// Frames on the wire of a pod.
    Wire(WireProbe),
    /// The account of all calls until now.
    Ledger(LedgerProbe),
    /// What the admin interface of a sidecar answers.
    Admin(AdminProbe),
    /// A program runs, or has ended.
    Process(ProcessProbe),
    /// How long the calls of a step took.
    Latency(LatencyProbe),
    /// Connections that the kernel of a pod holds.
    Connections(ConnectionsProbe),
    /// Requests that the app of a pod saw.
    Seen(SeenProbe),
    /// The version that a sidecar tells is that of its program.
    Version(VersionProbe),
}

/// A port.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PortProbe {
    /// Of this pod.
    pub pod: Spanned<String>,
    /// Its number.
    pub number: Spanned<u16>,
    /// What it must be.
    pub is: Door,
    /// As seen from this pod; none: from the pod of the VIP names, which takes no part.
    #[serde(default)]
    pub from: Option<Spanned<String>>,
}

/// Whether a port takes connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Door {
    /// It does.
    Open,
    /// It refuses them.
    Closed,
}

impl Door {
    /// As it is written.
    pub fn word(self) -> &'static str {
        match self {
            Door::Open => "open",
            Door::Closed => "closed",
        }
    }
}

/// What the config center pushes.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RegistryProbe {
    /// The service, in short or in full; none: the first that the topology provides.
    #[serde(default)]
    pub service: Option<Spanned<String>>,
    /// Its list names this pod.
    #[serde(default)]
    pub with: Option<Spanned<String>>,
    /// Its list does not name this pod.
    #[serde(default)]
    pub without: Option<Spanned<String>>,
    /// So many addresses are in its list.
    #[serde(default)]
    pub count: Option<Count>,
}

/// A number that a sidecar tells of itself.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MetricProbe {
    /// Of this pod's sidecar.
    pub pod: Spanned<String>,
    /// As it stands in the text, labels included: `meshproof_requests_total{side="inbound",outcome="answered"}`;
    /// a name without labels is the sum of all that have some.
    pub name: Spanned<String>,
    /// What it must be.
    pub is: Count,
}

/// A line that a program wrote.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LogProbe {
    /// Of this pod; none: of any.
    #[serde(default)]
    pub pod: Option<Spanned<String>>,
    /// Of this program; none: of any.
    #[serde(default)]
    pub program: Option<Program>,
    /// Text that the line holds.
    pub holds: Spanned<String>,
    /// How many lines; none: at least one.
    #[serde(default)]
    pub count: Option<Count>,
    /// Only lines that came after the step began that this stands in.
    #[serde(default)]
    pub new: bool,
}

/// Frames on a leg of a pod, as a relay there sees them; they are counted from the beginning of
/// the story.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WireProbe {
    /// As seen at this pod.
    pub pod: Spanned<String>,
    /// On the leg to this port: 12199 from the sidecar to the app, 12220 from the app out, 12200 from
    /// whoever calls the pod.
    pub port: Spanned<u16>,
    /// Of this kind; none: of any.
    #[serde(default)]
    pub frame: Option<FrameKind>,
    /// Of this protocol; none: of any.
    #[serde(default)]
    pub protocol: Option<FrameProtocol>,
    /// How many; none: at least one.
    #[serde(default)]
    pub count: Option<Count>,
    /// Only those that came after the step began that this stands in.
    #[serde(default)]
    pub new: bool,
}

/// The account of calls.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LedgerProbe {
    /// Calls that were made.
    pub calls: Option<Count>,
    /// Calls that were seen once and answered rightly.
    pub closed: Option<Count>,
    /// Calls that no app saw.
    pub lost: Option<Count>,
    /// Calls that were seen more than once.
    pub doubled: Option<Count>,
    /// Calls that were seen and not answered, or not rightly.
    pub unanswered: Option<Count>,
}

/// What the admin interface of a sidecar answers.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AdminProbe {
    /// Of this pod's sidecar.
    pub pod: Spanned<String>,
    /// The path: `/state`.
    pub path: Spanned<String>,
    /// A place in the answer: `/app/lost`; none: the whole text.
    #[serde(default)]
    pub at: Option<String>,
    /// What must stand there; of the whole text, what it must hold. None: it must answer.
    #[serde(default)]
    pub is: Option<Scalar>,
}

/// A program.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProcessProbe {
    /// Of this pod.
    pub pod: Spanned<String>,
    /// Which.
    #[serde(default)]
    pub program: Program,
    /// What it must do.
    pub is: Living,
    /// Its exit code, of one that has ended.
    #[serde(default)]
    pub code: Option<i32>,
}

/// Whether a program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Living {
    /// It runs.
    Running,
    /// It has ended.
    Ended,
}

/// How long the calls of a step took, as the caller measured it.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LatencyProbe {
    /// The `id` of the calls.
    pub call: Spanned<String>,
    /// Half of them at most.
    #[serde(default)]
    pub p50: Option<Spanned<Millis>>,
    /// 99 of 100 at most.
    #[serde(default)]
    pub p99: Option<Spanned<Millis>>,
}

/// Connections that the kernel of a pod holds: established, as `/proc/net/tcp` tells.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConnectionsProbe {
    /// From this pod.
    pub from: Spanned<String>,
    /// To this one.
    pub to: Spanned<String>,
    /// To this port.
    pub port: Spanned<u16>,
    /// How many.
    pub count: Count,
}

/// Requests that the app of a pod saw, by its journal.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SeenProbe {
    /// Of this pod.
    pub pod: Spanned<String>,
    /// Of this kind; none: requests and one-ways.
    #[serde(default)]
    pub frame: Option<FrameKind>,
    /// How many; none: at least one.
    #[serde(default)]
    pub count: Option<Count>,
    /// Only those that came after the step began that this stands in.
    #[serde(default)]
    pub new: bool,
}

/// The version that a sidecar tells.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VersionProbe {
    /// Of this pod's sidecar: by its admin interface and its metrics, beside what the file that
    /// its process runs says of itself.
    pub pod: Spanned<String>,
}

impl Probe {
    /// The word that it begins with.
    pub fn word(&self) -> &'static str {
        match self {
            Probe::Port(_) => "port",
            Probe::Registry(_) => "registry",
            Probe::Metric(_) => "metric",
            Probe::Log(_) => "log",
            Probe::Wire(_) => "wire",
            Probe::Ledger(_) => "ledger",
            Probe::Admin(_) => "admin",
            Probe::Process(_) => "process",
            Probe::Latency(_) => "latency",
            Probe::Connections(_) => "connections",
            Probe::Seen(_) => "seen",
            Probe::Version(_) => "version",
        }
    }
}
