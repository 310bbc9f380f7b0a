//! Environments of loopback addresses: side by side, by root and by an ordinary user, where
//! namespaces are denied; and nothing of them is left, whoever is killed.

use std::collections::BTreeSet;
use std::fs;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use meshproof_harness::netns::Options;
use meshproof_harness::pick::{pick, raise};
use meshproof_harness::process::{Exit, Signal};
use meshproof_harness::{Backend, Command, Environment, Error, Loopback, Ready, Topology};

use crate::environment::{Inside, LONG, as_nobody};
use crate::peer::skipped;

const OWN: &str = env!("CARGO_BIN_EXE_meshproof");

/// What denies system calls to what follows it; none where there is no Python.
pub(crate) fn denied(calls: &'static str) -> Option<Vec<&'static str>> {
    const PYTHON: &str = "/usr/bin/python3";
    if !Path::new(PYTHON).exists() {
        skipped("needs /usr/bin/python3, which makes the filter");
        return None;
    }
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/deny.py");
    Some(vec![PYTHON, script, calls])
}

fn options(front: &[&str]) -> Options {
    Options {
        program: front.iter().chain([&OWN]).map(Into::into).collect(),
    }
}

fn up_behind(pods: &[&str], front: &[&str]) -> Loopback {
    Loopback::up_with(&Topology::new(pods.iter().copied(), None), &options(front)).unwrap()
}

/// For root, for an ordinary user, and for one who may not unshare.
fn for_everybody(check: impl Fn(&[&str])) {
    check(&[]);
    let nobody = as_nobody();
    if let Some(front) = &nobody {
        check(front);
    }
    if let Some(denied) = denied("unshare,mount,setns,user-namespace") {
        check(&[nobody.unwrap_or_default(), denied].concat());
    }
}

fn at(environment: &dyn Environment, pod: &str, port: u16) -> SocketAddr {
    SocketAddr::new(environment.open(pod).unwrap(), port)
}

#[test]
fn a_pod_is_an_address_with_the_ports_of_production() {
    for_everybody(|front| {
        let one = up_behind(&["a", "b"], front);
        let two = up_behind(&["a", "b"], front);
        assert_eq!(one.backend(), Backend::Process);
        let mut addresses = BTreeSet::new();
        let mut listening = Vec::new();
        for environment in [&one, &two] {
            for pod in ["a", "b"] {
                let address = environment.address(pod).unwrap();
                assert!(address.is_loopback());
                assert_eq!(environment.local(pod).unwrap(), address);
                addresses.insert(address);
                listening.push(
                    environment
                        .listen(pod, at(environment, pod, 12200))
                        .unwrap(),
                );
            }
        }
        assert_eq!(addresses.len(), 4, "{addresses:?}");
        let from = |listener: &TcpListener| -> IpAddr { listener.accept().unwrap().1.ip() };
        let _stream = one.connect("a", at(&one, "b", 12200), LONG).unwrap();
        assert_eq!(from(&listening[1]), one.address("a").unwrap());
        let dialer = two.dialer("b").unwrap();
        let _kept = dialer(at(&two, "a", 12200), LONG).unwrap();
        assert_eq!(from(&listening[2]), two.address("b").unwrap());
        drop(listening);
        let refused = one.connect("a", at(&one, "b", 12200), LONG).unwrap_err();
        assert_eq!(
            refused.io_kind(),
            Some(std::io::ErrorKind::ConnectionRefused)
        );
        Box::new(one).down().unwrap();
        Box::new(two).down().unwrap();
    });
}

#[test]
fn programs_run_are_watched_and_end() {
    for_everybody(|front| {
        let environment = up_behind(&["a"], front);
        let sh = |script: &str| Command::program("/bin/sh", ["-c", script]);
        let said = Command {
            variables: vec![("WORD".into(), "said".into())],
            directory: Some(PathBuf::from("/")),
            ..sh("echo $WORD; pwd >&2; exit 3")
        };
        let process = environment.start("a", said).unwrap();
        assert_eq!(process.wait(LONG).unwrap(), Exit::Code(3));
        let mut lines: Vec<String> = process.lines().into_iter().map(|line| line.text).collect();
        lines.sort();
        assert_eq!(lines, ["/", "said"]);

        let deaf = sh("trap '' TERM; echo deaf; exec sleep 1000");
        let deaf = environment
            .start("a", deaf.ready(Ready::Line("deaf".into())))
            .unwrap();
        let ended = deaf.stop(Duration::from_millis(20)).unwrap();
        assert_eq!(ended, Exit::Signal(9));
        // To one that has ended, a signal is nothing.
        deaf.signal(Signal::Kill).unwrap();

        // What it left behind is adopted, and its end is no end of a program.
        let forked = sh("(setsid sleep 0.01 &); exit 0").ready(Ready::Done);
        environment.start("a", forked).unwrap();

        let missing = Command::program("/no/such/program", Vec::<String>::new());
        let told = environment.start("a", missing).unwrap_err().to_string();
        assert!(told.starts_with("/no/such/program: No such file"), "{told}");
        let told = environment.start("c", sh("exit")).unwrap_err().to_string();
        assert_eq!(told, "no pod is called `c`; there are a");

        let placed = environment.place("a/b.yaml", "text").unwrap();
        assert_eq!(fs::read_to_string(&placed).unwrap(), "text");
        let told = environment.place("../b.yaml", "text").unwrap_err();
        assert!(told.to_string().contains("no name for a file"), "{told}");

        let left = environment.start("a", sh("exec sleep 1000")).unwrap();
        Box::new(environment).down().unwrap();
        assert_eq!(left.wait(LONG).unwrap(), Exit::Gone);
        assert!(!placed.exists());
        let told = left.signal(Signal::Kill).unwrap_err();
        assert!(matches!(told, Error::Gone(_)), "{told}");
    });
}

#[test]
fn the_reference_app_serves_on_the_port_of_production() {
    let environment = up_behind(&["client", "server"], &[]);
    let app = |pod| {
        let listen = at(&environment, pod, 12200);
        let app = Command::own("app", ["fixture", "app", "--listen", &listen.to_string()]);
        environment
            .start(pod, app.ready(Ready::Port(listen)))
            .unwrap()
    };
    let (one, two) = (app("client"), app("server"));
    let server = at(&environment, "server", 12200);
    let _there = environment.connect("client", server, LONG).unwrap();
    assert_eq!(one.stop(LONG).unwrap(), Exit::Code(0));
    drop(two);
}

/// An environment with programs that do not want to end, and its folder.
fn stubborn(front: &[&str]) -> (Loopback, Inside, PathBuf) {
    let environment = up_behind(&["a", "b"], front);
    for pod in ["a", "b"] {
        // A grandchild in a session of its own, deaf to what can be ignored, whose parent is gone.
        let script = "trap '' TERM INT HUP; (setsid sh -c \"trap '' TERM INT HUP; echo there; \
            while :; do sleep 1000; done\" &) ; while :; do sleep 1000; done";
        let command = Command::program("/bin/sh", ["-c", script]);
        let process = environment
            .start(pod, command.ready(Ready::Line("there".into())))
            .unwrap();
        // It is to end with the environment, not with its handle.
        std::mem::forget(process);
    }
    let placed = environment.place("x", "").unwrap();
    let folder = placed.ancestors().nth(2).unwrap().to_owned();
    assert!(folder.join("lock").exists(), "{}", folder.display());
    let inside = Inside::of(environment.guard_pid());
    // Guard, keeper, and per pod a shell, its grandchild and their sleeps.
    assert!(inside.count() >= 2 + 2 * 2, "{}", inside.count());
    (environment, inside, folder)
}

#[test]
fn down_leaves_nothing() {
    for_everybody(|front| {
        let (environment, inside, folder) = stubborn(front);
        Box::new(environment).down().unwrap();
        inside.nothing_is_left();
        assert!(!folder.exists());
    });
}

#[test]
fn whichever_stage_is_killed_takes_the_rest_along() {
    for_everybody(|front| {
        // The guard, or the keeper, its first child.
        for stage in 0..2 {
            let (environment, inside, folder) = stubborn(front);
            inside.kill(&[stage]);
            // The handle is still held: what ends them is the death of the one.
            inside.all_end();
            let told = environment.place("x", "").unwrap_err();
            assert!(matches!(told, Error::Gone(_) | Error::Io { .. }), "{told}");
            drop(environment);
            inside.nothing_is_left();
            assert!(!folder.exists(), "{stage}");
        }
    });
}

#[test]
fn where_guard_and_keeper_are_killed_the_kernel_ends_the_programs() {
    let environment = up_behind(&["a"], &[]);
    let sleep = Command::program("sleep", ["1000"]);
    std::mem::forget(environment.start("a", sleep).unwrap());
    let folder = environment.place("x", "").unwrap();
    let folder = folder.ancestors().nth(2).unwrap().to_owned();
    let inside = Inside::of(environment.guard_pid());
    inside.kill(&[0, 1]);
    inside.all_end();
    drop(environment);
    inside.nothing_is_left();
    // The folder goes with the next environment.
    assert!(folder.exists());
    drop(up_behind(&["a"], &[]));
    assert!(!folder.exists());
}

#[test]
fn what_is_not_asked_for_is_what_the_machine_allows() {
    let topology = Topology::new(["a"], None);
    let asked = pick(Some(Backend::Process), &options(&[])).unwrap();
    assert_eq!(asked.backend, Backend::Process);
    assert_eq!(asked.why, "it was asked for");
    if let Some(front) = denied("unshare") {
        let raised = raise(&topology, None, &options(&front)).unwrap();
        assert_eq!(raised.picked.backend, Backend::Process);
        let why = &raised.picked.why;
        assert!(why.starts_with("this machine lacks "), "{why}");
        assert!(why.contains("namespaces (Operation not permitted"), "{why}");
        raised.environment.down().unwrap();
        let told = raise(&topology, Some(Backend::Netns), &options(&front));
        assert!(matches!(told, Err(Error::Unsupported { .. })));
    }
    if let Some(front) = denied("unshare,bind") {
        let Err(told) = raise(&topology, None, &options(&front)) else {
            panic!("nothing is possible here");
        };
        let text = told.to_string();
        assert!(matches!(told, Error::Unsupported { .. }), "{text}");
        assert!(text.contains("loopback addresses"), "{text}");
    }
}
