//! Holds new calls back before queues grow, where no limit that is written does: by how much of its thread's time signalling takes (the processor occupancy of RFC 6357),
//! and by the memory the process holds.
//!
//! Of new calls a share is taken, and the others get 503 at once (RFC 3261 §21.5.4). After each measurement above the ceiling the share falls by as much as is above, below it
//! rises again; so it settles where the thread is as busy as it may be, and calls that are taken are answered in time. What belongs to a call that is up is never held back.

use crate::policy::admission::Pressure;
use crate::policy::settings::AdmissionLimits;
use crate::signaling::event::Measured;
use crate::signaling::fact::What;
use crate::time::Time;

/// Measurements above the ceiling in a row before a call is held back: a reload, or a burst that is over in a moment, costs none.
const PATIENCE: u8 = 2;

/// Of a thousand new calls, at least so many are taken, so that the way back is found.
const LEAST_SHARE: f64 = 20.0;

/// A share rises by no more than this at a time.
const RISE: f64 = 2.0;

/// A thread that is never idle has a queue before it, of which nobody knows how long it is. It must be worked off, so the share falls by more.
const QUEUE: f64 = 0.7;

/// Per mille: from there on a thread counts as never idle.
const NEVER_IDLE: u16 = 990;

const WHOLE: f64 = 1000.0;

#[derive(Debug)]
pub struct Throttle {
    /// Of a thousand new calls so many are taken.
    share: f64,
    /// What of a call is saved up towards the next that is taken, per mille.
    credit: f64,
    above: u8,
    occupancy: Pressure,
    memory: Option<Pressure>,
    /// Since when something is held back, and how many calls were.
    holding: Option<(Time, u64)>,
}

impl Default for Throttle {
    fn default() -> Throttle {
        Throttle { share: WHOLE, credit: 0.0, above: 0, occupancy: Pressure::Occupancy { occupied: 0, ceiling: 1000 }, memory: None, holding: None }
    }
}

impl Throttle {
    /// What the rim has measured since it did last. A fact comes back when calls begin to be held back, and when they are no more.
    pub fn measured(&mut self, now: Time, measured: Measured, limits: &AdmissionLimits) -> Option<What> {
        let ceiling = limits.memory.or(measured.memory_granted.map(|granted| granted / 10 * 9));
        self.memory = ceiling.filter(|ceiling| measured.memory >= *ceiling).map(|ceiling| Pressure::Memory { used: measured.memory, ceiling });
        self.occupied(measured.occupied, limits.occupancy);
        let held = self.memory.or((self.share < WHOLE).then_some(self.occupancy));
        match (held, self.holding) {
            (Some(pressure), None) => {
                self.holding = Some((now, 0));
                Some(What::Overloaded { pressure })
            }
            (None, Some((since, refused))) => {
                self.holding = None;
                Some(What::Relieved { lasted: now.since(since), refused })
            }
            _ => None,
        }
    }

    fn occupied(&mut self, occupied: u16, ceiling: Option<u16>) {
        let Some(ceiling) = ceiling else {
            self.share = WHOLE;
            return;
        };
        self.occupancy = Pressure::Occupancy { occupied, ceiling };
        let is_above = occupied > ceiling;
        self.above = if is_above { self.above.saturating_add(1) } else { 0 };
        if self.share >= WHOLE && self.above < PATIENCE {
            return;
        }
        let factor = if occupied >= NEVER_IDLE { QUEUE } else { (f64::from(ceiling) / f64::from(occupied.max(1))).min(RISE) };
        self.share = (self.share * factor).clamp(LEAST_SHARE, WHOLE);
    }

