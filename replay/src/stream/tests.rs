//! Segments written as a script, streams written as text.
//!
//! A script is a list of segments, one a line:
//! `>` or `<` (from 10.0.0.1:40000 to 10.0.0.2:12200, or back), flags (`S` SYN, `A` ACK, `F` FIN,
//! `R` RST, `-` none), the sequence number, and then, as wanted, `'payload'`, `aN` (ACK number; it
//! sets the flag), `+N` (N more bytes were on the wire), `@N` (packet time in ms).
//! A stream is written as `CONNECTION DIRECTION OFFSET 'bytes'`.

mod properties;

use expect_test::{Expect, expect};

use super::*;
use crate::packet::{Flags, Segment, Seq};

struct Script {
    table: Table,
    limits: Limits,
    budget: Budget,
    /// By flow number; the connection, and what it passed on.
    flows: Vec<(std::sync::Arc<Flow>, Connection, Log)>,
}

/// What one connection passed on.
#[derive(Default)]
struct Log {
    name: String,
    lines: Vec<String>,
    next: [u64; 2],
    bytes: [Vec<u8>; 2],
}

impl Sinks for Log {
    fn bytes(&mut self, direction: Direction, _: Mark, offset: u64, bytes: &[u8]) {
        let side = direction as usize;
        assert_eq!(offset, self.next[side], "bytes are contiguous");
        self.next[side] += bytes.len() as u64;
        self.bytes[side].extend_from_slice(bytes);
        self.lines.push(format!(
            "{} {} {offset} '{}'",
            self.name,
            arrow(direction),
            String::from_utf8_lossy(bytes)
        ));
    }

    fn gap(&mut self, direction: Direction, _: Mark, offset: u64, length: u64, why: GapReason) {
        let side = direction as usize;
        assert_eq!(offset, self.next[side], "gaps are contiguous");
        assert!(length > 0, "a gap has a length");
        self.next[side] += length;
        self.lines.push(format!(
            "{} {} {offset} gap {length} {}",
            self.name,
            arrow(direction),
            why.name()
        ));
    }
}

fn arrow(direction: Direction) -> char {
    match direction {
        Direction::ToAcceptor => '>',
        Direction::ToOpener => '<',
    }
}

impl Script {
    fn new(limits: Limits) -> Script {
        Script {
            table: Table::new(limits),
            limits,
            budget: Budget::default(),
            flows: Vec::new(),
        }
    }

    fn play(&mut self, mark: Mark, segment: &Segment, payload: &[u8]) -> Tracked {
        let tracked = self.table.track(0, mark.at_ns, segment);
        if tracked.is_new {
            let flow = self.table.flow(tracked.flow).expect("is live").clone();
            let log = Log {
                name: flow.connection.to_string(),
                ..Log::default()
            };
            self.flows.push((flow, Connection::new(), log));
        }
        let (_, connection, log) = &mut self.flows[tracked.flow.0 as usize];
        connection.segment(
            &tracked,
            segment,
            payload,
            mark,
            &self.limits,
            &mut self.budget,
            log,
        );
        tracked
    }

    fn finish(&mut self) {
        for (_, connection, log) in &mut self.flows {
            connection.finish(GapReason::EndOfCapture, &self.limits, &mut self.budget, log);
            for direction in [Direction::ToAcceptor, Direction::ToOpener] {
                let counts = connection.stream(direction).counts();
                for (what, n) in [
                    ("duplicate", counts.duplicate),
                    ("before", counts.before),
                    ("conflicts", counts.conflicts),
                ] {
                    if n > 0 {
                        let line = format!("{} {} {what} {n}", log.name, arrow(direction));
                        log.lines.push(line);
                    }
                }
                assert_eq!(connection.stream(direction).held_bytes(), 0);
            }
            let let_go = connection.let_go();
            for (what, n) in [("aside", let_go.aside), ("far", let_go.far)] {
                if n > 0 {
                    log.lines.push(format!("{} {what} {n}", log.name));
                }
            }
        }
        assert_eq!(self.budget, Budget::default(), "nothing is held at the end");
    }
}

