//! The INVITE client transaction: RFC 3261 §17.1.1 and figure 5 as replaced by RFC 6026 §7.2 (Accepted, timer M), with CANCEL's timing (§9.1).

use crate::signaling::settings::Timers;
use crate::time::Time;

use super::backoff::{Backoff, due, earlier};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum InviteClient {
    /// Sent, nothing heard. `a` is `None` over a reliable transport and once given up.
    Calling {
        a: Option<Backoff>,
        b: Time,
        cancel_wanted: bool,
    },
    /// A provisional came. `cancelled`: CANCEL has been sent, wait until then for the final.
    Proceeding {
        cancelled: Option<Time>,
    },
    /// A 300-699 came and was acknowledged; its retransmissions are acknowledged until `d`.
    Completed {
        d: Time,
    },
    /// A 2xx came; it and others (forks) are the core's until `m`.
    Accepted {
        m: Time,
    },
    Terminated,
}

/// What to do with a response.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Heard {
    Pass,
    /// The provisional that a CANCEL waited for.
    PassAndCancel,
    /// The first 300-699.
    PassAndAcknowledge,
    /// Its retransmission.
    Acknowledge,
    Absorb,
}

/// What a timer wants done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fired {
    Nothing,
    Retransmit,
    /// Tell the core; the transaction has ended.
    TimedOut,
    /// The transaction has ended.
    Ended,
}

impl InviteClient {
    /// The INVITE is being sent for the first time.
    pub fn start(now: Time, timers: &Timers, reliable: bool) -> InviteClient {
        InviteClient::Calling { a: (!reliable).then(|| Backoff::new(now, timers.t1)), b: now + timers.t1 * 64, cancel_wanted: false }
    }

    pub fn on_provisional(&mut self, now: Time, timers: &Timers) -> Heard {
        match *self {
            InviteClient::Calling { cancel_wanted: true, .. } => {
                *self = InviteClient::Proceeding { cancelled: Some(now + timers.t1 * 64) };
                Heard::PassAndCancel
            }
            InviteClient::Calling { .. } => {
                *self = InviteClient::Proceeding { cancelled: None };
                Heard::Pass
            }
            InviteClient::Proceeding { .. } => Heard::Pass,
            InviteClient::Completed { .. } | InviteClient::Accepted { .. } | InviteClient::Terminated => Heard::Absorb,
        }
    }

    /// A 2xx. The core acknowledges it, each time it comes.
    pub fn on_success(&mut self, now: Time, timers: &Timers) -> Heard {
        match *self {
            InviteClient::Calling { .. } | InviteClient::Proceeding { .. } => {
                *self = InviteClient::Accepted { m: now + timers.t1 * 64 };
                Heard::Pass
            }
            InviteClient::Accepted { .. } => Heard::Pass,
            InviteClient::Completed { .. } | InviteClient::Terminated => Heard::Absorb,
        }
    }

    /// A 300-699.
    pub fn on_failure(&mut self, now: Time, timers: &Timers, reliable: bool) -> Heard {
        match *self {
            InviteClient::Calling { .. } | InviteClient::Proceeding { .. } => {
                // Timer D is zero over a reliable transport.
                *self = if reliable { InviteClient::Terminated } else { InviteClient::Completed { d: now + timers.d } };
                Heard::PassAndAcknowledge
            }
            InviteClient::Completed { .. } => Heard::Acknowledge,
            InviteClient::Accepted { .. } | InviteClient::Terminated => Heard::Absorb,
        }
    }

    /// The INVITE (Calling) or the ACK (Completed) could not be sent. True: tell the core, the transaction has ended.
    pub fn on_transport_error(&mut self) -> bool {
        match self {
            InviteClient::Calling { .. } | InviteClient::Completed { .. } => {
                *self = InviteClient::Terminated;
                true
            }
            // An answer proves that an INVITE got through; what failed is an earlier copy.
            InviteClient::Proceeding { .. } | InviteClient::Accepted { .. } | InviteClient::Terminated => false,
        }
    }

    /// The core wants it cancelled. True: send CANCEL now; otherwise it waits for a provisional, or there is nothing left to cancel.
    pub fn cancel(&mut self, now: Time, timers: &Timers) -> bool {
        match self {
            InviteClient::Calling { cancel_wanted, .. } => {
                *cancel_wanted = true;
                false
            }
            InviteClient::Proceeding { cancelled: cancelled @ None } => {
                *cancelled = Some(now + timers.t1 * 64);
                true
            }
            _ => false,
        }
    }

    /// The core has given up on it: no more retransmissions, cancelled as soon as that is allowed, a late answer awaited for another 64*T1. True:
    /// send CANCEL now.
    pub fn abandon(&mut self, now: Time, timers: &Timers) -> bool {
        if let InviteClient::Calling { a, b, .. } = self {
            *a = None;
            *b = now + timers.t1 * 64;
        }
        self.cancel(now, timers)
    }

    pub fn on_timer(&mut self, now: Time) -> Fired {
        match self {
            InviteClient::Calling { b, .. } if now >= *b => {
                *self = InviteClient::Terminated;
                Fired::TimedOut
            }
            InviteClient::Calling { a, .. } if due(a, now) => {
                if let Some(a) = a {
                    a.doubled(now, None);
                }
                Fired::Retransmit
            }
            InviteClient::Proceeding { cancelled: Some(end) } if now >= *end => {
                *self = InviteClient::Terminated;
                Fired::TimedOut
            }
            InviteClient::Completed { d: end } | InviteClient::Accepted { m: end } if now >= *end => {
                *self = InviteClient::Terminated;
                Fired::Ended
            }
            _ => Fired::Nothing,
        }
    }

    pub fn deadline(&self) -> Option<Time> {
        match self {
            InviteClient::Calling { a, b, .. } => Some(earlier(a, *b)),
            InviteClient::Proceeding { cancelled } => *cancelled,
            InviteClient::Completed { d: end } | InviteClient::Accepted { m: end } => Some(*end),
            InviteClient::Terminated => None,
        }
    }
}
