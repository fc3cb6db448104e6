//! The process that is taken over from: it offers its sockets, leaves its place, and ends with its last call; or takes its place again, if the new process ends first.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::pulse::{self, Handle, Sign};
use super::words::{Claims, HandedBan, NoticeStore, Offer, Use, VERSION, Word};
use crate::adapters::driver::Input;
use crate::adapters::handover::{Heard, Opening};
use crate::adapters::net::{Companion, Gates, Part};
use crate::adapters::nft::{Mode, Tell};
use crate::adapters::store;
use crate::app::api::Order;
use crate::app::api::takeover::Asked;
use crate::app::border::Border;
use crate::app::run::Signals;
use crate::signaling::companion::{Change, Companion as Role};
use crate::signaling::event::{Command, Event};
use crate::time::Time;

/// The new process opens sockets and resolves names meanwhile.
const PREPARING: Duration = Duration::from_secs(60);

/// An answer that has got lost is asked for again: nearly all of that comes within this time after the last call.
const LINGER: Duration = Duration::from_secs(5);

/// Each connection over TLS is closed in a pause of its own; one that has had none within this time is closed between two messages.
const PAUSES: Duration = Duration::from_secs(60);

/// The same once this process has been asked to end.
const HURRIED_PAUSES: Duration = Duration::from_secs(5);

/// What is under way then, and what its other end sent before it knew, takes no longer.
const PARTING: Duration = Duration::from_secs(6);

/// Longer than a receiver may take for the missed call that is being delivered, and the other process's disk for the last ones.
const LAST_NOTICES: Duration = Duration::from_secs(70);

/// What has been read is handed over within this time.
const LAST_READ: Duration = Duration::from_millis(100);

/// A new process that prepares itself.
pub struct Offering {
    pid: Option<i32>,
    release_after: Option<Duration>,
    ready: JoinHandle<std::io::Result<(Opening, Claims)>>,
}

/// A new process that is ready.
pub struct Successor {
    pub pid: Option<i32>,
    opening: Opening,
    claims: Claims,
    release_after: Option<Duration>,
}

impl Offering {
    /// Why not, in words for whoever asked.
    pub fn refusal(border: &Border, asked: &Asked) -> Option<String> {
        if asked.wanted.protocol != VERSION {
            let theirs = asked.wanted.protocol;
            return Some(format!("it speaks take-over protocol {VERSION} and the new one {theirs}: drain and restart the border"));
        }
        if border.between.role() == Some(Role::Predecessor) {
            return Some("it still hands over from the process before: wait until that has ended its last call, or end it".to_owned());
        }
        None
    }

    /// The border goes on as ever.
    pub fn begin(border: &Border, asked: Asked) -> std::io::Result<Offering> {
        let (offer, sockets) = offer(border)?;
        let (pid, release_after) = (asked.pid, asked.release_after());
        tracing::info!(
            to = pid,
            version = asked.wanted.version,
            sockets = sockets.len(),
            "another process asks for this one's place; sockets are given, this one goes on until it is ready"
        );
        let ready = tokio::spawn(async move {
            let preparing = async {
                let stream = asked.stream.await.map_err(|_| std::io::Error::other("the connection broke off"))?;
                let mut opening = Opening::of(stream)?;
                opening.say(&offer, &sockets).await?;
                drop(sockets);
                match opening.hear(|_: &Word| 0).await?.0 {
                    Word::Ready(claims) => Ok((opening, claims)),
                    Word::Refused { why } => Err(std::io::Error::other(why)),
                    _ => Err(std::io::Error::other("it says something that makes no sense")),
                }
            };
            timeout(PREPARING, preparing).await.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()))
        });
        Ok(Offering { pid, release_after, ready })
    }

    /// Returns when the new process is ready; `None`: it is not to be, which has been told. Nothing is lost if it is dropped while it waits.
    pub async fn outcome(&mut self) -> Option<Successor> {
        let outcome = (&mut self.ready).await.unwrap_or_else(|fault| Err(std::io::Error::other(fault)));
        match outcome {
            Ok((opening, claims)) => Some(Successor { pid: self.pid, opening, claims, release_after: self.release_after }),
            Err(error) => {
                tracing::error!(to = self.pid, %error, "the other process does not take over; this one goes on as before");
                None
            }
        }
    }
}

impl Drop for Offering {
    fn drop(&mut self) {
        self.ready.abort();
    }
}

