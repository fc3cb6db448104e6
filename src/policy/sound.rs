//! What may be said of sound towards a peer: which codecs and in which order (RFC 3264 §5.1), whether comfort noise is among them (RFC 3389), and how it
//! says digits (RFC 4733, or INFO: RFC 2976, RFC 6086).
//!
//! Nothing is transcoded: what a policy takes out of an offer is not there for the other side to choose, and a call whose sides are left without a common
//! codec is refused.

use std::sync::Arc;

use crate::sdp::rtpmap::RtpMap;

/// A codec as an operator names it: `PCMA`, or with its clock `opus/48000`.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Codec {
    /// Compared without regard to letter case.
    pub encoding: Arc<str>,
    /// Hz as in `a=rtpmap`; `None`: any.
    pub clock: Option<u32>,
}

impl Codec {
    /// `None`: it is no codec's name.
    pub fn parse(text: &str) -> Option<Codec> {
        let (encoding, clock) = match text.split_once('/') {
            None => (text, None),
            Some((encoding, clock)) => (encoding, Some(clock.parse().ok().filter(|clock| *clock > 0)?)),
        };
        let is_token = !encoding.is_empty() && encoding.len() <= 32 && encoding.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'));
        is_token.then(|| Codec { encoding: encoding.into(), clock })
    }

    fn is(&self, map: &RtpMap<'_>) -> bool {
        self.encoding.eq_ignore_ascii_case(map.encoding) && self.clock.is_none_or(|clock| clock == map.clock)
    }
}

/// How a peer says and hears digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Dtmf {
    /// As the two sides of a call agree: telephone-events if both have them; INFO crosses as it is.
    #[default]
    AsOffered,
    /// By INFO alone: it is offered no telephone-events, and where the other side has them they are converted.
    Info,
}

impl Dtmf {
    pub const fn name(self) -> &'static str {
        match self {
            Dtmf::AsOffered => "as-offered",
            Dtmf::Info => "info",
        }
    }
}

/// One peer's wishes.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Sound {
    /// The codecs that cross to and from the peer, best first; empty: all of them, in the order they were offered.
    pub codecs: Vec<Codec>,
    /// Comfort noise may be agreed upon with the peer.
    pub comfort_noise: bool,
    pub dtmf: Dtmf,
}

impl Default for Sound {
    fn default() -> Sound {
        Sound { codecs: Vec::new(), comfort_noise: true, dtmf: Dtmf::default() }
    }
}

/// A codec's place in an offer to the peer; the lowest first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Rank(usize);

impl Sound {
    /// Where a payload type stands, `None`: it does not cross. `map`: what its number means, if anything says so. Telephone-events are no codec: they cross
    /// whatever codecs do, unless the peer says digits otherwise.
    pub fn rank(&self, map: Option<&RtpMap<'_>>) -> Option<Rank> {
        // Behind what the list orders; where there is none, where it was.
        let last = Rank(self.codecs.len());
        match map {
            Some(map) if map.encoding.eq_ignore_ascii_case("CN") => self.comfort_noise.then_some(last),
            Some(map) if map.encoding.eq_ignore_ascii_case("telephone-event") => (self.dtmf == Dtmf::AsOffered).then_some(last),
            _ if self.codecs.is_empty() => Some(Rank(0)),
            Some(map) => self.codecs.iter().position(|codec| codec.is(map)).map(Rank),
            None => None,
        }
    }

    /// As it stands in a sentence: `PCMA, opus/48000`, or `any codec`.
    pub fn words(&self) -> String {
        let word = |codec: &Codec| codec.clock.map_or_else(|| codec.encoding.to_string(), |clock| format!("{}/{clock}", codec.encoding));
        let words: Vec<String> = self.codecs.iter().map(word).collect();
        if words.is_empty() { String::from("any codec") } else { words.join(", ") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_codecs() {
        assert_eq!(Codec::parse("PCMA"), Some(Codec { encoding: "PCMA".into(), clock: None }));
        assert_eq!(Codec::parse("opus/48000"), Some(Codec { encoding: "opus".into(), clock: Some(48_000) }));
        for broken in ["", "/8000", "PCMA/", "PCMA/0", "PCMA/x", "a b", "PCMA/8000/1", "PCM\u{e9}"] {
            assert_eq!(Codec::parse(broken), None, "{broken}");
        }
    }

    #[test]
    fn a_list_filters_and_orders_and_leaves_events() {
        let map = |text: &'static str| RtpMap::parse(text).unwrap();
        let all = Sound::default();
        assert!(all.rank(Some(&map("18 G729/8000"))) == all.rank(None) && all.rank(Some(&map("13 CN/8000"))).is_some());
        let codecs = ["pcma", "opus/48000"].map(|name| Codec::parse(name).unwrap()).to_vec();
        let some = Sound { codecs, comfort_noise: false, ..Sound::default() };
        assert!(some.rank(Some(&map("8 PCMA/8000"))) < some.rank(Some(&map("96 opus/48000/2"))));
        assert!(some.rank(Some(&map("96 opus/48000/2"))) < some.rank(Some(&map("101 telephone-event/8000"))));
        for refused in ["0 PCMU/8000", "97 opus/16000", "13 CN/8000"] {
            assert_eq!(some.rank(Some(&map(refused))), None, "{refused}");
        }
        let info = Sound { dtmf: Dtmf::Info, ..Sound::default() };
        assert_eq!((info.rank(Some(&map("101 telephone-event/8000"))), info.rank(Some(&map("8 PCMA/8000"))).is_some()), (None, true));
        assert_eq!((some.rank(None), some.words()), (None, String::from("pcma, opus/48000")));
    }
}
