//! The fixed part of a frame.

use crate::protocol::{self, Kind, Protocol, RequestId};

/// Command codes: what a frame is for. The type byte says whether it asks or answers.
pub mod cmdcode {
    /// A heartbeat or its answer.
    pub const HEARTBEAT: u16 = 0;
    /// A request or a one-way.
    pub const REQUEST: u16 = 1;
    /// A response.
    pub const RESPONSE: u16 = 2;
    /// MOSN's notice to open nothing further on this connection.
    pub const GOAWAY: u16 = 100;
}

/// Status codes of responses (SOFABolt's `ResponseStatus`).
///
/// 7 (time-out) is made inside the client and never stands in a frame; a missing processor is
/// answered with [`status::SERVER_EXCEPTION`], not with 6.
pub mod status {
    /// Success, also of an answer that carries a business exception.
    pub const SUCCESS: u16 = 0x00;
    /// Unspecified error.
    pub const ERROR: u16 = 0x01;
    /// The processor threw, or there is none for the class.
    pub const SERVER_EXCEPTION: u16 = 0x02;
    /// Unknown.
    pub const UNKNOWN: u16 = 0x03;
    /// The server's thread pool is full.
    pub const SERVER_THREADPOOL_BUSY: u16 = 0x04;
    /// The server could not be reached.
    pub const ERROR_COMM: u16 = 0x05;
    /// No processor.
    pub const NO_PROCESSOR: u16 = 0x06;
    /// Time-out.
    pub const TIMEOUT: u16 = 0x07;
    /// The client could not send.
    pub const CLIENT_SEND_ERROR: u16 = 0x08;
    /// Encoding or decoding failed.
    pub const CODEC_EXCEPTION: u16 = 0x09;
    /// The connection was closed.
    pub const CONNECTION_CLOSED: u16 = 0x10;
    /// The server could not encode its answer.
    pub const SERVER_SERIAL_EXCEPTION: u16 = 0x11;
    /// The server could not decode the body.
    pub const SERVER_DESERIAL_EXCEPTION: u16 = 0x12;

    /// The name used in every output; `None` where the code is not known.
    pub fn name(status: u16) -> Option<&'static str> {
        Some(match status {
            SUCCESS => "success",
            ERROR => "error",
            SERVER_EXCEPTION => "server-exception",
            UNKNOWN => "unknown",
            SERVER_THREADPOOL_BUSY => "server-threadpool-busy",
            ERROR_COMM => "error-comm",
            NO_PROCESSOR => "no-processor",
            TIMEOUT => "timeout",
            CLIENT_SEND_ERROR => "client-send-error",
            CODEC_EXCEPTION => "codec-exception",
            CONNECTION_CLOSED => "connection-closed",
            SERVER_SERIAL_EXCEPTION => "server-serial-exception",
            SERVER_DESERIAL_EXCEPTION => "server-deserial-exception",
            _ => return None,
        })
    }
}

/// The version of one frame. It may change from frame to frame; the first frame of a connection
/// decides which one the server answers in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Version {
    /// Protocol code 1.
    V1,
    /// Protocol code 2.
    V2 {
        /// 1 or 2. With 1 there is never a CRC, whatever the switch says.
        ver1: u8,
        /// The switch byte; bit 0 asks for a CRC.
        switch: u8,
    },
}

impl Version {
    /// v2 as SOFABolt writes it with its CRC on.
    pub const V2_CRC: Version = Version::V2 { ver1: 2, switch: 1 };
    /// v2 as SOFABolt writes it with its CRC off.
    pub const V2_PLAIN: Version = Version::V2 { ver1: 2, switch: 0 };

    /// Whether a frame of this version ends in a CRC: only where `ver1 == 2` and bit 0 of the
    /// switch is set.
    pub fn has_crc(self) -> bool {
        matches!(self, Version::V2 { ver1: 2, switch } if switch & 1 == 1)
    }

    /// The protocol that it belongs to.
    pub fn protocol(self) -> Protocol {
        match self {
            Version::V1 => Protocol::BoltV1,
            Version::V2 { .. } => Protocol::BoltV2,
        }
    }

