//! `a=rtcp`: the port, and perhaps the address, of RTCP where it is not RTP's plus one (RFC 3605).

use std::net::IpAddr;

/// `a=rtcp:53020 IN IP6 2001:db8::1`, or the port alone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rtcp<'a> {
    pub port: u16,
    /// As written; `None`: that of the m-line.
    pub address: Option<&'a str>,
}

impl<'a> Rtcp<'a> {
    pub fn parse(value: &'a str) -> Option<Rtcp<'a>> {
        let mut tokens = value.split_ascii_whitespace();
        let port = tokens.next()?.parse().ok()?;
        let address = match (tokens.next(), tokens.next(), tokens.next()) {
            (None, ..) => None,
            (Some(network), Some(_), Some(address)) if network.eq_ignore_ascii_case("IN") => Some(address),
            _ => return None,
        };
        Some(Rtcp { port, address })
    }

    pub fn ip(&self) -> Option<IpAddr> {
        self.address.and_then(|address| address.parse().ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_and_broken_ones() {
        assert_eq!(Rtcp::parse("53020"), Some(Rtcp { port: 53020, address: None }));
        let full = Rtcp::parse(" 53020 IN IP4 126.16.64.4 ").unwrap();
        assert_eq!((full.port, full.ip()), (53020, Some("126.16.64.4".parse().unwrap())));
        assert_eq!(Rtcp::parse("53020 in IP6 2001:2345:6789:ABCD:EF01:2345:6789:ABCD").unwrap().ip(), "2001:2345:6789:abcd:ef01:2345:6789:abcd".parse().ok());
        assert_eq!(Rtcp::parse("53020 IN IP4 media.example.com").unwrap().ip(), None);
        for broken in ["", "x", "70000", "-1", "53020 IN", "53020 IN IP4", "53020 ATM NSAP 4"] {
            assert_eq!(Rtcp::parse(broken), None, "{broken}");
        }
    }
}
