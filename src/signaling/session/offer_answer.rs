//! The session of one call: offers and answers carried from one leg to the other (RFC 3264, 6337, 4568), with every value of ours on each side.
//!
//! One stream is relayed: sound, or a fax over T.38 (RFC 7345's UDPTL), and a re-INVITE may turn the one into the other and back. The offerer may do so on
//! the m-line itself or switch that off and add another; the other leg is always offered the m-line it had, with its kind changed (RFC 3264 §8.3.3), and
//! each leg's m-lines keep their places.

mod codecs;
mod digits;
mod dtls;
mod handover;
mod keys;
mod leg;
mod mux;
mod shared;
mod stream;

use std::net::IpAddr;
use std::time::Duration;

use crate::media::control::{Addresses, Command, Configuration, Content, LatchPolicy, Side, StreamId};
use crate::policy::security_mode::MediaPlan;
use crate::policy::verdict::Reason;
use crate::sdp::Description;
use crate::sdp::crypto::{MasterKey, Suite};
use crate::sdp::fingerprint::Fingerprint;
use crate::sip::Transport;

use keys::Ours;
use leg::{Heard, Leg};
use stream::{Kind, Stream};

pub use shared::{Apart, SrtpKeys};

/// What holds on one leg.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Terms {
    pub plan: MediaPlan,
    /// What this leg's signalling runs over: keys are neither sent nor taken over an unencrypted one.
    pub transport: Transport,
    pub latch: LatchPolicy,
    /// Where the leg's signalling peer is: our media address is of the same family until its description says more.
    pub peer: Option<IpAddr>,
}

/// What the session needs from outside to write a description.
pub trait Supply {
    /// A pair of our ports on `side`, on an address of the family of `like`. `None`: no ports free.
    fn ports(&mut self, side: Side, like: Option<IpAddr>) -> Option<Addresses>;
    /// A fresh key of the suite's length from a cryptographic source; lifetime and MKI unset.
    fn key(&mut self, suite: Suite) -> MasterKey;
    fn stream(&mut self) -> StreamId;
    /// Of the border's certificate of this number, which DTLS shows (see `control::IDENTITIES`). `None`: there is none.
    fn fingerprint(&mut self, _identity: usize) -> Option<Fingerprint> {
        None
    }
    /// For an o= line; not guessable from another call's.
    fn session_id(&mut self) -> u64;
    /// Ports that were asked for in vain: no stream was opened with them, so no closing returns them.
    fn release(&mut self, _side: Side, _ports: Addresses) {}
}

/// A description for the other leg and what the media plane is to do, in order.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// To be sent as `application/sdp`. Carries keys: not for logs.
    pub sdp: Vec<u8>,
    pub commands: Vec<Command>,
}

/// Why a description is not carried on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MediaRefusal(pub Reason);

impl From<Reason> for MediaRefusal {
    fn from(reason: Reason) -> MediaRefusal {
        MediaRefusal(reason)
    }
}

/// The offer/answer exchange under way, or the last one.
#[derive(Clone, Debug)]
struct Exchange {
    from: Side,
    offer: Heard,
    stage: Stage,
    /// Both legs as they were agreed before; `None` for the call's first exchange.
    before: Option<Box<[Leg; 2]>>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    Offered,
    /// Another answer may still replace this one, and a failure take it back.
    Answered,
    Settled,
    Rejected,
}

/// The call's session, both legs: one stream, audio or fax, is relayed between them.
#[derive(Clone, Debug)]
pub struct SessionMedia {
    a: Leg,
    b: Leg,
    silence: Option<Duration>,
    stream: Option<StreamId>,
    exchange: Option<Exchange>,
    /// Who gave the answer in force.
    answerer: Option<Side>,
    told: Told,
    /// Why the legs have keys of ours although both peers are for sharing theirs.
    apart: Option<Apart>,
    /// Of the A and the B leg: where its peer was before, if it came from another stream and has brought no key yet.
    elders: [Option<(StreamId, Side)>; 2],
}

/// What the media plane has been told of the stream beyond its sides.
#[derive(Clone, Copy, Debug, Default)]
struct Told {
    content: Content,
    /// How often the A and the B side's peer are to hear RTCP.
    rtcp: [Option<Duration>; 2],
}

impl SessionMedia {
    /// `silence`: how long both directions may be silent before the media plane says so.
    pub fn new(a: Terms, b: Terms, silence: Option<Duration>) -> SessionMedia {
        SessionMedia {
            a: Leg::new(Side::A, a),
            b: Leg::new(Side::B, b),
            silence,
            stream: None,
            exchange: None,
            answerer: None,
            told: Told::default(),
            apart: None,
            elders: [None; 2],
        }
    }

