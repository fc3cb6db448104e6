//! What is said to nf_tables (linux/netfilter/nf_tables.h) to have RTP forwarded: a table of our own, one map and one rule for each family of IP,
//! and the elements of the maps. Bytes in, bytes out; no socket here.
//!
//! The rule looks a packet up by its addresses, ports, SSRC and payload type. What it finds is all that changes: addresses, ports, the interface to
//! leave by and the next hop, whose link address the kernel finds (and asks for) as for packets of its own. What is not found goes on its way up.

use std::net::{IpAddr, SocketAddr};

const SUBSYSTEM: u16 = 10;
const BATCH_BEGIN: u16 = 16;
const BATCH_END: u16 = 17;
const NEW_TABLE: u16 = 0;
const NEW_CHAIN: u16 = 3;
const NEW_RULE: u16 = 6;
const NEW_SET: u16 = 9;
const NEW_ELEMENTS: u16 = 12;
const GET_ELEMENTS: u16 = 13;
const DELETE_ELEMENTS: u16 = 14;
const ERROR: u16 = 2;

const REQUEST: u16 = 1;
const ACKNOWLEDGE: u16 = 4;
/// What was changed is to be told, with what it had counted.
const ECHO: u16 = 8;
const EXCLUSIVE: u16 = 0x200;
const CREATE: u16 = 0x400;
const APPEND: u16 = 0x800;

const NETDEV: u8 = 5;
const NESTED: u16 = 0x8000;
const HEADER: usize = 16;
const FAMILY_HEADER: usize = 4;

/// The table goes with the socket that made it, however that ends.
const OWNED: u32 = 2;
const MAP: u32 = 8;

/// As `nft list` is to show the words of keys and values (datatypes of nft: mark, addresses).
const WORD: u32 = 19;
const IPV4: u32 = 7;
const IPV6: u32 = 8;

// Places in a packet, and how they are compared.
const LINK: u32 = 0;
const NETWORK: u32 = 1;
const TRANSPORT: u32 = 2;
const EQUAL: u32 = 0;
const UNEQUAL: u32 = 1;
const AT_MOST: u32 = 3;
const AT_LEAST: u32 = 5;

/// The first of sixteen registers of four bytes.
const FIRST: u32 = 8;
/// Free beside keys and values of either family: two of them.
const SPARE: u32 = 22;

/// As an endpoint sends; the kernel counts one down.
const TTL: u8 = 65;

/// After whatever else filters at this place with the usual priorities.
const PRIORITY: i32 = 10;

/// What a packet is known by: words of an element's key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Key {
    pub from: SocketAddr,
    pub ours: SocketAddr,
    pub ssrc: u32,
    pub payload_type: u8,
}

/// What becomes of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Value {
    pub ours: SocketAddr,
    pub to: SocketAddr,
    pub interface: u32,
    pub next_hop: IpAddr,
}

/// What one element has let pass. Unit of `bytes`: of whole IP packets.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Passed {
    pub packets: u64,
    pub bytes: u64,
}

/// What came back.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answer {
    /// Done (0), or why not.
    Acknowledged {
        sequence: u32,
        errno: i32,
    },
    Counted(Passed),
}

/// How the table is made.
pub struct Layout<'a> {
    pub table: &'a str,
    pub interfaces: &'a [&'a str],
    /// Of all of them the least. Unit: bytes of IP.
    pub mtu: u16,
    pub dscp: u8,
    /// Elements in either map.
    pub room: u32,
}

/// Messages with sequence numbers from `first` on, each of which asks for an acknowledgement.
pub struct Talk {
    bytes: Vec<u8>,
    next: u32,
    is_batch: bool,
}

impl Talk {
    /// Changes, of which the kernel makes all or none.
    pub fn batch(first: u32) -> Talk {
        let mut talk = Talk { bytes: Vec::with_capacity(1024), next: first, is_batch: true };
        talk.edge(BATCH_BEGIN);
        talk
    }

    /// A question.
    pub fn question(first: u32) -> Talk {
        Talk { bytes: Vec::with_capacity(256), next: first, is_batch: false }
    }

