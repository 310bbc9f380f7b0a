//! The stories and topologies that ship: in the binary, so that it works alone.

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
    "log-level",
    "version-told",
];

/// The topologies by name.
pub const TOPOLOGIES: &[(&str, &str)] = files!["scenarios/topologies/":
    "pair",
    "mixed-providers",
    "chain",
    "two-servers",
    "beside-sdk",
    "bare-server",
];

/// The text of a story that ships, by its name.
pub fn story(name: &str) -> Option<&'static str> {
    find(STORIES, name)
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
            sites: &["ant-like", "public-cloud-like"],
            bugs: &[],
        };
        for (name, text) in STORIES {
            let story = load(name, text, &topologies, &known)
                .unwrap_or_else(|problem| panic!("{name}: {problem}: line {:?}", problem.line()));
            assert_eq!(story.scenario.scenario.as_str(), *name);
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
        assert_eq!(names(&folder), shipped(STORIES));
        assert_eq!(names(&folder.join("topologies")), shipped(TOPOLOGIES));
    }
}
