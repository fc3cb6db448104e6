//! Calls with peers that are no longer where they were: an address left the peer table, or its peer was disabled or taken out. They go on until they
//! end, and can be ended and refreshed from there, or they are released at once, as `removed_peers` says.
//!
//! A peer so kept *lingers* at the address (see `policy::peer`): the table the core goes by has it there as one that takes no new calls, and the same
//! table goes to the doors and the firewall by `Action::Doors`.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use smallvec::SmallVec;

use crate::media::control::Side;
use crate::policy::peer::{PeerTable, at_home};
use crate::policy::settings::{Peer, PeerStatus};
use crate::policy::verdict::Reason;
use crate::signaling::b2bua::call::{Attempt, Call, Stage};
use crate::signaling::b2bua::{failover, release};
use crate::signaling::border::Border;
use crate::signaling::event::Action;
use crate::signaling::fact::{CallId, What};
use crate::signaling::settings::RemovedPeers;
use crate::sip::Transport;
use crate::time::Time;

/// Where the other end of a leg is.
#[derive(Clone, Debug)]
pub struct End {
    pub peer: Arc<Peer>,
    pub address: IpAddr,
    pub transport: Transport,
}

/// A peer by name, at an address it has left, by a transport.
type Place = (IpAddr, Transport, Arc<str>);

/// Who lingers where, and because of which calls.
#[derive(Default)]
pub struct Lingering {
    calls: HashMap<CallId, SmallVec<[Place; 2]>>,
    places: BTreeMap<Place, (Arc<Peer>, usize)>,
    /// Of the tables made of it.
    edition: u64,
}

impl Lingering {
    /// Calls that keep somebody lingering.
    pub fn len(&self) -> usize {
        self.calls.len()
    }

    pub fn is_empty(&self) -> bool {
        self.calls.is_empty()
    }

    fn add(&mut self, call: CallId, end: &End) {
        let place = (end.address, end.transport, end.peer.name.clone());
        let places = self.calls.entry(call).or_default();
        if !places.contains(&place) {
            places.push(place.clone());
            self.places.entry(place).or_insert_with(|| (end.peer.clone(), 0)).1 += 1;
        }
    }
}

impl Call {
    /// The other end of a side's leg, as far as the call knows.
    pub fn end(&self, side: Side) -> Option<End> {
        match (side, &self.stage) {
            (Side::A, _) => Some(End { peer: self.a.peer.clone(), address: self.a.flow.remote.ip(), transport: self.a.flow.transport }),
            (Side::B, Stage::Transferring(transfer)) => {
                let leg = &transfer.b;
                Some(End { peer: leg.peer.clone(), address: leg.flow.remote.ip(), transport: leg.flow.transport })
            }
            (Side::B, Stage::Up(leg)) => Some(End { peer: leg.peer.clone(), address: leg.flow.remote.ip(), transport: leg.flow.transport }),
            (Side::B, Stage::Hunting(hunt)) => match &hunt.attempt {
                Attempt::Inviting { candidate, .. } => {
                    Some(End { peer: candidate.peer.clone(), address: candidate.address?.ip(), transport: candidate.transport })
                }
                Attempt::Idle | Attempt::Locating { .. } => None,
            },
            (Side::B, Stage::Over { .. }) => self.b_end.clone(),
        }
    }

    /// Whether the other end of a side is still where the table has its peer.
    fn is_settled(&self, side: Side, end: &End, table: &PeerTable) -> bool {
        let flow = match (side, &self.stage) {
            (Side::A, _) => Some(&self.a.flow),
            (Side::B, Stage::Up(leg)) => Some(&leg.flow),
            (Side::B, Stage::Transferring(transfer)) => Some(&transfer.b.flow),
            (Side::B, Stage::Hunting(_) | Stage::Over { .. }) => None,
        };
        match flow {
            Some(flow) => at_home(table, flow).is_ok(),
            // Where nothing came from yet, no certificate is known.
            None => {
                table.at(end.address).iter().any(|peer| peer.name == end.peer.name && peer.transport == end.transport && peer.status != PeerStatus::Disabled)
            }
        }
    }
}

