//! Replays against stubs that answer from the recorded responses.

use super::*;

fn stub(exchanges: &[Exchange], matching: Matching) -> Stub {
    let shelf = Shelf::new(exchanges, matching);
    Stub::bind(
        "127.0.0.1:0".parse().unwrap(),
        shelf,
        Options::usual(Latency::None),
    )
    .unwrap()
}

#[test]
fn against_stubs_the_difference_is_empty() {
    let mut exchanges = calls(50);
    exchanges.extend((0..50).map(|n| {
        exchange(Case {
            flow: 1 + n % 5,
            id: n,
            at_ms: u64::from(n),
            version: if n % 2 == 0 { CRC } else { V1 },
            argument: ["v", "w", "x"][n as usize % 3],
            answer: Some(["V", "W", "X"][n as usize % 3]),
            ..Case::default()
        })
    }));
    exchanges.push(exchange(Case {
        id: 900,
        timeout_ms: -1,
        ..Case::default()
    }));
    for connections in [
        Connections::Recorded,
        Connections::Pooled(NonZeroUsize::new(2).unwrap()),
    ] {
        let stub = stub(&exchanges, Matching::Exact);
        let plan = planned(exchanges.clone(), stub.address(), Pace::Window, connections);
        let run = run(
            &plan,
            &Settings::usual(Pace::Window),
            &Control::new().unwrap(),
        )
        .unwrap();
        let judged = judge(&plan, &run, &Frames::default(), &terms(Pace::Window));
        let seen = stub.stop();
        assert_eq!(
            verdict(&judged, "functional"),
            Verdict::Pass,
            "{:?}",
            judged.claims
        );
        assert_eq!((judged.ledger.compared, judged.ledger.oneway), (100, 1));
        assert_eq!((seen.requests, seen.exact, seen.oneways), (100, 100, 1));
        assert_eq!(seen.unmatched_total() + seen.loose_total() + seen.reused, 0);
        assert_eq!(seen.connections, plan.connections.len() as u64);
    }
}

#[test]
fn a_loose_match_is_told_and_no_pass() {
    let recorded = calls(2);
    let asked = vec![exchange(Case {
        argument: "never recorded",
        ..Case::default()
    })];
    for (matching, functional) in [
        (Matching::Loose, Verdict::Invalid),
        (Matching::Exact, Verdict::Fail),
    ] {
        let stub = stub(&recorded, matching);
        let plan = planned(
            asked.clone(),
            stub.address(),
            Pace::Window,
            Connections::Recorded,
        );
        let run = run(
            &plan,
            &Settings::usual(Pace::Window),
            &Control::new().unwrap(),
        )
        .unwrap();
        let seen = stub.stop();
        let name = "Sample:1.0.getName".to_owned();
        let terms = Terms {
            loose: seen.loose_total(),
            ..terms(Pace::Window)
        };
        let judged = judge(&plan, &run, &Frames::default(), &terms);
        assert_eq!(
            verdict(&judged, "functional"),
            functional,
            "{:?}",
            judged.claims
        );
        let observed = run.outcomes[0].observed.as_ref().unwrap();
        match matching {
            Matching::Loose => {
                assert_eq!(seen.loose, BTreeMap::from([(name, 1)]));
                assert_eq!(observed.content(), b"A");
            }
            Matching::Exact => {
                assert_eq!(seen.unmatched, BTreeMap::from([(name, 1)]));
                assert_eq!(observed.head.status, Some(2));
                let said = meshproof_wire::sofarpc::response(observed);
                assert!(
                    said.exception()
                        .unwrap()
                        .message
                        .as_ref()
                        .unwrap()
                        .contains("getName")
                );
            }
        }
    }
}

#[test]
fn equal_requests_are_answered_in_recorded_order_and_unanswered_ones_not() {
    let same = |id, at_ms, answer| {
        exchange(Case {
            id,
            at_ms,
            answer,
            timeout_ms: 50,
            ..Case::default()
        })
    };
    let recorded = [
        same(1, 0, Some("1")),
        same(2, 1, Some("2")),
        same(3, 2, None),
    ];
    let mut shelf = Shelf::new(&recorded, Matching::Exact);
    let mut ask = |id| {
        let reply = shelf.reply(&request(Case {
            id,
            version: CRC,
            ..Case::default()
        }));
        match reply {
            crate::stub::shelf::Reply::Answer { bytes, recorded_ns } => {
                let frame = meshproof_wire::Frame::parse(bytes).unwrap();
                assert_eq!(
                    (frame.head.id.0, frame.head.protocol),
                    (u64::from(id), Protocol::BoltV2)
                );
                assert_eq!(frame.crc(), meshproof_wire::Crc::Ok);
                assert_eq!(recorded_ns, 1_000_000);
                String::from_utf8(frame.content().to_vec()).unwrap()
            }
            crate::stub::shelf::Reply::Silence => "-".into(),
        }
    };
    assert_eq!([ask(71), ask(72), ask(73), ask(74)], ["1", "2", "-", "-"]);
    assert_eq!(
        (
            shelf.report.exact,
            shelf.report.reused,
            shelf.report.unanswered
        ),
        (4, 1, 2)
    );
}
