//! Unsecured / SIP secured / Secured: what each leg must be, and the proof that nothing falls below it (Exchange's VoIPSecurity of a UM dial plan;
//! RFC 4568 §7.3: SDES keys only over a protected signalling hop; RFC 5763 §5: fingerprints only over one that nobody can alter).
//!
//! | mode | signalling | media |
//! |---|---|---|
//! | Unsecured | UDP, TCP or TLS | RTP |
//! | SIP secured | mutual TLS | RTP |
//! | Secured | mutual TLS | SRTP, keyed by SDES or, for a peer that is written down so, by DTLS |
//!
//! T.38 fax is of the first two rows only: UDPTL knows no SDES keys, so a Secured leg refuses it.
//!
//! A trunk's leg has the trunk's own mode, a UM leg the dial plan's. A trunk weaker than the plan is refused unless the plan names it in `interwork`.
//! No mode is ever derived from what a message offers.

use std::sync::Arc;
use std::time::Duration;

use crate::policy::flow::Flow;
use crate::policy::settings::{Fax, Keying, Peer, SecurityMode};
use crate::policy::sound::{Dtmf, Sound};
use crate::policy::verdict::Reason;
use crate::sdp::crypto::Suite;
use crate::sdp::{Attribute, Description, Media, Proto};
use crate::sip::Transport;

/// What one leg must be. Only this module makes one, so a leg that has one obeys its mode.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MediaPlan {
    mode: SecurityMode,
    suites: Vec<Suite>,
    suites_taken: Vec<Suite>,
    keying: Keying,
    fax: Fax,
    rtcp_keepalive: Option<Duration>,
    rtcp_mux: bool,
    sound: Sound,
    shares_keys: bool,
}

impl MediaPlan {
    /// For tests of those who obey a plan: only `leg_plan` makes one in earnest.
    #[cfg(test)]
    pub(crate) fn for_test(mode: SecurityMode, suites: &[Suite]) -> MediaPlan {
        MediaPlan {
            mode,
            suites: suites.to_vec(),
            suites_taken: suites.to_vec(),
            keying: Keying::Sdes,
            fax: Fax::T38,
            rtcp_keepalive: None,
            rtcp_mux: false,
            sound: Sound::default(),
            shares_keys: false,
        }
    }

    pub fn mode(&self) -> SecurityMode {
        self.mode
    }

    /// SRTP is demanded, keyed as `keying` says; otherwise plain RTP is.
    pub fn is_srtp(&self) -> bool {
        self.mode == SecurityMode::Secured
    }

    /// How the leg's SRTP is keyed, and so which profile and which lines its descriptions have: RTP/SAVP with `a=crypto`, or UDP/TLS/RTP/SAVP with
    /// `a=fingerprint`. Never both, and never the one instead of the other. Says nothing where the leg is plain RTP.
    pub fn keying(&self) -> Keying {
        self.keying
    }

    /// SRTP is demanded, and DTLS keys it.
    pub fn is_dtls(&self) -> bool {
        self.is_srtp() && self.keying == Keying::Dtls
    }

    /// Whether the profile of an m-line of sound is the one demanded.
    pub fn fits(&self, proto: &Proto) -> bool {
        match proto {
            Proto::Avp | Proto::Avpf => !self.is_srtp(),
            Proto::Savp | Proto::Savpf => self.is_srtp() && self.keying == Keying::Sdes,
            Proto::TlsSavp | Proto::TlsSavpf => self.is_dtls(),
            Proto::Udptl | Proto::Other(_) => false,
        }
    }

    /// Whether an m-line of sound of the peer's is what is demanded. Older peers keyed by DTLS write RTP/SAVP (RFC 8829 §5.1.2 has it taken): it is meant
    /// so if there is a fingerprint and no key.
    pub fn takes(&self, description: &Description, media: &Media) -> bool {
        let says = |attributes: &[Attribute]| attributes.iter().any(|attribute| attribute.is("fingerprint"));
        let is_older = self.is_dtls() && matches!(media.proto, Proto::Savp | Proto::Savpf);
        self.fits(&media.proto) || (is_older && !carries_keys(description) && (says(&media.attributes) || says(&description.attributes)))
    }

    /// Suites to offer, best first; empty where the leg is plain RTP.
    pub fn suites(&self) -> &[Suite] {
        &self.suites
    }

