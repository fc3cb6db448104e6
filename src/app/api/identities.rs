//! What the border shows at the operators' door, and whose certificates it believes there: TLS 1.3, the files read anew whenever certificates are rotated.

use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::version::TLS13;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

use crate::adapters::api::{Identities, TlsFiles};
use crate::adapters::tls;

/// In force at the door; nothing where it has no TLS.
pub struct Shown {
    files: ArcSwapOption<TlsFiles>,
    config: ArcSwapOption<ServerConfig>,
}

/// What the files hold, ready to be taken into force.
pub struct Fresh {
    files: Option<Arc<TlsFiles>>,
    config: Option<Arc<ServerConfig>>,
}

impl Fresh {
    /// Every error names its file.
    pub fn of(files: Option<TlsFiles>) -> Result<Fresh, String> {
        let config = files.as_ref().map(config).transpose()?;
        Ok(Fresh { files: files.map(Arc::new), config: config.map(Arc::new) })
    }
}

impl Shown {
    /// Every error names its file.
    pub fn load(files: Option<TlsFiles>) -> Result<Shown, String> {
        let shown = Shown { files: ArcSwapOption::empty(), config: ArcSwapOption::empty() };
        shown.put(Fresh::of(files)?);
        Ok(shown)
    }

    /// The same files as they are now. Nothing changes before it is [`Shown::put`].
    pub fn read(&self) -> Result<Fresh, String> {
        Fresh::of(self.files.load().as_ref().map(|files| TlsFiles::clone(files)))
    }

    /// For every connection from now on.
    pub fn put(&self, fresh: Fresh) {
        self.files.store(fresh.files);
        self.config.store(fresh.config);
    }
}

impl Identities for Shown {
    fn server(&self) -> Option<Arc<ServerConfig>> {
        self.config.load_full()
    }

    fn names(&self, certificate: &[u8]) -> Vec<String> {
        tls::names_of(certificate)
    }
}

fn config(files: &TlsFiles) -> Result<ServerConfig, String> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let wrong = |path: &Path, error: &dyn std::fmt::Display| format!("[api] {}: {error}", path.display());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider)).with_protocol_versions(&[&TLS13]).map_err(|error| format!("[api]: {error}"))?;
    let builder = match &files.client_ca {
        Some(path) => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates(path)? {
                roots.add(certificate).map_err(|error| wrong(path, &error))?;
            }
            // A browser with a token has none.
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).allow_unauthenticated().build();
            builder.with_client_cert_verifier(verifier.map_err(|error| wrong(path, &error))?)
        }
        None => builder.with_no_client_auth(),
    };
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|error| wrong(&files.key, &error))?;
    let mut config = builder.with_single_cert(certificates(&files.certificate)?, key).map_err(|error| wrong(&files.certificate, &error))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let wrong = |error: &dyn std::fmt::Display| format!("[api] {}: {error}", path.display());
    let read: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path).map_err(|error| wrong(&error))?.collect();
    let read = read.map_err(|error| wrong(&error))?;
    if read.is_empty() { Err(wrong(&"it holds no certificate")) } else { Ok(read) }
}
