//! A cell that failed, run again with the packets of every pod captured: what its page shows is
//! what was on the wire.
//!
//! Cells are many and short, and most pass: packets of all of them would cost more than the calls.
//! One that failed is therefore run once more, and where it fails in the same way, everything that
//! is kept of it, frames, packets, logs, files, timeline, is of that second run. Where it does not,
//! what is kept is of the first run, with frames from the journals of apps.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Mutex;

use meshproof_sys::clock::Nanos;

use super::{Judged, Observed, Runner, exec, lock};
use crate::Error;
use crate::capture::{Captured, Recorder, Size};
use crate::environment::Capability;
use crate::matrix::Cell;
use crate::matrix::run::Made;
use crate::mesh::Mesh;

/// Cells that fail in the same way that are run again at most.
const ALIKE_MAX: u32 = 24;

/// Cells of one runner that are run again at most.
const ALL_MAX: u32 = 48;

/// Packets of one pod that are kept, in bytes; of more, the oldest go.
const PACKET_BYTES_MAX: u64 = 8 << 20;

/// How many cells were run again, by the most telling of what speaks against them.
#[derive(Debug, Default)]
pub(super) struct Witnessed(Mutex<BTreeMap<String, u32>>);

impl Witnessed {
    /// Whether one more of these is run again; it is counted then.
    fn takes(&self, evidence: &[String]) -> bool {
        let mut counts = lock(&self.0);
        let Some(first) = evidence.first() else {
            return false;
        };
        if counts.values().sum::<u32>() >= ALL_MAX {
            return false;
        }
        let count = counts.entry(first.clone()).or_default();
        let takes = *count < ALIKE_MAX;
        *count += u32::from(takes);
        takes
    }
}

impl Runner {
    /// Runs a cell again whose first run, in a mesh that is still up, was judged so; the files of
    /// its evidence. None: there is no second run, or it did not fail in the same way.
    pub(super) fn witness(
        &self,
        cell: &Cell,
        (made, first): (&Made, &Mesh),
        judged: &Judged,
        judge: &dyn Fn(&Observed) -> Judged,
    ) -> Result<Option<Vec<String>>, Error> {
        let wanted = self.options.artefacts.is_some()
            && first.environment().can(Capability::Capture)
            && self.witnessed.takes(&judged.evidence);
        if !wanted {
            return Ok(None);
        }
        let folder = self.folder(&format!("{}-again", cell.id))?;
        // Whatever goes wrong here says nothing of the cell: the first run stands.
        let kept = self.again(cell, made, &folder, judged, judge);
        super::sweep(&folder);
        Ok(kept.unwrap_or_default())
    }

    fn again(
        &self,
        cell: &Cell,
        made: &Made,
        folder: &Path,
        judged: &Judged,
        judge: &dyn Fn(&Observed) -> Judged,
    ) -> Result<Option<Vec<String>>, Error> {
        let setting = self.setting(made.site.as_deref(), folder)?;
        let made = &made.at(&setting.site, &setting.suts);
        let raised = self.take(&made.spec, &setting)?;
        let mesh = Mesh::up_in(raised, &made.spec, &setting)?;
        let packets = folder.join("packets");
        fs::create_dir_all(&packets)
            .map_err(Error::io(format!("the folder {}", packets.display())))?;
        let size = Size::bytes(PACKET_BYTES_MAX);
        let recorder = Recorder::all(mesh.environment(), &packets, size)?;
        let end = Nanos::now() + self.options.budget;
        let seen = exec::carry_out(&mesh, made, folder, end);
        // It holds sockets of the pods.
        let captured = recorder.stop();
        let seen = seen?;
        let mut kept = None;
        if judge(&seen).evidence.first() == judged.evidence.first() {
            mesh.note("harness", "run again with its packets: all this is of that");
            let detail = exec::detail(&mesh, &cell.id, &seen, folder, &captured);
            let mut files = self.keep(cell, &detail, Some(&mesh))?;
            files.extend(self.packets(cell, &captured)?);
            kept = Some(files);
        }
        mesh.down()?;
        Ok(kept)
    }

    /// Moves packets into the evidence of a cell; the names of the files.
    fn packets(&self, cell: &Cell, captured: &[Captured]) -> Result<Vec<String>, Error> {
        let mut names = Vec::new();
        let Some(artefacts) = &self.options.artefacts else {
            return Ok(names);
        };
        let files = captured.iter().filter(|one| one.packets > 0);
        for file in files.flat_map(|one| &one.files) {
            let Some(name) = file.file_name() else {
                continue;
            };
            let to = artefacts.join(&cell.id).join(name);
            fs::copy(file, &to).map_err(Error::io(format!("the packets {}", to.display())))?;
            names.push(format!("{}/{}", cell.id, name.to_string_lossy()));
        }
        Ok(names)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_cells_of_each_kind_are_run_again_and_not_too_many() {
        let witnessed = Witnessed::default();
        let evidence = |text: &str| vec![text.to_owned()];
        assert!(!witnessed.takes(&[]));
        for _ in 0..ALIKE_MAX {
            assert!(witnessed.takes(&evidence("refused")));
        }
        assert!(!witnessed.takes(&evidence("refused")));
        let others = (0..ALL_MAX).filter(|it| witnessed.takes(&evidence(&it.to_string())));
        assert_eq!(others.count() as u32, ALL_MAX - ALIKE_MAX);
    }
}
