//! A level that is changed at run time: seen in the log, or, with the bug, in the answer alone.

use meshproof_proxy::config::Log;
use meshproof_proxy::logs::{Levels, Logs};
use meshproof_proxy::{Bug, Bugs};

use crate::sidecar::Written;

/// What is logged before and after `proxy::core` is set to debug, and what is told of it.
fn lines(bugs: Bugs) -> (Vec<String>, String) {
    let written = Written::default();
    let writer = written.clone();
    let levels = Levels::of(&Log::default()).unwrap();
    let (logs, dispatch) = Logs::new(levels, move || writer.clone());
    tracing::dispatcher::with_default(&dispatch, || {
        let say = |when| {
            tracing::debug!(target: "proxy::core", "{when}: debug of the core");
            tracing::debug!(target: "proxy::health", "{when}: debug of the health");
            tracing::info!(target: "proxy::health", "{when}: info of the health");
        };
        say("before");
        let levels = logs.levels().with(Some("proxy::core"), "debug").unwrap();
        logs.set(levels, bugs);
        say("after");
    });
    let lines = written
        .text()
        .lines()
        .map(|line| line.rsplit_once("proxy::").unwrap().1.to_owned())
        .collect();
    let told = logs.levels();
    let told = told.in_force().find(|(target, _)| *target == "proxy::core");
    (lines, told.unwrap().1.to_string())
}

#[test]
fn a_level_takes_effect_at_once_and_for_its_target_alone() {
    let (lines, told) = lines(Bugs::NONE);
    assert_eq!(
        lines,
        [
            "health: before: info of the health",
            "core: after: debug of the core",
            "health: after: info of the health",
        ]
    );
    assert_eq!(told, "debug");
}

#[test]
fn with_the_bug_it_is_told_and_nothing_changes() {
    let (lines, told) = lines(Bugs::NONE.with(Bug::LogLevelIgnored));
    assert_eq!(
        lines,
        [
            "health: before: info of the health",
            "health: after: info of the health",
        ]
    );
    assert_eq!(told, "debug");
}