    /// The leg now goes to another target (redirect, failover): what holds there. Before `offer` or `reoffer`.
    pub fn set_terms(&mut self, side: Side, terms: Terms) {
        self.leg_mut(side).terms = terms;
    }

    /// An offer came from `from`'s peer: the description to offer on the other leg. The call's first offer opens the stream; a later one changes nothing in the
    /// media plane before its answer, so that a refusal has nothing to undo. The call's first offer once more, before its answer is settled, is for the next
    /// target: see `reoffer`.
    ///
    /// Errors: what the peer should be told; the session is as it was. `GlareRetry` and `ServerBusy` if an offer is under way.
    pub fn offer(&mut self, from: Side, sdp: &Description, supply: &mut dyn Supply) -> Result<Outcome, MediaRefusal> {
        let to = from.other();
        if self.is_first_offer_again(from, sdp) {
            return self.reoffer(to, supply);
        }
        self.check_idle(from)?;
        let mut heard = self.leg(from).read_offer(sdp)?;
        self.leg(to).may_offer(heard.stream.kind)?;
        self.find_ports(from, &heard, supply)?;
        let before = self.answerer.map(|_| Box::new([self.a.clone(), self.b.clone()]));
        let lent = self.lend(from, sdp, &mut heard);
        let offered = self.offered(to, &heard.stream);
        let description = self.leg_mut(to).write_offer(&offered, lent.as_ref(), supply)?;
        let commands = if before.is_none() { self.begin(from, &heard, supply) } else { Vec::new() };
        self.exchange = Some(Exchange { from, offer: heard, stage: Stage::Offered, before });
        Ok(Outcome { sdp: description.write(), commands })
    }

    /// The call's first offer once more, for the next target on leg `to`: under a new o= line and with fresh keys, for the last target knows the old ones.
    /// What an early answer of the last target had opened is shut.
    pub fn reoffer(&mut self, to: Side, supply: &mut dyn Supply) -> Result<Outcome, MediaRefusal> {
        let Some(exchange) =
            self.exchange.as_ref().filter(|exchange| exchange.from == to.other() && exchange.before.is_none() && exchange.stage != Stage::Settled)
        else {
            return Err(MediaRefusal(Reason::MediaUnacceptable));
        };
        let offer = exchange.offer.clone();
        self.leg(to).may_offer(offer.stream.kind)?;
        *self.leg_mut(to) = self.leg(to).afresh();
        let mut commands = Vec::new();
        self.move_family(to, supply, &mut commands);
        let lent = self.lend_again(to.other(), &offer);
        let offered = self.offered(to, &offer.stream);
        let description = self.leg_mut(to).write_offer(&offered, lent.as_ref(), supply)?;
        if let Some(stream) = self.stream {
            if commands.is_empty() {
                let set = Configuration { remote: Some(None), ..self.configuration(to) };
                commands.push(Command::Configure { stream, side: to, set });
            } else {
                commands.push(self.leg(to.other()).configure_offered(stream, &offer));
                commands.push(self.configure(to, stream));
            }
            self.tell_content(stream, Some(&offer.stream), &mut commands);
            self.tell_rtcp(stream, supply, &mut commands);
        }
        self.answerer = None;
        if let Some(exchange) = &mut self.exchange {
            exchange.stage = Stage::Offered;
        }
        Ok(Outcome { sdp: description.write(), commands })
    }

    /// An answer came from `from`'s peer: the answer for the offerer's leg. Another fork's answer, or the final one after an early one, replaces it.
    ///
    /// After `settled` a repeated answer changes nothing (RFC 6337 §3.1.1): what we sent then comes out again.
    ///
    /// Errors: what is wrong with the answer; the offer stays pending.
    pub fn answer(&mut self, from: Side, sdp: &Description, supply: &mut dyn Supply) -> Result<Outcome, MediaRefusal> {
        let awaited = |exchange: &&Exchange| exchange.from == from.other() && exchange.stage != Stage::Rejected;
        let Some(exchange) = self.exchange.as_ref().filter(awaited) else { return Err(MediaRefusal(Reason::MediaUnacceptable)) };
        if exchange.stage == Stage::Settled {
            let sdp = self.leg(from.other()).sent.as_ref().map(Description::write).unwrap_or_default();
            return Ok(Outcome { sdp, commands: Vec::new() });
        }
        let offer = exchange.offer.clone();
        let (heard, ours) = self.leg(from).read_answer(sdp)?;
        let lent = match &ours {
            Some(Ours::Lent(_)) => Some(self.give_back(from, &heard, &offer)?),
            Some(Ours::Own(_)) | None => None,
        };
        let events = self.gains_events(from.other());
        let description = self.leg_mut(from.other()).write_answer(&offer, &heard.stream, (events, lent.as_ref()), supply)?;
        self.leg_mut(from).agree(&heard, ours);
        self.leg_mut(from).narrow();
        self.answerer = Some(from);
        if let Some(exchange) = &mut self.exchange {
            exchange.stage = Stage::Answered;
        }
        Ok(Outcome { sdp: description.write(), commands: self.configure_both() })
    }

