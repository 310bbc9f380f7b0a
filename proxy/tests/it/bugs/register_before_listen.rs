//! Recovery: 12200 listens before the config center sends clients, or, with the bug, after.

use meshproof_proxy::Bug;

use super::health::{RIGHT, story};

#[test]
fn the_door_is_open_before_anybody_is_sent_there() {
    assert_eq!(story(None), RIGHT);
}

#[test]
fn with_the_bug_clients_are_sent_to_a_closed_door() {
    assert_eq!(
        story(Some(Bug::RegisterBeforeListen)),
        ["deregister", "close", "goaway", "register", "open"]
    );
}
