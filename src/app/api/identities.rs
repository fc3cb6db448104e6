//! What the border shows at the operators' door, and whose certificates it believes there: of the certificates in force, so that whatever puts others in force, a
//! command, a reload or a change of the files, does so here too.

use std::sync::Arc;

use tokio::sync::watch;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::CertificateDer;

use crate::adapters::api::Identities;
use crate::adapters::tls::{self, CredentialStore};

/// In force at the door; nothing where it has no TLS.
pub struct Shown(pub Arc<CredentialStore>);

impl Identities for Shown {
    fn server(&self) -> Option<Arc<ServerConfig>> {
        self.0.current().door().map(|door| door.config())
    }

    fn names(&self, certificate: &[u8]) -> Vec<String> {
        tls::names_of(certificate)
    }

    fn believes(&self, chain: &[CertificateDer<'_>]) -> bool {
        self.0.current().door().is_some_and(|door| door.believes(chain))
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.0.generations()
    }
}
