//! Environments that stand until they are told to end, or until their time is over, and are found
//! by others meanwhile.
//!
//! Whoever made the environment keeps it ([`stand`]) and has a folder among the runs: `env.json`
//! says what stands there, `env.lock` is locked as long as it does, and on `env.sock` it can be
//! spoken to: programs are started in its pods ([`exec`]), with the streams of whoever asks, and
//! it can be told to end ([`down`]). A folder whose lock is free is of one that has ended, however
//! it did.
//!
//! **Limits:** [`ASKERS_MAX`] of them at a time; others of this machine's users are refused.

mod client;
mod folder;
mod keep;
pub(crate) mod terminal;

pub use client::{Exec, Session, down, exec};
pub use folder::{Folder, Notice, Standing, find, list};
pub use keep::{ASKERS_MAX, Stop, stand};

use serde::{Deserialize, Serialize};

use crate::process::{Exit, Signal};

/// To the one who keeps it.
#[derive(Debug, Serialize, Deserialize)]
enum Ask {
    /// Start a program; beside it come its standard streams.
    Exec(Exec),
    /// A signal for the program, and what it started.
    Signal(Signal),
    /// End the environment.
    Down,
}

/// From the one who keeps it.
#[derive(Debug, Serialize, Deserialize)]
enum Say {
    /// The program runs.
    Started,
    /// The program did not start.
    Refused { why: String },
    /// The program ended.
    Ended { exit: Exit },
}
