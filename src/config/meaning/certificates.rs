//! Certificates, CAs and CRLs as meant: which files and addresses each listener and peer goes by. Whether they are there and good is the TLS
//! adapter's to say.

use std::sync::Arc;

use super::border::Listener;
use super::place;
use crate::adapters::api::TlsFiles;
use crate::adapters::tls::{self, CrlSource, HttpAddress, StaleCrl};
use crate::config::finding::Findings;
use crate::config::source::Source;
use crate::config::written::{self, Set};
use crate::policy::flow::TlsBackend;
use crate::policy::settings::{Peer, PeerHost};
use crate::sip::Transport;

/// Paths are relative to the set's folder.
pub fn tls(set: &Set, peers: &[Arc<Peer>], listeners: &[Listener], source: &dyn Source, findings: &Findings) -> tls::Settings {
    let pair = |certificate: &str, key: &str| tls::KeyPairFiles { certificate: written::path(source, certificate), key: written::path(source, key) };
    let of_listener = |listener: &Listener| {
        let (certificate, key) = listener.certificate.as_ref()?;
        Some(tls::ListenerCertificate { listener: listener.id, name: listener.name.clone(), own: pair(certificate, key) })
    };
    let of_peer = |peer: &written::Peer| {
        let is_tls = peer.transport.as_ref().is_some_and(|transport| transport.value == Transport::Tls);
        let own = peer.certificate.as_ref().zip(peer.key.as_ref()).map(|(certificate, key)| pair(&certificate.value, &key.value));
        let ca = peer.ca.iter().flatten().map(|file| written::path(source, &file.value)).collect();
        let mut crl: Vec<CrlSource> = Vec::new();
        for from in peer.crl.iter().flatten().filter_map(|written| crl_source(&written.value, source).ok()) {
            if !crl.contains(&from) {
                crl.push(from);
            }
        }
        is_tls.then_some(tls::PeerCertificates {
            own,
            crl,
            stale_crl: peer.stale_crl.as_ref().map(|stale| stale.value).unwrap_or_default(),
            backend: backend(peer),
            server_certificate_as_client: peer.server_certificate_as_client.as_ref().is_some_and(|flag| flag.value),
            ..tls::PeerCertificates::new(&peer.name.as_ref()?.value, ca)
        })
    };
    let defaults = tls::Settings::default();
    tls::Settings {
        listeners: listeners.iter().filter_map(of_listener).collect(),
        peers: set.peers.iter().filter_map(of_peer).collect(),
        openssl_listeners: openssl_listeners(set, peers, findings),
        crl_refresh: set.border.crl_refresh.unwrap_or(defaults.crl_refresh),
        crl_cache: set.border.crl_cache.as_ref().map(|folder| written::path(source, &folder.value)),
        ..defaults
    }
}

/// The operators' door is looked after with all others.
pub fn door(files: &TlsFiles) -> tls::DoorFiles {
    let own = tls::KeyPairFiles { certificate: files.certificate.clone(), key: files.key.clone() };
    tls::DoorFiles { own, client_ca: files.client_ca.clone() }
}

/// What has a scheme is an address, all else a path.
fn crl_source(text: &str, source: &dyn Source) -> Result<CrlSource, &'static str> {
    let text = text.trim();
    if text.contains("://") { HttpAddress::parse(text).map(CrlSource::Http) } else { Ok(CrlSource::File(written::path(source, text))) }
}

