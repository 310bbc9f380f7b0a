//! Records as runs leave them: made up, but with the shape, sizes and times of real ones.

use std::collections::BTreeMap;
use std::path::Path;

use jiff::Timestamp;
use meshproof_record::difference::Difference;
use meshproof_record::event::Event;
use meshproof_record::histogram::Recorder;
use meshproof_record::ledger::{Bytes, CaptureLedger, Frames, Gap, Packets, ReplayLedger};
use meshproof_record::manifest::{Input, Machine, SCHEMA, Start};
use meshproof_record::row::{Body, ExchangeRow, Outcome, Response};
use meshproof_record::store::{Ending, Writer};
use meshproof_record::verdict::{Claim, End, Verdict};

const SERVICE: &str = "com.example.sample.SampleService";
const ORDERS: &str = "com.example.trade.facade.OrderQueryFacade";

/// A start that is the same on every machine.
pub(crate) fn start(command_line: &[&str]) -> Start {
    Start {
        schema: SCHEMA,
        run: "01KAR3T0000000000000000000".into(),
        version: "0.1.0".into(),
        command_line: command_line.iter().map(|word| (*word).to_owned()).collect(),
        seed: 7,
        started: "2026-11-23T08:36:12.123456789Z".into(),
        machine: Machine {
            os: "linux".into(),
            arch: "x86_64".into(),
            kernel: "6.8.0-45-generic".into(),
            cpus: 8,
        },
    }
}

/// Numbers that look random and are the same each time.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }

    /// Mostly near `typical`, now and then far above: how latencies are.
    fn time_ns(&mut self, typical: u64) -> u64 {
        let part = self.roll() % 1_000;
        let tail = match self.roll() % 1_000 {
            0 => 40,
            1..10 => 9,
            10..60 => 3,
            _ => 1,
        };
        (typical * (700 + part) / 1_000) * tail
    }
}

/// A response with a body.
pub(crate) fn response(status: u16, body: &'static [u8]) -> Response {
    Response {
        protocol: "bolt-v1".into(),
        codec: 1,
        status: Some(status),
        class: "com.alipay.sofa.rpc.core.response.SofaResponse".into(),
        headers: BTreeMap::from([("sofa_head_response_error".into(), "false".into())]),
        body: Body(body.into()),
    }
}

/// An exchange that went well.
pub(crate) fn row(exchange: u64, method: &str) -> ExchangeRow {
    ExchangeRow {
        exchange,
        flow: "10.1.2.3:41820>10.9.8.7:12200".into(),
        connection: 1,
        id: exchange,
        protocol: "bolt-v1".into(),
        kind: "call".into(),
        service: SERVICE.into(),
        method: method.into(),
        arguments: "5b1d9a7c0f3e2846".into(),
        trace: Some("0a0102031732350972123100112345".into()),
        target: Some("127.0.0.1:12200".into()),
        intended_ns: Some(exchange * 2_000_000),
        sent_ns: Some(exchange * 2_000_000 + 60_000),
        answered_ns: Some(exchange * 2_000_000 + 900_000),
        outcome: Outcome::Answered,
        reason: None,
        late: false,
        compared: true,
        answer_recorded: true,
        recorded: Some(response(0, b"O\xbe\x01")),
        observed: Some(response(0, b"O\xbe\x01")),
        differences: Vec::new(),
    }
}

/// A difference that is judged.
pub(crate) fn difference(path: &str, recorded: Option<&str>, observed: Option<&str>) -> Difference {
    Difference {
        path: path.into(),
        recorded: recorded.map(String::from),
        observed: observed.map(String::from),
        judged: true,
    }
}

/// What a sample run is made of.
pub(crate) struct Sample {
    pub(crate) rows: u64,
    pub(crate) typical_lateness_ns: u64,
    /// A pause of 300 ms in the middle.
    pub(crate) pause: bool,
    pub(crate) wrong: bool,
    pub(crate) finish: bool,
}

