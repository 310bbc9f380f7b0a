//! What a sidecar lacks that an offline mesh would ask of it: such a mesh is made for any sidecar,
//! and fitted to the one that is tried.
//!
//! A sidecar without an application API is asked nothing there: neither does the stub behind it
//! publish, nor does the replay subscribe. Calls in a protocol that it does not speak are left
//! out. Each of it is told as `UNSUPPORTED(sut)`, never passed over.

use meshproof_record::report::text::count;
use meshproof_record::verdict::{Claim, Lacking};
use meshproof_replay::engine::call::Call;
use meshproof_replay::engine::plan::{Recorded, Skip};
use meshproof_replay::exchange::{Exchange, ExchangeKind};
use meshproof_wire::Protocol;

use super::shape::{Shows, Side, enters};
use crate::Error;
use crate::mesh::MeshSpec;
use crate::sut::{self, Sut};

/// The flags of `meshproof stub` that make it publish, each with one word behind it.
const PUBLISHING: [&str; 2] = ["--publish", "--app"];

/// Calls that not every sidecar carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum NotCarried {
    /// Whatever is said in TR.
    Tr,
    /// BOLT that names no service.
    Plain,
}

const NOT_CARRIED: [NotCarried; 2] = [NotCarried::Tr, NotCarried::Plain];

impl NotCarried {
    fn capability(self) -> &'static str {
        match self {
            NotCarried::Tr => "tr",
            NotCarried::Plain => "plain_bolt",
        }
    }

    fn told(self) -> &'static str {
        match self {
            NotCarried::Tr => "in TR",
            NotCarried::Plain => "that name no service (plain SOFABolt)",
        }
    }

    /// Whether an exchange is such a one; `call` where it is one that enters.
    fn holds(self, exchange: &Exchange, call: bool) -> bool {
        match self {
            NotCarried::Tr => exchange.protocol == Protocol::Tr,
            NotCarried::Plain => {
                let frame = exchange.request.as_ref().and_then(|it| it.frame.as_ref());
                call && frame.is_some_and(|frame| Call::of(frame).method.is_none())
            }
        }
    }
}

/// Has nobody publish at a sidecar that has no application API.
///
/// # Errors
/// A pod names a sidecar that has no adapter.
pub fn topology(spec: &mut MeshSpec, suts: &[Sut]) -> Result<(), Error> {
    for (_, pod) in &mut spec.pods.0 {
        let pod = &mut pod.value;
        let Some(sidecar) = &pod.sidecar else {
            continue;
        };
        if sut::find(suts, sidecar)?.can("publishes") {
            continue;
        }
        let publishing = |command: &[String]| command.iter().any(|word| word == PUBLISHING[0]);
        for peer in pod.peers.iter_mut().filter(|it| publishing(&it.command)) {
            let mut words = std::mem::take(&mut peer.command).into_iter();
            while let Some(word) = words.next() {
                match PUBLISHING.contains(&word.as_str()) {
                    // Its value goes with it.
                    true => drop(words.next()),
                    false => peer.command.push(word),
                }
            }
        }
    }
    Ok(())
}

