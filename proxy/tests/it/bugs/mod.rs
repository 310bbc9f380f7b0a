//! Every seeded bug: seen with its switch, absent without it.

mod cache_stale;
mod crc_dropped;
mod deregister_forgotten;
mod empty_push_wipes;
mod foreign_frame_held;
mod half_open_leak;
mod heartbeat_ignored;
mod id_collision;
mod listener_stays_open;
mod log_level_ignored;
mod no_recovery;
mod oneway_answered;
mod register_before_listen;
mod reply_version;
mod timeout_ignored;
mod tr_bolt_mixed;
mod upgrade_doubles;
mod upgrade_drops;
mod version_lies;
mod vip_legacy_form;

mod health;
mod pod;

use std::collections::BTreeSet;

use meshproof_proxy::Bug;

/// Every bug has a file, and the file shows it with its switch and without.
#[test]
fn every_bug_is_shown_and_absent() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/bugs");
    let helpers = ["mod", "pod", "health"];
    let files: BTreeSet<String> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| path.file_stem().unwrap().to_string_lossy().into_owned())
        .filter(|name| !helpers.contains(&name.as_str()))
        .collect();
    let bugs: BTreeSet<String> = Bug::ALL
        .iter()
        .map(|bug| bug.name().replace('-', "_"))
        .collect();
    assert_eq!(files, bugs);
    for bug in Bug::ALL {
        let name = bug.name().replace('-', "_");
        let text = std::fs::read_to_string(folder.join(format!("{name}.rs"))).unwrap();
        assert!(text.contains("#[test]"), "{name}: no test");
        assert!(
            text.contains(&format!("Bug::{bug:?}")),
            "{name}: not with the switch"
        );
        let without = ["Bugs::NONE", "story(None)"];
        assert!(
            without.iter().any(|word| text.contains(word)),
            "{name}: not without the switch"
        );
    }
}
