//! A recording that somebody else made: the INVITEs in a capture of packets (pcap, or pcapng by draft-ietf-opsawg-pcapng), as tcpdump and Wireshark write them.
//!
//! Ethernet, Linux cooked (v1, v2), loopback and raw IP; UDP with IP fragments put together again, TCP put in order. What is encrypted stays closed, and is counted.
//! Everything is bounded, since whoever sent the packets chose what is in them.

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::fs::File;
use std::hash::{Hash, Hasher};
use std::io::Read;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use bytes::Bytes;
use etherparse::defrag::IpDefragPool;
use etherparse::{EtherType, NetSlice, SlicedPacket, TransportSlice};
use pcap_parser::traits::PcapNGPacketBlock;
use pcap_parser::{Block, Linktype, PcapBlockOwned, PcapError, create_reader};

use super::heard::{Before, Heard, Place, Recording};
use crate::sip::{Frame, Framer, HeaderName, Limits, Message, Method, Transport};

/// Of one packet in a file: what capturing programs write at most.
const LARGEST_PACKET: usize = 256 << 10;
/// INVITEs held; of more the last ones.
const MOST: usize = 50_000;
/// TCP directions followed at once.
const STREAMS: usize = 4096;
/// Bytes that wait for a segment before them, of one direction.
const WAITING: usize = 256 << 10;
/// A fragment waits for the rest of its datagram for so many packets.
const FRAGMENTS: u64 = 512;
/// INVITEs remembered, to know those that came again.
const REMEMBERED: usize = 1 << 20;

/// Whether a file begins as pcap (either order of octets, micro- or nanoseconds) or pcapng does.
///
/// # Errors
///
/// It cannot be read.
pub fn is_capture(file: &Path) -> Result<bool, String> {
    let mut magic = Vec::new();
    let read = File::open(file).and_then(|file| file.take(4).read_to_end(&mut magic));
    read.map_err(|error| format!("--from {}: {error}", file.display()))?;
    let known: [[u8; 4]; 5] =
        [[0xd4, 0xc3, 0xb2, 0xa1], [0xa1, 0xb2, 0xc3, 0xd4], [0x4d, 0x3c, 0xb2, 0xa1], [0xa1, 0xb2, 0x3c, 0x4d], [0x0a, 0x0d, 0x0d, 0x0a]];
    Ok(known.iter().any(|known| magic == known))
}

/// The INVITEs of a capture, read whole.
pub struct Capture {
    heard: VecDeque<Heard>,
    remarks: Vec<String>,
}

impl Capture {
    /// `own`: addresses of the border, whose own INVITEs are left out. `last`: of the last so many. `since`: milliseconds since 1970.
    ///
    /// # Errors
    ///
    /// It cannot be read, or is no capture.
    pub fn read(file: &Path, own: &[SocketAddr], last: Option<u64>, since: Option<i64>) -> Result<Capture, String> {
        let named = |what: &str| format!("{}: {what}", file.display());
        let opened = File::open(file).map_err(|error| named(&error.to_string()))?;
        let most = last.map_or(MOST, |last| usize::try_from(last).unwrap_or(MOST).min(MOST));
        let mut reading = Reading { own: own.to_vec(), since, most, ..Reading::default() };
        let mut reader = create_reader(2 * LARGEST_PACKET, opened).map_err(|_| named("is no capture (pcap, pcapng) and no store of call records"))?;
        let mut starved = 0;
        loop {
            let is_starved = match reader.next() {
                Ok((length, block)) => {
                    starved = 0;
                    reading.block(&block);
                    reader.consume(length);
                    continue;
                }
                Err(PcapError::Eof) => break,
                Err(error) => matches!(error, PcapError::Incomplete(_)),
            };
            starved += 1;
            if !is_starved || starved > 2 || reader.refill().is_err() {
                if reading.packet == 0 {
                    return Err(named("packet 1 is broken or cut off already, so nothing of this capture can be read"));
                }
                reading.remarks.push(format!("packet {} is broken or cut off; nothing after it is read", reading.packet + 1));
                break;
            }
        }
        Ok(reading.end())
    }
}

