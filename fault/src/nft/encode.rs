//! Tables as the kernel wants them: one batch that is carried out whole or not at all.
//!
//! Numbers are those of `linux/netfilter/nf_tables.h` and `nfnetlink.h`. Attributes are in network
//! order; what stands in registers is in the order of the packet, or of the machine where it comes
//! from the machine (states, users, groups).

use ipnet::IpNet;

use super::rule::{Action, Chain, Hook, Match, Rule, Side, State, Table, Transport, Version};
use crate::netlink::write::{Attributes, Request};
use crate::netlink::{ACK, APPEND, CREATE, DUMP, EXCLUSIVE, REQUEST};

/// NFNL_SUBSYS_NFTABLES
const SUBSYSTEM: u16 = 10;
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;

pub(super) const NEW_TABLE: u16 = kind(0);
pub(super) const NEW_CHAIN: u16 = kind(3);
pub(super) const NEW_RULE: u16 = kind(6);
const GET_TABLE: u16 = kind(1);
const DELETE_TABLE: u16 = kind(2);
const GET_CHAIN: u16 = kind(4);
const GET_RULE: u16 = kind(7);

const fn kind(message: u16) -> u16 {
    SUBSYSTEM << 8 | message
}

/// Bytes of the fixed part of every message (`nfgenmsg`).
pub(super) const FIXED: usize = 4;

/// NFPROTO_INET, and NFPROTO_NETDEV for hooks of links.
pub(super) const INET: u8 = 1;
pub(super) const NETDEV: u8 = 5;

/// NFT_TABLE_F_DORMANT: its chains hang nowhere.
const DORMANT: u32 = 1;
/// NFT_TABLE_F_OWNER: the table is its socket's.
pub(super) const OWNER: u32 = 2;

/// Whether a table does something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Its rules are in force.
    Awake,
    /// The kernel checks it and keeps it, and no packet meets it: a trial.
    Asleep,
}

/// The one register that is used, of 16 bytes.
const REGISTER: u32 = 1;

fn fixed(family: u8) -> [u8; FIXED] {
    [family, 0, 0, 0]
}

fn family(table: &Table) -> u8 {
    if table.of_links() { NETDEV } else { INET }
}

/// What a message of a batch is about, by its number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// The begin or the end.
    Batch,
    /// The table itself.
    Table,
    /// A chain, by its name.
    Chain(String),
    /// A rule, by its label.
    Rule(String),
}

/// A batch on its way to the kernel.
#[derive(Debug)]
pub struct Batch {
    /// Its bytes.
    pub request: Request,
    /// The number of the message that is acknowledged.
    pub last: u32,
    /// What each message is about: by number.
    pub parts: Vec<Part>,
}

/// The batch that makes a table with all it holds, owned by the socket that sends it. The table
/// must have been checked.
pub fn make(table: &Table, standing: Standing) -> Batch {
    let of_state = match standing {
        Standing::Awake => OWNER,
        Standing::Asleep => OWNER | DORMANT,
    };
    let family = family(table);
    let mut request = Request::default();
    let mut parts = vec![Part::Batch];
    edge(&mut request, BATCH_BEGIN, 0);
    let last = 1 + table.chains.len() + table.rules();
    let flags = |number: usize, more: u16| {
        let acknowledged = if number == last { ACK } else { 0 };
        REQUEST | CREATE | more | acknowledged
    };
    let of_table = |attributes: &mut Attributes<'_>| {
        attributes.text(1, &table.name).number(2, of_state);
        attributes.put(6, &comment(&table.tag));
    };
    request.message(NEW_TABLE, flags(1, EXCLUSIVE), 1, &fixed(family), of_table);
    parts.push(Part::Table);
    for chain in &table.chains {
        let number = parts.len();
        let of_chain = |attributes: &mut Attributes<'_>| {
            attributes.text(1, &table.name).text(3, &chain.name);
            attributes.nest(4, |hook| place(chain, hook));
            // NF_ACCEPT: what no rule takes goes on.
            attributes.number(5, 1).text(7, "filter");
        };
        let flags = flags(number, EXCLUSIVE);
        request.message(NEW_CHAIN, flags, number as u32, &fixed(family), of_chain);
        parts.push(Part::Chain(chain.name.clone()));
    }
    for chain in &table.chains {
        for rule in &chain.rules {
            let number = parts.len();
            let of_rule = |attributes: &mut Attributes<'_>| {
                attributes.text(1, &table.name).text(2, &chain.name);
                attributes.nest(4, |list| expressions(rule, list));
                attributes.put(7, &comment(&rule.label));
            };
            let flags = flags(number, APPEND);
            request.message(NEW_RULE, flags, number as u32, &fixed(family), of_rule);
            parts.push(Part::Rule(rule.label.clone()));
        }
    }
    edge(&mut request, BATCH_END, parts.len() as u32);
    parts.push(Part::Batch);
    Batch {
        request,
        last: last as u32,
        parts,
    }
}

