//! The B2BUA core, RFC 3261's transaction user (§6): one event in, owned tables, actions out.
//!
//! It finds out what an event is about and calls the chapter of the call's life that deals with it; it decides nothing itself.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::media::control;
use crate::policy::flow::Flow;
use crate::policy::peer::{PeerTable, identify};
use crate::policy::settings::{Peer, PolicySet};
use crate::policy::verdict::Reason;
use crate::signaling::b2bua::attended::{self, Splice};
use crate::signaling::b2bua::call::{Call, ClientOwner, Part, ServerRequest};
use crate::signaling::b2bua::{
    digits, errand, fax, keying, lingering, missed_call, modify, progress, refresh, reinvite, relayed, release, setup, standalone, subscription, transfer,
    update,
};
use crate::signaling::border::{Border, Timer};
use crate::signaling::branch;
use crate::signaling::census::Census;
use crate::signaling::companion::{self, Change, Companion};
use crate::signaling::event::{Action, Command, Event, LocateError, LocateId, Target, TransportError};
use crate::signaling::fact::{CallId, What};
use crate::signaling::liveness;
use crate::signaling::retired;
use crate::signaling::settings::Settings;
use crate::signaling::transaction::{ClientKey, Incoming, Output, ServerKey};
use crate::signaling::transport;
use crate::sip::{Limits, Message, Method};
use crate::time::Time;

pub struct Core {
    border: Border,
    calls: HashMap<CallId, Box<Call>>,
    limits: Limits,
    drained: bool,
}

/// What the core holds: after enough silence all of it is zero, or something leaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Holdings {
    pub calls: usize,
    /// Calls counted for admission.
    pub admitted: usize,
    /// Legs counted for the limits of those they go to.
    pub towards: usize,
    pub tags: usize,
    pub call_ids: usize,
    /// Client and server transactions with an owner.
    pub clients: usize,
    pub servers: usize,
    pub client_transactions: usize,
    pub server_transactions: usize,
    /// The core's own; a drain under way counts as one.
    pub timers: usize,
    pub locates: usize,
    pub streams: usize,
    /// Pairs lent out.
    pub ports: usize,
    /// Addresses asked for signs of life.
    pub watched: usize,
    /// Requests of ours outside any call.
    pub errands: usize,
    /// Calls with peers that are no longer where they were.
    pub lingering: usize,
    /// Calls under way to UM over the PSTN.
    pub rerouted: usize,
}

impl Core {
    /// `seed`: 32 bytes of randomness; from it come all names and keys the core invents.
    pub fn new(settings: Arc<Settings>, set: Arc<PolicySet>, table: Arc<PeerTable>, seed: [u8; 32]) -> Core {
        let watches = table.peers().any(|peer| peer.probe.is_some());
        let mut border = Border::new(settings, set, table, seed);
        if watches {
            border.timers.set(Timer::Follow, Time::ZERO);
        }
        Core { border, calls: HashMap::new(), limits: Limits::default(), drained: false }
    }

    /// The first call gets this number, or a higher one. Before the first call.
    pub fn number_calls_from(&mut self, first: u64) {
        self.border.number_calls_from(first);
    }

    /// Takes one event. Afterwards `poll` until it is empty, then wait for `deadline`.
    pub fn handle(&mut self, now: Time, event: Event) {
        match event {
            Event::Received { flow, bytes } => self.received(now, &flow, bytes, false),
            Event::Handed { flow, bytes } => self.received(now, &flow, bytes, true),
            Event::Companion(change) => self.companion(change),
            Event::FlowClosed { flow } => {
                self.border.closed_flows.note(flow);
                if self.border.companion.is_some() {
                    self.border.act(Action::FlowOver(flow));
                }
            }
            Event::TransportFailed { id, error } => self.border.transactions.transport_failed(now, id, error),
            Event::Located { id, targets } => self.located(now, id, targets),
            Event::Media(event) => self.media(now, event),
            Event::Peers(table) => {
                self.border.fact(now, None, What::PeersChanged { number: table.number });
                let released = lingering::adopt(&mut self.border, now, &table, self.calls.values().map(|call| &**call));
                liveness::follow(&mut self.border, now);
                for call in released {
                    self.with_call(now, call, |border, call| lingering::release(border, now, call));
                }
            }
            Event::Policies(set, settings) => {
                self.border.fact(now, None, What::PoliciesChanged { number: set.number });
                retired::adopt(&mut self.border, now, &settings);
                self.border.reconfigure(set, settings);
            }
            Event::Command(command) => self.command(now, command),
            Event::Measured(measured) => {
                let told = self.border.throttle.measured(now, measured, &self.border.set.admission);
                told.into_iter().for_each(|what| self.border.fact(now, None, what));
            }
            Event::Census => self.border.fact(now, None, What::Census(Box::new(Census::of(&self.border, &self.calls, now)))),
            Event::Tick => {}
        }
        self.settle(now);
        self.border.tell_opened(now);
    }

