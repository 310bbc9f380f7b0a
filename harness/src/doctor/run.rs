//! Programs that are asked what they are.

use std::io::{self, Read};
use std::process::Stdio;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::netns::stages::command;

/// A program that says nothing for so long is not waited for.
const LIMIT: Duration = Duration::from_secs(20);

/// Bytes of what a program says that are looked at.
const SAID_BYTES_MAX: u64 = 64 << 10;

/// The first line that a program writes, on either stream, when it ends with code 0; else why
/// not, and the last thing that it wrote.
pub(super) fn first_line(program: &str, arguments: &[&str]) -> Result<String, String> {
    let said = said(program.as_ref(), arguments)?;
    Ok(said.lines().next().unwrap_or_default().trim().to_owned())
}

/// Everything that it writes.
pub(super) fn said(program: &std::ffi::OsStr, arguments: &[&str]) -> Result<String, String> {
    let name = program.to_string_lossy();
    let told = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => format!("no `{name}` in PATH"),
        _ => format!("{name}: {error}"),
    };
    let (mut reader, writer) = io::pipe().map_err(told)?;
    let also = writer.try_clone().map_err(told)?;
    let mut prepared = command(program);
    prepared
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::from(writer))
        .stderr(Stdio::from(also));
    let mut child = prepared.spawn().map_err(told)?;
    // It holds the other end of the pipe.
    drop(prepared);
    let heard = std::thread::spawn(move || {
        let mut said = Vec::new();
        // Of one that writes without end, the front is enough; it sees its pipe go.
        let _ = (&mut reader).take(SAID_BYTES_MAX).read_to_end(&mut said);
        String::from_utf8_lossy(&said).into_owned()
    });
    let in_time = ended(Pid::from_child(&child)).map_err(told)?;
    if !in_time {
        // It may end at this very moment.
        let _ = child.kill();
    }
    let status = child.wait().map_err(told)?;
    if !in_time {
        return Err(format!("`{name}` did not end within {} s", LIMIT.as_secs()));
    }
    let said = heard.join().unwrap_or_default();
    if status.success() {
        return Ok(said);
    }
    let last = said.lines().rev().find(|line| !line.trim().is_empty());
    let last = last.unwrap_or("no word").trim();
    Err(format!("`{name}` ended with {status}: {last}"))
}

/// Whether a child has ended in time.
fn ended(pid: Pid) -> io::Result<bool> {
    let handle = pidfd_open(pid, PidfdFlags::empty())?;
    let limit = Timespec::try_from(LIMIT).ok();
    loop {
        match poll(&mut [PollFd::new(&handle, PollFlags::IN)], limit.as_ref()) {
            Err(Errno::INTR) => {}
            other => return Ok(other? > 0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_heard_or_the_reason_told() {
        let shell = |script: &str| first_line("/bin/sh", &["-c", script]);
        assert_eq!(shell("echo one; echo two"), Ok("one".into()));
        assert_eq!(shell("echo to stderr >&2"), Ok("to stderr".into()));
        let told = shell("echo why; exit 3").unwrap_err();
        assert_eq!(told, "`/bin/sh` ended with exit status: 3: why");
        let told = first_line("no-such-program", &[]).unwrap_err();
        assert_eq!(told, "no `no-such-program` in PATH");
        // One that says more than anybody reads.
        let told = shell("head -c 1000000 /dev/zero | tr '\\0' 'x'").map(|said| said.len());
        assert!(
            told.is_err() || told == Ok(SAID_BYTES_MAX as usize),
            "{told:?}"
        );
    }
}
