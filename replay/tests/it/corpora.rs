//! What fuzzing once found interesting, replayed; and captures with damage everywhere.

use std::path::PathBuf;

use meshproof_replay::check;
use proptest::prelude::*;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Calls `check` with every file of a target's corpus.
#[track_caller]
fn replay(target: &str, check: impl Fn(&[u8])) {
    let folder = root().join("fuzz/corpus").join(target);
    let mut files: Vec<_> = std::fs::read_dir(&folder)
        .expect("a corpus")
        .map(|entry| entry.expect("a file").path())
        .collect();
    files.sort();
    assert!(!files.is_empty(), "{} is empty", folder.display());
    for file in files {
        check(&std::fs::read(&file).expect("a file"));
    }
}

#[test]
fn map() {
    replay("map", check::map);
}

#[test]
fn rewrite() {
    replay("rewrite", check::rewrite);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]
    /// Bytes changed, taken out and put in anywhere behind the file's header.
    #[test]
    fn rewriting_damaged_captures(
        which in 0usize..3,
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0u8..8), 1..24),
    ) {
        let name = ["sofarpc_bolt_hessian2", "bolt_v2_pipeline_crc", "sofaregistry_pub_sub"][which];
        let path = root().join("fixtures/captures").join(name).with_extension("pcap");
        let mut bytes = std::fs::read(path).expect("a capture");
        for (index, byte, what) in damage {
            let at = 24 + index.index(bytes.len() - 24);
            match what {
                0 => { bytes.remove(at); }
                1 => bytes.insert(at, byte),
                _ => bytes[at] = byte,
            }
        }
        check::rewrite(&bytes);
    }
}