fn offer(border: &Border) -> std::io::Result<(Offer, Vec<OwnedFd>)> {
    let mut sockets = Vec::new();
    for socket in border.network.bequeath()? {
        let usage = if socket.is_datagram { Use::Datagrams } else { Use::Connections };
        sockets.push(((usage, socket.address), socket.socket));
    }
    if let Some(admin) = &border.admin {
        sockets.push(((Use::Admin, admin.bound()), admin.bequeath()?));
    }
    if let (Some(bound), Some(socket)) = (border.api.bound(), border.api.bequeath()?) {
        sockets.push(((Use::Api, bound), socket));
    }
    let (named, sockets) = sockets.into_iter().unzip();
    let keeps_firewall = border.settings().firewall.mode != Mode::Off;
    let missed_calls = border.settings().missed_calls.as_ref().map(|missed| NoticeStore { path: missed.store.path.clone(), format: store::VERSION });
    Ok((Offer { version: env!("CARGO_PKG_VERSION").to_owned(), pid: std::process::id(), sockets: named, keeps_firewall, missed_calls }, sockets))
}

/// What came of leaving.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Left {
    /// No call is left: the border may be stopped.
    CallLess,
    /// The new process is gone: the border takes calls again.
    InPlaceAgain,
    /// The same, but it was told to end meanwhile: its calls get the time they would have had.
    AskedToEnd,
    /// Its core has ended by a fault.
    Died,
}

/// Leaves its place to the new process, and keeps its calls until they have ended. Asked to end by a signal it gives them the set's drain time, asked again none.
pub async fn leave(border: &mut Border, successor: Successor, signals: &mut Signals, orders: &mut mpsc::Receiver<Order>) -> Left {
    let (pid, claims) = (successor.pid, successor.claims);
    let drained = border.state.standing.drained();
    let mut heard = give_place(border, successor).await;
    give_store(border, claims.awaits_store);
    let (between, network, firewall) = (border.between.clone(), border.network.clone(), border.firewall.clone());
    tokio::spawn(pulse::keep(between.clone(), watching(pid)));
    let mut listening = tokio::spawn(async move { between.listen(&network, &firewall, &mut heard).await });
    let asked_to_end = AtomicBool::new(false);
    let is_alone = loop {
        tokio::select! {
            () = ended(border, &asked_to_end) => break false,
            _ = &mut listening => break true,
            () = border.died() => return Left::Died,
            () = signals.end.asked() => {
                if asked_to_end.swap(true, Ordering::Relaxed) { border.release_all().await } else { border.drain() }
            }
            _ = signals.hangup.recv() => tracing::warn!("not reloaded: another process has taken over, ask that one"),
            Some(order) = orders.recv() => {
                // Whoever asked may have left.
                let _ = order.reply.send(Err("another process has taken over: ask that one".to_owned()));
            }
        }
    };
    let (handed, taken) = border.between.counts();
    if is_alone {
        tracing::error!(process = pid, "the process that took over has ended; this one takes its place again");
        take_place_again(border, drained).await;
        return if asked_to_end.load(Ordering::Relaxed) { Left::AskedToEnd } else { Left::InPlaceAgain };
    }
    tracing::info!(to = pid, messages_handed = handed, messages_taken = taken, "the last call has ended, the place is wholly the other process's");
    border.between.say(&Word::Done);
    border.between.end();
    Left::CallLess
}

/// What is done about a new process that hangs.
fn watching(pid: Option<i32>) -> impl FnMut(Sign) {
    let handle = Handle::of(pid);
    move |sign| match (sign, &handle) {
        (Sign::Silent, _) => tracing::error!(
            process = pid,
            "the process that took over hangs: nothing is heard of it, and new calls are answered by nobody; if it stays silent it is ended in some seconds, and this one takes its place again"
        ),
        (Sign::Hopeless, Some(handle)) if handle.end() => {
            tracing::error!(process = pid, "the process that took over still hangs, and has been ended; its calls are lost")
        }
        (Sign::Hopeless, _) => tracing::error!(
            process = pid,
            "the process that took over still hangs and cannot be ended from here: kill it, and this one takes its place again; until then new calls are answered by nobody"
        ),
        (Sign::Back, _) => tracing::warn!(process = pid, "the process that took over is heard of again"),
    }
}

