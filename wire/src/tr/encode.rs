//! A frame made from its parts.

use bytes::Bytes;

use super::connection::{END, REQUEST_START, RESPONSE_CONTEXT, RESPONSE_START};
use super::frame::encode_long;
use super::head::{Direction, Flag, serializer};
use super::{CONNECTION_BYTES_MAX, HEARTBEAT_CLASS};
use crate::bolt;
use crate::hessian::Writer;
use crate::protocol::RequestId;

pub use bolt::TooLong;

/// The connection object of a frame to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Connection<'a> {
    /// A `ConnectionRequest`.
    Request {
        /// The id, as the two's complement of a Java long.
        id: RequestId,
        /// Whether an answer is expected.
        direction: Direction,
    },
    /// A `ConnectionResponse`.
    Response {
        /// The id of the request.
        id: RequestId,
        /// `IP:PORT` of the server.
        host: &'a str,
        /// 0 is success.
        result: i32,
        /// Null in every real response seen.
        error_message: Option<&'a str>,
        /// Null in every real response seen.
        error_stack: Option<&'a str>,
    },
}

/// The parts of a frame to be. Lengths follow from them; the serializer is Hessian 2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Build<'a> {
    /// Flag, direction, id and what a response says.
    pub connection: Connection<'a>,
    /// Class name of the content, up to 255 bytes.
    pub class: &'a [u8],
    /// The serialized object, up to 4 GiB - 1.
    pub content: &'a [u8],
}

impl Build<'_> {
    /// The frame's bytes.
    pub fn encode(&self) -> Result<Bytes, TooLong> {
        let mut out = Vec::with_capacity(256 + self.class.len() + self.content.len());
        self.append(&mut out)?;
        Ok(out.into())
    }

    /// Appends the frame to `out`, which stays as it is where a part is too long.
    pub fn append(&self, out: &mut Vec<u8>) -> Result<(), TooLong> {
        let class_len = u8::try_from(self.class.len())
            .map_err(|_| too_long("class", self.class.len(), u8::MAX.into()))?;
        let content_len = u32::try_from(self.content.len())
            .map_err(|_| too_long("content", self.content.len(), u32::MAX.into()))?;
        let start = out.len();
        let (flag, direction) = match self.connection {
            Connection::Request { direction, .. } => (Flag::Request, direction),
            Connection::Response { .. } => (Flag::Response, Direction::Twoway),
        };
        out.extend_from_slice(&[
            13,
            flag.code(),
            serializer::HESSIAN2,
            direction.code(),
            0,
            0,
            0,
            0,
            0,
            class_len,
        ]);
        out.extend_from_slice(&content_len.to_be_bytes());
        let object = out.len();
        self.connection.append(out);
        let connection_len = match u32::try_from(out.len() - object) {
            Ok(len) if len <= CONNECTION_BYTES_MAX => len,
            _ => {
                let len = out.len() - object;
                out.truncate(start);
                return Err(too_long("connection", len, CONNECTION_BYTES_MAX.into()));
            }
        };
        if let Some(field) = out.get_mut(start + 5..start + 9) {
            field.copy_from_slice(&connection_len.to_be_bytes());
        }
        out.extend_from_slice(self.class);
        out.extend_from_slice(self.content);
        Ok(())
    }
}

impl Connection<'_> {
    /// Appends the object alone, as `com.alipay.sofa:hessian` 3.5.5 writes it.
    fn append(&self, out: &mut Vec<u8>) {
        let id = match *self {
            Connection::Request { id, .. } => {
                out.extend_from_slice(REQUEST_START);
                id
            }
            Connection::Response {
                id,
                host,
                result,
                error_message,
                error_stack,
            } => {
                out.extend_from_slice(RESPONSE_START);
                let mut fields = Writer::new();
                fields
                    .string(host)
                    .int(result)
                    .string_or_null(error_message)
                    .string_or_null(error_stack);
                out.extend_from_slice(fields.bytes());
                out.extend_from_slice(RESPONSE_CONTEXT);
                id
            }
        };
        out.extend_from_slice(encode_long(id.0 as i64, &mut [0; 9]));
        out.extend_from_slice(END);
    }
}

fn too_long(part: &'static str, len: usize, max: u64) -> TooLong {
    TooLong { part, len, max }
}

/// The content of a heartbeat, an object without fields (inferred: only its class is known).
const HEARTBEAT: &[u8] = b"O\xbccom.taobao.remoting.impl.ConnectionHeartBeat\x90o\x90";

/// A heartbeat.
pub fn heartbeat(id: RequestId) -> Bytes {
    beat(Connection::Request {
        id,
        direction: Direction::Twoway,
    })
}

/// The answer to a heartbeat; `host` is `IP:PORT` of who answers.
pub fn heartbeat_ack(id: RequestId, host: &str) -> Bytes {
    beat(Connection::Response {
        id,
        host,
        result: 0,
        error_message: None,
        error_stack: None,
    })
}

fn beat(connection: Connection<'_>) -> Bytes {
    Build {
        connection,
        class: HEARTBEAT_CLASS.as_bytes(),
        content: HEARTBEAT,
    }
    .encode()
    .unwrap_or_default() // Fits, unless the host has more than 200,000 characters.
}
