//! What fuzzing once found interesting, replayed.

use std::path::PathBuf;

use meshproof_wire::check;

/// Calls `check` with every file of a target's corpus.
#[track_caller]
fn replay(target: &str, check: impl Fn(&[u8])) {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../fuzz/corpus")
        .join(target);
    let mut files: Vec<_> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    assert!(!files.is_empty(), "{} is empty", folder.display());
    for file in files {
        check(&std::fs::read(&file).unwrap());
    }
}

#[test]
fn bolt() {
    replay("bolt", |bytes| {
        check::bolt(bytes);
        check::bolt_head(bytes);
    });
}

#[test]
fn hessian() {
    replay("hessian", check::hessian);
}

#[test]
fn tr() {
    replay("tr", check::tr);
}

#[test]
fn http() {
    replay("http", check::http);
}

#[test]
fn mesh_api() {
    replay("mesh-api", check::mesh_api);
}
