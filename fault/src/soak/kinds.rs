//! Kinds of leases.

use super::enclosure::DISK;
use crate::Way;

/// A kind of lease that runs are killed with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind {
    /// What it is called.
    pub name: &'static str,
    /// How it is done.
    pub way: Way,
    /// The fault; `DISK` stands for the small disk of the place.
    fault: &'static str,
}

impl Kind {
    /// The fault, as it is read by [`crate::Spec::parse`].
    pub(super) fn fault(self) -> String {
        let text = self.fault.strip_suffix('}').unwrap_or(self.fault);
        format!("{text}, way: {}}}", self.way).replace("DISK", DISK)
    }
}

const fn kind(name: &'static str, way: Way, fault: &'static str) -> Kind {
    Kind { name, way, fault }
}

/// All there are.
pub const KINDS: &[Kind] = &[
    kind(
        "drop",
        Way::NftOwner,
        "{kind: drop, from: app, port: 12199}",
    ),
    kind(
        "drop-payload",
        Way::NftOwner,
        "{kind: drop, only: payload, ip: v6, port: 12199}",
    ),
    kind(
        "reject",
        Way::NftOwner,
        "{kind: reject, from: sidecar, port: 12199}",
    ),
    kind(
        "limit",
        Way::NftOwner,
        "{kind: limit, connections: 2, port: 12199}",
    ),
    kind("cut", Way::Cut, "{kind: cut}"),
    kind(
        "iptables-nft",
        Way::IptablesNft,
        "{kind: drop, from: app, port: 12199}",
    ),
    kind(
        "iptables-legacy",
        Way::IptablesLegacy,
        "{kind: drop, from: app, port: 12199}",
    ),
    kind("close", Way::Destroy, "{kind: close, port: 12199}"),
    kind("pause", Way::Trace, "{kind: pause}"),
    kind("kill", Way::Signal, "{kind: kill}"),
    kind("stop", Way::Signal, "{kind: stop}"),
    kind("cpu", Way::Burner, "{kind: cpu}"),
    kind("memory", Way::Burner, "{kind: memory}"),
    kind("descriptors", Way::Limits, "{kind: descriptors}"),
    kind("full", Way::Filler, "{kind: full, folder: DISK}"),
    kind("read-only", Way::Mount, "{kind: read-only, folder: DISK}"),
    kind("gone", Way::Mount, "{kind: gone, folder: DISK}"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Spec;

    #[test]
    fn each_is_a_fault_and_has_its_own_name() {
        for (at, kind) in KINDS.iter().enumerate() {
            let spec = Spec::parse("kind", &kind.fault()).unwrap_or_else(|why| panic!("{why}"));
            assert_eq!(spec.way.map(|way| way.value), Some(kind.way));
            let others = KINDS.iter().take(at);
            assert!(others.into_iter().all(|other| other.name != kind.name));
        }
    }
}
