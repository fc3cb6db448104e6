//! Unsecured / SIP secured / Secured: what each leg must be, and the proof that nothing falls below it.

use crate::policy::settings::SecurityMode;
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
