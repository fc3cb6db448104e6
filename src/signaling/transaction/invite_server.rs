//! The INVITE server transaction: RFC 3261 §17.2.1 and figure 7 as replaced by RFC 6026 §7.1 (Accepted, timer L; a transport error ends nothing).
//!
//! The 100 is the core's to send, and so is the repetition of a 2xx.

use crate::signaling::settings::Timers;
use crate::time::Time;

use super::backoff::{Backoff, due, earlier, forgotten};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum InviteServer {
    /// Not finally answered. `until`: when the core is taken to have forgotten it.
    Proceeding {
        until: Time,
    },
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
    /// The first ACK to an answer that is no 2xx: nothing more to do.
    Confirm,
    Absorb,
}

/// What a timer wants done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fired {
    Nothing,
    Retransmit,
    /// No ACK came, or no answer from the core. Tell it; the transaction has ended.
    TimedOut,
    /// The transaction has ended.
    Ended,
}

impl InviteServer {
    pub fn start(now: Time, timers: &Timers) -> InviteServer {
        InviteServer::Proceeding { until: now + forgotten(timers) }
    }

    /// The INVITE again.
    pub fn on_invite(&self) -> Heard {
        match self {
            InviteServer::Proceeding { .. } | InviteServer::Completed { .. } => Heard::Repeat,
            InviteServer::Confirmed { .. } | InviteServer::Accepted { .. } | InviteServer::Terminated => Heard::Absorb,
        }
    }

    /// An ACK in the INVITE's transaction.
    pub fn on_ack(&mut self, now: Time, timers: &Timers, reliable: bool) -> Heard {
        match self {
            InviteServer::Completed { .. } => {
                // Timer I is zero over a reliable transport.
                *self = if reliable { InviteServer::Terminated } else { InviteServer::Confirmed { i: now + timers.t4 } };
                Heard::Confirm
            }
            InviteServer::Accepted { .. } => Heard::Pass,
            InviteServer::Proceeding { .. } | InviteServer::Confirmed { .. } | InviteServer::Terminated => Heard::Absorb,
        }
    }

    /// The core answers. False: it comes too late and is not to be sent.
    pub fn on_answer(&mut self, now: Time, timers: &Timers, reliable: bool, status: u16) -> bool {
        match (&self, status) {
            (InviteServer::Proceeding { .. }, 100..=199) => {
                *self = InviteServer::start(now, timers);
                true
            }
            (InviteServer::Proceeding { .. }, 200..=299) => {
                *self = InviteServer::Accepted { l: now + timers.t1 * 64 };
                true
            }
            (InviteServer::Proceeding { .. }, 300..=699) => {
                *self = InviteServer::Completed { g: (!reliable).then(|| Backoff::new(now, timers.t1)), h: now + timers.t1 * 64 };
                true
            }
            (InviteServer::Accepted { .. }, 200..=299) => true,
            _ => false,
        }
    }

    /// An answer could not be sent. True: tell the core. The state stays (RFC 6026 §7.1).
    pub fn on_transport_error(&self) -> bool {
        matches!(self, InviteServer::Proceeding { .. } | InviteServer::Completed { .. } | InviteServer::Accepted { .. })
    }

    pub fn on_timer(&mut self, now: Time, timers: &Timers) -> Fired {
        match self {
            InviteServer::Proceeding { until: end } | InviteServer::Completed { h: end, .. } if now >= *end => {
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
            InviteServer::Proceeding { until: end } | InviteServer::Confirmed { i: end } | InviteServer::Accepted { l: end } => Some(*end),
            InviteServer::Terminated => None,
        }
    }
}

/// Each transition of figure 7 as RFC 6026 §7.1 has it.
#[cfg(test)]
mod tests {
    use super::*;

    fn ms(millis: u64) -> Time {
        Time::from_millis(millis)
    }

    fn t() -> Timers {
        Timers::default()
    }

    fn answered(status: u16) -> InviteServer {
        let mut machine = InviteServer::start(Time::ZERO, &t());
        assert!(machine.on_answer(ms(100), &t(), false, status));
        machine
    }

    fn confirmed() -> InviteServer {
        let mut machine = answered(486);
        machine.on_ack(ms(200), &t(), false);
        machine
    }

    #[test]
    fn proceeding_invite_again_repeats_the_answer() {
        assert_eq!(InviteServer::start(Time::ZERO, &t()).on_invite(), Heard::Repeat);
    }

    #[test]
    fn proceeding_101_199_is_sent_and_stays() {
        let machine = answered(183);
        assert_eq!(machine, InviteServer::Proceeding { until: ms(394_100) });
    }

    #[test]
    fn proceeding_forgotten_by_the_core_it_times_out_long_after_timer_c() {
        let mut machine = answered(183);
        assert_eq!(machine.on_timer(ms(394_099), &t()), Fired::Nothing);
        assert_eq!(machine.on_timer(ms(394_100), &t()), Fired::TimedOut);
        assert_eq!(machine, InviteServer::Terminated);
    }

