//! A third leg in place of one of two (RFC 5589 transfers, RFC 3725 §4.4's flow): what the one that stays said last is offered to it, image included.
//!
//! The session between the first two stays whole until the new one is agreed, so a transfer that fails leaves them as they were:
//!
//! 1. `session.third(keep, terms)` makes the new session; `offer_kept` the description for the new leg's INVITE and the commands that open its stream.
//! 2. An answer of the new leg, early or final, goes to `answer`, as in any call. What comes out is offered to the kept leg in a re-INVITE.
//! 3. The kept leg's answer to that goes to `refreshed`. Then the former session is closed and the new one takes its place.
//! 4. If the new leg declines, `close` the new session; `reoffer` first for its next target.
//!
//! The kept leg goes on under its o= line and m-lines. Ports and our key are new: a key may not begin a second stream.

use super::leg::Leg;
use super::{Exchange, MediaRefusal, Outcome, SessionMedia, Stage, Supply, Terms, Told};
use crate::media::control::Side;
use crate::policy::verdict::Reason;
use crate::sdp::Direction;

impl SessionMedia {
    /// A session of the leg `keep` and a new one, under `terms`, on the other side.
    pub fn third(&self, keep: Side, terms: Terms) -> SessionMedia {
        let kept = self.leg(keep).for_another_stream();
        let new = Leg::new(keep.other(), terms);
        let (a, b) = match keep {
            Side::A => (kept, new),
            Side::B => (new, kept),
        };
        SessionMedia { a, b, silence: self.silence, stream: None, exchange: None, answerer: self.answerer, told: Told::default() }
    }

    /// Offers on the new leg of a session made by `third` what the kept one's peer said last. What it said in an answer may have been cut down by the offer
    /// it answered (a hold, most of all), so of that the direction does not count.
    ///
    /// Errors: as `offer`; `FaxUnprotected` and `FaxDeclined` where a fax is under way that the new leg may not carry.
    pub fn offer_kept(&mut self, keep: Side, supply: &mut dyn Supply) -> Result<Outcome, MediaRefusal> {
        let to = keep.other();
        let mut offer = self.leg(keep).last_heard().ok_or(Reason::MediaUnacceptable)?;
        if self.answerer == Some(keep) && offer.stream.remote.is_some() {
            offer.stream.direction = Direction::SendRecv;
        }
        self.leg(to).may_offer(offer.stream.kind)?;
        self.find_ports(keep, &offer, supply)?;
        let description = self.leg_mut(to).write_offer(&offer.stream, supply)?;
        let commands = self.begin(keep, &offer, supply);
        self.answerer = None;
        self.exchange = Some(Exchange { from: keep, offer, stage: Stage::Offered, before: None });
        Ok(Outcome { sdp: description.write(), commands })
    }
}
