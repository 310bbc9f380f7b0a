//! Whatever happens to the segments on their way, the stream is the same.

use proptest::prelude::*;

use super::*;

/// How a stream is cut and what happens to the segments on their way.
#[derive(Clone, Debug)]
struct Way {
    isn: u32,
    len: usize,
    /// Start and length of every segment, as parts of the stream, in the order of capture; the
    /// whole stream is cut into `step` long ones as well, so that nothing is missing.
    extra: Vec<(prop::sample::Index, usize)>,
    step: usize,
    order: u64,
    acks: bool,
}

fn ways() -> impl Strategy<Value = Way> {
    (
        prop_oneof![any::<u32>(), (u32::MAX - 600)..=u32::MAX],
        1..600usize,
        prop::collection::vec((any::<prop::sample::Index>(), 1..90usize), 0..12),
        1..90usize,
        any::<u64>(),
        any::<bool>(),
    )
        .prop_map(|(isn, len, extra, step, order, acks)| Way {
            isn,
            len,
            extra,
            step,
            order,
            acks,
        })
}

fn check_way(way: &Way) {
    let stream: Vec<u8> = (0..way.len).map(|n| (n * 7 + n / 251) as u8).collect();
    let mut pieces: Vec<(usize, usize)> = (0..way.len)
        .step_by(way.step)
        .map(|at| (at, (at + way.step).min(way.len)))
        .collect();
    for (at, len) in &way.extra {
        let at = at.index(way.len);
        pieces.push((at, (at + len).min(way.len)));
    }
    let mut order: Vec<usize> = (0..pieces.len()).collect();
    // A shuffle by a multiplicative hash; `order` 0 leaves the segments as they are.
    order.sort_by_key(|&at| (at as u64 + 1).wrapping_mul(way.order).rotate_left(17));
    let limits = Limits {
        history_bytes: 64,
        ..Limits::USUAL
    };
    let mut run = Script::new(limits);
    let (_, mut syn, _) = segment("> S 0");
    syn.seq = Seq(way.isn);
    run.play(Mark::default(), &syn, &[]);
    let mut seen = vec![false; way.len + 1];
    for &at in &order {
        let (from, to) = pieces[at];
        let (_, mut at, _) = segment("> A 0 a501");
        at.seq = Seq(way.isn.wrapping_add(1).wrapping_add(from as u32));
        at.payload_len = (to - from) as u32;
        run.play(Mark::default(), &at, &stream[from..to]);
        seen[from..to].fill(true);
        if way.acks {
            // The receiver acknowledges what it has, and it has what the capture has.
            let has = seen.iter().position(|seen| !seen).unwrap_or(0);
            let (_, mut ack, _) = segment("< A 501");
            ack.ack = Seq(way.isn.wrapping_add(1).wrapping_add(has as u32));
            run.play(Mark::default(), &ack, &[]);
        }
    }
    run.finish();
    assert_eq!(run.flows.len(), 1);
    let (_, connection, log) = &run.flows[0];
    assert_eq!(log.bytes[0], stream);
    let counts = connection.stream(Direction::ToAcceptor).counts();
    let put_in: usize = pieces.iter().map(|(from, to)| to - from).sum();
    assert_eq!(counts.duplicate, (put_in - way.len) as u64);
    assert_eq!((counts.conflicts, counts.before), (0, 0));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn any_way_gives_the_same_bytes(way in ways()) {
        check_way(&way);
    }

    /// Anything at all: nothing panics, every byte is accounted for, nothing is held at the end.
    #[test]
    fn hostile_segments_are_accounted_for(
        segments in prop::collection::vec(
            (any::<bool>(), 0..32u8, prop_oneof![0..300u32, any::<u32>()],
             prop_oneof![0..300u32, any::<u32>()], 0..40usize, 0..3u32, 0..400u64),
            0..60,
        ),
        held_bytes_max in 0..100usize,
        held_pieces_max in 0..6usize,
    ) {
        let limits = Limits {
            held_bytes_max,
            held_pieces_max,
            held_total_bytes_max: 80,
            history_bytes: 16,
            flows_max: 3,
            ..Limits::USUAL
        };
        let mut run = Script::new(limits);
        let mut put_in = 0;
        for (forward, flags, seq, ack, len, more, at_ms) in segments {
            let (_, mut at, _) = segment(if forward { "> - 0" } else { "< - 0" });
            at.flags = Flags(flags);
            at.seq = Seq(seq);
            at.ack = Seq(ack);
            at.payload_len = len as u32 + more;
            let mark = Mark { packet: 0, at_ns: at_ms * 1_000_000 };
            run.play(mark, &at, &vec![seq as u8; len]);
            put_in += len as u64;
        }
        run.finish();
        let mut found = 0;
        for (_, connection, log) in &run.flows {
            for direction in [Direction::ToAcceptor, Direction::ToOpener] {
                let counts = connection.stream(direction).counts();
                prop_assert_eq!(counts.passed, log.bytes[direction as usize].len() as u64);
                found += counts.passed + counts.duplicate + counts.before;
            }
            found += connection.let_go().aside + connection.let_go().far;
        }
        prop_assert_eq!(found, put_in);
    }
}

/// Found by the property above: room for a piece is made by giving up a hole, and what the snaplen
/// cut away behind that hole reaches past the piece.
#[test]
fn a_stream_that_went_on_past_a_piece_does_not_hold_it() {
    struct End(u64);
    impl Sink for End {
        fn bytes(&mut self, _: Mark, offset: u64, bytes: &[u8]) {
            assert_eq!(offset, self.0);
            self.0 += bytes.len() as u64;
        }
        fn gap(&mut self, _: Mark, offset: u64, len: u64, _: GapReason) {
            assert_eq!(offset, self.0);
            self.0 += len;
        }
    }
    let limits = Limits {
        held_pieces_max: 1,
        ..Limits::USUAL
    };
    let (mut budget, mut end) = (Budget::default(), End(0));
    let mut assembler = Assembler::new();
    for (offset, bytes, wire_len) in [(2, &b"a"[..], 10), (5, b"bcd", 3)] {
        let piece = Piece {
            offset,
            mark: Mark::default(),
            bytes,
            wire_len,
        };
        assembler.segment(piece, &limits, &mut budget, &mut end);
    }
    assembler.finish(
        None,
        GapReason::EndOfCapture,
        &limits,
        &mut budget,
        &mut end,
    );
    assert_eq!((end.0, assembler.held_bytes()), (12, 0));
    let counts = assembler.counts();
    assert_eq!((counts.passed, counts.duplicate), (1, 3));
}