    /// The answer has gone out in a final or reliable response: a later failure of the same request no longer takes it back, and no other answer replaces it.
    pub fn settled(&mut self) {
        if let Some(exchange) = self.exchange.as_mut().filter(|exchange| exchange.stage == Stage::Answered) {
            exchange.stage = Stage::Settled;
            exchange.before = None;
        }
    }

    /// The offer was refused by `by`'s peer, or its request failed: back to the last agreed session (RFC 3261 §14.1). The commands restore what an early
    /// answer had changed; usually none. After the call's first offer `reoffer` can follow.
    pub fn rejected(&mut self, by: Side) -> Vec<Command> {
        let Some(exchange) = self.exchange.as_mut().filter(|exchange| exchange.from == by.other()) else { return Vec::new() };
        let was = exchange.stage;
        if !matches!(was, Stage::Offered | Stage::Answered) {
            return Vec::new();
        }
        exchange.stage = Stage::Rejected;
        let Some(before) = exchange.before.take() else {
            self.answerer = None;
            *self.leg_mut(by) = self.leg(by).afresh();
            return Vec::new();
        };
        let [a, b] = *before;
        self.a.back_to(&a);
        self.b.back_to(&b);
        self.exchange = None;
        if was == Stage::Answered { self.configure_both() } else { Vec::new() }
    }

    /// An offer from `side`'s peer that changes nothing (see `is_refresh`) or that shall not be carried on: answered here, with what the other side agreed to last.
    pub fn answer_here(&mut self, side: Side, sdp: &Description, supply: &mut dyn Supply) -> Result<Outcome, MediaRefusal> {
        self.check_idle(side)?;
        let heard = self.leg(side).read_offer(sdp)?;
        let other = self.leg(side.other()).peer.clone().ok_or(MediaRefusal(Reason::MediaUnacceptable))?;
        if heard.stream.kind != other.kind {
            return Err(MediaRefusal(Reason::MediaUnacceptable));
        }
        self.check_key(side, &heard)?;
        let events = self.gains_events(side);
        let leg = self.leg_mut(side);
        let lent = leg.ours.as_ref().and_then(Ours::lent).cloned();
        let description = leg.write_answer(&heard, &other, (events, lent.as_ref()), supply)?;
        let commands = self.stream.map(|stream| self.configure(side, stream)).into_iter().collect();
        Ok(Outcome { sdp: description.write(), commands })
    }

    /// The answer to `last_sent`, which we offered again on `side` only to refresh the session.
    pub fn refreshed(&mut self, side: Side, sdp: &Description) -> Result<Vec<Command>, MediaRefusal> {
        self.check_idle(side)?;
        let (heard, ours) = self.leg(side).read_answer(sdp)?;
        self.check_key(side, &heard)?;
        self.leg_mut(side).agree(&heard, ours);
        self.leg_mut(side).narrow();
        Ok(self.stream.map(|stream| self.configure(side, stream)).into_iter().collect())
    }

    /// The relayed stream is a fax over T.38, as agreed last.
    pub fn is_fax(&self) -> bool {
        self.answerer.and_then(|side| self.leg(side).peer.as_ref()).is_some_and(|peer| peer.kind == Kind::Fax && !peer.is_off)
    }

    /// An offer from `side`'s peer waits for its answer.
    pub fn pending(&self, side: Side) -> bool {
        self.exchange.as_ref().is_some_and(|exchange| exchange.from == side && exchange.stage == Stage::Offered)
    }

    /// Whether `side`'s peer may offer now; otherwise 491 (RFC 3261 §14.2), or 500 if the offer that waits is its own (RFC 3311 §5.2).
    pub fn can_offer(&self, side: Side) -> bool {
        self.check_idle(side).is_ok()
    }

    /// Both sides have agreed at least once.
    pub fn is_agreed(&self) -> bool {
        self.answerer.is_some()
    }

