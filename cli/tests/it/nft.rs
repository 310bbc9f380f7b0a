//! Rules of nftables in networks of their own: what the kernel makes of them, and that they go
//! with whoever holds them.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};

use meshproof_fault::nft::recipe::{Aim, Listener, Only, Sender, aimed, cut};
use meshproof_fault::nft::rule::{
    Action, Chain, Flags, Hook, Match, Rule, Side, State, Table, Transport, Version,
};
use meshproof_fault::nft::table::Owned;
use meshproof_fault::nft::{limit, list};
use meshproof_sys::links::Links;
use meshproof_sys::namespaces::{Namespace, unshare};
use meshproof_sys::netlink::{self, Subsystem};

use crate::peer::{command, skipped};

/// Runs `work` on a thread with a network of its own, in which only the loopback is, and is up.
/// Where this user may have none, that is said.
pub(crate) fn alone(work: impl FnOnce() + Send + 'static) {
    let outcome = std::thread::spawn(move || {
        if let Err(error) = unshare(&[Namespace::Network]) {
            return skipped(&format!("needs a network of its own: {error}"));
        }
        let links = Links::open().unwrap();
        links.up(links.find("lo").unwrap()).unwrap();
        work();
    });
    if let Err(panic) = outcome.join() {
        std::panic::resume_unwind(panic);
    }
}

pub(crate) fn socket() -> std::os::fd::OwnedFd {
    netlink::open(Subsystem::Netfilter).unwrap()
}

pub(crate) fn tables() -> Vec<String> {
    let all = list::everything(socket()).unwrap();
    all.tables.into_iter().map(|table| table.name).collect()
}

fn rule(label: &str, matches: Vec<Match>, action: Action) -> Rule {
    Rule {
        label: label.into(),
        matches,
        action,
    }
}

/// Everything that a rule can say.
fn everything() -> Table {
    let port = |side| Match::Port(Transport::Tcp, side, 12199);
    let input = vec![
        rule(
            "ports",
            vec![port(Side::Source), port(Side::Destination)],
            Action::Drop,
        ),
        rule(
            "version",
            vec![
                Match::Version(Version::V6),
                Match::Transport(Transport::Udp),
            ],
            Action::Unreachable,
        ),
        rule(
            "links",
            vec![
                Match::From("lo".into()),
                Match::Port(Transport::Udp, Side::Destination, 53),
            ],
            Action::Count,
        ),
        rule(
            "another link",
            vec![Match::NotFrom("lo".into())],
            Action::Count,
        ),
        rule(
            "addresses",
            vec![
                Match::Address(Side::Source, "10.1.0.0/16".parse().unwrap()),
                Match::Address(Side::Destination, "10.2.3.4/32".parse().unwrap()),
            ],
            Action::Drop,
        ),
        rule(
            "addresses of version 6",
            vec![
                Match::Address(Side::Source, "fd00:1::/32".parse().unwrap()),
                Match::Address(Side::Destination, "fd00::7/128".parse().unwrap()),
            ],
            Action::Drop,
        ),
        rule(
            "flags",
            vec![Match::Flags {
                of: Flags::SYN.and(Flags::ACK),
                set: Flags::SYN,
            }],
            Action::Reset,
        ),
        rule("any flag", vec![Match::AnyFlag(Flags::FIN)], Action::Drop),
        rule(
            "payload",
            vec![port(Side::Source), Match::Payload],
            Action::Drop,
        ),
        rule(
            "bytes",
            vec![
                port(Side::Source),
                Match::Bytes {
                    offset: 0,
                    value: vec![1, 0, 0, 0, 1],
                    mask: vec![0xff; 5],
                },
            ],
            Action::Drop,
        ),
        rule("new", vec![Match::State(State::New)], Action::Count),
        rule(
            "established",
            vec![Match::State(State::Established)],
            Action::Count,
        ),
        rule(
            "many",
            vec![port(Side::Destination), Match::ConnectionsOver(2)],
            Action::Reset,
        ),
    ];
    let output = vec![
        rule("user", vec![Match::User(65534)], Action::Drop),
        rule("out", vec![Match::Toward("lo".into())], Action::Count),
        rule(
            "not out",
            vec![Match::NotToward("lo".into())],
            Action::Count,
        ),
    ];
    let chain = |hook: Hook, rules| Chain {
        name: hook.name().into(),
        hook,
        priority: -150,
        rules,
    };
    Table {
        name: "meshproof_everything".into(),
        tag: "meshproof run fault".into(),
        chains: vec![chain(Hook::Input, input), chain(Hook::Output, output)],
    }
}

