//! All names there are to ask for, and which of them wants attention next: neither costs more than it must with thousands of names.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use super::freshness::Freshness;
use super::status::{NameStatus, Signed};
use crate::policy::address_scope::AddressScope;
use crate::policy::settings::{Peer, PeerHost, PolicySet};
use crate::signaling::fact::NameOddity;
use crate::sip::Transport;
use crate::time::Time;

/// What is asked for. Several peers may share one.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Key {
    pub name: Arc<str>,
    /// The service whose SRV records are looked for; `None`: the peer has a port, so only addresses are.
    pub service: Option<Transport>,
    /// What DNS may say.
    pub scope: AddressScope,
}

impl Key {
    pub fn of(peer: &Peer, name: &Arc<str>) -> Key {
        Key { name: Arc::clone(name), service: if peer.port.is_some() { None } else { Some(peer.transport) }, scope: peer.addresses }
    }
}

pub(super) struct Entry {
    pub key: Key,
    pub freshness: Freshness,
    /// Of the last good answer.
    pub signed: Option<Signed>,
    /// Told already, for as long as it stays so.
    pub oddities: Vec<NameOddity>,
    /// Who has it, in the set's order.
    pub peers: Vec<Arc<str>>,
}

/// Numbers name entries for as long as they live and are never given again: an answer that comes too late meets nobody.
#[derive(Default)]
pub(super) struct Names {
    numbers: HashMap<Key, u64>,
    entries: HashMap<u64, Entry>,
    /// When each entry wants attention.
    due: BTreeSet<(Time, u64)>,
    unsettled: usize,
    next: u64,
}

impl Names {
    /// The names of this set: those known stay as they are, but for those without good addresses, which are asked for at once.
    pub fn take(&mut self, set: &PolicySet, now: Time, seed: u64) {
        let mut peers: HashMap<Key, Vec<Arc<str>>> = HashMap::new();
        for peer in &set.peers {
            for host in &peer.hosts {
                if let PeerHost::Name(name) = host {
                    let having = peers.entry(Key::of(peer, name)).or_default();
                    if !having.contains(&peer.name) {
                        having.push(Arc::clone(&peer.name));
                    }
                }
            }
        }
        let known: Vec<u64> = self.entries.keys().copied().collect();
        for number in known {
            let Some(entry) = self.entries.get(&number) else { continue };
            if peers.contains_key(&entry.key) {
                self.change(number, |entry| entry.freshness.hurry(now));
            } else {
                self.remove(number);
            }
        }
        for (key, peers) in peers {
            if let Some(entry) = self.numbers.get(&key).and_then(|number| self.entries.get_mut(number)) {
                entry.peers = peers;
                continue;
            }
            let number = self.next;
            self.next += 1;
            let freshness = Freshness::new(now, seed ^ number.wrapping_mul(0x2545_f491_4f6c_dd1d));
            self.due.extend(freshness.deadline().map(|at| (at, number)));
            self.unsettled += usize::from(!freshness.is_settled());
            self.numbers.insert(key.clone(), number);
            self.entries.insert(number, Entry { key, freshness, signed: None, oddities: Vec::new(), peers });
        }
    }

    /// Every name, of others than before.
    pub fn ask_anew(&mut self, now: Time) {
        let known: Vec<u64> = self.entries.keys().copied().collect();
        for number in known {
            self.change(number, |entry| entry.freshness.ask_anew(now));
        }
    }

    fn remove(&mut self, number: u64) {
        let Some(entry) = self.entries.remove(&number) else { return };
        self.numbers.remove(&entry.key);
        if let Some(at) = entry.freshness.deadline() {
            self.due.remove(&(at, number));
        }
        self.unsettled -= usize::from(!entry.freshness.is_settled());
    }

    /// `None`: it has left the set meanwhile.
    pub fn change<T>(&mut self, number: u64, change: impl FnOnce(&mut Entry) -> T) -> Option<T> {
        let entry = self.entries.get_mut(&number)?;
        let (before, unsettled) = (entry.freshness.deadline(), !entry.freshness.is_settled());
        let outcome = change(entry);
        let after = entry.freshness.deadline();
        if before != after {
            before.map(|at| self.due.remove(&(at, number)));
            self.due.extend(after.map(|at| (at, number)));
        }
        if unsettled && entry.freshness.is_settled() {
            self.unsettled -= 1;
        }
        Some(outcome)
    }

    /// Names that want attention by now.
    pub fn due(&self, now: Time) -> Vec<u64> {
        self.due.range(..=(now, u64::MAX)).map(|(_, number)| *number).collect()
    }

    pub fn deadline(&self) -> Option<Time> {
        self.due.first().map(|(at, _)| *at)
    }

    /// Every name was answered or has failed at least once.
    pub fn are_settled(&self) -> bool {
        self.unsettled == 0
    }

    /// What this name stands for where this peer is concerned.
    pub fn addresses(&self, peer: &Peer, name: &Arc<str>) -> Vec<IpAddr> {
        let entry = self.numbers.get(&Key::of(peer, name)).and_then(|number| self.entries.get(number));
        entry.map_or_else(Vec::new, |entry| entry.freshness.addresses().collect())
    }

