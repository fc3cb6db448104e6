//! All who shake hands at one side's port, each by an association of its own: the first that proves to be whom signalling announced is the peer.
//!
//! Where a peer may be is not always known beforehand (a NAT, an answer that has not come), so that strangers reach the port too. None of them can end the
//! handshake of the right one: it fails only where the peer itself is known to be, or when time is up.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Association, Identity, PATIENCE, Told};
use crate::media::control::{DtlsParameters, DtlsRole, KeyingFailure};
use crate::media::flights;
use crate::media::relay::Claimant;
use crate::time::Time;

/// Associations at a time whose source has not answered us yet, so that it may be forged; each holds some kilobytes. The newest takes the place of the oldest:
/// whoever answers within the time in which so many others come is heard.
const OPENED: usize = 48;
/// Those that have answered: their handshake costs a fraction of a millisecond.
const UNDER_WAY: usize = 16;
/// A handshake that takes longer to its end may have to give way to another source's, unless the peer is known to be there.
const WHOLE: Duration = Duration::from_secs(5);
/// New associations a second with sources at which the peer is not awaited: as many as cost a core some hundredths. For each that we begin ourselves a
/// hello goes to where the source says it is, longer than what it said, so that these are few.
const NEW_PASSIVE: u32 = 500;
const NEW_ACTIVE: u32 = 20;
const SECOND: Duration = Duration::from_secs(1);
/// Sources remembered as having shown another certificate than the announced one.
const REFUSED: usize = 8;

/// Handshake messages that open a conversation (RFC 6347 §4.3.2).
const CLIENT_HELLO: u8 = 1;
const SERVER_HELLO: u8 = 2;
const HELLO_VERIFY_REQUEST: u8 = 3;

struct Claim {
    by: Claimant,
    association: Association,
    begun: Time,
    /// We have sent more than what opens a conversation: its source is not forged.
    is_under_way: bool,
}

impl Claim {
    fn is_due(&self, now: Time) -> bool {
        !self.association.is_awaited && now.since(self.begun) >= WHOLE
    }

    /// What a forged hello made us say is said once: who is there asks again.
    fn due(&self, role: DtlsRole) -> Option<Time> {
        let is_silent = role == DtlsRole::Passive && !self.is_under_way && !self.association.is_awaited;
        self.association.due().filter(|_| !is_silent)
    }
}

/// What is left of a second's new associations with strangers.
struct Allowance {
    since: Time,
    left: u32,
}

impl Allowance {
    fn take(&mut self, now: Time, role: DtlsRole) -> bool {
        if now.since(self.since) >= SECOND {
            *self = Allowance::full(now, role);
        }
        let left = self.left.checked_sub(1);
        self.left = left.unwrap_or(0);
        left.is_some()
    }

    fn full(now: Time, role: DtlsRole) -> Allowance {
        Allowance { since: now, left: if role == DtlsRole::Active { NEW_ACTIVE } else { NEW_PASSIVE } }
    }
}

/// Whether what we send shows that the peer has answered: a cookie demanded and a greeting do not.
fn shows_answer(datagram: &[u8]) -> bool {
    !matches!(flights::first_message(datagram), None | Some(CLIENT_HELLO | HELLO_VERIFY_REQUEST))
}

/// What became of a datagram.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Taken {
    /// Nothing more is to be done.
    Yes,
    /// It is of nobody who may be the peer.
    No,
    /// The side's handshake has come to its end.
    Told(Claimant, Told),
}

/// How one side comes to its keys.
pub struct Claims {
    terms: Arc<DtlsParameters>,
    role: DtlsRole,
    identity: Arc<Identity>,
    anchor: Instant,
    deadline: Time,
    claims: Vec<Claim>,
    allowance: Allowance,
    refused: Vec<SocketAddr>,
    /// Why a handshake failed that was not the last hope.
    spoilt: Option<KeyingFailure>,
    is_over: bool,
}

impl Claims {
    /// Signalling has settled `terms` with the peer. Nothing is sent before [`Claims::begin`].
    pub fn new(terms: Arc<DtlsParameters>, role: DtlsRole, identity: Arc<Identity>, anchor: Instant, now: Time) -> Claims {
        let deadline = now + PATIENCE;
        let allowance = Allowance::full(now, role);
        Claims { terms, role, identity, anchor, deadline, claims: Vec::new(), allowance, refused: Vec::new(), spoilt: None, is_over: false }
    }

