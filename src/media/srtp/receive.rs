//! The receiver's side: authenticate, then decrypt, then commit (RFC 3711 §3.3, §3.4).
//!
//! A new key does not shut the old one out at once: what was sent before its sender learnt of the change is still on its way, and RFC 4568 has no word in
//! the packet that tells the two apart but the MKI. So for a while both are tried, the new one first, each with its own replay list.

use std::time::Duration;

use crate::media::control::SrtpParameters;
use crate::media::packet::u32_at;
use crate::media::rtp::Header;
use crate::media::srtp::keys::{KeyError, KeySet};
use crate::media::srtp::replay::ReplayList;
use crate::media::srtp::session::{Facts, RtcpLayout};
use crate::media::srtp::sources::Sources;
use crate::media::srtp::{Refusal, index};
use crate::time::Time;

/// So long after a change packets under the former key are taken, if nothing has come under the new one.
const FORMER: Duration = Duration::from_secs(10);
/// So long after the first packet under the new key packets under the former one are taken: longer than a network reorders.
const OVERLAP: Duration = Duration::from_secs(1);

/// What is remembered of one source.
#[derive(Clone, Copy, Debug, Default)]
struct Source {
    rtp: ReplayList,
    rtcp: ReplayList,
    /// How far it seems to have come by packets that went past us, which nobody has authenticated: a second guess at its ROC, until the next packet shows
    /// where it is. Zero: none went.
    ahead: u64,
}

impl Source {
    /// Where a packet of this sequence number may stand. `[0]` is where it nearly always does.
    fn indices(&self, sequence: u16) -> [Option<u64>; 2] {
        let near = index::estimate(self.rtp.highest(), sequence);
        let far = if self.ahead == 0 { None } else { index::estimate(self.ahead, sequence) };
        [far.or(near), far.and(near).filter(|near| Some(*near) != far)]
    }
}

/// The cryptographic context of one receiving direction, for all its sources.
#[derive(Debug)]
pub struct Receiver {
    present: Context,
    former: Option<Box<Former>>,
}

/// The context before the last change of keys.
#[derive(Debug)]
struct Former {
    context: Context,
    until: Time,
}

/// One set of keys with the sources heard under it.
#[derive(Debug)]
struct Context {
    keys: KeySet,
    sources: Sources<Source>,
}

impl Receiver {
    pub fn new(parameters: &SrtpParameters) -> Result<Receiver, KeyError> {
        Ok(Receiver { present: Context { keys: KeySet::new(parameters)?, sources: Sources::default() }, former: None })
    }

    pub fn parameters(&self) -> &SrtpParameters {
        &self.present.keys.parameters
    }

    /// Changes the keys. Replay lists go on if a key stays, else they start anew; where each source was is remembered as a hint for its ROC. The keys
    /// before are taken for a while yet if it is `the_same_peer` who changes them.
    pub fn rekey(&mut self, now: Time, parameters: &SrtpParameters, the_same_peer: bool) -> Result<(), KeyError> {
        let mut next = Context { keys: KeySet::new(parameters)?, sources: self.present.sources.clone() };
        let shared = next.keys.inherit(&self.present.keys);
        if !shared {
            for source in next.sources.iter_mut() {
                source.rtp.forget();
                source.ahead = 0;
                source.rtcp = ReplayList::default();
            }
            // Back to a key of before: what was heard under it must not be heard again.
            if let Some(former) = self.former.as_deref().filter(|former| former.context.keys.are_among(parameters)) {
                next.go_on_from(&former.context);
            }
        }
        let former = std::mem::replace(&mut self.present, next);
        self.former = (the_same_peer && !shared).then(|| Box::new(Former { context: former, until: now + FORMER }));
        Ok(())
    }

    /// For another stream that the same peer goes on in: the same keys, where its sources are, and what is spent.
    pub fn twin(&self) -> Option<Receiver> {
        let mut keys = KeySet::new(self.parameters()).ok()?;
        keys.inherit(&self.present.keys);
        Some(Receiver { present: Context { keys, sources: self.present.sources.clone() }, former: None })
    }

    /// Goes on where `elder` was, if they have a key in common: a peer that keeps its key in another stream keeps its ROC with it, and what was heard there
    /// must not be heard again. True: they have one.
    pub fn succeed(&mut self, elder: &Receiver) -> bool {
        self.present.go_on_from(&elder.present)
    }

    /// Turns the SRTP packet that fills `packet` into RTP; its new length. `header` is of this packet.
    #[inline]
    pub fn unprotect_rtp(&mut self, now: Time, packet: &mut [u8], header: &Header) -> Result<usize, Refusal> {
        if self.former.is_none() {
            return self.present.unprotect_rtp(now, packet, header, false);
        }
        self.with_either(now, packet, |context, packet| context.unprotect_rtp(now, packet, header, true))
    }

