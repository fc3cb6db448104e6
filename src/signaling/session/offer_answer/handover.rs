//! A leg goes on with another partner: third-party call control as RFC 3725 §4 has it, with both offers of our making.
//!
//! What the one who stays can do is offered to the partner; the partner's answer is then offered to the one who stays, by a re-INVITE in his own
//! dialog. His o= line and the places of his m-lines go on (RFC 3264 §8). Ports and keys are new on both legs, so that nobody holds a key of a stream
//! he is no part of, and no key protects two streams.

use std::net::IpAddr;

use super::leg::Leg;
use super::{Command, MediaRefusal, Outcome, SessionMedia, Supply, Terms, Told};
use crate::media::control::{Configuration, Side};
use crate::policy::verdict::Reason;
use crate::sdp::{Description, Direction};

impl SessionMedia {
    /// A session of the peer of `stays` with somebody else, of whom nothing is known yet: see [`SessionMedia::next_partner`].
    pub fn with_partner(&self, stays: Side, partner: Terms) -> SessionMedia {
        let stayer = self.leg(stays).in_another_stream(stays);
        SessionMedia::between(stayer, Leg::new(stays.other(), partner), self.silence).coming_from(stays, self, stays)
    }

    /// A session of the peer of `stays` with one who is in a session already: on side `theirs` of `other`.
    pub fn spliced(&self, stays: Side, other: &SessionMedia, theirs: Side) -> SessionMedia {
        let stayer = self.leg(stays).in_another_stream(stays);
        let session = SessionMedia::between(stayer, other.leg(theirs).in_another_stream(stays.other()), self.silence);
        session.coming_from(stays, self, stays).coming_from(stays.other(), other, theirs)
    }

    fn between(stayer: Leg, partner: Leg, silence: Option<std::time::Duration>) -> SessionMedia {
        let (a, b) = if stayer.side == Side::A { (stayer, partner) } else { (partner, stayer) };
        SessionMedia { a, b, silence, stream: None, exchange: None, answerer: None, told: Told::default(), apart: None, elders: [None; 2] }
    }

    /// The peer of `side` was on side `its_side` of `other`.
    fn coming_from(mut self, side: Side, other: &SessionMedia, its_side: Side) -> SessionMedia {
        self.elders[side as usize] = other.stream.map(|stream| (stream, its_side));
        self
    }

    /// The media plane is to go on with the packets of `side`'s peer from where they are by now in another stream: told when this one opens, as the other may
    /// be closed then, and once more with the first key.
    pub(super) fn succession(&mut self, side: Side) -> Option<Command> {
        let stream = self.stream.filter(|_| self.leg(side).is_keyed())?;
        let of = self.elders[side as usize].take()?;
        Some(Command::Succeed { stream, side, of })
    }

    /// The partner to be is this one: nothing said to an earlier one holds, least of all keys.
    pub fn next_partner(&mut self, side: Side, terms: Terms) {
        let leg = self.leg_mut(side);
        leg.terms = terms;
        *leg = leg.afresh();
        self.elders[side as usize] = None;
    }

    /// What the one who stays can do, for the partner on `to`. The first offer opens the stream; nothing passes through it before both have answered.
    ///
    /// Errors: nothing was opened; ports that were lent are in `addresses`.
    pub fn offer_partner(&mut self, to: Side, supply: &mut dyn Supply) -> Result<Outcome, MediaRefusal> {
        let stays = to.other();
        let mut stream = self.leg(stays).peer.clone().filter(|stream| !stream.is_off).ok_or(Reason::MediaUnacceptable)?;
        // Whoever was on hold before, these two are to hear each other.
        stream.direction = Direction::of(true, true);
        self.leg(to).may_offer(stream.kind)?;
        let mut commands = Vec::new();
        self.reach(to, supply, &mut commands)?;
        let offered = self.offered(to, &stream);
        let description = self.leg_mut(to).write_offer(&offered, None, supply)?;
        match self.stream {
            None => self.open(supply, &mut commands),
            Some(_) => commands.extend(self.quiet(to)),
        }
        if let Some(id) = self.stream {
            self.tell_content(id, Some(&stream), &mut commands);
            self.tell_rtcp(id, supply, &mut commands);
        }
        Ok(Outcome { sdp: description.write(), commands })
    }

