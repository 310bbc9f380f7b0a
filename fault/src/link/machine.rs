//! What a bad link does to packets, in one direction: packets go in with the time, and come out
//! with the time. Nothing here waits, and whatever is chosen is chosen by seed, direction and the
//! packet's number, so it is the same on every run.
//!
//! ```
//! use meshproof_fault::link::machine::{Fate, How, Machine};
//! use meshproof_sys::clock::Nanos;
//!
//! let how = How { delay_ns: 20_000_000, ..How::good(7) };
//! let mut link = Machine::new(how, "in");
//! let now = Nanos(1_000);
//! assert_eq!(link.offer(now, 1500, || "packet"), Fate::Kept);
//! assert!(link.take(now).is_none());
//! assert_eq!(link.next(), Some(Nanos(20_001_000)));
//! assert_eq!(link.take(Nanos(20_001_000)).map(|out| out.packet), Some("packet"));
//! ```
//!
//! **Invariant:** without loss and below the limits everything that goes in comes out; without
//! `reorder` in the order in which it went in; and with a rate never more than the rate allows.

use std::collections::VecDeque;

use meshproof_sys::clock::Nanos;
use serde::{Deserialize, Serialize};

use crate::choose::share;

/// Packets that wait at most; those beyond are lost, and counted.
pub const HELD_PACKETS_MAX: usize = 65_536;

/// Bytes that wait at most; likewise.
pub const HELD_BYTES_MAX: usize = 64 << 20;

/// A packet that would wait longer than this for a narrow link to be free is lost, and counted:
/// the queue in front of it is as long as that, in nanoseconds.
pub const QUEUE_NS: u64 = 200_000_000;

/// A packet that is to change places with the next one waits so long for it, in nanoseconds.
pub const PLACE_NS: u64 = 10_000_000;

/// How a link is bad.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct How {
    /// How much later a packet comes out, in nanoseconds.
    pub delay_ns: u64,
    /// At most so much more or less than the delay, in nanoseconds; not above the delay.
    pub jitter_ns: u64,
    /// So many of a hundred packets are lost.
    pub loss: f64,
    /// So many of a hundred packets come out twice.
    pub duplicate: f64,
    /// So many of a hundred packets change places with the next one.
    pub reorder: f64,
    /// So many of a hundred packets have a wrong bit.
    pub corrupt: f64,
    /// Bits a second; none: as fast as they come.
    pub rate: Option<u64>,
    /// What chooses.
    pub seed: u64,
}

impl How {
    /// A link that does nothing to packets.
    pub fn good(seed: u64) -> How {
        How {
            delay_ns: 0,
            jitter_ns: 0,
            loss: 0.0,
            duplicate: 0.0,
            reorder: 0.0,
            corrupt: 0.0,
            rate: None,
            seed,
        }
    }

    /// Whether it chooses among packets: then a packet must be one packet as on a cable.
    pub fn chooses(&self) -> bool {
        [self.loss, self.duplicate, self.reorder, self.corrupt]
            .iter()
            .any(|share| *share > 0.0)
            || self.jitter_ns > 0
    }
}

/// Which bit of a packet is wrong; the packet's length makes a place of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Harm(u64);

impl Harm {
    /// Turns one bit of `packet` around, behind its first `spared` bytes. An empty rest has none.
    pub fn harm(self, packet: &mut [u8], spared: usize) {
        let rest = packet.get_mut(spared..).unwrap_or_default();
        let bits = rest.len() as u64 * 8;
        if let Some(bit) = self.0.checked_rem(bits)
            && let Some(byte) = rest.get_mut((bit / 8) as usize)
        {
            *byte ^= 1 << (bit % 8);
        }
    }
}

/// What becomes of a packet that was offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It comes out at once; it was not kept.
    Passes(Option<Harm>),
    /// It was kept, and comes out later.
    Kept,
    /// It is lost.
    Lost,
}

/// A packet that comes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Out<P> {
    /// When it was to come out.
    pub due: Nanos,
    /// What is wrong with it.
    pub harm: Option<Harm>,
    /// The packet.
    pub packet: P,
}

/// What happened until now, in packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// That were offered.
    pub offered: u64,
    /// That had to wait for the delay.
    pub delayed: u64,
    /// That were chosen to be lost.
    pub lost: u64,
    /// That found the queue in front of a narrow link full, or too much kept.
    pub overflowed: u64,
    /// That came out twice.
    pub duplicated: u64,
    /// That changed places with the next one.
    pub reordered: u64,
    /// That have a wrong bit.
    pub corrupted: u64,
    /// That had to wait for a narrow link to be free, or for their own bits to pass it.
    pub narrowed: u64,
}

