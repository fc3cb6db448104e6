//! What one certificate says (RFC 5280), in words and numbers for people and jobs; and whether one has signed another. Nothing read here is trusted: what
//! is printed has no control characters left.

use rustls::pki_types::CertificateDer;
use serde::Serialize;
use time::OffsetDateTime;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};
use x509_parser::public_key::PublicKey;
use x509_parser::x509::X509Name;

/// RSA keys shorter than this are refused by nearly everybody.
const RSA_BITS: usize = 2048;

#[derive(Clone, Debug, Serialize)]
pub struct Facts {
    pub subject: String,
    pub issuer: String,
    pub common_names: Vec<String>,
    /// Hexadecimal, as in a revocation list.
    pub serial: String,
    pub names: Vec<San>,
    #[serde(with = "time::serde::rfc3339")]
    pub not_before: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    pub not_after: OffsetDateTime,
    /// Such as `RSA 2048` or `ECDSA P-256`.
    pub key: String,
    /// Why the key is too weak to be accepted.
    pub weak_key: Option<String>,
    /// The algorithm the issuer signed with.
    pub signature: String,
    pub sha1: bool,
    pub server_auth: bool,
    pub client_auth: bool,
    pub is_ca: bool,
    /// Issuer and subject are one.
    pub self_issued: bool,
    /// SHA-256 of the whole certificate, as `openssl x509 -fingerprint -sha256` prints it.
    pub fingerprint: String,
    #[serde(skip)]
    pub der: CertificateDer<'static>,
    #[serde(skip)]
    pub raw_serial: Vec<u8>,
    #[serde(skip)]
    pub public_key_info: Vec<u8>,
    #[serde(skip)]
    raw_subject: Vec<u8>,
    #[serde(skip)]
    raw_issuer: Vec<u8>,
}

/// One subject alternative name, as it stands in the certificate.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(tag = "kind", content = "name", rename_all = "lowercase")]
pub enum San {
    Dns(String),
    Ip(String),
    Uri(String),
    Other(String),
}

impl San {
    pub fn text(&self) -> &str {
        let (San::Dns(text) | San::Ip(text) | San::Uri(text) | San::Other(text)) = self;
        text
    }

    /// The host, domain or address it speaks for, as written (RFC 5922 §7.1).
    pub fn host(&self) -> Option<&str> {
        match self {
            San::Dns(name) => Some(name.strip_suffix('.').unwrap_or(name)),
            San::Ip(address) => Some(address),
            San::Uri(uri) => uri.split_once(':').filter(|(scheme, _)| scheme.eq_ignore_ascii_case("sip")).map(|(_, domain)| domain),
            San::Other(_) => None,
        }
    }
}

impl std::fmt::Display for San {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            San::Dns(name) => write!(f, "DNS:{name}"),
            San::Ip(address) => write!(f, "IP:{address}"),
            San::Uri(uri) => write!(f, "URI:{uri}"),
            San::Other(name) => write!(f, "other:{name}"),
        }
    }
}

impl Facts {
    /// `None`: not a certificate, or one whose extensions cannot be read.
    pub fn read(der: &CertificateDer<'_>) -> Option<Facts> {
        let (rest, x509) = X509Certificate::from_der(der).ok()?;
        if !rest.is_empty() {
            return None;
        }
        let usages = x509.extended_key_usage().ok()?;
        let alternatives = x509.subject_alternative_name().ok()?;
        let (key, weak_key) = key(&x509);
        let signature = algorithm(&x509.signature_algorithm.algorithm.to_id_string());
        Some(Facts {
            subject: text(x509.subject()),
            issuer: text(x509.issuer()),
            common_names: x509.subject().iter_common_name().filter_map(|name| name.as_str().ok()).map(printable).collect(),
            serial: hexadecimal(x509.raw_serial(), ""),
            names: alternatives.map(|extension| extension.value.general_names.iter().map(san).collect()).unwrap_or_default(),
            not_before: x509.validity().not_before.to_datetime(),
            not_after: x509.validity().not_after.to_datetime(),
            key,
            weak_key,
            sha1: signature.contains("SHA-1"),
            signature,
            server_auth: usages.as_ref().is_some_and(|usage| usage.value.server_auth),
            client_auth: usages.as_ref().is_some_and(|usage| usage.value.client_auth),
            is_ca: x509.basic_constraints().ok()?.is_some_and(|constraints| constraints.value.ca),
            self_issued: x509.issuer().as_raw() == x509.subject().as_raw(),
            fingerprint: hexadecimal(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, der).as_ref(), ":"),
            der: der.clone().into_owned(),
            raw_serial: x509.raw_serial().to_vec(),
            public_key_info: x509.public_key().raw.to_vec(),
            raw_subject: x509.subject().as_raw().to_vec(),
            raw_issuer: x509.issuer().as_raw().to_vec(),
        })
    }

    /// Whether this one names `issuer`, and its key has made the signature. A signature of a weak key is not verified: there is no library here that
    /// would, and nobody is to accept it.
    pub fn signed_by(&self, issuer: &Facts) -> bool {
        self.names_as_issuer(issuer) && (issuer.weak_key.is_some() || self.signature_is_of(issuer))
    }

    fn signature_is_of(&self, issuer: &Facts) -> bool {
        X509Certificate::from_der(&self.der)
            .is_ok_and(|(_, this)| X509Certificate::from_der(&issuer.der).is_ok_and(|(_, issuer)| this.verify_signature(Some(issuer.public_key())).is_ok()))
    }

    /// Whether the subject of the certificate in `der` is whom this one names as its issuer: cheaper than reading all of it.
    pub fn may_be_issued_by(&self, der: &[u8]) -> bool {
        X509Certificate::from_der(der).is_ok_and(|(_, other)| other.subject().as_raw() == self.raw_issuer)
    }

    pub fn names_as_issuer(&self, issuer: &Facts) -> bool {
        self.raw_issuer == issuer.raw_subject
    }

    pub fn in_date(&self, now: OffsetDateTime) -> bool {
        self.not_before <= now && now <= self.not_after
    }

    /// Whole days left, negative where it has expired.
    pub fn days_left(&self, now: OffsetDateTime) -> i64 {
        (self.not_after - now).whole_seconds().div_euclid(86_400)
    }

    pub fn usages(&self) -> &'static str {
        match (self.server_auth, self.client_auth) {
            (true, true) => "server and client authentication",
            (true, false) => "server authentication only",
            (false, true) => "client authentication only",
            (false, false) => "neither server nor client authentication",
        }
    }
}

