//! Keeps the kernel's table as it should be: one thread, one order after another, what has gathered meanwhile in one transaction.
//!
//! Elements change by netlink. The structure is loaded by `nft`, whole and with everything in it, at the start and whenever the table is found to
//! be gone or another: a netlink socket tells of changes by others at once, and now and then everything is compared. What cannot be loaded is
//! tried again, less and less often; meanwhile the table is taken out of the kernel where that can be done, so that no stale one drops peers or
//! calls' media, and the doors of this process do what it would have done.
//!
//! A table has one keeper, also while one process of a border takes over from another ([`succession`]).

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use tokio::net::UnixDatagram;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use super::contents::{Change, Contents, Element, Family, Kind, Set};
use super::failure::Failure;
use super::netlink::{self, Netlink};
use super::ruleset::{self, Layout, Timed};
use super::shared::Shared;
use super::{process, rules};
use crate::media::control::StreamId;
use crate::policy::ban::{Ban, Cause, Owner, source};
use crate::policy::ground::Inhabited;
use crate::policy::peer::PeerTable;
use crate::signaling::fact::FirewallEvent;
use crate::time::Time;

mod comparison;
mod succession;

use comparison::{Difference, Held, differences};
pub use succession::Tell;
use succession::Told;

/// How often bans and counters are read.
const LOOK: Duration = Duration::from_secs(1);

/// Others may change their tables as often as they like; ours is compared no more often than this for it.
const BREATH: Duration = Duration::from_millis(100);

/// The first and the longest pause before the table is loaded again.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// So often within so much time the table is mended because of others. After that it is left to them for as long: a second border with a table of
/// the same name would do the same.
const CONTEST: (usize, Duration) = (5, Duration::from_secs(60));

/// Orders carried out together.
const TOGETHER: usize = 1024;

/// What is asked of the keeper. A reply means: the kernel has it, or does not take it.
pub enum Order {
    Admit(Arc<PeerTable>, oneshot::Sender<()>),
    Retire(Arc<PeerTable>, oneshot::Sender<()>),
    /// The operators' bans are others.
    Bans(oneshot::Sender<()>),
    /// Of those the kernel made, this one ends.
    Unban(IpNet, oneshot::Sender<Vec<Ban>>),
    Opened(StreamId, Vec<SocketAddr>),
    /// Comes with others, by [`Shared::take_closed`].
    Closed(StreamId),
    Reload(Box<Layout>, oneshot::Sender<()>),
    /// Another process keeps the table from now on, and is told; `None`: it has none, so this one goes.
    Leave(Option<Tell>, oneshot::Sender<()>),
    /// We keep it from now on, in the place of another process, whose table had this name.
    Take(Arc<str>, oneshot::Sender<()>),
    /// What another process's calls need changes.
    Others(Vec<Change>),
    /// There is no other process any more.
    Alone,
    /// The other process is gone, and we keep the table again.
    Return(oneshot::Sender<()>),
    Stop(oneshot::Sender<()>),
}

/// How it stands with the kernel.
enum State {
    Held(Box<Held>),
    /// The kernel does not do our work; tried again at `at`, after that no sooner than in twice `pause`.
    Out {
        at: Instant,
        pause: Duration,
    },
    /// Another process of this border keeps the table.
    Aside(Option<Told>),
}

pub struct Keeper {
    shared: Arc<Shared>,
    layout: Layout,
    check: Duration,
    keep_on_stop: bool,
    program: Option<std::path::PathBuf>,
    netlink: Option<Netlink>,
    /// What the kernel should hold.
    wanted: Contents,
    /// … and besides for another process.
    others: Contents,
    /// Another process's table, which ours takes the place of.
    former: Option<Arc<str>>,
    streams: HashMap<StreamId, Vec<SocketAddr>>,
    /// Whose each open media port is.
    users: HashMap<SocketAddr, StreamId>,
    state: State,
    /// When others had made it necessary to mend the table.
    mended: Vec<Instant>,
    /// The operators' bans that `wanted` has, by their number, and when the next of them ends.
    bans: u64,
    ban_ends: Option<Time>,
    /// Media ports opened or closed since the kernel was last brought up to date.
    touched: Vec<SocketAddr>,
    /// More than these may have changed.
    changed: bool,
}

