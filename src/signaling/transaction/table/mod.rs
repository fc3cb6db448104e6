//! The table of all transactions: finds the one a message, a timer or a transport failure belongs to, asks its machine, and does what it says.
//!
//! Keys index slots; responses and requests find their key by fingerprint; each transaction has one entry in the deadlines, the earliest of its
//! machine's timers. What is kept of messages: a client its request until the final answer, then the ACK to a non-2xx; a server its last answer.
//! A `TransmitId` holds the slot and a serial number, so a failure is matched without a map, and one of an earlier tenant is passed over.

mod client;
mod server;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, VecDeque};
use std::hash::BuildHasherDefault;
use std::time::Duration;

use bytes::Bytes;

use crate::policy::flow::ListenerId;
use crate::signaling::census::ByKind;
use crate::signaling::event::{Route, TransmitId, TransportError};
use crate::signaling::settings::Timers;
use crate::signaling::timers::Deadlines;
use crate::time::Time;

use super::fingerprint::{Fingerprint, Through};
use super::matching::Matching;
use super::slab::{Slab, index_of};
use super::{ClientKey, Output, ServerKey};

use client::Client;
use server::Server;

type Index = HashMap<Fingerprint, u64, BuildHasherDefault<Through>>;

/// All transactions of one core.
#[derive(Debug)]
pub struct Transactions {
    timers: Timers,
    limit: usize,
    matching: Matching,
    clients: Slab<Client>,
    servers: Slab<Server>,
    /// Of these the INVITEs, clients and servers.
    invites: (usize, usize),
    by_response: Index,
    by_request: Index,
    /// Requests outside dialogs, by what is the same on every path (§8.2.2.2).
    by_origin: Index,
    deadlines: Deadlines<Owner>,
    outputs: VecDeque<Output>,
    serial: u32,
}

/// A transaction of either side: its key, with the top bit for servers.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Owner(u64);

const SERVER: u64 = 1 << 63;

impl Owner {
    const fn client(key: ClientKey) -> Owner {
        Owner(key.0)
    }

    const fn server(key: ServerKey) -> Owner {
        Owner(key.0 | SERVER)
    }
}

/// A `TransmitId`: two bits for the side, 30 for the serial number, 32 for the slot.
const SERIALS: u32 = (1 << 30) - 1;
const OF_CLIENT: u64 = 0;
const OF_SERVER: u64 = 1;
const OF_NONE: u64 = 2;

impl Transactions {
    /// `limit`: how many transactions, client and server together, may stand before new requests are turned away; those inside dialogs are taken
    /// up to a quarter more, since most of them end something. `key`: random, so that nobody outside can choose colliding identities.
    pub fn new(timers: Timers, limit: usize, key: [u64; 2]) -> Transactions {
        Transactions {
            timers: usable(timers),
            limit,
            matching: Matching::new(key),
            clients: Slab::new(),
            servers: Slab::new(),
            invites: (0, 0),
            by_response: Index::default(),
            by_request: Index::default(),
            by_origin: Index::default(),
            deadlines: Deadlines::new(),
            outputs: VecDeque::new(),
            serial: 0,
        }
    }

    /// A reload: holds for timers started from now on.
    pub fn reconfigure(&mut self, timers: Timers, limit: usize) {
        self.timers = usable(timers);
        self.limit = limit;
    }

    /// The ACK to a 2xx (§13.2.2.4). Each repeated 2xx wants it again.
    pub fn send_ack(&mut self, route: Route, bytes: Bytes) {
        self.send_stateless(route, bytes);
    }

    /// An answer without a transaction, after `Incoming::Overload` or `Incoming::Malformed`.
    pub fn send_stateless(&mut self, route: Route, bytes: Bytes) {
        let id = self.next_id(OF_NONE, 0);
        self.outputs.push_back(Output::Transmit { id, route, bytes, retransmission: false });
    }

    /// Ids that are not ours, or whose transaction has ended, are passed over.
    pub fn transport_failed(&mut self, _now: Time, id: TransmitId, error: TransportError) {
        let (side, serial, slot) = (id.0 >> 62, (id.0 >> 32) as u32 & SERIALS, index_of(id.0));
        match side {
            OF_CLIENT => self.client_transport_failed(slot, serial, error),
            OF_SERVER => self.server_transport_failed(slot, serial, error),
            _ => {}
        }
    }

    pub fn timeout(&mut self, now: Time) {
        while let Some(Owner(owner)) = self.deadlines.pop(now) {
            if owner & SERVER == 0 {
                self.client_timeout(now, ClientKey(owner));
            } else {
                self.server_timeout(now, ServerKey(owner & !SERVER));
            }
        }
    }

    pub fn deadline(&self) -> Option<Time> {
        self.deadlines.next()
    }

    pub fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// The same, by kind.
    pub fn by_kind(&self) -> ByKind {
        let (invite_client, invite_server) = self.invites;
        ByKind { invite_client, invite_server, non_invite_client: self.clients.len() - invite_client, non_invite_server: self.servers.len() - invite_server }
    }

    /// Client and server transactions standing.
    pub fn counts(&self) -> (usize, usize) {
        (self.clients.len(), self.servers.len())
    }

    /// Whether any of them may still need this listener. Looks at every one.
    pub fn go_by(&self, listener: ListenerId) -> bool {
        self.clients.iter().map(Client::needs).chain(self.servers.iter().map(Server::needs)).any(|needed| needed == Some(listener))
    }

    fn next_id(&mut self, side: u64, slot: u32) -> TransmitId {
        self.serial = (self.serial + 1) & SERIALS;
        TransmitId(side << 62 | u64::from(self.serial) << 32 | u64::from(slot))
    }

    fn arm(&mut self, owner: Owner, deadline: Option<Time>) {
        match deadline {
            Some(at) => self.deadlines.set(owner, at),
            None => self.deadlines.cancel(owner),
        }
    }
}

/// Whether a transmission numbered `serial` was made since the transaction opened at `opened`; the numbers go round.
fn is_since(serial: u32, opened: u32) -> bool {
    serial.wrapping_sub(opened) & SERIALS <= SERIALS / 2
}

/// Forgets `fingerprint` if it still leads to `key`.
fn forget(index: &mut Index, fingerprint: Fingerprint, key: u64) {
    if index.get(&fingerprint) == Some(&key) {
        index.remove(&fingerprint);
    }
}

/// A T1 of zero would fire for ever.
fn usable(timers: Timers) -> Timers {
    let t1 = timers.t1.max(Duration::from_millis(1));
    Timers { t1, t2: timers.t2.max(t1), ..timers }
}
