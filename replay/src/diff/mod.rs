//! Where a recorded and an observed response part, decoded.
//!
//! - [`compare`]: protocol, status, codec, class, header map, and the body as a tree with paths.
//! - [`Noise`]: what is shown and not judged, from a file that a person wrote.
//! - [`diff_records`]: two records, exchange by exchange.
//!
//! Never compared: ids, trace ids, the order of header maps, of maps and of sets in bodies. Of a
//! CRC, only that an observed one is right.

mod answer;
mod exception;
mod fingerprint;
mod noise;
mod records;
mod text;
mod tree;

#[cfg(test)]
mod tests;

pub use answer::{Answer, Frames, compare, response};
pub(crate) use noise::like;
pub use noise::{Applied, Noise, schema};
pub use records::{Pair, RecordDiff, diff_records};
pub(crate) use text::bytes_both;
pub use tree::DIFFERENCES_MAX;
