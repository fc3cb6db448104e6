//! Digits between a leg that says them by telephone-events (RFC 4733) and one that says them by INFO: what is offered and answered of events on the one,
//! though the other never spoke of them, and what the media plane is told.

use super::SessionMedia;
use super::stream::{Kind, Stream};
use crate::media::control::{Conversion, Side};
use crate::policy::sound::Dtmf;
use crate::sdp::Attribute;
use crate::sdp::rtpmap::{self, RtpMap};

/// The number most have for events, where it is free.
const USUAL: u8 = 101;

/// Clocks of sound that events are offered for; no voice call has more.
const CLOCKS: usize = 3;

impl SessionMedia {
    /// The side whose peer says digits by INFO while the other's says them by telephone-events, as agreed last: digits are converted.
    pub fn digits_by_info(&self) -> Option<Side> {
        [Side::A, Side::B].into_iter().find(|side| self.stream.is_some() && self.conversion(side.other()).is_some())
    }

    /// Whether events are for us alone on `side`: its peer may have them, and the other's says digits by INFO.
    pub(super) fn gains_events(&self, side: Side) -> bool {
        let dtmf = |side: Side| self.leg(side).terms.plan.sound().dtmf;
        (dtmf(side), dtmf(side.other())) == (Dtmf::AsOffered, Dtmf::Info)
    }

    /// What is to be offered on `to` of the other leg's stream.
    pub(super) fn offered(&self, to: Side, stream: &Stream) -> Stream {
        if self.gains_events(to) { stream.clone().with_events() } else { stream.clone() }
    }

    /// Of a side whose telephone-events are converted.
    pub(super) fn conversion(&self, side: Side) -> Option<Conversion> {
        let leg = self.leg(side);
        let peer = leg.peer.as_ref().filter(|peer| self.gains_events(side) && peer.kind == Kind::Audio && !peer.is_off)?;
        let taken: Vec<(u8, u32)> = peer.spelt_out(&leg.said).into_iter().filter(is_event).map(|(number, _, clock)| (number, clock)).collect();
        let told = leg.said.iter().filter(|(_, meaning)| meaning.starts_with("telephone-event/")).map(|(number, _)| *number);
        let heard = told.chain(taken.iter().map(|(number, _)| *number)).fold(0, |bits, number| bits | 1u128 << (number & 0x7f));
        Conversion::of(heard, taken)
    }
}

fn is_event((_, encoding, _): &(u8, String, u32)) -> bool {
    encoding.eq_ignore_ascii_case("telephone-event")
}

impl Stream {
    /// With events for each clock of its sound (RFC 4733 §2.1), under numbers it does not use.
    pub(super) fn with_events(mut self) -> Stream {
        let known = self.spelt_out(&[]);
        if self.kind != Kind::Audio || self.is_off || known.iter().any(is_event) {
            return self;
        }
        let mut clocks: Vec<u32> = Vec::new();
        let voices = self.formats.iter().filter_map(|format| format.parse().ok()).filter_map(rtpmap::fixed).map(|map| (map.is_voice(), map.clock));
        let named = self.maps().filter(|map| rtpmap::fixed(map.payload).is_none()).map(|map| (map.is_voice(), map.clock));
        for (_, clock) in voices.chain(named).filter(|(is_voice, _)| *is_voice) {
            if !clocks.contains(&clock) && clocks.len() < CLOCKS {
                clocks.push(clock);
            }
        }
        for clock in clocks {
            let is_free = |number: &u8| !self.formats.iter().any(|format| format.parse() == Ok(*number));
            let Some(number) = std::iter::once(USUAL).chain(96..=127).find(is_free) else { break };
            self.add_event(number, clock);
        }
        self
    }

    /// An answer with the events of the offer it answers, in the offer's numbers: as many as go with a clock of its sound.
    pub(super) fn with_events_of(mut self, offer: &Stream) -> Stream {
        if self.kind != Kind::Audio || self.is_off || offer.kind != Kind::Audio || self.spelt_out(&[]).iter().any(is_event) {
            return self;
        }
        let voices: Vec<u32> = self.spelt_out(&offer.numbered()).into_iter().map(|(.., clock)| clock).collect();
        let events: Vec<(u8, String, u32)> = offer.spelt_out(&[]).into_iter().filter(is_event).collect();
        let fitting: Vec<_> = events.iter().filter(|(.., clock)| voices.contains(clock)).collect();
        for (number, _, clock) in if fitting.is_empty() { events.iter().collect() } else { fitting } {
            if !self.formats.iter().any(|format| format.parse() == Ok(*number)) {
                self.add_event(*number, *clock);
            }
        }
        self
    }

    fn add_event(&mut self, number: u8, clock: u32) {
        self.formats.push(number.to_string());
        self.attributes.push(Attribute::new("rtpmap", format!("{number} telephone-event/{clock}")));
        self.attributes.push(Attribute::new("fmtp", format!("{number} 0-15")));
    }

    /// Its payload types with encoding and clock, as they are said here or were said under the same number.
    fn spelt_out(&self, said: &[super::codecs::Numbered]) -> Vec<(u8, String, u32)> {
        let texts = self.formats.iter().filter_map(|format| self.understood(format, said));
        texts.filter_map(|text| RtpMap::parse(&text).map(|map| (map.payload, map.encoding.to_owned(), map.clock))).collect()
    }
}
