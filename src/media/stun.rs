//! STUN as ICE uses it (RFC 8489, RFC 8445 §7): Binding requests read and their authenticity checked, responses written.

use std::net::{IpAddr, SocketAddr};

use aws_lc_rs::hmac;

use crate::media::packet::{u16_at, u32_at};

const HEADER: usize = 20;
const COOKIE: u32 = 0x2112_a442;
const BINDING_REQUEST: u16 = 0x0001;
const BINDING_SUCCESS: u16 = 0x0101;
const BINDING_ERROR: u16 = 0x0111;

const USERNAME: u16 = 0x0006;
const MESSAGE_INTEGRITY: u16 = 0x0008;
const ERROR_CODE: u16 = 0x0009;
const UNKNOWN_ATTRIBUTES: u16 = 0x000a;
const MESSAGE_INTEGRITY_SHA256: u16 = 0x001c;
const XOR_MAPPED_ADDRESS: u16 = 0x0020;
const PRIORITY: u16 = 0x0024;
const USE_CANDIDATE: u16 = 0x0025;
const FINGERPRINT: u16 = 0x8028;
const ICE_CONTROLLED: u16 = 0x8029;

/// Bytes of MESSAGE-INTEGRITY and of FINGERPRINT, with their headers.
const INTEGRITY: usize = 24;
const CHECKSUM: usize = 8;
/// Mixed into the CRC of FINGERPRINT (RFC 8489 §14.7).
const CHECKSUM_MASK: u32 = 0x5354_554e;
/// The longest response: a refusal that names eight attributes.
pub const LONGEST: usize = HEADER + 8 + 20 + INTEGRITY + CHECKSUM;
/// Unknown attributes a refusal names.
const NAMED: usize = 8;

/// The key of MESSAGE-INTEGRITY under short-term credentials: the password (RFC 8489 §9.1.1).
pub struct Key(hmac::Key);

impl Key {
    pub fn new(password: &str) -> Key {
        Key(hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, password.as_bytes()))
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key")
    }
}

/// A connectivity check: a Binding request that is whole and authentic.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Check<'a> {
    pub transaction: [u8; 12],
    /// `ours:theirs`, as sent.
    pub username: &'a [u8],
    pub priority: u32,
    /// The controlling agent nominates this pair (RFC 8445 §7.3.1.5).
    pub nominates: bool,
    /// The sender takes itself for the controlled agent.
    pub is_controlled: bool,
    /// Attributes that must be understood and are not, the first of them.
    pub unknown: [u16; NAMED],
    pub unknown_count: usize,
}

