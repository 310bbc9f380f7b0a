//! Faults by rules of iptables: what they do, what shows it, and that nothing of them is left.
//!
//! Each test has a network and a `/run` of its own: those of a thread, and of what it starts.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, ChildStdout, Output, Stdio};
use std::time::Duration;

use meshproof_fault::iptables::journal::Journal;
use meshproof_fault::{
    Ending, Error, Evidence, Fault, Healed, Here, Lease, Scene, Spec, iptables, leftovers,
};
use meshproof_record::verdict::Verdict;
use meshproof_sys::clock::Nanos;
use meshproof_sys::links::Links;
use meshproof_sys::mounts;
use meshproof_sys::namespaces::{Namespace, unshare};
use rustix::event::{PollFd, PollFlags};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};

use crate::environment::{LONG, wait_for};
use crate::peer::{command, skipped};

/// Longer than any test.
const HOUR: Duration = Duration::from_secs(3600);

/// Runs a test in a network and a `/run` of its own, where that is possible.
fn in_a_box(test: impl FnOnce() + Send) {
    for tool in ["iptables-nft-restore", "iptables-legacy-restore"] {
        if !Path::new("/usr/sbin").join(tool).exists() {
            return skipped(&format!("needs {tool}: apt-get install iptables"));
        }
    }
    std::thread::scope(|scope| {
        let inside = scope.spawn(|| {
            if let Err(error) = unshare(&[Namespace::Network, Namespace::Mount]) {
                return skipped(&format!("needs root for a network of its own: {error}"));
            }
            mounts::make_private().unwrap();
            mounts::tmpfs(Path::new("/run")).unwrap();
            let links = Links::open().unwrap();
            links.up(links.find("lo").unwrap()).unwrap();
            test();
        });
        if let Err(panic) = inside.join() {
            std::panic::resume_unwind(panic);
        }
    });
}

fn ground() -> Here {
    Here {
        program: vec![env!("CARGO_BIN_EXE_meshproof").into()],
    }
}

fn try_lease(yaml: &str, limit: Duration) -> Result<Lease, Error> {
    let spec = Spec::parse("fault.yaml", yaml).unwrap_or_else(|problem| panic!("{problem}"));
    let lease = spec.id.as_ref().map_or("one", |id| id.as_str()).to_owned();
    let scene = Scene {
        control: None,
        run: "test".into(),
        lease,
        process: None,
    };
    Fault { spec, scene }.preflight(&ground())?.apply(limit)
}

fn lease(yaml: &str) -> Lease {
    try_lease(yaml, HOUR).unwrap_or_else(|error| panic!("{yaml}: {error}"))
}

/// Looks until something has met the fault.
fn met(lease: &mut Lease) -> Evidence {
    let end = Nanos::now() + LONG;
    loop {
        let evidence = lease.evidence().unwrap();
        if !evidence.is_empty() {
            return evidence;
        }
        assert!(Nanos::now() < end, "nothing met it: {evidence:?}");
    }
}

/// Heals; nothing must be left of it, by its own word and by that of the tools.
fn heal(lease: Lease) -> Healed {
    let healed = lease.heal().unwrap();
    assert!(healed.residue.is_empty(), "{healed:?}");
    assert_eq!(healed.evidence.ending, Some(Ending::Healed));
    healed
}

fn nothing_is_left() {
    let (rules, looked_at) = iptables::all_rules();
    assert!(rules.iter().all(|rule| !rule.ours), "{rules:?}");
    assert_eq!(looked_at.len(), 4, "{looked_at:?}");
    let journal = Journal::open().unwrap();
    assert!(journal.folder().starts_with("/run"));
    assert_eq!(journal.entries().unwrap(), []);
    let tables = command("nft").args(["list", "ruleset"]).output();
    if let Ok(tables) = tables {
        assert_eq!(String::from_utf8_lossy(&tables.stdout), "");
    }
}

/// Two ends of a connection over the loopback.
struct Pair {
    listener: TcpListener,
    client: TcpStream,
    server: TcpStream,
}

impl Pair {
    fn new(at: SocketAddr) -> Pair {
        let listener = TcpListener::bind(at).unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (server, _) = listener.accept().unwrap();
        for end in [&client, &server] {
            end.set_read_timeout(Some(LONG)).unwrap();
            end.set_nodelay(true).unwrap();
        }
        Pair {
            listener,
            client,
            server,
        }
    }

