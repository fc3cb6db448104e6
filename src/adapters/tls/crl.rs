//! One certificate revocation list (RFC 5280 §5): where it comes from, what it says, whether its issuer signed it.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, UnixTime};
use webpki::{CertRevocationList, EndEntityCert, OwnedCertRevocationList};
use x509_parser::prelude::{FromDer, X509Name};
use x509_parser::time::ASN1Time;

use super::certificate::{legible, unix};
use super::dates::written;

/// Of one source. The largest public ones have a few MiB.
pub const LARGEST: usize = 16 * 1024 * 1024;
/// In one PEM file or answer.
const LISTS: usize = 16;

/// Where CRLs come from.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum CrlSource {
    /// PEM or DER; PEM may hold several.
    File(PathBuf),
    /// Plain HTTP: a CRL is signed by its issuer, and HTTPS would need the very certificates it speaks of.
    Http(HttpAddress),
}

/// `http://host[:port]/path`, taken apart.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct HttpAddress {
    /// A name or an address, without brackets.
    pub host: Arc<str>,
    pub port: u16,
    /// With the query, beginning with `/`.
    pub path: Arc<str>,
}

impl HttpAddress {
    /// `Err`: what to write instead.
    pub fn parse(text: &str) -> Result<HttpAddress, &'static str> {
        let uri: hyper::Uri = text.parse().map_err(|_| "write an address such as http://crl.example.com/ca.crl")?;
        match uri.scheme_str() {
            Some("http") => {}
            Some("https") => return Err("write http:// instead: a CRL is signed by its issuer, and TLS would ask for a CRL first"),
            _ => return Err("write an address such as http://crl.example.com/ca.crl"),
        }
        let authority = uri.authority().filter(|authority| !authority.as_str().contains('@')).ok_or("write the host alone, without user or password")?;
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        if host.is_empty() {
            return Err("write an address such as http://crl.example.com/ca.crl");
        }
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        Ok(HttpAddress { host: host.into(), port: authority.port_u16().unwrap_or(80), path: path.into() })
    }

    /// As the Host header wants it (RFC 9110 §7.2).
    pub fn authority(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.to_string() };
        if self.port == 80 { host } else { format!("{host}:{}", self.port) }
    }
}

impl fmt::Display for HttpAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}{}", self.authority(), self.path)
    }
}

impl fmt::Display for CrlSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CrlSource::File(file) => write!(f, "{}", file.display()),
            CrlSource::Http(address) => write!(f, "{address}"),
        }
    }
}

/// One list, read. Whether its signature is its issuer's is another question: see [`Crl::signed_by`].
#[derive(Debug)]
pub struct Crl {
    /// Indexed by serial number.
    pub list: CertRevocationList<'static>,
    /// For people.
    pub issuer: String,
    pub this_update: UnixTime,
    pub next_update: UnixTime,
    pub entries: usize,
    /// Its issuing distribution point (RFC 5280 §5.2.5), raw: of which part of its issuer's certificates it speaks. Empty: of all.
    scope: Vec<u8>,
    der: Vec<u8>,
}

impl PartialEq for Crl {
    fn eq(&self, other: &Crl) -> bool {
        self.der == other.der
    }
}

/// All lists of one file or answer, PEM or DER. `Err`: what is wrong with them, in the operator's terms.
pub fn read_all(contents: &[u8]) -> Result<Vec<Crl>, String> {
    if contents.len() > LARGEST {
        return Err(format!("it has {} bytes, more than the {LARGEST} that are read", contents.len()));
    }
    if contents.is_empty() {
        return Err(String::from("it is empty: it may be half written, or the disk full"));
    }
    if contents.first() == Some(&SEQUENCE) {
        return Crl::read(contents).map(|crl| vec![crl]);
    }
    let lists: Result<Vec<_>, _> = CertificateRevocationListDer::pem_slice_iter(contents).take(LISTS + 1).collect();
    let lists = lists.map_err(|error| format!("it is not well-formed PEM ({error}): it may be half written"))?;
    match lists.len() {
        0 => Err(String::from("it holds no CRL: neither DER nor a BEGIN X509 CRL block")),
        n if n > LISTS => Err(format!("it holds more than {LISTS} CRLs")),
        _ => lists.iter().map(|der| Crl::read(der)).collect(),
    }
}

