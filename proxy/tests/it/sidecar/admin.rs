//! The admin interface, asked as people and probes ask it.

use meshproof_proxy::Bugs;
use meshproof_proxy::edge::Ending;
use serde_json::Value;

use super::{Rig, SERVICE, http, until};

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

#[test]
fn it_ends_a_sidecar_gracefully() {
    let rig = Rig::start(Bugs::NONE, "");
    let (status, _) = http(rig.sidecar.addresses().admin, "POST", "/drain", "");
    assert_eq!(status, 202);
    let Rig { sidecar, .. } = rig;
    assert_eq!(sidecar.wait(), Ending::Drained);
}
