//! What a rewrite did, and what it could not do.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::map::Map;

/// The account of a rewrite. `packets.read = unchanged + rewritten + Σ dropped`;
/// `packets.written = unchanged + rewritten + added`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Version of this form.
    pub schema: u32,
    /// Packets.
    pub packets: Packets,
    /// Whole frames.
    pub frames: Frames,
    /// Payload bytes of known streams that are no whole frame and became zeros.
    pub blanked_bytes: u64,
    /// How often each rule was used, in the order of the map. One that was never used may be
    /// misspelt.
    pub rules: Vec<RuleUse>,
    /// Things worth telling, by name: what could not be understood and what was done with it,
    /// checksums that were wrong already, and so on.
    pub findings: BTreeMap<String, u64>,
}

/// Packets of a [`Summary`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Packets {
    /// Read.
    pub read: u64,
    /// Written.
    pub written: u64,
    /// Written as they were, byte for byte.
    pub unchanged: u64,
    /// Written with changes.
    pub rewritten: u64,
    /// Written in addition, because a segment grew past the limit of IP.
    pub added: u64,
    /// Left out, by reason: `foreign`, `non-tcp`, `fragment`, `malformed`, `ipv6-extension`,
    /// `not-selected`.
    pub dropped: BTreeMap<String, u64>,
}

/// Frames of a [`Summary`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Frames {
    /// All.
    pub total: u64,
    /// With changes.
    pub rewritten: u64,
    /// Without header map and body: they could not be rewritten.
    pub emptied: u64,
}

/// How often a rule was used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RuleUse {
    /// The kind, as the key of the map.
    pub kind: &'static str,
    /// What it looks for.
    pub from: String,
    /// Its line in the map.
    pub line: usize,
    /// How often it replaced something.
    pub uses: u64,
}

impl Summary {
    /// Version of the form.
    pub const SCHEMA: u32 = 1;

    pub(super) fn find(&mut self, name: &str, count: u64) {
        if count > 0 {
            *self.findings.entry(name.to_owned()).or_default() += count;
        }
    }

    pub(super) fn drop(&mut self, reason: &str) {
        *self.packets.dropped.entry(reason.to_owned()).or_default() += 1;
    }

    /// Whether every packet that was read is accounted for.
    pub fn closes(&self) -> bool {
        let dropped: u64 = self.packets.dropped.values().sum();
        let kept = self.packets.unchanged + self.packets.rewritten;
        self.packets.read == kept + dropped && self.packets.written == kept + self.packets.added
    }
}

/// Every rule of a map, used as often as `hits` says by line. Rules that share a line (in a YAML
/// flow mapping) share its count, which is then given to each of them.
pub(super) fn rule_uses(map: &Map, hits: &BTreeMap<usize, u64>) -> Vec<RuleUse> {
    let mut uses = Vec::new();
    let mut push = |kind, from: String, line: usize| {
        uses.push(RuleUse {
            kind,
            from,
            line,
            uses: hits.get(&line).copied().unwrap_or(0),
        });
    };
    for rule in &map.networks {
        push("networks", rule.from.to_string(), rule.line);
    }
    for rule in &map.addresses {
        push("addresses", rule.from.to_string(), rule.line);
    }
    for rule in &map.endpoints {
        push("endpoints", rule.from.to_string(), rule.line);
    }
    for rule in &map.vips {
        push("vips", rule.from.to_string(), rule.line);
    }
    for (kind, rules) in [("apps", &map.apps), ("zones", &map.zones)] {
        for rule in rules {
            push(kind, rule.from.clone(), rule.line);
        }
    }
    for rule in &map.headers {
        push("headers", format!("{}: {}", rule.key, rule.from), rule.line);
    }
    for rule in &map.strings {
        push("strings", rule.matches.to_string(), rule.line);
    }
    uses
}
