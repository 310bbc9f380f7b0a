//! tshark as judge: a rewritten capture is no worse than its original.

use std::path::Path;
use std::process::Command;

use meshproof_replay::rewrite::propose;

use super::{fixture, map, open, rewritten};

/// Counts of malformed packets and of wrong checksums.
fn complaints(path: &Path) -> Option<[usize; 3]> {
    // Output of a judge, not of this program.
    #[expect(
        clippy::disallowed_methods,
        reason = "a judge from outside is a process"
    )]
    let output = Command::new("tshark")
        .args(["-r"])
        .arg(path)
        .args([
            "-o",
            "tcp.check_checksum:TRUE",
            "-o",
            "ip.check_checksum:TRUE",
        ])
        .args(["-T", "fields", "-e", "_ws.malformed"])
        .args(["-e", "tcp.checksum.status", "-e", "ip.checksum.status"])
        .output()
        .ok()?;
    assert!(output.status.success(), "tshark: {output:?}");
    let text = String::from_utf8_lossy(&output.stdout);
    let mut counts = [0; 3];
    for line in text.lines() {
        let fields: Vec<&str> = line.split('\t').collect();
        counts[0] += usize::from(fields.first().is_some_and(|field| !field.is_empty()));
        // 0 is bad, 1 is good.
        counts[1] += usize::from(fields.get(1) == Some(&"0"));
        counts[2] += usize::from(fields.get(2) == Some(&"0"));
    }
    Some(counts)
}

/// The expert's errors and warnings, by their group and text, with counts.
fn expert(path: &Path) -> Option<Vec<String>> {
    #[expect(
        clippy::disallowed_methods,
        reason = "a judge from outside is a process"
    )]
    let output = Command::new("tshark")
        .args(["-q", "-z", "expert,warn", "-r"])
        .arg(path)
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&output.stdout);
    Some(
        text.lines()
            .filter(|line| line.trim_start().starts_with(|c: char| c.is_ascii_digit()))
            .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
            .collect(),
    )
}

#[test]
fn tshark_has_no_more_to_say_than_of_the_original() {
    let folder = tempfile::tempdir().expect("a folder");
    // A process per capture and question is slow; these hold every form of frame.
    let names = [
        "bolt_v1_large_1MiB_mtu1500",
        "bolt_v2_pipeline_crc",
        "sofaregistry_pub_sub",
        "sofarpc_bolt_hessian2",
    ];
    for name in names {
        let input = fixture(name);
        let Some(before) = complaints(&input) else {
            eprintln!("SKIPPED: needs tshark");
            return;
        };
        let mut text = propose(&mut open(&input)).expect("a map");
        text.push_str(
            "\nnetworks: {127.0.0.0/8: 119.0.0.0/8}\nstrings: [{from: echo, to: other}]\n",
        );
        let (out, summary) = rewritten(&input, &map(&text), folder.path(), "out.pcapng");
        assert!(summary.packets.rewritten > 0, "{name}");
        assert_eq!(complaints(&out), Some(before), "{name}");
        let (before, after) = (expert(&input), expert(&out));
        assert_eq!(after, before, "{name}");
    }
}
