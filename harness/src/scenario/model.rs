//! What a story is, as it is written: its head and its steps.

pub use meshproof_fault::Spec as Fault;
pub use meshproof_fault::spec::{
    Frames as FrameKind, Kind as FaultKind, Muted, Program, Protocol as FrameProtocol, Side,
};
use meshproof_input::{Entries, Millis, Span, Spanned};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::probe::Probe;
use super::stage::Stage;
use super::value::Scalar;

/// Steps of one story at most, nested ones included.
pub const STEPS_MAX: usize = 500;

/// Levels of steps within steps at most.
pub const NESTING_MAX: usize = 4;

/// Calls of one step at most: every one has a line in two journals.
pub const CALLS_MAX: u64 = 1_000_000;

/// A story as it is written.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// Its name: letters, digits and hyphens.
    pub scenario: Spanned<String>,
    /// One sentence: what must hold.
    pub about: String,
    /// On which mesh: the name of a topology that ships, a file beside this one, or the topology
    /// itself.
    pub topology: Spanned<Stage>,
    /// Capabilities without which it cannot be told: of sidecars, of the site, of the machine.
    #[serde(default)]
    pub needs: Vec<Spanned<String>>,
    /// The site that it is told at; none: the one that the run is given.
    #[serde(default)]
    pub site: Option<Spanned<String>>,
    /// Seeded bugs that it must catch.
    #[serde(default)]
    pub catches: Vec<Spanned<String>>,
    /// What must fail when one of these bugs is on, by the bug: that the story fails for another
    /// reason is no catch then. Without it, any of what a story judges will do: steps, ledger or
    /// escapes, and never that the mesh did not come up.
    #[serde(default)]
    pub caught_by: Entries<String, CaughtBy>,
    /// How long the whole story may take.
    #[serde(default = "minute")]
    pub budget: Spanned<Millis>,
    /// What happens, in order.
    pub steps: Vec<Spanned<Step>>,
}

/// What must fail, when a bug is on.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CaughtBy {
    /// Which claim.
    #[serde(default)]
    pub claim: StoryClaim,
    /// Text that its sentence must hold, such as `step 3 of` or the name of a claim of a replay.
    #[serde(default)]
    pub says: Option<Spanned<String>>,
}

/// A claim of a story.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StoryClaim {
    /// A step did not hold.
    #[default]
    Steps,
    /// A call was not answered once and seen once.
    Ledger,
    /// Something tried to leave the mesh.
    Escapes,
    /// The mesh did not come up.
    Mesh,
}

impl StoryClaim {
    /// As it is written, and as the claim is called.
    pub fn word(self) -> &'static str {
        match self {
            StoryClaim::Steps => "steps",
            StoryClaim::Ledger => "ledger",
            StoryClaim::Escapes => "escapes",
            StoryClaim::Mesh => "mesh",
        }
    }
}

impl CaughtBy {
    /// In words: `steps: functional`.
    pub fn told(&self) -> String {
        match &self.says {
            Some(says) => format!("{}: … {says}", self.claim.word()),
            None => self.claim.word().to_owned(),
        }
    }
}

fn minute() -> Spanned<Millis> {
    unwritten(Millis(60_000))
}

/// A value that stands nowhere in the text.
fn unwritten<T>(value: T) -> Spanned<T> {
    Spanned {
        value,
        span: Span::default(),
    }
}

/// One step.
#[expect(
    clippy::large_enum_variant,
    reason = "a story has few steps, and they are read once"
)]
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// The app of a pod calls.
    Call(Call),
    /// The app of a pod asks its sidecar's application API for the providers of the service.
    Subscribe(Subscribe),
    /// Bytes as they stand, from one pod to a port of another.
    Send(RawSend),
    /// Recorded requests are sent into the mesh.
    Replay(Replay),
    /// Something goes wrong.
    Fault(Fault),
    /// A fault ends.
    Heal(Spanned<String>),
    /// What is not so yet must become so within a time.
    Eventually(Eventually),
    /// What is so must stay so for a time.
    Always(Always),
    /// What is not so must not become so for a time.
    Never(Never),
    /// These steps must be over within a time.
    Within(Within),
    /// Branches that happen side by side; over when all are.
    Parallel(Entries<String, Vec<Spanned<Step>>>),
    /// These steps happen at an event, and others until it comes.
    When(When),
    /// A successor takes over from the sidecar of a pod.
    Upgrade(Upgrade),
    /// A sidecar moves in: port 12200 changes hands, the app moves to 12199.
    Meshify(Meshify),
    /// The sidecar moves out: the app takes port 12200 back.
    Demesh(Spanned<String>),
    /// Something is changed while it runs.
    Set(Set),
    /// A program is ended and started again.
    Restart(Restart),
    /// The config center is told how to behave.
    Registry(RegistryOrder),
    /// The VIP name service is told how to behave.
    Vip(VipOrder),
    /// The packets of a pod are kept from here on.
    Record(Record),
}