/// One direction of a bad link.
#[derive(Debug)]
pub struct Machine<P> {
    how: How,
    /// What its choices are called: those of the two directions differ.
    names: Names,
    counts: Counts,
    /// When the narrow part is free.
    free: Nanos,
    /// When the packet that went in last comes out: none overtakes it.
    last: Nanos,
    /// In the order in which they come out.
    waiting: VecDeque<(usize, Out<P>)>,
    /// One that waits for the next one, to change places with it.
    aside: Option<(usize, Out<P>)>,
    /// Bytes of all that are kept.
    bytes: usize,
}

#[derive(Debug)]
struct Names {
    loss: String,
    duplicate: String,
    reorder: String,
    corrupt: String,
    jitter: String,
    bit: String,
}

impl<P> Machine<P> {
    /// Of a link that is bad in this way; `name` tells its directions apart.
    pub fn new(how: How, name: &str) -> Machine<P> {
        let named = |what: &str| format!("{name} {what}");
        Machine {
            how,
            names: Names {
                loss: named("loss"),
                duplicate: named("duplicate"),
                reorder: named("reorder"),
                corrupt: named("corrupt"),
                jitter: named("jitter"),
                bit: named("bit"),
            },
            counts: Counts::default(),
            free: Nanos(0),
            last: Nanos(0),
            waiting: VecDeque::new(),
            aside: None,
            bytes: 0,
        }
    }

    /// What happened until now.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// How many packets are kept.
    pub fn held(&self) -> usize {
        self.waiting.len() + usize::from(self.aside.is_some())
    }

    /// The next packet goes in at `now`, `bytes` long; `keep` makes a copy of it, where it is to
    /// wait. Times never go back.
    pub fn offer(&mut self, now: Nanos, bytes: usize, mut keep: impl FnMut() -> P) -> Fate {
        self.counts.offered += 1;
        let number = self.counts.offered;
        if self.picks(self.how.loss, &self.names.loss, number) {
            self.counts.lost += 1;
            return Fate::Lost;
        }
        let Some((due, delay_ns)) = self.due(now, bytes, number) else {
            self.counts.overflowed += 1;
            return Fate::Lost;
        };
        let harm = self
            .picks(self.how.corrupt, &self.names.corrupt, number)
            .then(|| {
                Harm((share(self.how.seed, &self.names.bit, number) * (1_u64 << 53) as f64) as u64)
            });
        self.counts.corrupted += u64::from(harm.is_some());
        let twice = self.picks(self.how.duplicate, &self.names.duplicate, number);
        let steps_aside =
            self.aside.is_none() && self.picks(self.how.reorder, &self.names.reorder, number);
        let mut out = |due| {
            let packet = keep();
            (bytes, Out { due, harm, packet })
        };
        if steps_aside {
            self.aside = Some(out(due));
            self.bytes += bytes;
            return Fate::Kept;
        }
        let at_once = due <= now && self.waiting.is_empty();
        if !at_once {
            let one = out(due);
            self.push(one);
        }
        if twice && self.has_room(bytes) {
            // The copy passes the narrow part as well.
            let due = self.pass(now, bytes).plus_ns(delay_ns).max(self.last);
            self.last = due;
            let copy = out(due);
            self.push(copy);
            self.counts.duplicated += 1;
        }
        if let Some((bytes, mut other)) = self.aside.take() {
            other.due = self.last;
            self.bytes = self.bytes.saturating_sub(bytes);
            self.push((bytes, other));
            self.counts.reordered += 1;
        }
        match at_once {
            true => Fate::Passes(harm),
            false => Fate::Kept,
        }
    }

    fn push(&mut self, one: (usize, Out<P>)) {
        self.bytes += one.0;
        self.waiting.push_back(one);
    }

    fn picks(&self, percent: f64, name: &str, number: u64) -> bool {
        percent > 0.0 && share(self.how.seed, name, number) * 100.0 < percent
    }

    fn has_room(&self, bytes: usize) -> bool {
        self.held() < HELD_PACKETS_MAX && self.bytes + bytes <= HELD_BYTES_MAX
    }

    /// When the narrow part is behind a packet that comes to it at `now`.
    fn pass(&mut self, now: Nanos, bytes: usize) -> Nanos {
        let Some(rate) = self.how.rate else {
            return now;
        };
        let takes_ns = (bytes as u128 * 8 * 1_000_000_000).div_ceil(u128::from(rate.max(1)));
        let takes_ns = u64::try_from(takes_ns).unwrap_or(u64::MAX / 4);
        self.free = self.free.max(now).plus_ns(takes_ns);
        self.free
    }