    fn port(&self) -> u16 {
        self.listener.local_addr().unwrap().port()
    }
}

/// A byte goes from one end to the other.
fn goes(mut from: &TcpStream, mut to: &TcpStream) {
    from.write_all(b"x").unwrap();
    let mut heard = [0];
    to.read_exact(&mut heard).unwrap();
}

/// Nothing is there to be read, nor is there an end.
fn is_silent(mut end: &TcpStream) {
    end.set_nonblocking(true).unwrap();
    let read = end.read(&mut [0]);
    assert_eq!(read.unwrap_err().kind(), ErrorKind::WouldBlock);
    end.set_nonblocking(false).unwrap();
}

fn is_reset(mut end: &TcpStream) {
    let read = end.read(&mut [0]);
    assert_eq!(read.unwrap_err().kind(), ErrorKind::ConnectionReset);
}

const LOCAL_V4: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
const LOCAL_V6: SocketAddr = SocketAddr::new(std::net::IpAddr::V6(Ipv6Addr::LOCALHOST), 0);

/// Each kind by rules, both kinds of iptables, both families.
fn for_each(test: impl Fn(&str, &Pair) + Sync) {
    in_a_box(|| {
        for way in ["iptables-nft", "iptables-legacy"] {
            for at in [LOCAL_V4, LOCAL_V6] {
                let pair = Pair::new(at);
                let version = if at.is_ipv4() { "v4" } else { "v6" };
                let port = pair.port();
                let rest = format!("port: {port}, ip: {version}, way: {way}");
                test(&rest, &pair);
                nothing_is_left();
            }
        }
    });
}

#[test]
fn what_one_side_sends_is_lost_and_comes_after_healing() {
    for_each(|rest, pair| {
        for only in ["", ", only: payload", ", only: established"] {
            goes(&pair.server, &pair.client);
            let mut lease = lease(&format!("{{kind: drop, from: app, {rest}{only}}}"));
            assert!(lease.plan().flows_all > 0);
            (&pair.server).write_all(b"y").unwrap();
            let evidence = met(&mut lease);
            assert_eq!(evidence.claim("x").verdict, Verdict::Pass);
            is_silent(&pair.client);
            // The other way nothing is lost.
            goes(&pair.client, &pair.server);
            if only == ", only: established" {
                let late = TcpStream::connect(pair.listener.local_addr().unwrap()).unwrap();
                let (there, _) = pair.listener.accept().unwrap();
                late.set_read_timeout(Some(LONG)).unwrap();
                goes(&there, &late);
            }
            let healed = heal(lease);
            assert!(healed.evidence.met() >= evidence.met());
            (&pair.client).read_exact(&mut [0]).unwrap();
        }
    });
}

#[test]
fn a_reset_leaves_the_other_end_half_open() {
    in_a_box(|| {
        for way in ["iptables-nft", "iptables-legacy"] {
            for (at, version) in [(LOCAL_V4, "v4"), (LOCAL_V6, "v6")] {
                for from in ["client", "server"] {
                    let pair = Pair::new(at);
                    let (sender, other) = match from {
                        "client" => (&pair.client, &pair.server),
                        _ => (&pair.server, &pair.client),
                    };
                    let mut lease = lease(&format!(
                        "{{kind: reject, from: {from}, port: {}, ip: {version}, way: {way}}}",
                        pair.port()
                    ));
                    (&*sender).write_all(b"x").unwrap();
                    is_reset(sender);
                    is_silent(other);
                    assert_eq!(met(&mut lease).met(), 1);
                    heal(lease);
                    nothing_is_left();
                }
            }
        }
    });
}

#[test]
fn openings_fail_while_what_stands_goes_on() {
    for_each(|rest, pair| {
        let at = pair.listener.local_addr().unwrap();
        for fault in [
            "kind: drop, only: new, to: app",
            "kind: drop, only: syn-ack, from: app",
        ] {
            let mut lease = lease(&format!("{{{fault}, {rest}}}"));
            std::thread::scope(|scope| {
                let late = scope.spawn(move || TcpStream::connect(at));
                met(&mut lease);
                goes(&pair.client, &pair.server);
                goes(&pair.server, &pair.client);
                assert!(!late.is_finished());
                heal(lease);
                // TCP tries again.
                late.join().unwrap().unwrap();
            });
            let _ = pair.listener.accept().unwrap();
        }
    });
}

