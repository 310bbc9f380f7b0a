//! Sockets and clocks of what is said to the application API.

use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use meshproof_sys::clock::Nanos;
use meshproof_wire::http::{Limits, Message, Messages, Start};

use super::plan::Plan;
use super::run::{Dial, Direct};
use super::subscribe::Made;

/// How long one answer may take. A sidecar may have to wait for its config center, and for a name
/// to be resolved.
const ANSWER_MS: u64 = 15_000;
/// How long a connect may take.
const CONNECT_MS: u64 = 3_000;

/// Makes every request of [`Plan::asks`], one after the other, each on a connection of its own.
/// What a peer does is an outcome; an API that accepts no connection is asked once.
pub fn make(plan: &Plan) -> Vec<Made> {
    make_by(plan, &Direct)
}

/// As [`make`], over connections that `dial` opens.
pub fn make_by(plan: &Plan, dial: &dyn Dial) -> Vec<Made> {
    let mut dead: HashMap<SocketAddr, String> = HashMap::new();
    plan.asks
        .iter()
        .map(|ask| {
            if let Some(why) = dead.get(&ask.target) {
                return Err(why.clone());
            }
            match dial.connect(ask.target, Duration::from_millis(CONNECT_MS)) {
                Ok(stream) => self::ask(stream, &ask.request.bytes),
                Err(error) => {
                    let why = error.to_string();
                    dead.insert(ask.target, why.clone());
                    Err(why)
                }
            }
        })
        .collect()
}

/// Says `request` and waits for the answer, 15 s at most.
pub(crate) fn ask(mut stream: TcpStream, request: &[u8]) -> Made {
    let began = Nanos::now();
    let told = |error: std::io::Error| match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => {
            format!("no answer within {ANSWER_MS} ms")
        }
        _ => error.to_string(),
    };
    let wait = |stream: &TcpStream| {
        let left = ANSWER_MS.saturating_sub(Nanos::now().since(began) / 1_000_000);
        // Zero would mean to wait without end.
        stream.set_read_timeout(Some(Duration::from_millis(left.max(1))))
    };
    stream
        .set_write_timeout(Some(Duration::from_millis(ANSWER_MS)))
        .and_then(|()| stream.write_all(request))
        .map_err(told)?;
    let mut messages = Messages::new(Limits::USUAL);
    let mut buffer = [0; 16 << 10];
    loop {
        wait(&stream).map_err(told)?;
        let read = match stream.read(&mut buffer) {
            Ok(read) => read,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(told(error)),
        };
        messages.feed(buffer.get(..read).unwrap_or_default());
        let found = messages.message().map_err(|why| why.to_string())?;
        let found = match (found, read) {
            (None, 0) => messages.close(),
            (found, _) => found,
        };
        match found {
            Some(message) if !is_notice(&message) => return Ok(message),
            None if read == 0 => return Err("the connection was closed without an answer".into()),
            _ => {}
        }
    }
}

/// A notice to go on with the request is no answer yet.
fn is_notice(message: &Message) -> bool {
    matches!(message.head.start, Start::Response { status: 100..=199 })
}