impl Step {
    /// The word that it begins with.
    pub fn word(&self) -> &'static str {
        match self {
            Step::Call(_) => "call",
            Step::Subscribe(_) => "subscribe",
            Step::Send(_) => "send",
            Step::Replay(_) => "replay",
            Step::Fault(_) => "fault",
            Step::Heal(_) => "heal",
            Step::Eventually(_) => "eventually",
            Step::Always(_) => "always",
            Step::Never(_) => "never",
            Step::Within(_) => "within",
            Step::Parallel(_) => "parallel",
            Step::When(_) => "when",
            Step::Upgrade(_) => "upgrade",
            Step::Meshify(_) => "meshify",
            Step::Demesh(_) => "demesh",
            Step::Set(_) => "set",
            Step::Restart(_) => "restart",
            Step::Registry(_) => "registry",
            Step::Vip(_) => "vip",
            Step::Record(_) => "record",
        }
    }
}

/// Calls, each of which must have the outcome that belongs to it.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Call {
    /// The pod that calls: through its sidecar where it has one, else by the config center.
    pub from: Spanned<String>,
    /// What probes call it.
    #[serde(default)]
    pub id: Option<Spanned<String>>,
    /// The service, in short or in full; none: the first that the topology provides.
    #[serde(default)]
    pub service: Option<Spanned<String>>,
    /// What kind.
    #[serde(default)]
    pub style: CallStyle,
    /// In what protocol and version; none: what the sidecar or the config center says.
    #[serde(default)]
    pub speech: Option<CallSpeech>,
    /// How many, at most [`CALLS_MAX`].
    #[serde(default = "one")]
    pub count: Spanned<u64>,
    /// Over so many connections.
    #[serde(default)]
    pub connections: Option<Spanned<u64>>,
    /// So many of each connection wait for answers at any time; 1 where nothing is said.
    #[serde(default)]
    pub depth: Option<Spanned<u64>>,
    /// Calls a second, whatever comes back.
    #[serde(default)]
    pub rate: Option<Spanned<u64>>,
    /// A VIP or address to call, in either form.
    #[serde(default)]
    pub vip: Option<Spanned<String>>,
    /// How long each may take; the frame says it.
    #[serde(default)]
    pub timeout: Option<Spanned<Millis>>,
    /// The caller itself waits this much longer than the frame says.
    #[serde(default)]
    pub leeway: Option<Spanned<Millis>>,
    /// Outcomes that are allowed, beside the one that belongs to the style: `timeout`, `closed`,
    /// `unsent`, `wrong`, `error`, `status 7`.
    #[serde(default)]
    pub or: Vec<Spanned<String>>,
    /// The one outcome that every call must have, in place of the one that belongs to the style.
    #[serde(default)]
    pub expect: Option<Spanned<String>>,
    /// The calls must be seen by these pods, and by no others; each at least once.
    #[serde(default)]
    pub seen_by: Vec<Spanned<String>>,
}

fn one() -> Spanned<u64> {
    unwritten(1)
}

/// What kind of calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CallStyle {
    /// A request and its answer.
    #[default]
    Sync,
    /// A request without an answer.
    Oneway,
    /// The method throws: the exception is the right answer.
    Exception,
    /// The provider is slower than the time-out: the time-out is the right answer.
    Timeout,
    /// A heartbeat of the client, answered by whoever is next.
    Heartbeat,
    /// A body of 1 MiB each way.
    Large,
}