    pub fn poll(&mut self) -> Option<Action> {
        self.border.poll()
    }

    /// When `Event::Tick` is due at the latest.
    pub fn deadline(&self) -> Option<Time> {
        [self.border.timers.next(), self.border.transactions.deadline()].into_iter().flatten().min()
    }

    /// Calls not yet over.
    pub fn calls(&self) -> usize {
        self.calls.len()
    }

    /// What is held at this moment.
    pub fn holdings(&self) -> Holdings {
        let border = &self.border;
        let (client_transactions, server_transactions) = border.transactions.counts();
        Holdings {
            calls: self.calls.len(),
            admitted: border.load.calls() as usize,
            towards: border.load.towards() as usize,
            tags: border.tags.len(),
            call_ids: border.call_ids.len(),
            clients: border.clients.len(),
            servers: border.servers.len(),
            client_transactions,
            server_transactions,
            timers: border.timers.len(),
            locates: border.locates.len() + border.watch.locates() + border.errands.locates(),
            streams: border.streams.len(),
            ports: border.ports_in_use(),
            watched: border.watch.len(),
            errands: border.errands.len(),
            lingering: border.lingering.len(),
            rerouted: border.rerouting.len(),
        }
    }

    /// Runs what is due and what follows from it until nothing moves.
    fn settle(&mut self, now: Time) {
        self.border.transactions.timeout(now);
        loop {
            if let Some(output) = self.border.transactions.poll() {
                self.transaction(now, output);
            } else if let Some(splice) = self.border.splices.pop_front() {
                self.splice(now, &splice);
            } else if let Some(timer) = self.border.timers.pop(now) {
                self.timer(now, timer);
            } else {
                break;
            }
        }
        branch::follow(&mut self.border, now);
        // What a successor cannot do for us: requests of ours outside calls are still to be answered.
        let errands_over = self.border.companion != Some(Companion::Successor) || self.border.errands.is_empty();
        if self.border.draining && !self.drained && self.calls.is_empty() && errands_over {
            self.drained = true;
            self.border.fact(now, None, What::Drained);
        }
    }

    fn companion(&mut self, change: Change) {
        match change {
            Change::Leave => {
                let bequest = companion::leave(&mut self.border);
                self.border.act(Action::Bequeath(bequest));
            }
            Change::Follow(bequest) => {
                self.border.companion = Some(Companion::Predecessor);
                self.border.inherit(bequest);
            }
            Change::Alone => {
                self.border.companion = None;
                self.border.inherit_all();
            }
        }
    }

    /// `handed`: by another process of this border, which is not asked again.
    fn received(&mut self, now: Time, flow: &Arc<Flow>, bytes: Bytes, handed: bool) {
        let (decision, peer) = identify(&self.border.table, flow);
        let message = peer.as_ref().map(|_| Message::parse(bytes.clone(), &self.limits));
        let read = message.as_ref().and_then(|message| message.as_ref().ok());
        if !handed && companion::is_theirs(&self.border, flow, peer.as_deref(), read) {
            return self.border.act(Action::HandOver { flow: flow.clone(), bytes });
        }
        let (Some(peer), Some(message)) = (peer, message) else {
            return self.border.fact(now, None, What::Stranger { transport: flow.transport, remote: flow.remote, decision });
        };
        match message {
            Ok(message) if message.is_request() => self.request(now, flow, &peer, message),
            Ok(message) => self.response(now, flow, &peer, &message),
            Err(error) => standalone::malformed(&mut self.border, now, flow, &peer, bytes, &error),
        }
    }

