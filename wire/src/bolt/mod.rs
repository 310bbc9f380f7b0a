//! BOLT v1 and v2 of SOFABolt.
//!
//! - [`Head`]: the fixed part of a frame, read by the frame's own first byte.
//! - [`Parts`]: where class, header map, content and CRC lie in a frame.
//! - [`HeaderMap`]: the header section as ordered pairs with byte ranges.
//! - [`Build`]: a frame made from its parts.
//!
//! Facts are those of SOFABolt 1.6.11 and SOFARPC 5.13.2, seen on the wire.

mod encode;
mod frame;
mod head;
mod headers;

pub use encode::{Build, TooLong, encode_headers, heartbeat, heartbeat_ack};
pub use frame::Parts;
pub(crate) use frame::with_id;

pub use crate::protocol::NotAFrame;
pub use head::{Command, Head, Malformed, Step, Version, cmdcode, status};
pub use headers::{Damage, Entry, HeaderMap};
