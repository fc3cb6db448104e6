//! The messages of a DTLS 1.2 handshake put together (RFC 6347 §4.2.3): fragments may overlap, come in any order, and be cut elsewhere when they are repeated.
//!
//! Only what is in clear (epoch 0) is looked into; under encryption there is one short message. Every byte comes from whoever can reach the port, so that
//! what is kept is bounded, and what does not fit is forgotten: its sender repeats it.

use std::ops::Range;

use crate::media::packet::u16_at;

/// Of a record: type, version, epoch, sequence number, length (§4.1).
const RECORD: usize = 13;
/// Of a handshake message: type, length, number, and where the fragment stands (§4.2.2).
const MESSAGE: usize = 12;
const HANDSHAKE: u8 = 22;
/// The longest message put together: one record holds no more (§4.1, RFC 5246 §6.2.1). Unit: bytes.
pub const LONGEST: usize = (1 << 14) - MESSAGE;
/// Messages under way, and their bytes. A flight has five at most, one of them a certificate.
const MESSAGES: usize = 6;
const BYTES: usize = 2 * LONGEST;
/// Gaps between the pieces of one message.
const PIECES: usize = 64;

/// A message of which something is missing.
#[derive(Debug)]
struct Partial {
    kind: u8,
    number: u16,
    body: Vec<u8>,
    /// What has come, in order, with gaps between.
    pieces: Vec<Range<usize>>,
}

impl Partial {
    /// False: in too many pieces to be kept.
    fn put(&mut self, at: usize, bytes: &[u8]) -> bool {
        let Some(place) = self.body.get_mut(at..at + bytes.len()) else { return true };
        place.copy_from_slice(bytes);
        let mut whole = at..at + bytes.len();
        self.pieces.retain(|piece| {
            let touches = piece.start <= whole.end && whole.start <= piece.end;
            if touches {
                whole = piece.start.min(whole.start)..piece.end.max(whole.end);
            }
            !touches
        });
        let index = self.pieces.partition_point(|piece| piece.start < whole.start);
        self.pieces.insert(index, whole);
        self.pieces.len() <= PIECES
    }

    fn is_whole(&self) -> bool {
        self.pieces.first().is_some_and(|piece| *piece == (0..self.body.len()))
    }
}

/// A fragment as its header describes it.
#[derive(Clone, Copy)]
struct Fragment<'a> {
    kind: u8,
    number: u16,
    /// Of the whole message.
    length: usize,
    at: usize,
    body: &'a [u8],
}

impl<'a> Fragment<'a> {
    /// The first of a record's payload, and what follows it. `None`: there is none, or it does not fit into what it belongs to.
    fn read(payload: &'a [u8]) -> Option<(Fragment<'a>, &'a [u8])> {
        let (header, rest) = payload.split_at_checked(MESSAGE)?;
        let (length, at, size) = (u24_at(header, 1), u24_at(header, 6), u24_at(header, 9));
        let (body, rest) = rest.split_at_checked(size)?;
        (at + size <= length).then_some((Fragment { kind: header[0], number: u16_at(header, 4), length, at, body }, rest))
    }

    fn is_whole(&self) -> bool {
        self.body.len() == self.length
    }
}

fn u24_at(bytes: &[u8], at: usize) -> usize {
    usize::from(bytes[at]) << 16 | usize::from(u16_at(bytes, at + 1))
}

/// The records of a datagram, each with its header. What is cut short comes last, as it is.
fn records(mut datagram: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let end = match datagram.len() {
            0 => return None,
            short if short < RECORD => short,
            len => len.min(RECORD + usize::from(u16_at(datagram, 11))),
        };
        let (record, rest) = datagram.split_at(end);
        datagram = rest;
        Some(record)
    })
}

/// What of a record is handshake messages in clear.
fn messages(record: &[u8]) -> Option<&[u8]> {
    let is_clear = record.len() >= RECORD && record[0] == HANDSHAKE && u16_at(record, 3) == 0 && record.len() == RECORD + usize::from(u16_at(record, 11));
    is_clear.then(|| &record[RECORD..])
}

/// The type of the first handshake message in clear that a datagram begins with (RFC 5246 §7.4).
pub fn first_message(datagram: &[u8]) -> Option<u8> {
    messages(records(datagram).next()?)?.first().copied()
}

/// What has come of one association's handshake, from one source.
#[derive(Debug, Default)]
pub struct Flights {
    partial: Vec<Partial>,
}