/// The batch that removes a table.
pub fn remove(table: &Table) -> Batch {
    let mut request = Request::default();
    edge(&mut request, BATCH_BEGIN, 0);
    let family = fixed(family(table));
    request.message(DELETE_TABLE, REQUEST | ACK, 1, &family, |attributes| {
        attributes.text(1, &table.name);
    });
    edge(&mut request, BATCH_END, 2);
    Batch {
        request,
        last: 1,
        parts: vec![Part::Batch, Part::Table, Part::Batch],
    }
}

/// Begin or end of a batch: the subsystem stands in the fixed part.
fn edge(request: &mut Request, kind: u16, number: u32) {
    request.message(kind, REQUEST, number, &[0, 0, 0, SUBSYSTEM as u8], |_| {});
}

/// What a list is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listed<'a> {
    /// All tables of all families.
    Tables,
    /// All chains of all tables.
    Chains,
    /// All rules of all tables.
    Rules,
    /// The rules of one table.
    RulesOf(&'a Table),
}

/// Asks for a list.
pub fn list(listed: Listed<'_>) -> Request {
    let mut request = Request::default();
    let (kind, family, table) = match listed {
        Listed::Tables => (GET_TABLE, 0, None),
        Listed::Chains => (GET_CHAIN, 0, None),
        Listed::Rules => (GET_RULE, 0, None),
        Listed::RulesOf(table) => (GET_RULE, family(table), Some(&table.name)),
    };
    request.message(kind, REQUEST | DUMP, 1, &fixed(family), |attributes| {
        if let Some(name) = table {
            attributes.text(1, name);
        }
    });
    request
}

/// User data as `nft` reads it: type 0 is a comment, with its length and the zero at its end.
fn comment(text: &str) -> Vec<u8> {
    let mut bytes = vec![0, (text.len() + 1) as u8];
    bytes.extend_from_slice(text.as_bytes());
    bytes.push(0);
    bytes
}

fn place(chain: &Chain, attributes: &mut Attributes<'_>) {
    let number = match chain.hook {
        Hook::Prerouting | Hook::Ingress(_) => 0,
        Hook::Input | Hook::Egress(_) => 1,
        Hook::Forward => 2,
        Hook::Output => 3,
    };
    attributes.number(1, number);
    attributes.number(2, chain.priority.cast_unsigned());
    if let Some(link) = chain.hook.link() {
        attributes.text(3, link);
    }
}

