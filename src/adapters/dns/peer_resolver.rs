//! Keeps every peer's host name fresh (RFC 3263 order, by TTL) and publishes the numbered table of who lives where.
//!
//! One task owns the names' states ([`super::freshness`]); each question runs in a task of its own, so a name whose servers are dead delays
//! no other. A peer without a port lives wherever its SRV records lead, one with a port at the addresses of its name. Nothing a caller sends
//! makes a question.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use tokio::sync::{Semaphore, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;

use super::Settings;
use super::freshness::{Answered, Freshness};
use super::lookup::{self, Lookup};
use crate::policy::peer::{PeerTable, Shared};
use crate::policy::settings::{Peer, PeerHost, PolicySet};
use crate::signaling::event::{LocateError, LocateQuery};
use crate::signaling::fact::What;
use crate::sip::Transport;
use crate::time::Time;

/// Names asked for at the same time; more wait their turn.
const AT_ONCE: usize = 256;

/// What is asked for. Several peers may share one.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Key {
    name: Arc<str>,
    /// The service whose SRV records are looked for; `None`: the peer has a port, so only addresses are.
    service: Option<Transport>,
}

/// Dropping it stops the refreshing; the last table stays with its holders.
pub struct PeerResolver {
    tables: watch::Receiver<Arc<PeerTable>>,
    policies: watch::Sender<Arc<PolicySet>>,
    settled: watch::Receiver<bool>,
    task: AbortHandle,
}

impl PeerResolver {
    /// Starts refreshing in the background (inside a tokio runtime). `report` is told of every change of a name's state and of every address
    /// that two peers share; it must not block. The first table, number 1, holds the literal addresses only and is there at once.
    pub fn start(settings: Settings, set: Arc<PolicySet>, report: impl Fn(What) + Send + Sync + 'static) -> io::Result<PeerResolver> {
        let lookup = Arc::new(Lookup::new(&settings, false)?);
        let first = PeerTable::build(1, &set, &|_| Vec::new());
        let (tables_in, tables) = watch::channel(Arc::new(first));
        let (settled_in, settled) = watch::channel(false);
        let (policies, policies_out) = watch::channel(set);
        let rounds = Rounds {
            settings,
            lookup,
            places: Arc::new(Semaphore::new(AT_ONCE)),
            began: Instant::now(),
            names: HashMap::new(),
            asked: JoinSet::new(),
            policies: policies_out,
            tables: tables_in,
            settled: settled_in,
            shared: Vec::new(),
            report: Box::new(report),
        };
        let task = tokio::spawn(rounds.run()).abort_handle();
        Ok(PeerResolver { tables, policies, settled, task })
    }

    /// The table in force, and a way to await the next: every change of an address or of the policy set makes one, with the next number.
    pub fn tables(&self) -> watch::Receiver<Arc<PeerTable>> {
        self.tables.clone()
    }

    /// A reload: names that stay keep their addresses, others are asked for. The next table has the new set.
    pub fn policies(&self, set: Arc<PolicySet>) {
        self.policies.send_replace(set);
    }

    /// Returns once every name of the first set was answered or has failed for the first time: at the latest after `Settings::limit`.
    pub async fn settled(&self) {
        let _ = self.settled.clone().wait_for(|settled| *settled).await;
    }

    /// As `settled`, without waiting.
    pub fn is_settled(&self) -> bool {
        *self.settled.borrow()
    }
}

impl Drop for PeerResolver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The task's own.
struct Rounds {
    settings: Settings,
    lookup: Arc<Lookup>,
    places: Arc<Semaphore>,
    began: Instant,
    names: HashMap<Key, Freshness>,
    asked: JoinSet<(Key, Answered)>,
    policies: watch::Receiver<Arc<PolicySet>>,
    tables: watch::Sender<Arc<PeerTable>>,
    settled: watch::Sender<bool>,
    /// Shared addresses already reported.
    shared: Vec<Shared>,
    report: Box<dyn Fn(What) + Send + Sync>,
}

impl Rounds {
    async fn run(mut self) {
        self.take_policies();
        self.publish();
        loop {
            self.ask_due();
            if self.names.values().all(Freshness::is_settled) {
                self.settled.send_if_modified(|settled| !std::mem::replace(settled, true));
            }
            let deadline = self.names.values().filter_map(Freshness::deadline).min().map(|at| self.began + at.since(Time::ZERO));
            let asleep = async {
                match deadline {
                    Some(deadline) => tokio::time::sleep_until(deadline).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                Some(done) = self.asked.join_next() => {
                    let mut changed = self.answered(done);
                    // Answers that came together make one table.
                    while let Some(done) = self.asked.try_join_next() {
                        changed |= self.answered(done);
                    }
                    if changed {
                        self.publish();
                    }
                }
                changed = self.policies.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    self.take_policies();
                    self.publish();
                }
                () = asleep => {
                    if self.expire() {
                        self.publish();
                    }
                }
            }
        }
    }

