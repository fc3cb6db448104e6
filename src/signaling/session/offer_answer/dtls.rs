//! DTLS-SRTP and ICE-lite in one leg's descriptions (RFC 5763 §5, RFC 8842, RFC 8839): what the peer announced, what we announce, who begins the handshake,
//! and when another one is due.
//!
//! We offer `actpass` and answer `active`, as RFC 5763 §5 has it, and keep the parts as they are once there is an association (RFC 8842 §5.5). ICE and
//! rtcp-mux are offered always and answered where offered.

use std::net::SocketAddr;
use std::sync::Arc;

use super::Supply;
use crate::media::control::{Addresses, DtlsParameters, DtlsRole, IDENTITIES, IceParameters, Protection};
use crate::policy::security_mode::MediaPlan;
use crate::policy::verdict::Reason;
use crate::sdp::crypto::Suite;
use crate::sdp::fingerprint::{self, Fingerprint, Setup};
use crate::sdp::ice::{self, Credentials};
use crate::sdp::{Attribute, Description, Media};

/// What a peer announced.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Theirs {
    /// At least one.
    fingerprints: Vec<Fingerprint>,
    setup: Option<Setup>,
    tls_id: Option<String>,
    ice: Option<Credentials>,
    is_lite: bool,
    mux: bool,
}

impl Theirs {
    /// Errors: there is no fingerprint that proves anything, or no handshake is wanted.
    pub fn read(description: &Description, media: &Media) -> Result<Theirs, Reason> {
        let fingerprints = Fingerprint::of(description, media);
        let setup = Setup::of(description, media);
        if fingerprints.is_empty() || setup == Some(Setup::HoldConn) {
            return Err(Reason::MediaFingerprint);
        }
        let has = |name: &str| media.attributes.iter().any(|attribute| attribute.is(name));
        Ok(Theirs {
            fingerprints,
            setup,
            tls_id: fingerprint::tls_id(description, media).map(str::to_owned),
            // RFC 8839 §5.3: it has seen that our addresses were changed on the way, and checks nothing.
            ice: Credentials::of(description, media).filter(|_| !has("ice-mismatch")),
            is_lite: ice::is_lite(description),
            mux: has("rtcp-mux") || has("rtcp-mux-only"),
        })
    }

    /// It checks, and so shows where it is.
    pub fn checks(&self) -> bool {
        self.ice.is_some() && !self.is_lite
    }

    /// As an answer to `actpass` it says who begins; `passive` where it says nothing (RFC 4145 §4).
    pub fn check_answer(&self) -> Result<(), Reason> {
        if self.setup == Some(Setup::ActPass) { Err(Reason::MediaFingerprint) } else { Ok(()) }
    }
}

/// What we announce.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Ours {
    identity: usize,
    fingerprint: Fingerprint,
    tls_id: String,
    ice: Credentials,
}

/// What we said last was an offer or an answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Said {
    Offer,
    Answer,
}

/// How a leg stands with DTLS.
#[derive(Clone, Debug, Default)]
pub(super) struct Handshake {
    /// The certificate to announce first.
    identity: usize,
    ours: Option<Ours>,
    said: Option<Said>,
    /// What was agreed upon last.
    pub theirs: Option<Theirs>,
    /// Where the peer took media when the association was agreed.
    remote: Option<SocketAddr>,
    role: Option<DtlsRole>,
    /// Counts the associations of the leg.
    association: u32,
    /// What the association in force protects the media by, once it does.
    pub suite: Option<Suite>,
}

impl Handshake {
    /// For the same peer on other ports: another association, and by another certificate, for peers that look at nothing else.
    pub fn elsewhere(&self) -> Handshake {
        let identity = self.ours.as_ref().map_or(self.identity, |ours| (ours.identity + 1) % IDENTITIES);
        Handshake { identity, association: self.association.saturating_add(1), ..Handshake::default() }
    }

    /// RTCP shares the port of RTP: agreed.
    pub fn mux(&self) -> bool {
        self.theirs.as_ref().is_some_and(|theirs| theirs.mux)
    }

    /// The next description is an offer. `MediaPorts`: there is no certificate.
    pub fn offer(&mut self, supply: &mut dyn Supply) -> Result<(), Reason> {
        self.announce(supply)?;
        self.said = Some(Said::Offer);
        Ok(())
    }

    /// The next description is the answer to an offer of `theirs`, who takes media at `remote`.
    pub fn answer(&mut self, theirs: &Theirs, remote: Option<SocketAddr>, supply: &mut dyn Supply) -> Result<(), Reason> {
        let role = match (theirs.setup, self.role) {
            (Some(Setup::ActPass), Some(role)) => role,
            (Some(Setup::ActPass | Setup::Passive), _) => DtlsRole::Active,
            _ => DtlsRole::Passive,
        };
        let is_restart = self.theirs.as_ref().is_some_and(|before| before.ice.is_some() && before.ice != theirs.ice);
        let is_other = self.settle(theirs, remote, role);
        self.announce(supply)?;
        if let Some(ours) = &mut self.ours {
            if is_other && self.said.is_some() {
                ours.tls_id = tls_id(supply);
            }
            if is_restart {
                ours.ice = credentials(supply);
            }
        }
        self.said = Some(Said::Answer);
        Ok(())
    }

