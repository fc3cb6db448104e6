//! A call: an A leg that called us, a B leg we called, and the session between them.
//!
//! The stage says which of RFC 3261's INVITE usages are open; data that only one stage has lives inside it.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;

use crate::media::control::{Side, StreamId};
use crate::policy::flow::Flow;
use crate::policy::redirection::Tried;
use crate::policy::screening::Admitted;
use crate::policy::security_mode::{self, MediaPlan};
use crate::policy::settings::{Peer, SecurityMode};
use crate::policy::verdict::{Decision, Reason};
use crate::sdp::Description;
use crate::signaling::b2bua::digits::Digits;
use crate::signaling::b2bua::errand::ErrandId;
use crate::signaling::b2bua::lingering::End;
use crate::signaling::b2bua::record::Draft;
use crate::signaling::b2bua::relayed::Relay;
use crate::signaling::b2bua::subscription::Subscription;
use crate::signaling::b2bua::transfer::{Aim, Session, Transfer};
use crate::signaling::branch::Diverted;
use crate::signaling::dialog::Dialog;
use crate::signaling::event::{LocateId, Route};
use crate::signaling::fact::CallId;
use crate::signaling::liveness::WatchId;
use crate::signaling::load::LoadCount;
use crate::signaling::session::answer::UnacknowledgedAnswer;
use crate::signaling::session::offer_answer::SessionMedia;
use crate::signaling::session::reliability::{ReliableClient, ReliableServer};
use crate::signaling::session::session_timer::{Answer, SessionExpiry};
use crate::signaling::settings::Listener;
use crate::signaling::transaction::{ClientKey, ServerKey};
use crate::sip::{Message, Method, Transport};
use crate::time::Time;

pub struct Call {
    pub id: CallId,
    pub admitted: Admitted,
    pub media: SessionMedia,
    pub a: Leg,
    pub stage: Stage,
    pub record: Draft,
    /// BYEs of ours without an answer yet.
    pub byes_due: u32,
    /// Requests of peers that wait for the other leg's answer: UPDATE, INFO.
    pub waiting: Vec<Waiting>,
    pub digits: Digits,
    /// Whether the A and the B side have put the call on hold.
    pub held: [bool; 2],
    /// The caller's INVITE: who he said he is, for every leg that is made for him.
    pub invite: Message,
    /// The leg of one who transferred the call and has not hung up yet.
    pub leaving: Option<Box<Leg>>,
    /// A REFER that the peer of the other leg is dealing with, while both legs are up.
    pub relay: Option<Box<Relay>>,
    /// Tags of ours and Call-IDs of legs that are over, or never came up.
    pub past: Vec<(String, String)>,
    /// Whom the B leg was with, and where, once it is over.
    pub b_end: Option<End>,
    /// It is for a mailbox whose owner is told if nobody answers.
    pub diverted: Option<Diverted>,
    /// Peers whose share of calls it is counted in (`load`).
    pub counted: Vec<Arc<str>>,
}

pub enum Stage {
    /// The A leg waits for its final response while the B leg is looked for.
    Hunting(Box<Hunt>),
    /// Both legs are up.
    Up(Box<Leg>),
    /// One of two legs that are up is to be connected with somebody else, at the request of the other.
    Transferring(Box<Transfer>),
    /// The legs are over; of these streams the media plane's reports are still to come.
    Over { reports_due: Vec<StreamId> },
}

/// Which of a call's dialogs a message belongs to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Part {
    Leg(Side),
    /// Of one who is being called, on this side to be.
    Target(Side),
    /// Of one who has transferred the call, and was on this side.
    Leaving(Side),
}

impl Part {
    pub fn side(self) -> Side {
        match self {
            Part::Leg(side) | Part::Target(side) | Part::Leaving(side) => side,
        }
    }
}

/// One leg: our side of one dialog with one peer.
pub struct Leg {
    pub side: Side,
    /// We called it, and not it us.
    pub called: bool,
    pub peer: Arc<Peer>,
    pub plan: MediaPlan,
    pub listener: Listener,
    /// Where the peer last spoke from. Requests in the dialog go back over it while it is a stream that is open.
    pub flow: Arc<Flow>,
    pub dialog: Dialog,
    pub exchange: Exchange,
    pub timer: SessionExpiry,
    pub allows_update: bool,
    /// A 2xx made the dialog more than early: it ends by BYE, not by refusing its INVITE.
    pub confirmed: bool,
    /// The peer has sent REFER and is to hear what becomes of it (RFC 3515 §2.4.4).
    pub subscription: Option<Subscription>,
}

