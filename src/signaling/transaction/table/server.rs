//! The server half of the table.

use std::sync::Arc;

use bytes::Bytes;

use crate::policy::flow::{Flow, ListenerId};
use crate::signaling::event::{Route, TransportError};
use crate::sip::Message;
use crate::time::Time;

use super::{OF_SERVER, Owner, Transactions, forget, is_since};
use crate::signaling::transaction::fingerprint::Fingerprint;
use crate::signaling::transaction::invite_server::{self, InviteServer};
use crate::signaling::transaction::matching::{Identity, Kind};
use crate::signaling::transaction::non_invite_server::{self, NonInviteServer};
use crate::signaling::transaction::{Incoming, Output, ServerKey, derived};

#[derive(Debug)]
pub(super) struct Server {
    machine: Machine,
    fingerprint: Fingerprint,
    origin: Option<Fingerprint>,
    /// Where answers go; as the newest copy of the request has it.
    route: Route,
    /// The last answer; in a non-INVITE's Trying state the request, for its 100; empty when neither is needed.
    bytes: Bytes,
    /// Where the request came from, while its 100 is not made.
    flow: Option<Arc<Flow>>,
    /// The serial number of the first transmission, or an earlier one.
    opened: u32,
    /// The core has been told of a transport failure.
    told: bool,
}

#[derive(Debug)]
enum Machine {
    Invite(InviteServer),
    NonInvite(NonInviteServer),
}

impl Server {
    /// The listener it may still need. Over a stream, none once it was accepted: its 2xx is not sent again.
    pub(super) fn needs(&self) -> Option<ListenerId> {
        let is_over = self.is_reliable() && matches!(self.machine, Machine::Invite(InviteServer::Accepted { .. }));
        if is_over { None } else { self.route.listener() }
    }

    fn is_reliable(&self) -> bool {
        !self.route.is_datagram()
    }

    fn is_terminated(&self) -> bool {
        matches!(self.machine, Machine::Invite(InviteServer::Terminated) | Machine::NonInvite(NonInviteServer::Terminated))
    }

    fn deadline(&self) -> Option<Time> {
        match &self.machine {
            Machine::Invite(machine) => machine.deadline(),
            Machine::NonInvite(machine) => machine.deadline(),
        }
    }
}

impl Transactions {
    /// `peer`: whom the flow was found to be. `reply`: where answers go (§18.2.2, RFC 3581).
    pub fn received_request(&mut self, now: Time, message: &Message, peer: &str, flow: &Arc<Flow>, reply: Route) -> Incoming {
        let Some(identity) = self.matching.request(message, peer, flow) else { return Incoming::Malformed };
        let known = self.by_request.get(&identity.transaction).map(|&key| ServerKey(key));
        match (identity.kind, known) {
            (Kind::Ack, Some(key)) => self.received_ack(now, key),
            (Kind::Ack, None) => Incoming::Ack,
            (_, Some(key)) => self.received_again(key, reply),
            (Kind::Cancel(invite), None) => {
                let invite = self.by_request.get(&invite).map(|&key| ServerKey(key));
                if self.is_full(true) {
                    return Incoming::Overload;
                }
                Incoming::Cancel { cancel: self.open_server(now, identity, None, message, flow, reply), invite }
            }
            (Kind::Invite | Kind::Other, None) => {
                if self.is_full(identity.origin.is_none()) {
                    return Incoming::Overload;
                }
                match identity.origin {
                    Some(origin) if self.by_origin.contains_key(&origin) => Incoming::Merged(self.open_server(now, identity, None, message, flow, reply)),
                    origin => Incoming::New(self.open_server(now, identity, origin, message, flow, reply)),
                }
            }
        }
    }

    /// Whether there is a transaction for a request: its own, or for a CANCEL the INVITE's.
    pub fn knows(&self, message: &Message, peer: &str, flow: &Arc<Flow>) -> bool {
        let Some(identity) = self.matching.request(message, peer, flow) else { return false };
        let invite = if let Kind::Cancel(invite) = identity.kind { Some(invite) } else { None };
        [Some(identity.transaction), invite].into_iter().flatten().any(|known| self.by_request.contains_key(&known))
    }

    /// Sends an answer in the transaction. A 2xx to an INVITE may be given again (the core repeats it until its ACK). What RFC 4320 forbids to a
    /// non-INVITE is not sent: provisionals but a 100 in time, and 408, which ends the transaction.
    pub fn respond(&mut self, now: Time, key: ServerKey, status: u16, bytes: Bytes) {
        let Some(server) = self.servers.get_mut(key.0) else { return };
        let reliable = server.is_reliable();
        let (send, again) = match &mut server.machine {
            Machine::Invite(machine) => {
                let again = matches!(machine, InviteServer::Accepted { .. }) || server.bytes == bytes;
                (machine.on_answer(now, &self.timers, reliable, status), again)
            }
            Machine::NonInvite(machine) => (machine.on_answer(now, &self.timers, reliable, status) == non_invite_server::Answer::Send, false),
        };
        if send {
            server.bytes = bytes;
            server.flow = None;
            self.transmit_server(key, again);
        }
        self.after_server(key);
    }

