//! Deadlines of many things at once: the one timer structure of the signalling plane (transactions, dialogs, calls).
//!
//! A binary heap beside a map from key to its deadline. Moving a deadline later only writes the map (the heap entry is put right when it comes
//! to the top), so the usual "push it further out" costs no heap work; entries left behind by `cancel` and by earlier deadlines are dropped when
//! they come to the top, or all at once when they are the majority. All operations are O(log n) amortised, and no timer has an allocation of its
//! own.

use std::cmp::Ordering;
use std::collections::{BinaryHeap, HashMap};
use std::hash::{BuildHasherDefault, Hash, Hasher};

use crate::time::Time;

/// At most one deadline per key. Keys must be minted by us: their hash is fast, not keyed against chosen collisions.
#[derive(Debug)]
pub struct Deadlines<K> {
    heap: BinaryHeap<Entry<K>>,
    armed: HashMap<K, Armed, BuildHasherDefault<KeyHasher>>,
    stamp: u64,
}

#[derive(Clone, Copy, Debug)]
struct Armed {
    at: Time,
    /// Names the one heap entry that counts for this key; its time is `at` or earlier.
    stamp: u64,
}

/// Ordered so that the heap's greatest is the earliest; among equals the first set.
#[derive(Clone, Copy, Debug)]
struct Entry<K> {
    at: Time,
    stamp: u64,
    key: K,
}

impl<K> PartialEq for Entry<K> {
    fn eq(&self, other: &Self) -> bool {
        self.stamp == other.stamp
    }
}

impl<K> Eq for Entry<K> {}

impl<K> PartialOrd for Entry<K> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<K> Ord for Entry<K> {
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.stamp).cmp(&(self.at, self.stamp))
    }
}

impl<K: Copy + Eq + Hash> Default for Deadlines<K> {
    fn default() -> Self {
        Deadlines::new()
    }
}

impl<K: Copy + Eq + Hash> Deadlines<K> {
    pub fn new() -> Self {
        Deadlines { heap: BinaryHeap::new(), armed: HashMap::default(), stamp: 0 }
    }

    /// Sets or moves the key's deadline.
    pub fn set(&mut self, key: K, at: Time) {
        match self.armed.get_mut(&key) {
            Some(armed) if at >= armed.at => armed.at = at,
            Some(armed) => {
                self.stamp += 1;
                *armed = Armed { at, stamp: self.stamp };
                self.heap.push(Entry { at, stamp: self.stamp, key });
            }
            None => {
                self.stamp += 1;
                self.armed.insert(key, Armed { at, stamp: self.stamp });
                self.heap.push(Entry { at, stamp: self.stamp, key });
            }
        }
        self.settle();
    }

    /// Nothing happens if the key has no deadline.
    pub fn cancel(&mut self, key: K) {
        if self.armed.remove(&key).is_some() {
            self.settle();
        }
    }

    /// The earliest deadline.
    pub fn next(&self) -> Option<Time> {
        self.heap.peek().map(|entry| entry.at)
    }

    /// A key whose deadline is `now` or earlier, earliest first; it has no deadline afterwards.
    pub fn pop(&mut self, now: Time) -> Option<K> {
        if self.next()? > now {
            return None;
        }
        let entry = self.heap.pop()?;
        self.armed.remove(&entry.key);
        self.settle();
        Some(entry.key)
    }

    /// The deadline of this key.
    pub fn at(&self, key: K) -> Option<Time> {
        self.armed.get(&key).map(|armed| armed.at)
    }

    pub fn len(&self) -> usize {
        self.armed.len()
    }

    pub fn is_empty(&self) -> bool {
        self.armed.is_empty()
    }

    /// Makes the heap's top an entry that counts and whose time is its key's deadline.
    fn settle(&mut self) {
        while let Some(top) = self.heap.peek().copied() {
            match self.armed.get_mut(&top.key) {
                Some(armed) if armed.stamp == top.stamp => {
                    if armed.at == top.at {
                        break;
                    }
                    self.heap.pop();
                    self.stamp += 1;
                    armed.stamp = self.stamp;
                    self.heap.push(Entry { at: armed.at, stamp: self.stamp, key: top.key });
                }
                _ => {
                    self.heap.pop();
                }
            }
        }
        if self.heap.len() > 64 && self.heap.len() > 2 * self.armed.len() {
            let armed = &self.armed;
            self.heap.retain(|entry| armed.get(&entry.key).is_some_and(|a| a.stamp == entry.stamp));
        }
    }
}