    fn request(&mut self, now: Time, flow: &Arc<Flow>, peer: &Arc<Peer>, message: Message) {
        if let Some((reason, detail)) = standalone::unusable(&message) {
            return standalone::refuse_unusable(&mut self.border, now, flow, peer, &message, reason, detail);
        }
        let Ok(via) = message.top_via() else { return };
        let route = transport::reply_route(flow, &via, peer);
        if retired::turns_away(&mut self.border, now, flow, peer, &message, &route) {
            return;
        }
        let incoming = self.border.transactions.received_request(now, &message, &peer.name, flow, route);
        let dialog = self.dialog_of(&message, peer);
        let by_its_way = |core: &Core, (call, part): (CallId, Part)| core.calls.get(&call).is_some_and(|call| call.admits(part, flow));
        let call = dialog.map(|(call, _)| call);
        let note = |border: &mut Border, call: Option<CallId>, retransmission: bool| {
            let leg = message.call_id().ok().and_then(|id| border.call_ids.get(id)).copied();
            let received = What::Received { leg: leg.map(|(_, side)| side), flow: flow.clone(), bytes: message.bytes().clone(), retransmission };
            border.fact(now, call.or(leg.map(|(call, _)| call)), received);
        };
        match incoming {
            Incoming::Absorbed => note(&mut self.border, call, true),
            Incoming::Confirmed => note(&mut self.border, call, false),
            Incoming::Ack => {
                note(&mut self.border, call, false);
                if let Some((call, Part::Leg(side))) = dialog.filter(|dialog| by_its_way(self, *dialog)) {
                    self.with_call(now, call, |border, call| modify::acknowledged(border, now, call, side, &message));
                }
            }
            Incoming::Cancel { cancel, invite } => {
                note(&mut self.border, call, false);
                let invite = invite.filter(|key| self.may_cancel(peer, *key));
                let call = invite.and_then(|key| self.border.servers.get(&key).copied());
                let status = if invite.is_some() { 200 } else { 481 };
                // §9.2: with the tag of the INVITE's own answers.
                let tag = call.and_then(|call| self.calls.get(&call)).map(|call| call.a.dialog.local_tag.clone());
                let tag = tag.unwrap_or_else(|| self.border.mint.tag());
                self.border.reply(now, (&cancel, &message, flow), status, Some(&tag), |_| {});
                if let Some(call) = call {
                    self.with_call(now, call, |border, call| release::cancelled(border, now, call, invite));
                }
            }
            Incoming::Merged(key) => {
                note(&mut self.border, call, false);
                standalone::refuse(&mut self.border, now, &ServerRequest { key, message, flow: flow.clone() }, peer, Reason::Loop);
            }
            Incoming::Overload => standalone::overloaded(&mut self.border, now, flow, peer, &message),
            Incoming::Malformed => {}
            Incoming::New(key) => {
                let request = ServerRequest { key, message: message.clone(), flow: flow.clone() };
                let in_dialog = message.to().is_ok_and(|to| to.tag().is_some());
                match (in_dialog, dialog) {
                    (true, Some(dialog)) if !by_its_way(self, dialog) => {
                        note(&mut self.border, Some(dialog.0), false);
                        modify::refuse(&mut self.border, now, &request, Reason::ModeTransport);
                    }
                    (true, Some((call, part))) => {
                        note(&mut self.border, Some(call), false);
                        self.with_call(now, call, |border, call| modify::requested(border, now, call, part, peer, request));
                    }
                    (true, None) => {
                        note(&mut self.border, None, false);
                        standalone::refuse(&mut self.border, now, &request, peer, Reason::NoSuchDialog);
                    }
                    (false, _) if message.method() == Some(&Method::Invite) => self.invite(now, peer, request),
                    (false, _) => {
                        note(&mut self.border, None, false);
                        standalone::answer(&mut self.border, now, &request, peer);
                    }
                }
            }
        }
    }