/// Leaves out what the sidecar cannot be asked; what is to be said of it.
///
/// # Errors
/// Nothing is left.
pub fn exchanges(side: Side, sut: &Sut, exchanges: &mut [Recorded]) -> Result<Vec<Claim>, Error> {
    let mut lacks = Vec::new();
    let name = &sut.sut;
    if side == Side::Outbound && !sut.can("subscribes") {
        let why = format!(
            "sidecar {name} has no application API (capability subscribes): nothing is subscribed, \
             and calls enter by its static configuration"
        );
        lacks.push(Claim::unsupported("subscriptions", Lacking::Sut, why));
    }
    let shows = Shows::of(exchanges.iter().map(|it| &it.exchange));
    let mut left = 0;
    let mut left_out = [0; 2];
    for recorded in exchanges.iter_mut().filter(|it| it.left_out.is_none()) {
        let exchange = &recorded.exchange;
        let call = enters(side, shows, exchange);
        let lacking = NOT_CARRIED
            .iter()
            .position(|what| what.holds(exchange, call));
        match lacking.filter(|at| !sut.can(NOT_CARRIED[*at].capability())) {
            Some(at) => {
                left_out[at] += u64::from(call);
                recorded.left_out = Some(Skip::Filtered);
            }
            None => left += u64::from(call && recorded.exchange.kind != ExchangeKind::MeshApi),
        }
    }
    for (what, count_of) in NOT_CARRIED.into_iter().zip(left_out) {
        if count_of == 0 {
            continue;
        }
        let calls = format!("{} {}", count(count_of, "call", "calls"), what.told());
        let capability = what.capability();
        if left == 0 {
            return Err(Error::Refused(format!(
                "there is nothing to replay but {calls}, which sidecar {name} does not carry: \
                 replay them through one that does, such as the one that ships, or write \
                 `{capability}` under `capabilities` of its adapter"
            )));
        }
        let why = format!(
            "{calls} left out: sidecar {name} does not carry them (capability {capability})"
        );
        lacks.push(Claim::unsupported("protocols", Lacking::Sut, why));
    }
    Ok(lacks)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PUBLISHES: &str =
        "[meshproof, stub, c.pcap, --listen, \"1:12199\", --publish, \"http://a\", --app, x]";

    /// The words of the stub behind this sidecar.
    fn fitted(sidecar: &str) -> Result<Vec<String>, Error> {
        let text = format!(
            "topology: t\npods:\n  server:\n    sidecar: {sidecar}\n    peers:\n      - name: s\n        command: {PUBLISHES}\n        ready: {{line: READY}}\n"
        );
        let mut spec: MeshSpec = meshproof_input::parse("t.yaml", &text).expect("a topology");
        topology(&mut spec, &sut::shipped())?;
        let (_, pod) = spec.pods.iter().next().expect("a pod");
        Ok(pod.peers.first().expect("a peer").command.clone())
    }

    #[test]
    fn nobody_publishes_at_a_sidecar_without_an_application_api() {
        let words = fitted("mosn").expect("an adapter");
        assert_eq!(
            words,
            ["meshproof", "stub", "c.pcap", "--listen", "1:12199"]
        );
        let words = fitted("reference").expect("an adapter");
        assert_eq!(words.len(), 9, "{words:?}");
        assert!(fitted("nobody").is_err());
    }

    /// What is left of a real capture for this sidecar, and what is said.
    fn left(capture: &str, side: Side, sidecar: &str) -> Result<(usize, Vec<String>), String> {
        let path = format!(
            "{}/../fixtures/captures/{capture}",
            env!("CARGO_MANIFEST_DIR")
        );
        let mut all = super::super::folder::read(std::path::Path::new(&path))
            .expect("a capture")
            .exchanges;
        let suts = sut::shipped();
        let sut = sut::find(&suts, sidecar).expect("an adapter");
        let lacks = exchanges(side, sut, &mut all).map_err(|error| error.to_string())?;
        let kept = all.iter().filter(|it| it.left_out.is_none());
        let calls = kept.filter(|it| it.exchange.kind != ExchangeKind::Heartbeat);
        let said = lacks.iter().map(|claim| claim.name.clone()).collect();
        Ok((calls.count(), said))
    }

    #[test]
    fn what_a_sidecar_does_not_carry_is_left_out_and_said_or_refused() {
        let tr = "tr_hessian_stub.pcap";
        assert_eq!(left(tr, Side::Inbound, "reference"), Ok((4, Vec::new())));
        let refused = left(tr, Side::Inbound, "mosn").expect_err("all of it is TR");
        assert!(refused.contains("4 calls in TR"), "{refused}");
        assert!(refused.contains("`tr` under `capabilities`"), "{refused}");
        let refused = left("bolt_v1_basic.pcap", Side::Inbound, "mosn").expect_err("all plain");
        assert!(refused.contains("plain SOFABolt"), "{refused}");
        let real = "sofarpc_bolt_hessian2.pcap";
        let (kept, said) = left(real, Side::Outbound, "mosn").expect("it names services");
        assert_eq!((kept, said), (4, vec!["subscriptions".to_owned()]));
    }
}