/// A line of `nft list`, without what counters counted.
fn uncounted(line: &str) -> String {
    let mut words = Vec::new();
    let mut rest = line.split(' ').peekable();
    while let Some(word) = rest.next() {
        words.push(word);
        if word == "counter" {
            for _ in 0..4 {
                rest.next();
            }
        }
    }
    words.join(" ")
}

#[test]
fn nft_reads_what_is_made() {
    alone(|| {
        let Ok(version) = command("nft").arg("--version").output() else {
            return skipped("needs nft, which reads what we make");
        };
        assert!(version.status.success());
        let table = everything();
        let owned = Owned::make(socket(), table.clone()).unwrap();
        let listed = command("nft").args(["list", "ruleset"]).output().unwrap();
        let listed = String::from_utf8(listed.stdout).unwrap();
        for chain in &table.chains {
            for rule in &chain.rules {
                let expected = rule.nft();
                let found = listed
                    .lines()
                    .map(|line| uncounted(line.trim()))
                    .any(|line| line == expected);
                assert!(found, "{expected}");
            }
        }
        drop(owned);
        assert_eq!(tables(), Vec::<String>::new());
    });
}

#[test]
fn tables_go_with_their_socket() {
    alone(|| {
        let owned = Owned::make(socket(), everything()).unwrap();
        let standing = list::everything(socket()).unwrap().tables;
        assert_eq!(standing.len(), 1);
        assert_eq!(standing[0].comment.as_deref(), Some("meshproof run fault"));
        assert!(standing[0].owner.is_some());
        // Its name is taken, and it is nobody else's to remove.
        let wrong = Owned::make(socket(), everything()).unwrap_err();
        assert!(wrong.to_string().starts_with("the table: "), "{wrong}");
        owned.remove().unwrap();
        assert_eq!(tables(), Vec::<String>::new());
        drop(Owned::make(socket(), everything()).unwrap());
        assert_eq!(tables(), Vec::<String>::new());
        Owned::try_out(socket(), everything()).unwrap();
        assert_eq!(tables(), Vec::<String>::new());
    });
}

#[test]
fn a_table_is_made_whole_or_not_at_all() {
    alone(|| {
        let mut table = everything();
        table.chains[1].rules.push(rule(
            "a group that is not there",
            vec![Match::Group {
                level: 300,
                id: 1,
                path: "no/such".into(),
            }],
            Action::Drop,
        ));
        let wrong = Owned::make(socket(), table).unwrap_err();
        let text = wrong.to_string();
        assert!(
            text.starts_with("the rule `a group that is not there`: "),
            "{text}"
        );
        assert_eq!(tables(), Vec::<String>::new());
    });
}

/// Two connections to one listener.
pub(crate) struct Talk {
    pub(crate) listener: TcpListener,
    pub(crate) opener: TcpStream,
    pub(crate) accepted: TcpStream,
}

impl Talk {
    pub(crate) fn new(address: &str) -> Talk {
        let listener = TcpListener::bind(address).unwrap();
        let opener = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        Talk {
            listener,
            opener,
            accepted,
        }
    }

    fn port(&self) -> u16 {
        self.listener.local_addr().unwrap().port()
    }