impl Keeper {
    pub fn new(shared: Arc<Shared>, layout: Layout, settings: &super::Settings, table: &PeerTable) -> Keeper {
        Keeper {
            wanted: Contents::of_peers(table),
            others: Contents::default(),
            former: None,
            check: settings.check,
            keep_on_stop: settings.keep_on_stop,
            program: settings.program.clone().or_else(process::find),
            netlink: None,
            streams: HashMap::new(),
            users: HashMap::new(),
            mended: Vec::new(),
            state: State::Out { at: Instant::now(), pause: RETRY.0 },
            bans: 0,
            ban_ends: None,
            touched: Vec::new(),
            changed: false,
            shared,
            layout,
        }
    }

    /// Makes the table for the first time. The error was not told of.
    pub async fn begin(&mut self) -> Result<(), Failure> {
        let began = Instant::now();
        self.load().await?;
        self.shared.tell(FirewallEvent::InForce { table: self.table(), elements: self.wanted.total(), took: began.elapsed() });
        Ok(())
    }

    /// Until it is told to stop, or nobody is left to tell it.
    pub async fn run(mut self, mut orders: mpsc::UnboundedReceiver<Order>) {
        let mut watch = self.watch();
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut check = interval(self.check);
        check.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut batch = Vec::new();
        let (mut disturbed, mut checked) = (false, Instant::now());
        loop {
            let retry = match self.state {
                State::Out { at, .. } => Some(at),
                State::Held(_) | State::Aside(_) => None,
            };
            tokio::select! {
                count = orders.recv_many(&mut batch, TOGETHER) => {
                    self.gather(&mut orders, &mut batch);
                    if count == 0 || self.carry_out(&mut batch).await {
                        break;
                    }
                }
                () = readable(watch.as_ref()), if !disturbed => disturbed = true,
                () = sleep_until(checked + BREATH), if disturbed => {
                    drain(watch.as_ref());
                    (disturbed, checked) = (false, Instant::now());
                    self.compare(true).await;
                }
                _ = look.tick() => {
                    self.gather(&mut orders, &mut batch);
                    if self.carry_out(&mut batch).await {
                        break;
                    }
                    self.look().await;
                }
                _ = check.tick() => {
                    checked = Instant::now();
                    self.compare(false).await;
                }
                () = sleep_until(retry.unwrap_or(checked)), if retry.is_some() => {
                    self.retry().await;
                    watch = watch.or_else(|| self.watch());
                }
            }
        }
        self.end();
    }

    fn table(&self) -> Arc<str> {
        Arc::clone(&self.layout.table)
    }

    /// Without it, changes by others are found at the next comparison.
    fn watch(&self) -> Option<UnixDatagram> {
        // To the runtime a datagram socket is as good as another.
        netlink::watch().map(std::os::fd::OwnedFd::from).and_then(|socket| UnixDatagram::from_std(socket.into())).ok()
    }

    /// Whatever else is there to be done. A stream whose end is known of now was opened by an order that is there by now.
    fn gather(&self, orders: &mut mpsc::UnboundedReceiver<Order>, batch: &mut Vec<Order>) {
        let closed = self.shared.take_closed();
        while let Ok(order) = orders.try_recv() {
            batch.push(order);
        }
        batch.extend(closed.into_iter().map(Order::Closed));
    }

    /// True: it is to stop.
    async fn carry_out(&mut self, orders: &mut Vec<Order>) -> bool {
        let (mut replies, mut unbans, mut stop) = (Vec::new(), Vec::new(), None);
        for order in orders.drain(..) {
            match order {
                Order::Admit(table, reply) => {
                    self.wanted = self.wanted.with_peers_of(&table);
                    self.changed = true;
                    self.make_way(&table);
                    replies.push(reply);
                }
                Order::Retire(table, reply) => {
                    self.wanted = self.wanted.with_only_peers_of(&table);
                    self.changed = true;
                    replies.push(reply);
                }
                Order::Bans(reply) => replies.push(reply),
                Order::Unban(net, reply) => unbans.push((net, reply)),
                Order::Opened(stream, ports) => self.open(stream, ports),
                Order::Closed(stream) => self.close(stream),
                Order::Reload(layout, reply) => {
                    self.reload(*layout).await;
                    replies.push(reply);
                }
                Order::Leave(tell, reply) => {
                    self.leave(tell);
                    replies.push(reply);
                }
                Order::Take(former, reply) => {
                    self.take(former).await;
                    replies.push(reply);
                }
                Order::Others(changes) => self.let_others(&changes),
                Order::Alone => {
                    self.others = Contents::default();
                    self.changed = true;
                }
                Order::Return(reply) => {
                    self.come_back().await;
                    replies.push(reply);
                }
                Order::Stop(reply) => stop = Some(reply),
            }
        }
        self.take_bans();
        self.bring().await;
        for reply in replies {
            let _ = reply.send(());
        }
        for (net, reply) in unbans {
            let _ = reply.send(self.unban(net));
        }
        match stop {
            Some(reply) => {
                self.end();
                self.shared.ended();
                let _ = reply.send(());
                true
            }
            None => false,
        }
    }

