//! What `meshproof bench cells` says of what cells leave behind.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Stdio};

use crate::environment::as_nobody;
use crate::peer::{command, skipped};

const OWN: &str = env!("CARGO_BIN_EXE_meshproof");

/// Code and words of a run that has ended.
fn ended(child: Child) -> (Option<i32>, String) {
    let output = child.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    (output.status.code(), said)
}

fn begin(front: &[&str], arguments: &str) -> Child {
    let words: Vec<&str> = front
        .iter()
        .copied()
        .chain([OWN, "bench", "cells"])
        .chain(arguments.split(' '))
        .collect();
    let mut command = command(words[0]);
    command.args(&words[1..]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().unwrap()
}

#[test]
fn cells_leave_nothing_behind() {
    let fronts = [Some(Vec::new()), as_nobody()];
    for front in fronts.into_iter().flatten() {
        let run = begin(&front, "--programs 4 --in-process 20 --pairs 2");
        let (code, said) = ended(run);
        if code == Some(4) {
            return skipped(&said);
        }
        assert_eq!(code, Some(0), "{said}");
        let last = said.lines().last().unwrap_or_default();
        assert!(last.starts_with("left behind: nothing"), "{said}");
        assert!(last.ends_with("; 0 network namespaces)"), "{said}");
    }
}

#[test]
fn a_network_that_somebody_holds_is_told() {
    let cells = "--programs 0 --in-process 300 --pairs 0 --settle 1";
    let mut run = begin(&[], cells);
    let tasks = format!("/proc/{}/task", run.id());
    let held = loop {
        if let Some(held) = foreign(Path::new(&tasks)) {
            break Some(held);
        }
        if run.try_wait().unwrap().is_some() {
            break None;
        }
        std::thread::yield_now();
    };
    let (code, said) = ended(run);
    if code == Some(4) {
        return skipped(&said);
    }
    assert!(held.is_some(), "no thread was in a pod: {said}");
    assert_eq!(code, Some(1), "{said}");
    let last = said.lines().last().unwrap_or_default();
    assert!(last.starts_with("left behind: "), "{said}");
    assert!(last.ends_with(", 1 network namespaces"), "{said}");
}

/// The network of a thread that is elsewhere than its process.
fn foreign(tasks: &Path) -> Option<File> {
    let home = fs::read_link(tasks.join("../ns/net")).ok()?;
    let networks = fs::read_dir(tasks).ok()?.flatten();
    let mut networks = networks.map(|task| task.path().join("ns/net"));
    networks.find_map(|network| {
        let elsewhere = fs::read_link(&network).ok()? != home;
        elsewhere.then(|| File::open(&network).ok()).flatten()
    })
}