/// Of the list's own extensions, which come last. Good for comparing lists that are signed, and for nothing else.
fn scope(der: &[u8]) -> Option<&[u8]> {
    // id-ce-issuingDistributionPoint, 2.5.29.28.
    const POINT: &[u8] = &[0x06, 0x03, 0x55, 0x1d, 0x1c];
    const CRITICAL: &[u8] = &[0x01, 0x01, 0xff];
    let after = der.get(memchr::memmem::rfind(der, POINT)? + POINT.len()..)?;
    let value = after.strip_prefix(CRITICAL).unwrap_or(after);
    match value {
        [0x04, length, rest @ ..] if *length < 0x80 => rest.get(..usize::from(*length)),
        // A long one: what is left will do, since the signature follows and is never the same.
        _ => Some(value),
    }
}

impl Crl {
    fn read(der: &[u8]) -> Result<Crl, String> {
        let list = OwnedCertRevocationList::from_der(der)
            .map_err(|error| format!("it is no CRL that can be read ({error}): it may be half written, or a delta CRL"))?;
        let told = tbs(der).and_then(Told::read).ok_or("it is no CRL that can be read: its head is damaged")?;
        Ok(Crl {
            list: list.into(),
            issuer: told.issuer,
            this_update: told.this_update,
            next_update: told.next_update,
            entries: told.entries,
            scope: scope(der).unwrap_or_default().to_vec(),
            der: der.to_vec(),
        })
    }

    /// Whether both speak of the same certificates: one may take the other's place.
    pub fn covers_as(&self, other: &Crl) -> bool {
        self.list.issuer() == other.list.issuer() && self.scope == other.scope
    }

    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// Whether this certificate's key made the signature.
    pub fn signed_by(&self, issuer: &CertificateDer<'_>, algorithms: &WebPkiSupportedAlgorithms) -> bool {
        let Ok(certificate) = EndEntityCert::try_from(issuer) else { return false };
        if certificate.subject() != self.list.issuer() {
            return false;
        }
        let Some(Signed { message, algorithm, signature }) = Signed::read(&self.der) else { return false };
        let mut fitting = algorithms.all.iter().filter(|known| known.signature_alg_id().as_ref() == algorithm);
        fitting.any(|known| certificate.verify_signature(*known, message, signature).is_ok())
    }

    pub fn is_current(&self, now: UnixTime) -> bool {
        now.as_secs() < self.next_update.as_secs()
    }

    /// For logs.
    pub fn describe(&self) -> String {
        format!("CRL of {} from {} to {}, {} revoked", self.issuer, written(self.this_update), written(self.next_update), self.entries)
    }
}

const SEQUENCE: u8 = 0x30;
const BIT_STRING: u8 = 0x03;
const INTEGER: u8 = 0x02;

/// One element of DER (X.690 §8.1).
struct Element<'a> {
    tag: u8,
    content: &'a [u8],
    whole: &'a [u8],
}

/// The first element, and what follows it.
fn element(bytes: &[u8]) -> Option<(Element<'_>, &[u8])> {
    let (tag, first) = (*bytes.first()?, *bytes.get(1)?);
    let (head, length) = match first {
        0..=0x7f => (2, usize::from(first)),
        0x81..=0x84 => {
            let octets = usize::from(first & 0x7f);
            (2 + octets, bytes.get(2..2 + octets)?.iter().fold(0, |length, octet| length << 8 | usize::from(*octet)))
        }
        _ => return None,
    };
    let end = head.checked_add(length)?;
    Some((Element { tag, content: bytes.get(head..end)?, whole: bytes.get(..end)? }, bytes.get(end..)?))
}

/// The three parts of a signed structure (RFC 5280 §5.1.1).
struct Signed<'a> {
    message: &'a [u8],
    /// Content of the AlgorithmIdentifier.
    algorithm: &'a [u8],
    signature: &'a [u8],
}

