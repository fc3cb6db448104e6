//! AES in Galois/Counter Mode as SRTP uses it (RFC 7714): one key encrypts and authenticates, in place. There is no key for authentication alone.

use std::fmt;

use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use zeroize::Zeroize;

use crate::media::srtp::keys::KeyError;

/// Bytes of the tag; the shorter ones of early drafts are not registered (RFC 7714 §13.2).
pub const TAG: usize = 16;

/// The longest ciphertext that can be tried without being changed; longer than any datagram the relay takes.
const TRIAL: usize = 2_048;

/// A session key ready for use, with its session salt. The salt is wiped on drop, the key by the library.
pub struct Aead {
    key: LessSafeKey,
    salt: [u8; 12],
}

impl Aead {
    /// `key`: 16 or 32 bytes.
    pub fn new(key: &[u8], salt: &[u8; 12]) -> Result<Aead, KeyError> {
        let algorithm = if key.len() == 16 { &AES_128_GCM } else { &AES_256_GCM };
        let key = UnboundKey::new(algorithm, key).map_err(|_| KeyError::Length)?;
        Ok(Aead { key: LessSafeKey::new(key), salt: *salt })
    }

    /// RFC 7714 §8.1 and §9.1: two zero bytes, the SSRC, and the index in six bytes (ROC and sequence number, or two zeros and the SRTCP index), XOR the salt.
    #[inline]
    fn nonce(&self, ssrc: u32, index: u64) -> Nonce {
        let mut salt = [0; 16];
        salt[4..].copy_from_slice(&self.salt);
        let value = u128::from_be_bytes(salt) ^ (u128::from(ssrc) << 48) ^ u128::from(index);
        let mut nonce = [0; 12];
        nonce.copy_from_slice(&value.to_be_bytes()[4..]);
        Nonce::assume_unique_for_key(nonce)
    }

    /// Encrypts `text` in place; the tag over it and `associated`. `None`: the library would not, and `text` is void.
    #[inline]
    pub fn seal(&self, ssrc: u32, index: u64, associated: &[u8], text: &mut [u8]) -> Option<[u8; TAG]> {
        let tag = self.key.seal_in_place_separate_tag(self.nonce(ssrc, index), Aad::from(associated), text).ok()?;
        tag.as_ref().try_into().ok()
    }

    /// Decrypts `text` in place if the tag is right. If it is not, `text` is zeroed.
    #[inline]
    pub fn open(&self, ssrc: u32, index: u64, associated: &[u8], text: &mut [u8], tag: &[u8]) -> bool {
        self.key.open_in_place_separate_tag(self.nonce(ssrc, index), Aad::from(associated), tag, text).is_ok()
    }

    /// Whether the tag is right; changes nothing. For packets whose index or key is a guess, and for those that go on as they came; dearer than
    /// [`Aead::open`], since the library checks no tag without decrypting: that is done elsewhere, and wiped.
    #[inline(never)]
    pub fn check(&self, ssrc: u32, index: u64, associated: &[u8], text: &[u8], tag: &[u8]) -> bool {
        let mut room = [0; TRIAL];
        let Some(clear) = room.get_mut(..text.len()) else { return false };
        let is_right = self.key.open_separate_gather(self.nonce(ssrc, index), Aad::from(associated), text, tag, clear).is_ok();
        clear.zeroize();
        is_right
    }
}

impl Drop for Aead {
    fn drop(&mut self) {
        self.salt.zeroize();
    }
}

impl fmt::Debug for Aead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Aead").finish_non_exhaustive()
    }
}
