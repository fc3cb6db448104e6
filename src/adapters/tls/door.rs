//! The operators' door: what it shows and whose certificates are believed there (TLS 1.3, RFC 8446 §4.4.2), loaded with all other certificates. An end that has
//! passed refuses no load here as it does elsewhere: calls do not depend on this door, and a border that does not start for it would have none.

use std::path::Path;
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::sign::SingleCertAndKey;
use rustls::{RootCertStore, ServerConfig};

use super::certificate::Certificate;
use super::dates::{from_now, written};
use super::files::{self, OwnCertificate, problem};
use super::lifetime::{self, Lifetime};
use super::{DoorFiles, Problem};
use crate::signaling::fact::CertificateKind;

/// What the files of one load make of the door.
pub struct Door {
    pub(super) files: DoorFiles,
    pub(super) own: OwnCertificate,
    /// Those operators' certificates are held against.
    pub(super) authorities: Vec<Certificate>,
    config: Arc<ServerConfig>,
    verifier: Option<Arc<dyn ClientCertVerifier>>,
}

impl std::fmt::Debug for Door {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Door").field("files", &self.files).finish_non_exhaustive()
    }
}

impl Door {
    pub(super) fn load(files: &DoorFiles, provider: &Arc<CryptoProvider>) -> Result<Door, Vec<Problem>> {
        let of_door = |found: Problem| Problem { what: format!("for [api]: {}", found.what), ..found };
        let mut problems = Vec::new();
        let own = files::pair(&files.own, provider, |_| None).map_err(|found| problems.extend(found)).ok();
        let believed = files.client_ca.as_deref().map(|file| believed(file, provider).map_err(|found| problems.push(found)).ok());
        let (Some(own), true) = (own, problems.is_empty()) else { return Err(problems.into_iter().map(of_door).collect()) };
        let (authorities, verifier) = believed.flatten().unzip();
        let config = config(provider, &own, verifier.clone()).map_err(|error| vec![of_door(unusable(&files.own.certificate, &error))])?;
        Ok(Door { files: files.clone(), own, authorities: authorities.unwrap_or_default(), config: Arc::new(config), verifier })
    }

    /// For every connection from now on.
    pub fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.config)
    }

    /// Whether a chain, leaf first, is one of an operator: it ends at one of the CAs, and is in date.
    pub fn believes(&self, chain: &[CertificateDer<'_>]) -> bool {
        let (Some(verifier), Some((leaf, between))) = (&self.verifier, chain.split_first()) else { return false };
        verifier.verify_client_cert(leaf, between, UnixTime::now()).is_ok()
    }

    /// What lets the door open and yet keeps operators out.
    pub(super) fn remarks(&self, now: UnixTime) -> Vec<Problem> {
        let (file, facts) = (&self.files.own.certificate, &self.own.facts);
        let ended = |file: &Path, whose: &str, facts: &Certificate| {
            let what = format!("for [api]: {whose} ended {} ({})", from_now(facts.not_after, now), written(facts.not_after));
            (facts.not_after.as_secs() < now.as_secs()).then(|| problem(file, what, "renew it: who asks by it is refused"))
        };
        let early = (facts.not_before.as_secs() > now.as_secs()).then(|| {
            let what = format!("for [api]: our certificate is not valid before {}", written(facts.not_before));
            problem(file, what, "check this machine's clock, or wait")
        });
        let nameless = facts.names.is_empty().then(|| {
            let what = "for [api]: our certificate has no subjectAltName, which is what browsers and `portcullis --url` compare";
            problem(file, what, "request it with the host name or address operators write")
        });
        let authorities = self.files.client_ca.iter().flat_map(|file| self.authorities.iter().filter_map(|facts| ended(file, &facts.subject, facts)));
        ended(file, "our certificate", facts).into_iter().chain(early).chain(nameless).chain(authorities).collect()
    }

    pub(super) fn lifetimes(&self) -> Vec<Lifetime> {
        let between = self.own.key.cert.iter().skip(1).filter_map(|der| Certificate::read(der));
        let own = std::iter::once(self.own.facts.clone()).chain(between);
        let own = own.map(|facts| lifetime::of(CertificateKind::Api, &self.files.own.certificate, &facts));
        let authorities = self.files.client_ca.iter().flat_map(|file| {
            let of = |facts| lifetime::of(CertificateKind::ApiAuthority, file, facts);
            self.authorities.iter().map(of).collect::<Vec<_>>()
        });
        own.chain(authorities).collect()
    }
}

/// What the certificates of a CA file say, and who asks by them.
type Believed = (Vec<Certificate>, Arc<dyn ClientCertVerifier>);

fn believed(file: &Path, provider: &Arc<CryptoProvider>) -> Result<Believed, Problem> {
    let (mut roots, mut facts) = (RootCertStore::empty(), Vec::new());
    for der in files::certificates(file)? {
        facts.extend(Certificate::read(&der));
        roots.add(der).map_err(|error| problem(file, format!("one of its certificates is no CA's ({error})"), "put the CA's certificate there, as PEM"))?;
    }
    // A browser with a token has no certificate.
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider)).allow_unauthenticated().build();
    let verifier = verifier.map_err(|error| problem(file, format!("nobody can be held against it ({error})"), "put the CA's certificate there, as PEM"))?;
    Ok((facts, verifier))
}

fn config(provider: &Arc<CryptoProvider>, own: &OwnCertificate, verifier: Option<Arc<dyn ClientCertVerifier>>) -> Result<ServerConfig, rustls::Error> {
    let builder = ServerConfig::builder_with_provider(Arc::clone(provider)).with_protocol_versions(&[&rustls::version::TLS13])?;
    let builder = match verifier {
        Some(verifier) => builder.with_client_cert_verifier(verifier),
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(Arc::clone(&own.key))));
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

fn unusable(file: &Path, error: &rustls::Error) -> Problem {
    problem(file, format!("no TLS can be made of it ({error})"), "give it a certificate and key for TLS 1.3")
}
