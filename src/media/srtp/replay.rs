//! The replay list (RFC 3711 §3.3.2): a window over the last indices, so an index is accepted once.

/// Indices behind the highest that are still told apart.
pub const WIDTH: u64 = 128;

/// The highest index accepted and one bit for each of the `WIDTH` up to it. No bit set: nothing accepted under the present key; `highest` is then
/// only where the source was before.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ReplayList {
    highest: u64,
    seen: u128,
}

impl ReplayList {
    pub fn is_empty(&self) -> bool {
        self.seen == 0
    }

    pub fn highest(&self) -> u64 {
        self.highest
    }

    /// Whether the index may still come. Changes nothing.
    #[inline]
    pub fn is_fresh(&self, index: u64) -> bool {
        if self.is_empty() || index > self.highest {
            return true;
        }
        let behind = self.highest - index;
        behind < WIDTH && self.seen >> behind & 1 == 0
    }

    /// Marks an index as seen: only after authentication.
    #[inline]
    pub fn commit(&mut self, index: u64) {
        if self.is_empty() {
            (self.highest, self.seen) = (index, 1);
        } else if index > self.highest {
            let ahead = index - self.highest;
            self.seen = if ahead < WIDTH { self.seen << ahead | 1 } else { 1 };
            self.highest = index;
        } else if self.highest - index < WIDTH {
            self.seen |= 1 << (self.highest - index);
        }
    }

    /// Takes in what another list of the same source and key has seen.
    pub fn merge(&mut self, other: &ReplayList) {
        let (newer, older) = if other.is_empty() || (!self.is_empty() && other.highest <= self.highest) { (*self, other) } else { (*other, &*self) };
        let behind = newer.highest.saturating_sub(older.highest);
        let seen = if behind < WIDTH { older.seen << behind } else { 0 };
        *self = ReplayList { highest: newer.highest, seen: newer.seen | seen };
    }

    /// Starts anew, remembering where the source was.
    pub fn forget(&mut self) {
        self.seen = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_index_once_within_the_window() {
        let mut list = ReplayList::default();
        assert!(list.is_fresh(1_000));
        list.commit(1_000);
        assert!(!list.is_fresh(1_000));
        list.commit(1_127);
        assert!(!list.is_fresh(1_000), "the last place of the window");
        assert!(list.is_fresh(1_001));
        list.commit(1_128);
        assert!(!list.is_fresh(1_000), "too old to be told apart");
        list.commit(1_001);
        assert!(!list.is_fresh(1_001));
        list.commit(1 << 40);
        assert!(!list.is_fresh(1_128) && list.is_fresh((1 << 40) - 127) && !list.is_fresh((1 << 40) - 128));
    }

    #[test]
    fn merged_both_are_seen() {
        let list = |indices: &[u64]| {
            let mut list = ReplayList::default();
            indices.iter().for_each(|index| list.commit(*index));
            list
        };
        for (a, b) in [(list(&[5, 7]), list(&[6, 100])), (list(&[6, 100]), list(&[5, 7]))] {
            let mut merged = a;
            merged.merge(&b);
            assert_eq!(merged, list(&[5, 6, 7, 100]));
        }
        let mut fresh = ReplayList::default();
        fresh.merge(&list(&[1 << 20]));
        assert_eq!(fresh, list(&[1 << 20]));
        fresh.merge(&ReplayList::default());
        assert_eq!(fresh, list(&[1 << 20]));
        fresh.merge(&list(&[3]));
        assert_eq!(fresh, list(&[1 << 20]));
    }

    #[test]
    fn it_agrees_with_a_set() {
        let mut list = ReplayList::default();
        let mut seen = std::collections::BTreeSet::new();
        let (mut state, mut highest) = (1u64, 0u64);
        for _ in 0..100_000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let index = (highest + 140).saturating_sub((state >> 33) % 280);
            let fresh = seen.is_empty() || index > highest || (highest - index < WIDTH && !seen.contains(&index));
            assert_eq!(list.is_fresh(index), fresh, "{index} after {highest}");
            if fresh {
                list.commit(index);
                seen.insert(index);
                highest = highest.max(index);
            }
        }
    }
}
