//! Link, IP and TCP headers of one packet.

use std::net::{IpAddr, SocketAddr};
use std::ops::Range;

/// A TCP sequence number. Comparing wraps, and lives only here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Seq(pub u32);

impl Seq {
    /// How far `self` lies behind `other`, as a signed distance on the ring (RFC 1982).
    pub fn since(self, other: Seq) -> i32 {
        self.0.wrapping_sub(other.0) as i32
    }
}

/// The TCP flags that matter here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags(pub u8);

impl Flags {
    /// FIN.
    pub const FIN: u8 = 0x01;
    /// SYN.
    pub const SYN: u8 = 0x02;
    /// RST.
    pub const RST: u8 = 0x04;
    /// PSH.
    pub const PSH: u8 = 0x08;
    /// ACK.
    pub const ACK: u8 = 0x10;
    /// Whether every flag of `mask` is set.
    pub fn has(self, mask: u8) -> bool {
        self.0 & mask == mask
    }
}

/// A TCP segment within a packet. Ranges count from the packet's first captured byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Sender.
    pub src: SocketAddr,
    /// Receiver.
    pub dst: SocketAddr,
    /// Sequence number of the first payload byte (of the SYN itself, where it is set).
    pub seq: Seq,
    /// Acknowledgement number; meaningful with the ACK flag only.
    pub ack: Seq,
    /// Flags.
    pub flags: Flags,
    /// Receive window as it stands in the header (not scaled).
    pub window: u16,
    /// Where the IP header starts.
    pub ip_at: usize,
    /// Where the TCP header starts.
    pub tcp_at: usize,
    /// TCP options.
    pub options: Range<usize>,
    /// Payload bytes that were captured.
    pub payload: Range<usize>,
    /// Payload length on the wire; more than `payload.len()` where the snaplen cut the packet.
    pub payload_len: u32,
}

/// What a packet turned out to be. Exactly one of the ledger's packet buckets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// A TCP segment.
    Tcp(Segment),
    /// Something else that is whole: another IP protocol, ARP, an unknown link type.
    NonTcp {
        /// Addresses of the IP header, where there is one.
        addresses: Option<(IpAddr, IpAddr)>,
    },
    /// A fragment of an IP datagram. Fragments are counted, not put together.
    Fragment,
    /// Headers that contradict themselves or are cut short.
    Malformed {
        /// What is wrong, as a lower-case fragment.
        why: &'static str,
    },
}