#[test]
fn an_end_is_lost_and_comes_after_healing() {
    for_each(|rest, pair| {
        let mut lease = lease(&format!("{{kind: drop, only: fin, from: app, {rest}}}"));
        goes(&pair.server, &pair.client);
        pair.server.shutdown(Shutdown::Write).unwrap();
        met(&mut lease);
        is_silent(&pair.client);
        heal(lease);
        assert_eq!((&pair.client).read(&mut [0]).unwrap(), 0);
    });
}

#[test]
fn so_many_connections_and_no_more() {
    for_each(|rest, pair| {
        let mut lease = lease(&format!("{{kind: limit, connections: 2, {rest}}}"));
        let at = pair.listener.local_addr().unwrap();
        let opened: Vec<_> = (0..4).map(|_| TcpStream::connect(at)).collect();
        let stand = opened.iter().filter(|it| it.is_ok()).count();
        assert_eq!(stand, 2, "{opened:?}");
        assert_eq!(met(&mut lease).met(), 2);
        // One that stood before is not counted, and goes on.
        goes(&pair.client, &pair.server);
        heal(lease);
    });
}

#[test]
fn one_connection_by_its_source_port() {
    for_each(|rest, pair| {
        let other = TcpStream::connect(pair.listener.local_addr().unwrap()).unwrap();
        let (there, _) = pair.listener.accept().unwrap();
        there.set_read_timeout(Some(LONG)).unwrap();
        let port = pair.client.local_addr().unwrap().port();
        let mut lease = lease(&format!("{{kind: drop, source_port: {port}, {rest}}}"));
        assert_eq!(lease.plan().flows_all, 1);
        (&pair.client).write_all(b"x").unwrap();
        met(&mut lease);
        is_silent(&pair.server);
        goes(&other, &there);
        heal(lease);
    });
}

/// What a fault that is inert says of itself.
fn inert(yaml: &str, traffic: impl FnOnce(), expected: &str) {
    let lease = lease(yaml);
    traffic();
    let healed = heal(lease);
    let claim = healed.evidence.claim("inert");
    assert_eq!(claim.verdict, Verdict::Invalid, "{claim:?}");
    assert!(claim.why.contains(expected), "{claim:?}");
}

#[expect(clippy::disallowed_methods, reason = "tools are asked here")]
fn tool(program: &str, arguments: &str) -> Output {
    std::process::Command::new(program)
        .args(arguments.split_whitespace())
        .output()
        .unwrap()
}

#[test]
fn inert_faults_are_invalid() {
    in_a_box(|| {
        let (four, six) = (Pair::new(LOCAL_V4), Pair::new(LOCAL_V6));
        inert(
            "{kind: drop, port: 9, way: iptables-nft}",
            || goes(&four.client, &four.server),
            "0 of 6 counters moved; no live connection matches",
        );
        inert(
            &format!(
                "{{kind: drop, port: {}, ip: v4, way: iptables-nft}}",
                six.port()
            ),
            || goes(&six.client, &six.server),
            "1 to the same port do not: 0 of IPv4, 1 of IPv6",
        );
        let port = four.port();
        for way in ["iptables-nft", "iptables-legacy"] {
            inert(
                &format!("{{kind: drop, port: {port}, from: app, ip: v4, way: {way}}}"),
                || {
                    let accept = format!("-w -I INPUT 1 -p tcp --sport {port} -j ACCEPT");
                    assert!(tool(way, &accept).status.success());
                    goes(&four.server, &four.client);
                },
                "1 rules stand before it in INPUT by now",
            );
            let accept = format!("-w -D INPUT -p tcp --sport {port} -j ACCEPT");
            assert!(tool(way, &accept).status.success());
        }
        // What the other kind redirects never comes by the port that is meant.
        let service = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let to = service.local_addr().unwrap().port();
        let redirect =
            format!("-w -t nat -A OUTPUT -p tcp --dport 9999 -j REDIRECT --to-ports {to}");
        assert!(tool("iptables-legacy", &redirect).status.success());
        inert(
            "{kind: drop, port: 9999, to: app, ip: v4, way: iptables-nft}",
            || {
                let client = TcpStream::connect((Ipv4Addr::LOCALHOST, 9999)).unwrap();
                let (server, _) = service.accept().unwrap();
                goes(&client, &server);
            },
            "1 rules of iptables-legacy stand beside it",
        );
        // A host that uses the old kind gets rules of that kind.
        let spec = Spec::parse("fault.yaml", "{kind: drop, port: 9999}").unwrap();
        let scene = Scene {
            control: None,
            run: "test".into(),
            lease: "one".into(),
            process: None,
        };
        let ways: Vec<Box<dyn meshproof_fault::Backend>> = vec![
            Box::new(iptables::Iptables::NFT),
            Box::new(iptables::Iptables::LEGACY),
        ];
        let (_, plan) = meshproof_fault::choose::choose(&ways, &spec, &scene).unwrap();
        assert_eq!(
            plan.way,
            meshproof_fault::Way::IptablesLegacy,
            "{}",
            plan.why
        );
    });
}

