//! Plans and runs against servers that misbehave on purpose.

mod hostile;
mod stubs;
mod subscriptions;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::num::NonZeroUsize;

use meshproof_record::verdict::Verdict;
use meshproof_wire::Protocol;
use proptest::prelude::*;

use super::judge::{Judged, Terms, judge};
use super::outcome::{End, Run, Stop};
use super::pace::{LatenessLimit, Pace};
use super::plan::{Connections, Fate, Plan, Planning, Recorded, Routes, Skip, plan};
use super::run::{Control, Settings, run};
use super::testing::Recorded as Case;
use super::testing::{CRC, V1, exchange, goaway, request, response, server};
use crate::diff::Frames;
use crate::exchange::{Exchange, ExchangeKind, From};
use crate::map::{Target, Writes};
use crate::stub::shelf::Matching;
use crate::stub::{Latency, Options, Shelf, Stub};
use crate::targets::{Policy, Refusal};

fn planned(exchanges: Vec<Exchange>, to: SocketAddr, pace: Pace, connections: Connections) -> Plan {
    let routes = Routes {
        default: Some(to),
        by_server: Vec::new(),
    };
    let planning = Planning {
        routes: &routes,
        policy: &Policy::default(),
        pace,
        connections,
        timeout_ms: None,
        api: None,
    };
    plan(recorded(exchanges), &planning).unwrap()
}

fn recorded(exchanges: Vec<Exchange>) -> Vec<Recorded> {
    exchanges.into_iter().map(Recorded::from).collect()
}

fn terms(pace: Pace) -> Terms {
    Terms {
        pace,
        lateness: LatenessLimit::default(),
        loose: 0,
    }
}

fn verdict(judged: &Judged, name: &str) -> Verdict {
    let claim = judged.claims.iter().find(|claim| claim.name == name);
    claim.unwrap_or_else(|| panic!("no claim {name}")).verdict
}

fn replayed(exchanges: Vec<Exchange>, to: SocketAddr) -> (Run, Judged) {
    replayed_with(exchanges, to, Settings::usual(Pace::Window))
}

fn replayed_with(exchanges: Vec<Exchange>, to: SocketAddr, settings: Settings) -> (Run, Judged) {
    let plan = planned(exchanges, to, settings.pace, Connections::Recorded);
    let run = run(&plan, &settings, &Control::new().unwrap()).unwrap();
    let judged = judge(&plan, &run, &Frames::default(), &terms(settings.pace));
    assert_eq!(judged.ledger.check(), []);
    (run, judged)
}

/// Calls on one connection, 1 ms apart: `a` answered by `A`, and so on.
fn calls(count: u32) -> Vec<Exchange> {
    const LETTERS: [(&str, &str); 4] = [("a", "A"), ("b", "B"), ("c", "C"), ("d", "D")];
    (0..count)
        .map(|n| {
            let (argument, answer) = LETTERS[n as usize % 4];
            exchange(Case {
                id: n + 1,
                at_ms: u64::from(n),
                argument,
                answer: Some(answer),
                ..Case::default()
            })
        })
        .collect()
}

fn lost(judged: &Judged, reason: &str) -> u64 {
    judged.ledger.lost.get(reason).copied().unwrap_or(0)
}

#[test]
fn a_faithful_server_passes() {
    let (to, server) = server(1, |mut session| session.echo_all());
    let (run, judged) = replayed(calls(200), to);
    server.join().unwrap();
    assert_eq!(verdict(&judged, "functional"), Verdict::Pass, "{judged:?}");
    assert_eq!(verdict(&judged, "targets"), Verdict::Pass);
    assert_eq!((judged.ledger.sent, judged.ledger.compared), (200, 200));
    assert_eq!(run.stop, Stop::Finished);
    assert_eq!(judged.latency.count(), 200);
    assert!(judged.claims.iter().all(|claim| claim.name != "latency"));
}

#[test]
fn the_window_bounds_what_waits() {
    let (to, server) = server(1, |mut session| {
        // Exactly the window comes without an answer.
        let first = session.take(8);
        session.stream.set_nonblocking(true).unwrap();
        assert!(session.next().is_none());
        session.stream.set_nonblocking(false).unwrap();
        for request in &first {
            session.echo(request);
        }
        session.echo_all();
    });
    let settings = Settings {
        window: NonZeroUsize::new(8).unwrap(),
        ..Settings::usual(Pace::Window)
    };
    let (_, judged) = replayed_with(calls(20), to, settings);
    server.join().unwrap();
    assert_eq!(verdict(&judged, "functional"), Verdict::Pass);
}

