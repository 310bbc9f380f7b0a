//! Rules for packets, as every filter of packets understands them: what a fault says of a
//! connection becomes matches on single packets.

use std::fmt::Write as _;
use std::net::IpAddr;

use ipnet::IpNet;
use meshproof_input::Net;
use serde::{Deserialize, Serialize};

use crate::spec::{Kind, Listener, Only, Sender, Subject, Version};
use crate::{Family, Flow, Refusal, Spec, flows};

/// Rules of one fault at most: `only: established` makes two of every connection.
pub const RULES_MAX: usize = 2000;

/// Where a packet is met.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Hook {
    /// On its way to a program here. What comes over the loopback is met here, as if it had been
    /// lost on the wire: a packet that is dropped on its way out is known to its sender.
    Input,
    /// On its way out of this network.
    Output,
}

impl Hook {
    /// Both.
    pub fn both() -> [Hook; 2] {
        [Hook::Input, Hook::Output]
    }

    /// The name of its chain in `iptables`.
    pub fn chain(self) -> &'static str {
        match self {
            Hook::Input => "INPUT",
            Hook::Output => "OUTPUT",
        }
    }
}

/// Which links.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Link {
    /// All.
    Any,
    /// The loopback alone.
    Loopback,
    /// All but the loopback.
    NotLoopback,
}

/// What becomes of a packet that is met.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Act {
    /// It does not arrive.
    Drop,
    /// Nor does it arrive, and its sender gets a reset.
    Reset,
    /// The same, for the first packets of connections beyond so many.
    ResetBeyond(u32),
}

/// One rule: TCP packets, and what becomes of them. What is none matches all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// Of which family.
    pub family: Family,
    /// Where.
    pub hook: Hook,
    /// On which links.
    pub link: Link,
    /// From these addresses.
    pub source: Option<Net>,
    /// To these.
    pub destination: Option<Net>,
    /// From this port.
    pub source_port: Option<u16>,
    /// To this port.
    pub destination_port: Option<u16>,
    /// Only these packets; never [`Only::Established`], which is a rule for each connection.
    pub only: Option<Only>,
    /// What becomes of them.
    pub act: Act,
}

/// The rules of a fault of packets. `flows` are the connections that stand, as [`crate::flows`]
/// tells of them.
pub fn rules(spec: &Spec, flows: &[Flow]) -> Result<Vec<Rule>, Refusal> {
    let act = match (spec.kind.value, spec.subject()) {
        (Kind::Drop, Subject::Packets) => Act::Drop,
        (Kind::Reject, Subject::Packets) => Act::Reset,
        (Kind::Limit, Subject::Packets) => {
            Act::ResetBeyond(spec.connections.map_or(0, |some| some.value))
        }
        (kind, Subject::Frames) => {
            return Err(Refusal::Inexact(format!(
                "knows packets, and `{kind}` is of frames: behind a lost packet TCP holds back \
                 every later byte, business frames too"
            )));
        }
        (kind, subject) => {
            return Err(Refusal::Inexact(format!(
                "knows packets, and `{kind}` happens to {subject}"
            )));
        }
    };
    if let Some(group) = &spec.group {
        return Err(Refusal::Inexact(format!(
            "does not tell control group {group} from others on the way in"
        )));
    }
    let families: Vec<Family> = Family::ALL
        .iter()
        .copied()
        .filter(|family| match spec.ip.map(|it| it.value) {
            None => true,
            Some(Version::V4) => *family == Family::V4,
            Some(Version::V6) => *family == Family::V6,
        })
        .filter(|family| spec.peer().is_none_or(|peer| family_of(&peer) == *family))
        .collect();
    if families.is_empty() {
        return Err(Refusal::Inexact(
            "finds no packet that is of the version `ip` and has the address `peer`".into(),
        ));
    }
    let only = spec.only.map(|only| only.value);
    let mut rules = Vec::new();
    for family in families {
        let senders = match (act, spec.sender()) {
            // Of new connections only the first packet counts, and its sender opens.
            (Act::ResetBeyond(_), _) => vec![Sender::Opener],
            (_, Some(sender)) => vec![sender],
            (_, None) => vec![Sender::Opener, Sender::Listener],
        };
        for sender in senders {
            let base = places(spec, sender).into_iter().map(|(hook, link)| {
                let (near, far) = (spec.port, spec.source_port);
                let port = |it: Option<meshproof_input::Spanned<u16>>| it.map(|it| it.value);
                let to_listener = sender == Sender::Opener;
                // The other end is where a packet comes from or goes to, by where it is met.
                let arrives = match spec.listens() {
                    Listener::Here => to_listener,
                    Listener::Elsewhere => !to_listener,
                };
                Rule {
                    family,
                    hook,
                    link,
                    source: spec.peer().filter(|_| arrives).map(Net),
                    destination: spec.peer().filter(|_| !arrives).map(Net),
                    source_port: port(if to_listener { far } else { near }),
                    destination_port: port(if to_listener { near } else { far }),
                    only: match act {
                        Act::ResetBeyond(_) => Some(Only::New),
                        _ => only,
                    },
                    act,
                }
            });
            if only == Some(Only::Established) {
                for rule in base {
                    let standing = flows.iter().filter(|flow| flows::meant(spec, flow));
                    rules.extend(standing.filter_map(|flow| exactly(&rule, flow, spec, sender)));
                }
            } else {
                rules.extend(base);
            }
        }
    }
    if rules.len() > RULES_MAX {
        return Err(Refusal::Inexact(format!(
            "needs {} rules, one for each connection that stands: expected at most {RULES_MAX}",
            rules.len()
        )));
    }
    if rules.is_empty() {
        return Err(Refusal::Inexact(
            "finds no connection that stands, and `only: established` means nothing else".into(),
        ));
    }
    Ok(rules)
}

