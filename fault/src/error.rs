//! Why a fault cannot be had.

use std::io;

/// Why a fault cannot be had, or could not be healed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// This machine cannot do it: a verdict, not a mistake of anybody.
    #[error("this machine lacks {missing}: {advice}")]
    Unsupported {
        /// What is missing, and how that was found out.
        missing: String,
        /// What to do.
        advice: String,
    },
    /// What was asked for contradicts itself, or no way can do exactly that.
    #[error("{0}")]
    Refused(String),
    /// The keeper of a lease has ended, and with it what it held by descriptors.
    #[error("the keeper is gone: {0}")]
    Gone(String),
    /// A program that makes or removes rules failed.
    #[error("`{command}` ended with {status}: {said}")]
    Tool {
        /// What was run.
        command: String,
        /// How it ended.
        status: String,
        /// What it said.
        said: String,
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
}
