//! What is said on the life line.

use serde::{Deserialize, Serialize};
use std::path::PathBuf;

use crate::environment::{Escapes, Pod, Program, Topology};
use crate::process::{Exit, Signal};

/// To the environment. The answer to it carries the same number.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Request {
    pub(crate) number: u64,
    pub(crate) order: Order,
}

/// What is asked for.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Order {
    /// The first of all: make these pods. Answered by [`Word::Up`].
    Up(Topology),
    /// Start a program. Beside it: its standard input, output and error output.
    Start(Start),
    /// A signal for a program.
    Signal { process: u64, signal: Signal },
    /// A socket in a pod: it comes beside the answer.
    Socket { pod: String, kind: Kind },
    /// A file that every pod sees.
    Place { name: String, contents: String },
    /// What tried to leave.
    Escapes,
    /// End every program, remove every file, count from zero.
    Reset,
}

/// A program to be started; the number of the request is the number of the process.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Start {
    pub(crate) pod: String,
    pub(crate) program: Program,
    pub(crate) arguments: Vec<String>,
    pub(crate) variables: Vec<(String, String)>,
    pub(crate) directory: Option<PathBuf>,
    pub(crate) reach: Reach,
}

/// How far signals for a program reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Reach {
    /// To it alone.
    Program,
    /// To what it started, too, as those of a terminal do.
    Group,
}

/// What a socket is for.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) enum Kind {
    /// TCP.
    Stream,
    /// UDP.
    Datagram,
    /// Every packet of the pod's links.
    Packets,
}

/// From the environment.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Word {
    /// It stands.
    Up { pods: Vec<Pod> },
    /// It cannot be on this machine.
    Unsupported { missing: String, advice: String },
    /// It could not be made.
    Failed { why: String },
    /// It stands, but without this.
    Note { text: String },
    /// An order was carried out, or not.
    Answer {
        to: u64,
        outcome: Result<Outcome, String>,
    },
    /// A program ended. `at_ns` is of the machine's monotonic clock.
    Ended {
        process: u64,
        exit: Exit,
        at_ns: u64,
    },
}

/// What an order led to.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Outcome {
    /// A program runs, under this number inside.
    Started { pid: u32 },
    /// A file stands there.
    Placed { path: PathBuf },
    /// What tried to leave until now.
    Escapes(Escapes),
    /// Nothing more to say.
    Done,
}
