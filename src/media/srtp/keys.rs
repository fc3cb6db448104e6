//! Master keys made ready for packets: session keys, MKI, and what is left of each key's lifetime (RFC 3711 §3.2.2, §8.1, §9.2).

use std::fmt;

use zeroize::Zeroizing;

use crate::media::control::SrtpParameters;
use crate::media::srtp::cipher::Aes;
use crate::media::srtp::index;
use crate::media::srtp::key_derivation::{Label, derive};
use crate::media::srtp::session::{RtcpSession, Session};
use crate::sdp::crypto::{MasterKey, Suite};

/// Keys one set of parameters may hold.
pub const MAX_KEYS: usize = 16;
/// Bytes of the SRTCP index with its E flag.
pub const SRTCP_INDEX: usize = 4;
/// Packets a master key may protect (RFC 3711 §9.2).
const MAX_RTP: u64 = index::END;
const MAX_RTCP: u64 = 1 << 31;

/// Parameters that cannot be set up: the negotiation let something through that it should not have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KeyError {
    /// No key at all, or more than `MAX_KEYS`.
    Count,
    /// Key and salt together are not as long as the suite wants.
    Length,
    /// The keys of what is sent have changed more often than is remembered, so that one coming back would not be known.
    Changes,
    /// Several keys and one without an MKI, MKIs of different lengths, the same MKI twice, or one not of 1 to 128 bytes.
    Mki,
    /// A key that a peer protects by, as one of ours; or one to go on under as it came, for packets that come in.
    Shared,
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            KeyError::Count => "no SRTP master key, or more than 16",
            KeyError::Changes => "more changes of the SRTP key of one stream than are remembered",
            KeyError::Length => "SRTP master key and salt do not have the suite's length",
            KeyError::Mki => "SRTP master key identifiers that do not tell the keys apart",
            KeyError::Shared => "an SRTP master key of a peer where one of ours belongs",
        })
    }
}

impl std::error::Error for KeyError {}

/// One master key's session keys and what it may still be used for.
#[derive(Debug)]
pub struct Key {
    pub rtp: Session,
    pub rtcp: RtcpSession,
    pub rtp_left: u64,
    pub rtcp_left: u64,
}

/// The six derived keys of RFC 3711 §4.3.2, as long as the suite wants them; wiped on drop. A suite with AEAD has no authentication keys.
pub struct Derived {
    encryption: Zeroizing<[u8; 32]>,
    length: usize,
    pub salt: Zeroizing<[u8; 14]>,
    pub authentication: Zeroizing<[u8; 20]>,
}

impl Derived {
    pub fn encryption(&self) -> &[u8] {
        self.encryption.get(..self.length).unwrap_or_default()
    }
}

impl Key {
    fn new(suite: Suite, master: &MasterKey) -> Result<Key, KeyError> {
        let (key, given) = master.key_and_salt.split_at_checked(suite.key_length()).ok_or(KeyError::Length)?;
        let mut salt = Zeroizing::new([0; 14]);
        salt.get_mut(..given.len()).ok_or(KeyError::Length)?.copy_from_slice(given);
        let aes = Aes::new(key)?;
        let derived = |encryption, authentication, salting| {
            let mut keys = Derived { encryption: Zeroizing::default(), length: key.len(), salt: Zeroizing::default(), authentication: Zeroizing::default() };
            derive(&aes, &salt, encryption, keys.encryption.get_mut(..key.len()).unwrap_or_default());
            derive(&aes, &salt, authentication, keys.authentication.as_mut_slice());
            derive(&aes, &salt, salting, keys.salt.get_mut(..given.len()).unwrap_or_default());
            keys
        };
        let lifetime = master.lifetime.unwrap_or(u64::MAX);
        Ok(Key {
            rtp: Session::new(suite, &derived(Label::RtpEncryption, Label::RtpAuthentication, Label::RtpSalt))?,
            rtcp: RtcpSession::new(suite, &derived(Label::RtcpEncryption, Label::RtcpAuthentication, Label::RtcpSalt))?,
            rtp_left: lifetime.min(MAX_RTP),
            rtcp_left: lifetime.min(MAX_RTCP),
        })
    }
}

/// Whether these parameters can be set up.
pub fn check(parameters: &SrtpParameters) -> Result<(), KeyError> {
    let masters = &parameters.keys;
    if masters.is_empty() || masters.len() > MAX_KEYS {
        return Err(KeyError::Count);
    }
    let mki = mki_length(parameters);
    for (n, master) in masters.iter().enumerate() {
        if master.key_and_salt.len() != parameters.suite.key_length() + parameters.suite.salt_length() {
            return Err(KeyError::Length);
        }
        let own = master.mki.as_ref().map_or(0, Vec::len);
        let twin = masters.iter().skip(n + 1).any(|other| other.mki == master.mki);
        let empty = master.mki.as_ref().is_some_and(Vec::is_empty);
        if own != mki || own > 128 || twin || empty {
            return Err(KeyError::Mki);
        }
    }
    Ok(())
}

/// Bytes; 0: none.
fn mki_length(parameters: &SrtpParameters) -> usize {
    parameters.keys.first().and_then(|key| key.mki.as_ref()).map_or(0, Vec::len)
}

