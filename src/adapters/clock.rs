//! The one place where the machine's clocks are read: a monotonic line for everything that waits, and the wall-clock moment it began.

use std::time::{Instant, SystemTime};

use crate::time::Time;

#[derive(Clone, Copy, Debug)]
pub struct Clock {
    anchor: Instant,
    began: SystemTime,
}

impl Clock {
    /// The line begins now.
    pub fn start() -> Clock {
        Clock { anchor: Instant::now(), began: SystemTime::now() }
    }

    pub fn now(&self) -> Time {
        Time::from_nanos(u64::try_from(self.anchor.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    /// The instant at which the line is zero, for threads that keep time by themselves.
    pub fn anchor(&self) -> Instant {
        self.anchor
    }

    /// The wall-clock time at which the line is zero.
    pub fn began(&self) -> SystemTime {
        self.began
    }

    /// When `at` comes, as the system's own instant.
    pub fn instant(&self, at: Time) -> Instant {
        self.anchor + at.since(Time::ZERO)
    }
}
