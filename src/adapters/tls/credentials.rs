//! One load of all certificates and keys, and the TLS configurations made from it. TLS 1.2 and 1.3 only.
//!
//! Sessions are never resumed: every connection shows and proves its certificate anew, so nothing from before a reload, or from before an
//! expiry, can slip through. SIP connections are few and long; a full handshake each is cheap.

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::{ArcSwap, ArcSwapOption};
use rustls::client::{ResolvesClientCert, Resumption};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, ServerConfig, SignatureScheme};

use super::certificate::Certificate;
use super::crl::{Crl, CrlSource};
use super::door::Door;
use super::files::OwnCertificate;
use super::lifetime::Lifetime;
use super::load::Load;
use super::remarks;
use super::revocation::{Issuers, Revocation, Slot};
use super::trust::{self, Anchors, Purpose, Question};
use super::verifier::Verifier;
use super::{KeyPairFiles, Problem, Settings};
use crate::policy::flow::{ListenerId, Proof, TlsBackend, TlsRefusal};
use crate::policy::settings::Peer;
use crate::policy::verdict::Reason;
use crate::signaling::event::Connect;
use crate::signaling::fact::CertificateKind;

const VERSIONS: &[&rustls::SupportedProtocolVersion] = &[&rustls::version::TLS13, &rustls::version::TLS12];

/// All certificates and keys of one load, checked. Immutable; a reload makes a new one.
pub struct Credentials {
    provider: Arc<CryptoProvider>,
    listeners: HashMap<ListenerId, Arc<OwnCertificate>>,
    pub(super) peers: HashMap<Arc<str>, Arc<PeerTrust>>,
    /// Peers that are no longer in the set: what their calls still have is held to what they were trusted by.
    left: ArcSwap<HashMap<Arc<str>, Arc<PeerTrust>>>,
    /// What listeners showed that are no longer in the set: what their calls still have may need a connection.
    retired: ArcSwap<HashMap<ListenerId, Arc<OwnCertificate>>>,
    loaded: Vec<LoadedCertificate>,
    /// CRLs apart, which change by themselves.
    lifetimes: Vec<Lifetime>,
    remarks: Vec<Problem>,
    pub(super) owns: Vec<(KeyPairFiles, Arc<OwnCertificate>)>,
    pub(super) slots: HashMap<CrlSource, Arc<Slot>>,
    issuers: Issuers,
    openssl_listeners: Vec<ListenerId>,
    /// The operators' door, if it has TLS; put in force ahead of the rest where it is about to open elsewhere.
    door: ArcSwapOption<Door>,
    pub(super) settings: Settings,
    pub(super) loaded_at: UnixTime,
}

