//! Properties of the HTTP codec and of the application API on top of it.

use super::Dice;
use crate::http::{Events, Limits, Messages};
use crate::mesh_api::{self, Answer, Call};
use crate::protocol::{Frame, Protocol};

/// Small enough for short inputs to reach every limit.
const LIMITS: Limits = Limits {
    head_bytes_max: 512,
    body_bytes_max: 256,
};

/// Reads `bytes` as HTTP messages and as server-sent events in several ways.
///
/// # Panics
///
/// When how the bytes are cut changes what is read, or a limit does not hold.
pub fn http(bytes: &[u8]) {
    let mut dice = Dice(bytes.len() as u64);
    let whole = messages(bytes, &mut |len| len);
    assert_eq!(whole, messages(bytes, &mut |_| 1), "fed byte by byte");
    let cut = messages(bytes, &mut |_| dice.below(40) + 1);
    assert_eq!(whole, cut, "fed in pieces");
    assert_eq!(events(bytes, bytes.len()), events(bytes, 1), "byte by byte");
    assert_eq!(events(bytes, bytes.len()), events(bytes, 7), "in pieces");
}

/// Bodies of what was read, and whether it ended well.
fn messages(bytes: &[u8], piece: &mut dyn FnMut(usize) -> usize) -> (Vec<Vec<u8>>, bool) {
    let mut reader = Messages::new(LIMITS);
    let mut found = Vec::new();
    let mut rest = bytes;
    loop {
        loop {
            match reader.message() {
                Ok(Some(message)) => {
                    assert!(message.body.len() as u64 <= LIMITS.body_bytes_max);
                    assert!(message.head.len <= LIMITS.head_bytes_max);
                    found.push(message.body);
                }
                Ok(None) => break,
                Err(_) => return (found, false),
            }
        }
        if rest.is_empty() {
            break;
        }
        let len = piece(rest.len()).clamp(1, rest.len());
        reader.feed(&rest[..len]);
        rest = &rest[len..];
    }
    found.extend(reader.close().map(|message| message.body));
    (found, true)
}

fn events(bytes: &[u8], piece: usize) -> Vec<(String, String)> {
    let mut events = Events::new();
    let mut found = Vec::new();
    for piece in bytes.chunks(piece.max(1)) {
        events.feed(piece, &mut |event| found.push((event.name, event.data)));
    }
    found
}

/// Reads `bytes` as either direction of the application API, as [`super::bolt`] does.
///
/// # Panics
///
/// When one of these does not hold:
/// - what holds for [`super::bolt`];
/// - a frame is one whole message;
/// - a call that is written again reads the same.
pub fn mesh_api(bytes: &[u8]) {
    super::stream(bytes, None);
    super::stream(bytes, Some(Protocol::MeshApi));
}

pub(super) fn whole_message(frame: &Frame) {
    let message = mesh_api::message(frame).expect("a frame is a message");
    if let Ok(call) = mesh_api::call(frame) {
        let bytes = call.encode("localhost:13330");
        let mut reader = Messages::new(Limits::ENDLESS);
        reader.feed(&bytes);
        let again = reader.message().expect("in order").expect("whole");
        assert_eq!(Call::of(&again).expect("a call"), call, "written again");
        call.service();
        call.target();
    }
    let _ = Answer::of(&message);
}
