//! The non-INVITE client transaction: RFC 3261 §17.1.2 and figure 6.

use crate::signaling::settings::Timers;
use crate::time::Time;

use super::backoff::{Backoff, due, earlier};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NonInviteClient {
    /// `e` is `None` over a reliable transport and once given up.
    Trying {
        e: Option<Backoff>,
        f: Time,
    },
    Proceeding {
        e: Option<Backoff>,
        f: Time,
    },
    /// A final came; its retransmissions are absorbed until `k`.
    Completed {
        k: Time,
    },
    Terminated,
}

/// What to do with a response.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Heard {
    Pass,
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

impl NonInviteClient {
    /// The request is being sent for the first time.
    pub fn start(now: Time, timers: &Timers, reliable: bool) -> NonInviteClient {
        NonInviteClient::Trying { e: (!reliable).then(|| Backoff::new(now, timers.t1)), f: now + timers.t1 * 64 }
    }

    pub fn on_provisional(&mut self) -> Heard {
        match *self {
            NonInviteClient::Trying { e, f } => {
                *self = NonInviteClient::Proceeding { e, f };
                Heard::Pass
            }
            NonInviteClient::Proceeding { .. } => Heard::Pass,
            NonInviteClient::Completed { .. } | NonInviteClient::Terminated => Heard::Absorb,
        }
    }

    pub fn on_final(&mut self, now: Time, timers: &Timers, reliable: bool) -> Heard {
        match *self {
            NonInviteClient::Trying { .. } | NonInviteClient::Proceeding { .. } => {
                // Timer K is zero over a reliable transport.
                *self = if reliable { NonInviteClient::Terminated } else { NonInviteClient::Completed { k: now + timers.t4 } };
                Heard::Pass
            }
            NonInviteClient::Completed { .. } | NonInviteClient::Terminated => Heard::Absorb,
        }
    }

    /// True: tell the core, the transaction has ended.
    pub fn on_transport_error(&mut self) -> bool {
        match self {
            NonInviteClient::Trying { .. } | NonInviteClient::Proceeding { .. } => {
                *self = NonInviteClient::Terminated;
                true
            }
            NonInviteClient::Completed { .. } | NonInviteClient::Terminated => false,
        }
    }

    /// The core has given up on it: no more retransmissions.
    pub fn abandon(&mut self) {
        if let NonInviteClient::Trying { e, .. } | NonInviteClient::Proceeding { e, .. } = self {
            *e = None;
        }
    }

    pub fn on_timer(&mut self, now: Time, timers: &Timers) -> Fired {
        match self {
            NonInviteClient::Trying { f, .. } | NonInviteClient::Proceeding { f, .. } if now >= *f => {
                *self = NonInviteClient::Terminated;
                Fired::TimedOut
            }
            NonInviteClient::Trying { e, .. } if due(e, now) => {
                if let Some(e) = e {
                    e.doubled(now, Some(timers.t2));
                }
                Fired::Retransmit
            }
            NonInviteClient::Proceeding { e, .. } if due(e, now) => {
                if let Some(e) = e {
                    e.fixed(now, timers.t2);
                }
                Fired::Retransmit
            }
            NonInviteClient::Completed { k } if now >= *k => {
                *self = NonInviteClient::Terminated;
                Fired::Ended
            }
            _ => Fired::Nothing,
        }
    }

    pub fn deadline(&self) -> Option<Time> {
        match self {
            NonInviteClient::Trying { e, f } | NonInviteClient::Proceeding { e, f } => Some(earlier(e, *f)),
            NonInviteClient::Completed { k } => Some(*k),
            NonInviteClient::Terminated => None,
        }
    }
}