/// The INVITE usage of a leg's dialog: at most one is open (RFC 3261 §14.1).
pub enum Exchange {
    Idle,
    /// The peer's INVITE waits for our final response.
    Asked(Box<Asked>),
    /// Our 2xx waits for its ACK, retransmitted meanwhile (§13.3.1.4).
    Answered(Box<Answered>),
    /// Our re-INVITE waits for a final response.
    Asking {
        client: ClientKey,
        cseq: u32,
        purpose: Purpose,
    },
    /// The peer's 2xx brought an offer; our ACK waits for the other leg's answer (delayed offer).
    Accepting {
        cseq: u32,
        client: ClientKey,
    },
}

pub struct Asked {
    pub request: ServerRequest,
    /// What our 2xx says of the session timer.
    pub session: Answer,
    /// RFC 3262, where provisional responses to this INVITE are sent reliably.
    pub reliable: Option<ReliableServer>,
    /// What waits for the PRACK of the last reliable response.
    pub held: Option<Held>,
    /// A reliable response carried our answer: no other one may follow (RFC 6337 §3.1.1).
    pub answered: bool,
}

/// A response that may not be sent before the last reliable one is acknowledged (RFC 3262 §3).
pub enum Held {
    Provisional { status: u16, sdp: Option<Vec<u8>> },
    Answer { sdp: Option<Vec<u8>>, awaits_answer: bool },
}

pub struct Answered {
    pub key: ServerKey,
    pub cseq: u32,
    pub waiting: UnacknowledgedAnswer,
    /// The 2xx carried an offer: the ACK must bring the answer.
    pub awaits_answer: bool,
    /// The call ended meanwhile: BYE goes out when the ACK has come (§15).
    pub then_bye: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Purpose {
    /// Carries the other leg's INVITE.
    Relay,
    /// Refreshes the session (RFC 4028), nothing changes.
    Refresh,
    /// Connects the one who is transferred with the target.
    Join,
    /// Takes him back to the one who transferred him.
    TakeBack,
    /// Asks the target of an attended transfer for its side of the new session.
    Splice,
}

/// A request of a peer that we have not answered finally.
pub struct ServerRequest {
    pub key: ServerKey,
    pub message: Message,
    pub flow: Arc<Flow>,
}

/// A peer's request that the other leg has been asked about.
pub struct Waiting {
    pub request: ServerRequest,
    /// What our 2xx to an UPDATE will say of the session timer.
    pub session: Option<Answer>,
}

/// The search for a leg: the B leg of a new call, or the one a transfer leads to.
pub struct Hunt {
    /// The side it is to be on.
    pub side: Side,
    pub queue: VecDeque<Candidate>,
    pub attempt: Attempt,
    /// Every (transport, host, port) an INVITE went to: redirects must not lead there again.
    pub tried: Vec<Tried>,
    /// 3xx followed so far.
    pub hops: u8,
    pub forks: Vec<Fork>,
    /// The caller's offer; `None`: the B side is to make one (delayed offer).
    pub offer: Option<Description>,
    /// Names of the B leg, the same for every attempt; the CSeq counts up.
    pub call_id: String,
    pub tag: String,
    pub seq: u32,
    /// The session description last sent to the caller in this search, repeated in the 2xx if that brings none.
    pub answer: Option<Vec<u8>>,
    /// The session timer of the B leg to be.
    pub timer: SessionExpiry,
    /// What the caller is told if nothing better comes.
    pub failure: Option<(u16, Reason)>,
    /// The caller's offer has been given to the session: the next target gets it again, with keys of its own.
    pub offered: bool,
    /// What was decided about the headers of the last INVITE, so that the same is not written down for every target.
    pub crossed: Vec<Decision>,
    pub rerouted: Rerouted,
    /// The first failure that was no want of UM: with it the call does not go over the PSTN.
    pub barred: Option<Reason>,
}

/// Whether the call has been taken from UM to the PSTN.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rerouted {
    NotAsked,
    Refused(Reason),
    Done,
}