fn expressions(rule: &Rule, list: &mut Attributes<'_>) {
    for condition in &rule.matches {
        self::condition(condition, list);
    }
    expression(list, "counter", |data| {
        data.long(1, 0).long(2, 0);
    });
    match rule.action {
        Action::Count => {}
        // NF_DROP and NF_ACCEPT
        Action::Drop => verdict(list, 0),
        Action::Accept => verdict(list, 1),
        Action::Forward(link) => {
            expression(list, "immediate", |data| {
                data.number(1, REGISTER).nest(2, |value| {
                    value.put(1, &link.to_ne_bytes());
                });
            });
            // NFTA_FWD_SREG_DEV
            expression(list, "fwd", |data| {
                data.number(1, REGISTER);
            });
        }
        // NFT_REJECT_TCP_RST
        Action::Reset => expression(list, "reject", |data| {
            data.number(1, 1).put(2, &[0]);
        }),
        // NFT_REJECT_ICMPX_UNREACH with NFT_REJECT_ICMPX_PORT_UNREACH
        Action::Unreachable => expression(list, "reject", |data| {
            data.number(1, 2).put(2, &[1]);
        }),
    }
}

/// What becomes of the packet, at once.
fn verdict(list: &mut Attributes<'_>, code: u32) {
    expression(list, "immediate", |data| {
        // Into the verdict register.
        data.number(1, 0).nest(2, |value| {
            value.nest(2, |verdict| {
                verdict.number(1, code);
            });
        });
    });
}

fn condition(condition: &Match, list: &mut Attributes<'_>) {
    match condition {
        Match::Version(version) => of_version(list, *version),
        Match::From(link) => {
            meta(list, 6);
            equal(list, &padded(link));
        }
        Match::NotFrom(link) => {
            meta(list, 6);
            compare(list, Operator::NotEqual, &padded(link));
        }
        Match::Toward(link) => {
            meta(list, 7);
            equal(list, &padded(link));
        }
        Match::NotToward(link) => {
            meta(list, 7);
            compare(list, Operator::NotEqual, &padded(link));
        }
        Match::Sender { value, mask } => {
            payload(list, Base::Link, 6, 6);
            masked(list, mask);
            equal(list, value);
        }
        Match::Mark { value, mask } => {
            // NFT_META_MARK
            meta(list, 3);
            masked(list, &mask.to_ne_bytes());
            equal(list, &value.to_ne_bytes());
        }
        Match::Address(side, network) => address(list, *side, *network),
        Match::Transport(transport) => of_transport(list, *transport),
        Match::Port(transport, side, port) => {
            of_transport(list, *transport);
            let offset = match side {
                Side::Source => 0,
                Side::Destination => 2,
            };
            payload(list, Base::Transport, offset, 2);
            equal(list, &port.to_be_bytes());
        }
        Match::Flags { of, set } => {
            of_transport(list, Transport::Tcp);
            payload(list, Base::Transport, 13, 1);
            masked(list, &[of.0]);
            equal(list, &[set.0]);
        }
        Match::AnyFlag(flags) => {
            of_transport(list, Transport::Tcp);
            payload(list, Base::Transport, 13, 1);
            masked(list, &[flags.0]);
            compare(list, Operator::NotEqual, &[0]);
        }
        Match::Payload => {
            // A load past the end of the packet breaks the rule off; what it finds is no matter.
            payload(list, Base::Inner, 0, 1);
            masked(list, &[0]);
            equal(list, &[0]);
        }
        Match::Bytes {
            offset,
            value,
            mask,
        } => {
            payload(list, Base::Inner, *offset, value.len() as u32);
            let mut expected = value.clone();
            if mask.iter().any(|byte| *byte != 0xff) {
                masked(list, mask);
                for (byte, mask) in expected.iter_mut().zip(mask) {
                    *byte &= mask;
                }
            }
            equal(list, &expected);
        }
        Match::State(state) => {
            let bit: u32 = match state {
                State::Established => 1 << 1,
                State::New => 1 << 3,
            };
            // NFT_CT_STATE
            expression(list, "ct", |data| {
                data.number(1, REGISTER).number(2, 0);
            });
            masked(list, &bit.to_ne_bytes());
            compare(list, Operator::NotEqual, &[0; 4]);
        }
        // NFT_CONNLIMIT_F_INV: more than, not at most.
        Match::ConnectionsOver(count) => expression(list, "connlimit", |data| {
            data.number(1, *count).number(2, 1);
        }),
        Match::User(user) => {
            meta(list, 10);
            equal(list, &user.to_ne_bytes());
        }
        Match::Group { level, id, .. } => {
            // NFT_SOCKET_CGROUPV2
            expression(list, "socket", |data| {
                data.number(1, 3).number(2, REGISTER).number(3, *level);
            });
            equal(list, &id.to_ne_bytes());
        }
    }
}

