//! What a description says of DTLS: the fingerprint of a certificate (RFC 8122 §5), who begins the handshake (RFC 4145 §4), and which association is meant
//! (RFC 8842 §4).

use std::fmt::Write as _;

use super::description::{Attribute, Description};
use super::media::Media;

/// Hash functions a fingerprint may be made with, the weakest first. MD2, MD5 and SHA-1 are not among them: RFC 8122 §5 forbids or advises against them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum HashFunction {
    Sha256,
    Sha384,
    Sha512,
}

impl HashFunction {
    pub const ALL: [HashFunction; 3] = [HashFunction::Sha256, HashFunction::Sha384, HashFunction::Sha512];

    pub const fn name(self) -> &'static str {
        match self {
            HashFunction::Sha256 => "sha-256",
            HashFunction::Sha384 => "sha-384",
            HashFunction::Sha512 => "sha-512",
        }
    }

    /// Bytes.
    pub const fn length(self) -> usize {
        match self {
            HashFunction::Sha256 => 32,
            HashFunction::Sha384 => 48,
            HashFunction::Sha512 => 64,
        }
    }
}

/// One `a=fingerprint` line: a hash of a certificate's DER form.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Fingerprint {
    pub hash: HashFunction,
    /// As long as the hash function says.
    pub digest: Vec<u8>,
}

/// Lines of one description that are read; nobody sends more than one for each hash function.
const MOST: usize = 8;

impl Fingerprint {
    /// The value of the attribute, `sha-256 4A:AD:…`. `None`: unreadable, or a hash function that proves nothing.
    pub fn parse(value: &str) -> Option<Fingerprint> {
        let (name, hex) = value.trim().split_once(' ')?;
        let hash = HashFunction::ALL.into_iter().find(|hash| hash.name().eq_ignore_ascii_case(name))?;
        let byte = |pair: &str| if pair.len() == 2 && pair.bytes().all(|b| b.is_ascii_hexdigit()) { u8::from_str_radix(pair, 16).ok() } else { None };
        let digest: Vec<u8> = hex.trim().split(':').take(HashFunction::Sha512.length() + 1).map(byte).collect::<Option<_>>()?;
        (digest.len() == hash.length()).then_some(Fingerprint { hash, digest })
    }

    /// As written after `a=fingerprint:`.
    pub fn value(&self) -> String {
        let mut text = String::from(self.hash.name());
        for (i, byte) in self.digest.iter().enumerate() {
            let _ = write!(text, "{}{byte:02X}", if i == 0 { ' ' } else { ':' });
        }
        text
    }

    /// Those that hold for `media`: its own, else the session's, each once and in order. Where there are several hash functions only the strongest counts
    /// (RFC 8122 §5), so that a weaker one can never stand in for it.
    pub fn of(description: &Description, media: &Media) -> Vec<Fingerprint> {
        let read = |attributes: &[Attribute]| -> Vec<Fingerprint> {
            attributes.iter().filter(|a| a.is("fingerprint")).take(MOST).filter_map(|a| Fingerprint::parse(a.text()?)).collect()
        };
        let own = read(&media.attributes);
        let mut all = if own.is_empty() { read(&description.attributes) } else { own };
        let strongest = all.iter().map(|fingerprint| fingerprint.hash).max();
        all.retain(|fingerprint| Some(fingerprint.hash) == strongest);
        all.sort_unstable();
        all.dedup();
        all
    }
}

/// `a=setup`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Setup {
    /// Its author begins the handshake: the client.
    Active,
    /// Its author waits for it: the server.
    Passive,
    /// Either; only in an offer.
    ActPass,
    /// Not now.
    HoldConn,
}

impl Setup {
    pub const fn name(self) -> &'static str {
        match self {
            Setup::Active => "active",
            Setup::Passive => "passive",
            Setup::ActPass => "actpass",
            Setup::HoldConn => "holdconn",
        }
    }

    pub fn parse(name: &str) -> Option<Setup> {
        [Setup::Active, Setup::Passive, Setup::ActPass, Setup::HoldConn].into_iter().find(|setup| setup.name().eq_ignore_ascii_case(name.trim()))
    }

    /// That of `media`, else the session's.
    pub fn of(description: &Description, media: &Media) -> Option<Setup> {
        value(description, media, "setup").and_then(Setup::parse)
    }
}

/// `a=tls-id`: another one is another association.
pub fn tls_id<'a>(description: &'a Description, media: &'a Media) -> Option<&'a str> {
    value(description, media, "tls-id").filter(|id| id.len() <= 255)
}

/// The media's own attribute, else the session's.
pub(super) fn value<'a>(description: &'a Description, media: &'a Media, name: &str) -> Option<&'a str> {
    media.attributes.iter().chain(&description.attributes).find(|attribute| attribute.is(name)).and_then(Attribute::text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(hash: HashFunction, fill: u8) -> Fingerprint {
        Fingerprint { hash, digest: vec![fill; hash.length()] }
    }

    fn described(session: &[&Fingerprint], media: &[&Fingerprint]) -> Description {
        let lines = |of: &[&Fingerprint]| of.iter().map(|f| format!("a=fingerprint:{}\r\n", f.value())).collect::<String>();
        let text = format!("v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nt=0 0\r\n{}m=audio 9 UDP/TLS/RTP/SAVP 0\r\n{}", lines(session), lines(media));
        Description::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn a_fingerprint_reads_as_it_is_written() {
        for hash in HashFunction::ALL {
            let fingerprint = line(hash, 0xa7);
            assert_eq!(Fingerprint::parse(&fingerprint.value()), Some(fingerprint.clone()));
            assert_eq!(Fingerprint::parse(&fingerprint.value().to_ascii_lowercase()), Some(fingerprint));
        }
        assert_eq!(line(HashFunction::Sha256, 1).value().len(), "sha-256 ".len() + 32 * 3 - 1);
    }

    #[test]
    fn what_is_short_long_or_weak_is_no_fingerprint() {
        let good = line(HashFunction::Sha256, 1).value();
        for bad in [&good[..good.len() - 3], &format!("{good}:01"), &good.replace("sha-256", "sha-1"), &good.replace("01", "+1"), "sha-256", "", "md5 01"] {
            assert_eq!(Fingerprint::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn only_the_strongest_hash_counts_and_the_medias_own_before_the_sessions() {
        let (weak, strong, other) = (line(HashFunction::Sha256, 1), line(HashFunction::Sha512, 2), line(HashFunction::Sha256, 3));
        let of = |description: &Description| Fingerprint::of(description, &description.media[0]);
        assert_eq!(of(&described(&[&weak, &strong], &[])), vec![strong.clone()]);
        assert_eq!(of(&described(&[&strong], &[&weak, &weak, &other])), vec![weak, other]);
        assert_eq!(of(&described(&[], &[])), Vec::new());
    }

    #[test]
    fn setup_by_its_words() {
        for setup in [Setup::Active, Setup::Passive, Setup::ActPass, Setup::HoldConn] {
            assert_eq!(Setup::parse(setup.name()), Some(setup));
        }
        assert_eq!(Setup::parse("ACTPASS"), Some(Setup::ActPass));
        assert_eq!(Setup::parse("client"), None);
    }
}