    fn invite(&mut self, now: Time, peer: &Arc<Peer>, request: ServerRequest) {
        let id = self.border.new_call();
        if let Some(mut call) = setup::begin(&mut self.border, now, id, peer, request) {
            setup::hunt(&mut self.border, now, &mut call);
            self.keep(now, call);
        }
    }

    fn response(&mut self, now: Time, flow: &Arc<Flow>, peer: &Arc<Peer>, message: &Message) {
        if let Err(detail) = self.was_asked(peer, flow, message) {
            let (flow, peer) = (flow.clone(), peer.name.clone());
            return self.border.fact(now, None, What::Malformed { flow, peer, reason: Reason::NotAllowedHere, detail });
        }
        let key = self.border.transactions.received_response(now, message, flow);
        let owner = message.call_id().ok().and_then(|id| self.border.call_ids.get(id)).copied();
        // A CANCEL's answer is taken by its transaction, and concerns nobody else (§9.1).
        let retransmission = key.is_none() && message.cseq().is_ok_and(|cseq| cseq.method != Method::Cancel);
        let received = What::Received { leg: owner.map(|(_, side)| side), flow: flow.clone(), bytes: message.bytes().clone(), retransmission };
        self.border.fact(now, owner.map(|(call, _)| call), received);
        let Some(key) = key else { return };
        let Some(owner) = self.border.clients.get(&key).cloned() else { return };
        match owner {
            ClientOwner::Invite(invite) => {
                let call = invite.call;
                if self.calls.contains_key(&call) {
                    self.with_call(now, call, |border, call| progress::invite_answered(border, now, call, key, flow, message));
                } else {
                    progress::late_answer(&mut self.border, now, key, flow, message);
                }
            }
            ClientOwner::Reinvite { call, .. } if !self.calls.contains_key(&call) => reinvite::late_answer(&mut self.border, key, message),
            ClientOwner::Reinvite { call, side, .. } => {
                self.with_call(now, call, |border, call| reinvite::answered(border, now, call, side, key, message));
            }
            ClientOwner::Update { call, side, reply } => {
                self.with_call(now, call, |border, call| update::answered(border, now, call, side, reply, message));
            }
            ClientOwner::Relayed { call, reply, .. } => {
                self.with_call(now, call, |border, call| modify::relayed_answered(border, now, call, reply, message));
            }
            ClientOwner::Digit { call, side } => {
                let status = message.status().unwrap_or(500);
                self.with_call(now, call, |border, call| digits::answered(border, now, call, side, status));
            }
            ClientOwner::Bye { call } if message.status().is_some_and(|status| status >= 200) => self.with_call(now, call, |_, call| release::bye_done(call)),
            ClientOwner::Notify { call, tag, .. } => {
                let status = message.status().unwrap_or(500);
                self.with_call(now, call, |border, call| subscription::answered(border, now, call, &tag, status));
            }
            ClientOwner::Refer { call, cseq, .. } => {
                let status = message.status().unwrap_or(500);
                self.with_call(now, call, |border, call| relayed::answered(border, now, call, cseq, status));
            }
            ClientOwner::Probe { watch, .. } => liveness::answered(&mut self.border, now, watch, key, message),
            ClientOwner::Errand { errand, .. } => errand::answered(&mut self.border, now, errand, key, message),
            ClientOwner::Bye { .. } | ClientOwner::Prack { .. } | ClientOwner::Forgotten => {}
        }
    }

    fn transaction(&mut self, now: Time, output: Output) {
        match output {
            Output::Transmit { id, route, bytes, retransmission } => self.transmit(now, id, route, bytes, retransmission),
            Output::ClientTimeout(key) => self.client_failed(now, key, None),
            Output::ClientTransportFailed(key, error) => self.client_failed(now, key, Some(error)),
            Output::ClientEnded(key) => {
                self.border.clients.remove(&key);
            }
            Output::ServerTransportFailed(key, _) => {
                if let Some(call) = self.border.servers.get(&key).copied() {
                    self.with_call(now, call, |border, call| release::reply_lost(border, now, call, key));
                }
            }
            Output::ServerTimeout(key) => {
                if let Some(call) = self.border.servers.get(&key).copied() {
                    self.with_call(now, call, |border, call| release::forsaken(border, now, call, key));
                }
            }
            Output::ServerEnded(key) => {
                self.border.servers.remove(&key);
            }
        }
    }

