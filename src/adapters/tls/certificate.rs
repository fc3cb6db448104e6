//! What one certificate says: its names (RFC 5922 §7.1), usages (RFC 5280 §4.2.1.12) and dates.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use rustls::pki_types::UnixTime;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

/// Characters of a name or number of a stranger's making that are shown.
const LEGIBLE: usize = 160;

/// Read from DER by the parser, owned: nothing here is verified yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// As [`crate::policy::flow::TlsIdentity::names`] wants them.
    pub names: Vec<String>,
    /// Distinguished names and serial number for people, without controls, cut at a fair length: nothing is decided by them.
    pub subject: String,
    pub issuer: String,
    pub serial: String,
    pub is_ca: bool,
    /// Issuer and subject are one.
    pub self_issued: bool,
    pub server_auth: bool,
    pub client_auth: bool,
    pub not_before: UnixTime,
    pub not_after: UnixTime,
    /// SHA-256 of the whole certificate.
    pub fingerprint: [u8; 32],
}

impl Certificate {
    /// `None`: not a certificate, or one whose extensions cannot be read.
    pub fn read(der: &[u8]) -> Option<Certificate> {
        let (rest, x509) = X509Certificate::from_der(der).ok()?;
        if !rest.is_empty() {
            return None;
        }
        let usages = x509.extended_key_usage().ok()?;
        let is_ca = x509.basic_constraints().ok()?.is_some_and(|constraints| constraints.value.ca);
        let alternatives = x509.subject_alternative_name().ok()?;
        let names = alternatives.map(|extension| extension.value.general_names.iter().filter_map(name).collect()).unwrap_or_default();
        Some(Certificate {
            names,
            subject: legible(&x509.subject().to_string()),
            issuer: legible(&x509.issuer().to_string()),
            serial: legible(&x509.raw_serial_as_string()),
            is_ca,
            self_issued: x509.issuer().as_raw() == x509.subject().as_raw(),
            server_auth: usages.as_ref().is_some_and(|usage| usage.value.server_auth),
            client_auth: usages.as_ref().is_some_and(|usage| usage.value.client_auth),
            not_before: unix(x509.validity().not_before.timestamp()),
            not_after: unix(x509.validity().not_after.timestamp()),
            fingerprint: fingerprint(der),
        })
    }

    pub fn in_date(&self, now: UnixTime) -> bool {
        self.not_before.as_secs() <= now.as_secs() && now.as_secs() <= self.not_after.as_secs()
    }

    /// RFC 5922 §7.2: the whole name, case aside. No wildcards, and never the subject's common name.
    pub fn carries_one_of<S: AsRef<str>>(&self, wanted: &[S]) -> bool {
        wanted.iter().any(|wanted| self.names.iter().any(|name| name.eq_ignore_ascii_case(wanted.as_ref().trim_end_matches('.'))))
    }
}

/// The names of a certificate in DER; none where it cannot be read.
pub fn names_of(der: &[u8]) -> Vec<String> {
    Certificate::read(der).map(|certificate| certificate.names).unwrap_or_default()
}

/// What a stranger wrote, fit for a log line.
pub fn legible(text: &str) -> String {
    let clean = |c: char| if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}') { '?' } else { c };
    let mut legible: String = text.chars().take(LEGIBLE).map(clean).collect();
    if text.chars().nth(LEGIBLE).is_some() {
        legible.push('…');
    }
    legible
}

fn fingerprint(der: &[u8]) -> [u8; 32] {
    let mut fingerprint = [0; 32];
    fingerprint.iter_mut().zip(digest(&SHA256, der).as_ref()).for_each(|(to, from)| *to = *from);
    fingerprint
}

pub fn unix(seconds: i64) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(seconds).unwrap_or(0)))
}

fn name(general: &GeneralName<'_>) -> Option<String> {
    match general {
        GeneralName::DNSName(name) => host(name),
        GeneralName::URI(uri) => sip_domain(uri),
        GeneralName::IPAddress(octets) => address(octets).map(|address| address.to_string()),
        _ => None,
    }
}

/// RFC 5922 §7.1: of URIs only `sip:` ones without a user part speak for a domain; a port or parameters make it no domain either.
fn sip_domain(uri: &str) -> Option<String> {
    let (scheme, domain) = uri.split_once(':')?;
    if scheme.eq_ignore_ascii_case("sip") { host(domain) } else { None }
}

/// A plain host name, lower case; wildcards, and whatever else is not one, are no identity. What passes is safe to log.
fn host(name: &str) -> Option<String> {
    let name = name.strip_suffix('.').unwrap_or(name);
    let plain = |label: &str| !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    (name.len() <= 253 && name.split('.').all(plain)).then(|| name.to_ascii_lowercase())
}

fn address(octets: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(octets).map(|octets| IpAddr::V4(Ipv4Addr::from(octets)));
    v4.or_else(|_| <[u8; 16]>::try_from(octets).map(|octets| IpAddr::V6(Ipv6Addr::from(octets)))).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sip_uris_speak_for_domains_only() {
        assert_eq!(sip_domain("sip:Example.ORG").as_deref(), Some("example.org"));
        assert_eq!(sip_domain("SIP:example.org").as_deref(), Some("example.org"));
        for uri in ["sips:example.org", "sip:alice@example.org", "sip:example.org:5061", "sip:example.org;a=b", "https://example.org", "example.org", "sip:"] {
            assert_eq!(sip_domain(uri), None, "{uri}");
        }
    }

    #[test]
    fn wildcards_and_odd_bytes_are_no_names() {
        for name in ["*.example.org", "", ".", "a..b", "a b", "a\nb", "a\0b", "é"] {
            assert_eq!(host(name), None, "{name:?}");
        }
        assert_eq!(host("UM-1.Example.org.").as_deref(), Some("um-1.example.org"));
    }

    #[test]
    fn a_strangers_name_can_write_no_line_of_a_log() {
        assert_eq!(legible("CN=a\nlevel=error\u{202e}\u{1b}[2J"), "CN=a?level=error??[2J");
        assert_eq!(legible(&"x".repeat(10_000)).chars().count(), LEGIBLE + 1);
    }

    #[test]
    fn reads_no_rubbish() {
        assert_eq!(Certificate::read(b""), None);
        assert_eq!(Certificate::read(&[0x30; 64]), None);
    }
}
