//! Crypto-suites and master keys of SDES (RFC 4568, 6188, 7714), and the `a=crypto` line.

use base64::Engine;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use zeroize::{Zeroize, ZeroizeOnDrop};

/// Crypto-suites by their registered names: RFC 4568 §6.2, RFC 6188 §4, RFC 7714 §14.2. Only those `portcullis` can run are here; others in an offer are
/// skipped.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, serde::Serialize, serde::Deserialize)]
pub enum Suite {
    #[serde(rename = "AES_CM_128_HMAC_SHA1_80")]
    AesCm128HmacSha1_80,
    #[serde(rename = "AES_CM_128_HMAC_SHA1_32")]
    AesCm128HmacSha1_32,
    #[serde(rename = "AES_192_CM_HMAC_SHA1_80")]
    Aes192CmHmacSha1_80,
    #[serde(rename = "AES_192_CM_HMAC_SHA1_32")]
    Aes192CmHmacSha1_32,
    #[serde(rename = "AES_256_CM_HMAC_SHA1_80")]
    Aes256CmHmacSha1_80,
    #[serde(rename = "AES_256_CM_HMAC_SHA1_32")]
    Aes256CmHmacSha1_32,
    #[serde(rename = "AEAD_AES_128_GCM")]
    AeadAes128Gcm,
    #[serde(rename = "AEAD_AES_256_GCM")]
    AeadAes256Gcm,
}

impl Suite {
    pub const ALL: [Suite; 8] = [
        Suite::AesCm128HmacSha1_80,
        Suite::AesCm128HmacSha1_32,
        Suite::Aes192CmHmacSha1_80,
        Suite::Aes192CmHmacSha1_32,
        Suite::Aes256CmHmacSha1_80,
        Suite::Aes256CmHmacSha1_32,
        Suite::AeadAes128Gcm,
        Suite::AeadAes256Gcm,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Suite::AesCm128HmacSha1_80 => "AES_CM_128_HMAC_SHA1_80",
            Suite::AesCm128HmacSha1_32 => "AES_CM_128_HMAC_SHA1_32",
            Suite::Aes192CmHmacSha1_80 => "AES_192_CM_HMAC_SHA1_80",
            Suite::Aes192CmHmacSha1_32 => "AES_192_CM_HMAC_SHA1_32",
            Suite::Aes256CmHmacSha1_80 => "AES_256_CM_HMAC_SHA1_80",
            Suite::Aes256CmHmacSha1_32 => "AES_256_CM_HMAC_SHA1_32",
            Suite::AeadAes128Gcm => "AEAD_AES_128_GCM",
            Suite::AeadAes256Gcm => "AEAD_AES_256_GCM",
        }
    }

    /// Encryption and authentication in one (RFC 7714).
    pub const fn is_aead(self) -> bool {
        matches!(self, Suite::AeadAes128Gcm | Suite::AeadAes256Gcm)
    }

    /// Bytes of the master key.
    pub const fn key_length(self) -> usize {
        match self {
            Suite::AesCm128HmacSha1_80 | Suite::AesCm128HmacSha1_32 | Suite::AeadAes128Gcm => 16,
            Suite::Aes192CmHmacSha1_80 | Suite::Aes192CmHmacSha1_32 => 24,
            Suite::Aes256CmHmacSha1_80 | Suite::Aes256CmHmacSha1_32 | Suite::AeadAes256Gcm => 32,
        }
    }

    /// Bytes of the master salt.
    pub const fn salt_length(self) -> usize {
        if self.is_aead() { 12 } else { 14 }
    }

    /// Bytes of an SRTP packet's authentication tag.
    pub const fn rtp_tag(self) -> usize {
        match self {
            Suite::AesCm128HmacSha1_80 | Suite::Aes192CmHmacSha1_80 | Suite::Aes256CmHmacSha1_80 => 10,
            Suite::AesCm128HmacSha1_32 | Suite::Aes192CmHmacSha1_32 | Suite::Aes256CmHmacSha1_32 => 4,
            Suite::AeadAes128Gcm | Suite::AeadAes256Gcm => 16,
        }
    }

    /// Bytes of an SRTCP packet's authentication tag: 80 bits in the suites with HMAC, whatever SRTP's tag (RFC 4568 §6.2.2, RFC 6188 §4).
    pub const fn rtcp_tag(self) -> usize {
        if self.is_aead() { 16 } else { 10 }
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

/// The suite a line names.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SuiteName {
    Known(Suite),
    /// One we cannot run, as written.
    Other(String),
}