    fn is_full(&self, inside_dialog: bool) -> bool {
        let standing = self.clients.len() + self.servers.len();
        standing >= if inside_dialog { self.limit + self.limit / 4 } else { self.limit }
    }

    fn open_server(&mut self, now: Time, identity: Identity, origin: Option<Fingerprint>, message: &Message, flow: &Arc<Flow>, route: Route) -> ServerKey {
        let (machine, bytes, flow) = match identity.kind {
            Kind::Invite => (Machine::Invite(InviteServer::start(now, &self.timers)), Bytes::new(), None),
            _ => (Machine::NonInvite(NonInviteServer::start(now, &self.timers)), message.bytes().clone(), Some(flow.clone())),
        };
        let fingerprint = identity.transaction;
        self.invites.1 += usize::from(matches!(machine, Machine::Invite(_)));
        let server = Server { machine, fingerprint, origin, route, bytes, flow, opened: self.serial + 1, told: false };
        let key = ServerKey(self.servers.insert(server));
        self.by_request.insert(fingerprint, key.0);
        if let Some(origin) = origin {
            self.by_origin.insert(origin, key.0);
        }
        self.after_server(key);
        key
    }

    fn received_again(&mut self, key: ServerKey, reply: Route) -> Incoming {
        let Some(server) = self.servers.get_mut(key.0) else { return Incoming::Absorbed };
        server.route = reply;
        let repeat = match &server.machine {
            Machine::Invite(machine) => machine.on_invite() == invite_server::Heard::Repeat,
            Machine::NonInvite(machine) => machine.on_request() == non_invite_server::Heard::Repeat,
        };
        if repeat {
            self.transmit_server(key, true);
        }
        Incoming::Absorbed
    }

    fn received_ack(&mut self, now: Time, key: ServerKey) -> Incoming {
        let Some(server) = self.servers.get_mut(key.0) else { return Incoming::Ack };
        let reliable = server.is_reliable();
        let heard = match &mut server.machine {
            Machine::Invite(machine) => machine.on_ack(now, &self.timers, reliable),
            Machine::NonInvite(_) => invite_server::Heard::Absorb,
        };
        self.after_server(key);
        match heard {
            invite_server::Heard::Pass => Incoming::Ack,
            invite_server::Heard::Confirm => Incoming::Confirmed,
            invite_server::Heard::Repeat | invite_server::Heard::Absorb => Incoming::Absorbed,
        }
    }

    pub(super) fn server_timeout(&mut self, now: Time, key: ServerKey) {
        let Some(server) = self.servers.get_mut(key.0) else { return };
        match &mut server.machine {
            Machine::Invite(machine) => match machine.on_timer(now, &self.timers) {
                invite_server::Fired::Retransmit => self.transmit_server(key, true),
                invite_server::Fired::TimedOut => self.outputs.push_back(Output::ServerTimeout(key)),
                invite_server::Fired::Nothing | invite_server::Fired::Ended => {}
            },
            Machine::NonInvite(machine) => {
                if machine.on_timer(now) == non_invite_server::Fired::SendTrying {
                    let flow = server.flow.take();
                    server.bytes = flow.and_then(|flow| derived::trying(&server.bytes, &flow)).unwrap_or_default();
                    self.transmit_server(key, false);
                }
            }
        }
        self.after_server(key);
    }

    pub(super) fn server_transport_failed(&mut self, slot: u32, serial: u32, error: TransportError) {
        let Some(key) = self.servers.key_at(slot).map(ServerKey) else { return };
        let Some(server) = self.servers.get_mut(key.0).filter(|server| is_since(serial, server.opened)) else { return };
        let tell = match &mut server.machine {
            Machine::Invite(machine) => machine.on_transport_error(),
            Machine::NonInvite(machine) => machine.on_transport_error(),
        };
        if tell && !std::mem::replace(&mut server.told, true) {
            self.outputs.push_back(Output::ServerTransportFailed(key, error));
        }
        self.after_server(key);
    }

    fn transmit_server(&mut self, key: ServerKey, retransmission: bool) {
        let id = self.next_id(OF_SERVER, key.0 as u32);
        let Some(server) = self.servers.get(key.0).filter(|server| !server.bytes.is_empty()) else { return };
        self.outputs.push_back(Output::Transmit { id, route: server.route.clone(), bytes: server.bytes.clone(), retransmission });
    }

    /// Arms its timer, or ends it.
    fn after_server(&mut self, key: ServerKey) {
        let Some(server) = self.servers.get_mut(key.0) else { return };
        if !server.is_terminated() {
            if matches!(server.machine, Machine::Invite(InviteServer::Confirmed { .. } | InviteServer::Accepted { .. })) {
                server.bytes = Bytes::new();
            }
            let deadline = server.deadline();
            self.arm(Owner::server(key), deadline);
            return;
        }
        self.deadlines.cancel(Owner::server(key));
        if let Some(server) = self.servers.remove(key.0) {
            self.invites.1 -= usize::from(matches!(server.machine, Machine::Invite(_)));
            forget(&mut self.by_request, server.fingerprint, key.0);
            if let Some(origin) = server.origin {
                forget(&mut self.by_origin, origin, key.0);
            }
            self.outputs.push_back(Output::ServerEnded(key));
        }
    }
}