impl Recording for Capture {
    fn each(&self, with: &mut dyn FnMut(Heard) -> bool) -> Result<(), String> {
        for heard in self.heard.iter().rev() {
            if !with(heard.clone()) {
                break;
            }
        }
        Ok(())
    }

    fn remarks(&self) -> Vec<String> {
        self.remarks.clone()
    }
}

/// An interface of a capture.
#[derive(Clone, Copy)]
struct Interface {
    link: Linktype,
    /// Fractions in a second.
    resolution: u64,
    offset: i64,
}

/// Where a payload came from and went to.
type Way = (SocketAddr, SocketAddr);

#[derive(Default)]
struct Reading {
    own: Vec<SocketAddr>,
    since: Option<i64>,
    most: usize,
    interfaces: Vec<Interface>,
    packet: u64,
    /// Milliseconds since 1970, of the packet at hand.
    now: i64,
    fragments: IpDefragPool<u64, ()>,
    streams: HashMap<Way, Stream>,
    seen: HashSet<u64>,
    heard: VecDeque<Heard>,
    remarks: Vec<String>,
    encrypted: u64,
    unreadable: u64,
    ours: u64,
    left_out: u64,
    no_room: u64,
}

impl Reading {
    fn block(&mut self, block: &PcapBlockOwned<'_>) {
        match block {
            PcapBlockOwned::LegacyHeader(header) => {
                let resolution = if header.is_nanosecond_precision() { 1_000_000_000 } else { 1_000_000 };
                self.interfaces = vec![Interface { link: header.network, resolution, offset: 0 }];
            }
            PcapBlockOwned::Legacy(packet) => self.packet(0, (packet.ts_sec, packet.ts_usec), packet.data),
            PcapBlockOwned::NG(Block::SectionHeader(_)) => self.interfaces.clear(),
            PcapBlockOwned::NG(Block::InterfaceDescription(interface)) if self.interfaces.len() < STREAMS => {
                let resolution = interface.ts_resolution().unwrap_or(1_000_000).max(1);
                self.interfaces.push(Interface { link: interface.linktype, resolution, offset: interface.ts_offset() });
            }
            PcapBlockOwned::NG(Block::EnhancedPacket(packet)) => {
                let of = self.interfaces.get(packet.if_id as usize).map_or((0, 1_000_000), |interface| (interface.offset, interface.resolution));
                let time = packet.decode_ts(u64::try_from(of.0).unwrap_or(0), of.1);
                self.packet(packet.if_id as usize, time, packet.packet_data());
            }
            PcapBlockOwned::NG(Block::SimplePacket(packet)) => self.packet(0, (0, 0), packet.packet_data()),
            PcapBlockOwned::NG(_) => {}
        }
    }

    fn packet(&mut self, interface: usize, (seconds, fraction): (u32, u32), data: &[u8]) {
        self.packet += 1;
        let Some(Interface { link, resolution, .. }) = self.interfaces.get(interface).copied() else { return };
        self.now = i64::from(seconds) * 1000 + i64::try_from(u64::from(fraction).saturating_mul(1000) / resolution).unwrap_or(0);
        let Some(sliced) = sliced(link, data) else { return };
        let Some((source, destination)) = addresses(&sliced) else { return };
        if sliced.is_ip_payload_fragmented() {
            return self.fragment(&sliced, (source, destination));
        }
        match &sliced.transport {
            Some(TransportSlice::Udp(udp)) => self.datagram((at(source, udp.source_port()), at(destination, udp.destination_port())), udp.payload()),
            Some(TransportSlice::Tcp(tcp)) => {
                let way = (at(source, tcp.source_port()), at(destination, tcp.destination_port()));
                self.segment(way, tcp.sequence_number(), tcp.syn(), tcp.fin() || tcp.rst(), tcp.payload());
            }
            _ => {}
        }
    }

    fn fragment(&mut self, sliced: &SlicedPacket<'_>, (source, destination): (IpAddr, IpAddr)) {
        let packet = self.packet;
        self.fragments.retain(|since| packet.saturating_sub(*since) < FRAGMENTS);
        // One that overlaps another or is out of bounds is dropped, as a host would.
        let Ok(Some(whole)) = self.fragments.process_sliced_packet(sliced, packet, ()) else { return };
        if whole.ip_number == etherparse::IpNumber::UDP
            && let Some((head, payload)) = whole.payload.split_first_chunk::<8>()
        {
            let port = |high: usize| u16::from_be_bytes([head[high], head[high + 1]]);
            self.datagram((at(source, port(0)), at(destination, port(2))), payload);
        }
        self.fragments.return_buf(whole);
    }