    pub(crate) fn aim(&self, sender: Option<Sender>) -> Aim {
        Aim {
            transport: Transport::Tcp,
            listener: Listener::Here,
            sender,
            port: Some(self.port()),
            source_port: None,
            peer: None,
            version: None,
            owner: None,
        }
    }
}

pub(crate) fn make(aim: &Aim, only: &Only, action: Action) -> Owned {
    let table = aimed("meshproof_it", "meshproof", aim, only, action).unwrap();
    Owned::make(socket(), table).unwrap()
}

/// Packets that met rules that do something.
fn met(owned: &Owned) -> u64 {
    let counted = owned.counters().unwrap();
    assert_eq!(counted.len(), owned.table().rules());
    counted
        .iter()
        .filter(|counted| !counted.label.starts_with("seen"))
        .map(|counted| counted.packets)
        .sum()
}

/// Whether `from` says something that arrives at `to`; what does not must be sent again, and
/// is not waited for but counted.
fn arrives(mut from: &TcpStream, mut to: &TcpStream, owned: &Owned) -> bool {
    let before = met(owned);
    from.write_all(b"word").unwrap();
    to.set_nonblocking(true).unwrap();
    let outcome = loop {
        let mut word = [0; 4];
        match to.read(&mut word) {
            Ok(4) => break true,
            Ok(count) => panic!("{count} bytes of 4"),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                if met(owned) > before {
                    break false;
                }
                std::thread::yield_now();
            }
            Err(error) => panic!("{error}"),
        }
    };
    to.set_nonblocking(false).unwrap();
    outcome
}

#[test]
fn packets_of_one_direction_are_dropped_and_counted() {
    for address in ["127.0.0.1:0", "[::1]:0"] {
        alone(move || {
            let talk = Talk::new(address);
            let owned = make(
                &talk.aim(Some(Sender::Listener)),
                &Only::Payload,
                Action::Drop,
            );
            assert_eq!(met(&owned), 0);
            // The acknowledgement comes through, though it is sent by the listener.
            assert!(arrives(&talk.opener, &talk.accepted, &owned));
            assert_eq!(met(&owned), 0);
            assert!(!arrives(&talk.accepted, &talk.opener, &owned));
            assert!(met(&owned) >= 1);
            owned.remove().unwrap();
            // What was lost is sent again.
            let mut word = [0; 4];
            (&talk.opener).read_exact(&mut word).unwrap();
            assert_eq!(&word, b"word");
        });
    }
}

#[test]
fn a_rule_of_the_other_version_meets_nothing() {
    alone(|| {
        let talk = Talk::new("127.0.0.1:0");
        let aim = Aim {
            version: Some(Version::V6),
            ..talk.aim(None)
        };
        let owned = make(&aim, &Only::All, Action::Drop);
        assert!(arrives(&talk.opener, &talk.accepted, &owned));
        assert_eq!(met(&owned), 0);
    });
}

#[test]
fn either_end_can_be_left_half_open() {
    alone(|| {
        for (sender, hurt) in [(Sender::Opener, 0), (Sender::Listener, 1)] {
            let talk = Talk::new("127.0.0.1:0");
            let owned = make(&talk.aim(Some(sender)), &Only::Payload, Action::Reset);
            let ends = [&talk.opener, &talk.accepted];
            let mut speaks = ends[hurt];
            speaks.write_all(b"word").unwrap();
            let error = speaks.read(&mut [0]).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
            assert_eq!(met(&owned), 1);
            // The other one has heard of nothing.
            let mut stays = ends[1 - hurt];
            stays.set_nonblocking(true).unwrap();
            let nothing = stays.read(&mut [0]).unwrap_err();
            assert_eq!(nothing.kind(), io::ErrorKind::WouldBlock);
            owned.remove().unwrap();
        }
    });
}

