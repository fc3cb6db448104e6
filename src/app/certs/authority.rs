//! A certificate authority in a file, and what it issues (RFC 5280, RFC 5922): for laboratories, tests and quickstart, never for production.
//!
//! Dates are always set: the library underneath would make certificates valid from 1975 to 4096.

use std::net::IpAddr;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType};
use time::OffsetDateTime;
use zeroize::Zeroizing;

/// What `init` makes lasts so long: long enough for a laboratory, too short to be mistaken for a real certificate.
pub const VALIDITY: Duration = Duration::from_secs(30 * 24 * 3600);

/// Clocks differ: certificates begin so long before they are made.
pub(super) const BACKDATED: Duration = Duration::from_secs(3600);

/// Extended key usages a leaf may carry (RFC 5280 §4.2.1.12).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Eku {
    ServerAuth,
    ClientAuth,
}

/// A certificate to be issued. `Leaf::default()` is a good one but for names: both usages, from an hour ago for thirty days.
#[derive(Clone, Debug)]
pub struct Leaf {
    pub common_name: String,
    pub dns: Vec<String>,
    pub addresses: Vec<IpAddr>,
    /// Such as `sip:example.org` (RFC 5922 §7.1).
    pub uris: Vec<String>,
    pub ekus: Vec<Eku>,
    pub not_before: OffsetDateTime,
    pub not_after: OffsetDateTime,
}

impl Default for Leaf {
    fn default() -> Leaf {
        let now = OffsetDateTime::now_utc();
        Leaf {
            common_name: String::from("Portcullis laboratory"),
            dns: Vec::new(),
            addresses: Vec::new(),
            uris: Vec::new(),
            ekus: vec![Eku::ServerAuth, Eku::ClientAuth],
            not_before: now - BACKDATED,
            not_after: now + VALIDITY,
        }
    }
}

impl Leaf {
    /// A good leaf for one DNS name.
    pub fn named(name: &str) -> Leaf {
        Leaf { common_name: String::from(name), dns: vec![String::from(name)], ..Leaf::default() }
    }

    fn params(&self) -> Result<CertificateParams, rcgen::Error> {
        let mut params = CertificateParams::default();
        for name in &self.dns {
            params.subject_alt_names.push(SanType::DnsName(name.as_str().try_into()?));
        }
        for uri in &self.uris {
            params.subject_alt_names.push(SanType::URI(uri.as_str().try_into()?));
        }
        params.subject_alt_names.extend(self.addresses.iter().map(|address| SanType::IpAddress(*address)));
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, self.common_name.as_str());
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = self
            .ekus
            .iter()
            .map(|eku| match eku {
                Eku::ServerAuth => ExtendedKeyUsagePurpose::ServerAuth,
                Eku::ClientAuth => ExtendedKeyUsagePurpose::ClientAuth,
            })
            .collect();
        params.not_before = self.not_before;
        params.not_after = self.not_after;
        params.use_authority_key_identifier_extension = true;
        Ok(params)
    }
}

/// What was issued, as PEM.
pub struct Issued {
    /// The leaf, then the certificates between it and the root, if any.
    pub certificate: String,
    pub key: Zeroizing<String>,
}

/// A certificate authority that can issue.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: String,
    key: Zeroizing<String>,
    /// What a leaf's file carries after the leaf: nothing for a root.
    chain: String,
}

fn authority_params(common_name: &str, not_before: OffsetDateTime, not_after: OffsetDateTime) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.not_before = not_before;
    params.not_after = not_after;
    params
}

/// A new root with a P-256 key, from an hour ago for `validity`.
pub fn authority(common_name: &str, validity: Duration) -> Result<Authority, rcgen::Error> {
    let now = OffsetDateTime::now_utc();
    authority_between(common_name, now - BACKDATED, now + validity)
}

/// A new root with these dates.
pub fn authority_between(common_name: &str, not_before: OffsetDateTime, not_after: OffsetDateTime) -> Result<Authority, rcgen::Error> {
    let pair = KeyPair::generate()?;
    let key = Zeroizing::new(pair.serialize_pem());
    let root = CertifiedIssuer::self_signed(authority_params(common_name, not_before, not_after), pair)?;
    let certificate = root.pem();
    Authority::from_pem(certificate, key)
}

/// A leaf that signs itself (CA:FALSE): to be pinned, or refused.
pub fn self_signed(leaf: &Leaf) -> Result<Issued, rcgen::Error> {
    let pair = KeyPair::generate()?;
    let certificate = leaf.params()?.self_signed(&pair)?;
    Ok(Issued { certificate: certificate.pem(), key: Zeroizing::new(pair.serialize_pem()) })
}

impl Authority {
    /// An authority made earlier.
    pub fn from_pem(certificate: String, key: Zeroizing<String>) -> Result<Authority, rcgen::Error> {
        let issuer = Issuer::from_ca_cert_pem(&certificate, KeyPair::from_pem(&key)?)?;
        Ok(Authority { issuer, certificate, key, chain: String::new() })
    }

    /// PEM: what goes into a peer's `ca` file.
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    pub(super) fn key(&self) -> &str {
        &self.key
    }

    pub fn issue(&self, leaf: &Leaf) -> Result<Issued, rcgen::Error> {
        let pair = KeyPair::generate()?;
        let certificate = leaf.params()?.signed_by(&pair, &self.issuer)?;
        Ok(Issued { certificate: certificate.pem() + &self.chain, key: Zeroizing::new(pair.serialize_pem()) })
    }

    /// A subordinate authority; what it issues carries its certificate along.
    pub fn intermediate(&self, common_name: &str, validity: Duration) -> Result<Authority, rcgen::Error> {
        let now = OffsetDateTime::now_utc();
        let pair = KeyPair::generate()?;
        let key = Zeroizing::new(pair.serialize_pem());
        let certificate = authority_params(common_name, now - BACKDATED, now + validity).signed_by(&pair, &self.issuer)?.pem();
        let chain = format!("{certificate}{}", self.chain);
        Ok(Authority { chain, ..Authority::from_pem(certificate, key)? })
    }
}
