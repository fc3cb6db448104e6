//! One DTLS association that keys SRTP (RFC 5763, RFC 5764): fed with datagrams and time, it says what to send and, once, which keys were agreed.
//!
//! The peer's certificate counts for what signalling said of it: its fingerprint (RFC 8122 §6.2) is compared before anything is sent in answer to it, and keys
//! come out only behind that comparison. DTLS 1.2 by `dimpl`, which draws its own randomness, does ECDSA certificates only, and refuses sessions without the
//! extended master secret (RFC 7627).
//!
//! Until there are keys anybody who can forge the peer's address may spoil a handshake, so a spoilt one is begun anew a few times where the peer is awaited. Afterwards nothing ends
//! the association but signalling: it only repeats its last flight for a peer that lost it. Of several sources each has its own association (`claims`).
//! The library wants the messages of a handshake whole or in pieces that join exactly; `media::flights` puts them together before.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use aws_lc_rs::digest;
use dimpl::{Config, Dtls, DtlsCertificate, Output, SrtpProfile};
use rcgen::{CertificateParams, DistinguishedName, KeyPair, PKCS_ECDSA_P256_SHA256};
use zeroize::Zeroizing;

use crate::media::control::{DtlsParameters, DtlsRole, KeyingFailure, SrtpParameters};
use crate::media::flights::Flights;
use crate::sdp::crypto::{MasterKey, Suite};
use crate::sdp::fingerprint::{Fingerprint, HashFunction};
use crate::time::Time;

pub use claims::{Claims, Taken};

mod claims;

/// From the end of the offer/answer exchange to keys. A caller who hears nothing for longer has hung up.
const PATIENCE: Duration = Duration::from_secs(30);
/// The first repetition of an unanswered flight; each next one waits twice as long.
const FIRST_REPETITION: Duration = Duration::from_millis(250);
const REPETITIONS: usize = 7;
/// Handshakes begun anew after a spoilt one.
const ATTEMPTS: u8 = 4;
/// Once another certificate than the announced one was shown, the right one has so long to come forward.
const DOUBT: Duration = Duration::from_secs(5);
/// Bytes of one datagram we send: passes every tunnel.
const MTU: usize = 1200;
/// Where the library hands out what it has, a peer's certificate included: longer than any that fits into what it keeps of a handshake.
pub(super) const SCRATCH: usize = 128 * 1024;
/// Outputs of the library for one input; it never comes near.
const OUTPUTS: usize = 256;
/// How long our certificate is valid. Nobody looks: its fingerprint is all that counts.
const VALIDITY: time::Duration = time::Duration::days(3650);

/// The label of the exporter is the library's; the order of what comes out is RFC 5764 §4.2: both keys, then both salts, the client's first.
fn split(material: &[u8], suite: Suite, role: DtlsRole) -> Option<(MasterKey, MasterKey)> {
    let (key, salt) = (suite.key_length(), suite.salt_length());
    let (keys, salts) = material.split_at_checked(2 * key)?;
    let master = |keys: &[u8], salts: &[u8]| MasterKey { key_and_salt: [keys, salts].concat(), lifetime: None, mki: None };
    let client = master(keys.get(..key)?, salts.get(..salt)?);
    let server = master(keys.get(key..)?, salts.get(salt..2 * salt)?);
    // What the client sends is protected by the client's key.
    Some(match role {
        DtlsRole::Active => (server, client),
        DtlsRole::Passive => (client, server),
    })
}

/// How the library is to shake hands: made once, as it then tries out all its cryptography.
fn config() -> Result<Arc<Config>, KeyingFailure> {
    static CONFIG: OnceLock<Result<Arc<Config>, String>> = OnceLock::new();
    let make = || {
        let config = Config::builder().mtu(MTU).flight_start_rto(FIRST_REPETITION).flight_retries(REPETITIONS).handshake_timeout(PATIENCE);
        config.build().map(Arc::new).map_err(|error| error.to_string())
    };
    CONFIG.get_or_init(make).clone().map_err(KeyingFailure::Handshake)
}

