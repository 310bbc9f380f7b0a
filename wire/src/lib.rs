//! Codecs of the RPC protocols that run through a service mesh.
//!
//! Bytes go in, values come out: nothing here opens a socket, reads a file or looks at a clock.
//!
//! - [`protocol`]: the vocabulary that all protocols share ([`Head`], [`Frame`], [`Kind`]).
//! - [`decoder`]: a stream's bytes become heads and frames; after a gap it finds the next frame.
//! - [`detect`]: which protocol a stream speaks, by content and never by port.
//! - [`bolt`]: BOLT v1 and v2 of SOFABolt.
//! - [`hessian`]: Hessian in the dialect of SOFA, as a tree with byte ranges.
//! - [`sofarpc`]: what SOFARPC puts on top: service, method, apps, trace id, baggage.
//! - [`tr`]: TR, the older protocol.
//! - [`http`], [`mesh_api`]: HTTP/1.1 messages, and the sidecar's application API on top of them.
//! - [`registry`]: what is said to the reference config center.
//! - [`address`]: addresses and VIP names, parsed in one place for everybody.
//! - [`check`]: properties that hold for any bytes, for tests and fuzz targets.
//!
//! **Invariant:** what is not changed is kept as the bytes it came in.

pub mod address;
pub mod bolt;
pub mod check;
pub mod decoder;
pub mod detect;
mod frame;
pub mod hessian;
pub mod http;
pub mod mesh_api;
pub mod protocol;
pub mod registry;
pub mod sofarpc;
pub mod tr;

pub use protocol::{Crc, Frame, Head, Kind, NotAFrame, Protocol, RequestId};