    fn datagram(&mut self, way: Way, payload: &[u8]) {
        if payload.starts_with(b"INVITE ") {
            self.message(way, Transport::Udp, Bytes::copy_from_slice(payload));
        }
    }

    fn segment(&mut self, way: Way, sequence: u32, begins: bool, ends: bool, payload: &[u8]) {
        if begins {
            self.streams.remove(&way);
        }
        if begins || !payload.is_empty() {
            if !self.streams.contains_key(&way) && self.streams.len() >= STREAMS {
                self.no_room += 1;
                return;
            }
            let stream = self.streams.entry(way).or_default();
            let sequence = if begins { sequence.wrapping_add(1) } else { sequence };
            if begins {
                stream.next = Some(sequence);
            }
            let was_closed = stream.closed;
            let messages = stream.take(sequence, payload);
            self.encrypted += u64::from(stream.closed && !was_closed);
            for message in messages {
                self.message(way, Transport::Tcp, message);
            }
        }
        if ends {
            self.streams.remove(&way);
        }
    }

    fn message(&mut self, (source, local): Way, carried: Transport, bytes: Bytes) {
        let Ok(message) = Message::parse(bytes.clone(), &Limits::default()) else {
            self.unreadable += u64::from(bytes.starts_with(b"INVITE "));
            return;
        };
        if message.method() != Some(&Method::Invite) || message.to().map_or(true, |to| to.tag().is_some()) {
            return;
        }
        let is_own = |address: SocketAddr| self.own.iter().any(|own| own.ip() == address.ip());
        if is_own(source) && !is_own(local) {
            self.ours += 1;
            return;
        }
        let via = message.top_via().ok();
        let mut hasher = DefaultHasher::new();
        (source, via.as_ref().and_then(|via| via.branch()), message.call_id().ok(), message.first(HeaderName::CSeq)).hash(&mut hasher);
        let is_early = self.since.is_some_and(|since| self.now < since);
        if self.seen.len() >= REMEMBERED || !self.seen.insert(hasher.finish()) || is_early {
            return;
        }
        // A decrypted capture has TLS as TCP; the sender's Via tells them apart.
        let secured = via.is_some_and(|via| Transport::from_token(via.transport) == Some(Transport::Tls));
        let transport = if carried == Transport::Tcp && secured { Transport::Tls } else { carried };
        let user = |uri: &str| crate::sip::Uri::parse(uri).map_or_else(|_| String::new(), |uri| uri.user_decoded().into_owned());
        if self.heard.len() >= self.most {
            self.heard.pop_front();
            self.left_out += 1;
        }
        self.heard.push_back(Heard {
            place: Place::Packet(self.packet),
            at: Some(self.now),
            caller: message.from().map(|from| user(from.uri)).unwrap_or_default(),
            called: message.request_uri().map(user).unwrap_or_default(),
            transport,
            source,
            local,
            tls: None,
            message: bytes,
            before: Before::Unknown,
        });
    }

    fn end(mut self) -> Capture {
        let counts = [
            (self.encrypted, "TCP connections are encrypted: what they carry cannot be read (`portcullis ladder --pcapng` writes it decrypted)"),
            (self.unreadable, "INVITEs are cut off or no SIP"),
            (self.ours, "INVITEs were sent by the border itself"),
            (self.left_out, "INVITEs came before those that were asked for, or more were there than are held"),
            (self.no_room, "segments belong to more TCP connections than are followed at once"),
        ];
        let lines = counts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}"));
        self.remarks.extend(lines);
        Capture { heard: self.heard, remarks: self.remarks }
    }
}

/// One direction of a TCP connection.
struct Stream {
    /// What comes next; `None`: not known until a message begins.
    next: Option<u32>,
    framer: Framer,
    /// Segments that came too early.
    early: BTreeMap<u32, Vec<u8>>,
    waiting: usize,
    /// It carries no SIP that can be read.
    closed: bool,
}

