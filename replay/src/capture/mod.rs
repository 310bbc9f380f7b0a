//! Capture files become packets, in one order, through a fixed buffer; packets become a pcapng.
//!
//! [`Captures`] reads pcap and pcapng (both byte orders, any time resolution, several interfaces
//! and sections), plain or in gzip or zstd, from files, globs, folders and standard input.
//! Rotated parts and several capture points come out as one sequence in time order.
//! [`Writer`] writes pcapng, and [`AtomicFile`] sees to it that no partial file stands under the
//! final name.
//!
//! **Limits:** one buffer of 256 KiB per open file, grown for a larger packet up to
//! [`PACKET_BYTES_MAX`]; [`OPEN_FILES_MAX`] files open at a time; each kind of finding is kept
//! once per file, with a count.

mod atomic;
mod beside;
mod captures;

mod error;
mod finding;
mod input;
mod inputs;
mod pcap;
mod pcapng;
mod reader;
mod window;
mod writer;

pub use atomic::AtomicFile;
pub use beside::Beside;
pub use captures::{Captures, Source};
pub use error::Error;
pub use finding::{Finding, What};
pub use inputs::{BadSource, Inputs, NamedSource};
pub use writer::Writer;

/// Longest packet that is read, in bytes. Real links end at 256 KiB; a record that claims more is
/// damage.
pub const PACKET_BYTES_MAX: usize = 4 << 20;

/// Files that are open at the same time at most: parts that overlap in time, and sources.
pub const OPEN_FILES_MAX: usize = 128;

/// How a packet's first bytes are to be read. The numbers are those of the pcap registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Link {
    /// LINKTYPE_ETHERNET (1), VLAN tags included.
    Ethernet,
    /// LINKTYPE_RAW (101), and IPv4 (228) and IPv6 (229).
    RawIp,
    /// LINKTYPE_LINUX_SLL (113).
    LinuxSll,
    /// LINKTYPE_LINUX_SLL2 (276).
    LinuxSll2,
    /// LINKTYPE_NULL (0), as BSD loopbacks write it: the address family in the order of the host.
    Null,
    /// LINKTYPE_LOOP (108), as OpenBSD writes it: the address family in network order.
    Loop,
    /// Anything else, by its number.
    Other(u16),
}

impl Link {
    /// The link type of a number of the registry. 12 and 14 are what some systems write for raw
    /// IP.
    pub fn from_number(number: u16) -> Link {
        match number {
            0 => Link::Null,
            1 => Link::Ethernet,
            12 | 14 | 101 | 228 | 229 => Link::RawIp,
            108 => Link::Loop,
            113 => Link::LinuxSll,
            276 => Link::LinuxSll2,
            other => Link::Other(other),
        }
    }

    /// Its number in the registry.
    pub fn number(self) -> u16 {
        match self {
            Link::Null => 0,
            Link::Ethernet => 1,
            Link::RawIp => 101,
            Link::Loop => 108,
            Link::LinuxSll => 113,
            Link::LinuxSll2 => 276,
            Link::Other(number) => number,
        }
    }
}

/// One captured packet, borrowed from the reader's buffer.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    /// 1-based number over all input, in the order of reading.
    pub number: u64,
    /// Time of capture in nanoseconds since the Unix epoch.
    pub at_ns: u64,
    /// Link type of the interface it was seen on.
    pub link: Link,
    /// Which capture point it comes from; an index into the reader's list of sources.
    pub source: u16,
    /// The bytes that were captured.
    pub data: &'a [u8],
    /// Its length on the wire, at least `data.len()`.
    pub orig_len: u32,
}

/// Anything that yields packets one after the other.
pub trait Packets {
    /// The next packet, or `None` at the end. Damage behind a readable header is a finding and
    /// ends that file; an `Err` means that there is nothing to go on with.
    fn next(&mut self) -> Result<Option<Packet<'_>>, Error>;
}