    /// The offer says what `side`'s peer said last, o= line and all: a refresh, which `answer_here` can answer (RFC 3264 §8).
    pub fn is_refresh(&self, side: Side, sdp: &Description) -> bool {
        self.is_agreed() && self.leg(side).is_repeated(sdp)
    }

    /// `side`'s handshake has agreed upon this suite.
    pub fn keyed(&mut self, side: Side, suite: Suite) {
        self.leg_mut(side).handshake.suite = Some(suite);
    }

    /// The suite that protects `side`; `None`: plain RTP, or nothing agreed.
    pub fn current_suite(&self, side: Side) -> Option<Suite> {
        if self.leg(side).terms.plan.is_dtls() {
            return self.leg(side).handshake.suite;
        }
        self.leg(side).ours.as_ref().and_then(|ours| ours.line().usable().ok())
    }

    /// The first voice codec of the answer in force, as `PCMU/8000`; the same on both sides, since nothing is transcoded.
    pub fn codec(&self, _side: Side) -> Option<String> {
        self.leg(self.answerer?).peer.as_ref()?.codec()
    }

    /// `side`'s peer takes no media now: it has the other side on hold.
    pub fn held(&self, side: Side) -> bool {
        self.leg(side).peer.as_ref().is_some_and(Stream::is_held)
    }

    /// What we last sent on `side` and still stands: the body of a session refresh of ours. Its answer goes to `refreshed`.
    pub fn last_sent(&self, side: Side) -> Option<&Description> {
        self.leg(side).sent.as_ref()
    }

    /// Our ports on `side`, as in the stream's `Open`.
    pub fn addresses(&self, side: Side) -> Option<Addresses> {
        self.leg(side).local
    }

    /// The stream, once opened and until closed.
    pub fn stream(&self) -> Option<StreamId> {
        self.stream
    }

    /// What stands, told to the media plane once more: its count of silence begins again.
    pub fn restated(&mut self) -> Vec<Command> {
        self.configure_both()
    }

    /// Ends the stream if there is one. The session is of no further use.
    pub fn close(&mut self) -> Vec<Command> {
        self.exchange = None;
        self.stream.take().map(|stream| Command::Close { stream }).into_iter().collect()
    }

    fn leg(&self, side: Side) -> &Leg {
        match side {
            Side::A => &self.a,
            Side::B => &self.b,
        }
    }

    fn leg_mut(&mut self, side: Side) -> &mut Leg {
        match side {
            Side::A => &mut self.a,
            Side::B => &mut self.b,
        }
    }

    fn check_idle(&self, side: Side) -> Result<(), MediaRefusal> {
        match self.exchange.as_ref().filter(|exchange| exchange.stage == Stage::Offered) {
            Some(exchange) if exchange.from == side => Err(MediaRefusal(Reason::ServerBusy)),
            Some(_) => Err(MediaRefusal(Reason::GlareRetry)),
            None => Ok(()),
        }
    }

    /// Ports for both legs if they have none yet, or for neither.
    fn find_ports(&mut self, from: Side, heard: &Heard, supply: &mut dyn Supply) -> Result<(), MediaRefusal> {
        let to = from.other();
        if self.leg(from).local.is_some() && self.leg(to).local.is_some() {
            return Ok(());
        }
        let near = supply.ports(from, heard.stream.written.or(self.leg(from).terms.peer)).ok_or(Reason::MediaPorts)?;
        if heard.stream.remote.is_some_and(|remote| remote.rtp.is_ipv4() != near.rtp.is_ipv4()) {
            supply.release(from, near);
            return Err(MediaRefusal(Reason::MediaUnacceptable));
        }
        let Some(far) = supply.ports(to, self.leg(to).terms.peer) else {
            supply.release(from, near);
            return Err(MediaRefusal(Reason::MediaPorts));
        };
        self.leg_mut(from).local = Some(near);
        self.leg_mut(to).local = Some(far);
        Ok(())
    }

    fn is_first_offer_again(&self, from: Side, sdp: &Description) -> bool {
        let first = |exchange: &&Exchange| exchange.from == from && exchange.before.is_none() && exchange.stage != Stage::Settled;
        self.exchange.as_ref().filter(first).is_some_and(|exchange| {
            let heard = self.leg(from).read_offer_after(sdp, exchange.offer.theirs.as_ref());
            heard.is_ok_and(|heard| heard.is_same(&exchange.offer))
        })
    }