    /// By how much v2 shifts the fields behind its `ver1` byte.
    fn shift(self) -> usize {
        match self {
            Version::V1 => 0,
            Version::V2 { .. } => 1,
        }
    }
}

/// The type byte, with the field that only this type has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Command {
    /// Type 0.
    Response {
        /// See [`status`].
        status: u16,
    },
    /// Type 1.
    Request {
        /// Signed: heartbeats carry -1.
        timeout_ms: i32,
    },
    /// Type 2.
    Oneway {
        /// Signed: SOFABolt writes -1.
        timeout_ms: i32,
    },
}

impl Command {
    /// The byte on the wire.
    pub fn code(self) -> u8 {
        match self {
            Command::Response { .. } => 0,
            Command::Request { .. } => 1,
            Command::Oneway { .. } => 2,
        }
    }
}

/// The fixed part of a frame, field by field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Protocol code, `ver1` and switch.
    pub version: Version,
    /// Type, and time-out or status.
    pub command: Command,
    /// See [`cmdcode`].
    pub cmdcode: u16,
    /// 1 in every frame seen.
    pub ver2: u8,
    /// Pairs an answer with its request, within one direction of one connection.
    pub id: u32,
    /// The serializer; 1 is Hessian.
    pub codec: u8,
    /// Length of the class name in bytes.
    pub class_len: u16,
    /// Length of the header section in bytes.
    pub header_len: u16,
    /// Length of the content in bytes.
    pub content_len: u32,
}

/// What the front of some bytes is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// A head; the frame goes on for [`Head::frame_len`] bytes.
    Head(Head),
    /// So far a head, of this many bytes in all.
    Need(usize),
    /// No head.
    Malformed(Malformed),
}

/// Why bytes are no head. Offsets count from the frame's first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Malformed {
    /// TR (13) and TLS (22) are seen here when a client mixes up its ports.
    #[error("protocol code {0} at byte 0, expected 1 or 2")]
    Protocol(u8),
    /// SOFABolt knows two.
    #[error("version byte {0} at byte 1, expected 1 or 2")]
    Ver1(u8),
    /// Not a response, a request or a one-way.
    #[error("type {0}, expected 0, 1 or 2")]
    Type(u8),
    /// An unknown command is taken for a frame only where the rest is in order.
    #[error("command {cmdcode} of type {kind} with second version byte {ver2}")]
    Command {
        /// The command code.
        cmdcode: u16,
        /// The type byte.
        kind: u8,
        /// The second version byte, 1 in every real frame.
        ver2: u8,
    },
    /// More than [`crate::decoder::Limits::frame_bytes_max`].
    #[error("frame of {len} bytes exceeds the limit of {max}")]
    TooLong {
        /// What the lengths add up to.
        len: u64,
        /// The limit.
        max: u64,
    },
}

impl Head {
    /// The longest fixed part, that of a v2 request, in bytes.
    pub const BYTES_MAX: usize = 24;

    /// Reads the front of `input`. Says that bytes are no head as early as they show it.
    #[inline]
    pub fn parse(input: &[u8]) -> Step {
        match input {
            [] => Step::Need(20),
            [1, rest @ ..] => parse_rest(Version::V1, rest),
            [2] => Step::Need(22),
            [2, ver1 @ 1..=2, rest @ ..] => {
                // The switch stands behind type, command, ver2, id and codec.
                let switch = rest.get(9).copied().unwrap_or(0);
                parse_rest(
                    Version::V2 {
                        ver1: *ver1,
                        switch,
                    },
                    rest,
                )
            }
            [2, ver1, ..] => Step::Malformed(Malformed::Ver1(*ver1)),
            [other, ..] => Step::Malformed(Malformed::Protocol(*other)),
        }
    }

    /// Length of the fixed part in bytes: 20 to 24.
    #[inline]
    pub fn fixed_len(&self) -> usize {
        let v1 = match self.command {
            Command::Response { .. } => 20,
            Command::Request { .. } | Command::Oneway { .. } => 22,
        };
        v1 + 2 * self.version.shift()
    }

    /// Length of the whole frame in bytes, CRC included.
    #[inline]
    pub fn frame_len(&self) -> u64 {
        self.fixed_len() as u64
            + u64::from(self.class_len)
            + u64::from(self.header_len)
            + u64::from(self.content_len)
            + if self.version.has_crc() { 4 } else { 0 }
    }

