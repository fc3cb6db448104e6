//! Fingerprints of what identifies a transaction: 128 bits of SipHash-2-4 under a key of this process.
//!
//! The table holds fingerprints instead of the strings (branch, sent-by, method; for RFC 2543 six header fields): 16 bytes and no allocation per
//! transaction, and nobody outside can choose strings that collide.

use std::hash::{Hash, Hasher};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fingerprint([u64; 2]);

impl Hash for Fingerprint {
    /// Half of it is hash enough.
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.0[0]);
    }
}

/// Passes a fingerprint's half through.
#[derive(Clone, Copy, Debug, Default)]
pub struct Through(u64);

impl Hasher for Through {
    fn write(&mut self, _: &[u8]) {
        unreachable!("fingerprints write one u64");
    }

    fn write_u64(&mut self, word: u64) {
        self.0 = word;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// Takes strings one after the other; each is ended by its length, so that no two sequences of strings are the same bytes.
#[derive(Clone)]
pub struct Fingerprinter {
    v: [u64; 4],
    tail: [u8; 8],
    tail_len: usize,
    total: u64,
}

impl Fingerprinter {
    pub fn new(key: [u64; 2]) -> Fingerprinter {
        let v = [key[0] ^ 0x736f_6d65_7073_6575, key[1] ^ 0x646f_7261_6e64_6f6d ^ 0xee, key[0] ^ 0x6c79_6765_6e65_7261, key[1] ^ 0x7465_6462_7974_6573];
        Fingerprinter { v, tail: [0; 8], tail_len: 0, total: 0 }
    }

    pub fn with(mut self, text: &[u8]) -> Fingerprinter {
        self.write(text);
        self.write(&(text.len() as u32).to_le_bytes());
        self
    }

    /// ASCII letters count as their lower case (host names).
    pub fn with_folded(mut self, text: &str) -> Fingerprinter {
        for byte in text.bytes() {
            self.write(&[byte.to_ascii_lowercase()]);
        }
        self.write(&(text.len() as u32).to_le_bytes());
        self
    }

    pub fn with_number(mut self, number: u32) -> Fingerprinter {
        self.write(&number.to_le_bytes());
        self
    }

    pub fn finish(mut self) -> Fingerprint {
        self.tail[self.tail_len..].fill(0);
        self.block(u64::from_le_bytes(self.tail) | self.total << 56);
        self.v[2] ^= 0xee;
        self.rounds(4);
        let first = self.v[0] ^ self.v[1] ^ self.v[2] ^ self.v[3];
        self.v[1] ^= 0xdd;
        self.rounds(4);
        Fingerprint([first, self.v[0] ^ self.v[1] ^ self.v[2] ^ self.v[3]])
    }

    fn write(&mut self, mut bytes: &[u8]) {
        self.total = self.total.wrapping_add(bytes.len() as u64);
        while !bytes.is_empty() {
            let take = bytes.len().min(8 - self.tail_len);
            let (now, rest) = bytes.split_at(take);
            self.tail[self.tail_len..self.tail_len + take].copy_from_slice(now);
            self.tail_len += take;
            bytes = rest;
            if self.tail_len == 8 {
                self.tail_len = 0;
                self.block(u64::from_le_bytes(self.tail));
            }
        }
    }

    fn block(&mut self, word: u64) {
        self.v[3] ^= word;
        self.rounds(2);
        self.v[0] ^= word;
    }

    fn rounds(&mut self, count: u32) {
        let [mut v0, mut v1, mut v2, mut v3] = self.v;
        for _ in 0..count {
            v0 = v0.wrapping_add(v1);
            v1 = v1.rotate_left(13) ^ v0;
            v0 = v0.rotate_left(32);
            v2 = v2.wrapping_add(v3);
            v3 = v3.rotate_left(16) ^ v2;
            v0 = v0.wrapping_add(v3);
            v3 = v3.rotate_left(21) ^ v0;
            v2 = v2.wrapping_add(v1);
            v1 = v1.rotate_left(17) ^ v2;
            v2 = v2.rotate_left(32);
        }
        self.v = [v0, v1, v2, v3];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The authors' published vectors: key 00..0f.
    #[test]
    fn is_siphash_2_4_128() {
        let key = [0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908];
        let bytes = |fingerprint: Fingerprint| [fingerprint.0[0].to_le_bytes(), fingerprint.0[1].to_le_bytes()].concat();
        let empty = Fingerprinter::new(key).finish();
        assert_eq!(bytes(empty), [0xa3, 0x81, 0x7f, 0x04, 0xba, 0x25, 0xa8, 0xe6, 0x6d, 0xf6, 0x72, 0x14, 0xc7, 0x55, 0x02, 0x93]);
        let mut one = Fingerprinter::new(key);
        one.write(&[0]);
        assert_eq!(bytes(one.finish()), [0xda, 0x87, 0xc1, 0xd8, 0x6b, 0x99, 0xaf, 0x44, 0x34, 0x76, 0x59, 0x11, 0x9b, 0x22, 0xfc, 0x45]);
    }

    #[test]
    fn strings_do_not_run_together_and_folding_folds() {
        let start = Fingerprinter::new([1, 2]);
        assert_ne!(start.clone().with(b"ab").with(b"c").finish(), start.clone().with(b"a").with(b"bc").finish());
        assert_eq!(start.clone().with_folded("Host.EXAMPLE").finish(), start.clone().with_folded("host.example").finish());
        assert_ne!(start.clone().with(b"A").finish(), start.with(b"a").finish());
    }

    #[test]
    fn the_key_matters() {
        assert_ne!(Fingerprinter::new([1, 2]).with(b"x").finish(), Fingerprinter::new([1, 3]).with(b"x").finish());
    }
}
