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

    /// The core has given up on it: an answer that still comes is nobody's.
    pub fn abandon(&mut self) {
        if let NonInviteClient::Trying { .. } | NonInviteClient::Proceeding { .. } = self {
            *self = NonInviteClient::Terminated;
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

/// Each transition of figure 6.
#[cfg(test)]
mod tests {
    use super::*;

    fn ms(millis: u64) -> Time {
        Time::from_millis(millis)
    }

    fn t() -> Timers {
        Timers::default()
    }

    fn trying() -> NonInviteClient {
        NonInviteClient::start(Time::ZERO, &t(), false)
    }

    fn proceeding() -> NonInviteClient {
        let mut machine = trying();
        machine.on_provisional();
        machine
    }

    fn completed() -> NonInviteClient {
        let mut machine = trying();
        machine.on_final(ms(100), &t(), false);
        machine
    }

    fn schedule(machine: &mut NonInviteClient) -> (Vec<u64>, Fired, u64) {
        let mut sent = Vec::new();
        loop {
            let at = machine.deadline().expect("armed");
            match machine.on_timer(at, &t()) {
                Fired::Retransmit => sent.push(at.as_millis()),
                fired => return (sent, fired, at.as_millis()),
            }
        }
    }

    #[test]
    fn trying_timer_e_doubles_to_t2_until_timer_f() {
        let (sent, fired, end) = schedule(&mut trying());
        assert_eq!(sent, [500, 1500, 3500, 7500, 11500, 15500, 19500, 23500, 27500, 31500]);
        assert_eq!((fired, end), (Fired::TimedOut, 32_000));
    }

    #[test]
    fn trying_over_a_reliable_transport_has_timer_f_only() {
        let (sent, fired, end) = schedule(&mut NonInviteClient::start(Time::ZERO, &t(), true));
        assert_eq!((sent, fired, end), (vec![], Fired::TimedOut, 32_000));
    }

    #[test]
    fn trying_1xx_to_proceeding() {
        let mut machine = trying();
        assert_eq!(machine.on_provisional(), Heard::Pass);
        assert!(matches!(machine, NonInviteClient::Proceeding { .. }));
    }

    #[test]
    fn trying_200_699_to_completed_with_timer_k() {
        let mut machine = trying();
        assert_eq!(machine.on_final(ms(100), &t(), false), Heard::Pass);
        assert_eq!(machine, NonInviteClient::Completed { k: ms(5_100) });
    }

    #[test]
    fn trying_transport_error_to_terminated_and_told() {
        let mut machine = trying();
        assert!(machine.on_transport_error());
        assert_eq!(machine, NonInviteClient::Terminated);
    }

    #[test]
    fn proceeding_timer_e_goes_at_t2_until_timer_f() {
        let (sent, fired, end) = schedule(&mut proceeding());
        assert_eq!(sent, [500, 4500, 8500, 12500, 16500, 20500, 24500, 28500]);
        assert_eq!((fired, end), (Fired::TimedOut, 32_000));
    }

    #[test]
    fn proceeding_1xx_is_passed_each_time() {
        assert_eq!(proceeding().on_provisional(), Heard::Pass);
    }

    #[test]
    fn proceeding_200_699_to_completed() {
        let mut machine = proceeding();
        assert_eq!(machine.on_final(ms(200), &t(), false), Heard::Pass);
        assert_eq!(machine, NonInviteClient::Completed { k: ms(5_200) });
    }

    #[test]
    fn proceeding_transport_error_to_terminated_and_told() {
        let mut machine = proceeding();
        assert!(machine.on_transport_error());
        assert_eq!(machine, NonInviteClient::Terminated);
    }

    #[test]
    fn completed_absorbs_all_answers_and_transport_errors() {
        let mut machine = completed();
        assert_eq!(machine.on_final(ms(200), &t(), false), Heard::Absorb);
        assert_eq!(machine.on_provisional(), Heard::Absorb);
        assert!(!machine.on_transport_error());
        assert_eq!(machine, NonInviteClient::Completed { k: ms(5_100) });
    }

    #[test]
    fn completed_timer_k_to_terminated() {
        let mut machine = completed();
        assert_eq!(machine.on_timer(ms(5_099), &t()), Fired::Nothing);
        assert_eq!(machine.on_timer(ms(5_100), &t()), Fired::Ended);
    }

    #[test]
    fn completed_timer_k_is_zero_over_a_reliable_transport() {
        let mut machine = NonInviteClient::start(Time::ZERO, &t(), true);
        assert_eq!(machine.on_final(ms(100), &t(), true), Heard::Pass);
        assert_eq!(machine, NonInviteClient::Terminated);
    }

    #[test]
    fn abandoned_it_is_over_and_still_absorbs_what_was_answered() {
        for mut machine in [trying(), proceeding()] {
            machine.abandon();
            assert_eq!(machine, NonInviteClient::Terminated);
        }
        let mut machine = completed();
        machine.abandon();
        assert_eq!(machine, NonInviteClient::Completed { k: ms(5_100) });
    }
}
