//! What a machine allows, told; and what runs where namespaces are denied, or nothing is allowed.

use serde_json::Value;

use crate::environment::as_nobody;
use crate::loopback::denied;
use crate::peer::{command, java_turn, skipped};

const UNSUPPORTED: i32 = 4;

/// The program behind something, with these arguments: exit code, output, error output.
fn run(front: &[&str], arguments: &[&str]) -> (i32, String, String) {
    let all: Vec<&str> = front
        .iter()
        .copied()
        .chain([env!("CARGO_BIN_EXE_meshproof")])
        .chain(arguments.iter().copied())
        .collect();
    let output = command(all[0])
        .args(&all[1..])
        .output()
        .expect("the program runs");
    (
        output.status.code().expect("it ends by itself"),
        String::from_utf8_lossy(&output.stdout).into_owned(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    )
}

/// What the doctor says, and its exit code.
fn examined(front: &[&str]) -> (i32, Value) {
    let (code, out, said) = run(front, &["doctor", "--format", "json"]);
    let report = serde_json::from_str(&out);
    (
        code,
        report.unwrap_or_else(|error| panic!("{error}: {said}")),
    )
}

fn backends(report: &Value) -> Vec<&str> {
    let all = report["backends"].as_array().expect("backends").iter();
    all.map(|backend| backend.as_str().expect("a name"))
        .collect()
}

#[track_caller]
fn check<'a>(report: &'a Value, name: &str) -> &'a Value {
    let all = report["checks"].as_array().expect("checks");
    let found = all.iter().find(|check| check["name"] == name);
    found.unwrap_or_else(|| panic!("no check is called {name}: {report:#}"))
}

#[test]
fn every_check_says_what_was_seen_or_what_to_type() {
    let (code, report) = examined(&[]);
    assert_eq!(code, 0, "{report:#}");
    assert_eq!(report["schema"], 1);
    assert!(backends(&report).contains(&"process"), "{report:#}");
    for name in [
        "root",
        "user namespaces",
        "apparmor",
        "no seccomp filter",
        "namespaces",
        "mounts",
        "nested network namespaces",
        "bridge",
        "veth",
        "AF_PACKET",
        "/dev/net/tun",
        "BPF",
        "nft",
        "iptables",
        "backend netns",
        "backend process",
        "docker",
        "java",
        "mvn",
        "go",
        "chromium",
        "libpcap",
    ] {
        let check = check(&report, name);
        let text = |key: &str| check[key].as_str().unwrap_or_default().len();
        assert!(text("why") > 0 && text("for") > 0, "{check:#}");
        assert_eq!(check["found"] == false, text("advice") > 0, "{check:#}");
    }
    // For people, the same.
    let (code, out, _) = run(&[], &["doctor"]);
    assert_eq!(code, 0);
    let last = out.lines().last().expect("a sentence");
    let backend = backends(&report)[0];
    assert!(
        last.starts_with(&format!("meshes run in backend {backend}: ")),
        "{last}"
    );
}

#[test]
fn where_unshare_is_denied_meshes_run_on_loopback_addresses() {
    let Some(denied) = denied("unshare,mount,setns,user-namespace") else {
        return;
    };
    let front = [as_nobody().unwrap_or_default(), denied].concat();
    let (code, report) = examined(&front);
    assert_eq!(
        (code, backends(&report)),
        (0, vec!["process"]),
        "{report:#}"
    );
    let seen = check(&report, "namespaces");
    let why = seen["why"].as_str().expect("why");
    assert!(why.starts_with("Operation not permitted"), "{why}");
    let filter = check(&report, "no seccomp filter");
    assert_eq!(filter["found"], false, "{filter:#}");

    // It measures time: the noisiest of the other tests are to be over.
    let _turn = java_turn();
    let (code, out, said) = run(&front, &["demo", "mesh", "--json", "--calls", "100"]);
    let story: Value = serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {said}"));
    // Where the machine was held up, the times support no verdict.
    assert!([0, 3].contains(&code), "exit {code}: {story:#}");
    for claim in [
        "calls",
        "calls by VIP",
        "deregistered",
        "closed",
        "calls after it",
    ] {
        let claims = story["claims"].as_array().expect("claims");
        let found = claims.iter().find(|found| found["name"] == claim);
        assert_eq!(found.expect(claim)["verdict"], "PASS", "{story:#}");
    }
    let timeline = story["timeline"].to_string();
    assert!(
        timeline.contains("backend process: this machine lacks "),
        "{timeline}"
    );
}

#[test]
fn where_nothing_is_allowed_the_exit_code_says_so() {
    let Some(front) = denied("unshare,bind") else {
        return skipped("needs a filter");
    };
    let (code, report) = examined(&front);
    assert_eq!(
        (code, backends(&report)),
        (UNSUPPORTED, vec![]),
        "{report:#}"
    );
    let why = report["why"].as_str().expect("why");
    assert!(
        why.contains("namespaces") && why.contains("loopback addresses"),
        "{why}"
    );
    let (code, _, said) = run(&front, &["demo", "mesh"]);
    assert_eq!(code, UNSUPPORTED, "{said}");
    assert!(
        said.contains("UNSUPPORTED(machine): this machine lacks"),
        "{said}"
    );
    let netns = ["demo", "mesh", "--backend", "netns"];
    assert_eq!(run(&front, &netns).0, UNSUPPORTED);
}
