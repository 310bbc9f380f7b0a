//! Whether ranges of originals and replacements touch, in `n log n`.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

use super::Host;

/// Whether two originals may share a replacement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shared {
    /// The map says `many-to-one: true`.
    Allowed,
    /// The usual case.
    Refused,
}

/// How two rules contradict each other; numbers are indices into the lists given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Clash {
    /// Two originals.
    Overlap(usize, usize),
    /// A replacement and an original.
    Inside {
        /// The original.
        from: usize,
        /// The replacement.
        to: usize,
    },
    /// Two replacements.
    Shared(usize, usize),
}

/// A closed interval of keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Interval<K> {
    low: K,
    high: K,
}

/// What one side of a rule covers.
pub(super) trait Ranged {
    /// Something with an order in which the covered values stand together.
    type Key: Ord + Clone;
    /// First and last covered value.
    fn interval(&self) -> Interval<Self::Key>;
}

/// Family, address and port.
type SocketKey = (u8, u128, u16);

fn address_key(address: IpAddr, port: u16) -> SocketKey {
    match address {
        IpAddr::V4(v4) => (4, u128::from(u32::from(v4)), port),
        IpAddr::V6(v6) => (6, u128::from(v6), port),
    }
}

impl Ranged for IpNet {
    type Key = SocketKey;
    fn interval(&self) -> Interval<SocketKey> {
        Interval {
            low: address_key(self.network(), 0),
            high: address_key(self.broadcast(), u16::MAX),
        }
    }
}

impl Ranged for IpAddr {
    type Key = SocketKey;
    fn interval(&self) -> Interval<SocketKey> {
        Interval {
            low: address_key(*self, 0),
            high: address_key(*self, u16::MAX),
        }
    }
}

impl Ranged for SocketAddr {
    type Key = SocketKey;
    fn interval(&self) -> Interval<SocketKey> {
        let key = address_key(self.ip(), self.port());
        Interval {
            low: key,
            high: key,
        }
    }
}

impl Ranged for String {
    type Key = String;
    fn interval(&self) -> Interval<String> {
        Interval {
            low: self.clone(),
            high: self.clone(),
        }
    }
}

impl Ranged for Host {
    type Key = (String, u16);
    fn interval(&self) -> Interval<(String, u16)> {
        let name = self.name.to_ascii_lowercase();
        Interval {
            low: (name.clone(), self.port.unwrap_or(0)),
            high: (name, self.port.unwrap_or(u16::MAX)),
        }
    }
}

/// The first contradiction: overlaps first, then replacements inside originals, then shared ones.
pub(super) fn find<K: Ord>(
    froms: &[Interval<K>],
    tos: &[Interval<K>],
    shared: Shared,
) -> Option<Clash> {
    if let Some((first, again)) = first_shared(froms) {
        return Some(Clash::Overlap(first, again));
    }
    if let Some((from, to)) = first_inside(froms, tos) {
        return Some(Clash::Inside { from, to });
    }
    match shared {
        Shared::Allowed => None,
        Shared::Refused => first_shared(tos).map(|(first, again)| Clash::Shared(first, again)),
    }
}

/// Two intervals that touch, the one that was written first in front.
pub(super) fn first_shared<K: Ord>(intervals: &[Interval<K>]) -> Option<(usize, usize)> {
    let mut order: Vec<(usize, &Interval<K>)> = intervals.iter().enumerate().collect();
    order.sort_by(|(_, a), (_, b)| a.low.cmp(&b.low).then_with(|| a.high.cmp(&b.high)));
    let mut widest: Option<(usize, &K)> = None;
    for (index, interval) in order {
        match widest {
            Some((other, high)) if interval.low <= *high => {
                return Some((other.min(index), other.max(index)));
            }
            _ => widest = Some((index, &interval.high)),
        }
    }
    None
}

/// An original and a replacement that touch. The originals may overlap each other.
pub(super) fn first_inside<K: Ord>(
    froms: &[Interval<K>],
    tos: &[Interval<K>],
) -> Option<(usize, usize)> {
    // A sweep over both lists in the order of their lower ends: whatever begins is compared with
    // the widest of the other list that began before it.
    enum Which {
        From(usize),
        To(usize),
    }
    let mut order: Vec<(Which, &Interval<K>)> = froms
        .iter()
        .enumerate()
        .map(|(index, interval)| (Which::From(index), interval))
        .chain(
            tos.iter()
                .enumerate()
                .map(|(index, interval)| (Which::To(index), interval)),
        )
        .collect();
    order.sort_by(|(_, a), (_, b)| a.low.cmp(&b.low));
    let mut widest_from: Option<(usize, &K)> = None;
    let mut widest_to: Option<(usize, &K)> = None;
    for (which, interval) in order {
        let (index, own, other) = match which {
            Which::From(index) => (index, &mut widest_from, widest_to),
            Which::To(index) => (index, &mut widest_to, widest_from),
        };
        if let Some((other_index, high)) = other
            && interval.low <= *high
        {
            return Some(match which {
                Which::From(from) => (from, other_index),
                Which::To(to) => (other_index, to),
            });
        }
        if own.is_none_or(|(_, high)| *high < interval.high) {
            *own = Some((index, &interval.high));
        }
    }
    None
}