fn key(x509: &X509Certificate<'_>) -> (String, Option<String>) {
    let info = x509.public_key();
    match info.parsed() {
        Ok(PublicKey::RSA(rsa)) => {
            // The first octet of the modulus may be there for its sign only.
            let bits = rsa.modulus.iter().skip_while(|octet| **octet == 0).count() * 8;
            let weak = (bits < RSA_BITS).then(|| format!("an RSA key of {bits} bits is too short to be accepted"));
            (format!("RSA {bits}"), weak)
        }
        Ok(PublicKey::EC(_)) => {
            let curve = info.algorithm.parameters.as_ref().and_then(|any| any.as_oid().ok()).map(|oid| oid.to_id_string()).unwrap_or_default();
            match curve.as_str() {
                "1.2.840.10045.3.1.7" => ("ECDSA P-256".into(), None),
                "1.3.132.0.34" => ("ECDSA P-384".into(), None),
                "1.3.132.0.35" => ("ECDSA P-521".into(), None),
                _ => (format!("ECDSA on curve {curve}"), Some(format!("TLS stacks do not agree on the curve {curve}"))),
            }
        }
        _ => match info.algorithm.algorithm.to_id_string().as_str() {
            "1.3.101.112" => ("Ed25519".into(), None),
            other => (format!("of kind {other}"), Some(format!("keys of kind {other} are not used in TLS"))),
        },
    }
}

fn algorithm(oid: &str) -> String {
    let known = match oid {
        "1.2.840.113549.1.1.5" | "1.3.14.3.2.29" => "RSA with SHA-1",
        "1.2.840.113549.1.1.11" => "RSA with SHA-256",
        "1.2.840.113549.1.1.12" => "RSA with SHA-384",
        "1.2.840.113549.1.1.13" => "RSA with SHA-512",
        "1.2.840.113549.1.1.10" => "RSA-PSS",
        "1.2.840.10045.4.1" => "ECDSA with SHA-1",
        "1.2.840.10045.4.3.2" => "ECDSA with SHA-256",
        "1.2.840.10045.4.3.3" => "ECDSA with SHA-384",
        "1.2.840.10045.4.3.4" => "ECDSA with SHA-512",
        "1.3.101.112" => "Ed25519",
        other => return format!("algorithm {other}"),
    };
    known.to_owned()
}

fn san(general: &GeneralName<'_>) -> San {
    match general {
        GeneralName::DNSName(name) => San::Dns(printable(name)),
        GeneralName::URI(uri) => San::Uri(printable(uri)),
        GeneralName::IPAddress(octets) => {
            let v4 = <[u8; 4]>::try_from(*octets).map(|octets| std::net::IpAddr::from(octets).to_string());
            let v6 = <[u8; 16]>::try_from(*octets).map(|octets| std::net::IpAddr::from(octets).to_string());
            v4.or(v6).map_or_else(|_| San::Other(hexadecimal(octets, ":")), San::Ip)
        }
        other => San::Other(printable(&format!("{other:?}")).chars().take(200).collect()),
    }
}

fn text(name: &X509Name<'_>) -> String {
    printable(&name.to_string())
}

/// Without control characters: certificates are written by others, and this goes to a terminal.
pub fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

pub fn hexadecimal(octets: &[u8], between: &str) -> String {
    octets.iter().map(|octet| format!("{octet:02X}")).collect::<Vec<_>>().join(between)
}