/// One place the B leg may be.
#[derive(Clone, Debug)]
pub struct Candidate {
    pub peer: Arc<Peer>,
    /// Request-URI, and with its host To.
    pub uri: String,
    pub host: String,
    pub port: Option<u16>,
    pub transport: Transport,
    /// Names acceptable in the certificate.
    pub names: Vec<Arc<str>>,
    /// Known once located.
    pub address: Option<SocketAddr>,
}

impl Candidate {
    /// For decisions: the address, or the name while that is not known.
    pub fn place(&self) -> String {
        self.address.map_or_else(|| self.host.clone(), |address| address.to_string())
    }
}

impl Hunt {
    /// Who holds our INVITE.
    pub fn peer(&self) -> Option<&Arc<Peer>> {
        match &self.attempt {
            Attempt::Inviting { candidate, .. } => Some(&candidate.peer),
            Attempt::Idle | Attempt::Locating { .. } => None,
        }
    }
}

// One in each call, and for most of its setup the large one: a box would only add an allocation.
#[allow(clippy::large_enum_variant)]
pub enum Attempt {
    Idle,
    Locating { id: LocateId, candidate: Candidate },
    Inviting { client: ClientKey, invite: Message, candidate: Candidate, listener: Listener },
}

/// An early dialog on the B side; several where the callee's proxies fork (RFC 3261 §12.1.2).
pub struct Fork {
    pub dialog: Dialog,
    pub reliable: ReliableClient,
    pub flow: Arc<Flow>,
}

/// Who asked for a request of ours, so that its response finds its way.
#[derive(Clone, Debug)]
pub enum ClientOwner {
    /// The initial INVITE of a B leg. Stays until the transaction ends, so that late and repeated 2xx are dealt with (§13.2.2.4).
    Invite(Box<InviteOwner>),
    Reinvite {
        call: CallId,
        side: Side,
        /// Who was asked: on this side there may be another by now.
        peer: Arc<str>,
        ack: Option<(Route, Bytes)>,
    },
    /// `reply`: the other leg's request that waits for this response.
    Update {
        call: CallId,
        side: Side,
        reply: Option<ServerKey>,
    },
    Relayed {
        call: CallId,
        side: Side,
        method: Method,
        reply: ServerKey,
    },
    /// A digit by INFO.
    Digit {
        call: CallId,
        side: Side,
    },
    Prack {
        call: CallId,
    },
    Bye {
        call: CallId,
    },
    /// REFER handed to a peer, with this CSeq.
    Refer {
        call: CallId,
        cseq: u32,
        peer: Arc<str>,
    },
    /// What becomes of a REFER, told in the dialog with this tag of ours.
    Notify {
        call: CallId,
        tag: String,
        peer: Arc<str>,
    },
    /// OPTIONS of ours to a watched address.
    Probe {
        watch: WatchId,
        peer: Arc<str>,
    },
    /// A request of ours outside any call.
    Errand {
        errand: ErrandId,
        peer: Arc<str>,
    },
    /// Its answer changes nothing.
    Forgotten,
}

#[derive(Clone, Debug)]
pub struct InviteOwner {
    pub call: CallId,
    pub invite: Message,
    pub listener: Listener,
    pub peer: Arc<Peer>,
    pub names: Vec<Arc<str>>,
    /// ACKs sent, by remote tag: repeated when the 2xx is.
    pub acks: Vec<(String, Route, Bytes)>,
}

/// Whom a request of ours went to, where the call itself knows.
impl ClientOwner {
    pub fn leg(&self) -> Option<(CallId, Side)> {
        match self {
            ClientOwner::Reinvite { call, side, .. }
            | ClientOwner::Update { call, side, .. }
            | ClientOwner::Relayed { call, side, .. }
            | ClientOwner::Digit { call, side } => Some((*call, *side)),
            ClientOwner::Invite(_)
            | ClientOwner::Prack { .. }
            | ClientOwner::Bye { .. }
            | ClientOwner::Probe { .. }
            | ClientOwner::Errand { .. }
            | ClientOwner::Notify { .. }
            | ClientOwner::Refer { .. }
            | ClientOwner::Forgotten => None,
        }
    }
}

impl Call {
    pub fn leg(&mut self, side: Side) -> Option<&mut Leg> {
        match (side, &mut self.stage) {
            (_, Stage::Transferring(transfer)) if transfer.has_left(side) => None,
            (Side::A, _) => Some(&mut self.a),
            (Side::B, Stage::Up(b)) => Some(b),
            (Side::B, Stage::Transferring(transfer)) => Some(&mut transfer.b),
            (Side::B, _) => None,
        }
    }