    /// By name.
    pub fn statuses(&self, now: Time) -> Vec<NameStatus> {
        let mut all: Vec<NameStatus> = self.entries.values().map(|entry| entry.status(now)).collect();
        all.sort_by(|a, b| (&a.name, a.service, a.scope).cmp(&(&b.name, b.service, b.scope)));
        all
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::Settings;
    use super::super::freshness::{Address, Answered};
    use super::*;
    use crate::policy::settings::{PeerKind, SecurityMode};

    const TTL: Duration = Duration::from_secs(30);

    fn set(count: usize, prefix: &str) -> PolicySet {
        let peer = |number: usize| {
            let name = format!("{prefix}{number}");
            let hosts = vec![PeerHost::Name(format!("{name}.example").into())];
            Arc::new(Peer { hosts, ..Peer::new(&name, PeerKind::Trunk, Transport::Udp, SecurityMode::Unsecured) })
        };
        PolicySet { peers: (0..count).map(peer).collect(), ..PolicySet::default() }
    }

    fn good() -> Answered {
        Answered::Whole { addresses: vec![Address { ip: IpAddr::from([8, 8, 8, 8]), ttl: Some(TTL) }], ttl: Some(TTL) }
    }

    /// Takes all questions that are due at `now`, and answers them at once.
    fn answer_due(names: &mut Names, now: Time, settings: &Settings) -> u32 {
        let mut asked = 0;
        for number in names.due(now) {
            names.change(number, |entry| {
                if entry.freshness.take_due(now) {
                    asked += 1;
                    entry.freshness.answered(now, good(), settings);
                }
            });
        }
        asked
    }

    #[test]
    fn a_thousand_names_of_one_ttl_never_come_in_one_burst() {
        let (mut names, settings) = (Names::default(), Settings::default());
        names.take(&set(1000, "p"), Time::ZERO, 42);
        assert_eq!(answer_due(&mut names, Time::ZERO, &settings), 1000);
        let mut per_second = vec![0u32; 600];
        while let Some(now) = names.deadline().filter(|at| *at < Time::from_millis(600_000)) {
            assert!(names.entries.values().all(|entry| entry.freshness.last_answer().is_some_and(|at| now - at <= TTL * 9 / 10)), "asked before the TTL ends");
            per_second[(now.as_millis() / 1000) as usize] += answer_due(&mut names, now, &settings);
        }
        let (all, busiest) = (per_second.iter().sum::<u32>(), per_second.iter().skip(300).max().copied().unwrap_or(0));
        // Every 24 s in the mean: 42 a second.
        assert!((23_000..27_000).contains(&all), "{all} questions in ten minutes");
        assert!(per_second.iter().all(|second| *second < 250), "{per_second:?}");
        assert!(busiest < 100, "{busiest} in one second after five minutes: {per_second:?}");
    }

    #[test]
    fn a_name_that_left_the_set_meets_no_late_answer_and_one_that_stays_is_not_asked_again() {
        let (mut names, settings) = (Names::default(), Settings::default());
        names.take(&set(2, "old"), Time::ZERO, 1);
        let due = names.due(Time::ZERO);
        assert_eq!((due.len(), names.are_settled()), (2, false));
        let now = Time::from_millis(1000);
        names.take(&set(1, "new"), now, 2);
        assert!(due.iter().all(|number| names.change(*number, |_| ()).is_none()));
        assert_eq!(answer_due(&mut names, now, &settings), 1);
        assert!(names.are_settled());
        names.take(&set(1, "new"), now, 3);
        assert!(names.due(now).is_empty() && names.deadline().is_some());
        names.take(&PolicySet::default(), now, 4);
        assert!(names.deadline().is_none() && names.are_settled() && names.statuses(now).is_empty());
    }

    #[test]
    fn a_reload_asks_at_once_for_what_has_no_good_addresses() {
        let (mut names, settings, now) = (Names::default(), Settings::default(), Time::from_millis(5000));
        names.take(&set(2, "p"), Time::ZERO, 1);
        let due = names.due(Time::ZERO);
        for (number, answer) in due.into_iter().zip([good(), Answered::Absent { ttl: Some(Duration::from_secs(3600)) }]) {
            names.change(number, |entry| {
                entry.freshness.take_due(Time::ZERO);
                entry.freshness.answered(Time::ZERO, answer, &settings)
            });
        }
        assert!(names.due(now).is_empty());
        names.take(&set(2, "p"), now, 2);
        assert_eq!(names.due(now).len(), 1);
    }

    #[test]
    fn one_name_of_two_peers_is_one_question_where_they_ask_the_same_way() {
        let mut peers: Vec<Peer> = (0..4).map(|n| Peer::new(&format!("p{n}"), PeerKind::Trunk, Transport::Udp, SecurityMode::Unsecured)).collect();
        peers.iter_mut().for_each(|peer| peer.hosts = vec![PeerHost::Name("one.example".into()); 2]);
        peers[2].port = Some(5060);
        peers[3].addresses = AddressScope::Private;
        let set = PolicySet { peers: peers.into_iter().map(Arc::new).collect(), ..PolicySet::default() };
        let mut names = Names::default();
        names.take(&set, Time::ZERO, 1);
        let statuses = names.statuses(Time::ZERO);
        let whose: Vec<Vec<&str>> = statuses.iter().map(|status| status.peers.iter().map(|peer| &**peer).collect()).collect();
        assert_eq!(whose, [vec!["p2"], vec!["p0", "p1"], vec!["p3"]]);
    }
}
