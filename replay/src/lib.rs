//! Captures become exchanges, a rewritten capture, a replay and a difference.
//!
//! The modules follow the data:
//! `capture → packet → stream → exchange → rewrite, audit → engine → diff`.
//!
//! - [`capture`]: files, globs, folders and rotated parts become packets (and packets a pcapng).
//! - [`packet`]: link, IP and TCP headers of one packet.
//! - [`stream`]: TCP connections and their two byte streams, as a state machine on packet time.
//! - [`exchange`]: frames become exchanges, and every byte finds its place in the ledger.
//! - [`audit`]: a search of a rewritten capture for what must not be there.
//! - [`check`]: properties that hold for any bytes, for tests and fuzz targets.
//! - [`map`]: what a rewrite replaces by what, and where a replay may go.
//! - [`targets`]: where a replay may send, and what.
//! - [`engine`]: exchanges are planned, sent on time, and accounted for.
//! - [`stub`]: a provider that answers from recorded responses.
//! - [`hop`]: what a sidecar changed between two capture points.
//! - [`diff`]: where a recorded and an observed response part, decoded.
//! - [`pipeline`]: the above in one pass, for whoever wants to look.
//! - [`synth`]: exchanges become a small capture of their own.
//! - [`sighting`]: one call seen at several points is one call; clocks of capture points.
//! - [`select`]: which calls a command takes.
//!
//! **Invariant:** reassembly, pairing, rewriting and comparing read no clock and open nothing;
//! files and sockets are touched in `capture`, `engine` and `stub` only.

pub mod audit;
pub mod capture;
pub mod check;
pub mod diff;
pub mod engine;
pub mod exchange;
pub mod hop;
mod idiom;
mod json;
pub mod map;
pub mod packet;
pub mod pipeline;
pub mod rewrite;
pub mod select;
pub mod sighting;
pub mod stream;
pub mod stub;
pub mod synth;
pub mod targets;