    /// Both legs at once, `side` first, while they are in one session.
    pub fn legs(&mut self, side: Side) -> Option<(&mut Leg, &mut Leg)> {
        let b = match &mut self.stage {
            Stage::Up(b) => &mut **b,
            Stage::Transferring(transfer) if transfer.is_together() => &mut transfer.b,
            _ => return None,
        };
        Some(if side == Side::A { (&mut self.a, b) } else { (b, &mut self.a) })
    }

    pub fn hunt(&mut self) -> Option<&mut Hunt> {
        match &mut self.stage {
            Stage::Hunting(hunt) => Some(hunt),
            Stage::Transferring(transfer) => match &mut transfer.aim {
                Aim::Hunting(hunt) => Some(hunt),
                _ => None,
            },
            _ => None,
        }
    }

    /// The transfer under way.
    pub fn transfer(&mut self) -> Option<&mut Transfer> {
        if let Stage::Transferring(transfer) = &mut self.stage { Some(transfer) } else { None }
    }

    /// What was decided of the legs that are looked for now.
    pub fn way(&self) -> &Admitted {
        if let Stage::Transferring(transfer) = &self.stage { &transfer.way } else { &self.admitted }
    }

    /// The dialog with this tag of ours, which was given out for a leg on `side`.
    pub fn part(&self, side: Side, tag: &str) -> Part {
        let is = |leg: &Leg| leg.dialog.local_tag == tag;
        if self.leaving.as_deref().is_some_and(is) {
            return Part::Leaving(side);
        }
        match &self.stage {
            Stage::Hunting(hunt) if hunt.tag == tag => Part::Target(side),
            Stage::Transferring(transfer) if transfer.aims_by(tag) => Part::Target(side),
            _ => Part::Leg(side),
        }
    }

    pub fn is_over(&self) -> bool {
        matches!(self.stage, Stage::Over { .. })
    }

    pub fn take_waiting(&mut self, key: ServerKey) -> Option<Waiting> {
        let index = self.waiting.iter().position(|waiting| waiting.request.key == key)?;
        Some(self.waiting.swap_remove(index))
    }

    /// Whom we speak with on a side.
    pub fn peer(&self, side: Side) -> Option<&Arc<Peer>> {
        match (side, &self.stage) {
            (Side::A, _) => Some(&self.a.peer),
            (Side::B, Stage::Up(leg)) => Some(&leg.peer),
            (Side::B, Stage::Transferring(transfer)) => Some(&transfer.b.peer),
            (Side::B, Stage::Hunting(hunt)) => hunt.peer(),
            (Side::B, Stage::Over { .. }) => self.b_end.as_ref().map(|end| &end.peer),
        }
    }

    /// What a side's leg is, or is to be, if there is one.
    pub fn mode(&self, side: Side) -> Option<SecurityMode> {
        match (side, &self.stage) {
            (Side::A, _) => Some(self.a.plan.mode()),
            (Side::B, Stage::Up(leg)) => Some(leg.plan.mode()),
            (Side::B, Stage::Transferring(transfer)) => Some(transfer.b.plan.mode()),
            (Side::B, _) => self.peer(Side::B).map(|peer| self.admitted.b_leg(peer).mode()),
        }
    }

    fn peer_of(&self, part: Part) -> Option<&Arc<Peer>> {
        match (part, &self.stage) {
            (Part::Leg(side), _) => self.peer(side),
            (Part::Leaving(_), _) => self.leaving.as_ref().map(|leg| &leg.peer),
            (Part::Target(_), Stage::Hunting(hunt)) => hunt.peer(),
            (Part::Target(_), Stage::Transferring(transfer)) => transfer.target(),
            (Part::Target(_), _) => None,
        }
    }

    fn mode_of(&self, part: Part) -> Option<SecurityMode> {
        match part {
            Part::Leg(side) => self.mode(side),
            Part::Leaving(_) => self.leaving.as_ref().map(|leg| leg.plan.mode()),
            Part::Target(_) => match &self.stage {
                Stage::Transferring(transfer) if transfer.target_leg().is_some() => transfer.target_leg().map(|leg| leg.plan.mode()),
                _ => self.peer_of(part).map(|peer| self.way().b_leg(peer).mode()),
            },
        }
    }

