//! What of a load's CRLs is no problem yet but will refuse somebody.

use std::path::PathBuf;

use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::UnixTime;

use super::credentials::PeerTrust;
use super::crl::CrlSource;
use super::dates::{from_now, written};
use super::files::problem;
use super::revocation::{Issuers, Slot};
use super::{Problem, StaleCrl};

/// Of lists in files. What is fetched is not here yet.
pub fn of_lists<'a>(
    slots: impl Iterator<Item = &'a Slot>,
    peers: &[(&str, &PeerTrust)],
    issuers: &Issuers,
    algorithms: &WebPkiSupportedAlgorithms,
    now: UnixTime,
) -> Vec<Problem> {
    let mut remarks = Vec::new();
    for slot in slots {
        let CrlSource::File(file) = &slot.source else { continue };
        for crl in slot.lists() {
            if !crl.is_current(now) {
                let what = format!("the CRL of {} ended {} ({})", crl.issuer, from_now(crl.next_update, now), written(crl.next_update));
                remarks.push(problem(file, what, "put the CA's current one there: peers held against it are refused unless their stale_crl is accept"));
            }
            if issuers.vouch(&crl, algorithms).is_none() {
                let what = format!("it is the CRL of {}, a CA that is in no ca file", crl.issuer);
                remarks.push(problem(file, what, "see that an intermediate CA of that name is meant: it counts for nobody else"));
            }
        }
    }
    for (peer, trust) in peers {
        remarks.extend(uncovered(peer, trust));
    }
    remarks.sort_by(|a, b| (&a.file, &a.what).cmp(&(&b.file, &b.what)));
    remarks
}

/// CAs of a strict peer whose list is in none of its files, where nothing is fetched that might hold it.
fn uncovered(peer: &str, trust: &PeerTrust) -> Vec<Problem> {
    let Some(revocation) = trust.revocation.as_ref().filter(|revocation| revocation.stale == StaleCrl::Refuse) else { return Vec::new() };
    if revocation.slots.iter().any(|slot| matches!(slot.source, CrlSource::Http(_))) {
        return Vec::new();
    }
    let lists: Vec<_> = revocation.slots.iter().flat_map(|slot| slot.lists()).collect();
    let without = |file: &PathBuf, subject: &[u8], name: &str| {
        let has = lists.iter().any(|crl| crl.list.issuer() == subject);
        let what = format!("its CA {name} has no CRL among those of peer \"{peer}\"");
        (!has).then(|| problem(file, what, "add that CA's CRL to the peer's crl: what it issued is refused until then"))
    };
    let anchors = trust.anchors.iter().flat_map(|anchors| anchors.subjects().map(|(subject, name)| (anchors.file().to_path_buf(), subject, name)));
    anchors.filter_map(|(file, subject, name)| without(&file, subject, name)).collect()
}
