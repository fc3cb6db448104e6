//! Payload types and their names: `a=rtpmap` (RFC 8866 §6.6) and the static table of RFC 3551 §6.

/// `a=rtpmap:111 opus/48000/2`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RtpMap<'a> {
    pub payload: u8,
    /// As written; compared without regard to letter case.
    pub encoding: &'a str,
    /// Hz.
    pub clock: u32,
    pub channels: Option<u16>,
}

impl<'a> RtpMap<'a> {
    pub fn parse(value: &'a str) -> Option<RtpMap<'a>> {
        let mut tokens = value.split_ascii_whitespace();
        let payload = tokens.next()?.parse().ok().filter(|payload| *payload < 128)?;
        let mut parts = tokens.next()?.split('/');
        let encoding = parts.next().filter(|name| !name.is_empty())?;
        let clock = parts.next()?.parse().ok()?;
        let channels = match parts.next() {
            Some(channels) => Some(channels.parse().ok()?),
            None => None,
        };
        Some(RtpMap { payload, encoding, clock, channels })
    }

    /// Neither DTMF nor comfort noise nor a wrapper: what a person hears.
    pub fn is_voice(&self) -> bool {
        !["telephone-event", "tone", "CN", "red", "ulpfec", "parityfec", "rtx"].iter().any(|name| self.encoding.eq_ignore_ascii_case(name))
    }

    /// `PCMU/8000`, with the channels if there are several.
    pub fn label(&self) -> String {
        match self.channels {
            Some(channels) if channels > 1 => format!("{}/{}/{channels}", self.encoding, self.clock),
            _ => format!("{}/{}", self.encoding, self.clock),
        }
    }
}

/// The audio rows of RFC 3551's table 4: types that need no rtpmap.
pub fn fixed(payload: u8) -> Option<RtpMap<'static>> {
    let (encoding, clock, channels) = match payload {
        0 => ("PCMU", 8000, None),
        3 => ("GSM", 8000, None),
        4 => ("G723", 8000, None),
        5 => ("DVI4", 8000, None),
        6 => ("DVI4", 16000, None),
        7 => ("LPC", 8000, None),
        8 => ("PCMA", 8000, None),
        9 => ("G722", 8000, None),
        10 => ("L16", 44100, Some(2)),
        11 => ("L16", 44100, None),
        12 => ("QCELP", 8000, None),
        13 => ("CN", 8000, None),
        14 => ("MPA", 90000, None),
        15 => ("G728", 8000, None),
        16 => ("DVI4", 11025, None),
        17 => ("DVI4", 22050, None),
        18 => ("G729", 8000, None),
        _ => return None,
    };
    Some(RtpMap { payload, encoding, clock, channels })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_clocks_channels() {
        assert_eq!(RtpMap::parse("0 PCMU/8000").unwrap().label(), "PCMU/8000");
        assert_eq!(RtpMap::parse("111 opus/48000/2 ").unwrap().label(), "opus/48000/2");
        assert!(!RtpMap::parse("101 Telephone-Event/8000").unwrap().is_voice());
        for broken in ["", "0", "0 PCMU", "0 /8000", "128 x/8000", "-1 x/8000", "96 x/y", "96 x/8000/z"] {
            assert_eq!(RtpMap::parse(broken), None, "{broken}");
        }
        assert_eq!(fixed(18).unwrap().label(), "G729/8000");
        assert_eq!(fixed(101), None);
    }
}
