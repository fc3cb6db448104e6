//! One load of all certificates and keys, and the TLS configurations made from it. TLS 1.2 and 1.3 only.
//!
//! Sessions are never resumed: every connection shows and proves its certificate anew, so nothing from before a reload, or from before an
//! expiry, can slip through. SIP connections are few and long; a full handshake each is cheap.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use rustls::client::{ResolvesClientCert, Resumption};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, ServerConfig, SignatureScheme};

use super::certificate::Certificate;
use super::chain;
use super::files::{self, OwnCertificate};
use super::lifetime::Lifetime;
use super::trust::{self, Anchors, Purpose, Question};
use super::verifier::Verifier;
use super::{KeyPairFiles, Problem, Settings};
use crate::policy::flow::{ListenerId, Proof, TlsRefusal};
use crate::policy::settings::Peer;
use crate::policy::verdict::Reason;
use crate::signaling::event::Connect;
use crate::signaling::fact::CertificateKind;

const VERSIONS: &[&rustls::SupportedProtocolVersion] = &[&rustls::version::TLS13, &rustls::version::TLS12];

/// All certificates and keys of one load, checked. Immutable; a reload makes a new one.
pub struct Credentials {
    provider: Arc<CryptoProvider>,
    listeners: HashMap<ListenerId, Arc<OwnCertificate>>,
    peers: HashMap<Arc<str>, PeerTrust>,
    loaded: Vec<LoadedCertificate>,
    lifetimes: Vec<Lifetime>,
    remarks: Vec<Problem>,
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
        let remarks = load.chains();
        let lifetimes = load.lifetimes();
        let mut loaded: Vec<LoadedCertificate> = load.owns.iter().filter_map(|(files, own)| own.as_ref().map(|own| describe(files, &own.facts))).collect();
        loaded.sort_by(|a, b| a.file.cmp(&b.file));
        if !load.problems.is_empty() {
            return Err(load.problems);
        }
        Ok(Credentials { provider: load.provider, listeners, peers, loaded, lifetimes, remarks })
    }

    /// Everything of this load that has an end, sorted by file.
    pub fn lifetimes(&self) -> &[Lifetime] {
        &self.lifetimes
    }

    /// What is no problem to us but may be one to a peer.
    pub fn remarks(&self) -> &[Problem] {
        &self.remarks
    }

    /// The names our certificate of this listener carries.
    pub fn own_names(&self, listener: ListenerId) -> Option<&[String]> {
        self.listeners.get(&listener).map(|own| own.facts.names.as_slice())
    }

    pub fn certificates(&self) -> &[LoadedCertificate] {
        &self.loaded
    }

    pub(super) fn algorithms(&self) -> &WebPkiSupportedAlgorithms {
        &self.provider.signature_verification_algorithms
    }

    /// Whom the chain proves: the other end, as one of the peers that may be behind a connection, or as the one that was called.
    pub(super) fn prove(&self, chain: &[CertificateDer<'_>], proof: &Proof, now: UnixTime) -> Result<Proven, TlsRefusal> {
        let mut proven = Proven::default();
        let mut failure: Option<TlsRefusal> = None;
        let mut ask = |peer: &Arc<str>, names: &[Arc<str>], purpose: Purpose| {
            let asked = self.chains_for(peer, &Question { chain, now, purpose, algorithms: self.algorithms() });
            let refusal = match asked {
                Ok(facts) => {
                    proven.trusted_for.push(Arc::clone(peer));
                    let carries = facts.carries_one_of(names);
                    let refusal = (!carries).then(|| self.wrong_name(peer, names, &facts));
                    proven.names = facts.names;
                    refusal
                }
                Err(refusal) => Some(refusal),
            };
            match refusal {
                None => proven.peers.push(Arc::clone(peer)),
                // Of several peers' refusals: an unknown issuer says least.
                Some(refusal) if failure.is_none() || refusal.reason != Reason::TlsUnknownIssuer => failure = Some(refusal),
                Some(_) => {}
            }
        };
        match proof {
            Proof::Client(candidates) => candidates.iter().for_each(|peer| ask(&peer.name, &peer.tls_names, Purpose::Client)),
            Proof::Server { peer, names } => ask(peer, names, Purpose::Server),
        }
        match failure {
            Some(refusal) if proven.peers.is_empty() => Err(refusal),
            None if proven.peers.is_empty() => Err(unprepared("no peer is expected here")),
            _ => Ok(proven),
        }
    }

    fn chains_for(&self, peer: &str, question: &Question<'_>) -> Result<Certificate, TlsRefusal> {
        let trusted = self.peers.get(peer).ok_or_else(|| unprepared("no CA is known to verify it by: the peer has left the policy set"))?;
        trust::chains(&trusted.anchors, question)
    }

    fn wrong_name(&self, peer: &str, names: &[Arc<str>], facts: &Certificate) -> TlsRefusal {
        let what = if facts.names.is_empty() {
            "its certificate has no subjectAltName that could be compared (a common name and wildcards do not count): the other side needs one with its host name there"
        } else {
            "its certificate is for other names: correct tls_names, or give the other side a certificate for the name it is known by"
        };
        let files = self.peers.get(peer).map_or(&[][..], |trusted| &trusted.anchors);
        trust::compared(TlsRefusal::new(Reason::TlsName, what).comparing("names wanted", names.join(", ")), facts, files)
    }

    /// For one inbound connection: TLS in which one of the verifier's candidates must prove itself, unless one of them may come without a certificate.
    pub(super) fn server(&self, listener: ListenerId, candidates: &[Arc<Peer>], verifier: Arc<Verifier>) -> Result<Arc<ServerConfig>, TlsRefusal> {
        let special = match candidates {
            [only] => self.peers.get(&only.name).and_then(|trust| trust.own.as_ref()),
            _ => None,
        };
        let own = special.or_else(|| self.listeners.get(&listener)).ok_or_else(|| unprepared("the listener has no certificate: give it one, and reload"))?;
        let builder = ServerConfig::builder_with_provider(Arc::clone(&self.provider)).with_protocol_versions(VERSIONS).map_err(|_| unprepared(VERSIONLESS))?;
        let mut config = builder.with_client_cert_verifier(verifier).with_cert_resolver(Arc::new(Shows(Arc::clone(&own.key))));
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Arc::new(config))
    }

    /// For one outbound connection.
    pub(super) fn client(&self, to: &Connect, verifier: Arc<Verifier>) -> Result<(Arc<ClientConfig>, ServerName<'static>), TlsRefusal> {
        let trusted = self.peers.get(&to.peer).ok_or_else(|| unprepared("we have no CA to verify it by: name one in the peer's ca"))?;
        if to.names.is_empty() {
            return Err(unprepared("we know no name that its certificate must carry: write tls_names"));
        }
        if trusted.anchors.iter().all(|file| file.is_empty()) {
            return Err(unprepared("we have no CA to verify it by: its ca files are empty"));
        }
        let own = trusted.own.as_ref().or_else(|| self.listeners.get(&to.listener));
        let own = own.ok_or_else(|| unprepared("we have no certificate to show: give the listener, or the peer, one"))?;
        let builder = ClientConfig::builder_with_provider(Arc::clone(&self.provider)).with_protocol_versions(VERSIONS).map_err(|_| unprepared(VERSIONLESS))?;
        let mut config = builder.dangerous().with_custom_certificate_verifier(verifier).with_client_cert_resolver(Arc::new(Shows(Arc::clone(&own.key))));
        config.resumption = Resumption::disabled();
        // RFC 6066 §3: addresses are not sent as SNI.
        let host_name = |name: &Arc<str>| ServerName::try_from(String::from(&**name)).ok().filter(|name| matches!(name, ServerName::DnsName(_)));
        let server_name = to.names.iter().find_map(host_name).unwrap_or_else(|| ServerName::from(to.remote.ip()));
        Ok((Arc::new(config), server_name))
    }
}

