//! Real captures.

use meshproof_replay::audit::{Audit, Needles, Original};
use meshproof_replay::map::Map;
use meshproof_replay::rewrite::{RuleUse, propose};
use meshproof_wire::Crc;
use meshproof_wire::hessian::Document;

use super::{FOREIGN, KNOWN, content, fixture, map, open, raw, rewritten};

#[test]
fn an_empty_map_gives_identical_packets() {
    let folder = tempfile::tempdir().expect("a folder");
    for name in KNOWN.iter().chain(&FOREIGN) {
        for text in ["", "many-to-one: true\n"] {
            let (out, summary) = rewritten(&fixture(name), &map(text), folder.path(), name);
            assert!(raw(&out) == raw(&fixture(name)), "{name}: not the same");
            assert_eq!(summary.packets.unchanged, summary.packets.read, "{name}");
        }
    }
}

const KEEP: &str = "keep: [mac, foreign, non-tcp, undecodable]\n";

#[test]
fn a_map_of_equal_lengths_and_its_inverse_give_identical_packets() {
    let folder = tempfile::tempdir().expect("a folder");
    let there = map(&format!(
        "{KEEP}networks: {{10.15.0.0/16: 10.99.0.0/16, 127.0.0.0/8: 126.0.0.0/8}}\n\
         vips: {{sample-pool.zone1.alipay.net: sample-pool.zone9.alipax.net}}\n\
         apps: {{sample-client: sample-cliant}}\nzones: {{zone1: zone7}}\n\
         strings: [{{from: hello, to: hallo}}, {{from: echo, to: acho}}]\n"
    ));
    let back = there.inverse().expect("an inverse");
    let mut changed = 0;
    for name in KNOWN.iter().chain(&FOREIGN) {
        let (out, summary) = rewritten(&fixture(name), &there, folder.path(), "there");
        changed += summary.frames.rewritten;
        assert!(raw(&out) != raw(&fixture(name)), "{name}: nothing changed");
        let (out, _) = rewritten(&out, &back, folder.path(), "back");
        assert!(raw(&out) == raw(&fixture(name)), "{name}: not the same");
    }
    assert!(changed > 10, "{changed} frames changed");
}

#[test]
fn a_map_of_other_lengths_and_its_inverse_give_identical_streams() {
    let folder = tempfile::tempdir().expect("a folder");
    let there = map(&format!(
        "{KEEP}addresses: {{10.15.232.248: 198.18.100.101, 10.15.246.182: 198.18.0.2}}\n\
         vips:\n  sample-pool.zone1.alipay.net: a-very-long-name-for-an-offline-pool.z.test\n  \
         sample-server-vip.alipay.net: v.test\n\
         apps: {{sample-client: c1, sample-server: a-longer-name-for-the-server}}\n\
         zones: {{zone1: z, GZ00A: somewhere-else}}\n"
    ));
    let back = there.inverse().expect("an inverse");
    for name in KNOWN {
        let (out, summary) = rewritten(&fixture(name), &there, folder.path(), "there");
        let is_sofa = name.starts_with("sofa") || name.starts_with("tr");
        assert_eq!(summary.frames.rewritten > 0, is_sofa, "{name}");
        assert_eq!(content(&out) == content(&fixture(name)), !is_sofa, "{name}");
        let (out, _) = rewritten(&out, &back, folder.path(), "back");
        assert!(
            content(&out) == content(&fixture(name)),
            "{name}: not the same"
        );
    }
}

