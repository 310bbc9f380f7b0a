//! Exit codes and the one place where a failure is told to a person.
//!
//! 0 PASS · 1 FAIL · 2 wrong use or unreadable input · 3 INVALID or nothing ran ·
//! 4 unsupported by this machine · 130 Ctrl-C.

use std::fmt;
use std::io;

/// No FAIL or INVALID, and something passed.
pub(crate) const OK: u8 = 0;
/// Shown not to hold.
pub(crate) const FAIL: u8 = 1;
/// The run cannot support a verdict.
pub(crate) const INVALID: u8 = 3;
/// Wrong use, or input that cannot be read.
pub(crate) const USAGE: u8 = 2;
/// This machine cannot run it.
pub(crate) const UNSUPPORTED: u8 = 4;

/// A second signal: at once.
pub(crate) const INTERRUPTED: u8 = 130;

/// Why a command could not do its work. A verdict is no failure: it is an exit code.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Wrong use or unreadable input, said in one sentence.
    Usage(String),
    /// What a person wrote is wrong: a diagnostic with line and caret.
    Diagnostic(Box<miette::Report>),
    /// Whoever read our output went away; nothing is wrong.
    BrokenPipe,
    /// This machine cannot run it: what is missing, and what to do.
    Unsupported(String),
    /// The operating system refused, in the middle of the work.
    Io(String, io::Error),
}

impl Failure {
    /// The exit code that belongs to it.
    pub(crate) fn code(&self) -> u8 {
        match self {
            Failure::BrokenPipe => OK,
            Failure::Unsupported(_) => UNSUPPORTED,
            Failure::Usage(_) | Failure::Diagnostic(_) | Failure::Io(..) => USAGE,
        }
    }

    /// Says it on stderr.
    #[expect(clippy::print_stderr, reason = "this is where failures are printed")]
    pub(crate) fn print(&self) {
        match self {
            Failure::Diagnostic(report) => eprintln!("{report:?}"),
            other => eprintln!("meshproof: {other}"),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Usage(text) => f.write_str(text),
            Failure::Unsupported(text) => write!(f, "UNSUPPORTED(machine): {text}"),
            Failure::Diagnostic(report) => write!(f, "{report}"),
            Failure::BrokenPipe => f.write_str("broken pipe"),
            Failure::Io(what, error) => write!(f, "{what}: {error}"),
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            Failure::BrokenPipe
        } else {
            Failure::Io("writing output".into(), error)
        }
    }
}
