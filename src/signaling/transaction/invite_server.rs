//! The INVITE server transaction: RFC 3261 §17.2.1 and figure 7 as replaced by RFC 6026 §7.1 (Accepted, timer L; a transport error ends nothing).
//!
//! The 100 is the core's to send, and so is the repetition of a 2xx.

use crate::signaling::settings::Timers;
use crate::time::Time;

use super::backoff::{Backoff, due, earlier};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum InviteServer {
    Proceeding,
    /// A 300-699 was sent. `g` is `None` over a reliable transport.
    Completed {
        g: Option<Backoff>,
        h: Time,
    },
    /// Its ACK came; further ones are absorbed until `i`.
    Confirmed {
        i: Time,
    },
    /// A 2xx was sent; INVITEs are absorbed and ACKs are the core's until `l`.
    Accepted {
        l: Time,
    },
    Terminated,
}

/// What to do with a request that belongs to the transaction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Heard {
    /// Send the last answer again, if there is one.
    Repeat,
    Pass,
    Absorb,
}

/// What a timer wants done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fired {
    Nothing,
    Retransmit,
    /// No ACK came. Tell the core; the transaction has ended.
    TimedOut,
    /// The transaction has ended.
    Ended,
}

impl InviteServer {
    pub fn start() -> InviteServer {
        InviteServer::Proceeding
    }

    /// The INVITE again.
    pub fn on_invite(&self) -> Heard {
        match self {
            InviteServer::Proceeding | InviteServer::Completed { .. } => Heard::Repeat,
            InviteServer::Confirmed { .. } | InviteServer::Accepted { .. } | InviteServer::Terminated => Heard::Absorb,
        }
    }

    /// An ACK in the INVITE's transaction.
    pub fn on_ack(&mut self, now: Time, timers: &Timers, reliable: bool) -> Heard {
        match self {
            InviteServer::Completed { .. } => {
                // Timer I is zero over a reliable transport.
                *self = if reliable { InviteServer::Terminated } else { InviteServer::Confirmed { i: now + timers.t4 } };
                Heard::Absorb
            }
            InviteServer::Accepted { .. } => Heard::Pass,
            InviteServer::Proceeding | InviteServer::Confirmed { .. } | InviteServer::Terminated => Heard::Absorb,
        }
    }

    /// The core answers. False: it comes too late and is not to be sent.
    pub fn on_answer(&mut self, now: Time, timers: &Timers, reliable: bool, status: u16) -> bool {
        match (&self, status) {
            (InviteServer::Proceeding, 100..=199) => true,
            (InviteServer::Proceeding, 200..=299) => {
                *self = InviteServer::Accepted { l: now + timers.t1 * 64 };
                true
            }
            (InviteServer::Proceeding, 300..=699) => {
                *self = InviteServer::Completed { g: (!reliable).then(|| Backoff::new(now, timers.t1)), h: now + timers.t1 * 64 };
                true
            }
            (InviteServer::Accepted { .. }, 200..=299) => true,
            _ => false,
        }
    }

    /// An answer could not be sent. True: tell the core. The state stays (RFC 6026 §7.1).
    pub fn on_transport_error(&self) -> bool {
        matches!(self, InviteServer::Proceeding | InviteServer::Completed { .. } | InviteServer::Accepted { .. })
    }

    pub fn on_timer(&mut self, now: Time, timers: &Timers) -> Fired {
        match self {
            InviteServer::Completed { h, .. } if now >= *h => {
                *self = InviteServer::Terminated;
                Fired::TimedOut
            }
            InviteServer::Completed { g, .. } if due(g, now) => {
                if let Some(g) = g {
                    g.doubled(now, Some(timers.t2));
                }
                Fired::Retransmit
            }
            InviteServer::Confirmed { i: end } | InviteServer::Accepted { l: end } if now >= *end => {
                *self = InviteServer::Terminated;
                Fired::Ended
            }
            _ => Fired::Nothing,
        }
    }

    pub fn deadline(&self) -> Option<Time> {
        match self {
            InviteServer::Completed { g, h } => Some(earlier(g, *h)),
            InviteServer::Confirmed { i: end } | InviteServer::Accepted { l: end } => Some(*end),
            InviteServer::Proceeding | InviteServer::Terminated => None,
        }
    }
}
