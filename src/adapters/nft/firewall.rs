//! The firewall as the border sees it. Cheap to clone; every clone is the same firewall.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use ipnet::IpNet;

use super::{BanStatus, Settings, Status};
use crate::adapters::clock::Clock;
use crate::policy::ban::{Answer, Ban, Bans, Knock, Refusal};
use crate::policy::peer::PeerTable;
use crate::signaling::fact::{FirewallEvent, What};

#[derive(Clone)]
pub struct Firewall {
    inner: Arc<Inner>,
}

struct Inner {
    clock: Clock,
    /// The newest table admitted: nobody in it is banned.
    table: ArcSwap<PeerTable>,
    bans: Mutex<Bans>,
    report: Box<dyn Fn(What) + Send + Sync>,
}

impl Firewall {
    /// `report` is told of what happens; it must not block.
    pub fn start(settings: Settings, clock: Clock, table: Arc<PeerTable>, report: impl Fn(What) + Send + Sync + 'static) -> Firewall {
        let inner = Inner { clock, table: ArcSwap::new(table), bans: Mutex::new(Bans::new(settings.rules)), report: Box::new(report) };
        Firewall { inner: Arc::new(inner) }
    }

    /// Takes other settings into force. Bans that are there keep their time.
    pub fn reload(&self, settings: Settings) {
        self.inner.bans().set_rules(settings.rules);
    }

    pub fn status(&self) -> Status {
        Status { peer_table: self.inner.table.load().number, bans: self.inner.bans().list(self.inner.clock.now()).len() }
    }

    /// Bans an address or a network in the name of an operator, for `length` or for as long as the border runs. Refused where a peer lives.
    pub async fn ban(&self, net: IpNet, why: &str, operator: &str, length: Option<Duration>) -> Result<BanStatus, Refusal> {
        let now = self.inner.clock.now();
        let until = length.map(|length| now + length);
        let ban = self.inner.bans().order(&self.inner.table.load(), net, why, operator, until, now)?;
        self.inner.tell(FirewallEvent::Banned(ban.clone()));
        Ok(BanStatus::of(&ban, now))
    }

    /// Lifts what bans exactly this address or network, and says what that was.
    pub async fn unban(&self, net: IpNet, operator: &str) -> Result<Vec<BanStatus>, Refusal> {
        let now = self.inner.clock.now();
        let lifted = self.inner.bans().lift(net, now)?;
        for ban in &lifted {
            self.inner.tell(FirewallEvent::Unbanned { ban: ban.clone(), why: format!("by operator {operator}") });
        }
        Ok(lifted.iter().map(|ban| BanStatus::of(ban, now)).collect())
    }

    /// Every ban in force.
    pub fn bans(&self) -> Vec<BanStatus> {
        let now = self.inner.clock.now();
        self.inner.bans().list(now).iter().map(|ban| BanStatus::of(ban, now)).collect()
    }

    /// Lets in whom this table knows, besides whom it lets in already. Bans make way.
    pub async fn admit(&self, table: Arc<PeerTable>) {
        self.inner.table.store(Arc::clone(&table));
        let lifted = self.inner.bans().make_way(&table);
        for (ban, peer) in lifted {
            self.inner.tell(FirewallEvent::Unbanned { ban, why: format!("peer \"{}\" lives there now", peer.name) });
        }
    }

    /// Lets in whom this table knows and nobody else. It was admitted before.
    pub async fn retire(&self, table: Arc<PeerTable>) {
        self.inner.table.store(table);
    }

    /// A stranger at a door of ours: whether it is to be dropped without a word.
    pub fn turns_away(&self, table: &PeerTable, address: IpAddr, knock: Knock) -> bool {
        match self.inner.bans().knock(table, address, knock, self.inner.clock.now()) {
            Answer::Stranger => false,
            Answer::Banned => true,
            Answer::BannedNow(ban) => {
                self.inner.tell_of_ban(ban);
                true
            }
        }
    }
}

impl Inner {
    fn bans(&self) -> MutexGuard<'_, Bans> {
        self.bans.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, event: FirewallEvent) {
        (self.report)(What::Firewall(event));
    }

    fn tell_of_ban(&self, ban: Ban) {
        self.tell(FirewallEvent::Banned(ban));
    }
}
