//! Whether a certificate chain ends at what one peer is trusted by (RFC 5280 §6): its CA certificates, or its own self-signed one, pinned.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::{CertificateDer, TrustAnchor, UnixTime};
use webpki::{EndEntityCert, KeyUsage, RevocationOptions};

use super::certificate::Certificate;
use super::dates::{from_now, written};
use super::refusal;
use super::revocation::{Issuers, Path, Revocation};
use crate::policy::flow::TlsRefusal;
use crate::policy::verdict::Reason;

/// Certificates of one chain. Real ones have two to four.
const CHAIN_CERTIFICATES: usize = 10;
/// Bytes of one chain.
const CHAIN_BYTES: usize = 64 * 1024;

/// What the certificate is shown for (RFC 5280 §4.2.1.12).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Purpose {
    Server,
    Client,
}

/// The content of one `ca` file.
#[derive(Debug, Default)]
pub struct Anchors {
    file: PathBuf,
    authorities: Vec<TrustAnchor<'static>>,
    /// As they stand in the file, same order.
    certificates: Vec<CertificateDer<'static>>,
    /// The authorities' own dates, same order: path validation does not look at an anchor's dates, we do.
    dates: Vec<Certificate>,
    pins: Vec<Pin>,
}

/// A self-signed certificate that is no CA: it vouches for itself and for nothing else.
#[derive(Debug)]
struct Pin {
    certificate: CertificateDer<'static>,
    anchor: TrustAnchor<'static>,
    facts: Certificate,
}

/// What is asked of a chain.
pub struct Question<'a> {
    /// As it was shown, leaf first, never empty.
    pub chain: &'a [CertificateDer<'a>],
    pub now: UnixTime,
    pub purpose: Purpose,
    /// A certificate for a server alone will do for a client.
    pub server_as_client: bool,
    pub revocation: Option<&'a Revocation>,
    pub issuers: &'a Issuers,
    pub algorithms: &'a WebPkiSupportedAlgorithms,
}

impl Question<'_> {
    fn states(&self, facts: &Certificate) -> bool {
        match self.purpose {
            Purpose::Server => facts.server_auth,
            Purpose::Client => facts.client_auth || (self.server_as_client && facts.server_auth),
        }
    }

    fn usage(&self, facts: &Certificate) -> KeyUsage {
        match self.purpose {
            Purpose::Client if facts.client_auth || !self.server_as_client => KeyUsage::client_auth(),
            Purpose::Client | Purpose::Server => KeyUsage::server_auth(),
        }
    }
}

impl Anchors {
    pub fn of(file: &std::path::Path) -> Anchors {
        Anchors { file: file.to_path_buf(), ..Anchors::default() }
    }

    pub fn file(&self) -> &std::path::Path {
        &self.file
    }

    /// `Err`: this certificate cannot be trusted by, and why.
    pub fn add(&mut self, der: CertificateDer<'static>) -> Result<(), String> {
        let facts = Certificate::read(&der).ok_or("it holds a certificate that cannot be read")?;
        let anchor =
            webpki::anchor_from_trusted_cert(&der).map_err(|error| format!("it holds a certificate that cannot be a trust anchor ({error})"))?.to_owned();
        if facts.is_ca {
            self.authorities.push(anchor);
            self.certificates.push(der);
            self.dates.push(facts);
        } else if !facts.self_issued {
            return Err(String::from("it holds a certificate that is neither a CA's nor self-signed"));
        } else {
            self.pins.push(Pin { certificate: der, anchor, facts });
        }
        Ok(())
    }

    pub fn is_empty(&self) -> bool {
        self.authorities.is_empty() && self.pins.is_empty()
    }

    /// What each of its certificates says.
    pub fn facts(&self) -> impl Iterator<Item = &Certificate> {
        self.dates.iter().chain(self.pins.iter().map(|pin| &pin.facts))
    }