    /// Suites to take where they are offered, best first; empty where the leg is plain RTP.
    pub fn suites_taken(&self) -> &[Suite] {
        &self.suites_taken
    }

    #[cfg(test)]
    pub(crate) fn dtls_for_test(self) -> MediaPlan {
        MediaPlan { keying: Keying::Dtls, ..self }
    }

    #[cfg(test)]
    pub(crate) fn sharing(self) -> MediaPlan {
        MediaPlan { shares_keys: true, ..self }
    }

    #[cfg(test)]
    pub(crate) fn with_for_test(self, fax: Fax, rtcp_keepalive: Option<Duration>) -> MediaPlan {
        MediaPlan { fax, rtcp_keepalive, ..self }
    }

    #[cfg(test)]
    pub(crate) fn muxing_for_test(self) -> MediaPlan {
        MediaPlan { rtcp_mux: true, ..self }
    }

    #[cfg(test)]
    pub(crate) fn sounding(self, sound: Sound) -> MediaPlan {
        MediaPlan { sound, ..self }
    }

    /// The leg's peer may be given the other leg's peer's SRTP key instead of one of ours, if that one may as well: SRTP of one crosses to the other as it came.
    pub fn shares_keys(&self) -> bool {
        self.shares_keys
    }

    /// What the leg's peer wants of sound.
    pub fn sound(&self) -> &Sound {
        &self.sound
    }

    /// Whether T.38 may be offered or answered on this leg. UDPTL has no keys that SDES could carry (RFC 7345 has DTLS for it), so a leg that demands
    /// SRTP has none of it, whatever the peer can do.
    pub fn fax(&self) -> Result<(), Reason> {
        match self.fax {
            _ if self.is_srtp() => Err(Reason::FaxUnprotected),
            Fax::T38 => Ok(()),
            Fax::G711 | Fax::Off => Err(Reason::FaxDeclined),
        }
    }

    /// The leg's peer is to hear RTCP at least so often.
    pub fn rtcp_keepalive(&self) -> Option<Duration> {
        self.rtcp_keepalive
    }

    /// Whether RTCP may share the port of RTP on this leg (RFC 5761). By DTLS it may in any case.
    pub fn rtcp_mux(&self) -> bool {
        self.rtcp_mux
    }

    /// Whether this leg's signalling may travel by `transport`.
    pub fn permits(&self, transport: Transport) -> bool {
        match self.mode {
            SecurityMode::Unsecured => true,
            SecurityMode::SipSecured | SecurityMode::Secured => transport.is_encrypted(),
        }
    }

    /// Whether what comes over `flow` may be of this leg.
    pub fn admits(&self, flow: &Flow) -> bool {
        admits(self.mode, flow)
    }
}

/// Whether a leg of this mode may be spoken for over `flow`: TLS alone is not enough above Unsecured, the other end must have proven itself.
pub fn admits(mode: SecurityMode, flow: &Flow) -> bool {
    mode == SecurityMode::Unsecured || flow.is_mutual_tls()
}

/// Whether an offer that came over `transport` on a leg with this plan may be answered. The same question `run`, `explain` and every re-INVITE ask.
///
/// Errors: `ModeTransport` (403), `KeysInClear`, `ModeMedia`, `FaxUnprotected`, `FaxDeclined` or `MediaUnacceptable` (488).
pub fn offer(plan: &MediaPlan, transport: Transport, description: &Description) -> Result<(), Reason> {
    relayed(plan, transport, description).map(|_| ())
}

/// As [`offer`], with the index of the m-line to relay: the first audio stream that is not switched off and has the plan's profile, else the first of T.38
/// fax. Optional SRTP (RTP/AVP with `a=crypto`) is plain RTP: enough for a plain leg over TLS, too little for a Secured one.
pub fn relayed(plan: &MediaPlan, transport: Transport, description: &Description) -> Result<usize, Reason> {
    if !plan.permits(transport) {
        return Err(Reason::ModeTransport);
    }
    if !transport.is_encrypted() && carries_keys(description) {
        return Err(Reason::KeysInClear);
    }
    let mut wrong_profile = false;
    let on = || description.media.iter().enumerate().filter(|(_, media)| media.port != 0);
    for (index, media) in on().filter(|(_, media)| media.is_audio()) {
        match media.proto {
            _ if plan.takes(description, media) => return Ok(index),
            Proto::Savp | Proto::Savpf | Proto::Avp | Proto::Avpf | Proto::TlsSavp | Proto::TlsSavpf => wrong_profile = true,
            Proto::Udptl | Proto::Other(_) => {}
        }
    }
    match on().find(|(_, media)| media.is_fax()) {
        _ if wrong_profile => Err(Reason::ModeMedia),
        Some((index, _)) => plan.fax().map(|()| index),
        None => Err(Reason::MediaUnacceptable),
    }
}

