//! Requests in flight and the wheel of their deadlines.
//!
//! A deadline is kept in whole milliseconds, rounded up: a request is never late by less than
//! its time-out, and answered by us less than a millisecond after it.

use meshproof_sys::clock::Nanos;

use super::frame::Stamp;
use super::{Conn, Side};

/// A request on its way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Flight {
    /// Who asked.
    pub(super) asker: Conn,
    /// The id under which it asked.
    pub(super) asker_id: u64,
    /// Who is to answer.
    pub(super) answerer: Conn,
    /// The id under which it was asked; `None` while the request waits for its connection.
    pub(super) id: Option<u32>,
    /// When it came.
    pub(super) started: Nanos,
    /// How an answer of our own must look.
    pub(super) stamp: Stamp,
    /// The listener it came to; `None` for a request of a server.
    pub(super) side: Option<Side>,
}

/// Where a flight is; `serial` tells apart those that had the same place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FlightId {
    pub(super) index: u32,
    pub(super) serial: u32,
}

/// All requests in flight. Adding, ending and finding one takes constant time, and no memory is
/// asked for once there have been as many before.
#[derive(Debug)]
pub(super) struct Flights {
    entries: Vec<Entry>,
    free: u32,
    len: usize,
    /// First entry of each millisecond's list, by the deadline's low bits.
    heads: Box<[u32]>,
    /// Every deadline before this millisecond was handled.
    handled: u64,
    /// No deadline is earlier.
    next: u64,
}

#[derive(Debug)]
struct Entry {
    flight: Option<Flight>,
    serial: u32,
    /// In milliseconds; [`NEVER`] where it stands in no list.
    due: u64,
    before: u32,
    /// The next of its list, or of the free ones.
    after: u32,
}

const NONE: u32 = u32::MAX;
const NEVER: u64 = u64::MAX;
const PLACES: u64 = 4096;
const MS: u64 = 1_000_000;

impl Flights {
    pub(super) fn new() -> Flights {
        Flights {
            entries: Vec::new(),
            free: NONE,
            len: 0,
            heads: vec![NONE; PLACES as usize].into_boxed_slice(),
            handled: 0,
            next: NEVER,
        }
    }

    #[inline]
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Adds one that must have ended at `due`; without it, it waits for good.
    #[inline]
    pub(super) fn insert(&mut self, flight: Flight, due: Option<Nanos>) -> FlightId {
        let index = match self.entries.get(self.free as usize) {
            Some(entry) => {
                let index = self.free;
                self.free = entry.after;
                index
            }
            None => {
                self.entries.push(Entry {
                    flight: None,
                    serial: 0,
                    due: NEVER,
                    before: NONE,
                    after: NONE,
                });
                (self.entries.len() - 1) as u32
            }
        };
        self.len += 1;
        let entry = &mut self.entries[index as usize];
        entry.flight = Some(flight);
        entry.due = NEVER;
        let serial = entry.serial;
        if let Some(due) = due {
            self.link(index, due.0.div_ceil(MS).max(self.handled));
        }
        FlightId { index, serial }
    }

    #[inline]
    pub(super) fn at(&self, id: FlightId) -> Option<&Flight> {
        self.entries
            .get(id.index as usize)
            .filter(|entry| entry.serial == id.serial)
            .and_then(|entry| entry.flight.as_ref())
    }

    #[inline]
    pub(super) fn at_mut(&mut self, id: FlightId) -> Option<&mut Flight> {
        self.entries
            .get_mut(id.index as usize)
            .filter(|entry| entry.serial == id.serial)
            .and_then(|entry| entry.flight.as_mut())
    }

    /// Ends one.
    #[inline]
    pub(super) fn remove(&mut self, index: u32) -> Option<Flight> {
        let flight = self.entries.get_mut(index as usize)?.flight.take()?;
        self.unlink(index);
        let entry = &mut self.entries[index as usize];
        entry.serial = entry.serial.wrapping_add(1);
        entry.after = self.free;
        self.free = index;
        self.len -= 1;
        Some(flight)
    }

    /// The requests of one connection.
    pub(super) fn of(&self, asker: Conn) -> Vec<u32> {
        let entries = self.entries.iter().zip(0u32..);
        let own = entries.filter(|(entry, _)| {
            let flight = entry.flight.as_ref();
            flight.is_some_and(|flight| flight.asker == asker)
        });
        own.map(|(_, index)| index).collect()
    }

    /// Nothing is due before this moment. It may be earlier than the first deadline.
    pub(super) fn next_deadline(&self) -> Option<Nanos> {
        (self.next != NEVER).then(|| Nanos(self.next.saturating_mul(MS)))
    }

    /// Takes those whose time is up, in the order of their deadlines to the millisecond.
    pub(super) fn expire(&mut self, now: Nanos, into: &mut Vec<Flight>) {
        let now = now.0 / MS;
        if now < self.next {
            return;
        }
        // Behind one round of the wheel every place has been looked at.
        let first = self.next.max(self.handled);
        let first = first.max(now.saturating_sub(PLACES - 1));
        for tick in first..=now {
            let mut at = self.heads[(tick % PLACES) as usize];
            while let Some(entry) = self.entries.get(at as usize) {
                let index = at;
                at = entry.after;
                if entry.due <= now {
                    into.extend(self.remove(index));
                }
            }
        }
        self.handled = now + 1;
        let ahead = now + 1..=now + PLACES;
        self.next = ahead
            .into_iter()
            .find(|tick| self.heads[(tick % PLACES) as usize] != NONE)
            .unwrap_or(NEVER);
    }

