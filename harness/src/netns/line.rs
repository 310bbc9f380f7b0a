//! The life line: a socket pair between an environment and whoever holds it. It carries messages
//! both ways, and its end is the environment's end.

use std::io;
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::{Mutex, PoisonError};

use meshproof_sys::descriptors;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Longest message, in bytes of JSON.
const MESSAGE_BYTES_MAX: usize = 4 << 20;

/// One end. A message is its length (32 bits, big-endian), that many bytes of JSON, and
/// descriptors beside them. Any thread may send; one receives.
#[derive(Debug)]
pub(crate) struct Line {
    socket: UnixStream,
    sending: Mutex<()>,
}

impl Line {
    pub(crate) fn new(socket: UnixStream) -> Line {
        Line {
            socket,
            sending: Mutex::new(()),
        }
    }

    /// The end that a stage of the environment was given as its standard input.
    pub(crate) fn of_stdin() -> io::Result<Line> {
        let fd = io::stdin().as_fd().try_clone_to_owned()?;
        rustix::net::sockopt::socket_type(&fd)?;
        Ok(Line::new(UnixStream::from(fd)))
    }

    pub(crate) fn send(
        &self,
        message: &impl Serialize,
        passed: &[BorrowedFd<'_>],
    ) -> io::Result<()> {
        let json = serde_json::to_vec(message)?;
        let length = u32::try_from(json.len()).unwrap_or(u32::MAX);
        if json.len() > MESSAGE_BYTES_MAX {
            return Err(too_long(length));
        }
        let bytes = [&length.to_be_bytes(), json.as_slice()].concat();
        let _turn = self.sending.lock().unwrap_or_else(PoisonError::into_inner);
        let mut sent = descriptors::send(&self.socket, &bytes, passed)?;
        while let Some(rest @ [_, ..]) = bytes.get(sent..) {
            sent += descriptors::send(&self.socket, rest, &[])?;
        }
        Ok(())
    }

    /// The next message and its descriptors; none: the other side is gone.
    pub(crate) fn receive<T: DeserializeOwned>(&self) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
        let mut passed = Vec::new();
        let mut length = [0; 4];
        if !self.fill(&mut length, &mut passed)? {
            return Ok(None);
        }
        let length = u32::from_be_bytes(length);
        if length as usize > MESSAGE_BYTES_MAX {
            return Err(too_long(length));
        }
        let mut json = vec![0; length as usize];
        if !self.fill(&mut json, &mut passed)? {
            return Ok(None);
        }
        Ok(Some((serde_json::from_slice(&json)?, passed)))
    }

    /// Fills `bytes`; false: the stream ended before.
    fn fill(&self, bytes: &mut [u8], passed: &mut Vec<OwnedFd>) -> io::Result<bool> {
        let mut filled = 0;
        while let Some(rest @ [_, ..]) = bytes.get_mut(filled..) {
            match descriptors::receive(&self.socket, rest, passed) {
                Ok(0) => return Ok(false),
                Ok(read) => filled += read,
                // The other side was killed with our words unread.
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// Ends it, for both sides.
    pub(crate) fn hang_up(&self) {
        // It may have ended already.
        let _ = self.socket.shutdown(Shutdown::Both);
    }
}

impl AsFd for Line {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn too_long(length: u32) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("a message of {length} bytes: expected at most {MESSAGE_BYTES_MAX}"),
    )
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn pair() -> (Line, UnixStream) {
        let (left, right) = UnixStream::pair().unwrap();
        (Line::new(left), right)
    }

    #[test]
    fn messages_arrive_whole_with_their_descriptors() {
        let (left, right) = pair();
        let right = Line::new(right);
        let file = tempfile::tempfile().unwrap();
        // Larger than a socket's buffer: both sides are at it at once.
        let long = "x".repeat(1 << 20);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                left.send(&"first", &[file.as_fd()]).unwrap();
                left.send(&long, &[]).unwrap();
                left.send(&"last", &[file.as_fd(), file.as_fd()]).unwrap();
                left.hang_up();
            });
            for (text, count) in [("first", 1), (long.as_str(), 0), ("last", 2)] {
                let (message, passed) = right.receive::<String>().unwrap().unwrap();
                assert_eq!((message.as_str(), passed.len()), (text, count));
            }
            assert!(right.receive::<String>().unwrap().is_none());
        });
    }

    #[test]
    fn what_is_no_message_is_refused() {
        let (line, mut raw) = pair();
        raw.write_all(&u32::MAX.to_be_bytes()).unwrap();
        let told = line.receive::<String>().unwrap_err().to_string();
        assert!(told.starts_with("a message of 4294967295 bytes"), "{told}");
        let (line, mut raw) = pair();
        raw.write_all(b"\0\0\0\x02{}").unwrap();
        assert!(line.receive::<String>().is_err());
        let (line, mut raw) = pair();
        raw.write_all(b"\0\0\0\x09\"cut").unwrap();
        drop(raw);
        assert!(line.receive::<String>().unwrap().is_none());
        let (line, _raw) = pair();
        assert!(line.send(&"x".repeat(MESSAGE_BYTES_MAX), &[]).is_err());
    }
}
