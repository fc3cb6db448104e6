//! The observer: it sees what the core is given and what it emits, and says which rule of the modes' definitions was broken. It is written from the
//! definitions alone and shares nothing with `src/policy` or `src/signaling` but the types of the boundary.
//!
//! A leg is (Call-ID, party). What is demanded of it is read from the `World`: a trunk's or gateway's leg has that peer's mode, a UM leg at least
//! the plan's. A call keeps the plan it began under; where a peer has changed since, the leg must lie between what was and what is.

mod media;
mod report;
pub mod wire;

use std::collections::HashMap;
use std::sync::Arc;

use portcullis::media::control::{Command, StreamId};
use portcullis::policy::flow::{Flow, FlowId};
use portcullis::policy::outcome::Outcome;
use portcullis::policy::settings::{Keying, Refer, SecurityMode};
use portcullis::signaling::event::{Action, Connect, Route};
use portcullis::signaling::fact::{Fact, What};
use portcullis::sip::Transport;

use crate::world::{Kind, Party, Proof, Secured, SipSecured, Tls, Unsecured, World};
use media::StreamSeen;
pub use media::{Guard, SideSeen};
use wire::{Text, active_lines, fingerprints, is_clear, keys, smells_of_keys};

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Rule {
    /// A Secured leg got a description with RTP, or with SRTP and no key.
    PlainToSecured,
    /// A leg that is not Secured got SRTP or keys: each leg has one mode.
    SrtpToPlain,
    /// The media plane was told to take or send RTP on a Secured leg.
    MediaUnprotected,
    /// A byte of a protected leg went by another way than mutual TLS with its peer.
    OffMutualTls,
    /// Bytes that came by another way than mutual TLS had an effect on a protected leg.
    AcceptedInClear,
    /// Key material went over UDP or TCP.
    KeyInClear,
    /// Key material stands in what logs, records and ladders are made of.
    KeyInFact,
    /// A key of one leg, or of its peer, went to another leg.
    KeyCrossed,
    /// One key twice: in two lines, legs or calls.
    KeyReused,
    /// Somebody who proved nothing got an answer, a leg or a port.
    StrangerServed,
    /// A message went to somebody who has no part in the dialog.
    Astray,
    /// REFER led to a message or a leg.
    ReferActed,
    /// Record, metric or ladder says other than what was on the wire.
    Misreported,
}

#[derive(Clone, PartialEq, Debug)]
pub struct Broken {
    pub rule: Rule,
    pub what: String,
}

/// How bytes travel: by what, to or from whom, and whether both ends have proven who they are by certificate.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Way {
    pub transport: Transport,
    pub party: Option<Party>,
    pub mutual: bool,
}

impl Way {
    fn is_mutual_tls(self) -> bool {
        self.transport == Tls && self.mutual
    }
}

/// What the step under way may lead to.
#[derive(Clone, PartialEq, Debug)]
enum Step {
    /// Time passes, or a peer speaks by its proper way.
    Proper,
    /// Somebody unknown speaks.
    Stranger,
    /// A known peer speaks by a way that its leg does not allow, or about a dialog that is not its own. `is_new`: an INVITE that opens nothing.
    Improper {
        is_new: bool,
    },
    Refer,
}

#[derive(Debug)]
struct CallSeen {
    /// As the policy set said when the call began.
    world: Arc<World>,
    a: String,
    b: Option<String>,
    /// Its record has been filed.
    is_over: bool,
    /// It came by a proper way.
    is_proper: bool,
    /// Something of it went to the other side.
    went_on: bool,
}

#[derive(Debug)]
struct DialogSeen {
    call: usize,
    /// Whom it is with; on the B side the last one invited. Those before stay in `legs`.
    party: Party,
    legs: Vec<LegSeen>,
}

