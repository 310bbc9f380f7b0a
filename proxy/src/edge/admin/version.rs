//! Which build this is.

use serde::Serialize;

use crate::{Bug, Bugs};

/// Told under [`Bug::VersionLies`]: no build has it.
const LIE: &str = "99.0.0";

/// What is told of the build.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Version {
    /// Of the package.
    pub(super) version: &'static str,
    /// Of the source, where the build was told (`MESHPROOF_COMMIT`).
    pub(super) commit: Option<&'static str>,
    /// `release` or `debug`.
    pub(super) profile: &'static str,
}

impl Version {
    pub(super) fn told(bugs: Bugs) -> Version {
        let lies = bugs.has(Bug::VersionLies);
        Version {
            version: if lies { LIE } else { env!("CARGO_PKG_VERSION") },
            commit: option_env!("MESHPROOF_COMMIT"),
            profile: if cfg!(debug_assertions) {
                "debug"
            } else {
                "release"
            },
        }
    }
}
