//! What goes wrong, as it is written: in a step of a story, in a file, on the command line.
//!
//! ```
//! use meshproof_fault::Spec;
//!
//! let text = "{kind: drop, from: app, port: 12199, for: 30s}";
//! let spec = Spec::parse("fault.yaml", text).expect("a fault");
//! assert_eq!(spec.to_string(), "drop packets from the app, port 12199");
//!
//! let problem = Spec::parse("fault.yaml", "{kind: drop, nth: 3, only: payload}").unwrap_err();
//! assert_eq!(problem.code_name(), "fault::packets_and_frames");
//! ```

mod check;
pub mod hex;
mod link;
mod outside;
mod rate;
mod say;
mod schedule;
mod words;

use ipnet::IpNet;
use meshproof_input::{Millis, Net, Problem, Spanned};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use link::LINK_DELAY_MS_MAX;
pub use rate::Rate;
pub use schedule::{Occurrence, Repeat, TIMES_MAX};
pub use words::{
    Dependency, Direction, Frames, Kind, Listener, Muted, Only, Outside, Program, Protocol, Side,
    Subject, Version,
};

use crate::Way;

/// Longest time that a fault may be asked for, in milliseconds: a day.
pub const FOR_MS_MAX: u64 = 24 * 3_600_000;

/// Connections that `limit` may leave at most.
pub const CONNECTIONS_MAX: u32 = 1_000_000;