#[derive(Debug)]
struct LegSeen {
    party: Party,
    low: SecurityMode,
    high: SecurityMode,
    transports: Vec<Transport>,
    /// Suites of the keys we sent.
    suites: Vec<String>,
    heard_keys: Vec<String>,
    /// The media plane took and sent SRTP on it.
    ran_srtp: bool,
}

#[derive(Debug)]
struct KeySeen {
    call_id: String,
    party: Party,
    ours: bool,
}

pub struct Observer {
    world: Arc<World>,
    flows: HashMap<FlowId, (Arc<Flow>, Way)>,
    closed: Vec<FlowId>,
    step: Step,
    calls: Vec<CallSeen>,
    dialogs: HashMap<String, DialogSeen>,
    keys: HashMap<String, KeySeen>,
    streams: HashMap<StreamId, StreamSeen>,
    commands: Vec<Command>,
    broken: Vec<Broken>,
    /// Messages looked at, in and out.
    pub looks: u64,
}

impl CallSeen {
    fn is_with(&self, party: Party, dialogs: &HashMap<String, DialogSeen>) -> bool {
        let is_with = |call_id: &String| dialogs.get(call_id).is_some_and(|dialog| dialog.party == party || dialog.legs.iter().any(|leg| leg.party == party));
        is_with(&self.a) || self.b.as_ref().is_some_and(is_with)
    }
}

impl Observer {
    pub fn new(world: Arc<World>) -> Observer {
        Observer {
            world,
            flows: HashMap::new(),
            closed: Vec::new(),
            step: Step::Proper,
            calls: Vec::new(),
            dialogs: HashMap::new(),
            keys: HashMap::new(),
            streams: HashMap::new(),
            commands: Vec::new(),
            broken: Vec::new(),
            looks: 0,
        }
    }

    /// A reload: holds for calls that begin from now on, and for who is who.
    pub fn reloaded(&mut self, world: Arc<World>) {
        self.world = world;
        self.step = Step::Proper;
    }

    pub fn closed(&mut self, flow: FlowId) {
        self.closed.push(flow);
        self.step = Step::Proper;
    }

    pub fn time_passes(&mut self) {
        self.step = Step::Proper;
    }

    /// Everything broken so far; empty where the law holds.
    pub fn take_broken(&mut self) -> Vec<Broken> {
        std::mem::take(&mut self.broken)
    }

    fn breaks(&mut self, rule: Rule, what: impl Into<String>) {
        self.broken.push(Broken { rule, what: what.into() });
    }

    /// Who stands behind a flow: the address, the transport set for the peer and, over TLS, its certificate must all be right.
    fn behind(&self, flow: &Flow) -> Way {
        let nobody = Way { transport: flow.transport, party: None, mutual: false };
        let Some(party) = Party::at(flow.remote.ip()) else { return nobody };
        // A peer is known by the way the policy set has for it, and while a call with it is up by the way it had when the call began.
        let lingers = self.calls.iter().filter(|call| !call.is_over && call.is_with(party, &self.dialogs)).map(|call| call.world.kind(party));
        let lives = Some(self.world.kind(party)).filter(|_| !self.world.disabled.contains(&party));
        let ways = lives.into_iter().chain(lingers);
        let shown = ways.filter(|kind| kind.transport == flow.transport).map(|kind| Observer::shown(flow, party, kind));
        shown.max_by_key(|way| (way.party.is_some(), way.mutual)).unwrap_or(nobody)
    }

    /// Whose proof it is that was shown on a flow of the right transport.
    fn shown(flow: &Flow, party: Party, kind: Kind) -> Way {
        let nobody = Way { transport: flow.transport, party: None, mutual: false };
        if flow.transport != Tls {
            return Way { party: Some(party), ..nobody };
        }
        let Some(identity) = &flow.tls else { return nobody };
        let proven = identity.names == Proof::Of(party).identity().names && identity.trusted_for.iter().any(|name| &**name == party.name());
        let anonymous = identity.names.is_empty() && identity.trusted_for.is_empty();
        // A peer that may call in without a certificate is known by its address alone.
        let known = proven || (anonymous && !kind.mutual);
        Way { party: known.then_some(party), mutual: proven, ..nobody }
    }