    /// When a packet comes out that goes in at `now`, and how much of that is its delay; none:
    /// there is no room for it.
    fn due(&mut self, now: Nanos, bytes: usize, number: u64) -> Option<(Nanos, u64)> {
        if !self.has_room(bytes) || self.free.since(now) > QUEUE_NS {
            return None;
        }
        let passed = self.pass(now, bytes);
        self.counts.narrowed += u64::from(self.how.rate.is_some());
        let How {
            delay_ns,
            jitter_ns,
            ..
        } = self.how;
        let delay_ns = match jitter_ns {
            0 => delay_ns,
            _ => {
                let share = share(self.how.seed, &self.names.jitter, number);
                let spread = (2.0 * jitter_ns as f64 * share) as u64;
                delay_ns.saturating_sub(jitter_ns).saturating_add(spread)
            }
        };
        self.counts.delayed += u64::from(delay_ns > 0);
        let due = passed.plus_ns(delay_ns).max(self.last);
        self.last = due;
        Some((due, delay_ns))
    }

    /// When there is something to take.
    pub fn next(&self) -> Option<Nanos> {
        match (self.waiting.front(), &self.aside) {
            (Some((_, out)), _) => Some(out.due),
            (None, Some((_, out))) => Some(out.due.plus_ns(PLACE_NS)),
            (None, None) => None,
        }
    }

    /// The next packet that comes out at `now` or before.
    pub fn take(&mut self, now: Nanos) -> Option<Out<P>> {
        if self.next()? > now {
            return None;
        }
        self.first()
    }

