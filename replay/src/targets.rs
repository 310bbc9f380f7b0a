//! Where a replay may send, and what.
//!
//! Loopback may always be connected to. Any other address, private ones too, must stand among the
//! map's `targets:` or be given by `--allow-target`; an address that the capture shows as a peer
//! in production must stand in the map. Targets whose `writes` are denied get no request that
//! writes, and what cannot be told is taken for a write.
//!
//! **Invariant:** pure; the guard is asked before a socket exists, and every refusal has a name.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::map::{Target, Writes};

/// What the guard goes by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// The map's `targets:`. The longest network that holds an address decides;
    /// of several that are equal, one that denies.
    pub targets: Vec<Target>,
    /// Networks given by `--allow-target`: connecting is allowed, writing is not, and production
    /// peers stay refused.
    pub allowed: Vec<IpNet>,
    /// Which methods write.
    pub methods: MethodRules,
}

/// Addresses that the capture shows as peers, from before any filter was applied.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Peers(BTreeSet<IpAddr>);

impl Peers {
    /// Whether the capture shows `address`.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.contains(&address.to_canonical())
    }

    /// Notes an address that the capture shows.
    pub fn insert(&mut self, address: IpAddr) {
        self.0.insert(address.to_canonical());
    }
}

impl FromIterator<IpAddr> for Peers {
    fn from_iter<I: IntoIterator<Item = IpAddr>>(addresses: I) -> Peers {
        Peers(addresses.into_iter().map(|a| a.to_canonical()).collect())
    }
}

/// Why the guard said no.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Refusal {
    /// The address is neither loopback nor listed.
    NotATarget,
    /// The capture shows the address as a peer in production, and the map does not list it.
    ProductionPeer,
    /// The method writes, and the target's writes are denied.
    Write,
    /// Nobody knows whether the method writes, and the target's writes are denied.
    UnknownMethod,
}

impl Refusal {
    /// The name of the ledger's bucket.
    pub fn name(self) -> &'static str {
        match self {
            Refusal::NotATarget => "not_a_target",
            Refusal::ProductionPeer => "production_peer",
            Refusal::Write => "write",
            Refusal::UnknownMethod => "unknown_method",
        }
    }

    /// What to do about it.
    pub fn advice(self) -> &'static str {
        match self {
            Refusal::NotATarget => {
                "list the address under `targets:` in the map, or give --allow-target"
            }
            Refusal::ProductionPeer => {
                "the capture shows this address as a peer in production: list it under `targets:` in the map if it may be sent to"
            }
            Refusal::Write => "say `writes: allow` for this target in the map",
            Refusal::UnknownMethod => {
                "name what only reads with --read-methods, or say `writes: allow` for this target in the map"
            }
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl Policy {
    /// Whether `address` may be connected to at all; what it may be sent, where it may.
    pub fn connect(&self, address: IpAddr, peers: &Peers) -> Result<Admitted, Refusal> {
        // An IPv4 address in an IPv6 coat is that IPv4 address.
        let address = address.to_canonical();
        let listed = self
            .targets
            .iter()
            .filter(|target| target.network.contains(&address))
            .max_by_key(|target| (target.network.prefix_len(), target.writes == Writes::Deny));
        if let Some(target) = listed {
            return Ok(Admitted {
                writes: target.writes,
                loopback: address.is_loopback(),
            });
        }
        if address.is_loopback() {
            return Ok(Admitted {
                writes: Writes::Allow,
                loopback: true,
            });
        }
        if peers.contains(address) {
            return Err(Refusal::ProductionPeer);
        }
        if self.allowed.iter().any(|net| net.contains(&address)) {
            return Ok(Admitted {
                writes: Writes::Deny,
                loopback: false,
            });
        }
        Err(Refusal::NotATarget)
    }

    /// Whether a request for `method` (`None`: it cannot be told) may be sent to a target that
    /// was admitted.
    pub fn send(&self, target: Admitted, method: Option<&str>) -> Result<(), Refusal> {
        if target.writes == Writes::Allow {
            return Ok(());
        }
        match method.map_or(Effect::Unknown, |method| self.methods.effect(method)) {
            Effect::Reads => Ok(()),
            Effect::Writes => Err(Refusal::Write),
            // Nothing leaves the machine there; only what is known to write is held back.
            Effect::Unknown if target.loopback => Ok(()),
            Effect::Unknown => Err(Refusal::UnknownMethod),
        }
    }
}

/// A target that may be connected to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Admitted {
    writes: Writes,
    loopback: bool,
}

impl Admitted {
    /// Whether it may be sent any request.
    pub fn may_be_written(self) -> bool {
        self.writes == Writes::Allow
    }
}

/// What calling a method does, as far as its name tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It only reads.
    Reads,
    /// It changes something.
    Writes,
    /// The name says nothing.
    Unknown,
}

/// Which methods write, by name. A pattern is a name, or the beginning of one followed by `*`;
/// case does not count. What a person gave goes before the usual names, and writing goes before
/// reading.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MethodRules {
    /// Patterns of `--write-methods`.
    pub writes: Vec<String>,
    /// Patterns of `--read-methods`.
    pub reads: Vec<String>,
}

/// Beginnings of the names of methods that write.
const USUAL_WRITES: &[&str] = &[
    "accept", "add", "append", "apply", "approve", "batch", "bind", "book", "cancel", "change",
    "charge", "clear", "close", "commit", "confirm", "create", "credit", "debit", "decrease",
    "delete", "deduct", "disable", "do", "enable", "execute", "freeze", "grant", "import",
    "increase", "insert", "invoke", "lock", "merge", "modify", "notify", "open", "pay", "place",
    "post", "process", "publish", "push", "put", "refund", "register", "reject", "remove", "reset",
    "revoke", "rollback", "save", "send", "set", "start", "stop", "store", "submit", "sync",
    "transfer", "trigger", "unbind", "unfreeze", "unlock", "update", "upload", "upsert",
    "withdraw", "write",
];

