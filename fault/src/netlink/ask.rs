//! Conversations: an order and its answer, a question and the whole list.

use std::fmt;
use std::io;
use std::os::fd::AsFd;

use meshproof_sys::netlink;

use super::read::{Answer, messages};
use super::{DONE, ERROR, TORN};

/// How often a list is asked for again that changed while it was told.
const TRIES: u32 = 8;

/// Bytes of a list at most; one that is longer is an error.
const LIST_BYTES_MAX: usize = 64 << 20;

/// What the kernel refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Number of the message of the request that it refused.
    pub sequence: u32,
    /// The error.
    pub errno: rustix::io::Errno,
    /// What the kernel says beside it.
    pub words: Option<String>,
}

impl fmt::Display for Refusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let error = io::Error::from(self.errno);
        match &self.words {
            Some(words) => write!(formatter, "{error}: {words}"),
            None => error.fmt(formatter),
        }
    }
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Unanswered {
    /// The kernel said no.
    #[error("{0}")]
    Refused(Refusal),
    /// The conversation broke.
    #[error("{0}")]
    Broken(#[from] io::Error),
}

impl Unanswered {
    /// The kernel's error, where there is one.
    pub fn errno(&self) -> Option<rustix::io::Errno> {
        match self {
            Unanswered::Refused(refusal) => Some(refusal.errno),
            Unanswered::Broken(error) => rustix::io::Errno::from_io_error(error),
        }
    }
}

fn refused(answer: Answer) -> Unanswered {
    Unanswered::Refused(Refusal {
        sequence: answer.sequence,
        errno: rustix::io::Errno::from_raw_os_error(answer.errno),
        words: answer.words,
    })
}

/// Gives an order whose last message, `sequence`, asks for an acknowledgement, and reads all that
/// comes back. The first refusal counts.
pub fn order(socket: impl AsFd, request: &[u8], sequence: u32) -> Result<(), Unanswered> {
    let socket = socket.as_fd();
    forget(socket)?;
    netlink::send(socket, request)?;
    let mut answers = Vec::new();
    while netlink::receive(socket, &mut answers)?.is_some() {}
    let mut done = false;
    for answer in messages(&answers).filter_map(Answer::of) {
        if answer.errno != 0 {
            return Err(refused(answer));
        }
        done |= answer.sequence == sequence;
    }
    if done {
        return Ok(());
    }
    Err(io::Error::other("the kernel acknowledged nothing").into())
}

/// Asks for a list; the messages of the answer, one behind the other. A list that changed while
/// it was told is asked for again, a few times.
pub fn list(socket: impl AsFd, request: &[u8]) -> Result<Vec<u8>, Unanswered> {
    let socket = socket.as_fd();
    let mut answers = Vec::new();
    for _ in 0..TRIES {
        forget(socket)?;
        answers.clear();
        netlink::send(socket, request)?;
        let (mut ended, mut torn) = (false, false);
        while !ended {
            let before = answers.len();
            if netlink::receive(socket, &mut answers)?.is_none() {
                return Err(io::Error::other("the kernel ended a list in the middle").into());
            }
            if answers.len() > LIST_BYTES_MAX {
                return Err(io::Error::other(format!(
                    "a list of more than {LIST_BYTES_MAX} bytes"
                ))
                .into());
            }
            for message in messages(&answers[before..]) {
                torn |= message.flags & TORN != 0;
                match (message.kind, Answer::of(message)) {
                    (DONE, _) => ended = true,
                    (ERROR, Some(answer)) if answer.errno != 0 => return Err(refused(answer)),
                    (ERROR, _) => ended = true,
                    _ => {}
                }
            }
        }
        if !torn {
            break;
        }
    }
    Ok(answers)
}

/// Asks for one thing; the messages of the answer.
pub fn one(socket: impl AsFd, request: &[u8]) -> Result<Vec<u8>, Unanswered> {
    let socket = socket.as_fd();
    forget(socket)?;
    netlink::send(socket, request)?;
    let mut answers = Vec::new();
    while netlink::receive(socket, &mut answers)?.is_some() {}
    let wrong = messages(&answers)
        .filter_map(Answer::of)
        .find(|answer| answer.errno != 0);
    wrong.map_or(Ok(answers), |answer| Err(refused(answer)))
}

/// Answers to an earlier question that broke off are not taken for those of the next.
fn forget(socket: impl AsFd) -> io::Result<()> {
    let mut stale = Vec::new();
    while netlink::receive(socket.as_fd(), &mut stale)?.is_some() {
        stale.clear();
    }
    Ok(())
}
