//! One HEP3 packet (the Homer Encapsulation Protocol, revision 3; sipcapture.org): `HEP3`, the length of all, then chunks of vendor, type, length, value.

use std::net::{IpAddr, SocketAddr};
use std::time::SystemTime;

/// Of all packets: more than any SIP message we take, and what one UDP datagram carries.
const LONGEST: usize = 65_000;

const MAGIC: &[u8; 4] = b"HEP3";
/// Chunks of the protocol itself.
const GENERIC: u16 = 0;
/// Vendor, type and length of a chunk.
const CHUNK_HEAD: usize = 6;

const IPV4: u8 = 2;
const IPV6: u8 = 10;
const TCP: u8 = 6;
const UDP: u8 = 17;

/// What a packet carries (chunk 11).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Kind {
    Sip = 1,
    /// As JSON.
    Rtcp = 5,
    /// A line of text.
    Log = 100,
}

/// What was seen, and between whom. An address of another family than `from` is written as that family's nothing.
#[derive(Clone, PartialEq, Debug)]
pub struct Captured<'a> {
    pub kind: Kind,
    pub at: SystemTime,
    /// Over UDP; else TCP, also below TLS.
    pub is_datagram: bool,
    pub from: SocketAddr,
    pub to: SocketAddr,
    /// The same on all packets of one call.
    pub correlation: &'a str,
    pub payload: &'a [u8],
}

/// Who sends it: the number the server knows us by (chunk 12) and the password it may ask for (chunk 14).
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Sender<'a> {
    pub capture_id: u32,
    pub password: Option<&'a str>,
}

/// The packet. What does not fit is cut off the end of the payload.
pub fn encode(captured: &Captured<'_>, sender: Sender<'_>) -> Vec<u8> {
    let mut packet = Vec::with_capacity(160 + captured.correlation.len() + captured.payload.len());
    packet.extend_from_slice(MAGIC);
    packet.extend_from_slice(&[0, 0]);
    addresses(&mut packet, captured);
    let since = captured.at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    // Seconds are 32 bits in HEP3: until 2106.
    chunk(&mut packet, 9, &(since.as_secs() as u32).to_be_bytes());
    chunk(&mut packet, 10, &since.subsec_micros().to_be_bytes());
    chunk(&mut packet, 11, &[captured.kind as u8]);
    chunk(&mut packet, 12, &sender.capture_id.to_be_bytes());
    if let Some(password) = sender.password {
        chunk(&mut packet, 14, password.as_bytes());
    }
    chunk(&mut packet, 17, captured.correlation.as_bytes());
    let room = LONGEST.saturating_sub(packet.len() + CHUNK_HEAD);
    chunk(&mut packet, 15, &captured.payload[..captured.payload.len().min(room)]);
    let length = u16::try_from(packet.len()).unwrap_or(u16::MAX).to_be_bytes();
    packet[4..6].copy_from_slice(&length);
    packet
}

fn addresses(packet: &mut Vec<u8>, captured: &Captured<'_>) {
    let (from, to) = (captured.from.ip().to_canonical(), captured.to.ip().to_canonical());
    chunk(packet, 1, &[if from.is_ipv4() { IPV4 } else { IPV6 }]);
    chunk(packet, 2, &[if captured.is_datagram { UDP } else { TCP }]);
    match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            chunk(packet, 3, &from.octets());
            chunk(packet, 4, &to.octets());
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            chunk(packet, 5, &from.octets());
            chunk(packet, 6, &to.octets());
        }
        (IpAddr::V4(from), IpAddr::V6(_)) => {
            chunk(packet, 3, &from.octets());
            chunk(packet, 4, &[0; 4]);
        }
        (IpAddr::V6(from), IpAddr::V4(_)) => {
            chunk(packet, 5, &from.octets());
            chunk(packet, 6, &[0; 16]);
        }
    }
    chunk(packet, 7, &captured.from.port().to_be_bytes());
    chunk(packet, 8, &captured.to.port().to_be_bytes());
}