    /// Its CA certificates of this subject (DER).
    pub fn named(&self, subject: &[u8]) -> impl Iterator<Item = &TrustAnchor<'static>> {
        self.authorities.iter().filter(move |anchor| anchor.subject.as_ref() == subject)
    }

    /// Subject (DER) and name of each CA certificate.
    pub fn subjects(&self) -> impl Iterator<Item = (&[u8], &str)> {
        self.authorities.iter().zip(&self.dates).map(|(anchor, facts)| (anchor.subject.as_ref(), facts.subject.as_str()))
    }

    /// The CA certificates themselves.
    pub fn authorities(&self) -> &[CertificateDer<'static>] {
        &self.certificates
    }

    fn check(&self, question: &Question<'_>, facts: &Certificate) -> Result<(), TlsRefusal> {
        let (Some(leaf), between) = (question.chain.first(), question.chain.get(1..).unwrap_or_default()) else { return Err(unreadable()) };
        let told = |error: webpki::Error| refusal::of_path(&error, question.chain, question.now, question.purpose);
        let end_entity = EndEntityCert::try_from(leaf).map_err(told)?;
        let verify = |anchors: &[TrustAnchor<'_>], between: &[CertificateDer<'_>], revocation: Option<RevocationOptions<'_>>| {
            let path = end_entity.verify_for_usage(question.algorithms.all, anchors, between, question.now, question.usage(facts), revocation, None)?;
            Ok(path.intermediate_certificates().map(|certificate| certificate.der().into_owned()).collect::<Vec<_>>())
        };
        if let Some(pin) = self.pins.iter().find(|pin| pin.certificate == *leaf) {
            // Nobody revokes it but the operator, by taking it out.
            return verify(std::slice::from_ref(&pin.anchor), &[], None).map(|_| ()).map_err(told);
        }
        let (good, spent): (Vec<_>, Vec<_>) = self.authorities.iter().zip(&self.dates).partition(|(_, facts)| facts.in_date(question.now));
        let good: Vec<TrustAnchor<'_>> = good.into_iter().map(|(anchor, _)| anchor.clone()).collect();
        let intermediates = verify(&good, between, None).map_err(|error| {
            // Trusted, were its CA's own certificate in date?
            let would_do = |anchor: &TrustAnchor<'_>| verify(std::slice::from_ref(anchor), between, None).is_ok();
            let culprit = spent.iter().find(|(anchor, _)| matches!(error, webpki::Error::UnknownIssuer) && would_do(anchor));
            culprit.map_or_else(|| told(error.clone()), |(_, facts)| spent_authority(facts, question.now))
        })?;
        let Some(revocation) = question.revocation else { return Ok(()) };
        let path = Path { chain: question.chain, intermediates, now: question.now };
        revocation.check(&path, question.issuers, question.algorithms, |options| verify(&good, between, Some(options)).map(|_| ()))
    }
}

fn spent_authority(facts: &Certificate, now: UnixTime) -> TlsRefusal {
    let subject = &facts.subject;
    if facts.not_before.as_secs() > now.as_secs() {
        let what = format!("the CA certificate {subject} becomes valid {} only: see that our clock is right", from_now(facts.not_before, now));
        return TlsRefusal::new(Reason::TlsNotYetValid, what);
    }
    let (when, date) = (from_now(facts.not_after, now), written(facts.not_after));
    TlsRefusal::new(Reason::TlsExpired, format!("the CA certificate {subject} expired {when} ({date}): put the CA's new one into the peer's ca file"))
}

fn unreadable() -> TlsRefusal {
    TlsRefusal::new(Reason::TlsBadCertificate, "its certificate cannot be read: the other side needs one that is well-formed (RFC 5280)")
}

/// Checks that the chain ends at one of these files' certificates, that everything is in date, and that the leaf itself names its purpose: a
/// certificate without extended key usages is refused, as Exchange does. A refusal carries what was compared.
pub fn chains(files: &[Arc<Anchors>], question: &Question<'_>) -> Result<Certificate, TlsRefusal> {
    let length = question.chain.iter().map(|der| der.len()).sum::<usize>();
    if question.chain.len() > CHAIN_CERTIFICATES || length > CHAIN_BYTES {
        let what = format!(
            "its certificate chain has {} certificates and {length} bytes, at most {CHAIN_CERTIFICATES} and {CHAIN_BYTES} are read: \
             the other side must send its own certificate and its intermediates only",
            question.chain.len()
        );
        return Err(TlsRefusal::new(Reason::TlsChainLimit, what));
    }
    let facts = question.chain.first().and_then(|leaf| Certificate::read(leaf)).ok_or_else(unreadable)?;
    let mut failure = refusal::of_path(&webpki::Error::UnknownIssuer, question.chain, question.now, question.purpose);
    for file in files {
        match file.check(question, &facts) {
            Ok(()) if question.states(&facts) => return Ok(facts),
            Ok(()) => return Err(compared(refusal::wrong_usage(question.purpose), &facts, files)),
            // An unknown issuer says least; keep what says more.
            Err(refusal) if refusal.reason == Reason::TlsUnknownIssuer => {}
            Err(refusal) => failure = refusal,
        }
    }
    Err(compared(failure, &facts, files))
}

/// With what the certificate says of itself, and what it was held against.
pub fn compared(refusal: TlsRefusal, facts: &Certificate, files: &[Arc<Anchors>]) -> TlsRefusal {
    let names = if facts.names.is_empty() { String::from("none") } else { facts.names.join(", ") };
    let files: Vec<String> = files.iter().map(|file| file.file().display().to_string()).collect();
    refusal
        .comparing("certificate of", facts.subject.clone())
        .comparing("certificate names", names)
        .comparing("issued by", facts.issuer.clone())
        .comparing("serial", facts.serial.clone())
        .comparing("valid", format!("{} to {}", written(facts.not_before), written(facts.not_after)))
        .comparing("held against", files.join(", "))
}
