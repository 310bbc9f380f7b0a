//! An app that answers again: back in service, or, with the bug, isolated for good.

use meshproof_proxy::Bug;

use super::health::{RIGHT, story};

#[test]
fn an_app_that_answers_again_is_back() {
    assert_eq!(story(None), RIGHT);
}

#[test]
fn with_the_bug_it_stays_isolated() {
    assert_eq!(
        story(Some(Bug::NoRecovery)),
        ["deregister", "close", "goaway"]
    );
}
