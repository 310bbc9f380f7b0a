//! Calls from a pod, and what came back.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use super::{Between, Mesh, Place, lock};
use crate::Error;
use crate::environment::Command;
use crate::process::{Process, Signal};
use crate::relay::Relay;

/// How long a client stays whose one-ways would else be forgotten.
const LINGER: Duration = Duration::from_millis(300);

/// The outcome of a call that was under way when failures were enough.
pub(crate) const UNJUDGED: &str = "unjudged";

/// What kind of calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Style {
    /// A request and its answer.
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

/// Protocol of a client that may choose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Speech {
    /// BOLT v1.
    BoltV1,
    /// BOLT v2.
    BoltV2,
    /// BOLT v2 with CRC.
    BoltV2Crc,
    /// TR.
    Tr,
}

impl Speech {
    /// As `fixture call --protocol` takes it.
    pub fn word(self) -> &'static str {
        match self {
            Speech::BoltV1 => "bolt",
            Speech::BoltV2 => "bolt-v2",
            Speech::BoltV2Crc => "bolt-v2-crc",
            Speech::Tr => "tr",
        }
    }
}

/// What arguments and results are written in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Serializer {
    /// SOFA's Hessian.
    #[default]
    Hessian,
    /// JSON, over BOLT alone.
    Json,
}

impl Serializer {
    /// As `fixture call --serializer` takes it.
    pub fn word(self) -> &'static str {
        match self {
            Serializer::Hessian => "hessian",
            Serializer::Json => "json",
        }
    }
}

/// Calls from one pod.
#[derive(Clone, Debug)]
pub struct Call {
    /// The pod that calls: through its sidecar where it has one, else by the config center, or by
    /// addresses in its configuration.
    pub from: String,
    /// What kind.
    pub style: Style,
    /// In what; none: what sidecar or config center say.
    pub speech: Option<Speech>,
    /// What arguments and results are written in.
    pub serializer: Serializer,
    /// How many.
    pub count: u64,
    /// Over so many connections.
    pub connections: usize,
    /// A VIP or address to call, in either form, in place of the service.
    pub vip: Option<String>,
    /// Whether that alone says who is called, whatever the config center knows.
    pub vip_only: bool,
    /// How long each may take.
    pub timeout: Duration,
    /// How much longer than the frame says an answer is waited for: time for a sidecar to say that
    /// the call timed out.
    pub grace: Duration,
    /// Calls of each connection that wait for answers at any time.
    pub depth: usize,
    /// Calls a second over all connections, whatever comes back; none: as fast as answers come.
    pub rate: Option<f64>,
    /// The version of the service.
    pub version: String,
    /// How long a connection that is refused is tried again before calls count as unsent.
    pub reconnect: Duration,
    /// An address that is called without asking sidecar or config center.
    pub to: Option<SocketAddr>,
    /// So many calls that ended otherwise than they should are enough: nothing more is begun then;
    /// none: every call is made, however many fail.
    pub enough: Option<u64>,
}

impl Call {
    /// `count` plain calls from a pod.
    pub fn new(from: &str, count: u64) -> Call {
        Call {
            from: from.to_owned(),
            style: Style::Sync,
            speech: None,
            serializer: Serializer::Hessian,
            count,
            connections: 1,
            vip: None,
            vip_only: false,
            timeout: Duration::from_secs(3),
            grace: Duration::ZERO,
            depth: 1,
            rate: None,
            version: "1.0".to_owned(),
            reconnect: Duration::ZERO,
            to: None,
            enough: None,
        }
    }
}

/// What came back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Called {
    /// Calls that were sent.
    pub sent: u64,
    /// Calls with the outcome that belongs to them.
    pub right: u64,
    /// The others by outcome: `timeout` 3, `status 6` 1.
    pub wrong: Vec<(String, u64)>,
    /// Calls by outcome, right and wrong ones.
    pub outcomes: Vec<(String, u64)>,
    /// Calls that were not begun, or whose end nobody waited for, since failures were enough.
    pub left_out: u64,
    /// Answers to nothing that was asked, or a second time.
    pub surplus: u64,
    /// The first thing that was wrong, in words.
    pub first: Option<String>,
    /// Median time from send to answer, in microseconds.
    pub p50_us: u64,
    /// 99th percentile of it.
    pub p99_us: u64,
    /// The protocol of the first connection.
    pub protocol: String,
}

impl Called {
    /// Whether all of `count` calls came back as they must.
    pub fn is_right(&self) -> bool {
        self.right == self.sent && self.sent > 0 && self.wrong.is_empty()
    }
}

