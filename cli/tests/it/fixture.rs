//! `meshproof fixture …`: they say when they are ready, serve, and end when they are told to.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::process::{Child, Command, Stdio};

/// A heartbeat of BOLT v1 with id 5, and the answer to it.
const HEARTBEAT: [u8; 22] =
    *b"\x01\x01\x00\x00\x01\x00\x00\x00\x05\x01\xff\xff\xff\xff\0\0\0\0\0\0\0\0";
const ACK: [u8; 20] = *b"\x01\x00\x00\x00\x01\x00\x00\x00\x05\x01\0\0\0\0\0\0\0\0\0\0";

#[expect(clippy::disallowed_methods, reason = "the program is what is tested")]
fn command(program: &str) -> Command {
    Command::new(program)
}

fn start(arguments: &[&str]) -> (Child, u16) {
    let mut child = command(env!("CARGO_BIN_EXE_meshproof"))
        .args(["fixture", "app"])
        .args(arguments)
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let line = first_line(&mut child);
    let port = line.strip_prefix("READY ").expect("READY first").trim();
    (child, port.parse().expect("a port"))
}

fn first_line(child: &mut Child) -> String {
    let mut line = String::new();
    BufReader::new(child.stdout.take().expect("a pipe"))
        .read_line(&mut line)
        .expect("a line");
    line
}

/// A fixture that serves; it ends when this is dropped.
struct Serving {
    child: Child,
    /// Where it listens, and where it takes orders.
    ports: Vec<u16>,
}

impl Serving {
    fn start(arguments: &[&str]) -> Serving {
        let mut child = command(env!("CARGO_BIN_EXE_meshproof"))
            .arg("fixture")
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let line = first_line(&mut child);
        let words = line.strip_prefix("READY ").expect("READY first");
        let ports = words.split_whitespace();
        let ports = ports.map(|word| word.trim_start_matches("control=").parse().expect("a port"));
        Serving {
            ports: ports.collect(),
            child,
        }
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports[0])
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Exit code and what was said.
fn run(arguments: &[&str]) -> (Option<i32>, String) {
    let output = command(env!("CARGO_BIN_EXE_meshproof"))
        .arg("fixture")
        .args(arguments)
        .output()
        .expect("the program starts");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    (
        output.status.code(),
        said + &String::from_utf8_lossy(&output.stderr),
    )
}

#[test]
fn calls_are_accounted_for_from_end_to_end() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (seen, made, center_log) = (path("app.jsonl"), path("calls.jsonl"), path("center.jsonl"));
    let center = Serving::start(&["registry", "--log", &center_log, "--control", "127.0.0.1:0"]);
    assert_eq!(center.ports.len(), 2);
    let listen = ["--listen", "127.0.0.1:0", "--log", &seen];
    let mut app = vec!["app", "--speaks", "new", "--config-center"];
    let url = center.url();
    app.push(&url);
    app.extend(listen);
    let _app = Serving::start(&app);
    let call = [
        "call",
        "--config-center",
        &url,
        "--count",
        "20",
        "--timeout",
        "60000",
    ];
    let call = [
        &call[..],
        &["--method", "place", "--method", "boom", "--log", &made],
    ]
    .concat();
    let (code, said) = run(&call);
    assert_eq!(code, Some(0), "{said}");
    assert!(
        said.starts_with("20 calls over bolt-v1: 20 sent, 20 answered, 0 wrong"),
        "{said}"
    );
    let ledger = ["ledger", "--client", &made, "--server", &seen];
    let (code, said) = run(&ledger);
    assert_eq!(code, Some(0), "{said}");
    assert!(
        said.starts_with("20 calls: 20 closed, 0 lost, 0 doubled"),
        "{said}"
    );
    // The same log twice: every call was seen twice.
    let (code, said) = run(&[&ledger[..], &["--server", &seen]].concat());
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("20 doubled"), "{said}");
    let log = std::fs::read_to_string(center_log).expect("the log");
    assert!(log.contains("\"operation\":\"register\""), "{log}");
}

#[test]
fn an_old_app_says_why_it_closes() {
    let mut app = Serving::start(&["app", "--speaks", "old", "--control", "127.0.0.1:0"]);
    let to = format!("127.0.0.1:{}", app.ports[0]);
    let (code, said) = run(&["call", "--to", &to, "--timeout", "60000"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("closed 1"), "{said}");
    let (code, said) = run(&[
        "call",
        "--to",
        &to,
        "--protocol",
        "tr",
        "--timeout",
        "60000",
    ]);
    assert_eq!(code, Some(0), "{said}");
    // An order ends it, and its words are read to the end.
    let mut control = TcpStream::connect((Ipv4Addr::LOCALHOST, app.ports[1])).expect("it listens");
    let order = "POST /v1/control HTTP/1.1\r\nHost: x\r\nContent-Length: 13\r\n\r\n{\"exit\":true}";
    control.write_all(order.as_bytes()).expect("it reads");
    let mut said = String::new();
    let mut stderr = app.child.stderr.take().expect("a pipe");
    stderr.read_to_string(&mut said).expect("words");
    assert_eq!(said, "java.io.IOException: Invalid protocol header:1\n");
    assert_eq!(app.child.wait().expect("it ends").code(), Some(0));
}

#[test]
fn the_name_service_listens() {
    let vip = Serving::start(&["vip", "--pool", "a.b=10.0.0.1", "--control", "127.0.0.1:0"]);
    assert_eq!(vip.ports.len(), 2);
    TcpStream::connect((Ipv4Addr::LOCALHOST, vip.ports[0])).expect("it listens");
    let (code, said) = run(&["vip", "--pool", "a.b"]);
    assert_eq!(code, Some(2));
    assert!(said.contains("`a.b` is no pool"), "{said}");
}

#[test]
fn it_serves_until_a_signal_comes() {
    for signal in ["-TERM", "-INT"] {
        let (mut child, port) = start(&[]);
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("it listens");
        stream.write_all(&HEARTBEAT).expect("it reads");
        let mut answer = [0; ACK.len()];
        stream.read_exact(&mut answer).expect("it answers");
        assert_eq!(answer, ACK);
        let sent = command("kill")
            .args([signal, &child.id().to_string()])
            .status();
        assert!(sent.expect("kill runs").success());
        // A connection that is open keeps it from nothing.
        assert_eq!(child.wait().expect("it ends").code(), Some(0), "{signal}");
    }
}

#[test]
fn wrong_use_is_told_before_anything_listens() {
    check(
        &["--error", "hallo"],
        "the sample service has no method `hallo`; it has hello, place, notifyOneway, boom",
    );
    check(&["--field", "place.amount"], "`place.amount` has no `=`");
    check(&["--reorder", "2", "--swap-ids"], "cannot be used with");
    check(
        &["--config-center", "http://127.0.0.1:1"],
        "say what others call, as --advertise IP:PORT",
    );
    check(&["--sidecar", "127.0.0.1:13330"], "write http://IP:PORT");
}

#[track_caller]
fn check(arguments: &[&str], expected: &str) {
    let output = command(env!("CARGO_BIN_EXE_meshproof"))
        .args(["fixture", "app"])
        .args(arguments)
        .output()
        .expect("the program starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains(expected), "{said}");
}
