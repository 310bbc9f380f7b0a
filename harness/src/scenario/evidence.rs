//! What is kept of a story that did not hold: everything that is needed to understand why.

use std::fs;
use std::path::Path;

use meshproof_record::case::Case;
use serde_json::Value;

use super::account::Account;
use super::stand::{Hall, lock};
use super::suite::Stand;
use super::wire::Keep;
use crate::environment::Environment;
use crate::{Error, capture};

/// Bytes of a journal that are read at most (256 MiB).
const JOURNAL_BYTES_MAX: u64 = 256 << 20;

/// Frames in the evidence of a failure.
const FRAMES_KEPT: usize = 400;

/// The lines of a journal so far. A last one that is not whole yet is left out; a journal that is
/// not there yet has none.
pub(super) fn lines(journal: &Path) -> Result<Vec<Value>, Error> {
    let what = || format!("reading {}", journal.display());
    match fs::metadata(journal) {
        Ok(file) if file.len() > JOURNAL_BYTES_MAX => {
            return Err(Error::Refused(format!(
                "{} has {} bytes, more than the {JOURNAL_BYTES_MAX} that are read",
                journal.display(),
                file.len()
            )));
        }
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Error::io(what())(error)),
    }
    let bytes = fs::read(journal).map_err(Error::io(what()))?;
    Ok(bytes
        .split(|byte| *byte == b'\n')
        .filter_map(|line| serde_json::from_slice(line).ok())
        .collect())
}

impl Stand for Hall {
    fn evidence(
        &self,
        case: &Case,
        account: &Account,
        folder: &Path,
    ) -> Result<Vec<String>, Error> {
        let mut files = self.mesh.evidence(folder)?;
        let (captured, names) = self.captures(Keep::All, folder)?;
        files.extend(names);
        let mut write = |name: String, contents: &[u8]| -> Result<(), Error> {
            let path = folder.join(&name);
            fs::write(&path, contents).map_err(Error::io(format!("writing {}", path.display())))?;
            files.push(name);
            Ok(())
        };
        let mut detail = self.mesh.detail(&case.id)?;
        detail.ledger = account.rows();
        let pods = self.mesh.environment().pods();
        let behind = |pod: &str| self.mesh.sidecar_of(pod).is_ok_and(|sut| sut.is_some());
        let (mut frames, left_out) =
            capture::frames(&captured, pods, self.mesh.begun_ns(), &behind);
        // The end of a story is what explains it.
        let more = frames.len().saturating_sub(FRAMES_KEPT);
        frames.drain(..more);
        detail.frames = frames;
        detail.left_out += left_out + more as u64;
        let text = serde_json::to_vec_pretty(&detail)
            .map_err(|error| Error::Refused(format!("the detail of {}: {error}", case.id)))?;
        write("detail.json".to_owned(), &text)?;
        // The first of them stands in the claim, all of them here.
        if !account.named.is_empty() {
            let named = account.named.join("\n") + "\n";
            write("ledger.txt".to_owned(), named.as_bytes())?;
        }
        Ok(files
            .into_iter()
            .map(|name| format!("{}/{name}", case.id))
            .collect())
    }

    fn environment(&self) -> &dyn Environment {
        self.mesh.environment()
    }

    fn recorded(&self, folder: &Path) -> Result<Vec<String>, Error> {
        let (_, names) = self.captures(Keep::Wanted, folder)?;
        Ok(names)
    }

    fn down(self: Box<Self>) -> Result<(), Error> {
        // It holds sockets of the pods.
        drop(lock(&self.packets).take());
        // Keepers end before their pods do.
        lock(&self.leases).clear();
        self.mesh.down().map(|_| ())
    }
}
