//! One process takes over from another under load: every call is answered once, and seen once.

use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use meshproof_fixtures::load::{self, Echo, Ledger, Load, Outcome, Pace, Seen};

/// A sidecar that ends with the test.
struct Sidecar {
    child: Child,
    inbound: SocketAddr,
}

impl Drop for Sidecar {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[expect(clippy::disallowed_methods, reason = "the program is what is tested")]
fn command(config: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_meshproof"));
    command.args(["proxy", "--config"]).arg(config);
    command.args(arguments);
    command
}

impl Sidecar {
    #[track_caller]
    fn start(config: &Path, arguments: &[&str]) -> Sidecar {
        let mut child = command(config, arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        out.read_line(&mut line).unwrap();
        let inbound = line
            .split_whitespace()
            .find_map(|word| word.strip_prefix("inbound="))
            .unwrap_or_else(|| panic!("no READY with inbound=: `{line}`"))
            .parse()
            .unwrap();
        Sidecar { child, inbound }
    }

    /// Waits for its end.
    fn ended(mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }
}

fn configured(dir: &Path, name: &str, app: SocketAddr) -> std::path::PathBuf {
    let path = dir.join(format!("{name}.yaml"));
    let any = "\"127.0.0.1:0\"";
    let run = dir.join("run");
    let text = format!(
        "name: {name}\naddress: 127.0.0.1\nrun: {}\ninbound: {{listen: {any}, app: \"{app}\"}}\n\
         outbound: {{listen: {any}}}\napi: {any}\nadmin: {any}\n",
        run.display()
    );
    std::fs::write(&path, text).unwrap();
    path
}

fn echo(delay_ns: u64) -> Echo {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    Echo::start(listener, Ledger::Kept, delay_ns).unwrap()
}

/// Upgrades under load, one after the other; what client and app say.
fn upgraded(times: usize, arguments: &[&str]) -> (Outcome, Seen) {
    let dir = tempfile::tempdir().unwrap();
    // Answers take a while, so that calls are in flight at any time.
    let app = echo(10_000_000);
    let config = configured(dir.path(), "a", app.address());
    let mut sidecar = Sidecar::start(&config, arguments);
    let load = Load {
        to: sidecar.inbound,
        connections: 20,
        pace: Pace::Rate(300.0),
        duration_ns: 2_000_000_000,
        service: "s".into(),
        body_bytes: 200,
        first_number: 0,
    };
    let outcome = std::thread::scope(|scope| {
        let loads = scope.spawn(|| load::run(&load).unwrap());
        for _ in 0..times {
            let arguments = [arguments, &["--upgrade"]].concat();
            let next = Sidecar::start(&config, &arguments);
            assert_eq!(next.inbound, sidecar.inbound);
            let old = std::mem::replace(&mut sidecar, next);
            assert_eq!(old.ended(), Some(0));
        }
        loads.join().unwrap()
    });
    (outcome, app.stop().unwrap())
}

#[test]
fn every_call_is_answered_once_and_seen_once() {
    let (outcome, seen) = upgraded(3, &[]);
    assert!(outcome.is_clean(), "{outcome:?}");
    assert_eq!(
        (seen.requests, seen.distinct, seen.repeated),
        (outcome.sent, outcome.sent, 0)
    );
    assert_eq!(outcome.reconnects, 0, "connections went along");
}

#[test]
fn a_second_one_is_refused_unless_it_is_to_take_over() {
    let dir = tempfile::tempdir().unwrap();
    let app = echo(0);
    let config = configured(dir.path(), "a", app.address());
    let first = Sidecar::start(&config, &[]);
    let refused = |config: &Path, arguments: &[&str], expected: &str| {
        let output = command(config, arguments).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(expected), "{said}");
    };
    refused(&config, &[], "add --upgrade to take over from it");
    // Another sidecar's configuration with the same directory.
    let other = configured(dir.path(), "b", app.address());
    refused(&other, &[], "is that of sidecar `a`, this one is `b`");
    refused(&other, &["--upgrade"], "is that of sidecar `a`");
    // What a killed one leaves behind is in nobody's way, with the option or without.
    drop(first);
    drop(Sidecar::start(&config, &[]));
    let mut third = Sidecar::start(&config, &["--upgrade"]);
    let mut rest = String::new();
    third.child.kill().unwrap();
    if let Some(mut out) = third.child.stdout.take() {
        out.read_to_string(&mut rest).unwrap();
    }
    assert_eq!(rest, "");
}
