//! The generator's own SRTP (RFC 3711, 7714): one packet in place, cheap enough that every packet at a relay's limit is made and checked by it.
//! It knows nothing of the relay's contexts, and its first packet of every stream is compared with `rtc-srtp`, which shares no code with either.

use std::io;

use aes::cipher::{BlockCipherEncrypt, KeyInit};
use aes::{Aes128Enc, Block};
use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use rtc_srtp::context::Context;
use rtc_srtp::protection_profile::ProtectionProfile;
use sha1::block_api::compress;

/// An RTP header without extensions.
pub const HEADER: usize = 12;
/// FIPS 180-4 §5.3.1.
const SHA1: [u32; 5] = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476, 0xc3d2_e1f0];

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Transform {
    Cm80,
    Cm32,
    Gcm128,
    Gcm256,
}

impl Transform {
    /// As RFC 4568 and RFC 7714 register it.
    pub fn name(self) -> &'static str {
        match self {
            Transform::Cm80 => "AES_CM_128_HMAC_SHA1_80",
            Transform::Cm32 => "AES_CM_128_HMAC_SHA1_32",
            Transform::Gcm128 => "AEAD_AES_128_GCM",
            Transform::Gcm256 => "AEAD_AES_256_GCM",
        }
    }

    pub fn key_length(self) -> usize {
        if self == Transform::Gcm256 { 32 } else { 16 }
    }

    pub fn salt_length(self) -> usize {
        match self {
            Transform::Cm80 | Transform::Cm32 => 14,
            Transform::Gcm128 | Transform::Gcm256 => 12,
        }
    }

    pub fn tag(self) -> usize {
        match self {
            Transform::Cm80 => 10,
            Transform::Cm32 => 4,
            Transform::Gcm128 | Transform::Gcm256 => 16,
        }
    }

    fn profile(self) -> ProtectionProfile {
        match self {
            Transform::Cm80 => ProtectionProfile::Aes128CmHmacSha1_80,
            Transform::Cm32 => ProtectionProfile::Aes128CmHmacSha1_32,
            Transform::Gcm128 => ProtectionProfile::AeadAes128Gcm,
            Transform::Gcm256 => ProtectionProfile::AeadAes256Gcm,
        }
    }
}

/// One master key ready for packets.
pub struct Session {
    tag: usize,
    cipher: Cipher,
}

enum Cipher {
    Counter { aes: Box<Aes128Enc>, salt: u128, inner: [u32; 5], outer: [u32; 5] },
    Gcm { key: Box<LessSafeKey>, salt: [u8; 12] },
}

impl Session {
    /// `master`: key, then salt.
    pub fn new(transform: Transform, master: &[u8]) -> Session {
        let (key, salt) = master.split_at(transform.key_length());
        let cipher = match transform {
            Transform::Cm80 | Transform::Cm32 => {
                let authentication: [u8; 20] = derive(key, salt, 1);
                let midstate = |pad: u8| {
                    let mut block = [pad; 64];
                    block.iter_mut().zip(authentication).for_each(|(byte, key)| *byte ^= key);
                    let mut state = SHA1;
                    compress(&mut state, &[block]);
                    state
                };
                let mut shifted = [0; 16];
                shifted[..14].copy_from_slice(&derive::<14>(key, salt, 2));
                let aes = Box::new(Aes128Enc::new(&derive::<16>(key, salt, 0).into()));
                Cipher::Counter { aes, salt: u128::from_be_bytes(shifted), inner: midstate(0x36), outer: midstate(0x5c) }
            }
            Transform::Gcm128 | Transform::Gcm256 => {
                let session = if transform == Transform::Gcm128 { derive::<16>(key, salt, 0).to_vec() } else { derive::<32>(key, salt, 0).to_vec() };
                let algorithm = if transform == Transform::Gcm128 { &AES_128_GCM } else { &AES_256_GCM };
                let unbound = UnboundKey::new(algorithm, &session).expect("a key of the suite's length");
                Cipher::Gcm { key: Box::new(LessSafeKey::new(unbound)), salt: derive(key, salt, 2) }
            }
        };
        Session { tag: transform.tag(), cipher }
    }

    /// Protects `buffer[..len]` where it lies; the new length.
    pub fn protect(&self, buffer: &mut [u8], len: usize, ssrc: u32, index: u64) -> usize {
        let (packet, rest) = buffer.split_at_mut(len);
        match &self.cipher {
            Cipher::Counter { aes, salt, inner, outer } => {
                keystream(aes, *salt, ssrc, index, &mut packet[HEADER..]);
                let code = hmac(inner, outer, packet, (index >> 16) as u32);
                rest[..self.tag].copy_from_slice(&code[..self.tag]);
            }
            Cipher::Gcm { key, salt } => {
                let (header, payload) = packet.split_at_mut(HEADER);
                let tag = key.seal_in_place_separate_tag(nonce(salt, ssrc, index), Aad::from(&header), payload).expect("seals");
                rest[..self.tag].copy_from_slice(tag.as_ref());
            }
        }
        len + self.tag
    }

