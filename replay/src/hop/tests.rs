//! Two sides, made by hand: what is seen of every kind of change.

use bytes::Bytes;
use meshproof_record::verdict::Verdict;
use meshproof_wire::bolt::{Build, Version, encode_headers};
use meshproof_wire::{Frame, RequestId};
use proptest::prelude::*;

use super::*;
use crate::engine::testing::{CRC, Recorded, V1, exchange};

fn of(recorded: Recorded) -> Exchange {
    exchange(recorded)
}

/// The call behind the sidecar: another connection, another id.
fn passed(recorded: Recorded) -> Exchange {
    let mut passed = exchange(Recorded {
        flow: recorded.flow + 10,
        server: "10.9.9.9:12200",
        at_ms: recorded.at_ms + 1,
        ..recorded
    });
    for half in [&mut passed.request, &mut passed.response]
        .into_iter()
        .flatten()
    {
        let id = RequestId(half.head.id.0 + 100);
        let frame = half.frame.take().unwrap().with_id(id);
        half.head = frame.head;
        half.frame = Some(frame);
    }
    passed.id = RequestId(passed.id.0 + 100);
    passed
}

/// Changes the request by its parts.
fn edited(mut exchange: Exchange, edit: impl FnOnce(Build<'_>) -> Bytes) -> Exchange {
    let half = exchange.request.as_mut().unwrap();
    let frame = half.frame.take().unwrap();
    let frame = Frame::parse(edit(Build::of(&frame).unwrap())).unwrap();
    half.head = frame.head;
    half.frame = Some(frame);
    exchange
}

fn report(before: Vec<Exchange>, after: Vec<Exchange>, rules: &Rules) -> Report {
    compare(Seen::of(before, None), Seen::of(after, None), rules)
}

/// The changes that are not allowed, and the verdict.
#[track_caller]
fn check(before: Vec<Exchange>, after: Vec<Exchange>, expected: &[&str], verdict: Verdict) {
    let report = report(before, after, &Rules::default());
    let told: Vec<String> = report
        .changes
        .iter()
        .filter(|it| !it.allowed)
        .map(|it| format!("{} {} {}", it.field, it.change, it.times))
        .collect();
    assert_eq!(told, expected, "{}", report.why);
    assert_eq!(report.verdict, verdict, "{}", report.why);
}

fn calls(version: Version) -> Vec<Recorded> {
    ["a", "b", "c"]
        .into_iter()
        .zip(1..)
        .map(|(argument, id)| Recorded {
            id,
            at_ms: u64::from(id) * 10,
            argument,
            version,
            ..Recorded::default()
        })
        .collect()
}

fn both(version: Version) -> (Vec<Exchange>, Vec<Exchange>) {
    let each = || calls(version).into_iter();
    (each().map(of).collect(), each().map(passed).collect())
}

#[test]
fn ids_connections_and_a_checksum_that_follows_are_allowed() {
    for (version, kinds) in [
        (V1, vec!["exchange.connection", "request.id", "response.id"]),
        (
            CRC,
            vec![
                "exchange.connection",
                "request.crc",
                "request.id",
                "response.crc",
                "response.id",
            ],
        ),
    ] {
        let (before, after) = both(version);
        let report = report(before, after, &Rules::default());
        assert_eq!(report.verdict, Verdict::Pass, "{}", report.why);
        assert_eq!((report.matched, report.untouched), (3, 3));
        let told: Vec<&str> = report.changes.iter().map(|it| it.field.as_str()).collect();
        assert_eq!(told, kinds);
        assert!(report.changes.iter().all(|it| it.times == 3 && it.allowed));
    }
}

#[test]
fn what_a_sidecar_may_not_change_is_named() {
    type Edit = fn(Build<'_>) -> Bytes;
    let table: [(Edit, &[&str]); 6] = [
        (
            |build| {
                let command = meshproof_wire::bolt::Command::Request { timeout_ms: 500 };
                Build { command, ..build }.encode().unwrap()
            },
            &["request.timeout changed 1"],
        ),
        (
            |build| {
                let headers =
                    [build.headers, encode_headers([("x-mesh", "s1")]).as_slice()].concat();
                Build {
                    headers: &headers,
                    ..build
                }
                .encode()
                .unwrap()
            },
            &["request.header.x-mesh added 1"],
        ),
        (
            |build| {
                let headers = encode_headers([("sofa_head_target_service", "Sample:1.0")]);
                Build {
                    headers: &headers,
                    ..build
                }
                .encode()
                .unwrap()
            },
            &["request.header.sofa_head_method_name removed 1"],
        ),
        (
            |build| {
                let headers = encode_headers([
                    ("sofa_head_method_name", "getName"),
                    ("sofa_head_target_service", "Sample:1.0"),
                ]);
                Build {
                    headers: &headers,
                    ..build
                }
                .encode()
                .unwrap()
            },
            &["request.header-order changed 1"],
        ),
        (
            |build| {
                Build {
                    version: Version::V2 { ver1: 1, switch: 0 },
                    ..build
                }
                .encode()
                .unwrap()
            },
            &["request.crc removed 1", "request.version changed 1"],
        ),
        (
            |build| {
                let mut bytes = build.encode().unwrap().to_vec();
                let last = bytes.len() - 1;
                bytes[last] ^= 0xff;
                bytes.into()
            },
            &["request.crc changed 1"],
        ),
    ];
    for (edit, expected) in table {
        let (before, mut after) = both(CRC);
        let first = after.remove(0);
        after.insert(0, edited(first, edit));
        check(before, after, expected, Verdict::Fail);
    }
}

#[test]
fn another_argument_is_found_by_its_method() {
    let (before, mut after) = both(V1);
    let changed = Recorded {
        argument: "z",
        ..calls(V1)[1]
    };
    after[1] = passed(changed);
    let report = report(before, after, &Rules::default());
    assert_eq!(report.verdict, Verdict::Fail);
    assert_eq!((report.matched, report.untouched), (3, 2));
    assert_eq!(report.matched_by["method"], 1);
    let fields: Vec<&str> = report
        .changes
        .iter()
        .filter(|it| !it.allowed)
        .map(|it| it.field.as_str())
        .collect();
    assert!(
        fields.iter().all(|it| it.starts_with("request.body")),
        "{fields:?}"
    );
}

#[test]
fn lost_doubled_and_answered_by_nobody() {
    let (before, mut after) = both(V1);
    after.remove(1);
    check(before, after, &["exchange removed 1"], Verdict::Fail);

    let (before, mut after) = both(V1);
    let again = Recorded {
        id: 9,
        at_ms: 90,
        ..calls(V1)[0]
    };
    after.push(passed(again));
    check(before, after, &["exchange added 1"], Verdict::Fail);

    let (before, mut after) = both(V1);
    after[2].response = None;
    check(before, after, &["response removed 1"], Verdict::Fail);

    // The sidecar answered a one-way: in front of it there is an answer, behind it none.
    let oneway = Recorded {
        timeout_ms: -1,
        ..calls(V1)[0]
    };
    let mut answered = of(oneway);
    answered.response = of(calls(V1)[0]).response;
    check(
        vec![answered],
        vec![passed(oneway)],
        &["response removed 1"],
        Verdict::Fail,
    );
}

#[test]
fn order_is_that_of_one_connection() {
    let (before, mut after) = both(V1);
    // Behind the sidecar the first one comes last.
    let half = after[0].request.as_mut().unwrap();
    (half.offset, half.mark.at_ns) = (1_000, 900_000_000);
    check(before, after, &["exchange.order changed 1"], Verdict::Fail);

    // On a connection of its own it may.
    let (before, mut after) = both(V1);
    let elsewhere = Recorded {
        flow: 77,
        ..calls(V1)[0]
    };
    after[0] = passed(elsewhere);
    let half = after[0].request.as_mut().unwrap();
    (half.offset, half.mark.at_ns) = (1_000, 900_000_000);
    check(before, after, &[], Verdict::Pass);
}

#[test]
fn nothing_in_common_supports_no_verdict() {
    check(Vec::new(), Vec::new(), &[], Verdict::Invalid);
}

#[test]
fn rules_allow_by_pattern_and_kind() {
    let text = "may:\n  - {field: request.header.x-*, change: added, why: names itself}\n";
    let rules = Rules::parse("may.yaml", text).unwrap();
    let (before, mut after) = both(V1);
    let first = after.remove(0);
    let edited = edited(first, |build| {
        let headers = [build.headers, encode_headers([("x-mesh", "s1")]).as_slice()].concat();
        Build {
            headers: &headers,
            ..build
        }
        .encode()
        .unwrap()
    });
    after.insert(0, edited);
    let report = report(before, after, &rules);
    assert_eq!(report.verdict, Verdict::Pass, "{}", report.why);
    assert_eq!((report.matched, report.untouched), (3, 2));
    let header = report
        .changes
        .iter()
        .find(|it| it.field == "request.header.x-mesh");
    let rule = header.unwrap().rule.as_deref();
    assert_eq!(rule, Some("request.header.x-*: names itself"));

    let strict = Rules::parse("may.yaml", "usual: false\nmay: []\n").unwrap();
    let (before, after) = both(V1);
    let report = super::compare(Seen::of(before, None), Seen::of(after, None), &strict);
    assert_eq!(report.verdict, Verdict::Fail);
    assert_eq!(report.changes.iter().filter(|it| !it.allowed).count(), 3);
}

#[test]
fn a_field_that_there_is_not_is_refused_with_its_place() {
    let text = "may:\n  - field: request.id\n  - field: requst.timeout\n";
    let problem = Rules::parse("may.yaml", text).unwrap_err();
    assert_eq!(problem.line(), Some(3));
    assert_eq!(problem.help_text(), Some("did you mean `request`?"));
    let problem = Rules::parse("may.yaml", "may:\n  - {feild: request.id}\n").unwrap_err();
    assert_eq!(problem.help_text(), Some("did you mean `field`?"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever comes behind a faithful sidecar, in whatever order it is listed, passes.
    #[test]
    fn a_faithful_sidecar_passes(arguments in prop::collection::vec("[a-c]{1,3}", 1..20), seed in any::<u64>()) {
        let recorded: Vec<(Recorded, String)> = arguments
            .into_iter()
            .zip(1u32..)
            .map(|(argument, id)| {
                let recorded = Recorded { id, at_ms: u64::from(id), ..Recorded::default() };
                (recorded, argument)
            })
            .collect();
        let make = |make: fn(Recorded) -> Exchange| -> Vec<Exchange> {
            recorded
                .iter()
                .map(|(recorded, argument)| {
                    // Leaked: the helper takes literals, and a test has few.
                    let argument: &'static str = Box::leak(argument.clone().into_boxed_str());
                    make(Recorded { argument, ..*recorded })
                })
                .collect()
        };
        let (before, mut after) = (make(of), make(passed));
        let len = after.len();
        after.rotate_left(usize::try_from(seed % len as u64).unwrap());
        let report = report(before, after, &Rules::default());
        prop_assert_eq!(report.verdict, Verdict::Pass, "{}", report.why);
        prop_assert_eq!(report.matched, len as u64);
        prop_assert_eq!(report.untouched, len as u64);
    }
}