/// All orders of four.
fn orders() -> Vec<Vec<usize>> {
    let mut orders: Vec<Vec<usize>> = vec![Vec::new()];
    for _ in 0..4 {
        orders = orders
            .iter()
            .flat_map(|order| {
                let rest = (0..4).filter(|it| !order.contains(it));
                rest.map(|next| [order.as_slice(), &[next]].concat())
            })
            .collect();
    }
    assert_eq!(orders.len(), 24);
    orders
}

#[test]
fn what_overlaps_in_four_ways_is_healed_in_any_order() {
    in_a_box(|| {
        let pair = Pair::new(LOCAL_V4);
        let port = pair.port();
        let mut program = command("cat").stdin(Stdio::piped()).spawn().unwrap();
        let held = || {
            let status = std::fs::read_to_string(format!("/proc/{}/status", program.id()));
            !status.unwrap().contains("TracerPid:\t0\n")
        };
        let rules = |way: &str| {
            let rules = iptables::all_rules().0;
            let mut jumps = rules.iter().filter(|rule| {
                rule.ours && rule.text.starts_with(way) && rule.text.contains("-A INPUT ")
            });
            jumps.next().is_some()
        };
        let tables = || {
            let tables = crate::nft::tables();
            tables.iter().any(|name| name.starts_with("meshproof"))
        };
        for order in orders() {
            let of = |way: &str| {
                lease(&format!(
                    "{{id: {way}, kind: drop, port: {port}, way: {way}}}"
                ))
            };
            let spec = Spec::parse("fault.yaml", "{kind: pause}").unwrap();
            let pause = Fault {
                spec,
                scene: Scene {
                    run: "test".into(),
                    lease: "pause".into(),
                    process: Some(program.id()),
                    control: None,
                },
            };
            let pause = pause.preflight(&ground()).unwrap().apply(HOUR).unwrap();
            let [nft, over_nft, legacy] = ["nft-owner", "iptables-nft", "iptables-legacy"].map(of);
            let mut leases = [nft, over_nft, legacy, pause].map(Some);
            for at in &order {
                let stands = [
                    tables(),
                    rules("iptables-nft"),
                    rules("iptables-legacy"),
                    held(),
                ];
                let should: Vec<bool> = leases.iter().map(Option::is_some).collect();
                assert_eq!(stands[..], should, "{order:?} at {at}");
                heal(leases[*at].take().unwrap());
            }
            assert!(!tables() && !held(), "{order:?}");
            nothing_is_left();
        }
        goes(&pair.client, &pair.server);
        program.kill().unwrap();
        program.wait().unwrap();
    });
}

#[test]
fn what_overlaps_is_healed_in_any_order() {
    in_a_box(|| {
        let pair = Pair::new(LOCAL_V4);
        let port = pair.port();
        for order in orders() {
            let mut leases: Vec<Option<Lease>> = ["drop", "reject", "drop", "drop"]
                .iter()
                .enumerate()
                .map(|(at, kind)| {
                    let way = ["iptables-nft", "iptables-legacy"][at % 2];
                    let yaml =
                        format!("{{id: f{at}, kind: {kind}, port: {port}, ip: v4, way: {way}}}");
                    Some(lease(&yaml))
                })
                .collect();
            let jumps = || {
                let rules = iptables::all_rules().0;
                let ours = rules.iter().filter(|rule| rule.ours);
                ours.filter(|rule| rule.text.contains("filter -A INPUT "))
                    .count()
            };
            for (healed, at) in order.iter().enumerate() {
                assert_eq!(jumps(), 4 - healed, "{order:?}");
                heal(leases[*at].take().unwrap());
            }
            nothing_is_left();
        }
        goes(&pair.client, &pair.server);
    });
}

