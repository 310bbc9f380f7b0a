//! Why an environment cannot do what was asked.

use std::io;
use std::time::Duration;

/// Why an environment cannot do what was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// This machine cannot run it: a verdict, not a fault of anybody.
    #[error("this machine lacks {missing}: {advice}")]
    Unsupported {
        /// What is missing, and how the kernel said so.
        missing: String,
        /// What to do.
        advice: String,
    },
    /// A name or a value that an environment cannot take.
    #[error("{0}")]
    Refused(String),
    /// The environment ended, or was ended.
    #[error("the environment is gone: {0}")]
    Gone(String),
    /// A fault that was none: nothing met it, it could not be put in force, or it ended early.
    /// What was seen meanwhile shows nothing.
    #[error("{0}")]
    Inert(String),
    /// A program ended, or its limit ran out, before it was ready.
    #[error("{program} in pod {pod} was not ready: {why}{said}")]
    NotReady {
        /// The program's name.
        program: String,
        /// Where it runs.
        pod: String,
        /// Its exit, or the limit.
        why: String,
        /// Its last lines, each on a line of its own.
        said: String,
    },
    /// Something that was waited for did not come.
    #[error("{what} did not come within {} ms", .limit.as_millis())]
    Late {
        /// What was waited for.
        what: String,
        /// For how long.
        limit: Duration,
    },
    /// The operating system refused.
    #[error("{what}: {source}")]
    Io {
        /// What was done.
        what: String,
        /// What it said.
        source: io::Error,
    },
}

impl Error {
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Error {
        let what = what.into();
        move |source| Error::Io { what, source }
    }

    /// What the operating system said, where it was that.
    pub fn io_kind(&self) -> Option<io::ErrorKind> {
        match self {
            Error::Io { source, .. } => Some(source.kind()),
            _ => None,
        }
    }
}
