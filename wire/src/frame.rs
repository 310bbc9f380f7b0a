//! The fields of a whole frame of any protocol, read from its bytes on demand.

use std::ops::Range;

use bytes::Bytes;

use crate::bolt::{self, HeaderMap};
use crate::protocol::{Crc, Frame, Head, NotAFrame, Protocol, RequestId};
use crate::tr;

/// Fields of the frame, from its bytes. Bytes that are not the frame that `head` describes read as
/// empty.
impl Frame {
    /// Takes bytes that are exactly one frame of BOLT or TR.
    pub fn parse(bytes: Bytes) -> Result<Frame, NotAFrame> {
        let head = match bytes.first() {
            Some(13) => Head::from(&tr::Parts::of(&bytes)?),
            _ => Head::from(&bolt::Parts::of(&bytes)?.head),
        };
        Ok(Frame { head, bytes })
    }

    /// Where the parts of a BOLT frame lie; `None` for other protocols.
    pub fn parts(&self) -> Option<bolt::Parts> {
        bolt::Parts::of(&self.bytes).ok()
    }

    /// Where the parts of a TR frame lie; `None` for other protocols.
    pub fn tr_parts(&self) -> Option<tr::Parts> {
        match self.head.protocol {
            Protocol::Tr => tr::Parts::of(&self.bytes).ok(),
            _ => None,
        }
    }

    /// The class name of the object in the content, where it is UTF-8. Empty for heartbeats of
    /// BOLT.
    pub fn class(&self) -> Option<&str> {
        std::str::from_utf8(self.class_bytes()).ok()
    }

    /// The class name as it stands.
    pub fn class_bytes(&self) -> &[u8] {
        self.slice(self.class_range())
    }

    /// Where the class name lies; `None` where the bytes are not the frame.
    pub fn class_range(&self) -> Option<Range<usize>> {
        match self.head.protocol {
            Protocol::BoltV1 | Protocol::BoltV2 => Some(self.parts()?.class),
            Protocol::Tr => Some(self.tr_parts()?.class),
            Protocol::MeshApi => None,
        }
    }

    /// The header section, pair by pair. TR has none.
    pub fn headers(&self) -> HeaderMap {
        match self.parts() {
            Some(parts) => HeaderMap::parse(&self.bytes, parts.headers),
            None => HeaderMap::default(),
        }
    }

    /// The serialized object.
    pub fn content(&self) -> &[u8] {
        self.slice(self.content_range())
    }

    /// Where the serialized object lies; `None` where the bytes are not the frame.
    pub fn content_range(&self) -> Option<Range<usize>> {
        match self.head.protocol {
            Protocol::BoltV1 | Protocol::BoltV2 => Some(self.parts()?.content),
            Protocol::Tr => Some(self.tr_parts()?.content),
            Protocol::MeshApi => None,
        }
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
    /// wrong stays wrong. BOLT ids have 32 bits: what does not fit is cut off. The length of a TR
    /// frame may change. Messages of the application API have no id on the wire: only the head
    /// changes.
    pub fn with_id(&self, id: RequestId) -> Frame {
        match self.head.protocol {
            Protocol::BoltV1 | Protocol::BoltV2 => match self.parts() {
                Some(parts) => bolt::with_id(self, &parts, id),
                None => self.clone(),
            },
            Protocol::Tr => {
                let bytes = tr::with_id(&self.bytes, id);
                Frame::parse(bytes).unwrap_or_else(|_| self.clone())
            }
            Protocol::MeshApi => Frame {
                head: Head { id, ..self.head },
                bytes: self.bytes.clone(),
            },
        }
    }

    fn slice(&self, range: Option<Range<usize>>) -> &[u8] {
        range
            .and_then(|range| self.bytes.get(range))
            .unwrap_or_default()
    }
}
