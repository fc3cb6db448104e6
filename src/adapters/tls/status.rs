//! What is known of certificates, CAs and CRLs at a moment, for `show certs`. No secrets; dates as RFC 3339.

use std::path::{Path, PathBuf};

use rustls::pki_types::UnixTime;
use serde::Serialize;

use super::StaleCrl;
use super::certificate::Certificate;
use super::credentials::Credentials;
use super::dates::written;
use super::door::Door;
use super::revocation::Slot;
use super::store::CredentialStore;

#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub struct CertificatesStatus {
    /// Counts up with every change of credentials or CRLs.
    pub generation: u64,
    /// When the files were last loaded.
    pub loaded_at: String,
    pub own: Vec<OwnStatus>,
    pub authorities: Vec<CaStatus>,
    pub crls: Vec<CrlStatus>,
}

/// One certificate of ours.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub struct OwnStatus {
    #[schema(value_type = String)]
    pub file: PathBuf,
    pub names: Vec<String>,
    pub subject: String,
    pub issuer: String,
    pub serial: String,
    pub not_before: String,
    pub not_after: String,
    /// Negative once it has ended.
    pub days_left: i64,
    pub server_auth: bool,
    pub client_auth: bool,
    /// `listener "outside"`, `peer "um1"`, `[api]`.
    pub shown_by: Vec<String>,
}

/// One certificate of a peer's `ca` file.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub struct CaStatus {
    #[schema(value_type = String)]
    pub file: PathBuf,
    pub subject: String,
    pub serial: String,
    pub not_before: String,
    pub not_after: String,
    pub days_left: i64,
    /// The peer's own certificate, trusted as it is, and no CA's.
    pub pinned: bool,
    /// Peers that are trusted by it.
    pub peers: Vec<String>,
    /// Operators are known by certificates of it, at the door of `[api]`.
    pub operators: bool,
}

/// One source of CRLs.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub struct CrlStatus {
    pub source: String,
    /// `current`, `stale` (one of its lists has ended) or `missing` (nothing is held).
    pub state: &'static str,
    pub lists: Vec<ListStatus>,
    /// Since it was last read or fetched well.
    pub age_seconds: Option<u64>,
    pub again_in_seconds: Option<u64>,
    pub last_error: Option<String>,
    pub peers: Vec<PeerSetting>,
}

#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub struct ListStatus {
    pub issuer: String,
    pub this_update: String,
    pub next_update: String,
    /// Negative once it has ended.
    pub seconds_left: i64,
    pub revoked: usize,
}

/// What a peer's `stale_crl` says.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub struct PeerSetting {
    pub peer: String,
    #[schema(value_type = String)]
    pub stale_crl: StaleCrl,
}

/// Who shows a certificate that is no listener's and no peer's.
const API: &str = "[api]";

impl CredentialStore {
    pub fn status(&self) -> CertificatesStatus {
        let credentials = self.current();
        CertificatesStatus { generation: self.generation(), ..credentials.status(UnixTime::now()) }
    }
}

impl Credentials {
    pub(super) fn status(&self, now: UnixTime) -> CertificatesStatus {
        let mut own: Vec<OwnStatus> = self.owns.iter().map(|(files, own)| self.own(files, &own.facts, now)).collect();
        let door = self.door();
        if let Some(door) = &door {
            match own.iter_mut().find(|shown| shown.file == door.files.own.certificate && shown.serial == door.own.facts.serial) {
                Some(shown) => shown.shown_by.push(API.to_owned()),
                None => own.push(OwnStatus { shown_by: vec![API.to_owned()], ..self.own(&door.files.own, &door.own.facts, now) }),
            }
        }
        own.sort_by(|a, b| a.file.cmp(&b.file));
        let mut crls: Vec<CrlStatus> = self.slots.values().map(|slot| self.crl(slot, now)).collect();
        crls.sort_by(|a, b| a.source.cmp(&b.source));
        CertificatesStatus { generation: 1, loaded_at: written(self.loaded_at), own, authorities: self.cas(door.as_deref(), now), crls }
    }

