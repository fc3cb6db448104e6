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

/// A source's place in the table it was found in; good until the next `enter`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place(usize);

#[derive(Clone, Copy, Debug)]
struct Slot<S> {
    ssrc: u32,
    last: Time,
    state: S,
}

impl<S: Copy + Default> Sources<S> {
    /// Where a source stands, if it is known.
    #[inline]
    pub fn place(&self, ssrc: u32) -> Option<Place> {
        self.slots.iter().take(self.used).position(|slot| slot.ssrc == ssrc).map(Place)
    }

    #[inline]
    pub fn at(&self, place: Place) -> &S {
        &self.slots[place.0].state
    }

    #[inline]
    pub fn at_mut(&mut self, place: Place) -> &mut S {
        &mut self.slots[place.0].state
    }

    /// The state of a source whose packet has proven authentic, `place` being where it stands; a new one takes the place of the one longest idle when
    /// all are taken. Second: the SSRC that had to go.
    #[inline]
    pub fn enter(&mut self, place: Option<Place>, ssrc: u32, now: Time) -> (&mut S, Option<u32>) {
        let (at, gone) = match place {
            Some(Place(at)) => (at, None),
            None => self.make_room(),
        };
        let slot = &mut self.slots[at];
        if place.is_none() {
            *slot = Slot { ssrc, last: now, state: S::default() };
        }
        slot.last = now;
        (&mut slot.state, gone)
    }

    fn make_room(&mut self) -> (usize, Option<u32>) {
        if self.used < SOURCES {
            self.used += 1;
            return (self.used - 1, None);
        }
        let idle = self.slots.iter().enumerate().min_by_key(|(_, slot)| slot.last);
        idle.map_or((0, None), |(at, slot)| (at, Some(slot.ssrc)))
    }

    pub fn is_full(&self) -> bool {
        self.used == SOURCES
    }

    /// Each source's SSRC, when it was last heard, and its state.
    pub fn iter(&self) -> impl Iterator<Item = (u32, Time, &S)> {
        self.slots.iter().take(self.used).map(|slot| (slot.ssrc, slot.last, &slot.state))
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut S> {
        self.slots.iter_mut().take(self.used).map(|slot| &mut slot.state)
    }
}

impl<S: Copy + Default> Default for Sources<S> {
    fn default() -> Self {
        Sources { slots: [Slot { ssrc: 0, last: Time::ZERO, state: S::default() }; SOURCES], used: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_idle_makes_room() {
        let mut sources = Sources::<u32>::default();
        let enter = |sources: &mut Sources<u32>, ssrc, millis, value: Option<u32>| {
            let (state, gone) = sources.enter(sources.place(ssrc), ssrc, Time::from_millis(millis));
            *state = value.unwrap_or(*state);
            (*state, gone)
        };
        for ssrc in 0..SOURCES as u32 {
            assert_eq!(enter(&mut sources, ssrc, u64::from(ssrc), Some(ssrc + 100)), (ssrc + 100, None));
        }
        assert!(sources.is_full());
        assert_eq!(enter(&mut sources, 0, 50, None), (100, None));
        assert_eq!(enter(&mut sources, 99, 51, None), (0, Some(1)));
        let state = |ssrc| sources.place(ssrc).map(|place| *sources.at(place));
        assert_eq!((state(0), state(1), state(99)), (Some(100), None, Some(0)));
    }
}
