//! What every backend of environments does alike, and what only those do that say they can.

use std::fs;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use meshproof_harness::capture::{Recorder, Size};
use meshproof_harness::environment::Input;
use meshproof_harness::netns::Options;
use meshproof_harness::process::{Exit, Signal};
use meshproof_harness::{
    Backend, Capability, Command, Environment, Error, Escapes, Loopback, Ready, Streams, Topology,
};
use meshproof_replay::capture::{Captures, Inputs, Packets};
use meshproof_sys::clock::Nanos;

use crate::environment::LONG;
use crate::peer::skipped;

/// The topology that [`conforms`] is asked of.
fn topology() -> Topology {
    Topology::new(["a", "b"], Some("a"))
}

#[test]
fn namespaces_conform() {
    crate::environment::for_each_user(|front| {
        if let Some(netns) = crate::environment::up_behind(&topology(), front) {
            assert_eq!(netns.backend(), Backend::Netns);
            for capability in [
                Capability::OwnPorts,
                Capability::Names,
                Capability::Escapes,
                Capability::Capture,
                Capability::Filter,
                Capability::OwnDisk,
                Capability::Reset,
            ] {
                assert!(netns.can(capability), "{capability:?}");
            }
            conforms(Box::new(netns));
        }
    });
}

#[test]
fn loopback_addresses_conform() {
    let own = env!("CARGO_BIN_EXE_meshproof");
    let options = Options {
        program: vec![own.into()],
    };
    match Loopback::up_with(&topology(), &options) {
        Ok(loopback) => {
            assert_eq!(loopback.backend(), Backend::Process);
            conforms(Box::new(loopback));
        }
        Err(Error::Unsupported { missing, advice }) => {
            skipped(&format!("needs {missing}: {advice}"));
        }
        Err(error) => panic!("{error}"),
    }
}

/// Everything that an environment of pods `a` and `b` promises.
fn conforms(environment: Box<dyn Environment>) {
    let it = environment.as_ref();
    pods_are_known(it);
    pods_talk(it);
    programs_run(it);
    programs_have_the_streams_of_their_callers(it);
    files_are_seen(it);
    names_resolve(it);
    escapes_are_counted(it);
    packets_are_captured(it);
    rules_are_made(it);
    assert!(!it.ended(Duration::ZERO));
    // The last: it leaves somebody behind.
    it_can_be_emptied(it);
    let left = it.start("a", sh("exec sleep 1000")).unwrap();
    environment.down().unwrap();
    assert_eq!(left.wait(LONG).unwrap(), Exit::Gone);
    assert!(matches!(left.signal(Signal::Kill), Err(Error::Gone(_))));
}

fn sh(script: &str) -> Command {
    Command::program("/bin/sh", ["-c", script])
}

fn pods_are_known(it: &dyn Environment) {
    let names: Vec<&str> = it.pods().iter().map(|pod| pod.name.as_str()).collect();
    assert_eq!(names, ["a", "b"]);
    assert_ne!(it.address("a").unwrap(), it.address("b").unwrap());
    let at = SocketAddr::new(it.address("a").unwrap(), 1);
    let told = [
        it.address("c").map(drop),
        it.start("c", sh("exit")).map(drop),
        it.connect("c", at, LONG).map(drop),
        it.listen("c", at).map(drop),
        it.datagrams("c", at).map(drop),
    ];
    for told in told {
        let told = told.unwrap_err().to_string();
        assert_eq!(told, "no pod is called `c`; there are a, b");
    }
}

