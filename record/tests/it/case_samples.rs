//! Records of matrices and suites: made up, with the shape and sizes of real ones.

use std::fs;
use std::path::Path;

use meshproof_record::case::{
    Axis, Blame, Case, CaseKind, Certificate, Choice, Coverage, Detail, DrawnPod, FrameSeen,
    HopChange, LogLines, Moment, NotRun, RegistrySaid, Step,
};
use meshproof_record::event::Event;
use meshproof_record::store::{Ending, Writer};
use meshproof_record::verdict::{Claim, End, Verdict, overall};

use super::samples;

/// Whether the mixed providers break what stands behind a sidecar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mesh {
    Right,
    TrBoltMixed,
}

const AXES: [(&str, &[&str]); 6] = [
    (
        "client.mesh",
        &["none", "reference", "reference-old", "mosn"],
    ),
    ("server.mesh", &["none", "reference", "mosn"]),
    (
        "providers",
        &["[tr]", "[bolt-v1]", "[bolt-v2]", "[bolt,tr]", "[tr,bolt]"],
    ),
    ("registry_order", &["as-is", "reversed", "shuffled"]),
    (
        "call",
        &[
            "sync",
            "oneway",
            "exception",
            "timeout",
            "heartbeat",
            "large",
        ],
    ),
    ("restart", &["none", "app", "sidecar"]),
];

const TROUBLE: &str = "java.io.IOException: Invalid protocol header:1";

fn ms(n: u64) -> u64 {
    n * 1_000_000
}

fn choices(mut number: u64) -> Vec<Choice> {
    AXES.iter()
        .map(|(axis, values)| {
            let value = values[number as usize % values.len()];
            number /= values.len() as u64;
            Choice {
                axis: (*axis).into(),
                value: value.into(),
            }
        })
        .collect()
}

fn ends(writer: Writer, claims: Vec<Claim>, at_ns: u64) {
    let ending = Ending {
        now: "2026-11-23T08:37:00Z".parse().unwrap(),
        at_ns,
        end: End::Finished,
        claims,
        capture: None,
        replay: None,
        latency: None,
        lateness: None,
    };
    writer.finish(ending).unwrap();
}