    fn own(&self, files: &super::KeyPairFiles, facts: &Certificate, now: UnixTime) -> OwnStatus {
        let settings = &self.settings;
        let listeners = settings.listeners.iter().filter(|listener| listener.own == *files).map(|listener| format!("listener \"{}\"", listener.name));
        let peers = settings.peers.iter().filter(|peer| peer.own.as_ref() == Some(files)).map(|peer| format!("peer \"{}\"", peer.peer));
        OwnStatus {
            file: files.certificate.clone(),
            names: facts.names.clone(),
            subject: facts.subject.clone(),
            issuer: facts.issuer.clone(),
            serial: facts.serial.clone(),
            not_before: written(facts.not_before),
            not_after: written(facts.not_after),
            days_left: days_left(facts, now),
            server_auth: facts.server_auth,
            client_auth: facts.client_auth,
            shown_by: listeners.chain(peers).collect(),
        }
    }

    fn cas(&self, door: Option<&Door>, now: UnixTime) -> Vec<CaStatus> {
        let mut found: Vec<CaStatus> = Vec::new();
        let status = |file: &Path, facts: &Certificate| CaStatus {
            file: file.to_path_buf(),
            subject: facts.subject.clone(),
            serial: facts.serial.clone(),
            not_before: written(facts.not_before),
            not_after: written(facts.not_after),
            days_left: days_left(facts, now),
            pinned: !facts.is_ca,
            peers: Vec::new(),
            operators: false,
        };
        let same = |known: &CaStatus, file: &Path, facts: &Certificate| known.file == file && known.serial == facts.serial && known.subject == facts.subject;
        for (peer, trust) in &self.peers {
            for (file, facts) in trust.anchors.iter().flat_map(|anchors| anchors.facts().map(|facts| (anchors.file(), facts))) {
                match found.iter_mut().find(|known| same(known, file, facts)) {
                    Some(known) => known.peers.push(peer.to_string()),
                    None => found.push(CaStatus { peers: vec![peer.to_string()], ..status(file, facts) }),
                }
            }
        }
        for (file, facts) in door.iter().flat_map(|door| door.files.client_ca.iter().flat_map(|file| door.authorities.iter().map(move |facts| (file, facts)))) {
            match found.iter_mut().find(|known| same(known, file, facts)) {
                Some(known) => known.operators = true,
                None => found.push(CaStatus { operators: true, ..status(file, facts) }),
            }
        }
        found.iter_mut().for_each(|ca| ca.peers.sort());
        found.sort_by(|a, b| (&a.file, &a.subject).cmp(&(&b.file, &b.subject)));
        found
    }

    fn crl(&self, slot: &Slot, now: UnixTime) -> CrlStatus {
        let (trouble, lists) = (slot.trouble(), slot.lists());
        let state = match lists.iter().all(|crl| crl.is_current(now)) {
            _ if lists.is_empty() => "missing",
            true => "current",
            false => "stale",
        };
        let named = self.settings.peers.iter().filter(|peer| peer.crl.contains(&slot.source));
        CrlStatus {
            source: slot.source.to_string(),
            state,
            lists: lists.iter().map(|crl| list(crl, now)).collect(),
            age_seconds: trouble.read_at.map(|read| now.as_secs().saturating_sub(read.as_secs())),
            again_in_seconds: trouble.again_at.map(|again| again.as_secs().saturating_sub(now.as_secs())),
            last_error: trouble.last_error,
            peers: named.map(|peer| PeerSetting { peer: peer.peer.to_string(), stale_crl: peer.stale_crl }).collect(),
        }
    }
}

fn list(crl: &super::crl::Crl, now: UnixTime) -> ListStatus {
    ListStatus {
        issuer: crl.issuer.clone(),
        this_update: written(crl.this_update),
        next_update: written(crl.next_update),
        seconds_left: ahead(crl.next_update, now),
        revoked: crl.entries,
    }
}

fn ahead(moment: UnixTime, now: UnixTime) -> i64 {
    i64::try_from(moment.as_secs()).unwrap_or(i64::MAX).saturating_sub(i64::try_from(now.as_secs()).unwrap_or(i64::MAX))
}

fn days_left(facts: &Certificate, now: UnixTime) -> i64 {
    ahead(facts.not_after, now).div_euclid(86_400)
}
