//! Which rules make which fault.
//!
//! A packet on the way within a namespace passes both its `output` and its `input`. Each packet is
//! to meet a fault once, and at `input` where that can be: what is dropped at `output` was never
//! sent for its sender, who then probes (`probe0`) instead of sending again. So what passes the
//! loopback is met at `input`, and at `output` only what leaves by another link.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

use super::rule::{
    Action, Chain, Flags, Hook, Match, RULES_MAX, Rule, Side, Table, Transport, Version,
};

/// The loopback link, called the same in every namespace.
const LOOPBACK: &str = "lo";

/// Before the filters of the system, whose ACCEPT cannot save a packet from a later chain anyway.
const PRIORITY: i32 = -150;

/// Who sends, of the two ends of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Sender {
    /// Who opened it.
    Opener,
    /// Who accepted it.
    Listener,
}

impl Sender {
    fn name(self) -> &'static str {
        match self {
            Sender::Opener => "opener",
            Sender::Listener => "listener",
        }
    }
}

/// Who listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Listener {
    /// Somebody in this namespace.
    Here,
    /// Somebody elsewhere: this namespace opens.
    Elsewhere,
}

/// Whose packets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Aim {
    /// Of which transport.
    pub transport: Transport,
    /// Who listens.
    pub listener: Listener,
    /// Sent by whom; none: by either.
    pub sender: Option<Sender>,
    /// The port that is listened at.
    pub port: Option<u16>,
    /// The port that the connection was opened from.
    pub source_port: Option<u16>,
    /// The addresses of the other end.
    pub peer: Option<IpNet>,
    /// The version of IP; none: both.
    pub version: Option<Version>,
    /// Whose sockets: [`Match::User`] or [`Match::Group`]. The kernel knows the socket of what
    /// leaves; of what comes only with `Group`.
    pub owner: Option<Match>,
}

/// Which of its packets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Only {
    /// All.
    All,
    /// The first of a connection.
    New,
    /// Those of these connections: the end in this namespace and the other.
    Flows(Vec<(SocketAddr, SocketAddr)>),
    /// Those that carry bytes.
    Payload,
    /// Those that carry these bytes at this place, as [`Match::Bytes`].
    Bytes {
        /// First byte, counted from the first one that is carried.
        offset: u32,
        /// What stands there.
        value: Vec<u8>,
        /// Which bits count.
        mask: Vec<u8>,
    },
    /// The answer to the first.
    SynAck,
    /// Those with the end of one direction; what they carry is hit as well.
    Fin,
    /// Resets.
    Rst,
    /// The first of a connection, where more than so many are open.
    Beyond(u32),
}

/// A table that does `action` to what is aimed at. What cannot be said exactly is an error: a
/// sentence that says why.
pub fn aimed(
    name: &str,
    tag: &str,
    aim: &Aim,
    only: &Only,
    action: Action,
) -> Result<Table, String> {
    let by = match only {
        Only::New | Only::Beyond(_) => Some(Sender::Opener),
        Only::SynAck => Some(Sender::Listener),
        _ => None,
    };
    let senders: Vec<Sender> = match (aim.sender, by) {
        (Some(said), Some(by)) if said != by => {
            return Err(format!(
                "such packets are sent by the {}, and the {} was named",
                by.name(),
                said.name()
            ));
        }
        (None, None) => vec![Sender::Opener, Sender::Listener],
        (said, by) => said.or(by).into_iter().collect(),
    };
    if aim.transport == Transport::Udp && !matches!(only, Only::All | Only::Payload) {
        return Err("UDP has no connections: packets are not told apart".to_owned());
    }
    let action = match (action, aim.transport, only) {
        (Action::Reset, _, Only::Rst) => {
            return Err("a reset is never answered with a reset".to_owned());
        }
        (Action::Reset, Transport::Udp, _) => Action::Unreachable,
        (action, _, _) => action,
    };
    let mut chains = [Hook::Input, Hook::Output].map(|hook| Chain {
        name: hook.name().to_owned(),
        hook,
        priority: PRIORITY,
        rules: Vec::new(),
    });
    for sender in senders {
        for (hook, ways) in places(aim, sender) {
            let at = match hook {
                Hook::Input => 0,
                _ => 1,
            };
            let chain = &mut chains[at];
            let mut leg = ways;
            leg.extend(leg_of(aim, sender)?);
            let place = format!("{}, sent by the {}", hook.name(), sender.name());
            // Where not all are hit: how many there were to choose from.
            if *only != Only::All {
                chain.rules.push(Rule {
                    label: format!("seen at {place}"),
                    matches: leg.clone(),
                    action: Action::Count,
                });
            }
            for (more, which) in exactly(only, aim, sender) {
                let mut matches = leg.clone();
                matches.extend(more);
                let done = done(action);
                chain.rules.push(Rule {
                    label: format!("{done} at {place}{which}"),
                    matches,
                    action,
                });
            }
        }
    }
    let table = Table {
        name: name.to_owned(),
        tag: tag.to_owned(),
        chains: chains
            .into_iter()
            .filter(|chain| !chain.rules.is_empty())
            .collect(),
    };
    if let Only::Flows(flows) = only
        && table.rules() > RULES_MAX
    {
        return Err(format!(
            "{} connections stand: expected at most {} to be named one by one",
            flows.len(),
            RULES_MAX / 2 - 2
        ));
    }
    table.check()?;
    Ok(table)
}

