//! Good calls that go on all the time beside the damage.

use std::fmt;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use super::talk::{Heard, Talk, Tongue};
use crate::Error;

/// From one call of a stream to the next.
const PACE: Duration = Duration::from_millis(10);

/// A good call is given up after this.
const PATIENCE: Duration = Duration::from_secs(20);

/// What became of good calls. `sent = right + wrong + lost`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    /// Calls.
    pub sent: u64,
    /// Answered by their own content, in their own version, under their own id.
    pub right: u64,
    /// Answered otherwise.
    pub wrong: u64,
    /// Not answered, or their connection was closed.
    pub lost: u64,
    /// The first that was not right, in words.
    pub first: Option<String>,
}

impl Ledger {
    /// Whether it closes, and every call was right.
    pub fn is_right(&self) -> bool {
        self.sent > 0 && self.sent == self.right && self.wrong + self.lost == 0
    }

    pub(super) fn add(&mut self, other: &Ledger) {
        self.sent += other.sent;
        self.right += other.right;
        self.wrong += other.wrong;
        self.lost += other.lost;
        if self.first.is_none() {
            self.first.clone_from(&other.first);
        }
    }

    fn not_right(&mut self, what: impl FnOnce() -> String) {
        self.first.get_or_insert_with(what);
    }
}

impl fmt::Display for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Ledger {
            sent,
            right,
            wrong,
            lost,
            first,
        } = self;
        write!(
            f,
            "{sent} sent = {right} right + {wrong} wrong + {lost} lost"
        )?;
        match first {
            Some(first) => write!(f, "; the first: {first}"),
            None => Ok(()),
        }
    }
}

/// Calls until whoever holds the other end of `over` lets go of it, and at least once.
pub(super) fn run(
    tongue: Tongue,
    connect: &(dyn Fn() -> Result<Talk, Error> + Sync),
    over: &Receiver<()>,
) -> Ledger {
    let mut ledger = Ledger::default();
    let mut talk = None;
    loop {
        ledger.sent += 1;
        let number = ledger.sent;
        let mut open = match talk.take() {
            Some(open) => open,
            None => match connect() {
                Ok(open) => open,
                Err(error) => {
                    ledger.lost += 1;
                    ledger.not_right(|| format!("{tongue:?} call {number}: {error}"));
                    if pauses(over) {
                        continue;
                    }
                    return ledger;
                }
            },
        };
        let content = format!("good {number}");
        let id = number as u32 * 17;
        open.say(&tongue.request(id, &content, PATIENCE.as_millis() as i32));
        match open.hear(PATIENCE) {
            Heard::Frame(frame)
                if frame.content() == content.as_bytes()
                    && frame.head.id.0 == u64::from(id)
                    && frame.head.status == Some(0)
                    && frame.head.protocol == tongue.protocol() =>
            {
                ledger.right += 1;
                talk = Some(open);
            }
            Heard::Frame(frame) => {
                ledger.wrong += 1;
                ledger.not_right(|| format!("{tongue:?} call {number}: {:?}", frame.head));
            }
            other => {
                ledger.lost += 1;
                ledger.not_right(|| format!("{tongue:?} call {number}: {other:?}"));
            }
        }
        if !pauses(over) {
            return ledger;
        }
    }
}

/// Whether it goes on after a pause.
fn pauses(over: &Receiver<()>) -> bool {
    matches!(over.recv_timeout(PACE), Err(RecvTimeoutError::Timeout))
}