fn family_of(net: &IpNet) -> Family {
    match net {
        IpNet::V4(_) => Family::V4,
        IpNet::V6(_) => Family::V6,
    }
}

/// Where packets of this sender are met.
fn places(spec: &Spec, sender: Sender) -> Vec<(Hook, Link)> {
    match (spec.listens(), sender) {
        (Listener::Here, Sender::Opener) => vec![(Hook::Input, Link::Any)],
        (Listener::Here, Sender::Listener) => vec![
            (Hook::Input, Link::Loopback),
            (Hook::Output, Link::NotLoopback),
        ],
        (Listener::Elsewhere, Sender::Opener) => vec![(Hook::Output, Link::NotLoopback)],
        (Listener::Elsewhere, Sender::Listener) => vec![(Hook::Input, Link::NotLoopback)],
    }
}

/// The rule for one connection, where it can meet packets of it.
fn exactly(rule: &Rule, flow: &Flow, spec: &Spec, sender: Sender) -> Option<Rule> {
    let (opener, listener) = match spec.listens() {
        Listener::Here => (flow.remote, flow.local),
        Listener::Elsewhere => (flow.local, flow.remote),
    };
    let (from, to) = match sender {
        Sender::Opener => (opener, listener),
        Sender::Listener => (listener, opener),
    };
    let family = match flow.local.ip() {
        IpAddr::V4(_) => Family::V4,
        IpAddr::V6(_) => Family::V6,
    };
    if family != rule.family {
        return None;
    }
    Some(Rule {
        source: Some(Net(IpNet::from(from.ip()))),
        destination: Some(Net(IpNet::from(to.ip()))),
        source_port: Some(from.port()),
        destination_port: Some(to.port()),
        only: None,
        ..rule.clone()
    })
}

impl Rule {
    /// What `iptables` or `ip6tables` is told of it, from `-p tcp` to the target.
    pub fn iptables(&self, tag: &str) -> String {
        let mut line = String::from("-p tcp");
        let mut add = |word: &str, value: &dyn std::fmt::Display| {
            // Writing to a string cannot fail.
            let _ = write!(line, " {word} {value}");
        };
        let side = match self.hook {
            Hook::Input => "-i",
            Hook::Output => "-o",
        };
        match self.link {
            Link::Any => {}
            Link::Loopback => add(side, &"lo"),
            Link::NotLoopback => add(&format!("! {side}"), &"lo"),
        }
        if let Some(source) = self.source {
            add("-s", &source.0);
        }
        if let Some(destination) = self.destination {
            add("-d", &destination.0);
        }
        add("-m", &"tcp");
        if let Some(port) = self.source_port {
            add("--sport", &port);
        }
        if let Some(port) = self.destination_port {
            add("--dport", &port);
        }
        match self.only {
            Some(Only::New) => add("--tcp-flags", &"FIN,SYN,RST,ACK SYN"),
            Some(Only::SynAck) => add("--tcp-flags", &"SYN,ACK SYN,ACK"),
            Some(Only::Fin) => add("--tcp-flags", &"FIN FIN"),
            Some(Only::Rst) => add("--tcp-flags", &"RST RST"),
            Some(Only::Payload) => {
                let program = match self.family {
                    Family::V4 => PAYLOAD_V4,
                    Family::V6 => PAYLOAD_V6,
                };
                add("-m bpf --bytecode", &format!("\"{program}\""));
            }
            Some(Only::Established) | None => {}
        }
        if let Act::ResetBeyond(connections) = self.act {
            add("-m connlimit --connlimit-above", &connections);
            add("--connlimit-mask", &0);
        }
        add("-m comment --comment", &format!("\"{tag}\""));
        match self.act {
            Act::Drop => add("-j", &"DROP"),
            Act::Reset | Act::ResetBeyond(_) => add("-j", &"REJECT --reject-with tcp-reset"),
        }
        line
    }

    /// What it does, for people: `packets dropped, INPUT, ipv4`.
    pub fn counted(&self) -> String {
        let done = match self.act {
            Act::Drop => "packets dropped",
            Act::Reset => "packets answered with a reset",
            Act::ResetBeyond(_) => "connections refused",
        };
        let mut text = format!("{done}, {}, {}", self.hook.chain(), self.family);
        if let Some(port) = self.source_port {
            let _ = write!(text, ", from port {port}");
        }
        if let Some(port) = self.destination_port {
            let _ = write!(text, ", to port {port}");
        }
        text
    }
}

