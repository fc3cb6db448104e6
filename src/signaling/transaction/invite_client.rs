//! The INVITE client transaction: RFC 3261 §17.1.1 and figure 5 as replaced by RFC 6026 §7.2 (Accepted, timer M), with CANCEL's timing (§9.1).

use crate::signaling::settings::Timers;
use crate::time::Time;

use super::backoff::{Backoff, due, earlier, forgotten};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum InviteClient {
    /// Sent, nothing heard. `a` is `None` over a reliable transport and once given up.
    Calling {
        a: Option<Backoff>,
        b: Time,
        cancel_wanted: bool,
    },
    /// A provisional came. `until`: after CANCEL how long to wait for the final, else when it is taken for forgotten.
    Proceeding {
        until: Time,
        cancelled: bool,
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
                *self = InviteClient::Proceeding { until: now + timers.t1 * 64, cancelled: true };
                Heard::PassAndCancel
            }
            InviteClient::Calling { .. } => {
                *self = InviteClient::Proceeding { until: now + forgotten(timers), cancelled: false };
                Heard::Pass
            }
            InviteClient::Proceeding { until, cancelled } => {
                if !cancelled {
                    *self = InviteClient::Proceeding { until: until.max(now + forgotten(timers)), cancelled };
                }
                Heard::Pass
            }
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
            InviteClient::Proceeding { until, cancelled: cancelled @ false } => {
                (*until, *cancelled) = (now + timers.t1 * 64, true);
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
            InviteClient::Proceeding { until, .. } if now >= *until => {
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
            InviteClient::Proceeding { until: end, .. } | InviteClient::Completed { d: end } | InviteClient::Accepted { m: end } => Some(*end),
            InviteClient::Terminated => None,
        }
    }
}

/// Each transition of figure 5 as RFC 6026 §7.2 has it, and §9.1's.
#[cfg(test)]
mod tests {
    use super::*;

    fn ms(millis: u64) -> Time {
        Time::from_millis(millis)
    }

    fn t() -> Timers {
        Timers::default()
    }

    fn calling() -> InviteClient {
        InviteClient::start(Time::ZERO, &t(), false)
    }

    fn proceeding() -> InviteClient {
        let mut machine = calling();
        machine.on_provisional(ms(100), &t());
        machine
    }

    fn completed() -> InviteClient {
        let mut machine = calling();
        machine.on_failure(ms(100), &t(), false);
        machine
    }

    fn accepted() -> InviteClient {
        let mut machine = calling();
        machine.on_success(ms(100), &t());
        machine
    }

    #[test]
    fn calling_timer_a_doubles_until_timer_b() {
        let mut machine = calling();
        let mut sent = Vec::new();
        loop {
            let at = machine.deadline().expect("armed");
            match machine.on_timer(at) {
                Fired::Retransmit => sent.push(at.as_millis()),
                fired => break assert_eq!((fired, at), (Fired::TimedOut, ms(32_000))),
            }
        }
        assert_eq!(sent, [500, 1500, 3500, 7500, 15500, 31500]);
        assert_eq!((machine, machine.deadline()), (InviteClient::Terminated, None));
    }

    #[test]
    fn calling_over_a_reliable_transport_has_timer_b_only() {
        let mut machine = InviteClient::start(Time::ZERO, &t(), true);
        assert_eq!(machine.deadline(), Some(ms(32_000)));
        assert_eq!(machine.on_timer(ms(31_999)), Fired::Nothing);
        assert_eq!(machine.on_timer(ms(32_000)), Fired::TimedOut);
    }

    #[test]
    fn calling_a_late_tick_sends_once_and_no_sooner_again() {
        let mut machine = calling();
        assert_eq!(machine.on_timer(ms(9_000)), Fired::Retransmit);
        assert_eq!(machine.on_timer(ms(9_000)), Fired::Nothing);
        assert_eq!(machine.deadline(), Some(ms(10_000)));
    }

    #[test]
    fn calling_1xx_to_proceeding_and_no_more_retransmission() {
        let mut machine = calling();
        assert_eq!(machine.on_provisional(ms(100), &t()), Heard::Pass);
        assert_eq!(machine, InviteClient::Proceeding { until: ms(394_100), cancelled: false });
        assert_eq!(machine.on_timer(ms(393_000)), Fired::Nothing);
    }

    #[test]
    fn calling_2xx_to_accepted_with_timer_m() {
        let mut machine = calling();
        assert_eq!(machine.on_success(ms(100), &t()), Heard::Pass);
        assert_eq!(machine, InviteClient::Accepted { m: ms(32_100) });
    }

    #[test]
    fn calling_300_699_to_completed_with_timer_d() {
        let mut machine = calling();
        assert_eq!(machine.on_failure(ms(100), &t(), false), Heard::PassAndAcknowledge);
        assert_eq!(machine, InviteClient::Completed { d: ms(32_100) });
    }

    #[test]
    fn calling_transport_error_to_terminated_and_told() {
        let mut machine = calling();
        assert!(machine.on_transport_error());
        assert_eq!(machine, InviteClient::Terminated);
        assert!(!machine.on_transport_error());
    }

