//! The parts of a whole frame, and the frame under another id.

use std::ops::Range;

use bytes::BytesMut;

use super::head::{Head, Step};
use crate::protocol::{self, Crc, Frame, NotAFrame, RequestId};

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

/// The same frame under another id. A CRC that was right is made right again; one that was
/// wrong stays wrong. BOLT ids have 32 bits: what does not fit is cut off.
pub(crate) fn with_id(frame: &Frame, parts: &Parts, id: RequestId) -> Frame {
    let id = id.0 as u32;
    let crc_was = frame.crc();
    let mut bytes = BytesMut::from(&frame.bytes[..]);
    // v1 has the id behind protocol, type, command and ver2; v2 has `ver1` as well.
    let at = match parts.head.version {
        super::Version::V1 => 5,
        super::Version::V2 { .. } => 6,
    };
    if let Some(field) = bytes.get_mut(at..at + 4) {
        field.copy_from_slice(&id.to_be_bytes());
    }
    if let (Crc::Ok, Some(range)) = (crc_was, parts.crc.clone()) {
        let sum = crc32fast::hash(&bytes[..range.start]);
        bytes[range].copy_from_slice(&sum.to_be_bytes());
    }
    Frame {
        head: protocol::Head {
            id: RequestId(u64::from(id)),
            ..frame.head
        },
        bytes: bytes.freeze(),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::super::{Build, Command, Malformed, Version, cmdcode, encode_headers};
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
