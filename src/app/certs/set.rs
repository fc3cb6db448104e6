//! What a policy set asks of certificate files: who uses which, under which names we are known, and whether a certificate would be accepted as a peer's.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use serde::Serialize;

use super::facts::Facts;
use super::files::wrong;
use super::layout;
use crate::adapters::tls::{self, CredentialStore, Credentials, CrlSource, KeyPairFiles, PeerCertificates, StaleCrl};
use crate::config::{self, Settings};
use crate::policy::flow::{Presented, Proof};
use crate::sip::Transport;

pub struct Set {
    settings: Settings,
}

/// One file that the set names, and what for.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Use {
    #[serde(skip)]
    pub file: PathBuf,
    pub role: Role,
    /// `listener "outside"`, `peer "trunk"`, `[api]`.
    pub of: String,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    Certificate,
    Key,
    Ca,
    Crl,
}

impl std::fmt::Display for Use {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let role = match self.role {
            Role::Certificate => "certificate",
            Role::Key => "key",
            Role::Ca => "CA",
            Role::Crl => "revocation list",
        };
        write!(f, "{role} of {}", self.of)
    }
}

/// A certificate of ours with its key, and the names peers know us by where it is shown.
#[derive(Clone, Debug)]
pub struct Own {
    pub files: KeyPairFiles,
    /// Host or address, and whose it is.
    pub known_as: Vec<(String, String)>,
}

/// Whether a certificate would be taken for one peer's.
#[derive(Clone, Debug, Serialize)]
pub struct AsPeer {
    pub peer: Arc<str>,
    pub calls_in: Verdict,
    pub is_called: Verdict,
}

#[derive(Clone, Debug, Serialize)]
pub struct Verdict {
    pub accepted: bool,
    /// A reason code of docs/reasons.md.
    pub reason: Option<&'static str>,
    pub detail: Option<String>,
}

impl Verdict {
    fn of(result: Result<(), crate::policy::flow::TlsRefusal>) -> Verdict {
        match result {
            Ok(()) => Verdict { accepted: true, reason: None, detail: None },
            Err(refusal) => Verdict { accepted: false, reason: Some(refusal.reason.code()), detail: Some(refusal.detail) },
        }
    }
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (&self.detail, self.reason) {
            (Some(detail), Some(reason)) => write!(f, "refused: {detail} [{reason}]"),
            _ => f.write_str("accepted"),
        }
    }
}

impl Set {
    pub fn load(folder: &Path) -> io::Result<Set> {
        let (settings, _) = config::load(folder).map_err(|problems| {
            wrong(folder, format!("the policy set does not load; mend it first (`portcullis check`):\n{}", problems.to_string().trim_end()))
        })?;
        Ok(Set { settings })
    }

    /// Where the border that runs on this set can be asked, if it says so.
    pub fn socket(&self) -> Option<&Path> {
        self.settings.api.socket.as_deref()
    }

    /// Every file named, in the order of the set.
    pub fn uses(&self) -> Vec<Use> {
        let pair = |files: &KeyPairFiles, of: String| {
            [Use { file: files.certificate.clone(), role: Role::Certificate, of: of.clone() }, Use { file: files.key.clone(), role: Role::Key, of }]
        };
        let tls = &self.settings.tls;
        let listeners = tls.listeners.iter().flat_map(|listener| pair(&listener.own, format!("listener \"{}\"", listener.name)));
        let peers = tls.peers.iter().flat_map(|peer| {
            let of = format!("peer \"{}\"", peer.peer);
            let ca = peer.ca.iter().map(|file| Use { file: file.clone(), role: Role::Ca, of: of.clone() });
            let lists = peer.crl.iter().filter_map(|source| match source {
                CrlSource::File(file) => Some(Use { file: file.clone(), role: Role::Crl, of: of.clone() }),
                CrlSource::Http(_) => None,
            });
            let own = peer.own.iter().flat_map(|own| pair(own, format!("us towards peer \"{}\"", peer.peer)));
            ca.chain(lists).chain(own).collect::<Vec<_>>()
        });
        let door = tls.door.iter().flat_map(|door| {
            let ca = door.client_ca.iter().map(|file| Use { file: file.clone(), role: Role::Ca, of: String::from("operators' certificates in [api]") });
            pair(&door.own, String::from("[api]")).into_iter().chain(ca)
        });
        listeners.chain(peers).chain(door).collect()
    }

    /// What the set uses this very file for, whichever way it is named.
    pub fn uses_of(&self, file: &Path) -> Vec<Use> {
        let same = |other: &Path| other == file || matches!((other.canonicalize(), file.canonicalize()), (Ok(a), Ok(b)) if a == b);
        self.uses().into_iter().filter(|used| same(&used.file)).collect()
    }