    fn open(&mut self, stream: StreamId, ports: Vec<SocketAddr>) {
        for port in &ports {
            self.wanted.open(*port);
            self.users.insert(*port, stream);
        }
        self.touched.extend(&ports);
        self.streams.insert(stream, ports);
    }

    fn close(&mut self, stream: StreamId) {
        for port in self.streams.remove(&stream).unwrap_or_default() {
            // Where much had to wait, another stream may have it by now.
            if self.users.get(&port) == Some(&stream) {
                self.users.remove(&port);
                self.wanted.close(port);
                self.touched.push(port);
            }
        }
    }

    /// The operators' bans as they are now.
    fn take_bans(&mut self) {
        let now = self.shared.clock.now();
        let bans = self.shared.bans();
        if self.bans != bans.changes() || self.ban_ends.is_some_and(|ends| ends <= now) {
            self.wanted.set_bans(&bans.ordered(now));
            self.changed = true;
            (self.bans, self.ban_ends) = (bans.changes(), bans.next_end(now));
        }
    }

    /// Brings the kernel from what it holds to what it should hold, in one transaction.
    async fn bring(&mut self) {
        let (touched, changed) = (std::mem::take(&mut self.touched), std::mem::take(&mut self.changed));
        let held = match &self.state {
            State::Held(held) => &held.contents,
            State::Aside(Some(told)) => &told.contents,
            State::Out { .. } | State::Aside(None) => return,
        };
        let changes = if changed {
            held.changes(&self.all_wanted())
        } else {
            held.changes_of_ports(|port| self.wanted.is_open(port) || self.others.is_open(port), &touched)
        };
        if changes.is_empty() {
            return;
        }
        match &mut self.state {
            State::Held(held) => match commit(&mut self.netlink, &self.layout.table, &changes) {
                Ok(()) => {
                    held.contents.apply(&changes);
                    self.shared.set_elements(held.contents.total());
                }
                Err(error) => self.rebuild(format!("a change of its sets was refused: {error}")).await,
            },
            State::Aside(Some(told)) if (told.tell)(&changes) => told.contents.apply(&changes),
            // Said again at the next look.
            _ => self.changed = true,
        }
    }

    /// Loads everything anew, in one transaction.
    async fn load(&mut self) -> Result<(), Failure> {
        self.look_for_table()?;
        let (Some(program), wanted) = (&self.program, self.all_wanted()) else { return Err(Failure::Absent) };
        let Some(netlink) = &mut self.netlink else { return Err(Failure::Privilege) };
        let bans = self.shared.timed_bans();
        let before = netlink.generation().ok();
        process::load(program, &ruleset::render(&self.layout, &wanted, &bans)).await?;
        self.shared.counters_anew();
        let found = netlink.structure(&self.layout.table).map_err(Failure::kernel("reading our table back"))?;
        let structure = found.ok_or_else(|| Failure::Kernel { doing: "reading our table back", error: io::ErrorKind::NotFound.into() })?;
        // Ours was one transaction. Where there have been others since, what was read back may be theirs, and is looked at as soon as anything is.
        let generation = netlink.generation().ok().filter(|after| before.is_some_and(|before| before.wrapping_add(1) == *after));
        (self.touched, self.changed) = (Vec::new(), false);
        self.shared.in_force(wanted.total());
        self.state = State::Held(Box::new(Held { contents: wanted, structure, generation }));
        if let Some(former) = self.former.take().filter(|former| *former != self.layout.table) {
            // Gone already, if its process has gone too.
            let _ = netlink.commit(|batch| batch.delete_table(&former));
        }
        Ok(())
    }

    /// Without the right to look there is none to change either, and no need for a process to find that out.
    fn look_for_table(&mut self) -> Result<(), Failure> {
        if self.netlink.is_none() {
            self.netlink = Some(Netlink::open().map_err(Failure::kernel("netlink"))?);
        }
        let Some(netlink) = &mut self.netlink else { return Err(Failure::Privilege) };
        netlink.structure(&self.layout.table).map_err(Failure::kernel("looking for our table")).map(drop)
    }

