//! The stories and topologies that ship: in the binary, so that it works alone.

use std::path::Path;

use crate::Error;

macro_rules! files {
    ($folder:literal: $($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!("../../../", $folder, $name, ".yaml")))),*]
    };
}

/// The stories by name, in the order in which they are told.
pub const STORIES: &[(&str, &str)] = files!["scenarios/":
    "heartbeat-lost",
    "heartbeats-dropped",
    "recovery-order",
    "app-crash",
    "subscription",
    "empty-push",
    "stale-cache",
    "registry-restart",
    "without-center",
    "graceful-stop",
    "upgrade-under-load",
    "meshify",
    "routing-like-sdk",
    "protocol-mix",
    "vip-forms",
    "vip-malformed",
    "vip-trouble",
    "versions",
    "error-paths",
    "heartbeats-in-every-version",
    "oneway",
    "shared-connections",
    "foreign-bytes",
    "half-open",
    "between-sidecars",
    "log-level",
    "version-told",
    "replay-sofarpc",
    "replay-vip-legacy",
    "replay-bolt-v2",
    "replay-shared-connections",
    "replay-tr",
];

/// The stories of faults by name, in the order in which they are told: one story, that an app is
/// not heard at 12199, by every way of making it so; then what can be wrong with the config center
/// and the VIP names; then schedules, bad links, and disks that a sidecar logs to.
pub const FAULTS: &[(&str, &str)] = files!["scenarios/faults/":
    "answers-lost-iptables-nft",
    "answers-lost-iptables-legacy",
    "answers-lost-nft-owner",
    "answers-lost-relay",
    "answers-lost-by-number",
    "answers-lost-twice",
    "answers-overtaken",
    "answer-under-another-id",
    "answer-cut-short",
    "answers-foreign",
    "app-paused",
    "app-held",
    "app-muted",
    "center-empty",
    "center-partial",
    "center-stale",
    "center-flapping",
    "center-order",
    "center-expired",
    "center-slow",
    "center-unavailable",
    "names-trouble",
    "names-wrong",
    "answers-lost-again",
    "again-and-again",
    "on-an-event",
    "slow-link",
    "disk-full",
    "disk-read-only",
    "disk-gone",
];

/// Every folder of stories that ships, by what a run calls it.
pub const SUITES: &[(&str, &[(&str, &str)])] = &[("scenarios", STORIES), ("faults", FAULTS)];

/// The stories of all suites.
pub fn stories() -> impl Iterator<Item = (&'static str, &'static str)> {
    SUITES
        .iter()
        .flat_map(|(_, stories)| stories.iter().copied())
}

/// The topologies by name.
pub const TOPOLOGIES: &[(&str, &str)] = files!["scenarios/topologies/":
    "pair",
    "mixed-providers",
    "chain",
    "two-servers",
    "beside-sdk",
    "bare-server",
    "heartbeat",
];

macro_rules! captures {
    ($($name:literal),* $(,)?) => {
        &[$((
            concat!("captures/", $name, ".pcapng"),
            include_bytes!(concat!("../../../scenarios/captures/", $name, ".pcapng")) as &[u8],
        )),*]
    };
}

/// Captures that stories replay, by where they stand beside them: rewritten, and audited by a test.
pub const CAPTURES: &[(&str, &[u8])] =
    captures!["sofarpc", "vip-legacy", "bolt-v2", "shared", "tr"];

/// Writes the captures that these texts of stories name into a folder, for programs in pods: the
/// folder that stands for `{{here}}` in them.
///
/// # Errors
/// A file cannot be written.
pub fn unpack<'t>(texts: impl IntoIterator<Item = &'t str>, folder: &Path) -> Result<(), Error> {
    for text in texts {
        for (name, bytes) in CAPTURES.iter().filter(|(name, _)| text.contains(name)) {
            let path = folder.join(name);
            let below = path.parent().unwrap_or(folder);
            std::fs::create_dir_all(below)
                .and_then(|()| std::fs::write(&path, bytes))
                .map_err(Error::io(format!("the capture {}", path.display())))?;
        }
    }
    Ok(())
}

/// The text of a story that ships, by its name.
pub fn story(name: &str) -> Option<&'static str> {
    let found = stories().find(|(other, _)| *other == name);
    found.map(|(_, text)| text)
}

/// The text of a topology that ships, by its name.
pub fn topology(name: &str) -> Option<&'static str> {
    find(TOPOLOGIES, name)
}