impl SuiteName {
    fn parse(name: &str) -> SuiteName {
        match Suite::ALL.into_iter().find(|suite| suite.name().eq_ignore_ascii_case(name)) {
            Some(suite) => SuiteName::Known(suite),
            None => SuiteName::Other(name.into()),
        }
    }

    pub fn name(&self) -> &str {
        match self {
            SuiteName::Known(suite) => suite.name(),
            SuiteName::Other(name) => name,
        }
    }
}

/// One `a=crypto` line (RFC 4568 §9.1). `Debug` shows no keys.
#[derive(Clone, PartialEq, Eq)]
pub struct Crypto {
    /// 0 is seen in the field and as good as any.
    pub tag: u32,
    pub suite: SuiteName,
    /// At least one; several only with MKIs of one length that differ.
    pub keys: Vec<MasterKey>,
    /// As written: `WSH=128`, `UNENCRYPTED_SRTCP`.
    pub session: Vec<String>,
}

/// Why a line cannot be read. The sender is at fault.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CryptoError {
    /// Tag, suite or key parameters are missing.
    Syntax,
    /// No number of at most nine digits.
    Tag,
    /// Another key method than `inline`.
    Method,
    /// Not base64, or not the suite's length.
    Key,
    /// No number of packets, or above 2^48.
    Lifetime,
    /// Not `value:length` with 1 to 128 bytes that hold the value.
    Mki,
    /// Several keys that no MKI tells apart.
    Keys,
}

/// Why a readable line is not for us. The line is skipped, the next may do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unusable {
    Suite,
    /// A session parameter that must be understood and is not, or that weakens the protection (RFC 4568 §6.3).
    SessionParameter,
}

/// SRTP's bound on packets under one key (RFC 3711 §9.2).
const MAX_LIFETIME: u64 = 1 << 48;
const MAX_MKI_LENGTH: usize = 128;
/// Keys in one line; nobody sends more than two.
const MAX_KEYS: usize = 16;

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_encode_padding(true).with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

impl Crypto {
    /// Our own line: one key, nothing else.
    pub fn ours(tag: u32, suite: Suite, key: MasterKey) -> Crypto {
        Crypto { tag, suite: SuiteName::Known(suite), keys: vec![key], session: Vec::new() }
    }

    /// The value of the attribute: `1 AES_CM_128_HMAC_SHA1_80 inline:…|2^31|1:1 WSH=64`.
    pub fn parse(value: &str) -> Result<Crypto, CryptoError> {
        let mut tokens = value.split_ascii_whitespace();
        let (Some(tag), Some(suite), Some(keys)) = (tokens.next(), tokens.next(), tokens.next()) else { return Err(CryptoError::Syntax) };
        let tag = Some(tag).filter(|tag| tag.len() <= 9 && is_digits(tag)).and_then(|tag| tag.parse().ok()).ok_or(CryptoError::Tag)?;
        let suite = SuiteName::parse(suite);
        let mut parsed = Vec::new();
        for parameter in keys.split(';') {
            if parsed.len() >= MAX_KEYS {
                return Err(CryptoError::Keys);
            }
            parsed.push(key_parameter(parameter, &suite)?);
        }
        let distinct = parsed.iter().enumerate().all(|(i, key): (usize, &MasterKey)| {
            parsed.iter().take(i).all(|earlier: &MasterKey| match (&earlier.mki, &key.mki) {
                (Some(a), Some(b)) => a.len() == b.len() && a != b,
                _ => false,
            })
        });
        if !distinct {
            return Err(CryptoError::Keys);
        }
        Ok(Crypto { tag, suite, keys: parsed, session: tokens.map(str::to_owned).collect() })
    }

    /// The suite if the line is one we can run: packets encrypted and authenticated, both RTP and RTCP, keys derived once.
    pub fn usable(&self) -> Result<Suite, Unusable> {
        let SuiteName::Known(suite) = self.suite else { return Err(Unusable::Suite) };
        if self.session.iter().all(|parameter| is_harmless(parameter)) { Ok(suite) } else { Err(Unusable::SessionParameter) }
    }

    /// Whether packets under this line carry a master key identifier.
    pub fn has_mki(&self) -> bool {
        self.keys.iter().any(|key| key.mki.is_some())
    }

