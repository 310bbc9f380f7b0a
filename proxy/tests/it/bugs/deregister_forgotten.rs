//! A lost app: the config center forgets the pod, or, with the bug, sends clients into a closed port.

use meshproof_proxy::Bug;

use super::health::{RIGHT, story};

#[test]
fn a_lost_app_is_taken_off_the_config_center() {
    assert_eq!(story(None), RIGHT);
}

#[test]
fn with_the_bug_the_config_center_goes_on_naming_it() {
    assert_eq!(
        story(Some(Bug::DeregisterForgotten)),
        ["close", "goaway", "open"]
    );
}
