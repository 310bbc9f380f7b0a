//! Properties that hold for any bytes at all: called by tests with bytes that they make, and by
//! the fuzz targets with bytes that nobody would think of.

mod hessian;
mod http;

pub use hessian::hessian;
pub use http::{http, mesh_api};

use crate::bolt::{self, Build};
use crate::decoder::{Account, Decoded, Decoder, Detail, Limits, Start};
use crate::protocol::{Crc, Frame, Protocol, RequestId};
use crate::tr;

/// Small enough for short inputs to reach every limit.
const LIMITS: Limits = Limits {
    frame_bytes_max: 4096,
    resync_bytes_max: 512,
    detect_bytes_max: 1024,
};

/// Decodes `bytes` as a BOLT stream in several ways.
///
/// # Panics
///
/// When one of these does not hold:
/// - every byte is in exactly one bucket of the account, with and without gaps;
/// - how the bytes are cut into feeds changes nothing, and neither does asking for heads only;
/// - frames do not overlap, come in order, and are the bytes at their offset;
/// - a frame encoded from its parts is the frame; renumbering a frame and back gives it again.
pub fn bolt(bytes: &[u8]) {
    stream(bytes, None);
}

/// The same, of a stream whose other direction speaks `other`.
fn stream(bytes: &[u8], other: Option<Protocol>) {
    let run = |start, detail, piece: &mut dyn FnMut(usize) -> usize, gap| {
        run(bytes, start, other, detail, piece, gap)
    };
    for start in [Start::Beginning, Start::MidStream] {
        let frames = run(start, Detail::Frames, &mut |_| usize::MAX, None);
        let heads = run(start, Detail::Heads, &mut |_| usize::MAX, None);
        let singly = run(start, Detail::Frames, &mut |_| 1, None);
        let mut dice = Dice(bytes.len() as u64);
        let cut = run(start, Detail::Frames, &mut |_| dice.below(60) + 1, None);
        assert_eq!(frames, singly, "fed byte by byte");
        assert_eq!(frames, cut, "fed in pieces");
        assert_eq!(frames.account, heads.account, "heads only");
        let bare: Vec<_> = frames.decoded.iter().map(without_frame).collect();
        assert_eq!(bare, heads.decoded, "heads only");

        let mut end = 0;
        for decoded in &frames.decoded {
            assert!(
                decoded.offset >= end,
                "overlaps the one before: {decoded:?}"
            );
            end = decoded.offset + decoded.head.len - decoded.missing;
            if let Some(frame) = &decoded.frame {
                let at = usize::try_from(decoded.offset).expect("an offset into a slice");
                let there = bytes.get(at..at + frame.bytes.len());
                assert_eq!(there, Some(&frame.bytes[..]), "at its offset");
                whole_frame(frame);
            }
        }
        for gap in [1, 30, 700, u64::MAX] {
            let at = dice.below(bytes.len() + 1);
            run(start, Detail::Frames, &mut |_| 100, Some((at, gap)));
        }
    }
}

fn whole_frame(frame: &Frame) {
    match frame.head.protocol {
        Protocol::BoltV1 | Protocol::BoltV2 => whole_bolt(frame),
        Protocol::Tr => whole_tr(frame),
        Protocol::MeshApi => http::whole_message(frame),
    }
}

fn whole_bolt(frame: &Frame) {
    assert_eq!(Frame::parse(frame.bytes.clone()).as_ref(), Ok(frame));
    frame.headers().texts().for_each(drop);
    let parts = frame.parts().expect("a frame that was decoded has parts");
    let built = Build::of(frame).expect("a frame that was decoded has parts");
    if frame.crc() != Crc::Bad && parts.head.ver2 == 1 {
        assert_eq!(built.encode().as_ref(), Ok(&frame.bytes), "encoded again");
    }
    let other = RequestId(frame.head.id.0 ^ 0x5555_5555);
    let there_and_back = frame.with_id(other).with_id(frame.head.id);
    assert_eq!(&there_and_back, frame, "renumbered and back");
}