#[test]
fn a_fault_ends_with_its_time_and_without_a_trace() {
    in_a_box(|| {
        let pair = Pair::new(LOCAL_V4);
        let yaml = format!("{{kind: drop, port: {}, way: iptables-nft}}", pair.port());
        let since = Nanos::now();
        let lease = try_lease(&yaml, Duration::from_millis(50)).unwrap();
        let healed = lease.wait().unwrap();
        assert_eq!(healed.evidence.ending, Some(Ending::Limit));
        assert!(Nanos::now() >= since + Duration::from_millis(50));
        assert!(healed.residue.is_empty());
        nothing_is_left();
        // Nor does one that is forgotten stay.
        drop(lease_of(&yaml));
        nothing_is_left();
        // Two of one name are refused, and the first one stands.
        let first = lease_of(&yaml);
        let told = try_lease(&yaml, HOUR).map(drop).unwrap_err().to_string();
        assert!(told.contains("a fault `one` is in the journal"), "{told}");
        heal(first);
        let exact = "{kind: drop, frame: heartbeat, port: 1}";
        let told = try_lease(exact, HOUR).map(drop).unwrap_err().to_string();
        assert!(told.contains("no way does exactly"), "{told}");
    });
}

fn lease_of(yaml: &str) -> Lease {
    lease(yaml)
}

/// `meshproof fault inject` that runs, and its keeper.
struct Injecting {
    child: Child,
    keeper: u32,
    out: BufReader<ChildStdout>,
}

impl Injecting {
    fn begin(yaml: &str, time: &str) -> Injecting {
        Injecting::begin_at(yaml, time, &["--host", "--yes"])
    }

    fn begin_at(yaml: &str, time: &str, place: &[&str]) -> Injecting {
        let mut child = command(env!("CARGO_BIN_EXE_meshproof"))
            .args(["fault", "inject", yaml, "--for", time])
            .args(place)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let in_force = (&mut out)
            .lines()
            .map_while(Result::ok)
            .any(|line| line.contains(" is in force"));
        assert!(in_force);
        let entries = Journal::open().unwrap().entries().unwrap();
        let journalled = entries.first().map(|entry| entry.keeper);
        Injecting {
            child,
            keeper: journalled.unwrap_or_else(|| leftovers::keepers()[0].pid),
            out,
        }
    }

    /// Kills it and its keeper: nobody can heal any more.
    fn lose(&mut self) {
        let keeper = handle(self.keeper);
        rustix::process::pidfd_send_signal(&keeper, Signal::KILL).unwrap();
        self.signal(Signal::KILL);
        self.child.wait().unwrap();
        ended(self.keeper, keeper);
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }
}

/// Waits for the end of a process.
fn ended(pid: u32, handle: impl std::os::fd::AsFd) {
    let limit = rustix::event::Timespec {
        tv_sec: 60,
        tv_nsec: 0,
    };
    let mut watched = [PollFd::new(&handle, PollFlags::IN)];
    let ready = wait_for(&mut watched, Some(&limit));
    assert_eq!(ready, 1, "process {pid} did not end");
}

fn handle(pid: u32) -> std::os::fd::OwnedFd {
    pidfd(pid).unwrap()
}

fn pidfd(pid: u32) -> rustix::io::Result<std::os::fd::OwnedFd> {
    let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    pidfd_open(pid, PidfdFlags::empty())
}

/// `meshproof fault`, to its end.
fn meshproof(words: &[&str]) -> (Option<i32>, String) {
    let output = command(env!("CARGO_BIN_EXE_meshproof"))
        .arg("fault")
        .args(words)
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    (
        output.status.code(),
        String::from_utf8_lossy(&text).into_owned(),
    )
}

