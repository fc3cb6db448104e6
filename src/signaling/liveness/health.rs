//! What the answers of one address make of its state: up after two answers (one, where nothing was known), down after three in a row that did not
//! come, draining by one 503. A peer that falls again and again must stay good longer each time (as RFC 2439 damps routes that flap).

use std::time::Duration;

use crate::policy::liveness::{Doubt, Liveness};
use crate::policy::verdict::Reason;
use crate::time::Time;

/// Answers in a row that did not come until an address is down.
pub const DOWN_AFTER: u32 = 3;
/// Answers in a row until one that was down is up.
pub const UP_AFTER: u32 = 2;
/// Up for so long, what was before is forgotten.
pub const STEADY: Duration = Duration::from_secs(600);
/// After the second fall an address must answer for so long before it is up; after each further one for twice as long.
pub const HOLD: Duration = Duration::from_secs(30);
pub const LONGEST_HOLD: Duration = Duration::from_secs(900);
/// A peer that drains is not asked later than after this, however long it says it will.
pub const LONGEST_DRAIN: Duration = Duration::from_secs(300);

/// What was seen of an address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Evidence {
    Alive,
    /// 503, with its Retry-After.
    Draining(Option<Duration>),
    /// No answer, or one that shows no life.
    Failed(Reason),
}

#[derive(Clone, PartialEq, Debug)]
pub struct Health {
    state: Liveness,
    /// How often it fell from up without having been steady in between.
    falls: u32,
    /// Failures since it is down.
    misses: u32,
}

impl Health {
    pub const fn unknown() -> Health {
        Health { state: Liveness::Probing(Doubt::NotKnown { failures: 0 }), falls: 0, misses: 0 }
    }

    pub const fn state(&self) -> Liveness {
        self.state
    }

    /// Of a disabled peer: whatever is heard changes nothing.
    pub const fn disabled() -> Health {
        Health { state: Liveness::Disabled, falls: 0, misses: 0 }
    }

    /// Takes what was seen. `interval`: at which the address is asked while it is up.
    pub fn heard(&mut self, now: Time, evidence: Evidence, interval: Duration) {
        self.state = match evidence {
            Evidence::Alive => self.alive(now),
            Evidence::Draining(retry_after) => self.draining(now, retry_after, interval),
            Evidence::Failed(why) => self.failed(now, why),
        };
    }

    fn alive(&self, now: Time) -> Liveness {
        match self.state {
            Liveness::Probing(Doubt::NotKnown { .. }) => Liveness::Up { since: now },
            Liveness::Probing(Doubt::Doubted { since, .. }) => Liveness::Up { since },
            Liveness::Probing(Doubt::Recovering { since, answers, damped }) => {
                let answers = answers.saturating_add(1);
                if answers >= UP_AFTER && damped.is_none_or(|until| until <= now) {
                    return Liveness::Up { since: now };
                }
                Liveness::Probing(Doubt::Recovering { since, answers, damped })
            }
            Liveness::Draining { .. } | Liveness::Down { .. } => {
                let damped = self.hold().map(|hold| now + hold);
                // It said itself that it would take no calls, and now that it does: that needs no second opinion.
                if damped.is_none() && matches!(self.state, Liveness::Draining { .. }) {
                    return Liveness::Up { since: now };
                }
                Liveness::Probing(Doubt::Recovering { since: now, answers: 1, damped })
            }
            state @ (Liveness::Up { .. } | Liveness::Disabled | Liveness::Unwatched) => state,
        }
    }

    fn draining(&mut self, now: Time, retry_after: Option<Duration>, interval: Duration) -> Liveness {
        // RFC 3261 §21.5.4: no request before Retry-After is over.
        let until = now + retry_after.unwrap_or(interval).min(LONGEST_DRAIN).max(interval);
        match self.state {
            Liveness::Disabled | Liveness::Unwatched => self.state,
            Liveness::Draining { since, .. } => Liveness::Draining { since, until },
            Liveness::Up { since } | Liveness::Probing(Doubt::Doubted { since, .. }) => {
                self.fell(now, since);
                Liveness::Draining { since: now, until }
            }
            Liveness::Probing(_) | Liveness::Down { .. } => Liveness::Draining { since: now, until },
        }
    }

