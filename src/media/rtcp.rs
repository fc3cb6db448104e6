//! RTCP compound packets, read where they lie (RFC 3550 §6, appendix A.2), and the concealing of what they tell about their sender's network.

use crate::media::packet::{Malformed, u16_at, u32_at};

pub const SENDER_REPORT: u8 = 200;
pub const RECEIVER_REPORT: u8 = 201;
pub const SOURCE_DESCRIPTION: u8 = 202;
pub const BYE: u8 = 203;
pub const APPLICATION: u8 = 204;

/// One packet of a compound.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Packet<'a> {
    pub kind: u8,
    /// The five bits beside the version: report or source count, subtype, feedback format.
    pub count: u8,
    /// Between the four-byte header and the padding.
    pub body: &'a [u8],
    /// Bytes of header, body and padding.
    pub size: usize,
}

/// The packets of a compound, in order; ends at the first that does not fit.
#[derive(Clone, Debug)]
pub struct Packets<'a>(&'a [u8]);

impl<'a> Iterator for Packets<'a> {
    type Item = Result<Packet<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let one = first(self.0);
        self.0 = match one {
            Ok(packet) => self.0.get(packet.size..).unwrap_or_default(),
            Err(_) => &[],
        };
        Some(one)
    }
}

fn first(compound: &[u8]) -> Result<Packet<'_>, Malformed> {
    let Some(&[flags, kind, _, _]) = compound.first_chunk::<4>() else { return Err(Malformed::Short) };
    if flags >> 6 != 2 {
        return Err(Malformed::Version);
    }
    if !(192..=223).contains(&kind) {
        return Err(Malformed::Kind);
    }
    let end = 4 + 4 * usize::from(u16_at(compound, 2));
    let body = compound.get(4..end).ok_or(Malformed::Length)?;
    let mut padding = 0;
    if flags & 0x20 != 0 {
        // Only the last packet of a compound may be padded, by whole words (RFC 3550 §6.4.1).
        padding = usize::from(body.last().copied().unwrap_or(0));
        if end != compound.len() || padding == 0 || !padding.is_multiple_of(4) {
            return Err(Malformed::Padding);
        }
    }
    let body = body.len().checked_sub(padding).and_then(|length| body.get(..length)).ok_or(Malformed::Padding)?;
    Ok(Packet { kind, count: flags & 0x1f, body, size: end })
}

pub fn packets(compound: &[u8]) -> Packets<'_> {
    Packets(compound)
}

/// The SSRC of the first packet: in the clear even under SRTCP, where the rest cannot be checked yet.
pub fn sender(packet: &[u8]) -> Result<u32, Malformed> {
    let Some(&[flags, kind, ..]) = packet.first_chunk::<8>() else { return Err(Malformed::Short) };
    if flags >> 6 != 2 {
        return Err(Malformed::Version);
    }
    if !(192..=223).contains(&kind) {
        return Err(Malformed::Kind);
    }
    Ok(u32_at(packet, 4))
}

/// Whether the lengths of a whole compound add up. It need not begin with a report: reduced-size compounds (RFC 5506) pass.
pub fn check(compound: &[u8]) -> Result<(), Malformed> {
    if compound.is_empty() {
        return Err(Malformed::Short);
    }
    packets(compound).try_for_each(|packet| packet.map(drop))
}

/// Overwrites what would tell one side about the other's network and people: the texts of source descriptions (CNAME is user@host, TOOL a product
/// name) and the reason of a BYE. Lengths stay; a CNAME stays constant and its own per source, since each text becomes its SSRC in hexadecimal.
/// For a compound that passed `check`; of any other the part before the fault is treated.
pub fn conceal(compound: &mut [u8]) {
    let mut at = 0;
    while let Some(rest) = compound.get_mut(at..) {
        let Ok(Packet { kind, count, body, size }) = first(rest) else { return };
        let end = 4 + body.len();
        let Some(body) = rest.get_mut(4..end) else { return };
        match kind {
            SOURCE_DESCRIPTION => conceal_chunks(body, count),
            BYE => {
                let reason = 4 * usize::from(count);
                if let Some((&mut length, text)) = body.get_mut(reason..).and_then(<[u8]>::split_first_mut) {
                    let length = usize::from(length).min(text.len());
                    text.iter_mut().take(length).for_each(|byte| *byte = b' ');
                }
            }
            _ => {}
        }
        at += size;
    }
}

