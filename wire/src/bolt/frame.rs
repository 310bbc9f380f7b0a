//! The fields of a whole frame, read from its bytes on demand.

use std::ops::Range;

use bytes::{Bytes, BytesMut};

use super::head::{Head, Malformed, Step};
use super::headers::HeaderMap;
use crate::protocol::{self, Crc, Frame, RequestId};

/// Where the parts of a frame lie; ranges count from its first byte and lie within it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parts {
    /// The fixed part.
    pub head: Head,
    /// The class name.
    pub class: Range<usize>,
    /// The header section.
    pub headers: Range<usize>,
    /// The content: the serialized object.
    pub content: Range<usize>,
    /// The CRC-32, where the frame carries one.
    pub crc: Option<Range<usize>>,
}

/// Why bytes are not one whole frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotAFrame {
    /// The head is wrong.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// There are fewer or more bytes than the head says.
    #[error("{have} bytes where the head says {say}")]
    Length {
        /// How many there are.
        have: usize,
        /// How many the head needs or announces.
        say: u64,
    },
}

impl Parts {
    /// Finds the parts of `bytes`, which must be exactly one frame.
    pub fn of(bytes: &[u8]) -> Result<Parts, NotAFrame> {
        let length = |say| NotAFrame::Length {
            have: bytes.len(),
            say,
        };
        let head = match Head::parse(bytes) {
            Step::Head(head) => head,
            Step::Need(needed) => return Err(length(needed as u64)),
            Step::Malformed(why) => return Err(why.into()),
        };
        if head.frame_len() != bytes.len() as u64 {
            return Err(length(head.frame_len()));
        }
        // The sum of all lengths is that of a slice in memory, so none of these overflows.
        let class = head.fixed_len()..head.fixed_len() + usize::from(head.class_len);
        let headers = class.end..class.end + usize::from(head.header_len);
        let content = headers.end..headers.end + head.content_len as usize;
        let crc = head
            .version
            .has_crc()
            .then_some(content.end..content.end + 4);
        Ok(Parts {
            head,
            class,
            headers,
            content,
            crc,
        })
    }
}

/// Fields of the frame, from its bytes. Bytes that are not the frame that `head` describes read as
/// empty.
impl Frame {
    /// Takes bytes that are exactly one frame.
    pub fn parse(bytes: Bytes) -> Result<Frame, NotAFrame> {
        let parts = Parts::of(&bytes)?;
        Ok(Frame {
            head: protocol::Head::from(&parts.head),
            bytes,
        })
    }

    /// Where the parts lie.
    pub fn parts(&self) -> Option<Parts> {
        Parts::of(&self.bytes).ok()
    }

    /// The class name of the object in the content, where it is UTF-8. Empty for heartbeats.
    pub fn class(&self) -> Option<&str> {
        std::str::from_utf8(self.class_bytes()).ok()
    }

    /// The class name as it stands.
    pub fn class_bytes(&self) -> &[u8] {
        self.part(|parts| parts.class.clone())
    }

    /// The header section, pair by pair.
    pub fn headers(&self) -> HeaderMap {
        match self.parts() {
            Some(parts) => HeaderMap::parse(&self.bytes, parts.headers),
            None => HeaderMap::default(),
        }
    }

    /// The serialized object.
    pub fn content(&self) -> &[u8] {
        self.part(|parts| parts.content.clone())
    }

    /// Whether the frame carries a CRC, and whether it holds. Reads every byte.
    pub fn crc(&self) -> Crc {
        let Some(range) = self.parts().and_then(|parts| parts.crc) else {
            return Crc::Absent;
        };
        let covered = self.bytes.get(..range.start).unwrap_or(&[]);
        let stored = self.bytes.get(range).unwrap_or(&[]);
        if crc32fast::hash(covered).to_be_bytes() == stored {
            Crc::Ok
        } else {
            Crc::Bad
        }
    }