impl<'a> Check<'a> {
    /// Reads a request under our password. `None`: another message, malformed, without FINGERPRINT, or not authentic; nothing is owed for any of these.
    pub fn read(datagram: &'a [u8], key: &Key) -> Option<Check<'a>> {
        let transaction: [u8; 12] = datagram.get(8..HEADER)?.try_into().ok()?;
        let length = usize::from(u16_at(datagram, 2));
        let is_whole = datagram.len() == HEADER + length && length.is_multiple_of(4);
        if !is_whole || u16_at(datagram, 0) != BINDING_REQUEST || u32_at(datagram, 4) != COOKIE {
            return None;
        }
        let mut check = Check { transaction, username: &[], priority: 0, nominates: false, is_controlled: false, unknown: [0; NAMED], unknown_count: 0 };
        let (mut at, mut proven, mut sealed) = (HEADER, false, false);
        while at < datagram.len() {
            let (kind, size) = (u16_at(datagram, at), usize::from(u16_at(datagram, at + 2)));
            let value = datagram.get(at + 4..)?.get(..size)?;
            let next = at + 4 + size.next_multiple_of(4);
            match kind {
                FINGERPRINT => {
                    sealed = next == datagram.len() && size == 4 && u32_at(value, 0) == checksum(datagram.get(..at)?);
                }
                // RFC 8489 §14.5: what follows the integrity is not covered by it, so it says nothing.
                _ if proven => {}
                MESSAGE_INTEGRITY => {
                    proven = size == 20 && verify(key, datagram, at, value);
                    if !proven {
                        return None;
                    }
                }
                USERNAME => check.username = value,
                PRIORITY if size == 4 => check.priority = u32_at(value, 0),
                USE_CANDIDATE => check.nominates = true,
                ICE_CONTROLLED => check.is_controlled = true,
                MESSAGE_INTEGRITY_SHA256 => {}
                _ if kind < 0x8000 => {
                    if let Some(cell) = check.unknown.get_mut(check.unknown_count) {
                        *cell = kind;
                        check.unknown_count += 1;
                    }
                }
                _ => {}
            }
            at = next;
        }
        (proven && sealed).then_some(check)
    }
}

/// The integrity of the message up to `at`, with the length it has up to the end of that attribute.
fn verify(key: &Key, datagram: &[u8], at: usize, tag: &[u8]) -> bool {
    let Some((head, rest)) = datagram.get(..at).and_then(<[u8]>::split_first_chunk::<4>) else { return false };
    let length = (at + INTEGRITY - HEADER) as u16;
    let mut context = hmac::Context::with_key(&key.0);
    context.update(&head[..2]);
    context.update(&length.to_be_bytes());
    context.update(rest);
    subtle::ConstantTimeEq::ct_eq(context.sign().as_ref(), tag).into()
}

/// What a check is answered with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Response<'a> {
    Success(SocketAddr),
    /// 487: the sender shall take the controlling role (RFC 8445 §7.3.1.1).
    RoleConflict,
    /// 420: it used attributes we do not understand.
    Unknown(&'a [u16]),
}

impl Response<'_> {
    /// Writes the response with its integrity and checksum. How long it is; `None`: `out` is shorter than `LONGEST`.
    pub fn write(self, transaction: &[u8; 12], key: &Key, out: &mut [u8]) -> Option<usize> {
        let mut writer = Writer { out: out.get_mut(..LONGEST)?, at: HEADER };
        let kind = match self {
            Response::Success(mapped) => {
                writer.mapped(mapped, transaction);
                BINDING_SUCCESS
            }
            Response::RoleConflict => {
                writer.attribute(ERROR_CODE, &[0, 0, 4, 87]);
                BINDING_ERROR
            }
            Response::Unknown(attributes) => {
                let mut names = [0; 2 * NAMED];
                names.iter_mut().zip(attributes.iter().flat_map(|kind| kind.to_be_bytes())).for_each(|(byte, name)| *byte = name);
                writer.attribute(ERROR_CODE, &[0, 0, 4, 20]);
                writer.attribute(UNKNOWN_ATTRIBUTES, names.get(..2 * attributes.len().min(NAMED))?);
                BINDING_ERROR
            }
        };
        writer.out[..2].copy_from_slice(&kind.to_be_bytes());
        writer.out[4..8].copy_from_slice(&COOKIE.to_be_bytes());
        writer.out[8..HEADER].copy_from_slice(transaction);
        writer.seal(key);
        Some(writer.at)
    }
}

struct Writer<'a> {
    /// `LONGEST` bytes: room for every attribute below.
    out: &'a mut [u8],
    at: usize,
}

impl Writer<'_> {
    fn attribute(&mut self, kind: u16, value: &[u8]) {
        let end = self.at + 4 + value.len().next_multiple_of(4);
        let Some(room) = self.out.get_mut(self.at..end) else { return };
        room.fill(0);
        room[..2].copy_from_slice(&kind.to_be_bytes());
        room[2..4].copy_from_slice(&(value.len() as u16).to_be_bytes());
        room[4..4 + value.len()].copy_from_slice(value);
        self.at = end;
    }

    /// RFC 8489 §14.2: port and address mixed with the cookie and the transaction.
    fn mapped(&mut self, address: SocketAddr, transaction: &[u8; 12]) {
        let mut mask = [0; 16];
        mask[..4].copy_from_slice(&COOKIE.to_be_bytes());
        mask[4..].copy_from_slice(transaction);
        let port = (address.port() ^ (COOKIE >> 16) as u16).to_be_bytes();
        let mut value = [0, 1, port[0], port[1], 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let mut put = |octets: &[u8]| value[4..].iter_mut().zip(octets).zip(mask).for_each(|((byte, octet), mask)| *byte = octet ^ mask);
        let length = match address.ip().to_canonical() {
            IpAddr::V4(ip) => {
                put(&ip.octets());
                8
            }
            IpAddr::V6(ip) => {
                put(&ip.octets());
                value[1] = 2;
                20
            }
        };
        self.attribute(XOR_MAPPED_ADDRESS, &value[..length]);
    }

    fn seal(&mut self, key: &Key) {
        self.length(self.at + INTEGRITY);
        let tag = hmac::sign(&key.0, &self.out[..self.at]);
        self.attribute(MESSAGE_INTEGRITY, tag.as_ref());
        self.length(self.at + CHECKSUM);
        let sum = checksum(&self.out[..self.at]);
        self.attribute(FINGERPRINT, &sum.to_be_bytes());
    }

    fn length(&mut self, end: usize) {
        self.out[2..4].copy_from_slice(&((end - HEADER) as u16).to_be_bytes());
    }
}