impl Signed<'_> {
    fn read(der: &[u8]) -> Option<Signed<'_>> {
        let (outer, _) = element(der)?;
        let (message, rest) = element(outer.content)?;
        let (algorithm, rest) = element(rest)?;
        let (signature, _) = element(rest).filter(|(signature, _)| signature.tag == BIT_STRING)?;
        // The first octet counts unused bits: none, in a signature.
        let (0, signature) = signature.content.split_first().map(|(unused, bits)| (*unused, bits))? else { return None };
        Some(Signed { message: message.whole, algorithm: algorithm.content, signature })
    }
}

fn tbs(der: &[u8]) -> Option<&[u8]> {
    let (outer, _) = element(der)?;
    element(outer.content).map(|(tbs, _)| tbs.content)
}

/// The head of a list (RFC 5280 §5.1.2), which the validating library keeps to itself.
struct Told {
    issuer: String,
    this_update: UnixTime,
    next_update: UnixTime,
    entries: usize,
}

impl Told {
    fn read(tbs: &[u8]) -> Option<Told> {
        let (version, rest) = element(tbs)?;
        let rest = if version.tag == INTEGER { rest } else { tbs };
        let (_algorithm, rest) = element(rest)?;
        let (issuer, rest) = element(rest)?;
        let (this_update, rest) = ASN1Time::from_der(rest).ok().map(|(rest, time)| (time, rest))?;
        let (next_update, rest) = ASN1Time::from_der(rest).ok().map(|(rest, time)| (time, rest))?;
        let mut revoked = element(rest).filter(|(revoked, _)| revoked.tag == SEQUENCE).map_or(&[][..], |(revoked, _)| revoked.content);
        let mut entries = 0;
        while let Some((_, rest)) = element(revoked) {
            (entries, revoked) = (entries + 1, rest);
        }
        let issuer = X509Name::from_der(issuer.whole).ok().map(|(_, name)| legible(&name.to_string()))?;
        Some(Told { issuer, this_update: unix(this_update.timestamp()), next_update: unix(next_update.timestamp()), entries })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn addresses_are_taken_apart_and_only_plain_http_is_taken() {
        let read = |text: &str| HttpAddress::parse(text).map(|address| (address.host.to_string(), address.port, address.path.to_string(), address.to_string()));
        let is = |host: &str, port: u16, path: &str, written: &str| Ok((host.into(), port, path.into(), written.into()));
        assert_eq!(read("http://crl.example/ca.crl?x=1"), is("crl.example", 80, "/ca.crl?x=1", "http://crl.example/ca.crl?x=1"));
        assert_eq!(read("http://crl.example:8080"), is("crl.example", 8080, "/", "http://crl.example:8080/"));
        assert_eq!(read("http://[2001:db8::1]:81/a"), is("2001:db8::1", 81, "/a", "http://[2001:db8::1]:81/a"));
        assert!(read("https://crl.example/ca.crl").unwrap_err().contains("http://"));
        for bad in ["", "ca.crl", "ftp://x/y", "ldap:///CN=ca", "http://user:secret@crl.example/", "http:///ca.crl", "http://a b/"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn rubbish_is_no_crl_and_says_so() {
        for (rubbish, says) in [
            (&b""[..], "empty"),
            (b"no crl here", "neither DER nor"),
            (b"-----BEGIN X509 CRL-----\nMIIB", "half written"),
            (b"-----BEGIN X509 CRL-----\nMIIB\n-----END X509 CRL-----\n", "half written"),
            (&[0x30, 0x84, 0xff, 0xff, 0xff, 0xff], "half written"),
            (&[0x30, 0x80, 0, 0], "half written"),
        ] {
            let told = read_all(rubbish).unwrap_err();
            assert!(told.contains(says), "{told}");
        }
        assert!(read_all(&vec![0x30; LARGEST + 1]).unwrap_err().contains("more than"));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = read_all(&bytes);
            let _ = tbs(&bytes).and_then(Told::read);
            let _ = Signed::read(&bytes);
            if let Some((element, rest)) = element(&bytes) {
                prop_assert_eq!(element.whole.len() + rest.len(), bytes.len());
            }
        }
    }
}
