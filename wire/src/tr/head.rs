//! The 14 bytes that every frame begins with.

use super::CONNECTION_BYTES_MAX;

/// Codes of the serializer, at byte 2.
pub mod serializer {
    /// The first Hessian.
    pub const HESSIAN: u8 = 1;
    /// Java's own.
    pub const JAVA: u8 = 2;
    /// TOP.
    pub const TOP: u8 = 3;
    /// Hessian in the dialect of SOFA: the one that was seen.
    pub const HESSIAN2: u8 = 4;
}

/// Byte 1. The opposite of BOLT's type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Flag {
    /// 0.
    Request,
    /// 1.
    Response,
}

/// Byte 3.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// 1: no answer is expected.
    Oneway,
    /// 2: one is.
    Twoway,
}

impl Direction {
    /// The byte on the wire.
    pub fn code(self) -> u8 {
        match self {
            Direction::Oneway => 1,
            Direction::Twoway => 2,
        }
    }
}

impl Flag {
    /// The byte on the wire.
    pub fn code(self) -> u8 {
        match self {
            Flag::Request => 0,
            Flag::Response => 1,
        }
    }
}

/// The fixed part of a frame, field by field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Asks or answers.
    pub flag: Flag,
    /// See [`serializer`].
    pub serializer: u8,
    /// Whether an answer is expected.
    pub direction: Direction,
    /// 0 in every frame seen.
    pub reserved: u8,
    /// Length of the connection object in bytes, up to [`CONNECTION_BYTES_MAX`].
    pub connection_len: u32,
    /// Length of the content's class name in bytes.
    pub class_len: u8,
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

/// Why bytes are no frame. Offsets count from the frame's first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Malformed {
    /// Another protocol.
    #[error("protocol code {0} at byte 0, expected 13")]
    Protocol(u8),
    /// Neither a request nor a response.
    #[error("flag {0} at byte 1, expected 0 or 1")]
    Flag(u8),
    /// Four are known.
    #[error("serializer {0} at byte 2, expected 1 to 4")]
    Serializer(u8),
    /// Neither a one-way nor one that is answered.
    #[error("direction {0} at byte 3, expected 1 or 2")]
    Direction(u8),
    /// See [`CONNECTION_BYTES_MAX`].
    #[error("connection object of {len} bytes exceeds the limit of {max}")]
    ConnectionTooLong {
        /// Its length.
        len: u32,
        /// The limit.
        max: u32,
    },
    /// The connection object is no Hessian, or has no `ctx.id` that is a number.
    #[error("no request id in the connection object")]
    NoId,
}

impl Head {
    /// Length of the fixed part in bytes.
    pub const BYTES: usize = 14;

    /// Reads the front of `input`. Says that bytes are no head as early as they show it.
    #[inline]
    pub fn parse(input: &[u8]) -> Step {
        let Some(fixed) = input.first_chunk::<{ Head::BYTES }>() else {
            return match early(input) {
                Some(why) => Step::Malformed(why),
                None => Step::Need(Head::BYTES),
            };
        };
        let &[
            _,
            flag,
            serializer,
            direction,
            reserved,
            n0,
            n1,
            n2,
            n3,
            class_len,
            c0,
            c1,
            c2,
            c3,
        ] = fixed;
        if let Some(why) = early(fixed) {
            return Step::Malformed(why);
        }
        let connection_len = u32::from_be_bytes([n0, n1, n2, n3]);
        if connection_len > CONNECTION_BYTES_MAX {
            return Step::Malformed(Malformed::ConnectionTooLong {
                len: connection_len,
                max: CONNECTION_BYTES_MAX,
            });
        }
        Step::Head(Head {
            flag: if flag == 0 {
                Flag::Request
            } else {
                Flag::Response
            },
            serializer,
            direction: if direction == 1 {
                Direction::Oneway
            } else {
                Direction::Twoway
            },
            reserved,
            connection_len,
            class_len,
            content_len: u32::from_be_bytes([c0, c1, c2, c3]),
        })
    }

    /// Length of what stands before the content, in bytes: fixed part, connection object, class.
    #[inline]
    pub fn front_len(&self) -> usize {
        // Bounded by `CONNECTION_BYTES_MAX` and a byte's range.
        Head::BYTES + self.connection_len as usize + usize::from(self.class_len)
    }

    /// Length of the whole frame in bytes.
    #[inline]
    pub fn frame_len(&self) -> u64 {
        self.front_len() as u64 + u64::from(self.content_len)
    }
}

/// What the first four bytes, as many as are there, say against a head.
#[inline]
fn early(input: &[u8]) -> Option<Malformed> {
    let wrong = |at: usize, ok: std::ops::RangeInclusive<u8>| {
        input.get(at).copied().filter(|byte| !ok.contains(byte))
    };
    if let Some(code) = wrong(0, 13..=13) {
        return Some(Malformed::Protocol(code));
    }
    if let Some(flag) = wrong(1, 0..=1) {
        return Some(Malformed::Flag(flag));
    }
    if let Some(code) = wrong(2, 1..=4) {
        return Some(Malformed::Serializer(code));
    }
    wrong(3, 1..=2).map(Malformed::Direction)
}

#[cfg(test)]
mod tests {
    use super::*;

    const REQUEST: [u8; 14] = [13, 0, 4, 2, 0, 0, 0, 0, 0x7f, 0x2c, 0, 0, 1, 0x85];

    #[test]
    fn a_request_as_seen_on_the_wire() {
        let Step::Head(head) = Head::parse(&REQUEST) else {
            panic!("a head");
        };
        assert_eq!(
            (head.flag, head.direction),
            (Flag::Request, Direction::Twoway)
        );
        assert_eq!((head.front_len(), head.frame_len()), (185, 574));
        for len in 0..14 {
            assert_eq!(Head::parse(&REQUEST[..len]), Step::Need(14));
        }
    }

    #[track_caller]
    fn refuse(at: usize, byte: u8, expect: Malformed) {
        let mut bytes = REQUEST;
        bytes[at] = byte;
        for len in at + 1..=14 {
            if at < 4 || len == 14 {
                assert_eq!(Head::parse(&bytes[..len]), Step::Malformed(expect), "{len}");
            }
        }
    }

    #[test]
    fn what_is_no_head_is_said_early() {
        refuse(0, 1, Malformed::Protocol(1));
        refuse(1, 2, Malformed::Flag(2));
        refuse(2, 0, Malformed::Serializer(0));
        refuse(2, 5, Malformed::Serializer(5));
        refuse(3, 0, Malformed::Direction(0));
        let len = 0xff00_007f;
        let max = CONNECTION_BYTES_MAX;
        refuse(5, 0xff, Malformed::ConnectionTooLong { len, max });
    }
}