#[test]
fn one_other_byte_fails() {
    let (to, server) = server(1, |mut session| {
        for request in session.take(3) {
            session.echo(&request);
        }
        let last = session.next().unwrap();
        session.say(&response(V1, last.head.id.0, "d"));
        session.echo_all();
    });
    let (_, judged) = replayed(calls(4), to);
    server.join().unwrap();
    assert_eq!(verdict(&judged, "functional"), Verdict::Fail);
    assert_eq!(judged.differed, 1);
    let difference = &judged.differences[&3][0];
    assert_eq!(difference.path, "body");
}

#[test]
fn a_parrot_is_caught() {
    // It knows the recorded bytes and no ids; in which order it says them does not matter.
    let recorded: Vec<_> = (1..=4)
        .map(|id| response(V1, id, ["A", "B", "C", "D"][id as usize - 1]))
        .collect();
    for order in [[0, 1, 2, 3], [3, 1, 0, 2]] {
        let lines = recorded.clone();
        let (to, server) = server(1, move |mut session| {
            session.take(4);
            for at in order {
                session.say(&lines[at]);
            }
        });
        let (_, judged) = replayed(calls(4), to);
        server.join().unwrap();
        assert_eq!(verdict(&judged, "functional"), Verdict::Fail);
        assert_eq!(judged.ledger.surplus, 4);
        assert_eq!(lost(&judged, "closed"), 4);
    }
    // One that puts the right ids on the wrong answers.
    let (to, server) = server(1, |mut session| {
        let requests = session.take(4);
        for (request, text) in requests.iter().zip(["B", "C", "D", "A"]) {
            session.say(&response(V1, request.head.id.0, text));
        }
        session.echo_all();
    });
    let (_, judged) = replayed(calls(4), to);
    server.join().unwrap();
    assert_eq!(verdict(&judged, "functional"), Verdict::Fail);
    assert_eq!(judged.differed, 4);
}

#[test]
fn an_answer_to_nobody_or_twice_is_surplus() {
    let (to, server) = server(1, |mut session| {
        let requests = session.take(4);
        for request in &requests {
            session.echo(request);
        }
        session.echo(&requests[0]);
        session.say(&response(V1, 77, "A"));
        session.echo_all();
    });
    let (_, judged) = replayed(calls(4), to);
    server.join().unwrap();
    assert_eq!(judged.ledger.surplus, 2);
    assert_eq!(judged.ledger.compared, 4);
    assert_eq!(verdict(&judged, "functional"), Verdict::Fail);
}

#[test]
fn what_is_not_answered_times_out_and_a_late_answer_is_counted_apart() {
    let (to, server) = server(1, |mut session| {
        let requests = session.take(2);
        // The window is 2: the third comes when the first has timed out.
        let third = session.next().unwrap();
        session.echo(&requests[0]);
        session.echo(&third);
        session.echo_all();
    });
    let mut exchanges = calls(4);
    for (at, exchange) in exchanges.iter_mut().enumerate() {
        let timeout_ms = if at < 2 { 30 } else { 3_000 };
        let recorded = exchange.request.as_mut().unwrap();
        let r = Case {
            id: at as u32 + 1,
            argument: ["a", "b", "c", "d"][at],
            timeout_ms,
            ..Case::default()
        };
        recorded.head = request(r).head;
        recorded.frame = Some(request(r));
    }
    let settings = Settings {
        window: NonZeroUsize::new(2).unwrap(),
        ..Settings::usual(Pace::Window)
    };
    let (run, judged) = replayed_with(exchanges, to, settings);
    server.join().unwrap();
    assert_eq!(judged.ledger.timed_out, 2);
    assert_eq!(judged.ledger.answered, 2);
    assert_eq!(judged.ledger.surplus, 0);
    assert_eq!(judged.ledger.late, 1);
    assert!(matches!(run.outcomes[1].end, End::TimedOut { .. }));
    assert_eq!(verdict(&judged, "functional"), Verdict::Fail);
}