    /// The attribute's value, keys and all: for the wire, not for logs.
    pub fn value(&self) -> String {
        let mut value = format!("{} {}", self.tag, self.suite.name());
        for (i, key) in self.keys.iter().enumerate() {
            value.push_str(if i == 0 { " inline:" } else { ";inline:" });
            BASE64.encode_string(&key.key_and_salt, &mut value);
            if let Some(lifetime) = key.lifetime {
                value.push('|');
                value.push_str(&if lifetime.is_power_of_two() { format!("2^{}", lifetime.trailing_zeros()) } else { lifetime.to_string() });
            }
            if let Some(mki) = &key.mki {
                value.push_str(&format!("|{}:{}", to_decimal(mki), mki.len()));
            }
        }
        for parameter in &self.session {
            value.push(' ');
            value.push_str(parameter);
        }
        value
    }
}

impl std::fmt::Debug for Crypto {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Crypto").field("tag", &self.tag).field("suite", &self.suite).field("keys", &self.keys).finish_non_exhaustive()
    }
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

/// RFC 4568 §6.3. A window size is a hint; a key derivation rate of 0 is the default said aloud; `-` marks what may be ignored. Everything else either
/// weakens the protection or must be understood and is not.
fn is_harmless(parameter: &str) -> bool {
    let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
    parameter.starts_with('-') || (name.eq_ignore_ascii_case("WSH") && is_digits(value)) || (name.eq_ignore_ascii_case("KDR") && value == "0")
}

/// `inline:<base64>["|" lifetime]["|" mki ":" length]`
fn key_parameter(parameter: &str, suite: &SuiteName) -> Result<MasterKey, CryptoError> {
    let (method, info) = parameter.split_once(':').ok_or(CryptoError::Syntax)?;
    if !method.eq_ignore_ascii_case("inline") {
        return Err(CryptoError::Method);
    }
    let mut parts = info.split('|');
    let mut key_and_salt = BASE64.decode(parts.next().unwrap_or_default()).map_err(|_| CryptoError::Key)?;
    let fits = match suite {
        SuiteName::Known(suite) => key_and_salt.len() == suite.key_length() + suite.salt_length(),
        SuiteName::Other(_) => !key_and_salt.is_empty(),
    };
    if !fits {
        key_and_salt.zeroize();
        return Err(CryptoError::Key);
    }
    let mut key = MasterKey { key_and_salt, lifetime: None, mki: None };
    for part in parts {
        match part.split_once(':') {
            Some((value, length)) if key.mki.is_none() => key.mki = Some(mki(value, length)?),
            None if key.lifetime.is_none() && key.mki.is_none() => key.lifetime = Some(lifetime(part)?),
            _ => return Err(CryptoError::Syntax),
        }
    }
    Ok(key)
}

/// Packets: `2^31` or decimal, 1 to 2^48.
fn lifetime(text: &str) -> Result<u64, CryptoError> {
    let packets = match text.strip_prefix("2^") {
        Some(power) if is_digits(power) => power.parse().ok().and_then(|power| 1u64.checked_shl(power)),
        None if is_digits(text) => text.parse().ok(),
        _ => None,
    };
    packets.filter(|packets| (1..=MAX_LIFETIME).contains(packets)).ok_or(CryptoError::Lifetime)
}

/// A decimal number in so many bytes, big endian.
fn mki(value: &str, length: &str) -> Result<Vec<u8>, CryptoError> {
    let length: usize = Some(length).filter(|length| length.len() <= 3 && is_digits(length)).and_then(|length| length.parse().ok()).ok_or(CryptoError::Mki)?;
    if !(1..=MAX_MKI_LENGTH).contains(&length) || !is_digits(value) || value.len() > 400 {
        return Err(CryptoError::Mki);
    }
    let mut bytes = vec![0u8; length];
    for digit in value.bytes().map(|b| u16::from(b - b'0')) {
        let mut carry = digit;
        for byte in bytes.iter_mut().rev() {
            let shifted = u16::from(*byte) * 10 + carry;
            *byte = shifted as u8;
            carry = shifted >> 8;
        }
        if carry != 0 {
            return Err(CryptoError::Mki);
        }
    }
    Ok(bytes)
}

fn to_decimal(bytes: &[u8]) -> String {
    let mut digits = Vec::new();
    let mut rest = bytes.to_vec();
    while rest.iter().any(|b| *b != 0) {
        let mut remainder = 0u16;
        for byte in rest.iter_mut() {
            let dividend = remainder << 8 | u16::from(*byte);
            *byte = (dividend / 10) as u8;
            remainder = dividend % 10;
        }
        digits.push(b'0' + remainder as u8);
    }
    if digits.is_empty() { "0".into() } else { digits.iter().rev().map(|digit| char::from(*digit)).collect() }
}

#[cfg(test)]
mod tests;