/// Begins to connect, and returns with it under way.
fn begins(to: SocketAddr) -> std::os::fd::OwnedFd {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, socket_with};
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::INET, SocketType::STREAM, flags, None).unwrap();
    let begun = connect(&socket, &to);
    assert_eq!(begun, Err(rustix::io::Errno::INPROGRESS));
    socket
}

#[test]
fn only_new_connections_are_hit() {
    alone(|| {
        let talk = Talk::new("127.0.0.1:0");
        let to = talk.listener.local_addr().unwrap();
        let owned = make(&talk.aim(None), &Only::New, Action::Drop);
        let _waiting = begins(to);
        assert_eq!(met(&owned), 1);
        assert!(arrives(&talk.opener, &talk.accepted, &owned));
        assert!(arrives(&talk.accepted, &talk.opener, &owned));
        owned.remove().unwrap();
        let owned = make(&talk.aim(None), &Only::New, Action::Reset);
        let refused = TcpStream::connect(to).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        assert_eq!(met(&owned), 1);
    });
}

#[test]
fn only_connections_that_stand_are_hit() {
    alone(|| {
        let talk = Talk::new("127.0.0.1:0");
        let to = talk.listener.local_addr().unwrap();
        let from = talk.opener.local_addr().unwrap();
        let only = Only::Flows(vec![(to, from)]);
        let owned = make(&talk.aim(Some(Sender::Listener)), &only, Action::Drop);
        assert!(!arrives(&talk.accepted, &talk.opener, &owned));
        let opener = TcpStream::connect(to).unwrap();
        let (accepted, _) = talk.listener.accept().unwrap();
        // Time that the first one needs to send again must not be counted for the second.
        let before = met(&owned);
        (&accepted).write_all(b"word").unwrap();
        let mut word = [0; 4];
        (&opener).read_exact(&mut word).unwrap();
        assert_eq!(&word, b"word");
        assert!(before >= 1);
    });
}

#[test]
fn the_answer_to_the_first_packet_is_lost_alone() {
    alone(|| {
        let talk = Talk::new("127.0.0.1:0");
        let owned = make(&talk.aim(None), &Only::SynAck, Action::Drop);
        let waiting = begins(talk.listener.local_addr().unwrap());
        assert_eq!(met(&owned), 1);
        assert!(arrives(&talk.accepted, &talk.opener, &owned));
        drop(waiting);
    });
}

#[test]
fn the_end_is_lost_alone() {
    alone(|| {
        let talk = Talk::new("127.0.0.1:0");
        let owned = make(&talk.aim(Some(Sender::Listener)), &Only::Fin, Action::Drop);
        assert!(arrives(&talk.accepted, &talk.opener, &owned));
        talk.accepted.shutdown(std::net::Shutdown::Write).unwrap();
        assert_eq!(met(&owned), 1);
        talk.opener.set_nonblocking(true).unwrap();
        let open = (&talk.opener).read(&mut [0]).unwrap_err();
        assert_eq!(open.kind(), io::ErrorKind::WouldBlock);
    });
}

#[test]
fn bytes_of_a_frame_are_met_where_they_stand() {
    alone(|| {
        let talk = Talk::new("127.0.0.1:0");
        let only = Only::Bytes {
            offset: 0,
            value: vec![1, 0, 0, 0, 1],
            mask: vec![0xff; 5],
        };
        let owned = make(&talk.aim(Some(Sender::Listener)), &only, Action::Drop);
        (&talk.accepted).write_all(&[1, 0, 0, 1, 1]).unwrap();
        let mut frame = [0; 5];
        (&talk.opener).read_exact(&mut frame).unwrap();
        assert_eq!(met(&owned), 0);
        (&talk.accepted).write_all(&[1, 0, 0, 0, 1, 9]).unwrap();
        assert_eq!(met(&owned), 1);
    });
}