    /// What the frame is, from type and command together.
    #[inline]
    pub fn kind(&self) -> Kind {
        kind_of(self.command.code(), self.cmdcode)
    }
}

impl From<&Head> for protocol::Head {
    #[inline]
    fn from(head: &Head) -> Self {
        let (timeout_ms, status) = match head.command {
            Command::Response { status } => (None, Some(status)),
            Command::Request { timeout_ms } | Command::Oneway { timeout_ms } => {
                (u32::try_from(timeout_ms).ok(), None)
            }
        };
        protocol::Head {
            protocol: head.version.protocol(),
            kind: head.kind(),
            id: RequestId(u64::from(head.id)),
            len: head.frame_len(),
            codec: head.codec,
            timeout_ms,
            status,
        }
    }
}

/// What type and command say together.
#[inline]
fn kind_of(kind: u8, cmdcode: u16) -> Kind {
    match (kind, cmdcode) {
        (1, cmdcode::REQUEST) => Kind::Request,
        (0, cmdcode::RESPONSE) => Kind::Response,
        (2, cmdcode::REQUEST) => Kind::Oneway,
        (1, cmdcode::HEARTBEAT) => Kind::Heartbeat,
        (0, cmdcode::HEARTBEAT) => Kind::HeartbeatAck,
        (1 | 2, cmdcode::GOAWAY) => Kind::Goaway,
        _ => Kind::Unknown,
    }
}