#[test]
fn a_request_that_was_not_answered_then_need_not_be_now() {
    let (to, server) = server(1, |mut session| {
        let requests = session.take(2);
        session.echo(&requests[1]);
        session.echo_all();
    });
    let exchanges = vec![
        exchange(Case {
            answer: None,
            timeout_ms: 20,
            argument: "",
            ..Case::default()
        }),
        exchange(Case {
            id: 2,
            ..Case::default()
        }),
    ];
    let plan = planned(exchanges, to, Pace::Window, Connections::Recorded);
    // Both are there before the first answer, or the server would wait for the second.
    let run = run(
        &plan,
        &Settings::usual(Pace::Window),
        &Control::new().unwrap(),
    )
    .unwrap();
    drop(server);
    let judged = judge(&plan, &run, &Frames::default(), &terms(Pace::Window));
    assert_eq!(
        (judged.ledger.timed_out, judged.ledger.late),
        (1, 0),
        "{run:?}"
    );
    assert_eq!(verdict(&judged, "functional"), Verdict::Pass, "{judged:?}");
}

#[test]
fn a_connection_that_goes_is_opened_again_for_the_rest() {
    for (reset, reason) in [(false, "closed"), (true, "reset")] {
        let (to, server) = server(2, move |mut session| {
            if session.number == 0 {
                let requests = session.take(4);
                session.echo(&requests[0]);
                session.echo(&requests[1]);
                // The client has these two answers when it sends two more.
                session.take(2);
                if reset {
                    session.reset();
                }
            } else {
                session.echo_all();
            }
        });
        let settings = Settings {
            window: NonZeroUsize::new(4).unwrap(),
            ..Settings::usual(Pace::Window)
        };
        let (run, judged) = replayed_with(calls(10), to, settings);
        server.join().unwrap();
        assert_eq!(lost(&judged, reason), 4, "{judged:?}");
        assert_eq!(judged.ledger.compared, 6);
        assert_eq!(run.counters.reopened, 1);
        assert_eq!(verdict(&judged, "functional"), Verdict::Fail);
    }
}

#[test]
fn a_server_that_always_closes_is_given_up() {
    let (to, server) = server(3, |mut session| drop(session.next()));
    let settings = Settings {
        window: NonZeroUsize::new(2).unwrap(),
        ..Settings::usual(Pace::Window)
    };
    let (_, judged) = replayed_with(calls(10), to, settings);
    server.join().unwrap();
    let gone: u64 = judged.ledger.lost.values().sum();
    assert_eq!(gone + judged.ledger.skipped["unreachable"], 10);
    assert_eq!(verdict(&judged, "functional"), Verdict::Fail);
}

#[test]
fn nobody_there_is_no_verdict() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let (_, judged) = replayed(calls(3), closed);
    assert_eq!(
        judged.ledger.skipped,
        BTreeMap::from([("unreachable".into(), 3)])
    );
    assert_eq!(judged.ledger.sent, 0);
    assert_eq!(verdict(&judged, "functional"), Verdict::Invalid);
    assert_eq!(verdict(&judged, "targets"), Verdict::Invalid);
}

#[test]
fn after_a_goaway_the_rest_goes_to_a_new_connection() {
    let (to, server) = server(2, |mut session| {
        if session.number == 0 {
            let requests = session.take(2);
            session.say(&goaway());
            for request in &requests {
                session.echo(request);
            }
            assert!(session.next().is_none(), "sent after goaway");
        } else {
            session.echo_all();
        }
    });
    let settings = Settings {
        window: NonZeroUsize::new(2).unwrap(),
        ..Settings::usual(Pace::Window)
    };
    let (run, judged) = replayed_with(calls(5), to, settings);
    server.join().unwrap();
    assert_eq!(run.counters.goaways, 1);
    assert_eq!(judged.ledger.compared, 5);
    assert_eq!(verdict(&judged, "functional"), Verdict::Pass, "{judged:?}");
}

#[test]
fn heartbeats_are_live_and_acknowledged() {
    let (to, server) = server(1, |mut session| {
        let first = session.next().unwrap();
        // Ours comes while the request waits; theirs is answered.
        let beat = session.next().unwrap();
        assert_eq!(beat.head.kind, meshproof_wire::Kind::Heartbeat);
        let ack = meshproof_wire::bolt::heartbeat_ack(V1, beat.head.id.0 as u32);
        session.say(&meshproof_wire::Frame::parse(ack).unwrap());
        let theirs = meshproof_wire::bolt::heartbeat(V1, 9);
        session.say(&meshproof_wire::Frame::parse(theirs).unwrap());
        let mut heard = session.next().unwrap();
        while heard.head.kind == meshproof_wire::Kind::Heartbeat {
            heard = session.next().unwrap();
        }
        assert_eq!(heard.head.kind, meshproof_wire::Kind::HeartbeatAck);
        assert_eq!(heard.head.id.0, 9);
        session.echo(&first);
        while session.next().is_some() {}
    });
    let settings = Settings {
        heartbeat_ms: 10,
        ..Settings::usual(Pace::Window)
    };
    let (run, judged) = replayed_with(calls(1), to, settings);
    server.join().unwrap();
    assert!(run.counters.heartbeats_sent >= 1);
    assert!(run.counters.heartbeats_answered >= 1);
    assert_eq!(run.counters.heartbeats_of_server, 1);
    assert_eq!(verdict(&judged, "functional"), Verdict::Pass);
}

