//! Sets of addresses that answer quickly for any four or sixteen bytes.

use std::net::IpAddr;

use ipnet::IpNet;

/// Networks by number, searched by address. The narrowest one that holds an address answers.
#[derive(Clone, Debug, Default)]
pub(super) struct Addresses {
    v4: Vec<Range<u32>>,
    v6: Vec<Range<u128>>,
    /// One bit for each value of the first two bytes, for a first answer.
    v4_heads: Heads,
    v6_heads: Heads,
}

#[derive(Clone, Copy, Debug)]
struct Range<T> {
    first: T,
    last: T,
    needle: u32,
    /// The narrowest network around this one.
    around: Option<usize>,
}

#[derive(Clone, Debug, Default)]
struct Heads(Vec<u64>);

impl Heads {
    fn set(&mut self, from: u16, to: u16) {
        self.0.resize(1024, 0);
        for head in from..=to {
            if let Some(word) = self.0.get_mut(usize::from(head >> 6)) {
                *word |= 1 << (head & 63);
            }
        }
    }

    fn has(&self, head: u16) -> bool {
        self.0
            .get(usize::from(head >> 6))
            .is_some_and(|word| word >> (head & 63) & 1 == 1)
    }
}

impl Addresses {
    /// The networks, each with its needle's number.
    pub(super) fn new(networks: impl IntoIterator<Item = (IpNet, u32)>) -> Addresses {
        let mut addresses = Addresses::default();
        for (network, needle) in networks {
            match network {
                IpNet::V4(network) => {
                    let (first, last) =
                        (network.network().to_bits(), network.broadcast().to_bits());
                    addresses
                        .v4_heads
                        .set((first >> 16) as u16, (last >> 16) as u16);
                    addresses.v4.push(Range {
                        first,
                        last,
                        needle,
                        around: None,
                    });
                }
                IpNet::V6(network) => {
                    let (first, last) =
                        (network.network().to_bits(), network.broadcast().to_bits());
                    addresses
                        .v6_heads
                        .set((first >> 112) as u16, (last >> 112) as u16);
                    addresses.v6.push(Range {
                        first,
                        last,
                        needle,
                        around: None,
                    });
                }
            }
        }
        nest(&mut addresses.v4);
        nest(&mut addresses.v6);
        addresses
    }

    pub(super) fn has_v4(&self) -> bool {
        !self.v4.is_empty()
    }

    pub(super) fn has_v6(&self) -> bool {
        !self.v6.is_empty()
    }

    /// The needle that holds four bytes in network order.
    #[inline]
    pub(super) fn v4(&self, bytes: [u8; 4]) -> Option<u32> {
        if !self.v4_heads.has(u16::from_be_bytes([bytes[0], bytes[1]])) {
            return None;
        }
        narrowest(&self.v4, u32::from_be_bytes(bytes))
    }

    /// The needle that holds sixteen bytes in network order.
    #[inline]
    pub(super) fn v6(&self, bytes: [u8; 16]) -> Option<u32> {
        if !self.v6_heads.has(u16::from_be_bytes([bytes[0], bytes[1]])) {
            return None;
        }
        narrowest(&self.v6, u128::from_be_bytes(bytes))
    }

    /// The needle that holds an address; an IPv4 address mapped into IPv6 counts as itself.
    pub(super) fn find(&self, address: IpAddr) -> Option<u32> {
        match address.to_canonical() {
            IpAddr::V4(address) => self.v4(address.octets()),
            IpAddr::V6(address) => self.v6(address.octets()),
        }
    }
}

/// Sorts by start, the wider first, and notes which network lies around which: two networks nest
/// or are apart.
fn nest<T: Copy + Ord>(ranges: &mut [Range<T>]) {
    ranges.sort_by_key(|range| (range.first, std::cmp::Reverse(range.last)));
    let mut open: Vec<(usize, T)> = Vec::new();
    for (index, range) in ranges.iter_mut().enumerate() {
        while open.last().is_some_and(|(_, last)| *last < range.first) {
            open.pop();
        }
        range.around = open.last().map(|(around, _)| *around);
        open.push((index, range.last));
    }
}

fn narrowest<T: Copy + Ord>(ranges: &[Range<T>], address: T) -> Option<u32> {
    let mut at = ranges
        .partition_point(|range| range.first <= address)
        .checked_sub(1);
    while let Some(range) = at.and_then(|at| ranges.get(at)) {
        if range.last >= address {
            return Some(range.needle);
        }
        at = range.around;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(networks: &[&str], address: &str, expected: Option<u32>) {
        let networks = networks
            .iter()
            .zip(0..)
            .map(|(network, needle)| (network.parse::<IpNet>().expect("a network"), needle));
        let addresses = Addresses::new(networks);
        assert_eq!(
            addresses.find(address.parse().expect("an address")),
            expected
        );
    }

    #[test]
    fn narrowest_network_answers() {
        let networks = ["10.0.0.0/8", "10.15.0.0/16", "10.15.232.248/32", "fd00::/8"];
        check(&networks, "10.15.232.248", Some(2));
        check(&networks, "10.15.232.249", Some(1));
        check(&networks, "10.16.0.0", Some(0));
        check(&networks, "10.255.255.255", Some(0));
        check(&networks, "11.0.0.0", None);
        check(&networks, "9.255.255.255", None);
        check(&networks, "::ffff:10.15.0.1", Some(1));
        check(&networks, "fd12::1", Some(3));
        check(&networks, "fe80::1", None);
        check(&[], "10.0.0.1", None);
        check(&["0.0.0.0/0"], "255.255.255.255", Some(0));
    }
}
