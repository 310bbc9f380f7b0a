//! What fuzzing once found interesting, replayed; and all real captures.

use std::path::PathBuf;

use meshproof_replay::check;

use super::fixtures;

#[test]
fn the_corpus_holds() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus/capture");
    let files: Vec<_> = std::fs::read_dir(folder).unwrap().collect();
    assert!(files.len() > 15);
    for file in files {
        check::capture(&std::fs::read(file.unwrap().path()).unwrap());
    }
}

#[test]
fn real_captures_hold() {
    for path in fixtures() {
        check::capture(&std::fs::read(path).unwrap());
    }
}
