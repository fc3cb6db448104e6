//! The firewall as the border sees it. Cheap to clone; every clone is the same firewall, and the last one gone ends it.

use std::net::{IpAddr, SocketAddr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use ipnet::IpNet;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::contents::Change;
use super::keeper::{Keeper, Order, Tell};
use super::netlink::Netlink;
use super::ruleset::Layout;
use super::shared::Shared;
use super::{BanStatus, Mode, Ours, Settings, Status, privilege};
use crate::adapters::clock::Clock;
use crate::media::control::StreamId;
use crate::policy::ban::{Answer, Ban, Bans, Knock, Refusal};
use crate::policy::peer::PeerTable;
use crate::signaling::fact::{FirewallEvent, What};

/// How long the kernel is waited for. What comes later still takes effect.
const PATIENCE: Duration = Duration::from_secs(2);

/// The pause after a start that failed.
const RETRY: Duration = Duration::from_secs(1);

/// Why a firewall that is required could not be had.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refused {
    pub place: Place,
    pub why: String,
    pub remedy: String,
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "[firewall] {}, and {}; {}", if self.place == Place::Ours { "mode = \"required\"" } else { "is to be taken over" }, self.why, self.remedy)
    }
}

#[derive(Clone)]
pub struct Firewall {
    inner: Arc<Inner>,
}

struct Inner {
    shared: Arc<Shared>,
    /// `None`: the kernel has no part in it.
    orders: Mutex<Option<mpsc::UnboundedSender<Order>>>,
    keeper: Mutex<Option<JoinHandle<()>>>,
    /// This process's bans, while another one of this border goes by them.
    lent: Mutex<Option<Bans>>,
}

/// Whose the kernel's table is when the firewall starts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    Ours,
    /// Another process's, until it is taken; whether it could be is found out.
    Anothers,
}

impl Firewall {
    /// Returns when the kernel holds the table, or is known not to: with `Mode::On` that is told and tried again, with `Mode::Required` it is the
    /// error. `report` is told of what happens, from any thread; it must not block.
    pub async fn start(
        settings: Settings,
        ours: &Ours,
        clock: Clock,
        table: Arc<PeerTable>,
        place: Place,
        report: impl Fn(What) + Send + Sync + 'static,
    ) -> Result<Firewall, Refused> {
        let shared = Arc::new(Shared::new(settings.mode, clock, Arc::clone(&table), Bans::new(settings.rules.clone()), report));
        let inner = Inner { shared: Arc::clone(&shared), orders: Mutex::default(), keeper: Mutex::default(), lent: Mutex::default() };
        let firewall = Firewall { inner: Arc::new(inner) };
        if settings.mode == Mode::Off {
            return Ok(firewall);
        }
        let (orders, received) = mpsc::unbounded_channel();
        let (ready, begun) = oneshot::channel();
        let (layout, mode) = (layout(&settings, ours), settings.mode);
        let thread = thread::Builder::new().name("firewall".to_owned()).spawn(move || keep(shared, layout, &settings, &table, place, received, ready));
        let began = match thread {
            Ok(thread) => {
                *firewall.inner.keeper.lock().unwrap_or_else(PoisonError::into_inner) = Some(thread);
                *firewall.inner.orders.lock().unwrap_or_else(PoisonError::into_inner) = Some(orders);
                begun.await.unwrap_or_else(|_| {
                    let why = "the thread that keeps the kernel's table ended by a fault of ours".to_owned();
                    if mode == Mode::Required || place == Place::Anothers {
                        Err(Refused { place, why, remedy: "see the log; write mode = \"on\" in [firewall] to run without it".to_owned() })
                    } else {
                        Ok(())
                    }
                })
            }
            Err(error) => Err(Refused { place, why: format!("the system gives no thread: {error}"), remedy: "raise the limit on processes".to_owned() }),
        };
        began.map(|()| firewall)
    }

    /// Takes other settings into force, but for `mode`, `table` and `program`. Bans that are there keep their time.
    pub async fn reload(&self, settings: &Settings, ours: &Ours) {
        self.inner.shared.bans().set_rules(settings.rules.clone());
        let layout = Box::new(layout(settings, ours));
        self.inner.order("settings", |reply| Order::Reload(layout, reply)).await;
    }

    pub fn status(&self) -> Status {
        let shared = &self.inner.shared;
        let bans = shared.bans().list(shared.clock.now()).len() + shared.kernel_banned().len();
        Status { peer_table: shared.table.load().number, bans, kernel: shared.kernel() }
    }

    /// Bans an address or a network in the name of an operator, for `length` or for as long as the border runs. Refused where a peer lives.
    pub async fn ban(&self, net: IpNet, why: &str, operator: &str, length: Option<Duration>) -> Result<BanStatus, Refusal> {
        let shared = &self.inner.shared;
        let now = shared.clock.now();
        let until = length.map(|length| now + length);
        let ban = shared.bans().order(&shared.table.load(), net, why, operator, until, now)?;
        self.inner.order("ban", Order::Bans).await;
        shared.tell(FirewallEvent::Banned(ban.clone()));
        Ok(BanStatus::of(&ban, now))
    }

