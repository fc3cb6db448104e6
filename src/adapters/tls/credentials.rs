//! One load of all certificates and keys, and the TLS configurations made from it. TLS 1.2 and 1.3 only.
//!
//! Sessions are never resumed: every connection shows and proves its certificate anew, so nothing from before a reload, or from before an
//! expiry, can slip through. SIP connections are few and long; a full handshake each is cheap.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::client::{ResolvesClientCert, Resumption};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, ClientConfig, CommonState, ServerConfig, SignatureScheme};

use super::certificate::Certificate;
use super::files::{self, OwnCertificate};
use super::trust::{self, Anchors, Purpose};
use super::verifier::{ClientIsPeer, ServerIsPeer};
use super::{KeyPairFiles, Problem, Settings};
use crate::policy::flow::{ListenerId, TlsIdentity};
use crate::policy::settings::Peer;
use crate::signaling::event::Connect;

const VERSIONS: &[&rustls::SupportedProtocolVersion] = &[&rustls::version::TLS13, &rustls::version::TLS12];

/// All certificates and keys of one load, checked. Immutable; a reload makes a new one.
pub struct Credentials {
    provider: Arc<CryptoProvider>,
    listeners: HashMap<ListenerId, Arc<OwnCertificate>>,
    peers: HashMap<Arc<str>, PeerTrust>,
    loaded: Vec<LoadedCertificate>,
}

struct PeerTrust {
    anchors: Vec<Arc<Anchors>>,
    own: Option<Arc<OwnCertificate>>,
}

/// One of our own certificates, for logs, metrics and `check`. No secrets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadedCertificate {
    pub file: PathBuf,
    pub names: Vec<String>,
    /// Seconds since 1970.
    pub not_after: u64,
    /// A peer that follows RFC 5280 refuses us as a server without it …
    pub server_auth: bool,
    /// … and as a client without this one.
    pub client_auth: bool,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("loaded", &self.loaded).field("peers", &self.peers.len()).finish_non_exhaustive()
    }
}

impl Credentials {
    /// All or nothing: every problem of every file at once, each file read once.
    pub fn load(settings: &Settings) -> Result<Credentials, Vec<Problem>> {
        let mut load = Load {
            provider: Arc::new(rustls::crypto::aws_lc_rs::default_provider()),
            now: UnixTime::now(),
            owns: HashMap::new(),
            anchors: HashMap::new(),
            problems: Vec::new(),
        };
        let mut listeners = HashMap::new();
        for listener in &settings.listeners {
            if let Some(own) = load.own(&listener.own) {
                listeners.insert(listener.listener, own);
            }
        }
        let mut peers = HashMap::new();
        for peer in &settings.peers {
            let anchors = peer.ca.iter().filter_map(|file| load.anchors(file)).collect();
            let own = peer.own.as_ref().and_then(|files| load.own(files));
            peers.insert(Arc::clone(&peer.peer), PeerTrust { anchors, own });
        }
        let mut loaded: Vec<LoadedCertificate> = load.owns.iter().filter_map(|(files, own)| own.as_ref().map(|own| describe(files, &own.facts))).collect();
        loaded.sort_by(|a, b| a.file.cmp(&b.file));
        if load.problems.is_empty() { Ok(Credentials { provider: load.provider, listeners, peers, loaded }) } else { Err(load.problems) }
    }

    pub fn certificates(&self) -> &[LoadedCertificate] {
        &self.loaded
    }

    pub(super) fn algorithms(&self) -> &WebPkiSupportedAlgorithms {
        &self.provider.signature_verification_algorithms
    }

    /// Whether the chain ends at what this peer is trusted by.
    pub(super) fn chains_for(
        &self,
        peer: &str,
        leaf: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        now: UnixTime,
        purpose: Purpose,
    ) -> Result<Certificate, CertificateError> {
        let trusted = self.peers.get(peer).ok_or(CertificateError::UnknownIssuer)?;
        trust::chains(&trusted.anchors, leaf, between, now, purpose, self.algorithms())
    }

    /// For one inbound connection: TLS in which one of `candidates` must prove itself, unless one of them may come without a certificate. `None`: the listener has no certificate.
    pub fn server(self: &Arc<Self>, listener: ListenerId, candidates: &[Arc<Peer>]) -> Option<Arc<ServerConfig>> {
        let special = match candidates {
            [only] => self.peers.get(&only.name).and_then(|trust| trust.own.as_ref()),
            _ => None,
        };
        let own = special.or_else(|| self.listeners.get(&listener))?;
        let verifier = Arc::new(ClientIsPeer { credentials: Arc::clone(self), candidates: candidates.to_vec() });
        let builder = ServerConfig::builder_with_provider(Arc::clone(&self.provider)).with_protocol_versions(VERSIONS).ok()?;
        let mut config = builder.with_client_cert_verifier(verifier).with_cert_resolver(Arc::new(Shows(Arc::clone(&own.key))));
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Some(Arc::new(config))
    }