    fn now(&self) -> Time {
        Time::from_nanos(u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    fn take_policies(&mut self) {
        let set = Arc::clone(&self.policies.borrow_and_update());
        let now = self.now();
        let wanted: Vec<Key> = keys(&set).collect();
        self.names.retain(|key, _| wanted.contains(key));
        for key in wanted {
            self.names.entry(key).or_insert_with(|| Freshness::new(now));
        }
    }

    fn ask_due(&mut self) {
        let now = self.now();
        for (key, name) in &mut self.names {
            if !name.take_due(now) {
                continue;
            }
            let query = LocateQuery {
                host: Arc::clone(&key.name),
                // Any port will do: where the peer has one, only addresses are asked for.
                port: key.service.is_none().then_some(Transport::Udp.default_port()),
                transport: Some(key.service.unwrap_or(Transport::Udp)),
                allowed: Vec::new(),
            };
            let (key, lookup, places, limit) = (key.clone(), Arc::clone(&self.lookup), Arc::clone(&self.places), self.settings.limit);
            self.asked.spawn(async move {
                let Ok(_place) = places.acquire().await else { return (key, FAILED) };
                // Always the same seed: the order among equals must not look like a change.
                let (located, ttl) = lookup::locate(&lookup, query, 0, Instant::now() + limit).await;
                let addresses = located.targets.map(|targets| {
                    let mut addresses: Vec<IpAddr> = Vec::with_capacity(targets.len());
                    for target in targets {
                        let address = target.address.ip();
                        if !addresses.contains(&address) {
                            addresses.push(address);
                        }
                    }
                    addresses
                });
                (key, Answered { addresses, complete: located.complete, ttl })
            });
        }
    }

    /// Whether any address changed.
    fn answered(&mut self, done: Result<(Key, Answered), tokio::task::JoinError>) -> bool {
        let now = self.now();
        // A task that died took its key with it; it cannot: it has nothing to panic on.
        let Ok((key, answered)) = done else { return false };
        // The name may have left the set meanwhile.
        let Some(name) = self.names.get_mut(&key) else { return false };
        let before = name.addresses().to_vec();
        let told = name.answered(now, answered, &self.settings);
        let changed = name.addresses() != before;
        if let Some(state) = told {
            (self.report)(What::PeerName { name: key.name, state });
        }
        changed
    }

    fn expire(&mut self) -> bool {
        let now = self.now();
        let mut changed = false;
        for (key, name) in &mut self.names {
            let before = name.addresses().len();
            if let Some(state) = name.expire(now) {
                (self.report)(What::PeerName { name: Arc::clone(&key.name), state });
            }
            changed |= name.addresses().len() != before;
        }
        changed
    }

    fn publish(&mut self) {
        let set = Arc::clone(&self.policies.borrow());
        let resolved = |name: &str| {
            let mut all: Vec<IpAddr> = Vec::new();
            // Several services of one name: in a fixed order.
            for service in [None, Some(Transport::Tls), Some(Transport::Tcp), Some(Transport::Udp)] {
                let key = Key { name: name.into(), service };
                for address in self.names.get(&key).map_or(&[][..], Freshness::addresses) {
                    if !all.contains(address) {
                        all.push(*address);
                    }
                }
            }
            all
        };
        let number = self.tables.borrow().number + 1;
        let table = PeerTable::build(number, &set, &resolved);
        self.report_shared(&table);
        self.tables.send_replace(Arc::new(table));
    }

    /// Exchange's event 1175, once for as long as it lasts.
    fn report_shared(&mut self, table: &PeerTable) {
        let shared = table.shared();
        for entry in shared.iter().filter(|entry| !self.shared.contains(entry)) {
            (self.report)(What::PeersShareAddress {
                place: entry.place,
                transport: entry.transport,
                peers: entry.peers.iter().map(|peer| Arc::clone(&peer.name)).collect(),
                told_apart: entry.told_apart_by_certificate(),
            });
        }
        self.shared = shared;
    }
}

const FAILED: Answered = Answered { addresses: Err(LocateError::Failed), complete: false, ttl: None };

fn keys(set: &PolicySet) -> impl Iterator<Item = Key> {
    let of_peer = |peer: &Arc<Peer>| -> Vec<Key> {
        let service = if peer.port.is_some() { None } else { Some(peer.transport) };
        peer.hosts
            .iter()
            .filter_map(|host| match host {
                PeerHost::Name(name) => Some(Key { name: Arc::clone(name), service }),
                PeerHost::Address(_) | PeerHost::Network(_) => None,
            })
            .collect()
    };
    set.peers.iter().flat_map(of_peer)
}
