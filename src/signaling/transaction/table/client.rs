//! The client half of the table.

use std::sync::Arc;

use bytes::Bytes;

use crate::policy::flow::{Flow, ListenerId};
use crate::signaling::event::{Route, TransportError};
use crate::signaling::settings::Timers;
use crate::sip::{Message, Method};
use crate::time::Time;

use super::{OF_CLIENT, Owner, Transactions, forget, is_since};
use crate::signaling::transaction::fingerprint::Fingerprint;
use crate::signaling::transaction::invite_client::{self, InviteClient};
use crate::signaling::transaction::non_invite_client::{self, NonInviteClient};
use crate::signaling::transaction::{ClientKey, Output, derived};

#[derive(Debug)]
pub(super) struct Client {
    machine: Machine,
    fingerprint: Fingerprint,
    route: Route,
    /// The request; after a non-2xx to an INVITE its ACK; empty when neither is needed any more.
    bytes: Bytes,
    /// The serial number of the first transmission.
    opened: u32,
    report: Report,
}

#[derive(Debug)]
enum Machine {
    Invite(InviteClient),
    NonInvite(NonInviteClient),
}

/// What the core is told of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Report {
    Everything,
    /// The core gave up: a 2xx to the INVITE, and the end.
    LateSuccess,
    /// A CANCEL.
    Nothing,
}

/// What to do with a response, whichever the machine.
enum Verdict {
    Pass,
    PassAndCancel,
    PassAndAcknowledge,
    Acknowledge,
    Absorb,
}

impl Client {
    /// The listener it may still need. Over a stream, none once it was accepted: the call has its answer, and on its connection no other is to come.
    pub(super) fn needs(&self) -> Option<ListenerId> {
        let is_over = self.is_reliable() && matches!(self.machine, Machine::Invite(InviteClient::Accepted { .. }));
        if is_over { None } else { self.route.listener() }
    }

    fn is_reliable(&self) -> bool {
        !self.route.is_datagram()
    }

    fn is_terminated(&self) -> bool {
        matches!(self.machine, Machine::Invite(InviteClient::Terminated) | Machine::NonInvite(NonInviteClient::Terminated))
    }

    fn deadline(&self) -> Option<Time> {
        match &self.machine {
            Machine::Invite(machine) => machine.deadline(),
            Machine::NonInvite(machine) => machine.deadline(),
        }
    }
}

impl Transactions {
    /// Opens a client transaction: sends, and over a datagram route retransmits. The top Via of `bytes` carries `branch`. Any method but ACK and
    /// CANCEL.
    pub fn request(&mut self, now: Time, method: &Method, branch: &str, route: Route, bytes: Bytes) -> ClientKey {
        debug_assert!(!matches!(method, Method::Ack | Method::Cancel));
        self.open_client(now, method, branch, route, bytes, Report::Everything)
    }

    /// RFC 3261 §9.1: sends CANCEL for an INVITE as soon as a provisional is there, nothing after a final. If no final comes in 64*T1 after it:
    /// `ClientTimeout`. The CANCEL's own transaction is not reported.
    pub fn cancel(&mut self, now: Time, key: ClientKey) {
        let Some(client) = self.clients.get_mut(key.0) else { return };
        let send = match &mut client.machine {
            Machine::Invite(machine) => machine.cancel(now, &self.timers),
            Machine::NonInvite(_) => false,
        };
        self.after_client(key);
        if send {
            self.send_cancel(now, key);
        }
    }

    /// The core gives up waiting (timer C, failover): no more retransmissions, and nothing more is reported but a late 2xx to an INVITE (to be
    /// acknowledged, then ended by BYE) and `ClientEnded`. An INVITE is cancelled as by `cancel`; any other request is over at once.
    pub fn abandon(&mut self, now: Time, key: ClientKey) {
        let Some(client) = self.clients.get_mut(key.0) else { return };
        client.report = Report::LateSuccess;
        let send = match &mut client.machine {
            Machine::Invite(machine) => machine.abandon(now, &self.timers),
            Machine::NonInvite(machine) => {
                machine.abandon();
                false
            }
        };
        self.after_client(key);
        if send {
            self.send_cancel(now, key);
        }
    }