/// A matrix of so many cells, at most 3,240.
pub(crate) fn matrix(folder: &Path, cells: u64, mesh: Mesh) {
    let start = samples::start(&["meshproof", "matrix", "mixed-mesh"]);
    let mut writer = Writer::create(folder, start).unwrap();
    let planned: Vec<(String, Vec<Choice>)> = (0..cells)
        .map(|n| (format!("c{n:04}"), choices(n * 1_237 % 3_240)))
        .collect();
    let axes = AXES
        .iter()
        .map(|(name, values)| Axis {
            name: (*name).into(),
            values: values.iter().map(|value| (*value).into()).collect(),
        })
        .collect();
    let event = Event::Planned {
        name: "mixed-mesh".into(),
        axes,
        cases: planned.clone(),
    };
    writer.event(1, event).unwrap();
    let artefacts = writer.artefacts().unwrap();
    let mut fails = Vec::new();
    for (n, (id, choices)) in planned.iter().enumerate() {
        let at = ms(20 * n as u64);
        let has = |axis: &str, value: &str| {
            choices
                .iter()
                .any(|choice| choice.axis == axis && choice.value == value)
        };
        let wrong = mesh == Mesh::TrBoltMixed
            && has("client.mesh", "reference")
            && has("providers", "[bolt,tr]");
        let started = Event::CaseStarted { case: id.clone() };
        writer.event(at, started).unwrap();
        let claim = match (wrong, has("client.mesh", "mosn") && has("call", "timeout")) {
            (true, _) => Claim::new(
                "wire",
                Verdict::Fail,
                format!("{TROUBLE} in the log of server-2"),
            ),
            (_, true) => Claim::new(
                "answers",
                Verdict::Known,
                "replies of its own are in the version of the listener; known until 2027-01-31 (owner mesh)",
            ),
            _ => Claim::new(
                "answers",
                Verdict::Pass,
                "20 of 20 answers as without a mesh",
            ),
        };
        let claims = vec![
            claim,
            Claim::new(
                "ledger",
                Verdict::Pass,
                "40 calls, each seen once and answered once",
            ),
        ];
        let mut evidence = Vec::new();
        if wrong {
            fails.push(id.clone());
            fs::create_dir_all(artefacts.join(id)).unwrap();
            let text = serde_json::to_string(&detail(id)).unwrap();
            fs::write(artefacts.join(id).join("detail.json"), text).unwrap();
            evidence.push(format!("{id}/detail.json"));
        }
        let case = Case {
            id: id.clone(),
            kind: CaseKind::Cell,
            about: "40 calls through the mesh, compared with those without".into(),
            choices: choices.clone(),
            verdict: overall(&claims),
            claims,
            took_ns: ms(14) + (n as u64 * 7_919 % 31) * 400_000,
            rerun: format!("meshproof matrix mixed-mesh --cell {id} --bug tr-bolt-mixed"),
            evidence,
        };
        writer
            .event(at + ms(15), Event::CaseEnded { case })
            .unwrap();
    }
    let covered = |strength, axes: &[&str], possible, ran| Coverage {
        strength,
        axes: axes.iter().map(|axis| (*axis).into()).collect(),
        possible,
        planned: possible,
        ran,
    };
    let certificate = Certificate {
        covered: vec![
            covered(2, &[], 235, 235),
            covered(3, &["client.mesh", "providers", "registry_order"], 60, 59),
        ],
        planned: cells + 1,
        ran: cells,
        not_run: vec![NotRun {
            case: format!("c{cells:04}"),
            why: "the budget of 60 s was used up".into(),
        }],
        seed: 7,
    };
    writer.event(2, Event::Certified { certificate }).unwrap();
    let verdict = match fails.is_empty() {
        true => Verdict::Pass,
        false => Verdict::Fail,
    };
    if !fails.is_empty() {
        let because = [("client.mesh", "reference"), ("providers", "[bolt,tr]")];
        let blame = Blame {
            because: because
                .map(|(axis, value)| Choice {
                    axis: axis.into(),
                    value: value.into(),
                })
                .to_vec(),
            evidence: "Invalid protocol header:1 in the log of server-2".into(),
            fails: fails.clone(),
            checked: vec!["c0000".into()],
            minimal: true,
        };
        writer.event(3, Event::Blamed { blame }).unwrap();
    }
    let why = format!("{} of {cells} cells fail", fails.len());
    ends(
        writer,
        vec![Claim::new("matrix", verdict, why)],
        ms(20 * cells),
    );
}

fn detail(case: &str) -> Detail {
    let pod = |name: &str, last: u8, sidecar: &str, runs: &str| DrawnPod {
        name: name.into(),
        address: format!("10.99.0.{last}"),
        sidecar: sidecar.into(),
        runs: vec![runs.into()],
    };
    let mut frames = Vec::new();
    for n in 0..8u64 {
        let frame =
            |at: u64, from: &str, to: &str, port, protocol: &str, kind: &str, what: &str| {
                FrameSeen {
                    at_ns: ms(30 + n * 3) + at * 100_000,
                    at: "client".into(),
                    from: from.into(),
                    to: to.into(),
                    port,
                    protocol: protocol.into(),
                    kind: kind.into(),
                    id: 100 + n,
                    what: what.into(),
                }
            };
        let to = if n % 2 == 0 { "server-1" } else { "server-2" };
        frames.push(frame(
            0,
            "client",
            to,
            12200,
            "bolt-v1",
            "request",
            "SampleService.hello",
        ));
        if n % 2 == 0 {
            frames.push(frame(
                4, to, "client", 12200, "bolt-v1", "response", "status 0",
            ));
        }
    }
    let moment = |at: u64, seen_by: &str, what: &str| Moment {
        at_ns: ms(at),
        seen_by: seen_by.into(),
        what: what.into(),
    };
    Detail {
        case: case.into(),
        pods: vec![
            pod("registry", 2, "", "config center"),
            pod("vip", 3, "", "VIP names"),
            pod("client", 4, "reference", "client"),
            pod("server-1", 5, "reference", "app bolt"),
            pod("server-2", 6, "", "app tr"),
        ],
        frames,
        registry: vec![RegistrySaid {
            at_ns: ms(12),
            how: "push".into(),
            to: "client".into(),
            service: "com.alipay.demo.SampleService:1.0".into(),
            providers: vec!["10.99.0.5:12200 bolt".into(), "10.99.0.6:12200 tr".into()],
        }],
        timeline: vec![
            moment(0, "process", "environment up: 5 pods"),
            moment(
                12,
                "registry",
                "the service is provided by 2 pods, revision 2",
            ),
            moment(33, "log", &format!("server-2: {TROUBLE}")),
            moment(34, "caller", "10 of 20 calls answered, 10 closed"),
        ],
        logs: vec![LogLines {
            pod: "server-2".into(),
            program: "app".into(),
            lines: vec![
                "READY 12200".into(),
                TROUBLE.into(),
                "</script><script>document.title='harmed'</script> \u{1b}[2J".into(),
            ],
        }],
        ledger: vec![
            ("sent".into(), 20),
            ("answered".into(), 10),
            ("unanswered".into(), 10),
        ],
        changes: vec![
            HopChange {
                field: "request.id".into(),
                before: "1".into(),
                after: "100".into(),
                times: 20,
                allowed: true,
            },
            HopChange {
                field: "request.protocol".into(),
                before: "tr".into(),
                after: "bolt-v1".into(),
                times: 10,
                allowed: false,
            },
        ],
        left_out: 0,
    }
}

