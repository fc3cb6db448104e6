//! The same SRTP keys on both legs, where the peers of both are written down for it (`srtp_passthrough`): each peer is given the other's key instead of one of
//! ours, so that packets cross as they came (RFC 4568 §6.1 calls for a key of one's own in each direction; here it is the peers' own).
//!
//! | when | what happens |
//! |---|---|
//! | the offer that opens the session | the offerer's key is lent to the other leg if packets can go unchanged, else both legs have keys of ours, and [`Apart`] says why |
//! | its answer | the answerer's key is given back. One that would have packets changed is refused: the answerer has been told a key we must not protect by |
//! | a later offer | the same again. Once keys are apart they stay apart, and each leg that was lent one gets a fresh one of ours |
//! | what is answered here, or refreshed by us | a key that changes without the other leg being asked is refused |
//! | a transfer | new streams have keys of ours |

use std::fmt;

use super::keys::{self, Ours};
use super::leg::Heard;
use super::stream::{Kind, Stream};
use super::{MediaRefusal, SessionMedia};
use crate::media::control::Side;
use crate::policy::verdict::Reason;
use crate::sdp::Description;
use crate::sdp::crypto::{Crypto, Suite, SuiteName};

/// How the keys of a session stand whose peers are both written down for sharing them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SrtpKeys {
    /// Each leg's peer has the other's key, and what they send crosses as it came.
    Shared,
    /// Each leg has keys of ours.
    Apart(Apart),
}

/// Why they have no key in common.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Apart {
    /// The offer has none of the suites that the other leg's peer is offered.
    Suite,
    /// The offerer's packets name their key (MKI), or it has several.
    KeyNames,
    /// The legs' payload types differ: packets would have to be changed.
    PayloadTypes,
    /// The caller has the key of an earlier target by an early answer.
    EarlierTarget,
    /// They had none before.
    Before,
}

impl fmt::Display for SrtpKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SrtpKeys::Shared => "shared",
            SrtpKeys::Apart(Apart::Suite) => "apart: no suite that both peers are to use",
            SrtpKeys::Apart(Apart::KeyNames) => "apart: the offer has several keys, or packets that name theirs (MKI)",
            SrtpKeys::Apart(Apart::PayloadTypes) => "apart: the legs' payload types differ",
            SrtpKeys::Apart(Apart::EarlierTarget) => "apart: an earlier target has answered early",
            SrtpKeys::Apart(Apart::Before) => "apart: they were before",
        })
    }
}

impl SessionMedia {
    /// How the keys stand; `None`: the peers are not both for sharing them, or nothing is agreed.
    pub fn srtp_keys(&self) -> Option<SrtpKeys> {
        match (&self.a.ours, &self.b.ours) {
            (Some(Ours::Lent(_)), Some(Ours::Lent(_))) => Some(SrtpKeys::Shared),
            (Some(_), Some(_)) => self.apart.map(SrtpKeys::Apart),
            _ => None,
        }
    }

    /// The key of the offer from `from`'s peer that the other leg is to be offered, if packets under it can cross as they are. It is then the one that counts
    /// on this leg too.
    pub(super) fn lend(&mut self, from: Side, sdp: &Description, heard: &mut Heard) -> Option<Crypto> {
        let (near, far) = (self.leg(from), self.leg(from.other()));
        if !self.may_share() || heard.theirs.is_none() {
            return None;
        }
        let suites: Vec<Suite> = near.terms.plan.suites_taken().iter().filter(|suite| far.terms.plan.suites().contains(suite)).copied().collect();
        let chosen = near.line_of(sdp, heard, &suites).map_err(|_| Apart::Suite);
        let lent = chosen.and_then(|line| self.fits(from, &heard.stream, &line).map(|()| line));
        self.apart = lent.as_ref().err().copied();
        if let Ok(line) = &lent {
            heard.theirs = Some(line.clone());
        }
        lent.ok()
    }

    /// The same for the next target of a call's first offer.
    pub(super) fn lend_again(&mut self, from: Side, heard: &Heard) -> Option<Crypto> {
        let line = heard.theirs.clone().filter(|_| self.may_share())?;
        let known = matches!(self.leg(from).ours, Some(Ours::Lent(_)));
        let fits = if known { Err(Apart::EarlierTarget) } else { self.fits(from, &heard.stream, &line) };
        if known {
            self.leg_mut(from).ours = None;
        }
        self.apart = fits.err();
        fits.ok().map(|()| line)
    }

    fn may_share(&self) -> bool {
        self.a.terms.plan.shares_keys() && self.b.terms.plan.shares_keys()
    }

    /// Whether packets of `from`'s peer under `line` can reach the other leg as they are.
    fn fits(&self, from: Side, stream: &Stream, line: &Crypto) -> Result<(), Apart> {
        let (near, far) = (self.leg(from), self.leg(from.other()));
        let is_apart = matches!(far.ours, Some(Ours::Own(_))) || matches!(near.ours, Some(Ours::Own(_)));
        let listed = matches!(line.suite, SuiteName::Known(suite) if far.terms.plan.suites().contains(&suite));
        match line.keys.as_slice() {
            _ if is_apart => Err(Apart::Before),
            _ if !listed => Err(Apart::Suite),
            [key] if key.mki.is_none() => match far.would_offer(stream).is_some_and(|offered| same_numbers(stream, &offered)) {
                true => Ok(()),
                false => Err(Apart::PayloadTypes),
            },
            _ => Err(Apart::KeyNames),
        }
    }

    /// The key of the answer from `from`'s peer, who was lent the other's, to be given to that one.
    ///
    /// Errors: `MediaSharedKeys` if packets of either could not cross as they are.
    pub(super) fn give_back(&self, from: Side, heard: &Heard, offer: &Heard) -> Result<Crypto, MediaRefusal> {
        let theirs = heard.theirs.clone().ok_or(Reason::MediaSharedKeys)?;
        let is_own = offer.theirs.as_ref().is_none_or(|lent| lent.keys.iter().all(|lent| theirs.keys.iter().all(|key| key.key_and_salt != lent.key_and_salt)));
        let is_alone = matches!(theirs.keys.as_slice(), [key] if key.mki.is_none());
        let answered = heard.stream.clone().answering(&offer.stream);
        if heard.stream.kind == Kind::Audio && is_own && is_alone && same_numbers(&heard.stream, &answered) && self.leg(from).has_said(&heard.stream) {
            return Ok(theirs);
        }
        Err(MediaRefusal(Reason::MediaSharedKeys))
    }

    /// What the peer of `side` says without the other's being asked must leave a key as it is that the other has.
    pub(super) fn check_key(&self, side: Side, heard: &Heard) -> Result<(), MediaRefusal> {
        let other = self.leg(side.other()).ours.as_ref().and_then(Ours::lent);
        match (other, &heard.theirs) {
            (Some(lent), Some(theirs)) if !keys::is_same_key(lent, theirs) => Err(MediaRefusal(Reason::MediaSharedKeys)),
            _ => Ok(()),
        }
    }
}

/// Whether one stream's payload types are among the other's, each with the same meaning.
fn same_numbers(all: &Stream, some: &Stream) -> bool {
    let all = all.numbered();
    some.numbered().iter().all(|one| all.iter().any(|other| other == one))
}