    fn transmit(&mut self, now: Time, id: crate::signaling::event::TransmitId, route: crate::signaling::event::Route, bytes: Bytes, retransmission: bool) {
        let owner = transport::call_id_of(&bytes).and_then(|id| self.border.call_ids.get(id)).copied();
        let (transport, remote) = self.border.destination(&route);
        let sent = What::Sent { leg: owner.map(|(_, side)| side), transport, remote, over: route.flow(), bytes: bytes.clone(), retransmission };
        self.border.fact(now, owner.map(|(call, _)| call), sent);
        self.border.act(Action::Transmit { id, route, bytes });
    }

    /// No answer came, or the request could not be sent.
    fn client_failed(&mut self, now: Time, key: ClientKey, error: Option<TransportError>) {
        let Some(owner) = self.border.clients.get(&key).cloned() else { return };
        match owner {
            ClientOwner::Invite(invite) => self.with_call(now, invite.call, |border, call| progress::invite_failed(border, now, call, key, error)),
            ClientOwner::Reinvite { call, side, .. } => self.with_call(now, call, |border, call| reinvite::failed(border, now, call, side, key)),
            ClientOwner::Update { call, side, reply } => self.with_call(now, call, |border, call| update::failed(border, now, call, side, reply)),
            ClientOwner::Relayed { call, reply, .. } => self.with_call(now, call, |border, call| modify::relayed_failed(border, now, call, reply)),
            ClientOwner::Digit { call, side } => self.with_call(now, call, |border, call| digits::answered(border, now, call, side, 408)),
            ClientOwner::Bye { call } => self.with_call(now, call, |_, call| release::bye_done(call)),
            ClientOwner::Notify { call, tag, .. } => self.with_call(now, call, |border, call| subscription::answered(border, now, call, &tag, 408)),
            ClientOwner::Refer { call, cseq, .. } => self.with_call(now, call, |border, call| relayed::answered(border, now, call, cseq, 0)),
            ClientOwner::Probe { watch, .. } => liveness::failed(&mut self.border, now, watch, key, error),
            ClientOwner::Errand { errand, .. } => errand::failed(&mut self.border, now, errand, key, error),
            ClientOwner::Prack { .. } | ClientOwner::Forgotten => {}
        }
    }

    fn located(&mut self, now: Time, id: LocateId, targets: Result<Vec<Target>, LocateError>) {
        if liveness::located(&mut self.border, now, id, &targets) || errand::located(&mut self.border, now, id, &targets) {
            return;
        }
        if let Some(call) = self.border.locates.remove(&id) {
            self.with_call(now, call, |border, call| setup::located(border, now, call, id, targets));
        }
    }

