//! Any bytes as a stream, cut into reads two ways: the same messages come out, each reads whole, and what is held stays bounded.

use bytes::Bytes;
use portcullis::sip::{Frame, Framer, Limits, Message, ParseError};

const LIMITS: Limits = Limits { header_bytes: 600, body_bytes: 200, fields: 12 };

pub fn run(data: &[u8]) {
    // The first byte says how long the reads are.
    let Some((&size, stream)) = data.split_first() else { return };
    let (whole, whole_error) = read(std::iter::once(stream));
    let (pieces, pieces_error) = read(stream.chunks(usize::from(size % 16) + 1));
    assert_eq!(whole, pieces);
    assert_eq!(whole_error.is_some(), pieces_error.is_some());
    for message in whole {
        let read = Message::parse(message.clone(), &LIMITS).expect("a framed message reads");
        assert_eq!(read.bytes().len(), message.len());
    }
}

fn read<'a>(reads: impl Iterator<Item = &'a [u8]>) -> (Vec<Bytes>, Option<ParseError>) {
    let mut framer = Framer::new(LIMITS);
    let mut messages = Vec::new();
    for read in reads {
        framer.push(read);
        loop {
            match framer.next() {
                Ok(Some(Frame::Message(message))) => messages.push(message),
                Ok(Some(Frame::Ping | Frame::Pong)) => {}
                Ok(None) => break,
                Err(error) => return (messages, Some(error.error)),
            }
        }
        assert!(framer.buffered() <= LIMITS.header_bytes + LIMITS.body_bytes, "{} bytes held", framer.buffered());
    }
    (messages, None)
}