/// In what a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CallSpeech {
    /// BOLT v1.
    Bolt,
    /// BOLT v2.
    BoltV2,
    /// BOLT v2 with CRC.
    BoltV2Crc,
    /// TR.
    Tr,
}

/// A question to the application API of a sidecar.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Subscribe {
    /// The pod whose app asks.
    pub from: Spanned<String>,
    /// The service, in short or in full; none: the first that the topology provides.
    #[serde(default)]
    pub service: Option<Spanned<String>>,
    /// `targetAppAddress`: a VIP in either form, or an address.
    #[serde(default)]
    pub vip: Option<Spanned<String>>,
    /// The config center's providers do not count, the VIP alone does.
    #[serde(default)]
    pub vip_only: bool,
    /// What must be answered.
    #[serde(default)]
    pub expect: Subscribed,
    /// Text that the answer must hold: in an address, or in the error message.
    #[serde(default)]
    pub says: Option<String>,
}

/// What a sidecar answers to a subscription.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Subscribed {
    /// At least one provider.
    #[default]
    Providers,
    /// A refusal, with a reason.
    Refused,
}

/// Bytes as they stand.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawSend {
    /// The pod that sends.
    pub from: Spanned<String>,
    /// The pod that gets it.
    pub to: Spanned<String>,
    /// The port.
    pub port: Spanned<u16>,
    /// The bytes, two hexadecimal digits each; blanks are passed over.
    pub hex: Spanned<String>,
    /// What must come of it.
    pub expect: RawOutcome,
    /// Within this time.
    pub within: Spanned<Millis>,
}

/// What comes of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RawOutcome {
    /// The other side closes the connection.
    Closed,
    /// The other side answers anything.
    Answered,
    /// Neither, for the whole time.
    Silence,
}

/// Recorded requests.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Replay {
    /// The capture, beside the story.
    pub capture: Spanned<String>,
    /// The pod whose app sends them: into its sidecar, 12220.
    pub from: Spanned<String>,
}

/// What must become so.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Eventually {
    /// Within this time.
    pub within: Spanned<Millis>,
    /// All of these, at one look.
    #[serde(default)]
    pub all: Vec<Spanned<Probe>>,
    /// At least one of these.
    #[serde(default)]
    pub any: Vec<Spanned<Probe>>,
}

/// What must stay so.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Always {
    /// For so long.
    #[serde(rename = "for")]
    pub during: Spanned<Millis>,
    /// All of these, at every look.
    pub all: Vec<Spanned<Probe>>,
}

/// What must not become so.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Never {
    /// For so long.
    #[serde(rename = "for")]
    pub during: Spanned<Millis>,
    /// None of these, at any look.
    #[serde(default)]
    pub any: Vec<Spanned<Probe>>,
    /// Not all of these at one look; they are looked at in this order.
    #[serde(default)]
    pub all: Vec<Spanned<Probe>>,
}

/// Steps within a time.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Within {
    /// The time.
    pub limit: Spanned<Millis>,
    /// The steps.
    pub steps: Vec<Spanned<Step>>,
}

/// Steps at an event: one of `before`, `after`, `all`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct When {
    /// Before this frame arrives: it is held until the steps are over.
    #[serde(default)]
    pub before: Option<Spanned<FrameEvent>>,
    /// After this frame, and before the next that all this holds for: that one is held until the
    /// steps are over.
    #[serde(default)]
    pub after: Option<Spanned<FrameEvent>>,
    /// When all of these are so, at one look.
    #[serde(default)]
    pub all: Vec<Spanned<Probe>>,
    /// It must come within this time.
    pub within: Spanned<Millis>,
    /// What happens then.
    pub steps: Vec<Spanned<Step>>,
    /// What happens side by side with waiting for it; frames are counted from before the first of
    /// these.
    #[serde(default)]
    pub meanwhile: Vec<Spanned<Step>>,
}

/// One frame on a leg.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FrameEvent {
    /// On a leg of this pod.
    pub pod: Spanned<String>,
    /// To this port: 12199, 12220 or 12200.
    pub port: Spanned<u16>,
    /// Sent by this side; none: by either.
    #[serde(default)]
    pub from: Option<Spanned<Side>>,
    /// Of this sort; none: any.
    #[serde(default)]
    pub frame: Option<Spanned<FrameKind>>,
    /// Of this protocol; none: any.
    #[serde(default)]
    pub protocol: Option<Spanned<FrameProtocol>>,
    /// The n-th that all this holds for, counted from 1 and from when the step begins.
    pub nth: Spanned<u64>,
}

