//! Payload types from leg to leg: which may cross, and under which numbers (RFC 3264 §5.1, §6.1, §8.3.2).
//!
//! Each leg has numbers of its own. An answer speaks in the numbers of its offer, and a later offer in those that leg has heard before: a number never
//! comes to mean another codec (RFC 3264 §8.3.2), whoever is on the other leg by then. Where the two legs' numbers differ the relay puts one for the other.

use super::stream::{Kind, Stream};
use crate::media::control::Payloads;
use crate::policy::sound::Sound;
use crate::policy::verdict::Reason;
use crate::sdp::rtpmap::{self, RtpMap};
use crate::sdp::{Attribute, Text};

/// A payload type and what it means: `pcma/8000/1`, or the bare number where nothing says; with what else settles how its bits lie: `amr/8000/1 octet-align=1`.
pub(super) type Numbered = (u8, String);

/// Parameters that change the bits of a codec, with their values when they are left out: AMR (RFC 4867 §8.1), iLBC (RFC 3952 §4.1), G.722.1 (RFC 5577
/// §4.1). Others only wish for something, or say what is taken: AMR's mode-set, G.729's annexb, all of Opus.
const BITS: [(&str, &str, &str); 10] = [
    ("amr", "octet-align", "0"),
    ("amr", "crc", "0"),
    ("amr", "robust-sorting", "0"),
    ("amr", "interleaving", ""),
    ("amr-wb", "octet-align", "0"),
    ("amr-wb", "crc", "0"),
    ("amr-wb", "robust-sorting", "0"),
    ("amr-wb", "interleaving", ""),
    ("ilbc", "mode", "30"),
    ("g7221", "bitrate", ""),
];

/// CN at 8 kHz (RFC 3551 §6, RFC 3389 §4).
const COMFORT_NOISE: u8 = 13;

/// Numbers for codecs that have none of their own (RFC 3551 §3).
const DYNAMIC: std::ops::RangeInclusive<u8> = 96..=127;

impl Stream {
    /// Every payload type of sound with its meaning, in order.
    pub fn numbered(&self) -> Vec<Numbered> {
        match self.kind {
            Kind::Audio if !self.is_off => self.formats.iter().filter_map(|format| self.meaning(format)).collect(),
            Kind::Audio | Kind::Fax => Vec::new(),
        }
    }

    /// With what a peer of these wishes may be offered, or may have offered, in its order. `said`: what we told it, which an answer need not spell out again.
    ///
    /// Errors: `CodecRefused` if nothing is left that a person could hear.
    pub fn permitted(mut self, sound: &Sound, said: &[Numbered]) -> Result<Stream, Reason> {
        if self.kind != Kind::Audio || self.is_off {
            return Ok(self);
        }
        let understood: Vec<(String, Option<String>)> = self.formats.iter().map(|format| (format.clone(), self.understood(format, said))).collect();
        let map = |text: &'_ Option<String>| text.as_deref().and_then(RtpMap::parse).map(|map| (sound.rank(Some(&map)), map.is_voice()));
        let mut ranked: Vec<_> = understood.into_iter().map(|(format, text)| (map(&text).unwrap_or_else(|| (sound.rank(None), true)), format)).collect();
        ranked.retain(|((rank, _), _)| rank.is_some());
        if !ranked.iter().any(|((_, is_voice), _)| *is_voice) && (!sound.codecs.is_empty() || ranked.is_empty()) {
            return Err(Reason::CodecRefused);
        }
        ranked.sort_by_key(|((rank, _), _)| *rank);
        self.formats = ranked.into_iter().map(|(_, format)| format).collect();
        self.forget_others();
        Ok(self)
    }

    /// What a format means, as in `a=rtpmap`: as it is said here, or was said to the peer under the same number.
    pub(super) fn understood(&self, format: &str, said: &[Numbered]) -> Option<String> {
        let number = format.parse::<u8>().ok()?;
        let (_, meaning) =
            self.meaning(format).filter(|(_, meaning)| is_spelt_out(meaning)).or_else(|| said.iter().find(|known| known.0 == number).cloned())?;
        Some(format!("{number} {meaning}"))
    }

