//! Connections by name, in a table whose places are used again and whose names never are.

use super::Conn;

/// Values by [`Conn`]. A name of an earlier holder of a place finds nothing.
#[derive(Debug)]
pub(super) struct Table<T> {
    slots: Vec<Slot<T>>,
    free: Vec<u32>,
}

#[derive(Debug)]
struct Slot<T> {
    generation: u32,
    value: Option<T>,
}

impl<T> Table<T> {
    pub(super) fn new() -> Table<T> {
        Table {
            slots: Vec::new(),
            free: Vec::new(),
        }
    }

    pub(super) fn insert(&mut self, value: T) -> Conn {
        if let Some(index) = self.free.pop()
            && let Some(slot) = self.slots.get_mut(index as usize)
        {
            slot.value = Some(value);
            return Conn {
                index,
                generation: slot.generation,
            };
        }
        let index = u32::try_from(self.slots.len()).unwrap_or(u32::MAX);
        self.slots.push(Slot {
            generation: 0,
            value: Some(value),
        });
        Conn {
            index,
            generation: 0,
        }
    }

    #[inline]
    pub(super) fn at(&self, conn: Conn) -> Option<&T> {
        self.slots
            .get(conn.index as usize)
            .filter(|slot| slot.generation == conn.generation)
            .and_then(|slot| slot.value.as_ref())
    }

    #[inline]
    pub(super) fn at_mut(&mut self, conn: Conn) -> Option<&mut T> {
        self.slots
            .get_mut(conn.index as usize)
            .filter(|slot| slot.generation == conn.generation)
            .and_then(|slot| slot.value.as_mut())
    }

    pub(super) fn remove(&mut self, conn: Conn) -> Option<T> {
        let slot = self
            .slots
            .get_mut(conn.index as usize)
            .filter(|slot| slot.generation == conn.generation)?;
        let value = slot.value.take()?;
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(conn.index);
        Some(value)
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Names and values, by place.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Conn, &T)> {
        self.slots.iter().zip(0u32..).filter_map(|(slot, index)| {
            let conn = Conn {
                index,
                generation: slot.generation,
            };
            Some((conn, slot.value.as_ref()?))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_finds_its_own_value_only() {
        let mut table = Table::new();
        let (a, b) = (table.insert('a'), table.insert('b'));
        assert_eq!(table.remove(a), Some('a'));
        let c = table.insert('c');
        assert_eq!((c.index, table.len()), (a.index, 2));
        assert_eq!(
            (table.at(a), table.at(b), table.at(c)),
            (None, Some(&'b'), Some(&'c'))
        );
        assert_eq!(table.remove(a), None);
        let found: Vec<_> = table.iter().map(|(conn, _)| conn).collect();
        assert_eq!(found, [c, b]);
    }
}