/// Of a chain that verified.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Proven {
    /// In the certificate.
    pub names: Vec<String>,
    /// To whose CA it chains …
    pub trusted_for: Vec<Arc<str>>,
    /// … and whose name it carries besides.
    pub peers: Vec<Arc<str>>,
}

const VERSIONLESS: &str = "the TLS library offers neither TLS 1.2 nor 1.3";

pub(super) fn unprepared(what: &str) -> TlsRefusal {
    TlsRefusal::new(Reason::TlsUnprepared, what)
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

impl Load {
    /// Whether the chains we show are whole. Returns what is worth a remark only.
    fn chains(&mut self) -> Vec<Problem> {
        let known: Vec<Arc<Anchors>> = self.anchors.values().flatten().cloned().collect();
        let algorithms = &self.provider.signature_verification_algorithms;
        let mut remarks = Vec::new();
        for (files, own) in &self.owns {
            let Some(own) = own else { continue };
            let found = chain::check(&files.certificate, &own.key.cert, &known, self.now, algorithms);
            self.problems.extend(found.problems);
            remarks.extend(found.remarks);
        }
        remarks.sort_by(|a, b| a.file.cmp(&b.file));
        remarks
    }

    fn lifetimes(&self) -> Vec<Lifetime> {
        let lifetime = |kind, file: &Path, facts: &Certificate| Lifetime {
            kind,
            file: file.to_path_buf(),
            name: facts.subject.clone(),
            not_before: facts.not_before.as_secs(),
            not_after: facts.not_after.as_secs(),
        };
        let owns = self.owns.iter().filter_map(|(files, own)| Some((files, own.as_ref()?))).flat_map(|(files, own)| {
            let between = own.key.cert.iter().skip(1).filter_map(|der| Certificate::read(der));
            std::iter::once(own.facts.clone()).chain(between).map(|facts| lifetime(CertificateKind::Own, &files.certificate, &facts))
        });
        let authorities = self.anchors.iter().filter_map(|(file, anchors)| Some((file, anchors.as_ref()?)));
        let authorities = authorities.flat_map(|(file, anchors)| anchors.facts().map(|facts| lifetime(CertificateKind::Authority, file, facts)));
        let mut all: Vec<Lifetime> = owns.chain(authorities).collect();
        all.sort_by(|a, b| (&a.file, a.not_after, &a.name).cmp(&(&b.file, b.not_after, &b.name)));
        all.dedup();
        all
    }
}

/// The credentials in force. New handshakes use the newest; open connections go on with what they were opened by.
pub struct CredentialStore {
    current: ArcSwap<Credentials>,
    generation: AtomicU64,
}

impl CredentialStore {
    pub fn new(credentials: Credentials) -> CredentialStore {
        CredentialStore { current: ArcSwap::from_pointee(credentials), generation: AtomicU64::new(1) }
    }

    /// Puts others in force for every handshake from now on, inbound and outbound alike. Returns their number.
    pub fn swap(&self, credentials: Credentials) -> u64 {
        self.current.store(Arc::new(credentials));
        self.generation.fetch_add(1, Ordering::AcqRel) + 1
    }

    /// How many loads have been in force, the first included.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    pub fn current(&self) -> Arc<Credentials> {
        self.current.load_full()
    }
}