/// Classic BPF on a packet of IPv4: its length is more than that of both headers.
/// `ldx 4*([0]&0xf); ldb [x+12]; and #0xf0; rsh #2; add x; tax; ldh [2]; sub x; jeq #0; ret`.
const PAYLOAD_V4: &str = "11,177 0 0 0,80 0 0 12,84 0 0 240,116 0 0 2,12 0 0 0,7 0 0 0,40 0 0 2,\
                          28 0 0 0,21 1 0 0,6 0 0 65535,6 0 0 0";

/// The same of IPv6 without extension headers: the length of the payload is more than that of the
/// TCP header.
const PAYLOAD_V6: &str = "9,48 0 0 52,84 0 0 240,116 0 0 2,7 0 0 0,40 0 0 4,28 0 0 0,21 1 0 0,\
                          6 0 0 65535,6 0 0 0";

#[cfg(test)]
mod tests {
    use super::*;

    fn told(yaml: &str, flows: &[Flow]) -> String {
        let spec = Spec::parse("fault.yaml", yaml).unwrap_or_else(|problem| panic!("{problem}"));
        match rules(&spec, flows) {
            Ok(rules) => {
                let lines = rules.iter().map(|rule| {
                    let chain = rule.hook.chain();
                    format!("{} {chain} {}\n", rule.family, rule.iptables("t"))
                });
                lines.collect()
            }
            Err(refusal) => refusal.to_string(),
        }
    }

    #[track_caller]
    fn check(yaml: &str, expected: &[&str]) {
        let found = told(yaml, &[]);
        assert_eq!(found.lines().collect::<Vec<_>>(), expected, "{yaml}");
    }

    #[test]
    fn a_fault_becomes_rules() {
        check(
            "{kind: drop, from: app, port: 12199, ip: v4}",
            &[
                "ipv4 INPUT -p tcp -i lo -m tcp --sport 12199 -m comment --comment \"t\" -j DROP",
                "ipv4 OUTPUT -p tcp ! -o lo -m tcp --sport 12199 -m comment --comment \"t\" -j DROP",
            ],
        );
        check(
            "{kind: reject, to: app, port: 12199, ip: v6}",
            &[
                "ipv6 INPUT -p tcp -m tcp --dport 12199 -m comment --comment \"t\" -j REJECT --reject-with tcp-reset",
            ],
        );
        check(
            "{kind: drop, only: syn-ack, from: server, port: 9600, listener: elsewhere, peer: 10.0.0.0/8}",
            &[
                "ipv4 INPUT -p tcp ! -i lo -s 10.0.0.0/8 -m tcp --sport 9600 --tcp-flags SYN,ACK SYN,ACK -m comment --comment \"t\" -j DROP",
            ],
        );
        check(
            "{kind: limit, connections: 2, port: 12200, ip: v4}",
            &[
                "ipv4 INPUT -p tcp -m tcp --dport 12200 --tcp-flags FIN,SYN,RST,ACK SYN -m connlimit --connlimit-above 2 --connlimit-mask 0 -m comment --comment \"t\" -j REJECT --reject-with tcp-reset",
            ],
        );
        check(
            "{kind: drop, frame: heartbeat, from: app, port: 12199}",
            &[
                "knows packets, and `drop` is of frames: behind a lost packet TCP holds back every later byte, business frames too",
            ],
        );
        check(
            "{kind: drop, port: 1, ip: v6, peer: 10.0.0.1/32}",
            &["finds no packet that is of the version `ip` and has the address `peer`"],
        );
        check(
            "{kind: drop, port: 1, only: established}",
            &["finds no connection that stands, and `only: established` means nothing else"],
        );
    }

    #[test]
    fn those_that_stand_are_named_one_by_one() {
        let flow = |local: &str, remote: &str| Flow {
            local: local.parse().unwrap(),
            remote: remote.parse().unwrap(),
        };
        let flows = [
            flow("127.0.0.1:12199", "127.0.0.1:4001"),
            flow("127.0.0.1:4001", "127.0.0.1:12199"),
            flow("[::1]:12199", "[::1]:4002"),
            flow("10.0.0.1:22", "10.0.0.9:4003"),
        ];
        let found = told(
            "{kind: drop, to: app, port: 12199, only: established}",
            &flows,
        );
        let lines: Vec<&str> = found.lines().collect();
        assert_eq!(
            lines,
            [
                "ipv4 INPUT -p tcp -s 127.0.0.1/32 -d 127.0.0.1/32 -m tcp --sport 4001 --dport 12199 -m comment --comment \"t\" -j DROP",
                "ipv6 INPUT -p tcp -s ::1/128 -d ::1/128 -m tcp --sport 4002 --dport 12199 -m comment --comment \"t\" -j DROP",
            ]
        );
    }
}