/// Whether the stream to relay of an offer that may be answered is a T.38 fax.
pub fn is_fax(plan: &MediaPlan, transport: Transport, description: &Description) -> bool {
    relayed(plan, transport, description).is_ok_and(|index| description.media.get(index).is_some_and(Media::is_fax))
}

/// The offered streams as a human compares them with a mode: `audio RTP/SAVP`. Never a key.
pub fn profiles(description: &Description) -> String {
    let streams: Vec<String> = description.media.iter().take(8).map(|media| format!("{} {}", media.kind, media.proto)).collect();
    let keys = if carries_keys(description) { " with keys" } else { "" };
    if streams.is_empty() { String::from("no media") } else { streams.join(", ") + keys }
}

/// Any line that holds SRTP keys, also in forms we do not use.
pub fn carries_keys(description: &Description) -> bool {
    let holds_key = |attribute: &Attribute| ["crypto", "cryptoscale", "key-mgmt"].iter().any(|name| attribute.is(name));
    description.attributes.iter().chain(description.media.iter().flat_map(|media| &media.attributes)).any(holds_key)
}

/// The plan of a leg to or from `peer` where the call asks for `mode`: never below either of the two.
pub fn leg_plan(mode: SecurityMode, peer: &Peer) -> MediaPlan {
    let mode = mode.max(peer.mode);
    let of = |suites: &[Suite]| if mode == SecurityMode::Secured { suites.to_vec() } else { Vec::new() };
    let (suites, suites_taken) = (of(&peer.suites), of(&peer.suites_taken));
    // By DTLS nobody but the two ends of a handshake has its keys; and who has its digits converted needs packets we can read and make.
    let converts = peer.sound.dtmf == Dtmf::Info;
    let shares_keys = peer.srtp_passthrough && mode == SecurityMode::Secured && peer.keying == Keying::Sdes && !converts;
    // UM refuses what it does not know of in a description.
    let rtcp_mux = peer.rtcp_mux && !peer.kind.is_um();
    let (keying, fax, rtcp_keepalive) = (peer.keying, peer.fax, peer.rtcp_keepalive);
    MediaPlan { mode, suites, suites_taken, keying, fax, rtcp_keepalive, rtcp_mux, sound: peer.sound.clone(), shares_keys }
}

/// The modes of (the trunk's leg, the UM leg) of a call between a trunk of mode `peer` and a plan of mode `plan`; `interwork`: the plan names the
/// trunk as one it serves although it is weaker.
pub fn between(peer: SecurityMode, plan: SecurityMode, interwork: bool) -> Result<(SecurityMode, SecurityMode), Reason> {
    if peer < plan && !interwork { Err(Reason::ModeInterwork) } else { Ok((peer, plan)) }
}

/// Whether the plan names this peer as one it serves although it is weaker.
pub fn interworks(interwork: &[Arc<str>], peer: &str) -> bool {
    interwork.iter().any(|name| &**name == peer)
}

pub const fn mode_name(mode: SecurityMode) -> &'static str {
    match mode {
        SecurityMode::Unsecured => "unsecured",
        SecurityMode::SipSecured => "sip-secured",
        SecurityMode::Secured => "secured",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::settings::PeerKind;

    /// By the peer's word alone, and never on a leg that has no SRTP keys or none but its own.
    #[test]
    fn keys_are_shared_on_secured_legs_keyed_by_sdes_alone() {
        let peer = |srtp_passthrough, keying, mode| {
            let peer = Peer { srtp_passthrough, keying, ..Peer::new("carrier", PeerKind::Trunk, Transport::Tls, mode) };
            leg_plan(mode, &peer).shares_keys()
        };
        assert!(peer(true, Keying::Sdes, SecurityMode::Secured));
        assert!(!peer(false, Keying::Sdes, SecurityMode::Secured));
        assert!(!peer(true, Keying::Dtls, SecurityMode::Secured));
        assert!(!peer(true, Keying::Sdes, SecurityMode::SipSecured));
        assert!(!peer(true, Keying::Sdes, SecurityMode::Unsecured));
    }
}