/// Every frame decodes to the same structure, whatever the map did to its texts.
#[test]
fn frames_keep_their_structure() {
    let folder = tempfile::tempdir().expect("a folder");
    for name in KNOWN {
        let input = fixture(name);
        let text = propose(&mut open(&input)).expect("a map");
        let (out, _) = rewritten(&input, &map(&text), folder.path(), name);
        let (old, new) = (content(&input), content(&out));
        assert_eq!(old.frames.len(), new.frames.len(), "{name}");
        assert_eq!(new.cut, 0, "{name}");
        for (old, new) in old
            .frames
            .values()
            .flatten()
            .zip(new.frames.values().flatten())
        {
            assert_eq!(old.class(), new.class(), "{name}");
            assert_eq!(old.head.id, new.head.id, "{name}");
            assert_ne!(new.crc(), Crc::Bad, "{name}");
            let keys = |frame: &meshproof_wire::Frame| -> Vec<String> {
                frame.headers().texts().map(|(key, _)| key).collect()
            };
            assert_eq!(keys(old), keys(new), "{name}");
            let paths = |frame: &meshproof_wire::Frame| -> Vec<String> {
                let (document, _) = Document::parse(frame.content());
                document
                    .nodes()
                    // A zone that is the key of a map is part of a path.
                    .map(|node| {
                        document
                            .path(node)
                            .replace("DEFAULT_ZONE", "offline-zone-1")
                    })
                    .collect()
            };
            assert_eq!(paths(old), paths(new), "{name}");
        }
    }
}

#[test]
fn header_map_body_and_trace_id_change_together() {
    let folder = tempfile::tempdir().expect("a folder");
    let map = map("networks: {10.15.0.0/16: 10.99.0.0/16}\n\
         vips: {sample-pool.zone1.alipay.net: offline-pool.z9.test.net}\n\
         apps: {sample-client: c1}\n");
    let (out, _) = rewritten(
        &fixture("sofarpc_bolt_hessian2"),
        &map,
        folder.path(),
        "out",
    );
    let mut seen = 0;
    for frame in content(&out).frames.values().flatten() {
        let (document, _) = Document::parse(frame.content());
        let text = |path: &str| {
            let node = document.find(path)?;
            document.text(node).map(str::to_owned)
        };
        if let Some(app) = frame.headers().get("app") {
            assert_eq!(app, "c1");
            assert_eq!(text("[0].requestProps.app").as_deref(), Some("c1"));
            let headers = frame.headers();
            let trace = headers
                .get("rpc_trace_context.sofaTraceId")
                .expect("a trace id");
            assert!(trace.starts_with("0a63e8f8"), "{trace}");
            assert_eq!(
                text("[0].requestProps.rpc_trace_context.sofaTraceId").as_deref(),
                Some(trace)
            );
            seen += 1;
        }
        if let Some(url) = text("[1].callbackUrl") {
            assert_eq!(url, "http://offline-pool.z9.test.net:12200?_TIMEOUT=3000");
            assert_eq!(text("[1].hosts[0]").as_deref(), Some("10.99.246.182:12200"));
            seen += 1;
        }
    }
    assert_eq!(seen, 5, "four requests, and the URL of one");
}

#[test]
fn a_crc_is_made_right_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let input = fixture("bolt_v2_ver2crc_basic");
    let map = map("strings: [{pattern: 'e(ch)o', to: 'a longer text with $1 in it, over 31'}]\n");
    let (out, summary) = rewritten(&input, &map, folder.path(), "out");
    let (old, new) = (content(&input), content(&out));
    let crcs = |content: &super::Content| -> Vec<Crc> {
        content
            .frames
            .values()
            .flatten()
            .map(|frame| frame.crc())
            .collect()
    };
    assert!(summary.frames.rewritten > 0, "{summary:?}");
    assert!(crcs(&old).contains(&Crc::Ok));
    assert_eq!(crcs(&old), crcs(&new));
}

#[test]
fn foreign_streams_are_left_out() {
    let folder = tempfile::tempdir().expect("a folder");
    for name in FOREIGN {
        let rule = "networks: {10.15.0.0/16: 10.99.0.0/16}\n";
        let (_, summary) = rewritten(&fixture(name), &map(rule), folder.path(), "out");
        assert_eq!(summary.packets.dropped["foreign"], summary.packets.read);
        let text = format!("{rule}keep: [foreign]\n");
        let (out, summary) = rewritten(&fixture(name), &map(&text), folder.path(), "out");
        assert_eq!(summary.packets.rewritten, summary.packets.read);
        assert!(content(&out).streams == content(&fixture(name)).streams);
    }
}

