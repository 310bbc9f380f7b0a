//! The story of the mesh, told by the program; and the program killed in the middle of it.

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};

use serde_json::Value;

use crate::environment::{Inside, links};
use crate::peer::{command, java_turn, skipped};

const UNSUPPORTED: i32 = 4;

/// Tells the story with these arguments; the exit code and the story as JSON. None where this
/// machine allows no namespaces.
fn story(arguments: &[&str]) -> Option<(i32, Value)> {
    // It measures time: the noisiest of the other tests are to be over.
    let _turn = java_turn();
    let output = command(env!("CARGO_BIN_EXE_meshproof"))
        .args(["demo", "mesh", "--json"])
        .args(arguments)
        .output()
        .expect("the program runs");
    let code = output.status.code().expect("it ends by itself");
    let said = String::from_utf8_lossy(&output.stderr);
    if code == UNSUPPORTED {
        assert!(
            said.contains("UNSUPPORTED(machine): this machine lacks"),
            "{said}"
        );
        skipped(&said);
        return None;
    }
    let story = serde_json::from_slice(&output.stdout);
    Some((
        code,
        story.unwrap_or_else(|error| panic!("{error}: {said}")),
    ))
}

fn verdict<'a>(story: &'a Value, claim: &str) -> &'a str {
    let claims = story["claims"].as_array().expect("claims");
    let found = claims.iter().find(|other| other["name"] == claim);
    found.map_or("none", |found| {
        found["verdict"].as_str().expect("a verdict")
    })
}

/// When a witness first saw something that begins so.
#[track_caller]
fn at_ms(story: &Value, witness: &str, what: &str) -> f64 {
    let timeline = story["timeline"].as_array().expect("a timeline");
    let found = timeline.iter().find(|moment| {
        moment["seen_by"] == witness && moment["what"].as_str().unwrap().contains(what)
    });
    let found = found.unwrap_or_else(|| panic!("{witness} did not see `{what}`: {story:#}"));
    found["at_ms"].as_f64().expect("a time")
}

#[test]
fn an_app_dies_is_isolated_and_comes_back() {
    let Some((code, story)) = story(&[]) else {
        return;
    };
    for claim in [
        "calls",
        "calls by VIP",
        "deregistered",
        "closed",
        "calls after it",
    ] {
        assert_eq!(verdict(&story, claim), "PASS", "{claim}: {story:#}");
    }
    // On a machine that was held up, the time supports no verdict, and that is said.
    let timed = ["order of the end", "recovered", "detection"].map(|claim| verdict(&story, claim));
    match code {
        0 => assert_eq!(timed, ["PASS"; 3]),
        3 => assert!(
            timed.contains(&"INVALID") && !timed.contains(&"FAIL"),
            "{story:#}"
        ),
        other => panic!("exit {other}: {story:#}"),
    }
    for (claim, calls) in [
        ("calls", "1000"),
        ("calls by VIP", "10"),
        ("calls after it", "100"),
    ] {
        let claims = story["claims"].as_array().unwrap();
        let found = claims.iter().find(|other| other["name"] == claim).unwrap();
        let why = found["why"].as_str().unwrap();
        assert!(
            why.starts_with(&format!("{calls} of {calls} calls")),
            "{why}"
        );
        let proof = "both sidecars counted them and the server's app saw each once";
        assert!(why.ends_with(proof), "{why}");
    }
    // T + N*I, of the usual heartbeat.
    assert_eq!(story["detection"]["expected_ms"], 1050.0);
    let measured = story["detection"]["measured_ms"].as_f64().unwrap();
    assert!(measured > 1000.0, "{measured}");
    let provided = at_ms(&story, "registry", "is provided at 10.99.0.5:12200");
    let called = at_ms(&story, "caller", "1000 of 1000 calls");
    let killed = at_ms(&story, "process", "the app ended by signal 9");
    let gone = at_ms(&story, "registry", "the service is gone");
    let closed = at_ms(&story, "socket", "refuses connections");
    let open = at_ms(&story, "socket", "takes connections again");
    let last = at_ms(&story, "caller", "100 of 100 calls");
    for (earlier, later) in [
        (provided, called),
        (called, killed),
        (killed, gone),
        (killed, closed),
        (closed, open),
        (open, last),
    ] {
        assert!(earlier < later, "{story:#}");
    }
}

#[test]
fn a_sidecar_that_does_not_isolate_fails_the_claim_that_says_so() {
    for (bug, failing) in [
        ("listener-stays-open", "closed"),
        ("deregister-forgotten", "deregistered"),
        ("no-recovery", "recovered"),
    ] {
        let Some((code, story)) = story(&["--bug", bug, "--calls", "10"]) else {
            return;
        };
        assert_eq!(code, 1, "{bug}: {story:#}");
        assert_eq!(verdict(&story, failing), "FAIL", "{bug}: {story:#}");
        assert_eq!(verdict(&story, "calls"), "PASS", "{bug}: {story:#}");
    }
}

#[test]
fn wrong_use_is_told_before_anything_starts() {
    let output = command(env!("CARGO_BIN_EXE_meshproof"))
        .args(["demo", "mesh", "--timeout", "301"])
        .output()
        .expect("the program runs");
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        said.contains("--timeout 301 is longer than --interval 300"),
        "{said}"
    );
}

/// A story on its way; it is killed when this is dropped.
struct Telling(Child);

impl Drop for Telling {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn killed_at_any_moment_the_program_leaves_nothing() {
    let before = links();
    // From the first word on to the wait for the app's isolation.
    for moment in [
        "environment up",
        "the VIP name service runs",
        "the app runs",
        "1000 of 1000",
        "the app ended by signal 9",
    ] {
        let child = command(env!("CARGO_BIN_EXE_meshproof"))
            .args(["demo", "mesh"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the program runs");
        let mut telling = Telling(child);
        let lines = BufReader::new(telling.0.stdout.take().expect("a pipe")).lines();
        let mut lines = lines.map_while(Result::ok);
        if !lines.any(|line| line.contains(moment)) {
            let code = telling.0.wait().expect("it ended").code();
            assert_eq!(code, Some(UNSUPPORTED), "no line says `{moment}`");
            return skipped("needs namespaces: `meshproof demo mesh` says what is missing");
        }
        let inside = Inside::of(telling.0.id());
        assert!(inside.count() >= 4, "the program and three stages");
        telling.0.kill().expect("SIGKILL");
        telling.0.wait().expect("it ends");
        inside.nothing_is_left();
    }
    assert!(links().is_subset(&before), "{:?}", links());
}
