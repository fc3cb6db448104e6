//! UDPTL, the transport of T.38 fax (ITU-T T.38 §9.1; RFC 7345 §1): one datagram read where it lies, and the count of those that never came.
//!
//! ```text
//! | sequence number, 16 | length, 8 or 16 | primary IFP packet | recovery: 0x00 count {length, packet}… |
//! |                                                            |        or 0x80 1 span count {length, parity}… |
//! ```
//!
//! Lengths are those of aligned PER (X.691 §10.9): one byte below 128, two below 16384 with the top bit set; longer ones do not fit a datagram. Nothing
//! says that a datagram is UDPTL but that its lengths add up to its end, so that is what is asked.

use crate::media::packet::{Malformed, u16_at};

/// The longest datagram carried: what gateways state as T38FaxMaxDatagram, and no fragment on any usual path. Bytes.
pub const LONGEST: usize = 1400;

/// Packets that make good for lost ones in one datagram; nobody repeats more than a few.
const MOST_RECOVERED: usize = 32;

/// Where a sequence number may be from the highest one: as RFC 3550 A.1 has it for RTP.
const MAX_DROPOUT: u16 = 3_000;
const MAX_MISORDER: u16 = 100;

/// The sequence number of a well-formed datagram.
pub fn check(datagram: &[u8]) -> Result<u16, Malformed> {
    if datagram.len() > LONGEST {
        return Err(Malformed::Length);
    }
    let Some((sequence, rest)) = datagram.split_first_chunk::<2>() else { return Err(Malformed::Short) };
    let rest = open_type(rest)?;
    let (recovery, rest) = rest.split_first().ok_or(Malformed::Short)?;
    let rest = match recovery {
        // Error recovery by redundancy: earlier primary packets.
        0x00 => rest,
        // By parity: an integer of one byte, how many packets each parity covers.
        0x80 => match rest {
            [1, _, rest @ ..] => rest,
            _ => return Err(Malformed::Kind),
        },
        _ => return Err(Malformed::Kind),
    };
    let (count, mut rest) = length(rest)?;
    if count > MOST_RECOVERED {
        return Err(Malformed::Length);
    }
    for _ in 0..count {
        rest = open_type(rest)?;
    }
    if rest.is_empty() { Ok(u16::from_be_bytes(*sequence)) } else { Err(Malformed::Length) }
}

/// What follows a packet with its length before it.
fn open_type(bytes: &[u8]) -> Result<&[u8], Malformed> {
    let (length, rest) = length(bytes)?;
    rest.get(length..).ok_or(Malformed::Length)
}

fn length(bytes: &[u8]) -> Result<(usize, &[u8]), Malformed> {
    let (&first, rest) = bytes.split_first().ok_or(Malformed::Short)?;
    match first {
        0..=0x7f => Ok((usize::from(first), rest)),
        0x80..=0xbf if !rest.is_empty() => Ok((usize::from(u16_at(bytes, 0) & 0x3fff), rest.get(1..).unwrap_or_default())),
        0x80..=0xbf => Err(Malformed::Short),
        0xc0..=0xff => Err(Malformed::Length),
    }
}

/// The sequence numbers of one direction.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Sequence {
    run: Option<Run>,
    /// Losses of runs that are over.
    lost: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Run {
    /// Of the first datagram, and of the highest with its wraps counted.
    base: u32,
    highest: u32,
    /// Different numbers seen.
    seen: u32,
    /// The number that would confirm a new start.
    suspect: Option<u16>,
}

impl Sequence {
    /// Whether the datagram may be one of this fax. A number far from the last waits for its successor, which shows a sender that has begun anew (RFC 3550
    /// A.1). The same number again is no replay: signals are sent several times over.
    pub fn accept(&mut self, sequence: u16) -> bool {
        let Some(run) = &mut self.run else {
            self.run = Some(Run::new(sequence));
            return true;
        };
        let ahead = sequence.wrapping_sub(run.highest as u16);
        match ahead {
            0 => {}
            1..MAX_DROPOUT => {
                run.highest = run.highest.wrapping_add(u32::from(ahead));
                run.seen = run.seen.saturating_add(1);
            }
            behind if behind > u16::MAX - MAX_MISORDER => run.seen = run.seen.saturating_add(1),
            _ if run.suspect == Some(sequence) => {
                self.lost += run.lost();
                self.run = Some(Run::new(sequence));
                return true;
            }
            _ => {
                run.suspect = Some(sequence.wrapping_add(1));
                return false;
            }
        }
        run.suspect = None;
        true
    }

