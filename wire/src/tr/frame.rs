//! The parts of a frame, and the frame under another id.

use std::ops::Range;

use bytes::Bytes;

use super::HEARTBEAT_CLASS;
use super::connection;
use super::head::{Direction, Flag, Head, Malformed, Step};
use crate::protocol::{self, Kind, NotAFrame, Protocol, RequestId};

/// Where the parts of a frame lie; ranges count from its first byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parts {
    /// The fixed part.
    pub head: Head,
    /// The connection object.
    pub connection: Range<usize>,
    /// The id: a Java long, as its two's complement.
    pub id: RequestId,
    /// The bytes of the id, within the connection object.
    pub id_at: Range<usize>,
    /// Result code, of a response; 0 is success.
    pub result: Option<i32>,
    /// Class name of the content.
    pub class: Range<usize>,
    /// The content: the serialized object.
    pub content: Range<usize>,
    /// What the frame is.
    pub kind: Kind,
}

/// What the front of some bytes is, down to the content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Front {
    /// A frame; its content may reach behind the bytes that are there.
    Parts(Parts),
    /// So far a frame; to tell more, this many bytes in all are needed.
    Need(usize),
    /// No frame.
    Malformed(Malformed),
}

impl Parts {
    /// Reads the front of `input`: head, connection object and class must be there, the content
    /// need not.
    #[inline]
    pub fn front(input: &[u8]) -> Front {
        let head = match Head::parse(input) {
            Step::Head(head) => head,
            Step::Need(needed) => return Front::Need(needed),
            Step::Malformed(why) => return Front::Malformed(why),
        };
        let class_end = head.front_len();
        let class_start = class_end - usize::from(head.class_len);
        let connection = Head::BYTES..class_start;
        let (Some(object), Some(class)) = (
            input.get(connection.clone()),
            input.get(class_start..class_end),
        ) else {
            return Front::Need(class_end);
        };
        let Some(found) = connection::find(object, head.flag) else {
            return Front::Malformed(Malformed::NoId);
        };
        let is_heartbeat = class == HEARTBEAT_CLASS.as_bytes();
        let kind = match (head.flag, head.direction) {
            (Flag::Request, _) if is_heartbeat => Kind::Heartbeat,
            (Flag::Request, Direction::Oneway) => Kind::Oneway,
            (Flag::Request, Direction::Twoway) => Kind::Request,
            (Flag::Response, _) if is_heartbeat => Kind::HeartbeatAck,
            (Flag::Response, _) => Kind::Response,
        };
        Front::Parts(Parts {
            connection,
            id: found.id,
            id_at: Head::BYTES + found.id_at.start..Head::BYTES + found.id_at.end,
            result: found.result,
            class: class_start..class_end,
            // On machines of 64 bits this never saturates.
            content: class_end..class_end.saturating_add(head.content_len as usize),
            kind,
            head,
        })
    }

    /// Finds the parts of `bytes`, which must be exactly one frame.
    pub fn of(bytes: &[u8]) -> Result<Parts, NotAFrame> {
        let length = |say| NotAFrame::Length {
            have: bytes.len(),
            say,
        };
        let parts = match Parts::front(bytes) {
            Front::Parts(parts) => parts,
            Front::Need(needed) => return Err(length(needed as u64)),
            Front::Malformed(why) => return Err(why.into()),
        };
        if parts.head.frame_len() != bytes.len() as u64 {
            return Err(length(parts.head.frame_len()));
        }
        Ok(parts)
    }
}

impl From<&Parts> for protocol::Head {
    #[inline]
    fn from(parts: &Parts) -> Self {
        protocol::Head {
            protocol: Protocol::Tr,
            kind: parts.kind,
            id: parts.id,
            len: parts.head.frame_len(),
            codec: parts.head.serializer,
            // It stands in the content: see [`super::call`].
            timeout_ms: None,
            status: parts
                .result
                .map(|result| u16::try_from(result).unwrap_or(u16::MAX)),
        }
    }
}

/// Appends `frame` under another id to `out`; `parts` must be those of the frame. Length of the
/// connection object and id change, all else is copied as it is.
///
/// Returns how many bytes were appended: nothing where `parts` are not those of the frame.
#[inline]
pub fn append_with_id(frame: &[u8], parts: &Parts, id: RequestId, out: &mut Vec<u8>) -> usize {
    let mut buffer = [0; 9];
    let id = encode_long(id.0 as i64, &mut buffer);
    let connection_len = parts
        .connection
        .len()
        .checked_sub(parts.id_at.len())
        .and_then(|rest| u32::try_from(rest + id.len()).ok());
    let (Some(start), Some(middle), Some(end), Some(connection_len)) = (
        frame.get(..5),
        frame.get(9..parts.id_at.start),
        frame.get(parts.id_at.end..),
        connection_len,
    ) else {
        return 0;
    };
    let before = out.len();
    out.reserve(frame.len() + id.len());
    out.extend_from_slice(start);
    out.extend_from_slice(&connection_len.to_be_bytes());
    out.extend_from_slice(middle);
    out.extend_from_slice(id);
    out.extend_from_slice(end);
    out.len() - before
}

/// The same frame under another id; bytes that are not one frame come back as they are.
pub fn with_id(frame: &Bytes, id: RequestId) -> Bytes {
    let Ok(parts) = Parts::of(frame) else {
        return frame.clone();
    };
    let mut out = Vec::new();
    append_with_id(frame, &parts, id, &mut out);
    out.into()
}