    fn failed(&mut self, now: Time, why: Reason) -> Liveness {
        self.misses = self.misses.saturating_add(1);
        match self.state {
            Liveness::Up { since } => Liveness::Probing(Doubt::Doubted { since, failures: 1, why }),
            Liveness::Probing(Doubt::Doubted { since, failures, .. }) if failures + 1 < DOWN_AFTER => {
                Liveness::Probing(Doubt::Doubted { since, failures: failures + 1, why })
            }
            Liveness::Probing(Doubt::NotKnown { failures }) if failures + 1 < DOWN_AFTER => Liveness::Probing(Doubt::NotKnown { failures: failures + 1 }),
            Liveness::Probing(Doubt::Doubted { since, .. }) => {
                self.fell(now, since);
                self.down(now, why)
            }
            Liveness::Probing(Doubt::NotKnown { .. } | Doubt::Recovering { .. }) | Liveness::Draining { .. } => self.down(now, why),
            Liveness::Down { since, .. } => Liveness::Down { since, why },
            state @ (Liveness::Disabled | Liveness::Unwatched) => state,
        }
    }

    fn down(&mut self, now: Time, why: Reason) -> Liveness {
        self.misses = 0;
        Liveness::Down { since: now, why }
    }

    fn fell(&mut self, now: Time, up_since: Time) {
        if now.since(up_since) >= STEADY {
            self.falls = 0;
        }
        self.falls = self.falls.saturating_add(1);
    }

    /// How long it must answer before it is up again.
    fn hold(&self) -> Option<Duration> {
        let doublings = self.falls.checked_sub(2)?.min(16);
        Some(HOLD.saturating_mul(1 << doublings).min(LONGEST_HOLD))
    }

    /// How long to wait before it is asked again: `interval` while all is well, less where something is to be found out, and for one that is down
    /// longer each time, up to `interval`.
    pub fn pause(&self, now: Time, interval: Duration) -> Duration {
        let quick = quick(interval);
        match self.state {
            Liveness::Probing(Doubt::Recovering { damped: Some(until), .. }) => until.since(now).min(interval).max(quick),
            Liveness::Probing(_) => quick,
            Liveness::Draining { until, .. } => until.since(now).max(quick),
            Liveness::Down { .. } => quick.saturating_mul(1 << self.misses.min(16)).min(interval),
            Liveness::Up { .. } | Liveness::Disabled | Liveness::Unwatched => interval,
        }
    }
}