#[test]
fn bytes_that_are_no_frame_fail() {
    let (to, server) = server(1, |mut session| {
        let request = session.next().unwrap();
        session.echo(&request);
        use std::io::Write;
        session.stream.write_all(&[0xff; 100]).unwrap();
        while session.next().is_some() {}
    });
    let (run, judged) = replayed(calls(1), to);
    server.join().unwrap();
    assert_eq!(run.counters.unreadable_bytes, 100);
    assert_eq!(verdict(&judged, "functional"), Verdict::Fail);
}

#[test]
fn one_ways_wait_for_nothing_and_an_answer_to_one_is_surplus() {
    let (to, server) = server(1, |mut session| {
        let oneway = session.next().unwrap();
        session.echo(&oneway);
        session.echo_all();
    });
    let mut exchanges = calls(3);
    exchanges.insert(
        0,
        exchange(Case {
            id: 9,
            timeout_ms: -1,
            ..Case::default()
        }),
    );
    let (_, judged) = replayed(exchanges, to);
    server.join().unwrap();
    assert_eq!((judged.ledger.oneway, judged.ledger.surplus), (1, 1));
    assert_eq!(judged.ledger.compared, 3);
}

#[test]
fn stopping_drains() {
    let control = std::sync::Arc::new(Control::new().unwrap());
    let stopper = std::sync::Arc::clone(&control);
    let (to, server) = server(1, move |mut session| {
        let requests = session.take(2);
        stopper.stop();
        // The stop is seen before the answers or with them; nothing further may come.
        for request in &requests {
            session.echo(request);
        }
        session.echo_all();
    });
    let exchanges = calls(100);
    let plan = planned(exchanges, to, Pace::Window, Connections::Recorded);
    let settings = Settings {
        window: NonZeroUsize::new(2).unwrap(),
        ..Settings::usual(Pace::Window)
    };
    let run = run(&plan, &settings, &control).unwrap();
    server.join().unwrap();
    let judged = judge(&plan, &run, &Frames::default(), &terms(Pace::Window));
    assert_eq!(run.stop, Stop::Interrupted);
    assert_eq!(judged.ledger.check(), []);
    assert_eq!(judged.ledger.sent, judged.ledger.answered);
    assert!(judged.ledger.skipped["interrupted"] > 0);
    assert_eq!(verdict(&judged, "functional"), Verdict::Invalid);
}

#[test]
fn a_schedule_is_kept_and_claimed() {
    let pace = Pace::Recorded { factor: 1.0 };
    let (to, server) = server(1, |mut session| session.echo_all());
    let (run, judged) = replayed_with(calls(30), to, Settings::usual(pace));
    server.join().unwrap();
    assert_eq!(verdict(&judged, "functional"), Verdict::Pass);
    // 29 ms were recorded; none may leave before its time.
    assert!(run.span_ns >= 29_000_000);
    for (nth, outcome) in run.outcomes.iter().enumerate() {
        assert_eq!(outcome.intended_ns, nth as u64 * 1_000_000);
        assert!(outcome.sent_ns.unwrap() >= outcome.intended_ns);
    }
    assert_eq!(judged.lateness.count(), 30);
    assert!(judged.claims.iter().any(|claim| claim.name == "latency"));
}

#[test]
fn a_pace_that_was_not_held_says_nothing_about_latency() {
    let pace = Pace::Recorded { factor: 1.0 };
    let plan = planned(
        calls(100),
        "127.0.0.1:1".parse().unwrap(),
        pace,
        Connections::Recorded,
    );
    let run_with = |late: &dyn Fn(usize) -> u64| {
        let mut run = made_up(&plan, &[0; 100]);
        for (at, outcome) in run.outcomes.iter_mut().enumerate() {
            outcome.sent_ns = Some(outcome.intended_ns + late(at));
        }
        judge(&plan, &run, &Frames::default(), &terms(pace))
    };
    let ms = 1_000_000;
    assert_eq!(verdict(&run_with(&|_| ms), "latency"), Verdict::Pass);
    assert_eq!(
        verdict(
            &run_with(&|at| if at == 7 { 300 * ms } else { 0 }),
            "latency"
        ),
        Verdict::Pass
    );
    assert_eq!(
        verdict(
            &run_with(&|at| if at < 2 { 300 * ms } else { 0 }),
            "latency"
        ),
        Verdict::Invalid
    );
    assert_eq!(
        verdict(&run_with(&|at| if at < 5 { 11 * ms } else { 0 }), "latency"),
        Verdict::Invalid
    );
}

