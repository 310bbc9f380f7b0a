//! Link, IP and TCP headers of one packet.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::ops::Range;

use crate::capture::Link;

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

/// IP protocol numbers (IANA).
const TCP: u8 = 6;

/// Tags of virtual networks (802.1Q, 802.1ad, and what was used before it) that are looked behind.
const VLAN_TAGS_MAX: usize = 8;

/// IPv6 extension headers that are looked behind.
const EXTENSIONS_MAX: usize = 16;

const CUT: Parsed = Parsed::Malformed {
    why: "the packet ends inside its headers",
};

/// Reads the headers of a packet.
///
/// `data` is what was captured, `orig_len` its length on the wire. Payload ends where the IP
/// header says, so that padding of short Ethernet frames and trailers stay out. A total length of
/// 0 is what a network card with segmentation offload leaves behind: the packet's length counts
/// then. Checksums are not looked at: offload makes wrong ones normal.
#[inline]
pub fn parse(link: Link, data: &[u8], orig_len: u32) -> Parsed {
    if link == Link::Ethernet
        && let Some(head) = data.first_chunk::<54>()
        && let Some(segment) = usual(head, data.len(), orig_len)
    {
        return Parsed::Tcp(segment);
    }
    any(link, data, orig_len)
}

/// The usual packet: Ethernet without tags, IPv4 without options and not in fragments, TCP.
/// `None` for every other, and for what is wrong.
#[inline]
fn usual(head: &[u8; 54], captured: usize, orig_len: u32) -> Option<Segment> {
    let fragment = u16::from_be_bytes([head[20], head[21]]) & 0x3fff;
    if head[12..15] != [0x08, 0x00, 0x45] || head[23] != TCP || fragment != 0 {
        return None;
    }
    let total = usize::from(u16::from_be_bytes([head[16], head[17]]));
    let end = if total == 0 {
        orig_len as usize
    } else {
        14 + total
    };
    let payload = 34 + usize::from(head[46] >> 4) * 4;
    if payload < 54 || payload > end || payload > captured {
        return None;
    }
    let src = Ipv4Addr::new(head[26], head[27], head[28], head[29]);
    let dst = Ipv4Addr::new(head[30], head[31], head[32], head[33]);
    let src_port = u16::from_be_bytes([head[34], head[35]]);
    let dst_port = u16::from_be_bytes([head[36], head[37]]);
    Some(Segment {
        src: SocketAddr::V4(SocketAddrV4::new(src, src_port)),
        dst: SocketAddr::V4(SocketAddrV4::new(dst, dst_port)),
        seq: Seq(u32::from_be_bytes([head[38], head[39], head[40], head[41]])),
        ack: Seq(u32::from_be_bytes([head[42], head[43], head[44], head[45]])),
        flags: Flags(head[47]),
        window: u16::from_be_bytes([head[48], head[49]]),
        ip_at: 14,
        tcp_at: 34,
        options: 54..payload,
        payload: payload..end.min(captured),
        payload_len: (end - payload) as u32,
    })
}

/// Any packet.
#[inline(never)]
fn any(link: Link, data: &[u8], orig_len: u32) -> Parsed {
    let wire = (orig_len as usize).max(data.len());
    let (ethertype, at) = match link {
        Link::Ethernet => (be16(data, 12), 14),
        Link::LinuxSll => (be16(data, 14), 16),
        Link::LinuxSll2 => (be16(data, 0), 20),
        Link::RawIp => return ip(data, 0, wire),
        Link::Null | Link::Loop => {
            // The family is that of the system that wrote it, in its byte order; small numbers
            // tell which. IPv4 is 2 everywhere, IPv6 is 10, 24, 28 or 30.
            let Some(&[a, b, c, d]) = data.first_chunk::<4>() else {
                return CUT;
            };
            return match (a, b, c, d) {
                (2 | 10 | 24 | 28 | 30, 0, 0, 0) | (0, 0, 0, 2 | 10 | 24 | 28 | 30) => {
                    ip(data, 4, wire)
                }
                _ => Parsed::NonTcp { addresses: None },
            };
        }
        Link::Other(_) => return Parsed::NonTcp { addresses: None },
    };
    let (Some(mut ethertype), mut at) = (ethertype, at) else {
        return CUT;
    };
    for _ in 0..VLAN_TAGS_MAX {
        match ethertype {
            0x8100 | 0x88a8 | 0x9100 | 0x9200 => match be16(data, at + 2) {
                Some(inner) => {
                    ethertype = inner;
                    at += 4;
                }
                None => return CUT,
            },
            _ => break,
        }
    }
    match ethertype {
        0x0800 | 0x86dd => ip(data, at, wire),
        _ => Parsed::NonTcp { addresses: None },
    }
}

/// An IP packet at an offset; `wire` is the length of the whole packet on the wire.
fn ip(data: &[u8], at: usize, wire: usize) -> Parsed {
    match data.get(at).map(|byte| byte >> 4) {
        Some(4) => ipv4(data, at, wire),
        Some(6) => ipv6(data, at, wire),
        Some(_) => Parsed::Malformed {
            why: "the IP version is neither 4 nor 6",
        },
        None => CUT,
    }
}