    pub fn terms(&self) -> &Arc<DtlsParameters> {
        &self.terms
    }

    /// The peer is to be found at `claimant`: who is active sends its first flight there, once.
    pub fn begin(&mut self, now: Time, claimant: Claimant, scratch: &mut [u8], send: &mut dyn FnMut(Claimant, &[u8])) -> Option<(Claimant, Told)> {
        if self.role != DtlsRole::Active || self.is_over {
            return None;
        }
        let index = match self.claims.iter().position(|claim| claim.by == claimant) {
            Some(index) => index,
            None => self.admit(now, claimant, true)?,
        };
        let claim = self.claims.get_mut(index)?;
        claim.association.is_awaited = true;
        let told = claim.association.begin(now, scratch, &mut |bytes| send(claimant, bytes))?;
        self.told(index, told)
    }

    /// A datagram of `claimant` that is DTLS by its first byte. `is_awaited`: this is where signalling or ICE says the peer is.
    pub fn datagram(
        &mut self,
        now: Time,
        (claimant, is_awaited): (Claimant, bool),
        datagram: &[u8],
        scratch: &mut [u8],
        send: &mut dyn FnMut(Claimant, &[u8]),
    ) -> Taken {
        let known = self.claims.iter().position(|claim| claim.by == claimant);
        let (index, is_new) = match known.or_else(|| self.claim(now, claimant, is_awaited, datagram)) {
            Some(index) => (index, known.is_none()),
            None => return Taken::No,
        };
        let may_answer = is_awaited || self.has_place_under_way(now);
        let Some(claim) = self.claims.get_mut(index) else { return Taken::No };
        claim.association.is_awaited |= is_awaited;
        // What comes after the opening is dear: not for more than there are places.
        if !may_answer && !is_new && !claim.is_under_way && !claim.association.is_awaited {
            return Taken::No;
        }
        let (mut is_answered, mut is_under_way) = (false, claim.is_under_way);
        let mut give = |bytes: &[u8]| {
            is_answered = true;
            is_under_way |= shows_answer(bytes);
            send(claimant, bytes);
        };
        let told = match (self.role, is_new) {
            // What it said was an answer to nobody: it is asked itself.
            (DtlsRole::Active, true) => claim.association.begin(now, scratch, &mut give),
            _ => claim.association.datagram(now, datagram, scratch, &mut give),
        };
        claim.is_under_way = is_under_way;
        match told.and_then(|told| self.told(index, told)) {
            Some((claimant, told)) => Taken::Told(claimant, told),
            // It only looked like a beginning.
            None if is_new && !is_answered && !is_awaited => {
                self.claims.retain(|claim| claim.by != claimant);
                Taken::No
            }
            // A stranger's, which has come to nothing.
            None if !is_awaited && !self.claims.iter().any(|claim| claim.by == claimant) => Taken::No,
            None => {
                self.give_way(now, claimant);
                Taken::Yes
            }
        }
    }

    /// When `timeout` is to be called.
    pub fn due(&self) -> Option<Time> {
        let of_all = (!self.is_over).then_some(self.deadline);
        self.claims.iter().filter_map(|claim| claim.due(self.role)).chain(of_all).min()
    }

    pub fn timeout(&mut self, now: Time, scratch: &mut [u8], send: &mut dyn FnMut(Claimant, &[u8])) -> Option<(Claimant, Told)> {
        let mut index = 0;
        while let Some(claim) = self.claims.get_mut(index) {
            let by = claim.by;
            let told = match claim.due(self.role) {
                Some(due) if due <= now => claim.association.timeout(now, scratch, &mut |bytes| send(by, bytes)),
                _ => None,
            };
            let before = self.claims.len();
            if let Some(told) = told.and_then(|told| self.told(index, told)) {
                return Some(told);
            }
            index += usize::from(self.claims.len() == before);
        }
        if self.is_over || now < self.deadline {
            return None;
        }
        let failure = self.spoilt.take().unwrap_or(KeyingFailure::TimedOut);
        self.end();
        Some((Claimant::Checked, Told::Failed(failure)))
    }

