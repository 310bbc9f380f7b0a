//! Bad input on every port of a running sidecar, with good calls beside it.
//!
//! `cargo test` sends some thousands of damaged frames; `make soak` sends a million (by
//! `MESHPROOF_SOAK_FRAMES`) and watches the memory as well.

mod good;
mod host;

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use meshproof_proxy::edge::{Options, Proxy, Running};
use meshproof_proxy::metrics::Metrics;
use meshproof_proxy::{Bugs, Config};
use meshproof_sys::socket;
use meshproof_wire::http;
use meshproof_wire::mesh_api::Operation;

use good::{CLASS, Speak};
use host::Echo;

/// Damaged frames in `cargo test`.
const FRAMES: u64 = 20_000;

/// No single event takes longer, on however loaded a machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Dice that fall the same way each time (SplitMix64).
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % (end.max(1) as u64)) as usize
    }
}

fn sidecar(echo: &Echo, run: &std::path::Path) -> Running {
    let yaml = format!(
        "name: bad-input\naddress: 127.0.0.1\nrun: {}\napi: 127.0.0.1:0\nadmin: 127.0.0.1:0\n\
         inbound: {{listen: '127.0.0.1:0', app: '{app}'}}\n\
         outbound:\n  listen: 127.0.0.1:0\n  routes: [{{class: {CLASS}, to: ['{app}']}}]\n",
        run.display(),
        app = echo.address,
    );
    let config: Config = meshproof_input::parse("bad-input.yaml", &yaml).expect("a configuration");
    let options = Options {
        bugs: Bugs::NONE,
        ..Options::default()
    };
    Proxy::start(config, options).expect("the sidecar starts")
}

/// A frame with damage: any of what happens to bytes.
fn damaged(dice: &mut Dice, number: u64) -> Vec<u8> {
    let speak = Speak::ALL[dice.below(Speak::ALL.len())];
    let mut bytes = speak.call(number, b"damaged").to_vec();
    match dice.below(8) {
        // Bits.
        0..=2 => {
            for _ in 0..=dice.below(4) {
                let at = dice.below(bytes.len());
                bytes[at] ^= 1 << dice.below(8);
            }
        }
        // The fixed part.
        3 => {
            let at = dice.below(24);
            bytes[at] = dice.below(256) as u8;
        }
        // An end that never comes, right in front of another frame.
        4 => bytes.truncate(dice.below(bytes.len())),
        // Bytes put in.
        5 => {
            let at = dice.below(bytes.len());
            let more: Vec<u8> = (0..dice.below(40)).map(|_| dice.below(256) as u8).collect();
            bytes.splice(at..at, more);
        }
        // Nothing but noise.
        6 => {
            bytes = (0..dice.below(200))
                .map(|_| dice.below(256) as u8)
                .collect()
        }
        // In order, on a connection that is not.
        _ => {}
    }
    bytes
}

/// Sends damaged frames until `frames` were sent, in pieces that end anywhere; a connection that
/// the sidecar closes is followed by another one. Returns how many it closed.
fn attack(to: SocketAddr, frames: u64, seed: u64) -> u64 {
    let mut dice = Dice(seed);
    let mut closed = 0;
    let mut sent = 0;
    while sent < frames {
        let mut stream = TcpStream::connect(to).expect("the sidecar listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a time-out");
        // Some connections send on until they are closed, some leave in the middle.
        let batch = 1 + dice.below(20) as u64;
        let mut bytes = Vec::new();
        for _ in 0..batch.min(frames - sent) {
            bytes.extend_from_slice(&damaged(&mut dice, sent));
            sent += 1;
        }
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let (piece, behind) = rest.split_at(1 + dice.below(rest.len()));
            if stream.write_all(piece).is_err() {
                closed += 1;
                break;
            }
            rest = behind;
        }
        if dice.below(4) > 0 {
            // Whatever it answers; it ends, because nothing more will come.
            let _ = stream.shutdown(Shutdown::Write);
            let mut answers = Vec::new();
            if let Err(error) = stream.read_to_end(&mut answers) {
                let held = matches!(
                    error.kind(),
                    std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
                );
                assert!(!held, "a connection was held: {bytes:02x?}");
            }
        } else if dice.below(2) == 0 {
            // Some vanish with a reset.
            let _ = socket::reset_on_close(&stream);
        }
    }
    closed
}