    fn media(&mut self, now: Time, event: control::Event) {
        match event {
            control::Event::OpenFailed { stream, error } => {
                if let Some(call) = self.border.streams.get(&stream).map(|(call, _)| *call) {
                    self.with_call(now, call, |border, call| release::without_media(border, now, call, stream, error));
                }
            }
            control::Event::Silent { stream, .. } => {
                if let Some(call) = self.border.streams.get(&stream).map(|(call, _)| *call) {
                    self.with_call(now, call, |border, call| release::silent(border, now, call));
                }
            }
            control::Event::FaxTone { stream, side } => {
                if let Some(call) = self.border.streams.get(&stream).map(|(call, _)| *call) {
                    self.with_call(now, call, |border, call| fax::tone(border, now, call, side));
                }
            }
            control::Event::Digit { stream, side, digit, lasting } => {
                if let Some(call) = self.border.streams.get(&stream).map(|(call, _)| *call) {
                    self.with_call(now, call, |border, call| digits::heard(border, now, call, stream, side, (digit, lasting)));
                }
            }
            control::Event::Keyed { stream, side, suite } => {
                if let Some(call) = self.border.streams.get(&stream).map(|(call, _)| *call) {
                    self.with_call(now, call, |border, call| keying::keyed(border, now, call, stream, side, suite));
                }
            }
            control::Event::KeyingFailed { stream, side, failure } => {
                if let Some(call) = self.border.streams.get(&stream).map(|(call, _)| *call) {
                    self.with_call(now, call, |border, call| keying::failed(border, now, call, stream, side, failure));
                }
            }
            control::Event::WorkerEnded { worker, fault, streams } => self.border.fact(now, None, What::MediaWorkerEnded { worker, fault, streams }),
            control::Event::Certificates(fingerprints) => self.border.fingerprints = fingerprints,
            control::Event::Closed { stream, report } => {
                if let Some(call) = self.border.stream_closed(now, stream) {
                    self.with_call(now, call, |border, call| release::reported(border, now, call, stream, *report));
                }
            }
        }
    }

    fn timer(&mut self, now: Time, timer: Timer) {
        match timer {
            Timer::Answer(call, side) => self.with_call(now, call, |border, call| release::answer_timer(border, now, call, side)),
            Timer::Reliable(call) => self.with_call(now, call, |border, call| progress::reliable_timer(border, now, call)),
            Timer::TimerC(call) => self.with_call(now, call, |border, call| progress::rang_too_long(border, now, call)),
            Timer::EarlySign(call) => self.with_call(now, call, |border, call| progress::early_sign(border, now, call)),
            Timer::NoResponse(call) => self.with_call(now, call, |border, call| progress::no_sign_of_life(border, now, call)),
            Timer::Session(call, side) => self.with_call(now, call, |border, call| refresh::session_timer(border, now, call, side)),
            Timer::Drain => self.release_all(now, Reason::Shutdown),
            Timer::Hunt(call) => self.with_call(now, call, |border, call| progress::rang_too_long(border, now, call)),
            Timer::Hold(call) => self.with_call(now, call, |border, call| release::by_border(border, now, call, Reason::HeldTooLong)),
            Timer::Transfer(call) => self.with_call(now, call, |border, call| transfer::due(border, now, call)),
            Timer::Leaving(call) => self.with_call(now, call, |border, call| transfer::leaving_overdue(border, now, call)),
            Timer::Forget(call) => self.border.forget(call),
            Timer::Follow => liveness::follow(&mut self.border, now),
            Timer::Watch(id) => liveness::due(&mut self.border, now, id),
            Timer::SourceParty(call) => self.with_call(now, call, |border, call| setup::hunt_on(border, now, call)),
            Timer::Errand(id) => errand::due(&mut self.border, now, id),
            Timer::Retired => retired::look(&mut self.border, now, &self.calls),
        }
    }

    fn command(&mut self, now: Time, command: Command) {
        match command {
            Command::Drain { release_after } => self.drain(now, release_after),
            Command::Resume if !self.border.draining => {}
            Command::Resume => {
                self.border.draining = false;
                self.drained = false;
                self.border.timers.cancel(Timer::Drain);
                self.border.fact(now, None, What::Resumed);
            }
            Command::Release(call) => self.with_call(now, call, |border, call| release::by_border(border, now, call, Reason::Operator)),
            Command::ReleaseAll => self.release_all(now, Reason::Shutdown),
            Command::Finish => self.finish(now),
            Command::NumberCalls { from } => self.border.number_calls_from(from),
            Command::Carry(carriage) => missed_call::carry(&mut self.border, now, *carriage),
        }
    }

    fn drain(&mut self, now: Time, release_after: Option<Duration>) {
        self.border.draining = true;
        let release_at = release_after.map(|after| now + after);
        match release_at {
            Some(at) => self.border.timers.set(Timer::Drain, at),
            None => self.border.timers.cancel(Timer::Drain),
        }
        self.border.fact(now, None, What::Draining { calls: self.border.load.calls(), release_at });
    }

