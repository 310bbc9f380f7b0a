//! Who does a fault of a story; and harm to frames on a leg, by a relay that stands there.

use std::time::Duration;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use meshproof_fault::spec::{Listener, Sender, Subject, Version, hex};
use meshproof_fault::{Way, backend};
use meshproof_input::{Span, Spanned};
use meshproof_wire::Protocol;

use super::model::{Fault, FaultKind, FrameKind, FrameProtocol};
use super::recorded;
use super::stand::{Hall, lock, refused};
use crate::Error;
use crate::relay::{Direction, Harm, Overtaken, Replacement, Rule, Share, Sort};

/// A kind of frames, as relays know it.
pub(super) fn sort(frame: FrameKind) -> Sort {
    match frame {
        FrameKind::Request => Sort::Request,
        FrameKind::Oneway => Sort::Oneway,
        FrameKind::Response => Sort::Response,
        FrameKind::Heartbeat => Sort::Heartbeat,
        FrameKind::Goaway => Sort::Goaway,
    }
}

/// Protocols of frames, as decoders know them.
pub(super) fn protocols(protocol: FrameProtocol) -> Vec<Protocol> {
    match protocol {
        FrameProtocol::Bolt => vec![Protocol::BoltV1, Protocol::BoltV2],
        FrameProtocol::BoltV1 => vec![Protocol::BoltV1],
        FrameProtocol::BoltV2 => vec![Protocol::BoltV2],
        FrameProtocol::Tr => vec![Protocol::Tr],
    }
}

/// Bytes of a frame that arrive where it is cut and nothing says where: not a whole header.
const TRUNCATED_BYTES: u64 = 10;

/// Who does a fault of a story.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Doer {
    /// The relay of the environment on a leg: frames.
    Relay,
    /// The environment: its programs are killed, told to end, stopped.
    Mesh,
    /// The app, which is told to.
    App,
    /// A keeper in the pod: packets, whole pods, links, disks, what a program has of its machine,
    /// frames of connections that stand, where that way is asked for, and what the config center
    /// and the VIP names are told.
    Keeper,
}

impl Doer {
    /// Ways that it can be asked for.
    pub(super) fn ways(self) -> Vec<Way> {
        match self {
            Doer::Relay => vec![Way::Relay],
            Doer::Mesh => vec![Way::Signal],
            Doer::App => vec![Way::AppOrder],
            Doer::Keeper => {
                let ways = backend::all().into_iter().map(|backend| backend.way());
                ways.filter(|way| *way != Way::Relay).collect()
            }
        }
    }
}

/// Who does it.
pub(super) fn doer(fault: &Fault) -> Doer {
    let signal = fault.way.is_none_or(|way| way.value == Way::Signal);
    match (fault.subject(), fault.kind.value) {
        (Subject::Frames, _) if fault.way.is_some_and(|way| way.value == Way::Sockhash) => {
            Doer::Keeper
        }
        (Subject::Frames, _) => Doer::Relay,
        (
            Subject::Packets
            | Subject::Pod
            | Subject::Link
            | Subject::Disk
            | Subject::ConfigCenter
            | Subject::Vip,
            _,
        ) => Doer::Keeper,
        (Subject::Program, FaultKind::Kill | FaultKind::Stop) => Doer::Mesh,
        (Subject::Program, FaultKind::Pause) if signal => Doer::Mesh,
        (
            Subject::Program,
            FaultKind::Mute
            | FaultKind::Slow
            | FaultKind::Throw
            | FaultKind::Error
            | FaultKind::Hang,
        ) => Doer::App,
        (Subject::Program, _) => Doer::Keeper,
    }
}

/// What `heal` calls it; a story that was checked has a name for each.
pub(super) fn id(fault: &Fault) -> &str {
    fault.id.as_ref().map_or("", |id| id.as_str())
}

/// Where it is; a story that was checked says it of each that is of a pod.
pub(super) fn pod(fault: &Fault) -> &str {
    match (&fault.of, &fault.pod) {
        (Some(of), _) => of.value.pod(),
        (None, pod) => pod.as_ref().map_or("", |pod| pod.as_str()),
    }
}

