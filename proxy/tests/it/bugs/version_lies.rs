//! The version that admin and metrics tell: that of the program, or, with the bug, another.

use meshproof_proxy::{Bug, Bugs};

use crate::sidecar::{Rig, http};

/// As `/version` and `/metrics` tell it.
fn told(bugs: Bugs) -> (String, String) {
    let rig = Rig::start(bugs, "");
    let admin = rig.sidecar.addresses().admin;
    let (status, body) = http(admin, "GET", "/version", "");
    assert_eq!(status, 200);
    let version: serde_json::Value = serde_json::from_str(&body).unwrap();
    let (_, metrics) = http(admin, "GET", "/metrics", "");
    let line = metrics
        .lines()
        .find(|line| line.starts_with("meshproof_build_info{"))
        .unwrap();
    let label = line.split("version=\"").nth(1).unwrap();
    let label = label.split('"').next().unwrap();
    (
        version["version"].as_str().unwrap().to_owned(),
        label.to_owned(),
    )
}

#[test]
fn the_version_is_that_of_the_program() {
    let version = env!("CARGO_PKG_VERSION").to_owned();
    assert_eq!(told(Bugs::NONE), (version.clone(), version));
}

#[test]
fn with_the_bug_it_is_another() {
    let (admin, metrics) = told(Bugs::NONE.with(Bug::VersionLies));
    assert_ne!(admin, env!("CARGO_PKG_VERSION"));
    assert_eq!(admin, metrics);
}