    /// Our certificates with the names we are known by.
    pub fn own(&self) -> Vec<Own> {
        let tls = &self.settings.tls;
        let mut all: Vec<Own> = Vec::new();
        let mut add = |files: &KeyPairFiles, name: &str| {
            let known_as = self.advertised(name);
            match all.iter_mut().find(|own| own.files == *files) {
                Some(own) if own.known_as.contains(&known_as) => {}
                Some(own) => own.known_as.push(known_as),
                None => all.push(Own { files: files.clone(), known_as: vec![known_as] }),
            }
        };
        for listener in &tls.listeners {
            add(&listener.own, &listener.name);
        }
        for peer in &tls.peers {
            let listener = self.settings.policy.peer(&peer.peer).and_then(|peer| peer.listener.clone());
            if let (Some(own), Some(listener)) = (&peer.own, listener) {
                add(own, &listener);
            }
        }
        all
    }

    /// The host in our Via and Contact on this listener.
    fn advertised(&self, listener: &str) -> (String, String) {
        let found = self.settings.signaling.listeners.iter().find(|other| &*other.name == listener);
        let host = found.map(|listener| listener.host().trim_matches(['[', ']']).to_owned()).unwrap_or_default();
        (host, format!("advertised by listener \"{listener}\""))
    }

    /// Every name a peer's certificate is held against, as configured.
    pub fn peer_names(&self) -> Vec<(String, Arc<str>)> {
        self.settings.policy.peers.iter().flat_map(|peer| peer.tls_names.iter().map(|name| (String::from(&**name), Arc::clone(&peer.name)))).collect()
    }

    /// For each TLS peer: would this chain, leaf first, be accepted as its certificate? Only that peer's own CA files are read.
    pub fn as_peers(&self, chain: &[Facts]) -> Vec<AsPeer> {
        let chain: Vec<Bytes> = chain.iter().map(|facts| Bytes::copy_from_slice(&facts.der)).collect();
        let peers = self.settings.policy.peers.iter().filter(|peer| peer.transport == Transport::Tls);
        let asked = peers.map(|peer| {
            let certificates = self.settings.tls.peers.iter().filter(|other| other.peer == peer.name);
            let only = tls::Settings { listeners: Vec::new(), peers: certificates.map(offline).collect(), door: None, ..self.settings.tls.clone() };
            let ask = |proves: Proof| match Credentials::load(&only) {
                Ok(credentials) => Verdict::of(CredentialStore::new(credentials).recheck(&Presented { chain: chain.clone(), proves })),
                Err(problems) => {
                    let detail: Vec<String> = problems.iter().map(ToString::to_string).collect();
                    Verdict { accepted: false, reason: Some("ca-unusable"), detail: Some(detail.join("; ")) }
                }
            };
            AsPeer {
                peer: Arc::clone(&peer.name),
                calls_in: ask(Proof::Client(vec![Arc::clone(peer)])),
                is_called: ask(Proof::Server { peer: Arc::clone(&peer.name), names: peer.tls_names.clone() }),
            }
        });
        asked.collect()
    }

    /// The files of this set's TLS settings that lie in the folder's current generation, by their names there.
    pub fn names_in(&self, folder: &Path) -> Vec<(String, Use)> {
        let named = self.uses().into_iter().filter_map(|used| layout::name_in_current(folder, &used.file).map(|name| (name, used)));
        named.collect()
    }

    /// What the border itself would say of these files, were the generation in `instead` the folder's current one.
    pub fn load_with(&self, folder: &Path, instead: &Path) -> Result<(), Vec<tls::Problem>> {
        let moved = |file: &PathBuf| layout::name_in_current(folder, file).map_or_else(|| file.clone(), |name| instead.join(name));
        let pair = |files: &KeyPairFiles| KeyPairFiles { certificate: moved(&files.certificate), key: moved(&files.key) };
        let mut settings = self.settings.tls.clone();
        for listener in &mut settings.listeners {
            listener.own = pair(&listener.own);
        }
        for peer in &mut settings.peers {
            peer.ca = peer.ca.iter().map(moved).collect();
            peer.own = peer.own.as_ref().map(pair);
            for source in &mut peer.crl {
                if let CrlSource::File(file) = source {
                    *file = moved(file);
                }
            }
        }
        Credentials::load(&settings).map(|_| ())
    }
}

/// Only what the peer's files say. Lists that are fetched are not at hand here, and must not be missed.
fn offline(files: &PeerCertificates) -> PeerCertificates {
    let fetched = files.crl.iter().any(|source| matches!(source, CrlSource::Http(_)));
    let stale_crl = if fetched { StaleCrl::Accept } else { files.stale_crl };
    PeerCertificates { own: None, stale_crl, ..files.clone() }
}