/// Beginnings of the names of methods that only read.
const USUAL_READS: &[&str] = &[
    "count", "describe", "echo", "exist", "fetch", "find", "get", "has", "hello", "is", "list",
    "load", "lookup", "ping", "query", "read", "search", "select", "show", "view",
];

impl MethodRules {
    /// What calling `method` does, as far as its name tells.
    pub fn effect(&self, method: &str) -> Effect {
        let given = |patterns: &[String]| patterns.iter().any(|p| matches(p, method));
        if given(&self.writes) {
            Effect::Writes
        } else if given(&self.reads) {
            Effect::Reads
        } else if USUAL_WRITES.iter().any(|name| starts_with(method, name)) {
            Effect::Writes
        } else if USUAL_READS
            .iter()
            .any(|name| begins_with_word(method, name))
        {
            Effect::Reads
        } else {
            Effect::Unknown
        }
    }
}

fn matches(pattern: &str, method: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(prefix) => starts_with(method, prefix),
        None => pattern.eq_ignore_ascii_case(method),
    }
}

fn starts_with(text: &str, prefix: &str) -> bool {
    text.get(..prefix.len())
        .is_some_and(|head| head.eq_ignore_ascii_case(prefix))
}

/// `is` begins `isOpen`, `is_open` and `IS`; not `isolate`, which is a word of its own. Names that
/// write are taken more widely, by their first letters alone.
fn begins_with_word(method: &str, word: &str) -> bool {
    starts_with(method, word)
        && method
            .get(word.len()..)
            .and_then(|rest| rest.chars().next())
            .is_none_or(|next| !next.is_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy() -> Policy {
        let target = |network: &str, writes| Target {
            network: network.parse().unwrap(),
            owner: "payments".into(),
            writes,
            line: 1,
        };
        Policy {
            targets: vec![
                target("10.0.0.0/8", Writes::Deny),
                target("10.7.0.0/16", Writes::Allow),
                target("127.0.0.9/32", Writes::Deny),
                target("192.168.5.5/32", Writes::Allow),
                target("10.9.0.0/16", Writes::Deny),
                target("10.9.0.0/16", Writes::Allow),
            ],
            allowed: vec!["172.16.0.0/12".parse().unwrap()],
            methods: MethodRules {
                writes: vec!["getAndLock*".into(), "burn".into()],
                reads: vec!["placeInQueue".into()],
            },
        }
    }

    #[track_caller]
    fn check(address: &str, method: Option<&str>, expected: Result<(), Refusal>) {
        let peers = Peers::from_iter(["192.168.5.5", "172.16.0.3"].map(|a| a.parse().unwrap()));
        let policy = policy();
        let got = policy
            .connect(address.parse().unwrap(), &peers)
            .and_then(|target| policy.send(target, method));
        assert_eq!(got, expected, "{address} {method:?}");
    }

    #[test]
    fn loopback_is_free_unless_the_map_says_otherwise() {
        check("127.0.0.1", Some("placeOrder"), Ok(()));
        check("127.3.2.1", None, Ok(()));
        check("::1", Some("delete"), Ok(()));
        check("127.0.0.9", Some("placeOrder"), Err(Refusal::Write));
        check("127.0.0.9", Some("quux"), Ok(()));
    }

    #[test]
    fn other_addresses_must_be_listed() {
        check("8.8.8.8", Some("hello"), Err(Refusal::NotATarget));
        check("192.168.1.1", Some("hello"), Err(Refusal::NotATarget));
        check(
            "::ffff:192.168.1.1",
            Some("hello"),
            Err(Refusal::NotATarget),
        );
        // On Linux a connect to the unspecified address goes to this machine; it is not loopback
        // by name, and whoever means loopback can say so.
        check("0.0.0.0", Some("hello"), Err(Refusal::NotATarget));
        check("10.1.1.1", Some("hello"), Ok(()));
        check("::ffff:10.1.1.1", Some("hello"), Ok(()));
        check("172.16.0.2", Some("hello"), Ok(()));
    }

    #[test]
    fn a_production_peer_needs_the_map() {
        check("172.16.0.3", Some("hello"), Err(Refusal::ProductionPeer));
        check("192.168.5.5", Some("place"), Ok(()));
    }

    #[test]
    fn writes_are_denied_where_they_are_not_allowed() {
        for method in [
            "place",
            "placeOrder",
            "settle",
            "UPDATE_USER",
            "notifyOneway",
            "burn",
            "getAndLockRow",
        ] {
            check("10.1.1.1", Some(method), Err(Refusal::Write));
            check("10.7.1.1", Some(method), Ok(()));
            // Listed twice: the one that denies decides.
            check("10.9.1.1", Some(method), Err(Refusal::Write));
            check("172.16.0.2", Some(method), Err(Refusal::Write));
        }
        for method in ["queryUser", "placeInQueue", "get"] {
            check("10.1.1.1", Some(method), Ok(()));
        }
        for method in ["boom", "isolate", ""] {
            check("10.1.1.1", Some(method), Err(Refusal::UnknownMethod));
        }
        check("10.1.1.1", None, Err(Refusal::UnknownMethod));
        check("10.7.1.1", None, Ok(()));
    }
}
