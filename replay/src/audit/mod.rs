//! A search of a rewritten capture for what must not be there.
//!
//! The needles are every original of the rewrite map and, where the original capture is at hand,
//! every peer address, VIP, app and zone that it shows ([`Needles`], [`Original`]). The haystack
//! is everything ([`Audit`]): address fields of headers, the other bytes of headers, packets that
//! are no TCP, reassembled streams (so that a needle across two segments is found), retransmitted
//! copies, decoded header values and Hessian strings (so that one in chunks is found), and the
//! blocks of the file that hold no packet. Needles are found as text, in UTF-16, URL-escaped, with
//! JSON escapes, in hexadecimal, as decimal numbers, in their four or sixteen bytes in either
//! order, and in base64.
//!
//! **Invariant:** nothing here is shared with the rewriter but the type of the map. What the
//! rewriter misses the audit must not miss for the same reason.
//!
//! Four bytes and eight digits are found by chance as well. Such hits are weighed: how many would
//! chance give in as many places? What chance explains is listed apart and is no finding.

mod addresses;
mod blocks;
mod bounds;
mod fields;
mod needle;
mod odds;
mod original;
mod report;
mod scan;
mod search;
#[cfg(test)]
mod tests;
mod views;
mod walk;

use std::io::{self, Read};

pub use needle::{Exempt, Kind, NAME_BYTES_MAX, NEEDLES_MAX, Needle, Needles, Origin, What};
pub use original::Original;
pub use report::{Exempted, Found, PLACES_MAX, Place, Report, Scanned, Searched};
pub use scan::Encoding;

use crate::capture::{Error, Finding, Packets};

/// A search in progress.
///
/// Memory is bounded: 32 MiB of gathered stream bytes, the overlap of each stream (a few hundred
/// bytes; up to six times the longest name), what reassembly holds, and five places of each
/// needle in each encoding.
pub struct Audit<'n> {
    needles: &'n Needles,
    search: search::Search<'n>,
    unsearched: Vec<String>,
}

impl<'n> Audit<'n> {
    /// Prepares a search.
    ///
    /// # Errors
    /// The needles are too many or a pattern too large; says which.
    pub fn new(needles: &'n Needles) -> Result<Audit<'n>, String> {
        Ok(Audit {
            needles,
            search: search::Search::new(needles)?,
            unsearched: Vec::new(),
        })
    }

    /// Searches packets, their streams and their frames.
    ///
    /// # Errors
    /// There is nothing to go on with.
    pub fn packets(&mut self, packets: &mut dyn Packets) -> Result<(), Error> {
        walk::walk(packets, &mut self.search)
    }

    /// Searches what a capture file holds besides packets: comments, names, interfaces.
    ///
    /// # Errors
    /// The operating system refused.
    pub fn blocks(&mut self, name: &str, file: impl Read) -> io::Result<()> {
        let unread = blocks::blocks(file, |kind, offset, bytes| {
            self.search.block(name, kind, offset, bytes);
        })?;
        if unread > 0 {
            self.unsearched(format!(
                "{name}: {unread} bytes of blocks longer than 16 MiB that hold no packet"
            ));
        }
        Ok(())
    }

    /// Takes in what the reader of the capture found: what it could not read was not searched.
    pub fn reading(&mut self, findings: &[Finding]) {
        for finding in findings.iter().filter(|finding| finding.what.hides()) {
            self.unsearched(finding.to_string());
        }
    }

    /// Notes that something was not searched, and why; a `PASS` becomes `INVALID`.
    pub fn unsearched(&mut self, what: String) {
        self.unsearched.push(what);
    }

    /// Weighs what was found.
    pub fn finish(self) -> Report {
        self.search.report(self.needles, self.unsearched)
    }
}