/// Something that goes wrong.
///
/// With `port` it happens to what is on the way between two programs, else to a program or a pod.
/// As soon as one of `frame`, `protocol`, `service`, `method`, `nth`, `last`, `percent`,
/// `connection` is named, or the kind is one that only frames know, or the way is `relay` or
/// `sockhash`, it happens to frames; otherwise
/// to packets.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// What `heal` calls it: letters, digits and hyphens; made up where it is not named.
    #[serde(default)]
    pub id: Option<Spanned<String>>,
    /// What.
    pub kind: Spanned<Kind>,
    /// Of what outside of the pods; none: of a pod.
    #[serde(default)]
    pub of: Option<Spanned<Outside>>,
    /// Where: a pod. On the command line the place is an option.
    #[serde(default)]
    pub pod: Option<Spanned<String>>,
    /// Which program of the pod, for faults of programs.
    #[serde(default)]
    pub program: Program,
    /// Only what this side sends; none: both.
    #[serde(default)]
    pub from: Option<Spanned<Side>>,
    /// Only what goes to this side: the same as `from` the other.
    #[serde(default)]
    pub to: Option<Spanned<Side>>,
    /// The port that is listened at: `12199` between sidecar and app.
    #[serde(default)]
    pub port: Option<Spanned<u16>>,
    /// Only connections that were opened from this port.
    #[serde(default)]
    pub source_port: Option<Spanned<u16>>,
    /// Who listens at `port`: the pod itself, or somebody elsewhere.
    #[serde(default)]
    pub listener: Option<Spanned<Listener>>,
    /// Only connections with these addresses at the other end.
    #[serde(default)]
    pub peer: Option<Spanned<Net>>,
    /// Only packets of this version of IP; none: both.
    #[serde(default)]
    pub ip: Option<Spanned<Version>>,
    /// Only packets of programs in this control group (version 2) or below it: its path from the
    /// root, such as `app.slice/app`.
    #[serde(default)]
    pub group: Option<Spanned<String>>,
    /// Only these packets; none: all. Not beside what is said of frames.
    #[serde(default)]
    pub only: Option<Spanned<Only>>,
    /// Only frames of this sort.
    #[serde(default)]
    pub frame: Option<Spanned<Frames>>,
    /// Only frames of this protocol.
    #[serde(default)]
    pub protocol: Option<Spanned<Protocol>>,
    /// Only frames of calls of this service, in short or in full; of the config center, only its
    /// list.
    #[serde(default)]
    pub service: Option<Spanned<String>>,
    /// Only frames of calls of this method.
    #[serde(default)]
    pub method: Option<Spanned<String>>,
    /// Only the n-th frame that all this holds for, counted from 1; with `last`, from this one on.
    #[serde(default)]
    pub nth: Option<Spanned<u64>>,
    /// The last frame, counted as with `nth`.
    #[serde(default)]
    pub last: Option<Spanned<u64>>,
    /// Only so many of a hundred frames, picked by `seed`, connection and number of the frame:
    /// the same ones on every run.
    #[serde(default)]
    pub percent: Option<Spanned<f64>>,
    /// The seed of `percent`, and of what a bad link chooses, 0 where it is not named; of `reorder`
    /// of the config center, whose lists are shuffled by it, and backwards where it is not named.
    #[serde(default)]
    pub seed: Option<Spanned<u64>>,
    /// Only frames of the n-th connection that the relay on the leg has carried, counted from 1;
    /// `nth` and `last` count its frames alone.
    #[serde(default)]
    pub connection: Option<Spanned<u64>>,
    /// How much later, for `delay` and `slow`; how long each state lasts, for `flapping`; for
    /// `reorder` of frames how long others overtake, where it is not the next one alone.
    #[serde(default)]
    pub by: Option<Spanned<Millis>>,
    /// The byte of the frame, counted from 0, for `truncate` (the first one that is missing) and
    /// `flip`.
    #[serde(default)]
    pub byte: Option<Spanned<u64>>,
    /// What the byte is combined with by exclusive or, for `flip`; 255 where it is not named.
    #[serde(default)]
    pub mask: Option<Spanned<u8>>,
    /// The bytes that arrive in place of a frame, for `replace`: two digits each.
    #[serde(default)]
    pub hex: Option<Spanned<String>>,
    /// A frame of a capture that arrives in place of a frame, for `replace`: under the id of the
    /// one that it stands for, everything else as it was recorded.
    #[serde(default)]
    pub recorded: Option<Spanned<Recorded>>,
    /// Connections that are let through, for `limit`.
    #[serde(default)]
    pub connections: Option<Spanned<u32>>,
    /// What is left unanswered, for `mute` without `port`.
    #[serde(default)]
    pub what: Option<Muted>,
    /// Which methods, for `throw` and `error`; none: `hello`.
    #[serde(default)]
    pub methods: Vec<Spanned<String>>,
    /// The folder whose disk is meant, for faults of disks.
    #[serde(default)]
    pub folder: Option<Spanned<String>>,
    /// How much later packets arrive, for `link`.
    #[serde(default)]
    pub delay: Option<Spanned<Millis>>,
    /// How much more or less than `delay` it may be: each packet's own, in this range, evenly.
    /// The order stays.
    #[serde(default)]
    pub jitter: Option<Spanned<Millis>>,
    /// So many of a hundred packets do not arrive.
    #[serde(default)]
    pub loss: Option<Spanned<f64>>,
    /// So many of a hundred packets come twice.
    #[serde(default)]
    pub duplicate: Option<Spanned<f64>>,
    /// So many of a hundred packets change places with the next one.
    #[serde(default)]
    pub reorder: Option<Spanned<f64>>,
    /// So many of a hundred packets have one wrong bit.
    #[serde(default)]
    pub corrupt: Option<Spanned<f64>>,
    /// How many bits a second pass, each way: `64kbit`, `10mbit`, `1gbit`.
    #[serde(default)]
    pub rate: Option<Spanned<Rate>>,
    /// Which way, for `link`; none: both.
    #[serde(default)]
    pub direction: Option<Spanned<Direction>>,
    /// Addresses, `10.0.0.1` or `10.0.0.1:12200`, in a story also pods: all that are told
    /// (`partial`), that go and come (`flapping`, none: all), that come first (`reorder`), whose
    /// sessions run out (`expired`, none: all), or that are answered (`wrong`).
    #[serde(default)]
    pub addresses: Vec<Spanned<String>>,
    /// Only this VIP name: `APP.ZONE`, or a whole name; none: all.
    #[serde(default)]
    pub name: Option<Spanned<String>>,
    /// It begins so much later than it was asked for.
    #[serde(default)]
    pub at: Option<Spanned<Millis>>,
    /// How often it is in force; `for` says how long each time.
    #[serde(default)]
    pub repeat: Option<Repeat>,
    /// After this time it is healed, whoever has forgotten it. In a story the time of the story
    /// is the limit; elsewhere it must be named.
    #[serde(default, rename = "for")]
    pub during: Option<Spanned<Millis>>,
    /// In this way and no other; none: the best that can do exactly this here.
    #[serde(default)]
    pub way: Option<Spanned<Way>>,
}

/// A frame of a capture.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Recorded {
    /// The capture; in a story `{{here}}` is the story's folder.
    pub capture: Spanned<String>,
    /// Which of its whole frames, of those of the sort and protocol that the fault names; counted
    /// from 1.
    pub number: Spanned<u64>,
}

impl Spec {
    /// Reads and checks one. `name` is the file's name, for showing.
    pub fn parse(name: &str, text: &str) -> Result<Spec, Problem> {
        let spec: Spec = meshproof_input::parse(name, text)?;
        spec.check(name, text)?;
        Ok(spec)
    }