/// The keys of one direction, in the order negotiated, with the parameters they were made from.
#[derive(Debug)]
pub struct KeySet {
    pub parameters: SrtpParameters,
    keys: Box<[Key]>,
    /// Bytes of MKI in every packet; 0: none.
    pub mki: usize,
}

impl KeySet {
    pub fn new(parameters: &SrtpParameters) -> Result<KeySet, KeyError> {
        check(parameters)?;
        let keys = parameters.keys.iter().map(|master| Key::new(parameters.suite, master)).collect::<Result<_, _>>()?;
        Ok(KeySet { parameters: parameters.clone(), keys, mki: mki_length(parameters) })
    }

    /// The key a received packet names.
    #[inline]
    pub fn named(&mut self, mki: &[u8]) -> Option<&mut Key> {
        if self.mki == 0 {
            return self.keys.first_mut();
        }
        let at = self.parameters.keys.iter().position(|key| key.mki.as_deref() == Some(mki))?;
        self.keys.get_mut(at)
    }

    /// The key a received SRTP packet's trailer names, and the tag in it.
    #[inline]
    pub fn of_trailer<'a>(&mut self, trailer: &'a [u8]) -> Option<(&mut Key, &'a [u8])> {
        let (tag, mki) = self.keys.first()?.rtp.part(trailer, self.mki);
        self.named(mki).map(|key| (key, tag))
    }

    /// The first key that `may` still be used, and its MKI (empty: none).
    #[inline]
    pub fn first(&mut self, may: impl Fn(&Key) -> bool) -> Option<(&mut Key, &[u8])> {
        if self.mki == 0 {
            return self.keys.first_mut().filter(|key| may(key)).map(|key| (key, &[][..]));
        }
        let at = self.keys.iter().position(may)?;
        let mki = self.parameters.keys.get(at).and_then(|key| key.mki.as_deref()).unwrap_or_default();
        self.keys.get_mut(at).map(|key| (key, mki))
    }

    /// Whether each of these keys is one of `others`.
    pub fn are_among(&self, others: &SrtpParameters) -> bool {
        let is_known = |key: &MasterKey| others.keys.iter().any(|other| other.key_and_salt == key.key_and_salt);
        self.parameters.keys.iter().all(is_known)
    }

    /// Takes over what `former` has used up of the keys both have. True if there is one: then indices must go on, or a keystream would be used twice.
    pub fn inherit(&mut self, former: &KeySet) -> bool {
        let mut shared = false;
        for (key, master) in self.keys.iter_mut().zip(&self.parameters.keys) {
            for (old, old_master) in former.keys.iter().zip(&former.parameters.keys) {
                if old_master.key_and_salt == master.key_and_salt {
                    shared = true;
                    let used = |left: u64, most: u64| old_master.lifetime.unwrap_or(u64::MAX).min(most) - left;
                    key.rtp_left = key.rtp_left.saturating_sub(used(old.rtp_left, MAX_RTP));
                    key.rtcp_left = key.rtcp_left.saturating_sub(used(old.rtcp_left, MAX_RTCP));
                }
            }
        }
        shared
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn hex(text: &str) -> Vec<u8> {
        let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
        digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
    }

    fn master(fill: u8, mki: Option<&[u8]>) -> MasterKey {
        MasterKey { key_and_salt: vec![fill; 30], lifetime: None, mki: mki.map(<[u8]>::to_vec) }
    }

    fn set(keys: Vec<MasterKey>) -> Result<KeySet, KeyError> {
        KeySet::new(&SrtpParameters { suite: Suite::AesCm128HmacSha1_80, keys })
    }

    #[test]
    fn parameters_that_cannot_work_are_refused() {
        assert_eq!(set(vec![]).unwrap_err(), KeyError::Count);
        assert_eq!(set((0..17).map(|n| master(n, Some(&[n]))).collect()).unwrap_err(), KeyError::Count);
        let mut short = master(1, None);
        short.key_and_salt.pop();
        assert_eq!(set(vec![short]).unwrap_err(), KeyError::Length);
        assert_eq!(set(vec![master(1, None), master(2, None)]).unwrap_err(), KeyError::Mki);
        assert_eq!(set(vec![master(1, Some(&[1])), master(2, None)]).unwrap_err(), KeyError::Mki);
        assert_eq!(set(vec![master(1, Some(&[1])), master(2, Some(&[1]))]).unwrap_err(), KeyError::Mki);
        assert_eq!(set(vec![master(1, Some(&[1])), master(2, Some(&[0, 2]))]).unwrap_err(), KeyError::Mki);
        assert_eq!(set(vec![master(1, Some(&[]))]).unwrap_err(), KeyError::Mki);
        assert_eq!(set(vec![master(1, Some(&[0; 129]))]).unwrap_err(), KeyError::Mki);
        assert_eq!(set(vec![master(1, Some(&[1])), master(2, Some(&[2]))]).unwrap().mki, 1);
    }

    #[test]
    fn nothing_prints_a_key() {
        let text = format!("{:?}", set(vec![master(0xab, Some(&[1]))]).unwrap());
        assert!(!text.contains("171") && !text.to_lowercase().contains("abab"), "{text}");
    }
}
