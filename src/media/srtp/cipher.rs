//! AES in counter mode as SRTP uses it (RFC 3711 §4.1.1), with keys of 128, 192 and 256 bits (RFC 6188 §2).

use std::fmt;

use aes::cipher::consts::U16;
use aes::cipher::{BlockCipherEncBackend, BlockCipherEncClosure, BlockCipherEncrypt, BlockSizeUser, KeyInit};
use aes::{Aes128Enc, Aes192Enc, Aes256Enc, Block};
use zeroize::Zeroize;

use crate::media::srtp::keys::KeyError;

/// An expanded key. The longer ones are on the heap, so that they do not make every context as large as theirs.
pub enum Aes {
    Short(Aes128Enc),
    Middle(Box<Aes192Enc>),
    Long(Box<Aes256Enc>),
}

impl Aes {
    /// `key`: 16, 24 or 32 bytes.
    pub fn new(key: &[u8]) -> Result<Aes, KeyError> {
        Ok(match key.len() {
            16 => Aes::Short(Aes128Enc::new_from_slice(key).map_err(|_| KeyError::Length)?),
            24 => Aes::Middle(Box::new(Aes192Enc::new_from_slice(key).map_err(|_| KeyError::Length)?)),
            _ => Aes::Long(Box::new(Aes256Enc::new_from_slice(key).map_err(|_| KeyError::Length)?)),
        })
    }

    pub fn encrypt(&self, block: &mut Block) {
        match self {
            Aes::Short(aes) => aes.encrypt_block(block),
            Aes::Middle(aes) => aes.encrypt_block(block),
            Aes::Long(aes) => aes.encrypt_block(block),
        }
    }
}

/// A session key ready for use, and the session salt already shifted left by 16 bits. Wiped on drop.
pub struct Cipher {
    aes: Aes,
    salt: u128,
}

impl Cipher {
    pub fn new(key: &[u8], salt: &[u8; 14]) -> Result<Cipher, KeyError> {
        Ok(Cipher { aes: Aes::new(key)?, salt: shifted(salt) })
    }

    /// Encrypts or decrypts in place; the same operation. `index`: 48 bits for SRTP, 31 for SRTCP. At most 2^16 blocks.
    #[inline]
    pub fn apply(&self, ssrc: u32, index: u64, data: &mut [u8]) {
        let stream = Keystream { counter: start(self.salt, ssrc, index), data };
        match &self.aes {
            Aes::Short(aes) => aes.encrypt_with_backend(stream),
            Aes::Middle(aes) => aes.encrypt_with_backend(stream),
            Aes::Long(aes) => aes.encrypt_with_backend(stream),
        }
    }
}

/// As [`Cipher::apply`] with a key expanded for this packet alone: slower, and nothing is kept between packets.
pub fn apply_once(key: &[u8], salt: &[u8; 14], ssrc: u32, index: u64, data: &mut [u8]) {
    let stream = Keystream { counter: start(shifted(salt), ssrc, index), data };
    match key.len() {
        16 => Aes128Enc::new_from_slice(key).map(|aes| aes.encrypt_with_backend(stream)),
        24 => Aes192Enc::new_from_slice(key).map(|aes| aes.encrypt_with_backend(stream)),
        _ => Aes256Enc::new_from_slice(key).map(|aes| aes.encrypt_with_backend(stream)),
    }
    .unwrap_or_default();
}

fn shifted(salt: &[u8; 14]) -> u128 {
    let mut shifted = [0; 16];
    shifted[..14].copy_from_slice(salt);
    let salt = u128::from_be_bytes(shifted);
    shifted.zeroize();
    salt
}

/// The initial counter block.
#[inline]
fn start(salt: u128, ssrc: u32, index: u64) -> u128 {
    salt ^ (u128::from(ssrc) << 64) ^ (u128::from(index) << 16)
}

/// Counter mode written out: a voice packet has ten blocks, and the general-purpose wrapper costs more than they do.
struct Keystream<'a> {
    counter: u128,
    data: &'a mut [u8],
}