fn pods_talk(it: &dyn Environment) {
    let open = |pod: &str, port| SocketAddr::new(it.open(pod).unwrap(), port);
    let at = |pod: &str, port| SocketAddr::new(it.address(pod).unwrap(), port);
    // The same port in both, as in production.
    let in_a = it.listen("a", open("a", 12200)).unwrap();
    let in_b = it.listen("b", open("b", 12200)).unwrap();
    for (pod, listener) in [("a", &in_a), ("b", &in_b)] {
        let other = if pod == "a" { "b" } else { "a" };
        let dial = it.dialer(other).unwrap();
        for stream in [
            it.connect(other, at(pod, 12200), LONG),
            dial(at(pod, 12200), LONG),
        ] {
            let (mut heard, peer) = listener.accept().unwrap();
            assert_eq!(peer.ip(), it.address(other).unwrap());
            stream.unwrap().write_all(pod.as_bytes()).unwrap();
            let mut text = String::new();
            heard.read_to_string(&mut text).unwrap();
            assert_eq!(text, pod);
        }
    }
    drop(in_b);
    // A program that another test starts at this moment holds the listener until it runs.
    let end = Nanos::now() + LONG;
    let refused = loop {
        match it.connect("a", at("b", 12200), LONG) {
            Err(error) => break error,
            Ok(_) => assert!(Nanos::now() < end, "nobody listens, and it connects"),
        }
        std::thread::yield_now();
    };
    assert_eq!(
        refused.io_kind(),
        Some(std::io::ErrorKind::ConnectionRefused)
    );
    // Within a pod.
    let local = SocketAddr::new(it.local("a").unwrap(), 12199);
    let listener = it.listen("a", local).unwrap();
    let _stream = it.connect("a", local, LONG).unwrap();
    assert_eq!(
        listener.accept().unwrap().1.ip(),
        it.local("a").unwrap(),
        "programs of a pod see each other at one address"
    );
    let receiver = it.datagrams("b", open("b", 0)).unwrap();
    receiver.set_read_timeout(Some(LONG)).unwrap();
    let sender = it.datagrams("a", open("a", 0)).unwrap();
    let port = receiver.local_addr().unwrap().port();
    sender.send_to(b"datagram", at("b", port)).unwrap();
    let mut data = [0; 16];
    let (length, from) = receiver.recv_from(&mut data).unwrap();
    assert_eq!(
        (&data[..length], from.ip()),
        (b"datagram".as_slice(), it.address("a").unwrap())
    );
}

fn programs_run(it: &dyn Environment) {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let said = Command {
        variables: vec![("WORD".into(), "said".into())],
        directory: Some("/".into()),
        log: Some(log.clone()),
        ..sh("echo $WORD; pwd >&2; exit 3")
    };
    let process = it.start("a", said).unwrap();
    assert_eq!(process.wait(LONG).unwrap(), Exit::Code(3));
    let mut lines: Vec<String> = process.lines().into_iter().map(|line| line.text).collect();
    lines.sort();
    assert_eq!(lines, ["/", "said"]);
    assert_eq!(fs::read_to_string(&log).unwrap().lines().count(), 2);
    let cat = Command {
        input: Input::Pipe,
        ..Command::program("cat", Vec::<String>::new())
    };
    let cat = it.start("b", cat).unwrap();
    cat.write(b"to and fro\n").unwrap();
    assert_eq!(cat.line(0, LONG, |_| true).unwrap().0.text, "to and fro");
    cat.end_input();
    assert_eq!(cat.wait(LONG).unwrap(), Exit::Code(0));
    // Ready when its port is open, in its own pod, at the port of production.
    let app = |pod: &str| {
        let at = SocketAddr::new(it.open(pod).unwrap(), 12199);
        let here = SocketAddr::new(it.local(pod).unwrap(), 12199);
        let app = Command::own("app", ["fixture", "app", "--listen", &at.to_string()]);
        it.start(pod, app.ready(Ready::Port(here))).unwrap()
    };
    let (one, two) = (app("a"), app("b"));
    assert_eq!(one.stop(LONG).unwrap(), Exit::Code(0));
    assert_eq!(two.stop(LONG).unwrap(), Exit::Code(0));
    let told = it.start("a", sh("echo why; exit 1").ready(Ready::Done));
    assert_eq!(
        told.unwrap_err().to_string(),
        "sh in pod a was not ready: it ended with code 1\n  | why"
    );
    let missing = Command::program("/no/such/program", Vec::<String>::new());
    let told = it.start("a", missing).unwrap_err().to_string();
    assert!(told.starts_with("/no/such/program: No such file"), "{told}");
}

