//! Calls in flight when the new process takes over are sent to the app a second time.

use meshproof_proxy::{Bug, Bugs};

use super::upgrade_drops::upgraded;

#[test]
fn the_app_sees_a_call_twice() {
    assert_eq!(upgraded(Bugs::NONE), (1, 1));
    assert_eq!(upgraded(Bugs::NONE.with(Bug::UpgradeDoubles)), (2, 1));
}
