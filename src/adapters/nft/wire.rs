//! nfnetlink as nf_tables speaks it (linux/netfilter/nfnetlink.h, nf_tables.h): messages to change sets in one transaction, to ask for what is
//! there, and to read the answers. Bytes in, values out; no socket here.
//!
//! A transaction is a BATCH_BEGIN, the changes, and a BATCH_END in one datagram: the kernel does all of it or nothing. Each change asks for an
//! acknowledgement, so that the errno of whatever failed comes back. Numbers of netlink's own headers are the host's, those of nf_tables are
//! big-endian.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use super::contents::{Element, Form};
use crate::policy::ground::Range;

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const BATCH_BEGIN: u16 = 16;
const BATCH_END: u16 = 17;
/// NFNL_SUBSYS_NFTABLES, in the upper byte of a message's type.
const NF_TABLES: u16 = 10;
const INET: u8 = 1;

pub const GET_TABLE: u16 = 1;
pub const DEL_TABLE: u16 = 2;
pub const GET_CHAIN: u16 = 4;
pub const GET_RULE: u16 = 7;
pub const NEW_ELEMENTS: u16 = 12;
pub const GET_ELEMENTS: u16 = 13;
pub const DEL_ELEMENTS: u16 = 14;
pub const NEW_GENERATION: u16 = 15;
pub const GET_GENERATION: u16 = 16;
pub const GET_OBJECT: u16 = 19;

const REQUEST: u16 = 0x1;
const ACK: u16 = 0x4;
const DUMP: u16 = 0x300;
const CREATE: u16 = 0x400;
/// The dump was not of one moment: something changed meanwhile.
const DUMP_INTERRUPTED: u16 = 0x10;

const NESTED: u16 = 0x8000;
const INTERVAL_END: u32 = 1;

/// Elements' bytes in one message at most: a nested attribute's length has 16 bits.
const CHUNK: usize = 32 * 1024;

const HEADER: usize = 16;
const FAMILY_HEADER: usize = 4;

/// Changes that the kernel makes together or not at all.
pub struct Batch {
    bytes: Vec<u8>,
    sequence: u32,
    asked: u32,
}

impl Batch {
    /// `sequence`: of its first message; the answers carry it and the following ones.
    pub fn new(sequence: u32) -> Batch {
        let mut batch = Batch { bytes: Vec::with_capacity(4096), sequence, asked: 0 };
        batch.edge(BATCH_BEGIN, sequence);
        batch
    }

    /// Adds elements to a set; one that is there already stays as it is.
    pub fn add(&mut self, table: &str, set: &str, elements: &[Element]) {
        self.elements(NEW_ELEMENTS, CREATE, table, set, elements);
    }

    /// Takes elements out of a set; one that is not there makes the whole transaction fail (ENOENT).
    pub fn remove(&mut self, table: &str, set: &str, elements: &[Element]) {
        self.elements(DEL_ELEMENTS, 0, table, set, elements);
    }

    /// With everything in it.
    pub fn delete_table(&mut self, table: &str) {
        let message = self.open(DEL_TABLE, 0);
        text(&mut self.bytes, 1, table);
        self.close(message);
    }

    /// Acknowledgements to come if nothing fails.
    pub fn asked(&self) -> u32 {
        self.asked
    }

    pub fn finish(mut self) -> Vec<u8> {
        let sequence = self.sequence.wrapping_add(self.asked).wrapping_add(1);
        self.edge(BATCH_END, sequence);
        self.bytes
    }

    fn elements(&mut self, kind: u16, flags: u16, table: &str, set: &str, elements: &[Element]) {
        let mut rest = elements;
        while !rest.is_empty() {
            let message = self.open(kind, flags);
            text(&mut self.bytes, 1, table);
            text(&mut self.bytes, 2, set);
            let list = nest(&mut self.bytes, 3);
            let mut taken = 0;
            while let Some(element) = rest.get(taken)
                && self.bytes.len() - list < CHUNK
            {
                write_element(&mut self.bytes, element);
                taken += 1;
            }
            unnest(&mut self.bytes, list);
            self.close(message);
            rest = rest.get(taken..).unwrap_or_default();
        }
    }

    fn open(&mut self, kind: u16, flags: u16) -> usize {
        self.asked += 1;
        begin(&mut self.bytes, NF_TABLES << 8 | kind, REQUEST | ACK | flags, self.sequence.wrapping_add(self.asked), [INET, 0, 0, 0])
    }

    fn close(&mut self, message: usize) {
        end(&mut self.bytes, message);
    }

    fn edge(&mut self, kind: u16, sequence: u32) {
        let [high, low] = NF_TABLES.to_be_bytes();
        let message = begin(&mut self.bytes, kind, REQUEST, sequence, [0, 0, high, low]);
        end(&mut self.bytes, message);
    }
}

