//! Frames written as a script: `>` or `<` for the direction (to the acceptor, to the opener), what
//! the frame is (`req`, `one`, `res`, `hb`, `ack`, `bye`, `what`), its id, and as wanted `@N` (time
//! in ms) and `tN` (time-out in ms). `hold` and `free` say whether the opener's stream waits for
//! bytes. An exchange is written as `kind id from: request packet-response packet outcome`.

use expect_test::{Expect, expect};
use meshproof_wire::{Head, Protocol};

use super::*;
use crate::stream::{FlowId, OpenerBy};

fn flow(opener_by: OpenerBy) -> Arc<Flow> {
    Arc::new(Flow {
        id: FlowId(0),
        source: 0,
        opener: "10.0.0.1:40000".parse().expect("an address"),
        acceptor: "10.0.0.2:12200".parse().expect("an address"),
        opener_by,
        connection: 1,
        from_start: true,
    })
}

fn told(exchange: &Exchange) -> String {
    let packet = |half: &Option<Half>| match half {
        Some(half) => half.mark.packet.to_string(),
        None => "none".to_owned(),
    };
    format!(
        "{} {} {}: {}-{} {}{}",
        exchange.kind,
        exchange.id,
        exchange.from,
        packet(&exchange.request),
        packet(&exchange.response),
        exchange.outcome,
        if exchange.late { " late" } else { "" }
    )
}

#[track_caller]
fn check_with(opener_by: OpenerBy, limits: Limits, script: &str, expect: Expect) {
    let flow = flow(opener_by);
    let mut pairing = Pairing::new();
    let mut lines = Vec::new();
    let mut holds = false;
    for (at, line) in script.split('|').enumerate() {
        let mut words = line.split_whitespace();
        let direction = match words.next() {
            Some(">") => Direction::ToAcceptor,
            Some("<") => Direction::ToOpener,
            Some(word @ ("hold" | "free")) => {
                holds = word == "hold";
                continue;
            }
            other => panic!("{line}: {other:?} is no direction"),
        };
        let kind = match words.next() {
            Some("req") => Kind::Request,
            Some("one") => Kind::Oneway,
            Some("res") => Kind::Response,
            Some("hb") => Kind::Heartbeat,
            Some("ack") => Kind::HeartbeatAck,
            Some("bye") => Kind::Goaway,
            Some("what") => Kind::Unknown,
            other => panic!("{line}: {other:?} is no frame"),
        };
        let id = words.next().expect("an id").parse().expect("a number");
        let (mut at_ms, mut timeout_ms) = (0, None);
        for word in words {
            let (what, number) = word.split_at(1);
            let number: u32 = number.parse().expect("a number");
            match what {
                "@" => at_ms = u64::from(number),
                "t" => timeout_ms = Some(number),
                other => panic!("{line}: {other} means nothing"),
            }
        }
        let mark = Mark {
            packet: at as u64 + 1,
            at_ns: at_ms * 1_000_000,
        };
        let frame = Decoded {
            head: Head {
                protocol: Protocol::BoltV1,
                kind,
                id: RequestId(id),
                len: 22,
                codec: 1,
                timeout_ms,
                status: None,
            },
            offset: 0,
            first: mark,
            last: mark,
            missing: 0,
            frame: None,
        };
        let mut settled = |exchange: Exchange| lines.push(told(&exchange));
        pairing.frame(&flow, direction, frame, mark.at_ns, &limits, &mut settled);
        let holds_back = |direction| holds && direction == Direction::ToAcceptor;
        pairing.release(&flow, mark.at_ns, &limits, holds_back, &mut settled);
    }
    lines.push("end".to_owned());
    pairing.finish(&flow, &mut |exchange| lines.push(told(&exchange)));
    assert_eq!((pairing.open(), pairing.has_parked()), (0, false));
    assert_eq!(pairing.held_bytes, 0);
    expect.assert_eq(&lines.join("\n"));
}

#[track_caller]
fn check(script: &str, expect: Expect) {
    check_with(OpenerBy::Handshake, Limits::USUAL, script, expect);
}

