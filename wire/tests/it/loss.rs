//! Generated captures with lost segments and starts in mid-stream.

use std::collections::BTreeMap;

use meshproof_wire::bolt::{Build, Command, Version, cmdcode, encode_headers, heartbeat};
use meshproof_wire::decoder::{Decoded, Decoder, Detail, Limits, Start};

/// Dice that fall the same way each time (SplitMix64).
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        let mut bytes: Vec<u8> = (0..len.div_ceil(8))
            .flat_map(|_| self.next().to_le_bytes())
            .collect();
        bytes.truncate(len);
        bytes
    }
}

const CLASSES: [&str; 4] = [
    "com.alipay.sofa.rpc.core.request.SofaRequest",
    "com.alipay.sofa.rpc.core.response.SofaResponse",
    "peer.Msg",
    "java.lang.String",
];

const TEXT: &[u8] = b"An order of 12 books was placed at 10.15.246.182:12200 and paid for. ";

/// What a connection sends: one version, one counter.
struct Sender {
    dice: Dice,
    version: Version,
    /// SOFARPC fills the header map; plain SOFABolt does not.
    with_headers: bool,
    id: u32,
}

impl Sender {
    fn new(seed: u64) -> Sender {
        let mut dice = Dice(seed);
        let version = dice.pick(&[Version::V1, Version::V1, Version::V2_PLAIN, Version::V2_CRC]);
        let with_headers = dice.once_in(2);
        Sender {
            version,
            with_headers,
            id: dice.below(100_000) as u32,
            dice,
        }
    }

    /// A frame of 60 bytes to 8 KiB, or a heartbeat.
    fn frame(&mut self) -> Vec<u8> {
        self.id += 1 + self.dice.below(3) as u32;
        if self.dice.once_in(20) {
            return heartbeat(self.version, self.id).to_vec();
        }
        let len = if self.dice.once_in(2) {
            self.dice.below(400)
        } else {
            self.dice.below(8000)
        };
        let content = self.content(len);
        self.build(self.id, &content)
    }

    fn build(&mut self, id: u32, content: &[u8]) -> Vec<u8> {
        let (command, cmdcode) = match self.dice.below(10) {
            0 => (Command::Oneway { timeout_ms: -1 }, cmdcode::REQUEST),
            1..5 => (Command::Response { status: 0 }, cmdcode::RESPONSE),
            _ => (Command::Request { timeout_ms: 3000 }, cmdcode::REQUEST),
        };
        let headers = if self.with_headers {
            encode_headers([
                ("app", "sample-client"),
                ("service", "a.b.C:1.0"),
                ("type", "sync"),
            ])
        } else {
            Vec::new()
        };
        let build = Build {
            version: self.version,
            command,
            cmdcode,
            id,
            codec: 1,
            class: self.dice.pick(&CLASSES).as_bytes(),
            headers: &headers,
            content,
        };
        build.encode().unwrap().to_vec()
    }

    /// Text, random bytes, or text with what looks like frames in it.
    fn content(&mut self, len: usize) -> Vec<u8> {
        let text = |len: usize| TEXT.iter().copied().cycle().take(len).collect::<Vec<_>>();
        match self.dice.below(4) {
            0 => text(len),
            1 => self.dice.bytes(len),
            _ => {
                let mut content = text(self.dice.below(200));
                while content.len() + 400 < len {
                    // An id near the connection's own, or any.
                    let id = match self.dice.below(2) {
                        0 => self.id.wrapping_add(self.dice.below(50) as u32),
                        _ => self.dice.next() as u32,
                    };
                    let inner = text(20 + self.dice.below(200));
                    let mut nested = self.build(id, &inner);
                    match self.dice.below(4) {
                        // Whole, alone or with another behind it.
                        0 => {}
                        1 => nested.extend(self.build(id.wrapping_add(1), &inner)),
                        // Head and a little more, as it stands.
                        2 => nested.truncate(30 + self.dice.below(60)),
                        // The same, announcing some other content.
                        _ => {
                            let at = nested.len() - inner.len();
                            nested.truncate(at + 10);
                            let length = (self.dice.below(8000) as u32).to_be_bytes();
                            let shift = usize::from(self.version != Version::V1) * 2;
                            let of_response = usize::from(nested[shift / 2 + 1] == 0) * 2;
                            let field = 18 + shift - of_response;
                            nested[field..field + 4].copy_from_slice(&length);
                        }
                    }
                    content.extend(nested);
                    content.extend(text(self.dice.below(300)));
                }
                content.extend(text(len.saturating_sub(content.len())));
                content
            }
        }
    }
}