    /// A source that was not heard yet opens a conversation.
    fn claim(&mut self, now: Time, claimant: Claimant, is_awaited: bool, datagram: &[u8]) -> Option<usize> {
        let opens = match (self.role, flights::first_message(datagram)?) {
            (DtlsRole::Passive, CLIENT_HELLO) => true,
            (DtlsRole::Active, SERVER_HELLO | HELLO_VERIFY_REQUEST) => !is_awaited,
            _ => false,
        };
        let is_refused = matches!(claimant, Claimant::At(source) if self.refused.contains(&source));
        if self.is_over || !opens || is_refused || !(is_awaited || self.allowance.take(now, self.role)) {
            return None;
        }
        self.admit(now, claimant, is_awaited)
    }

    /// Makes an association for who has none. `None`: there is no room, or the library does not want to. Where the peer is awaited there always is room.
    fn admit(&mut self, now: Time, claimant: Claimant, is_awaited: bool) -> Option<usize> {
        let opened = self.claims.iter().filter(|claim| !claim.is_under_way);
        if opened.clone().count() >= OPENED {
            let oldest = opened.filter(|claim| is_awaited || !claim.association.is_awaited).min_by_key(|claim| (claim.association.is_awaited, claim.begun))?.by;
            self.claims.retain(|claim| claim.by != oldest);
        }
        match Association::new(Arc::clone(&self.terms), self.role, Arc::clone(&self.identity), self.anchor, now) {
            Ok(association) => {
                self.claims.push(Claim { by: claimant, association, begun: now, is_under_way: false });
                Some(self.claims.len() - 1)
            }
            Err(failure) => {
                self.spoilt = Some(failure);
                None
            }
        }
    }

    fn under_way(&self) -> impl Iterator<Item = &Claim> {
        self.claims.iter().filter(|claim| claim.is_under_way)
    }

    fn has_place_under_way(&self, now: Time) -> bool {
        self.under_way().count() < UNDER_WAY || self.under_way().any(|claim| claim.is_due(now))
    }

    /// `newest` has just been heard: if that makes too many under way, the oldest whose time is up goes, or else, for where the peer is awaited, the oldest.
    fn give_way(&mut self, now: Time, newest: Claimant) {
        if self.under_way().count() <= UNDER_WAY {
            return;
        }
        let others = self.under_way().filter(|claim| claim.by != newest);
        let oldest = others.min_by_key(|claim| (!claim.is_due(now), claim.association.is_awaited, claim.begun)).map(|claim| claim.by);
        self.claims.retain(|claim| Some(claim.by) != oldest);
    }

    /// An association has spoken: what that means for the side.
    fn told(&mut self, index: usize, told: Told) -> Option<(Claimant, Told)> {
        let claim = self.claims.get(index)?;
        let (by, is_awaited, is_proven) = (claim.by, claim.association.is_awaited, claim.association.is_proven());
        let is_under_way = claim.is_under_way;
        let failure = match told {
            Told::Keyed(_) => {
                self.claims.retain(|claim| claim.by == by);
                self.is_over = true;
                return Some((by, told));
            }
            Told::Failed(failure) => failure,
        };
        self.claims.remove(index);
        if failure == KeyingFailure::Fingerprint
            && let Claimant::At(source) = by
        {
            self.refused.truncate(REFUSED - 1);
            self.refused.insert(0, source);
        }
        // Whoever has shown the right certificate is the peer. Where it is known to be there is nobody else to wait for, unless somebody is under way.
        if is_proven || (is_awaited && self.claims.is_empty()) {
            self.end();
            return Some((by, Told::Failed(failure)));
        }
        // That somebody else showed a certificate of his own says less about the peer than what became of its own handshake.
        // What a forged hello spoilt says nothing at all.
        if is_awaited || (self.spoilt.is_none() && (is_under_way || failure == KeyingFailure::Fingerprint)) {
            self.spoilt = Some(failure);
        }
        None
    }

    fn end(&mut self) {
        self.claims.clear();
        self.is_over = true;
    }
}

#[cfg(test)]
mod tests;
