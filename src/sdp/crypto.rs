//! Crypto-suites and master keys of SDES (RFC 4568, 6188, 7714), and the `a=crypto` line.

use zeroize::{Zeroize, ZeroizeOnDrop};

/// Crypto-suites by their registered names. Only those `portcullis` can run are here; others in an offer are skipped.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, serde::Serialize, serde::Deserialize)]
pub enum Suite {
    #[serde(rename = "AES_CM_128_HMAC_SHA1_80")]
    AesCm128HmacSha1_80,
    #[serde(rename = "AES_CM_128_HMAC_SHA1_32")]
    AesCm128HmacSha1_32,
}

impl Suite {
    pub const ALL: [Suite; 2] = [Suite::AesCm128HmacSha1_80, Suite::AesCm128HmacSha1_32];

    pub const fn name(self) -> &'static str {
        match self {
            Suite::AesCm128HmacSha1_80 => "AES_CM_128_HMAC_SHA1_80",
            Suite::AesCm128HmacSha1_32 => "AES_CM_128_HMAC_SHA1_32",
        }
    }

    /// Bytes.
    pub const fn key_length(self) -> usize {
        16
    }

    /// Bytes.
    pub const fn salt_length(self) -> usize {
        14
    }
}

/// One inline key of an `a=crypto` line. `Debug` shows no key bits; memory is wiped on drop.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct MasterKey {
    /// Key then salt, as in the inline parameter.
    pub key_and_salt: Vec<u8>,
    /// Packets this key may protect; `None`: the suite's maximum (2^48 SRTP, 2^31 SRTCP).
    pub lifetime: Option<u64>,
    /// The master key identifier as sent in packets, big endian, 1..=128 bytes; `None`: packets carry none.
    pub mki: Option<Vec<u8>>,
}

impl std::fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MasterKey").field("lifetime", &self.lifetime).field("mki", &self.mki).finish_non_exhaustive()
    }
}
