//! An environment that is emptied, so that the next mesh may have it.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::PoisonError;
use std::time::Duration;

use meshproof_sys::clock::Nanos;
use rustix::process::getpid;

use super::out::WayOut;
use super::stages::FOLDER;
use super::supervisor::{FILES, Running};
use crate::process::Signal;

/// How long programs that are killed may take to be gone.
const LIMIT: Duration = Duration::from_secs(5);

/// Between two looks.
const PAUSE: Duration = Duration::from_micros(500);

/// Kills what runs, makes sure that nothing else does, removes files, and counts from zero.
///
/// # Errors
/// A process that nobody knows of runs, or it cannot be seen whether one does: the environment is
/// in doubt.
pub(super) fn reset(running: &Running, way_out: &WayOut) -> io::Result<()> {
    let locked = || running.lock().unwrap_or_else(PoisonError::into_inner);
    for program in locked().values() {
        program.signal(Signal::Kill)?;
    }
    let end = Nanos::now() + LIMIT;
    loop {
        // Before the look at processes: whoever is not in the table and runs is not ours.
        let known = !locked().is_empty();
        let others = others()?;
        if others.is_empty() && !known {
            break;
        }
        let alive: Vec<u32> = others.into_iter().filter(|pid| is_alive(*pid)).collect();
        if (!known && !alive.is_empty()) || Nanos::now() > end {
            return Err(io::Error::other(format!(
                "processes {alive:?} still run: the environment cannot be used again"
            )));
        }
        std::thread::park_timeout(PAUSE);
    }
    let files = Path::new(FOLDER).join(FILES);
    match fs::remove_dir_all(&files) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    way_out.forget();
    Ok(())
}

/// Processes of this PID namespace but pid 1 and this one.
fn others() -> io::Result<BTreeSet<u32>> {
    let own = getpid().as_raw_nonzero().get().unsigned_abs();
    // Where /proc is that of the machine, it says nothing of us.
    if fs::read_link("/proc/self")?.to_str() != Some(&own.to_string()) {
        return Err(io::Error::other(
            "/proc shows the processes outside: what still runs cannot be seen",
        ));
    }
    let mut others = BTreeSet::new();
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        if let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) {
            others.insert(pid);
        }
    }
    others.remove(&1);
    others.remove(&own);
    Ok(others)
}

/// Whether a process is more than what its parent has yet to ask for.
fn is_alive(pid: u32) -> bool {
    // Its name, in parentheses, may hold anything; one that is gone by now has no file.
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit_once(')').map(|(_, rest)| rest.trim_start());
    state.is_some_and(|state| !state.starts_with(['Z', 'X']))
}