impl Flights {
    /// Gives on what a datagram brings, as datagrams that hold no fragments: as it is if there are none in it, else record by record, each message as soon
    /// as it is whole. Stops at the first error.
    pub fn datagram<E>(&mut self, datagram: &[u8], mut give: impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
        let is_fragmented = records(datagram).filter_map(messages).any(|payload| each(payload).any(|fragment| !fragment.is_whole()));
        if !is_fragmented {
            return give(datagram);
        }
        let mut out = Vec::new();
        for record in records(datagram) {
            let Some(payload) = messages(record) else {
                give(record)?;
                continue;
            };
            for fragment in each(payload) {
                let header = record.get(..RECORD - 2).unwrap_or_default();
                if fragment.is_whole() {
                    self.partial.retain(|partial| partial.number != fragment.number);
                    write(&mut out, header, fragment.kind, fragment.number, fragment.body);
                } else if let Some(Partial { kind, number, body, .. }) = self.put(fragment) {
                    write(&mut out, header, kind, number, &body);
                } else {
                    continue;
                }
                give(&out)?;
            }
        }
        Ok(())
    }

    /// The message the fragment makes whole.
    fn put(&mut self, fragment: Fragment<'_>) -> Option<Partial> {
        let Fragment { kind, number, length, at, body } = fragment;
        if length > LONGEST || body.is_empty() {
            return None;
        }
        let is_it = |partial: &Partial| (partial.kind, partial.number, partial.body.len()) == (kind, number, length);
        // One number is one message: of two that differ the later one may be the right one.
        self.partial.retain(|partial| partial.number != number || is_it(partial));
        let index = self.partial.iter().position(is_it).unwrap_or_else(|| {
            while self.partial.len() >= MESSAGES || self.partial.iter().map(|partial| partial.body.len()).sum::<usize>() + length > BYTES {
                self.partial.remove(0);
            }
            self.partial.push(Partial { kind, number, body: vec![0; length], pieces: Vec::new() });
            self.partial.len() - 1
        });
        let is_kept = self.partial.get_mut(index).is_some_and(|partial| partial.put(at, body));
        let is_done = self.partial.get(index).is_some_and(Partial::is_whole);
        let taken = (is_done || !is_kept).then(|| self.partial.remove(index));
        taken.filter(|_| is_done)
    }

    /// What is kept. Unit: bytes.
    pub fn bytes(&self) -> usize {
        self.partial.iter().map(|partial| partial.body.len()).sum()
    }
}

fn each(mut payload: &[u8]) -> impl Iterator<Item = Fragment<'_>> {
    std::iter::from_fn(move || {
        let (fragment, rest) = Fragment::read(payload)?;
        payload = rest;
        Some(fragment)
    })
}