/// A new peer table: it takes force, with whoever lingers because of these calls. Returned are the calls to be released.
pub fn adopt<'a>(border: &mut Border, now: Time, table: &PeerTable, calls: impl Iterator<Item = &'a Call>) -> Vec<CallId> {
    let before = std::mem::take(&mut border.lingering);
    let mut release = Vec::new();
    for call in calls {
        for side in [Side::A, Side::B] {
            let Some(end) = call.end(side).filter(|end| !call.is_settled(side, end, table)) else { continue };
            border.lingering.add(call.id, &end);
            if !call.is_over() && border.settings.removed_peers == RemovedPeers::ReleaseCalls && !release.contains(&call.id) {
                release.push(call.id);
            }
        }
    }
    release.sort_unstable();
    border.lingering.edition = before.edition;
    tell(border, now, &before.places);
    publish(border, table);
    release
}

/// Ends a call whose peer was removed. Where only a target is being tried there, the next one is.
pub fn release(border: &mut Border, now: Time, call: &mut Call) {
    let table = border.table.clone();
    let caller = call.end(Side::A).is_some_and(|end| call.is_settled(Side::A, &end, &table));
    let trying = call.hunt().and_then(|hunt| if let Attempt::Inviting { client, .. } = hunt.attempt { Some(client) } else { None });
    match trying.filter(|_| caller) {
        Some(client) => {
            border.transactions.abandon(now, client);
            failover::failed(border, now, call, 503, Reason::PeerRemoved);
        }
        None => release::by_border(border, now, call, Reason::PeerRemoved),
    }
}

/// The other end of a leg speaks from elsewhere now: nobody need linger where it was.
pub fn moved(border: &mut Border, now: Time, call: &Call) {
    if !border.lingering.calls.contains_key(&call.id) {
        return;
    }
    let table = border.table.clone();
    let ends = [Side::A, Side::B].into_iter().filter_map(|side| call.end(side).filter(|end| !call.is_settled(side, end, &table)));
    review(border, now, call.id, ends.collect());
}

/// A call is over and gone: who lingered because of it alone does no more.
pub fn ended(border: &mut Border, now: Time, call: CallId) {
    if border.lingering.calls.contains_key(&call) {
        review(border, now, call, Vec::new());
    }
}

/// From now on the call keeps these lingering and no others.
fn review(border: &mut Border, now: Time, call: CallId, ends: Vec<End>) {
    let before = border.lingering.places.clone();
    for place in border.lingering.calls.remove(&call).into_iter().flatten() {
        if let Some((_, calls)) = border.lingering.places.get_mut(&place) {
            *calls -= 1;
            if *calls == 0 {
                border.lingering.places.remove(&place);
            }
        }
    }
    ends.iter().for_each(|end| border.lingering.add(call, end));
    if border.lingering.places.keys().ne(before.keys()) {
        tell(border, now, &before);
        let table = border.table.clone();
        publish(border, &table);
    }
}

/// Says who lingers from now on, and who no longer.
fn tell(border: &mut Border, now: Time, before: &BTreeMap<Place, (Arc<Peer>, usize)>) {
    let new = border.lingering.places.iter().filter(|(place, _)| !before.contains_key(*place)).map(|(place, (_, calls))| (place.clone(), *calls));
    let gone = before.keys().filter(|place| !border.lingering.places.contains_key(*place)).map(|place| (place.clone(), 0));
    let kept = border.settings.removed_peers == RemovedPeers::KeepCalls;
    let changes: Vec<(Place, usize)> = new.chain(gone).collect();
    for ((address, transport, peer), calls) in changes {
        border.fact(now, None, What::PeerLingers { peer, address, transport, calls, kept });
    }
}

fn publish(border: &mut Border, table: &PeerTable) {
    border.lingering.edition += 1;
    let who = border.lingering.places.iter().map(|((address, ..), (peer, _))| (*address, peer.clone()));
    border.table = Arc::new(table.lingering(who, border.lingering.edition));
    border.act(Action::Doors(border.table.clone()));
}