fn segment(line: &str) -> (u64, Segment, Vec<u8>) {
    let opener = "10.0.0.1:40000".parse().expect("an address");
    let acceptor = "10.0.0.2:12200".parse().expect("an address");
    let mut words = line.split_whitespace();
    let (src, dst) = match words.next() {
        Some(">") => (opener, acceptor),
        Some("<") => (acceptor, opener),
        other => panic!("{line}: {other:?} is no direction"),
    };
    let mut flags = 0;
    for flag in words.next().expect("flags").chars() {
        flags |= match flag {
            'S' => Flags::SYN,
            'A' => Flags::ACK,
            'F' => Flags::FIN,
            'R' => Flags::RST,
            '-' => 0,
            other => panic!("{line}: {other} is no flag"),
        };
    }
    let seq = words.next().expect("a number").parse().expect("a number");
    let (mut payload, mut ack, mut more, mut at_ms) = (Vec::new(), 0, 0, 0);
    for word in words {
        let (kind, rest) = word.split_at(1);
        match kind {
            "'" => payload = rest.trim_end_matches('\'').as_bytes().to_vec(),
            "a" => {
                ack = rest.parse().expect("a number");
                flags |= Flags::ACK;
            }
            "+" => more = rest.parse().expect("a number"),
            "@" => at_ms = rest.parse().expect("a number"),
            other => panic!("{line}: {other} means nothing"),
        }
    }
    let segment = Segment {
        src,
        dst,
        seq: Seq(seq),
        ack: Seq(ack),
        flags: Flags(flags),
        window: 0,
        ip_at: 0,
        tcp_at: 0,
        options: 0..0,
        payload: 0..payload.len(),
        payload_len: payload.len() as u32 + more,
    };
    (at_ms * 1_000_000, segment, payload)
}

#[track_caller]
fn check_with(limits: Limits, script: &str, expect: Expect) {
    let mut run = Script::new(limits);
    for (at, line) in script.lines().filter(|l| !l.trim().is_empty()).enumerate() {
        let (at_ns, segment, payload) = segment(line);
        let mark = Mark {
            packet: at as u64 + 1,
            at_ns,
        };
        run.play(mark, &segment, &payload);
    }
    run.finish();
    let lines: Vec<String> = run
        .flows
        .into_iter()
        .flat_map(|(_, _, l)| l.lines)
        .collect();
    expect.assert_eq(&lines.join("\n"));
}

#[track_caller]
fn check(script: &str, expect: Expect) {
    check_with(Limits::USUAL, script, expect);
}

