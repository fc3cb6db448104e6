//! Unsecured / SIP secured / Secured: what each leg must be, and the proof that nothing falls below it (Exchange's VoIPSecurity of a UM dial plan;
//! RFC 4568 §7.3: SDES keys only over a protected signalling hop).
//!
//! | mode | signalling | media |
//! |---|---|---|
//! | Unsecured | UDP, TCP or TLS | RTP |
//! | SIP secured | mutual TLS | RTP |
//! | Secured | mutual TLS | SRTP, SDES keys |
//!
//! A trunk's leg has the trunk's own mode, a UM leg the dial plan's. A trunk weaker than the plan is refused unless the plan names it in `interwork`.
//! No mode is ever derived from what a message offers.

use std::sync::Arc;

use crate::policy::settings::{Peer, SecurityMode};
use crate::policy::verdict::Reason;
use crate::sdp::crypto::Suite;
use crate::sip::Transport;

/// What one leg must be. Only this module makes one, so a leg that has one obeys its mode.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MediaPlan {
    mode: SecurityMode,
    suites: Vec<Suite>,
}

impl MediaPlan {
    pub fn mode(&self) -> SecurityMode {
        self.mode
    }

    /// SRTP is demanded (RTP/SAVP with keys); otherwise plain RTP is.
    pub fn is_srtp(&self) -> bool {
        self.mode == SecurityMode::Secured
    }

    /// Suites to offer and accept, best first; empty where the leg is plain RTP.
    pub fn suites(&self) -> &[Suite] {
        &self.suites
    }

    /// Whether this leg's signalling may travel by `transport`.
    pub fn permits(&self, transport: Transport) -> bool {
        match self.mode {
            SecurityMode::Unsecured => true,
            SecurityMode::SipSecured | SecurityMode::Secured => transport.is_encrypted(),
        }
    }
}

/// The plan of a leg to or from `peer` where the call asks for `mode`: never below either of the two.
pub fn leg_plan(mode: SecurityMode, peer: &Peer) -> MediaPlan {
    let mode = mode.max(peer.mode);
    let suites = if mode == SecurityMode::Secured { peer.suites.clone() } else { Vec::new() };
    MediaPlan { mode, suites }
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
