//! How much is under way, counted for admission (RFC 6357's "load"): calls in all and by peer, and the rate of new ones.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::policy::screening::Load;
use crate::time::Time;

#[derive(Default)]
pub struct LoadCount {
    calls: u32,
    by_peer: HashMap<Arc<str>, u32>,
    /// Start of the second being counted and the calls admitted in it.
    second: (Time, u32),
}

impl LoadCount {
    pub fn calls(&self) -> u32 {
        self.calls
    }

    /// As policy sees it for a new call of `peer`.
    pub fn seen_by(&self, now: Time, peer: &str, draining: bool) -> Load {
        let rate = if now.since(self.second.0) < Duration::from_secs(1) { self.second.1 } else { 0 };
        Load { calls: self.calls, calls_of_peer: self.by_peer.get(peer).copied().unwrap_or(0), rate, draining }
    }

    pub fn admitted(&mut self, now: Time, peer: &Arc<str>) {
        self.calls += 1;
        *self.by_peer.entry(peer.clone()).or_insert(0) += 1;
        if now.since(self.second.0) >= Duration::from_secs(1) {
            self.second = (now, 0);
        }
        self.second.1 += 1;
    }

    pub fn ended(&mut self, peer: &str) {
        self.calls = self.calls.saturating_sub(1);
        if let Some(count) = self.by_peer.get_mut(peer) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.by_peer.remove(peer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_that_of_the_running_second() {
        let mut load = LoadCount::default();
        let peer: Arc<str> = "trunk".into();
        for _ in 0..3 {
            load.admitted(Time::from_millis(5000), &peer);
        }
        assert_eq!(load.seen_by(Time::from_millis(5999), "trunk", false), Load { calls: 3, calls_of_peer: 3, rate: 3, draining: false });
        assert_eq!(load.seen_by(Time::from_millis(6000), "other", true), Load { calls: 3, calls_of_peer: 0, rate: 0, draining: true });
        load.ended("trunk");
        assert_eq!(load.seen_by(Time::from_millis(6000), "trunk", false).calls_of_peer, 2);
    }
}
