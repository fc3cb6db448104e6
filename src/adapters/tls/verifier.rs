//! The two questions of a handshake: is this client one of the peers that live at its address, is this server the one we meant to reach
//! (RFC 5922 §7, §8). A server must always show a certificate; a client too, unless an unsecured peer that lives at its address may do without.
//! Whatever is shown must verify; neither can be told to accept less.

use std::fmt;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};

use super::credentials::Credentials;
use super::trust::Purpose;
use crate::policy::settings::Peer;

/// For one inbound connection: the peers that may be behind it.
pub struct ClientIsPeer {
    pub credentials: Arc<Credentials>,
    pub candidates: Vec<Arc<Peer>>,
}

impl fmt::Debug for ClientIsPeer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.candidates.iter().map(|peer| &peer.name)).finish()
    }
}

impl ClientCertVerifier for ClientIsPeer {
    /// None: whom we trust is nobody's business, and clients send what they have.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn client_auth_mandatory(&self) -> bool {
        self.candidates.iter().all(|peer| peer.mutual)
    }

    fn verify_client_cert(&self, leaf: &CertificateDer<'_>, between: &[CertificateDer<'_>], now: UnixTime) -> Result<ClientCertVerified, Error> {
        let mut failure = CertificateError::UnknownIssuer;
        for peer in &self.candidates {
            match self.credentials.chains_for(&peer.name, leaf, between, now, Purpose::Client) {
                Ok(facts) if facts.carries_one_of(&peer.tls_names) => return Ok(ClientCertVerified::assertion()),
                Ok(_) => failure = CertificateError::NotValidForName,
                Err(CertificateError::UnknownIssuer) => {}
                Err(error) => failure = error,
            }
        }
        Err(Error::InvalidCertificate(failure))
    }

    fn verify_tls12_signature(&self, message: &[u8], cert: &CertificateDer<'_>, dss: &DigitallySignedStruct) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls12_signature(message, cert, dss, self.credentials.algorithms())
    }

    fn verify_tls13_signature(&self, message: &[u8], cert: &CertificateDer<'_>, dss: &DigitallySignedStruct) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, self.credentials.algorithms())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        schemes(self.credentials.algorithms())
    }
}

/// For one outbound connection: the peer it is for, and the names one of which its certificate must carry.
pub struct ServerIsPeer {
    pub credentials: Arc<Credentials>,
    pub peer: Arc<str>,
    pub names: Vec<Arc<str>>,
}

impl fmt::Debug for ServerIsPeer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} as {:?}", self.peer, self.names)
    }
}

impl ServerCertVerifier for ServerIsPeer {
    /// The name given by the library is the one sent as SNI, one of ours; we accept any of ours.
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match self.credentials.chains_for(&self.peer, leaf, between, now, Purpose::Server) {
            Ok(facts) if facts.carries_one_of(&self.names) => Ok(ServerCertVerified::assertion()),
            Ok(_) => Err(Error::InvalidCertificate(CertificateError::NotValidForName)),
            Err(error) => Err(Error::InvalidCertificate(error)),
        }
    }

    fn verify_tls12_signature(&self, message: &[u8], cert: &CertificateDer<'_>, dss: &DigitallySignedStruct) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls12_signature(message, cert, dss, self.credentials.algorithms())
    }

    fn verify_tls13_signature(&self, message: &[u8], cert: &CertificateDer<'_>, dss: &DigitallySignedStruct) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, self.credentials.algorithms())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        schemes(self.credentials.algorithms())
    }
}

fn schemes(algorithms: &WebPkiSupportedAlgorithms) -> Vec<SignatureScheme> {
    algorithms.supported_schemes()
}