    /// Lifts what bans exactly this address or network, and says what that was.
    pub async fn unban(&self, net: IpNet, operator: &str) -> Result<Vec<BanStatus>, Refusal> {
        let shared = &self.inner.shared;
        let now = shared.clock.now();
        let ours = shared.bans().lift(net, now);
        let mut lifted = self.inner.order("unban", |reply| Order::Unban(net, reply)).await.unwrap_or_default();
        match ours {
            Ok(ours) => lifted.extend(ours),
            Err(refusal) if lifted.is_empty() => return Err(refusal),
            Err(_) => {}
        }
        for ban in &lifted {
            shared.tell(FirewallEvent::Unbanned { ban: ban.clone(), why: format!("by operator {operator}") });
        }
        Ok(lifted.iter().map(|ban| BanStatus::of(ban, now)).collect())
    }

    /// Every ban in force: the operators' first, then this process's, then the kernel's.
    pub fn bans(&self) -> Vec<BanStatus> {
        let shared = &self.inner.shared;
        let now = shared.clock.now();
        let ours = shared.bans().list(now);
        ours.iter().chain(&shared.kernel_banned()).map(|ban| BanStatus::of(ban, now)).collect()
    }

    /// Lets in whom this table knows, besides whom it lets in already. Bans make way. Returns when the kernel has it.
    pub async fn admit(&self, table: Arc<PeerTable>) {
        let shared = &self.inner.shared;
        shared.table.store(Arc::clone(&table));
        let lifted = shared.bans().make_way(&table);
        for (ban, peer) in lifted {
            shared.tell(FirewallEvent::Unbanned { ban, why: format!("peer \"{}\" lives there now", peer.name) });
        }
        self.inner.order("new peers", |reply| Order::Admit(table, reply)).await;
    }

    /// Lets in whom this table knows and nobody else. It was admitted before. Returns when the kernel has it.
    pub async fn retire(&self, table: Arc<PeerTable>) {
        self.inner.order("peers to leave", |reply| Order::Retire(table, reply)).await;
    }

    /// Opens media ports of ours for as long as a stream uses them. Does not wait.
    pub fn media_opened(&self, stream: StreamId, ports: Vec<SocketAddr>) {
        self.inner.send(Order::Opened(stream, ports));
    }

    /// Within a second or so: it costs nothing that way, and the socket behind the port is gone at once.
    pub fn media_closed(&self, stream: StreamId) {
        let orders = self.inner.orders.lock().unwrap_or_else(PoisonError::into_inner);
        if orders.as_ref().is_some_and(|orders| !orders.is_closed()) {
            self.inner.shared.close(stream);
        }
    }

    /// A stranger at a door of ours: whether it is to be dropped without a word.
    pub fn turns_away(&self, table: &PeerTable, address: IpAddr, knock: Knock) -> bool {
        let shared = &self.inner.shared;
        let answer = shared.bans().knock(table, address, knock, shared.clock.now());
        match answer {
            Answer::Stranger => false,
            Answer::Banned => true,
            Answer::BannedNow(ban) => {
                shared.tell(FirewallEvent::Banned(ban));
                true
            }
        }
    }

    /// Gives the table and the bans to another process of this border, which is told what our calls need as long as they go on; `None`: it does nothing
    /// in the kernel, and the table goes. Strangers that come to us are its to judge from now on.
    pub async fn leave(&self, tell: Option<Tell>) -> Vec<Ban> {
        let shared = &self.inner.shared;
        let bans = {
            let mut bans = shared.bans();
            let emptied = Bans::new(bans.rules().clone());
            std::mem::replace(&mut *bans, emptied)
        };
        let handed = bans.list(shared.clock.now());
        *self.inner.lent.lock().unwrap_or_else(PoisonError::into_inner) = Some(bans);
        self.inner.order("leaving the table", |reply| Order::Leave(tell, reply)).await;
        handed
    }

    /// The process that had them is gone: table and bans as they were when it got them.
    pub async fn come_back(&self) {
        if let Some(bans) = self.inner.lent.lock().unwrap_or_else(PoisonError::into_inner).take() {
            *self.inner.shared.bans() = bans;
        }
        self.inner.order("taking the table back", Order::Return).await;
    }

    /// Takes the place of another process's table, and its bans into force.
    pub async fn take(&self, former: Option<Arc<str>>, bans: Vec<Ban>) {
        let shared = &self.inner.shared;
        {
            let (now, table) = (shared.clock.now(), shared.table.load());
            let mut held = shared.bans();
            bans.into_iter().for_each(|ban| held.adopt(&table, ban, now));
        }
        if let Some(former) = former {
            self.inner.order("taking the table", |reply| Order::Take(former, reply)).await;
        }
    }

