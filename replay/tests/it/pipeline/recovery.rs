//! Frames behind losses and in captures that began in mid-stream are found again.

use std::collections::BTreeMap;

use meshproof_replay::capture::{Link, Packet};
use meshproof_replay::pipeline::{Options, Pass};
use meshproof_replay::stream::Direction;

use super::Seen;

/// A generator of numbers (xorshift64*); the same seed gives the same capture.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }
}

const CLASS: &[u8] = b"com.alipay.sofa.rpc.core.request.SofaRequest";
const SEGMENT: usize = 1448;

const POOL_BYTES: usize = 64 << 10;

/// What bodies are cut from. Bytes that heads are made of are frequent, so that a search meets
/// many false starts.
fn pool(random: &mut Random) -> Vec<u8> {
    (0..POOL_BYTES)
        .map(|_| match random.below(4) {
            0 => random.below(3) as u8,
            _ => random.below(256) as u8,
        })
        .collect()
}

/// A BOLT v1 request or response of `len` bytes whose body looks like anything.
fn frame(random: &mut Random, pool: &[u8], is_request: bool, id: u32, len: usize) -> Vec<u8> {
    let fixed = if is_request { 22 } else { 20 };
    let class = &CLASS[..CLASS.len().min(len - fixed)];
    let content = len - fixed - class.len();
    let mut bytes = vec![1, u8::from(is_request), 0, 2 - u8::from(is_request), 1];
    bytes.extend_from_slice(&id.to_be_bytes());
    bytes.push(1);
    if is_request {
        bytes.extend_from_slice(&3000u32.to_be_bytes());
    } else {
        bytes.extend_from_slice(&0u16.to_be_bytes());
    }
    bytes.extend_from_slice(&(class.len() as u16).to_be_bytes());
    bytes.extend_from_slice(&0u16.to_be_bytes());
    bytes.extend_from_slice(&(content as u32).to_be_bytes());
    bytes.extend_from_slice(class);
    let at = random.below((POOL_BYTES - content) as u64) as usize;
    bytes.extend_from_slice(&pool[at..at + content]);
    bytes
}

fn packet(flow: u16, to_acceptor: bool, seq: u32, ack: u32, flags: u8, payload: &[u8]) -> Vec<u8> {
    let (client, server) = ([10, 0, (flow >> 8) as u8, flow as u8], [10, 1, 0, 1]);
    let (src, dst) = if to_acceptor {
        (client, server)
    } else {
        (server, client)
    };
    let (src_port, dst_port) = if to_acceptor {
        (40_000, 12_200)
    } else {
        (12_200, 40_000)
    };
    let mut bytes = vec![2; 12];
    bytes.extend_from_slice(&[8, 0, 0x45, 0]);
    bytes.extend_from_slice(&(40 + payload.len() as u16).to_be_bytes());
    bytes.extend_from_slice(&[0, 0, 0, 0, 64, 6, 0, 0]);
    bytes.extend_from_slice(&src);
    bytes.extend_from_slice(&dst);
    bytes.extend_from_slice(&u16::to_be_bytes(src_port));
    bytes.extend_from_slice(&u16::to_be_bytes(dst_port));
    bytes.extend_from_slice(&seq.to_be_bytes());
    bytes.extend_from_slice(&ack.to_be_bytes());
    bytes.extend_from_slice(&[0x50, flags, 0x20, 0, 0, 0, 0, 0]);
    bytes.extend_from_slice(payload);
    bytes
}

/// One direction of a connection: its frames, and where each of its segments went.
struct Stream {
    bytes: Vec<u8>,
    /// Offset and id of each frame, and its end.
    frames: Vec<(usize, u32, usize)>,
    /// Where the capture begins.
    from: usize,
    /// What of it is in the capture.
    captured: Vec<bool>,
}

fn stream(
    random: &mut Random,
    pool: &[u8],
    is_request: bool,
    frames: u32,
    is_mid_stream: bool,
) -> Stream {
    let mut stream = Stream {
        bytes: Vec::new(),
        frames: Vec::new(),
        from: 0,
        captured: Vec::new(),
    };
    for id in 1..=frames {
        let len = 60 + random.below(8 * 1024 - 60) as usize;
        let start = stream.bytes.len();
        let frame = frame(random, pool, is_request, id, len);
        stream.bytes.extend_from_slice(&frame);
        stream.frames.push((start, id, start + len));
    }
    stream.captured = vec![false; stream.bytes.len()];
    if is_mid_stream {
        stream.from = random.below(stream.bytes.len() as u64 / 2) as usize;
    }
    stream
}