    /// For one outbound connection. `None`: no certificate to show, nothing to verify the peer by, or no name to verify.
    pub fn client(self: &Arc<Self>, to: &Connect) -> Option<(Arc<ClientConfig>, ServerName<'static>)> {
        let trusted = self.peers.get(&to.peer)?;
        if to.names.is_empty() || trusted.anchors.iter().all(|file| file.is_empty()) {
            return None;
        }
        let own = trusted.own.as_ref().or_else(|| self.listeners.get(&to.listener))?;
        let verifier = Arc::new(ServerIsPeer { credentials: Arc::clone(self), peer: Arc::clone(&to.peer), names: to.names.clone() });
        let builder = ClientConfig::builder_with_provider(Arc::clone(&self.provider)).with_protocol_versions(VERSIONS).ok()?;
        let mut config = builder.dangerous().with_custom_certificate_verifier(verifier).with_client_cert_resolver(Arc::new(Shows(Arc::clone(&own.key))));
        config.resumption = Resumption::disabled();
        // RFC 6066 §3: addresses are not sent as SNI.
        let host_name = |name: &Arc<str>| ServerName::try_from(String::from(&**name)).ok().filter(|name| matches!(name, ServerName::DnsName(_)));
        let server_name = to.names.iter().find_map(host_name).unwrap_or_else(|| ServerName::from(to.remote.ip()));
        Some((Arc::new(config), server_name))
    }

    /// Whom an inbound handshake showed: `trusted_for` holds those of `candidates` to whose CA it chains.
    pub fn accepted(&self, candidates: &[Arc<Peer>], connection: &CommonState) -> TlsIdentity {
        self.identity(candidates.iter().map(|peer| &peer.name), connection, Purpose::Client)
    }

    /// Whom an outbound handshake showed.
    pub fn connected(&self, to: &Connect, connection: &CommonState) -> TlsIdentity {
        self.identity(std::iter::once(&to.peer), connection, Purpose::Server)
    }

    fn identity<'a>(&self, peers: impl Iterator<Item = &'a Arc<str>>, connection: &CommonState, purpose: Purpose) -> TlsIdentity {
        let shown = connection.peer_certificates().unwrap_or_default();
        let mut identity = TlsIdentity {
            version: connection.protocol_version().and_then(|version| version.as_str()).unwrap_or("unknown").replace('_', "."),
            cipher: connection.negotiated_cipher_suite().and_then(|suite| suite.suite().as_str()).unwrap_or("unknown").to_owned(),
            ..TlsIdentity::default()
        };
        let Some((leaf, between)) = shown.split_first() else { return identity };
        let now = UnixTime::now();
        identity.names = Certificate::read(leaf).map(|facts| facts.names).unwrap_or_default();
        identity.trusted_for = peers.filter(|peer| self.chains_for(peer, leaf, between, now, purpose).is_ok()).cloned().collect();
        identity
    }
}

fn describe(files: &KeyPairFiles, facts: &Certificate) -> LoadedCertificate {
    LoadedCertificate {
        file: files.certificate.clone(),
        names: facts.names.clone(),
        not_after: facts.not_after.as_secs(),
        server_auth: facts.server_auth,
        client_auth: facts.client_auth,
    }
}

/// Shows one certificate to everybody, whatever they say they would like.
#[derive(Debug)]
struct Shows(Arc<CertifiedKey>);

impl ResolvesServerCert for Shows {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}

impl ResolvesClientCert for Shows {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// Files read so far and what was wrong with them. `None` stands for a file whose problems are already listed.
struct Load {
    provider: Arc<CryptoProvider>,
    now: UnixTime,
    owns: HashMap<KeyPairFiles, Option<Arc<OwnCertificate>>>,
    anchors: HashMap<PathBuf, Option<Arc<Anchors>>>,
    problems: Vec<Problem>,
}

impl Load {
    fn own(&mut self, files: &KeyPairFiles) -> Option<Arc<OwnCertificate>> {
        let Load { provider, now, owns, problems, .. } = self;
        let read = || files::own(files, provider, *now).map(Arc::new).map_err(|found| problems.extend(found)).ok();
        owns.entry(files.clone()).or_insert_with(read).clone()
    }

    fn anchors(&mut self, file: &Path) -> Option<Arc<Anchors>> {
        let Load { now, anchors, problems, .. } = self;
        let read = || files::anchors(file, *now).map(Arc::new).map_err(|found| problems.push(found)).ok();
        anchors.entry(file.to_path_buf()).or_insert_with(read).clone()
    }
}

/// The credentials in force. New handshakes use the newest; open connections go on with what they were opened by.
pub struct CredentialStore {
    current: ArcSwap<Credentials>,
}

impl CredentialStore {
    pub fn new(credentials: Credentials) -> CredentialStore {
        CredentialStore { current: ArcSwap::from_pointee(credentials) }
    }

    pub fn swap(&self, credentials: Credentials) {
        self.current.store(Arc::new(credentials));
    }

    pub fn current(&self) -> Arc<Credentials> {
        self.current.load_full()
    }
}
