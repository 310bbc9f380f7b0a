//! A program with a terminal of its own: a stage between whoever starts programs and the program.
//!
//! Programs are started as leaders of a group, so that signals reach what they start too, and the
//! leader of a group cannot begin a session, without which there is no controlling terminal. So
//! the stage leaves its group for another one first; then it leads session and group, with the
//! number that it always had, and becomes the program.

use std::ffi::OsString;
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::process::Stdio;

use rustix::process::{Pid, ioctl_tiocsctty, setpgid, setsid};
use rustix::stdio::stdin;

use super::Exec;
use crate::environment::Program;
use crate::netns::stages::{STAGE, command};

/// The stage: its standard input is the terminal, its arguments are program and arguments.
pub(crate) const TERMINAL: &str = "terminal";

/// The stage that ends at once: while nobody has reaped it, its group is there to go to.
pub(crate) const ASIDE: &str = "aside";

impl Exec {
    /// The same with its standard input, which must be a terminal that is no session's yet, as its
    /// controlling one: keys become signals, and job control works.
    pub fn at_a_terminal(self) -> Exec {
        let program = match &self.program {
            Program::Own => "/proc/self/exe".to_owned(),
            Program::Named(path) => path.to_string_lossy().into_owned(),
        };
        let front = [STAGE.to_owned(), TERMINAL.to_owned(), program];
        Exec {
            program: Program::Own,
            arguments: front.into_iter().chain(self.arguments).collect(),
            ..self
        }
    }
}

/// Becomes the program; comes back with an exit code where it cannot.
pub(crate) fn stage(mut arguments: impl Iterator<Item = OsString>) -> u8 {
    /// As `env exec` says of a program that is none.
    const NOT_STARTED: u8 = 2;
    let Some(program) = arguments.next() else {
        return NOT_STARTED;
    };
    let error = match lead() {
        Ok(()) => command(&program).args(arguments).exec(),
        Err(error) => error,
    };
    // Whoever reads it is a person, or nobody.
    let _ = writeln!(
        io::stderr(),
        "meshproof: {}: {error}",
        program.to_string_lossy()
    );
    NOT_STARTED
}

/// Begins a session whose controlling terminal is the standard input.
fn lead() -> io::Result<()> {
    let mut aside = command("/proc/self/exe")
        .args([STAGE, ASIDE])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()?;
    let led = setpgid(None, Some(Pid::from_child(&aside)))
        .and_then(|()| setsid())
        .and_then(|_| ioctl_tiocsctty(stdin()));
    // It ends by itself, whatever became of us.
    aside.wait()?;
    Ok(led?)
}
