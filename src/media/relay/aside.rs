//! What belongs to a media path and is no media: checks of ICE and handshakes of DTLS, which meet RTP on its port (RFC 7983). Only for a side that is keyed
//! by DTLS; towards any other they are junk.

use std::net::SocketAddr;
use std::sync::Arc;

use super::{Channel, DropReason, End, Inbound, KeyError, Outbound, Stream, Verdict, refuse};
use crate::media::control::{Addresses, Configuration, DtlsParameters, LatchPolicy, Protection, SOUGHT, Side, SrtpParameters};
use crate::media::demux::{self, Kind};
use crate::media::ice::{self, Lite};
use crate::media::latch::{Admitted, Latch};
use crate::time::Time;

/// What a side keyed by DTLS has besides.
#[derive(Debug)]
pub(super) struct Aside {
    dtls: Arc<DtlsParameters>,
    ice: Option<Lite>,
    is_held: bool,
}

/// Who shakes hands on a side, and may be its peer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Claimant {
    /// The peer by ICE, wherever its checks come from: it knows our password, so it is one and the same at all its addresses (RFC 8842 §5.1).
    Checked,
    /// Whoever is at this address.
    At(SocketAddr),
}

impl Aside {
    pub(super) fn new(dtls: &Arc<DtlsParameters>) -> Aside {
        let ice = dtls.ice.as_ref().map(|ice| Lite::new(ice.local.clone(), ice.peer.clone()));
        Aside { dtls: Arc::clone(dtls), ice, is_held: false }
    }

    /// What signalling says now. True: another association, so that no key of the last one holds.
    pub(super) fn renew(&mut self, dtls: &Arc<DtlsParameters>) -> bool {
        let is_other = !self.dtls.is_same_association(dtls);
        let goes_on = match (&mut self.ice, &dtls.ice) {
            (Some(agent), Some(ice)) => agent.goes_on(&ice.local, ice.peer.as_ref()),
            (agent, ice) => agent.is_none() && ice.is_none(),
        };
        if !goes_on {
            self.ice = dtls.ice.as_ref().map(|ice| Lite::new(ice.local.clone(), ice.peer.clone()));
        }
        self.dtls = Arc::clone(dtls);
        is_other
    }

    /// Where the peer is: what it nominated counts for more than what its description says.
    pub(super) fn configure(&mut self, latch: &mut Latch, set: &Configuration) {
        let is_sought = self.is_checked() && set.remote == Some(Some(SOUGHT));
        let was_held = self.is_held;
        self.is_held = set.remote.map_or(self.is_held, |remote| remote.is_none_or(|at| at.rtp.ip().is_unspecified()) && !is_sought);
        match self.nominated() {
            Some(at) if !self.is_held => place(latch, at),
            // ICE begins anew: until it has found the peer again, it is where it was (RFC 8445 §9).
            _ if is_sought && !was_held && latch.is_ready() => {}
            _ if is_sought => latch.seek(),
            _ => latch.configure(set.remote, set.latch),
        }
    }

    fn nominated(&self) -> Option<SocketAddr> {
        self.ice.as_ref().and_then(Lite::selected).filter(|_| self.is_checked())
    }

    fn is_checked(&self) -> bool {
        self.dtls.ice.as_ref().is_some_and(|ice| ice.is_checked)
    }

    pub(super) fn heap_bytes(&self) -> usize {
        size_of::<Aside>()
    }
}

impl End {
    /// Whether ICE has found the peer at an address the latch does not take: it may send from any of them, the nominated one or not.
    #[cold]
    pub(super) fn checked(&self, from: SocketAddr) -> Option<Admitted> {
        let agent = self.aside.as_deref().filter(|aside| !aside.is_held)?.ice.as_ref()?;
        agent.is_valid(from).then_some(Admitted::Checked)
    }
}

/// A pair that was nominated is one address for everything, and exactly that.
fn place(latch: &mut Latch, at: SocketAddr) {
    latch.configure(Some(Some(Addresses { rtp: at, rtcp: at })), LatchPolicy::Strict);
}

impl End {
    /// Carries out the part of `set` that says how the side is keyed, as far as it is DTLS. True: there is another association, so nothing passes until it
    /// has keys.
    pub(super) fn keyed_aside(&mut self, set: &Configuration) -> bool {
        match (&set.receive, &mut self.aside) {
            (Some(Protection::Dtls(dtls)), Some(aside)) => aside.renew(dtls),
            (Some(Protection::Dtls(dtls)), aside) => {
                *aside = Some(Box::new(Aside::new(dtls)));
                true
            }
            (Some(_), aside) => {
                *aside = None;
                false
            }
            (None, _) => false,
        }
    }
}

