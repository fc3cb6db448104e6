//! The session of one call: offers and answers carried from one leg to the other (RFC 3264, 6337, 4568), with every value of ours on each side.

use std::net::IpAddr;
use std::time::Duration;

use crate::media::control::{Addresses, Command, LatchPolicy, Side, StreamId};
use crate::policy::security_mode::MediaPlan;
use crate::policy::verdict::Reason;
use crate::sdp::Description;
use crate::sdp::crypto::{MasterKey, Suite};
use crate::sip::Transport;

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
    /// For an o= line; not guessable from another call's.
    fn session_id(&mut self) -> u64;
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

/// The call's session, both legs.
#[derive(Clone, Debug)]
pub struct SessionMedia {
    a: Terms,
    b: Terms,
    silence: Option<Duration>,
}

impl SessionMedia {
    /// `silence`: how long both directions may be silent before the media plane says so.
    pub fn new(a: Terms, b: Terms, silence: Option<Duration>) -> SessionMedia {
        SessionMedia { a, b, silence }
    }

    /// The leg now goes to another target (redirect, failover): what holds there. Before `offer` or `reoffer`.
    pub fn set_terms(&mut self, side: Side, terms: Terms) {
        match side {
            Side::A => self.a = terms,
            Side::B => self.b = terms,
        }
    }

    /// An offer came from `from`'s peer: the description to offer on the other leg.
    pub fn offer(&mut self, _from: Side, _sdp: &Description, _supply: &mut dyn Supply) -> Result<Outcome, MediaRefusal> {
        Err(MediaRefusal(Reason::MediaUnacceptable))
    }

    /// The pending offer once more, for the next target on leg `to`, with fresh keys.
    pub fn reoffer(&mut self, _to: Side, _supply: &mut dyn Supply) -> Result<Outcome, MediaRefusal> {
        Err(MediaRefusal(Reason::MediaUnacceptable))
    }

    /// An answer came from `from`'s peer: the answer for the offerer's leg. Another fork's answer replaces it.
    pub fn answer(&mut self, _from: Side, _sdp: &Description, _supply: &mut dyn Supply) -> Result<Outcome, MediaRefusal> {
        Err(MediaRefusal(Reason::MediaUnacceptable))
    }

    /// The answer has gone out in a final or reliable response: a later failure of the same request no longer takes it back.
    pub fn settled(&mut self) {}

    /// The pending offer was refused by `by`'s peer, or its request failed: back to the last agreed session (RFC 3261 §14.1). The commands restore what an early
    /// answer had changed; usually none.
    pub fn rejected(&mut self, _by: Side) -> Vec<Command> {
        Vec::new()
    }

    /// An offer from `side`'s peer waits for its answer.
    pub fn pending(&self, _side: Side) -> bool {
        false
    }

    /// Whether `side`'s peer may offer now; otherwise 491 (RFC 3261 §14.2).
    pub fn can_offer(&self, _side: Side) -> bool {
        true
    }

    /// Both sides have agreed at least once.
    pub fn is_agreed(&self) -> bool {
        false
    }

    /// The description is the one `side`'s peer sent last (same o= line): a refresh that can be answered with `last_sent` (RFC 3264 §8).
    pub fn is_refresh(&self, _side: Side, _sdp: &Description) -> bool {
        false
    }

    /// The suite that protects what we send on `side`; `None`: plain RTP, or nothing agreed.
    pub fn current_suite(&self, _side: Side) -> Option<Suite> {
        None
    }

    /// The first agreed voice codec as `PCMU/8000`.
    pub fn codec(&self, _side: Side) -> Option<String> {
        None
    }

    /// `side`'s peer has the call on hold: it takes no media.
    pub fn held(&self, _side: Side) -> bool {
        false
    }

    /// What we last sent on `side` and still stands: the body of a session refresh without change.
    pub fn last_sent(&self, _side: Side) -> Option<&Description> {
        None
    }

    /// The stream and our addresses of this call, to be released when it is closed.
    pub fn stream(&self) -> Option<StreamId> {
        None
    }

    pub fn close(&mut self) -> Vec<Command> {
        Vec::new()
    }
}