#[test]
fn responses_come_in_any_order() {
    check(
        "> req 1 | > req 2 | > req 3 | < res 2 | < res 3 | < res 1",
        expect![[r#"
            call 2 client: 2-4 answered
            call 3 client: 3-5 answered
            call 1 client: 1-6 answered
            end"#]],
    );
}

#[test]
fn both_sides_may_ask_with_the_same_id() {
    check(
        "> req 1 | < req 1 | > res 1 | < res 1",
        expect![[r#"
            call 1 server: 2-3 answered
            call 1 client: 1-4 answered
            end"#]],
    );
    check_with(
        OpenerBy::Guess,
        Limits::USUAL,
        "> req 1 | < res 1 | < req 2",
        expect![[r#"
            call 1 unknown: 1-2 answered
            end
            call 2 unknown: 3-none unanswered"#]],
    );
}

#[test]
fn an_id_sent_again_is_an_exchange_of_its_own() {
    check(
        "> req 7 | > req 7 | > req 7 | < res 7 | < res 7 | > req 7 | < res 7",
        expect![[r#"
            call 7 client: 1-4 answered
            call 7 client: 2-5 answered
            call 7 client: 3-7 answered
            end
            call 7 client: 6-none unanswered"#]],
    );
}

#[test]
fn heartbeats_pair_apart_from_calls() {
    check(
        "> req 1 | > hb 1 | < res 1 | < ack 1 | > hb 2 | < ack 3",
        expect![[r#"
            call 1 client: 1-3 answered
            heartbeat 1 client: 2-4 answered
            end
            heartbeat 3 client: none-6 orphan-response
            heartbeat 2 client: 5-none unanswered"#]],
    );
}

#[test]
fn nothing_answers_one_ways_and_goaways() {
    check(
        "> one 1 | < bye 2 | > what 3 | < res 1",
        expect![[r#"
            oneway 1 client: 1-none oneway
            goaway 2 server: 2-none oneway
            end
            call 1 client: none-4 orphan-response"#]],
    );
}

#[test]
fn late_is_later_than_the_time_out() {
    check(
        "> req 1 t300 | > req 2 t300 | > req 3 | < res 1 @300 | < res 2 @301 | < res 3 @99999",
        expect![[r#"
            call 1 client: 1-4 answered
            call 2 client: 2-5 answered late
            call 3 client: 3-6 answered
            end"#]],
    );
}

#[test]
fn a_response_waits_for_a_request_that_is_held_back() {
    // For 100 ms in any case: the capture may have swapped the two.
    check(
        "< res 1 | > req 1 @99",
        expect![[r#"
            call 1 client: 2-1 answered
            end"#]],
    );
    check(
        "< res 1 | > req 2 @100 | > req 1 @101",
        expect![[r#"
            call 1 client: none-1 orphan-response
            end
            call 2 client: 2-none unanswered
            call 1 client: 3-none unanswered"#]],
    );
    // And as long as the stream of requests has a hole.
    check(
        "hold | < res 1 | < res 2 @5000 | > req 1 @5001 | > req 2 @5001",
        expect![[r#"
            call 1 client: 4-2 answered
            call 2 client: 5-3 answered
            end"#]],
    );
    check(
        "hold | < res 1 | < res 2 @5000 | free | < res 3 @6000",
        expect![[r#"
            call 1 client: none-2 orphan-response
            call 2 client: none-3 orphan-response
            end
            call 3 client: none-5 orphan-response"#]],
    );
}

#[test]
fn limits_settle_the_oldest() {
    let limits = Limits {
        open_max: 2,
        parked_max: 1,
        ..Limits::USUAL
    };
    check_with(
        OpenerBy::Port,
        limits,
        "> req 1 | > req 2 | > req 3 | > req 3 | < res 8 | < res 9",
        expect![[r#"
            call 1 client: 1-none unanswered
            call 2 client: 2-none unanswered
            call 8 client: none-5 orphan-response
            end
            call 9 client: none-6 orphan-response
            call 3 client: 3-none unanswered
            call 3 client: 4-none unanswered"#]],
    );
}