    /// Datagrams that never came.
    pub fn lost(&self) -> u64 {
        self.lost + self.run.map_or(0, |run| run.lost())
    }
}

impl Run {
    fn new(sequence: u16) -> Run {
        Run { base: u32::from(sequence), highest: u32::from(sequence), seen: 1, suspect: None }
    }

    fn lost(&self) -> u64 {
        (u64::from(self.highest.wrapping_sub(self.base)) + 1).saturating_sub(u64::from(self.seen))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redundant(sequence: u16, primary: &[u8], earlier: &[&[u8]]) -> Vec<u8> {
        let mut bytes = sequence.to_be_bytes().to_vec();
        let put = |bytes: &mut Vec<u8>, packet: &[u8]| {
            match packet.len() {
                short @ 0..128 => bytes.push(short as u8),
                long => bytes.extend((0x8000 | long as u16).to_be_bytes()),
            }
            bytes.extend(packet);
        };
        put(&mut bytes, primary);
        bytes.extend([0, earlier.len() as u8]);
        earlier.iter().for_each(|packet| put(&mut bytes, packet));
        bytes
    }

    #[test]
    fn both_ways_of_recovery_are_read() {
        // A CNG indicator, alone; then with the two before it; then data of 200 bytes.
        assert_eq!(check(&[0, 7, 1, 0x02, 0, 0]), Ok(7));
        assert_eq!(check(&redundant(9, &[0x06], &[&[0x04], &[0x02]])), Ok(9));
        assert_eq!(check(&redundant(0xffff, &[0xc0; 200], &[&[1; 130]])), Ok(0xffff));
        // Parity: each over three packets, two of them.
        assert_eq!(check(&[1, 0, 2, 0xc0, 1, 0x80, 1, 3, 2, 1, 0xaa, 1, 0xbb]), Ok(256));
        // Nothing new to say, the earlier again.
        assert_eq!(check(&redundant(3, &[], &[&[6]])), Ok(3));
    }

    #[test]
    fn what_does_not_add_up_is_refused() {
        let good = redundant(9, &[6, 7, 8], &[&[4, 4], &[2]]);
        for end in 0..good.len() {
            assert!(check(&good[..end]).is_err(), "{end} bytes of it");
        }
        assert_eq!(check(&[&good[..], &[0]].concat()), Err(Malformed::Length));
        assert_eq!(check(&[0, 7, 1, 2, 0x40, 0]), Err(Malformed::Kind));
        assert_eq!(check(&[0, 7, 1, 2, 0x80, 2, 0, 3, 0]), Err(Malformed::Kind));
        assert_eq!(check(&[0, 7, 0xc1, 2, 0, 0]), Err(Malformed::Length), "fragments do not fit a datagram");
        assert_eq!(check(&redundant(1, &[1], &[&[][..]; 33])), Err(Malformed::Length));
        assert_eq!(check(&redundant(1, &[0; LONGEST], &[])), Err(Malformed::Length));
        assert_eq!(check(&redundant(1, &[0; LONGEST - 6], &[])), Ok(1));
        // A packet of voice, as it still comes while the other end has already changed over.
        let mut voice = vec![0x80, 0, 0, 9, 0, 0, 0, 160, 1, 2, 3, 4];
        voice.extend([0xd5; 160]);
        assert!(check(&voice).is_err());
    }

    #[test]
    fn any_bytes_are_survived() {
        let mut state = 1u64;
        for length in (0..2_000usize).cycle().take(20_000) {
            let bytes: Vec<u8> = (0..length)
                .map(|_| {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    (state >> 56) as u8
                })
                .collect();
            if check(&bytes).is_ok() {
                assert!(bytes.len() <= LONGEST);
            }
        }
    }

    #[test]
    fn losses_are_gaps_and_repetitions_are_none() {
        let run = |numbers: &[u16]| {
            let mut sequence = Sequence::default();
            let taken = numbers.iter().filter(|number| sequence.accept(**number)).count();
            (taken, sequence.lost())
        };
        assert_eq!(run(&[0, 0, 0, 1, 2]), (5, 0));
        assert_eq!(run(&[0, 3, 4]), (3, 2));
        assert_eq!(run(&[0, 2, 1, 3]), (4, 0), "reordered");
        assert_eq!(run(&[65_534, 65_535, 1]), (3, 1), "across the wrap");
        assert_eq!(run(&[5, 40_000, 6]), (2, 0), "one stray number is refused and changes nothing");
        assert_eq!(run(&[5, 7, 40_000, 40_001, 40_003]), (4, 2), "two in a row are a new start");
    }
}
