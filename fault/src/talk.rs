//! What run and keeper say to each other: a JSON text a line, over a socket.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::{Evidence, Plan, Residue, Scene, Spec};

/// Longest message, in bytes.
const MESSAGE_BYTES_MAX: usize = 4 << 20;

/// To the keeper.
#[expect(
    clippy::large_enum_variant,
    reason = "there is one at a time, and it is sent at once"
)]
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Order {
    /// What would be done? Answered by `Planned`. The first of all.
    Plan {
        #[serde(with = "crate::spec::travel")]
        spec: Spec,
        scene: Scene,
    },
    /// Do it, for so long at most, and heal where nothing is heard for `silence_ms`. Answered by
    /// `Applied`.
    Apply { limit_ms: u64, silence_ms: u64 },
    /// The run is alive. Not answered.
    Beat,
    /// What met it? Answered by `Met`.
    Evidence,
    /// Take it away, and end. Answered by `Healed`.
    Heal,
}

/// From the keeper.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Word {
    Planned(Box<Plan>),
    Applied {
        at_ns: u64,
    },
    Met(Evidence),
    /// It is over, and what is left. Comes unasked where the keeper ended it by itself.
    Healed {
        evidence: Evidence,
        residue: Residue,
    },
    /// This machine cannot.
    Unsupported {
        missing: String,
        advice: String,
    },
    /// It will not, or it failed.
    Refused {
        why: String,
    },
}

/// One end.
#[derive(Debug)]
pub(crate) struct Line {
    socket: UnixStream,
    /// What was read and is no whole message yet.
    read: Vec<u8>,
}

impl Line {
    pub(crate) fn new(socket: UnixStream) -> Line {
        Line {
            socket,
            read: Vec::new(),
        }
    }

    pub(crate) fn socket(&self) -> &UnixStream {
        &self.socket
    }

    /// Sends one message.
    pub(crate) fn send(&self, message: &impl Serialize) -> io::Result<()> {
        send(&self.socket, message)
    }

    /// The next message, waited for; none: the other side is gone.
    pub(crate) fn receive<T: DeserializeOwned>(&mut self) -> io::Result<Option<T>> {
        loop {
            if let Some(message) = self.take()? {
                return Ok(Some(message));
            }
            if !self.fill()? {
                return Ok(None);
            }
        }
    }

    /// The next message, of what was read already.
    pub(crate) fn take<T: DeserializeOwned>(&mut self) -> io::Result<Option<T>> {
        let Some(end) = self.read.iter().position(|byte| *byte == b'\n') else {
            return Ok(None);
        };
        let text: Vec<u8> = self.read.drain(..=end).collect();
        Ok(Some(serde_json::from_slice(&text)?))
    }

    /// Reads once; false: the other side is gone, and what it had begun to say is void.
    pub(crate) fn fill(&mut self) -> io::Result<bool> {
        if self.read.len() > MESSAGE_BYTES_MAX {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("a message of more than {MESSAGE_BYTES_MAX} bytes"),
            ));
        }
        let mut buffer = [0; 16384];
        match (&self.socket).read(&mut buffer) {
            Ok(0) => Ok(false),
            Ok(count) => {
                self.read.extend(buffer.iter().take(count));
                Ok(true)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(true),
            // The other side was killed with our words unread.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// Sends one message, as one write where the socket takes it.
pub(crate) fn send(mut socket: &UnixStream, message: &impl Serialize) -> io::Result<()> {
    let mut text = serde_json::to_vec(message)?;
    text.push(b'\n');
    socket.write_all(&text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_arrive_one_by_one() {
        let (left, right) = UnixStream::pair().unwrap();
        let mut right = Line::new(right);
        for number in 0..3_u32 {
            send(&left, &number).unwrap();
        }
        (&left).write_all(b"4").unwrap();
        drop(left);
        for number in 0..3_u32 {
            assert_eq!(right.receive::<u32>().unwrap(), Some(number));
        }
        // One that is cut was not said.
        assert_eq!(right.receive::<u32>().unwrap(), None);
    }
}