/// What no relay can do, of a fault of frames: the word, with its place.
pub(super) fn beyond_relays(fault: &Fault) -> Option<(Span, &'static str)> {
    let elsewhere = fault
        .listener
        .filter(|listener| listener.value == Listener::Elsewhere);
    elsewhere.map(|it| (it.span, "listener"))
}

/// What is done to each frame.
fn what(fault: &Fault) -> Harm {
    let by = fault.by.map(|by| Duration::from_millis(by.value.0));
    let byte = fault.byte.map(|byte| byte.value);
    match fault.kind.value {
        FaultKind::Delay => Harm::Delay(by.unwrap_or_default()),
        FaultKind::Duplicate => Harm::Duplicate,
        FaultKind::Reorder => Harm::Reorder(by.map_or(Overtaken::ByNext, Overtaken::For)),
        FaultKind::Truncate => Harm::Truncate {
            bytes: byte.unwrap_or(TRUNCATED_BYTES),
        },
        FaultKind::Flip => Harm::Flip {
            byte: byte.unwrap_or_default(),
            mask: fault.mask.map_or(u8::MAX, |mask| mask.value),
        },
        FaultKind::Replace => {
            let bytes = fault.hex.as_ref().and_then(|text| hex::bytes(text));
            Harm::Replace(Replacement::Bytes(bytes.unwrap_or_default().into()))
        }
        FaultKind::Close => Harm::Close,
        FaultKind::Stall => Harm::Stall,
        FaultKind::Mute => Harm::Mute,
        _ => Harm::Drop,
    }
}

/// The rule of a fault of frames.
pub(super) fn rule(fault: &Fault) -> Rule {
    let direction = fault.sender().map(|sender| match sender {
        Sender::Opener => Direction::Forth,
        Sender::Listener => Direction::Back,
    });
    let sorts = fault.frame.map(|frame| sort(frame.value));
    let protocols = fault.protocol.map(|it| protocols(it.value));
    let (first, last) = fault.span();
    let word = |it: &Option<Spanned<String>>| it.as_ref().map(|it| it.value.clone());
    let family = fault.ip.map(|version| match version.value {
        Version::V4 => IpNet::from(Ipv4Net::default()),
        Version::V6 => IpNet::from(Ipv6Net::default()),
    });
    Rule {
        direction,
        sorts: sorts.into_iter().collect(),
        protocols: protocols.unwrap_or_default(),
        service: word(&fault.service),
        method: word(&fault.method),
        connection: fault.connection.map(|it| it.value),
        source_port: fault.source_port.map(|it| it.value),
        peers: fault.peer().into_iter().chain(family).collect(),
        first,
        last,
        share: fault.percent.map(|percent| Share {
            percent: percent.value,
            seed: fault.seed.map_or(0, |seed| seed.value),
        }),
        ..Rule::new(what(fault))
    }
}

impl Hall {
    /// Puts a fault of frames in force.
    pub(super) fn harm(&self, fault: &Fault) -> Result<(), Error> {
        let (port, pod) = (fault.port.map_or(0, |port| port.value), pod(fault));
        let relay = self.mesh.relay_at(pod, port)?;
        let mut rule = rule(fault);
        if let Some(it) = &fault.recorded {
            rule.harm = Harm::Replace(Replacement::Frame(recorded::frame(it, &rule)?));
        }
        self.mesh.note(
            "fault",
            format!(
                "{}: {rule}, by the relay on the leg to {port} of {pod}",
                id(fault)
            ),
        );
        let put = relay.put(rule)?;
        lock(&self.rules).insert(id(fault).to_owned(), put);
        Ok(())
    }

