//! A drawing as a capture file that packet analysers open (draft-ietf-opsawg-pcapng): each message as one packet, of whatever transport it came by, with what was
//! decided about it as comments.
//!
//! The packets are made up: the border sees messages, not packets. Addresses, ports and times are the real ones; the headers of IP (RFC 791, RFC 8200), UDP (RFC 768)
//! and TCP (RFC 9293) are whole, with right lengths and checksums, and the sequence numbers of each connection count its messages' octets. What came by TLS is shown
//! as TCP, deciphered.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

use super::drawing::{Drawing, Mark, Passed};
use super::text::media;

/// Of raw IP packets, version 4 or 6.
const LINKTYPE_RAW: u16 = 101;
/// Octets of one segment; a message longer than that takes several.
const SEGMENT: usize = 32 << 10;
/// A comment's length is written in 16 bits.
const LONGEST_COMMENT: usize = 2000;
const TCP: u8 = 6;
const UDP: u8 = 17;
/// PSH and ACK.
const PUSHED: u8 = 0x18;

impl Drawing {
    /// As a capture file.
    pub fn capture(&self) -> Vec<u8> {
        let mut file = Vec::new();
        section(&mut file, &self.legs);
        let mut connections = Connections::default();
        let mut packets: Vec<(i64, Vec<Vec<u8>>, Vec<String>)> = Vec::new();
        // What was said before the first message.
        let mut before = Vec::new();
        for row in &self.rows {
            match &row.mark {
                Mark::Arrow { message, again, .. } => {
                    let Some(passed) = self.messages.get(*message) else { continue };
                    let mut comments = std::mem::take(&mut before);
                    comments.extend(again.then(|| String::from("sent or received again")));
                    comments.extend((passed.transport == "tls").then(|| String::from("by TLS, deciphered by the border")));
                    packets.push((row.at, connections.packets(passed), comments));
                }
                Mark::Media { from, to, .. } => {
                    let column = |index: &usize| self.columns.get(*index).map_or("?", String::as_str);
                    let words = format!("{} → {}: {}", column(from), column(to), media(row).unwrap_or_default());
                    packets.last_mut().map_or(&mut before, |(_, _, comments)| comments).push(words);
                }
                mark => packets.last_mut().map_or(&mut before, |(_, _, comments)| comments).extend(mark.words()),
            }
        }
        for (at, segments, mut comments) in packets {
            for segment in segments {
                packet(&mut file, at, &segment, &std::mem::take(&mut comments));
            }
        }
        file
    }
}

/// The octets each connection has carried, by sender and receiver.
#[derive(Default)]
struct Connections(HashMap<(SocketAddr, SocketAddr), u32>);

impl Connections {
    fn packets(&mut self, passed: &Passed) -> Vec<Vec<u8>> {
        let bytes = &legible(passed.bytes())[..];
        let (from, to) = of_one_family(passed.from, passed.to);
        if passed.transport == "udp" {
            // No datagram is longer than that.
            let bytes = &bytes[..bytes.len().min(65_000)];
            return vec![ip(from.ip(), to.ip(), UDP, &udp(from, to, bytes))];
        }
        let segments = bytes.chunks(SEGMENT).map(|segment| {
            let acknowledged = *self.0.entry((to, from)).or_insert(1);
            let sequence = self.0.entry((from, to)).or_insert(1);
            let packet = ip(from.ip(), to.ip(), TCP, &tcp(from, to, *sequence, acknowledged, segment));
            *sequence = sequence.wrapping_add(segment.len() as u32);
            packet
        });
        segments.collect()
    }
}

/// A key that is blotted out is written as Base64 of as many zeros: an analyser that cannot decode a key (RFC 4568 §6.1) shows nothing of the whole description.
fn legible(mut bytes: Vec<u8>) -> Vec<u8> {
    const INLINE: &[u8] = b"inline:";
    let keys: Vec<usize> = memchr::memmem::find_iter(&bytes, INLINE).map(|at| at + INLINE.len()).collect();
    for key in keys {
        bytes[key..].iter_mut().take_while(|byte| **byte == b'*').for_each(|byte| *byte = b'A');
    }
    bytes
}

