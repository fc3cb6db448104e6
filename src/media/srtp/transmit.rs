//! The sender's side: encrypt, then authenticate (RFC 3711 §3.3, §3.4).
//!
//! The packets are somebody else's, so their numbers are not ours to choose; their indices are. No index is used twice under one key, whatever the numbers
//! do and however often the keys change (§9.1: it would give away both packets). And every index is one that the receiver guesses from the number alone
//! (§3.3.1): a source whose numbers leave his reach, because it began anew or went on while it was on hold, is renumbered so that it goes on where it was.

use crate::media::control::SrtpParameters;
use crate::media::rtp::{self, Header};
use crate::media::srtp::keys::{KeyError, KeySet, SRTCP_INDEX};
use crate::media::srtp::replay::{ReplayList, WIDTH};
use crate::media::srtp::session::{Facts, RTCP_CLEAR, RtcpLayout};
use crate::media::srtp::sources::{Place, Sources};
use crate::media::srtp::{Refusal, index};
use crate::time::Time;

/// Sources that had to leave the table and may not come back under the same keys, as their indices are forgotten.
const RETIRED: usize = 56;
/// Sets of keys no longer in force whose indices are remembered. A key comes back where a re-INVITE that changed it early fails after all.
const PAST: usize = 16;
/// A number so far ahead is taken as it is. Below the 2^15 a receiver can tell apart, by more than he may have missed of the last packets.
const REACH: u64 = 30_000;

/// The cryptographic context of one sending direction, for all its sources.
#[derive(Debug)]
pub struct Sender {
    present: Context,
    past: Vec<Context>,
}

/// One set of keys with what was sent under it.
#[derive(Debug)]
struct Context {
    keys: KeySet,
    sources: Sources<Sent>,
    retired: [u32; RETIRED],
    retirements: usize,
    /// More sources have left than are remembered: none that is unknown may come.
    is_sealed: bool,
    /// Of the next SRTCP packet. One count for all sources: each sees it rise.
    rtcp_index: u32,
}

/// What is remembered of one source.
#[derive(Clone, Copy, Debug, Default)]
struct Sent {
    /// The indices used.
    used: ReplayList,
    /// Its numbers are raised by this on their way out, modulo 2^16.
    shift: u16,
    /// The number that would confirm that the source goes on out of reach.
    suspect: Option<u16>,
}

impl Sender {
    pub fn new(parameters: &SrtpParameters) -> Result<Sender, KeyError> {
        Ok(Sender { present: Context::new(parameters)?, past: Vec::new() })
    }

    pub fn parameters(&self) -> &SrtpParameters {
        &self.present.keys.parameters
    }

    /// Changes the keys. Under a key that stays, or comes back, indices go on; under a new one every source starts at ROC 0.
    ///
    /// Errors: `Changes` after more changes than are remembered, and everything is as before.
    pub fn rekey(&mut self, parameters: &SrtpParameters) -> Result<(), KeyError> {
        self.may_rekey(parameters)?;
        let mut next = Context::new(parameters)?;
        for former in self.past.iter().chain([&self.present]) {
            next.go_on_from(former);
        }
        let is_past = |former: &Context| !former.keys.are_among(parameters);
        self.past.retain(is_past);
        let is_past = is_past(&self.present);
        let former = std::mem::replace(&mut self.present, next);
        if is_past {
            self.past.push(former);
        }
        Ok(())
    }

    /// Whether `rekey` would still remember all there is to remember.
    pub fn may_rekey(&self, parameters: &SrtpParameters) -> Result<(), KeyError> {
        let past = self.past.iter().chain([&self.present]).filter(|former| !former.keys.are_among(parameters)).count();
        if past > PAST { Err(KeyError::Changes) } else { Ok(()) }
    }

    /// Bytes an RTP packet grows by.
    pub fn rtp_growth(&self) -> usize {
        self.present.keys.mki + self.parameters().suite.rtp_tag()
    }

    /// Bytes an RTCP packet grows by.
    pub fn rtcp_growth(&self) -> usize {
        SRTCP_INDEX + self.present.keys.mki + self.parameters().suite.rtcp_tag()
    }

    /// Turns the RTP packet in `buffer[..len]` into SRTP; its new length. `header` is of this packet, whose sequence number may become another.
    #[inline]
    pub fn protect_rtp(&mut self, now: Time, buffer: &mut [u8], len: usize, header: &Header) -> Result<usize, Refusal> {
        if header.length > len {
            return Err(Refusal::Short);
        }
        let whole = len + self.rtp_growth();
        let (message, trailer) = buffer.get_mut(..whole).and_then(|packet| packet.split_at_mut_checked(len)).ok_or(Refusal::NoRoom)?;
        let present = &mut self.present;
        let place = present.sources.place(header.ssrc);
        let (index, shift) = present.next_index(place, header)?;
        let (key, mki) = present.keys.first(|key| key.rtp_left > 0).ok_or(Refusal::KeySpent)?;
        if shift != 0 {
            rtp::set_sequence(message, index as u16);
        }
        key.rtp.seal(Facts { ssrc: header.ssrc, index, header: header.length }, message, trailer, mki)?;
        key.rtp_left -= 1;
        let (sent, gone) = present.sources.enter(place, header.ssrc, now);
        sent.used.commit(index);
        (sent.shift, sent.suspect) = (shift, None);
        if let Some(gone) = gone {
            present.retire(gone);
        }
        Ok(whole)
    }

