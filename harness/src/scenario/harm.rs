//! Harm to frames on a leg, by a relay that stands there.

use std::time::Duration;

use meshproof_wire::Protocol;

use super::model::{Fault, FaultKind, FrameKind, FrameProtocol, Side};
use super::stand::{Hall, lock, refused};
use crate::Error;
use crate::relay::{Direction, Harm, Rule, Sort};

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

/// A protocol of frames, as decoders know it.
pub(super) fn protocol(protocol: FrameProtocol) -> Protocol {
    match protocol {
        FrameProtocol::BoltV1 => Protocol::BoltV1,
        FrameProtocol::BoltV2 => Protocol::BoltV2,
        FrameProtocol::Tr => Protocol::Tr,
    }
}

/// The rule of a fault.
pub(super) fn rule(fault: &Fault) -> Rule {
    let by = fault
        .by
        .map_or(Duration::ZERO, |by| Duration::from_millis(by.value.0));
    let harm = match fault.kind.value {
        FaultKind::Delay => Harm::Delay(by),
        FaultKind::Duplicate => Harm::Duplicate,
        FaultKind::Truncate => Harm::Truncate { bytes: 10 },
        FaultKind::Close => Harm::Close,
        FaultKind::Mute => Harm::Mute,
        _ => Harm::Drop,
    };
    // The sidecar opens connections to 12199, the app those to 12220.
    let outbound = fault.port.is_some_and(|port| port.value == 12220);
    let direction = fault.from.map(|from| match (from, outbound) {
        (Side::Client, _) | (Side::Sidecar, false) | (Side::App, true) => Direction::Forth,
        (Side::Server, _) | (Side::App, false) | (Side::Sidecar, true) => Direction::Back,
    });
    let sorts = fault.frame.map(sort);
    let protocols = fault.protocol.map(protocol);
    let nth = fault.nth.map(|nth| nth.value);
    Rule {
        direction,
        sorts: sorts.into_iter().collect(),
        protocols: protocols.into_iter().collect(),
        first: nth.unwrap_or(1),
        last: nth,
        ..Rule::new(harm)
    }
}

impl Hall {
    /// Puts a fault of frames in force.
    pub(super) fn harm(&self, fault: &Fault) -> Result<(), Error> {
        let port = fault.port.map_or(0, |port| port.value);
        let relay = self.mesh.relay_at(&fault.pod, port)?;
        let id = relay.put(rule(fault))?;
        self.mesh.note(
            "harness",
            format!("{} on the leg to {port} of {}", rule(fault), fault.pod),
        );
        lock(&self.rules).insert(fault.id.value.clone(), id);
        Ok(())
    }

    /// Takes it out of force; one that met no frame was no fault.
    pub(super) fn unharm(&self, fault: &Fault) -> Result<(), Error> {
        let port = fault.port.map_or(0, |port| port.value);
        let id = lock(&self.rules).remove(&fault.id.value);
        let id = id.ok_or_else(|| refused(format!("fault `{}` is not in force", fault.id)))?;
        let applied = self.mesh.relay_at(&fault.pod, port)?.heal(id)?;
        if applied.harmed == 0 {
            return Err(refused(format!(
                "fault `{}` met no frame in all its time: it was none",
                fault.id
            )));
        }
        self.mesh.note(
            "wire",
            format!("fault {} harmed {} frames", fault.id, applied.harmed),
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
            "{id: a, kind: drop, pod: server, from: app, port: 12199}",
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
            "{id: a, kind: mute, pod: client, port: 12220, from: sidecar, frame: heartbeat}",
            "mute heartbeat back",
        );
        check(
            "{id: a, kind: drop, pod: server, port: 12200, from: server, frame: response}",
            "drop response back",
        );
    }
}