fn whole_tr(frame: &Frame) {
    assert_eq!(Frame::parse(frame.bytes.clone()).as_ref(), Ok(frame));
    let parts = frame
        .tr_parts()
        .expect("a frame that was decoded has parts");
    assert!(tr::reads_alike(&frame.bytes, &parts), "read in two ways");
    crate::sofarpc::request(frame);
    crate::sofarpc::response(frame);
    // The id may stand there in a form that no real serializer writes.
    let plain = frame.with_id(frame.head.id);
    for bits in [1, 0x5555, 0x5555_5555, 1 << 40] {
        let other = frame.with_id(RequestId(frame.head.id.0 ^ bits));
        assert_eq!(other.head.id.0, frame.head.id.0 ^ bits);
        assert_eq!(other.content(), frame.content());
        assert_eq!(other.with_id(frame.head.id), plain, "renumbered and back");
    }
    // An int may stand for it, which is written as a long.
    let is_int = matches!(frame.bytes.get(parts.id_at.start), Some(0x80..=0xd7 | b'I'));
    if plain.bytes.len() == frame.bytes.len() && !is_int {
        assert_eq!(&plain, frame);
    }
}

/// Reads `bytes` as a TR stream in several ways, as [`bolt`] does, and as one frame.
///
/// # Panics
///
/// When one of these does not hold:
/// - what holds for [`bolt`];
/// - a frame under another id and back is the frame, and its content stays as it was;
/// - the quick and the thorough way of reading a frame agree;
/// - a front asks for no bytes that it does not need.
pub fn tr(bytes: &[u8]) {
    stream(bytes, None);
    match tr::Parts::front(bytes) {
        tr::Front::Parts(parts) => assert!(parts.class.end <= bytes.len()),
        tr::Front::Need(needed) => {
            assert!(needed > bytes.len());
            let max = tr::Head::BYTES + tr::CONNECTION_BYTES_MAX as usize + 255;
            assert!(needed <= max);
        }
        tr::Front::Malformed(_) => {}
    }
    tr::answer(bytes);
    tr::call(bytes);
}

#[derive(Debug, PartialEq)]
struct Outcome {
    decoded: Vec<Decoded<()>>,
    account: Account,
}

fn run(
    bytes: &[u8],
    start: Start,
    other: Option<Protocol>,
    detail: Detail,
    piece: &mut dyn FnMut(usize) -> usize,
    gap: Option<(usize, u64)>,
) -> Outcome {
    let mut decoded = Vec::new();
    let mut sink = |found: Decoded<()>| decoded.push(found);
    let mut decoder = Decoder::new(start, detail, LIMITS);
    if let Some(other) = other {
        decoder.expect_answers(other);
    }
    let mut at = 0;
    let mut gap = gap;
    while at < bytes.len() || gap.is_some() {
        if let Some((gap_at, len)) = gap
            && gap_at == at
        {
            decoder.gap(len, &mut sink);
            gap = None;
            continue;
        }
        let until_gap = gap.map_or(usize::MAX, |(gap_at, _)| gap_at.saturating_sub(at));
        let len = piece(at).min(until_gap).min(bytes.len() - at);
        decoder.feed((), &bytes[at..at + len], &mut sink);
        at += len;
    }
    decoder.finish(&mut sink);
    let account = decoder.account();
    assert_eq!(account.total(), bytes.len() as u64, "{account:?}");
    Outcome { decoded, account }
}

fn without_frame(decoded: &Decoded<()>) -> Decoded<()> {
    Decoded {
        frame: None,
        ..decoded.clone()
    }
}

/// Reads `bytes` as one frame and as one head, whatever they are.
///
/// # Panics
///
/// When a head asks for bytes that it does not need.
pub fn bolt_head(bytes: &[u8]) {
    match bolt::Head::parse(bytes) {
        bolt::Step::Head(head) => assert!(head.fixed_len() <= bytes.len()),
        bolt::Step::Need(needed) => {
            assert!(needed > bytes.len() && needed <= bolt::Head::BYTES_MAX);
        }
        bolt::Step::Malformed(_) => {}
    }
}

/// Dice that fall the same way each time (SplitMix64).
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % (end.max(1) as u64)) as usize
    }
}
