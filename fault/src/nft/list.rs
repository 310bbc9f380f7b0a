//! What stands in a namespace, of whoever made it.

use std::os::fd::AsFd;

use super::encode::{self, FIXED, Listed, NEW_CHAIN, NEW_RULE, NEW_TABLE, OWNER};
use super::rule::Table;
use crate::netlink::ask::{self, Unanswered};
use crate::netlink::read::{Message, attribute, attributes, behind, long, messages, number, text};

/// What met one rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counted {
    /// The chain.
    pub chain: String,
    /// The rule's label; empty for a rule of somebody else.
    pub label: String,
    /// Packets.
    pub packets: u64,
    /// Bytes of them, with their IP headers.
    pub bytes: u64,
}

/// A table that stands.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Standing {
    /// Its family, as `nft` calls it.
    pub family: String,
    /// Its name.
    pub name: String,
    /// The socket that it goes with; none: it stays until somebody removes it.
    pub owner: Option<u32>,
    /// Its comment.
    pub comment: Option<String>,
}

/// A rule that stands.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Line {
    /// Family, table and chain.
    pub place: String,
    /// The number that the kernel gave it.
    pub handle: u64,
    /// Its comment, or, where it has none, the names of its expressions.
    pub what: String,
}

/// Everything of nftables in a namespace; iptables over nftables is in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ruleset {
    /// All tables.
    pub tables: Vec<Standing>,
    /// All chains: family, table, name, and the hook where there is one.
    pub chains: Vec<String>,
    /// All rules.
    pub rules: Vec<Line>,
}

/// Lists everything. The socket is of `Subsystem::Netfilter`.
pub fn everything(socket: impl AsFd) -> Result<Ruleset, Unanswered> {
    let socket = socket.as_fd();
    let mut ruleset = Ruleset::default();
    let tables = ask::list(socket, encode::list(Listed::Tables).bytes())?;
    ruleset.tables = bodies(&tables, NEW_TABLE).filter_map(standing).collect();
    let chains = ask::list(socket, encode::list(Listed::Chains).bytes())?;
    ruleset.chains = bodies(&chains, NEW_CHAIN).filter_map(chain).collect();
    let rules = ask::list(socket, encode::list(Listed::Rules).bytes())?;
    ruleset.rules = bodies(&rules, NEW_RULE).filter_map(line).collect();
    Ok(ruleset)
}

/// The bodies of all messages of this kind.
fn bodies(answers: &[u8], kind: u16) -> impl Iterator<Item = &[u8]> {
    messages(answers)
        .filter(move |message: &Message<'_>| message.kind == kind)
        .map(|message| message.body)
}

fn family(body: &[u8]) -> String {
    match body.first() {
        Some(1) => "inet".to_owned(),
        Some(2) => "ip".to_owned(),
        Some(3) => "arp".to_owned(),
        Some(5) => "netdev".to_owned(),
        Some(7) => "bridge".to_owned(),
        Some(10) => "ip6".to_owned(),
        other => format!("family {}", other.copied().unwrap_or(0)),
    }
}

fn standing(body: &[u8]) -> Option<Standing> {
    let rest = behind(body, FIXED);
    let flags = attribute(rest, 2).and_then(number).unwrap_or(0);
    Some(Standing {
        family: family(body),
        name: attribute(rest, 1).map(text)?,
        owner: attribute(rest, 7)
            .and_then(number)
            .filter(|_| flags & OWNER != 0),
        comment: attribute(rest, 6).and_then(comment),
    })
}

fn chain(body: &[u8]) -> Option<String> {
    let rest = behind(body, FIXED);
    let (table, name) = (attribute(rest, 1).map(text)?, attribute(rest, 3).map(text)?);
    let family = family(body);
    let hook = attribute(rest, 4).map(|hook| {
        let value = |kind| attribute(hook, kind).and_then(number).unwrap_or(0);
        format!(" hook {} priority {}", value(1), value(2).cast_signed())
    });
    let policy = match attribute(rest, 5).and_then(number) {
        Some(0) => " policy drop",
        _ => "",
    };
    let hook = hook.unwrap_or_default();
    Some(format!("{family} {table} {name}{hook}{policy}"))
}

fn line(body: &[u8]) -> Option<Line> {
    let rest = behind(body, FIXED);
    let (table, chain) = (attribute(rest, 1).map(text)?, attribute(rest, 2).map(text)?);
    let names = attribute(rest, 4).map(|list| {
        let names: Vec<String> = attributes(list)
            .filter_map(|(_, element)| attribute(element, 1).map(text))
            .collect();
        names.join(" ")
    });
    Some(Line {
        place: format!("{} {table} {chain}", family(body)),
        handle: attribute(rest, 3).and_then(long).unwrap_or(0),
        what: attribute(rest, 7)
            .and_then(comment)
            .or(names)
            .unwrap_or_default(),
    })
}

/// The counters of a table's rules.
pub(super) fn counters(answers: &[u8], table: &Table) -> Vec<Counted> {
    bodies(answers, NEW_RULE)
        .filter_map(|body| {
            let rest = behind(body, FIXED);
            if attribute(rest, 1).map(text)? != table.name {
                return None;
            }
            let (packets, bytes) = counter(attribute(rest, 4)?)?;
            Some(Counted {
                chain: attribute(rest, 2).map(text)?,
                label: attribute(rest, 7).and_then(comment).unwrap_or_default(),
                packets,
                bytes,
            })
        })
        .collect()
}

/// Packets and bytes of the first counter in a list of expressions.
fn counter(list: &[u8]) -> Option<(u64, u64)> {
    attributes(list).find_map(|(_, element)| {
        if attribute(element, 1).map(text)? != "counter" {
            return None;
        }
        let data = attribute(element, 2)?;
        Some((
            attribute(data, 2).and_then(long)?,
            attribute(data, 1).and_then(long)?,
        ))
    })
}

/// The comment of user data: type 0, its length, its text.
fn comment(data: &[u8]) -> Option<String> {
    let mut rest = data;
    while let [kind, length, ..] = rest {
        let end = 2 + usize::from(*length);
        let value = rest.get(2..end)?;
        if *kind == 0 {
            return Some(text(value));
        }
        rest = rest.get(end..)?;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_are_found_behind_other_data() {
        assert_eq!(comment(b"\x00\x03it\0").as_deref(), Some("it"));
        assert_eq!(
            comment(b"\x02\x04\x00\x00\x00\x01\x00\x02x\0").as_deref(),
            Some("x")
        );
        assert_eq!(comment(b"\x00\x09it\0"), None);
        assert_eq!(comment(b""), None);
    }
}
