//! What docs/proxy.md says of the program.

use meshproof_proxy::Bug;
use meshproof_proxy::edge::admin;
use meshproof_proxy::logs::TARGETS;

const DOCS: &str = include_str!("../../../docs/proxy.md");

/// The first two cells of every row between two headings.
fn rows(from: &str, to: &str) -> Vec<(&'static str, &'static str)> {
    DOCS.lines()
        .skip_while(|line| *line != from)
        .take_while(|line| *line != to)
        .filter_map(|line| line.strip_prefix("| `")?.split_once("` | "))
        .map(|(name, rest)| (name, rest.trim_end_matches(" |")))
        .collect()
}

#[test]
fn seeded_bugs() {
    let known: Vec<_> = Bug::ALL
        .iter()
        .map(|bug| (bug.name(), bug.incident()))
        .collect();
    assert_eq!(rows("## Seeded bugs", "## "), known);
}

#[test]
fn the_admin_interface() {
    let documented: Vec<_> = rows("## Admin", "## Metrics")
        .into_iter()
        .map(|(request, _)| request.to_owned())
        .collect();
    let known: Vec<_> = admin::ROUTES
        .iter()
        .map(|(method, path, _)| format!("{method} {path}"))
        .collect();
    assert_eq!(documented, known);
}

#[test]
fn log_targets() {
    for target in TARGETS {
        assert!(DOCS.contains(&format!("`{target}`")), "{target}");
    }
}

/// What is logged as something else could not be switched on or off.
#[test]
fn everything_is_logged_as_a_known_target() {
    fn walk(folder: &std::path::Path, seen: &mut usize) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, seen);
            } else if path.extension().is_some_and(|ext| ext == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                for rest in text.split("target: \"").skip(1) {
                    let target = rest.split('"').next().unwrap();
                    assert!(TARGETS.contains(&target), "{}: {target}", path.display());
                    *seen += 1;
                }
            }
        }
    }
    let mut seen = 0;
    walk(
        &std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src"),
        &mut seen,
    );
    assert!(seen > 20, "{seen}");
}
