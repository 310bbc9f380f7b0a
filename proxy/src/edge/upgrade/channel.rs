//! Messages with descriptors and raw bytes beside them, over a unix socket.
//!
//! A message is four bytes of the length of its JSON, four of the length of the raw bytes, one of
//! the number of descriptors, then the JSON and the raw bytes. The descriptors come with the
//! first byte.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use meshproof_sys::descriptors;

use crate::upgrade::Message;

/// JSON of one message, and raw bytes beside it, are no longer than this.
pub(super) const PART_BYTES_MAX: u32 = 256 << 20;
/// A peer that takes or sends nothing of a message that was begun for this long is gone.
const STALL: Duration = Duration::from_secs(2);
/// The same for one that is to take a client's connection: it serves already, and with it the
/// connection would be lost.
const CONNECTION_STALL: Duration = Duration::from_secs(10);
const HEAD_BYTES: usize = 9;

/// One message as it came.
#[derive(Debug)]
pub(super) struct Received {
    pub(super) message: Message,
    pub(super) raw: Vec<u8>,
    pub(super) descriptors: Vec<OwnedFd>,
}

/// One end of the conversation.
#[derive(Debug)]
pub(super) struct Channel {
    stream: UnixStream,
}

impl Channel {
    pub(super) fn new(stream: UnixStream) -> io::Result<Channel> {
        stream.set_nonblocking(false)?;
        stream.set_read_timeout(Some(STALL))?;
        Ok(Channel { stream })
    }

    /// Sends a message. Fails where the peer is gone or does not read.
    pub(super) fn send(
        &mut self,
        message: &Message,
        raw: &[u8],
        beside: &[BorrowedFd<'_>],
    ) -> io::Result<()> {
        let json = serde_json::to_vec(message).map_err(io::Error::other)?;
        let mut bytes = Vec::with_capacity(HEAD_BYTES + json.len() + raw.len());
        for part in [&json[..], raw] {
            let len = u32::try_from(part.len()).ok();
            let len = len.filter(|len| *len <= PART_BYTES_MAX).ok_or_else(|| {
                invalid(format!(
                    "{} bytes: expected at most {PART_BYTES_MAX}",
                    part.len()
                ))
            })?;
            bytes.extend_from_slice(&len.to_be_bytes());
        }
        bytes.push(u8::try_from(beside.len()).map_err(io::Error::other)?);
        bytes.extend_from_slice(&json);
        bytes.extend_from_slice(raw);
        let stall = match message {
            Message::Connection { .. } => CONNECTION_STALL,
            _ => STALL,
        };
        self.stream.set_write_timeout(Some(stall))?;
        let sent = descriptors::send(&self.stream, &bytes, beside)?;
        self.stream.write_all(bytes.get(sent..).unwrap_or_default())
    }

    /// Waits for a message; `None` at the end of the conversation.
    pub(super) fn receive(&mut self) -> io::Result<Option<Received>> {
        let mut head = [0; HEAD_BYTES];
        let mut descriptors = Vec::new();
        let mut have = 0;
        while let Some(rest @ [_, ..]) = head.get_mut(have..) {
            match descriptors::receive(&self.stream, rest, &mut descriptors)? {
                0 if have == 0 => return Ok(None),
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                n => have += n,
            }
        }
        let [a, b, c, d, e, f, g, h, count] = head;
        let json = self.part(u32::from_be_bytes([a, b, c, d]))?;
        let raw = self.part(u32::from_be_bytes([e, f, g, h]))?;
        if descriptors.len() != usize::from(count) {
            return Err(invalid(format!(
                "{} descriptors came, {count} were sent: raise the limit of open files",
                descriptors.len()
            )));
        }
        let message = serde_json::from_slice(&json)
            .map_err(|error| invalid(format!("no message of an upgrade: {error}")))?;
        Ok(Some(Received {
            message,
            raw,
            descriptors,
        }))
    }

    fn part(&mut self, len: u32) -> io::Result<Vec<u8>> {
        if len > PART_BYTES_MAX {
            return Err(invalid(format!(
                "{len} bytes: expected at most {PART_BYTES_MAX}"
            )));
        }
        // The buffer grows with what comes, not with what was claimed.
        let mut part = Vec::new();
        (&mut self.stream).take(len.into()).read_to_end(&mut part)?;
        match part.len() == len as usize {
            true => Ok(part),
            false => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

fn invalid(text: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upgrade::SideName;

    #[test]
    fn messages_arrive_with_what_is_beside_them() {
        let (left, right) = UnixStream::pair().unwrap();
        let (mut left, mut right) = (Channel::new(left).unwrap(), Channel::new(right).unwrap());
        let side = SideName::Inbound;
        // Longer than any socket buffer, so that it goes in pieces.
        let raw = vec![7; 1 << 20];
        let (reader, writer) = io::pipe().unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let beside = [reader.as_fd(), writer.as_fd()];
                left.send(&Message::Connection { side }, &raw, &beside)
                    .unwrap();
                left.send(&Message::Ready, &[], &[]).unwrap();
            });
            let first = right.receive().unwrap().unwrap();
            assert_eq!(first.message, Message::Connection { side });
            assert_eq!(first.raw.len(), 1 << 20);
            assert_eq!(first.descriptors.len(), 2);
            let second = right.receive().unwrap().unwrap();
            assert_eq!(second.message, Message::Ready);
            assert!(second.descriptors.is_empty() && second.raw.is_empty());
        });
        drop(left);
        assert!(right.receive().unwrap().is_none());
    }

    #[track_caller]
    fn check(bytes: &[u8], expected: &str) {
        let (mut left, right) = UnixStream::pair().unwrap();
        left.write_all(bytes).unwrap();
        drop(left);
        let error = Channel::new(right).unwrap().receive().unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    }

    #[test]
    fn nonsense_is_refused() {
        check(b"\0\0\0", "unexpected end of file");
        check(b"\xff\0\0\0\0\0\0\0\0", "expected at most");
        check(b"\0\0\0\x02\0\0\0\0\0{}", "no message of an upgrade");
        check(b"\0\0\0\x02\0\0\0\0\0{", "unexpected end of file");
        check(
            b"\0\0\0\x10\0\0\0\0\x01{\"kind\":\"ready\"}",
            "0 descriptors came, 1 were sent",
        );
    }
}