/// One whole message in a record of its own. `header`: of the record it came in, without the length.
fn write(out: &mut Vec<u8>, header: &[u8], kind: u8, number: u16, body: &[u8]) {
    let length = |bytes: usize| (bytes as u32).to_be_bytes();
    let [_, high, middle, low] = length(body.len());
    out.clear();
    out.extend_from_slice(header);
    out.extend_from_slice(&length(MESSAGE + body.len())[2..]);
    out.extend_from_slice(&[kind, high, middle, low]);
    out.extend_from_slice(&number.to_be_bytes());
    out.extend_from_slice(&[0, 0, 0, high, middle, low]);
    out.extend_from_slice(body);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A record in clear with one fragment in it.
    fn record(sequence: u8, kind: u8, number: u16, body: &[u8], part: Range<usize>) -> Vec<u8> {
        let mut out = Vec::new();
        write(&mut out, &[HANDSHAKE, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, sequence], kind, number, body);
        let three = |bytes: usize| [(bytes >> 16) as u8, (bytes >> 8) as u8, bytes as u8];
        out.truncate(RECORD + MESSAGE);
        out[RECORD + 6..RECORD + 9].copy_from_slice(&three(part.start));
        out[RECORD + 9..RECORD + 12].copy_from_slice(&three(part.len()));
        out[11..13].copy_from_slice(&((MESSAGE + part.len()) as u16).to_be_bytes());
        out.extend_from_slice(&body[part]);
        out
    }

    fn feed(flights: &mut Flights, datagram: &[u8]) -> Vec<Vec<u8>> {
        let mut given = Vec::new();
        let give = |bytes: &[u8]| -> Result<(), ()> {
            given.push(bytes.to_vec());
            Ok(())
        };
        flights.datagram(datagram, give).unwrap();
        given
    }

    fn body(length: usize, fill: u8) -> Vec<u8> {
        (0..length).map(|i| (i as u8).wrapping_mul(31) ^ fill).collect()
    }

    #[test]
    fn what_is_in_one_piece_passes_as_it_is() {
        let mut flights = Flights::default();
        let body = body(300, 1);
        let both = [record(1, 11, 1, &body, 0..300), record(2, 14, 2, &[], 0..0), vec![20, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 3, 0, 1, 1]].concat();
        assert_eq!(feed(&mut flights, &both), vec![both.clone()]);
        for junk in [&[][..], &[22; 5], &both[..40], &[23; 200]] {
            assert_eq!(feed(&mut flights, junk), vec![junk.to_vec()], "for the library to judge");
        }
        assert_eq!(flights.bytes(), 0);
    }

    /// As OpenSSL does when it repeats what it had to split: cut at other places, so that the pieces overlap.
    #[test]
    fn pieces_that_overlap_are_put_together() {
        let mut flights = Flights::default();
        let body = body(500, 2);
        let whole = |sequence| record(sequence, 11, 1, &body, 0..500);
        assert!(feed(&mut flights, &record(1, 11, 1, &body, 0..200)).is_empty());
        assert!(feed(&mut flights, &record(3, 11, 1, &body, 400..500)).is_empty());
        assert!(feed(&mut flights, &record(4, 11, 1, &body, 0..170)).is_empty());
        assert_eq!(feed(&mut flights, &record(5, 11, 1, &body, 170..410)), vec![whole(5)]);
        assert_eq!(flights.bytes(), 0);
        assert!(feed(&mut flights, &record(6, 11, 1, &body, 0..200)).is_empty(), "repeated for a peer whose flight is lost: it is put together again");
        assert_eq!(feed(&mut flights, &record(7, 11, 1, &body, 200..500)), vec![whole(7)]);
    }

    #[test]
    fn whole_messages_and_other_records_beside_pieces_keep_their_order() {
        let mut flights = Flights::default();
        let (hello, certificate) = (body(80, 3), body(400, 4));
        let first = [record(1, 2, 1, &hello, 0..80), record(2, 11, 2, &certificate, 0..150)].concat();
        assert_eq!(feed(&mut flights, &first), vec![record(1, 2, 1, &hello, 0..80)]);
        let ccs = vec![20, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 4, 0, 1, 1];
        let sealed = [&[22, 0xfe, 0xfd, 0, 1, 0, 0, 0, 0, 0, 0, 0, 40][..], &[7; 40]].concat();
        let second = [record(3, 11, 2, &certificate, 150..400), ccs.clone(), sealed.clone()].concat();
        assert_eq!(feed(&mut flights, &second), vec![record(3, 11, 2, &certificate, 0..400), ccs, sealed]);
    }

    #[test]
    fn two_messages_of_one_number_do_not_mix() {
        let mut flights = Flights::default();
        let (one, other) = (body(100, 5), body(120, 6));
        feed(&mut flights, &record(1, 11, 1, &one, 0..60));
        feed(&mut flights, &record(2, 11, 1, &other, 0..60));
        assert!(feed(&mut flights, &record(3, 11, 1, &one, 60..100)).is_empty(), "the other one has come since");
        assert_eq!(feed(&mut flights, &record(4, 11, 1, &one, 0..60)), vec![record(4, 11, 1, &one, 0..100)]);
    }

    #[test]
    fn what_a_stranger_makes_us_keep_is_bounded() {
        let mut flights = Flights::default();
        let body = body(LONGEST + 1, 7);
        assert!(feed(&mut flights, &record(0, 11, 0, &body, 5..9)).is_empty());
        assert_eq!(flights.bytes(), 0, "longer than a message may be");
        for number in 0..2000 {
            feed(&mut flights, &record(0, 11, number, &body[..LONGEST], 5..9));
            feed(&mut flights, &record(0, 11, number, &body[..300], 5..9));
            assert!(flights.bytes() <= BYTES && flights.partial.len() <= MESSAGES);
        }
        let mut flights = Flights::default();
        for at in (0..LONGEST - 1).step_by(2) {
            feed(&mut flights, &record(0, 11, 1, &body[..LONGEST], at..at + 1));
            assert!(flights.partial.iter().all(|partial| partial.pieces.len() <= PIECES));
        }
    }

    proptest! {
        #[test]
        fn in_whatever_pieces_and_order_it_comes_out_once_whole(
            length in 1_usize..3000, cuts in prop::collection::vec((0_usize..3000, 1_usize..600), 0..40), size in 40_usize..500,
        ) {
            let mut flights = Flights::default();
            let body = body(length, 8);
            let mut whole = Vec::new();
            let random = cuts.into_iter().map(|(at, size)| (at % length)..(at % length + size).min(length));
            let orderly = (0..length).step_by(size).map(|at| at..(at + size).min(length));
            for part in random.chain(orderly) {
                whole.extend(feed(&mut flights, &record(1, 11, 1, &body, part)));
            }
            prop_assert!(!whole.is_empty());
            for message in whole {
                prop_assert_eq!(message, record(1, 11, 1, &body, 0..length));
            }
        }

        #[test]
        fn nothing_panics(datagrams in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..20)) {
            let mut flights = Flights::default();
            for mut datagram in datagrams {
                if datagram.len() > RECORD + MESSAGE {
                    (datagram[0], datagram[3], datagram[4]) = (HANDSHAKE, 0, 0);
                    let length = (datagram.len() - RECORD) as u16;
                    datagram[11..13].copy_from_slice(&length.to_be_bytes());
                    for at in [RECORD + 1, RECORD + 2, RECORD + 6, RECORD + 7, RECORD + 9, RECORD + 10] {
                        datagram[at] = 0;
                    }
                }
                feed(&mut flights, &datagram);
                first_message(&datagram);
            }
        }
    }
}