/// A long in its shortest form, as `com.alipay.sofa:hessian` 3.5.5 writes it.
#[inline]
pub(super) fn encode_long(value: i64, buffer: &mut [u8; 9]) -> &[u8] {
    let [b0, b1, b2, b3, b4, b5, b6, b7] = value.to_be_bytes();
    let len = match value {
        -0x08..=0x0f => {
            buffer[0] = 0xe0_u8.wrapping_add(b7);
            1
        }
        -0x800..=0x7ff => {
            buffer[0] = 0xf8_u8.wrapping_add(b6);
            buffer[1] = b7;
            2
        }
        -0x4_0000..=0x3_ffff => {
            buffer[0] = 0x3c_u8.wrapping_add(b5);
            buffer[1] = b6;
            buffer[2] = b7;
            3
        }
        -0x8000_0000..=0x7fff_ffff => {
            *buffer = [0x77, b4, b5, b6, b7, 0, 0, 0, 0];
            5
        }
        _ => {
            *buffer = [b'L', b0, b1, b2, b3, b4, b5, b6, b7];
            9
        }
    };
    buffer.get(..len).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::super::{Build, Connection, heartbeat, heartbeat_ack};
    use super::*;
    use crate::hessian::Writer;

    fn sample(id: u64) -> Bytes {
        Build {
            connection: Connection::Request {
                id: RequestId(id),
                direction: Direction::Twoway,
            },
            class: b"com.example.Order",
            content: b"content",
        }
        .encode()
        .unwrap()
    }

    /// Ids around every length of a Hessian long.
    const IDS: [i64; 22] = [
        0,
        1,
        -8,
        -9,
        15,
        16,
        -2048,
        -2049,
        2047,
        2048,
        262_143,
        262_144,
        -262_144,
        -262_145,
        1 << 31,
        (1 << 31) - 1,
        -(1 << 31),
        -(1 << 31) - 1,
        1 << 40,
        i64::MAX,
        i64::MIN,
        0xffff_ffff,
    ];

    #[test]
    fn longs_are_those_of_the_writer() {
        for id in IDS {
            let mut writer = Writer::new();
            writer.long(id);
            assert_eq!(encode_long(id, &mut [0; 9]), writer.bytes(), "{id}");
        }
    }

    #[test]
    fn any_id_takes_the_place_of_any_other() {
        for from in IDS {
            let frame = sample(from as u64);
            let parts = Parts::of(&frame).unwrap();
            assert_eq!(parts.id, RequestId(from as u64));
            assert_eq!(&frame[parts.class.clone()], b"com.example.Order");
            assert_eq!(&frame[parts.content.clone()], b"content");
            for to in IDS {
                let other = with_id(&frame, RequestId(to as u64));
                assert_eq!(other, sample(to as u64), "{from} to {to}");
            }
        }
    }

    #[test]
    fn an_object_in_another_order_is_read_by_its_names() {
        let mut writer = Writer::new();
        let fields = ["ctx", "errorStack", "result", "host", "errorMsg", "more"];
        writer.object("com.taobao.remoting.impl.ConnectionResponse", &fields);
        writer.object("com.example.Context", &["this$0", "other", "id"]);
        writer.reference(0).string("x").long(70_000);
        writer.null().int(-3).string("10.1.2.3:12200").null();
        writer.string("more");
        let object = writer.finish();
        let mut frame = vec![13, 1, 4, 2, 0, 0, 0, 0, object.len() as u8, 0, 0, 0, 0, 0];
        frame.extend_from_slice(&object);
        let frame = Bytes::from(frame);
        let parts = Parts::of(&frame).unwrap();
        assert_eq!(parts.id, RequestId(70_000));
        assert_eq!((parts.result, parts.kind), (Some(-3), Kind::Response));
        let other = with_id(&frame, RequestId(5));
        assert_eq!(other.len(), frame.len() - 2);
        assert_eq!(Parts::of(&other).unwrap().id, RequestId(5));
        assert_eq!(with_id(&other, RequestId(70_000)), frame);
        let answer = super::super::answer(&object).unwrap();
        assert_eq!(answer.host.as_deref(), Some("10.1.2.3:12200"));
        assert_eq!(answer.result, -3);
    }

    #[test]
    fn heartbeats() {
        let frame = heartbeat(RequestId(1));
        assert_eq!(frame.len(), 234);
        assert_eq!(Parts::of(&frame).unwrap().kind, Kind::Heartbeat);
        let ack = heartbeat_ack(RequestId(1), "10.15.232.248:12299");
        assert_eq!(ack.len(), 292);
        let parts = Parts::of(&ack).unwrap();
        assert_eq!((parts.kind, parts.result), (Kind::HeartbeatAck, Some(0)));
    }

    #[test]
    fn a_front_cut_anywhere_asks_for_more() {
        let frame = sample(1 << 40);
        let content = frame.len() - 7;
        for len in 0..frame.len() {
            match Parts::front(&frame[..len]) {
                Front::Need(needed) => assert!(len < needed && needed <= content),
                Front::Parts(parts) => {
                    assert!(len >= content);
                    assert_eq!(parts.content, content..frame.len());
                }
                Front::Malformed(why) => panic!("{len}: {why}"),
            }
        }
    }

    #[test]
    fn a_connection_object_without_an_id_is_no_frame() {
        let mut frame = sample(1).to_vec();
        frame[14] = b'N';
        assert_eq!(Parts::front(&frame), Front::Malformed(Malformed::NoId));
        let frame = Bytes::from(frame);
        assert_eq!(with_id(&frame, RequestId(9)), frame);
    }
}
