//! Plans against the verifier, broken files, ids, shards.

mod broken;
mod plans;
mod shards;

use super::*;

pub(super) const MIXED: &str = include_str!("mixed.yaml");

#[track_caller]
pub(super) fn matrix(yaml: &str) -> Matrix {
    match Matrix::parse("m.yaml", yaml) {
        Ok(matrix) => matrix,
        Err(problem) => panic!("{problem}: {:?}", problem.help_text()),
    }
}