/// A certificate of our own with its key, made by the process and never stored.
pub struct Identity {
    certificate: DtlsCertificate,
    fingerprint: Fingerprint,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("fingerprint", &self.fingerprint.value()).finish_non_exhaustive()
    }
}

impl Identity {
    /// A fresh P-256 key in a certificate signed by itself that names nobody.
    pub fn generate() -> Result<Identity, rcgen::Error> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut parameters = CertificateParams::new(Vec::new())?;
        parameters.distinguished_name = DistinguishedName::new();
        parameters.distinguished_name.push(rcgen::DnType::CommonName, "media");
        let now = time::OffsetDateTime::now_utc();
        // Clocks differ.
        (parameters.not_before, parameters.not_after) = (now - time::Duration::days(1), now + VALIDITY);
        let certificate = parameters.self_signed(&key)?.der().to_vec();
        let fingerprint = fingerprint(HashFunction::Sha256, &certificate);
        Ok(Identity { certificate: DtlsCertificate { certificate, private_key: key.serialize_der() }, fingerprint })
    }

    /// What signalling says of it.
    pub fn fingerprint(&self) -> &Fingerprint {
        &self.fingerprint
    }
}

fn fingerprint(hash: HashFunction, certificate: &[u8]) -> Fingerprint {
    let algorithm = match hash {
        HashFunction::Sha256 => &digest::SHA256,
        HashFunction::Sha384 => &digest::SHA384,
        HashFunction::Sha512 => &digest::SHA512,
    };
    Fingerprint { hash, digest: digest::digest(algorithm, certificate).as_ref().to_vec() }
}

/// What both directions are protected by from now on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Keys {
    pub receive: SrtpParameters,
    pub transmit: SrtpParameters,
}

/// The one thing an association has to say, once.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Told {
    Keyed(Box<Keys>),
    Failed(KeyingFailure),
}

/// How far it is.
enum Phase {
    /// Nothing sent or received yet.
    Waiting,
    Shaking(Box<Dtls>),
    Keyed(Box<Dtls>),
    Over,
}

pub struct Association {
    terms: Arc<DtlsParameters>,
    role: DtlsRole,
    identity: Arc<Identity>,
    /// The peer is where signalling or ICE says it is: what spoils its handshake may yet have been forged, so that it is begun anew.
    is_awaited: bool,
    /// What of its flights is not whole yet.
    flights: Flights,
    /// Where the process's line of time begins.
    anchor: Instant,
    phase: Phase,
    /// The certificate shown in this handshake is the one signalling announced.
    is_proven: bool,
    /// When the library wants to be asked again.
    due: Option<Time>,
    /// By when there have to be keys.
    deadline: Time,
    attempts: u8,
    /// Why the last handshake was spoilt: tells more than that time is up.
    spoilt: Option<KeyingFailure>,
}

impl Association {
    /// Signalling has settled `terms` with the peer. Nothing is sent before [`Association::begin`].
    pub fn new(terms: Arc<DtlsParameters>, role: DtlsRole, identity: Arc<Identity>, anchor: Instant, now: Time) -> Result<Association, KeyingFailure> {
        config()?;
        Ok(Association {
            terms,
            role,
            identity,
            is_awaited: false,
            flights: Flights::default(),
            anchor,
            phase: Phase::Waiting,
            is_proven: false,
            due: None,
            deadline: now + PATIENCE,
            attempts: ATTEMPTS,
            spoilt: None,
        })
    }

    /// The peer has shown the certificate that signalling announced, in the handshake under way or the last one.
    pub fn is_proven(&self) -> bool {
        self.is_proven
    }

    /// The peer can be reached: who is active sends its first flight; otherwise, and the second time, nothing.
    pub fn begin(&mut self, now: Time, scratch: &mut [u8], send: &mut dyn FnMut(&[u8])) -> Option<Told> {
        if self.role != DtlsRole::Active || !matches!(self.phase, Phase::Waiting) {
            return None;
        }
        self.start(now);
        self.progress(now, None, scratch, send)
    }