/// What is said of a packet that met a rule.
pub(super) fn done(action: Action) -> &'static str {
    match action {
        Action::Count => "seen",
        Action::Accept => "passed",
        Action::Forward(_) => "turned aside",
        Action::Drop => "dropped",
        Action::Reset => "reset",
        Action::Unreachable => "refused",
    }
}

/// A table that drops whatever comes or leaves by these links, of every protocol: the cable is
/// out, and who asks for a neighbour gets no answer either.
pub fn cut(name: &str, tag: &str, links: &[String]) -> Result<Table, String> {
    let mut chains = Vec::new();
    for (number, link) in links.iter().enumerate() {
        for (hook, way) in [
            (Hook::Ingress(link.clone()), "came by"),
            (Hook::Egress(link.clone()), "were to leave by"),
        ] {
            let label = format!("dropped that {way} {link}");
            chains.push(Chain {
                // Names of links hold letters that names of chains must not.
                name: format!("{}{number}", hook.name()),
                hook,
                priority: PRIORITY,
                rules: vec![Rule {
                    label,
                    matches: Vec::new(),
                    action: Action::Drop,
                }],
            });
        }
    }
    let table = Table {
        name: name.to_owned(),
        tag: tag.to_owned(),
        chains,
    };
    table.check()?;
    Ok(table)
}

/// Where packets of this sender are met, and by which link they pass there.
fn places(aim: &Aim, sender: Sender) -> Vec<(Hook, Vec<Match>)> {
    let lo = || LOOPBACK.to_owned();
    match (aim.listener, sender) {
        (Listener::Here, Sender::Opener) => vec![(Hook::Input, vec![])],
        (Listener::Here, Sender::Listener) => vec![
            (Hook::Input, vec![Match::From(lo())]),
            (Hook::Output, vec![Match::NotToward(lo())]),
        ],
        (Listener::Elsewhere, Sender::Opener) => {
            vec![(Hook::Output, vec![Match::NotToward(lo())])]
        }
        (Listener::Elsewhere, Sender::Listener) => {
            vec![(Hook::Input, vec![Match::NotFrom(lo())])]
        }
    }
}

/// What tells the packets of the leg.
fn leg_of(aim: &Aim, sender: Sender) -> Result<Vec<Match>, String> {
    let transport = aim.transport;
    let (opener, listener) = match sender {
        Sender::Opener => (Side::Source, Side::Destination),
        Sender::Listener => (Side::Destination, Side::Source),
    };
    let mut matches = Vec::new();
    if let Some(peer) = aim.peer {
        let version = match peer {
            IpNet::V4(_) => Version::V4,
            IpNet::V6(_) => Version::V6,
        };
        if aim.version.is_some_and(|said| said != version) {
            return Err(format!(
                "{peer} is no network of the version of IP that was named"
            ));
        }
        let side = match aim.listener {
            Listener::Here => opener,
            Listener::Elsewhere => listener,
        };
        matches.push(Match::Address(side, peer));
    } else if let Some(version) = aim.version {
        matches.push(Match::Version(version));
    }
    if let Some(port) = aim.port {
        matches.push(Match::Port(transport, listener, port));
    }
    if let Some(port) = aim.source_port {
        matches.push(Match::Port(transport, opener, port));
    }
    if aim.port.is_none() && aim.source_port.is_none() {
        matches.push(Match::Transport(transport));
    }
    matches.extend(aim.owner.clone());
    Ok(matches)
}