    /// Asked once for each new call: why it is held back, if it is.
    pub fn holds(&mut self) -> Option<Pressure> {
        let pressure = match self.memory {
            Some(memory) => memory,
            None if self.share >= WHOLE => return None,
            None => {
                self.credit += self.share;
                if self.credit >= WHOLE {
                    self.credit -= WHOLE;
                    return None;
                }
                self.occupancy
            }
        };
        if let Some((_, refused)) = &mut self.holding {
            *refused += 1;
        }
        Some(pressure)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const LIMITS: AdmissionLimits = AdmissionLimits { calls: None, calls_per_peer: None, rate: None, rate_per_peer: None, occupancy: Some(900), memory: None };

    fn busy(occupied: u16) -> Measured {
        Measured { occupied, ..Measured::default() }
    }

    /// A border on which a call costs ten of a measurement's thousand parts of time and a refused one a single part, to which so many come in each, and before which what
    /// does not fit waits. Returns the parts that were taken up and what waits, over the last hundred measurements.
    fn settle(throttle: &mut Throttle, offered: u32) -> Vec<(u32, u32)> {
        let mut waiting = 0;
        let rounds = (0..300u64).map(|round| {
            let cost: u32 = (0..offered).map(|_| if throttle.holds().is_none() { 10 } else { 1 }).sum();
            let busy_for = (waiting + cost).min(1000);
            waiting = waiting + cost - busy_for;
            throttle.measured(Time::from_millis(round * 100), busy(busy_for as u16), &LIMITS);
            (busy_for, waiting)
        });
        rounds.skip(200).collect()
    }

    #[test]
    fn a_burst_costs_no_call() {
        let mut throttle = Throttle::default();
        for round in 0..1 {
            assert!(throttle.measured(Time::from_millis(round), busy(1000), &LIMITS).is_none());
            assert_eq!(throttle.holds(), None);
        }
        throttle.measured(Time::from_millis(3), busy(300), &LIMITS);
        for _ in 0..1000 {
            assert_eq!(throttle.holds(), None);
        }
    }

    #[test]
    fn as_many_calls_are_taken_as_the_thread_has_time_for() {
        for offered in [95, 150, 200, 400] {
            let settled = settle(&mut Throttle::default(), offered);
            let mean = settled.iter().map(|(busy, _)| busy).sum::<u32>() / 100;
            assert!((800..=960).contains(&mean), "{offered} offered: busy for {mean} of 1000");
            let longest = settled.iter().map(|(_, waiting)| *waiting).max().unwrap_or(0);
            assert!(longest < 300, "{offered} offered: {longest} thousandths of a tenth of a second waited");
        }
    }

    #[test]
    fn it_is_told_when_calls_are_held_back_and_when_no_more() {
        let mut throttle = Throttle::default();
        let told: Vec<What> = (0..4).filter_map(|round| throttle.measured(Time::from_millis(round * 100), busy(1000), &LIMITS)).collect();
        assert!(matches!(told[..], [What::Overloaded { pressure: Pressure::Occupancy { occupied: 1000, ceiling: 900 } }]), "{told:?}");
        let held = (0..100).filter(|_| throttle.holds().is_some()).count() as u64;
        assert!(held > 20, "{held}");
        let told: Vec<What> = (4..40).filter_map(|round| throttle.measured(Time::from_millis(round * 100), busy(100), &LIMITS)).collect();
        match told[..] {
            [What::Relieved { lasted, refused }] => assert!(lasted > Duration::from_millis(200) && refused == held, "{lasted:?} {refused}"),
            _ => panic!("{told:?}"),
        }
    }

    #[test]
    fn memory_above_its_ceiling_holds_every_call_back() {
        let mut throttle = Throttle::default();
        let limits = AdmissionLimits { memory: Some(1000), ..LIMITS };
        let measured = |memory| Measured { memory, ..Measured::default() };
        assert!(throttle.measured(Time::ZERO, measured(1000), &limits).is_some());
        assert!((0..100).all(|_| throttle.holds() == Some(Pressure::Memory { used: 1000, ceiling: 1000 })));
        assert!(matches!(throttle.measured(Time::ZERO, measured(999), &limits), Some(What::Relieved { refused: 100, .. })));
        assert_eq!(throttle.holds(), None);
    }

    #[test]
    fn what_a_container_is_granted_is_the_ceiling_where_none_is_written() {
        let mut throttle = Throttle::default();
        let measured = |memory| Measured { memory, memory_granted: Some(1000), ..Measured::default() };
        assert!(throttle.measured(Time::ZERO, measured(899), &LIMITS).is_none());
        assert!(throttle.measured(Time::ZERO, measured(900), &LIMITS).is_some());
    }

    #[test]
    fn without_a_ceiling_nothing_is_held_back() {
        let mut throttle = Throttle::default();
        let limits = AdmissionLimits { occupancy: None, ..LIMITS };
        assert!((0..100).all(|_| throttle.measured(Time::ZERO, busy(1000), &limits).is_none() && throttle.holds().is_none()));
    }
}
