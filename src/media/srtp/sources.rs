//! The sources (SSRCs) one context serves: a small table, bounded, since anyone may claim any SSRC.

use crate::time::Time;

/// Sources told apart at a time.
pub const SOURCES: usize = 8;

/// The state of up to `SOURCES` sources.
#[derive(Clone, Debug)]
pub struct Sources<S> {
    slots: [Slot<S>; SOURCES],
    used: usize,
}

#[derive(Clone, Copy, Debug)]
struct Slot<S> {
    ssrc: u32,
    last: Time,
    state: S,
}

impl<S: Copy + Default> Sources<S> {
    pub fn find(&self, ssrc: u32) -> Option<&S> {
        self.slots.iter().take(self.used).find(|slot| slot.ssrc == ssrc).map(|slot| &slot.state)
    }

    /// The state of a source whose packet has proven authentic; a new one takes the place of the one longest idle when all are taken. Second: the
    /// SSRC that had to go.
    pub fn enter(&mut self, ssrc: u32, now: Time) -> (&mut S, Option<u32>) {
        let slots = &self.slots[..self.used];
        let (at, fresh) = match slots.iter().position(|slot| slot.ssrc == ssrc) {
            Some(at) => (at, false),
            None if self.used < SOURCES => {
                self.used += 1;
                (self.used - 1, true)
            }
            None => (slots.iter().enumerate().min_by_key(|(_, slot)| slot.last).map_or(0, |(at, _)| at), true),
        };
        let slot = &mut self.slots[at];
        let gone = (fresh && slot.last != NEVER).then_some(slot.ssrc);
        if fresh {
            *slot = Slot { ssrc, last: now, state: S::default() };
        }
        slot.last = now;
        (&mut slot.state, gone)
    }

    pub fn is_full(&self) -> bool {
        self.used == SOURCES
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut S> {
        self.slots.iter_mut().take(self.used).map(|slot| &mut slot.state)
    }
}

/// Marks a slot that has not been used.
const NEVER: Time = Time::from_nanos(u64::MAX);

impl<S: Copy + Default> Default for Sources<S> {
    fn default() -> Self {
        Sources { slots: [Slot { ssrc: 0, last: NEVER, state: S::default() }; SOURCES], used: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_idle_makes_room() {
        let mut sources = Sources::<u32>::default();
        for ssrc in 0..SOURCES as u32 {
            let (state, gone) = sources.enter(ssrc, Time::from_millis(u64::from(ssrc)));
            *state = ssrc + 100;
            assert_eq!(gone, None);
        }
        assert!(sources.is_full());
        assert_eq!(*sources.enter(0, Time::from_millis(50)).0, 100);
        assert_eq!(sources.enter(99, Time::from_millis(51)).1, Some(1));
        assert_eq!((sources.find(0), sources.find(1), sources.find(99)), (Some(&100), None, Some(&0)));
    }
}
