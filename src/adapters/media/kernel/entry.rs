//! Keys, entries and counts as the program in the kernel lays them out (ebpf/relay.bpf.c): bytes, no pointers, so that nothing here is unsafe.

use std::net::{IpAddr, SocketAddr};

use crate::media::shortcut::{Pace, Shortcut};
use crate::time::Time;

pub const KEY: usize = 36;
pub const ENTRY: usize = 88;
pub const COUNT: usize = 48;

/// The five-tuple a packet arrives with.
pub type Key = [u8; KEY];

/// Writes into an entry what has come to the sockets of its source: cycles and highest sequence number.
pub fn hear(entry: &mut [u8; ENTRY], highest: u32) {
    put(entry, 80, &highest.to_ne_bytes());
}

/// What `count` holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Count {
    pub packets: u64,
    pub bytes: u64,
    pub last: Time,
    pub gaps: u32,
    pub pace: Pace,
}

/// `ours`: the socket the packets would come to.
pub fn key(shortcut: &Shortcut, ours: SocketAddr) -> Key {
    let mut key = [0; KEY];
    put(&mut key, 0, &octets(shortcut.from.ip()));
    put(&mut key, 16, &octets(ours.ip()));
    put(&mut key, 32, &shortcut.from.port().to_be_bytes());
    put(&mut key, 34, &ours.port().to_be_bytes());
    key
}

/// `arrives`, `leaves`: our addresses on the side the packets come from and on the one they go to. `epoch`: CLOCK_MONOTONIC at [`Time::ZERO`], ns.
pub fn entry(shortcut: &Shortcut, arrives: SocketAddr, leaves: SocketAddr, slot: u32, epoch: u64, dscp: u8) -> [u8; ENTRY] {
    let before = sum(0, shortcut.from.ip(), arrives.ip());
    let ports = |of: SocketAddr| u32::from(u16::from_ne_bytes(of.port().to_be_bytes()));
    let after = fold(u32::from(sum(0, leaves.ip(), shortcut.to.ip())) + ports(leaves) + ports(shortcut.to));
    let taken = fold(u32::from(before) + ports(shortcut.from) + ports(arrives));
    let change = fold(u32::from(after) + u32::from(!taken));
    let mut entry = [0; ENTRY];
    put(&mut entry, 0, &octets(leaves.ip()));
    put(&mut entry, 16, &octets(shortcut.to.ip()));
    put(&mut entry, 32, &leaves.port().to_be_bytes());
    put(&mut entry, 34, &shortcut.to.port().to_be_bytes());
    put(&mut entry, 36, &shortcut.ssrc.to_be_bytes());
    put(&mut entry, 40, &(shortcut.payload_types as u64).to_ne_bytes());
    put(&mut entry, 48, &((shortcut.payload_types >> 64) as u64).to_ne_bytes());
    put(&mut entry, 56, &epoch.to_ne_bytes());
    put(&mut entry, 64, &slot.to_ne_bytes());
    put(&mut entry, 68, &shortcut.clock.to_ne_bytes());
    put(&mut entry, 72, &before.to_ne_bytes());
    put(&mut entry, 74, &change.to_ne_bytes());
    put(&mut entry, 76, &[dscp.min(63) << 2, if shortcut.to.is_ipv6() { 6 } else { 4 }]);
    entry
}

impl Count {
    pub fn write(&self) -> [u8; COUNT] {
        let mut count = [0; COUNT];
        put(&mut count, 0, &self.packets.to_ne_bytes());
        put(&mut count, 8, &self.bytes.to_ne_bytes());
        put(&mut count, 16, &self.last.as_nanos().to_ne_bytes());
        for (at, word) in (24..).step_by(4).zip([self.pace.highest, self.pace.timestamp, self.pace.transit, self.pace.jitter, self.gaps]) {
            put(&mut count, at, &word.to_ne_bytes());
        }
        count
    }