    /// The peer's words hold: those of an answer to our offer say who begins; those of an offer were settled when it was answered.
    pub fn agree(&mut self, theirs: &Theirs, remote: Option<SocketAddr>) {
        if self.said == Some(Said::Offer) {
            let role = if theirs.setup == Some(Setup::Active) { DtlsRole::Passive } else { DtlsRole::Active };
            self.settle(theirs, remote, role);
        }
    }

    /// True: another association than before, as another certificate, `tls-id`, role or, where neither ICE nor `tls-id` tells, address of the peer's makes
    /// one (RFC 5763 §6.6, RFC 8842 §4).
    fn settle(&mut self, theirs: &Theirs, remote: Option<SocketAddr>, role: DtlsRole) -> bool {
        let moved = |before: &Theirs| {
            let tells = theirs.tls_id.is_some() || theirs.ice.is_some() || before.ice.is_some();
            !tells && self.remote.zip(remote).is_some_and(|(was, is)| was != is)
        };
        let is_same = self.role == Some(role)
            && self.theirs.as_ref().is_some_and(|before| before.fingerprints == theirs.fingerprints && before.tls_id == theirs.tls_id && !moved(before));
        if !is_same {
            self.association = self.association.saturating_add(1);
            self.suite = None;
        }
        self.theirs = Some(theirs.clone());
        (self.role, self.remote) = (Some(role), remote.or(self.remote));
        !is_same
    }

    fn announce(&mut self, supply: &mut dyn Supply) -> Result<(), Reason> {
        if self.ours.is_none() {
            let fingerprint = supply.fingerprint(self.identity).ok_or(Reason::MediaPorts)?;
            self.ours = Some(Ours { identity: self.identity, fingerprint, tls_id: tls_id(supply), ice: credentials(supply) });
        }
        Ok(())
    }

    /// What stands beside the m-line.
    pub fn attributes(&self, local: Addresses) -> Vec<Attribute> {
        let Some(ours) = &self.ours else { return Vec::new() };
        let setup = match (self.said, self.role) {
            (Some(Said::Answer), Some(DtlsRole::Active)) => Setup::Active,
            (Some(Said::Answer), Some(DtlsRole::Passive)) => Setup::Passive,
            _ => Setup::ActPass,
        };
        let mut lines =
            vec![Attribute::new("fingerprint", ours.fingerprint.value()), Attribute::new("setup", setup.name()), Attribute::new("tls-id", ours.tls_id.clone())];
        if self.said == Some(Said::Offer) || self.mux() {
            lines.push(Attribute::property("rtcp-mux"));
        }
        if self.speaks_ice() {
            lines.push(Attribute::new("ice-ufrag", ours.ice.ufrag.clone()));
            lines.push(Attribute::new("ice-pwd", ours.ice.password.clone()));
            lines.push(Attribute::new("candidate", ice::host_candidate(1, local.rtp)));
        }
        lines
    }

    /// What stands above the m-lines.
    pub fn session_attributes(&self) -> Vec<Attribute> {
        match self.ours.is_some() && self.speaks_ice() {
            true => vec![Attribute::property("ice-lite"), Attribute::new("ice-options", "ice2")],
            false => Vec::new(),
        }
    }

    fn speaks_ice(&self) -> bool {
        self.said == Some(Said::Offer) || self.theirs.as_ref().is_some_and(|theirs| theirs.ice.is_some())
    }

    /// As the media plane is told of it. `None`: nothing was said yet.
    pub fn protection(&self, plan: &MediaPlan) -> Option<Protection> {
        let ours = self.ours.as_ref()?;
        let settled = self.theirs.as_ref().zip(self.role);
        let ice = |peer: Option<&Credentials>, is_checked| IceParameters { local: ours.ice.clone(), peer: peer.map(|peer| peer.ufrag.clone()), is_checked };
        Some(Protection::Dtls(Arc::new(DtlsParameters {
            association: self.association,
            identity: ours.identity,
            role: settled.map(|(_, role)| role),
            fingerprints: settled.map(|(theirs, _)| theirs.fingerprints.clone()).unwrap_or_default(),
            suites: plan.suites().to_vec(),
            ice: match settled {
                None => Some(ice(None, true)),
                Some((theirs, _)) => theirs.ice.as_ref().map(|peer| ice(Some(peer), !theirs.is_lite)),
            },
        })))
    }
}

/// RFC 8842 §4: 120 bits of randomness at least.
fn tls_id(supply: &mut dyn Supply) -> String {
    format!("{:016x}{:016x}", supply.session_id(), supply.session_id())
}

/// RFC 8445 §5.3: 24 bits of randomness in the fragment, 128 in the password.
fn credentials(supply: &mut dyn Supply) -> Credentials {
    let password = format!("{:016x}{:016x}{:016x}", supply.session_id(), supply.session_id(), supply.session_id());
    Credentials { ufrag: format!("{:08x}", supply.session_id() as u32), password }
}