    /// `Some`: the core's to see. `None`: a stray or an absorbed repetition (a repeated non-2xx to an INVITE is acknowledged inside). A 2xx to an
    /// INVITE is passed each time it comes, for 64*T1 after the first (RFC 6026); later ones are strays.
    pub fn received_response(&mut self, now: Time, message: &Message, _flow: &Arc<Flow>) -> Option<ClientKey> {
        let status = message.status()?;
        let cseq = message.cseq().ok()?;
        let fingerprint = self.matching.response(message.top_via().ok()?.branch()?, cseq.method.as_str());
        let key = ClientKey(*self.by_response.get(&fingerprint)?);
        let client = self.clients.get_mut(key.0)?;
        let verdict = client.on_response(now, &self.timers, status);
        let passed = match client.report {
            Report::Everything => true,
            Report::LateSuccess => matches!(client.machine, Machine::Invite(_)) && (200..300).contains(&status),
            Report::Nothing => false,
        };
        match verdict {
            Verdict::PassAndAcknowledge => {
                client.bytes = derived::ack(&client.bytes, message).unwrap_or_default();
                self.transmit_client(key, false);
            }
            Verdict::Acknowledge => self.transmit_client(key, true),
            Verdict::PassAndCancel => self.send_cancel(now, key),
            Verdict::Pass | Verdict::Absorb => {}
        }
        self.after_client(key);
        let worth = matches!(verdict, Verdict::Pass | Verdict::PassAndCancel | Verdict::PassAndAcknowledge);
        (worth && passed).then_some(key)
    }

    /// Where the request of a transaction went.
    pub fn route(&self, key: ClientKey) -> Option<&Route> {
        self.clients.get(key.0).map(|client| &client.route)
    }

    /// The transaction a response belongs to, which does not hear of it yet: for asking whether it comes from whom was asked.
    pub fn awaiting(&self, message: &Message) -> Option<ClientKey> {
        let cseq = message.cseq().ok()?;
        let fingerprint = self.matching.response(message.top_via().ok()?.branch()?, cseq.method.as_str());
        self.by_response.get(&fingerprint).map(|key| ClientKey(*key))
    }

    fn open_client(&mut self, now: Time, method: &Method, branch: &str, route: Route, bytes: Bytes, report: Report) -> ClientKey {
        let fingerprint = self.matching.response(branch, method.as_str());
        let reliable = !route.is_datagram();
        let machine = match method {
            Method::Invite => Machine::Invite(InviteClient::start(now, &self.timers, reliable)),
            _ => Machine::NonInvite(NonInviteClient::start(now, &self.timers, reliable)),
        };
        let opened = self.serial + 1;
        self.invites.0 += usize::from(matches!(machine, Machine::Invite(_)));
        let key = ClientKey(self.clients.insert(Client { machine, fingerprint, route, bytes, opened, report }));
        self.by_response.insert(fingerprint, key.0);
        self.transmit_client(key, false);
        self.after_client(key);
        key
    }

    /// Opens CANCEL's transaction, with the branch and the route of its INVITE.
    fn send_cancel(&mut self, now: Time, invite: ClientKey) {
        let Some(client) = self.clients.get(invite.0) else { return };
        let Some((branch, bytes)) = derived::cancel(&client.bytes) else { return };
        let route = client.route.clone();
        self.open_client(now, &Method::Cancel, &branch, route, bytes, Report::Nothing);
    }

