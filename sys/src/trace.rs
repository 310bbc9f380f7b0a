//! Another process made to stand still, by tracing it.
//!
//! A traced task that was interrupted stays where it is until its tracer lets go, and the kernel
//! lets go when the tracer ends, however it ends: unlike SIGSTOP this cannot be left behind. A
//! task has one tracer, so a debugger and this exclude each other.

use std::fs;
use std::io;
use std::marker::PhantomData;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use rustix::event::{Timespec, poll};

use crate::clock::Nanos;

/// How often it is looked for tasks that were begun meanwhile. A task that is being made when its
/// maker is stopped shows up in the next round; a program that outruns this many is refused.
const ROUNDS: u32 = 64;

/// One task that is held, and the signal that it was about to receive.
#[derive(Clone, Copy, Debug)]
struct Task {
    id: Pid,
    signal: Option<Signal>,
}

/// All tasks of a process, held. Only the thread that holds them may let them go (the kernel knows
/// a tracer by its thread), so this stays where it is; its end lets them go.
#[derive(Debug)]
pub struct Held {
    process: u32,
    tasks: Vec<Task>,
    /// Neither sent nor shared.
    here: PhantomData<*const ()>,
}

/// What became of a task that was waited for.
enum Told {
    Stands(Option<Signal>),
    Gone,
    Nothing,
}

fn look(id: Pid) -> Result<Told, Errno> {
    let flags = WaitPidFlag::WNOHANG | WaitPidFlag::__WALL;
    match waitpid(id, Some(flags)) {
        Ok(WaitStatus::PtraceEvent(..)) => Ok(Told::Stands(None)),
        Ok(WaitStatus::Stopped(_, signal)) => Ok(Told::Stands(Some(signal))),
        Ok(WaitStatus::Exited(..) | WaitStatus::Signaled(..)) | Err(Errno::ECHILD) => {
            Ok(Told::Gone)
        }
        Ok(_) | Err(Errno::EINTR) => Ok(Told::Nothing),
        Err(error) => Err(error),
    }
}

impl Held {
    /// Stops every task of a process; all stand when this returns. Gives up after `limit`, which a
    /// task deep in the kernel (state D) may take, and lets all go then. EPERM: somebody else
    /// traces it, or this user may not. ESRCH: there is no such process.
    pub fn hold(process: u32, limit: Duration) -> io::Result<Held> {
        let until = Nanos::now() + limit;
        let mut held = Held {
            process,
            tasks: Vec::new(),
            here: PhantomData,
        };
        for _ in 0..ROUNDS {
            let before = held.tasks.len();
            for id in tasks(process)? {
                if held.tasks.iter().all(|task| task.id != id) {
                    held.seize(id, until)?;
                }
            }
            if held.tasks.len() == before {
                if held.tasks.is_empty() {
                    return Err(Errno::ESRCH.into());
                }
                return Ok(held);
            }
        }
        Err(io::Error::other(format!(
            "process {process} makes tasks faster than they are stopped: {} so far",
            held.tasks.len()
        )))
    }

