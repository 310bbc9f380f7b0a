//! A provider leaves; the next call goes to one that is still there, or, with the bug, to the one
//! that has left.

use meshproof_proxy::{Bug, Bugs};
use meshproof_wire::Protocol;

use super::pod::{Pod, address, with};

const CENTER: &str = "config_center: http://10.9.9.9:9600";

fn after_a_push(bugs: Bugs) -> (Vec<std::net::SocketAddr>, u64) {
    let mut pod = Pod::subscribed(bugs, CENTER, None);
    pod.pushed(1, &[(1, &["bolt"])]);
    assert_eq!(pod.reached(Protocol::BoltV1, 10), [address(1)]);
    pod.pushed(2, &[(2, &["bolt"])]);
    let reached = pod.reached(Protocol::BoltV1, 10);
    (reached, pod.metrics.cache_stale.value())
}

#[test]
fn a_push_takes_effect_on_the_next_call() {
    assert_eq!(after_a_push(Bugs::NONE), (vec![address(2)], 1));
}

#[test]
fn with_the_bug_calls_go_on_to_the_one_that_has_left() {
    assert_eq!(after_a_push(with(Bug::CacheStale)), (vec![address(1)], 0));
}
