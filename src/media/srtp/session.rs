//! One master key's session keys at work: a packet sealed or opened under a suite's transform (RFC 3711 §3.1, §3.4 with §4; RFC 7714 §8, §9).
//!
//! | | SRTP | SRTCP |
//! |---|---|---|
//! | AES-CM, HMAC-SHA1 | header, ciphertext, MKI, tag | 8 bytes, ciphertext, E and index, MKI, tag |
//! | AES-GCM | header, ciphertext, tag, MKI | 8 bytes, ciphertext, tag, E and index, MKI |

use std::fmt;

use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::media::packet::u32_at;
use crate::media::srtp::Refusal;
use crate::media::srtp::aead::{self, Aead};
use crate::media::srtp::authentication::Authenticator;
use crate::media::srtp::cipher::{Cipher, apply_once};
use crate::media::srtp::index;
use crate::media::srtp::keys::{Derived, KeyError, SRTCP_INDEX};
use crate::sdp::crypto::Suite;

/// Bytes at the head of an SRTCP packet that are never encrypted: its first header and SSRC.
pub const RTCP_CLEAR: usize = 8;
/// The E flag: the packet is encrypted.
const ENCRYPTED: u32 = 1 << 31;

/// Session keys of SRTP. Nearly all are the larger kind, and want them where the packet finds them without another step.
#[allow(clippy::large_enum_variant)]
pub enum Session {
    Counter { cipher: Cipher, authenticator: Authenticator },
    Aead(Aead),
}

/// What a packet says of itself in clear, and where it stands.
#[derive(Clone, Copy, Debug)]
pub struct Facts {
    pub ssrc: u32,
    pub index: u64,
    /// Bytes of the RTP header with all that belongs to it.
    pub header: usize,
}

impl Session {
    pub fn new(suite: Suite, keys: &Derived) -> Result<Session, KeyError> {
        if suite.is_aead() {
            return Aead::new(keys.encryption(), aead_salt(keys)?).map(Session::Aead);
        }
        Ok(Session::Counter { cipher: Cipher::new(keys.encryption(), &keys.salt)?, authenticator: Authenticator::new(&keys.authentication) })
    }

    /// Parts a trailer: (tag, MKI).
    #[inline]
    pub fn part<'a>(&self, trailer: &'a [u8], mki: usize) -> (&'a [u8], &'a [u8]) {
        match self {
            Session::Counter { .. } => {
                let (mki, tag) = trailer.split_at(mki.min(trailer.len()));
                (tag, mki)
            }
            Session::Aead(_) => trailer.split_at(trailer.len().saturating_sub(mki)),
        }
    }

    /// Encrypts `message` behind its header and writes MKI and tag into `trailer`, which is as long as both.
    #[inline]
    pub fn seal(&self, facts: Facts, message: &mut [u8], trailer: &mut [u8], mki: &[u8]) -> Result<(), Refusal> {
        let Facts { ssrc, index, header } = facts;
        match self {
            Session::Counter { cipher, authenticator } => {
                cipher.apply(ssrc, index, message.get_mut(header..).ok_or(Refusal::Short)?);
                let code = authenticator.code(message, Some(index::roc(index)));
                let (name, tag) = trailer.split_at_mut(mki.len().min(trailer.len()));
                write(name, mki);
                write(tag, &code);
            }
            Session::Aead(aead) => {
                let (header, text) = message.split_at_mut_checked(header).ok_or(Refusal::Short)?;
                let tag = aead.seal(ssrc, index, header, text).ok_or(Refusal::NoRoom)?;
                let (place, name) = trailer.split_at_mut(aead::TAG.min(trailer.len()));
                write(place, &tag);
                write(name, mki);
            }
        }
        Ok(())
    }

    /// Whether `message` and `tag` are of this key and index. Changes nothing.
    #[inline]
    pub fn is_authentic(&self, facts: Facts, message: &[u8], tag: &[u8]) -> bool {
        match self {
            Session::Counter { authenticator, .. } => same(&authenticator.code(message, Some(index::roc(facts.index))), tag),
            Session::Aead(aead) => message.split_at_checked(facts.header).is_some_and(|(header, text)| aead.check(facts.ssrc, facts.index, header, text, tag)),
        }
    }

    /// Decrypts `message` in place if it is authentic. With AEAD one that is not is void afterwards.
    #[inline]
    pub fn open(&self, facts: Facts, message: &mut [u8], tag: &[u8]) -> bool {
        match self {
            Session::Counter { cipher, .. } => {
                let is_authentic = self.is_authentic(facts, message, tag);
                if let (true, Some(text)) = (is_authentic, message.get_mut(facts.header..)) {
                    cipher.apply(facts.ssrc, facts.index, text);
                }
                is_authentic
            }
            Session::Aead(aead) => {
                message.split_at_mut_checked(facts.header).is_some_and(|(header, text)| aead.open(facts.ssrc, facts.index, header, text, tag))
            }
        }
    }
}