    /// The JSON schema.
    pub fn schema() -> String {
        meshproof_input::schema::<Spec>("A fault")
    }

    /// A fault of this kind of which nothing else is said.
    pub fn new(kind: Kind) -> Spec {
        Spec {
            id: None,
            kind: unwritten(kind),
            of: None,
            pod: None,
            program: Program::default(),
            from: None,
            to: None,
            port: None,
            source_port: None,
            listener: None,
            peer: None,
            ip: None,
            group: None,
            only: None,
            frame: None,
            protocol: None,
            service: None,
            method: None,
            nth: None,
            last: None,
            percent: None,
            seed: None,
            connection: None,
            by: None,
            byte: None,
            mask: None,
            hex: None,
            recorded: None,
            connections: None,
            what: None,
            methods: Vec::new(),
            folder: None,
            delay: None,
            jitter: None,
            loss: None,
            duplicate: None,
            reorder: None,
            corrupt: None,
            rate: None,
            direction: None,
            addresses: Vec::new(),
            name: None,
            at: None,
            repeat: None,
            during: None,
            way: None,
        }
    }

    /// What it happens to.
    pub fn subject(&self) -> Subject {
        let frames = self.frame.is_some()
            || self.protocol.is_some()
            || self.service.is_some()
            || self.method.is_some()
            || self.nth.is_some()
            || self.last.is_some()
            || self.percent.is_some()
            || self.connection.is_some()
            || self
                .way
                .is_some_and(|way| matches!(way.value, Way::Relay | Way::Sockhash));
        if let Some(of) = self.of {
            return of.value.into();
        }
        match self.kind.value.dependency() {
            // It says of what, or is refused.
            Dependency::Outside => Outside::ALL
                .iter()
                .find(|of| of.kinds().contains(&self.kind.value))
                .map_or(Subject::ConfigCenter, |of| (*of).into()),
            Dependency::Program => Subject::Program,
            Dependency::App if self.port.is_none() => Subject::Program,
            Dependency::Disk => Subject::Disk,
            Dependency::Pod => Subject::Pod,
            Dependency::Link => Subject::Link,
            // The kernel ends connections whole.
            Dependency::Frames if self.way.is_some_and(|way| way.value == Way::Destroy) => {
                Subject::Packets
            }
            Dependency::Frames | Dependency::App => Subject::Frames,
            Dependency::Packets => Subject::Packets,
            Dependency::Either if frames => Subject::Frames,
            Dependency::Either => Subject::Packets,
        }
    }

    /// Whose packets or frames, of those who opened the connection and those who accepted it;
    /// none: both. At 12220 the app opens, everywhere else it is the one who accepts.
    pub fn sender(&self) -> Option<Sender> {
        const APP_OPENS: u16 = 12220;
        let opens = self.port.is_some_and(|port| port.value == APP_OPENS);
        let sender = |side: Side| match (side, opens) {
            (Side::Client, _) | (Side::Sidecar, false) | (Side::App, true) => Sender::Opener,
            (Side::Server, _) | (Side::App, false) | (Side::Sidecar, true) => Sender::Listener,
        };
        match (self.from, self.to) {
            (Some(from), _) => Some(sender(from.value)),
            (None, Some(to)) => Some(sender(to.value).other()),
            (None, None) => None,
        }
    }

    /// Who listens at the port, said or not.
    pub fn listens(&self) -> Listener {
        self.listener.map_or(Listener::Here, |it| it.value)
    }

    /// The network of the other end, where one is named.
    pub fn peer(&self) -> Option<IpNet> {
        self.peer.map(|peer| peer.value.0)
    }

    /// Frames that it may count for: the first and the last, counted from 1.
    pub fn span(&self) -> (u64, Option<u64>) {
        match (self.nth, self.last) {
            (Some(nth), None) => (nth.value, Some(nth.value)),
            (Some(nth), Some(last)) => (nth.value, Some(last.value)),
            (None, last) => (1, last.map(|last| last.value)),
        }
    }
}

impl From<Outside> for Subject {
    fn from(of: Outside) -> Subject {
        match of {
            Outside::ConfigCenter => Subject::ConfigCenter,
            Outside::Vip => Subject::Vip,
        }
    }
}

/// Who sends, on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sender {
    /// Who opened it.
    Opener,
    /// Who accepted it.
    Listener,
}

impl Sender {
    /// The other one.
    pub fn other(self) -> Sender {
        match self {
            Sender::Opener => Sender::Listener,
            Sender::Listener => Sender::Opener,
        }
    }
}

