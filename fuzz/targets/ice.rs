//! Any bytes as connectivity checks: as they come they are never answered, since nobody guesses the password, and neither is an authentic one with a bit
//! changed. Any attributes in an authentic one: what answers is a whole STUN message with its checksum, and only a success makes an address valid.

use std::net::SocketAddr;

use aws_lc_rs::hmac;
use portcullis::media::ice::{Lite, Outcome};
use portcullis::media::stun::LONGEST;
use portcullis::sdp::ice::Credentials;
use portcullis::time::Time;

use super::pieces::pieces;

const PASSWORD: &str = "asd88fgpdd777uzjYhagZg";
const SOURCES: [&str; 4] = ["192.0.2.1:4000", "192.0.2.1:4001", "[2001:db8::1]:9", "[::ffff:198.51.100.7]:65535"];

pub fn run(data: &[u8]) {
    let Some((&shape, rest)) = data.split_first() else { return };
    let peer = (shape & 1 != 0).then(|| "theirs".to_owned());
    let mut agent = Lite::new(Credentials { ufrag: "ours".to_owned(), password: PASSWORD.to_owned() }, peer);
    let mut now = Time::ZERO;
    for (what, piece) in pieces(rest) {
        now = now + std::time::Duration::from_secs(u64::from(what >> 4));
        let from: SocketAddr = SOURCES[usize::from(what & 3)].parse().unwrap();
        refused(&mut agent, now, from, piece);
        let check = authentic(piece, what & 4 != 0);
        if what & 8 != 0 {
            let (at, bit) = (piece.first().map_or(0, |b| usize::from(*b)) % check.len(), piece.len() % 8);
            let mut damaged = check.clone();
            damaged[at] ^= 1 << bit;
            refused(&mut agent, now, from, &damaged);
        }
        let was_valid = agent.is_valid(from);
        let mut buffer = check.clone();
        buffer.resize(2048, 0);
        let Outcome::Reply { len, moved } = agent.message(now, from, &mut buffer, check.len()) else {
            assert_eq!(buffer[..check.len()], check, "what is refused is left as it was");
            continue;
        };
        let is_success = reply(&buffer[..len], &check);
        assert_eq!(agent.is_valid(from), was_valid || is_success);
        assert!(!moved || (is_success && agent.selected() == Some(from)));
    }
    assert!(agent.selected().is_none_or(|at| SOURCES.iter().any(|from| from.parse() == Ok(at))));
}

fn refused(agent: &mut Lite, now: Time, from: SocketAddr, datagram: &[u8]) {
    let before = (agent.selected(), agent.is_valid(from));
    let mut buffer = datagram.to_vec();
    buffer.resize(datagram.len() + LONGEST, 0);
    assert_eq!(agent.message(now, from, &mut buffer, datagram.len()), Outcome::Refused);
    assert_eq!(buffer[..datagram.len()], *datagram);
    assert_eq!((agent.selected(), agent.is_valid(from)), before);
}

/// A Binding request with these attributes, sealed.
fn authentic(attributes: &[u8], named: bool) -> Vec<u8> {
    let mut message = vec![0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12];
    if named {
        message.extend(b"\x00\x06\x00\x0bours:theirs\x00");
    }
    message.extend_from_slice(&attributes[..attributes.len() / 4 * 4]);
    let length = |message: &mut Vec<u8>, more: usize| {
        let length = (message.len() - 20 + more) as u16;
        message[2..4].copy_from_slice(&length.to_be_bytes());
    };
    length(&mut message, 24);
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, PASSWORD.as_bytes()), &message);
    message.extend([0, 8, 0, 20]);
    message.extend_from_slice(tag.as_ref());
    length(&mut message, 8);
    let sum = crc(&message) ^ 0x5354_554e;
    message.extend([0x80, 0x28, 0, 4]);
    message.extend(sum.to_be_bytes());
    message
}

/// Whole, of the same transaction, with its integrity and checksum. Whether it is a success.
fn reply(message: &[u8], to: &[u8]) -> bool {
    assert!(message.len() <= LONGEST);
    assert_eq!((usize::from(u16::from_be_bytes([message[2], message[3]])), &message[4..20]), (message.len() - 20, &to[4..20]));
    let (mut at, mut kinds) = (20, Vec::new());
    while at < message.len() {
        kinds.push(u16::from_be_bytes([message[at], message[at + 1]]));
        at += 4 + usize::from(u16::from_be_bytes([message[at + 2], message[at + 3]])).next_multiple_of(4);
    }
    assert_eq!((at, &kinds[kinds.len() - 2..]), (message.len(), &[0x0008, 0x8028][..]));
    let (body, sum) = message.split_at(message.len() - 4);
    assert_eq!(sum, (crc(&body[..body.len() - 4]) ^ 0x5354_554e).to_be_bytes());
    match message[..2] {
        [1, 1] => true,
        [1, 0x11] => false,
        _ => panic!("neither a success nor an error: {:?}", &message[..2]),
    }
}

fn crc(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0u32, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 }))
}