/// Reads from the type byte on. `version` holds a made-up switch while that byte is not there.
#[inline]
fn parse_rest(version: Version, rest: &[u8]) -> Step {
    let shift = version.shift();
    let before_type = 1 + shift;
    let Some(&kind) = rest.first() else {
        return Step::Need(20 + 2 * shift);
    };
    let middle = match kind {
        0 => 2,
        1 | 2 => 4,
        other => return Step::Malformed(Malformed::Type(other)),
    };
    // Type, command, ver2, id, codec; the switch in v2; time-out or status; three lengths.
    let needed = 9 + shift + middle + 8;
    if let &[_, c0, c1, ver2, ..] = rest {
        let cmdcode = u16::from_be_bytes([c0, c1]);
        if ver2 != 1 && kind_of(kind, cmdcode) == Kind::Unknown {
            return Step::Malformed(Malformed::Command {
                cmdcode,
                kind,
                ver2,
            });
        }
    }
    let Some(fixed) = rest.get(..needed) else {
        return Step::Need(before_type + needed);
    };
    let (&[_, c0, c1, ver2, i0, i1, i2, i3, codec], tail) =
        fixed.split_first_chunk().unwrap_or((&[0; 9], &[]));
    let tail = tail.get(shift..).unwrap_or(&[]);
    let (command, lengths) = match (kind, tail) {
        (0, [s0, s1, lengths @ ..]) => {
            let status = u16::from_be_bytes([*s0, *s1]);
            (Command::Response { status }, lengths)
        }
        (_, [t0, t1, t2, t3, lengths @ ..]) => {
            let timeout_ms = i32::from_be_bytes([*t0, *t1, *t2, *t3]);
            let command = match kind {
                1 => Command::Request { timeout_ms },
                _ => Command::Oneway { timeout_ms },
            };
            (command, lengths)
        }
        _ => return Step::Need(before_type + needed),
    };
    let &[l0, l1, h0, h1, b0, b1, b2, b3] = lengths else {
        return Step::Need(before_type + needed);
    };
    Step::Head(Head {
        version,
        command,
        cmdcode: u16::from_be_bytes([c0, c1]),
        ver2,
        id: u32::from_be_bytes([i0, i1, i2, i3]),
        codec,
        class_len: u16::from_be_bytes([l0, l1]),
        header_len: u16::from_be_bytes([h0, h1]),
        content_len: u32::from_be_bytes([b0, b1, b2, b3]),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(text: &str) -> Vec<u8> {
        let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
        digits
            .chunks(2)
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
            .collect()
    }

    #[track_caller]
    fn check(bytes: &str, kind: Kind, fixed: usize, frame: u64, crc: bool) -> Head {
        let bytes = hex(bytes);
        let Step::Head(head) = Head::parse(&bytes) else {
            panic!("{:?}", Head::parse(&bytes));
        };
        assert_eq!(
            (head.kind(), head.fixed_len(), head.frame_len()),
            (kind, fixed, frame)
        );
        assert_eq!(head.version.has_crc(), crc);
        // Every shorter input is a head that is not there yet, and asks for no more than that.
        for len in 0..fixed {
            let step = Head::parse(&bytes[..len]);
            assert!(
                matches!(step, Step::Need(n) if n > len && n <= fixed),
                "{len}: {step:?}"
            );
        }
        head
    }

    #[track_caller]
    fn refuse(bytes: &str, why: Malformed) {
        assert_eq!(Head::parse(&hex(bytes)), Step::Malformed(why));
    }

    #[test]
    fn every_kind_of_frame() {
        let v1_request = "01 01 0001 01 00000007 01 00000bb8 0008 0000 00000022";
        let head = check(v1_request, Kind::Request, 22, 64, false);
        assert_eq!(head.command, Command::Request { timeout_ms: 3000 });
        let generic = protocol::Head::from(&head);
        assert_eq!((generic.id, generic.timeout_ms), (RequestId(7), Some(3000)));

        let v1_response = "01 00 0002 01 00000007 01 0002 0034 0000 00000485";
        let head = check(v1_response, Kind::Response, 20, 1229, false);
        assert_eq!(protocol::Head::from(&head).status, Some(2));

        let oneway = "01 02 0001 01 00000001 01 ffffffff 0008 0000 00000001";
        let head = check(oneway, Kind::Oneway, 22, 31, false);
        assert_eq!(head.command, Command::Oneway { timeout_ms: -1 });
        assert_eq!(protocol::Head::from(&head).timeout_ms, None);

        let v2_crc = "02 02 01 0001 01 00000001 01 01 00000bb8 0008 0000 00000027";
        check(v2_crc, Kind::Request, 24, 75, true);
        let ver1_with_switch = "02 01 01 0001 01 00000001 01 01 00000bb8 0008 0000 00000027";
        check(ver1_with_switch, Kind::Request, 24, 71, false);
        let switch_off = "02 02 00 0002 01 00000001 01 00 0002 0008 0000 00000027";
        check(switch_off, Kind::Response, 22, 69, false);
        let other_switch_bits = "02 02 00 0002 01 00000001 01 fe 0002 0008 0000 00000027";
        check(other_switch_bits, Kind::Response, 22, 69, false);

        let heartbeat = "01 01 0000 01 00000002 01 ffffffff 0000 0000 00000000";
        check(heartbeat, Kind::Heartbeat, 22, 22, false);
        let ack = "02 02 00 0000 01 00000002 01 00 0000 0000 0000 00000000";
        check(ack, Kind::HeartbeatAck, 22, 22, false);
        let goaway = "01 01 0064 01 00000009 01 00000000 0000 0000 00000000";
        check(goaway, Kind::Goaway, 22, 22, false);
        let unknown = "01 01 0063 01 00000009 01 00000000 0000 0000 00000000";
        check(unknown, Kind::Unknown, 22, 22, false);
    }

    #[test]
    fn the_largest_lengths_do_not_overflow() {
        let bytes = "02 02 01 0001 01 00000001 01 01 00000bb8 ffff ffff ffffffff";
        check(
            bytes,
            Kind::Request,
            24,
            24 + 2 * 65_535 + 4_294_967_295 + 4,
            true,
        );
    }

    #[test]
    fn what_is_no_head_is_said_early() {
        refuse("0d", Malformed::Protocol(13));
        refuse("16 03 01", Malformed::Protocol(22));
        refuse("00", Malformed::Protocol(0));
        refuse("02 03", Malformed::Ver1(3));
        refuse("01 03", Malformed::Type(3));
        refuse("02 01 ff", Malformed::Type(255));
        let why = Malformed::Command {
            cmdcode: 0x6361,
            kind: 1,
            ver2: 0x6c,
        };
        refuse("01 01 6361 6c", why);
    }
}
