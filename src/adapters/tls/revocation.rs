//! Which certificates of a peer's chain are revoked (RFC 5280 §6.3): the lists held for each source, and what they say of a chain that is otherwise
//! good. The whole chain is asked about, the trust anchor excepted.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::{CertificateDer, UnixTime};
use webpki::{CertRevocationList, EndEntityCert, ExpirationPolicy, RevocationCheckDepth, RevocationOptionsBuilder, UnknownStatusPolicy};

use super::StaleCrl;
use super::certificate::Certificate;
use super::crl::{Crl, CrlSource};
use super::dates::{from_now, written};
use crate::policy::flow::TlsRefusal;
use crate::policy::verdict::Reason;

/// Intermediate CA certificates remembered.
const SEEN: usize = 64;

/// CA certificates that may have signed a CRL: those of the `ca` files, and intermediates that came in chains which ended at one of them.
#[derive(Debug, Clone, Default)]
pub struct Issuers {
    pub anchors: Vec<CertificateDer<'static>>,
    seen: Arc<Mutex<Vec<CertificateDer<'static>>>>,
}

impl Issuers {
    /// Those of `anchors`, and what `before` has seen.
    pub fn after(anchors: Vec<CertificateDer<'static>>, before: &Issuers) -> Issuers {
        Issuers { anchors, seen: Arc::clone(&before.seen) }
    }

    fn remember(&self, der: &CertificateDer<'_>) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.iter().any(|known| known == der) || self.anchors.contains(der) {
            return;
        }
        if seen.len() >= SEEN {
            seen.remove(0);
        }
        seen.push(der.clone().into_owned());
    }

    /// Whether a CA known by that name made the signature; `None`: no CA of that name is known.
    pub fn vouch(&self, crl: &Crl, algorithms: &WebPkiSupportedAlgorithms) -> Option<bool> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let named = |der: &&CertificateDer<'static>| EndEntityCert::try_from(*der).is_ok_and(|certificate| certificate.subject() == crl.list.issuer());
        let mut of_that_name = self.anchors.iter().chain(seen.iter()).filter(named).peekable();
        of_that_name.peek()?;
        Some(of_that_name.any(|issuer| crl.signed_by(issuer, algorithms)))
    }
}

/// A list that is held, and whether its signature has been found good. That it was not is no lasting word: a CA that has renewed its key under its
/// old name, or another peer's CA of that name, may have come by first.
#[derive(Debug)]
pub struct Held {
    pub crl: Arc<Crl>,
    signed: OnceLock<()>,
}

impl Held {
    pub fn new(crl: Arc<Crl>) -> Arc<Held> {
        Arc::new(Held { crl, signed: OnceLock::new() })
    }

    /// `None`: no CA of its issuer's name is known.
    pub fn is_signed(&self, issuers: &Issuers, algorithms: &WebPkiSupportedAlgorithms) -> Option<bool> {
        if self.signed.get().is_some() {
            return Some(true);
        }
        let found = issuers.vouch(&self.crl, algorithms)?;
        if found {
            self.signed.get_or_init(|| ());
        }
        Some(found)
    }
}

/// One source with what is held of it: the last good lists, until better ones come.
#[derive(Debug)]
pub struct Slot {
    pub source: CrlSource,
    pub held: ArcSwap<Vec<Arc<Held>>>,
    pub trouble: Mutex<Trouble>,
}

/// How the last attempt went.
#[derive(Clone, Debug, Default)]
pub struct Trouble {
    /// `None`: well, or not tried yet.
    pub last_error: Option<String>,
    /// Attempts that failed since one went well.
    pub failures: u32,
    /// When the lists were last read or fetched, and when they will be again.
    pub read_at: Option<UnixTime>,
    pub again_at: Option<UnixTime>,
}

impl Slot {
    pub fn new(source: CrlSource, lists: Vec<Crl>) -> Slot {
        let read_at = (!lists.is_empty()).then(UnixTime::now);
        let held = lists.into_iter().map(|crl| Held::new(Arc::new(crl))).collect();
        Slot { source, held: ArcSwap::from_pointee(held), trouble: Mutex::new(Trouble { read_at, ..Trouble::default() }) }
    }

    pub fn trouble(&self) -> Trouble {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn lists(&self) -> Vec<Arc<Crl>> {
        self.held.load().iter().map(|held| Arc::clone(&held.crl)).collect()
    }

    pub fn failed(&self, error: String) {
        let mut trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        trouble.failures = trouble.failures.saturating_add(1);
        trouble.last_error = Some(error);
    }

    /// The attempt of `now` went well: the lists held are the source's.
    pub fn succeeded(&self, now: UnixTime) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = Trouble { read_at: Some(now), ..Trouble::default() };
    }

    pub fn again_in(&self, wait: Duration, now: UnixTime) {
        let again_at = UnixTime::since_unix_epoch(Duration::from_secs(now.as_secs()).saturating_add(wait));
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).again_at = Some(again_at);
    }

    /// Takes over what an earlier slot of the same source held; signatures are to be looked at anew.
    pub fn inherit(&self, before: &Slot) {
        self.held.store(Arc::new(before.lists().into_iter().map(Held::new).collect()));
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = before.trouble();
    }

    fn told(&self, now: UnixTime) -> String {
        let lists: Vec<String> = self.held.load().iter().map(|held| format!("ends {}", from_now(held.crl.next_update, now))).collect();
        let held = if lists.is_empty() { String::from("nothing held") } else { lists.join(", ") };
        match self.trouble().last_error {
            Some(error) => format!("{} ({held}; last attempt: {error})", self.source),
            None => format!("{} ({held})", self.source),
        }
    }
}