fn programs_have_the_streams_of_their_callers(it: &dyn Environment) {
    let (input, mut to) = std::io::pipe().unwrap();
    let (mut from, output) = std::io::pipe().unwrap();
    let (mut wrong, error) = std::io::pipe().unwrap();
    let streams = Streams {
        input: input.into(),
        output: output.into(),
        error: error.into(),
    };
    // A signal reaches the child that is waited for, too: else the end would not come.
    let script = "read word; echo got $word; echo bad >&2; trap : USR1; \
        (trap 'exit 5' USR1; echo there; while :; do sleep 0.01; done) & wait; wait $!";
    let process = it.spawn("a", sh(script), streams).unwrap();
    to.write_all(b"word\n").unwrap();
    drop(to);
    let mut heard = String::new();
    let mut byte = [0];
    while !heard.ends_with("there\n") && from.read(&mut byte).unwrap() == 1 {
        heard.push(char::from(byte[0]));
    }
    assert_eq!(heard, "got word\nthere\n");
    process.signal(Signal::User1).unwrap();
    assert_eq!(process.wait(LONG).unwrap(), Exit::Code(5));
    let mut bad = String::new();
    wrong.read_to_string(&mut bad).unwrap();
    // Some shells say of a signal what it was.
    assert!(bad.starts_with("bad\n"), "{bad}");
    assert!(process.lines().is_empty());
}

fn it_can_be_emptied(it: &dyn Environment) {
    if !it.can(Capability::Reset) {
        let told = it.reset().unwrap_err();
        assert!(matches!(told, Error::Unsupported { .. }), "{told}");
        return;
    }
    let path = it.place("left/behind.yaml", "here: yes\n").unwrap();
    let at = SocketAddr::new(it.open("b").unwrap(), 12200);
    let here = SocketAddr::new(it.local("b").unwrap(), 12200);
    let app = || {
        let app = Command::own("app", ["fixture", "app", "--listen", &at.to_string()]);
        it.start("b", app.ready(Ready::Port(here))).unwrap()
    };
    let left = app();
    let leak = it.start(
        "a",
        Command::program("bash", ["-c", "echo x >/dev/udp/192.0.2.1/9"]),
    );
    assert_eq!(leak.unwrap().wait(LONG).unwrap(), Exit::Code(0));
    it.reset().unwrap();
    assert_eq!(left.wait(LONG).unwrap(), Exit::Signal(9));
    assert_eq!(it.escapes().unwrap(), Escapes::default());
    let gone = Command::program("test", ["!", "-e", &path.to_string_lossy()]);
    assert_eq!(
        it.start("a", gone).unwrap().wait(LONG).unwrap(),
        Exit::Code(0)
    );
    // The same port again, and what is placed again is there.
    let again = app();
    assert_eq!(it.place("left/behind.yaml", "").unwrap(), path);
    assert_eq!(again.stop(LONG).unwrap(), Exit::Code(0));
    // Whoever is not known is not killed: it is in doubt.
    let orphan = it.start("a", sh("setsid sleep 1000 & exit 0"));
    assert_eq!(orphan.unwrap().wait(LONG).unwrap(), Exit::Code(0));
    let told = it.reset().unwrap_err().to_string();
    assert!(told.contains("still run"), "{told}");
}

fn files_are_seen(it: &dyn Environment) {
    let path = it.place("deep/er.yaml", "here: yes\n").unwrap();
    for pod in ["a", "b"] {
        let cat = Command::program("cat", [path.to_string_lossy()]);
        let cat = it.start(pod, cat).unwrap();
        assert_eq!(cat.wait(LONG).unwrap(), Exit::Code(0));
        assert_eq!(cat.lines()[0].text, "here: yes");
    }
    let told = it.place("../escape", "").unwrap_err().to_string();
    assert!(told.contains("is no name for a file"), "{told}");
}

fn names_resolve(it: &dyn Environment) {
    let lookup = it.start("a", Command::program("getent", ["ahostsv4", "b"]));
    let lookup = lookup.unwrap();
    let found = lookup.wait(LONG).unwrap() == Exit::Code(0);
    if it.can(Capability::Names) {
        let lines = lookup.lines();
        let expected = it.address("b").unwrap().to_string();
        assert!(lines[0].text.starts_with(&expected), "{lines:?}");
    }
    assert_eq!(found, it.can(Capability::Names));
}

