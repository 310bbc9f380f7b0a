//! What the link layer and IPv6 extensions hold that may tell of machines.

use std::ops::Range;

use crate::capture::Link;
use crate::packet::Segment;

/// Where the addresses of the link layer stand.
pub(super) fn addresses(link: Link) -> Option<Range<usize>> {
    match link {
        Link::Ethernet => Some(0..12),
        // Length of the address, then eight bytes for it.
        Link::LinuxSll => Some(6..14),
        Link::LinuxSll2 => Some(12..20),
        _ => None,
    }
}

/// Where the IP header begins, if the packet has one.
pub(super) fn ip_at(link: Link, data: &[u8]) -> Option<usize> {
    const VLAN_TAGS_MAX: usize = 8;
    let be16 = |at: usize| {
        let two = data.get(at..)?.first_chunk::<2>()?;
        Some(u16::from_be_bytes(*two))
    };
    let (mut ethertype, mut at) = match link {
        Link::Ethernet => (be16(12)?, 14),
        Link::LinuxSll => (be16(14)?, 16),
        Link::LinuxSll2 => (be16(0)?, 20),
        Link::RawIp => return Some(0),
        Link::Null | Link::Loop => return Some(4),
        Link::Other(_) => return None,
    };
    for _ in 0..VLAN_TAGS_MAX {
        if !matches!(ethertype, 0x8100 | 0x88a8 | 0x9100 | 0x9200) {
            break;
        }
        ethertype = be16(at + 2)?;
        at += 4;
    }
    matches!(ethertype, 0x0800 | 0x86dd).then_some(at)
}

/// Whether there are IPv6 extension headers that may hold addresses (routes, mobility, host
/// identity): any but hop-by-hop options and a fragment header.
pub(super) fn has_telling_extensions(data: &[u8], segment: &Segment) -> bool {
    const TCP: u8 = 6;
    if segment.src.is_ipv4() {
        return false;
    }
    let mut at = segment.ip_at + 40;
    let mut next = data.get(segment.ip_at + 6).copied().unwrap_or(TCP);
    while at < segment.tcp_at && next != TCP {
        let len = match next {
            44 => 8,
            0 => 8 + usize::from(data.get(at + 1).copied().unwrap_or_default()) * 8,
            _ => return true,
        };
        next = data.get(at).copied().unwrap_or(TCP);
        at += len;
    }
    false
}