    pub fn read(count: &[u8; COUNT]) -> Count {
        let long = |at: usize| count.get(at..).and_then(<[u8]>::first_chunk).map_or(0, |bytes| u64::from_ne_bytes(*bytes));
        let word = |at: usize| count.get(at..).and_then(<[u8]>::first_chunk).map_or(0, |bytes| u32::from_ne_bytes(*bytes));
        let pace = Pace { highest: word(24), timestamp: word(28), transit: word(32), jitter: word(36) };
        Count { packets: long(0), bytes: long(8), last: Time::from_nanos(long(16)), gaps: word(40), pace }
    }
}

fn put(to: &mut [u8], at: usize, bytes: &[u8]) {
    if let Some(place) = to.get_mut(at..at + bytes.len()) {
        place.copy_from_slice(bytes);
    }
}

/// IPv4 as ::ffff:a.b.c.d.
fn octets(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}

/// Of both addresses as they stand in the pseudo-header (RFC 768, RFC 8200 §8.1), in words as they lie in memory (RFC 1071 §2).
fn sum(start: u32, one: IpAddr, other: IpAddr) -> u16 {
    let words = |address: IpAddr| -> u32 {
        let bytes = octets(address);
        let bytes = if address.is_ipv4() { bytes.get(12..).unwrap_or_default() } else { &bytes };
        bytes.chunks_exact(2).map(|pair| u32::from(u16::from_ne_bytes([pair[0], pair[1]]))).sum()
    };
    fold(start + words(one) + words(other))
}

/// In ones' complement, to 16 bits.
fn fold(sum: u32) -> u16 {
    let sum = (sum & 0xffff) + (sum >> 16);
    ((sum & 0xffff) + (sum >> 16)) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    /// As an independent stack would write it, from the pseudo-header and all bytes.
    fn checksum(from: SocketAddr, to: SocketAddr, datagram: &[u8]) -> u16 {
        let mut bytes = [octets(from.ip()), octets(to.ip())].concat();
        if from.is_ipv4() {
            bytes.drain(16..28);
            bytes.drain(0..12);
        }
        bytes.extend_from_slice(&[0, 17]);
        bytes.extend_from_slice(&(datagram.len() as u16).to_be_bytes());
        bytes.extend_from_slice(datagram);
        let total: u32 = bytes.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)]))).sum();
        !fold(total)
    }

    fn datagram(from: SocketAddr, to: SocketAddr, checksum: u16) -> Vec<u8> {
        let mut bytes = Vec::new();
        for word in [from.port(), to.port(), 8 + 173, checksum] {
            bytes.extend_from_slice(&word.to_be_bytes());
        }
        bytes.extend((0..173u32).map(|n| (n * 7 + 3) as u8));
        bytes
    }

    /// RFC 1624 as the program applies it: the change alone makes the right checksum of the old one, from and to either family.
    #[test]
    fn the_change_of_the_checksum_is_the_one_readdressing_makes() {
        let (four, six) = (["192.0.2.7:4000", "198.51.100.1:20000"], ["[2001:db8::7]:65535", "[2001:db8:ffff::1]:20002"]);
        for (before, after) in [(four, four), (four, six), (six, four), (six, six)] {
            let shortcut = Shortcut { from: at(before[0]), to: at(after[0]), ssrc: 1, payload_types: 1, clock: 8_000 };
            let (arrives, leaves) = (at(before[1]), at(after[1]));
            let entry = entry(&shortcut, arrives, leaves, 0, 0, 46);
            let change = u16::from_ne_bytes([entry[74], entry[75]]);
            let old = checksum(shortcut.from, arrives, &datagram(shortcut.from, arrives, 0));
            let new = checksum(leaves, shortcut.to, &datagram(leaves, shortcut.to, 0));
            let made = !fold(u32::from(!u16::from_ne_bytes(old.to_be_bytes())) + u32::from(change));
            assert_eq!(u16::from_be_bytes(made.to_ne_bytes()), new, "{before:?} to {after:?}");
        }
    }

    #[test]
    fn a_count_is_read_as_it_was_written() {
        let pace = Pace { highest: 0x1_fffe, timestamp: 160, transit: 0xffff_ff00, jitter: 48 };
        let count = Count { packets: 5, bytes: 860, last: Time::from_millis(77), gaps: 3, pace };
        assert_eq!(Count::read(&count.write()), count);
    }
}