impl Default for Stream {
    fn default() -> Stream {
        Stream { next: None, framer: Framer::new(Limits::default()), early: BTreeMap::new(), waiting: 0, closed: false }
    }
}

impl Stream {
    /// The messages that are whole by this segment.
    fn take(&mut self, sequence: u32, payload: &[u8]) -> Vec<Bytes> {
        if self.closed || payload.is_empty() {
            return Vec::new();
        }
        // A record of TLS (RFC 8446 §5.1).
        if matches!(payload, [0x14..=0x17, 0x03, ..]) {
            *self = Stream { closed: true, ..Stream::default() };
            return Vec::new();
        }
        if self.next.is_none() && begins_message(payload) {
            self.next = Some(sequence);
        }
        let Some(next) = self.next else { return Vec::new() };
        let ahead = sequence.wrapping_sub(next).cast_signed();
        if ahead > 0 {
            self.wait(sequence, payload);
            return Vec::new();
        }
        let known = usize::try_from(-i64::from(ahead)).unwrap_or(usize::MAX);
        let mut fresh = payload.get(known..).unwrap_or_default().to_vec();
        let mut messages = Vec::new();
        while !fresh.is_empty() {
            self.framer.push(&fresh);
            let after = self.next.unwrap_or(sequence).wrapping_add(fresh.len() as u32);
            self.next = Some(after);
            fresh = self.follows(after);
        }
        loop {
            match self.framer.next() {
                Ok(Some(Frame::Message(message))) => messages.push(message),
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(_) => {
                    *self = Stream::default();
                    break;
                }
            }
        }
        messages
    }

    /// A gap that does not close is given up: the next message begins anew.
    fn wait(&mut self, sequence: u32, payload: &[u8]) {
        if self.waiting + payload.len() > WAITING {
            *self = Stream::default();
            return;
        }
        if self.early.insert(sequence, payload.to_vec()).is_none() {
            self.waiting += payload.len();
        }
    }

    /// What came early and follows now.
    fn follows(&mut self, next: u32) -> Vec<u8> {
        let found = self.early.iter().find_map(|(sequence, bytes)| {
            let known = usize::try_from(next.wrapping_sub(*sequence).cast_signed()).ok()?;
            (known < bytes.len()).then(|| (*sequence, bytes[known..].to_vec()))
        });
        let Some((sequence, bytes)) = found else { return Vec::new() };
        if let Some(gone) = self.early.remove(&sequence) {
            self.waiting = self.waiting.saturating_sub(gone.len());
        }
        bytes
    }
}

fn begins_message(payload: &[u8]) -> bool {
    let words: [&[u8]; 8] = [b"INVITE ", b"SIP/2.0 ", b"ACK ", b"BYE ", b"CANCEL ", b"OPTIONS ", b"UPDATE ", b"PRACK "];
    words.iter().any(|word| payload.starts_with(word))
}

fn at(address: IpAddr, port: u16) -> SocketAddr {
    SocketAddr::new(address, port)
}

fn sliced(link: Linktype, data: &[u8]) -> Option<SlicedPacket<'_>> {
    match link.0 {
        1 => SlicedPacket::from_ethernet(data).ok(),
        12 | 14 | 101 | 228 | 229 => SlicedPacket::from_ip(data).ok(),
        // BSD's loopback: the protocol family before the packet.
        0 | 108 => SlicedPacket::from_ip(data.get(4..)?).ok(),
        113 => SlicedPacket::from_linux_sll(data).ok(),
        // Cooked, version 2: the protocol first, 20 octets in all.
        276 => {
            let protocol = u16::from_be_bytes([*data.first()?, *data.get(1)?]);
            SlicedPacket::from_ether_type(EtherType(protocol), data.get(20..)?).ok()
        }
        _ => None,
    }
}

fn addresses(sliced: &SlicedPacket<'_>) -> Option<(IpAddr, IpAddr)> {
    match sliced.net.as_ref()? {
        NetSlice::Ipv4(ip) => Some((ip.header().source_addr().into(), ip.header().destination_addr().into())),
        NetSlice::Ipv6(ip) => Some((ip.header().source_addr().into(), ip.header().destination_addr().into())),
        NetSlice::Arp(_) => None,
    }
}

#[cfg(test)]
mod tests;