    async fn rebuild(&mut self, missing: String) {
        if self.is_contested() {
            return;
        }
        let began = Instant::now();
        match self.load().await {
            Ok(()) => {
                self.shared.rebuilt();
                self.shared.tell(FirewallEvent::Rebuilt { table: self.table(), missing, took: began.elapsed() });
            }
            Err(failure) => self.give_up(&failure, RETRY.0),
        }
    }

    /// Whether others have made us mend our table so often that it is left to them for now. Counts this time.
    fn is_contested(&mut self) -> bool {
        let now = Instant::now();
        self.mended.retain(|then| now.duration_since(*then) < CONTEST.1);
        self.mended.push(now);
        let times = self.mended.len() - 1;
        if times < CONTEST.0 {
            return false;
        }
        // What is there now is another's: to take it out would only go on with the quarrel.
        let failure = Failure::Contested { table: self.table(), times };
        self.be_out(&failure, failure.remedy(), CONTEST.1);
        true
    }

    async fn retry(&mut self) {
        let State::Out { pause, .. } = self.state else { return };
        if let Err(failure) = self.begin().await {
            self.give_up(&failure, pause);
        }
    }

    /// The kernel does not do our work for now.
    pub fn give_up(&mut self, failure: &Failure, pause: Duration) {
        // A stale table would keep out new peers and the media of new calls.
        let left = match self.withdraw() {
            Ok(()) => "",
            Err(_) => "; what the kernel holds of ours may be stale, and drop new peers and calls' media: nft delete table inet ",
        };
        let name = if left.is_empty() { "" } else { &*self.layout.table };
        self.be_out(failure, format!("{}{left}{name}", failure.remedy()), pause);
    }

    fn be_out(&mut self, failure: &Failure, remedy: String, pause: Duration) {
        self.state = State::Out { at: Instant::now() + pause, pause: (pause * 2).min(RETRY.1) };
        self.shared.out(failure.to_string());
        self.shared.tell(FirewallEvent::NotInForce { why: failure.to_string(), remedy, retry: Some(pause) });
    }

    fn withdraw(&mut self) -> io::Result<()> {
        let Some(netlink) = &mut self.netlink else { return Ok(()) };
        if let Some(former) = self.former.take().filter(|former| *former != self.layout.table) {
            let _ = netlink.commit(|batch| batch.delete_table(&former));
        }
        match netlink.structure(&self.layout.table) {
            Ok(None) => Ok(()),
            // Without the right to look there is none of ours, unless an earlier start left one.
            Err(error) if error.raw_os_error() == Some(libc::EPERM) => Ok(()),
            _ => netlink.commit(|batch| batch.delete_table(&self.layout.table)),
        }
    }

    /// Whether the kernel holds what we think it holds; mends it where not. `structure`: of its structure alone.
    async fn compare(&mut self, structure: bool) {
        let (State::Held(held), Some(netlink)) = (&mut self.state, &mut self.netlink) else { return };
        let compared = differences(netlink, &self.layout.table, held, structure);
        match compared {
            Ok(Difference::None) => {}
            Ok(Difference::Structure(missing)) => self.rebuild(missing.to_owned()).await,
            Ok(Difference::Elements { found, missing }) => {
                held.contents = found;
                if self.is_contested() {
                    return;
                }
                self.changed = true;
                let began = Instant::now();
                self.bring().await;
                self.shared.rebuilt();
                self.shared.tell(FirewallEvent::Rebuilt { table: self.table(), missing, took: began.elapsed() });
            }
            Err(error) => self.rebuild(format!("it could not be read: {error}")).await,
        }
    }

    /// Reads what the kernel has banned and counted, and ends bans whose time has come.
    async fn look(&mut self) {
        self.take_bans();
        self.bring().await;
        let State::Held(_) = self.state else { return };
        let table = self.table();
        // Not there: the table is gone, and the next comparison finds that.
        let Some(found) = self.banned_by_kernel(&table) else { return };
        self.shared.kernel_bans(found);
        if let Some(Ok(counters)) = self.netlink.as_mut().map(|netlink| netlink.counters(&table)) {
            self.shared.count(&counters);
        }
    }

    fn banned_by_kernel(&mut self, table: &str) -> Option<Vec<(Set, IpAddr, Ban)>> {
        let netlink = self.netlink.as_mut()?;
        let (now, length) = (self.shared.clock.now(), self.layout.rules.length);
        let mut found = Vec::new();
        for set in Set::kernels() {
            let sources = netlink.timed(table, set).ok()?;
            found.extend(sources.into_iter().map(|(address, left)| (set, address, ban(set, address, left, length, now))));
        }
        Some(found)
    }

