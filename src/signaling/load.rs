//! How much is under way, counted for admission (RFC 6357's "load"): calls in all, by the peer that began them, by dial plan and by whom they go to, and the rates of
//! new ones.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::policy::admission::Used;
use crate::policy::screening::Load;
use crate::policy::settings::PolicySet;
use crate::time::Time;

#[derive(Default)]
pub struct LoadCount {
    total: Count,
    by_peer: HashMap<Arc<str>, Count>,
    by_plan: HashMap<Arc<str>, Count>,
    by_target: HashMap<Arc<str>, Count>,
}

#[derive(Clone, Copy, Default)]
struct Count {
    calls: u32,
    /// Start of the second being counted and the calls admitted in it.
    second: (Time, u32),
}

const SECOND: Duration = Duration::from_secs(1);

impl Count {
    fn add(&mut self, now: Time) {
        self.calls += 1;
        if now.since(self.second.0) >= SECOND {
            self.second = (now, 0);
        }
        self.second.1 += 1;
    }

    fn used(&self, now: Time) -> Used {
        Used { calls: self.calls, rate: if now.since(self.second.0) < SECOND { self.second.1 } else { 0 } }
    }
}

impl LoadCount {
    pub fn calls(&self) -> u32 {
        self.total.calls
    }

    /// As policy sees it for a new call of `peer`.
    pub fn seen_by(&self, now: Time, peer: &str, set: &PolicySet) -> Load {
        let used = |counts: &HashMap<Arc<str>, Count>, name: &str| counts.get(name).map(|count| count.used(now)).unwrap_or_default();
        let limited = set.dial_plans.iter().filter(|plan| plan.limits.is_any());
        Load {
            total: self.total.used(now),
            peer: used(&self.by_peer, peer),
            plans: limited.map(|plan| (Arc::clone(&plan.name), used(&self.by_plan, &plan.name))).collect(),
            ..Load::default()
        }
    }

    pub fn admitted(&mut self, now: Time, peer: &Arc<str>, plan: Option<&Arc<str>>) {
        self.total.add(now);
        self.by_peer.entry(Arc::clone(peer)).or_default().add(now);
        if let Some(plan) = plan {
            self.by_plan.entry(Arc::clone(plan)).or_default().add(now);
        }
    }

    pub fn ended(&mut self, now: Time, peer: &str, plan: Option<&Arc<str>>) {
        self.total.calls = self.total.calls.saturating_sub(1);
        end(&mut self.by_peer, now, peer);
        if let Some(plan) = plan {
            end(&mut self.by_plan, now, plan);
        }
    }
}

impl LoadCount {
    /// Legs of ours there are, or are being asked for.
    pub fn towards(&self) -> u32 {
        self.by_target.values().map(|count| count.calls).sum()
    }

    /// What goes to this peer.
    pub fn towards_peer(&self, now: Time, peer: &str) -> Used {
        self.by_target.get(peer).map(|count| count.used(now)).unwrap_or_default()
    }

    /// A call goes to these peers now; `counted`: to which it went when it was last asked. Nearly always to the same.
    pub fn goes_to<'p>(&mut self, now: Time, counted: &mut Vec<Arc<str>>, peers: impl Iterator<Item = &'p Arc<str>> + Clone) {
        if peers.clone().eq(counted.iter()) {
            return;
        }
        let mut left = std::mem::take(counted);
        for peer in peers {
            match left.iter().position(|name| name == peer) {
                Some(index) => drop(left.swap_remove(index)),
                None => self.by_target.entry(Arc::clone(peer)).or_default().add(now),
            }
            counted.push(Arc::clone(peer));
        }
        left.iter().for_each(|peer| end(&mut self.by_target, now, peer));
    }
}

/// Names are forgotten with their last call, but not before the second is over in which calls of theirs still count.
fn end(counts: &mut HashMap<Arc<str>, Count>, now: Time, name: &str) {
    if let Some(count) = counts.get_mut(name) {
        count.calls = count.calls.saturating_sub(1);
        if count.calls == 0 {
            counts.retain(|_, count| count.used(now) != Used::default());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn used(calls: u32, rate: u32) -> Used {
        Used { calls, rate }
    }

    #[test]
    fn the_rate_is_that_of_the_running_second() {
        let mut load = LoadCount::default();
        let (peer, set): (Arc<str>, _) = ("trunk".into(), PolicySet::default());
        for _ in 0..3 {
            load.admitted(Time::from_millis(5000), &peer, None);
        }
        let seen = |load: &LoadCount, at, peer| {
            let seen = load.seen_by(Time::from_millis(at), peer, &set);
            (seen.total, seen.peer)
        };
        assert_eq!(seen(&load, 5999, "trunk"), (used(3, 3), used(3, 3)));
        assert_eq!(seen(&load, 6000, "other"), (used(3, 0), used(0, 0)));
        load.ended(Time::from_millis(6000), "trunk", None);
        assert_eq!(seen(&load, 6000, "trunk").1, used(2, 0));
    }

    #[test]
    fn calls_that_have_ended_count_for_the_rate_of_their_second() {
        let mut load = LoadCount::default();
        let (peer, plan, set): (Arc<str>, Arc<str>, _) = ("trunk".into(), "main".into(), PolicySet::default());
        for _ in 0..2 {
            load.admitted(Time::from_millis(100), &peer, Some(&plan));
            load.ended(Time::from_millis(200), &peer, Some(&plan));
        }
        assert_eq!(load.seen_by(Time::from_millis(300), "trunk", &set).peer, used(0, 2));
        load.admitted(Time::from_millis(1200), &"other".into(), None);
        load.ended(Time::from_millis(1300), "other", None);
        assert!(!load.by_peer.contains_key("trunk") || load.by_peer.len() <= 2);
        load.admitted(Time::from_millis(5000), &peer, Some(&plan));
        load.ended(Time::from_millis(9000), &peer, Some(&plan));
        assert!(load.by_peer.is_empty() && load.by_plan.is_empty(), "nothing is held of who has no call");
    }
    #[test]
    fn a_call_counts_where_it_goes_and_nowhere_else() {
        let mut load = LoadCount::default();
        let names: [Arc<str>; 2] = ["um1".into(), "um2".into()];
        let [one, two] = &names;
        let (mut first, mut second) = (Vec::new(), Vec::new());
        let at = Time::from_millis;
        load.goes_to(at(0), &mut first, [one].into_iter());
        load.goes_to(at(10), &mut first, [one].into_iter());
        assert_eq!(load.towards_peer(at(10), "um1"), used(1, 1), "the same target is not counted again");
        load.goes_to(at(20), &mut second, [one, one].into_iter());
        assert_eq!(load.towards_peer(at(20), "um1"), used(3, 3), "two legs of one call are two");
        load.goes_to(at(30), &mut first, [two].into_iter());
        assert_eq!((load.towards_peer(at(30), "um1"), load.towards_peer(at(30), "um2")), (used(2, 3), used(1, 1)));
        load.goes_to(at(2000), &mut first, [].into_iter());
        load.goes_to(at(2000), &mut second, [].into_iter());
        assert!(load.towards() == 0 && load.by_target.is_empty(), "nothing is held of who gets no call");
    }
}