    /// Takes it out of force; one that met no frame was no fault.
    pub(super) fn unharm(&self, fault: &Fault) -> Result<(), Error> {
        let (port, name) = (fault.port.map_or(0, |port| port.value), id(fault));
        let rule = lock(&self.rules).remove(name);
        let rule = rule.ok_or_else(|| refused(format!("fault `{name}` is not in force")))?;
        let applied = self.mesh.relay_at(pod(fault), port)?.heal(rule)?;
        let evidence = applied.evidence();
        let why = evidence.claim(name).why;
        if evidence.is_empty() {
            return Err(Error::Inert(format!("fault `{name}` met nothing: {why}")));
        }
        self.mesh.note(
            "fault",
            format!("{name} met: {why}; beside it {}", applied.told()),
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(yaml: &str, expected: &str) {
        let fault: Fault = meshproof_input::parse("fault.yaml", yaml)
            .unwrap_or_else(|problem| panic!("{problem}"));
        assert_eq!(rule(&fault).to_string(), expected);
    }

    #[test]
    fn faults_of_frames_become_rules() {
        check(
            "{id: a, kind: drop, pod: server, from: app, port: 12199, way: relay}",
            "drop back",
        );
        check(
            "{id: a, kind: delay, pod: server, port: 12199, from: sidecar, frame: request, by: 2s}",
            "delay by 2000 ms request forth",
        );
        check(
            "{id: a, kind: close, pod: client, port: 12220, from: app, protocol: tr, nth: 3}",
            "close after tr forth 3 to 3",
        );
        check(
            "{id: a, kind: drop, pod: client, port: 12220, protocol: bolt}",
            "drop bolt-v1 bolt-v2",
        );
        check(
            "{id: a, kind: mute, pod: client, port: 12220, from: sidecar, frame: heartbeat}",
            "mute heartbeat back",
        );
        check(
            "{id: a, kind: drop, pod: server, port: 12200, from: server, frame: response}",
            "drop response back",
        );
        check(
            "{id: a, kind: truncate, pod: server, port: 12199, to: sidecar, byte: 4, nth: 3, last: 5}",
            "truncate at byte 4 back 3 to 5",
        );
        check(
            "{id: a, kind: flip, byte: 4, pod: server, port: 12200, frame: response, method: hello}",
            "flip byte 4 by 0xff response of hello",
        );
        check(
            "{id: a, kind: reorder, pod: server, port: 12200, by: 5ms, connection: 2, nth: 3}",
            "reorder for 5 ms on connection 2 3 to 3",
        );
        check(
            "{id: a, kind: replace, hex: \"00 01\", pod: server, port: 12199, ip: v4}",
            "replace by 2 bytes opened from 0.0.0.0/0",
        );
        check(
            "{id: a, kind: drop, pod: server, port: 12199, percent: 5, seed: 9, source_port: 44}",
            "drop opened from port 44, 5 % by seed 9",
        );
    }

    #[test]
    fn each_fault_has_one_who_does_it() {
        let check = |yaml: &str, expected: Doer| {
            let fault = Fault::parse("fault.yaml", yaml).unwrap_or_else(|it| panic!("{it}"));
            assert_eq!(doer(&fault), expected, "{yaml}");
        };
        check("{kind: drop, from: app, port: 12199}", Doer::Keeper);
        check("{kind: drop, frame: heartbeat, port: 12199}", Doer::Relay);
        check("{kind: drop, port: 12199, way: relay}", Doer::Relay);
        check(
            "{kind: drop, frame: heartbeat, port: 12199, way: sockhash}",
            Doer::Keeper,
        );
        check("{kind: mute, port: 12199}", Doer::Relay);
        check("{kind: mute}", Doer::App);
        check("{kind: pause}", Doer::Mesh);
        check("{kind: pause, way: signal}", Doer::Mesh);
        check("{kind: pause, way: trace}", Doer::Keeper);
        check("{kind: kill}", Doer::Mesh);
        check("{kind: cpu}", Doer::Keeper);
        check("{kind: cut}", Doer::Keeper);
        check("{kind: slow, of: vip, by: 1s}", Doer::Keeper);
        check("{kind: slow, by: 1s}", Doer::App);
        check("{kind: stale, of: config-center}", Doer::Keeper);
        check("{kind: full, folder: /data}", Doer::Keeper);
    }
}
