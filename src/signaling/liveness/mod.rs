//! Who is asked for signs of life, and what is known of them: every address of an enabled or no-new-calls peer that has `probe`.
//!
//! The watch follows the peer table. An address that comes is asked for the first time after a wait drawn by lot, so that many peers are not asked
//! at once; one that goes is forgotten at once, whatever is still under way. Where a peer has no port and its names lead to SRV records, the ports
//! are located as for a call (RFC 3263 §4.2): when the name's addresses change, now and then, while one of them is down, and after a question that
//! failed; meanwhile what was known holds, or the transport's own port. What a call meets at an address
//! counts as well: an answer is a sign of life, silence or a failure has it asked at once.

pub mod health;
mod probe;

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use crate::policy::liveness::{Board, Liveness};
use crate::policy::settings::{Peer, PeerHost, PeerStatus};
use crate::policy::verdict::Reason;
use crate::signaling::border::{Border, Timer};
use crate::signaling::event::{Action, LocateError, LocateId, LocateQuery, Target};
use crate::signaling::fact::What;
use crate::signaling::transaction::ClientKey;
use crate::time::Time;

use health::{Evidence, Health};
pub use probe::{answered, due, failed, shows_life};

/// At start, and when many addresses come at once, so many are asked in one second.
const FIRST_ASKED_PER_SECOND: u64 = 100;

/// Ports are looked for again after this at the latest.
const LOCATED_ANEW: Duration = Duration::from_secs(300);

/// A call's failure does not have an address asked that was asked less than this ago.
const ASKED_LATELY: Duration = Duration::from_secs(1);

/// One watched address. Never names another one later.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct WatchId(u64);

#[derive(Default)]
pub struct Watch {
    /// What routing and failover read.
    pub board: Board,
    watched: HashMap<WatchId, Watched>,
    places: HashMap<Arc<str>, Vec<(SocketAddr, WatchId)>>,
    /// Host names of peers without a port, by peer and name.
    names: HashMap<(Arc<str>, Arc<str>), Located>,
    locates: HashMap<LocateId, (Arc<str>, Arc<str>)>,
    next: u64,
}

struct Watched {
    peer: Arc<Peer>,
    /// For the Request-URI: the name or the address as configured.
    host: Arc<str>,
    address: SocketAddr,
    health: Health,
    /// The question under way.
    asking: Option<Asking>,
    /// When the last one ended.
    asked: Option<Time>,
}

struct Asking {
    client: ClientKey,
    since: Time,
}

/// Where the SRV records of a host name lead.
struct Located {
    /// What the peer table had when they were asked for.
    addresses: Vec<IpAddr>,
    /// `None`: not answered yet. Empty: not to be had, so the transport's default port is taken.
    targets: Option<Vec<SocketAddr>>,
    asking: bool,
    /// The last good answer.
    answered: Option<Time>,
}

