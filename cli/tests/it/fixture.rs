//! `meshproof fixture app`: it says when it is ready, serves, and ends when it is told to.

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
    let mut line = String::new();
    BufReader::new(child.stdout.take().expect("a pipe"))
        .read_line(&mut line)
        .expect("a line");
    let port = line.strip_prefix("READY ").expect("READY first").trim();
    (child, port.parse().expect("a port"))
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