    #[test]
    fn proceeding_1xx_is_passed_each_time() {
        let mut machine = proceeding();
        assert_eq!(machine.on_provisional(ms(200), &t()), Heard::Pass);
        assert_eq!(machine, InviteClient::Proceeding { until: ms(394_200), cancelled: false });
    }

    #[test]
    fn proceeding_forgotten_it_times_out_long_after_timer_c() {
        let mut machine = proceeding();
        assert_eq!(machine.deadline(), Some(ms(394_100)));
        assert_eq!(machine.on_timer(ms(394_100)), Fired::TimedOut);
        assert_eq!(machine, InviteClient::Terminated);
    }

    #[test]
    fn proceeding_2xx_to_accepted() {
        let mut machine = proceeding();
        assert_eq!(machine.on_success(ms(200), &t()), Heard::Pass);
        assert_eq!(machine, InviteClient::Accepted { m: ms(32_200) });
    }

    #[test]
    fn proceeding_300_699_to_completed() {
        let mut machine = proceeding();
        assert_eq!(machine.on_failure(ms(200), &t(), false), Heard::PassAndAcknowledge);
        assert_eq!(machine, InviteClient::Completed { d: ms(32_200) });
    }

    #[test]
    fn proceeding_stays_at_an_earlier_copys_transport_error() {
        let mut machine = proceeding();
        assert!(!machine.on_transport_error());
        assert_eq!(machine, proceeding());
    }

    #[test]
    fn completed_300_699_again_is_acknowledged_and_not_passed() {
        let mut machine = completed();
        assert_eq!(machine.on_failure(ms(900), &t(), false), Heard::Acknowledge);
        assert_eq!(machine, InviteClient::Completed { d: ms(32_100) });
    }

    #[test]
    fn completed_1xx_and_2xx_are_absorbed() {
        let mut machine = completed();
        assert_eq!(machine.on_provisional(ms(200), &t()), Heard::Absorb);
        assert_eq!(machine.on_success(ms(200), &t()), Heard::Absorb);
    }

    #[test]
    fn completed_timer_d_to_terminated() {
        let mut machine = completed();
        assert_eq!(machine.on_timer(ms(32_099)), Fired::Nothing);
        assert_eq!(machine.on_timer(ms(32_100)), Fired::Ended);
    }

    #[test]
    fn completed_timer_d_is_zero_over_a_reliable_transport() {
        let mut machine = InviteClient::start(Time::ZERO, &t(), true);
        assert_eq!(machine.on_failure(ms(100), &t(), true), Heard::PassAndAcknowledge);
        assert_eq!(machine, InviteClient::Terminated);
    }

    #[test]
    fn completed_transport_error_to_terminated_and_told() {
        let mut machine = completed();
        assert!(machine.on_transport_error());
        assert_eq!(machine, InviteClient::Terminated);
    }

    #[test]
    fn accepted_2xx_again_is_passed_and_timer_m_goes_on() {
        let mut machine = accepted();
        assert_eq!(machine.on_success(ms(20_000), &t()), Heard::Pass);
        assert_eq!(machine.deadline(), Some(ms(32_100)));
    }

    #[test]
    fn accepted_1xx_and_300_699_are_absorbed() {
        let mut machine = accepted();
        assert_eq!(machine.on_provisional(ms(200), &t()), Heard::Absorb);
        assert_eq!(machine.on_failure(ms(200), &t(), false), Heard::Absorb);
    }

    #[test]
    fn accepted_timer_m_to_terminated() {
        let mut machine = accepted();
        assert_eq!(machine.on_timer(ms(32_099)), Fired::Nothing);
        assert_eq!(machine.on_timer(ms(32_100)), Fired::Ended);
    }

    #[test]
    fn cancel_waits_for_a_provisional_and_then_64_t1_for_the_final() {
        let mut machine = calling();
        assert!(!machine.cancel(ms(10), &t()));
        assert_eq!(machine.on_provisional(ms(100), &t()), Heard::PassAndCancel);
        assert_eq!(machine.on_provisional(ms(200), &t()), Heard::Pass);
        assert!(!machine.cancel(ms(300), &t()), "one CANCEL only");
        assert_eq!(machine.on_timer(ms(32_099)), Fired::Nothing);
        assert_eq!(machine.on_timer(ms(32_100)), Fired::TimedOut);
    }

    #[test]
    fn cancel_in_proceeding_is_sent_at_once_and_a_final_ends_the_wait() {
        let mut machine = proceeding();
        assert!(machine.cancel(ms(200), &t()));
        assert_eq!(machine.on_failure(ms(300), &t(), false), Heard::PassAndAcknowledge);
    }

    #[test]
    fn cancel_waiting_for_a_provisional_is_dropped_on_a_final() {
        let mut machine = calling();
        machine.cancel(ms(10), &t());
        assert_eq!(machine.on_success(ms(100), &t()), Heard::Pass);
        assert!(!machine.cancel(ms(200), &t()));
        assert!(!completed().cancel(ms(200), &t()));
    }

    #[test]
    fn abandoned_in_calling_it_is_quiet_waits_64_t1_and_cancels_what_rings_late() {
        let mut machine = calling();
        assert!(!machine.abandon(ms(10_000), &t()));
        assert_eq!(machine.deadline(), Some(ms(42_000)));
        assert_eq!(machine.on_provisional(ms(11_000), &t()), Heard::PassAndCancel);
    }
}