fn escapes_are_counted(it: &dyn Environment) {
    if !it.can(Capability::Escapes) {
        let told = it.escapes().unwrap_err();
        assert!(matches!(told, Error::Unsupported { .. }), "{told}");
        return;
    }
    // Whatever was said between pods is none.
    let before = it.escapes().unwrap();
    assert_eq!(before.packets, 0, "{before:?}");
    // A planted leak: packets are on their way out when the calls that sent them return, and so
    // they are counted when the program has ended.
    let script = "echo x >/dev/udp/192.0.2.1/9; \
        printf '\\0\\1\\1\\0\\0\\1\\0\\0\\0\\0\\0\\0\\7example\\3com\\0\\0\\1\\0\\1' \
        >/dev/udp/192.0.2.1/53; echo x >/dev/udp/2001:db8::1/9";
    let leak = it.start("b", Command::program("bash", ["-c", script]));
    let leak = leak.unwrap();
    assert_eq!(
        leak.wait(LONG).unwrap(),
        Exit::Code(0),
        "{:?}",
        leak.lines()
    );
    let told = it.connect(
        "a",
        SocketAddr::from(([192, 0, 2, 1], 80)),
        Duration::from_millis(1),
    );
    assert_eq!(
        told.unwrap_err().io_kind(),
        Some(std::io::ErrorKind::TimedOut)
    );
    let escapes = it.escapes().unwrap();
    for sample in [
        "b: UDP to 192.0.2.1:9",
        "b: DNS question for example.com to 192.0.2.1:53",
        "b: UDP to [2001:db8::1]:9",
        "a: TCP to 192.0.2.1:80",
    ] {
        assert!(
            escapes.samples.iter().any(|one| one == sample),
            "{escapes:?}"
        );
    }
    assert!(escapes.packets >= 4, "{escapes:?}");
}

fn packets_are_captured(it: &dyn Environment) {
    let folder = tempfile::tempdir().unwrap();
    let recorder = Recorder::all(it, folder.path(), Size::USUAL);
    if !it.can(Capability::Capture) {
        let told = recorder.unwrap_err();
        assert!(matches!(told, Error::Unsupported { .. }), "{told}");
        return;
    }
    let recorder = recorder.unwrap();
    let at = SocketAddr::new(it.open("b").unwrap(), 12200);
    let listener = it.listen("b", at).unwrap();
    let there = SocketAddr::new(it.address("b").unwrap(), 12200);
    let mut stream = it.connect("a", there, LONG).unwrap();
    let (mut heard, _) = listener.accept().unwrap();
    stream.write_all(b"between pods").unwrap();
    drop(stream);
    let mut text = String::new();
    heard.read_to_string(&mut text).unwrap();
    // What passes a loopback passes it twice, and is seen once.
    let receiver = it.datagrams("a", SocketAddr::new(it.local("a").unwrap(), 0));
    let receiver = receiver.unwrap();
    let here = receiver.local_addr().unwrap();
    receiver.send_to(b"within a pod", here).unwrap();
    let captured = recorder.stop();
    let names: Vec<&str> = captured.iter().map(|one| one.at.as_str()).collect();
    assert_eq!(names, ["a", "b"]);
    for one in &captured {
        assert_eq!((one.dropped, one.overwritten), (0, 0), "{one:?}");
        let between = holding(&one.files[0], b"between pods");
        assert_eq!(between, 1, "{one:?}");
        let within = holding(&one.files[0], b"within a pod");
        assert_eq!(within, usize::from(one.at == "a"), "{one:?}");
    }
}

/// Packets of a file that hold this.
pub(crate) fn holding(file: &Path, wanted: &[u8]) -> usize {
    let inputs = Inputs {
        captures: vec![file.to_string_lossy().into_owned()],
        sources: Vec::new(),
    };
    let mut captures = Captures::open(&inputs).unwrap();
    let mut found = 0;
    while let Some(packet) = captures.next().unwrap() {
        let holds = packet.data.windows(wanted.len()).any(|part| part == wanted);
        found += usize::from(holds);
    }
    found
}

fn rules_are_made(it: &dyn Environment) {
    if !it.can(Capability::Filter) {
        return;
    }
    let rules = "nft add table inet shut && \
        nft add chain inet shut in '{ type filter hook input priority 0 ; }' && \
        nft add rule inet shut in tcp dport 12201 drop && nft list ruleset | grep -q 12201";
    let made = it.start("b", sh(rules)).unwrap();
    match made.wait(LONG).unwrap() {
        Exit::Code(0) => {}
        Exit::Code(127) => return skipped("needs nft for rules of the packet filter"),
        other => panic!("{other}: {:?}", made.lines()),
    }
    let at = SocketAddr::new(it.open("b").unwrap(), 12201);
    let _listener = it.listen("b", at).unwrap();
    let there = SocketAddr::new(it.address("b").unwrap(), 12201);
    let told = it
        .connect("a", there, Duration::from_millis(20))
        .unwrap_err();
    assert_eq!(told.io_kind(), Some(std::io::ErrorKind::TimedOut));
}
