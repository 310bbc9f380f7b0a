//! Properties that hold for any bytes at all: called by tests with bytes that they make, and by
//! the fuzz targets with bytes that nobody would think of.

mod hessian;

pub use hessian::hessian;

use crate::bolt::{self, Build};
use crate::decoder::{Account, Decoded, Decoder, Detail, Limits, Start};
use crate::protocol::{Crc, Frame, RequestId};

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
    for start in [Start::Beginning, Start::MidStream] {
        let frames = run(bytes, start, Detail::Frames, &mut |_| usize::MAX, None);
        let heads = run(bytes, start, Detail::Heads, &mut |_| usize::MAX, None);
        let singly = run(bytes, start, Detail::Frames, &mut |_| 1, None);
        let mut dice = Dice(bytes.len() as u64);
        let cut = run(
            bytes,
            start,
            Detail::Frames,
            &mut |_| dice.below(60) + 1,
            None,
        );
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
            run(bytes, start, Detail::Frames, &mut |_| 100, Some((at, gap)));
        }
    }
}

fn whole_frame(frame: &Frame) {
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

#[derive(Debug, PartialEq)]
struct Outcome {
    decoded: Vec<Decoded<()>>,
    account: Account,
}

fn run(
    bytes: &[u8],
    start: Start,
    detail: Detail,
    piece: &mut dyn FnMut(usize) -> usize,
    gap: Option<(usize, u64)>,
) -> Outcome {
    let mut decoded = Vec::new();
    let mut sink = |found: Decoded<()>| decoded.push(found);
    let mut decoder = Decoder::new(start, detail, LIMITS);
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