/// Session keys of SRTCP.
pub enum RtcpSession {
    /// One packet in five seconds: the key is expanded when it is needed, which makes the context a third smaller.
    Counter(RtcpCounter),
    Aead(Aead),
}

#[derive(Zeroize, ZeroizeOnDrop)]
pub struct RtcpCounter {
    key: [u8; 32],
    #[zeroize(skip)]
    length: usize,
    salt: [u8; 14],
    authenticator: Authenticator,
}

impl RtcpCounter {
    fn apply(&self, ssrc: u32, index: u32, data: &mut [u8]) {
        apply_once(self.key.get(..self.length).unwrap_or_default(), &self.salt, ssrc, u64::from(index), data);
    }
}

/// Where the parts of an SRTCP packet lie.
#[derive(Clone, Copy, Debug)]
pub struct RtcpLayout {
    /// End of the compound.
    pub end: usize,
    /// Where the word of E flag and index stands.
    pub word: usize,
    pub mki: usize,
    pub tag: usize,
}

impl RtcpLayout {
    /// Of a compound of so many bytes.
    pub fn behind(end: usize, suite: Suite, mki: usize) -> RtcpLayout {
        if suite.is_aead() {
            let word = end + suite.rtcp_tag();
            RtcpLayout { end, word, mki: word + SRTCP_INDEX, tag: end }
        } else {
            RtcpLayout { end, word: end, mki: end + SRTCP_INDEX, tag: end + SRTCP_INDEX + mki }
        }
    }

    /// Of an SRTCP packet of so many bytes; `None`: too short for one.
    pub fn of(len: usize, suite: Suite, mki: usize) -> Option<RtcpLayout> {
        let end = len.checked_sub(SRTCP_INDEX + suite.rtcp_tag() + mki).filter(|end| *end >= RTCP_CLEAR)?;
        Some(RtcpLayout::behind(end, suite, mki))
    }
}

impl RtcpSession {
    pub fn new(suite: Suite, keys: &Derived) -> Result<RtcpSession, KeyError> {
        if suite.is_aead() {
            return Aead::new(keys.encryption(), aead_salt(keys)?).map(RtcpSession::Aead);
        }
        let mut key = [0; 32];
        let length = keys.encryption().len();
        key.get_mut(..length).ok_or(KeyError::Length)?.copy_from_slice(keys.encryption());
        let authenticator = Authenticator::new(&keys.authentication);
        let counter = RtcpCounter { key, length, salt: *keys.salt, authenticator };
        key.zeroize();
        Ok(RtcpSession::Counter(counter))
    }

    /// Seals the compound that begins `packet`, which is as long as the whole is to be; `layout` is of it.
    pub fn seal(&self, index: u32, packet: &mut [u8], layout: RtcpLayout, mki: &[u8]) -> Result<(), Refusal> {
        let ssrc = u32_at(packet, 4);
        let word = (ENCRYPTED | index).to_be_bytes();
        write(packet.get_mut(layout.word..layout.word + SRTCP_INDEX).ok_or(Refusal::NoRoom)?, &word);
        write(packet.get_mut(layout.mki..layout.mki + mki.len()).ok_or(Refusal::NoRoom)?, mki);
        match self {
            RtcpSession::Counter(keys) => {
                keys.apply(ssrc, index, packet.get_mut(RTCP_CLEAR..layout.end).ok_or(Refusal::Short)?);
                let code = keys.authenticator.code(packet.get(..layout.mki).ok_or(Refusal::NoRoom)?, None);
                write(packet.get_mut(layout.tag..).ok_or(Refusal::NoRoom)?, &code);
            }
            RtcpSession::Aead(aead) => {
                let associated = associated(packet, word);
                let text = packet.get_mut(RTCP_CLEAR..layout.end).ok_or(Refusal::Short)?;
                let tag = aead.seal(ssrc, u64::from(index), &associated, text).ok_or(Refusal::NoRoom)?;
                write(packet.get_mut(layout.tag..layout.word).ok_or(Refusal::NoRoom)?, &tag);
            }
        }
        Ok(())
    }