    /// Whether a dialog may be spoken in over `flow`.
    pub fn admits(&self, part: Part, flow: &Flow) -> bool {
        self.mode_of(part).is_some_and(|mode| security_mode::admits(mode, flow))
    }

    /// Whether requests in a dialog may come from `peer`: the one we speak with, or another server of the same UM pool that asks for no more than the
    /// leg is.
    pub fn is_spoken_for_by(&self, part: Part, peer: &Peer) -> bool {
        let Some(ours) = self.peer_of(part) else { return false };
        let pool = self.admitted.plan.as_ref().map(|plan| &plan.um_pool);
        let in_pool = |name: &Arc<str>| pool.is_some_and(|pool| pool.routers.contains(name) || pool.servers.contains(name));
        let is_colleague = || ours.kind.is_um() && peer.kind.is_um() && in_pool(&ours.name) && in_pool(&peer.name);
        ours.name == peer.name || (is_colleague() && self.mode_of(part).is_some_and(|mode| peer.mode <= mode))
    }

    /// Counts it where it goes.
    pub fn count(&mut self, now: Time, load: &mut LoadCount) {
        let mut counted = std::mem::take(&mut self.counted);
        load.goes_to(now, &mut counted, self.goes_to());
        self.counted = counted;
    }

    /// To whom it goes: legs that we made or are asking for, but for one who is leaving.
    fn goes_to(&self) -> impl Iterator<Item = &Arc<str>> + Clone {
        let called = |leg: &Leg| leg.called;
        let (b, target) = match &self.stage {
            Stage::Over { .. } => return [None; 3].into_iter().flatten(),
            Stage::Hunting(hunt) => (hunt.peer(), None),
            Stage::Up(leg) => (Some(&leg.peer).filter(|_| called(leg)), None),
            Stage::Transferring(transfer) => {
                let is_there = called(&transfer.b) && !transfer.has_left(Side::B);
                (Some(&transfer.b.peer).filter(|_| is_there), transfer.target().filter(|_| transfer.target_leg().is_none_or(called)))
            }
        };
        let has_left = matches!(&self.stage, Stage::Transferring(transfer) if transfer.has_left(Side::A));
        let a = Some(&self.a.peer).filter(|_| called(&self.a) && !has_left);
        [a, b, target].map(|peer| peer.map(|peer| &peer.name)).into_iter().flatten()
    }

    /// The caller's INVITE has no final response yet, whatever the B side said.
    pub fn caller_waits(&self) -> bool {
        !self.a.confirmed && matches!(self.a.exchange, Exchange::Asked(_))
    }

    /// Nothing is expected any more: the record can be filed.
    pub fn is_done(&self) -> bool {
        matches!(&self.stage, Stage::Over { reports_due } if reports_due.is_empty()) && self.byes_due == 0 && !matches!(self.a.exchange, Exchange::Answered(_))
    }

    /// Which sides face UM, A first.
    pub fn inside(&self) -> [bool; 2] {
        let b = match &self.stage {
            Stage::Up(leg) => leg.peer.kind.is_um(),
            Stage::Transferring(transfer) => transfer.b.peer.kind.is_um(),
            Stage::Hunting(hunt) => match &hunt.attempt {
                Attempt::Inviting { candidate, .. } | Attempt::Locating { candidate, .. } => candidate.peer.kind.is_um(),
                Attempt::Idle => false,
            },
            Stage::Over { .. } => false,
        };
        [self.a.peer.kind.is_um(), b]
    }

    /// Writes what the session has agreed into the record.
    pub fn note_media(&mut self) {
        self.record.srtp_keys = self.media.srtp_keys().or(self.record.srtp_keys);
        for side in [Side::A, Side::B] {
            // While the one transferred is in the session with the target, the other side of it is the target's.
            let is_target = matches!(&self.stage, Stage::Transferring(transfer) if transfer.by == side && matches!(transfer.session, Session::Behind(_)));
            let leg = if is_target { self.record.target_mut() } else { self.record.leg_mut(side) };
            if let Some(leg) = leg {
                leg.suite = self.media.current_suite(side).or(leg.suite);
                leg.codec = self.media.codec(side).or_else(|| leg.codec.take());
            }
        }
    }
}
