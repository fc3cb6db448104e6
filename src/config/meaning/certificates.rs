//! Certificates, CAs and CRLs as meant: which files and addresses each listener and peer goes by. Whether they are there and good is the TLS
//! adapter's to say.

use super::border::Listener;
use super::place;
use crate::adapters::tls::{self, CrlSource, HttpAddress, StaleCrl};
use crate::config::finding::Findings;
use crate::config::source::Source;
use crate::config::written::{self, Set};
use crate::sip::Transport;

/// Paths are relative to the set's folder.
pub fn tls(set: &Set, listeners: &[Listener], source: &dyn Source) -> tls::Settings {
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
            server_certificate_as_client: peer.server_certificate_as_client.as_ref().is_some_and(|flag| flag.value),
            ..tls::PeerCertificates::new(&peer.name.as_ref()?.value, ca)
        })
    };
    let defaults = tls::Settings::default();
    tls::Settings {
        listeners: listeners.iter().filter_map(of_listener).collect(),
        peers: set.peers.iter().filter_map(of_peer).collect(),
        crl_refresh: set.border.crl_refresh.unwrap_or(defaults.crl_refresh),
        crl_cache: set.border.crl_cache.as_ref().map(|folder| written::path(source, &folder.value)),
    }
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