    /// The process ends: no call record may be lost to an answer that does not come.
    fn finish(&mut self, now: Time) {
        self.border.draining = true;
        let mut all: Vec<CallId> = self.calls.keys().copied().collect();
        all.sort_unstable();
        for id in all {
            if let Some(call) = self.calls.remove(&id) {
                release::finish(&mut self.border, now, call);
            }
        }
    }

    fn release_all(&mut self, now: Time, reason: Reason) {
        let mut all: Vec<CallId> = self.calls.keys().copied().collect();
        all.sort_unstable();
        for id in all {
            self.with_call(now, id, |border, call| release::by_border(border, now, call, reason));
        }
    }

    /// The call and side a request with our tag in its To belongs to. One from a peer that has no part in it belongs to none, whatever it knows.
    fn dialog_of(&self, message: &Message, peer: &Peer) -> Option<(CallId, Part)> {
        let to = message.to().ok()?;
        let tag = to.tag()?;
        let (id, side) = *self.border.tags.get(tag)?;
        let call = self.calls.get(&id)?;
        let part = call.part(side, tag);
        call.is_spoken_for_by(part, peer).then_some((id, part))
    }

    /// Whether a CANCEL for the INVITE of `invite` comes from a peer that has a part in its call.
    fn may_cancel(&self, peer: &Peer, invite: ServerKey) -> bool {
        let call = self.border.servers.get(&invite).and_then(|call| self.calls.get(call));
        call.is_none_or(|call| [control::Side::A, control::Side::B].into_iter().any(|side| call.is_spoken_for_by(Part::Leg(side), peer)))
    }

    /// Whether a response comes from whom the request went to. What is no longer known of is left to the transactions.
    fn was_asked(&self, peer: &Peer, flow: &Flow, message: &Message) -> Result<(), &'static str> {
        let Some(key) = self.border.transactions.awaiting(message) else { return Ok(()) };
        let asked = match self.border.clients.get(&key) {
            Some(ClientOwner::Invite(invite)) => Some(&invite.peer.name),
            Some(
                ClientOwner::Probe { peer, .. }
                | ClientOwner::Errand { peer, .. }
                | ClientOwner::Notify { peer, .. }
                | ClientOwner::Refer { peer, .. }
                | ClientOwner::Reinvite { peer, .. },
            ) => Some(peer),
            Some(owner) => owner.leg().and_then(|(call, side)| self.calls.get(&call)?.peer(side)).map(|peer| &peer.name),
            None => None,
        };
        if asked.is_some_and(|asked| *asked != peer.name) {
            return Err("a response from a peer that was not asked");
        }
        // The policy set may have changed meanwhile: who was asked over TLS does not answer in clear.
        let by_its_way = self.border.transactions.route(key).is_none_or(|route| route.is_answered_over(flow, &peer.name));
        if by_its_way { Ok(()) } else { Err("a response by another way than its request went") }
    }

    /// Lends a call to a chapter and puts it back, or files its record when it is over.
    fn with_call(&mut self, now: Time, id: CallId, chapter: impl FnOnce(&mut Border, &mut Call)) {
        if let Some(mut call) = self.calls.remove(&id) {
            chapter(&mut self.border, &mut call);
            self.keep(now, call);
        }
    }

    /// Lends two calls at once to the chapter that makes them one.
    fn splice(&mut self, now: Time, splice: &Splice) {
        let Some(mut call) = self.calls.remove(&splice.call) else { return };
        let named = splice.other(&self.border);
        let mut other = named.and_then(|(other, side)| Some((self.calls.remove(&other)?, side)));
        attended::splice(&mut self.border, now, &mut call, splice, other.as_mut().map(|(other, side)| (&mut **other, *side)));
        self.keep(now, call);
        if let Some((other, _)) = other {
            self.keep(now, other);
        }
    }

    fn keep(&mut self, now: Time, mut call: Box<Call>) {
        call.count(now, &mut self.border.load);
        if call.is_done() {
            release::file(&mut self.border, now, *call);
        } else {
            self.calls.insert(call.id, call);
        }
    }
}