impl Stream {
    /// A datagram on `side`'s RTP port that is no media.
    #[cold]
    pub(super) fn aside(&mut self, now: Time, side: Side, channel: Channel, from: SocketAddr, buffer: &mut [u8], len: usize) -> Verdict {
        let near = match side {
            Side::A => &mut self.a,
            Side::B => &mut self.b,
        };
        let kind = demux::classify(buffer.get(..len).unwrap_or_default());
        let outcome = match (near.aside.as_deref_mut(), kind) {
            (Some(aside), Kind::Stun) if channel == Channel::Rtp => aside.check(now, &mut near.latch, from, buffer, len),
            (Some(aside), Kind::Dtls) if channel == Channel::Rtp => aside.handshake(&near.latch, from),
            _ => Err(DropReason::NotMedia),
        };
        outcome.unwrap_or_else(|reason| {
            refuse(now, &mut near.counts, reason, from, kind);
            Verdict::Drop(reason)
        })
    }

    /// How `side` is keyed by DTLS, if it is.
    pub fn dtls(&self, side: Side) -> Option<&Arc<DtlsParameters>> {
        self.end(side).aside.as_deref().map(|aside| &aside.dtls)
    }

    /// Where `side`'s peer takes a handshake. `None`: not known yet, or on hold.
    pub fn handshake_to(&self, side: Side) -> Option<SocketAddr> {
        let end = self.end(side);
        let aside = end.aside.as_deref().filter(|aside| !aside.is_held)?;
        match aside.is_checked() {
            true => aside.nominated(),
            false => end.latch.destination(Channel::Rtp).ok(),
        }
    }

    /// Who `side`'s peer is to be for a handshake that we begin. `None`: not known yet, or on hold.
    pub fn awaited(&self, side: Side) -> Option<Claimant> {
        let to = self.handshake_to(side)?;
        Some(self.claimant(side, to))
    }

    /// Whose handshake a datagram from `from` is.
    pub fn claimant(&self, side: Side, from: SocketAddr) -> Claimant {
        match self.end(side).aside.as_deref().and_then(|aside| aside.ice.as_ref()) {
            Some(agent) if agent.is_valid(from) => Claimant::Checked,
            _ => Claimant::At(from),
        }
    }

    /// A handshake from `from` was not taken up: it is of a stranger, which is counted.
    #[cold]
    pub fn turned_away(&mut self, now: Time, side: Side, from: SocketAddr) {
        let near = match side {
            Side::A => &mut self.a,
            Side::B => &mut self.b,
        };
        refuse(now, &mut near.counts, DropReason::Source, from, Kind::Dtls);
    }

    /// The keys that the handshake of `by` has brought for `association` (see `DtlsParameters`); those of another one than the present come too late and
    /// change nothing.
    pub fn keyed(
        &mut self,
        now: Time,
        side: Side,
        (association, by): (u32, Claimant),
        receive: SrtpParameters,
        transmit: SrtpParameters,
    ) -> Result<(), KeyError> {
        let (near, path_in, path_out) = match side {
            Side::A => (&mut self.a, &mut self.from_a, &mut self.from_b),
            Side::B => (&mut self.b, &mut self.from_b, &mut self.from_a),
        };
        if near.aside.as_deref().is_none_or(|aside| aside.dtls.association != association) {
            return Ok(());
        }
        let (mut inbound, mut outbound) = (Inbound::Unset, Outbound::Unset);
        inbound.configure(now, &Protection::Srtp(receive), false)?;
        outbound.configure(&Protection::Srtp(transmit))?;
        (path_in.inbound, path_out.outbound) = (inbound, outbound);
        path_in.choose();
        path_out.choose();
        // Whoever has proven itself in the handshake is the one whose packets are meant.
        if let Claimant::At(from) = by
            && near.latch.admits(Channel::Rtp, from) == Ok(Admitted::Expected)
        {
            near.latch.settle(Channel::Rtp, from);
        }
        self.heard = now;
        Ok(())
    }

    fn end(&self, side: Side) -> &End {
        match side {
            Side::A => &self.a,
            Side::B => &self.b,
        }
    }
}

impl Aside {
    fn check(&mut self, now: Time, latch: &mut Latch, from: SocketAddr, buffer: &mut [u8], len: usize) -> Result<Verdict, DropReason> {
        let agent = self.ice.as_mut().ok_or(DropReason::NotMedia)?;
        match agent.message(now, from, buffer, len) {
            ice::Outcome::Refused => Err(DropReason::NotMedia),
            ice::Outcome::Reply { len, moved } => {
                if let Some(at) = self.nominated().filter(|_| moved && !self.is_held) {
                    place(latch, at);
                }
                Ok(Verdict::Reply { len })
            }
        }
    }

    fn handshake(&self, latch: &Latch, from: SocketAddr) -> Result<Verdict, DropReason> {
        if self.dtls.role.is_none() {
            return Err(DropReason::NotReady);
        }
        let is_checked = !self.is_held && self.ice.as_ref().is_some_and(|agent| agent.is_valid(from));
        if !is_checked {
            // Whoever only might be the peer after a move has nothing here by which to prove it.
            if latch.admits(Channel::Rtp, from)?.is_to_be_proven() {
                return Err(DropReason::Source);
            }
        }
        Ok(Verdict::Handshake)
    }
}

#[cfg(test)]
mod tests;