/// Calls that were made in a mesh.
#[derive(Debug, Default)]
pub(super) struct Calls {
    pub(super) made: u32,
    /// Their journals.
    pub(super) journals: Vec<PathBuf>,
}

/// Calls that are under way. Dropping this kills the client.
#[derive(Debug)]
pub struct Calling {
    process: Process,
    call: Call,
    journal: PathBuf,
}

/// What `fixture call --json` prints.
#[derive(Deserialize)]
struct Summary {
    calls: u64,
    #[serde(default)]
    left_out: u64,
    outcomes: BTreeMap<String, u64>,
    surplus: u64,
    #[serde(default)]
    first: Option<String>,
    p50_us: u64,
    p99_us: u64,
    protocol: String,
}

impl Mesh {
    /// Calls, and waits until every call has its end.
    ///
    /// [`Style::Timeout`] makes every app slower than the time-out while it calls.
    pub fn call(&self, call: &Call) -> Result<Called, Error> {
        if call.style != Style::Timeout {
            return self.begin(call)?.join();
        }
        let patience = call.timeout + call.grace;
        let slow = u64::try_from(patience.as_millis()).unwrap_or(u64::MAX / 3) * 3;
        let apps = || self.pods().filter(|pod| self.has_app(pod));
        for pod in apps() {
            self.order_app(pod, &format!("{{\"delay_ms\":{slow}}}"))?;
        }
        let called = self.begin(call).and_then(Calling::join);
        for pod in apps() {
            self.order_app(pod, "{\"delay_ms\":0}")?;
        }
        called
    }

    /// Begins to call; [`Calling::join`] waits for the end.
    pub fn begin(&self, call: &Call) -> Result<Calling, Error> {
        let journal = {
            let mut calls = lock(&self.calls);
            calls.made += 1;
            self.journal(&format!("call-{}-{}.jsonl", calls.made, call.from))
        };
        let arguments = self.arguments(call, &journal)?;
        // What is refused has no journal.
        if call.style != Style::Heartbeat {
            lock(&self.calls).journals.push(journal.clone());
        }
        let command = Command {
            log: self.log_of(&format!("{}-client", call.from)),
            ..Command::own("the client", arguments)
        };
        let process = self.environment.start(&call.from, command)?;
        Ok(Calling {
            process,
            call: call.clone(),
            journal,
        })
    }

    /// Where the client of a pod calls out: its sidecar, or the relay in front of it.
    fn through(&self, pod: &str, place: &Place) -> SocketAddr {
        let relay = self.relay(pod, Between::ClientAndSidecar);
        relay.map_or(place.outbound, Relay::at)
    }

    /// Whether a sidecar is there that forgets the one-ways of a client which has gone.
    fn hurries(&self) -> bool {
        let all = self.pods().map(|pod| self.sidecar_of(pod));
        let mut all = all.filter_map(|sut| sut.ok().flatten());
        all.any(|sut| !sut.can("keeps_oneways"))
    }

    fn arguments(&self, call: &Call, journal: &Path) -> Result<Vec<String>, Error> {
        let mut arguments: Vec<String> = ["fixture", "call", "--json"].map(str::to_owned).into();
        let mut add = |name: &str, value: String| {
            arguments.push(format!("--{name}"));
            arguments.push(value);
        };
        let method = match call.style {
            Style::Sync | Style::Timeout | Style::Large => "hello",
            Style::Oneway => "notifyOneway",
            Style::Exception => "boom",
            Style::Heartbeat => "heartbeat",
        };
        add("method", method.to_owned());
        if call.style == Style::Large {
            add("pad", (1 << 20).to_string());
        }
        add("count", call.count.to_string());
        add("connections", call.connections.to_string());
        match call.rate {
            Some(rate) => add("rate", rate.to_string()),
            None => add("depth", call.depth.to_string()),
        }
        add("timeout", call.timeout.as_millis().to_string());
        if !call.grace.is_zero() {
            add("grace", call.grace.as_millis().to_string());
        }
        if call.style == Style::Timeout {
            add("expect", "timeout".to_owned());
        }
        if call.style == Style::Oneway && self.hurries() {
            add("linger", LINGER.as_millis().to_string());
        }
        if let Some(enough) = call.enough {
            add("enough", enough.to_string());
        }
        add("reconnect", call.reconnect.as_millis().to_string());
        add("service-version", call.version.clone());
        add("log", journal.to_string_lossy().into_owned());
        if let Some(speech) = call.speech {
            add("protocol", speech.word().to_owned());
        }
        add("serializer", call.serializer.word().to_owned());
        let place = self.place(&call.from)?;
        let sidecar = self.sidecar_of(&call.from)?;
        match (call.to, sidecar) {
            (Some(to), _) => add("to", to.to_string()),
            (None, Some(sidecar)) if sidecar.can("subscribes") => {
                add("sidecar", format!("http://{}", place.api));
                add("through", self.through(&call.from, &place).to_string());
                if let Some(vip) = &call.vip {
                    add("vip", vip.clone());
                    if call.vip_only {
                        arguments.push("--vip-only".to_owned());
                    }
                }
            }
            (None, sidecar) => {
                if let Some(vip) = &call.vip {
                    let why = match sidecar {
                        Some(sidecar) => format!("its sidecar {} does not subscribe", sidecar.sut),
                        None => "it has no sidecar".to_owned(),
                    };
                    let from = &call.from;
                    return Err(Error::Refused(format!(
                        "pod {from} cannot call the VIP {vip}: {why}"
                    )));
                }
                match sidecar {
                    Some(_) => add("to", self.through(&call.from, &place).to_string()),
                    None if self.setting.site.has_center() => {
                        add("config-center", format!("http://{}", self.center()?));
                    }
                    None => {
                        let all = self.site()?.configured(&call.version)?;
                        if all.is_empty() {
                            return Err(Error::Refused(format!(
                                "nobody provides version {} of the service, whose address pod {} \
                                 could have in its configuration",
                                call.version, call.from
                            )));
                        }
                        all.into_iter().for_each(|one| add("provider", one));
                    }
                }
            }
        }
        Ok(arguments)
    }
}

