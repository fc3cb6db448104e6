//! Everything the border invents: branches (RFC 3261 §8.1.1.7), tags (§19.3), Call-IDs (§8.1.1.4), SDES master keys (RFC 4568 §6.1) and SDP
//! session ids. Randomness comes in once, as a seed; the same seed gives the same names, which is what makes call flows replayable in tests.

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

use crate::sdp::crypto::{MasterKey, Suite};

/// RFC 3261 §8.1.1.7's magic cookie.
pub const COOKIE: &str = "z9hG4bK";

/// Letters and digits only: safe as token, tag, and part of a Call-ID. 32 of them: five bits each.
const ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";

pub struct Mint {
    random: ChaCha20Rng,
    /// In every branch of this process, so that a request of ours that comes back is known (§16.3 step 4).
    own: String,
}

impl Mint {
    /// `seed` is 32 bytes of the operating system's randomness, or a fixed value in tests.
    pub fn new(seed: [u8; 32]) -> Mint {
        let mut mint = Mint { random: ChaCha20Rng::from_seed(seed), own: String::new() };
        mint.own = format!("{COOKIE}p{}.", mint.token(5));
        mint
    }

    /// `letters` × 5 bits of randomness.
    fn token(&mut self, letters: usize) -> String {
        let mut bytes = [0u8; 32];
        let letters = letters.min(bytes.len());
        self.random.fill_bytes(&mut bytes[..letters]);
        bytes[..letters].iter().map(|byte| char::from(ALPHABET[usize::from(byte & 31)])).collect()
    }

    /// 70 bits behind the cookie and the process's own mark.
    pub fn branch(&mut self) -> String {
        let mut branch = self.own.clone();
        branch.push_str(&self.token(14));
        branch
    }

    /// Whether a Via branch is one of this process's.
    pub fn is_ours(&self, branch: &str) -> bool {
        branch.starts_with(&self.own)
    }

    /// 80 bits; §19.3 asks for 32.
    pub fn tag(&mut self) -> String {
        self.token(16)
    }

    /// 120 bits and no host name: a Call-ID must not tell where we are (RFC 5853 §3.1).
    pub fn call_id(&mut self) -> String {
        self.token(24)
    }

    pub fn master_key(&mut self, suite: Suite) -> MasterKey {
        let mut key_and_salt = vec![0; suite.key_length() + suite.salt_length()];
        self.random.fill_bytes(&mut key_and_salt);
        MasterKey { key_and_salt, lifetime: None, mki: None }
    }

    /// Positive and below 2^62, so that every SDP parser takes it and the version can count up.
    pub fn session_id(&mut self) -> u64 {
        (self.random.next_u64() >> 2).max(1)
    }

    /// Uniform below `bound` (zero for a bound of zero); for waiting times and weights, not for secrets.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.random.next_u64().checked_rem(bound).unwrap_or(0)
    }

    /// An initial RSeq: RFC 3262 §3, 1..2^31-1.
    pub fn rseq(&mut self) -> u32 {
        (self.random.next_u32() >> 8).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn same_seed_same_names_and_no_repeats() {
        let (mut one, mut two) = (Mint::new([7; 32]), Mint::new([7; 32]));
        let names: std::collections::HashSet<String> = (0..1000)
            .map(|_| {
                let branch = one.branch();
                assert_eq!(branch, two.branch());
                branch
            })
            .collect();
        assert_eq!(names.len(), 1000);
    }

    #[test]
    fn own_branches_are_known_and_others_are_not() {
        let mut mint = Mint::new([1; 32]);
        let branch = mint.branch();
        assert!(branch.starts_with(COOKIE));
        assert!(mint.is_ours(&branch));
        assert!(!mint.is_ours(&Mint::new([2; 32]).branch()));
    }

    #[test]
    fn master_keys_have_the_suites_length_and_differ() {
        let mut mint = Mint::new([3; 32]);
        for suite in Suite::ALL {
            let (one, two) = (mint.master_key(suite), mint.master_key(suite));
            assert_eq!(one.key_and_salt.len(), suite.key_length() + suite.salt_length());
            assert_ne!(one, two);
        }
    }
}