    /// Where a route leads.
    fn way(&self, route: &Route) -> Result<Way, &'static str> {
        match route {
            Route::Datagram { remote, listener } => {
                if *listener != crate::world::listener_of(Transport::Udp) {
                    return Err("a datagram from a listener that is not UDP's");
                }
                Ok(Way { transport: Transport::Udp, party: Party::at(remote.ip()), mutual: false })
            }
            Route::Flow { id, otherwise } if !self.closed.contains(id) => {
                let Some((flow, way)) = self.flows.get(id) else { return Err("a flow that never was") };
                // Who a certificate belongs to does not change when its peer is set to another transport.
                let way = Way { party: Party::at(flow.remote.ip()), ..*way };
                // The connection may be gone by then: what would be made instead must be as good.
                match otherwise.as_ref().map(|connect| self.connection(connect)).transpose()? {
                    Some(instead) if instead.transport != way.transport => Err("another transport, should the connection be gone"),
                    Some(instead) if instead.party != way.party => Err("another peer, should the connection be gone"),
                    _ => Ok(way),
                }
            }
            Route::Flow { otherwise: Some(connect), .. } | Route::Connect(connect) => self.connection(connect),
            Route::Flow { otherwise: None, .. } => Err("a closed flow, and nothing instead"),
        }
    }

    fn connection(&self, connect: &Connect) -> Result<Way, &'static str> {
        let party = Party::at(connect.remote.ip());
        let way = Way { transport: connect.transport, party, mutual: false };
        if connect.transport == Transport::Udp {
            return Err("a connection by UDP");
        }
        if connect.listener != crate::world::listener_of(connect.transport) {
            return Err("a connection in the name of a listener of another transport");
        }
        let Some(party) = party.filter(|party| *connect.peer == *party.name()) else { return Err("a connection in the name of a peer that is not there") };
        let names_right = !connect.names.is_empty() && connect.names.iter().all(|name| **name == *party.host());
        if connect.transport == Tls && !names_right {
            return Err("a TLS connection that would take another certificate, or any");
        }
        Ok(Way { mutual: connect.transport == Tls, ..way })
    }

    /// Before the core gets it. Connections the core asked for are named by `flow` too, as soon as something comes back over them.
    pub fn received(&mut self, flow: &Arc<Flow>, bytes: &[u8]) {
        self.looks += 1;
        let way = self.behind(flow);
        let kept = self.flows.entry(flow.id).or_insert_with(|| (flow.clone(), way));
        // Once proven, a connection stays so; only whose it is may change with the policy set.
        kept.1.party = way.party;
        let text = String::from_utf8_lossy(bytes).into_owned();
        let message = Text::read(&text);
        let Some(party) = way.party else {
            self.step = Step::Stranger;
            return;
        };
        let is_invite = message.method == Some("INVITE");
        let known = self.dialogs.contains_key(message.call_id);
        if is_invite && !known {
            self.calls.push(CallSeen { world: self.world.clone(), a: message.call_id.to_owned(), b: None, is_over: false, is_proper: false, went_on: false });
            let call = self.calls.len() - 1;
            let dialog = DialogSeen { call, party, legs: Vec::new() };
            self.dialogs.insert(message.call_id.to_owned(), dialog);
        }
        self.step = self.judge(&message, way, party, is_invite && !known);
        if self.step == Step::Proper {
            if is_invite
                && !known
                && let Some(call) = self.calls.last_mut()
            {
                call.is_proper = true;
            }
            self.leg(message.call_id, party, Some(way.transport));
        }
        for key in keys(message.body).into_iter().chain(fingerprints(message.body)) {
            self.keys.entry(key.to_owned()).or_insert_with(|| KeySeen { call_id: message.call_id.to_owned(), party, ours: false });
            if let Some(leg) = self.leg(message.call_id, party, None) {
                leg.heard_keys.push(key.to_owned());
            }
        }
    }

    fn judge(&mut self, message: &Text<'_>, way: Way, party: Party, is_new: bool) -> Step {
        let has_part = self.dialogs.get(message.call_id).map(|dialog| self.has_part(dialog, party));
        if has_part == Some(false) {
            return Step::Improper { is_new: false };
        }
        let low = self.leg(message.call_id, party, None).map(|leg| leg.low);
        match message.method {
            _ if low.is_some_and(|low| low >= SipSecured) && !way.is_mutual_tls() => Step::Improper { is_new },
            Some("REFER") if self.refuses_refer(message.call_id) => Step::Refer,
            _ => Step::Proper,
        }
    }

    /// Whether REFER leads to nothing in the world the dialog's call began in.
    fn refuses_refer(&self, call_id: &str) -> bool {
        self.dialogs.get(call_id).is_none_or(|dialog| self.calls[dialog.call].world.refer == Refer::Refuse)
    }

    /// Whom a dialog's messages may come from and go to: the caller; whoever was called; on the UM side any other server of the pool.
    fn has_part(&self, dialog: &DialogSeen, party: Party) -> bool {
        let invited = dialog.party == party || dialog.legs.iter().any(|leg| leg.party == party);
        let pool = &self.calls[dialog.call].world;
        let colleague = dialog.party.is_um() && pool.in_pool(dialog.party) && pool.in_pool(party);
        invited || colleague
    }

    /// The leg of a dialog with a party, made when first spoken of.
    fn leg(&mut self, call_id: &str, party: Party, seen_on: Option<Transport>) -> Option<&mut LegSeen> {
        let call = self.dialogs.get(call_id)?.call;
        let (low, high) = self.range(call, party);
        let dialog = self.dialogs.get_mut(call_id)?;
        let index = match dialog.legs.iter().position(|leg| leg.party == party) {
            Some(index) => index,
            None => {
                dialog.legs.push(LegSeen { party, low, high, transports: Vec::new(), suites: Vec::new(), heard_keys: Vec::new(), ran_srtp: false });
                dialog.legs.len() - 1
            }
        };
        let leg = dialog.legs.get_mut(index)?;
        leg.transports.extend(seen_on.filter(|transport| !leg.transports.contains(transport)));
        Some(leg)
    }

    /// The least and the most a leg of a call with a party may be.
    fn range(&self, call: usize, party: Party) -> (SecurityMode, SecurityMode) {
        let world = &self.calls[call].world;
        let (then, now) = (world.kind(party).mode, self.world.kind(party).mode);
        let floor = if party.is_um() { world.plan } else { Unsecured };
        (floor.max(then.min(now)), floor.max(then.max(now)))
    }

    /// What the core wants done.
    pub fn acted(&mut self, action: &Action) {
        match action {
            Action::Transmit { route, bytes, .. } => self.sent(route, bytes),
            Action::Media(command) => {
                match self.step {
                    Step::Stranger => self.breaks(Rule::StrangerServed, format!("media plane: {command:?}")),
                    Step::Improper { .. } => self.breaks(Rule::AcceptedInClear, format!("media plane: {command:?}")),
                    Step::Refer => self.breaks(Rule::ReferActed, format!("media plane: {command:?}")),
                    Step::Proper => {}
                }
                self.commands.push(command.clone());
            }
            Action::Fact(fact) => self.told(fact),
            Action::Locate { .. } if self.step != Step::Proper => self.breaks(Rule::StrangerServed, "a name is looked up for somebody without a leg"),
            // The doors' copy of who is known where.
            Action::Locate { .. } | Action::Doors(_) | Action::HandOver { .. } | Action::FlowOver(_) | Action::Bequeath(_) | Action::Unused(_) => {}
        }
    }

    fn sent(&mut self, route: &Route, bytes: &[u8]) {
        self.looks += 1;
        let text = String::from_utf8_lossy(bytes).into_owned();
        let message = Text::read(&text);
        let first = text.split("\r\n").next().unwrap_or_default();
        let way = match self.way(route) {
            Ok(way) => way,
            Err(what) => return self.breaks(Rule::OffMutualTls, format!("{what}: {first}")),
        };
        match self.step {
            Step::Stranger => self.breaks(Rule::StrangerServed, format!("sent: {first}")),
            Step::Improper { .. } if !message.is_bare_refusal() => self.breaks(Rule::AcceptedInClear, format!("sent: {first}")),
            Step::Refer if !message.is_bare_refusal() => self.breaks(Rule::ReferActed, format!("sent: {first}")),
            Step::Improper { .. } | Step::Refer | Step::Proper => {}
        }
        if is_clear(way.transport) && (smells_of_keys(&text) || self.keys.keys().any(|key| text.contains(key.as_str()))) {
            self.breaks(Rule::KeyInClear, format!("over {}: {first}", way.transport));
        }
        let Some(party) = way.party else { return self.breaks(Rule::Astray, format!("to nobody's address: {first}")) };
        self.place(&message, party);
        let Some(dialog) = self.dialogs.get(message.call_id) else { return };
        if !self.has_part(dialog, party) && !message.is_bare_refusal() {
            self.breaks(Rule::Astray, format!("to {party:?}, who has no part: {first}"));
        }
        self.watch_mode(&message, way, party, first);
        self.watch_keys(&message, party, first);
    }

    /// Finds or opens the dialog a message of ours belongs to.
    fn place(&mut self, message: &Text<'_>, party: Party) {
        let is_invite = message.method == Some("INVITE");
        if let (true, None, Some(call)) = (is_invite, self.dialogs.get(message.call_id), self.current()) {
            self.calls[call].b = Some(message.call_id.to_owned());
            self.calls[call].went_on = true;
            self.dialogs.insert(message.call_id.to_owned(), DialogSeen { call, party, legs: Vec::new() });
        }
        // An INVITE without our To tag being known goes to the next target.
        let in_dialog = wire::field(message.text.split("\r\n\r\n").next().unwrap_or_default(), "To").contains(";tag=");
        if let (true, false, Some(dialog)) = (is_invite, in_dialog, self.dialogs.get_mut(message.call_id)) {
            dialog.party = party;
        }
    }

    /// The call that began last.
    fn current(&self) -> Option<usize> {
        self.calls.iter().rposition(|call| call.is_proper)
    }

    fn watch_mode(&mut self, message: &Text<'_>, way: Way, party: Party, first: &str) {
        let seen_on = (!message.is_bare_refusal()).then_some(way.transport);
        let Some(leg) = self.leg(message.call_id, party, seen_on) else { return };
        let (low, high) = (leg.low, leg.high);
        if low >= SipSecured && !way.is_mutual_tls() && !message.is_bare_refusal() {
            self.breaks(Rule::OffMutualTls, format!("{low:?} leg with {party:?}, over {}: {first}", way.transport));
        }
        if message.body.is_empty() || !message.body.starts_with("v=0") {
            return;
        }
        let lines = active_lines(message.body);
        if low == Secured && !lines.iter().all(|line| line.is_dtls() || (line.is_srtp() && !line.keys.is_empty())) {
            self.breaks(Rule::PlainToSecured, format!("to {party:?}: {first}: {lines:?}"));
        }
        if high < Secured && (!lines.iter().all(|line| line.is_clear_media()) || smells_of_keys(message.body)) {
            self.breaks(Rule::SrtpToPlain, format!("to {party:?}: {first}: {lines:?}"));
        }
        let suites: Vec<String> = lines.iter().flat_map(|line| &line.keys).map(|(suite, _)| (*suite).to_owned()).collect();
        if let Some(leg) = self.leg(message.call_id, party, None) {
            leg.suites.extend(suites);
        }
    }

    fn watch_keys(&mut self, message: &Text<'_>, party: Party, first: &str) {
        let ours = keys(message.text);
        for (index, key) in ours.iter().enumerate() {
            if ours[..index].contains(key) {
                self.breaks(Rule::KeyReused, format!("in two lines to {party:?}: {first}"));
                continue;
            }
            let known = self.keys.get(*key).map(|seen| (seen.ours, seen.call_id == message.call_id && seen.party == party));
            match known {
                None => {
                    self.keys.insert((*key).to_owned(), KeySeen { call_id: message.call_id.to_owned(), party, ours: true });
                }
                Some((true, true)) => {}
                Some((true, false)) => self.breaks(Rule::KeyReused, format!("one of another leg, to {party:?}: {first}")),
                Some((false, false)) if self.keys.get(*key).is_some_and(|seen| self.consent(message.call_id, party, seen)) => {}
                Some((false, _)) => self.breaks(Rule::KeyCrossed, format!("a peer's own, to {party:?}: {first}")),
            }
        }
        let foreign = |(key, seen): (&String, &KeySeen)| (seen.call_id != message.call_id || !seen.ours) && message.text.contains(key.as_str());
        if ours.is_empty() && self.keys.iter().any(foreign) {
            self.breaks(Rule::KeyCrossed, format!("in another place than a=crypto, to {party:?}: {first}"));
        }
    }

    /// Whether a peer's key may be told to `party` on the leg `call_id`: it is of the other leg of the same call, and both peers may share theirs.
    fn consent(&self, call_id: &str, party: Party, seen: &KeySeen) -> bool {
        let call = |call_id: &str| self.dialogs.get(call_id).map(|dialog| dialog.call);
        let Some(of) = call(call_id).filter(|of| call(&seen.call_id) == Some(*of) && seen.call_id != call_id) else { return false };
        let world = &self.calls[of].world;
        let may = |party: Party| world.kind(party).shares && world.kind(party).keying == Keying::Sdes && world.demanded(party) == SecurityMode::Secured;
        may(party) && may(seen.party)
    }

    fn told(&mut self, fact: &Fact) {
        let name = || format!("{:?}", fact.what).chars().take(60).collect::<String>();
        let only_seen = matches!(fact.what, What::Received { .. } | What::Sent { .. } | What::Malformed { .. } | What::Standalone { .. } | What::Decided(_));
        let screened_out = matches!(&fact.what, What::Screened(screened) if matches!(screened.outcome, Outcome::Refused { .. }));
        let refused =
            screened_out || matches!(&fact.what, What::CallBegan { .. }) || matches!(&fact.what, What::CallEnded(record) if record.status.unwrap_or(0) >= 400);
        match self.step {
            Step::Stranger if !matches!(fact.what, What::Stranger { .. }) => self.breaks(Rule::StrangerServed, name()),
            Step::Improper { is_new } if !(only_seen || is_new && refused) => self.breaks(Rule::AcceptedInClear, name()),
            Step::Refer if !only_seen => self.breaks(Rule::ReferActed, name()),
            _ => {}
        }
        if let What::LegOpened { side, peer, mode, transport, .. } = &fact.what {
            self.opened(*side, peer, *mode, *transport);
        }
        if let What::CallEnded(record) = &fact.what {
            self.reported(record);
            if let Some(call) = self.calls.iter_mut().find(|call| call.a == record.a.call_id) {
                call.is_over = true;
            }
        }
        if !self.keys.is_empty() && !matches!(fact.what, What::Received { .. } | What::Sent { .. }) {
            let text = format!("{:?}", fact.what);
            if self.keys.keys().any(|key| text.contains(key.as_str())) || text.contains("inline:") {
                self.breaks(Rule::KeyInFact, name());
            }
        }
    }

    /// The step is over: what the media plane was told is judged when it is known whom it is for.
    pub fn settled(&mut self) {
        for command in std::mem::take(&mut self.commands) {
            self.commanded(&command);
        }
    }
}