#[test]
fn a_run_that_is_killed_or_stopped_leaves_nothing() {
    in_a_box(|| {
        for way in ["iptables-nft", "iptables-legacy"] {
            let yaml = format!("{{kind: drop, port: 9, way: {way}}}");
            // Killed: at once. Stopped: after some silence, or with its time.
            for (signal, time) in [
                (Signal::KILL, "10m"),
                (Signal::STOP, "10m"),
                // Long enough to be found before it is over.
                (Signal::STOP, "2s"),
            ] {
                let mut run = Injecting::begin(&yaml, time);
                let keeper = pidfd(run.keeper);
                run.signal(signal);
                match keeper {
                    Ok(keeper) => ended(run.keeper, keeper),
                    // On a machine that is held up its time was over before.
                    Err(error) => assert_eq!(error, rustix::io::Errno::SRCH),
                }
                nothing_is_left();
                run.signal(Signal::KILL);
                run.child.wait().unwrap();
            }
        }
    });
}

#[test]
fn what_is_left_when_all_are_killed_is_listed_and_healed() {
    in_a_box(|| {
        for way in ["iptables-nft", "iptables-legacy"] {
            let yaml = format!("{{id: lost, kind: drop, port: 9, way: {way}}}");
            let mut run = Injecting::begin(&yaml, "10m");
            assert_eq!(leftovers::survey().left, []);
            run.lose();
            let (code, told) = meshproof(&["residue"]);
            assert_eq!(code, Some(1), "{told}");
            assert!(told.contains("journal of meshproof: lost: drop"), "{told}");
            assert!(told.contains("-j MP-lost"), "{told}");
            let (code, told) = meshproof(&["heal", "lost"]);
            assert_eq!(code, Some(0), "{told}");
            assert!(told.contains("its keeper was dead; healed"), "{told}");
            let (code, told) = meshproof(&["residue"]);
            assert_eq!(code, Some(0), "{told}");
            nothing_is_left();
            // Where the journal is lost as well, the comments still tell.
            let mut run = Injecting::begin(&yaml, "10m");
            run.lose();
            Journal::open().unwrap().remove("lost").unwrap();
            let (code, told) = meshproof(&["heal", "--all"]);
            assert_eq!(code, Some(0), "{told}");
            assert!(told.contains("MP-lost"), "{told}");
            let (rules, _) = iptables::all_rules();
            assert!(rules.iter().all(|rule| !rule.ours), "{rules:?}");
            let path = Journal::open().unwrap().folder().to_path_buf();
            std::fs::remove_dir_all(path).unwrap();
            // An empty table, of which nobody knows any more who made it.
            let _ = tool("nft", "delete table ip filter");
            let _ = tool("nft", "delete table ip6 filter");
        }
    });
}

#[test]
fn one_in_force_is_healed_from_elsewhere() {
    in_a_box(|| {
        for way in ["iptables-nft", "nft-owner"] {
            let yaml = format!("{{id: far, kind: drop, port: 9, way: {way}}}");
            let mut run = Injecting::begin(&yaml, "10m");
            let survey = leftovers::survey();
            assert!(survey.in_force[0].starts_with("far: "), "{survey:?}");
            assert_eq!(
                meshproof(&["heal", "far"]),
                (Some(0), "far: healed by its keeper\n".into())
            );
            // Nothing had met it.
            let mut said = String::new();
            run.out.read_to_string(&mut said).unwrap();
            assert!(said.starts_with("INVALID"), "{said}");
            assert!(
                said.contains("because its keeper was told to end"),
                "{said}"
            );
            assert_eq!(run.child.wait().unwrap().code(), Some(3));
            nothing_is_left();
        }
    });
}

/// Runs it in a network that is neither the machine's nor that of the box; `/run` is that of the
/// box.
fn from_another_network<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let inside = scope.spawn(|| {
            unshare(&[Namespace::Network]).unwrap();
            work()
        });
        inside.join().unwrap()
    })
}

#[test]
fn a_fault_is_put_into_the_network_of_a_process() {
    in_a_box(|| {
        let mut inhabitant = command("cat").stdin(Stdio::piped()).spawn().unwrap();
        let pid = inhabitant.id().to_string();
        let yaml = "{id: far, kind: drop, port: 9, way: iptables-nft}";
        let ours = || iptables::all_rules().0.iter().any(|rule| rule.ours);
        let mut run = from_another_network(|| Injecting::begin_at(yaml, "10m", &["--pid", &pid]));
        assert!(ours());
        let (code, told) = from_another_network(|| meshproof(&["residue"]));
        assert_eq!(code, Some(0), "{told}");
        run.lose();
        assert!(ours());
        // Whoever heals it finds the network by those who are in it.
        let (code, told) = from_another_network(|| meshproof(&["heal", "far"]));
        assert_eq!(code, Some(0), "{told}");
        assert!(told.contains("its keeper was dead; healed"), "{told}");
        nothing_is_left();
        let (code, told) = meshproof(&["heal", "far"]);
        assert_eq!(code, Some(2), "{told}");
        assert!(
            told.contains("no fault is called `far`: there is none"),
            "{told}"
        );
        drop(inhabitant.stdin.take());
        inhabitant.wait().unwrap();
    });
}