    /// The same in the numbers of an offer: what was not offered is left out, and if that is all, everything stays as it was said.
    pub fn answering(self, offer: &Stream) -> Stream {
        let mut offered = offer.numbered();
        if offered.is_empty() || self.kind != offer.kind {
            return self;
        }
        let mut pairs: Vec<(u8, u8)> = Vec::new();
        for (number, meaning) in &self.numbered() {
            if let Some(place) = place(&offered, *number, meaning) {
                pairs.push((*number, offered.remove(place).0));
            }
        }
        if pairs.is_empty() { self } else { self.renumbered(&pairs) }
    }

    /// The same in numbers that mean the same, or nothing, among `known`: what a leg has heard or said before.
    pub fn offering(self, known: &[Numbered]) -> Stream {
        let (mut known, mut taken) = (known.to_vec(), [false; 128]);
        known.iter().for_each(|(number, _)| taken[usize::from(*number & 0x7f)] = true);
        let mut pairs: Vec<(u8, u8)> = Vec::new();
        for (number, meaning) in self.numbered() {
            let chosen = match place(&known, number, &meaning) {
                Some(place) => Some(known.remove(place).0),
                None => std::iter::once(number).chain(DYNAMIC).find(|free| !taken[usize::from(*free & 0x7f)]),
            };
            if let Some(chosen) = chosen {
                taken[usize::from(chosen & 0x7f)] = true;
                pairs.push((number, chosen));
            }
        }
        self.renumbered(&pairs)
    }

    fn renumbered(mut self, pairs: &[(u8, u8)]) -> Stream {
        if self.kind != Kind::Audio || self.is_off || pairs.is_empty() {
            return self;
        }
        let changes = pairs.iter().any(|(from, to)| from != to);
        let numbers: Vec<(String, String)> = pairs.iter().map(|(from, to)| (from.to_string(), to.to_string())).collect();
        // Redundancy names other payload types in its parameters (RFC 2198 §5): where numbers change it would name wrong ones.
        let refers = |format: &String| changes && self.map(format).is_some_and(|map| ["red", "rtx"].iter().any(|name| map.encoding.eq_ignore_ascii_case(name)));
        let kept: Vec<String> = self.formats.iter().filter(|format| numbers.iter().any(|(from, _)| from == *format) && !refers(format)).cloned().collect();
        if kept.is_empty() {
            return self;
        }
        self.formats = kept;
        self.forget_others();
        let new = |old: &str| numbers.iter().find(|(from, _)| from == old).map(|(_, to)| to.clone());
        self.formats = self.formats.iter().filter_map(|format| new(format)).collect();
        for attribute in self.attributes.iter_mut().filter(|attribute| is_of_a_format(attribute)) {
            let Some((format, rest)) = attribute.text().and_then(|text| text.trim_start().split_once([' ', '\t'])) else { continue };
            if let Some(number) = new(format) {
                attribute.value = Some(Text::from(format!("{number} {rest}")));
            }
        }
        self
    }

    /// Drops what is said of formats that are no longer there.
    fn forget_others(&mut self) {
        let formats = &self.formats;
        let names_one = |attribute: &Attribute| {
            let named = attribute.text().and_then(|text| text.split_ascii_whitespace().next());
            named.is_some_and(|named| formats.iter().any(|format| format == named))
        };
        self.attributes.retain(|attribute| !is_of_a_format(attribute) || names_one(attribute));
    }

