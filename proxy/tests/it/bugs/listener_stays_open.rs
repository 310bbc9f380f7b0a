//! A lost app: 12200 is closed, or, with the bug, goes on accepting.

use meshproof_proxy::Bug;

use super::health::{RIGHT, story};

#[test]
fn a_lost_app_has_its_door_closed() {
    assert_eq!(story(None), RIGHT);
}

#[test]
fn with_the_bug_the_door_stays_open() {
    assert_eq!(
        story(Some(Bug::ListenerStaysOpen)),
        ["deregister", "register"]
    );
}