/// Everything as recorded.
pub(crate) const PASS: Sample = Sample {
    rows: 6_000,
    typical_lateness_ns: 70_000,
    pause: false,
    wrong: false,
    finish: true,
};

/// Some answers differ, some are missing, some requests are refused.
pub(crate) const FAIL: Sample = Sample {
    wrong: true,
    ..PASS
};

/// The answers are right, the pace was not held.
pub(crate) const INVALID: Sample = Sample {
    typical_lateness_ns: 2_400_000,
    pause: true,
    ..PASS
};

/// Killed in mid-run.
pub(crate) const CUT_OFF: Sample = Sample {
    rows: 2_100,
    finish: false,
    ..FAIL
};

/// Writes a sample into a folder.
pub(crate) fn write(folder: &Path, sample: &Sample) {
    let command = [
        "meshproof",
        "replay",
        "captures/sofarpc bolt.pcap",
        "--to",
        "10.9.8.7:12200=127.0.0.1:12200",
        "--map",
        "offline.yaml",
        "--pace",
        "recorded",
    ];
    let mut writer = Writer::create(folder, start(&command)).unwrap();
    let hash = blake3::hash(b"sample");
    for (role, path, bytes) in [
        ("capture", "captures/sofarpc bolt.pcap", 18_734_112),
        ("map", "offline.yaml", 1_204),
    ] {
        let input = Input::new(role, path, bytes, hash);
        writer.input(1_000, input).unwrap();
    }
    let mut dice = Dice(42);
    let mut run = Run::default();
    for exchange in 1..=sample.rows {
        let row = make(exchange, sample, &mut dice);
        run.count(&mut writer, &row);
        writer.row(&row).unwrap();
    }
    writer.flush().unwrap();
    if !sample.finish {
        return;
    }
    let claims = claims(sample, &run);
    let at_ns = 12_350_000_000;
    for claim in &claims {
        let claim = claim.clone();
        writer.event(at_ns, Event::Claimed { claim }).unwrap();
    }
    let ending = Ending {
        now: Timestamp::constant(1_763_887_000, 0),
        at_ns,
        end: End::Finished,
        claims,
        capture: Some(capture(sample)),
        replay: Some(run.ledger),
        latency: Some(run.latency.finish()),
        lateness: Some(run.lateness.finish()),
    };
    writer.finish(ending).unwrap();
}

#[derive(Default)]
struct Run {
    ledger: ReplayLedger,
    latency: Recorder,
    lateness: Recorder,
    differing: u64,
}

impl Run {
    fn count(&mut self, writer: &mut Writer, row: &ExchangeRow) {
        let ledger = &mut self.ledger;
        let reason = row.reason.clone().unwrap_or_default();
        ledger.recorded += 1;
        if !matches!(row.outcome, Outcome::Refused | Outcome::Skipped) {
            ledger.sent += 1;
        }
        match row.outcome {
            Outcome::Answered => {
                ledger.answered += 1;
                ledger.compared += u64::from(row.compared);
                ledger.not_comparable += u64::from(!row.compared);
            }
            Outcome::Oneway => ledger.oneway += 1,
            Outcome::TimedOut => ledger.timed_out += 1,
            Outcome::Lost => *ledger.lost.entry(reason).or_default() += 1,
            Outcome::Refused => {
                *ledger.refused.entry(reason.clone()).or_default() += 1;
                let event = Event::Refused {
                    exchange: row.exchange,
                    reason,
                    target: row.target.clone().unwrap_or_default(),
                    service: row.service.clone(),
                    method: row.method.clone(),
                };
                writer.event(row.exchange * 2_000_000, event).unwrap();
            }
            Outcome::Skipped => *ledger.skipped.entry(reason).or_default() += 1,
        }
        self.differing += u64::from(row.differs());
        if let Some(ns) = row.latency_ns() {
            self.latency.record(ns);
        }
        if let Some(ns) = row.lateness_ns() {
            self.lateness.record(ns);
        }
    }
}