impl Watch {
    /// Addresses asked at an interval.
    pub fn len(&self) -> usize {
        self.watched.values().filter(|watched| watched.health.state() != Liveness::Disabled).count()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn locates(&self) -> usize {
        self.locates.len()
    }

    fn id_of(&self, peer: &str, address: SocketAddr) -> Option<WatchId> {
        self.places.get(peer)?.iter().find(|(known, _)| *known == address).map(|(_, id)| *id)
    }
}

/// A new peer table is in force, or the border has just begun.
pub fn follow(border: &mut Border, now: Time) {
    let table = border.table.clone();
    let mut gone: Vec<Arc<str>> = border.watch.places.keys().filter(|name| table.peer(name).is_none_or(|peer| peer.probe.is_none())).cloned().collect();
    gone.sort_unstable();
    for peer in gone {
        settle(border, now, &peer, Vec::new());
    }
    border.watch.names.retain(|(peer, _), _| table.peer(peer).is_some_and(|peer| peer.probe.is_some()));
    let mut fresh = Vec::new();
    for peer in table.peers().filter(|peer| peer.probe.is_some()) {
        fresh.extend(follow_peer(border, now, peer));
    }
    ask_first(border, now, &fresh);
}

/// The answer to a question of this chapter's; false: it was not one.
pub fn located(border: &mut Border, now: Time, id: LocateId, targets: &Result<Vec<Target>, LocateError>) -> bool {
    let Some((peer, name)) = border.watch.locates.remove(&id) else { return false };
    if let Some(located) = border.watch.names.get_mut(&(peer.clone(), name)) {
        located.asking = false;
        match targets {
            Ok(targets) => {
                located.targets = Some(targets.iter().map(|target| target.address).collect());
                located.answered = Some(now);
            }
            // What was known before is as good as anything.
            Err(_) => {
                located.targets.get_or_insert_default();
            }
        }
    }
    if let Some(peer) = border.table.peer(&peer).cloned() {
        let fresh = follow_peer(border, now, &peer);
        ask_first(border, now, &fresh);
    }
    true
}

/// A call to this address was answered by a final response that is no sign of trouble.
pub fn alive(border: &mut Border, now: Time, peer: &str, address: SocketAddr) {
    if let Some(id) = border.watch.id_of(peer, address) {
        heard(border, now, id, Evidence::Alive);
    }
}

/// A call met silence, failure or 503 at this address: it is asked at once.
pub fn suspected(border: &mut Border, now: Time, peer: &str, address: SocketAddr) {
    let Some(id) = border.watch.id_of(peer, address) else { return };
    let Some(watched) = border.watch.watched.get(&id) else { return };
    let lately = watched.asked.is_some_and(|asked| now.since(asked) < ASKED_LATELY);
    if watched.asking.is_none() && !lately && watched.health.state() != Liveness::Disabled {
        border.timers.set(Timer::Watch(id), now);
    }
}

/// Brings what is watched of one peer in step with the peer table; the addresses that came are returned, not asked yet.
fn follow_peer(border: &mut Border, now: Time, peer: &Arc<Peer>) -> Vec<WatchId> {
    let places = places(border, peer);
    settle(border, now, &peer.name, places.iter().map(|(address, _)| *address).collect());
    let disabled = peer.status == PeerStatus::Disabled;
    let mut fresh = Vec::new();
    for (address, host) in places {
        match border.watch.id_of(&peer.name, address) {
            Some(id) => fresh.extend(keep(border, now, id, peer, host)),
            None => {
                let id = WatchId(border.watch.next);
                border.watch.next += 1;
                let health = if disabled { Health::disabled() } else { Health::unknown() };
                border.watch.watched.insert(id, Watched { peer: peer.clone(), host, address, health, asking: None, asked: None });
                border.watch.places.entry(peer.name.clone()).or_default().push((address, id));
                tell(border, now, id);
                fresh.extend((!disabled).then_some(id));
            }
        }
    }
    fresh
}

/// An address stays; its peer's settings may be others. `Some`: it is to be asked from now on.
fn keep(border: &mut Border, now: Time, id: WatchId, peer: &Arc<Peer>, host: Arc<str>) -> Option<WatchId> {
    let watched = border.watch.watched.get_mut(&id)?;
    // Behind another transport or another certificate it may well be somebody else's service.
    let same_service = watched.peer.transport == peer.transport && watched.peer.tls_names == peer.tls_names;
    let (was, is) = (watched.peer.status == PeerStatus::Disabled, peer.status == PeerStatus::Disabled);
    let sooner = watched.peer.probe > peer.probe;
    (watched.peer, watched.host) = (peer.clone(), host);
    if was == is && same_service {
        let latest = now + interval(peer);
        if sooner && watched.asking.is_none() && border.timers.at(Timer::Watch(id)).is_some_and(|at| at > latest) {
            border.timers.set(Timer::Watch(id), latest);
        }
        return None;
    }
    stop_asking(border, now, id);
    let watched = border.watch.watched.get_mut(&id)?;
    watched.health = if is { Health::disabled() } else { Health::unknown() };
    tell(border, now, id);
    (!is).then_some(id)
}

/// Forgets the addresses of a peer that are not among those `wanted`.
fn settle(border: &mut Border, now: Time, peer: &Arc<str>, wanted: Vec<SocketAddr>) {
    let Some(places) = border.watch.places.get_mut(peer) else { return };
    let gone: Vec<(SocketAddr, WatchId)> = places.iter().filter(|(address, _)| !wanted.contains(address)).copied().collect();
    places.retain(|(address, _)| wanted.contains(address));
    if places.is_empty() {
        border.watch.places.remove(peer);
    }
    for (address, id) in gone {
        stop_asking(border, now, id);
        border.watch.watched.remove(&id);
        border.watch.board.set(peer, address, Liveness::Unwatched);
        let (state, why) = (Liveness::Unwatched, Reason::LivenessUnwatched);
        border.fact(now, None, What::PeerLiveness { peer: peer.clone(), address, state, why });
    }
}

fn stop_asking(border: &mut Border, now: Time, id: WatchId) {
    border.timers.cancel(Timer::Watch(id));
    if let Some(asking) = border.watch.watched.get_mut(&id).and_then(|watched| watched.asking.take()) {
        border.transactions.abandon(now, asking.client);
    }
}

/// The first question of each, spread over a time that grows with their number, and is no longer than the interval.
fn ask_first(border: &mut Border, now: Time, fresh: &[WatchId]) {
    let span = Duration::from_millis(1000 * fresh.len() as u64 / FIRST_ASKED_PER_SECOND);
    for id in fresh {
        let Some(watched) = border.watch.watched.get(id) else { continue };
        let span = span.min(interval(&watched.peer));
        let wait = Duration::from_millis(border.mint.below(span.as_millis() as u64));
        border.timers.set(Timer::Watch(*id), now + wait);
    }
}

/// Where a peer is to be asked, with the host to write; each address once. Names whose ports have to be found out are asked for.
fn places(border: &mut Border, peer: &Arc<Peer>) -> Vec<(SocketAddr, Arc<str>)> {
    let table = border.table.clone();
    let default = peer.port.unwrap_or(peer.transport.default_port());
    let mut places: Vec<(SocketAddr, Arc<str>)> = Vec::new();
    let mut add = |address: SocketAddr, host: &Arc<str>| {
        // What is never called is not asked either.
        if peer.address_family.admits(address.ip()) && !places.iter().any(|(known, _)| *known == address) {
            places.push((address, host.clone()));
        }
    };
    for host in &peer.hosts {
        match host {
            PeerHost::Address(address) => add((*address, default).into(), &address.to_string().into()),
            // A network says from where a peer may come, not where it is.
            PeerHost::Network(_) => {}
            PeerHost::Name(name) => {
                let addresses = table.addresses_of_name(&peer.name, name);
                if peer.port.is_some() {
                    addresses.iter().for_each(|address| add((*address, default).into(), name));
                    continue;
                }
                locate_if_changed(border, peer, name, addresses);
                let located = border.watch.names.get(&(peer.name.clone(), name.clone())).and_then(|located| located.targets.as_ref());
                for address in addresses {
                    let targets: Vec<SocketAddr> = located.into_iter().flatten().filter(|target| target.ip() == *address).copied().collect();
                    match (located, targets.as_slice()) {
                        // Not asked at a port that may be wrong: the answer will come.
                        (None, _) => {}
                        (Some(_), []) => add((*address, default).into(), name),
                        (Some(_), targets) => targets.iter().for_each(|target| add(*target, name)),
                    }
                }
            }
        }
    }
    places
}

fn locate_if_changed(border: &mut Border, peer: &Peer, name: &Arc<str>, addresses: &[IpAddr]) {
    let key = (peer.name.clone(), name.clone());
    let known = border.watch.names.get(&key).is_some_and(|located| located.addresses == addresses);
    if known || addresses.is_empty() || peer.status == PeerStatus::Disabled {
        return;
    }
    let before = border.watch.names.remove(&key).unwrap_or(Located { addresses: Vec::new(), targets: None, asking: false, answered: None });
    border.watch.names.insert(key, Located { addresses: addresses.to_vec(), ..before });
    locate(border, peer, name);
}

/// An address of this name has been asked: its service may have moved to another port, above all where it is down.
fn locate_if_stale(border: &mut Border, now: Time, peer: &Peer, name: &Arc<str>, is_down: bool) {
    let key = (peer.name.clone(), name.clone());
    let Some(located) = border.watch.names.get(&key) else { return };
    if is_down || located.answered.is_none_or(|at| now.since(at) >= LOCATED_ANEW.max(interval(peer))) {
        locate(border, peer, name);
    }
}

/// Asks for the SRV records of a name, if that is not being done already.
fn locate(border: &mut Border, peer: &Peer, name: &Arc<str>) {
    let key = (peer.name.clone(), name.clone());
    let Some(located) = border.watch.names.get_mut(&key).filter(|located| !located.asking) else { return };
    located.asking = true;
    let id = border.new_locate_id();
    border.watch.locates.insert(id, key);
    let query = LocateQuery { host: name.clone(), port: None, transport: Some(peer.transport), allowed: vec![peer.transport] };
    border.act(Action::Locate { id, query });
}

/// Something was seen of an address: its state may be another, and then that is told.
fn heard(border: &mut Border, now: Time, id: WatchId, evidence: Evidence) {
    let Some(watched) = border.watch.watched.get_mut(&id) else { return };
    let before = watched.health.state();
    watched.health.heard(now, evidence, interval(&watched.peer));
    let state = watched.health.state();
    if state == before {
        return;
    }
    if (state.word(), state.why()) == (before.word(), before.why()) {
        return border.watch.board.set(&watched.peer.name, watched.address, state);
    }
    tell(border, now, id);
    // One that has come to life by a call is soon to be asked itself.
    let Some(watched) = border.watch.watched.get(&id).filter(|watched| watched.asking.is_none()) else { return };
    let next = now + watched.health.pause(now, interval(&watched.peer));
    if border.timers.at(Timer::Watch(id)).is_some_and(|at| at > next) {
        border.timers.set(Timer::Watch(id), next);
    }
}

fn tell(border: &mut Border, now: Time, id: WatchId) {
    let Some(watched) = border.watch.watched.get(&id) else { return };
    let (peer, address, state) = (watched.peer.name.clone(), watched.address, watched.health.state());
    border.watch.board.set(&peer, address, state);
    border.fact(now, None, What::PeerLiveness { peer, address, state, why: state.why() });
}

/// At which a peer is asked.
fn interval(peer: &Peer) -> Duration {
    // A watched peer has one.
    peer.probe.unwrap_or(Duration::from_secs(30))
}