    /// The same frame under another id. A CRC that was right is made right again; one that was
    /// wrong stays wrong. The upper half of `id` must be zero: BOLT ids have 32 bits, and what
    /// does not fit is cut off.
    pub fn with_id(&self, id: RequestId) -> Frame {
        let Some(parts) = self.parts() else {
            return self.clone();
        };
        let id = id.0 as u32;
        let crc_was = self.crc();
        let mut bytes = BytesMut::from(&self.bytes[..]);
        // v1 has the id behind protocol, type, command and ver2; v2 has `ver1` as well.
        let at = match parts.head.version {
            super::Version::V1 => 5,
            super::Version::V2 { .. } => 6,
        };
        if let Some(field) = bytes.get_mut(at..at + 4) {
            field.copy_from_slice(&id.to_be_bytes());
        }
        if let (Crc::Ok, Some(range)) = (crc_was, parts.crc) {
            let sum = crc32fast::hash(&bytes[..range.start]);
            bytes[range].copy_from_slice(&sum.to_be_bytes());
        }
        Frame {
            head: protocol::Head {
                id: RequestId(u64::from(id)),
                ..self.head
            },
            bytes: bytes.freeze(),
        }
    }

    fn part(&self, range: impl Fn(&Parts) -> Range<usize>) -> &[u8] {
        self.parts()
            .and_then(|parts| self.bytes.get(range(&parts)))
            .unwrap_or(&[])
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Build, Command, Version, cmdcode, encode_headers};
    use super::*;

    fn sample(version: Version) -> Frame {
        let headers = encode_headers([("app", "sample-client"), ("type", "sync")]);
        let bytes = Build {
            version,
            command: Command::Request { timeout_ms: 3000 },
            cmdcode: cmdcode::REQUEST,
            id: 7,
            codec: 1,
            class: b"peer.Msg",
            headers: &headers,
            content: b"content",
        };
        Frame::parse(bytes.encode().unwrap()).unwrap()
    }

    #[test]
    fn parts_are_found() {
        for (version, crc) in [
            (Version::V1, Crc::Absent),
            (Version::V2_CRC, Crc::Ok),
            (Version::V2_PLAIN, Crc::Absent),
            (Version::V2 { ver1: 1, switch: 1 }, Crc::Absent),
        ] {
            let frame = sample(version);
            assert_eq!(frame.class(), Some("peer.Msg"));
            assert_eq!(frame.content(), b"content");
            assert_eq!(frame.headers().get("type"), Some("sync"));
            assert_eq!(frame.headers().get("none"), None);
            assert_eq!(frame.crc(), crc);
        }
    }

    #[test]
    fn another_id_changes_id_and_crc_only() {
        for version in [Version::V1, Version::V2_CRC, Version::V2_PLAIN] {
            let frame = sample(version);
            let other = frame.with_id(RequestId(0xdead_beef));
            assert_eq!(other.head.id, RequestId(0xdead_beef));
            assert_eq!(Frame::parse(other.bytes.clone()).unwrap(), other);
            assert_eq!(other.crc(), frame.crc());
            assert_eq!(other.with_id(RequestId(7)), frame);
        }
    }

    #[test]
    fn a_wrong_crc_stays_wrong() {
        let frame = sample(Version::V2_CRC);
        let mut bytes = frame.bytes.to_vec();
        *bytes.last_mut().unwrap() ^= 1;
        let frame = Frame::parse(bytes.into()).unwrap();
        assert_eq!(frame.crc(), Crc::Bad);
        assert_eq!(frame.with_id(RequestId(8)).crc(), Crc::Bad);
    }

    #[test]
    fn bytes_that_are_not_one_frame_are_refused() {
        let bytes = sample(Version::V1).bytes;
        let short = Frame::parse(bytes.slice(..bytes.len() - 1));
        let say = bytes.len() as u64;
        let have = bytes.len() - 1;
        assert_eq!(short, Err(NotAFrame::Length { have, say }));
        assert!(Frame::parse(Bytes::new()).is_err());
        assert_eq!(
            Frame::parse(Bytes::from_static(b"GET /")),
            Err(Malformed::Protocol(b'G').into())
        );
    }

    #[test]
    fn a_frame_put_together_wrongly_reads_as_empty() {
        let frame = Frame {
            head: sample(Version::V1).head,
            bytes: Bytes::from_static(b"\x01\x01"),
        };
        assert_eq!(frame.class(), Some(""));
        assert!(frame.headers().is_empty());
        assert_eq!(frame.content(), b"");
        assert_eq!(frame.crc(), Crc::Absent);
        assert_eq!(frame.with_id(RequestId(1)), frame);
    }
}