/// Returns when no call is left, what was asked again has been answered, and as little as can be is under way on the connections that are left.
async fn ended(border: &Border, asked_to_end: &AtomicBool) {
    border.call_less().await;
    if let Some(missed_calls) = border.between.missed_calls()
        && timeout(LAST_NOTICES, missed_calls.all_confirmed()).await.is_err()
    {
        tracing::error!("the other process does not say that it has all missed calls on disk; those it has not are lost");
    }
    tokio::join!(tokio::time::sleep(LINGER), border.between.hand_ladders());
    let part = |part| border.network.gate(Gates { connections: false, datagrams: true, part });
    part(Part::InPauses);
    let began = tokio::time::Instant::now();
    let limit = || if asked_to_end.load(Ordering::Relaxed) { HURRIED_PAUSES } else { PAUSES };
    while border.network.connections() > 0 && began.elapsed() < limit() {
        tokio::time::sleep(LAST_READ).await;
    }
    let left = border.network.connections();
    if left > 0 {
        tracing::warn!(
            connections = left,
            seconds = limit().as_secs(),
            "connections over TLS never paused for so long, and TLS cannot be given to another process: each is closed now between two messages, and its peer connects anew"
        );
        part(Part::Now);
        let began = tokio::time::Instant::now();
        while border.network.connections() > 0 && began.elapsed() < PARTING {
            tokio::time::sleep(LAST_READ).await;
        }
    }
    // Datagrams wait for the new process from here on, a moment and no longer.
    border.network.gate(Gates::SHUT);
    tokio::time::sleep(LAST_READ).await;
}

async fn give_place(border: &Border, successor: Successor) -> Heard {
    let Successor { opening, release_after, claims, .. } = successor;
    let (link, heard) = opening.open();
    if let Err(error) = border.api.step_aside() {
        tracing::error!(%error, "the control socket cannot be put aside; operators reach the new process as soon as it has taken its place");
    }
    if let Some(admin) = &border.admin {
        admin.open(false);
    }
    border.network.gate(Gates { connections: false, ..Gates::OPEN });
    border.between.leave_to(link);
    border.network.accompany(Some(border.between.clone() as Arc<dyn Companion>)).await;
    leave_firewall(border, claims.keeps_firewall).await;
    border.between.hand_estate();
    let release_after = sooner(release_after, border.state.standing.drained().flatten().map(|at| at.since(border.clock.now())));
    for event in [Event::Companion(Change::Leave), Event::Command(Command::Drain { release_after })] {
        let _ = border.commands.send(Input::Event(event));
    }
    let aside = border.control().map(|path| path.display().to_string()).unwrap_or_default();
    tracing::info!(
        control = aside,
        "this process has left its place: it keeps its calls until they end; ask for them at its control socket, which is now aside"
    );
    heard
}

/// Calls that a drain was to end are ended when it said, unless the new process asked for less.
fn sooner(asked: Option<Duration>, drain: Option<Duration>) -> Option<Duration> {
    asked.into_iter().chain(drain).min()
}

/// It is the other process's from here on, with our bans; that has to know what our calls need of it.
async fn leave_firewall(border: &Border, is_kept: bool) {
    let firewall = &border.settings().firewall;
    let is_kept = is_kept && firewall.mode != Mode::Off;
    let between = border.between.clone();
    let tell: Tell = Arc::new(move |changes| between.say_in_turn(Word::Guard { changes: changes.to_vec() }));
    let bans = border.firewall.leave(is_kept.then_some(tell)).await;
    let now = border.clock.now();
    let bans = bans.iter().filter_map(|ban| HandedBan::of(ban, now)).collect();
    border.between.say_in_turn(Word::Keep { table: is_kept.then(|| firewall.table.to_string()), bans });
}

/// The store of missed calls goes over as soon as what is being delivered is settled. Where the new process has another, or none, this one keeps its own to its end.
fn give_store(border: &Border, awaited: bool) {
    let Some(missed_calls) = border.between.missed_calls().cloned() else { return };
    if !awaited {
        return tracing::warn!("the other process keeps missed calls elsewhere, or none: this one keeps and delivers those of its calls until it ends");
    }
    let between = border.between.clone();
    tokio::spawn(async move { missed_calls.give(between).await });
}

/// `drained`: as it was when this process left its place, so it is again.
async fn take_place_again(border: &Border, drained: Option<Option<Time>>) {
    border.between.end();
    border.firewall.come_back().await;
    border.network.accompany(None).await;
    if let Some(missed_calls) = border.between.missed_calls().cloned() {
        tokio::spawn(async move { missed_calls.take_store().await });
    }
    let standing = match drained {
        None => Command::Resume,
        Some(release_at) => Command::Drain { release_after: release_at.map(|at| at.since(border.clock.now())) },
    };
    for event in [Event::Companion(Change::Alone), Event::Command(standing)] {
        let _ = border.commands.send(Input::Event(event));
    }
    border.network.gate(Gates::OPEN);
    if let Some(admin) = &border.admin {
        admin.open(true);
    }
    if let Err(error) = border.api.take_place() {
        tracing::error!(%error, "the control socket cannot be put back to its place; operators find it where it was put aside");
    }
}
