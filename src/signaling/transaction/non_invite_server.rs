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

/// Each transition of figure 8, and RFC 4320's rules.
#[cfg(test)]
mod tests {
    use super::*;

    fn ms(millis: u64) -> Time {
        Time::from_millis(millis)
    }

    fn t() -> Timers {
        Timers::default()
    }

    fn trying() -> NonInviteServer {
        NonInviteServer::start(Time::ZERO, &t())
    }

    fn proceeding() -> NonInviteServer {
        let mut machine = trying();
        assert_eq!(machine.on_timer(ms(3_500)), Fired::SendTrying);
        machine
    }

    fn completed() -> NonInviteServer {
        let mut machine = trying();
        machine.on_answer(ms(100), &t(), false, 200);
        machine
    }

    #[test]
    fn trying_request_again_is_absorbed() {
        assert_eq!(trying().on_request(), Heard::Absorb);
    }

    #[test]
    fn trying_200_699_to_completed_with_timer_j() {
        let mut machine = trying();
        assert_eq!(machine.on_answer(ms(100), &t(), false, 404), Answer::Send);
        assert_eq!(machine, NonInviteServer::Completed { j: ms(32_100) });
    }

    #[test]
    fn trying_100_is_sent_when_the_clients_timer_e_is_t2() {
        let mut machine = trying();
        assert_eq!(machine.deadline(), Some(ms(3_500)));
        assert_eq!(machine.on_timer(ms(3_499)), Fired::Nothing);
        assert_eq!(machine.on_timer(ms(3_500)), Fired::SendTrying);
        assert_eq!(machine, NonInviteServer::Proceeding { end: ms(32_000) });
    }

    #[test]
    fn trying_early_100_and_any_other_1xx_are_withheld() {
        let mut machine = trying();
        assert_eq!(machine.on_answer(ms(100), &t(), false, 100), Answer::Withhold);
        assert_eq!(machine.on_answer(ms(100), &t(), true, 183), Answer::Withhold);
        assert_eq!(proceeding().on_answer(ms(4_000), &t(), false, 183), Answer::Withhold);
    }

    #[test]
    fn trying_early_100_is_sent_over_a_reliable_transport() {
        let mut machine = trying();
        assert_eq!(machine.on_answer(ms(100), &t(), true, 100), Answer::Send);
        assert_eq!(machine, NonInviteServer::Proceeding { end: ms(32_000) });
    }

    #[test]
    fn a_408_is_never_sent_and_ends() {
        for mut machine in [trying(), proceeding()] {
            assert_eq!(machine.on_answer(ms(4_000), &t(), false, 408), Answer::End);
            assert_eq!(machine, NonInviteServer::Terminated);
        }
    }

    #[test]
    fn unanswered_it_ends_when_the_client_has_given_up() {
        let mut machine = proceeding();
        assert_eq!(machine.on_timer(ms(31_999)), Fired::Nothing);
        assert_eq!(machine.on_timer(ms(32_000)), Fired::Ended);
        assert_eq!(machine.on_answer(ms(32_001), &t(), false, 200), Answer::Withhold);
    }

    #[test]
    fn proceeding_request_again_repeats_the_100() {
        assert_eq!(proceeding().on_request(), Heard::Repeat);
    }

    #[test]
    fn proceeding_200_699_to_completed() {
        let mut machine = proceeding();
        assert_eq!(machine.on_answer(ms(4_000), &t(), false, 200), Answer::Send);
        assert_eq!(machine, NonInviteServer::Completed { j: ms(36_000) });
    }

    #[test]
    fn proceeding_transport_error_to_terminated_and_told() {
        let mut machine = proceeding();
        assert!(machine.on_transport_error());
        assert_eq!(machine, NonInviteServer::Terminated);
    }

    #[test]
    fn completed_request_again_repeats_the_final() {
        assert_eq!(completed().on_request(), Heard::Repeat);
    }

    #[test]
    fn completed_takes_no_other_final() {
        assert_eq!(completed().on_answer(ms(200), &t(), false, 500), Answer::Withhold);
        assert_eq!(completed().on_answer(ms(200), &t(), false, 408), Answer::Withhold);
    }

    #[test]
    fn completed_timer_j_to_terminated() {
        let mut machine = completed();
        assert_eq!(machine.on_timer(ms(32_099)), Fired::Nothing);
        assert_eq!(machine.on_timer(ms(32_100)), Fired::Ended);
    }

    #[test]
    fn completed_timer_j_is_zero_over_a_reliable_transport() {
        let mut machine = trying();
        assert_eq!(machine.on_answer(ms(100), &t(), true, 200), Answer::Send);
        assert_eq!(machine, NonInviteServer::Terminated);
    }

    #[test]
    fn completed_transport_error_to_terminated_and_told() {
        let mut machine = completed();
        assert!(machine.on_transport_error());
        assert_eq!(machine, NonInviteServer::Terminated);
    }

    #[test]
    fn e_reaches_t2_by_rfc_4320_also_with_other_timers() {
        let timers = |t1: u64, t2: u64| Timers { t1: Duration::from_millis(t1), t2: Duration::from_millis(t2), ..t() };
        assert_eq!(until_e_is_t2(&timers(500, 4000)), Duration::from_millis(3500));
        assert_eq!(until_e_is_t2(&timers(1000, 4000)), Duration::from_millis(3000));
        assert_eq!(until_e_is_t2(&timers(500, 500)), Duration::ZERO);
    }
}
