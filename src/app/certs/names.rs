//! The names a certificate of ours may carry (RFC 5922 §7.1): host names, addresses, and `sip:` URIs of domains.

use std::fmt;
use std::io;
use std::net::IpAddr;

use rcgen::SanType;

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Name {
    /// As written: some peers compare with case.
    Dns(String),
    Address(IpAddr),
    /// `sip:` and a domain.
    Sip(String),
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Name::Dns(name) => f.write_str(name),
            Name::Address(address) => write!(f, "{address}"),
            Name::Sip(uri) => f.write_str(uri),
        }
    }
}

impl std::str::FromStr for Name {
    type Err = String;

    fn from_str(text: &str) -> Result<Name, String> {
        if let Ok(address) = text.trim_start_matches('[').trim_end_matches(']').parse() {
            return Ok(Name::Address(address));
        }
        if text.contains('*') {
            return Err(format!("\"{text}\" is a wildcard, which no SIP peer has to accept (RFC 5922 section 7.2); give every name in full"));
        }
        let (is_sip, host) = match text.split_once(':') {
            Some((scheme, host)) if scheme.eq_ignore_ascii_case("sip") => (true, host),
            _ => (false, text),
        };
        let host = host.strip_suffix('.').unwrap_or(host);
        if !is_host_name(host) {
            return Err(format!("\"{text}\" is neither a host name, an address, nor sip: and a domain; letters, digits, hyphens and dots make a host name"));
        }
        Ok(if is_sip { Name::Sip(format!("sip:{host}")) } else { Name::Dns(host.to_owned()) })
    }
}

pub fn is_host_name(name: &str) -> bool {
    let good = |label: &str| {
        (1..=63).contains(&label.len()) && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') && !label.starts_with('-') && !label.ends_with('-')
    };
    name.len() <= 253 && name.split('.').all(good)
}

impl Name {
    pub fn alternative(&self) -> io::Result<SanType> {
        let text = |text: &str| text.try_into().map_err(super::of_rcgen);
        Ok(match self {
            Name::Dns(name) => SanType::DnsName(text(name)?),
            Name::Address(address) => SanType::IpAddress(*address),
            Name::Sip(uri) => SanType::URI(text(uri)?),
        })
    }

    /// For a file: without what a file name should not have.
    pub fn stem(&self) -> String {
        self.to_string().trim_start_matches("sip:").replace(':', "-")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_whole_and_of_one_kind() {
        for (text, name) in [
            ("SBC.example.org", Name::Dns("SBC.example.org".into())),
            ("sbc.example.org.", Name::Dns("sbc.example.org".into())),
            ("192.0.2.1", Name::Address("192.0.2.1".parse().unwrap())),
            ("[2001:db8::1]", Name::Address("2001:db8::1".parse().unwrap())),
            ("SIP:example.org", Name::Sip("sip:example.org".into())),
        ] {
            assert_eq!(text.parse(), Ok(name), "{text}");
        }
        for text in ["", ".", "*.example.org", "a b", "a/b", "../a", "-a.b", "sips:a.b", "sip:user@a.b", "sip:", "a..b", "a\nb", &"a".repeat(64)] {
            assert!(text.parse::<Name>().is_err(), "{text}");
        }
        assert_eq!("[2001:db8::1]".parse::<Name>().unwrap().stem(), "2001-db8--1");
    }
}