    #[inline]
    fn link(&mut self, index: u32, due: u64) {
        let head = &mut self.heads[(due % PLACES) as usize];
        let after = std::mem::replace(head, index);
        if let Some(entry) = self.entries.get_mut(after as usize) {
            entry.before = index;
        }
        let entry = &mut self.entries[index as usize];
        entry.due = due;
        entry.before = NONE;
        entry.after = after;
        self.next = self.next.min(due);
    }

    #[inline]
    fn unlink(&mut self, index: u32) {
        let Entry {
            due, before, after, ..
        } = self.entries[index as usize];
        if due == NEVER {
            return;
        }
        match self.entries.get_mut(before as usize) {
            Some(entry) => entry.after = after,
            None => self.heads[(due % PLACES) as usize] = after,
        }
        if let Some(entry) = self.entries.get_mut(after as usize) {
            entry.before = before;
        }
        self.entries[index as usize].due = NEVER;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::frame::Class;
    use super::*;

    fn flight(number: u64) -> Flight {
        let nobody = Conn {
            index: 0,
            generation: 0,
        };
        Flight {
            asker: nobody,
            asker_id: number,
            answerer: nobody,
            id: None,
            started: Nanos(0),
            stamp: Stamp::of(Class::V1),
            side: None,
        }
    }

    /// Numbers of those whose time is up.
    fn expired(flights: &mut Flights, now: Nanos) -> Vec<u64> {
        let mut into = Vec::new();
        flights.expire(now, &mut into);
        into.iter().map(|flight| flight.asker_id).collect()
    }

    #[test]
    fn never_early_and_less_than_a_millisecond_late() {
        for due in [
            0,
            1,
            MS - 1,
            MS,
            MS + 1,
            5000 * MS,
            5000 * MS + 1,
            123_456 * MS + 7,
        ] {
            let mut flights = Flights::new();
            flights.insert(flight(1), Some(Nanos(due)));
            while let Some(next) = flights.next_deadline().filter(|next| next.0 < due) {
                assert!(expired(&mut flights, next).is_empty(), "{due} at {next:?}");
            }
            let at = due.div_ceil(MS) * MS;
            assert!(at - due < MS);
            if let Some(before) = at.checked_sub(1) {
                assert!(expired(&mut flights, Nanos(before)).is_empty(), "{due}");
            }
            assert_eq!(expired(&mut flights, Nanos(at)), [1], "{due}");
            assert_eq!((flights.len(), flights.next_deadline()), (0, None));
        }
    }

    #[test]
    fn a_place_that_is_used_again_has_another_name() {
        let mut flights = Flights::new();
        let first = flights.insert(flight(1), None);
        assert!(flights.remove(first.index).is_some());
        assert!(flights.remove(first.index).is_none());
        let second = flights.insert(flight(2), Some(Nanos(MS)));
        assert_eq!(second.index, first.index);
        assert!(flights.at(first).is_none() && flights.at(second).is_some());
    }

    #[test]
    fn against_a_map() {
        let mut state = 7u64;
        let mut random = move |n: u64| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state % n
        };
        let mut flights = Flights::new();
        let mut model: BTreeMap<u64, (u32, u64)> = BTreeMap::new();
        let mut now = 10_000 * MS;
        expired(&mut flights, Nanos(now));
        for number in 0..20_000 {
            match random(4) {
                0 | 1 => {
                    // Some beyond one round of the wheel.
                    let due = now + MS + random(9000 * MS);
                    let id = flights.insert(flight(number), Some(Nanos(due)));
                    model.insert(number, (id.index, due));
                }
                2 => {
                    let nth = random(model.len().max(1) as u64) as usize;
                    if let Some((&number, &(index, _))) = model.iter().nth(nth % 50) {
                        assert_eq!(flights.remove(index).map(|f| f.asker_id), Some(number));
                        model.remove(&number);
                    }
                }
                _ => {
                    let most = if random(50) == 0 { 6000 } else { 20 };
                    now += random(most * MS);
                    let mut late = expired(&mut flights, Nanos(now));
                    late.sort_unstable();
                    let due: Vec<u64> = model
                        .iter()
                        .filter(|(_, (_, due))| due.div_ceil(MS) <= now / MS)
                        .map(|(number, _)| *number)
                        .collect();
                    assert_eq!(late, due);
                    model.retain(|number, _| !late.contains(number));
                }
            }
            assert_eq!(flights.len(), model.len());
            let first = model.values().map(|(_, due)| *due).min();
            let next = flights.next_deadline();
            assert!(first.is_none() || next.is_some());
            if let (Some(first), Some(next)) = (first, next) {
                assert!(next.0 < first + MS, "{next:?} {first}");
            }
        }
    }
}
