//! Ids of requests that were written to a connection and may still be answered.

/// Who waits for an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Waiter {
    /// A request, by its place in the table of flights.
    Flight(u32),
    /// Ourselves: it is our heartbeat.
    Heartbeat,
    /// Nobody any more; an answer may come all the same.
    Nobody,
}

/// Ids in use on one connection: a table by the id's low bits, so that finding one is a look at
/// one place.
///
/// **Invariant:** an id is given out again only after its answer has come: one whose time was up
/// stays until the connection ends.
#[derive(Debug)]
pub(super) struct Pending {
    slots: Vec<Slot>,
    next: u32,
    /// Requests and heartbeats that somebody waits for.
    live: usize,
    /// Ids that nobody waits for any more.
    dead: usize,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    id: u32,
    waiter: Option<Waiter>,
}

const FREE: Slot = Slot {
    id: 0,
    waiter: None,
};

impl Pending {
    pub(super) fn new(first: u32) -> Pending {
        Pending {
            slots: Vec::new(),
            next: first,
            live: 0,
            dead: 0,
        }
    }

    #[inline]
    pub(super) fn live(&self) -> usize {
        self.live
    }

    #[inline]
    pub(super) fn dead(&self) -> usize {
        self.dead
    }

    /// A new id for `waiter`.
    #[inline]
    pub(super) fn insert(&mut self, waiter: Waiter) -> u32 {
        if (self.live + self.dead + 1) * 4 > self.slots.len() * 3 {
            self.grow();
        }
        let id = self.unused();
        self.put(id, waiter);
        id
    }

    /// An id for a frame that is not answered.
    #[inline]
    pub(super) fn pass(&mut self) -> u32 {
        if self.slots.is_empty() {
            self.grow();
        }
        self.unused()
    }

    /// Puts `waiter` at an id of the caller's choice, over one that may be there: for the seeded
    /// bug alone.
    pub(super) fn insert_as(&mut self, id: u32, waiter: Waiter) {
        while self.slots.len() < 1 << 16
            && (self.slots.is_empty() || self.place(id).waiter.is_some())
        {
            self.grow();
        }
        let before = *self.place(id);
        self.forget(before.waiter);
        self.put(id, waiter);
    }

    /// Takes the waiter of an id that was answered; `None` where the id is not in use.
    #[inline]
    pub(super) fn take(&mut self, id: u32) -> Option<Waiter> {
        if self.slots.is_empty() {
            return None;
        }
        let slot = self.place(id);
        if slot.id != id {
            return None;
        }
        let waiter = slot.waiter.take();
        self.forget(waiter);
        waiter
    }

    /// The waiter of this id has stopped to wait; the id stays in use.
    pub(super) fn abandon(&mut self, id: u32) {
        if self.take(id).is_some() {
            self.put(id, Waiter::Nobody);
        }
    }

    /// Requests that wait, oldest place first; all ids are free afterwards.
    pub(super) fn drain(&mut self) -> Vec<u32> {
        self.live = 0;
        self.dead = 0;
        let slots = std::mem::take(&mut self.slots);
        let flights = slots.iter().filter_map(|slot| match slot.waiter {
            Some(Waiter::Flight(flight)) => Some(flight),
            _ => None,
        });
        flights.collect()
    }

    #[inline]
    fn unused(&mut self) -> u32 {
        // At most three quarters of the places are taken, and neighbours have other places.
        loop {
            let id = self.next;
            self.next = self.next.wrapping_add(1);
            if self.place(id).waiter.is_none() {
                return id;
            }
        }
    }

    #[inline]
    fn put(&mut self, id: u32, waiter: Waiter) {
        *self.place(id) = Slot {
            id,
            waiter: Some(waiter),
        };
        match waiter {
            Waiter::Nobody => self.dead += 1,
            _ => self.live += 1,
        }
    }

    #[inline]
    fn forget(&mut self, waiter: Option<Waiter>) {
        match waiter {
            Some(Waiter::Nobody) => self.dead -= 1,
            Some(_) => self.live -= 1,
            None => {}
        }
    }

    #[inline]
    fn place(&mut self, id: u32) -> &mut Slot {
        // The length is a power of two, and never 0 here.
        let mask = self.slots.len().wrapping_sub(1);
        &mut self.slots[id as usize & mask]
    }

    #[cold]
    fn grow(&mut self) {
        let len = (self.slots.len() * 2).max(16);
        for slot in std::mem::replace(&mut self.slots, vec![FREE; len]) {
            if slot.waiter.is_some() {
                // Ids with different places keep different places in a longer table.
                *self.place(slot.id) = slot;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn an_id_is_never_used_twice_across_the_wrap() {
        let mut pending = Pending::new(u32::MAX - 5);
        let ids: Vec<u32> = (0..100)
            .map(|n| pending.insert(Waiter::Flight(n)))
            .collect();
        assert_eq!(
            ids[..8]
                .iter()
                .map(|id| id.wrapping_add(6))
                .collect::<Vec<_>>(),
            [0, 1, 2, 3, 4, 5, 6, 7]
        );
        for (n, id) in ids.iter().enumerate().rev() {
            assert_eq!(pending.take(*id), Some(Waiter::Flight(n as u32)));
            assert_eq!(pending.take(*id), None);
        }
        assert_eq!((pending.live(), pending.dead()), (0, 0));
    }

    #[test]
    fn what_is_not_answered_is_passed_over_when_the_counter_comes_round() {
        let mut pending = Pending::new(7);
        let old = pending.insert(Waiter::Flight(1));
        let late = pending.insert(Waiter::Flight(2));
        pending.abandon(late);
        pending.next = old;
        let ids = [pending.insert(Waiter::Flight(3)), pending.pass()];
        assert!(!ids.contains(&old) && !ids.contains(&late), "{ids:?}");
        assert_eq!((pending.live(), pending.dead()), (2, 1));
        assert_eq!(pending.take(late), Some(Waiter::Nobody));
        assert_eq!(pending.drain(), [1, 3]);
    }

    #[test]
    fn against_a_map() {
        let mut state = 1u64;
        let mut random = move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state as u32
        };
        let mut pending = Pending::new(u32::MAX - 1000);
        let mut model = BTreeMap::new();
        for step in 0..4000 {
            match random() % 5 {
                0 | 1 => {
                    let id = pending.insert(Waiter::Flight(step));
                    assert_eq!(model.insert(id, Waiter::Flight(step)), None);
                }
                2 => assert!(!model.contains_key(&pending.pass())),
                3 => {
                    let id = model
                        .keys()
                        .nth(random() as usize % model.len().max(1))
                        .copied();
                    let id = id.unwrap_or_else(&mut random);
                    assert_eq!(pending.take(id), model.remove(&id));
                }
                _ => {
                    if let Some(id) = model.keys().next().copied() {
                        pending.abandon(id);
                        model.insert(id, Waiter::Nobody);
                    }
                }
            }
            let dead = model
                .values()
                .filter(|waiter| **waiter == Waiter::Nobody)
                .count();
            assert_eq!(
                (pending.live() + pending.dead(), pending.dead()),
                (model.len(), dead)
            );
        }
    }
}
