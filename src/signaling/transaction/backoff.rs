//! The retransmission schedule of timers A, E and G: T1, then doubling, with or without T2's ceiling (RFC 3261 §17.1.1.2, §17.1.2.2, §17.2.1).

use std::time::Duration;

use crate::signaling::settings::Timers;
use crate::time::Time;

/// When to send again, and the interval that led there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Backoff {
    at: Time,
    /// ns; a `Duration` would be twice as big.
    interval: u64,
}

impl Backoff {
    pub fn new(now: Time, t1: Duration) -> Backoff {
        Backoff { at: now + t1, interval: t1.as_nanos() as u64 }
    }

    pub fn at(&self) -> Time {
        self.at
    }

    /// It has fired: the next interval is twice the last, at most `ceiling`. Counted from `now`, so that a late tick is not made up for.
    pub fn doubled(&mut self, now: Time, ceiling: Option<Duration>) {
        let ceiling = ceiling.map_or(u64::MAX, |ceiling| ceiling.as_nanos() as u64);
        self.interval = self.interval.saturating_mul(2).min(ceiling);
        self.at = now + Duration::from_nanos(self.interval);
    }

    /// It has fired: the next interval is this one whatever the last was.
    pub fn fixed(&mut self, now: Time, interval: Duration) {
        self.interval = interval.as_nanos() as u64;
        self.at = now + interval;
    }
}

/// How long an INVITE may stand in Proceeding without a word: well beyond the core's timer C, which decides in all usual cases. The figures know no
/// such limit; without it a transaction the core lost sight of would stand for ever.
pub fn forgotten(timers: &Timers) -> Duration {
    timers.c * 2 + timers.t1 * 64
}

/// The earlier of an optional retransmission and an end.
pub fn earlier(retransmission: &Option<Backoff>, end: Time) -> Time {
    retransmission.map_or(end, |backoff| backoff.at().min(end))
}

/// Whether the retransmission is due.
pub fn due(retransmission: &Option<Backoff>, now: Time) -> bool {
    retransmission.is_some_and(|backoff| now >= backoff.at())
}