    /// The table is left to nobody until it is [taken](Firewall::take). `why`: for whoever asks.
    pub fn puts_off(&self, why: &str) {
        self.inner.shared.out(why.to_owned());
    }

    /// What calls of another process need, besides ours.
    pub fn let_others(&self, changes: Vec<Change>) {
        self.inner.send(Order::Others(changes));
    }

    /// There is no other process any more.
    pub fn be_alone(&self) {
        self.inner.send(Order::Alone);
    }

    /// Takes the table out of the kernel, unless it is to be kept there. Nothing is in force after that.
    pub async fn stop(&self) {
        self.inner.order("stop", Order::Stop).await;
        self.inner.orders.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

impl Inner {
    fn send(&self, order: Order) -> bool {
        let orders = self.orders.lock().unwrap_or_else(PoisonError::into_inner);
        orders.as_ref().is_some_and(|orders| orders.send(order).is_ok())
    }

    /// The reply; `None` where there is no keeper, or it takes too long, which is told of.
    async fn order<T>(&self, what: &'static str, order: impl FnOnce(oneshot::Sender<T>) -> Order) -> Option<T> {
        let (reply, answer) = oneshot::channel();
        if !self.send(order(reply)) {
            return None;
        }
        match timeout(PATIENCE, answer).await {
            Ok(answer) => answer.ok(),
            Err(_) => {
                self.shared.tell(FirewallEvent::Late { what, waited: PATIENCE });
                None
            }
        }
    }
}

/// The keeper ends when nobody can give it orders, and is waited for: what it leaves in the kernel must not depend on luck.
impl Drop for Inner {
    fn drop(&mut self) {
        self.orders.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(keeper) = self.keeper.lock().unwrap_or_else(PoisonError::into_inner).take() {
            let _ = keeper.join();
        }
    }
}

pub fn layout(settings: &Settings, ours: &Ours) -> Layout {
    let mut media = ours.media.clone();
    media.sort_unstable();
    media.dedup();
    Layout {
        table: Arc::clone(&settings.table),
        listeners: ours.listeners.clone(),
        media,
        ports: ours.ports,
        name_servers: [53].into_iter().chain(ours.name_servers.iter().copied()).collect(),
        shut_media: settings.shut_media,
        notrack: settings.notrack,
        rules: settings.rules.clone(),
    }
}

/// The thread.
fn keep(
    shared: Arc<Shared>,
    layout: Layout,
    settings: &Settings,
    table: &PeerTable,
    place: Place,
    orders: mpsc::UnboundedReceiver<Order>,
    ready: oneshot::Sender<Result<(), Refused>>,
) {
    let (left, name) = (Arc::clone(&shared), Arc::clone(&layout.table));
    let kept = catch_unwind(AssertUnwindSafe(|| keep_on(shared, layout, settings, table, place, orders, ready)));
    if kept.is_err() {
        fallen(&left, &name);
    }
}

/// A table that nobody keeps any more would shut out new peers and the media of new calls: it goes, and the doors of this process remain.
fn fallen(shared: &Shared, table: &str) {
    let withdrawn = Netlink::open().and_then(|mut netlink| netlink.commit(|batch| batch.delete_table(table)));
    let why = String::from("the thread that keeps it ended by a fault of ours, which the lines before this one tell");
    let remedy = match withdrawn {
        Ok(_) => String::from("strangers are turned away by the border alone until it is started anew"),
        Err(error) => {
            format!("what the kernel holds may be stale, and drop new peers and calls' media ({error}): nft delete table inet {table}, then start anew")
        }
    };
    shared.out(why.clone());
    shared.tell(FirewallEvent::NotInForce { why, remedy, retry: None });
}

fn keep_on(
    shared: Arc<Shared>,
    layout: Layout,
    settings: &Settings,
    table: &PeerTable,
    place: Place,
    orders: mpsc::UnboundedReceiver<Order>,
    ready: oneshot::Sender<Result<(), Refused>>,
) {
    privilege::raise();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            let why = format!("the system gives no event loop: {error}");
            let _ = ready.send(Err(Refused { place, why, remedy: "raise the limit on open files".to_owned() }));
            return;
        }
    };
    runtime.block_on(async {
        let mut keeper = Keeper::new(shared, layout, settings, table);
        let begun = match place {
            Place::Ours => keeper.begin().await,
            Place::Anothers => keeper.stand_aside().await,
        };
        if let Err(failure) = begun {
            // The other process keeps a table that works.
            if settings.mode == Mode::Required || place == Place::Anothers {
                let _ = ready.send(Err(Refused { place, why: failure.to_string(), remedy: failure.remedy() }));
                return;
            }
            keeper.give_up(&failure, RETRY);
        }
        let _ = ready.send(Ok(()));
        keeper.run(orders).await;
    });
}
