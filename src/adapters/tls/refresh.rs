//! CRLs kept fresh while the border runs: each source is read or fetched again at an interval and before its list ends, after a failure sooner but
//! ever more patiently. What cannot be had, or is not what its CA signed, changes nothing: the last good list stays.

use std::collections::HashMap;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::Duration;

use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::UnixTime;
use tokio::task::{AbortHandle, JoinSet};

use super::crl::{self, Crl, CrlSource};
use super::dates::{from_now, span, written};
use super::revocation::{Held, Issuers};
use super::store::CredentialStore;
use super::{fetch, files};
use crate::signaling::fact::{CrlState, What};

/// The first wait after a failure; each further one is twice as long, up to the interval.
const FIRST_RETRY: Duration = Duration::from_secs(30);
/// A list that ends soon is not asked for more often than this.
const SOONEST: Duration = Duration::from_secs(60);
/// Clocks differ.
const AHEAD: u64 = 3_600;

/// Told of every change and of every failure.
pub type Report = Arc<dyn Fn(What) + Send + Sync>;

/// Runs until the store has gone. One source that does not answer delays no other.
pub async fn keep_crls_fresh(store: Weak<CredentialStore>, report: Report) {
    let Some(mut changes) = store.upgrade().map(|store| store.generations()) else { return };
    let mut tasks = JoinSet::new();
    let mut running: HashMap<CrlSource, AbortHandle> = HashMap::new();
    loop {
        changes.mark_unchanged();
        let Some(wanted) = store.upgrade().map(|store| store.current().slots.keys().cloned().collect::<Vec<_>>()) else { return };
        running.retain(|source, task| {
            let stays = wanted.contains(source);
            if !stays {
                task.abort();
            }
            stays
        });
        while tasks.try_join_next().is_some() {}
        for source in wanted {
            let mut begin = |source: &CrlSource| tasks.spawn(follow(Weak::clone(&store), source.clone(), Arc::clone(&report)));
            running.entry(source.clone()).or_insert_with(|| begin(&source));
        }
        if changes.changed().await.is_err() {
            return;
        }
    }
}

impl CredentialStore {
    /// Reads or fetches one source now, and takes what is new and good. What was found, and how long to wait before the next time.
    pub async fn refresh_crl(&self, source: &CrlSource) -> (Option<What>, Duration) {
        let found = obtain(source).await.and_then(|lists| self.take(source, lists));
        self.conclude(source, found).await
    }

    /// `found`: whether what was obtained is new, or why it was not taken.
    async fn conclude(&self, source: &CrlSource, found: Result<bool, String>) -> (Option<What>, Duration) {
        let interval = self.current().settings.crl_refresh;
        let now = UnixTime::now();
        let name: Arc<str> = source.to_string().into();
        let Some(slot) = self.current().crl_slot(source) else { return (None, interval) };
        let lists = slot.lists();
        let ends = lists.iter().map(|crl| crl.next_update.as_secs()).min();
        let (told, wait) = match found {
            Ok(changed) => {
                let told = changed.then(|| CrlState::Fresh { lists: lists.iter().map(|crl| crl.describe()).collect::<Vec<_>>().join("; ") });
                (told, before_the_end(interval, ends, now))
            }
            Err(error) => {
                let failures = slot.trouble().failures;
                let wait = FIRST_RETRY.saturating_mul(1 << failures.min(10)).min(interval.max(FIRST_RETRY));
                let held = match ends {
                    None => String::from("none is held"),
                    Some(ends) if ends > now.as_secs() => format!("the one held ends {}", from_now(at(ends), now)),
                    Some(ends) => format!("the one held ended {} ({})", from_now(at(ends), now), written(at(ends))),
                };
                let usable = ends.is_some_and(|ends| ends > now.as_secs());
                slot.failed(error.clone());
                (Some(CrlState::Kept { error, held, usable, again_in: wait }), wait)
            }
        };
        slot.again_in(wait, now);
        if let (CrlSource::Http(_), Some(CrlState::Fresh { .. }), Some(folder)) = (source, &told, self.current().settings.crl_cache.clone()) {
            let kept = keep(folder.clone(), source.clone(), lists).await;
            if let Err(error) = kept {
                let error = format!("it could not be kept in {} ({error}): see that the folder is there and ours to write", folder.display());
                return (Some(What::Crl { source: name, state: CrlState::NotCached { error } }), wait);
            }
        }
        (told.map(|state| What::Crl { source: name, state }), wait)
    }
}

fn at(seconds: u64) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(seconds))
}

/// At the interval, but halfway to the end of a list that ends sooner.
fn before_the_end(interval: Duration, ends: Option<u64>, now: UnixTime) -> Duration {
    let left = ends.map_or(u64::MAX, |ends| ends.saturating_sub(now.as_secs()));
    match left {
        0 => interval.min(SOONEST * 5),
        left => interval.min(Duration::from_secs(left / 2)).max(SOONEST.min(interval)),
    }
}

async fn follow(store: Weak<CredentialStore>, source: CrlSource, report: Report) {
    let Some(mut wait) = store.upgrade().map(|store| first_wait(&store, &source)) else { return };
    loop {
        tokio::time::sleep(wait).await;
        let obtained = obtain(&source).await;
        let Some(store) = store.upgrade() else { return };
        let (taking, of) = (Arc::clone(&store), source.clone());
        // Signatures over long lists take a while to verify, too.
        let taken = tokio::task::spawn_blocking(move || obtained.and_then(|lists| taking.take(&of, lists))).await;
        let (told, next) = store.conclude(&source, taken.unwrap_or_else(|_| Err(String::from("reading it failed")))).await;
        if let Some(what) = told {
            report(what);
        }
        wait = next;
    }
}