/// RFC 3550 §6.5: chunks of SSRC and items; items of type, length, text; a zero type ends the chunk, which is filled up to a whole word.
fn conceal_chunks(body: &mut [u8], chunks: u8) {
    let mut at = 0;
    for _ in 0..chunks {
        let ssrc = u32_at(body, at);
        at += 4;
        loop {
            match body.get(at) {
                None => return,
                Some(0) => break,
                Some(_) => {
                    let length = usize::from(body.get(at + 1).copied().unwrap_or(0));
                    let Some(text) = body.get_mut(at + 2..at + 2 + length) else { return };
                    for (i, byte) in text.iter_mut().enumerate() {
                        let nibble = (ssrc >> (28 - 4 * (i % 8))) & 0xf;
                        *byte = char::from_digit(nibble, 16).map_or(b'0', |digit| digit as u8);
                    }
                    at += 2 + length;
                }
            }
        }
        at = (at + 1).next_multiple_of(4);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compound() -> Vec<u8> {
        let mut bytes = vec![0x80, SENDER_REPORT, 0, 6, 0, 0, 0, 7];
        bytes.extend_from_slice(&[0; 20]);
        // Two chunks: CNAME "ann@10.1.2.3", then CNAME "x" and TOOL "gw".
        bytes.extend_from_slice(&[0x82, SOURCE_DESCRIPTION, 0, 8, 0, 0, 0, 7, 1, 12]);
        bytes.extend_from_slice(b"ann@10.1.2.3\0\0");
        bytes.extend_from_slice(&[0xde, 0xad, 0xbe, 0xef, 1, 1, b'x', 6, 2, b'g', b'w', 0]);
        bytes.extend_from_slice(&[0x81, BYE, 0, 3, 0, 0, 0, 7, 6]);
        bytes.extend_from_slice(b"pbx-7!\0");
        bytes
    }

    #[test]
    fn a_compound_is_walked() {
        let bytes = compound();
        check(&bytes).unwrap();
        let kinds: Vec<_> = packets(&bytes).map(|p| p.unwrap().kind).collect();
        assert_eq!(kinds, [SENDER_REPORT, SOURCE_DESCRIPTION, BYE]);
        assert_eq!(sender(&bytes), Ok(7));
    }

    #[test]
    fn lengths_must_add_up() {
        let bytes = compound();
        assert_eq!(check(&bytes[..bytes.len() - 1]), Err(Malformed::Length));
        assert_eq!(check(&[&bytes[..], &[0x80]].concat()), Err(Malformed::Short));
        assert_eq!(check(&[0x80, 100, 0, 0]), Err(Malformed::Kind));
        assert_eq!(check(&[]), Err(Malformed::Short));
        assert_eq!(sender(&bytes[..7]), Err(Malformed::Short));
    }

    #[test]
    fn only_the_last_packet_may_be_padded() {
        let padded = [0xa0, RECEIVER_REPORT, 0, 2, 0, 0, 0, 7, 0, 0, 0, 4];
        check(&padded).unwrap();
        assert_eq!(check(&[&padded[..], &padded].concat()), Err(Malformed::Padding));
        assert_eq!(check(&[0xa0, RECEIVER_REPORT, 0, 1, 0, 0, 0, 8]), Err(Malformed::Padding));
        assert_eq!(check(&[0xa0, RECEIVER_REPORT, 0, 0]), Err(Malformed::Padding));
    }

    #[test]
    fn descriptions_and_reasons_are_concealed_and_nothing_else() {
        let mut bytes = compound();
        let before = bytes.clone();
        conceal(&mut bytes);
        check(&bytes).unwrap();
        assert_eq!(bytes.len(), before.len());
        assert_eq!(&bytes[..28], &before[..28]);
        assert_eq!(&bytes[36..52], b"\x01\x0c000000070000\0\0");
        assert_eq!(&bytes[52..64], b"\xde\xad\xbe\xef\x01\x01d\x06\x02de\0");
        assert_eq!(&bytes[64..], b"\x81\xcb\0\x03\0\0\0\x07\x06      \0");
    }

    #[test]
    fn concealing_survives_any_bytes() {
        for seed in 0..20_000u64 {
            let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
            let mut bytes = compound();
            bytes.extend_from_slice(&[0xa1, SOURCE_DESCRIPTION, 0, 3, 0, 0, 0, 7, 1, 9, b'x', b'y', 0, 0, 0, 4]);
            for _ in 0..4 {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                let at = state as usize % bytes.len();
                bytes[at] = (state >> 32) as u8;
            }
            let shape = |bytes: &[u8]| packets(bytes).map(|packet| packet.map(|packet| (packet.kind, packet.count, packet.size))).collect::<Vec<_>>();
            let before = shape(&bytes);
            conceal(&mut bytes);
            assert_eq!(shape(&bytes), before);
        }
    }
}