#[test]
fn a_cut_link_carries_nothing() {
    alone(|| {
        let talk = Talk::new("127.0.0.1:0");
        let table = cut("meshproof_cut", "", &["lo".into()]).unwrap();
        let owned = Owned::make(socket(), table).unwrap();
        let _waiting = begins(talk.listener.local_addr().unwrap());
        assert!(met(&owned) >= 1);
        assert!(!arrives(&talk.opener, &talk.accepted, &owned));
        owned.remove().unwrap();
        let mut word = [0; 4];
        (&talk.accepted).read_exact(&mut word).unwrap();
    });
}

#[test]
fn connections_beyond_a_number_are_refused() {
    alone(|| {
        for beyond in 0..4 {
            let talk = Talk::new("127.0.0.1:0");
            let to = talk.listener.local_addr().unwrap();
            let owned = make(&talk.aim(None), &Only::Beyond(beyond), Action::Reset);
            let mut open = Vec::new();
            let mut refused = 0;
            for _ in 0..6 {
                match TcpStream::connect(to) {
                    Ok(opener) => open.push((opener, talk.listener.accept().unwrap())),
                    Err(error) => {
                        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
                        refused += 1;
                    }
                }
            }
            assert_eq!(
                (open.len() as u32, refused),
                (beyond, u64::from(6 - beyond))
            );
            assert_eq!(met(&owned), refused);
        }
        assert_eq!(limit::self_test(), Ok(()));
    });
}

/// All orders of so many.
fn orders(count: usize) -> Vec<Vec<usize>> {
    if count == 0 {
        return vec![Vec::new()];
    }
    let mut all = Vec::new();
    for order in orders(count - 1) {
        for at in 0..=order.len() {
            let mut longer = order.clone();
            longer.insert(at, count - 1);
            all.push(longer);
        }
    }
    all
}

#[test]
fn four_that_overlap_are_healed_in_every_order() {
    /// What each does, and to whom: each has a port of its own and the first has all.
    fn overlapping(ports: &[u16]) -> Vec<Owned> {
        ports
            .iter()
            .enumerate()
            .map(|(number, port)| {
                let aim = Aim {
                    transport: Transport::Udp,
                    listener: Listener::Here,
                    sender: Some(Sender::Opener),
                    port: Some(*port),
                    source_port: None,
                    peer: (number == 1).then(|| "127.0.0.0/8".parse().unwrap()),
                    version: (number == 2).then_some(Version::V4),
                    owner: None,
                };
                let only = if number == 3 {
                    Only::Payload
                } else {
                    Only::All
                };
                let name = format!("meshproof_{number}");
                let table = aimed(&name, "", &aim, &only, Action::Drop).unwrap();
                Owned::make(socket(), table).unwrap()
            })
            .collect()
    }
    alone(|| {
        let receivers: Vec<UdpSocket> = (0..4)
            .map(|_| UdpSocket::bind("127.0.0.1:0").unwrap())
            .collect();
        let ports: Vec<u16> = receivers
            .iter()
            .map(|receiver| receiver.local_addr().unwrap().port())
            .collect();
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        let all = orders(4);
        assert_eq!(all.len(), 24);
        for order in all {
            let mut held: Vec<Option<Owned>> = overlapping(&ports).into_iter().map(Some).collect();
            for healed in &order {
                held[*healed].take().unwrap().remove().unwrap();
                let names: Vec<String> = tables();
                assert_eq!(
                    names.len(),
                    held.iter().flatten().count(),
                    "{order:?}: {names:?}"
                );
                for (number, receiver) in receivers.iter().enumerate() {
                    let to = receiver.local_addr().unwrap();
                    let before = held[number].as_ref().map(met);
                    sender.send_to(b"word", to).unwrap();
                    match (&held[number], before) {
                        // Those that are not healed do what they did.
                        (Some(owned), Some(before)) => assert_eq!(met(owned), before + 1),
                        _ => assert_eq!(receiver.recv(&mut [0; 9]).unwrap(), 4),
                    }
                }
            }
            assert_eq!(tables(), Vec::<String>::new(), "{order:?}");
        }
    });
}