    /// Checks `buffer` and decrypts it where it lies; the clear length, or `None` where it does not authenticate.
    pub fn unprotect(&self, buffer: &mut [u8], ssrc: u32, index: u64) -> Option<usize> {
        let len = buffer.len().checked_sub(self.tag).filter(|len| *len >= HEADER)?;
        match &self.cipher {
            Cipher::Counter { aes, salt, inner, outer } => {
                let (packet, tag) = buffer.split_at_mut(len);
                let code = hmac(inner, outer, packet, (index >> 16) as u32);
                (*tag == code[..self.tag]).then_some(())?;
                keystream(aes, *salt, ssrc, index, &mut packet[HEADER..]);
            }
            Cipher::Gcm { key, salt } => {
                let (header, sealed) = buffer.split_at_mut(HEADER);
                key.open_in_place(nonce(salt, ssrc, index), Aad::from(&header), sealed).ok()?;
            }
        }
        Some(len)
    }
}

/// RFC 3711 §4.3 with a rate of zero; a salt of 12 bytes is filled with zeros on the right (RFC 7714 §11).
fn derive<const N: usize>(key: &[u8], salt: &[u8], label: u8) -> [u8; N] {
    let mut out = [0; N];
    for (n, part) in out.chunks_mut(16).enumerate() {
        let mut block = [0u8; 16];
        block[..salt.len()].copy_from_slice(salt);
        block[7] ^= label;
        block[15] = n as u8;
        let mut block: Block = block.into();
        match key.len() {
            16 => Aes128Enc::new_from_slice(key).expect("16 bytes").encrypt_block(&mut block),
            _ => aes::Aes256Enc::new_from_slice(key).expect("32 bytes").encrypt_block(&mut block),
        }
        part.copy_from_slice(&block[..part.len()]);
    }
    out
}

/// RFC 3711 §4.1.1, eleven blocks at once: what a packet of G.711 needs.
fn keystream(aes: &Aes128Enc, salt: u128, ssrc: u32, index: u64, data: &mut [u8]) {
    let mut counter = salt ^ (u128::from(ssrc) << 64) ^ (u128::from(index) << 16);
    for part in data.chunks_mut(11 * 16) {
        let mut blocks: [Block; 11] = std::array::from_fn(|n| counter.wrapping_add(n as u128).to_be_bytes().into());
        let used = part.len().div_ceil(16);
        aes.encrypt_blocks(&mut blocks[..used]);
        part.chunks_mut(16).zip(&blocks).for_each(|(bytes, key)| bytes.iter_mut().zip(key).for_each(|(byte, key)| *byte ^= key));
        counter = counter.wrapping_add(used as u128);
    }
}

/// HMAC-SHA1 over the packet and its roll-over counter, from the states after the two key blocks.
fn hmac(inner: &[u32; 5], outer: &[u32; 5], packet: &[u8], roc: u32) -> [u8; 20] {
    let mut state = *inner;
    let (blocks, rest) = packet.as_chunks::<64>();
    compress(&mut state, blocks);
    let mut tail = [[0u8; 64]; 2];
    let flat = tail.as_flattened_mut();
    flat[..rest.len()].copy_from_slice(rest);
    flat[rest.len()..rest.len() + 4].copy_from_slice(&roc.to_be_bytes());
    flat[rest.len() + 4] = 0x80;
    let used = if rest.len() + 4 < 56 { 1 } else { 2 };
    flat[used * 64 - 8..used * 64].copy_from_slice(&(8 * (64 + packet.len() + 4) as u64).to_be_bytes());
    compress(&mut state, &tail[..used]);
    let mut block = [0u8; 64];
    block.chunks_mut(4).zip(state).for_each(|(out, word)| out.copy_from_slice(&word.to_be_bytes()));
    block[20] = 0x80;
    block[56..].copy_from_slice(&(8 * 84u64).to_be_bytes());
    let mut state = *outer;
    compress(&mut state, &[block]);
    let mut code = [0; 20];
    code.chunks_mut(4).zip(state).for_each(|(out, word)| out.copy_from_slice(&word.to_be_bytes()));
    code
}

/// RFC 7714 §8.1.
fn nonce(salt: &[u8; 12], ssrc: u32, index: u64) -> Nonce {
    let mut iv = [0; 12];
    iv[2..6].copy_from_slice(&ssrc.to_be_bytes());
    iv[6..].copy_from_slice(&index.to_be_bytes()[2..]);
    iv.iter_mut().zip(salt).for_each(|(byte, salt)| *byte ^= salt);
    Nonce::assume_unique_for_key(iv)
}

/// Whether `rtc-srtp` makes the same of the first packet of a stream.
pub fn vouch(transform: Transform, master: &[u8], clear: &[u8], protected: &[u8]) -> io::Result<()> {
    let (key, salt) = master.split_at(transform.key_length());
    let provider = rtc_srtp::crypto::default_provider().map_err(|error| io::Error::other(error.to_string()))?;
    let mut context = Context::new(key, salt, transform.profile(), None, None, provider.crypto()).map_err(|error| io::Error::other(error.to_string()))?;
    let theirs = context.encrypt_rtp(clear).map_err(|error| io::Error::other(error.to_string()))?;
    if theirs[..] == *protected { Ok(()) } else { Err(io::Error::other(format!("the generator and rtc-srtp disagree about {}", transform.name()))) }
}