/// A question; the answers carry its sequence number. `texts`: attributes by number. `dump`: all there is.
pub fn question(kind: u16, sequence: u32, dump: bool, texts: &[(u16, &str)]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(64);
    let message = begin(&mut bytes, NF_TABLES << 8 | kind, REQUEST | if dump { DUMP } else { 0 }, sequence, [INET, 0, 0, 0]);
    for (number, value) in texts {
        text(&mut bytes, *number, value);
    }
    end(&mut bytes, message);
    bytes
}

fn begin(bytes: &mut Vec<u8>, kind: u16, flags: u16, sequence: u32, family: [u8; FAMILY_HEADER]) -> usize {
    let at = bytes.len();
    bytes.extend_from_slice(&0u32.to_ne_bytes());
    bytes.extend_from_slice(&kind.to_ne_bytes());
    bytes.extend_from_slice(&flags.to_ne_bytes());
    bytes.extend_from_slice(&sequence.to_ne_bytes());
    // The sender's port: the kernel knows.
    bytes.extend_from_slice(&0u32.to_ne_bytes());
    bytes.extend_from_slice(&family);
    at
}

/// A whole number of words by construction: headers and attributes are.
fn end(bytes: &mut [u8], at: usize) {
    let length = (bytes.len() - at) as u32;
    if let Some(place) = bytes.get_mut(at..at + 4) {
        place.copy_from_slice(&length.to_ne_bytes());
    }
}

fn attribute(bytes: &mut Vec<u8>, number: u16, value: &[u8]) {
    bytes.extend_from_slice(&((value.len() + 4) as u16).to_ne_bytes());
    bytes.extend_from_slice(&number.to_ne_bytes());
    bytes.extend_from_slice(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

fn text(bytes: &mut Vec<u8>, number: u16, value: &str) {
    let mut ended = value.as_bytes().to_vec();
    ended.push(0);
    attribute(bytes, number, &ended);
}

fn nest(bytes: &mut Vec<u8>, number: u16) -> usize {
    let at = bytes.len();
    bytes.extend_from_slice(&0u16.to_ne_bytes());
    bytes.extend_from_slice(&(number | NESTED).to_ne_bytes());
    at
}

fn unnest(bytes: &mut [u8], at: usize) {
    let length = (bytes.len() - at) as u16;
    if let Some(place) = bytes.get_mut(at..at + 2) {
        place.copy_from_slice(&length.to_ne_bytes());
    }
}

/// An interval is two elements: where it begins, and the first address after it, marked as an end. One that reaches the last address has no end.
fn write_element(bytes: &mut Vec<u8>, element: &Element) {
    match element {
        Element::Address(address) => write_key(bytes, &key(*address), false),
        Element::Port(place) => {
            let mut key = key(place.ip());
            key.extend_from_slice(&place.port().to_be_bytes());
            key.extend_from_slice(&[0, 0]);
            write_key(bytes, &key, false);
        }
        Element::Range(range) => {
            write_key(bytes, &key(range.first), false);
            if let Some(after) = after(range.last) {
                write_key(bytes, &key(after), true);
            }
        }
    }
}

fn write_key(bytes: &mut Vec<u8>, value: &[u8], is_end: bool) {
    let element = nest(bytes, 1);
    if is_end {
        attribute(bytes, 3, &INTERVAL_END.to_be_bytes());
    }
    let key = nest(bytes, 1);
    attribute(bytes, 1, value);
    unnest(bytes, key);
    unnest(bytes, element);
}

fn key(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

fn after(address: IpAddr) -> Option<IpAddr> {
    match address {
        IpAddr::V4(address) => address.to_bits().checked_add(1).map(|bits| Ipv4Addr::from_bits(bits).into()),
        IpAddr::V6(address) => address.to_bits().checked_add(1).map(|bits| Ipv6Addr::from_bits(bits).into()),
    }
}

fn before(address: IpAddr) -> Option<IpAddr> {
    match address {
        IpAddr::V4(address) => address.to_bits().checked_sub(1).map(|bits| Ipv4Addr::from_bits(bits).into()),
        IpAddr::V6(address) => address.to_bits().checked_sub(1).map(|bits| Ipv6Addr::from_bits(bits).into()),
    }
}

/// What came back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Answer<'a> {
    /// Done as asked (0), or why not (errno).
    Acknowledged { sequence: u32, errno: i32 },
    /// The end of a dump.
    Done { sequence: u32, errno: i32 },
    /// Something of nf_tables, `kind` as above; `attributes` is what follows its headers.
    Data { sequence: u32, kind: u16, attributes: &'a [u8], interrupted: bool },
}

/// The messages of one datagram. What is not understood is passed over; what is cut short ends it.
pub fn answers(datagram: &[u8]) -> impl Iterator<Item = Answer<'_>> {
    let mut rest = datagram;
    std::iter::from_fn(move || {
        loop {
            let length = u32_of(rest.get(0..4)?)? as usize;
            let message = rest.get(..length).filter(|_| length >= HEADER)?;
            rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
            if let Some(answer) = answer(message) {
                return Some(answer);
            }
        }
    })
}

fn answer(message: &[u8]) -> Option<Answer<'_>> {
    let (kind, flags) = (u16_of(message.get(4..6)?)?, u16_of(message.get(6..8)?)?);
    let sequence = u32_of(message.get(8..12)?)?;
    let errno = || message.get(HEADER..HEADER + 4).and_then(u32_of).map_or(0, |number| (number as i32).saturating_neg());
    match kind {
        NLMSG_ERROR => Some(Answer::Acknowledged { sequence, errno: errno() }),
        NLMSG_DONE => Some(Answer::Done { sequence, errno: errno() }),
        kind if kind >> 8 == NF_TABLES => {
            let attributes = message.get(HEADER + FAMILY_HEADER..)?;
            Some(Answer::Data { sequence, kind: kind & 0xff, attributes, interrupted: flags & DUMP_INTERRUPTED != 0 })
        }
        _ => None,
    }
}

/// Number and value of each attribute, flags of the number taken off.
pub fn attributes(bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let length = u16_of(rest.get(0..2)?)? as usize;
        let number = u16_of(rest.get(2..4)?)? & 0x3fff;
        let value = rest.get(4..length)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((number, value))
    })
}