    /// Whether the SRTP packet is authentic and new; it stays as it is.
    pub fn authenticate_rtp(&mut self, now: Time, packet: &mut [u8], header: &Header) -> Result<(), Refusal> {
        if self.former.is_none() {
            return self.present.authenticate_rtp(now, packet, header);
        }
        self.with_either(now, packet, |context, packet| context.authenticate_rtp(now, packet, header).map(|()| 0)).map(drop)
    }

    /// The same of an SRTCP packet. One that is not encrypted is not authentic here: nothing in the clear is to go on.
    pub fn authenticate_rtcp(&mut self, now: Time, packet: &mut [u8]) -> Result<(), Refusal> {
        self.with_either(now, packet, |context, packet| context.authenticate_rtcp(now, packet).map(|()| 0)).map(drop)
    }

    /// `ssrc` has gone on by so many sequence numbers without us.
    pub fn went_past(&mut self, ssrc: u32, by: u32) {
        let sources = &mut self.present.sources;
        if let Some(place) = sources.place(ssrc) {
            let source = sources.at_mut(place);
            source.ahead = source.ahead.max(source.rtp.highest()).saturating_add(u64::from(by)).clamp(0, index::END - 1);
        }
    }

    /// Turns the SRTCP packet that fills `packet` into RTCP; its new length. A packet without the E flag is authenticated only.
    pub fn unprotect_rtcp(&mut self, now: Time, packet: &mut [u8]) -> Result<usize, Refusal> {
        self.with_either(now, packet, |context, packet| context.unprotect_rtcp(now, packet))
    }

    /// Under the present keys, else under the former ones while they hold.
    #[cold]
    fn with_either(&mut self, now: Time, packet: &mut [u8], open: impl Fn(&mut Context, &mut [u8]) -> Result<usize, Refusal>) -> Result<usize, Refusal> {
        let opened = open(&mut self.present, packet);
        let Some(former) = &mut self.former else { return opened };
        if former.until <= now {
            self.former = None;
            return opened;
        }
        match opened {
            Ok(len) => {
                former.until = former.until.min(now + OVERLAP);
                Ok(len)
            }
            Err(refusal) => open(&mut former.context, packet).map_err(|other| if other == Refusal::Replay { other } else { refusal }),
        }
    }
}

impl Context {
    /// Takes over what was heard under keys both have. True: there is one.
    fn go_on_from(&mut self, elder: &Context) -> bool {
        if !self.keys.inherit(&elder.keys) {
            return false;
        }
        for (ssrc, last, theirs) in elder.sources.iter() {
            let place = self.sources.place(ssrc);
            let ours = self.sources.enter(place, ssrc, last).0;
            ours.rtp.merge(&theirs.rtp);
            ours.ahead = ours.ahead.max(theirs.ahead);
            ours.rtcp.merge(&theirs.rtcp);
        }
        true
    }

    /// `careful`: a packet that is refused is left as it was, also with AEAD, so that other keys can be tried on it.
    #[inline]
    fn unprotect_rtp(&mut self, now: Time, packet: &mut [u8], header: &Header, careful: bool) -> Result<usize, Refusal> {
        let suite = self.keys.parameters.suite;
        let end = packet.len().checked_sub(suite.rtp_tag() + self.keys.mki).filter(|end| *end >= header.length).ok_or(Refusal::Short)?;
        let (message, trailer) = packet.split_at_mut(end);
        let place = self.sources.place(header.ssrc);
        let known = place.map(|place| *self.sources.at(place));
        let (key, tag) = self.keys.of_trailer(trailer).ok_or(Refusal::Authentication)?;
        if key.rtp_left == 0 {
            return Err(Refusal::KeySpent);
        }
        let facts = |index| Facts { ssrc: header.ssrc, index, header: header.length };
        let index = match known {
            Some(source) if source.ahead != 0 => guess(&source, header.sequence, |index| key.rtp.is_authentic(facts(index), message, tag))?,
            Some(Source { rtp: list, .. }) if !list.is_empty() => {
                // Nothing lies before ROC 0, so what seems to is far ahead.
                let ahead = || (index::roc(list.highest()) == 0).then_some(u64::from(header.sequence));
                let index = index::estimate(list.highest(), header.sequence).or_else(ahead).ok_or(Refusal::Replay)?;
                if !list.is_fresh(index) {
                    return Err(Refusal::Replay);
                }
                Some(index).filter(|index| !careful || key.rtp.is_authentic(facts(*index), message, tag))
            }
            known => first_indices(known.map(|known| known.rtp), header.sequence)
                .into_iter()
                .flatten()
                .find(|index| key.rtp.is_authentic(facts(*index), message, tag)),
        };
        let index = index.filter(|index| key.rtp.open(facts(*index), message, tag)).ok_or(Refusal::Authentication)?;
        key.rtp_left -= 1;
        self.sources.enter(place, header.ssrc, now).0.heard(index);
        Ok(end)
    }