fn make(exchange: u64, sample: &Sample, dice: &mut Dice) -> ExchangeRow {
    let (service, method) = match exchange % 10 {
        0..4 => (SERVICE, "hello"),
        4..7 => (SERVICE, "place"),
        7 => (SERVICE, "notifyOneway"),
        8 => (ORDERS, "queryByBuyerAndTimeRange"),
        _ => (SERVICE, "boom"),
    };
    let intended_ns = exchange * 2_050_000;
    let mut lateness_ns = dice.time_ns(sample.typical_lateness_ns);
    let paused = sample.rows * 2_050_000 / 2;
    if sample.pause && (paused..paused + 300_000_000).contains(&intended_ns) {
        lateness_ns += paused + 300_000_000 - intended_ns;
    }
    let latency_ns = dice.time_ns(if method == "place" {
        1_900_000
    } else {
        620_000
    });
    let mut row = ExchangeRow {
        service: service.into(),
        intended_ns: Some(intended_ns),
        sent_ns: Some(intended_ns + lateness_ns),
        answered_ns: Some(intended_ns + lateness_ns + latency_ns),
        ..row(exchange, method)
    };
    if exchange.is_multiple_of(97) {
        unsent(&mut row, Outcome::Skipped, "heartbeat");
    } else if method == "notifyOneway" {
        row.answer_recorded = false;
        row.outcome = Outcome::Oneway;
        unanswered(&mut row);
        row.kind = "oneway".into();
    } else if exchange.is_multiple_of(601) {
        row.compared = false;
        row.reason = Some("the recorded response is cut".into());
    } else if sample.wrong {
        spoil(&mut row, exchange);
    }
    row
}

fn unanswered(row: &mut ExchangeRow) {
    row.answered_ns = None;
    row.compared = false;
    row.observed = None;
}

fn unsent(row: &mut ExchangeRow, outcome: Outcome, reason: &str) {
    unanswered(row);
    row.outcome = outcome;
    row.reason = Some(reason.into());
    row.sent_ns = None;
}

fn spoil(row: &mut ExchangeRow, exchange: u64) {
    match (row.method.as_str(), exchange) {
        ("place", n) if n.is_multiple_of(29) => {
            let (recorded, observed) = (format!("{}.50", n % 900), format!("{}.5", n % 900));
            row.differences = vec![difference(
                "body.appResponse.amount",
                Some(&recorded),
                Some(&observed),
            )];
        }
        ("place", n) if n.is_multiple_of(61) => {
            row.differences = vec![
                difference("body.appResponse.hosts[1]", Some("app-03.gz00b"), None),
                difference(
                    "headers.rpc_trace_context.sofaPenAttrs",
                    Some("zone=gz00b&mark=blue"),
                    Some("zone=gz00c&mark=blue"),
                ),
            ];
        }
        ("boom", n) if n.is_multiple_of(13) => {
            row.differences = vec![
                difference(
                    "exception.message",
                    Some("order 4711 does not exist"),
                    Some(
                        "java.lang.NullPointerException: Cannot invoke \"com.example.trade.Order.id()\" because the return value of \"com.example.trade.OrderStore.find(String)\" is null",
                    ),
                ),
                Difference {
                    judged: false,
                    ..difference(
                        "exception.stack[0]",
                        Some("OrderStore.java:88"),
                        Some("OrderStore.java:91"),
                    )
                },
            ];
        }
        (_, n) if n.is_multiple_of(499) => {
            row.outcome = Outcome::TimedOut;
            unanswered(row);
        }
        (_, n) if n.is_multiple_of(907) => {
            row.outcome = Outcome::Lost;
            row.reason = Some("reset".into());
            unanswered(row);
        }
        (_, n) if n.is_multiple_of(251) => {
            unsent(row, Outcome::Refused, "target is not in the map");
            row.target = Some("10.44.1.9:12200".into());
        }
        _ => {}
    }
}