pub fn find(bytes: &[u8], number: u16) -> Option<&[u8]> {
    attributes(bytes).find(|(found, _)| *found == number).map(|(_, value)| value)
}

pub fn text_of(value: &[u8]) -> &str {
    let end = value.iter().position(|byte| *byte == 0).unwrap_or(value.len());
    value.get(..end).and_then(|text| std::str::from_utf8(text).ok()).unwrap_or_default()
}

pub fn be32(value: &[u8]) -> Option<u32> {
    value.try_into().ok().map(u32::from_be_bytes)
}

pub fn be64(value: &[u8]) -> Option<u64> {
    value.try_into().ok().map(u64::from_be_bytes)
}

fn u16_of(value: &[u8]) -> Option<u16> {
    value.try_into().ok().map(u16::from_ne_bytes)
}

fn u32_of(value: &[u8]) -> Option<u32> {
    value.try_into().ok().map(u32::from_ne_bytes)
}

/// One element as a set's dump has it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Raw {
    pub key: Vec<u8>,
    pub is_end: bool,
    /// Until the kernel takes it out.
    pub left: Option<Duration>,
}

/// The elements in one message of a set's dump.
pub fn raw_elements(attributes_of_message: &[u8]) -> Vec<Raw> {
    let list = find(attributes_of_message, 3).unwrap_or_default();
    let raw = |element: &[u8]| {
        let key = find(find(element, 1)?, 1)?.to_vec();
        let is_end = find(element, 3).and_then(be32).is_some_and(|flags| flags & INTERVAL_END != 0);
        Some(Raw { key, is_end, left: find(element, 5).and_then(be64).map(Duration::from_millis) })
    };
    attributes(list).filter_map(|(_, element)| raw(element)).collect()
}

/// What a whole dump of a set of this form holds.
pub fn elements(mut raw: Vec<Raw>, form: Form) -> Vec<Element> {
    match form {
        Form::Addresses => raw.iter().filter_map(|raw| address(&raw.key)).map(Element::Address).collect(),
        Form::Ports => raw.iter().filter_map(|raw| port(&raw.key)).map(Element::Port).collect(),
        Form::Ranges => {
            // An end before a beginning of the same key: one interval ends where the next begins.
            raw.sort_by(|a, b| (&a.key, !a.is_end).cmp(&(&b.key, !b.is_end)));
            let mut found = Vec::new();
            let mut open = None;
            for edge in raw.iter().filter_map(|raw| address(&raw.key).map(|address| (address, raw.is_end))) {
                match (open, edge) {
                    (Some(first), (after, true)) => {
                        found.extend(before(after).map(|last| Element::Range(Range { first, last })));
                        open = None;
                    }
                    (None, (first, false)) => open = Some(first),
                    _ => {}
                }
            }
            found.extend(open.map(|first| {
                let last = if first.is_ipv4() { Ipv4Addr::BROADCAST.into() } else { Ipv6Addr::from_bits(u128::MAX).into() };
                Element::Range(Range { first, last })
            }));
            found
        }
    }
}

pub fn address(key: &[u8]) -> Option<IpAddr> {
    let four = <[u8; 4]>::try_from(key).ok().map(IpAddr::from);
    four.or_else(|| <[u8; 16]>::try_from(key).ok().map(IpAddr::from))
}

fn port(key: &[u8]) -> Option<SocketAddr> {
    let (host, port) = key.split_at_checked(key.len().checked_sub(4)?)?;
    Some(SocketAddr::new(address(host)?, u16::from_be_bytes([*port.first()?, *port.get(1)?])))
}

#[cfg(test)]
mod tests;