/// The value of FINGERPRINT over everything before it: the CRC of ITU-T V.42 (RFC 8489 §14.7).
fn checksum(bytes: &[u8]) -> u32 {
    const TABLE: [u32; 256] = {
        let mut table = [0; 256];
        let mut i = 0;
        while i < 256 {
            let mut crc = i as u32;
            let mut bit = 0;
            while bit < 8 {
                crc = if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 };
                bit += 1;
            }
            table[i] = crc;
            i += 1;
        }
        table
    };
    let crc = bytes.iter().fold(!0_u32, |crc, byte| crc >> 8 ^ TABLE[usize::from(crc as u8 ^ byte)]);
    !crc ^ CHECKSUM_MASK
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// RFC 5769 §2.1: a request with the password "VOkJxbRl1RmTxUk/WvJxBt".
    pub const SAMPLE: [u8; 108] = [
        0x00, 0x01, 0x00, 0x58, 0x21, 0x12, 0xa4, 0x42, 0xb7, 0xe7, 0xa7, 0x01, 0xbc, 0x34, 0xd6, 0x86, 0xfa, 0x87, 0xdf, 0xae, 0x80, 0x22, 0x00, 0x10, 0x53,
        0x54, 0x55, 0x4e, 0x20, 0x74, 0x65, 0x73, 0x74, 0x20, 0x63, 0x6c, 0x69, 0x65, 0x6e, 0x74, 0x00, 0x24, 0x00, 0x04, 0x6e, 0x00, 0x01, 0xff, 0x80, 0x29,
        0x00, 0x08, 0x93, 0x2f, 0xf9, 0xb1, 0x51, 0x26, 0x3b, 0x36, 0x00, 0x06, 0x00, 0x09, 0x65, 0x76, 0x74, 0x6a, 0x3a, 0x68, 0x36, 0x76, 0x59, 0x20, 0x20,
        0x20, 0x00, 0x08, 0x00, 0x14, 0x9a, 0xea, 0xa7, 0x0c, 0xbf, 0xd8, 0xcb, 0x56, 0x78, 0x1e, 0xf2, 0xb5, 0xb2, 0xd3, 0xf2, 0x49, 0xc1, 0xb5, 0x71, 0xa2,
        0x80, 0x28, 0x00, 0x04, 0xe5, 0x7a, 0x3b, 0xcf,
    ];
    pub const PASSWORD: &str = "VOkJxbRl1RmTxUk/WvJxBt";
    const TRANSACTION: [u8; 12] = [0xb7, 0xe7, 0xa7, 0x01, 0xbc, 0x34, 0xd6, 0x86, 0xfa, 0x87, 0xdf, 0xae];

    /// A check as a full agent sends it.
    pub fn check(username: &str, password: &str, attributes: &[(u16, &[u8])]) -> Vec<u8> {
        let mut out = [0; 512];
        let mut writer = Writer { out: &mut out, at: HEADER };
        writer.out[..2].copy_from_slice(&BINDING_REQUEST.to_be_bytes());
        writer.out[4..8].copy_from_slice(&COOKIE.to_be_bytes());
        writer.out[8..HEADER].copy_from_slice(&TRANSACTION);
        writer.attribute(USERNAME, username.as_bytes());
        attributes.iter().for_each(|(kind, value)| writer.attribute(*kind, value));
        writer.seal(&Key::new(password));
        let at = writer.at;
        out[..at].to_vec()
    }

    pub const NOMINATES: (u16, &[u8]) = (USE_CANDIDATE, &[]);

    pub fn priority(value: &[u8]) -> (u16, &[u8]) {
        (PRIORITY, value)
    }

    #[test]
    fn the_sample_request_of_rfc_5769_is_read() {
        let check = Check::read(&SAMPLE, &Key::new(PASSWORD)).unwrap();
        assert_eq!(check.transaction, TRANSACTION);
        assert_eq!(check.username, b"evtj:h6vY");
        assert_eq!((check.priority, check.nominates, check.is_controlled, check.unknown_count), (0x6e00_01ff, false, true, 0));
        assert_eq!(Check::read(&SAMPLE, &Key::new("VOkJxbRl1RmTxUk/WvJxBu")), None, "another password");
    }

    #[test]
    fn every_changed_bit_and_every_cut_is_noticed() {
        let key = Key::new(PASSWORD);
        for bit in 0..SAMPLE.len() * 8 {
            let mut bent = SAMPLE;
            bent[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Check::read(&bent, &key), None, "bit {bit}");
        }
        for end in 0..SAMPLE.len() {
            assert_eq!(Check::read(&SAMPLE[..end], &key), None, "{end} bytes");
        }
    }

    /// RFC 5769 §2.2 and §2.3: the mapped addresses and their encodings.
    #[test]
    fn responses_have_the_mapped_address_of_rfc_5769() {
        let key = Key::new(PASSWORD);
        let mut out = [0; LONGEST];
        let v4 = "192.0.2.1:32853".parse().unwrap();
        let len = Response::Success(v4).write(&TRANSACTION, &key, &mut out).unwrap();
        assert_eq!(out[..2], [0x01, 0x01]);
        assert_eq!(out[HEADER..HEADER + 12], [0, 0x20, 0, 8, 0, 1, 0xa1, 0x47, 0xe1, 0x12, 0xa6, 0x43]);
        assert_eq!(usize::from(u16_at(&out, 2)), len - HEADER);
        assert!(verify(&key, &out, HEADER + 12, &out[HEADER + 16..HEADER + 36]));
        assert_eq!(u32_at(&out, len - 4), checksum(&out[..len - 8]));
        let v6 = "[2001:db8:1234:5678:11:2233:4455:6677]:32853".parse().unwrap();
        Response::Success(v6).write(&TRANSACTION, &key, &mut out).unwrap();
        let expected = [0, 0x20, 0, 0x14, 0, 2, 0xa1, 0x47, 0x01, 0x13, 0xa9, 0xfa, 0xa5, 0xd3, 0xf1, 0x79, 0xbc, 0x25, 0xf4, 0xb5, 0xbe, 0xd2, 0xb9, 0xd9];
        assert_eq!(out[HEADER..HEADER + 24], expected);
    }

    #[test]
    fn refusals_name_their_cause() {
        let key = Key::new(PASSWORD);
        let mut out = [0; LONGEST];
        Response::RoleConflict.write(&TRANSACTION, &key, &mut out).unwrap();
        assert_eq!(out[HEADER..HEADER + 8], [0, 9, 0, 4, 0, 0, 4, 87]);
        let many = [0x7001; NAMED];
        let len = Response::Unknown(&many).write(&TRANSACTION, &key, &mut out).unwrap();
        assert_eq!(len, LONGEST);
        assert_eq!(out[HEADER + 8..HEADER + 14], [0, 0x0a, 0, 16, 0x70, 1]);
        assert_eq!(Response::RoleConflict.write(&TRANSACTION, &key, &mut out[..40]), None);
    }

    #[test]
    fn attributes_that_must_be_understood_are_noticed_and_bounded() {
        let strange: Vec<(u16, &[u8])> = (0..20).map(|i| (0x7000 + i, &[][..])).collect();
        let bytes = check("a:b", PASSWORD, &strange);
        let check = Check::read(&bytes, &Key::new(PASSWORD)).unwrap();
        assert_eq!((check.unknown_count, check.unknown[0], check.unknown[7]), (8, 0x7000, 0x7007));
    }
}
