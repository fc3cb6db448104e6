//! Captures as tools write them, made packet by packet: whatever link, fragment and segment an INVITE came in, it is found once.

use super::*;
use etherparse::PacketBuilder;

const SOURCE: [u8; 4] = [192, 0, 2, 9];
const LOCAL: [u8; 4] = [192, 0, 2, 1];

fn invite(call: &str, via: &str) -> String {
    format!(
        "INVITE sip:5000@192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/{via} 192.0.2.9:5060;branch=z9hG4bK{call}\r\nFrom: <sip:+4930100@192.0.2.9>;tag=1\r\n\
         To: <sip:5000@192.0.2.1>\r\nCall-ID: {call}\r\nCSeq: 1 INVITE\r\nMax-Forwards: 70\r\nContact: <sip:192.0.2.9>\r\nContent-Length: 0\r\n\r\n"
    )
}

/// Pcap in the machine's own order, with the link type and the packets, one each millisecond from the first second of 2026.
fn file(link: u32, packets: &[Vec<u8>]) -> tempfile::NamedTempFile {
    let mut bytes = Vec::new();
    let word = |bytes: &mut Vec<u8>, word: u32| bytes.extend_from_slice(&word.to_le_bytes());
    for value in [0xa1b2_c3d4, 0x0004_0002, 0, 0, 65_535, link] {
        word(&mut bytes, value);
    }
    for (index, packet) in packets.iter().enumerate() {
        for value in [1_767_225_600, index as u32 * 1000, packet.len() as u32, packet.len() as u32] {
            word(&mut bytes, value);
        }
        bytes.extend_from_slice(packet);
    }
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), bytes).unwrap();
    file
}

fn udp(payload: &[u8]) -> Vec<u8> {
    let builder = PacketBuilder::ethernet2([1; 6], [2; 6]).ipv4(SOURCE, LOCAL, 64).udp(5062, 5060);
    let mut packet = Vec::new();
    builder.write(&mut packet, payload).unwrap();
    packet
}

fn tcp(sequence: u32, syn: bool, payload: &[u8]) -> Vec<u8> {
    let builder = PacketBuilder::ethernet2([1; 6], [2; 6]).ipv4(SOURCE, LOCAL, 64).tcp(40_000, 5060, sequence, 1000);
    let builder = if syn { builder.syn() } else { builder };
    let mut packet = Vec::new();
    builder.write(&mut packet, payload).unwrap();
    packet
}

fn read(link: u32, packets: &[Vec<u8>]) -> Capture {
    Capture::read(file(link, packets).path(), &[], None, None).unwrap()
}

/// Call-IDs, oldest first.
fn calls(capture: &Capture) -> Vec<String> {
    capture.heard.iter().map(|heard| Message::parse(heard.message.clone(), &Limits::default()).unwrap().call_id().unwrap().to_owned()).collect()
}

#[test]
fn a_datagram_is_found_once_however_often_it_is_sent() {
    let capture = read(1, &[udp(invite("a", "UDP").as_bytes()), udp(invite("a", "UDP").as_bytes()), udp(b"OPTIONS sip:x SIP/2.0\r\n\r\n"), udp(b"")]);
    assert_eq!(calls(&capture), ["a"]);
    let heard = &capture.heard[0];
    assert_eq!((heard.transport, heard.source, heard.local), (Transport::Udp, "192.0.2.9:5062".parse().unwrap(), "192.0.2.1:5060".parse().unwrap()));
    assert_eq!((heard.caller.as_str(), heard.called.as_str(), heard.at, heard.place), ("+4930100", "5000", Some(1_767_225_600_000), Place::Packet(1)));
}

#[test]
fn every_link_is_taken_off() {
    let ethernet = udp(invite("a", "UDP").as_bytes());
    let ip = ethernet[14..].to_vec();
    let cooked = |head: &[u8]| [head, &ip].concat();
    let mut second = vec![0x08, 0x00];
    second.resize(20, 0);
    let mut first = vec![0, 0, 0, 1, 0, 6, 1, 1, 1, 1, 1, 1, 0, 0];
    first.extend([0x08, 0x00]);
    let tagged = [&ethernet[..12], &[0x81, 0, 0, 5], &ethernet[12..]].concat();
    for (link, packet) in
        [(1, ethernet.clone()), (1, tagged), (101, ip.clone()), (228, ip.clone()), (0, cooked(&[2, 0, 0, 0])), (113, cooked(&first)), (276, cooked(&second))]
    {
        assert_eq!(calls(&read(link, &[packet])), ["a"], "link {link}");
    }
    assert!(calls(&read(147, &[ethernet])).is_empty(), "a link of the user's own");
}

#[test]
fn fragments_are_put_together_in_any_order() {
    let long = invite("a", "UDP").replace("Max-Forwards", &format!("Subject: {}\r\nMax-Forwards", "x".repeat(3000)));
    let whole = udp(long.as_bytes());
    // The IP payload in pieces of a multiple of eight octets.
    let pieces: Vec<&[u8]> = whole[34..].chunks(1400).collect();
    let mut packets: Vec<Vec<u8>> = Vec::new();
    for (index, piece) in pieces.iter().enumerate() {
        let mut header = etherparse::Ipv4Header::new(piece.len() as u16, 64, etherparse::IpNumber::UDP, SOURCE, LOCAL).unwrap();
        header.identification = 7;
        header.more_fragments = index + 1 < pieces.len();
        header.dont_fragment = false;
        header.fragment_offset = etherparse::IpFragOffset::try_new((index * 1400 / 8) as u16).unwrap();
        header.header_checksum = header.calc_header_checksum();
        let mut packet = whole[..14].to_vec();
        header.write(&mut packet).unwrap();
        packet.extend_from_slice(piece);
        packets.push(packet);
    }
    assert_eq!(calls(&read(1, &packets)), ["a"]);
    packets.reverse();
    assert_eq!(calls(&read(1, &packets)), ["a"]);
    packets.pop();
    assert!(calls(&read(1, &packets)).is_empty(), "the first is missing");
}

