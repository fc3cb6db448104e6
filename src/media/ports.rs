//! The RTP port pairs we may hand out: the even port carries RTP, the odd one above it RTCP (RFC 3550 §11).

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::time::Time;

/// How long a released pair rests, so that late packets of the call that had it do not reach the next one.
pub const QUARANTINE: Duration = Duration::from_secs(2);

/// Pairs of one local address. Handed out in the order of their release, so the one longest unused comes first.
#[derive(Clone, Debug)]
pub struct PortPool {
    free: VecDeque<u16>,
    resting: VecDeque<(Time, u16)>,
    /// One bit per pair of the range: in use.
    used: Vec<bool>,
    /// Pairs of the range that another process has.
    elsewhere: Vec<u16>,
    base: u16,
}

impl PortPool {
    /// Every whole pair within `first..=last` (an odd `first` is left out; a pair needs both its ports inside).
    pub fn new(first: u16, last: u16) -> PortPool {
        let base = u32::from(first).next_multiple_of(2);
        let free: VecDeque<u16> = (base..u32::from(last)).step_by(2).filter_map(|port| u16::try_from(port).ok()).filter(|port| *port != 0).collect();
        let base = free.front().copied().unwrap_or(0);
        PortPool { used: vec![false; free.len()], resting: VecDeque::with_capacity(free.len()), free, elsewhere: Vec::new(), base }
    }

    /// An even port; its odd neighbour is allotted with it. `None` when every pair is in use or resting.
    pub fn allocate(&mut self, now: Time) -> Option<u16> {
        while let Some(&(until, port)) = self.resting.front()
            && until <= now
        {
            self.resting.pop_front();
            self.free.push_back(port);
        }
        let port = self.free.pop_front()?;
        if let Some(used) = self.slot(port) {
            *used = true;
        }
        Some(port)
    }

    /// Gives a pair back; it rests for `QUARANTINE`. A port that is not allotted is ignored.
    pub fn release(&mut self, now: Time, port: u16) {
        let Some(used) = self.slot(port) else { return };
        if std::mem::take(used) {
            self.resting.push_back((now + QUARANTINE, port));
        }
    }

    /// Keeps what is in use or rests, and of the free pairs an eighth, but no more than `spare`; the others are another process's. Returns what is kept.
    pub fn keep(&mut self, spare: usize) -> Vec<u16> {
        let spare = spare.min(self.free.len() / 8);
        self.elsewhere.extend(self.free.drain(spare..));
        let in_use = self.used.iter().enumerate().filter(|(_, used)| **used).filter_map(|(index, _)| u16::try_from(index * 2 + usize::from(self.base)).ok());
        in_use.chain(self.resting.iter().map(|(_, port)| *port)).chain(self.free.iter().copied()).collect()
    }

    /// Without those of `address` that another process has.
    pub fn without(mut self, elsewhere: &[SocketAddr], address: IpAddr) -> PortPool {
        let theirs: std::collections::HashSet<u16> = elsewhere.iter().filter(|pair| pair.ip() == address).map(SocketAddr::port).collect();
        self.elsewhere.extend(self.free.iter().copied().filter(|port| theirs.contains(port)));
        self.free.retain(|port| !theirs.contains(port));
        self
    }

    /// There is no other process any more.
    pub fn take_back(&mut self) {
        self.free.extend(self.elsewhere.drain(..));
    }

    /// Whether the pool hands out the pairs of `first..=last`.
    pub fn is_of(&self, first: u16, last: u16) -> bool {
        let base = u32::from(first).next_multiple_of(2);
        let pairs = (base.max(2)..u32::from(last)).step_by(2).len();
        pairs == self.capacity() && (pairs == 0 || base.max(2) == u32::from(self.base))
    }

    /// Pairs in use now.
    pub fn in_use(&self) -> usize {
        self.used.len() - self.free.len() - self.resting.len() - self.elsewhere.len()
    }

    /// Pairs that are not in use: free, resting, of another process.
    pub fn spare(&self, now: Time) -> [usize; 3] {
        let rested = self.resting.iter().take_while(|(until, _)| *until <= now).count();
        [self.free.len() + rested, self.resting.len() - rested, self.elsewhere.len()]
    }