/// A proposed map is accepted as it is, and the audit finds nothing.
#[test]
fn a_proposed_map_leaves_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    for name in KNOWN.iter().chain(&FOREIGN) {
        let input = fixture(name);
        let text = propose(&mut open(&input)).expect("a map");
        let map = Map::parse("proposed", &text).unwrap_or_else(|problem| panic!("{problem}"));
        let (out, _) = rewritten(&input, &map, folder.path(), name);
        let original = Original::read(&mut open(&input), &map).expect("packets");
        let needles = Needles::new(&map, Some(&original));
        let mut audit = Audit::new(&needles).expect("needles");
        audit.packets(&mut open(&out)).expect("packets");
        audit
            .blocks(name, std::fs::File::open(&out).expect("a file"))
            .expect("blocks");
        let report = audit.finish();
        assert!(report.is_clean(), "{name}\n{text}\n{report:#?}");
    }
}

/// Whatever rule is missing, the audit with the whole map finds what it would have replaced.
#[test]
fn the_audit_finds_what_a_missing_rule_leaves() {
    let folder = tempfile::tempdir().expect("a folder");
    for name in [
        "sofarpc_bolt_hessian2",
        "sofarpc_bolt_url_appName",
        "sofaregistry_pub_sub",
        "tr_hessian_stub",
    ] {
        let input = fixture(name);
        let text = propose(&mut open(&input)).expect("a map");
        let full = map(&text);
        let (_, summary) = rewritten(&input, &full, folder.path(), "full");
        let mut left_out = 0;
        for rule in summary.rules.iter().filter(|rule| rule.uses > 0) {
            // There the zone stands by itself as well: without the rule for the VIP it is replaced
            // within the VIP, and nothing is left to be found.
            if name == "tr_hessian_stub" && rule.kind == "vips" {
                continue;
            }
            let mut lacking = full.clone();
            lacking.addresses.retain(|known| known.line != rule.line);
            lacking.vips.retain(|known| known.line != rule.line);
            // The app and the zone of a VIP stand in where the VIP has no rule.
            let stays = |line: usize| {
                let used = |known: &&RuleUse| known.line == line && known.uses == 0;
                line != rule.line
                    && (rule.kind != "vips" || !summary.rules.iter().any(|known| used(&known)))
            };
            lacking.apps.retain(|known| stays(known.line));
            lacking.zones.retain(|known| stays(known.line));
            let (out, _) = rewritten(&input, &lacking, folder.path(), "lacking");
            let original = Original::read(&mut open(&input), &full).expect("packets");
            let needles = Needles::new(&full, Some(&original));
            let mut audit = Audit::new(&needles).expect("needles");
            audit.packets(&mut open(&out)).expect("packets");
            let report = audit.finish();
            assert!(
                report
                    .findings
                    .iter()
                    .any(|found| found.needle.eq_ignore_ascii_case(&rule.from)),
                "{name} without {rule:?}: {report:#?}"
            );
            left_out += 1;
        }
        assert!(left_out >= 3, "{name}: {left_out} rules were used");
    }
}

/// Comments and names are not carried over: that is told, also where nothing else changes.
#[test]
fn what_a_file_holds_besides_packets_is_counted() {
    let folder = tempfile::tempdir().expect("a folder");
    let rules = map("addresses: {10.15.232.248: 198.18.0.1}\n");
    for empty_or_not in [&map(""), &rules] {
        let (out, summary) = rewritten(&fixture(KNOWN[0]), &map(""), folder.path(), "plain");
        assert!(
            !summary.findings.keys().any(|k| k.contains("left-out")),
            "{summary:?}"
        );
        let mut bytes = std::fs::read(&out).expect("a file");
        // Names of hosts, statistics, a custom block.
        for kind in [4u32, 5, 0xbad] {
            bytes.extend(kind.to_le_bytes());
            bytes.extend(16u32.to_le_bytes());
            bytes.extend([0; 4]);
            bytes.extend(16u32.to_le_bytes());
        }
        let noted = folder.path().join("noted.pcapng");
        std::fs::write(&noted, bytes).expect("a file");
        let (out, summary) = rewritten(&noted, empty_or_not, folder.path(), "again");
        assert_eq!(summary.findings.get("name-block-left-out"), Some(&1));
        assert_eq!(summary.findings.get("block-left-out"), Some(&2));
        let (_, summary) = rewritten(&out, empty_or_not, folder.path(), "none");
        assert_eq!(summary.findings.get("name-block-left-out"), None);
    }
}