fn find(files: &[(&str, &'static str)], wanted: &str) -> Option<&'static str> {
    let found = files.iter().find(|(name, _)| *name == wanted);
    found.map(|(_, text)| *text)
}

#[cfg(test)]
mod tests {
    use super::super::{Known, load, plan};
    use super::*;

    #[test]
    fn every_story_that_ships_is_right_and_says_what_it_would_do() {
        let topologies = |name: &str| Some((name.to_owned(), topology(name)?.to_owned()));
        let known = Known {
            suts: &["reference", "mosn"],
            sites: &["ant-like", "public-cloud-like", "static-addresses"],
            bugs: &[],
        };
        for (name, text) in stories() {
            let text = text.replace(crate::offline::text::HERE, "/folder");
            let story = load(name, &text, &topologies, &known)
                .unwrap_or_else(|problem| panic!("{name}: {problem}: line {:?}", problem.line()));
            assert_eq!(story.scenario.scenario.as_str(), name);
            assert!(!story.scenario.about.ends_with('.'), "{name}");
            let numbers: Vec<u32> = plan(&story.scenario).iter().map(|it| it.number).collect();
            let count = u32::try_from(numbers.len()).expect("a few steps");
            assert!(numbers.iter().copied().eq(1..=count), "{name}");
        }
    }

    #[test]
    fn every_file_beside_them_ships() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios");
        let names = |folder: &std::path::Path| -> Vec<String> {
            let mut names: Vec<String> = std::fs::read_dir(folder)
                .expect("the folder is there")
                .map(|entry| entry.expect("an entry").path())
                .filter(|path| path.extension().is_some_and(|kind| kind == "yaml"))
                .map(|path| {
                    path.file_stem()
                        .expect("a name")
                        .to_string_lossy()
                        .into_owned()
                })
                .collect();
            names.sort();
            names
        };
        let shipped = |files: &[(&str, &str)]| -> Vec<String> {
            let mut names: Vec<String> = files.iter().map(|(name, _)| (*name).into()).collect();
            names.sort();
            names
        };
        let mut captures: Vec<String> = std::fs::read_dir(folder.join("captures"))
            .expect("the folder is there")
            .map(|entry| entry.expect("an entry").file_name())
            .map(|name| format!("captures/{}", name.to_string_lossy()))
            .filter(|name| name.ends_with(".pcapng"))
            .collect();
        captures.sort();
        let mut shipped_captures: Vec<&str> = CAPTURES.iter().map(|it| it.0).collect();
        shipped_captures.sort_unstable();
        assert_eq!(captures, shipped_captures);
        assert_eq!(names(&folder), shipped(STORIES));
        assert_eq!(names(&folder.join("faults")), shipped(FAULTS));
        assert_eq!(names(&folder.join("topologies")), shipped(TOPOLOGIES));
    }

    #[test]
    fn every_bug_of_the_heartbeat_family_is_claimed_by_three_ways_of_dropping() {
        use super::super::harm::doer;
        use super::super::model::Step;

        let topologies = |name: &str| Some((name.to_owned(), topology(name)?.to_owned()));
        let family = |text: &str| {
            let known = Known {
                suts: &["reference"],
                ..Known::default()
            };
            let story = load("it.yaml", text, &topologies, &known);
            story.unwrap_or_else(|problem| panic!("{problem}")).scenario
        };
        let lost = family(story("heartbeat-lost").expect("it ships"));
        for bug in &lost.catches {
            let mut ways = std::collections::BTreeSet::new();
            for (_, text) in FAULTS {
                let story = family(text);
                if !story.catches.contains(bug) {
                    continue;
                }
                ways.extend(story.steps.iter().filter_map(|step| match &step.value {
                    Step::Fault(fault) => {
                        let way = fault.way.map(|way| way.value);
                        Some((format!("{:?}", doer(fault)), way))
                    }
                    _ => None,
                }));
            }
            assert!(ways.len() >= 3, "{bug}: {ways:?}");
        }
    }

    /// The real captures that each one is made of.
    const MADE_OF: &[(&str, &[&str])] = &[
        (
            "sofarpc",
            &["sofarpc_bolt_hessian2", "sofarpc_bolt_url_appName"],
        ),
        ("vip-legacy", &["mesh_vip_legacy"]),
        ("bolt-v2", &["bolt_v2_pipeline_crc", "bolt_v2_heartbeat"]),
        (
            "shared",
            &[
                "bolt_v1_basic",
                "bolt_v1_pipeline",
                "bolt_v1_exception",
                "bolt_v1_noprocessor",
                "bolt_v1_heartbeat",
                "sofarpc_bolt_hessian2",
                "sofarpc_bolt_url_appName",
            ],
        ),
        ("tr", &["tr_hessian_stub"]),
    ];

    /// The captures that ship are real ones, rewritten by the map beside them, and nothing of the
    /// originals is left in them.
    #[test]
    fn captures_that_ship_are_the_real_ones_rewritten_and_audited() {
        use crate::offline::folder;
        use meshproof_replay::capture::Inputs;
        use meshproof_replay::map::Map;

        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let map = std::fs::read_to_string(here.join("../scenarios/captures/map.yaml"));
        let map = Map::parse("map.yaml", &map.expect("a map")).expect("a right map");
        let folders = tempfile::tempdir().expect("a folder");
        assert_eq!(MADE_OF.len(), CAPTURES.len());
        for (name, real) in MADE_OF {
            let real = real.iter().map(|it| {
                let path = here.join(format!("../fixtures/captures/{it}.pcap"));
                path.to_str().expect("a name").to_owned()
            });
            let inputs = Inputs::of(real);
            let made = folders.path().join(name);
            let made = folder::make(&inputs, &map, None, crate::sut::REFERENCE, &made);
            let made = made.unwrap_or_else(|error| panic!("{name}: {error}"));
            assert!(made.searched > 0, "{name}");
            let again = std::fs::read(&made.offline.capture).expect("a capture");
            let file = format!("captures/{name}.pcapng");
            let shipped = CAPTURES.iter().find(|(name, _)| *name == file);
            let (_, shipped) = shipped.expect("it ships");
            assert!(again == *shipped, "{name} is not what its map makes of it");
        }
    }

    #[test]
    fn what_a_story_names_is_unpacked_and_nothing_else() {
        let folder = tempfile::tempdir().expect("a folder");
        let text = story("replay-tr").expect("it ships");
        unpack([text], folder.path()).expect("written");
        let files = std::fs::read_dir(folder.path().join("captures")).expect("a folder");
        let names: Vec<_> = files.map(|it| it.expect("a file").file_name()).collect();
        assert_eq!(names, ["tr.pcapng"]);
        // Stories without a capture need no folder.
        let empty = tempfile::tempdir().expect("a folder");
        unpack([story("oneway").expect("it ships")], empty.path()).expect("nothing to write");
        assert_eq!(
            std::fs::read_dir(empty.path())
                .expect("it is there")
                .count(),
            0
        );
    }
}