    fn seize(&mut self, id: Pid, until: Nanos) -> io::Result<()> {
        match ptrace::seize(id, Options::empty()).and_then(|()| {
            // From here on it is ours to let go.
            self.tasks.push(Task { id, signal: None });
            ptrace::interrupt(id)
        }) {
            Ok(()) => {}
            // It ended meanwhile.
            Err(Errno::ESRCH) => {
                self.tasks.retain(|task| task.id != id);
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        }
        loop {
            match look(id)? {
                Told::Stands(signal) => {
                    if let Some(task) = self.tasks.last_mut() {
                        task.signal = signal;
                    }
                    return Ok(());
                }
                Told::Gone => {
                    self.tasks.retain(|task| task.id != id);
                    return Ok(());
                }
                Told::Nothing => {}
            }
            if Nanos::now() >= until {
                let why = format!("task {id} of process {} does not stop", self.process);
                return Err(io::Error::new(io::ErrorKind::TimedOut, why));
            }
            // A stop is told by a signal that other threads may get: looked for instead.
            let moment = Timespec {
                tv_sec: 0,
                tv_nsec: 200_000,
            };
            match poll(&mut [], Some(&moment)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// How many tasks stand, by the word of `/proc`: state `t`.
    pub fn standing(&self) -> usize {
        self.tasks
            .iter()
            .filter(|task| state(self.process, task.id) == Some('t'))
            .count()
    }

    /// Takes note of tasks that ended by SIGKILL, whose parent is not told before. To be called
    /// from time to time; how many are still held.
    pub fn tend(&mut self) -> usize {
        self.tasks
            .retain(|task| !matches!(look(task.id), Ok(Told::Gone)));
        self.tasks.len()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        for task in &self.tasks {
            // One that does not stand yet is let go by the end of this thread alone; one that is
            // gone needs nothing.
            if ptrace::detach(task.id, task.signal) == Err(Errno::ESRCH) {
                let _ = look(task.id);
            }
        }
    }
}

/// The tasks of a process, as it is now. None: there is no such process.
fn tasks(process: u32) -> io::Result<Vec<Pid>> {
    let entries = match fs::read_dir(format!("/proc/{process}/task")) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut ids = Vec::new();
    for entry in entries {
        // Ended while it was listed.
        let Ok(entry) = entry else { continue };
        if let Some(id) = entry.file_name().to_str().and_then(|id| id.parse().ok()) {
            ids.push(Pid::from_raw(id));
        }
    }
    Ok(ids)
}

/// The letter of a task's state.
fn state(process: u32, task: Pid) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{process}/task/{task}/stat")).ok()?;
    // The name stands in brackets and may hold anything.
    let (_, rest) = stat.rsplit_once(") ")?;
    rest.chars().next()
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Write};
    use std::process::{Child, Command, Stdio};

    use super::*;

    /// A program that echoes, so that it is seen to run.
    #[expect(clippy::disallowed_methods, reason = "a program to be held")]
    fn echo() -> Child {
        Command::new("cat")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap()
    }

    #[test]
    fn what_is_held_stands_and_then_goes_on() {
        let mut child = echo();
        let mut input = child.stdin.take().unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        writeln!(input, "one").unwrap();
        output.read_line(&mut line).unwrap();
        let held = match Held::hold(child.id(), Duration::from_secs(10)) {
            Ok(held) => held,
            Err(error) => {
                println!("SKIPPED: needs to trace a child: {error}");
                child.kill().unwrap();
                child.wait().unwrap();
                return;
            }
        };
        assert_eq!(held.standing(), 1);
        writeln!(input, "two").unwrap();
        assert_eq!(held.standing(), 1, "a word does not wake it");
        let second = Held::hold(child.id(), Duration::from_secs(10));
        assert!(second.is_err(), "it has one tracer");
        drop(held);
        output.read_line(&mut line).unwrap();
        assert_eq!(line, "one\ntwo\n");
        drop(input);
        assert!(child.wait().unwrap().success());
    }

    #[test]
    fn what_is_killed_while_it_is_held_is_noticed() {
        let mut child = echo();
        let Ok(mut held) = Held::hold(child.id(), Duration::from_secs(10)) else {
            child.kill().unwrap();
            child.wait().unwrap();
            return println!("SKIPPED: needs to trace a child");
        };
        assert_eq!(held.tend(), 1);
        child.kill().unwrap();
        while held.tend() > 0 {
            std::thread::yield_now();
        }
        // Here the tracer is the parent too: its look may have been the one that reaped.
        match child.wait() {
            Ok(status) => assert!(!status.success()),
            Err(error) => assert_eq!(error.raw_os_error(), Some(Errno::ECHILD as i32)),
        }
        assert!(Held::hold(child.id(), Duration::from_secs(1)).is_err());
    }
}
