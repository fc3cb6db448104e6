//! What is known of certificates, CAs and CRLs at a moment, for `show certs`. No secrets; dates as RFC 3339.

use std::path::PathBuf;

use rustls::pki_types::UnixTime;
use serde::Serialize;

use super::StaleCrl;
use super::certificate::Certificate;
use super::credentials::Credentials;
use super::dates::written;
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
    /// `listener "outside"`, `peer "um1"`.
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

impl CredentialStore {
    pub fn status(&self) -> CertificatesStatus {
        let credentials = self.current();
        CertificatesStatus { generation: self.generation(), ..credentials.status(UnixTime::now()) }
    }
}

impl Credentials {
    pub(super) fn status(&self, now: UnixTime) -> CertificatesStatus {
        let mut own: Vec<OwnStatus> = self.owns.iter().map(|(files, own)| self.own(files, &own.facts, now)).collect();
        own.sort_by(|a, b| a.file.cmp(&b.file));
        let mut crls: Vec<CrlStatus> = self.slots.values().map(|slot| self.crl(slot, now)).collect();
        crls.sort_by(|a, b| a.source.cmp(&b.source));
        CertificatesStatus { generation: 1, loaded_at: written(self.loaded_at), own, authorities: self.cas(now), crls }
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

    fn cas(&self, now: UnixTime) -> Vec<CaStatus> {
        let mut found: Vec<CaStatus> = Vec::new();
        for (peer, trust) in &self.peers {
            for (file, facts) in trust.anchors.iter().flat_map(|anchors| anchors.facts().map(|facts| (anchors.file(), facts))) {
                let same = |known: &&mut CaStatus| known.file == file && known.serial == facts.serial && known.subject == facts.subject;
                match found.iter_mut().find(same) {
                    Some(known) => known.peers.push(peer.to_string()),
                    None => found.push(CaStatus {
                        file: file.to_path_buf(),
                        subject: facts.subject.clone(),
                        serial: facts.serial.clone(),
                        not_before: written(facts.not_before),
                        not_after: written(facts.not_after),
                        days_left: days_left(facts, now),
                        pinned: !facts.is_ca,
                        peers: vec![peer.to_string()],
                    }),
                }
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