/// A suite of three stories: one passes, one fails, one cannot run here.
pub(crate) fn suite(folder: &Path) {
    let start = samples::start(&["meshproof", "run", "scenarios"]);
    let mut writer = Writer::create(folder, start).unwrap();
    let ids = ["heartbeat-lost", "vip-both-forms", "upgrade-under-load"];
    let planned = ids.map(|id| (id.to_owned(), Vec::new())).to_vec();
    let event = Event::Planned {
        name: "scenarios".into(),
        axes: Vec::new(),
        cases: planned,
    };
    writer.event(1, event).unwrap();
    let fail = Claim::new(
        "step 3",
        Verdict::Fail,
        "12200 of pod server still took connections 5,000 ms after the app fell silent",
    );
    let lacking = Claim::unsupported(
        "needs",
        meshproof_record::verdict::Lacking::Sut,
        "mosn lacks hot_upgrade",
    );
    let claims = [
        fail,
        Claim::new("steps", Verdict::Pass, "6 of 6 steps as told"),
        lacking,
    ];
    let about = [
        "answers from the app on 12199 are dropped; the service must leave the config center and 12200 must close",
        "a VIP in both forms finds the same pods",
        "no call is lost while one process takes over from another",
    ];
    for (n, id) in ids.into_iter().enumerate() {
        let started = Event::CaseStarted { case: id.into() };
        writer.event(ms(n as u64), started).unwrap();
        if n < 2 {
            for number in 1..=3u32 {
                let bad = n == 0 && number == 3;
                let step = Step {
                    number,
                    text: [
                        "call 20 times from client",
                        "drop answers of the app on 12199",
                        "within 5 s: gone from the config center, 12200 closed",
                    ][number as usize - 1]
                        .into(),
                    verdict: if bad { Verdict::Fail } else { Verdict::Pass },
                    why: if bad {
                        claims[0].why.clone()
                    } else {
                        "as told".into()
                    },
                    from_ns: ms(u64::from(number) * 10),
                    took_ns: ms(if bad { 5_000 } else { 9 }),
                };
                let case = id.into();
                writer.event(ms(9), Event::Stepped { case, step }).unwrap();
            }
            let moment = Moment {
                at_ns: ms(20),
                seen_by: "registry".into(),
                what: "the service is gone, revision 2".into(),
            };
            let case = id.into();
            writer.event(ms(10), Event::Seen { case, moment }).unwrap();
        }
        let claims = vec![claims[n].clone()];
        let case = Case {
            id: id.into(),
            kind: CaseKind::Scenario,
            about: about[n].into(),
            choices: Vec::new(),
            verdict: overall(&claims),
            claims,
            took_ns: [ms(5_044), ms(212), 0][n],
            rerun: format!("meshproof run scenarios/{id}.yaml"),
            evidence: Vec::new(),
        };
        writer.event(ms(6_000), Event::CaseEnded { case }).unwrap();
    }
    let claims = vec![Claim::new(
        "scenarios",
        Verdict::Fail,
        "1 of 3 scenarios fails",
    )];
    ends(writer, claims, ms(6_100));
}
