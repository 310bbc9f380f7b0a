//! Rules as values.

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// Rules of one table at most. A batch is one message buffer; with this many it stays below the
/// default send buffer of a socket.
pub const RULES_MAX: usize = 512;

/// Version of the Internet protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Version {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// What ports belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Transport {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl Transport {
    /// Its number in an IP header.
    pub fn number(self) -> u8 {
        match self {
            Transport::Tcp => 6,
            Transport::Udp => 17,
        }
    }

    /// The word of `nft` and `iptables`.
    pub fn name(self) -> &'static str {
        match self {
            Transport::Tcp => "tcp",
            Transport::Udp => "udp",
        }
    }
}

/// One end of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Side {
    /// Where it comes from.
    Source,
    /// Where it goes.
    Destination,
}

/// Flags of a TCP header, as bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Flags(pub u8);

impl Flags {
    /// The sender will send no more.
    pub const FIN: Flags = Flags(1);
    /// A connection is to be opened.
    pub const SYN: Flags = Flags(2);
    /// The connection is broken off.
    pub const RST: Flags = Flags(4);
    /// The sender has nothing more for now.
    pub const PSH: Flags = Flags(8);
    /// Something is acknowledged.
    pub const ACK: Flags = Flags(16);

    /// Names with their bits, in the order of the header.
    pub const ALL: [(&'static str, Flags); 5] = [
        ("fin", Flags::FIN),
        ("syn", Flags::SYN),
        ("rst", Flags::RST),
        ("psh", Flags::PSH),
        ("ack", Flags::ACK),
    ];

    /// Both sets.
    #[must_use]
    pub const fn and(self, other: Flags) -> Flags {
        Flags(self.0 | other.0)
    }

    /// Names of those that are set.
    pub fn names(self) -> Vec<&'static str> {
        Flags::ALL
            .into_iter()
            .filter(|(_, flag)| self.0 & flag.0 != 0)
            .map(|(name, _)| name)
            .collect()
    }
}

/// What connection tracking says of a packet, as bits of `NFT_CT_STATE`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum State {
    /// It opens a connection, or is of one that nobody has seen yet.
    New,
    /// It is of a connection that was answered.
    Established,
}

/// A condition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Match {
    /// The packet is of this version.
    Version(Version),
    /// It came by this link.
    From(String),
    /// It came by any link but this one.
    NotFrom(String),
    /// It leaves by this link.
    Toward(String),
    /// It leaves by any link but this one.
    NotToward(String),
    /// Its sender's address on the link has these bits where `mask` has. At hooks of links only.
    Sender {
        /// The bits.
        value: [u8; 6],
        /// Which of them count.
        mask: [u8; 6],
    },
    /// Its mark has these bits where `mask` has.
    Mark {
        /// The bits.
        value: u32,
        /// Which of them count.
        mask: u32,
    },
    /// Its address is in this network; says the version as well.
    Address(Side, IpNet),
    /// It is of this transport and has this port.
    Port(Transport, Side, u16),
    /// It is of this transport.
    Transport(Transport),
    /// Of these TCP flags exactly those are set.
    Flags {
        /// Those that are looked at.
        of: Flags,
        /// Those of them that are set.
        set: Flags,
    },
    /// At least one of these TCP flags is set.
    AnyFlag(Flags),
    /// It carries at least one byte behind its TCP or UDP header.
    Payload,
    /// Bytes of what it carries: at `offset` from the end of the TCP or UDP header stands `value`,
    /// where `mask` has bits. At most 16 bytes, both of the same length.
    Bytes {
        /// First byte.
        offset: u32,
        /// What stands there.
        value: Vec<u8>,
        /// Which bits count.
        mask: Vec<u8>,
    },
    /// What connection tracking says.
    State(State),
    /// More than this many connections that came to this rule are open.
    ConnectionsOver(u32),
    /// It belongs to a socket of this user. On its way out only.
    User(u32),
    /// It belongs to a socket of this control group (version 2), or of one within it.
    Group {
        /// Depth of the group below the root, from 1.
        level: u32,
        /// Inode of the group's folder.
        id: u64,
        /// Its path from the root, for people.
        path: String,
    },
}

/// What happens to packets that meet all conditions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Action {
    /// They are counted and go on.
    Count,
    /// They pass the chain: no rule behind this one sees them.
    Accept,
    /// They are sent on the link of this number instead. At hooks of links only.
    Forward(u32),
    /// They are gone.
    Drop,
    /// Their sender is told that there is no such connection (RST).
    Reset,
    /// Their sender is told that the port cannot be reached (ICMP).
    Unreachable,
}

/// One rule; it counts what meets it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// Its name within the table: stands in the kernel as a comment, and in evidence.
    pub label: String,
    /// Conditions, in order.
    pub matches: Vec<Match>,
    /// What happens then.
    pub action: Action,
}

