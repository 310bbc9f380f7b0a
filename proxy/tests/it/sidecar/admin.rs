//! The admin interface, asked as people and probes ask it.

use std::io::{Read, Write};
use std::net::TcpStream;

use meshproof_proxy::config::Log;
use meshproof_proxy::edge::{Ending, Options};
use meshproof_proxy::logs::{Levels, Logs};
use meshproof_proxy::{Bug, Bugs};
use meshproof_wire::bolt::{self, Version};
use serde_json::Value;

use super::{LIMIT, Rig, SERVICE, Written, http, until};
use crate::core::rig::call_within;

fn json(rig: &Rig, path: &str) -> Value {
    let (status, body) = http(rig.sidecar.addresses().admin, "GET", path, "");
    assert_eq!(status, 200, "{body}");
    serde_json::from_str(&body).unwrap()
}

#[test]
fn it_says_where_the_sidecar_stands() {
    let rig = Rig::start(Bugs::NONE, "");
    rig.publish();
    let at = rig.sidecar.addresses();
    until("a heartbeat", || {
        json(&rig, "/state")["app"]["watched"] == true
    });
    let state = json(&rig, "/state");
    assert_eq!(state["state"], "serving");
    assert_eq!(state["listening"], true);
    assert_eq!(state["published"][0]["service"], SERVICE);
    assert_eq!(state["addresses"]["inbound"], at.inbound.to_string());
    assert_eq!(json(&rig, "/version")["pid"], std::process::id());
    assert_eq!(json(&rig, "/config")["heartbeat"]["interval"], "1s");
    assert_eq!(
        json(&rig, "/routes")["services"],
        Value::Object(serde_json::Map::new())
    );
    let events = json(&rig, "/events");
    let names: Vec<&str> = events["events"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| event["event"].as_str().unwrap())
        .collect();
    for name in ["started", "published", "heartbeats-started"] {
        assert!(names.contains(&name), "{names:?}");
    }
    let last = events["events"].as_array().unwrap().last().unwrap()["seq"]
        .as_u64()
        .unwrap();
    let since = json(&rig, &format!("/events?since={last}"));
    assert_eq!(since["events"][0]["seq"], last);
    let (status, list) = http(at.admin, "GET", "/", "");
    assert_eq!(status, 200);
    for (method, path, _) in meshproof_proxy::edge::admin::ROUTES {
        assert!(list.contains(&format!("{method:4} {path} ")), "{list}");
    }
}

#[test]
fn what_is_asked_wrongly_is_told_what_there_is() {
    let rig = Rig::start(Bugs::NONE, "");
    let admin = rig.sidecar.addresses().admin;
    for (method, path, status, words) in [
        ("GET", "/nothing", 404, "/metrics"),
        ("POST", "/metrics", 405, "GET"),
        ("GET", "/drain", 405, "POST"),
        ("GET", "/events?after=1", 400, "since=SEQ"),
        // Logs are the process's here.
        ("GET", "/log", 409, "not its own"),
    ] {
        let (told, body) = http(admin, method, path, "");
        assert_eq!(told, status, "{method} {path}");
        assert!(body.contains(words), "{body}");
    }
    let long = "x".repeat(100 << 10);
    assert_eq!(http(admin, "POST", "/log", &long[..20 << 10]).0, 413);
}

