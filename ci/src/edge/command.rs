//! Commands: each a process group of its own, ended as a whole when its time is over.

use std::collections::{BTreeSet, VecDeque};
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

use super::Machine;
use crate::world::{Command, Ending, Ran};

/// Bytes of output that are kept on disk; what follows is read and counted.
const LOG_BYTES_MAX: u64 = 64 << 20;
/// Bytes of output that are kept to be shown.
const TAIL_BYTES_MAX: usize = 8 << 10;
/// How long a group has between being asked to end and being killed.
const GRACE: Duration = Duration::from_secs(2);
/// How long its output is waited for behind its end: a process that left the group may hold it.
const OUTPUT_GRACE: Duration = Duration::from_secs(2);

/// The groups that run.
#[derive(Debug, Default)]
pub(super) struct Running(Mutex<BTreeSet<i32>>);

impl Running {
    /// Kills all of them.
    pub(super) fn end_all(&self) {
        for group in self.held().iter() {
            end(*group, Signal::KILL);
        }
    }

    fn held(&self) -> std::sync::MutexGuard<'_, BTreeSet<i32>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn end(group: i32, signal: Signal) {
    if let Some(group) = Pid::from_raw(group) {
        // It may be gone already.
        let _ = kill_process_group(group, signal);
    }
}

/// The last bytes that a command wrote.
#[derive(Debug, Default)]
struct Tail {
    bytes: VecDeque<u8>,
}

impl Tail {
    fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend(bytes);
        let over = self.bytes.len().saturating_sub(TAIL_BYTES_MAX);
        self.bytes.drain(..over);
    }

    fn text(&self) -> String {
        let bytes: Vec<u8> = self.bytes.iter().copied().collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

/// Runs a command; never longer than its time and both graces.
pub(super) fn run(machine: &Machine, command: &Command) -> Ran {
    let began = super::now_unix_ns();
    let mut ran = Ran {
        ending: Ending::Stopped,
        began_unix_ns: began,
        took_ms: 0,
        tail: String::new(),
        log: String::new(),
    };
    if machine.is_stopped() {
        return ran;
    }
    let (mut child, output) = match start(&machine.root, command) {
        Ok(started) => started,
        Err(error) => {
            ran.ending = Ending::NotStarted(error.to_string());
            return ran;
        }
    };
    let group = i32::try_from(child.id()).unwrap_or(0);
    machine.running.held().insert(group);
    if machine.is_stopped() {
        end(group, Signal::KILL);
    }
    let log = log(machine, command);
    if let Some((path, _)) = &log {
        ran.log.clone_from(path);
    }
    let tail = Arc::new(Mutex::new(Tail::default()));
    let (said, output_over) = mpsc::channel();
    let kept = Arc::clone(&tail);
    thread::spawn(move || {
        keep(output, log.map(|(_, file)| file), &kept);
        let _ = said.send(());
    });
    let (told, over) = mpsc::channel();
    let pid = Pid::from_child(&child);
    let waiting = thread::spawn(move || {
        // It stays a zombie until its group is ended, so that the id is nobody else's.
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        while let Err(error) = waitid(WaitId::Pid(pid), options) {
            if error != Errno::INTR {
                break;
            }
        }
        let _ = told.send(());
    });
    let within = Duration::from_millis(command.within_ms);
    let is_late = over.recv_timeout(within) == Err(RecvTimeoutError::Timeout);
    if is_late {
        end(group, Signal::TERM);
        let _ = over.recv_timeout(GRACE);
    }
    // What it started and left running ends with it.
    end(group, Signal::KILL);
    let _ = waiting.join();
    machine.running.held().remove(&group);
    let status = child.wait();
    let _ = output_over.recv_timeout(OUTPUT_GRACE);
    ran.took_ms = u64::try_from((super::now_unix_ns() - began).max(0) / 1_000_000).unwrap_or(0);
    ran.tail = tail.lock().unwrap_or_else(PoisonError::into_inner).text();
    ran.ending = match status {
        _ if machine.is_stopped() => Ending::Stopped,
        _ if is_late => Ending::TimeOut,
        Ok(status) => match (status.code(), status.signal()) {
            (Some(code), _) => Ending::Exit(code),
            (None, Some(signal)) => Ending::Signal(signal),
            (None, None) => Ending::NotStarted("its end is not known".to_owned()),
        },
        Err(error) => Ending::NotStarted(error.to_string()),
    };
    ran
}

#[expect(
    clippy::disallowed_methods,
    reason = "commands of checkpoints are started here"
)]
fn start(root: &Path, command: &Command) -> std::io::Result<(Child, std::io::PipeReader)> {
    let Some((program, arguments)) = command.words.split_first() else {
        return Err(std::io::Error::other("there is no program"));
    };
    let (output, input) = std::io::pipe()?;
    let child = std::process::Command::new(program)
        .args(arguments)
        .current_dir(root)
        .envs(&command.env)
        .env("MESHPROOF_CHECKPOINT", &command.checkpoint)
        .stdin(Stdio::null())
        .stdout(input.try_clone()?)
        .stderr(input)
        .process_group(0)
        .spawn()?;
    Ok((child, output))
}

/// Where the output goes: a file named by the checkpoint.
fn log(machine: &Machine, command: &Command) -> Option<(String, File)> {
    let name = command.checkpoint.replace('/', ".");
    let path = machine.logs.as_ref()?.join(format!("{name}.log"));
    let file = File::create(&path).ok()?;
    Some((path.display().to_string(), file))
}

/// Reads to the end; keeps the front in a file and the last bytes in memory. A disk that is full
/// ends the file, not the command.
fn keep(mut output: std::io::PipeReader, mut log: Option<File>, tail: &Mutex<Tail>) {
    let mut window = [0; 16 << 10];
    let mut written = 0;
    while let Ok(count) = output.read(&mut window) {
        let bytes = window.get(..count).unwrap_or_default();
        if bytes.is_empty() {
            break;
        }
        if let Some(file) = log.as_mut().filter(|_| written < LOG_BYTES_MAX) {
            written += bytes.len() as u64;
            if file.write_all(bytes).is_err() {
                log = None;
            }
        }
        tail.lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(bytes);
    }
}