/// A successor takes over.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Upgrade {
    /// Where.
    pub pod: Spanned<String>,
    /// To this adapter; none: the same again.
    #[serde(default)]
    pub to: Option<Spanned<String>>,
}

/// A sidecar moves in.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Meshify {
    /// Where.
    pub pod: Spanned<String>,
    /// Which; none: the reference.
    #[serde(default)]
    pub sidecar: Option<Spanned<String>>,
}

/// Something is changed while it runs.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Set {
    /// Where.
    pub pod: Spanned<String>,
    /// The log level of the sidecar.
    #[serde(default)]
    pub log_level: Option<LogLevel>,
    /// Keys of the sidecar's configuration, dotted: `timeouts.upstream_idle: 300ms`.
    #[serde(default)]
    pub config: Entries<String, Scalar>,
}

/// A log level.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LogLevel {
    /// `error`, `warn`, `info`, `debug`, `trace`, `off`.
    pub level: Spanned<String>,
    /// Of this target alone.
    #[serde(default)]
    pub target: Option<String>,
}

/// A program is ended and started again.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Restart {
    /// Where.
    pub pod: Spanned<String>,
    /// Which program.
    #[serde(default)]
    pub program: Program,
}

/// How the config center behaves from here on.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RegistryOrder {
    /// The order of its answers: `as-is`, `reversed`, `shuffled:SEED`, `fixed:POD,POD`.
    pub order: Option<Spanned<String>>,
    /// Answers wait this long; what they do is done at once.
    pub delay_answer: Option<Millis>,
    /// Pushes wait this long.
    pub delay_push: Option<Millis>,
    /// Lists stay as they are at this moment, and nothing is pushed; `false` ends it.
    pub stale: Option<bool>,
    /// These services are answered and pushed without providers; `[]` ends it.
    pub empty: Option<Vec<Spanned<String>>>,
    /// Once: one empty push of these services, not confirmed.
    pub push_empty: Vec<Spanned<String>>,
    /// Once: the same push again.
    pub push_again: Vec<Spanned<String>>,
    /// Every push goes out so many times.
    pub push_times: Option<u32>,
    /// The next so many pushes are lost.
    pub lose_pushes: Option<u32>,
    /// Whether it answers.
    pub availability: Option<Availability>,
    /// Once: it is started again; every connection is cut.
    pub restart: Option<Memory>,
    /// Once: every watch connection is closed.
    pub drop_watchers: bool,
}

/// Whether the config center answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Availability {
    /// It does.
    Up,
    /// It answers 503.
    Unavailable,
    /// Its port is closed.
    Refuse,
}

/// What a config center still knows after a restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Memory {
    /// Everything.
    WithMemory,
    /// Nothing.
    WithoutMemory,
}

/// How the VIP name service behaves from here on.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct VipOrder {
    /// Pools that are added or changed: `sample.zone1: [server]`.
    pub pools: Entries<String, Vec<Spanned<String>>>,
    /// Names that go.
    pub remove: Vec<String>,
    /// Names that are answered wrongly.
    pub faults: Entries<String, VipAnswer>,
    /// Names that are answered rightly again.
    pub heal: Vec<String>,
}

/// How a name is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum VipAnswer {
    /// There is no such name.
    Nxdomain,
    /// The service has failed.
    Servfail,
    /// Nothing.
    Silence,
    /// No addresses.
    Empty,
}

impl VipAnswer {
    /// As it is written.
    pub fn word(self) -> &'static str {
        match self {
            VipAnswer::Nxdomain => "nxdomain",
            VipAnswer::Servfail => "servfail",
            VipAnswer::Silence => "silence",
            VipAnswer::Empty => "empty",
        }
    }
}

/// Packets are kept.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// Of this pod.
    pub pod: Spanned<String>,
    /// On this port alone.
    #[serde(default)]
    pub port: Option<Spanned<u16>>,
}