    fn meaning(&self, format: &str) -> Option<Numbered> {
        let number = format.parse().ok().filter(|number| *number < 128)?;
        let word = |map: RtpMap<'_>| {
            let encoding = map.encoding.to_ascii_lowercase();
            let bits: String = BITS.iter().filter(|(of, ..)| *of == encoding).filter_map(|bits| self.parameter(format, bits)).collect();
            format!("{encoding}/{}/{}{bits}", map.clock, map.channels.unwrap_or(1))
        };
        Some((number, self.map(format).map_or_else(|| format!("{number}"), word)))
    }

    /// ` octet-align=1`, where a format's parameters say other than what is meant without.
    fn parameter(&self, format: &str, (_, name, otherwise): &(&str, &str, &str)) -> Option<String> {
        let lines = self.attributes.iter().filter(|attribute| attribute.is("fmtp")).filter_map(|attribute| attribute.text());
        let mut of_it = lines.filter_map(|text| text.trim_start().split_once([' ', '\t'])).filter(|(named, _)| *named == format);
        let parameters = of_it.next()?.1.split(';').filter_map(|parameter| parameter.split_once('='));
        let value = parameters.map(|(key, value)| (key.trim(), value.trim())).find(|(key, _)| key.eq_ignore_ascii_case(name))?.1;
        (value != *otherwise).then(|| format!(" {name}={}", value.to_ascii_lowercase()))
    }

    fn map(&self, format: &str) -> Option<RtpMap<'_>> {
        // A number of RFC 3551's means what it means, however its map is spelt: G729a, G722/16000.
        let payload = format.parse().ok()?;
        rtpmap::fixed(payload).or_else(|| self.maps().find(|map| map.payload == payload))
    }
}

/// Where a payload type stands among others: under the same number if that means the same (or one of the two does not say what it means), else by meaning,
/// else under the same number if one of the two leaves the parameters out, as some answers do.
fn place(among: &[Numbered], number: u8, meaning: &str) -> Option<usize> {
    let same =
        |known: &Numbered| known.1 == meaning || !is_spelt_out(&known.1) || !is_spelt_out(meaning) || but_for_channels(&known.1) == but_for_channels(meaning);
    let loose = |known: &Numbered| {
        let ((one, its), (other, others)) = (but_for_channels(&known.1), but_for_channels(meaning));
        one == other && (its.is_none() || others.is_none())
    };
    among
        .iter()
        .position(|known| known.0 == number && same(known))
        .or_else(|| among.iter().position(|known| known.1 == meaning))
        .or_else(|| among.iter().position(|known| known.0 == number && loose(known)))
}

/// Encoding and clock, and the parameters that change its bits. Channels are often left out: `opus/48000` for `opus/48000/2`.
fn but_for_channels(meaning: &str) -> (&str, Option<&str>) {
    let (codec, bits) = meaning.split_once(' ').map_or((meaning, None), |(codec, bits)| (codec, Some(bits)));
    (codec.rsplit_once('/').map_or(codec, |(rest, _)| rest), bits)
}

fn is_spelt_out(meaning: &str) -> bool {
    meaning.contains('/')
}

fn is_of_a_format(attribute: &Attribute) -> bool {
    attribute.is("rtpmap") || attribute.is("fmtp")
}

/// What a leg's peer may send and under which number it reaches the other's: `said` is what we told the peer, `heard` what it told us (whoever sends in its
/// own numbers is understood as well), `taken` what the other leg's peer takes.
///
/// Comfort noise under its static number (RFC 3551 §6) and telephone-events are often sent by who never named them. Where the other side takes them they
/// cross: the one as what 13 means anywhere, unless the peer is to have none, the others under the other side's number if that means nothing else here
/// and the peer has none of its own.
pub(super) fn payloads(said: &[Numbered], heard: &[Numbered], taken: &[Numbered], comfort_noise: bool) -> Payloads {
    if taken.is_empty() || said.is_empty() {
        return Payloads::default();
    }
    let mut pairs = Vec::new();
    for side in [said, heard] {
        let mut left = taken.to_vec();
        for (number, meaning) in side {
            if let Some(place) = place(&left, *number, meaning) {
                pairs.push((*number, left.remove(place).0));
            }
        }
    }
    let is_free = |number: u8| said.iter().chain(heard).all(|(known, _)| *known != number);
    for (number, meaning) in taken {
        match meaning.split('/').next() {
            Some("cn") if comfort_noise && meaning.starts_with("cn/8000/") => pairs.push((COMFORT_NOISE, *number)),
            Some("telephone-event") if is_free(*number) && pairs.iter().all(|(_, to)| to != number) => pairs.push((*number, *number)),
            _ => {}
        }
    }
    Payloads::of(pairs)
}