/// Frames found, frames that could be found, and nothing that is no frame.
fn run(
    seed: u64,
    flows: u16,
    frames: u32,
    lost_of_10_000: u64,
    options: Options,
) -> (usize, usize) {
    let mut random = Random(seed);
    let pool = pool(&mut random);
    let mut pass = Pass::new(options);
    let mut seen = Seen::default();
    let mut number = 0;
    let mut truth = BTreeMap::new();
    for flow in 0..flows {
        let is_mid_stream = random.below(100) < 30;
        let isn = [random.next() as u32, random.next() as u32];
        let mut sides = [
            stream(&mut random, &pool, true, frames, is_mid_stream),
            stream(&mut random, &pool, false, frames, is_mid_stream),
        ];
        let mut put = |data: &[u8]| {
            number += 1;
            let packet = Packet {
                number,
                at_ns: number * 50_000,
                link: Link::Ethernet,
                source: 0,
                data,
                orig_len: data.len() as u32,
            };
            pass.packet(&packet, &mut seen);
        };
        let mut sent = [sides[0].from, sides[1].from];
        if !is_mid_stream {
            put(&packet(flow, true, isn[0].wrapping_sub(1), 0, 0x02, &[]));
            put(&packet(
                flow,
                false,
                isn[1].wrapping_sub(1),
                isn[0],
                0x12,
                &[],
            ));
        }
        let seq = |side: usize, at: usize| isn[side].wrapping_add(at as u32);
        let mut base = [None, None];
        while sent[0] < sides[0].bytes.len() || sent[1] < sides[1].bytes.len() {
            let side = random.below(2) as usize;
            let (start, len) = (sent[side], sides[side].bytes.len());
            let end = (start + SEGMENT).min(len);
            if start == end {
                continue;
            }
            sent[side] = end;
            if random.below(10_000) >= lost_of_10_000 {
                base[side].get_or_insert(start);
                sides[side].captured[start..end].fill(true);
                let (seq, ack) = (seq(side, start), seq(1 - side, sent[1 - side]));
                let payload = &sides[side].bytes[start..end];
                put(&packet(flow, side == 0, seq, ack, 0x10, payload));
            }
            if random.below(2) == 0 {
                let (seq, ack) = (seq(1 - side, sent[1 - side]), seq(side, end));
                put(&packet(flow, side == 1, seq, ack, 0x10, &[]));
            }
        }
        for (side, direction) in [(0, Direction::ToAcceptor), (1, Direction::ToOpener)] {
            let stream = &sides[side];
            let base = if is_mid_stream {
                base[side].unwrap_or(0)
            } else {
                0
            };
            for &(start, id, end) in &stream.frames {
                let is_whole = stream.captured[start..end].iter().all(|seen| *seen);
                truth.insert(
                    (u32::from(flow), direction, start as i64 - base as i64),
                    (u64::from(id), (end - start) as u64, is_whole),
                );
            }
        }
    }
    let outcome = pass.finish(&mut seen);
    outcome.ledger.check().expect("the ledger closes");
    let mut found = 0;
    for (flow, direction, frame) in &seen.frames {
        let place = (flow.id.0, *direction, frame.offset as i64);
        let Some((id, len, is_whole)) = truth.get(&place) else {
            panic!(
                "seed {seed}: a frame where there is none: {place:?} {:?}",
                frame.head
            );
        };
        assert_eq!((frame.head.id.0, frame.head.len), (*id, *len), "{place:?}");
        assert_eq!(frame.missing == 0, *is_whole, "{place:?}");
        found += usize::from(*is_whole);
    }
    let whole = truth.values().filter(|(_, _, is_whole)| *is_whole).count();
    (found, whole)
}

#[track_caller]
fn check(seed: u64, lost_of_10_000: u64, part: f64, options: Options) {
    let (found, whole) = run(seed, 16, 80, lost_of_10_000, options);
    assert!(
        found as f64 >= whole as f64 * part,
        "seed {seed}: {found} of {whole} frames"
    );
}

#[test]
fn frames_behind_losses_and_mid_stream_starts() {
    for seed in [1, 2, 3] {
        check(seed, 5, 0.995, Options::HEADS);
    }
    check(4, 5, 0.995, Options::FRAMES);
}

#[test]
fn nothing_is_invented_when_much_is_lost() {
    for seed in [5, 6] {
        check(seed, 300, 0.9, Options::HEADS);
    }
}

#[test]
fn without_loss_every_frame_comes_out() {
    let (found, whole) = run(7, 16, 80, 0, Options::HEADS);
    assert!(whole > 16 * 80);
    assert_eq!(found, whole);
}