/// Where only one of them is known, the other is unspecified, and may be so of the other family.
fn of_one_family(from: SocketAddr, to: SocketAddr) -> (SocketAddr, SocketAddr) {
    let six = |end: SocketAddr| match end.ip() {
        IpAddr::V4(address) => SocketAddr::new(address.to_ipv6_mapped().into(), end.port()),
        IpAddr::V6(_) => end,
    };
    if from.is_ipv4() == to.is_ipv4() { (from, to) } else { (six(from), six(to)) }
}

fn udp(from: SocketAddr, to: SocketAddr, payload: &[u8]) -> Vec<u8> {
    let mut datagram = Vec::with_capacity(8 + payload.len());
    for word in [from.port(), to.port(), (8 + payload.len()) as u16, 0] {
        datagram.extend(word.to_be_bytes());
    }
    datagram.extend(payload);
    // A sum of nought says that there is none; its other form says the same number.
    let sum = match checksum(from.ip(), to.ip(), UDP, &datagram) {
        0 => u16::MAX,
        sum => sum,
    };
    datagram[6..8].copy_from_slice(&sum.to_be_bytes());
    datagram
}

fn tcp(from: SocketAddr, to: SocketAddr, sequence: u32, acknowledged: u32, payload: &[u8]) -> Vec<u8> {
    let mut segment = Vec::with_capacity(20 + payload.len());
    segment.extend(from.port().to_be_bytes());
    segment.extend(to.port().to_be_bytes());
    segment.extend(sequence.to_be_bytes());
    segment.extend(acknowledged.to_be_bytes());
    // Five words of header, the whole window, checksum, nothing urgent.
    segment.extend([5 << 4, PUSHED, 0xff, 0xff, 0, 0, 0, 0]);
    segment.extend(payload);
    let sum = checksum(from.ip(), to.ip(), TCP, &segment);
    segment[16..18].copy_from_slice(&sum.to_be_bytes());
    segment
}

fn ip(from: IpAddr, to: IpAddr, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = Vec::with_capacity(40 + payload.len());
    match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            packet.extend([0x45, 0]);
            packet.extend(((20 + payload.len()) as u16).to_be_bytes());
            // Number 0, not to be fragmented, 64 hops.
            packet.extend([0, 0, 0x40, 0, 64, protocol, 0, 0]);
            packet.extend(from.octets());
            packet.extend(to.octets());
            let sum = folded(words(&packet));
            packet[10..12].copy_from_slice(&sum.to_be_bytes());
        }
        (from, to) => {
            packet.extend([0x60, 0, 0, 0]);
            packet.extend((payload.len() as u16).to_be_bytes());
            packet.extend([protocol, 64]);
            packet.extend(octets(from));
            packet.extend(octets(to));
        }
    }
    packet.extend(payload);
    packet
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// Over the addresses, the protocol and the length as well (RFC 9293 §3.1, RFC 8200 §8.1).
fn checksum(from: IpAddr, to: IpAddr, protocol: u8, segment: &[u8]) -> u16 {
    folded(words(&octets(from)) + words(&octets(to)) + u64::from(protocol) + segment.len() as u64 + words(segment))
}

fn words(octets: &[u8]) -> u64 {
    octets.chunks(2).map(|pair| u64::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]))).sum()
}

