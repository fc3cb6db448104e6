//! The non-INVITE server transaction: RFC 3261 §17.2.2 and figure 8, with RFC 4320.
//!
//! RFC 4320 §4.1: no provisional but 100, and that one only when the client's timer E has grown to T2; then it must be sent, so the transaction
//! sends it by itself. §4.2: 408 is never sent; a final that would come after the client's timer F is not sent either, so the transaction ends
//! when that has passed.

use std::time::Duration;

use crate::signaling::settings::Timers;
use crate::time::Time;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NonInviteServer {
    /// Not answered. `hundred`: when 100 becomes due; `end`: when the client has given up.
    Trying {
        hundred: Time,
        end: Time,
    },
    /// 100 was sent.
    Proceeding {
        end: Time,
    },
    /// A final was sent; it answers retransmissions until `j`.
    Completed {
        j: Time,
    },
    Terminated,
}

/// What to do with the request again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Heard {
    /// Send the last answer again.
    Repeat,
    Absorb,
}

/// What to do with an answer of the core's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Answer {
    Send,
    /// A provisional that must not be sent (now), or a final after another.
    Withhold,
    /// It must not be sent, and nothing else will be: the transaction has ended.
    End,
}

/// What a timer wants done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fired {
    Nothing,
    /// Send 100 (Trying).
    SendTrying,
    /// The transaction has ended.
    Ended,
}

impl NonInviteServer {
    pub fn start(now: Time, timers: &Timers) -> NonInviteServer {
        NonInviteServer::Trying { hundred: now + until_e_is_t2(timers), end: now + timers.t1 * 64 }
    }

    /// The request again.
    pub fn on_request(&self) -> Heard {
        match self {
            NonInviteServer::Proceeding { .. } | NonInviteServer::Completed { .. } => Heard::Repeat,
            NonInviteServer::Trying { .. } | NonInviteServer::Terminated => Heard::Absorb,
        }
    }

    /// The core answers.
    pub fn on_answer(&mut self, now: Time, timers: &Timers, reliable: bool, status: u16) -> Answer {
        match (*self, status) {
            (NonInviteServer::Trying { hundred, end }, 100) if reliable || now >= hundred => {
                *self = NonInviteServer::Proceeding { end };
                Answer::Send
            }
            (NonInviteServer::Trying { .. } | NonInviteServer::Proceeding { .. }, 408) => {
                *self = NonInviteServer::Terminated;
                Answer::End
            }
            (NonInviteServer::Trying { .. } | NonInviteServer::Proceeding { .. }, 200..=699) => {
                // Timer J is zero over a reliable transport.
                *self = if reliable { NonInviteServer::Terminated } else { NonInviteServer::Completed { j: now + timers.t1 * 64 } };
                Answer::Send
            }
            _ => Answer::Withhold,
        }
    }

    /// An answer could not be sent. True: tell the core, the transaction has ended.
    pub fn on_transport_error(&mut self) -> bool {
        match self {
            NonInviteServer::Proceeding { .. } | NonInviteServer::Completed { .. } => {
                *self = NonInviteServer::Terminated;
                true
            }
            NonInviteServer::Trying { .. } | NonInviteServer::Terminated => false,
        }
    }

    pub fn on_timer(&mut self, now: Time) -> Fired {
        match *self {
            NonInviteServer::Trying { end, .. } | NonInviteServer::Proceeding { end } | NonInviteServer::Completed { j: end } if now >= end => {
                *self = NonInviteServer::Terminated;
                Fired::Ended
            }
            NonInviteServer::Trying { hundred, end } if now >= hundred => {
                *self = NonInviteServer::Proceeding { end };
                Fired::SendTrying
            }
            _ => Fired::Nothing,
        }
    }

    pub fn deadline(&self) -> Option<Time> {
        match *self {
            NonInviteServer::Trying { hundred, end } => Some(hundred.min(end)),
            NonInviteServer::Proceeding { end } | NonInviteServer::Completed { j: end } => Some(end),
            NonInviteServer::Terminated => None,
        }
    }
}

/// How long after the request a client's timer E is set to T2: T1 + 2*T1 + 4*T1 + … of the intervals below T2 (3.5 s by default).
fn until_e_is_t2(timers: &Timers) -> Duration {
    let (mut interval, mut sum) = (timers.t1, Duration::ZERO);
    while interval < timers.t2 && sum < timers.t1 * 64 {
        sum += interval;
        interval *= 2;
    }
    sum
}