/// A file was read when the credentials were loaded; what is in the cache may be old.
fn first_wait(store: &CredentialStore, source: &CrlSource) -> Duration {
    let credentials = store.current();
    let (CrlSource::File(_), Some(slot)) = (source, credentials.crl_slot(source)) else { return Duration::ZERO };
    let ends = slot.lists().iter().map(|crl| crl.next_update.as_secs()).min();
    let wait = before_the_end(credentials.settings.crl_refresh, ends, UnixTime::now());
    slot.again_in(wait, UnixTime::now());
    wait
}

async fn obtain(source: &CrlSource) -> Result<Vec<Crl>, String> {
    let fetched = match source {
        CrlSource::File(_) => None,
        CrlSource::Http(address) => Some(fetch::get(address).await?),
    };
    let source = source.clone();
    // Large lists take a while to read: not on the thread that carries signalling.
    let reading = tokio::task::spawn_blocking(move || match (&source, fetched) {
        (CrlSource::File(file), _) => files::crls(file).map_err(|problem| problem.what),
        (CrlSource::Http(_), fetched) => crl::read_all(&fetched.unwrap_or_default()),
    });
    reading.await.unwrap_or_else(|_| Err(String::from("reading it failed")))
}

/// Whether new lists may take the place of those held. `Err`: why not.
pub fn fit(new: &[Crl], held: &[Arc<Held>], issuers: &Issuers, algorithms: &WebPkiSupportedAlgorithms, now: UnixTime) -> Result<(), String> {
    for crl in new {
        let same_issuer = |other: &&Arc<Held>| other.crl.list.issuer() == crl.list.issuer();
        match issuers.vouch(crl, algorithms) {
            Some(true) => {}
            Some(false) => return Err(format!("its signature is not that of {}: it was altered on the way, or made by somebody else", crl.issuer)),
            // Of an intermediate CA whose certificate has not come by yet, or of nobody's.
            None if held.is_empty() || held.iter().any(|held| same_issuer(&held)) => {}
            None => return Err(format!("it is of {}, a CA that is in no ca file and no chain so far, in the place of another's", crl.issuer)),
        }
        if crl.this_update.as_secs() > now.as_secs() + AHEAD {
            return Err(format!("it begins {} ({}): compare the clocks", from_now(crl.this_update, now), written(crl.this_update)));
        }
        let newer = held.iter().find(|held| held.crl.covers_as(crl) && held.crl.this_update.as_secs() > crl.this_update.as_secs());
        if let Some(newer) = newer.filter(|held| held.is_signed(issuers, algorithms) != Some(false)) {
            let older = newer.crl.this_update.as_secs() - crl.this_update.as_secs();
            return Err(format!("it is {} older than the one held", span(older)));
        }
    }
    // Whoever is on the way of plain HTTP chooses the answer: a genuine list of another CA, or of another part of the same one's certificates,
    // must not make what is revoked good again.
    let gone = held.iter().find(|held| {
        let counts = held.crl.next_update.as_secs() > now.as_secs() && held.is_signed(issuers, algorithms) != Some(false);
        counts && !new.iter().any(|crl| crl.covers_as(&held.crl))
    });
    match gone {
        Some(held) => Err(format!("the list of {} that is held is not among it, and holds until {}", held.crl.issuer, written(held.crl.next_update))),
        None => Ok(()),
    }
}

/// Where a fetched list is kept over a restart.
pub fn cached(folder: &Path, source: &CrlSource) -> PathBuf {
    use sha1::{Digest, Sha1};
    let name: String = Sha1::digest(source.to_string()).iter().map(|octet| format!("{octet:02x}")).collect();
    folder.join(format!("{name}.crl"))
}

/// Whole or not at all: written beside, then renamed.
async fn keep(folder: PathBuf, source: CrlSource, lists: Vec<Arc<Crl>>) -> io::Result<()> {
    let writing = tokio::task::spawn_blocking(move || {
        let path = cached(&folder, &source);
        let beside = path.with_extension("new");
        let mut file = fs::File::create(&beside)?;
        for crl in lists {
            file.write_all(pem(crl.der()).as_bytes())?;
        }
        file.sync_all()?;
        fs::rename(&beside, &path)
    });
    writing.await.map_err(io::Error::other)?
}

/// RFC 7468 §6.
fn pem(der: &[u8]) -> String {
    use base64::Engine;
    let mut text = String::from("-----BEGIN X509 CRL-----\n");
    for line in base64::engine::general_purpose::STANDARD.encode(der).as_bytes().chunks(64) {
        text.extend(line.iter().map(|character| char::from(*character)));
        text.push('\n');
    }
    text + "-----END X509 CRL-----\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_asked_for_at_the_interval_and_before_it_ends() {
        let (hour, now) = (Duration::from_secs(3_600), at(1_000_000));
        let wait = |ends: Option<u64>| before_the_end(hour, ends, now).as_secs();
        assert_eq!(wait(None), 3_600);
        assert_eq!(wait(Some(1_000_000 + 86_400)), 3_600);
        assert_eq!(wait(Some(1_000_000 + 1_200)), 600);
        assert_eq!(wait(Some(1_000_000 + 10)), 60);
        assert_eq!(wait(Some(999_000)), 300);
        assert_eq!(before_the_end(Duration::from_secs(1), Some(1_000_000 + 10), now).as_secs(), 1);
    }

    #[test]
    fn what_is_kept_reads_back_as_pem() {
        let text = pem(&[7; 100]);
        let back = <rustls::pki_types::CertificateRevocationListDer as rustls::pki_types::pem::PemObject>::from_pem_slice(text.as_bytes()).unwrap();
        assert_eq!(back.as_ref(), &[7; 100]);
    }
}