fn chunk(packet: &mut Vec<u8>, kind: u16, value: &[u8]) {
    // A Call-ID or password may be long, but not so long that the payload has no room.
    let value = &value[..value.len().min(LONGEST.saturating_sub(packet.len() + CHUNK_HEAD))];
    let length = u16::try_from(value.len() + CHUNK_HEAD).unwrap_or(u16::MAX);
    packet.extend_from_slice(&GENERIC.to_be_bytes());
    packet.extend_from_slice(&kind.to_be_bytes());
    packet.extend_from_slice(&length.to_be_bytes());
    packet.extend_from_slice(value);
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const SENDER: Sender<'static> = Sender { capture_id: 2001, password: Some("pw") };

    fn captured<'a>(from: &str, to: &str, payload: &'a [u8]) -> Captured<'a> {
        let at = SystemTime::UNIX_EPOCH + Duration::from_micros(1_700_000_000_250_007);
        let (from, to) = (from.parse().unwrap(), to.parse().unwrap());
        Captured { kind: Kind::Sip, at, is_datagram: true, from, to, correlation: "a@b", payload }
    }

    /// Byte for byte, as the protocol's description has it.
    #[test]
    fn a_packet_over_ipv4_is_these_bytes() {
        let packet = encode(&captured("192.0.2.1:5060", "198.51.100.2:5062", b"OPTIONS"), SENDER);
        let expected: Vec<u8> = [
            &b"HEP3"[..],
            &[0, 123],
            &[0, 0, 0, 1, 0, 7, 2],
            &[0, 0, 0, 2, 0, 7, 17],
            &[0, 0, 0, 3, 0, 10, 192, 0, 2, 1],
            &[0, 0, 0, 4, 0, 10, 198, 51, 100, 2],
            &[0, 0, 0, 7, 0, 8, 0x13, 0xc4],
            &[0, 0, 0, 8, 0, 8, 0x13, 0xc6],
            &[0, 0, 0, 9, 0, 10, 0x65, 0x53, 0xf1, 0x00],
            &[0, 0, 0, 10, 0, 10, 0x00, 0x03, 0xd0, 0x97],
            &[0, 0, 0, 11, 0, 7, 1],
            &[0, 0, 0, 12, 0, 10, 0, 0, 0x07, 0xd1],
            &[0, 0, 0, 14, 0, 8, b'p', b'w'],
            &[0, 0, 0, 17, 0, 9, b'a', b'@', b'b'],
            &[0, 0, 0, 15, 0, 13],
            b"OPTIONS",
        ]
        .concat();
        assert_eq!(packet, expected);
    }

    #[test]
    fn ipv6_has_chunks_of_its_own_and_a_mapped_address_is_ipv4() {
        let packet = encode(&captured("[2001:db8::1]:5061", "[2001:db8::2]:5061", b""), SENDER);
        assert_eq!(packet[12], 10);
        assert!(packet.windows(6).any(|head| head == [0, 0, 0, 5, 0, 22]) && packet.windows(6).any(|head| head == [0, 0, 0, 6, 0, 22]));
        let mapped = encode(&captured("[::ffff:192.0.2.1]:5061", "192.0.2.2:5061", b""), SENDER);
        assert!(mapped.windows(10).any(|chunk| chunk == [0, 0, 0, 3, 0, 10, 192, 0, 2, 1]));
    }

    #[test]
    fn what_is_too_long_is_cut_and_lengths_stay_true() {
        let long = vec![b'x'; 70_000];
        let text = "y".repeat(70_000);
        for packet in [
            encode(&captured("192.0.2.1:1", "192.0.2.2:2", &long), SENDER),
            encode(&Captured { correlation: &text, ..captured("192.0.2.1:1", "192.0.2.2:2", &long) }, SENDER),
        ] {
            assert!(packet.len() <= LONGEST + CHUNK_HEAD, "{}", packet.len());
            assert_eq!(usize::from(u16::from_be_bytes([packet[4], packet[5]])), packet.len());
            let mut at = 6;
            while at < packet.len() {
                at += usize::from(u16::from_be_bytes([packet[at + 4], packet[at + 5]]));
            }
            assert_eq!(at, packet.len());
        }
    }
}