    /// As [`Context::unprotect_rtp`], but the packet stays as it is.
    fn authenticate_rtp(&mut self, now: Time, packet: &[u8], header: &Header) -> Result<(), Refusal> {
        let suite = self.keys.parameters.suite;
        let end = packet.len().checked_sub(suite.rtp_tag() + self.keys.mki).filter(|end| *end >= header.length).ok_or(Refusal::Short)?;
        let (message, trailer) = packet.split_at(end);
        let place = self.sources.place(header.ssrc);
        let known = place.map(|place| *self.sources.at(place));
        let (key, tag) = self.keys.of_trailer(trailer).ok_or(Refusal::Authentication)?;
        if key.rtp_left == 0 {
            return Err(Refusal::KeySpent);
        }
        let is_authentic = |index| key.rtp.is_authentic(Facts { ssrc: header.ssrc, index, header: header.length }, message, tag);
        let index = match known {
            Some(source) if !source.rtp.is_empty() || source.ahead != 0 => guess(&source, header.sequence, is_authentic)?,
            known => first_indices(known.map(|known| known.rtp), header.sequence).into_iter().flatten().find(|index| is_authentic(*index)),
        };
        let index = index.ok_or(Refusal::Authentication)?;
        key.rtp_left -= 1;
        self.sources.enter(place, header.ssrc, now).0.heard(index);
        Ok(())
    }

    fn authenticate_rtcp(&mut self, now: Time, packet: &[u8]) -> Result<(), Refusal> {
        let layout = RtcpLayout::of(packet.len(), self.keys.parameters.suite, self.keys.mki).ok_or(Refusal::Short)?;
        let ssrc = u32_at(packet, 4);
        let index = u64::from(u32_at(packet, layout.word) & 0x7fff_ffff);
        let mki = packet.get(layout.mki..layout.mki + self.keys.mki).ok_or(Refusal::Short)?;
        let key = self.keys.named(mki).ok_or(Refusal::Authentication)?;
        if key.rtcp_left == 0 {
            return Err(Refusal::KeySpent);
        }
        let place = self.sources.place(ssrc);
        if place.is_some_and(|place| !self.sources.at(place).rtcp.is_fresh(index)) {
            return Err(Refusal::Replay);
        }
        if !key.rtcp.is_authentic(packet, layout) {
            return Err(Refusal::Authentication);
        }
        key.rtcp_left -= 1;
        self.sources.enter(place, ssrc, now).0.rtcp.commit(index);
        Ok(())
    }

    fn unprotect_rtcp(&mut self, now: Time, packet: &mut [u8]) -> Result<usize, Refusal> {
        let layout = RtcpLayout::of(packet.len(), self.keys.parameters.suite, self.keys.mki).ok_or(Refusal::Short)?;
        let ssrc = u32_at(packet, 4);
        let index = u64::from(u32_at(packet, layout.word) & 0x7fff_ffff);
        let mki = packet.get(layout.mki..layout.mki + self.keys.mki).ok_or(Refusal::Short)?;
        let key = self.keys.named(mki).ok_or(Refusal::Authentication)?;
        if key.rtcp_left == 0 {
            return Err(Refusal::KeySpent);
        }
        let place = self.sources.place(ssrc);
        if place.is_some_and(|place| !self.sources.at(place).rtcp.is_fresh(index)) {
            return Err(Refusal::Replay);
        }
        if !key.rtcp.open(packet, layout) {
            return Err(Refusal::Authentication);
        }
        key.rtcp_left -= 1;
        self.sources.enter(place, ssrc, now).0.rtcp.commit(index);
        Ok(layout.end)
    }
}

impl Source {
    /// An authentic packet of this index: now it is known where the source is.
    #[inline]
    fn heard(&mut self, index: u64) {
        self.rtp.commit(index);
        self.ahead = 0;
    }
}

/// Of the places a packet of a known source may have, the new one that proves right.
///
/// Errors: `Replay` if it is new in none of them.
fn guess(source: &Source, sequence: u16, is_authentic: impl Fn(u64) -> bool) -> Result<Option<u64>, Refusal> {
    let mut fresh = source.indices(sequence).into_iter().flatten().filter(|index| source.rtp.is_fresh(*index)).peekable();
    fresh.peek().ok_or(Refusal::Replay)?;
    Ok(fresh.find(|index| is_authentic(*index)))
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