    /// A datagram of the peer's that is DTLS by its first byte.
    pub fn datagram(&mut self, now: Time, datagram: &[u8], scratch: &mut [u8], send: &mut dyn FnMut(&[u8])) -> Option<Told> {
        match (&self.phase, self.role) {
            // What a server says to a client that has not spoken is of another association.
            (Phase::Waiting, DtlsRole::Active) | (Phase::Over, _) => return None,
            (Phase::Waiting, DtlsRole::Passive) => self.start(now),
            (Phase::Shaking(_) | Phase::Keyed(_), _) => {}
        }
        self.progress(now, Some(datagram), scratch, send)
    }

    /// When `timeout` is to be called.
    pub fn due(&self) -> Option<Time> {
        match self.phase {
            Phase::Over => None,
            Phase::Waiting => Some(self.deadline),
            Phase::Shaking(_) => Some(self.due.map_or(self.deadline, |due| due.min(self.deadline))),
            // The library wants nothing more than to be asked in years.
            Phase::Keyed(_) => self.due.filter(|due| *due < self.deadline),
        }
    }

    pub fn timeout(&mut self, now: Time, scratch: &mut [u8], send: &mut dyn FnMut(&[u8])) -> Option<Told> {
        let is_shaking = matches!(self.phase, Phase::Waiting | Phase::Shaking(_));
        if is_shaking && now >= self.deadline {
            let failure = self.spoilt.take().unwrap_or(KeyingFailure::TimedOut);
            return self.fail(failure);
        }
        if self.due.is_some_and(|due| now >= due) { self.progress(now, None, scratch, send) } else { None }
    }

    fn instant(&self, now: Time) -> Instant {
        self.anchor + Duration::from_nanos(now.as_nanos())
    }

    fn start(&mut self, now: Time) {
        let Ok(config) = config() else { return };
        let mut dtls = Dtls::new_12(config, self.identity.certificate.clone(), self.instant(now));
        dtls.set_active(self.role == DtlsRole::Active);
        (self.phase, self.is_proven, self.flights) = (Phase::Shaking(Box::new(dtls)), false, Flights::default());
    }

    fn fail(&mut self, failure: KeyingFailure) -> Option<Told> {
        (self.phase, self.due) = (Phase::Over, None);
        Some(Told::Failed(failure))
    }

    /// One input for the library and all its outputs. It is fed with what strangers send, on the thread of a thousand calls: should it ever panic, that is
    /// the end of this association alone.
    fn progress(&mut self, now: Time, datagram: Option<&[u8]>, scratch: &mut [u8], send: &mut dyn FnMut(&[u8])) -> Option<Told> {
        let at = self.instant(now);
        let turn = catch_unwind(AssertUnwindSafe(|| self.turn(at, datagram, scratch, send)));
        match turn.unwrap_or_else(|_| Err(Spoilt::ForGood(KeyingFailure::Handshake("the DTLS library failed".into())))) {
            Ok(told) => told,
            // There are keys: whatever comes now, they hold.
            Err(_) if matches!(self.phase, Phase::Keyed(_)) => {
                (self.phase, self.due) = (Phase::Over, None);
                None
            }
            Err(Spoilt::ForGood(failure)) => self.fail(failure),
            Err(Spoilt::ThisTime(failure)) if !self.is_awaited => self.fail(failure),
            Err(Spoilt::ThisTime(failure)) => match self.attempts.checked_sub(1) {
                // What is still under way of the last handshake spoils the next one in its own way; the wrong certificate is why.
                None => {
                    let wrong = self.spoilt.take().filter(|before| *before == KeyingFailure::Fingerprint);
                    self.fail(wrong.unwrap_or(failure))
                }
                Some(left) => {
                    (self.attempts, self.due, self.phase) = (left, None, Phase::Waiting);
                    if failure == KeyingFailure::Fingerprint {
                        self.deadline = self.deadline.min(now + DOUBT);
                    }
                    if self.spoilt != Some(KeyingFailure::Fingerprint) {
                        self.spoilt = Some(failure);
                    }
                    // A client that is told no at once would be told so again: the next attempt waits for the first repetition's time.
                    if self.role == DtlsRole::Active {
                        self.start(now);
                        self.due = Some(now + FIRST_REPETITION);
                    }
                    None
                }
            },
        }
    }