    /// Everything that is kept, in order, before its time: the link is good again.
    pub fn drain(&mut self) -> impl Iterator<Item = Out<P>> + '_ {
        std::iter::from_fn(|| self.first())
    }

    fn first(&mut self) -> Option<Out<P>> {
        let (bytes, out) = match self.waiting.pop_front() {
            Some(one) => one,
            None => {
                // Nobody came to change places with.
                let (bytes, mut out) = self.aside.take()?;
                out.due = out.due.plus_ns(PLACE_NS);
                (bytes, out)
            }
        };
        self.bytes = self.bytes.saturating_sub(bytes);
        self.last = self.last.max(out.due);
        Some(out)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::choose::picks;

    const MS: u64 = 1_000_000;

    /// Packets that come out: their numbers from 1, and when.
    fn run(how: How, packets: &[(u64, usize)]) -> (Vec<(u64, Nanos)>, Counts) {
        let mut link = Machine::new(how, "in");
        let mut out = Vec::new();
        for (number, (at, bytes)) in (1..).zip(packets) {
            let now = Nanos(*at);
            while let Some(next) = link.next().filter(|next| *next <= now) {
                let taken = link.take(next).unwrap();
                out.push((taken.packet, next));
            }
            if let Fate::Passes(_) = link.offer(now, *bytes, || number) {
                out.push((number, now));
            }
        }
        while let Some(next) = link.next() {
            let taken = link.take(next).unwrap();
            out.push((taken.packet, next));
        }
        assert_eq!((link.held(), link.bytes), (0, 0));
        (out, link.counts())
    }

    /// Times that never go back, with lengths.
    fn packets() -> impl Strategy<Value = Vec<(u64, usize)>> {
        prop::collection::vec((0..5 * MS, 60..1514_usize), 1..200).prop_map(|gaps| {
            let mut at = 1;
            gaps.into_iter()
                .map(|(gap, bytes)| {
                    at += gap;
                    (at, bytes)
                })
                .collect()
        })
    }

    fn how() -> impl Strategy<Value = How> {
        let share = || prop_oneof![Just(0.0), 0.1..60.0_f64];
        let rate = prop_oneof![Just(None), (100_000..50_000_000_u64).prop_map(Some)];
        let shares = (share(), share(), share(), share());
        (0..40 * MS, 0..100_u64, shares, rate, any::<u64>()).prop_map(
            |(delay_ns, jitter, (loss, duplicate, reorder, corrupt), rate, seed)| How {
                delay_ns,
                jitter_ns: delay_ns * jitter / 100,
                loss,
                duplicate,
                reorder,
                corrupt,
                rate,
                seed,
            },
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn what_goes_in_comes_out_once_or_twice_or_is_counted(how in how(), packets in packets()) {
            let (out, counts) = run(how, &packets);
            let times = |number: u64| out.iter().filter(|(each, _)| *each == number).count() as u64;
            let came: Vec<u64> = (1..=counts.offered).map(times).collect();
            prop_assert!(came.iter().all(|times| *times <= 2));
            let missing = came.iter().filter(|times| **times == 0).count() as u64;
            prop_assert_eq!(missing, counts.lost + counts.overflowed);
            let twice = came.iter().filter(|times| **times == 2).count() as u64;
            prop_assert_eq!(twice, counts.duplicated);
            // Exactly those that the seed means.
            let meant = (1..=counts.offered)
                .filter(|number| picks(how.loss, how.seed, "in loss", *number));
            prop_assert_eq!(meant.count() as u64, counts.lost);
            // Nothing comes out before its time, and times do not go back.
            prop_assert!(out.windows(2).all(|pair| pair[0].1 <= pair[1].1));
            for (number, at) in &out {
                let (went_in, _) = packets[*number as usize - 1];
                let least = how.delay_ns - how.jitter_ns;
                prop_assert!(at.0 >= went_in + least, "{} at {:?}", number, at);
            }
        }

        #[test]
        fn the_same_seed_chooses_the_same(how in how(), packets in packets()) {
            prop_assert_eq!(run(how, &packets), run(how, &packets));
        }

        #[test]
        fn order_stays_without_reorder(how in how(), packets in packets()) {
            let (out, counts) = run(How { reorder: 0.0, ..how }, &packets);
            prop_assert!(out.windows(2).all(|pair| pair[0].0 <= pair[1].0));
            prop_assert_eq!(counts.reordered, 0);
        }

        #[test]
        fn nothing_is_lost_without_loss_and_limits(how in how(), packets in packets()) {
            let (out, counts) = run(How { loss: 0.0, rate: None, ..how }, &packets);
            prop_assert_eq!(counts.lost + counts.overflowed, 0);
            prop_assert_eq!(out.len(), packets.len() + counts.duplicated as usize);
        }

        #[test]
        fn a_narrow_link_is_never_wider(
            rate in 100_000..50_000_000_u64,
            delay_ns in 0..40 * MS,
            packets in packets(),
        ) {
            let how = How { rate: Some(rate), delay_ns, ..How::good(1) };
            let (out, counts) = run(how, &packets);
            prop_assert_eq!(out.len() as u64 + counts.overflowed, counts.offered);
            // Between any two that come out, all but the first pass the narrow part.
            for first in 0..out.len() {
                let mut bits = 0;
                for (number, at) in &out[first + 1..] {
                    bits += packets[*number as usize - 1].1 as u128 * 8;
                    let ns = u128::from(at.0 - out[first].1.0);
                    prop_assert!(bits * 1_000_000_000 <= ns * u128::from(rate));
                }
            }
            // And none waited longer than the queue, its own bits and the delay.
            for (number, at) in &out {
                let (went_in, bytes) = packets[*number as usize - 1];
                let own_ns = bytes as u64 * 8 * 1_000_000_000 / rate + 1;
                prop_assert!(at.0 <= went_in + QUEUE_NS + own_ns + delay_ns);
            }
        }
    }

    #[test]
    fn a_link_that_is_good_keeps_nothing() {
        let mut link = Machine::new(How::good(0), "out");
        assert_eq!(link.offer(Nanos(5), 100, || ()), Fate::Passes(None));
        assert_eq!((link.next(), link.held()), (None, 0));
    }

    #[test]
    fn places_are_changed_with_the_next_one() {
        let how = How {
            reorder: 100.0,
            ..How::good(3)
        };
        let order = |packets: &[(u64, usize)]| {
            let (out, counts) = run(how, packets);
            let order: Vec<u64> = out.iter().map(|(number, _)| *number).collect();
            (order, counts.reordered)
        };
        let dense: Vec<(u64, usize)> = (1..=4).map(|at| (at, 100)).collect();
        assert_eq!(order(&dense), (vec![2, 1, 4, 3], 2));
        // One that nobody follows waits a little, and no longer.
        let sparse = [(1, 100), (1 + PLACE_NS, 100), (2 + 3 * PLACE_NS, 100)];
        assert_eq!(order(&sparse), (vec![1, 2, 3], 0));
    }

    #[test]
    fn what_is_kept_has_limits() {
        let how = How {
            delay_ns: MS,
            ..How::good(0)
        };
        let mut link = Machine::new(how, "in");
        for _ in 0..HELD_PACKETS_MAX {
            assert_eq!(link.offer(Nanos(1), 60, || ()), Fate::Kept);
        }
        assert_eq!(link.offer(Nanos(1), 60, || ()), Fate::Lost);
        assert_eq!(link.counts().overflowed, 1);
        assert_eq!(link.drain().count(), HELD_PACKETS_MAX);
        assert_eq!(link.offer(Nanos(1), HELD_BYTES_MAX + 1, || ()), Fate::Lost);
    }

    #[test]
    fn one_bit_is_wrong() {
        for number in [0, 7, 1 << 40, u64::MAX] {
            let mut packet = [0; 20];
            Harm(number).harm(&mut packet, 14);
            assert_eq!(packet.iter().map(|byte| byte.count_ones()).sum::<u32>(), 1);
            assert_eq!(packet[..14], [0; 14]);
            Harm(number).harm(&mut packet[..14], 14);
            assert_eq!(packet[..14], [0; 14]);
        }
    }
}