/// Sends damaged HTTP, a connection each.
fn attack_http(to: SocketAddr, messages: u64, seed: u64) {
    let mut dice = Dice(seed);
    for _ in 0..messages {
        let operation = Operation::ALL[dice.below(Operation::ALL.len())];
        let body = br#"{"serviceName":"a.B:1.0","protocolType":"bolt","targetAppAddress":null}"#;
        let mut bytes = http::request("POST", operation.path(), "h", "text/plain", body);
        match dice.below(6) {
            0 | 1 => {
                for _ in 0..=dice.below(5) {
                    let at = dice.below(bytes.len());
                    bytes[at] = dice.below(256) as u8;
                }
            }
            2 => bytes.truncate(dice.below(bytes.len())),
            3 => {
                bytes = (0..dice.below(400))
                    .map(|_| dice.below(256) as u8)
                    .collect()
            }
            4 => bytes.splice(6..6, vec![b'x'; 70_000]).for_each(drop),
            _ => {
                let text = String::from_utf8_lossy(&bytes).into_owned();
                let huge = text.replace("Content-Length: ", "Content-Length: 99999999999");
                bytes = huge.into_bytes();
            }
        }
        let mut stream = TcpStream::connect(to).expect("the sidecar listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a time-out");
        // It may have refused it before the end.
        let _ = stream.write_all(&bytes);
        let _ = stream.shutdown(Shutdown::Write);
        let _ = stream.read_to_end(&mut Vec::new());
    }
}

/// Waits until nothing is open and nothing in flight.
#[track_caller]
fn settles(metrics: &Metrics) {
    let (_wake, nobody) = mpsc::channel::<()>();
    for _ in 0..PATIENCE.as_millis() / 5 {
        let open = metrics.clients[0].value() + metrics.clients[1].value();
        if open + metrics.in_flight.value() == 0 {
            return;
        }
        let _ = nobody.recv_timeout(Duration::from_millis(5));
    }
    panic!("does not come to rest: {metrics:?}");
}

/// Memory of this process in pages.
fn pages() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let resident = text.split(' ').nth(1).and_then(|field| field.parse().ok());
    resident.unwrap_or_default()
}

/// Who is told that it serves calls at once, on however loaded a machine.
#[test]
fn the_first_call_of_all_is_answered() {
    let echo = Echo::start();
    for _ in 0..16 {
        let run = tempfile::tempdir().expect("a folder");
        let sidecar = sidecar(&echo, run.path());
        let at = sidecar.addresses();
        for to in [at.outbound, at.inbound] {
            good::calls_while(to, Speak::V1, |calls| calls < 1);
        }
        sidecar.stop();
    }
}

#[test]
fn bad_input_on_every_port_disturbs_nobody() {
    let soak: Option<u64> = std::env::var("MESHPROOF_SOAK_FRAMES")
        .ok()
        .map(|text| text.parse().expect("MESHPROOF_SOAK_FRAMES is a number"));
    let frames = soak.unwrap_or(FRAMES);
    let run = tempfile::tempdir().expect("a folder");
    let echo = Echo::start();
    let sidecar = sidecar(&echo, run.path());
    let at = sidecar.addresses();
    let metrics = std::sync::Arc::clone(sidecar.metrics());

    let over = &AtomicBool::new(false);
    let mut sizes = Vec::new();
    let calls = std::thread::scope(|scope| {
        let good: Vec<_> = [at.inbound, at.outbound]
            .into_iter()
            .flat_map(|to| Speak::ALL.map(|speak| (to, speak)))
            .map(|(to, speak)| {
                let more = |_| !over.load(Ordering::Relaxed);
                scope.spawn(move || good::calls_while(to, speak, more))
            })
            .collect();
        // In rounds, so that the memory after each can be compared.
        for round in 0..4 {
            let share = frames / 8;
            let bad = [at.inbound, at.outbound]
                .map(|to| scope.spawn(move || attack(to, share, round * 2 + u64::from(to.port()))));
            let http = [at.api, at.admin]
                .map(|to| scope.spawn(move || attack_http(to, share / 100 + 1, round)));
            for bad in bad {
                bad.join().expect("bad input was sent");
            }
            for http in http {
                http.join().expect("bad http was sent");
            }
            sizes.push(pages());
        }
        over.store(true, Ordering::Relaxed);
        good.into_iter().map(|good| good.join()).collect::<Vec<_>>()
    });
    // What the sidecar saw tells a connect that failed from a call without a route.
    let calls: Vec<u64> = calls
        .into_iter()
        .collect::<Result<_, _>>()
        .unwrap_or_else(|_| panic!("a good call went wrong: {metrics:?}"));
    assert!(calls.iter().all(|calls| *calls > 0), "{calls:?}");
    settles(&metrics);
    assert!(metrics.foreign.value() > 0, "nothing was refused");
    assert!(metrics.damaged.value() > 0, "no checksum was wrong");
    if soak.is_some() {
        println!(
            "{frames} frames; good calls {calls:?}; foreign {}, damaged {}; connects to the app {}, \
             failed {}; resident KiB {:?}",
            metrics.foreign.value(),
            metrics.damaged.value(),
            metrics.upstreams_opened.value(),
            metrics.connect_failures.value(),
            sizes.iter().map(|pages| pages * 4).collect::<Vec<_>>(),
        );
        let (first, last) = (sizes[0], sizes[sizes.len() - 1]);
        assert!(last <= first + (8 << 20) / 4096, "grew: {sizes:?} pages");
    }
    sidecar.stop();
}