    /// The bytes, and the sequence number after the last.
    pub fn finish(mut self) -> (Vec<u8>, u32) {
        if self.is_batch {
            self.edge(BATCH_END);
        }
        (self.bytes, self.next)
    }

    /// All but the elements.
    pub fn build(&mut self, layout: &Layout<'_>) {
        self.message(NEW_TABLE, CREATE | EXCLUSIVE, |at| {
            text(at, 1, layout.table);
            number(at, 2, OWNED);
        });
        self.message(NEW_CHAIN, CREATE, |at| {
            text(at, 1, layout.table);
            text(at, 3, "media");
            nest(at, 4, |at| {
                number(at, 1, 0);
                attribute(at, 2, &PRIORITY.to_be_bytes());
                nest(at, 4, |at| layout.interfaces.iter().for_each(|name| text(at, 1, name)));
            });
            number(at, 5, 1);
            text(at, 7, "filter");
        });
        for (place, is_ipv6) in [(1, false), (2, true)] {
            self.map(layout, is_ipv6, place);
            self.message(NEW_RULE, CREATE | APPEND, |at| {
                text(at, 1, layout.table);
                text(at, 2, "media");
                nest(at, 4, |at| rule(at, layout, is_ipv6));
            });
        }
    }

    fn map(&mut self, layout: &Layout<'_>, is_ipv6: bool, place: u32) {
        let address = if is_ipv6 { IPV6 } else { IPV4 };
        let join = |parts: [u32; 5]| parts.into_iter().fold(0, |all, part| all << 6 | part);
        self.message(NEW_SET, CREATE, |at| {
            text(at, 1, layout.table);
            text(at, 2, name(is_ipv6));
            number(at, 3, MAP);
            number(at, 4, join([address, address, WORD, WORD, WORD]));
            number(at, 5, if is_ipv6 { 44 } else { 20 });
            number(at, 6, join([address, address, WORD, WORD, address]));
            number(at, 7, if is_ipv6 { 56 } else { 20 });
            nest(at, 9, |at| number(at, 1, layout.room));
            number(at, 10, place);
            nest(at, 17, |at| text(at, 1, "counter"));
        });
    }

    pub fn add(&mut self, table: &str, keys: &[Key], value: &Value) {
        self.elements(NEW_ELEMENTS, CREATE | EXCLUSIVE, table, keys, Some(value));
    }

    /// What they had let pass is answered. One that is not there makes the whole batch fail.
    pub fn remove(&mut self, table: &str, keys: &[Key]) {
        self.elements(DELETE_ELEMENTS, ECHO, table, keys, None);
    }

    /// What these have let pass: an answer for each.
    pub fn count(&mut self, table: &str, keys: &[Key]) {
        self.elements(GET_ELEMENTS, 0, table, keys, None);
    }

    fn elements(&mut self, kind: u16, flags: u16, table: &str, keys: &[Key], value: Option<&Value>) {
        let is_ipv6 = keys.first().is_some_and(|key| key.from.is_ipv6());
        self.message(kind, flags, |at| {
            text(at, 1, table);
            text(at, 2, name(is_ipv6));
            nest(at, 3, |at| {
                for key in keys {
                    nest(at, 1, |at| {
                        nest(at, 1, |at| attribute(at, 1, &words_of_key(key)));
                        if let Some(value) = value {
                            nest(at, 2, |at| attribute(at, 1, &words_of_value(value)));
                        }
                    });
                }
            });
        });
    }

    fn message(&mut self, kind: u16, flags: u16, write: impl FnOnce(&mut Vec<u8>)) {
        self.raw(SUBSYSTEM << 8 | kind, REQUEST | ACKNOWLEDGE | flags, [NETDEV, 0, 0, 0], write);
    }

    fn edge(&mut self, kind: u16) {
        let [high, low] = SUBSYSTEM.to_be_bytes();
        self.raw(kind, REQUEST, [0, 0, high, low], |_| {});
    }

