//! A frame made from its parts.

use bytes::{BufMut, Bytes, BytesMut};

use super::head::{Command, Version, cmdcode};
use super::status;
use crate::protocol::Frame;

/// The parts of a frame to be. Lengths and the CRC follow from them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Build<'a> {
    /// Protocol code, `ver1` and switch; says whether there is a CRC.
    pub version: Version,
    /// Type, and time-out or status.
    pub command: Command,
    /// See [`cmdcode`].
    pub cmdcode: u16,
    /// The id.
    pub id: u32,
    /// The serializer; 1 is Hessian.
    pub codec: u8,
    /// The class name, up to 65,535 bytes.
    pub class: &'a [u8],
    /// The header section as it goes on the wire, up to 65,535 bytes; see [`encode_headers`].
    pub headers: &'a [u8],
    /// The serialized object, up to 4 GiB - 1.
    pub content: &'a [u8],
}

/// A part that does not fit its length field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{part} of {len} bytes does not fit its length field, which holds {max}")]
pub struct TooLong {
    /// `class`, `headers` or `content`.
    pub part: &'static str,
    /// How long it is.
    pub len: usize,
    /// How long it may be.
    pub max: u64,
}

impl<'a> Build<'a> {
    /// The parts of a frame that exists; `None` where its bytes are not one frame. Encoding them
    /// gives the same bytes, unless its CRC is wrong or its second version byte is not 1.
    pub fn of(frame: &'a Frame) -> Option<Build<'a>> {
        let parts = frame.parts()?;
        Some(Build {
            version: parts.head.version,
            command: parts.head.command,
            cmdcode: parts.head.cmdcode,
            id: parts.head.id,
            codec: parts.head.codec,
            class: frame.bytes.get(parts.class)?,
            headers: frame.bytes.get(parts.headers)?,
            content: frame.bytes.get(parts.content)?,
        })
    }

    /// The frame's bytes.
    pub fn encode(&self) -> Result<Bytes, TooLong> {
        let class_len = u16::try_from(self.class.len())
            .map_err(|_| too_long("class", self.class, u64::from(u16::MAX)))?;
        let header_len = u16::try_from(self.headers.len())
            .map_err(|_| too_long("headers", self.headers, u64::from(u16::MAX)))?;
        let content_len = u32::try_from(self.content.len())
            .map_err(|_| too_long("content", self.content, u64::from(u32::MAX)))?;
        let parts_len = self.class.len() + self.headers.len() + self.content.len();
        let mut out = BytesMut::with_capacity(24 + parts_len + 4);
        match self.version {
            Version::V1 => out.put_u8(1),
            Version::V2 { ver1, .. } => out.put_slice(&[2, ver1]),
        }
        out.put_u8(self.command.code());
        out.put_u16(self.cmdcode);
        out.put_u8(1);
        out.put_u32(self.id);
        out.put_u8(self.codec);
        if let Version::V2 { switch, .. } = self.version {
            out.put_u8(switch);
        }
        match self.command {
            Command::Response { status } => out.put_u16(status),
            Command::Request { timeout_ms } | Command::Oneway { timeout_ms } => {
                out.put_i32(timeout_ms);
            }
        }
        out.put_u16(class_len);
        out.put_u16(header_len);
        out.put_u32(content_len);
        out.put_slice(self.class);
        out.put_slice(self.headers);
        out.put_slice(self.content);
        if self.version.has_crc() {
            out.put_u32(crc32fast::hash(&out));
        }
        Ok(out.freeze())
    }
}

fn too_long(part: &'static str, bytes: &[u8], max: u64) -> TooLong {
    TooLong {
        part,
        len: bytes.len(),
        max,
    }
}

/// A header section from its pairs, in the order given.
pub fn encode_headers<K, V>(pairs: impl IntoIterator<Item = (K, V)>) -> Vec<u8>
where
    K: AsRef<[u8]>,
    V: AsRef<[u8]>,
{
    let mut out = Vec::new();
    for (key, value) in pairs {
        for text in [key.as_ref(), value.as_ref()] {
            // A text longer than this makes the section longer than `Build::encode` accepts.
            let len = i32::try_from(text.len()).unwrap_or(i32::MAX);
            out.extend_from_slice(&len.to_be_bytes());
            out.extend_from_slice(text);
        }
    }
    out
}

/// A heartbeat as SOFABolt 1.6.11 writes it: time-out -1, all parts empty, CRC off.
pub fn heartbeat(version: Version, id: u32) -> Bytes {
    empty(version, Command::Request { timeout_ms: -1 }, id)
}

/// The answer to a heartbeat.
pub fn heartbeat_ack(version: Version, id: u32) -> Bytes {
    let status = status::SUCCESS;
    empty(version, Command::Response { status }, id)
}

fn empty(version: Version, command: Command, id: u32) -> Bytes {
    let version = match version {
        Version::V1 => Version::V1,
        Version::V2 { ver1, .. } => Version::V2 { ver1, switch: 0 },
    };
    Build {
        version,
        command,
        cmdcode: cmdcode::HEARTBEAT,
        id,
        codec: 1,
        class: b"",
        headers: b"",
        content: b"",
    }
    .encode()
    .unwrap_or_default() // Empty parts fit their length fields.
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn heartbeats_as_seen_on_the_wire() {
        assert_eq!(
            hex(&heartbeat(Version::V1, 2)),
            "01010000010000000201ffffffff0000000000000000"
        );
        assert_eq!(
            hex(&heartbeat(Version::V2_CRC, 2)),
            "020201000001000000020100ffffffff0000000000000000"
        );
        assert_eq!(
            hex(&heartbeat_ack(Version::V1, 2)),
            "0100000001000000020100000000000000000000"
        );
        assert_eq!(heartbeat_ack(Version::V2_PLAIN, 2).len(), 22);
    }

    #[test]
    fn a_part_that_does_not_fit_is_named() {
        let long = vec![b'a'; 65_536];
        let build = Build {
            version: Version::V1,
            command: Command::Request { timeout_ms: 1 },
            cmdcode: cmdcode::REQUEST,
            id: 1,
            codec: 1,
            class: &long,
            headers: b"",
            content: b"",
        };
        assert_eq!(build.encode().unwrap_err().part, "class");
        let build = Build {
            class: b"",
            headers: &long,
            ..build
        };
        assert_eq!(
            build.encode().unwrap_err().to_string(),
            "headers of 65536 bytes does not fit its length field, which holds 65535"
        );
    }
}
