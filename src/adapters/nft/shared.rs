//! What the firewall's callers and its keeper both see.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use ipnet::IpNet;

use super::contents::Set;
use super::keeper;
use super::ruleset::{COUNTERS, Timed};
use super::{Kernel, Mode};
use crate::adapters::clock::Clock;
use crate::media::control::StreamId;
use crate::policy::ban::{Ban, Bans};
use crate::policy::peer::PeerTable;
use crate::signaling::fact::{FirewallEvent, What};

pub struct Shared {
    pub clock: Clock,
    /// The newest table admitted: nobody in it is banned.
    pub table: ArcSwap<PeerTable>,
    bans: Mutex<Bans>,
    kernel: Mutex<Seen>,
    /// Streams that have ended. That wakes nobody: their ports are shut with the next change, or within a second.
    closed: Mutex<Vec<StreamId>>,
    report: Box<dyn Fn(What) + Send + Sync>,
}

/// What was last seen in the kernel.
struct Seen {
    status: Kernel,
    bans: HashMap<(Set, IpAddr), Ban>,
    /// What counters of earlier tables had come to.
    carried: BTreeMap<&'static str, u64>,
}

impl Shared {
    pub fn new(mode: Mode, clock: Clock, table: std::sync::Arc<PeerTable>, bans: Bans, report: impl Fn(What) + Send + Sync + 'static) -> Shared {
        let status = Kernel { mode, in_force: false, elements: 0, rebuilt: 0, dropped: COUNTERS.iter().map(|name| (*name, 0)).collect(), last_error: None };
        let seen = Seen { status, bans: HashMap::new(), carried: BTreeMap::new() };
        Shared { clock, table: ArcSwap::new(table), bans: Mutex::new(bans), kernel: Mutex::new(seen), closed: Mutex::default(), report: Box::new(report) }
    }

    pub fn bans(&self) -> MutexGuard<'_, Bans> {
        self.bans.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn tell(&self, event: FirewallEvent) {
        (self.report)(What::Firewall(event));
    }

    pub fn close(&self, stream: StreamId) {
        self.closed.lock().unwrap_or_else(PoisonError::into_inner).push(stream);
    }

    pub fn take_closed(&self) -> Vec<StreamId> {
        std::mem::take(&mut *self.closed.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.kernel.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn kernel(&self) -> Kernel {
        self.seen().status.clone()
    }

    pub fn in_force(&self, elements: usize) {
        let mut seen = self.seen();
        (seen.status.in_force, seen.status.elements, seen.status.last_error) = (true, elements, None);
    }

    pub fn out(&self, why: String) {
        let mut seen = self.seen();
        (seen.status.in_force, seen.status.elements, seen.status.last_error) = (false, 0, Some(why));
    }

    pub fn ended(&self) {
        let mut seen = self.seen();
        (seen.status.in_force, seen.status.elements) = (false, 0);
        seen.bans.clear();
    }

    /// Another process of this border keeps the table, and the kernel's bans with it.
    pub fn left(&self) {
        self.out("another process of this border keeps the table".to_owned());
        self.seen().bans.clear();
    }

    pub fn set_elements(&self, elements: usize) {
        self.seen().status.elements = elements;
    }

    pub fn rebuilt(&self) {
        self.seen().status.rebuilt += 1;
    }

    /// The table is a new one, whose counters begin at zero.
    pub fn counters_anew(&self) {
        let mut seen = self.seen();
        seen.carried = seen.status.dropped.clone();
    }

    pub fn count(&self, counters: &[(String, u64)]) {
        let mut seen = self.seen();
        for name in COUNTERS {
            let Some((_, packets)) = counters.iter().find(|(found, _)| found == name) else { continue };
            let all = packets.saturating_add(seen.carried.get(name).copied().unwrap_or_default());
            seen.status.dropped.insert(name, all);
        }
    }

    /// What the kernel has banned. Those that were not there before are told of.
    pub fn kernel_bans(&self, found: Vec<(Set, IpAddr, Ban)>) {
        let mut fresh = Vec::new();
        {
            let mut seen = self.seen();
            let next: HashMap<(Set, IpAddr), Ban> = found.into_iter().map(|(set, address, ban)| ((set, address), ban)).collect();
            fresh.extend(next.iter().filter(|(key, _)| !seen.bans.contains_key(*key)).map(|(_, ban)| ban.clone()));
            seen.bans = next;
        }
        fresh.into_iter().for_each(|ban| self.tell(FirewallEvent::Banned(ban)));
    }

    /// What the kernel has banned while another process kept the table, and told of.
    pub fn adopt_kernel_bans(&self, found: Vec<(Set, IpAddr, Ban)>) {
        self.seen().bans = found.into_iter().map(|(set, address, ban)| ((set, address), ban)).collect();
    }

    pub fn kernel_banned(&self) -> Vec<Ban> {
        let now = self.clock.now();
        let mut bans: Vec<Ban> = self.seen().bans.values().filter(|ban| !ban.is_over(now)).cloned().collect();
        bans.sort_by_key(|ban| (ban.net, ban.cause.code()));
        bans
    }

    pub fn forget_kernel_ban(&self, net: IpNet) -> Vec<Ban> {
        let mut lifted = Vec::new();
        self.seen().bans.retain(|_, ban| {
            ban.net != net || {
                lifted.push(ban.clone());
                false
            }
        });
        lifted
    }

    /// To be put into a new table.
    pub fn timed_bans(&self) -> Vec<Timed> {
        let now = self.clock.now();
        self.seen().bans.iter().filter_map(|((set, source), ban)| keeper::timed(*set, *source, ban, now)).collect()
    }
}