/// Between questions to an address that may be failing.
pub fn quick(interval: Duration) -> Duration {
    (interval / 10).clamp(Duration::from_secs(1), Duration::from_secs(5))
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(30);
    const BAD: Evidence = Evidence::Failed(Reason::LivenessTimeout);

    struct Address {
        now: Time,
        health: Health,
    }

    impl Address {
        fn new() -> Address {
            Address { now: Time::from_millis(1_000_000), health: Health::unknown() }
        }

        /// A known one that is up.
        fn up() -> Address {
            let mut address = Address::new();
            address.sees(&[Evidence::Alive]);
            address
        }

        fn sees(&mut self, evidence: &[Evidence]) -> Liveness {
            for evidence in evidence {
                self.now = self.now + Duration::from_secs(1);
                self.health.heard(self.now, *evidence, INTERVAL);
            }
            self.health.state()
        }

        fn word(&self) -> &'static str {
            self.health.state().word()
        }
    }

    #[test]
    fn one_answer_makes_the_unknown_known_and_three_misses_make_it_down() {
        assert_eq!(Address::up().word(), "up");
        let mut address = Address::new();
        assert_eq!(address.sees(&[BAD, BAD]), Liveness::Probing(Doubt::NotKnown { failures: 2 }));
        assert_eq!(address.sees(&[BAD]), Liveness::Down { since: address.now, why: Reason::LivenessTimeout });
    }

    #[test]
    fn one_miss_or_two_are_doubt_and_an_answer_ends_it() {
        let mut address = Address::up();
        let since = address.now;
        assert!(address.sees(&[BAD, BAD]).is_usable());
        assert_eq!(address.sees(&[Evidence::Alive]), Liveness::Up { since }, "it has been up all the time");
        address.sees(&[BAD, BAD, BAD]);
        assert_eq!(address.word(), "down");
    }

    #[test]
    fn up_again_takes_two_answers_in_a_row() {
        let mut address = Address::up();
        address.sees(&[BAD, BAD, BAD, Evidence::Alive]);
        assert_eq!(address.word(), "probing");
        assert!(!address.health.state().is_usable());
        address.sees(&[BAD, Evidence::Alive]);
        assert_eq!(address.word(), "probing");
        address.sees(&[Evidence::Alive]);
        assert_eq!(address.word(), "up");
    }

    #[test]
    fn draining_ends_by_one_answer_and_becomes_down_by_one_miss() {
        let mut address = Address::up();
        let until = address.now + Duration::from_secs(1 + 120);
        assert_eq!(address.sees(&[Evidence::Draining(Some(Duration::from_secs(120)))]), Liveness::Draining { since: address.now, until });
        assert_eq!(address.health.pause(address.now, INTERVAL), Duration::from_secs(120));
        address.sees(&[Evidence::Alive]);
        assert_eq!(address.word(), "up");
        address.sees(&[Evidence::Draining(None), BAD]);
        assert_eq!(address.word(), "down");
        // However long it says: a restart would make it void.
        for (said, waited) in [(0, 30), (31, 31), (86_400, 300)] {
            let mut address = Address::up();
            address.sees(&[Evidence::Draining(Some(Duration::from_secs(said)))]);
            assert_eq!(address.health.pause(address.now, INTERVAL), Duration::from_secs(waited));
        }
    }

    #[test]
    fn each_fall_within_ten_minutes_holds_it_back_longer_up_to_a_limit() {
        let mut address = Address::up();
        let mut holds = Vec::new();
        for _ in 0..8 {
            address.sees(&[BAD, BAD, BAD]);
            let began = address.now;
            while address.word() != "up" {
                address.sees(&[Evidence::Alive]);
            }
            holds.push(address.now.since(began).as_secs());
        }
        assert_eq!(holds, [2, 31, 61, 121, 241, 481, 901, 901]);
        // A steady while, and all is forgotten.
        address.now = address.now + STEADY;
        address.sees(&[BAD, BAD, BAD, Evidence::Alive, Evidence::Alive]);
        assert_eq!(address.word(), "up");
    }

    #[test]
    fn a_miss_while_held_back_begins_it_again() {
        let mut address = Address::up();
        address.sees(&[BAD, BAD, BAD, Evidence::Alive, Evidence::Alive, BAD, BAD, BAD, Evidence::Alive]);
        let Liveness::Probing(Doubt::Recovering { damped: Some(until), .. }) = address.health.state() else { panic!("{:?}", address.health) };
        assert_eq!(until, address.now + HOLD);
        assert_eq!(address.health.pause(address.now, INTERVAL), HOLD, "nothing is to be found out before");
        assert_eq!(address.health.pause(until, INTERVAL), quick(INTERVAL));
        address.sees(&[Evidence::Alive; 20]);
        address.sees(&[BAD, Evidence::Alive]);
        let Liveness::Probing(Doubt::Recovering { damped: Some(until), .. }) = address.health.state() else { panic!("{:?}", address.health) };
        assert_eq!(until, address.now + HOLD, "not longer: it was not up in between");
    }

    #[test]
    fn what_may_be_failing_is_asked_sooner_and_what_is_down_less_and_less_often() {
        let mut address = Address::up();
        assert_eq!(address.health.pause(address.now, INTERVAL), INTERVAL);
        let mut pauses = Vec::new();
        for _ in 0..9 {
            address.sees(&[BAD]);
            pauses.push(address.health.pause(address.now, INTERVAL).as_secs());
        }
        assert_eq!(pauses, [3, 3, 3, 6, 12, 24, 30, 30, 30]);
        assert_eq!([1u64, 5, 60, 3600].map(|seconds| quick(Duration::from_secs(seconds)).as_secs()), [1, 1, 5, 5]);
    }

    #[test]
    fn the_disabled_stays_disabled() {
        let mut health = Health::disabled();
        for evidence in [BAD, Evidence::Alive, Evidence::Draining(None)] {
            health.heard(Time::ZERO, evidence, INTERVAL);
            assert_eq!(health.state(), Liveness::Disabled);
        }
    }
}
