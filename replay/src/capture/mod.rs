//! Capture files become packets, in one order, through a fixed buffer.

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
    /// LINKTYPE_NULL (0) and LOOP (108), as BSD loopbacks write them.
    Null,
    /// Anything else, by its number.
    Other(u16),
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

/// Why a capture cannot be read at all.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: std::path::PathBuf,
        /// What it said.
        source: std::io::Error,
    },
}