impl BlockSizeUser for Keystream<'_> {
    type BlockSize = U16;
}

impl BlockCipherEncClosure for Keystream<'_> {
    #[inline(always)]
    fn call<B: BlockCipherEncBackend<BlockSize = U16>>(self, backend: &B) {
        let Keystream { mut counter, data } = self;
        let mut next = || {
            let mut block: Block = counter.to_be_bytes().into();
            backend.encrypt_block((&mut block).into());
            counter = counter.wrapping_add(1);
            block
        };
        let (blocks, rest) = data.as_chunks_mut::<16>();
        for block in blocks {
            *block = (u128::from_ne_bytes(*block) ^ u128::from_ne_bytes(next().into())).to_ne_bytes();
        }
        if !rest.is_empty() {
            rest.iter_mut().zip(next()).for_each(|(byte, key)| *byte ^= key);
        }
    }
}

impl Drop for Cipher {
    fn drop(&mut self) {
        // The expanded keys wipe themselves.
        self.salt.zeroize();
    }
}

impl fmt::Debug for Cipher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cipher").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::srtp::keys::tests::hex;

    /// RFC 3711 appendix B.2: 65,282 blocks of keystream.
    #[test]
    fn appendix_b2() {
        let key: [u8; 16] = hex("2B7E151628AED2A6ABF7158809CF4F3C").try_into().unwrap();
        let salt: [u8; 14] = hex("F0F1F2F3F4F5F6F7F8F9FAFBFCFD").try_into().unwrap();
        let mut stream = vec![0; 1_044_512];
        Cipher::new(&key, &salt).unwrap().apply(0, 0, &mut stream);
        assert_eq!(stream[..48], hex("E03EAD0935C95E80E166B16DD92B4EB4 D23513162B02D0F72A43A2FE4A5F97AB 41E95B3BB0A2E8DD477901E4FCA894C0"));
        assert_eq!(stream[stream.len() - 48..], hex("EC8CDF7398607CB0F2D21675EA9EA1E4 362B7C3C6773516318A077D7FC5073AE 6A2CC3787889374FBEB4C81B17BA6C44"));
    }

    /// RFC 6188 §7.1 and §7.2: AES-256-CM and AES-192-CM.
    #[test]
    fn rfc_6188_key_streams() {
        let long = "57f82fe3613fd170a85ec93c40b1f092 2ec4cb0dc025b58272147cc438944a98";
        let middle = "eab234764e517b2d3d160d587d8c8621 9740f65f99b6bcf7";
        let long_stream = "92bdd28a93c3f52511c677d08b5515a4 9da71b2378a854f67050756ded165bac 63c4868b7096d88421b563b8c94c9a31";
        let middle_stream = "35096cba4610028dc1b57503804ce37c 5de986291dcce161d5165ec4568f5c9a 474a40c77894bc17180202272a4c264d";
        for (key, stream) in [(long, long_stream), (middle, middle_stream)] {
            let salt: [u8; 14] = hex("f0f1f2f3f4f5f6f7f8f9fafbfcfd").try_into().unwrap();
            let mut out = [0; 48];
            Cipher::new(&hex(key), &salt).unwrap().apply(0, 0, &mut out);
            assert_eq!(out.to_vec(), hex(stream));
            let mut once = [0; 48];
            apply_once(&hex(key), &salt, 0, 0, &mut once);
            assert_eq!(once, out);
        }
    }

    #[test]
    fn source_and_index_select_the_keystream() {
        let cipher = Cipher::new(&[7; 16], &[9; 14]).unwrap();
        let stream = |ssrc, index| {
            let mut out = [0; 40];
            cipher.apply(ssrc, index, &mut out);
            out
        };
        assert_ne!(stream(1, 0), stream(0, 0));
        assert_ne!(stream(0, 1), stream(0, 0));
        assert_ne!(stream(0, 1 << 47), stream(0, 0));
        // The index never reaches into the block counter.
        assert_ne!(stream(0, 1)[..16], stream(0, 0)[16..32]);
    }
}