    /// Whether the SRTCP packet is of this key, and encrypted. Changes nothing.
    pub fn is_authentic(&self, packet: &[u8], layout: RtcpLayout) -> bool {
        let word = u32_at(packet, layout.word);
        if word & ENCRYPTED == 0 {
            return false;
        }
        match self {
            RtcpSession::Counter(keys) => match (packet.get(..layout.mki), packet.get(layout.tag..)) {
                (Some(signed), Some(tag)) => same(&keys.authenticator.code(signed, None), tag),
                _ => false,
            },
            RtcpSession::Aead(aead) => {
                let (Some(text), Some(tag)) = (packet.get(RTCP_CLEAR..layout.end), packet.get(layout.tag..layout.word)) else { return false };
                aead.check(u32_at(packet, 4), u64::from(word & !ENCRYPTED), &associated(packet, word.to_be_bytes()), text, tag)
            }
        }
    }

    /// Opens the SRTCP packet in place if it is authentic; without its E flag there is nothing to decrypt. It is left as it was if it is not.
    pub fn open(&self, packet: &mut [u8], layout: RtcpLayout) -> bool {
        let (ssrc, word) = (u32_at(packet, 4), u32_at(packet, layout.word));
        let (index, is_encrypted) = (word & !ENCRYPTED, word & ENCRYPTED != 0);
        match self {
            RtcpSession::Counter(keys) => {
                let (Some(signed), Some(tag)) = (packet.get(..layout.mki), packet.get(layout.tag..)) else { return false };
                if !same(&keys.authenticator.code(signed, None), tag) {
                    return false;
                }
                if let (true, Some(text)) = (is_encrypted, packet.get_mut(RTCP_CLEAR..layout.end)) {
                    keys.apply(ssrc, index, text);
                }
                true
            }
            RtcpSession::Aead(aead) => {
                let mut tag = [0; aead::TAG];
                write(&mut tag, packet.get(layout.tag..layout.word).unwrap_or_default());
                let index = u64::from(index);
                if is_encrypted {
                    let associated = associated(packet, word.to_be_bytes());
                    let Some(text) = packet.get_mut(RTCP_CLEAR..layout.end) else { return false };
                    // RTCP is rare: the check that changes nothing comes first.
                    return aead.check(ssrc, index, &associated, text, &tag) && aead.open(ssrc, index, &associated, text, &tag);
                }
                // RFC 7714 §9.3: what is associated is the compound and the word right behind it; the tag stands between.
                let whole = layout.end..layout.end + SRTCP_INDEX;
                write(packet.get_mut(whole.clone()).unwrap_or_default(), &word.to_be_bytes());
                let is_authentic = packet.get(..whole.end).is_some_and(|signed| aead.open(ssrc, index, signed, &mut [], &tag));
                write(packet.get_mut(layout.tag..layout.word).unwrap_or_default(), &tag);
                is_authentic
            }
        }
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").finish_non_exhaustive()
    }
}

impl fmt::Debug for RtcpSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RtcpSession").finish_non_exhaustive()
    }
}

fn aead_salt(keys: &Derived) -> Result<&[u8; 12], KeyError> {
    keys.salt.first_chunk().ok_or(KeyError::Length)
}

/// Of an encrypted SRTCP packet: its first eight bytes and the word of E flag and index (RFC 7714 §9.2).
fn associated(packet: &[u8], word: [u8; SRTCP_INDEX]) -> [u8; RTCP_CLEAR + SRTCP_INDEX] {
    let mut associated = [0; RTCP_CLEAR + SRTCP_INDEX];
    write(&mut associated, packet.get(..RTCP_CLEAR).unwrap_or_default());
    associated[RTCP_CLEAR..].copy_from_slice(&word);
    associated
}

/// Whether `tag` is the beginning of `code`, in constant time.
#[inline]
fn same(code: &[u8; 20], tag: &[u8]) -> bool {
    code.get(..tag.len()).is_some_and(|code| bool::from(code.ct_eq(tag)))
}

/// As much of `bytes` as `place` has room for.
#[inline]
fn write(place: &mut [u8], bytes: &[u8]) {
    place.iter_mut().zip(bytes).for_each(|(place, byte)| *place = *byte);
}

#[cfg(test)]
mod tests;
