//! A matrix that is stopped in the middle, by Ctrl-C or for good: nothing is left of it but its
//! record, which says so.

use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;

use meshproof_record::store::Record;
use meshproof_record::verdict::End;
use meshproof_sys::clock::Nanos;
use rustix::event::Timespec;
use rustix::process::{Pid, Signal, kill_process};

use crate::environment::{Inside, LONG, up};
use crate::peer::{command, skipped};

const OWN: &str = env!("CARGO_BIN_EXE_meshproof");

/// More cells than a run does before it is stopped, one at a time.
const MATRIX: &str = "\
matrix: long
axes:
  client: {mesh: [none, reference]}
  server: {mesh: [none, reference]}
  providers: [[bolt-v1], [bolt-v2], [tr], [bolt-v1, tr]]
  registry_order: [as-is, reversed]
cover: {strength: 4, seed: 1}
cell: {calls: 64, budget: 60s}
";

/// Processes of a run that has a cell's mesh up: itself, stages, config center, names, an app.
const OF_A_CELL: usize = 7;

/// Stops a run while a cell's mesh is up; its exit code, and its record's folder.
fn stopped(folder: &Path, signal: Signal) -> Option<i32> {
    let file = folder.join("long.yaml");
    std::fs::write(&file, MATRIX).unwrap();
    let mut run = command(OWN)
        .args(["matrix", "--jobs", "1", "--record"])
        .args([&folder.join("record"), &file])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let inside = with_a_cell(&mut run);
    let pid = Pid::from_raw(i32::try_from(run.id()).unwrap()).unwrap();
    kill_process(pid, signal).unwrap();
    let status = run.wait().unwrap();
    inside.nothing_is_left();
    status.code()
}

/// Waits until the mesh of a cell is up.
fn with_a_cell(run: &mut Child) -> Inside {
    let begun = Nanos::now();
    loop {
        let inside = Inside::of(run.id());
        if inside.count() >= OF_A_CELL {
            return inside;
        }
        assert!(run.try_wait().unwrap().is_none(), "it ended by itself");
        assert!(
            Duration::from_nanos(Nanos::now().since(begun)) < LONG,
            "no cell began"
        );
        let pause = Timespec::try_from(Duration::from_millis(1)).unwrap();
        crate::environment::wait_for(&mut [], Some(&pause));
    }
}

#[test]
fn ctrl_c_ends_a_matrix_with_what_it_has() {
    if up(&meshproof_harness::Topology::new(["trial"], None)).is_none() {
        return skipped("needs namespaces");
    }
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(stopped(folder.path(), Signal::INT), Some(130));
    let record = Record::open(&folder.path().join("record")).unwrap();
    let manifest = record.manifest().expect("it was written to its end");
    assert_eq!(manifest.end, End::Interrupted);
}

#[test]
fn a_matrix_that_is_killed_leaves_a_record_that_says_so_and_nothing_else() {
    if up(&meshproof_harness::Topology::new(["trial"], None)).is_none() {
        return skipped("needs namespaces");
    }
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(stopped(folder.path(), Signal::KILL), None);
    let record = folder.path().join("record");
    assert!(Record::open(&record).unwrap().manifest().is_none());
    let report = command(OWN).arg("report").arg(&record).output().unwrap();
    let said = String::from_utf8_lossy(&report.stdout).into_owned();
    assert_eq!(report.status.code(), Some(3), "{said}");
    assert!(said.contains("cut off"), "{said}");
    // Beside the run's own folder there is the file that it read.
    let files = std::fs::read_dir(folder.path()).unwrap();
    assert_eq!(files.count(), 2);
}
