//! The receiver's side: authenticate, then decrypt, then commit (RFC 3711 §3.3, §3.4).

use subtle::ConstantTimeEq;

use crate::media::control::SrtpParameters;
use crate::media::packet::u32_at;
use crate::media::rtp::Header;
use crate::media::srtp::keys::{KeyError, KeySet, RTCP_TAG, SRTCP_INDEX, rtp_tag};
use crate::media::srtp::replay::ReplayList;
use crate::media::srtp::sources::Sources;
use crate::media::srtp::{Refusal, index};
use crate::time::Time;

/// What is remembered of one source.
#[derive(Clone, Copy, Debug, Default)]
struct Source {
    rtp: ReplayList,
    rtcp: ReplayList,
}

/// The cryptographic context of one receiving direction, for all its sources.
#[derive(Debug)]
pub struct Receiver {
    keys: KeySet,
    tag: usize,
    sources: Sources<Source>,
}

impl Receiver {
    pub fn new(parameters: &SrtpParameters) -> Result<Receiver, KeyError> {
        Ok(Receiver { keys: KeySet::new(parameters)?, tag: rtp_tag(parameters.suite), sources: Sources::default() })
    }

    pub fn parameters(&self) -> &SrtpParameters {
        &self.keys.parameters
    }

    /// Changes the keys. Replay lists go on if a key stays, else they start anew; where each source was is remembered as a hint for its ROC.
    pub fn rekey(&mut self, parameters: &SrtpParameters) -> Result<(), KeyError> {
        let mut keys = KeySet::new(parameters)?;
        if !keys.inherit(&self.keys) {
            for source in self.sources.iter_mut() {
                source.rtp.forget();
                source.rtcp = ReplayList::default();
            }
        }
        (self.keys, self.tag) = (keys, rtp_tag(parameters.suite));
        Ok(())
    }

    /// Turns the SRTP packet that fills `packet` into RTP; its new length. `header` is of this packet.
    #[inline]
    pub fn unprotect_rtp(&mut self, now: Time, packet: &mut [u8], header: &Header) -> Result<usize, Refusal> {
        let end = packet.len().checked_sub(self.tag + self.keys.mki).filter(|end| *end >= header.length).ok_or(Refusal::Short)?;
        let (message, trailer) = packet.split_at_mut(end);
        let (mki, tag) = trailer.split_at(self.keys.mki);
        let place = self.sources.place(header.ssrc);
        let known = place.map(|place| self.sources.at(place).rtp);
        let key = self.keys.named(mki).ok_or(Refusal::Authentication)?;
        if key.rtp_left == 0 {
            return Err(Refusal::KeySpent);
        }
        let authentic = |index: u64| {
            let code = key.rtp.authenticator.code(message, Some(index::roc(index)));
            code.get(..tag.len()).is_some_and(|code| bool::from(code.ct_eq(tag)))
        };
        let index = match known {
            Some(list) if !list.is_empty() => {
                let index = index::estimate(list.highest(), header.sequence).ok_or(Refusal::Replay)?;
                if !list.is_fresh(index) {
                    return Err(Refusal::Replay);
                }
                authentic(index).then_some(index)
            }
            known => first_indices(known, header.sequence).into_iter().flatten().find(|index| authentic(*index)),
        };
        let index = index.ok_or(Refusal::Authentication)?;
        key.rtp.cipher.apply(header.ssrc, index, message.get_mut(header.length..).ok_or(Refusal::Short)?);
        key.rtp_left -= 1;
        self.sources.enter(place, header.ssrc, now).0.rtp.commit(index);
        Ok(end)
    }

    /// Turns the SRTCP packet that fills `packet` into RTCP; its new length. A packet without the E flag is authenticated only.
    pub fn unprotect_rtcp(&mut self, now: Time, packet: &mut [u8]) -> Result<usize, Refusal> {
        let signed = packet.len().checked_sub(RTCP_TAG + self.keys.mki).ok_or(Refusal::Short)?;
        let end = signed.checked_sub(SRTCP_INDEX).filter(|end| *end >= 8).ok_or(Refusal::Short)?;
        let (message, trailer) = packet.split_at_mut(signed);
        let (mki, tag) = trailer.split_at(self.keys.mki);
        let ssrc = u32_at(message, 4);
        let word = u32_at(message, end);
        let index = u64::from(word & 0x7fff_ffff);
        let key = self.keys.named(mki).ok_or(Refusal::Authentication)?;
        if key.rtcp_left == 0 {
            return Err(Refusal::KeySpent);
        }
        let place = self.sources.place(ssrc);
        if place.is_some_and(|place| !self.sources.at(place).rtcp.is_fresh(index)) {
            return Err(Refusal::Replay);
        }
        let code = key.rtcp.authenticator.code(message, None);
        if !code.get(..tag.len()).is_some_and(|code| bool::from(code.ct_eq(tag))) {
            return Err(Refusal::Authentication);
        }
        if word >> 31 == 1 {
            key.rtcp.cipher().apply(ssrc, index, message.get_mut(8..end).ok_or(Refusal::Short)?);
        }
        key.rtcp_left -= 1;
        self.sources.enter(place, ssrc, now).0.rtcp.commit(index);
        Ok(end)
    }
}

/// Where a source may be that has sent nothing under the present key: at the beginning; just past a wrap whose first packets were lost (a sender
/// should start below 2^15 to avoid that, RFC 3711 §3.3.1, not all do); or, after a new key, going on where it was, since RFC 4568 does not say
/// whether the ROC starts again.
fn first_indices(known: Option<ReplayList>, sequence: u16) -> [Option<u64>; 2] {
    let beginning = u64::from(sequence);
    let other = match known {
        Some(list) => index::estimate(list.highest(), sequence),
        None if sequence < 0x8000 => Some(1 << 16 | beginning),
        None => None,
    };
    [Some(beginning), other.filter(|other| *other != beginning)]
}