#[test]
fn segments_are_put_in_order_and_messages_cut_out() {
    let text = [invite("a", "TCP"), invite("b", "TCP")].concat();
    let (bytes, start) = (text.as_bytes(), 4_294_967_200_u32);
    let part = |from: usize, to: usize| tcp(start.wrapping_add(1 + from as u32), false, &bytes[from..to]);
    let end = bytes.len();
    // Over the end of the sequence numbers, out of order, one of them twice, two overlapping.
    let packets = [tcp(start, true, b""), part(0, 100), part(200, 300), part(100, 200), part(100, 200), part(250, 400), part(400, end)];
    let capture = read(1, &packets);
    assert_eq!(calls(&capture), ["a", "b"]);
    assert_eq!(capture.heard[0].transport, Transport::Tcp);
    // Without its beginning, from the first message that is whole.
    assert_eq!(calls(&read(1, &[part(20, 100), part(invite("a", "TCP").len(), end)])), ["b"]);
}

#[test]
fn what_is_encrypted_stays_closed_and_is_told() {
    let capture = read(1, &[tcp(0, true, b""), tcp(1, false, &[0x16, 3, 1, 0, 5, 1, 2, 3, 4, 5]), tcp(11, false, invite("a", "TLS").as_bytes())]);
    assert!(calls(&capture).is_empty());
    assert!(capture.remarks().iter().any(|line| line.starts_with("1 TCP connections are encrypted")), "{:?}", capture.remarks());
    let decrypted = read(1, &[tcp(0, true, b""), tcp(1, false, invite("a", "TLS").as_bytes())]);
    assert_eq!(decrypted.heard[0].transport, Transport::Tls, "its Via says how it came");
}

#[test]
fn the_last_ones_since_a_time_and_not_our_own() {
    let packets: Vec<Vec<u8>> = (0..10).map(|index| udp(invite(&format!("c{index}"), "UDP").as_bytes())).collect();
    let file = file(1, &packets);
    let of = |own: &[SocketAddr], last, since| Capture::read(file.path(), own, last, since).unwrap();
    assert_eq!(calls(&of(&[], Some(2), None)), ["c8", "c9"]);
    assert_eq!(calls(&of(&[], None, Some(1_767_225_600_007))), ["c7", "c8", "c9"]);
    let sent = of(&["192.0.2.9:5060".parse().unwrap()], None, None);
    assert!(calls(&sent).is_empty() && sent.remarks().iter().any(|line| line.contains("by the border itself")), "{:?}", sent.remarks());
}

#[test]
fn a_file_cut_off_gives_what_came_before_and_says_so() {
    let whole = file(1, &[udp(invite("a", "UDP").as_bytes()), udp(invite("b", "UDP").as_bytes())]);
    let bytes = std::fs::read(whole.path()).unwrap();
    std::fs::write(whole.path(), &bytes[..bytes.len() - 10]).unwrap();
    let capture = Capture::read(whole.path(), &[], None, None).unwrap();
    assert_eq!(calls(&capture), ["a"]);
    assert!(capture.remarks().iter().any(|line| line.contains("cut off")), "{:?}", capture.remarks());
    std::fs::write(whole.path(), b"no capture at all, though long enough to be looked at").unwrap();
    assert!(Capture::read(whole.path(), &[], None, None).err().unwrap().contains("is no capture"));
}

#[test]
fn gaps_and_connections_without_end_do_not_grow() {
    let mut reading = Reading { most: 10, ..Reading::default() };
    let way = |port: u16| (at(IpAddr::from(SOURCE), port), at(IpAddr::from(LOCAL), 5060));
    for port in 0..u16::MAX {
        reading.segment(way(port), 1, true, false, b"");
    }
    assert!(reading.streams.len() <= STREAMS && reading.no_room > 0);
    let mut stream = Stream { next: Some(0), ..Stream::default() };
    for index in 1..10_000_u32 {
        stream.take(index * 1000, &[b'x'; 1000]);
        assert!(stream.waiting <= WAITING);
    }
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]

    #[test]
    fn no_packet_is_too_strange(link in proptest::sample::select(vec![0, 1, 12, 101, 108, 113, 228, 276]), packets in proptest::collection::vec(proptest::collection::vec(proptest::num::u8::ANY, 0..120), 0..8)) {
        let _ = read(link, &packets);
    }

    #[test]
    fn no_file_is_too_strange(mut bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..400), begins in proptest::sample::select(vec![0xa1b2_c3d4_u32, 0x0a0d_0d0a, 0xa1b2_3c4d, 0])) {
        if bytes.len() >= 4 && begins != 0 {
            bytes[..4].copy_from_slice(&begins.to_le_bytes());
        }
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        let _ = Capture::read(file.path(), &[], None, None);
    }

    #[test]
    fn no_segment_is_too_strange(segments in proptest::collection::vec((proptest::num::u32::ANY, proptest::bool::ANY, proptest::collection::vec(proptest::sample::select(b"INVITE sip:\r\n".to_vec()), 0..60)), 0..40)) {
        let mut reading = Reading { most: 10, ..Reading::default() };
        for (sequence, begins, payload) in segments {
            reading.segment((at(IpAddr::from(SOURCE), 1), at(IpAddr::from(LOCAL), 2)), sequence % 200, begins, false, &payload);
        }
    }
}