/// What tells the packets that are meant, and what is said of each kind beside.
fn exactly(only: &Only, aim: &Aim, sender: Sender) -> Vec<(Vec<Match>, String)> {
    const OPENING: Match = Match::Flags {
        of: Flags::FIN.and(Flags::SYN).and(Flags::RST).and(Flags::ACK),
        set: Flags::SYN,
    };
    let one = match only {
        Only::All => vec![],
        Only::New => vec![OPENING],
        Only::Payload => vec![Match::Payload],
        Only::Bytes {
            offset,
            value,
            mask,
        } => vec![Match::Bytes {
            offset: *offset,
            value: value.clone(),
            mask: mask.clone(),
        }],
        Only::SynAck => vec![Match::Flags {
            of: Flags::FIN.and(Flags::SYN).and(Flags::RST).and(Flags::ACK),
            set: Flags::SYN.and(Flags::ACK),
        }],
        Only::Fin => vec![Match::AnyFlag(Flags::FIN)],
        Only::Rst => vec![Match::AnyFlag(Flags::RST)],
        Only::Beyond(count) => vec![OPENING, Match::ConnectionsOver(*count)],
        Only::Flows(flows) => {
            return flows
                .iter()
                .filter_map(|(local, remote)| {
                    Some((flow(aim, sender, *local, *remote)?, local, remote))
                })
                .map(|(matches, local, remote)| (matches, format!(", {local} {remote}")))
                .collect();
        }
    };
    vec![(one, String::new())]
}

/// One connection. Where both ends stand in this namespace, it comes twice, once from either end;
/// the one that is seen from the end that listens counts.
fn flow(aim: &Aim, sender: Sender, local: SocketAddr, remote: SocketAddr) -> Option<Vec<Match>> {
    let (listener, opener) = match aim.listener {
        Listener::Here => (local, remote),
        Listener::Elsewhere => (remote, local),
    };
    if aim.port.is_some_and(|port| port != listener.port())
        || aim.source_port.is_some_and(|port| port != opener.port())
    {
        return None;
    }
    let (source, destination) = match sender {
        Sender::Opener => (opener, listener),
        Sender::Listener => (listener, opener),
    };
    let mut matches = Vec::new();
    for (side, end) in [(Side::Source, source), (Side::Destination, destination)] {
        matches.push(Match::Address(side, IpNet::from(plain(end.ip()))));
        matches.push(Match::Port(aim.transport, side, end.port()));
    }
    Some(matches)
}