impl Calling {
    /// Where the client writes a line for each call, when its end is known.
    pub fn journal(&self) -> &Path {
        &self.journal
    }

    /// Waits until every call has its end.
    pub fn join(self) -> Result<Called, Error> {
        // Each call ends by itself: the limit is for a client that hangs.
        let spent = match self.call.rate {
            Some(rate) => Duration::try_from_secs_f64(self.call.count as f64 / rate),
            None => Ok(self
                .call
                .timeout
                .saturating_mul(self.call.count.min(200) as u32)),
        };
        let limit = spent.unwrap_or(Duration::from_secs(3600)) + Duration::from_secs(60);
        let exit = match self.process.wait(limit) {
            Ok(exit) => exit,
            Err(error) => {
                self.process.signal(Signal::Kill)?;
                return Err(error);
            }
        };
        let lines = self.process.lines();
        let summary = lines.iter().rev().find_map(|line| {
            let summary: Option<Summary> = serde_json::from_str(&line.text).ok();
            summary
        });
        let Some(summary) = summary else {
            let said = lines.last().map(|line| line.text.clone());
            return Ok(Called {
                wrong: vec![("unsent".into(), self.call.count)],
                outcomes: vec![("unsent".into(), self.call.count)],
                first: Some(said.unwrap_or_else(|| format!("the client {exit}"))),
                ..Called::default()
            });
        };
        Ok(self.judged(summary))
    }

    /// Ends it in good order: what is under way is waited for, and nothing more is sent.
    pub fn stop(self) -> Result<Called, Error> {
        self.process.signal(Signal::Terminate)?;
        self.join()
    }

    fn judged(&self, summary: Summary) -> Called {
        let is_right = |outcome: &str| match self.call.style {
            Style::Sync | Style::Large | Style::Heartbeat => outcome == "ok",
            Style::Oneway => outcome == "sent",
            Style::Exception => outcome == "exception",
            // The sidecar may say so before the client does: TIMEOUT of BOLT.
            Style::Timeout => matches!(outcome, "timeout" | "status 7"),
        };
        let mut outcomes = summary.outcomes;
        let unjudged = outcomes.remove(UNJUDGED).unwrap_or_default();
        let outcomes: Vec<(String, u64)> = outcomes.into_iter().collect();
        let (right, wrong): (Vec<_>, Vec<_>) = outcomes
            .clone()
            .into_iter()
            .partition(|(outcome, _)| is_right(outcome));
        let mut wrong: Vec<(String, u64)> = wrong;
        if summary.surplus > 0 {
            wrong.push(("surplus".into(), summary.surplus));
        }
        Called {
            sent: summary.calls,
            left_out: summary.left_out + unjudged,
            right: right.into_iter().map(|(_, count)| count).sum(),
            outcomes,
            surplus: summary.surplus,
            first: summary.first.filter(|_| !wrong.is_empty()),
            wrong,
            p50_us: summary.p50_us,
            p99_us: summary.p99_us,
            protocol: summary.protocol,
        }
    }
}