#[test]
fn a_fault_is_put_into_a_pod() {
    for tool in ["iptables-nft-restore", "iptables-nft-save"] {
        if !Path::new("/usr/sbin").join(tool).exists() {
            return skipped(&format!("needs {tool}: apt-get install iptables"));
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let runs = folder.path().to_str().unwrap();
    let env = |words: &[&str]| {
        let (verb, rest) = words.split_first().unwrap();
        command(env!("CARGO_BIN_EXE_meshproof"))
            .args(["env", verb, "--runs", runs])
            .args(rest)
            .output()
            .unwrap()
    };
    let up = env(&[
        "up",
        "--pods",
        "a,b",
        "--backend",
        "netns",
        "--detach",
        "--for",
        "10m",
    ]);
    if up.status.code() == Some(4) {
        return skipped("needs namespaces");
    }
    assert!(up.status.success(), "{up:?}");
    let fault = |verb: &str, rest: &[&str]| {
        let words = [&[verb], rest, &["--pod", "a", "--runs", runs]].concat();
        meshproof(&words)
    };
    let yaml = "{kind: drop, from: app, port: 12199, way: iptables-nft}";
    let (code, told) = fault("plan", &[yaml]);
    assert_eq!(code, Some(0), "{told}");
    for expected in [
        "(pod a)",
        "iptables-nft was asked for",
        "ip6tables-nft -I INPUT 1 -p tcp -i lo -m tcp --sport 12199",
        "meets  no connection that stands",
    ] {
        assert!(told.contains(expected), "{expected}: {told}");
    }
    let (code, told) = fault("inject", &[yaml, "--for", "100ms"]);
    assert_eq!(code, Some(3), "{told}");
    assert!(told.contains("INVALID  fault effect"), "{told}");
    assert!(told.contains("PASS     residue"), "{told}");
    let (code, told) = fault("inject", &[yaml]);
    assert_eq!(code, Some(2), "{told}");
    assert!(told.contains("a fault needs a time"), "{told}");
    let (code, told) = fault("residue", &[]);
    assert_eq!(code, Some(0), "{told}");
    assert!(told.starts_with("0 left behind"), "{told}");
    assert!(env(&["down"]).status.success());
}

#[test]
fn what_cannot_be_done_is_said() {
    for (words, code, expected) in [
        (
            vec!["inject", "{kind: drop, port: 1}", "--for", "1s"],
            2,
            "name the place",
        ),
        (
            vec![
                "inject",
                "{kind: drop, frame: heartbeat, port: 1}",
                "--host",
                "--yes",
                "--for",
                "1s",
            ],
            2,
            "a dropped packet is not a dropped frame",
        ),
        (
            vec!["plan", "{kind: drpo, port: 1}"],
            2,
            "did you mean `drop`?",
        ),
        (vec!["plan", "nonsense"], 2, "neither a file nor a fault"),
        (
            vec![
                "plan",
                "{kind: drop, frame: heartbeat, from: app, port: 12199, nth: 3, last: 5}",
                "--host",
            ],
            0,
            "on the leg to 12199: drop heartbeat frames 3 to 5 from the app",
        ),
        (
            vec!["plan", "{kind: flip, byte: 2, port: 80}", "--host"],
            2,
            "relay stands on the legs to 12199, 12200 and 12220 alone",
        ),
        (
            vec!["plan", "{kind: drop, port: 1}", "--pid", "4000000"],
            2,
            "there is no process 4000000",
        ),
        (vec!["list"], 0, "iptables-legacy  journalled"),
    ] {
        let (found, told) = meshproof(&words);
        assert_eq!(found, Some(code), "{words:?}: {told}");
        assert!(told.contains(expected), "{words:?}: {told}");
    }
}
