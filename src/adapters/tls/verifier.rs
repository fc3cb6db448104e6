//! The two questions of a handshake: is this client one of the peers that live at its address, is this server the one we meant to reach
//! (RFC 5922 §7, §8). A server must always show a certificate; a client too, unless an unsecured peer that lives at its address may do without.
//! Whatever is shown must verify; neither can be told to accept less.

use std::fmt;
use std::sync::{Arc, OnceLock};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};

use super::credentials::{Credentials, Proven};
use super::refusal;
use crate::policy::flow::{Proof, TlsRefusal};

/// For one connection. It keeps what it found, since the TLS library passes on less.
pub struct Verifier {
    pub credentials: Arc<Credentials>,
    pub proof: Proof,
    found: OnceLock<Result<Proven, TlsRefusal>>,
}

impl Verifier {
    pub fn new(credentials: Arc<Credentials>, proof: Proof) -> Arc<Verifier> {
        Arc::new(Verifier { credentials, proof, found: OnceLock::new() })
    }

    /// What was proven in the handshake. `None`: nothing was shown.
    pub fn proven(&self) -> Option<&Proven> {
        self.found.get().and_then(|found| found.as_ref().ok())
    }

    pub fn refusal(&self) -> Option<TlsRefusal> {
        self.found.get().and_then(|found| found.as_ref().err()).cloned()
    }

    /// Whether something must be shown at all.
    pub fn demands_proof(&self) -> bool {
        match &self.proof {
            Proof::Client(candidates) => candidates.iter().all(|peer| peer.mutual),
            Proof::Server { .. } => true,
        }
    }

    fn verify(&self, leaf: &CertificateDer<'_>, between: &[CertificateDer<'_>], now: UnixTime) -> Result<(), Error> {
        let chain: Vec<CertificateDer<'_>> = std::iter::once(leaf).chain(between).map(|der| CertificateDer::from(&**der)).collect();
        self.judged(&chain, now).as_ref().map(|_| ()).map_err(refusal::to_library)
    }

    /// The verdict of the first time stands for the connection: sessions are not resumed, and TLS 1.2 does not renegotiate here.
    fn judged(&self, chain: &[CertificateDer<'_>], now: UnixTime) -> &Result<Proven, TlsRefusal> {
        self.found.get_or_init(|| self.credentials.prove(chain, &self.proof, now))
    }

    #[cfg(feature = "legacy-tls")]
    pub fn judge(&self, chain: &[CertificateDer<'_>], now: UnixTime) -> bool {
        self.judged(chain, now).is_ok()
    }

    /// For a reason that the library found first. Always false.
    #[cfg(feature = "legacy-tls")]
    pub fn refuse(&self, refusal: TlsRefusal) -> bool {
        self.found.get_or_init(|| Err(refusal)).is_ok()
    }

    fn algorithms(&self) -> &WebPkiSupportedAlgorithms {
        self.credentials.algorithms()
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.proof)
    }
}

impl ClientCertVerifier for Verifier {
    /// None: whom we trust is nobody's business, and clients send what they have.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn client_auth_mandatory(&self) -> bool {
        self.demands_proof()
    }

    fn verify_client_cert(&self, leaf: &CertificateDer<'_>, between: &[CertificateDer<'_>], now: UnixTime) -> Result<ClientCertVerified, Error> {
        self.verify(leaf, between, now).map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(&self, message: &[u8], cert: &CertificateDer<'_>, dss: &DigitallySignedStruct) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls12_signature(message, cert, dss, self.algorithms())
    }

    fn verify_tls13_signature(&self, message: &[u8], cert: &CertificateDer<'_>, dss: &DigitallySignedStruct) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, self.algorithms())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms().supported_schemes()
    }
}

impl ServerCertVerifier for Verifier {
    /// The name given by the library is the one sent as SNI, one of ours; we accept any of ours.
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.verify(leaf, between, now).map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(&self, message: &[u8], cert: &CertificateDer<'_>, dss: &DigitallySignedStruct) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls12_signature(message, cert, dss, self.algorithms())
    }

    fn verify_tls13_signature(&self, message: &[u8], cert: &CertificateDer<'_>, dss: &DigitallySignedStruct) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, self.algorithms())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms().supported_schemes()
    }
}