fn expression(list: &mut Attributes<'_>, name: &str, fill: impl FnOnce(&mut Attributes<'_>)) {
    list.nest(1, |element| {
        element.text(1, name).nest(2, fill);
    });
}

/// Loads a value of the machine.
fn meta(list: &mut Attributes<'_>, key: u32) {
    expression(list, "meta", |data| {
        data.number(1, REGISTER).number(2, key);
    });
}

#[derive(Clone, Copy)]
enum Base {
    Link = 0,
    Network = 1,
    Transport = 2,
    Inner = 3,
}

/// Loads bytes of the packet.
fn payload(list: &mut Attributes<'_>, base: Base, offset: u32, length: u32) {
    expression(list, "payload", |data| {
        data.number(1, REGISTER).number(2, base as u32);
        data.number(3, offset).number(4, length);
    });
}

/// Keeps the bits of the mask.
fn masked(list: &mut Attributes<'_>, mask: &[u8]) {
    expression(list, "bitwise", |data| {
        data.number(1, REGISTER).number(2, REGISTER);
        data.number(3, mask.len() as u32);
        data.nest(4, |value| {
            value.put(1, mask);
        });
        data.nest(5, |value| {
            value.put(1, &vec![0; mask.len()]);
        });
    });
}

#[derive(Clone, Copy)]
enum Operator {
    Equal = 0,
    NotEqual = 1,
}

fn compare(list: &mut Attributes<'_>, operator: Operator, value: &[u8]) {
    expression(list, "cmp", |data| {
        data.number(1, REGISTER).number(2, operator as u32);
        data.nest(3, |inner| {
            inner.put(1, value);
        });
    });
}

fn equal(list: &mut Attributes<'_>, value: &[u8]) {
    compare(list, Operator::Equal, value);
}

fn of_version(list: &mut Attributes<'_>, version: Version) {
    // NFT_META_NFPROTO; AF_INET and AF_INET6.
    meta(list, 15);
    equal(
        list,
        &[match version {
            Version::V4 => 2,
            Version::V6 => 10,
        }],
    );
}

fn of_transport(list: &mut Attributes<'_>, transport: Transport) {
    // NFT_META_L4PROTO
    meta(list, 16);
    equal(list, &[transport.number()]);
}

/// The whole name, with its zeros: no name that only begins alike.
fn padded(link: &str) -> [u8; 16] {
    let mut name = [0; 16];
    let length = link.len().min(15);
    name[..length].copy_from_slice(&link.as_bytes()[..length]);
    name
}

fn address(list: &mut Attributes<'_>, side: Side, network: IpNet) {
    let (version, offset, bytes, mask) = match network {
        IpNet::V4(network) => (
            Version::V4,
            if side == Side::Source { 12 } else { 16 },
            network.network().octets().to_vec(),
            network.netmask().octets().to_vec(),
        ),
        IpNet::V6(network) => (
            Version::V6,
            if side == Side::Source { 8 } else { 24 },
            network.network().octets().to_vec(),
            network.netmask().octets().to_vec(),
        ),
    };
    of_version(list, version);
    payload(list, Base::Network, offset, bytes.len() as u32);
    if mask.iter().any(|byte| *byte != 0xff) {
        masked(list, &mask);
    }
    equal(list, &bytes);
}