    pub(super) fn client_timeout(&mut self, now: Time, key: ClientKey) {
        let Some(client) = self.clients.get_mut(key.0) else { return };
        let (retransmit, timed_out) = match &mut client.machine {
            Machine::Invite(machine) => match machine.on_timer(now) {
                invite_client::Fired::Retransmit => (true, false),
                invite_client::Fired::TimedOut => (false, true),
                invite_client::Fired::Nothing | invite_client::Fired::Ended => (false, false),
            },
            Machine::NonInvite(machine) => match machine.on_timer(now, &self.timers) {
                non_invite_client::Fired::Retransmit => (true, false),
                non_invite_client::Fired::TimedOut => (false, true),
                non_invite_client::Fired::Nothing | non_invite_client::Fired::Ended => (false, false),
            },
        };
        if timed_out && client.report == Report::Everything {
            self.outputs.push_back(Output::ClientTimeout(key));
        }
        if retransmit {
            self.transmit_client(key, true);
        }
        self.after_client(key);
    }

    pub(super) fn client_transport_failed(&mut self, slot: u32, serial: u32, error: TransportError) {
        let Some(key) = self.clients.key_at(slot).map(ClientKey) else { return };
        let Some(client) = self.clients.get_mut(key.0).filter(|client| is_since(serial, client.opened)) else { return };
        let tell = match &mut client.machine {
            Machine::Invite(machine) => machine.on_transport_error(),
            Machine::NonInvite(machine) => machine.on_transport_error(),
        };
        if tell && client.report == Report::Everything {
            self.outputs.push_back(Output::ClientTransportFailed(key, error));
        }
        self.after_client(key);
    }

    fn transmit_client(&mut self, key: ClientKey, retransmission: bool) {
        let id = self.next_id(OF_CLIENT, key.0 as u32);
        let Some(client) = self.clients.get(key.0).filter(|client| !client.bytes.is_empty()) else { return };
        self.outputs.push_back(Output::Transmit { id, route: client.route.clone(), bytes: client.bytes.clone(), retransmission });
    }

    /// Arms its timer, or ends it.
    fn after_client(&mut self, key: ClientKey) {
        let Some(client) = self.clients.get_mut(key.0) else { return };
        if !client.is_terminated() {
            if matches!(client.machine, Machine::Invite(InviteClient::Accepted { .. }) | Machine::NonInvite(NonInviteClient::Completed { .. })) {
                client.bytes = Bytes::new();
            }
            let deadline = client.deadline();
            self.arm(Owner::client(key), deadline);
            return;
        }
        self.deadlines.cancel(Owner::client(key));
        if let Some(client) = self.clients.remove(key.0) {
            self.invites.0 -= usize::from(matches!(client.machine, Machine::Invite(_)));
            forget(&mut self.by_response, client.fingerprint, key.0);
            if client.report != Report::Nothing {
                self.outputs.push_back(Output::ClientEnded(key));
            }
        }
    }
}

impl Client {
    fn on_response(&mut self, now: Time, timers: &Timers, status: u16) -> Verdict {
        let reliable = self.is_reliable();
        match &mut self.machine {
            Machine::Invite(machine) => {
                let heard = match status {
                    ..200 => machine.on_provisional(now, timers),
                    200..300 => machine.on_success(now, timers),
                    300.. => machine.on_failure(now, timers, reliable),
                };
                match heard {
                    invite_client::Heard::Pass => Verdict::Pass,
                    invite_client::Heard::PassAndCancel => Verdict::PassAndCancel,
                    invite_client::Heard::PassAndAcknowledge => Verdict::PassAndAcknowledge,
                    invite_client::Heard::Acknowledge => Verdict::Acknowledge,
                    invite_client::Heard::Absorb => Verdict::Absorb,
                }
            }
            Machine::NonInvite(machine) => {
                let heard = if status < 200 { machine.on_provisional() } else { machine.on_final(now, timers, reliable) };
                match heard {
                    non_invite_client::Heard::Pass => Verdict::Pass,
                    non_invite_client::Heard::Absorb => Verdict::Absorb,
                }
            }
        }
    }
}