/// By what a peer's certificates are held against revocation.
#[derive(Debug, Clone)]
pub struct Revocation {
    /// Never empty.
    pub slots: Vec<Arc<Slot>>,
    pub stale: StaleCrl,
}

/// A chain that ended at an anchor, and what it went through.
pub struct Path<'a> {
    pub chain: &'a [CertificateDer<'a>],
    /// Of the chain, those that were needed.
    pub intermediates: Vec<CertificateDer<'a>>,
    pub now: UnixTime,
}

impl Revocation {
    /// `verify`: the path validation that has just gone well, asked again with revocation.
    pub fn check(
        &self,
        path: &Path<'_>,
        issuers: &Issuers,
        algorithms: &WebPkiSupportedAlgorithms,
        verify: impl Fn(webpki::RevocationOptions<'_>) -> Result<(), webpki::Error>,
    ) -> Result<(), TlsRefusal> {
        path.intermediates.iter().for_each(|der| issuers.remember(der));
        let held: Vec<Arc<Held>> = self.slots.iter().flat_map(|slot| slot.held.load().to_vec()).collect();
        // Of a list that its CA did not sign nothing is believed. The newest of a CA's lists comes first, and is the one asked.
        let mut good: Vec<&Arc<Held>> = held.iter().filter(|held| held.is_signed(issuers, algorithms) != Some(false)).collect();
        good.sort_by_key(|held| std::cmp::Reverse(held.crl.this_update.as_secs()));
        let (status, expiration) = match self.stale {
            StaleCrl::Refuse => (UnknownStatusPolicy::Deny, ExpirationPolicy::Enforce),
            StaleCrl::Accept => (UnknownStatusPolicy::Allow, ExpirationPolicy::Ignore),
        };
        let outcome = loop {
            let lists: Vec<&CertRevocationList<'_>> = good.iter().map(|held| &held.crl.list).collect();
            let Ok(options) = RevocationOptionsBuilder::new(&lists) else {
                return match self.stale {
                    StaleCrl::Accept => Ok(()),
                    StaleCrl::Refuse => Err(self.unknown("no CRL is held yet", path)),
                };
            };
            let options = options.with_depth(RevocationCheckDepth::Chain).with_status_policy(status).with_expiration_policy(expiration).build();
            match verify(options) {
                // A CA that has renewed its key keeps its name, and publishes a list under each: the one under this chain's key may be further down.
                Err(webpki::Error::InvalidCrlSignatureForPublicKey) => match newest_of_several(&good) {
                    Some(place) => drop(good.remove(place)),
                    None => break Err(webpki::Error::InvalidCrlSignatureForPublicKey),
                },
                outcome => break outcome,
            }
        };
        outcome.map_err(|error| match error {
            webpki::Error::CertRevoked => revoked(path, &good),
            webpki::Error::CrlExpired { next_update, .. } => {
                let what = format!("the CRL it is held against ended {} ({})", from_now(next_update, path.now), written(next_update));
                self.unknown(&what, path)
            }
            webpki::Error::UnknownRevocationStatus => self.unknown("there is no CRL of an issuer in its chain", path),
            other => self.unknown(&format!("its CRL cannot be used ({other})"), path),
        })
    }

    fn unknown(&self, what: &str, path: &Path<'_>) -> TlsRefusal {
        let missing: Vec<String> = std::iter::once(path.chain.first())
            .flatten()
            .chain(&path.intermediates)
            .filter_map(|der| Certificate::read(der))
            .map(|facts| facts.issuer)
            .collect();
        let sources: Vec<String> = self.slots.iter().map(|slot| slot.told(path.now)).collect();
        let what = format!(
            "whether its certificate is revoked cannot be told: {what}; see that the peer's crl names a current one of every CA in its chain, or set stale_crl = \"accept\""
        );
        TlsRefusal::new(Reason::TlsRevocationUnknown, what).comparing("issuers in its chain", missing.join(", ")).comparing("crl", sources.join(", "))
    }
}

/// The first list whose issuer and part another one, later in the order, has as well.
fn newest_of_several(lists: &[&Arc<Held>]) -> Option<usize> {
    (0..lists.len()).find(|place| lists.iter().skip(place + 1).any(|later| lists.get(*place).is_some_and(|held| held.crl.covers_as(&later.crl))))
}

fn revoked(path: &Path<'_>, lists: &[&Arc<Held>]) -> TlsRefusal {
    for (place, der) in std::iter::once(path.chain.first()).flatten().chain(&path.intermediates).enumerate() {
        let Ok(certificate) = EndEntityCert::try_from(der) else { continue };
        let entry = lists.iter().filter(|held| held.crl.list.issuer() == certificate.issuer()).find_map(|held| {
            let entry = held.crl.list.find_serial(certificate.serial()).ok().flatten()?;
            Some((&held.crl.issuer, entry.revocation_date, entry.reason_code))
        });
        if let Some((issuer, date, reason)) = entry {
            let which = if place == 0 { "its certificate" } else { "an intermediate CA certificate of its chain" };
            let why = reason.map(|reason| format!(", {reason:?}")).unwrap_or_default();
            let what = format!("{which} was revoked by {issuer} on {}{why}: the other side needs a new one", written(date));
            return TlsRefusal::new(Reason::TlsRevoked, what);
        }
    }
    TlsRefusal::new(Reason::TlsRevoked, "a certificate of its chain has been revoked by its issuer: the other side needs a new one")
}