    fn raw(&mut self, kind: u16, flags: u16, family: [u8; FAMILY_HEADER], write: impl FnOnce(&mut Vec<u8>)) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(&flags.to_ne_bytes());
        self.bytes.extend_from_slice(&self.next.to_ne_bytes());
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.extend_from_slice(&family);
        self.next = self.next.wrapping_add(1);
        write(&mut self.bytes);
        let length = (self.bytes.len() - start) as u32;
        put(&mut self.bytes, start, &length.to_ne_bytes());
    }
}

fn name(is_ipv6: bool) -> &'static str {
    if is_ipv6 { "streams6" } else { "streams4" }
}

fn words_of_key(key: &Key) -> Vec<u8> {
    let mut words = [octets(key.from.ip()), octets(key.ours.ip())].concat();
    words.extend_from_slice(&key.from.port().to_be_bytes());
    words.extend_from_slice(&key.ours.port().to_be_bytes());
    words.extend_from_slice(&key.ssrc.to_be_bytes());
    words.extend_from_slice(&[key.payload_type, 0, 0, 0]);
    words
}

fn words_of_value(value: &Value) -> Vec<u8> {
    let mut words = [octets(value.ours.ip()), octets(value.to.ip())].concat();
    words.extend_from_slice(&value.ours.port().to_be_bytes());
    words.extend_from_slice(&value.to.port().to_be_bytes());
    words.extend_from_slice(&value.interface.to_ne_bytes());
    words.extend_from_slice(&octets(value.next_hop));
    words
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// Whatever is unusual is no case of ours and goes up: a VLAN tag, options, fragments, no checksum, too long for the way out, a header extension.
fn rule(at: &mut Vec<u8>, layout: &Layout<'_>, is_ipv6: bool) {
    let tos = layout.dscp.min(63) << 2;
    let words = if is_ipv6 { 8 } else { 2 };
    let (ports, ssrc, payload_type) = (FIRST + words, FIRST + words + 1, FIRST + words + 2);
    if is_ipv6 {
        require(at, (LINK, 12, 2), None, EQUAL, &[0x86, 0xdd]);
        require(at, (NETWORK, 0, 1), Some(&[0xf0]), EQUAL, &[0x60]);
        require(at, (NETWORK, 6, 1), None, EQUAL, &[17]);
        require(at, (NETWORK, 4, 2), None, AT_MOST, &layout.mtu.saturating_sub(40).to_be_bytes());
    } else {
        require(at, (LINK, 12, 2), None, EQUAL, &[0x08, 0x00]);
        require(at, (NETWORK, 0, 1), None, EQUAL, &[0x45]);
        require(at, (NETWORK, 6, 2), Some(&[0x3f, 0xff]), EQUAL, &[0, 0]);
        require(at, (NETWORK, 9, 1), None, EQUAL, &[17]);
        require(at, (NETWORK, 2, 2), None, AT_MOST, &layout.mtu.to_be_bytes());
    }
    require(at, (TRANSPORT, 4, 2), None, AT_LEAST, &[0, 20]);
    require(at, (TRANSPORT, 6, 2), None, UNEQUAL, &[0, 0]);
    require(at, (TRANSPORT, 8, 1), None, EQUAL, &[0x80]);
    load(at, if is_ipv6 { (NETWORK, 8, 32) } else { (NETWORK, 12, 8) }, FIRST);
    load(at, (TRANSPORT, 0, 4), ports);
    load(at, (TRANSPORT, 16, 4), ssrc);
    load(at, (TRANSPORT, 9, 1), payload_type);
    mask(at, payload_type, &[0x7f]);
    expression(at, "lookup", |at| {
        text(at, 1, name(is_ipv6));
        number(at, 2, FIRST);
        number(at, 3, FIRST);
    });
    // As from our socket: a packet of our own, never in fragments, so that it needs no number (RFC 6864 §4.1).
    if is_ipv6 {
        store(at, (NETWORK, 0, 4), &[0x60 | tos >> 4, tos << 4, 0, 0], None);
        store(at, (NETWORK, 7, 1), &[TTL], None);
        write(at, (NETWORK, 8, 32), FIRST, Sums { inet: None, pseudo: true });
    } else {
        store(at, (NETWORK, 0, 2), &[0x45, tos], Some(10));
        store(at, (NETWORK, 4, 5), &[0, 0, 0x40, 0, TTL], Some(10));
        write(at, (NETWORK, 12, 8), FIRST, Sums { inet: Some(10), pseudo: true });
    }
    write(at, (TRANSPORT, 0, 4), ports, Sums { inet: Some(6), pseudo: false });
    expression(at, "fwd", |at| {
        number(at, 1, ssrc);
        number(at, 2, payload_type);
        number(at, 3, if is_ipv6 { 10 } else { 2 });
    });
}

/// Base, offset and length in a packet.
type Place = (u32, u32, u32);

/// Which checksums a change concerns: the one at an offset of its own header, and that of UDP by the pseudo-header.
struct Sums {
    inet: Option<u32>,
    pseudo: bool,
}

fn require(at: &mut Vec<u8>, place: Place, bits: Option<&[u8]>, how: u32, value: &[u8]) {
    load(at, place, SPARE);
    if let Some(bits) = bits {
        mask(at, SPARE, bits);
    }
    expression(at, "cmp", |at| {
        number(at, 1, SPARE);
        number(at, 2, how);
        nest(at, 3, |at| attribute(at, 1, value));
    });
}

fn load(at: &mut Vec<u8>, (base, offset, length): Place, register: u32) {
    expression(at, "payload", |at| {
        for (number_of, value) in [(1, register), (2, base), (3, offset), (4, length)] {
            number(at, number_of, value);
        }
    });
}

fn mask(at: &mut Vec<u8>, register: u32, bits: &[u8]) {
    expression(at, "bitwise", |at| {
        number(at, 1, register);
        number(at, 2, register);
        number(at, 3, bits.len() as u32);
        nest(at, 4, |at| attribute(at, 1, bits));
        nest(at, 5, |at| attribute(at, 1, &vec![0; bits.len()]));
    });
}

fn store(at: &mut Vec<u8>, place: Place, value: &[u8], inet: Option<u32>) {
    expression(at, "immediate", |at| {
        number(at, 1, SPARE);
        nest(at, 2, |at| attribute(at, 1, value));
    });
    write(at, place, SPARE, Sums { inet, pseudo: false });
}

fn write(at: &mut Vec<u8>, (base, offset, length): Place, register: u32, sums: Sums) {
    expression(at, "payload", |at| {
        for (number_of, value) in [(2, base), (3, offset), (4, length), (5, register), (6, u32::from(sums.inet.is_some())), (7, sums.inet.unwrap_or(0))] {
            number(at, number_of, value);
        }
        if sums.pseudo {
            number(at, 8, 1);
        }
    });
}

fn expression(at: &mut Vec<u8>, name: &str, write: impl FnOnce(&mut Vec<u8>)) {
    nest(at, 1, |at| {
        text(at, 1, name);
        nest(at, 2, write);
    });
}

fn number(at: &mut Vec<u8>, kind: u16, value: u32) {
    attribute(at, kind, &value.to_be_bytes());
}

fn text(at: &mut Vec<u8>, kind: u16, value: &str) {
    attribute(at, kind, &[value.as_bytes(), &[0]].concat());
}

fn attribute(at: &mut Vec<u8>, kind: u16, value: &[u8]) {
    at.extend_from_slice(&((value.len() + 4) as u16).to_ne_bytes());
    at.extend_from_slice(&kind.to_ne_bytes());
    at.extend_from_slice(value);
    at.resize(at.len().next_multiple_of(4), 0);
}

fn nest(at: &mut Vec<u8>, kind: u16, write: impl FnOnce(&mut Vec<u8>)) {
    let start = at.len();
    at.extend_from_slice(&[0; 2]);
    at.extend_from_slice(&(kind | NESTED).to_ne_bytes());
    write(at);
    let length = (at.len() - start) as u16;
    put(at, start, &length.to_ne_bytes());
}

fn put(to: &mut [u8], at: usize, bytes: &[u8]) {
    if let Some(place) = to.get_mut(at..at + bytes.len()) {
        place.copy_from_slice(bytes);
    }
}

/// The messages of one datagram; what is not understood is passed over, what is cut short ends it.
pub fn answers(datagram: &[u8]) -> Vec<Answer> {
    let mut found = Vec::new();
    let mut rest = datagram;
    while let Some(length) = rest.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes) as usize) {
        let Some(message) = rest.get(..length).filter(|_| length >= HEADER) else { break };
        let word = |at: usize| message.get(at..).and_then(<[u8]>::first_chunk).map_or(0, |bytes| u32::from_ne_bytes(*bytes));
        let (kind, sequence) = (word(4) as u16, word(8));
        if kind == ERROR {
            found.push(Answer::Acknowledged { sequence, errno: (word(HEADER) as i32).saturating_neg() });
        } else if [NEW_ELEMENTS, DELETE_ELEMENTS].map(|kind| SUBSYSTEM << 8 | kind).contains(&kind) {
            let list = find(message.get(HEADER + FAMILY_HEADER..).unwrap_or_default(), 3).unwrap_or_default();
            found.extend(attributes(list).filter_map(|(_, element)| passed(element)).map(Answer::Counted));
        }
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    found
}

