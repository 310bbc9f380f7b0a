//! Processes of a run: what it starts, and what of that is given to this process when the run
//! is killed.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use meshproof_sys::clock::Nanos;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitOptions, getpid, kill_process, pidfd_open, set_child_subreaper,
    waitpid,
};

use crate::{Error, keeper};

/// From now on processes whose parents end are children of this one.
pub(super) fn adopt() -> Result<(), Error> {
    set_child_subreaper(Some(getpid()))
        .map_err(|error| Error::io("adopting what is left behind")(error.into()))?;
    children(own())
        .map(drop)
        .map_err(|error| Error::Unsupported {
            missing: format!("/proc/PID/task/PID/children: {error}"),
            advice: "use a kernel with CONFIG_PROC_CHILDREN".to_owned(),
        })
}

fn own() -> u32 {
    getpid().as_raw_nonzero().get().unsigned_abs()
}

pub(super) fn pid(process: u32) -> Option<Pid> {
    i32::try_from(process).ok().and_then(Pid::from_raw)
}

/// Children of a process of one thread, or of its first thread.
pub(super) fn children(process: u32) -> io::Result<Vec<u32>> {
    let text = fs::read_to_string(format!("/proc/{process}/task/{process}/children"))?;
    Ok(text
        .split_whitespace()
        .filter_map(|word| word.parse().ok())
        .collect())
}

/// Children of this process but `keep`.
fn others(keep: u32) -> Vec<u32> {
    let all = children(own()).unwrap_or_default();
    all.into_iter().filter(|child| *child != keep).collect()
}

/// SIGKILL; one that has ended needs none.
pub(super) fn kill(process: u32) {
    if let Some(pid) = pid(process) {
        let _ = kill_process(pid, Signal::KILL);
    }
}

pub(super) fn handle(process: u32) -> Option<OwnedFd> {
    pidfd_open(pid(process)?, PidfdFlags::empty()).ok()
}

/// Waits until one of these processes has ended; false: none has.
pub(super) fn one_ended(handles: &[OwnedFd], limit: Duration) -> bool {
    let mut watched: Vec<PollFd<'_>> = handles
        .iter()
        .map(|handle| PollFd::new(handle, PollFlags::IN))
        .collect();
    let limit = Timespec::try_from(limit).ok();
    poll(&mut watched, limit.as_ref()).is_ok_and(|ready| ready > 0)
}

/// Kills keepers that this process was given, until there are no more: one may have been started
/// in the moment in which its run was killed.
pub(super) fn kill_keepers(keep: u32) {
    loop {
        let keepers: Vec<u32> = others(keep)
            .into_iter()
            .filter(|child| {
                let words = fs::read(format!("/proc/{child}/cmdline")).unwrap_or_default();
                keeper::lease_of(&words).is_some()
            })
            .collect();
        if keepers.is_empty() {
            return;
        }
        for keeper in keepers {
            kill(keeper);
            if let Some(handle) = handle(keeper) {
                one_ended(&[handle], Duration::from_secs(10));
            }
            reap(keeper);
        }
    }
}

/// Whether it has ended and is gone.
pub(super) fn reap(process: u32) -> bool {
    let Some(pid) = pid(process) else {
        return true;
    };
    match waitpid(Some(pid), WaitOptions::NOHANG) {
        Ok(None) => false,
        // It was no child of ours, or was waited for before.
        Ok(Some(_)) | Err(_) => true,
    }
}

/// Waits until every child but `keep` has ended; those that have not by then.
pub(super) fn gone(keep: u32, limit: Duration) -> Vec<u32> {
    let end = Nanos::now() + limit;
    loop {
        // Whoever is given to us when another ends is in the next list.
        let left: Vec<u32> = others(keep)
            .into_iter()
            .filter(|child| !reap(*child))
            .collect();
        if left.is_empty() && others(keep).is_empty() {
            return left;
        }
        let now = Nanos::now();
        if now >= end {
            return left;
        }
        let handles: Vec<OwnedFd> = left.iter().filter_map(|child| handle(*child)).collect();
        if handles.len() == left.len() && !left.is_empty() {
            one_ended(&handles, Duration::from_nanos(end.since(now)));
        }
    }
}