/// What a peer says of revocation and of usages.
pub fn check(entry: &written::Peer, source: &dyn Source, findings: &Findings) {
    let Some(transport) = &entry.transport else { return };
    let (crl, stale, as_client) = (entry.crl.iter().flatten().next(), entry.stale_crl.as_ref(), entry.server_certificate_as_client.as_ref());
    if transport.value != Transport::Tls {
        let stray = crl.map(|crl| crl.at).or(stale.map(|stale| stale.at)).or(as_client.map(|flag| flag.at));
        if let Some(at) = stray {
            findings.problem(at, "crl, stale_crl or server_certificate_as_client on a peer that is not TLS", "remove it, or write transport = \"tls\"");
        }
        return;
    }
    for written in entry.crl.iter().flatten() {
        if let Err(instead) = crl_source(&written.value, source) {
            // Whatever stands before an @ may be a password.
            let shown = written.value.rsplit_once('@').map_or(written.value.clone(), |(_, host)| format!("…@{host}"));
            findings.problem(written.at, format!("\"{shown}\" is no place to have a CRL from"), instead);
        }
    }
    let name = entry.name.as_ref().map(|name| name.value.as_str()).unwrap_or_default();
    match stale {
        Some(stale) if crl.is_none() => {
            findings.problem(stale.at, "stale_crl without crl says nothing", "add crl = \"certs/ca.crl\", or remove stale_crl");
        }
        Some(stale) if stale.value == StaleCrl::Accept => {
            let what = format!("peer \"{name}\": where no current CRL is to be had, revoked certificates are accepted");
            findings.warning(place(Some(stale), entry.at), what, "write stale_crl = \"refuse\" unless calls count for more than that");
        }
        _ => {}
    }
    if let Some(flag) = as_client.filter(|flag| flag.value) {
        let what = format!("peer \"{name}\": a certificate issued for servers only is taken as a client's");
        findings.warning(flag.at, what, "remove server_certificate_as_client once it has one with clientAuth");
    }
}

fn backend(entry: &written::Peer) -> TlsBackend {
    entry.tls_backend.as_ref().map(|backend| backend.value).unwrap_or_default()
}

/// Listeners that belong to UM peers carried by OpenSSL alone. That library is to meet nobody's bytes but theirs, so such a peer must be on the UM
/// side, live at addresses of its own, and name a listener that no outside peer uses.
fn openssl_listeners(set: &Set, peers: &[Arc<Peer>], findings: &Findings) -> Vec<Arc<str>> {
    let mut apart = Vec::new();
    for entry in set.peers.iter().filter(|entry| backend(entry) == TlsBackend::OpenSsl) {
        let (Some(written), Some(name)) = (&entry.tls_backend, &entry.name) else { continue };
        let Some(peer) = peers.iter().find(|peer| *peer.name == *name.value) else { continue };
        match openssl_listener(entry, peer, peers, findings) {
            Ok(listener) if apart.contains(listener) => {}
            Ok(listener) => apart.push(Arc::clone(listener)),
            Err((what, instead)) => {
                findings.problem(written.at, what, instead);
                continue;
            }
        }
        let what = format!("peer \"{}\": TLS by OpenSSL, with suites that lack forward secrecy or AEAD", peer.name);
        findings.warning(written.at, what, "give the UM server an ECDSA certificate (docs/exchange-2016.md) and remove tls_backend");
    }
    apart
}

/// `Err`: what is wrong, and what to do instead.
fn openssl_listener<'a>(entry: &written::Peer, peer: &'a Peer, peers: &[Arc<Peer>], findings: &Findings) -> Result<&'a Arc<str>, (String, &'static str)> {
    let name = &peer.name;
    if peer.transport != Transport::Tls {
        return Err((String::from("tls_backend on a peer that is not TLS"), "remove it, or write transport = \"tls\""));
    }
    if !peer.kind.is_um() {
        return Err((format!("peer \"{name}\" is outside: OpenSSL, with its weaker suites, is for UM peers only"), "remove tls_backend"));
    }
    if !tls::OPENSSL_IS_BUILT_IN {
        let instead = "build with --features legacy-tls, or better give the UM server an ECDSA certificate (docs/exchange-2016.md) and remove tls_backend";
        return Err((format!("peer \"{name}\" wants TLS by OpenSSL, which is not in this build"), instead));
    }
    if let Some(network) = entry.hosts.iter().find(|host| matches!(host.value, PeerHost::Network(_))) {
        findings.problem(network.at, format!("peer \"{name}\" lives in a network, all of which could reach OpenSSL"), "write its addresses or host names");
    }
    let listener = peer.listener.as_ref().ok_or_else(|| {
        (format!("peer \"{name}\" names no listener of its own for OpenSSL"), "add listener = \"inside\": a TLS listener that no outside peer uses")
    })?;
    let uses = |other: &&Arc<Peer>| other.transport == Transport::Tls && !other.kind.is_um() && other.listener.as_ref().is_none_or(|used| used == listener);
    match peers.iter().find(uses) {
        Some(other) => {
            let what =
                format!("listener \"{listener}\" of peer \"{name}\" is also that of \"{}\", which is outside: OpenSSL must not listen there", other.name);
            Err((what, "give the UM side a TLS listener of its own, and name a listener in each outside peer"))
        }
        None => Ok(listener),
    }
}