/// Of the counter that every element has.
fn passed(element: &[u8]) -> Option<Passed> {
    // The one expression of it, or the first in a list of them.
    let counter = find(element, 7).or_else(|| find(find(element, 11)?, 1))?;
    let data = find(counter, 2)?;
    let count = |number| find(data, number).and_then(|value| value.try_into().ok()).map(u64::from_be_bytes);
    Some(Passed { bytes: count(1)?, packets: count(2)? })
}

fn find(bytes: &[u8], number: u16) -> Option<&[u8]> {
    attributes(bytes).find(|(found, _)| *found == number).map(|(_, value)| value)
}

fn attributes(bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let length = usize::from(u16::from_ne_bytes(*rest.first_chunk()?));
        let number = u16::from_ne_bytes(*rest.get(2..)?.first_chunk()?) & 0x3fff;
        let value = rest.get(4..length)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((number, value))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn element(counter: &[u8]) -> Vec<u8> {
        let mut message = vec![0; HEADER + FAMILY_HEADER];
        message[4..6].copy_from_slice(&(SUBSYSTEM << 8 | NEW_ELEMENTS).to_ne_bytes());
        message[8] = 9;
        nest(&mut message, 3, |at| nest(at, 1, |at| nest(at, 7, |at| nest(at, 2, |at| at.extend_from_slice(counter)))));
        let length = message.len() as u32;
        put(&mut message, 0, &length.to_ne_bytes());
        message
    }

    #[test]
    fn what_an_element_counted_is_read() {
        let mut counter = Vec::new();
        attribute(&mut counter, 1, &10_050u64.to_be_bytes());
        attribute(&mut counter, 2, &50u64.to_be_bytes());
        assert_eq!(answers(&element(&counter)), [Answer::Counted(Passed { packets: 50, bytes: 10_050 })]);
        assert_eq!(answers(&element(&counter[..12])), [], "half a counter");
    }

    #[test]
    fn an_answer_cut_short_is_nothing() {
        let whole = element(&[]);
        for length in 0..whole.len() {
            assert_eq!(answers(&whole[..length]), [], "{length}");
        }
        assert_eq!(answers(&[0; 64]), [], "a length of nothing");
    }

    #[test]
    fn words_of_keys_and_values_are_as_long_as_the_maps_say() {
        for (text, key_length, value_length) in [("10.0.0.1:4000", 20, 20), ("[fd00::1]:4000", 44, 56)] {
            let at: SocketAddr = text.parse().unwrap();
            let key = Key { from: at, ours: at, ssrc: 7, payload_type: 8 };
            let value = Value { ours: at, to: at, interface: 3, next_hop: at.ip() };
            assert_eq!((words_of_key(&key).len(), words_of_value(&value).len()), (key_length, value_length));
        }
    }
}
