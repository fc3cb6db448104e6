//! The headers of a datagram we send whole: IPv4 (RFC 791), IPv6 (RFC 8200), UDP (RFC 768).

use std::net::{IpAddr, SocketAddr};

/// Room in front of a payload for the longest headers. Unit: bytes.
pub const ROOM: usize = IPV6 + UDP;

const IPV4: usize = 20;
const IPV6: usize = 40;
const UDP: usize = 8;
const PROTOCOL: u8 = 17;
const HOPS: u8 = 64;

/// Writes headers right in front of the payload, which stands in `buffer` from [`ROOM`] on; gives where the packet begins. `None`: the addresses are
/// of two families, or the payload is too long for a datagram or not all there. IPv4's header checksum and identification are left for the kernel to fill,
/// which does that for raw sockets (raw(7)); fragments are forbidden, as UDP sockets do for path MTU discovery.
pub fn write(buffer: &mut [u8], len: usize, from: SocketAddr, to: SocketAddr, dscp: u8) -> Option<usize> {
    let (head, payload) = buffer.split_at_mut_checked(ROOM)?;
    let payload = payload.get(..len)?;
    let length = u16::try_from(UDP + len).ok()?;
    let class = dscp.min(63) << 2;
    let (ip, udp) = head.split_at_mut(IPV6);
    let pseudo = match (from.ip(), to.ip()) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let total = length.checked_add(IPV4 as u16)?;
            let ip = ip.get_mut(IPV6 - IPV4..)?;
            put(ip, 0, &[0x45, class]);
            put(ip, 2, &total.to_be_bytes());
            // Identification, don't fragment.
            put(ip, 4, &[0, 0, 0x40, 0]);
            put(ip, 8, &[HOPS, PROTOCOL, 0, 0]);
            put(ip, 12, &source.octets());
            put(ip, 16, &destination.octets());
            sum(sum(0, &source.octets()), &destination.octets())
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            put(ip, 0, &[0x60 | class >> 4, class << 4, 0, 0]);
            put(ip, 4, &length.to_be_bytes());
            put(ip, 6, &[PROTOCOL, HOPS]);
            put(ip, 8, &source.octets());
            put(ip, 24, &destination.octets());
            sum(sum(0, &source.octets()), &destination.octets())
        }
        _ => return None,
    };
    put(udp, 0, &from.port().to_be_bytes());
    put(udp, 2, &to.port().to_be_bytes());
    put(udp, 4, &length.to_be_bytes());
    put(udp, 6, &[0, 0]);
    let total = sum(sum(pseudo + u64::from(PROTOCOL) + u64::from(length), udp), payload);
    put(udp, 6, &checksum(total).to_be_bytes());
    Some(if from.is_ipv4() { IPV6 - IPV4 } else { 0 })
}

#[inline]
fn put(to: &mut [u8], at: usize, bytes: &[u8]) {
    if let Some(place) = to.get_mut(at..at + bytes.len()) {
        place.copy_from_slice(bytes);
    }
}

/// Adds `bytes`, with a zero behind them where their number is odd, in words of four: what carries over is taken back in by [`checksum`] (RFC 1071 §2).
/// Only the last bytes of a datagram may be of an odd number.
#[inline]
fn sum(start: u64, bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<4>();
    let mut last = [0; 4];
    put(&mut last, 0, rest);
    words.iter().fold(start, |sum, word| sum + u64::from(u32::from_be_bytes(*word))) + u64::from(u32::from_be_bytes(last))
}

/// The ones' complement of the sum in ones' complement, of 16 bits; zero is sent as all ones, since zero means none.
#[inline]
fn checksum(sum: u64) -> u16 {
    let sum = (sum & 0xffff_ffff) + (sum >> 32);
    let sum = (sum & 0xffff) + (sum >> 16 & 0xffff) + (sum >> 32);
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    match !(sum as u16) {
        0 => 0xffff,
        checksum => checksum,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By 16-bit words, as RFC 1071 has it.
    fn folded(bytes: &[u8]) -> u16 {
        let mut sum: u32 = bytes.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)]))).sum();
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        sum as u16
    }

    fn packet(from: &str, to: &str, payload: &[u8]) -> Vec<u8> {
        let mut buffer = vec![0xee; ROOM];
        buffer.extend_from_slice(payload);
        let start = write(&mut buffer, payload.len(), from.parse().unwrap(), to.parse().unwrap(), 46).unwrap();
        buffer.split_off(start)
    }

    /// The checksum over pseudo-header and datagram comes to all ones, for every length and content.
    #[test]
    fn checksums_are_right_for_every_length() {
        for len in 0..400usize {
            let payload: Vec<u8> = (0..len).map(|n| (n * 37 + len * 11) as u8).collect();
            let four = packet("192.0.2.1:20000", "198.51.100.7:4000", &payload);
            let length = ((len + 8) as u16).to_be_bytes();
            let pseudo = [&four[12..20], &[0, 17], &length, &four[20..]].concat();
            assert_eq!(folded(&pseudo), 0xffff, "IPv4, {len}");
            let six = packet("[2001:db8::1]:20000", "[2001:db8:7::2]:4000", &payload);
            let pseudo = [&six[8..40], &[0, 17], &length, &six[40..]].concat();
            assert_eq!(folded(&pseudo), 0xffff, "IPv6, {len}");
        }
        assert!(packet("0.0.0.0:0", "255.255.255.255:65535", &[0xff; 172])[26..28] != [0, 0], "zero would mean none");
    }

    #[test]
    fn every_field_is_where_it_belongs() {
        let four = packet("192.0.2.1:20000", "198.51.100.7:4000", &[0xd5; 172]);
        assert_eq!(four[..12], [0x45, 46 << 2, 0, 200, 0, 0, 0x40, 0, 64, 17, 0, 0]);
        assert_eq!(four[12..20], [192, 0, 2, 1, 198, 51, 100, 7]);
        assert_eq!(four[20..26], [0x4e, 0x20, 0x0f, 0xa0, 0, 180]);
        assert_eq!(four.len(), 200);
        let six = packet("[2001:db8::1]:20000", "[2001:db8::2]:4000", &[0xd5; 172]);
        // Version 6, traffic class 184, no flow label.
        assert_eq!(six[..8], [0x6b, 0x80, 0, 0, 0, 180, 17, 64]);
        assert_eq!((six[8..10].to_vec(), six[39], six.len()), (vec![0x20, 0x01], 2, 220));
    }

    #[test]
    fn what_does_not_fit_has_no_headers() {
        let (four, six) = ("192.0.2.1:1".parse().unwrap(), "[::1]:1".parse().unwrap());
        assert_eq!(write(&mut [0; 100], 52, four, six, 0), None);
        assert_eq!(write(&mut [0; 100], 53, four, four, 0), None);
        assert_eq!(write(&mut [0; 20], 0, four, four, 0), None);
        let mut long = vec![0; ROOM + 65_520];
        assert_eq!(write(&mut long, 65_520, four, four, 0), None);
        assert_eq!(write(&mut [0; 100], 52, six, six, 0), Some(0));
    }
}
