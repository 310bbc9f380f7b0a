//! Guard, keeper and starter: our own executable run again.
//!
//! ```text
//! holder ── life line ──> guard: claims addresses, makes the folder, watches the life line
//!                           └─> keeper: starts programs, reaps, does what the life line asks for
//!                                 └─> starter ─exec─> program (ends with the keeper)
//! ```

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Stdio};
use std::sync::Arc;

use meshproof_sys::namespaces::die_with_parent;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitOptions, getpid, getppid, kill_process, pidfd_open,
    set_child_subreaper, wait,
};

use super::folder::Folder;
use super::keeper;
use super::range::Range;
use crate::netns::line::Line;
use crate::netns::stages::{Refusal, STAGE, command};
use crate::netns::talk::Word;

/// The first stage.
pub(crate) const GUARD: &str = "guard";
/// The second.
pub(crate) const KEEPER: &str = "keeper";
/// What becomes a program.
pub(crate) const STARTER: &str = "starter";

/// Runs a stage that has the life line.
pub(crate) fn stage(
    name: &str,
    arguments: impl Iterator<Item = OsString>,
    line: &Arc<Line>,
) -> Result<u8, Refusal> {
    match name {
        GUARD => guard(line),
        _ => keeper::run(arguments, line),
    }
}

/// Ends with its parent from here on, and becomes a program: `PARENT PROGRAM ARGUMENT…`. The
/// value is the exit code of one that did not.
pub(crate) fn starter(mut arguments: impl Iterator<Item = OsString>) -> u8 {
    /// As a shell says of a program that is none.
    const NOT_STARTED: u8 = 127;
    let parent = arguments.next();
    let Some(program) = arguments.next() else {
        return 2;
    };
    // The parent may have ended before it was asked for: then nobody sends the signal.
    if die_with_parent().is_err() || !is_parent(parent.as_deref()) {
        return NOT_STARTED;
    }
    let error = command(&program).args(arguments).exec();
    // Its error output is what the holder reads.
    let _ = writeln!(io::stderr(), "{}: {error}", program.to_string_lossy());
    NOT_STARTED
}

/// Whether our parent has this number.
pub(super) fn is_parent(number: Option<&OsStr>) -> bool {
    let number = number.and_then(OsStr::to_str).and_then(|n| n.parse().ok());
    number
        .and_then(Pid::from_raw)
        .is_some_and(|pid| getppid() == Some(pid))
}

fn guard(line: &Line) -> Result<u8, Refusal> {
    set_child_subreaper(Some(getpid()))
        .map_err(|error| Refusal::failed("adopting what is left behind")(error.into()))?;
    let range = Range::claim().map_err(Refusal::denied(
        "loopback addresses",
        "take the link up: `ip link set lo up`",
    ))?;
    for port in range.taken() {
        let text = format!("port {port}: somebody listens on it at all addresses of this machine");
        // A holder that is gone needs no note.
        let _ = line.send(&Word::Note { text }, &[]);
    }
    let folder = Folder::make().map_err(Refusal::failed("a folder for temporary files"))?;
    let [a, b, c] = range.first();
    let mut keeper = command("/proc/self/exe")
        .args([STAGE, KEEPER])
        .arg(getpid().as_raw_pid().to_string())
        .arg(format!("{a}.{b}.{c}"))
        .arg(folder.path())
        .stdin(Stdio::inherit())
        .stdout(Stdio::null())
        .spawn()
        .map_err(Refusal::failed("starting the keeper"))?;
    let watched = watch(line, &mut keeper).map_err(Refusal::failed("watching the keeper"));
    // What it left is ours now. The addresses and the folder are given back when nobody uses
    // them any more.
    end_children();
    drop(folder);
    drop(range);
    watched
}

/// Until the keeper has ended, which the end of the life line makes it do.
fn watch(line: &Line, keeper: &mut Child) -> io::Result<u8> {
    let handle = pidfd_open(Pid::from_child(keeper), PidfdFlags::empty())?;
    loop {
        let mut watched = [
            PollFd::new(&handle, PollFlags::IN),
            // Not what is said on it, which is for the keeper; its end alone.
            PollFd::from_borrowed_fd(line.as_fd(), PollFlags::RDHUP),
        ];
        match poll(&mut watched, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let [ended, hung_up] = watched.map(|fd| !fd.revents().is_empty());
        if hung_up && !ended {
            // It may end at this very moment, and it may be stopped.
            let _ = keeper.kill();
        }
        if ended || hung_up {
            let status = keeper.wait()?;
            return Ok(u8::from(!status.success()));
        }
    }
}

/// Kills every child, those that are adopted meanwhile too, until there is none; whether that
/// came about: one that runs with the rights of another user cannot be killed. To be called by
/// the only thread of this process that reaps.
pub(super) fn end_children() -> bool {
    loop {
        let mut waits = false;
        for pid in children() {
            // Nobody but us reaps it: the number is still its own.
            waits |= kill_process(pid, Signal::KILL).is_ok();
        }
        let options = if waits {
            WaitOptions::empty()
        } else {
            WaitOptions::NOHANG
        };
        match wait(options) {
            Err(Errno::CHILD) => return true,
            Ok(None) => return false,
            Ok(Some(_)) | Err(_) => {}
        }
        while let Ok(Some(_)) = wait(WaitOptions::NOHANG) {}
    }
}

/// The children of this process: those of all its threads, as the kernel lists them, or, where it
/// was built without the list, as each process names its parent.
fn children() -> Vec<Pid> {
    let mut found = Vec::new();
    let mut listed = false;
    for task in fs::read_dir("/proc/self/task")
        .into_iter()
        .flatten()
        .flatten()
    {
        if let Ok(list) = fs::read_to_string(task.path().join("children")) {
            listed = true;
            found.extend(list.split_ascii_whitespace().filter_map(pid));
        }
    }
    if listed {
        return found;
    }
    let own = getpid().as_raw_pid().to_string();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(number) = entry.file_name().to_str().and_then(pid) else {
            continue;
        };
        let Ok(stat) = fs::read_to_string(entry.path().join("stat")) else {
            continue;
        };
        // `1 (a name) S 0 …`: the name may hold anything, brackets too.
        let parent = stat
            .rsplit_once(')')
            .and_then(|(_, rest)| rest.split_ascii_whitespace().nth(1));
        if parent == Some(&own) {
            found.push(number);
        }
    }
    found
}

fn pid(text: &str) -> Option<Pid> {
    text.parse().ok().and_then(Pid::from_raw)
}
