//! Via (RFC 3261 §20.42, §18.2; `rport` of RFC 3581).

use std::net::IpAddr;

use super::params::Params;
use super::scan::{cut, is_space, is_token_byte, number, trim, trim_start, utf8};
use super::uri::{check_host, host_addr};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Via<'a> {
    /// As written: `UDP`, `TLS`, or one we do not speak.
    pub transport: &'a str,
    /// The sent-by host as written, IPv6 in its brackets.
    pub host: &'a str,
    pub port: Option<u16>,
    pub params: Params<'a>,
}

impl<'a> Via<'a> {
    /// One element of a Via header. The error says what is wrong.
    pub fn parse(value: &'a [u8]) -> Result<Via<'a>, &'static str> {
        let value = trim(value);
        let (name, rest) = cut(value, b'/').ok_or("no sent-protocol")?;
        let (version, rest) = cut(rest, b'/').ok_or("no transport")?;
        if !trim(name).eq_ignore_ascii_case(b"SIP") || trim(version) != b"2.0" {
            return Err("not SIP/2.0");
        }
        let rest = trim_start(rest);
        let end = rest.iter().position(|&b| !is_token_byte(b)).ok_or("no sent-by")?;
        let (transport, rest) = rest.split_at(end);
        if transport.is_empty() || !is_space(rest[0]) {
            return Err("malformed transport");
        }
        let (sent_by, params) = match memchr::memchr(b';', rest) {
            Some(at) => rest.split_at(at),
            None => (rest, &[][..]),
        };
        let (host, port) = parse_sent_by(trim(sent_by))?;
        Ok(Via { transport: utf8(transport).ok_or("malformed transport")?, host, port, params: Params::from_bytes(params) })
    }

    /// `None` if absent or empty.
    pub fn branch(&self) -> Option<&'a str> {
        self.params.get("branch").filter(|branch| !branch.is_empty())
    }

    /// As written, IPv6 with or without brackets.
    pub fn received(&self) -> Option<&'a str> {
        self.params.get("received").filter(|received| !received.is_empty())
    }

    /// RFC 3581: `Some(None)` asks for it, `Some(Some(port))` answers. A malformed value is taken as the asking form.
    pub fn rport(&self) -> Option<Option<u16>> {
        self.params.get("rport").map(|port| number(port.as_bytes()).and_then(|n| u16::try_from(n).ok()))
    }

    pub fn maddr(&self) -> Option<&'a str> {
        self.params.get("maddr").filter(|maddr| !maddr.is_empty())
    }

    /// The sent-by host, if it is a literal address.
    pub fn host_addr(&self) -> Option<IpAddr> {
        host_addr(self.host)
    }
}

/// Host and port, spaces around the colon allowed (RFC 3261 §25.1 `COLON`).
fn parse_sent_by(text: &[u8]) -> Result<(&str, Option<u16>), &'static str> {
    let (host, port) = if text.first() == Some(&b'[') {
        let (inner, rest) = cut(text, b']').ok_or("unclosed IPv6 bracket")?;
        let host = &text[..inner.len() + 1];
        match trim_start(rest) {
            [] => (host, None),
            [b':', port @ ..] => (host, Some(port)),
            _ => return Err("text after the IPv6 bracket"),
        }
    } else {
        match cut(text, b':') {
            Some((host, port)) => (trim(host), Some(port)),
            None => (text, None),
        }
    };
    let host = utf8(host).ok_or("malformed host")?;
    check_host(host)?;
    let port = match port {
        Some(port) => Some(number(trim(port)).and_then(|n| u16::try_from(n).ok()).ok_or("malformed port")?),
        None => None,
    };
    Ok((host, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Via<'_> {
        Via::parse(text.as_bytes()).unwrap_or_else(|what| panic!("{text}: {what}"))
    }

    #[test]
    fn every_shape() {
        let via = read("SIP/2.0/UDP pc33.example.com:5066;rport;branch=z9hG4bK776;received=192.0.2.1;maddr=224.2.0.1");
        assert_eq!((via.transport, via.host, via.port), ("UDP", "pc33.example.com", Some(5066)));
        assert_eq!((via.branch(), via.received(), via.rport(), via.maddr()), (Some("z9hG4bK776"), Some("192.0.2.1"), Some(None), Some("224.2.0.1")));
        let spaced = read("SIP  / 2.0\t/  TLS   first.example.com \t: 4000 ; branch = abc");
        assert_eq!((spaced.transport, spaced.host, spaced.port, spaced.branch()), ("TLS", "first.example.com", Some(4000), Some("abc")));
        let v6 = read("sip/2.0/TCP [2001:db8::9:1]:5060;received=2001:db8::9:255;rport=4711");
        assert_eq!((v6.host, v6.port, v6.host_addr()), ("[2001:db8::9:1]", Some(5060), Some("2001:db8::9:1".parse().unwrap())));
        assert_eq!((v6.received(), v6.rport()), (Some("2001:db8::9:255"), Some(Some(4711))));
        let unknown = read("SIP/2.0/QUIC-1 h");
        assert_eq!((unknown.transport, unknown.branch(), unknown.rport()), ("QUIC-1", None, None));
        assert_eq!(read("SIP/2.0/UDP h;rport=99999").rport(), Some(None));
        assert_eq!(read("SIP/2.0/UDP [::1] : 5").port, Some(5));
    }

    #[test]
    fn what_is_refused() {
        for bad in [
            "",
            "SIP",
            "SIP/2.0",
            "SIP/2.0/UDP",
            "SIP/2.0/UDP ",
            "SIP/2.0/UDP ;branch=x",
            "SIP/2.0/ h",
            "SIP/2.0/UDP/h",
            "SIP/2.0/UDPh;x",
            "SIP/1.0/UDP h",
            "HTTP/2.0/UDP h",
            "SIP/2.0/UDP h:",
            "SIP/2.0/UDP h:x",
            "SIP/2.0/UDP h:70000",
            "SIP/2.0/UDP h:1:2",
            "SIP/2.0/UDP a b",
            "SIP/2.0/UDP 2001:db8::1",
            "SIP/2.0/UDP [::1",
            "SIP/2.0/UDP [::1]5",
            "SIP/2.0/UDP [x]",
            "SIP/2.0/UDP é",
        ] {
            assert!(Via::parse(bad.as_bytes()).is_err(), "{bad:?} gives {:?}", Via::parse(bad.as_bytes()));
        }
    }
}