    /// The partner's answer. True: it says another thing than the one before, so that the one who stays must be asked (again).
    pub fn partner_answered(&mut self, from: Side, sdp: &Description) -> Result<(bool, Vec<Command>), MediaRefusal> {
        let (heard, ours) = self.leg(from).read_answer(sdp)?;
        if heard.stream.is_off {
            return Err(Reason::MediaUnacceptable.into());
        }
        let is_new = self.leg(from).peer.as_ref().is_none_or(|before| !before.crosses_as(&heard.stream));
        self.leg_mut(from).agree(&heard, ours);
        self.leg_mut(from).narrow();
        let succession = self.succession(from);
        Ok((is_new, succession.into_iter().chain(self.stream.map(|stream| self.configure(from, stream))).collect()))
    }

    /// Our o= line on `stays` counts on from where it is in `other`, which the peer is in until now.
    pub fn keep_up(&mut self, stays: Side, other: &SessionMedia) {
        let version = other.leg(stays).version();
        self.leg_mut(stays).count_from(version);
    }

    /// What the partner answered, as an offer for the one who stays.
    pub fn offer_stayer(&mut self, stays: Side, supply: &mut dyn Supply) -> Result<Vec<u8>, MediaRefusal> {
        let stream = self.leg(stays.other()).peer.clone().ok_or(Reason::MediaUnacceptable)?;
        let offered = self.offered(stays, &stream);
        Ok(self.leg_mut(stays).write_offer(&offered, None, supply)?.write())
    }

    /// The answer of the one who stays: the two are joined.
    pub fn joined(&mut self, stays: Side, sdp: &Description) -> Result<Vec<Command>, MediaRefusal> {
        let (heard, ours) = self.leg(stays).read_answer(sdp)?;
        if heard.stream.is_off {
            return Err(Reason::MediaUnacceptable.into());
        }
        self.leg_mut(stays).agree(&heard, ours);
        self.leg_mut(stays).narrow();
        self.answerer = Some(stays);
        Ok(self.configure_both())
    }

    /// Nothing more is sent to `side`'s peer: he has left, or is in another session.
    pub fn quiet(&self, side: Side) -> Vec<Command> {
        let set = || Configuration { remote: Some(None), ..self.configuration(side) };
        self.stream.map(|stream| Command::Configure { stream, side, set: set() }).into_iter().collect()
    }

    /// What holds, told to the media plane once more: its clocks of silence begin anew.
    pub fn again(&mut self) -> Vec<Command> {
        self.configure_both()
    }

    /// What stood on `stays` is offered there again after he was in `left`, under a later version; his answer goes to `refreshed`.
    pub fn take_back(&mut self, stays: Side, left: &SessionMedia) -> Option<Vec<u8>> {
        let version = left.leg(stays).version();
        self.elders[stays as usize] = left.stream.map(|stream| (stream, stays));
        let leg = self.leg_mut(stays);
        leg.outlive(version);
        leg.sent.as_ref().map(Description::write)
    }

    /// Ports from which both can be reached; others than before where the next partner is of the other address family.
    fn reach(&mut self, to: Side, supply: &mut dyn Supply, commands: &mut Vec<Command>) -> Result<(), MediaRefusal> {
        let (stays, peer) = (to.other(), self.leg(to).terms.peer);
        let other_family = |like: IpAddr, local: crate::media::control::Addresses| like.is_ipv4() != local.rtp.is_ipv4();
        match (peer, self.leg(to).local) {
            (Some(peer), Some(local)) if other_family(peer, local) => {
                // Who stays has been told where he is to send.
                if self.answerer.is_some() {
                    return Err(Reason::MediaUnacceptable.into());
                }
                commands.extend(self.stream.take().map(|stream| Command::Close { stream }));
                (self.leg_mut(to).local, self.leg_mut(stays).local) = (None, None);
            }
            (_, Some(_)) => return Ok(()),
            (_, None) => {}
        }
        let heard = self.leg(stays).peer.as_ref().and_then(|stream| stream.written).or(self.leg(stays).terms.peer);
        let near = supply.ports(stays, heard).ok_or(Reason::MediaPorts)?;
        let Some(far) = supply.ports(to, peer) else {
            supply.release(stays, near);
            return Err(Reason::MediaPorts.into());
        };
        (self.leg_mut(stays).local, self.leg_mut(to).local) = (Some(near), Some(far));
        Ok(())
    }
}
