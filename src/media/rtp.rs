//! The RTP header, read where it lies (RFC 3550 §5.1, §5.3.1).

use crate::media::packet::{Malformed, u16_at, u32_at};

/// The fixed header, bytes.
pub const FIXED: usize = 12;

/// What the relay needs of a header. The payload starts at `length`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    /// Bytes from the start to the payload: fixed header, contributing sources, extension.
    pub length: usize,
    pub padded: bool,
    pub marker: bool,
    pub payload_type: u8,
    pub sequence: u16,
    pub timestamp: u32,
    pub ssrc: u32,
}

impl Header {
    /// Reads the header and checks that sources and extension end within the packet. Padding is checked by `padding`, once it can be read.
    pub fn parse(packet: &[u8]) -> Result<Header, Malformed> {
        let Some(fixed) = packet.first_chunk::<FIXED>() else { return Err(Malformed::Short) };
        if fixed[0] >> 6 != 2 {
            return Err(Malformed::Version);
        }
        let mut length = FIXED + 4 * usize::from(fixed[0] & 0x0f);
        if packet.len() < length {
            return Err(Malformed::Sources);
        }
        if fixed[0] & 0x10 != 0 {
            if packet.len() < length + 4 {
                return Err(Malformed::Extension);
            }
            length += 4 + 4 * usize::from(u16_at(packet, length + 2));
            if packet.len() < length {
                return Err(Malformed::Extension);
            }
        }
        Ok(Header {
            length,
            padded: fixed[0] & 0x20 != 0,
            marker: fixed[1] & 0x80 != 0,
            payload_type: fixed[1] & 0x7f,
            sequence: u16_at(packet, 2),
            timestamp: u32_at(packet, 4),
            ssrc: u32_at(packet, 8),
        })
    }

    /// Writes another payload type into the packet this header is of, the marker as it was.
    #[inline]
    pub fn renumber(&self, packet: &mut [u8], payload_type: u8) {
        if payload_type != self.payload_type
            && let Some(byte) = packet.get_mut(1)
        {
            *byte = *byte & 0x80 | payload_type & 0x7f;
        }
    }

    /// Bytes of padding at the end of a packet in the clear, the count itself included; 0 without the P bit.
    pub fn padding(&self, packet: &[u8]) -> Result<usize, Malformed> {
        if !self.padded {
            return Ok(0);
        }
        let payload = packet.get(self.length..).ok_or(Malformed::Padding)?;
        match payload.last() {
            Some(&count) if count > 0 && usize::from(count) <= payload.len() => Ok(usize::from(count)),
            _ => Err(Malformed::Padding),
        }
    }
}

/// Writes another sequence number into a packet.
#[inline]
pub fn set_sequence(packet: &mut [u8], sequence: u16) {
    if let Some(place) = packet.get_mut(2..4) {
        place.copy_from_slice(&sequence.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(first: u8, more: &[u8]) -> Vec<u8> {
        let mut bytes = vec![first, 0x80 | 101, 0x12, 0x34, 0, 0, 0, 160, 0xde, 0xad, 0xbe, 0xef];
        bytes.extend_from_slice(more);
        bytes
    }

    #[test]
    fn the_fixed_header() {
        let header = Header::parse(&packet(0x80, b"voice")).unwrap();
        assert_eq!(header, Header { length: 12, padded: false, marker: true, payload_type: 101, sequence: 0x1234, timestamp: 160, ssrc: 0xdead_beef });
    }

    #[test]
    fn sources_and_extension_move_the_payload() {
        let mut more = vec![0; 8];
        more.extend_from_slice(&[0xbe, 0xde, 0, 1, 1, 2, 3, 4, 9]);
        assert_eq!(Header::parse(&packet(0x92, &more)).unwrap().length, 12 + 8 + 8);
    }

    #[test]
    fn nothing_reaches_beyond_the_end() {
        assert_eq!(Header::parse(&packet(0x80, b"")[..11]), Err(Malformed::Short));
        assert_eq!(Header::parse(&packet(0x40, b"")), Err(Malformed::Version));
        assert_eq!(Header::parse(&packet(0x81, &[0; 3])), Err(Malformed::Sources));
        assert_eq!(Header::parse(&packet(0x90, &[0; 3])), Err(Malformed::Extension));
        assert_eq!(Header::parse(&packet(0x90, &[0, 0, 0, 1, 0, 0, 0])), Err(Malformed::Extension));
        assert_eq!(Header::parse(&packet(0x90, &[0, 0, 0xff, 0xff, 0])), Err(Malformed::Extension));
    }

    #[test]
    fn padding_fits_the_payload_or_is_refused() {
        let read = |more: &[u8]| {
            let bytes = packet(0xa0, more);
            Header::parse(&bytes).unwrap().padding(&bytes)
        };
        assert_eq!(read(&[1, 0, 0, 3]), Ok(3));
        assert_eq!(read(&[0, 0, 3]), Ok(3));
        assert_eq!(read(&[0, 3]), Err(Malformed::Padding));
        assert_eq!(read(&[7, 0]), Err(Malformed::Padding));
        assert_eq!(read(&[]), Err(Malformed::Padding));
    }
}