fn claims(sample: &Sample, run: &Run) -> Vec<Claim> {
    let ledger = &run.ledger;
    let p99_ns = run.lateness.quantile_ns(0.99);
    let above = run.lateness.count_above(50_000_000);
    let functional = if run.differing == 0 {
        let why = format!("all {} compared answers are as recorded", ledger.compared);
        Claim::new("functional", Verdict::Pass, why)
    } else {
        let why = format!(
            "{} of {} compared answers differ from what was recorded, {} timed out, {} lost",
            run.differing,
            ledger.compared,
            ledger.timed_out,
            ledger.lost.values().sum::<u64>(),
        );
        Claim::new("functional", Verdict::Fail, why)
    };
    let why = format!(
        "sends were late: p99 {} ms (limit 10 ms), {above} of {} later than 50 ms",
        p99_ns / 1_000_000,
        ledger.sent
    );
    let latency = if sample.pause {
        Claim::new("latency", Verdict::Invalid, why)
    } else {
        let why = format!("p99 lateness {} µs (limit 10 ms)", p99_ns / 1_000);
        Claim::new("latency", Verdict::Pass, why)
    };
    let why = "every exchange is in one bucket, all sums close";
    vec![
        functional,
        latency,
        Claim::new("ledger", Verdict::Pass, why),
    ]
}

fn capture(sample: &Sample) -> CaptureLedger {
    let gap = Gap {
        flow: "10.1.2.3:41820>10.9.8.7:12200".into(),
        direction: "to-opener".into(),
        offset: 48_112,
        length: 1_448,
        reason: "acked".into(),
    };
    CaptureLedger {
        packets: Packets {
            total: 31_240,
            tcp: 31_201,
            non_tcp: 39,
            ..Packets::default()
        },
        bytes: Bytes {
            payload: 9_412_118,
            framed: 9_399_020,
            duplicate: 11_584,
            incomplete: 1_514,
            ..Bytes::default()
        },
        frames: Frames {
            total: 11_462,
            requests: 5_338,
            oneways: 600,
            responses: 5_400,
            heartbeats: 124,
            cut: 1,
            ..Frames::default()
        },
        gaps: if sample.wrong { vec![gap] } else { Vec::new() },
        findings: if sample.wrong {
            BTreeMap::from([("conflicting-overlap".into(), 2)])
        } else {
            BTreeMap::new()
        },
    }
}

/// Writes a record in which everything that a peer can name is different and hostile.
pub(crate) fn write_hostile(folder: &Path, rows: u64) {
    let start = start(&["meshproof", "<script>alert(1)</script>"]);
    let mut writer = Writer::create(folder, start).unwrap();
    let evil = "<script src=https://evil.example/x.js></script>\"'><img onerror=alert(1)>\u{1b}[2J\u{202e}";
    let long = evil.repeat(8);
    let mut row = row(1, "hello");
    row.recorded = None;
    row.observed = None;
    for exchange in 1..=rows {
        row.exchange = exchange;
        row.service = format!("{evil}{}", exchange % 5_000);
        row.method = long.clone();
        row.differences = vec![difference(&evil[..20], Some(&long), Some(evil))];
        row.differences[0]
            .path
            .push_str(&(exchange % 7_000).to_string());
        writer.row(&row).unwrap();
        if exchange % 10 == 0 {
            let refused = Event::Refused {
                exchange,
                reason: format!("{evil}{exchange}"),
                target: long.clone(),
                service: long.clone(),
                method: String::new(),
            };
            writer.event(exchange, refused).unwrap();
            let finding = Event::Finding {
                name: format!("{evil}{exchange}"),
                text: long.clone(),
            };
            writer.event(exchange, finding).unwrap();
        }
    }
    let claims = (0..200).map(|n| Claim::new(format!("{evil}{n}"), Verdict::Fail, long.as_str()));
    let ending = Ending {
        now: Timestamp::constant(1_763_887_000, 0),
        at_ns: 1_000,
        end: End::Finished,
        claims: claims.collect(),
        capture: None,
        replay: None,
        latency: None,
        lateness: None,
    };
    writer.finish(ending).unwrap();
}