    /// Pairs in the range.
    pub fn capacity(&self) -> usize {
        self.used.len()
    }

    fn slot(&mut self, port: u16) -> Option<&mut bool> {
        if !port.is_multiple_of(2) {
            return None;
        }
        self.used.get_mut(usize::from(port.checked_sub(self.base)?) / 2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const T0: Time = Time::from_millis(1_000);

    #[test]
    fn a_pool_knows_its_range() {
        for (first, last) in [(20_000, 20_999), (20_001, 20_999), (0, 9), (65_000, 65_535), (7, 7)] {
            let pool = PortPool::new(first, last);
            assert!(pool.is_of(first, last), "{first}-{last}");
        }
        for (first, last) in [(21_000, 21_999), (20_000, 21_999), (20_002, 20_999), (20_000, 20_001)] {
            assert!(!PortPool::new(20_000, 20_999).is_of(first, last), "{first}-{last}");
        }
    }

    #[test]
    fn only_whole_even_pairs_are_handed_out() {
        let mut pool = PortPool::new(10_001, 10_006);
        assert_eq!(pool.capacity(), 2);
        assert_eq!(pool.allocate(T0), Some(10_002));
        assert_eq!(pool.allocate(T0), Some(10_004));
        assert_eq!(pool.allocate(T0), None);
        assert_eq!(pool.in_use(), 2);
    }

    #[test]
    fn the_edges_of_the_port_space() {
        assert_eq!(PortPool::new(65_534, 65_535).capacity(), 1);
        assert_eq!(PortPool::new(65_535, 65_535).capacity(), 0);
        assert_eq!(PortPool::new(20, 10).capacity(), 0);
        let mut low = PortPool::new(0, 3);
        assert_eq!((low.capacity(), low.allocate(T0)), (1, Some(2)));
    }

    #[test]
    fn a_released_pair_rests_before_it_is_used_again() {
        let mut pool = PortPool::new(10_000, 10_001);
        let port = pool.allocate(T0).unwrap();
        pool.release(T0, port);
        assert_eq!(pool.in_use(), 0);
        assert_eq!([pool.spare(T0), pool.spare(T0 + QUARANTINE)], [[0, 1, 0], [1, 0, 0]]);
        assert_eq!(pool.allocate(T0 + Duration::from_millis(1_999)), None);
        assert_eq!(pool.allocate(T0 + QUARANTINE), Some(port));
    }

    #[test]
    fn two_processes_never_hand_out_the_same_pair() {
        let mut old = PortPool::new(10_000, 10_199);
        let address: IpAddr = "192.0.2.1".parse().unwrap();
        let (used, rests) = (old.allocate(T0).unwrap(), old.allocate(T0).unwrap());
        old.release(T0, rests);
        let kept: Vec<SocketAddr> = old.keep(3).into_iter().map(|port| (address, port).into()).collect();
        assert_eq!((kept.len(), old.in_use()), (5, 1), "one used, one resting, three spare");
        let mut new = PortPool::new(10_000, 10_199).without(&kept, address);
        assert_eq!(new.in_use(), 0);
        let later = T0 + QUARANTINE;
        let mut out: Vec<u16> = std::iter::from_fn(|| new.allocate(later)).chain(std::iter::from_fn(|| old.allocate(later))).chain([used]).collect();
        out.sort_unstable();
        assert_eq!(out, (10_000..10_200).step_by(2).collect::<Vec<u16>>(), "each once, and none is lost");
        new.take_back();
        assert_eq!(std::iter::from_fn(|| new.allocate(later)).count(), 5);
    }

    #[test]
    fn a_strange_or_second_release_changes_nothing() {
        let mut pool = PortPool::new(10_000, 10_003);
        let port = pool.allocate(T0).unwrap();
        pool.release(T0, port);
        pool.release(T0, port);
        pool.release(T0, port + 1);
        pool.release(T0, 2);
        pool.release(T0, 60_000);
        let later = T0 + QUARANTINE;
        assert!(pool.allocate(later).is_some() && pool.allocate(later).is_some());
        assert_eq!(pool.allocate(later), None, "one pair twice");
    }
}