/// RFC 1071.
fn folded(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// The section's head and its one interface, whose times are in microseconds.
fn section(file: &mut Vec<u8>, legs: &[String]) {
    let mut head = Vec::new();
    head.extend(0x1a2b_3c4d_u32.to_le_bytes());
    head.extend([1, 0, 0, 0]);
    // How long the section is, is not said.
    head.extend(u64::MAX.to_le_bytes());
    legs.iter().for_each(|leg| option(&mut head, 1, leg.as_bytes()));
    option(&mut head, 4, concat!("Portcullis ", env!("CARGO_PKG_VERSION")).as_bytes());
    option(&mut head, 0, &[]);
    block(file, 0x0a0d_0d0a, &head);
    let mut interface = Vec::new();
    interface.extend(LINKTYPE_RAW.to_le_bytes());
    interface.extend([0; 6]);
    option(&mut interface, 2, b"portcullis");
    option(&mut interface, 9, &[6]);
    option(&mut interface, 0, &[]);
    block(file, 1, &interface);
}

/// An enhanced packet block.
fn packet(file: &mut Vec<u8>, at: i64, bytes: &[u8], comments: &[String]) {
    let at = u64::try_from(at).unwrap_or(0);
    let mut body = Vec::with_capacity(bytes.len() + 64);
    for word in [0, (at >> 32) as u32, at as u32, bytes.len() as u32, bytes.len() as u32] {
        body.extend(word.to_le_bytes());
    }
    body.extend(bytes);
    padded(&mut body);
    for comment in comments {
        let end = (0..=LONGEST_COMMENT.min(comment.len())).rev().find(|end| comment.is_char_boundary(*end)).unwrap_or(0);
        option(&mut body, 1, &comment.as_bytes()[..end]);
    }
    option(&mut body, 0, &[]);
    block(file, 6, &body);
}

fn option(body: &mut Vec<u8>, code: u16, value: &[u8]) {
    body.extend(code.to_le_bytes());
    body.extend((value.len() as u16).to_le_bytes());
    body.extend(value);
    padded(body);
}

fn block(file: &mut Vec<u8>, kind: u32, body: &[u8]) {
    let length = (body.len() as u32 + 12).to_le_bytes();
    file.extend(kind.to_le_bytes());
    file.extend(length);
    file.extend(body);
    file.extend(length);
}

/// To whole words of four octets.
fn padded(body: &mut Vec<u8>) {
    body.resize(body.len().next_multiple_of(4), 0);
}

#[cfg(test)]
mod tests {
    use super::super::drawing::{Class, Row};
    use super::*;

    fn drawing(messages: Vec<Passed>) -> Drawing {
        let arrow = |(message, passed): (usize, &Passed)| Row {
            at: passed.at,
            after_us: 0,
            mark: Mark::Arrow { from: 0, to: 1, label: String::new(), class: Class::Request, again: message > 1, description: None, message },
        };
        let mut rows: Vec<Row> = messages.iter().enumerate().map(arrow).collect();
        rows.insert(0, Row { at: 0, after_us: 0, mark: Mark::Note { text: "before it".into(), trouble: false } });
        rows.push(Row { at: 9, after_us: 0, mark: Mark::Note { text: "é".repeat(40_000), trouble: true } });
        Drawing { legs: vec!["leg A".into()], columns: vec!["a".into(), "b".into()], border: 1, rows, messages, left_out: 0 }
    }

    fn passed(transport: &str, from: &str, to: &str, bytes: &[u8]) -> Passed {
        Passed::new(1_795_179_600_000_123, (from.parse().unwrap(), to.parse().unwrap()), transport, bytes)
    }

    /// The body of each block of a kind, found by the lengths at both ends.
    fn blocks(file: &[u8], wanted: u32) -> Vec<&[u8]> {
        let word = |at: usize| u32::from_le_bytes(file[at..at + 4].try_into().unwrap());
        let (mut at, mut found) = (0, Vec::new());
        while at < file.len() {
            let length = word(at + 4) as usize;
            assert!(length.is_multiple_of(4) && word(at + length - 4) as usize == length, "at {at}");
            if word(at) == wanted {
                found.push(&file[at + 8..at + length - 4]);
            }
            at += length;
        }
        found
    }

    /// The packet in a block.
    fn inside(block: &[u8]) -> &[u8] {
        let length = u32::from_le_bytes(block[12..16].try_into().unwrap()) as usize;
        &block[20..20 + length]
    }

    #[test]
    fn headers_are_whole_and_their_sums_come_to_nothing() {
        let ends = [("192.0.2.1:5060", "192.0.2.2:40000"), ("[2001:db8::1]:5061", "[2001:db8::2]:5061"), ("192.0.2.1:5060", "[2001:db8::2]:5061")];
        for transport in ["udp", "tcp", "tls"] {
            for (from, to) in ends {
                for text in ["OPTIONS", "odd", ""] {
                    let file = drawing(vec![passed(transport, from, to, text.as_bytes())]).capture();
                    for block in blocks(&file, 6) {
                        let packet = inside(block);
                        let (header, addresses) = if packet[0] >> 4 == 4 { (20, 12..20) } else { (40, 8..40) };
                        if header == 20 {
                            assert_eq!(folded(words(&packet[..20])), 0, "the header's own");
                            assert_eq!(usize::from(u16::from_be_bytes([packet[2], packet[3]])), packet.len());
                        }
                        let protocol = if header == 20 { packet[9] } else { packet[6] };
                        assert_eq!(protocol, if transport == "udp" { UDP } else { TCP });
                        let segment = &packet[header..];
                        let sum = words(&packet[addresses]) + u64::from(protocol) + segment.len() as u64 + words(segment);
                        assert_eq!(folded(sum), 0, "{transport} {from} {to}");
                        assert!(segment.ends_with(text.as_bytes()));
                    }
                }
            }
        }
    }

    #[test]
    fn sequence_numbers_count_what_each_side_has_sent() {
        let (a, b) = ("192.0.2.1:5061", "192.0.2.2:40000");
        let long = vec![b'x'; SEGMENT + 100];
        let file = drawing(vec![passed("tls", a, b, b"12345"), passed("tls", b, a, b"123"), passed("tls", a, b, &long), passed("tls", b, a, b"1")]).capture();
        let number = |packet: &[u8], at: usize| u32::from_be_bytes(packet[at..at + 4].try_into().unwrap());
        let numbers: Vec<_> = blocks(&file, 6).into_iter().map(inside).map(|packet| (number(packet, 24), number(packet, 28))).collect();
        let whole = SEGMENT as u32;
        assert_eq!(numbers, [(1, 1), (1, 6), (6, 4), (6 + whole, 4), (4, 106 + whole)]);
    }

    #[test]
    fn times_and_comments_stand_with_their_packet() {
        let file = drawing(vec![passed("tls", "192.0.2.1:1", "192.0.2.2:2", b"INVITE \xff")]).capture();
        let packets = blocks(&file, 6);
        let at = |block: &[u8]| {
            (u64::from(u32::from_le_bytes(block[4..8].try_into().unwrap())) << 32) + u64::from(u32::from_le_bytes(block[8..12].try_into().unwrap()))
        };
        assert_eq!(at(packets[0]), 1_795_179_600_000_123);
        assert!(inside(packets[0]).ends_with(b"INVITE \xff"), "octets that are no text");
        let text = String::from_utf8_lossy(packets[0]);
        assert!(text.contains("= before it") && text.contains("deciphered by the border") && text.contains("ééé"), "{text}");
        assert_eq!(blocks(&drawing(Vec::new()).capture(), 6).len(), 0);
    }

    #[test]
    fn a_key_that_was_blotted_out_can_be_decoded_all_the_same() {
        let text = "a=crypto:1 X inline:********|2^31\r\na=x:inline:\r\na=crypto:2 X inline:****;inline:****";
        let passed = passed("udp", "192.0.2.1:5060", "192.0.2.2:5060", text.as_bytes());
        let file = drawing(vec![passed]).capture();
        let holds = |part: &str| memchr::memmem::find(&file, part.as_bytes()).is_some();
        assert!(holds("inline:AAAAAAAA|2^31\r\na=x:inline:\r\na=crypto:2 X inline:AAAA;inline:AAAA") && !holds("inline:*"));
    }
}
