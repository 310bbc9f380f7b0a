//! An app that is silent for ten seconds: isolated and brought back, or, with the bug, left where
//! it is.

use meshproof_proxy::Bug;

use super::health::{RIGHT, story};

#[test]
fn a_silent_app_is_isolated_and_brought_back() {
    assert_eq!(story(None), RIGHT);
}

#[test]
fn with_the_bug_nothing_follows() {
    assert_eq!(story(Some(Bug::HeartbeatIgnored)), [""; 0]);
}
