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
