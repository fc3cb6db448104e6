//! The sender's side: encrypt, then authenticate (RFC 3711 §3.3, §3.4).

use crate::media::control::SrtpParameters;
use crate::media::rtp::Header;
use crate::media::srtp::keys::{KeyError, KeySet, SRTCP_INDEX};
use crate::media::srtp::replay::ReplayList;
use crate::media::srtp::session::{Facts, RTCP_CLEAR, RtcpLayout};
use crate::media::srtp::sources::{Place, Sources};
use crate::media::srtp::{Refusal, index};
use crate::time::Time;

/// Sources that had to leave the table and may not come back under the same keys, as their indices are forgotten.
const RETIRED: usize = 56;

/// The cryptographic context of one sending direction, for all its sources. A relay does not choose sequence numbers, so it keeps a list of the
/// indices it has used: a packet that would use one again is refused, since that would give away both (RFC 3711 §9.1).
#[derive(Debug)]
pub struct Sender {
    keys: KeySet,
    sources: Sources<ReplayList>,
    retired: [u32; RETIRED],
    retirements: usize,
    /// Of the next SRTCP packet. One count for all sources: each sees it rise.
    rtcp_index: u32,
}

impl Sender {
    pub fn new(parameters: &SrtpParameters) -> Result<Sender, KeyError> {
        Ok(Sender { keys: KeySet::new(parameters)?, sources: Sources::default(), retired: [0; RETIRED], retirements: 0, rtcp_index: 0 })
    }

    pub fn parameters(&self) -> &SrtpParameters {
        &self.keys.parameters
    }

    /// Changes the keys. Indices go on if a key stays, else every source starts at ROC 0.
    pub fn rekey(&mut self, parameters: &SrtpParameters) -> Result<(), KeyError> {
        let mut next = Sender::new(parameters)?;
        if next.keys.inherit(&self.keys) {
            (next.sources, next.retired, next.retirements) = (self.sources.clone(), self.retired, self.retirements);
            next.rtcp_index = self.rtcp_index;
        }
        *self = next;
        Ok(())
    }

    /// Bytes an RTP packet grows by.
    pub fn rtp_growth(&self) -> usize {
        self.keys.mki + self.keys.parameters.suite.rtp_tag()
    }

    /// Bytes an RTCP packet grows by.
    pub fn rtcp_growth(&self) -> usize {
        SRTCP_INDEX + self.keys.mki + self.keys.parameters.suite.rtcp_tag()
    }

    /// Turns the RTP packet in `buffer[..len]` into SRTP; its new length. `header` is of this packet.
    #[inline]
    pub fn protect_rtp(&mut self, now: Time, buffer: &mut [u8], len: usize, header: &Header) -> Result<usize, Refusal> {
        if header.length > len {
            return Err(Refusal::Short);
        }
        let whole = len + self.rtp_growth();
        let (message, trailer) = buffer.get_mut(..whole).and_then(|packet| packet.split_at_mut_checked(len)).ok_or(Refusal::NoRoom)?;
        let place = self.sources.place(header.ssrc);
        let index = self.next_index(place, header)?;
        let (key, mki) = self.keys.first(|key| key.rtp_left > 0).ok_or(Refusal::KeySpent)?;
        key.rtp.seal(Facts { ssrc: header.ssrc, index, header: header.length }, message, trailer, mki)?;
        key.rtp_left -= 1;
        let (list, gone) = self.sources.enter(place, header.ssrc, now);
        list.commit(index);
        if let Some(gone) = gone {
            self.retire(gone);
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
        let layout = RtcpLayout::behind(len, self.keys.parameters.suite, self.keys.mki);
        if self.rtcp_index >> 31 != 0 {
            return Err(Refusal::KeySpent);
        }
        let (key, mki) = self.keys.first(|key| key.rtcp_left > 0).ok_or(Refusal::KeySpent)?;
        key.rtcp.seal(self.rtcp_index, packet, layout, mki)?;
        key.rtcp_left -= 1;
        self.rtcp_index += 1;
        Ok(whole)
    }

    /// The index of the packet about to be sent, if it may be sent.
    #[inline]
    fn next_index(&self, place: Option<Place>, header: &Header) -> Result<u64, Refusal> {
        match place.map(|place| self.sources.at(place)) {
            Some(list) => index::estimate(list.highest(), header.sequence).filter(|index| list.is_fresh(*index)).ok_or(Refusal::Replay),
            None if self.retired[..self.retirements].contains(&header.ssrc) => Err(Refusal::TooManySources),
            None if self.sources.is_full() && self.retirements == RETIRED => Err(Refusal::TooManySources),
            None => Ok(u64::from(header.sequence)),
        }
    }

    fn retire(&mut self, ssrc: u32) {
        if let Some(place) = self.retired.get_mut(self.retirements) {
            *place = ssrc;
            self.retirements += 1;
        }
    }
}
