//! Any bytes as SRTP and SRTCP, raw and as damage done to an authentic packet: none is accepted, a refused packet is left as it was, and the next
//! authentic packet still is accepted and comes out as it went in.

use portcullis::media::control::SrtpParameters;
use portcullis::media::rtp::Header;
use portcullis::media::srtp::{Receiver, Refusal, Sender};
use portcullis::sdp::crypto::{MasterKey, Suite};
use portcullis::time::Time;

const ROOM: usize = 160;

pub fn run(data: &[u8]) {
    let Some((&shape, data)) = data.split_first() else { return };
    let suite = Suite::ALL[usize::from(shape & 7)];
    let mki = (shape & 16 != 0).then(|| vec![7; 1 + usize::from(shape >> 5) * 18]);
    let key_and_salt = (0..(suite.key_length() + suite.salt_length()) as u8).collect();
    let parameters = SrtpParameters { suite, keys: vec![MasterKey { key_and_salt, lifetime: None, mki }] };
    let (mut sender, mut receiver) = (Sender::new(&parameters).unwrap(), Receiver::new(&parameters).unwrap());
    let rtcp = shape & 8 != 0;
    let mut sequence = 65_530u16;
    for piece in std::iter::once(&[][..]).chain(data.chunks(64)) {
        if !piece.is_empty() {
            assert!(attempt(&mut receiver, piece, rtcp).is_err());
        }
        let (clear, sealed) = seal(&mut sender, rtcp, sequence);
        sequence = sequence.wrapping_add(1);
        let mut damaged = sealed.clone();
        for pair in piece.chunks_exact(2) {
            damaged[usize::from(pair[0]) % sealed.len()] ^= pair[1];
        }
        // Byte by byte: a fuzzer learns what memcmp is given, and would send a sealed packet of its own.
        if !damaged.iter().eq(&sealed) {
            assert!(attempt(&mut receiver, &damaged, rtcp).is_err());
        }
        assert_eq!(attempt(&mut receiver, &sealed, rtcp), Ok(clear));
        assert_eq!(attempt(&mut receiver, &sealed, rtcp), Err(Some(Refusal::Replay)));
    }
}

fn seal(sender: &mut Sender, rtcp: bool, sequence: u16) -> (Vec<u8>, Vec<u8>) {
    let mut clear = if rtcp { vec![0x80, 201, 0, 9] } else { [&[0x80, 0][..], &sequence.to_be_bytes()].concat() };
    clear.resize(40, 0x33);
    let mut buffer = clear.clone();
    buffer.resize(clear.len() + ROOM, 0);
    let len = if rtcp {
        sender.protect_rtcp(&mut buffer, clear.len()).unwrap()
    } else {
        sender.protect_rtp(Time::ZERO, &mut buffer, clear.len(), &Header::parse(&clear).unwrap()).unwrap()
    };
    buffer.truncate(len);
    (clear, buffer)
}

/// `Err(None)`: not even a header.
fn attempt(receiver: &mut Receiver, packet: &[u8], rtcp: bool) -> Result<Vec<u8>, Option<Refusal>> {
    let mut buffer = packet.to_vec();
    let outcome = if rtcp {
        receiver.unprotect_rtcp(Time::ZERO, &mut buffer)
    } else {
        let header = Header::parse(packet).map_err(|_| None)?;
        receiver.unprotect_rtp(Time::ZERO, &mut buffer, &header)
    };
    match outcome {
        Ok(len) => {
            buffer.truncate(len);
            Ok(buffer)
        }
        Err(refusal) => {
            // What AEAD could not open it zeroes, but for the header.
            let kept = if receiver.parameters().suite.is_aead() && !rtcp { packet.len().min(12) } else { packet.len() };
            assert_eq!(buffer[..kept], packet[..kept], "a refused packet is left as it was");
            Err(Some(refusal))
        }
    }
}
