//! What the rewriter leaves, the audit finds: rewritten without one rule and searched with all.

use std::path::PathBuf;

use meshproof_replay::audit::{Audit, Kind, Needles, Original, Report};
use meshproof_replay::capture::{Captures, Inputs, Writer};
use meshproof_replay::map::Map;
use meshproof_replay::rewrite::{self, Limits};

fn capture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../fixtures/captures")
        .join(name)
        .with_extension("pcap")
}

fn open(name: &str) -> Captures {
    Captures::open(&Inputs::of([capture(name)])).expect("a capture of the fixtures")
}

fn rewritten(name: &str, map: &Map) -> Vec<u8> {
    let mut out = Vec::new();
    let mut writer = Writer::new(&mut out).expect("memory");
    rewrite::rewrite(&mut open(name), map, Limits::USUAL, &mut writer).expect("memory");
    writer.finish().expect("memory");
    out
}

fn audit(bytes: &[u8], needles: &Needles) -> Report {
    let mut audit = Audit::new(needles).expect("few needles");
    let reader = std::io::Cursor::new(bytes.to_vec());
    let mut captures = Captures::from_reader("rewritten", reader).expect("a capture");
    audit.packets(&mut captures).expect("memory");
    audit.blocks("rewritten", bytes).expect("memory");
    audit.finish()
}

/// The map without its n-th rule, and the line of that rule.
fn without(map: &Map, mut n: usize) -> Option<(Map, usize)> {
    let mut map = map.clone();
    macro_rules! take {
        ($($field:ident),*) => {$(
            if n < map.$field.len() {
                let line = map.$field.remove(n).line;
                return Some((map, line));
            }
            n -= map.$field.len();
        )*};
    }
    take!(
        networks, addresses, endpoints, vips, apps, zones, headers, strings
    );
    let _ = n;
    None
}

/// Every rule of `yaml` has something to do in the capture. With all of them nothing is left;
/// without one, what it was for is found, and nothing else.
#[track_caller]
fn check(name: &str, yaml: &str) {
    let map = Map::parse("map.yaml", yaml).expect("a map");
    let original = Original::read(&mut open(name), &map).expect("a capture of the fixtures");
    let all = Needles::new(&map, Some(&original));
    let clean = audit(&rewritten(name, &map), &all);
    assert!(clean.is_clean(), "{name}: {:#?}", clean.findings);
    assert!(clean.scanned.frames > 0 && clean.scanned.stream_bytes > 0);

    let needles = Needles::new(&map, None);
    let mut rules = 0;
    while let Some((less, line)) = without(&map, rules) {
        let report = audit(&rewritten(name, &less), &needles);
        let origins: Vec<&str> = report
            .findings
            .iter()
            .map(|found| found.origin.as_str())
            .collect();
        let origin = format!("map line {line}");
        assert!(
            !origins.is_empty() && origins.iter().all(|found| *found == origin),
            "{name} without line {line}: {report:#?}"
        );
        rules += 1;
    }
    assert!(rules > 0);
}

#[test]
fn every_missing_rule_is_found_in_calls() {
    check(
        "sofarpc_bolt_hessian2",
        "\
networks:
  10.15.232.0/24: 198.18.7.0/24
addresses:
  10.15.246.182: 198.18.8.9
vips:
  sample-pool.zone1.alipay.net: much-longer-than-before-pool.z9.offline.test
  sample-server-vip.alipay.net: x.test
apps:
  sample-client: offline-client
headers:
  sofa_head_method_name: {boom: bang}
strings:
  - {from: java.base, to: some.module}
  - {pattern: 'Thread[A-Z]\\w+', to: Pool}
",
    );
}

#[test]
fn every_missing_rule_is_found_in_a_call_with_a_target_app() {
    check(
        "sofarpc_bolt_url_appName",
        "\
endpoints:
  10.15.246.182:12200: 198.18.8.9:12300
addresses:
  10.15.232.248: 198.18.7.1
apps:
  sample-client: c
  target-app: an-app-whose-name-is-longer-than-thirty-one-characters
",
    );
}

#[test]
fn every_missing_rule_is_found_in_a_registry() {
    check(
        "sofaregistry_pub_sub",
        "\
networks:
  10.15.0.0/16: 198.18.0.0/16
apps:
  sample-client: offline-client
  sample-server: offline-server
zones:
  DEFAULT_ZONE: OTHER_ZONE
  GZ00A: Z9
",
    );
}

#[test]
fn values_that_were_to_be_redacted_are_found() {
    let name = "sofarpc_bolt_hessian2";
    let with = "redact: {key: a secret of this test, fields: [sofaTraceId]}\n";
    let map = Map::parse("map.yaml", with).expect("a map");
    let original = Original::read(&mut open(name), &map).expect("a capture of the fixtures");
    let needles = Needles::new(&map, Some(&original));
    let of_redacted = |map: &Map| {
        let report = audit(&rewritten(name, map), &needles);
        let redacted = report.findings.iter().filter(|f| f.kind == Kind::Redacted);
        redacted.count()
    };
    assert_eq!(of_redacted(&Map::default()), 4);
    assert_eq!(of_redacted(&map), 0);
}