    /// Turns the RTCP compound in `buffer[..len]` into SRTCP; its new length.
    pub fn protect_rtcp(&mut self, buffer: &mut [u8], len: usize) -> Result<usize, Refusal> {
        if len < RTCP_CLEAR {
            return Err(Refusal::Short);
        }
        let whole = len + self.rtcp_growth();
        let packet = buffer.get_mut(..whole).ok_or(Refusal::NoRoom)?;
        let present = &mut self.present;
        let layout = RtcpLayout::behind(len, present.keys.parameters.suite, present.keys.mki);
        if present.rtcp_index >> 31 != 0 {
            return Err(Refusal::KeySpent);
        }
        let (key, mki) = present.keys.first(|key| key.rtcp_left > 0).ok_or(Refusal::KeySpent)?;
        key.rtcp.seal(present.rtcp_index, packet, layout, mki)?;
        key.rtcp_left -= 1;
        present.rtcp_index += 1;
        Ok(whole)
    }

    /// What the numbers of a source are raised by on their way out, modulo 2^16; 0 for one that is unknown.
    pub fn shift(&self, ssrc: u32) -> u16 {
        let sources = &self.present.sources;
        sources.place(ssrc).map_or(0, |place| sources.at(place).shift)
    }
}

impl Context {
    fn new(parameters: &SrtpParameters) -> Result<Context, KeyError> {
        let keys = KeySet::new(parameters)?;
        Ok(Context { keys, sources: Sources::default(), retired: [0; RETIRED], retirements: 0, is_sealed: false, rtcp_index: 0 })
    }

    /// The index of the packet about to be sent, if it may be sent, and what its number is raised by.
    #[inline]
    fn next_index(&mut self, place: Option<Place>, header: &Header) -> Result<(u64, u16), Refusal> {
        let Some(place) = place else { return self.may_begin(header.ssrc).map(|()| (u64::from(header.sequence), 0)) };
        let sent = self.sources.at_mut(place);
        let highest = sent.used.highest();
        match index::estimate(highest, header.sequence.wrapping_add(sent.shift)) {
            Some(index) if index > highest && index - highest <= REACH => Ok((index, sent.shift)),
            // A copy, or one that comes late.
            Some(index) if index <= highest && highest - index < WIDTH => sent.used.is_fresh(index).then_some((index, sent.shift)).ok_or(Refusal::Replay),
            _ => sent.goes_on_elsewhere(header.sequence),
        }
    }

    #[cold]
    fn may_begin(&self, ssrc: u32) -> Result<(), Refusal> {
        let is_retired = self.retired.iter().take(self.retirements).any(|retired| *retired == ssrc);
        let is_full = self.sources.is_full() && self.retirements == RETIRED;
        if self.is_sealed || is_retired || is_full { Err(Refusal::TooManySources) } else { Ok(()) }
    }

    fn retire(&mut self, ssrc: u32) {
        match self.retired.get_mut(self.retirements) {
            Some(place) => {
                *place = ssrc;
                self.retirements += 1;
            }
            None => self.is_sealed = true,
        }
    }

    /// Takes over what was sent under keys both have: indices must go on, or a key stream would be used twice.
    fn go_on_from(&mut self, former: &Context) {
        if !self.keys.inherit(&former.keys) {
            return;
        }
        for (ssrc, last, theirs) in former.sources.iter() {
            let place = self.sources.place(ssrc);
            let (ours, gone) = self.sources.enter(place, ssrc, last);
            if place.is_none() || theirs.used.highest() > ours.used.highest() {
                (ours.shift, ours.suspect) = (theirs.shift, theirs.suspect);
            }
            ours.used.merge(&theirs.used);
            if let Some(gone) = gone {
                self.retire(gone);
            }
        }
        for ssrc in former.retired.iter().take(former.retirements) {
            if !self.retired.iter().take(self.retirements).any(|known| known == ssrc) {
                self.retire(*ssrc);
            }
        }
        self.is_sealed |= former.is_sealed;
        self.rtcp_index = self.rtcp_index.max(former.rtcp_index);
    }
}

impl Sent {
    /// A number out of reach. One such packet may be a stray; when the next one follows it (RFC 3550 A.1) the source has begun anew, or went on unseen. It
    /// then goes on behind the highest index, with the stray as the one packet lost.
    #[cold]
    fn goes_on_elsewhere(&mut self, sequence: u16) -> Result<(u64, u16), Refusal> {
        if self.suspect != Some(sequence) {
            self.suspect = Some(sequence.wrapping_add(1));
            return Err(Refusal::Replay);
        }
        let index = self.used.highest() + 2;
        if index < index::END { Ok((index, (index as u16).wrapping_sub(sequence))) } else { Err(Refusal::KeySpent) }
    }
}
