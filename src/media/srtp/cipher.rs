//! AES in counter mode as SRTP uses it (RFC 3711 §4.1.1).

use std::fmt;

use aes::cipher::consts::U16;
use aes::cipher::{BlockCipherEncBackend, BlockCipherEncClosure, BlockCipherEncrypt, BlockSizeUser, KeyInit};
use aes::{Aes128Enc, Block};
use zeroize::Zeroize;

/// A session key ready for use, and the session salt already shifted left by 16 bits. Wiped on drop.
pub struct Cipher {
    aes: Aes128Enc,
    salt: u128,
}

impl Cipher {
    pub fn new(key: &[u8; 16], salt: &[u8; 14]) -> Cipher {
        let mut shifted = [0; 16];
        shifted[..14].copy_from_slice(salt);
        let cipher = Cipher { aes: Aes128Enc::new(&(*key).into()), salt: u128::from_be_bytes(shifted) };
        shifted.zeroize();
        cipher
    }

    /// Encrypts or decrypts in place; the same operation. `index`: 48 bits for SRTP, 31 for SRTCP. At most 2^16 blocks.
    #[inline]
    pub fn apply(&self, ssrc: u32, index: u64, data: &mut [u8]) {
        let iv = self.salt ^ (u128::from(ssrc) << 64) ^ (u128::from(index) << 16);
        self.aes.encrypt_with_backend(Keystream { counter: iv, data });
    }
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
        // The expanded key wipes itself.
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
        Cipher::new(&key, &salt).apply(0, 0, &mut stream);
        assert_eq!(stream[..48], hex("E03EAD0935C95E80E166B16DD92B4EB4 D23513162B02D0F72A43A2FE4A5F97AB 41E95B3BB0A2E8DD477901E4FCA894C0"));
        assert_eq!(stream[stream.len() - 48..], hex("EC8CDF7398607CB0F2D21675EA9EA1E4 362B7C3C6773516318A077D7FC5073AE 6A2CC3787889374FBEB4C81B17BA6C44"));
    }

    #[test]
    fn source_and_index_select_the_keystream() {
        let cipher = Cipher::new(&[7; 16], &[9; 14]);
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