    /// Opens the stream for a first offer.
    fn begin(&mut self, from: Side, heard: &Heard, supply: &mut dyn Supply) -> Vec<Command> {
        let mut commands = Vec::new();
        self.open(supply, &mut commands);
        if let Some(stream) = self.stream {
            commands.push(self.leg(from).configure_offered(stream, heard));
            commands.push(self.configure(from.other(), stream));
            self.tell_content(stream, Some(&heard.stream), &mut commands);
            self.tell_rtcp(stream, supply, &mut commands);
        }
        commands
    }

    fn open(&mut self, supply: &mut dyn Supply, commands: &mut Vec<Command>) {
        if let (None, Some(a), Some(b)) = (self.stream, self.a.local, self.b.local) {
            let stream = supply.stream();
            self.stream = Some(stream);
            self.told = Told::default();
            commands.push(Command::Open { stream, a, b, silence: self.silence });
            for (side, elder) in [Side::A, Side::B].into_iter().zip(self.elders) {
                commands.extend(elder.map(|of| Command::Succeed { stream, side, of }));
            }
        }
    }

    /// The next target is of the other address family: a new stream with ports that reach it, as long as the offerer has not been told the old ones.
    fn move_family(&mut self, to: Side, supply: &mut dyn Supply, commands: &mut Vec<Command>) {
        let from = to.other();
        let (Some(peer), Some(old), Some(old_from), None) = (self.leg(to).terms.peer, self.leg(to).local, self.leg(from).local, &self.leg(from).sent) else {
            return;
        };
        if peer.is_ipv4() == old.rtp.is_ipv4() {
            return;
        }
        let Some(new) = supply.ports(to, Some(peer)) else { return };
        let new_from = (new.rtp.is_ipv4() == peer.is_ipv4()).then(|| supply.ports(from, Some(old_from.rtp.ip()))).flatten();
        let Some(new_from) = new_from else { return supply.release(to, new) };
        // Closing returns the old ports.
        commands.extend(self.stream.take().map(|stream| Command::Close { stream }));
        self.leg_mut(to).local = Some(new);
        self.leg_mut(from).local = Some(new_from);
        self.open(supply, commands);
    }

    fn configure_both(&mut self) -> Vec<Command> {
        let Some(stream) = self.stream else { return Vec::new() };
        let mut commands: Vec<Command> = [self.succession(Side::A), self.succession(Side::B)].into_iter().flatten().collect();
        commands.extend([self.configure(Side::A, stream), self.configure(Side::B, stream)]);
        self.tell_content(stream, None, &mut commands);
        commands
    }

    /// Everything that is known of a side.
    fn configure(&self, side: Side, stream: StreamId) -> Command {
        Command::Configure { stream, side, set: self.configuration(side) }
    }

    fn configuration(&self, side: Side) -> Configuration {
        let (near, far) = (self.leg(side), self.leg(side.other()));
        let heard = |leg: &Leg| leg.peer.as_ref().map(Stream::numbered).unwrap_or_default();
        let payloads = codecs::payloads(&near.said, &heard(near), &heard(far), near.terms.plan.sound().comfort_noise);
        Configuration { payloads: Some(payloads), digits: Some(self.conversion(side)), ..near.configuration() }
    }

    /// What the stream carries, where that has changed: what was agreed, or is `offered` first.
    fn tell_content(&mut self, stream: StreamId, offered: Option<&Stream>, commands: &mut Vec<Command>) {
        let agreed = [&self.a, &self.b].into_iter().filter_map(|leg| leg.peer.as_ref());
        let streams: Vec<&Stream> = if offered.is_some() { offered.into_iter().collect() } else { agreed.collect() };
        let content = match streams.iter().any(|stream| stream.kind == Kind::Fax) {
            true => Content::Udptl,
            false => Content::Rtp { events: streams.iter().fold(0, |bits, stream| bits | stream.events()) },
        };
        if self.told.content != content {
            self.told.content = content;
            commands.push(Command::Carry { stream, content });
        }
    }

    /// How often each leg's peer is to hear RTCP, where that has changed. The SSRC is as good as any random one (RFC 3550 §8.1).
    fn tell_rtcp(&mut self, stream: StreamId, supply: &mut dyn Supply, commands: &mut Vec<Command>) {
        for (index, side) in [Side::A, Side::B].into_iter().enumerate() {
            let every = self.leg(side).terms.plan.rtcp_keepalive();
            if self.told.rtcp[index] != every {
                self.told.rtcp[index] = every;
                let ssrc = supply.session_id() as u32;
                commands.push(Command::KeepRtcp { stream, side, every, ssrc });
            }
        }
    }
}

#[cfg(test)]
mod tests;
