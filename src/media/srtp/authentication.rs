//! HMAC-SHA1 (RFC 2104) over packets (RFC 3711 §4.2.1), from midstates: the two key blocks are compressed once per session key, not once per packet.

use sha1::block_api::compress;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// FIPS 180-4 §5.3.1.
const INITIAL: [u32; 5] = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476, 0xc3d2_e1f0];

/// SHA-1 states after the inner and the outer key block. As good as the key itself, so wiped on drop.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct Authenticator {
    inner: [u32; 5],
    outer: [u32; 5],
}

impl Authenticator {
    pub fn new(key: &[u8; 20]) -> Authenticator {
        let midstate = |pad: u8| {
            let mut block = [pad; 64];
            block.iter_mut().zip(key).for_each(|(byte, key)| *byte ^= key);
            let mut state = INITIAL;
            compress(&mut state, &[block]);
            block.zeroize();
            state
        };
        Authenticator { inner: midstate(0x36), outer: midstate(0x5c) }
    }

    /// The whole 160-bit code over `message`, followed by `suffix` (the ROC of SRTP) if there is one.
    #[inline]
    pub fn code(&self, message: &[u8], suffix: Option<u32>) -> [u8; 20] {
        let mut state = self.inner;
        let (blocks, rest) = message.as_chunks::<64>();
        compress(&mut state, blocks);
        // At most 63 bytes, the suffix, the 0x80 mark and the length: never more than two blocks.
        let mut tail = [[0; 64]; 2];
        let flat = tail.as_flattened_mut();
        flat[..rest.len()].copy_from_slice(rest);
        let mut at = rest.len();
        if let Some(suffix) = suffix {
            flat[at..at + 4].copy_from_slice(&suffix.to_be_bytes());
            at += 4;
        }
        flat[at] = 0x80;
        let used = if at < 56 { 1 } else { 2 };
        let bits = 8 * (64 + blocks.len() * 64 + at) as u64;
        flat[used * 64 - 8..used * 64].copy_from_slice(&bits.to_be_bytes());
        compress(&mut state, &tail[..used]);
        self.finish(&state)
    }

    #[inline]
    fn finish(&self, inner: &[u32; 5]) -> [u8; 20] {
        let mut block = [0; 64];
        bytes(inner, &mut block);
        block[20] = 0x80;
        block[56..].copy_from_slice(&(8 * (64 + 20) as u64).to_be_bytes());
        let mut state = self.outer;
        compress(&mut state, &[block]);
        let mut code = [0; 20];
        bytes(&state, &mut code);
        code
    }
}

#[inline]
fn bytes(state: &[u32; 5], out: &mut [u8]) {
    out.chunks_exact_mut(4).zip(state).for_each(|(out, word)| out.copy_from_slice(&word.to_be_bytes()));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::srtp::keys::tests::hex;

    /// RFC 2202 §3, case 1: the one with a key of SRTP's length.
    #[test]
    fn rfc_2202() {
        let code = Authenticator::new(&[0x0b; 20]).code(b"Hi There", None);
        assert_eq!(code.to_vec(), hex("b617318655057264e28bc0b6fb378c8ef146be00"));
        let code = Authenticator::new(&[0xaa; 20]).code(&[0xdd; 50], None);
        assert_eq!(code.to_vec(), hex("125d7342b9ac11cd91a39af48aa17b4f63f175d3"));
    }

    #[test]
    fn the_suffix_is_four_more_bytes_at_every_length() {
        let authenticator = Authenticator::new(b"an authentic key....");
        for length in 0..300 {
            let mut message: Vec<u8> = (0..length).map(|n| n as u8).collect();
            let code = authenticator.code(&message, Some(0x0102_0304));
            message.extend_from_slice(&[1, 2, 3, 4]);
            assert_eq!(code, authenticator.code(&message, None), "{length}");
        }
    }
}
