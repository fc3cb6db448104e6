//! RTCP compound packets, read where they lie (RFC 3550 §6, appendix A.2), and the concealing of what they tell about their sender's network.

use crate::media::packet::{Malformed, u16_at, u32_at};

pub const SENDER_REPORT: u8 = 200;
pub const RECEIVER_REPORT: u8 = 201;
pub const SOURCE_DESCRIPTION: u8 = 202;
pub const BYE: u8 = 203;
pub const APPLICATION: u8 = 204;
/// Extended reports (RFC 3611).
pub const EXTENDED: u8 = 207;

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
    packets(compound).try_for_each(|packet| match packet? {
        Packet { kind: EXTENDED, body, .. } => extended(body),
        _ => Ok(()),
    })
}

/// RFC 3611 §3: the blocks of an extended report fill it to the end.
fn extended(body: &[u8]) -> Result<(), Malformed> {
    let mut rest = body.get(4..).ok_or(Malformed::Short)?;
    while !rest.is_empty() {
        let length = if rest.len() < 4 { rest.len() + 1 } else { 4 + 4 * usize::from(u16_at(rest, 2)) };
        rest = rest.get(length..).ok_or(Malformed::Length)?;
    }
    Ok(())
}

/// What a report block says of one source (RFC 3550 §6.4.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Block {
    pub source: u32,
    /// Since the block before, in 256ths.
    pub fraction_lost: u8,
    /// In all; what came twice may make it less than nothing, which is taken for nothing.
    pub lost: u32,
    pub jitter: u32,
    /// The middle of the NTP time of the last sender report, and the delay since, in 65536ths of a second; both 0: there was none.
    pub last_report: u32,
    pub delay: u32,
}

/// The report blocks of a compound's sender and receiver reports, as far as they are whole.
pub fn blocks(compound: &[u8]) -> impl Iterator<Item = Block> {
    let reports = packets(compound).map_while(Result::ok).filter_map(|packet| match packet.kind {
        SENDER_REPORT => packet.body.get(24..).map(|blocks| (packet.count, blocks)),
        RECEIVER_REPORT => packet.body.get(4..).map(|blocks| (packet.count, blocks)),
        _ => None,
    });
    reports.flat_map(|(count, blocks)| blocks.chunks_exact(24).take(usize::from(count))).map(|block| {
        let lost = u32_at(block, 4) & 0xff_ffff;
        Block {
            source: u32_at(block, 0),
            fraction_lost: block.get(4).copied().unwrap_or(0),
            lost: if lost & 0x80_0000 == 0 { lost } else { 0 },
            jitter: u32_at(block, 12),
            last_report: u32_at(block, 16),
            delay: u32_at(block, 20),
        }
    })
}

/// Lowers the highest number received in each report block by `shift` of its source, for a source whose numbers were raised by so much on their way to who
/// reports. How often they have wrapped is the reporter's count.
pub fn lower_numbers(compound: &mut [u8], shift: impl Fn(u32) -> u16) {
    let mut at = 0;
    while let Some(rest) = compound.get_mut(at..) {
        let Ok(Packet { kind, count, body, size }) = first(rest) else { return };
        let (from, end) = match kind {
            SENDER_REPORT => (4 + 24, 4 + body.len()),
            RECEIVER_REPORT => (4 + 4, 4 + body.len()),
            _ => (0, 0),
        };
        for block in rest.get_mut(from..end).unwrap_or_default().chunks_exact_mut(24).take(usize::from(count)) {
            let highest = u32_at(block, 8).wrapping_sub(u32::from(shift(u32_at(block, 0))));
            block.get_mut(8..12).unwrap_or_default().copy_from_slice(&highest.to_be_bytes());
        }
        at += size;
    }
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
            EXTENDED => conceal_blocks(body),
            // SSRC and name say what it is; what follows may be anything (§6.7).
            APPLICATION => body.iter_mut().skip(8).for_each(|byte| *byte = 0),
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

/// Of an extended report what IANA has no name for is emptied: measurements pass, a vendor's texts do not.
fn conceal_blocks(body: &mut [u8]) {
    let mut at = 4;
    while let Some(&[kind, _, _, _]) = body.get(at..).and_then(<[u8]>::first_chunk) {
        let end = at + 4 + 4 * usize::from(u16_at(body, at + 2));
        if !(1..=LAST_BLOCK).contains(&kind) {
            let Some(content) = body.get_mut(at + 4..end) else { return };
            content.fill(0);
        }
        at = end;
    }
}

/// The last type of report block that IANA has assigned for RTCP XR.
const LAST_BLOCK: u8 = 35;

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

    /// Receiver reference time passes as it is, a vendor's block arrives empty, and so does what an application says.
    #[test]
    fn extended_reports_pass_and_what_has_no_name_is_emptied() {
        let mut bytes = vec![0x80, EXTENDED, 0, 6, 0, 0, 0, 7, 4, 0, 0, 2, 1, 2, 3, 4, 5, 6, 7, 8, 255, 0, 0, 1, b'p', b'b', b'x', b'7'];
        bytes.extend_from_slice(&[0x80, APPLICATION, 0, 3, 0, 0, 0, 7, b'n', b'a', b'm', b'e', b'1', b'0', b'.', b'1']);
        check(&bytes).unwrap();
        let before = bytes.clone();
        conceal(&mut bytes);
        assert_eq!(&bytes[..24], &before[..24]);
        assert_eq!(&bytes[24..28], &[0; 4]);
        assert_eq!((&bytes[28..40], &bytes[40..]), (&before[28..40], &[0; 4][..]));
        for broken in
            [&[0x80, EXTENDED, 0, 0][..], &[0x80, EXTENDED, 0, 2, 0, 0, 0, 7, 4, 0, 0, 1], &[0x80, EXTENDED, 0, 3, 0, 0, 0, 7, 4, 0, 0xff, 0xff, 0, 0, 0, 0]]
        {
            assert!(check(broken).is_err(), "{broken:?}");
            conceal(&mut broken.to_vec());
        }
    }

    #[test]
    fn report_blocks_are_read_as_far_as_they_are_whole() {
        let mut bytes = vec![0x82, RECEIVER_REPORT, 0, 13, 0, 0, 0, 9];
        bytes.extend_from_slice(&[0, 0, 0, 7, 64, 0, 0, 5, 0, 0, 0, 1, 0, 0, 0, 80, 0xaa, 0xbb, 0xcc, 0xdd, 0, 1, 0, 0]);
        bytes.extend_from_slice(&[0, 0, 0, 8, 0, 0xff, 0xff, 0xff, 0, 0, 0, 1, 0, 0, 0, 80, 0, 0, 0, 0, 0, 0, 0, 0]);
        let read: Vec<Block> = blocks(&bytes).collect();
        let first = Block { source: 7, fraction_lost: 64, lost: 5, jitter: 80, last_report: 0xaabb_ccdd, delay: 65_536 };
        assert_eq!(read, [first, Block { source: 8, fraction_lost: 0, lost: 0, last_report: 0, delay: 0, ..first }]);
        assert_eq!(blocks(&bytes[..40]).count(), 0, "a packet cut short is none");
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
