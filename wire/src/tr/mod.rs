//! TR, the older RPC protocol (protocol code 13), whose request id lies within a Hessian object.
//!
//! - [`Head`]: the 14 bytes that every frame begins with.
//! - [`Parts`]: where connection object, class and content lie, and the id with its place.
//! - [`append_with_id`], [`with_id`]: the same frame under another id. The id's encoding may get
//!   longer or shorter, the frame with it; all else stays as it came.
//! - [`Build`]: a frame made from its parts, as the real serializer writes it.
//! - [`call`]: service and method of a request without reading its arguments.
//!
//! Certain are the layout of a request and of the connection objects (bytes of real TR in the
//! tests of an early MOSN, before 2018-07-17, read and written again byte for byte by
//! `com.alipay.sofa:hessian` 3.5.5); inferred are the body of a heartbeat, the class of its
//! answer, that a response's content is a `SofaResponse`, and result codes other than 0.

mod call;
mod connection;
mod encode;
mod frame;
mod head;

pub(crate) use call::milliseconds;

pub use call::{Call, call};
pub use connection::{Answer, answer};
pub use encode::{Build, Connection, TooLong, heartbeat, heartbeat_ack};
pub use frame::{Front, Parts, append_with_id, with_id};
pub use head::{Direction, Flag, Head, Malformed, Step, serializer};

/// Class of a heartbeat's content, and (inferred) of its answer's.
pub const HEARTBEAT_CLASS: &str = "com.taobao.remoting.impl.ConnectionHeartBeat";

/// Longest connection object that is read, in bytes. Real ones have some 130 to 190; one that
/// carries an exception's stack is longer.
pub const CONNECTION_BYTES_MAX: u32 = 256 << 10;

/// Whether the quick ways of reading a frame find what the thorough ones do.
pub(crate) fn reads_alike(frame: &[u8], parts: &Parts) -> bool {
    let part = |range: &std::ops::Range<usize>| frame.get(range.clone()).unwrap_or_default();
    connection::agrees(part(&parts.connection), parts.head.flag)
        && call::agrees(part(&parts.content))
}