#[test]
fn a_configuration_is_taken_whole_or_not_at_all() {
    let rig = Rig::start(Bugs::NONE, "heartbeat: {interval: 2s}\n");
    let admin = rig.sidecar.addresses().admin;
    let yaml = std::fs::read_to_string(&rig.file).unwrap();
    let reload = |text: &str| {
        std::fs::write(&rig.file, text).unwrap();
        http(admin, "POST", "/config/reload", "")
    };
    let (status, body) = reload(&yaml.replace("interval: 2s", "interval: 3s"));
    assert_eq!(status, 200, "{body}");
    assert!(body.contains("heartbeat.interval"), "{body}");
    assert_eq!(json(&rig, "/config")["heartbeat"]["interval"], "3s");
    for (text, words) in [
        (
            yaml.replace("interval: 2s", "interval: 1s, misses: 0"),
            "with 0 misses",
        ),
        (
            yaml.replace("name: pod", "name: other"),
            "`name` cannot change",
        ),
        (
            yaml.replace("heartbeat:", "heartbeats:"),
            "did you mean `heartbeat`?",
        ),
    ] {
        let (status, body) = reload(&text);
        assert_eq!(status, 422, "{body}");
        assert!(body.contains(words) && body.contains("pod.yaml:"), "{body}");
        assert_eq!(json(&rig, "/config")["heartbeat"]["interval"], "3s");
    }
    let text = http(admin, "GET", "/metrics", "").1;
    for line in [
        "meshproof_events_total{event=\"reloaded\"} 1",
        "meshproof_events_total{event=\"reload-refused\"} 3",
    ] {
        assert!(text.lines().any(|known| known == line), "{text}");
    }
}

/// Which services are in the log when its level was turned off before the second and on again
/// before the third.
fn logged(bugs: Bugs) -> Vec<&'static str> {
    let written = Written::default();
    let writer = written.clone();
    let levels = Levels::of(&Log::default()).unwrap();
    let options = Options {
        bugs,
        logs: Some(Logs::new(levels, move || writer.clone())),
        ..Options::default()
    };
    let rig = Rig::with(options, "");
    let services = [
        "com.example.A:1.0",
        "com.example.B:1.0",
        "com.example.C:1.0",
    ];
    for (service, level) in services.into_iter().zip(["", "off", "info"]) {
        if !level.is_empty() {
            let change = format!("target=proxy::discovery&level={level}");
            let admin = rig.sidecar.addresses().admin;
            let (status, body) = http(admin, "POST", "/log", &change);
            assert_eq!(status, 200, "{body}");
            assert!(body.contains(level), "{body}");
        }
        // Logged before it is answered.
        rig.publish_service(service);
    }
    let text = written.text();
    let lines = text
        .lines()
        .filter(|line| line.contains("proxy::discovery"));
    let published: String = lines.filter(|line| line.contains("Published")).collect();
    let is_logged = |service: &&str| published.contains(*service);
    services.into_iter().filter(is_logged).collect()
}

#[test]
fn a_level_that_was_changed_changes_what_is_logged() {
    let [a, b, c] = [
        "com.example.A:1.0",
        "com.example.B:1.0",
        "com.example.C:1.0",
    ];
    assert_eq!(logged(Bugs::NONE), [a, c]);
    assert_eq!(logged(Bugs::NONE.with(Bug::LogLevelIgnored)), [a, b, c]);
}

#[test]
fn a_timeout_that_was_reloaded_ends_the_next_call() {
    let rig = Rig::start(Bugs::NONE, "timeouts: {request: 10m}\n");
    let at = rig.sidecar.addresses();
    let yaml = std::fs::read_to_string(&rig.file).unwrap();
    std::fs::write(&rig.file, yaml.replace("request: 10m", "request: 50ms")).unwrap();
    let (status, body) = http(at.admin, "POST", "/config/reload", "");
    assert_eq!(status, 200, "{body}");
    assert!(body.contains("timeouts.request"), "{body}");
    // The app answers heartbeats only, and the frame names no time-out.
    let mut client = TcpStream::connect(at.inbound).unwrap();
    client.set_read_timeout(Some(LIMIT)).unwrap();
    client
        .write_all(&call_within(Version::V1, 7, 0, b"slow"))
        .unwrap();
    let mut answer = [0; 20];
    client.read_exact(&mut answer).unwrap();
    let bolt::Step::Head(head) = bolt::Head::parse(&answer) else {
        panic!("no answer: {answer:?}");
    };
    assert_eq!(head.id, 7);
    assert_eq!(head.command, bolt::Command::Response { status: 7 });
}

#[test]
fn it_ends_a_sidecar_gracefully() {
    let rig = Rig::start(Bugs::NONE, "");
    let (status, _) = http(rig.sidecar.addresses().admin, "POST", "/drain", "");
    assert_eq!(status, 202);
    let Rig { sidecar, .. } = rig;
    assert_eq!(sidecar.wait(), Ending::Drained);
}
