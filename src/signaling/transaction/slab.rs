//! Slots for transactions: a key holds the slot's number and the count of its tenants, so a key of the past names nothing, and finding a tenant
//! costs one index.

#[derive(Debug)]
pub struct Slab<T> {
    slots: Vec<Slot<T>>,
    /// First vacant slot, `NONE` if all are taken.
    vacant: u32,
    len: usize,
}

#[derive(Debug)]
struct Slot<T> {
    generation: u32,
    tenancy: Tenancy<T>,
}

#[derive(Debug)]
enum Tenancy<T> {
    Vacant { next: u32 },
    Taken(T),
}

const NONE: u32 = u32::MAX;
/// Bits of a generation: the key's top bit stays free for its owner.
const GENERATIONS: u32 = 0x7fff_ffff;

const fn split(key: u64) -> (u32, u32) {
    ((key >> 32) as u32, key as u32)
}

/// The slot's number.
pub const fn index_of(key: u64) -> u32 {
    key as u32
}

impl<T> Slab<T> {
    pub fn new() -> Slab<T> {
        Slab { slots: Vec::new(), vacant: NONE, len: 0 }
    }

    /// The key's top bit is never set. At most 2^32-1 tenants (the table's limit is far below).
    pub fn insert(&mut self, tenant: T) -> u64 {
        self.len += 1;
        let at = self.vacant;
        if let Some(slot) = self.slots.get_mut(at as usize)
            && let Tenancy::Vacant { next } = slot.tenancy
        {
            self.vacant = next;
            slot.generation = slot.generation.wrapping_add(1) & GENERATIONS;
            slot.tenancy = Tenancy::Taken(tenant);
            return u64::from(slot.generation) << 32 | u64::from(at);
        }
        let at = self.slots.len() as u64;
        self.slots.push(Slot { generation: 0, tenancy: Tenancy::Taken(tenant) });
        at
    }

    pub fn get(&self, key: u64) -> Option<&T> {
        let (generation, at) = split(key);
        match self.slots.get(at as usize) {
            Some(Slot { generation: now, tenancy: Tenancy::Taken(tenant) }) if *now == generation => Some(tenant),
            _ => None,
        }
    }

    pub fn get_mut(&mut self, key: u64) -> Option<&mut T> {
        let (generation, at) = split(key);
        match self.slots.get_mut(at as usize) {
            Some(Slot { generation: now, tenancy: Tenancy::Taken(tenant) }) if *now == generation => Some(tenant),
            _ => None,
        }
    }

    /// The key of whoever is in the slot.
    pub fn key_at(&self, at: u32) -> Option<u64> {
        let slot = self.slots.get(at as usize)?;
        matches!(slot.tenancy, Tenancy::Taken(_)).then_some(u64::from(slot.generation) << 32 | u64::from(at))
    }

    pub fn remove(&mut self, key: u64) -> Option<T> {
        let (generation, at) = split(key);
        let slot = self.slots.get_mut(at as usize).filter(|slot| slot.generation == generation && matches!(slot.tenancy, Tenancy::Taken(_)))?;
        let tenancy = std::mem::replace(&mut slot.tenancy, Tenancy::Vacant { next: self.vacant });
        self.vacant = at;
        self.len -= 1;
        match tenancy {
            Tenancy::Taken(tenant) => Some(tenant),
            Tenancy::Vacant { .. } => None,
        }
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.slots.iter().filter_map(|slot| if let Tenancy::Taken(tenant) = &slot.tenancy { Some(tenant) } else { None })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_of_the_past_names_nothing() {
        let mut slab = Slab::new();
        let a = slab.insert('a');
        let b = slab.insert('b');
        assert_eq!(slab.remove(a), Some('a'));
        assert_eq!(slab.remove(a), None);
        let c = slab.insert('c');
        assert_eq!(index_of(c), index_of(a));
        assert_ne!(c, a);
        assert_eq!((slab.get(a), slab.get(b), slab.get(c), slab.len()), (None, Some(&'b'), Some(&'c'), 2));
        assert_eq!(slab.key_at(index_of(a)), Some(c));
        assert_eq!(slab.key_at(99), None);
    }

    #[test]
    fn slots_are_taken_again() {
        let mut slab = Slab::new();
        for round in 0..1000 {
            let (a, b) = (slab.insert(round), slab.insert(round));
            slab.remove(b);
            slab.remove(a);
        }
        assert_eq!((slab.slots.len(), slab.len()), (2, 0));
    }
}