pub(super) struct PeerTrust {
    pub anchors: Vec<Arc<Anchors>>,
    pub own: Option<Arc<OwnCertificate>>,
    pub revocation: Option<Revocation>,
    server_as_client: bool,
    backend: TlsBackend,
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
        let mut load = Load::begin();
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
            let slots: Vec<Arc<Slot>> = peer.crl.iter().filter_map(|source| load.slot(source, settings.crl_cache.as_deref())).collect();
            let revocation = (!peer.crl.is_empty()).then_some(Revocation { slots, stale: peer.stale_crl });
            let trust = PeerTrust { anchors, own, revocation, server_as_client: peer.server_certificate_as_client, backend: peer.backend };
            peers.insert(Arc::clone(&peer.peer), Arc::new(trust));
        }
        let door = settings.door.as_ref().and_then(|files| load.door(files));
        let apart = settings.listeners.iter().filter(|listener| settings.openssl_listeners.contains(&listener.name));
        let openssl_listeners = apart.map(|listener| listener.listener).collect();
        let issuers = Issuers::after(load.authorities(), &Issuers::default());
        load.check_crls(&issuers);
        let mut remarks = load.chains();
        let trusts: Vec<(&str, &PeerTrust)> = peers.iter().map(|(name, trust): (&Arc<str>, &Arc<PeerTrust>)| (&**name, &**trust)).collect();
        let slots = load.slots.values().flatten().map(|slot| &**slot);
        remarks.extend(remarks::of_lists(slots, &trusts, &issuers, &load.provider.signature_verification_algorithms, load.now));
        remarks.extend(door.iter().flat_map(|door| door.remarks(load.now)));
        let lifetimes = load.lifetimes();
        if !load.problems.is_empty() {
            return Err(load.problems);
        }
        let owns: Vec<_> = load.owns.into_iter().filter_map(|(files, own)| Some((files, own?))).collect();
        let mut loaded: Vec<LoadedCertificate> = owns.iter().map(|(files, own)| describe(files, &own.facts)).collect();
        loaded.sort_by(|a, b| a.file.cmp(&b.file));
        let slots = load.slots.into_iter().filter_map(|(source, slot)| Some((source, slot?))).collect();
        let (provider, loaded_at, settings) = (load.provider, load.now, settings.clone());
        let (left, retired, door) = (ArcSwap::default(), ArcSwap::default(), ArcSwapOption::from(door));
        Ok(Credentials {
            provider,
            listeners,
            peers,
            left,
            retired,
            loaded,
            lifetimes,
            remarks,
            owns,
            slots,
            issuers,
            openssl_listeners,
            door,
            settings,
            loaded_at,
        })
    }

    /// What earlier credentials fetched and saw goes on to count; files were read anew. Peers that have left the set are kept until `release`, listeners
    /// until `release_listener`.
    pub(super) fn inherit(&mut self, before: &Credentials) {
        let left = before.left.load();
        let known = before.peers.iter().chain(left.iter()).filter(|(name, _)| !self.peers.contains_key(*name));
        self.left = ArcSwap::from_pointee(known.map(|(name, trust)| (Arc::clone(name), Arc::clone(trust))).collect());
        let retired = before.retired.load();
        let shown = before.listeners.iter().chain(retired.iter()).filter(|(id, _)| !self.listeners.contains_key(*id));
        self.retired = ArcSwap::from_pointee(shown.map(|(id, own)| (*id, Arc::clone(own))).collect());
        // Their lists are still asked for.
        for slot in self.left.load().values().flat_map(|trust| trust.revocation.iter().flat_map(|revocation| &revocation.slots)) {
            self.slots.entry(slot.source.clone()).or_insert_with(|| Arc::clone(slot));
        }
        self.issuers = Issuers::after(self.issuers.anchors.clone(), &before.issuers);
        for (source, slot) in &self.slots {
            if let (CrlSource::Http(_), Some(before)) = (source, before.slots.get(source)) {
                slot.inherit(before);
            }
        }
    }

    /// Forgets those that have left the set and are nobody's concern any more.
    pub(super) fn release(&self, concerns: impl Fn(&str) -> bool) {
        let left = self.left.load();
        if left.keys().any(|name| !concerns(name)) {
            let kept = left.iter().filter(|(name, _)| concerns(name)).map(|(name, trust)| (Arc::clone(name), Arc::clone(trust)));
            self.left.store(Arc::new(kept.collect()));
        }
    }

    /// Forgets what a listener showed that is no longer in the set.
    pub(super) fn release_listener(&self, id: ListenerId) {
        let mut kept = HashMap::clone(&self.retired.load());
        if kept.remove(&id).is_some() {
            self.retired.store(Arc::new(kept));
        }
    }

    fn shown_by(&self, listener: ListenerId) -> Option<Arc<OwnCertificate>> {
        self.listeners.get(&listener).cloned().or_else(|| self.retired.load().get(&listener).cloned())
    }

    fn trust(&self, peer: &str) -> Option<Arc<PeerTrust>> {
        self.peers.get(peer).cloned().or_else(|| self.left.load().get(peer).cloned())
    }

    pub(super) fn crl_slot(&self, source: &CrlSource) -> Option<Arc<Slot>> {
        self.slots.get(source).cloned()
    }

    pub(super) fn issuers(&self) -> &Issuers {
        &self.issuers
    }

    /// Everything in force that has an end, CRLs as they are now.
    pub fn lifetimes(&self) -> Vec<Lifetime> {
        let list = |slot: &Arc<Slot>, crl: &Arc<Crl>| Lifetime {
            kind: CertificateKind::RevocationList,
            file: slot.source.to_string().into(),
            name: crl.issuer.clone(),
            not_before: crl.this_update.as_secs(),
            not_after: crl.next_update.as_secs(),
            fingerprint: None,
        };
        let mut lists: Vec<Lifetime> = self.slots.values().flat_map(|slot| slot.lists().into_iter().map(move |crl| list(slot, &crl))).collect();
        lists.sort_by(|a, b| (&a.file, a.not_after, &a.name).cmp(&(&b.file, b.not_after, &b.name)));
        let door = self.door().map(|door| door.lifetimes()).unwrap_or_default();
        self.lifetimes.iter().cloned().chain(door).chain(lists).collect()
    }

    /// What the operators' door shows and believes; `None` where it has no TLS.
    pub fn door(&self) -> Option<Arc<Door>> {
        self.door.load_full()
    }

    /// Puts another in its place, and returns the one there was.
    pub fn put_door(&self, door: Option<Arc<Door>>) -> Option<Arc<Door>> {
        self.door.swap(door)
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
            let refusal = match self.chains_for(peer, chain, now, purpose) {
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

    fn chains_for(&self, peer: &str, chain: &[CertificateDer<'_>], now: UnixTime, purpose: Purpose) -> Result<Certificate, TlsRefusal> {
        let trusted = self.trust(peer).ok_or_else(|| unprepared("no CA is known to verify it by: the peer has left the policy set"))?;
        let question = Question {
            chain,
            now,
            purpose,
            server_as_client: trusted.server_as_client,
            revocation: trusted.revocation.as_ref(),
            issuers: &self.issuers,
            algorithms: self.algorithms(),
        };
        trust::chains(&trusted.anchors, &question)
    }

    fn wrong_name(&self, peer: &str, names: &[Arc<str>], facts: &Certificate) -> TlsRefusal {
        let what = if facts.names.is_empty() {
            "its certificate has no subjectAltName that could be compared (a common name and wildcards do not count): the other side needs one with its host name there"
        } else {
            "its certificate is for other names: correct tls_names, or give the other side a certificate for the name it is known by"
        };
        let trusted = self.trust(peer);
        let files = trusted.as_ref().map_or(&[][..], |trusted| &trusted.anchors);
        trust::compared(TlsRefusal::new(Reason::TlsName, what).comparing("names wanted", names.join(", ")), facts, files)
    }

    /// For one inbound connection: TLS in which one of the verifier's candidates must prove itself, unless one of them may come without a certificate.
    pub(super) fn server(&self, listener: ListenerId, candidates: &[Arc<Peer>], verifier: Arc<Verifier>) -> Result<Arc<ServerConfig>, TlsRefusal> {
        let own = self.shown_on(listener, candidates)?;
        let builder = ServerConfig::builder_with_provider(Arc::clone(&self.provider)).with_protocol_versions(VERSIONS).map_err(|_| unprepared(VERSIONLESS))?;
        let mut config = builder.with_client_cert_verifier(verifier).with_cert_resolver(Arc::new(Shows(Arc::clone(&own.key))));
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Arc::new(config))
    }

    /// For one outbound connection.
    pub(super) fn client(&self, to: &Connect, verifier: Arc<Verifier>) -> Result<(Arc<ClientConfig>, ServerName<'static>), TlsRefusal> {
        let (own, server_name) = self.shown_to(to)?;
        let builder = ClientConfig::builder_with_provider(Arc::clone(&self.provider)).with_protocol_versions(VERSIONS).map_err(|_| unprepared(VERSIONLESS))?;
        let mut config = builder.dangerous().with_custom_certificate_verifier(verifier).with_client_cert_resolver(Arc::new(Shows(Arc::clone(&own.key))));
        config.resumption = Resumption::disabled();
        Ok((Arc::new(config), server_name))
    }

    /// What we show to who connects to us.
    pub(super) fn shown_on(&self, listener: ListenerId, candidates: &[Arc<Peer>]) -> Result<Arc<OwnCertificate>, TlsRefusal> {
        let special = match candidates {
            [only] => self.trust(&only.name).and_then(|trust| trust.own.clone()),
            _ => None,
        };
        special.or_else(|| self.shown_by(listener)).ok_or_else(|| unprepared("the listener has no certificate: give it one, and reload"))
    }

    /// What we show to whom we connect to, and the name to ask for.
    pub(super) fn shown_to(&self, to: &Connect) -> Result<(Arc<OwnCertificate>, ServerName<'static>), TlsRefusal> {
        let trusted = self.trust(&to.peer).ok_or_else(|| unprepared("we have no CA to verify it by: name one in the peer's ca"))?;
        if to.names.is_empty() {
            return Err(unprepared("we know no name that its certificate must carry: write tls_names"));
        }
        if trusted.anchors.iter().all(|file| file.is_empty()) {
            return Err(unprepared("we have no CA to verify it by: its ca files are empty"));
        }
        let own = trusted.own.clone().or_else(|| self.shown_by(to.listener));
        let own = own.ok_or_else(|| unprepared("we have no certificate to show: give the listener, or the peer, one"))?;
        // RFC 6066 §3: addresses are not sent as SNI.
        let host_name = |name: &Arc<str>| ServerName::try_from(String::from(&**name)).ok().filter(|name| matches!(name, ServerName::DnsName(_)));
        Ok((own, to.names.iter().find_map(host_name).unwrap_or_else(|| ServerName::from(to.remote.ip()))))
    }

    /// By which library to talk to this peer.
    pub(super) fn backend(&self, peer: &str) -> TlsBackend {
        self.trust(peer).map_or(TlsBackend::Rustls, |trust| trust.backend)
    }

    /// OpenSSL reads a byte only where everybody who may be behind the address is a UM peer that names it, on a listener for such peers alone.
    pub(super) fn backend_of_inbound(&self, listener: ListenerId, candidates: &[Arc<Peer>]) -> TlsBackend {
        let named = |peer: &Arc<Peer>| peer.kind.is_um() && self.backend(&peer.name) == TlsBackend::OpenSsl;
        let apart = self.openssl_listeners.contains(&listener);
        if apart && !candidates.is_empty() && candidates.iter().all(named) { TlsBackend::OpenSsl } else { TlsBackend::Rustls }
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
