//! A config center in trouble pushes an empty list: addresses stay, or, with the bug, are wiped.

use meshproof_proxy::routing::NoRoute;
use meshproof_proxy::{Bug, Bugs};
use meshproof_wire::Protocol;

use super::pod::{Pod, SERVICE, address, with};

const CENTER: &str = "config_center: http://10.9.9.9:9600";

fn in_trouble(bugs: Bugs) -> Pod {
    let mut pod = Pod::subscribed(bugs, CENTER, None);
    pod.pushed(1, &[(1, &["bolt"]), (2, &["bolt"])]);
    assert_eq!(pod.reached(Protocol::BoltV1, 10), [address(1), address(2)]);
    pod.pushed(2, &[]);
    pod
}

#[test]
fn an_empty_push_is_not_believed() {
    let mut pod = in_trouble(Bugs::NONE);
    assert_eq!(pod.reached(Protocol::BoltV1, 10), [address(1), address(2)]);
    assert_eq!(pod.metrics.pushes_ignored.value(), 1);
}

#[test]
fn with_the_bug_nobody_is_left() {
    let mut pod = in_trouble(with(Bug::EmptyPushWipes));
    assert_eq!(
        pod.calls(Protocol::BoltV1),
        Err(NoRoute::Empty(SERVICE.to_owned()))
    );
    assert_eq!(pod.metrics.pushes_ignored.value(), 0);
}
