//! The DTLS associations of one worker's streams: made when signalling has settled one with a peer, fed with what arrives and with time, and let go with it.
//!
//! What they send leaves by the stream's own RTP socket, whichever way its media takes: handshakes are few.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use crate::media::control::{DtlsParameters, Event, KeyingFailure, Side, StreamId};
use crate::media::relay::{Channel, Claimant};
use crate::time::Time;

use super::association::{Claims, Identity, SCRATCH, Taken, Told};
use super::sockets::Place;
use super::streams::{Open, Streams};

/// What a worker needs to shake hands.
pub(super) struct Handshakes {
    identities: Arc<[Arc<Identity>]>,
    anchor: Instant,
    /// Empty until the first handshake: most borders never see one.
    scratch: Vec<u8>,
    /// Streams whose keys have changed since somebody asked.
    renewed: Vec<StreamId>,
}

impl Handshakes {
    pub(super) fn new(identities: Arc<[Arc<Identity>]>, anchor: Instant) -> Handshakes {
        Handshakes { identities, anchor, scratch: Vec::new(), renewed: Vec::new() }
    }

    /// The same with nothing under way.
    pub(super) fn begin_anew(&self) -> Handshakes {
        Handshakes::new(Arc::clone(&self.identities), self.anchor)
    }

    fn associate(&self, terms: &Arc<DtlsParameters>, now: Time) -> Result<Option<Box<Claims>>, KeyingFailure> {
        let Some(role) = terms.role else { return Ok(None) };
        let unknown = || KeyingFailure::Handshake("the certificate announced is not there".to_owned());
        let identity = self.identities.get(terms.identity).ok_or_else(unknown)?;
        Ok(Some(Box::new(Claims::new(Arc::clone(terms), role, Arc::clone(identity), self.anchor, now))))
    }
}

/// What an association is fed with.
pub(super) enum Input<'a> {
    /// Its peer may have become reachable.
    Begin,
    Datagram(SocketAddr, &'a [u8]),
    Time,
}

const fn index(side: Side) -> usize {
    match side {
        Side::A => 0,
        Side::B => 1,
    }
}

impl Open {
    /// When an association wants to be asked.
    pub(super) fn handshake_due(&self) -> Option<Time> {
        self.claims.iter().flatten().filter_map(|claims| claims.due()).min()
    }
}

impl Streams {
    /// Signalling has configured a stream: its associations are those that were settled.
    pub(super) fn associate(&mut self, now: Time, id: StreamId) {
        for side in [Side::A, Side::B] {
            let Some(slot) = self.slot_of(id) else { return };
            let (Some(open), handshakes) = self.with_handshakes(slot) else { return };
            let wanted = open.stream.dtls(side).filter(|terms| terms.role.is_some()).cloned();
            let Some(present) = open.claims.get_mut(index(side)) else { return };
            let made = match (&wanted, &present) {
                (None, None) => continue,
                (None, Some(_)) => {
                    *present = None;
                    continue;
                }
                (Some(terms), Some(claims)) if claims.terms().is_same_association(terms) => Ok(None),
                (Some(terms), _) => handshakes.associate(terms, now),
            };
            match made {
                Ok(None) => {}
                Ok(claims) => *present = claims,
                Err(failure) => {
                    self.tell(Event::KeyingFailed { stream: id, side, failure });
                    continue;
                }
            }
            self.shake(now, slot, side, Input::Begin);
        }
    }

    /// One input for the association of a side, and all that follows from it.
    pub(super) fn shake(&mut self, now: Time, slot: usize, side: Side, input: Input<'_>) {
        let (Some(open), handshakes) = self.with_handshakes(slot) else { return };
        let awaited = open.stream.awaited(side);
        let selected = open.stream.handshake_to(side);
        let Some(claims) = open.claims.get_mut(index(side)).and_then(Option::as_deref_mut) else { return };
        if handshakes.scratch.is_empty() {
            handshakes.scratch = vec![0; SCRATCH];
        }
        let socket = open.sockets.at(Place::of(side, Channel::Rtp));
        let mut send = |claimant: Claimant, bytes: &[u8]| {
            let to = match claimant {
                Claimant::Checked => selected,
                Claimant::At(source) => Some(source),
            };
            if let Some(to) = to {
                // A datagram that does not leave is as one that is lost: it is repeated.
                let _ = rustix::net::sendto(socket, bytes, rustix::net::SendFlags::DONTWAIT, &to);
            }
        };
        let scratch = handshakes.scratch.as_mut_slice();
        let mut is_strange = None;
        let told = match input {
            Input::Begin => awaited.and_then(|claimant| claims.begin(now, claimant, scratch, &mut send)),
            Input::Datagram(from, datagram) => {
                let claimant = open.stream.claimant(side, from);
                match claims.datagram(now, (claimant, awaited == Some(claimant)), datagram, scratch, &mut send) {
                    Taken::Told(claimant, told) => Some((claimant, told)),
                    Taken::Yes => None,
                    Taken::No => {
                        is_strange = Some(from);
                        None
                    }
                }
            }
            Input::Time => claims.timeout(now, scratch, &mut send),
        };
        let number = claims.terms().association;
        if let Some(from) = is_strange {
            open.stream.turned_away(now, side, from);
        }
        let id = open.id;
        let event = told.map(|(by, told)| match told {
            Told::Failed(failure) => Event::KeyingFailed { stream: id, side, failure },
            Told::Keyed(keys) => {
                let suite = keys.receive.suite;
                match open.stream.keyed(now, side, (number, by), keys.receive, keys.transmit) {
                    Ok(()) => {
                        handshakes.renewed.push(id);
                        Event::Keyed { stream: id, side, suite }
                    }
                    Err(error) => Event::KeyingFailed { stream: id, side, failure: KeyingFailure::Handshake(error.to_string()) },
                }
            }
        });
        self.replan(slot);
        if let Some(event) = event {
            self.tell(event);
        }
    }

    /// The associations of a stream whose look is due.
    pub(super) fn handshakes_due(&mut self, now: Time, slot: usize) {
        for side in [Side::A, Side::B] {
            let due = self.at(slot).and_then(|open| open.claims.get(index(side))?.as_ref()?.due());
            if due.is_some_and(|due| due <= now) {
                self.shake(now, slot, side, Input::Time);
            }
        }
    }

    /// A stream whose keys have changed without signalling having said so.
    pub(super) fn take_renewed(&mut self) -> Option<StreamId> {
        self.handshakes.renewed.pop()
    }
}