/// A run in which each request came to one of the six ends.
fn made_up(plan: &Plan, ends: &[u8]) -> Run {
    use super::book::{Book, Link};
    use super::outcome::{Loss, Unsent};
    let mut book = Book::new(plan);
    let mut waiting = BTreeSet::new();
    for (send, end) in ends.iter().enumerate() {
        if *end == 1 {
            book.unsent(send, Unsent::Unreachable);
            continue;
        }
        if *end == 2 {
            book.lost(send, Loss::Closed);
            continue;
        }
        if *end == 6 {
            continue;
        }
        let intended = plan.sends[send].intended_ns;
        if book.sent(send, Link(0), intended).is_some() {
            match end {
                3 => book.lost(send, Loss::Reset),
                4 | 5 => assert!(book.expire(send)),
                _ => {}
            }
        }
        if matches!(end, 0 | 5) {
            let lane = plan.sends[send].connection;
            let id = plan.sends[send].frame.head.id.0;
            let frame = response(V1, id, "A");
            book.hear(
                lane,
                Link(0),
                frame,
                intended,
                &mut BTreeSet::new(),
                &mut waiting,
            );
        }
    }
    Run {
        outcomes: book.outcomes,
        counters: book.counters,
        stop: Stop::Finished,
        span_ns: 0,
        elapsed_ns: 0,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn the_ledger_closes_whatever_happens(
        kinds in prop::collection::vec((0u8..8, 0u32..4, any::<bool>()), 0..40),
        ends in prop::collection::vec(0u8..7, 40),
        pooled in 0usize..4,
    ) {
        let exchanges: Vec<Exchange> = kinds.iter().zip(1u32..).map(|((kind, flow, v2), id)| {
            let mut made = exchange(Case {
                flow: *flow,
                id,
                version: if *v2 { CRC } else { V1 },
                timeout_ms: if *kind == 0 { -1 } else { 100 },
                answer: (*kind != 1).then_some("A"),
                server: if *kind == 2 { "10.0.0.1:9" } else { "10.9.8.7:12200" },
                method: if *kind == 3 { "placeOrder" } else { "getName" },
                ..Case::default()
            });
            match kind {
                4 => made.kind = ExchangeKind::Heartbeat,
                5 => made.from = From::Server,
                6 => made.request.as_mut().unwrap().frame = None,
                _ => {}
            }
            made
        }).collect();
        let count = exchanges.len() as u64;
        let routes = Routes::parse(["10.9.8.7:12200=127.0.0.9:1"]).unwrap();
        let policy = Policy {
            targets: vec![Target {
                network: "127.0.0.9/32".parse().unwrap(),
                owner: "us".into(),
                writes: Writes::Deny,
                line: 1,
            }],
            ..Policy::default()
        };
        let planning = Planning {
            routes: &routes,
            policy: &policy,
            pace: Pace::Window,
            connections: NonZeroUsize::new(pooled).map_or(Connections::Recorded, Connections::Pooled),
            timeout_ms: None,
            api: None,
        };
        let plan = plan(recorded(exchanges), &planning).unwrap();
        let run = made_up(&plan, &ends[..plan.sends.len()]);
        let judged = judge(&plan, &run, &Frames::default(), &terms(Pace::Window));
        prop_assert_eq!(judged.ledger.check(), []);
        prop_assert_eq!(judged.ledger.recorded, count);

        // No two requests of a connection share an id, none has a recorded one, and no connection
        // carries two versions.
        for connection in &plan.connections {
            let ids: BTreeSet<u64> = connection.sends.iter().map(|at| plan.sends[*at].frame.head.id.0).collect();
            prop_assert_eq!(ids.len(), connection.sends.len());
            prop_assert!(ids.iter().all(|id| *id > count));
            for at in &connection.sends {
                prop_assert_eq!(plan.sends[*at].frame.head.protocol, connection.protocol);
                prop_assert!(plan.sends[*at].frame.crc() != meshproof_wire::Crc::Bad);
            }
            prop_assert!(connection.sends.is_sorted());
        }
    }
}

#[test]
fn versions_are_never_mixed_on_a_connection() {
    let exchanges = (0..6)
        .map(|n| {
            exchange(Case {
                id: n + 1,
                at_ms: u64::from(n),
                version: if n % 2 == 0 { V1 } else { CRC },
                ..Case::default()
            })
        })
        .collect();
    let plan = planned(
        exchanges,
        "127.0.0.1:1".parse().unwrap(),
        Pace::Window,
        Connections::Recorded,
    );
    let protocols: Vec<Protocol> = plan.connections.iter().map(|c| c.protocol).collect();
    assert_eq!(protocols, [Protocol::BoltV1, Protocol::BoltV2]);
}

#[test]
fn refusals_happen_before_any_connect() {
    // Nobody listens there, and nobody is asked: the plan has no connection at all.
    let to = "10.20.30.40:12200".parse().unwrap();
    let plan = planned(calls(5), to, Pace::Window, Connections::Recorded);
    assert!(plan.connections.is_empty());
    assert!(plan.sends.is_empty());
    let refused = plan.refusals();
    assert_eq!(refused.len(), 1);
    assert_eq!(
        (refused[0].why, refused[0].target, refused[0].count),
        (Refusal::NotATarget, to, 5)
    );
    let control = Control::new().unwrap();
    let run = run(&plan, &Settings::usual(Pace::Window), &control).unwrap();
    let judged = judge(&plan, &run, &Frames::default(), &terms(Pace::Window));
    assert_eq!(
        judged.ledger.refused,
        BTreeMap::from([("not_a_target".into(), 5)])
    );
    assert_eq!(verdict(&judged, "targets"), Verdict::Invalid);
    assert_eq!(verdict(&judged, "functional"), Verdict::Invalid);
    // The recorded server itself is a peer in production.
    let plan = planned(
        calls(1),
        "10.9.8.7:12200".parse().unwrap(),
        Pace::Window,
        Connections::Recorded,
    );
    assert_eq!(plan.items[0].fate, Fate::Refused(Refusal::ProductionPeer));
}

#[test]
fn a_body_that_says_otherwise_is_asked_about_too() {
    // The header map of both says `getName`, which reads.
    let target = |network: &str| Target {
        network: network.parse().unwrap(),
        owner: "us".into(),
        writes: Writes::Deny,
        line: 1,
    };
    let policy = Policy {
        targets: vec![target("127.0.0.1/32"), target("10.50.0.0/16")],
        ..Policy::default()
    };
    let fate = |body_method: &'static str, to: &str| {
        let routes = Routes::parse([to]).unwrap();
        let planning = Planning {
            routes: &routes,
            policy: &policy,
            pace: Pace::Window,
            connections: Connections::Recorded,
            timeout_ms: None,
            api: None,
        };
        let case = exchange(Case {
            body_method,
            ..Case::default()
        });
        plan(recorded(vec![case]), &planning).unwrap().items[0].fate
    };
    assert_eq!(fate("getName", "10.50.0.1:1"), Fate::Send(0));
    assert_eq!(
        fate("placeOrder", "10.50.0.1:1"),
        Fate::Refused(Refusal::Write)
    );
    assert_eq!(
        fate("placeOrder", "127.0.0.1:1"),
        Fate::Refused(Refusal::Write)
    );
}

#[test]
fn servers_that_no_route_mentions_are_left_out_and_named() {
    let routes = Routes::parse(["10.0.0.1:9=127.0.0.1:1"]).unwrap();
    let planning = Planning {
        routes: &routes,
        policy: &Policy::default(),
        pace: Pace::Window,
        connections: Connections::Recorded,
        timeout_ms: None,
        api: None,
    };
    let plan = plan(recorded(calls(3)), &planning).unwrap();
    assert_eq!(plan.items[0].fate, Fate::Skipped(Skip::Filtered));
    assert_eq!(
        plan.unrouted(),
        BTreeMap::from([("10.9.8.7:12200".parse().unwrap(), 3)])
    );
    for wrong in ["", "host:1", "127.0.0.1", "127.0.0.1:1=", "a=b"] {
        assert!(Routes::parse([wrong]).is_err(), "{wrong}");
    }
    assert!(Routes::parse(["127.0.0.1:1", "127.0.0.1:2"]).is_err());
    assert!(Routes::parse(["localhost:1"]).is_ok());
}
