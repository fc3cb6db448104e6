//! Whether a certificate chain ends at what one peer is trusted by (RFC 5280 §6): its CA certificates, or its own self-signed one, pinned.

use rustls::CertificateError;
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::{CertificateDer, TrustAnchor, UnixTime};
use std::sync::Arc;
use webpki::{EndEntityCert, KeyUsage};

use super::certificate::Certificate;

/// What the certificate is shown for (RFC 5280 §4.2.1.12).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Purpose {
    Server,
    Client,
}

/// The content of one `ca` file.
#[derive(Debug, Default)]
pub struct Anchors {
    authorities: Vec<TrustAnchor<'static>>,
    /// The authorities' own dates, same order: path validation does not look at an anchor's dates, we do.
    dates: Vec<Certificate>,
    pins: Vec<Pin>,
}

/// A self-signed certificate that is no CA: it vouches for itself and for nothing else.
#[derive(Debug)]
struct Pin {
    certificate: CertificateDer<'static>,
    anchor: TrustAnchor<'static>,
}

impl Anchors {
    /// `Err`: this certificate cannot be trusted by, and why.
    pub fn add(&mut self, der: CertificateDer<'static>) -> Result<(), String> {
        let facts = Certificate::read(&der).ok_or("it holds a certificate that cannot be read")?;
        let anchor =
            webpki::anchor_from_trusted_cert(&der).map_err(|error| format!("it holds a certificate that cannot be a trust anchor ({error})"))?.to_owned();
        if facts.is_ca {
            self.authorities.push(anchor);
            self.dates.push(facts);
        } else if !facts.self_issued {
            return Err(String::from("it holds a certificate that is neither a CA's nor self-signed"));
        } else {
            self.pins.push(Pin { certificate: der, anchor });
        }
        Ok(())
    }

    pub fn is_empty(&self) -> bool {
        self.authorities.is_empty() && self.pins.is_empty()
    }

    fn check(
        &self,
        leaf: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        now: UnixTime,
        purpose: Purpose,
        algorithms: &WebPkiSupportedAlgorithms,
    ) -> Result<(), CertificateError> {
        let end_entity = EndEntityCert::try_from(leaf).map_err(explain)?;
        let verify = |anchors: &[TrustAnchor<'_>], between: &[CertificateDer<'_>]| {
            let usage = match purpose {
                Purpose::Server => KeyUsage::server_auth(),
                Purpose::Client => KeyUsage::client_auth(),
            };
            end_entity.verify_for_usage(algorithms.all, anchors, between, now, usage, None, None).map(|_| ()).map_err(explain)
        };
        if let Some(pin) = self.pins.iter().find(|pin| pin.certificate == *leaf) {
            return verify(std::slice::from_ref(&pin.anchor), &[]);
        }
        if self.dates.iter().all(|facts| facts.in_date(now)) {
            return verify(&self.authorities, between);
        }
        let in_date: Vec<TrustAnchor<'_>> =
            self.authorities.iter().zip(&self.dates).filter(|(_, facts)| facts.in_date(now)).map(|(anchor, _)| anchor.clone()).collect();
        verify(&in_date, between)
    }
}

/// Checks that `leaf` chains to one of these files' certificates, that everything is in date, and that the leaf itself names its purpose: a
/// certificate without extended key usages is refused, as Exchange does.
pub fn chains(
    files: &[Arc<Anchors>],
    leaf: &CertificateDer<'_>,
    between: &[CertificateDer<'_>],
    now: UnixTime,
    purpose: Purpose,
    algorithms: &WebPkiSupportedAlgorithms,
) -> Result<Certificate, CertificateError> {
    let facts = Certificate::read(leaf).ok_or(CertificateError::BadEncoding)?;
    let mut failure = CertificateError::UnknownIssuer;
    for file in files {
        match file.check(leaf, between, now, purpose, algorithms) {
            Ok(()) => {
                let stated = match purpose {
                    Purpose::Server => facts.server_auth,
                    Purpose::Client => facts.client_auth,
                };
                return if stated { Ok(facts) } else { Err(CertificateError::InvalidPurpose) };
            }
            // An unknown issuer says least; keep what says more.
            Err(CertificateError::UnknownIssuer) => {}
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

fn explain(error: webpki::Error) -> CertificateError {
    match error {
        webpki::Error::BadDer | webpki::Error::BadDerTime | webpki::Error::TrailingData(_) => CertificateError::BadEncoding,
        webpki::Error::CertExpired { .. } | webpki::Error::InvalidCertValidity => CertificateError::Expired,
        webpki::Error::CertNotValidYet { .. } => CertificateError::NotValidYet,
        webpki::Error::UnknownIssuer => CertificateError::UnknownIssuer,
        webpki::Error::InvalidSignatureForPublicKey => CertificateError::BadSignature,
        webpki::Error::RequiredEkuNotFoundContext(_) | webpki::Error::EmptyEkuExtension => CertificateError::InvalidPurpose,
        other => CertificateError::Other(rustls::OtherError(Arc::new(other))),
    }
}