/// A fault on its way to another process: places in a text do not travel as JSON does.
pub(crate) mod travel {
    use serde::de::{Deserialize, Deserializer, Error as _};
    use serde::ser::{Error as _, Serializer};

    use super::Spec;

    pub(crate) fn serialize<S: Serializer>(spec: &Spec, serializer: S) -> Result<S::Ok, S::Error> {
        let text = serde_json::to_string(spec).map_err(S::Error::custom)?;
        serializer.serialize_str(&text)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Spec, D::Error> {
        let text = String::deserialize(from)?;
        meshproof_input::parse("fault", &text).map_err(D::Error::custom)
    }
}

/// A value that stands nowhere in the text.
fn unwritten<T>(value: T) -> Spanned<T> {
    Spanned {
        value,
        span: meshproof_input::Span::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        let told = match Spec::parse("fault.yaml", text) {
            Ok(spec) => spec.to_string(),
            Err(problem) => format!("{}: {problem}", problem.code_name()),
        };
        assert_eq!(told, expected, "{text}");
    }

    #[test]
    fn a_fault_is_read_and_told() {
        check(
            "{kind: drop, from: app, port: 12199}",
            "drop packets from the app, port 12199",
        );
        check(
            "{kind: reject, to: app, port: 12199, ip: v4, only: payload, pod: server}",
            "reject payload packets of IPv4 to the app, port 12199, pod server",
        );
        check(
            "{kind: drop, frame: heartbeat, from: app, port: 12199, nth: 3, last: 5}",
            "drop heartbeat frames 3 to 5 from the app, port 12199",
        );
        check(
            "{kind: limit, connections: 2, port: 12200}",
            "limit packets beyond 2 connections, port 12200",
        );
        check(
            "{kind: drop, from: app, port: 12199, way: relay}",
            "drop frames from the app, port 12199",
        );
        check(
            "{kind: flip, byte: 9, mask: 3, port: 12200, frame: request, method: hello, connection: 2}",
            "flip byte 9 by 0x03 of request frames of hello on connection 2, port 12200",
        );
        check(
            "{kind: replace, hex: \"0d 00\", port: 12199, from: app, nth: 2}",
            "replace by 2 bytes frames number 2 from the app, port 12199",
        );
        check(
            "{kind: replace, port: 12199, from: app, recorded: {capture: a.pcap, number: 3}}",
            "replace by frame 3 of a.pcap frames from the app, port 12199",
        );
        check(
            "{kind: truncate, byte: 21, port: 12199, percent: 10, seed: 4}",
            "truncate at byte 21 frames, 10 % of them by seed 4, port 12199",
        );
        check(
            "{kind: stale, of: config-center, service: SampleService}",
            "stale lists of the config center, service SampleService",
        );
        check(
            "{kind: wrong, of: vip, name: sample.gz00a, addresses: [10.0.0.1]}",
            "wrong answers of the VIP names, name sample.gz00a, addresses 10.0.0.1",
        );
        check(
            "{kind: slow, of: vip, by: 2s, at: 1s, for: 1s, repeat: {times: 3, every: 2s}}",
            "slow answers of the VIP names by 2000 ms, at 1000 ms, 3 times every 2000 ms for 1000 ms",
        );
        check("{kind: pause, pod: server}", "pause the app, pod server");
        check("{kind: full, folder: /var/log}", "full disk at /var/log");
        check(
            "{kind: link, delay: 20ms, jitter: 5ms, loss: 0.5, rate: 10mbit, direction: out, pod: a}",
            "link with delay 20ms, jitter 5ms, loss 0.5 %, rate 10mbit, out only, pod a",
        );
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        let code = |text: &str, expected: &str| {
            let problem = Spec::parse("fault.yaml", text).unwrap_err();
            assert_eq!(problem.code_name(), expected, "{text}: {problem}");
            assert!(problem.help_text().is_some(), "{text}");
        };
        code("{kind: drpo, port: 1}", "input::unknown_value");
        code("{kind: drop, port: 1, prot: 2}", "input::unknown_key");
        code("{kind: drop}", "fault::no_port");
        code("{kind: drop, port: 0}", "fault::port");
        code("{kind: drop, port: 1, id: a b}", "fault::id");
        code(
            "{kind: drop, port: 1, only: new, frame: request}",
            "fault::packets_and_frames",
        );
        code("{kind: kill, only: new}", "fault::no_packets");
        code("{kind: kill, nth: 2}", "fault::not_frames");
        code("{kind: kill, port: 2}", "fault::no_leg");
        code("{kind: reject, port: 1, nth: 2}", "fault::not_frames");
        code(
            "{kind: drop, port: 1, from: app, to: sidecar}",
            "fault::from_and_to",
        );
        code("{kind: limit, port: 1}", "fault::no_limit");
        code("{kind: drop, port: 1, connections: 1}", "fault::no_limit");
        code(
            "{kind: limit, port: 1, connections: 1, only: fin}",
            "fault::limit",
        );
        code(
            "{kind: reject, port: 1, only: rst}",
            "fault::reset_of_resets",
        );
        code("{kind: delay, port: 1}", "fault::no_time");
        code("{kind: flip, port: 1}", "fault::no_byte");
        code("{kind: flip, port: 1, byte: 1, mask: 0}", "fault::mask");
        code("{kind: drop, port: 1, mask: 3}", "fault::mask");
        code(
            "{kind: drop, frame: request, port: 1, byte: 3}",
            "fault::no_byte",
        );
        code("{kind: replace, port: 1}", "fault::hex");
        let recorded = "recorded: {capture: a.pcap, number: 1}";
        code(
            &format!("{{kind: drop, port: 1, {recorded}}}"),
            "fault::hex",
        );
        code(
            &format!("{{kind: replace, port: 1, hex: \"00\", {recorded}}}"),
            "fault::hex",
        );
        code(
            "{kind: replace, port: 1, recorded: {capture: a.pcap, number: 0}}",
            "fault::number",
        );
        code("{kind: replace, port: 1, hex: 0xyz}", "fault::hex");
        code("{kind: drop, port: 1, hex: \"00\"}", "fault::hex");
        code("{kind: drop, port: 1, connection: 0}", "fault::number");
        code("{kind: kill, connection: 1}", "fault::not_frames");
        code("{kind: drop, port: 1, nth: 1, seed: 3}", "fault::percent");
        code("{kind: drop, port: 1, nth: 0}", "fault::number");
        code("{kind: drop, port: 1, nth: 3, last: 2}", "fault::number");
        code("{kind: drop, port: 1, percent: 101}", "fault::percent");
        code("{kind: drop, port: 1, for: 25h}", "fault::for");
        code("{kind: link}", "fault::good_link");
        code("{kind: link, direction: in}", "fault::good_link");
        code("{kind: drop, port: 1, loss: 2}", "fault::not_a_link");
        code("{kind: cut, direction: in}", "fault::not_a_link");
        code("{kind: link, loss: 1, port: 2}", "fault::no_leg");
        code("{kind: link, loss: 1, from: app}", "fault::whole_link");
        code("{kind: link, loss: 0}", "fault::percent");
        code("{kind: link, corrupt: 101}", "fault::percent");
        code("{kind: link, delay: 0ms}", "fault::link_time");
        code("{kind: link, delay: 61s}", "fault::link_time");
        code("{kind: link, jitter: 5ms}", "fault::jitter");
        code("{kind: link, delay: 4ms, jitter: 5ms}", "fault::jitter");
        code("{kind: link, rate: 10}", "input::bad_value");
        code("{kind: link, loss: 1, nth: 2}", "fault::not_frames");
        for outside in [
            "{kind: stale}",
            "{kind: nxdomain, of: config-center}",
            "{kind: drop, of: vip, port: 53}",
            "{kind: partial, of: config-center}",
            "{kind: flapping, of: config-center}",
            "{kind: wrong, of: vip}",
            "{kind: stale, of: config-center, name: a.b}",
            "{kind: slow, of: vip, by: 1s, service: SampleService}",
            "{kind: stale, of: config-center, by: 1s}",
            "{kind: cut, addresses: [10.0.0.1]}",
        ] {
            code(outside, "fault::outside");
        }
        code("{kind: slow, of: vip}", "fault::no_time");
        code(
            "{kind: stale, of: config-center, port: 9600}",
            "fault::no_leg",
        );
    }

    #[test]
    fn a_fault_travels_whole() {
        let text = "{id: a, kind: drop, from: app, port: 12199, peer: 10.0.0.0/8, only: payload, \
                    for: 30s, way: iptables-nft}";
        let spec = Spec::parse("fault.yaml", text).unwrap();
        let mut written = Vec::new();
        travel::serialize(&spec, &mut serde_json::Serializer::new(&mut written)).unwrap();
        let mut reader = serde_json::Deserializer::from_slice(&written);
        assert_eq!(travel::deserialize(&mut reader).unwrap(), spec);
    }
}
