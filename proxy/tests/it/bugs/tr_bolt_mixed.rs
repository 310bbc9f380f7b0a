//! One new provider and one that knows TR alone, in either order: everything goes by TR, or, with
//! the bug, the app follows the first one and the calls reach both.

use std::net::SocketAddr;

use meshproof_proxy::{Bug, Bugs};
use meshproof_wire::Protocol;

use super::pod::{Pod, address, with};

const CENTER: &str = "config_center: http://10.9.9.9:9600";
const NEW: (u8, &[&str]) = (1, &["bolt", "tr"]);
const OLD: (u8, &[&str]) = (2, &["tr"]);

/// What the app was told, and whom its calls reach in that protocol.
fn calls(bugs: Bugs, order: [(u8, &[&str]); 2]) -> (Protocol, Vec<SocketAddr>) {
    let mut pod = Pod::subscribed(bugs, CENTER, None);
    pod.pushed(1, &order);
    let told = pod.told();
    (told, pod.reached(told, 10))
}

#[test]
fn mixed_providers_are_called_by_tr() {
    let both = vec![address(1), address(2)];
    assert_eq!(calls(Bugs::NONE, [NEW, OLD]), (Protocol::Tr, both.clone()));
    assert_eq!(calls(Bugs::NONE, [OLD, NEW]), (Protocol::Tr, both));
}

#[test]
fn an_app_that_was_told_bolt_before_never_reaches_the_old_one() {
    let mut pod = Pod::subscribed(Bugs::NONE, CENTER, None);
    pod.pushed(1, &[NEW]);
    assert_eq!(pod.told(), Protocol::BoltV1);
    pod.pushed(2, &[NEW, OLD]);
    assert_eq!(pod.reached(Protocol::BoltV1, 10), [address(1)]);
}

#[test]
fn with_the_bug_bolt_reaches_the_one_that_knows_only_tr() {
    let both = vec![address(1), address(2)];
    let bugs = with(Bug::TrBoltMixed);
    let (told, reached) = calls(bugs, [NEW, OLD]);
    assert_eq!((told, reached), (Protocol::BoltV1, both.clone()));
    // In the other order nobody notices, which is why it took so long to find.
    assert_eq!(calls(bugs, [OLD, NEW]), (Protocol::Tr, both));
}