/// Multiply and fold: for keys minted by us.
#[derive(Clone, Copy, Debug, Default)]
pub struct KeyHasher(u64);

impl Hasher for KeyHasher {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_le_bytes(word));
        }
    }

    fn write_u8(&mut self, word: u8) {
        self.write_u64(u64::from(word));
    }

    fn write_u16(&mut self, word: u16) {
        self.write_u64(u64::from(word));
    }

    fn write_u32(&mut self, word: u32) {
        self.write_u64(u64::from(word));
    }

    fn write_u64(&mut self, word: u64) {
        let product = u128::from(self.0.rotate_left(23) ^ word ^ 0x9e37_79b9_7f4a_7c15) * 0xd6e8_feb8_6659_fd93;
        self.0 = (product >> 64) as u64 ^ product as u64;
    }

    fn write_usize(&mut self, word: usize) {
        self.write_u64(word as u64);
    }

    /// An enum's discriminant.
    fn write_isize(&mut self, word: isize) {
        self.write_u64(word as u64);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn ms(millis: u64) -> Time {
        Time::from_millis(millis)
    }

    #[test]
    fn pops_in_order_of_time_then_of_setting() {
        let mut deadlines = Deadlines::new();
        deadlines.set('c', ms(30));
        deadlines.set('a', ms(10));
        deadlines.set('b', ms(10));
        assert_eq!(deadlines.next(), Some(ms(10)));
        assert_eq!(deadlines.pop(ms(9)), None);
        assert_eq!(deadlines.pop(ms(40)), Some('a'));
        assert_eq!(deadlines.pop(ms(40)), Some('b'));
        assert_eq!(deadlines.pop(ms(40)), Some('c'));
        assert_eq!(deadlines.pop(ms(40)), None);
    }

    #[test]
    fn next_is_exact_after_moving_later_and_after_cancel() {
        let mut deadlines = Deadlines::new();
        deadlines.set(1, ms(10));
        deadlines.set(2, ms(20));
        deadlines.set(1, ms(30));
        assert_eq!(deadlines.next(), Some(ms(20)));
        deadlines.cancel(2);
        assert_eq!(deadlines.next(), Some(ms(30)));
        deadlines.set(1, ms(5));
        assert_eq!(deadlines.next(), Some(ms(5)));
        deadlines.cancel(1);
        assert_eq!((deadlines.next(), deadlines.len()), (None, 0));
    }

    #[test]
    fn setting_and_cancelling_for_ever_keeps_the_heap_small() {
        let mut deadlines = Deadlines::new();
        deadlines.set(0u32, ms(1));
        for round in 0..10_000 {
            deadlines.set(1, ms(1_000_000 - round % 7));
            deadlines.cancel(1);
        }
        assert!(deadlines.heap.len() <= 65, "{}", deadlines.heap.len());
    }

    proptest! {
        #[test]
        fn behaves_as_a_plain_map(steps in prop::collection::vec((0u8..4, 0u8..20, 0u64..1000), 1..400)) {
            let mut deadlines = Deadlines::new();
            let mut model: BTreeMap<u8, Time> = BTreeMap::new();
            for (what, key, at) in steps {
                match what {
                    0 | 1 => {
                        deadlines.set(key, ms(at));
                        model.insert(key, ms(at));
                    }
                    2 => {
                        deadlines.cancel(key);
                        model.remove(&key);
                    }
                    _ => {
                        while let Some(popped) = deadlines.pop(ms(at)) {
                            let was = model.remove(&popped);
                            prop_assert!(was.is_some_and(|was| was <= ms(at)));
                        }
                        prop_assert!(model.values().all(|&left| left > ms(at)));
                    }
                }
                prop_assert_eq!(deadlines.next(), model.values().copied().min());
                prop_assert_eq!(deadlines.len(), model.len());
            }
        }
    }
}