    /// Ends the kernel's bans of addresses that are trusted now.
    fn make_way(&mut self, table: &PeerTable) {
        let inhabited = Inhabited::of(table);
        // A peer in a banned /64 goes first, and the ban may stand.
        for ban in self.shared.kernel_banned().into_iter().filter(|ban| ban.net.addr().is_ipv4()) {
            let Some((_, peer)) = inhabited.within(ban.net) else { continue };
            if !self.unban(ban.net).is_empty() {
                self.shared.tell(FirewallEvent::Unbanned { ban, why: format!("peer \"{}\" lives there now", peer.name) });
            }
        }
    }

    /// Takes a source out of what the kernel has banned, and out of what it counts: its next knock would ban it again.
    fn unban(&mut self, net: IpNet) -> Vec<Ban> {
        let net = if net.prefix_len() == net.max_prefix_len() { source(net.addr()) } else { net };
        let lifted = self.shared.forget_kernel_ban(net);
        let Some(netlink) = self.netlink.as_mut().filter(|_| !lifted.is_empty()) else { return lifted };
        let (family, element) = (Family::of(net.addr()), [Element::Address(net.network())]);
        let banned = [Kind::Scans, Kind::Floods].map(|kind| Set { kind, family }.name().to_owned());
        let counted = rules::counted(&self.layout.rules, family).into_iter().map(|(name, _)| name);
        for set in banned.into_iter().chain(counted) {
            // Each by itself: it may be in any of them, or have gone by itself.
            let _ = netlink.commit(|batch| batch.remove(&self.layout.table, &set, &element));
        }
        lifted
    }

    async fn reload(&mut self, layout: Layout) {
        if self.layout == layout {
            return;
        }
        self.layout = layout;
        if let State::Held(_) = self.state
            && let Err(failure) = self.begin().await
        {
            self.give_up(&failure, RETRY.0);
        }
    }

    fn end(&mut self) {
        let (State::Held(held), Some(netlink), false) = (&self.state, &mut self.netlink, self.keep_on_stop) else { return };
        // One that another border has made in the meantime, by the same name, is that one's.
        let is_ours = netlink.structure(&self.layout.table).is_ok_and(|found| found.is_some_and(|found| found.is_of_table(&held.structure)));
        if is_ours && self.withdraw().is_ok() {
            self.shared.tell(FirewallEvent::Removed { table: self.table() });
        }
        self.state = State::Out { at: Instant::now(), pause: RETRY.1 };
    }
}

fn commit(netlink: &mut Option<Netlink>, table: &str, changes: &[Change]) -> io::Result<()> {
    let netlink = netlink.as_mut().ok_or(io::ErrorKind::NotConnected)?;
    netlink.commit(|batch| {
        for change in changes {
            batch.remove(table, change.set.name(), &change.out);
        }
        for change in changes {
            batch.add(table, change.set.name(), &change.into);
        }
    })
}

fn ban(set: Set, address: IpAddr, left: Duration, length: Duration, now: Time) -> Ban {
    let cause = if set.kind == Kind::Floods { Cause::HandshakeFlood } else { Cause::Scan };
    let since = Time::from_nanos(now.as_nanos().saturating_sub(length.saturating_sub(left).as_nanos() as u64));
    Ban { net: source(address), cause, owner: Owner::Kernel, since, until: Some(now + left) }
}

/// The kernel's bans as they are put back into a new table.
pub fn timed(set: Set, source: IpAddr, ban: &Ban, now: Time) -> Option<Timed> {
    ban.left(now).filter(|left| !left.is_zero()).map(|left| Timed { set, source, left })
}

async fn readable(watch: Option<&UnixDatagram>) {
    match watch {
        Some(watch) if watch.readable().await.is_ok() => {}
        _ => std::future::pending().await,
    }
}

/// What was told does not matter, nor whether some of it was lost: everything is looked at.
fn drain(watch: Option<&UnixDatagram>) {
    let Some(watch) = watch else { return };
    let mut buffer = [0; 64];
    // An error may be that too much has come: the next call goes on after it.
    for _ in 0..10_000 {
        if matches!(watch.try_recv(&mut buffer), Err(error) if error.kind() == io::ErrorKind::WouldBlock) {
            return;
        }
    }
}
