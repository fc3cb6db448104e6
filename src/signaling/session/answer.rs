//! The core's own retransmission of a 2xx to an INVITE until its ACK comes, RFC 3261 §13.3.1.4: over any transport, T1 doubling to T2, given up
//! after 64*T1. (The transaction does not repeat a 2xx: RFC 6026 §7.1.)

use std::time::Duration;

use bytes::Bytes;

use crate::signaling::settings::Timers;
use crate::time::Time;

/// A 2xx that awaits its ACK.
#[derive(Clone, Debug)]
pub struct UnacknowledgedAnswer {
    bytes: Bytes,
    interval: Duration,
    longest: Duration,
    next: Time,
    end: Time,
    acknowledged: bool,
}

/// What `timeout` wants done.
#[derive(Clone, PartialEq, Debug)]
pub enum AnswerTimeout {
    /// Nothing is due.
    Nothing,
    /// Send the 2xx again, by `respond` on its server transaction.
    Retransmit(Bytes),
    /// No ACK came: the session is to be ended by BYE. Once.
    GiveUp,
}

impl UnacknowledgedAnswer {
    /// `bytes`: the 2xx, just sent for the first time.
    pub fn new(now: Time, timers: &Timers, bytes: Bytes) -> UnacknowledgedAnswer {
        let t1 = timers.t1.max(Duration::from_millis(1));
        UnacknowledgedAnswer { bytes, interval: t1, longest: timers.t2.max(t1), next: now + t1, end: now + t1 * 64, acknowledged: false }
    }

    /// The ACK has come; false if it is a repeated one.
    pub fn on_ack(&mut self) -> bool {
        !std::mem::replace(&mut self.acknowledged, true)
    }

    pub fn is_acknowledged(&self) -> bool {
        self.acknowledged
    }

    /// `None` when acknowledged or given up.
    pub fn deadline(&self) -> Option<Time> {
        (!self.acknowledged).then_some(self.next.min(self.end))
    }

    pub fn timeout(&mut self, now: Time) -> AnswerTimeout {
        if self.acknowledged || now < self.next.min(self.end) {
            return AnswerTimeout::Nothing;
        }
        if now >= self.end {
            self.acknowledged = true;
            return AnswerTimeout::GiveUp;
        }
        self.interval = (self.interval * 2).min(self.longest);
        self.next = now + self.interval;
        AnswerTimeout::Retransmit(self.bytes.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(answer: &mut UnacknowledgedAnswer) -> (Vec<u64>, Option<u64>) {
        let mut sent = Vec::new();
        while let Some(at) = answer.deadline() {
            match answer.timeout(at) {
                AnswerTimeout::Retransmit(_) => sent.push(at.as_millis()),
                AnswerTimeout::GiveUp => return (sent, Some(at.as_millis())),
                AnswerTimeout::Nothing => panic!("a deadline with nothing to do"),
            }
        }
        (sent, None)
    }

    #[test]
    fn doubles_to_t2_and_gives_up_after_64_t1() {
        let mut answer = UnacknowledgedAnswer::new(Time::ZERO, &Timers::default(), Bytes::from_static(b"200"));
        let (sent, end) = run(&mut answer);
        assert_eq!(sent, [500, 1500, 3500, 7500, 11500, 15500, 19500, 23500, 27500, 31500]);
        assert_eq!(end, Some(32_000));
        assert_eq!(answer.deadline(), None);
    }

    #[test]
    fn stops_at_the_ack_and_knows_a_repeated_one() {
        let mut answer = UnacknowledgedAnswer::new(Time::ZERO, &Timers::default(), Bytes::from_static(b"200"));
        assert_eq!(answer.timeout(Time::from_millis(499)), AnswerTimeout::Nothing);
        assert_eq!(answer.timeout(Time::from_millis(500)), AnswerTimeout::Retransmit(Bytes::from_static(b"200")));
        assert!(answer.on_ack());
        assert!(!answer.on_ack());
        assert_eq!(answer.deadline(), None);
        assert_eq!(answer.timeout(Time::from_millis(60_000)), AnswerTimeout::Nothing);
    }
}