/// Where in the kernel a chain hangs.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Hook {
    /// What is for a socket of this namespace.
    Input,
    /// What a socket of this namespace sends.
    Output,
    /// What only passes.
    Forward,
    /// What came, before anybody asks for whom it is.
    Prerouting,
    /// Everything that comes by this link, of any protocol.
    Ingress(String),
    /// Everything that leaves by this link, of any protocol.
    Egress(String),
}

impl Hook {
    /// The word of `nft`.
    pub fn name(&self) -> &'static str {
        match self {
            Hook::Input => "input",
            Hook::Output => "output",
            Hook::Forward => "forward",
            Hook::Prerouting => "prerouting",
            Hook::Ingress(_) => "ingress",
            Hook::Egress(_) => "egress",
        }
    }

    /// The link that it hangs at.
    pub fn link(&self) -> Option<&str> {
        match self {
            Hook::Ingress(link) | Hook::Egress(link) => Some(link),
            _ => None,
        }
    }
}

/// A chain: it hangs at a hook, lets through what no rule takes, and is named like its hook.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chain {
    /// Its name within the table.
    pub name: String,
    /// Where it hangs.
    pub hook: Hook,
    /// Lower comes first. Filters of the system stand at 0.
    pub priority: i32,
    /// Its rules, in order.
    pub rules: Vec<Rule>,
}

/// A table to be made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Table {
    /// Its name, unique within its namespace: letters, digits, `_`, at most [`NAME_BYTES_MAX`].
    pub name: String,
    /// Whose it is.
    pub tag: String,
    /// Its chains: all at hooks of links, or none of them.
    pub chains: Vec<Chain>,
}

/// Longest name of a table here, in bytes; the kernel would take 255.
pub const NAME_BYTES_MAX: usize = 64;

/// Longest tag, in bytes: a comment of `nft` has 128, of which one is its zero.
pub const TAG_BYTES_MAX: usize = 127;

/// Longest label of a rule, in bytes: user data of the kernel has room for 253.
pub const LABEL_BYTES_MAX: usize = 200;

impl Table {
    /// Whether it belongs to family `netdev` rather than `inet`.
    pub fn of_links(&self) -> bool {
        self.chains.iter().any(|chain| chain.hook.link().is_some())
    }

    /// How many rules it has.
    pub fn rules(&self) -> usize {
        self.chains.iter().map(|chain| chain.rules.len()).sum()
    }

    /// Whether it can be made at all; what is wrong otherwise.
    pub fn check(&self) -> Result<(), String> {
        let known = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        let name = &self.name;
        if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.bytes().all(known) {
            return Err(format!(
                "a table called `{name}`: expected 1 to {NAME_BYTES_MAX} letters, digits or `_`"
            ));
        }
        let written = |text: &str, bytes_max: usize| {
            let printable = |byte: u8| (b' '..0x7f).contains(&byte) && byte != b'"';
            text.len() <= bytes_max && text.bytes().all(printable)
        };
        if !written(&self.tag, TAG_BYTES_MAX) {
            return Err(format!(
                "the tag `{}`: expected at most {TAG_BYTES_MAX} printable bytes without quotes",
                self.tag
            ));
        }
        if self.chains.is_empty() || self.rules() == 0 {
            return Err("a table without rules: it would do nothing".to_owned());
        }
        if self.rules() > RULES_MAX {
            return Err(format!(
                "{} rules: expected at most {RULES_MAX}",
                self.rules()
            ));
        }
        let links = self.of_links();
        for chain in &self.chains {
            if chain.hook.link().is_some() != links {
                return Err("hooks of links and of protocols in one table".to_owned());
            }
            if let Some(link) = chain.hook.link() {
                name_of_link(link)?;
            }
            for rule in &chain.rules {
                if !written(&rule.label, LABEL_BYTES_MAX) {
                    return Err(format!(
                        "the label `{}`: expected printable bytes",
                        rule.label
                    ));
                }
                rule.matches.iter().try_for_each(Match::check)?;
            }
        }
        Ok(())
    }
}

fn name_of_link(name: &str) -> Result<(), String> {
    let usual = |byte: u8| byte.is_ascii_graphic() && byte != b'/' && byte != b'"' && byte != b'*';
    // IFNAMSIZ is 16, with the zero.
    if name.is_empty() || name.len() > 15 || !name.bytes().all(usual) {
        return Err(format!("a link called `{name}`: expected 1 to 15 letters"));
    }
    Ok(())
}

impl Match {
    fn check(&self) -> Result<(), String> {
        match self {
            Match::From(link)
            | Match::NotFrom(link)
            | Match::Toward(link)
            | Match::NotToward(link) => name_of_link(link),
            Match::Bytes { value, mask, .. } if value.len() != mask.len() => Err(format!(
                "{} bytes with a mask of {}: expected the same length",
                value.len(),
                mask.len()
            )),
            Match::Bytes { value, .. } if value.is_empty() || value.len() > 16 => Err(format!(
                "{} bytes to compare: expected 1 to 16",
                value.len()
            )),
            _ => Ok(()),
        }
    }
}