#[test]
fn in_order() {
    check(
        "> S 100
         < SA 500 a101
         > A 101 'abc' a501
         < A 501 'XY' a104
         > A 104 'de' a503
         > FA 106 a503
         < FA 503 a107",
        expect![[r#"
            1 > 0 'abc'
            1 < 0 'XY'
            1 > 3 'de'"#]],
    );
}

#[test]
fn reordered_and_retransmitted() {
    check(
        "> S 100
         > - 104 'def'
         > - 101 'abc'
         > - 101 'abc'
         > - 104 'defgh'",
        expect![[r#"
            1 > 0 'abc'
            1 > 3 'def'
            1 > 6 'gh'
            1 > duplicate 6"#]],
    );
}

#[test]
fn first_copy_wins() {
    // Behind the hole both copies are there to be compared; passed on bytes are gone.
    check(
        "> S 100
         > - 103 'CD'
         > - 102 'bcde'
         > - 101 'a'
         > - 101 'A'",
        expect![[r#"
            1 > 0 'a'
            1 > 1 'b'
            1 > 2 'CD'
            1 > 4 'e'
            1 > duplicate 3
            1 > conflicts 1"#]],
    );
}

#[test]
fn history_finds_conflicts_with_what_was_passed_on() {
    let limits = Limits {
        history_bytes: 4,
        ..Limits::USUAL
    };
    check_with(
        limits,
        "> S 100
         > - 101 'abcdefgh'
         > - 107 'gh'
         > - 107 'gX'
         > - 101 'X'
         > - 108 '0'",
        expect![[r#"
            1 > 0 'abcdefgh'
            1 > duplicate 6
            1 > conflicts 1"#]],
    );
}

#[test]
fn hole_is_given_up_when_acked_and_late() {
    // The ACK alone is not enough: the segment may follow in the capture.
    check(
        "> S 100
         < SA 500 a101
         > A 104 'def' a501
         < A 501 a107
         > A 101 'abc' a501",
        expect![[r#"
            1 > 0 'abc'
            1 > 3 'def'"#]],
    );
    // 100 ms later it will not.
    check(
        "> S 100
         < SA 500 a101
         > A 104 'def' a501
         < A 501 a107
         < A 501 'xyz' a107 @99
         > A 107 'ghi' a504 @100",
        expect![[r#"
            1 < 0 'xyz'
            1 > 0 gap 3 acked
            1 > 3 'def'
            1 > 6 'ghi'"#]],
    );
    // Nor after 8 segments.
    let later: String = (0..9)
        .map(|n| format!("> A {} 'x' a501\n", 107 + n))
        .collect();
    check(
        &format!("> S 100\n< SA 500 a101\n> A 104 'def' a501\n< A 501 a107\n{later}"),
        expect![[r#"
            1 > 0 gap 3 acked
            1 > 3 'def'
            1 > 6 'x'
            1 > 7 'x'
            1 > 8 'x'
            1 > 9 'x'
            1 > 10 'x'
            1 > 11 'x'
            1 > 12 'x'
            1 > 13 'x'
            1 > 14 'x'"#]],
    );
}

#[test]
fn the_other_side_speaking_gives_up_nothing() {
    check(
        "> S 100
         < SA 500 a101
         > A 104 'def' a501
         < A 501 'one' a101 @500
         < A 504 'two' a101 @900
         > A 101 'abc' a507 @1000",
        expect![[r#"
            1 < 0 'one'
            1 < 3 'two'
            1 > 0 'abc'
            1 > 3 'def'"#]],
    );
}

#[test]
fn one_sided_holes_wait_for_a_limit() {
    let limits = Limits {
        held_bytes_max: 5,
        ..Limits::USUAL
    };
    check_with(
        limits,
        "> S 100
         > - 104 'def'
         > - 109 'ij'
         > - 112 'l'
         > - 101 'abc'",
        expect![[r#"
            1 > 0 gap 3 limit
            1 > 3 'def'
            1 > 6 gap 2 end-of-capture
            1 > 8 'ij'
            1 > 10 gap 1 end-of-capture
            1 > 11 'l'
            1 > duplicate 3"#]],
    );
    let limits = Limits {
        held_pieces_max: 1,
        ..Limits::USUAL
    };
    check_with(
        limits,
        "> S 100
         > - 109 'ij'
         > - 104 'def'",
        expect![[r#"
            1 > 0 gap 3 limit
            1 > 3 'def'
            1 > 6 gap 2 end-of-capture
            1 > 8 'ij'"#]],
    );
    let limits = Limits {
        held_total_bytes_max: 2,
        ..Limits::USUAL
    };
    check_with(
        limits,
        "> S 100
         > - 104 'def'",
        expect![[r#"
            1 > 0 gap 3 limit
            1 > 3 'def'"#]],
    );
}

#[test]
fn sequence_numbers_wrap() {
    check(
        "> S 4294967292
         > - 4294967293 'abc'
         > - 0 'def'
         > - 6 'jkl'
         > - 3 'ghi'",
        expect![[r#"
            1 > 0 'abc'
            1 > 3 'def'
            1 > 6 'ghi'
            1 > 9 'jkl'"#]],
    );
    check(
        "> S 4294967295
         > - 0 'abc'",
        expect![[r#"1 > 0 'abc'"#]],
    );
}

#[test]
fn streams_longer_than_4_gib() {
    let mut table = Table::new(Limits::USUAL);
    let (_, mut at, _) = segment("> S 7");
    table.track(0, 0, &at);
    at.flags = Flags(Flags::ACK);
    let step = 48 << 20;
    let mut sent: u64 = 0;
    while sent < 10 << 30 {
        at.seq = Seq(8u32.wrapping_add(sent as u32));
        at.payload_len = step;
        let tracked = table.track(0, 0, &at);
        assert_eq!((tracked.offset, tracked.fit), (sent as i64, Fit::InWindow));
        sent += u64::from(step);
    }
}

#[test]
fn mid_stream_start() {
    check(
        "> A 1000 'abc' a7000
         < A 7000 'xyz' a1003
         > A 1003 'def' a7003",
        expect![[r#"
            1 > 0 'abc'
            1 < 0 'xyz'
            1 > 3 'def'"#]],
    );
    // What was sent before the first byte seen is no part of the stream.
    check(
        "> A 1000 'abc'
         > A 998 'YZabcd'
         > A 990 'old'",
        expect![[r#"
            1 > 0 'abc'
            1 > 3 'd'
            1 > duplicate 3
            1 > before 5"#]],
    );
}

#[test]
fn handshakes_in_disorder() {
    // The SYN was lost.
    check(
        "< SA 500 a101
         > A 104 'def' a501
         > A 101 'abc' a501",
        expect![[r#"
            1 > 0 'abc'
            1 > 3 'def'"#]],
    );
    // The SYN-ACK was lost, and the acceptor's first segment comes late.
    check(
        "> S 100
         > A 101 'abc' a501
         < A 504 'two' a104
         < A 501 'one' a104",
        expect![[r#"
            1 > 0 'abc'
            1 < 0 'one'
            1 < 3 'two'"#]],
    );
    // SYN-ACK and SYN swapped; a SYN sent again; both open at once.
    for script in [
        "< SA 500 a101
         > S 100
         > A 101 'abc' a501",
        "> S 100
         > S 100
         < SA 500 a101
         < SA 500 a101
         > A 101 'abc' a501",
        "> S 100
         < S 500
         > SA 100 a501
         < SA 500 a101
         > A 101 'abc' a501",
        "> A 101 'abc' a501
         > S 100",
    ] {
        check(script, expect!["1 > 0 'abc'"]);
    }
}

#[test]
fn payload_on_syn_and_fin() {
    check(
        "> S 100 'abc'
         < SA 500 a104
         > FA 104 'de' a501
         < FA 501 'z' a107
         > A 107 a503",
        expect![[r#"
            1 > 0 'abc'
            1 > 3 'de'
            1 < 0 'z'"#]],
    );
    // The acceptor did not take the payload; it is sent again.
    check(
        "> S 100 'abc'
         < SA 500 a101
         > A 101 'abcd' a501",
        expect![[r#"
            1 > 0 'abc'
            1 > 3 'd'
            1 > duplicate 3"#]],
    );
}

#[test]
fn missing_ends() {
    // The last segment before the FIN is not in the capture.
    check(
        "> S 100
         > A 101 'abc'
         > FA 106",
        expect![[r#"
            1 > 0 'abc'
            1 > 3 gap 2 end-of-capture"#]],
    );
    // The FIN is not in the capture: its acknowledgement is no hole.
    check(
        "> S 100
         < SA 500 a101
         > A 101 'abc' a501
         < A 501 a105
         < A 501 a105 @1000",
        expect!["1 > 0 'abc'"],
    );
    // The last segment is not in the capture, but was acknowledged.
    check(
        "> S 100
         < SA 500 a101
         > A 101 'abc' a501
         < A 501 a109",
        expect![[r#"
            1 > 0 'abc'
            1 > 3 gap 5 acked"#]],
    );
}

#[test]
fn keep_alive_probes() {
    check(
        "> S 100
         < SA 500 a101
         > A 100 '0' a501
         > A 101 'abc' a501
         > A 103 a501
         > A 103 '0' a501
         < A 501 a104
         > A 104 'de' a501",
        expect![[r#"
            1 > 0 'abc'
            1 > 3 'de'
            1 > duplicate 2"#]],
    );
}

#[test]
fn ports_used_again() {
    // After FINs, after a reset, and where the end was not seen.
    for end in [
        "> FA 104\n< FA 501 a105\n> A 105 a502\n",
        "< RA 501 a104\n",
        "",
    ] {
        check(
            &format!(
                "> S 100\n< SA 500 a101\n> A 101 'abc' a501\n{end}\
                 > S 9000\n< SA 3000 a9001\n> A 9001 'new' a3001"
            ),
            expect![[r#"
                1 > 0 'abc'
                2 > 0 'new'"#]],
        );
    }
    // The SYN of the successor was lost, or even the whole handshake.
    check(
        "> S 100
         > A 101 'abc'
         < RA 501 a104
         < SA 3000 a9001
         > A 9001 'new' a3001
         > R 9004
         > A 2000000000 'third'",
        expect![[r#"
            1 > 0 'abc'
            2 > 0 'new'
            3 > 0 'third'"#]],
    );
    // A late segment of an ended connection belongs to it still.
    check(
        "> S 100
         > A 104 'def'
         < RA 501 a101
         > A 101 'abc'",
        expect![[r#"
            1 > 0 'abc'
            1 > 3 'def'"#]],
    );
}

#[test]
fn resets() {
    check(
        "> S 100
         > A 101 'abc'
         > RA 104 'bye'
         < R 501 'why'",
        expect![[r#"
            1 > 0 'abc'
            1 aside 6"#]],
    );
}

#[test]
fn cut_by_snaplen() {
    check(
        "> S 100
         > A 101 'abc' +4
         > A 108 'de' +1
         > A 111 'f'",
        expect![[r#"
            1 > 0 'abc'
            1 > 3 gap 4 snaplen
            1 > 7 'de'
            1 > 9 gap 1 snaplen
            1 > 10 'f'"#]],
    );
    // Out of order, and the last one with nothing behind it.
    check(
        "> S 100
         > A 108 'de' +1
         > A 101 'abc' +4
         > A 111 +3",
        expect![[r#"
            1 > 0 'abc'
            1 > 3 gap 4 snaplen
            1 > 7 'de'
            1 > 9 gap 1 snaplen
            1 > 10 gap 3 snaplen"#]],
    );
}

#[test]
fn far_ahead_is_not_believed_at_once() {
    check(
        "> S 100
         > A 101 'abc'
         > A 1000000101 'far'
         > A 104 'def'",
        expect![[r#"
            1 > 0 'abc'
            1 > 3 'def'
            1 far 3"#]],
    );
    // Three agree: the capture paused. The same far behind, which is ahead by more than 2 GiB.
    for far in [1_000_000_000u32, 3_000_000_000] {
        let mut run = Script::new(Limits::USUAL);
        let lines = [
            "> S 100".to_owned(),
            "> A 101 'abc'".to_owned(),
            format!("> A {far} 'one'"),
            format!("> A {} 'two'", far + 3),
            format!("> A {} 'three'", far + 6),
        ];
        for line in lines {
            let (_, segment, payload) = segment(&line);
            run.play(Mark::default(), &segment, &payload);
        }
        run.finish();
        let (_, _, log) = &run.flows[0];
        assert_eq!(log.bytes[0], b"abcthree");
        assert_eq!(log.next[0], u64::from(far) + 11 - 101);
    }
}

#[test]
fn segments_larger_than_any_mtu() {
    let mut run = Script::new(Limits::USUAL);
    let (_, syn, _) = segment("> S 100");
    run.play(Mark::default(), &syn, &[]);
    let payload: Vec<u8> = (0..65_000u32).map(|n| n as u8).collect();
    for part in [1usize, 0] {
        let (_, mut at, _) = segment("> A 101");
        at.seq = Seq(101 + 65_000 * part as u32);
        at.payload_len = 65_000;
        run.play(Mark::default(), &at, &payload);
    }
    run.finish();
    assert_eq!(run.flows[0].2.bytes[0], [payload.clone(), payload].concat());
}

#[test]
fn who_opened() {
    #[track_caller]
    fn check(src: &str, dst: &str, direction: Direction, by: OpenerBy) {
        let (_, mut at, _) = segment("> A 101 'abc'");
        at.src = src.parse().expect("an address");
        at.dst = dst.parse().expect("an address");
        let mut table = Table::new(Limits::USUAL);
        let tracked = table.track(0, 0, &at);
        let flow = table.flow(tracked.flow).expect("is live");
        assert_eq!((tracked.direction, flow.opener_by), (direction, by));
    }
    use Direction::{ToAcceptor, ToOpener};
    check("1.1.1.1:40000", "2.2.2.2:12200", ToAcceptor, OpenerBy::Port);
    check("1.1.1.1:12220", "2.2.2.2:33000", ToOpener, OpenerBy::Port);
    check("1.1.1.1:80", "2.2.2.2:12200", ToAcceptor, OpenerBy::Port);
    check("1.1.1.1:8080", "2.2.2.2:50000", ToOpener, OpenerBy::Port);
    check("[::1]:50000", "[::2]:443", ToAcceptor, OpenerBy::Port);
    check("1.1.1.1:8080", "2.2.2.2:9090", ToOpener, OpenerBy::Guess);
    check(
        "1.1.1.1:50001",
        "2.2.2.2:50000",
        ToAcceptor,
        OpenerBy::Guess,
    );
}

#[test]
fn the_idlest_goes_at_the_limit() {
    let limits = Limits {
        flows_max: 4,
        ..Limits::USUAL
    };
    let mut table = Table::new(limits);
    let mut gone = Vec::new();
    for port in 0..6u16 {
        let (_, mut at, _) = segment("> S 100");
        at.src.set_port(50_000 + port);
        let tracked = table.track(0, u64::from(port), &at);
        assert_eq!(tracked.flow, FlowId(u32::from(port)));
        while let Some(id) = table.take_retired() {
            gone.push(id.0);
        }
    }
    assert_eq!((gone, table.evicted()), (vec![0, 1], 2));
    // One that comes back is another connection of the same ends.
    let (_, mut at, _) = segment("> A 200 'abc'");
    at.src.set_port(50_000);
    let tracked = table.track(0, 9, &at);
    assert_eq!(
        table.flow(tracked.flow).map(|flow| flow.connection),
        Some(2)
    );
}

#[test]
fn capture_points_are_apart() {
    let mut table = Table::new(Limits::USUAL);
    let (_, at, _) = segment("> S 100");
    let here = table.track(0, 0, &at);
    let there = table.track(1, 0, &at);
    assert_ne!(here.flow, there.flow);
    assert!(there.is_new);
    assert_eq!(table.track(0, 0, &at).flow, here.flow);
}