/// An address of version 4 that a socket of version 6 shows is one of version 4 on the wire.
fn plain(address: IpAddr) -> IpAddr {
    address.to_canonical()
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    fn muted() -> Aim {
        Aim {
            transport: Transport::Tcp,
            listener: Listener::Here,
            sender: Some(Sender::Listener),
            port: Some(12199),
            source_port: None,
            peer: None,
            version: None,
            owner: None,
        }
    }

    #[track_caller]
    fn check(aim: &Aim, only: &Only, action: Action, expected: Expect) {
        let text = match aimed("it", "", aim, only, action) {
            Ok(table) => table
                .chains
                .iter()
                .flat_map(|chain| {
                    chain
                        .rules
                        .iter()
                        .map(|rule| format!("{}: {}\n", chain.name, rule.nft()))
                })
                .collect(),
            Err(why) => why,
        };
        expected.assert_eq(&text);
    }

    #[test]
    fn an_app_is_muted() {
        check(
            &muted(),
            &Only::All,
            Action::Drop,
            expect![[r#"
                input: iifname "lo" tcp sport 12199 counter drop comment "dropped at input, sent by the listener"
                output: oifname != "lo" tcp sport 12199 counter drop comment "dropped at output, sent by the listener"
            "#]],
        );
    }

    #[test]
    fn each_condition_has_its_place() {
        let opener = Aim {
            sender: Some(Sender::Opener),
            ..muted()
        };
        check(
            &opener,
            &Only::New,
            Action::Reset,
            expect![[r#"
                input: tcp dport 12199 counter comment "seen at input, sent by the opener"
                input: tcp dport 12199 tcp flags syn / fin,syn,rst,ack counter reject with tcp reset comment "reset at input, sent by the opener"
            "#]],
        );
        check(
            &Aim {
                listener: Listener::Elsewhere,
                peer: Some("fd00::/64".parse().unwrap()),
                source_port: Some(5),
                sender: None,
                ..muted()
            },
            &Only::Fin,
            Action::Drop,
            expect![[r#"
                input: iifname != "lo" ip6 saddr fd00::/64 tcp sport 12199 tcp dport 5 counter comment "seen at input, sent by the listener"
                input: iifname != "lo" ip6 saddr fd00::/64 tcp sport 12199 tcp dport 5 tcp flags fin counter drop comment "dropped at input, sent by the listener"
                output: oifname != "lo" ip6 daddr fd00::/64 tcp dport 12199 tcp sport 5 counter comment "seen at output, sent by the opener"
                output: oifname != "lo" ip6 daddr fd00::/64 tcp dport 12199 tcp sport 5 tcp flags fin counter drop comment "dropped at output, sent by the opener"
            "#]],
        );
        let flows = [
            "127.0.0.1:12199 127.0.0.1:40000",
            "127.0.0.1:40000 127.0.0.1:12199",
        ]
        .map(|flow| {
            let (local, remote) = flow.split_once(' ').unwrap();
            (local.parse().unwrap(), remote.parse().unwrap())
        });
        check(
            &opener,
            &Only::Flows(flows.to_vec()),
            Action::Drop,
            expect![[r#"
                input: tcp dport 12199 counter comment "seen at input, sent by the opener"
                input: tcp dport 12199 ip saddr 127.0.0.1 tcp sport 40000 ip daddr 127.0.0.1 tcp dport 12199 counter drop comment "dropped at input, sent by the opener, 127.0.0.1:12199 127.0.0.1:40000"
            "#]],
        );
    }

    #[test]
    fn what_cannot_be_is_refused() {
        check(
            &muted(),
            &Only::New,
            Action::Drop,
            expect!["such packets are sent by the opener, and the listener was named"],
        );
        check(
            &muted(),
            &Only::Rst,
            Action::Reset,
            expect!["a reset is never answered with a reset"],
        );
        check(
            &Aim {
                transport: Transport::Udp,
                ..muted()
            },
            &Only::Fin,
            Action::Drop,
            expect!["UDP has no connections: packets are not told apart"],
        );
        check(
            &Aim {
                version: Some(Version::V4),
                peer: Some("fd00::/64".parse().unwrap()),
                ..muted()
            },
            &Only::All,
            Action::Drop,
            expect!["fd00::/64 is no network of the version of IP that was named"],
        );
        let flow = (
            "10.0.0.1:12199".parse().unwrap(),
            "10.0.0.2:1".parse().unwrap(),
        );
        check(
            &muted(),
            &Only::Flows(vec![flow; 300]),
            Action::Drop,
            expect!["300 connections stand: expected at most 254 to be named one by one"],
        );
    }

    #[test]
    fn a_cut_takes_both_ways_of_each_link() {
        let table = cut("it", "", &["eth0".into(), "eth1".into()]).unwrap();
        assert!(table.of_links());
        let chains: Vec<&str> = table
            .chains
            .iter()
            .map(|chain| chain.name.as_str())
            .collect();
        assert_eq!(chains, ["ingress0", "egress0", "ingress1", "egress1"]);
        assert!(cut("it", "", &[]).is_err());
        assert!(cut("it", "", &["a name that is too long".into()]).is_err());
    }
}
