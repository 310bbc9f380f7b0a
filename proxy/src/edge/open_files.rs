//! The process's limit of open files.

use meshproof_sys::limits;
use tracing::{debug, warn};

use crate::Config;

/// What a sidecar has open beside its connections, with a margin: listeners, the admin interface,
/// the application API, logs.
const BESIDE: u64 = 256;

/// Raises the process's limit of open files as far as it may, and says in the log where
/// `limits.connections` is more than that allows. For the program: the limit is the process's,
/// and not a sidecar's.
pub fn raise_open_files(config: &Config) {
    match limits::raise_open_files() {
        Ok(None) => {}
        Ok(Some(may)) => {
            let wanted = wanted(config.limits.connections);
            if may < wanted {
                warn!(
                    target: "proxy::core",
                    may,
                    wanted,
                    connections = config.limits.connections,
                    "fewer files may be open than `limits.connections` needs: raise the limit (ulimit -Hn)"
                );
            } else {
                debug!(target: "proxy::core", may, "limit of open files");
            }
        }
        Err(error) => {
            warn!(target: "proxy::core", %error, "the limit of open files could not be raised");
        }
    }
}

/// Both sides full.
fn wanted(connections: usize) -> u64 {
    (connections as u64)
        .saturating_mul(2)
        .saturating_add(BESIDE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sides_count() {
        assert_eq!(wanted(4096), 8192 + BESIDE);
        assert_eq!(wanted(usize::MAX), u64::MAX);
    }
}