#[derive(Default, Debug)]
struct Tally {
    /// Frames whose bytes were all there.
    there: usize,
    /// Of those, how many came out.
    out: usize,
    /// What came out and is no frame.
    wrong: Vec<String>,
    /// Segments lost.
    lost: usize,
}

struct Setting {
    flows: u64,
    frames_per_flow: usize,
    /// One segment in so many is lost.
    lost_once_in: usize,
}

fn simulate(seed: u64, setting: &Setting) -> Tally {
    let mut tally = Tally::default();
    for flow in 0..setting.flows {
        let mut sender = Sender::new(seed.wrapping_mul(1_000_003).wrapping_add(flow));
        let mut stream = Vec::new();
        let mut frames = BTreeMap::new();
        for _ in 0..setting.frames_per_flow {
            let frame = sender.frame();
            frames.insert(stream.len() as u64, frame.len() as u64);
            stream.extend(frame);
        }
        // Segments as a sender with a full buffer makes them: regardless of frames.
        let mut dice = Dice(!sender.dice.next());
        let segments: Vec<_> = stream.chunks(1448).collect();
        let skipped = if dice.below(10) < 3 {
            dice.below(segments.len() / 2)
        } else {
            0
        };
        let start = match skipped {
            0 => Start::Beginning,
            _ => Start::MidStream,
        };
        let base = skipped as u64 * 1448;
        let mut found = Vec::new();
        let mut holes: Vec<(u64, u64)> = vec![(0, base)];
        let mut decoder = Decoder::new(start, Detail::Heads, Limits::USUAL);
        let mut at = base;
        for segment in &segments[skipped..] {
            let len = segment.len() as u64;
            let mut sink = |it: Decoded<u64>| found.push(it);
            if dice.once_in(setting.lost_once_in) {
                tally.lost += 1;
                holes.push((at, at + len));
                decoder.gap(len, &mut sink);
            } else {
                decoder.feed(at, segment, &mut sink);
            }
            at += len;
        }
        decoder.finish(&mut |it| found.push(it));

        let is_there = |offset: u64, len: u64| {
            let reaches = |(from, to): &(u64, u64)| offset < *to && offset + len > *from;
            !holes.iter().any(reaches)
        };
        tally.there += frames
            .iter()
            .filter(|(offset, len)| is_there(**offset, **len))
            .count();
        for it in found {
            let offset = it.offset + base;
            let marks = it.first <= offset && offset < it.first + 1448;
            if frames.get(&offset) != Some(&it.head.len) || !marks {
                tally.wrong.push(format!("flow {flow}: {it:?}"));
            } else if it.missing == 0 {
                tally.out += 1;
            }
        }
    }
    tally
}

#[test]
fn few_lost_segments_cost_few_frames() {
    let setting = Setting {
        flows: 40,
        frames_per_flow: 300,
        lost_once_in: 2000,
    };
    let tally = simulate(1, &setting);
    assert!(tally.wrong.is_empty(), "{:#?}", tally.wrong);
    assert!(tally.there > 9_000 && tally.lost > 5, "{tally:?}");
    assert!(tally.out * 1000 >= tally.there * 995, "{tally:?}");
}

#[test]
fn many_lost_segments_make_no_frame_up() {
    let setting = Setting {
        flows: 40,
        frames_per_flow: 150,
        lost_once_in: 30,
    };
    let tally = simulate(2, &setting);
    assert!(tally.wrong.is_empty(), "{:#?}", tally.wrong);
    assert!(tally.lost > 200, "{tally:?}");
    assert!(tally.out * 100 >= tally.there * 90, "{tally:?}");
}

#[test]
fn random_bytes_hold_no_frame() {
    let mut dice = Dice(3);
    let mut decoder = Decoder::new(Start::Beginning, Detail::Heads, Limits::USUAL);
    decoder.feed((), &heartbeat(Version::V1, 1), &mut |_| {});
    let fed = 10_000_000;
    for _ in 0..fed / 100_000 {
        let bytes = dice.bytes(100_000);
        decoder.feed((), &bytes, &mut |it| panic!("{it:?}"));
    }
    decoder.finish(&mut |it| panic!("{it:?}"));
    assert_eq!(decoder.account().skipped, fed as u64);
}