fn ipv4(data: &[u8], at: usize, wire: usize) -> Parsed {
    let Some(head) = data.get(at..).and_then(|rest| rest.first_chunk::<20>()) else {
        return CUT;
    };
    let header_len = usize::from(head[0] & 0x0f) * 4;
    if header_len < 20 {
        return Parsed::Malformed {
            why: "the IPv4 header is shorter than 20 bytes",
        };
    }
    let total = usize::from(u16::from_be_bytes([head[2], head[3]]));
    let end = if total == 0 { wire } else { at + total };
    if total != 0 && total < header_len {
        return Parsed::Malformed {
            why: "the IPv4 total length is less than its header",
        };
    }
    if u16::from_be_bytes([head[6], head[7]]) & 0x3fff != 0 {
        return Parsed::Fragment;
    }
    let src = IpAddr::V4(Ipv4Addr::new(head[12], head[13], head[14], head[15]));
    let dst = IpAddr::V4(Ipv4Addr::new(head[16], head[17], head[18], head[19]));
    if head[9] != TCP {
        return Parsed::NonTcp {
            addresses: Some((src, dst)),
        };
    }
    tcp(data, at, at + header_len, end, src, dst)
}

fn ipv6(data: &[u8], at: usize, wire: usize) -> Parsed {
    let Some(head) = data.get(at..).and_then(|rest| rest.first_chunk::<40>()) else {
        return CUT;
    };
    let payload_len = usize::from(u16::from_be_bytes([head[4], head[5]]));
    // 0 stands for a jumbogram (RFC 2675) or for offload.
    let end = if payload_len == 0 {
        wire
    } else {
        at + 40 + payload_len
    };
    let address = |from: usize| {
        let mut octets = [0; 16];
        octets.copy_from_slice(&head[from..from + 16]);
        IpAddr::V6(Ipv6Addr::from(octets))
    };
    let (src, dst) = (address(8), address(24));
    let mut next = head[6];
    let mut at_next = at + 40;
    for _ in 0..EXTENSIONS_MAX {
        let extension = data.get(at_next..).and_then(|rest| rest.first_chunk::<4>());
        let len = match next {
            TCP => return tcp(data, at, at_next, end, src, dst),
            // Hop-by-hop, routing, destination options, mobility, host identity, shim6
            // (RFC 8200, RFC 7045): length in units of 8 bytes without the first.
            0 | 43 | 60 | 135 | 139 | 140 => match extension {
                Some(extension) => 8 + usize::from(extension[1]) * 8,
                None => return CUT,
            },
            // Authentication (RFC 4302): length in units of 4 bytes, less 2.
            51 => match extension {
                Some(extension) => 8 + usize::from(extension[1]) * 4,
                None => return CUT,
            },
            // A fragment; one that is alone is whole (RFC 6946).
            44 => match extension {
                Some(extension) if u16::from_be_bytes([extension[2], extension[3]]) & !6 == 0 => 8,
                Some(_) => return Parsed::Fragment,
                None => return CUT,
            },
            _ => {
                return Parsed::NonTcp {
                    addresses: Some((src, dst)),
                };
            }
        };
        let Some(extension) = extension else {
            return CUT;
        };
        next = extension[0];
        at_next += len;
    }
    Parsed::Malformed {
        why: "more IPv6 extension headers than are looked behind",
    }
}

/// A TCP segment at `at`; `end` is where the IP header says that it ends.
fn tcp(data: &[u8], ip_at: usize, at: usize, end: usize, src: IpAddr, dst: IpAddr) -> Parsed {
    let Some(head) = data.get(at..).and_then(|rest| rest.first_chunk::<20>()) else {
        return CUT;
    };
    let header_len = usize::from(head[12] >> 4) * 4;
    if header_len < 20 {
        return Parsed::Malformed {
            why: "the TCP header is shorter than 20 bytes",
        };
    }
    let payload = at + header_len;
    if payload > end {
        return Parsed::Malformed {
            why: "the TCP header is longer than the packet",
        };
    }
    if payload > data.len() {
        return CUT;
    }
    let src_port = u16::from_be_bytes([head[0], head[1]]);
    let dst_port = u16::from_be_bytes([head[2], head[3]]);
    Parsed::Tcp(Segment {
        src: end_of(src, src_port),
        dst: end_of(dst, dst_port),
        seq: Seq(u32::from_be_bytes([head[4], head[5], head[6], head[7]])),
        ack: Seq(u32::from_be_bytes([head[8], head[9], head[10], head[11]])),
        flags: Flags(head[13]),
        window: u16::from_be_bytes([head[14], head[15]]),
        ip_at,
        tcp_at: at,
        options: at + 20..payload,
        payload: payload..end.min(data.len()),
        payload_len: u32::try_from(end - payload).unwrap_or(u32::MAX),
    })
}

fn end_of(address: IpAddr, port: u16) -> SocketAddr {
    match address {
        IpAddr::V4(address) => SocketAddr::V4(SocketAddrV4::new(address, port)),
        IpAddr::V6(address) => SocketAddr::V6(SocketAddrV6::new(address, port, 0, 0)),
    }
}

fn be16(data: &[u8], at: usize) -> Option<u16> {
    let two = data.get(at..)?.first_chunk::<2>()?;
    Some(u16::from_be_bytes(*two))
}