    fn turn(&mut self, at: Instant, datagram: Option<&[u8]>, scratch: &mut [u8], send: &mut dyn FnMut(&[u8])) -> Result<Option<Told>, Spoilt> {
        let (dtls, is_keyed) = match &mut self.phase {
            Phase::Shaking(dtls) => (dtls, false),
            Phase::Keyed(dtls) => (dtls, true),
            Phase::Waiting | Phase::Over => return Ok(None),
        };
        let spoilt = |error: dimpl::Error| Spoilt::ThisTime(KeyingFailure::Handshake(error.to_string()));
        dtls.handle_timeout(at).map_err(spoilt)?;
        if let Some(datagram) = datagram {
            self.flights.datagram(datagram, |datagram| dtls.handle_packet(datagram)).map_err(spoilt)?;
        }
        let (mut keys, mut is_connected) = (None, false);
        for _ in 0..OUTPUTS {
            match dtls.poll_output(scratch) {
                Output::Packet(packet) => send(packet),
                Output::PeerCert(certificate) => {
                    self.is_proven = self.terms.fingerprints.iter().any(|announced| fingerprint(announced.hash, certificate) == *announced);
                    if !self.is_proven {
                        return Err(Spoilt::ThisTime(KeyingFailure::Fingerprint));
                    }
                }
                Output::Connected => is_connected = true,
                Output::KeyingMaterial(material, profile) if self.is_proven && !is_keyed => {
                    keys = Some(agreed(&Zeroizing::new(material.to_vec()), profile, &self.terms, self.role)?);
                }
                Output::Timeout(due) => {
                    self.due = Some(Time::from_nanos(u64::try_from(due.saturating_duration_since(self.anchor).as_nanos()).unwrap_or(u64::MAX)));
                    break;
                }
                Output::BufferTooSmall { .. } => return Err(Spoilt::ThisTime(KeyingFailure::Handshake("a message too long".into()))),
                // Nothing is asked of the peer by way of data, and only signalling ends the media.
                _ => {}
            }
        }
        match keys {
            Some(keys) => {
                if let Phase::Shaking(dtls) = std::mem::replace(&mut self.phase, Phase::Over) {
                    self.phase = Phase::Keyed(dtls);
                }
                Ok(Some(Told::Keyed(Box::new(keys))))
            }
            None if is_connected => Err(Spoilt::ForGood(KeyingFailure::NoProfile)),
            None => Ok(None),
        }
    }
}

impl fmt::Debug for Association {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let phase = match self.phase {
            Phase::Waiting => "waiting",
            Phase::Shaking(_) => "shaking hands",
            Phase::Keyed(_) => "keyed",
            Phase::Over => "over",
        };
        f.debug_struct("Association").field("role", &self.role).field("phase", &phase).finish_non_exhaustive()
    }
}

/// Why a handshake came to nothing.
enum Spoilt {
    /// Anybody could have done that: another try may go well.
    ThisTime(KeyingFailure),
    /// The peer itself did that.
    ForGood(KeyingFailure),
}

fn agreed(material: &[u8], profile: SrtpProfile, terms: &DtlsParameters, role: DtlsRole) -> Result<Keys, Spoilt> {
    let suite = match profile {
        SrtpProfile::AES128_CM_SHA1_80 => Suite::AesCm128HmacSha1_80,
        SrtpProfile::AEAD_AES_128_GCM => Suite::AeadAes128Gcm,
        SrtpProfile::AEAD_AES_256_GCM => Suite::AeadAes256Gcm,
        _ => return Err(Spoilt::ForGood(KeyingFailure::NoProfile)),
    };
    if !terms.permits(suite) {
        return Err(Spoilt::ForGood(KeyingFailure::Suite(suite)));
    }
    let (receive, transmit) = split(material, suite, role).ok_or(Spoilt::ForGood(KeyingFailure::NoProfile))?;
    Ok(Keys { receive: SrtpParameters { suite, keys: vec![receive] }, transmit: SrtpParameters { suite, keys: vec![transmit] } })
}

#[cfg(test)]
mod tests;