    #[test]
    fn proceeding_2xx_to_accepted_with_timer_l() {
        assert_eq!(answered(200), InviteServer::Accepted { l: ms(32_100) });
    }

    #[test]
    fn proceeding_300_699_to_completed_with_timers_g_and_h() {
        assert_eq!(answered(486), InviteServer::Completed { g: Some(Backoff::new(ms(100), t().t1)), h: ms(32_100) });
    }

    #[test]
    fn proceeding_transport_error_is_told_and_stays() {
        assert!(InviteServer::start(Time::ZERO, &t()).on_transport_error());
    }

    #[test]
    fn proceeding_ack_is_absorbed() {
        let mut machine = InviteServer::start(Time::ZERO, &t());
        assert_eq!(machine.on_ack(ms(100), &t(), false), Heard::Absorb);
        assert_eq!(machine, InviteServer::Proceeding { until: ms(394_000) });
    }

    #[test]
    fn completed_invite_again_repeats_the_answer() {
        assert_eq!(answered(486).on_invite(), Heard::Repeat);
    }

    #[test]
    fn completed_timer_g_doubles_to_t2_until_timer_h() {
        let mut machine = answered(486);
        let mut sent = Vec::new();
        loop {
            let at = machine.deadline().expect("armed");
            match machine.on_timer(at, &t()) {
                Fired::Retransmit => sent.push(at.as_millis() - 100),
                fired => break assert_eq!((fired, at), (Fired::TimedOut, ms(32_100))),
            }
        }
        assert_eq!(sent, [500, 1500, 3500, 7500, 11500, 15500, 19500, 23500, 27500, 31500]);
        assert_eq!(machine, InviteServer::Terminated);
    }

    #[test]
    fn completed_over_a_reliable_transport_has_timer_h_only() {
        let mut machine = InviteServer::start(Time::ZERO, &t());
        machine.on_answer(ms(100), &t(), true, 486);
        assert_eq!(machine, InviteServer::Completed { g: None, h: ms(32_100) });
        assert_eq!(machine.on_timer(ms(32_100), &t()), Fired::TimedOut);
    }

    #[test]
    fn completed_ack_to_confirmed_with_timer_i() {
        let mut machine = answered(486);
        assert_eq!(machine.on_ack(ms(200), &t(), false), Heard::Confirm);
        assert_eq!(machine, InviteServer::Confirmed { i: ms(5_200) });
    }

    #[test]
    fn completed_ack_over_a_reliable_transport_to_terminated() {
        let mut machine = InviteServer::start(Time::ZERO, &t());
        machine.on_answer(ms(100), &t(), true, 486);
        machine.on_ack(ms(200), &t(), true);
        assert_eq!(machine, InviteServer::Terminated);
    }

    #[test]
    fn completed_transport_error_is_told_and_stays() {
        assert!(answered(486).on_transport_error());
    }

    #[test]
    fn completed_takes_no_other_answer() {
        for status in [183, 200, 500] {
            assert!(!answered(486).on_answer(ms(200), &t(), false, status));
        }
    }

    #[test]
    fn confirmed_ack_and_invite_are_absorbed() {
        let mut machine = confirmed();
        assert_eq!(machine.on_ack(ms(300), &t(), false), Heard::Absorb);
        assert_eq!(machine.on_invite(), Heard::Absorb);
        assert_eq!(machine, InviteServer::Confirmed { i: ms(5_200) });
    }

    #[test]
    fn confirmed_timer_i_to_terminated() {
        let mut machine = confirmed();
        assert_eq!(machine.on_timer(ms(5_199), &t()), Fired::Nothing);
        assert_eq!(machine.on_timer(ms(5_200), &t()), Fired::Ended);
    }

    #[test]
    fn accepted_invite_again_is_absorbed() {
        assert_eq!(answered(200).on_invite(), Heard::Absorb);
    }

    #[test]
    fn accepted_ack_is_passed_each_time() {
        let mut machine = answered(200);
        assert_eq!(machine.on_ack(ms(200), &t(), false), Heard::Pass);
        assert_eq!(machine.on_ack(ms(300), &t(), false), Heard::Pass);
        assert_eq!(machine, InviteServer::Accepted { l: ms(32_100) });
    }

    #[test]
    fn accepted_2xx_again_is_sent_and_nothing_else() {
        let mut machine = answered(200);
        assert!(machine.on_answer(ms(600), &t(), false, 200));
        assert!(!machine.on_answer(ms(600), &t(), false, 183));
        assert!(!machine.on_answer(ms(600), &t(), false, 500));
        assert_eq!(machine, InviteServer::Accepted { l: ms(32_100) });
    }

    #[test]
    fn accepted_transport_error_is_told_and_stays() {
        assert!(answered(200).on_transport_error());
    }

    #[test]
    fn accepted_timer_l_to_terminated() {
        let mut machine = answered(200);
        assert_eq!(machine.on_timer(ms(32_099), &t()), Fired::Nothing);
        assert_eq!(machine.on_timer(ms(32_100), &t()), Fired::Ended);
    }
}
