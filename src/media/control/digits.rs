//! How a side's telephone-events (RFC 4733) are numbered, where they are turned into digits of signalling and back.

/// Numbers that are remembered of what the peer takes: one for each clock it may have its sound at.
const TAKEN: usize = 3;

/// The telephone-events of one side.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Conversion {
    /// One bit for each payload type under which the peer may send them.
    pub heard: u128,
    taken: [(u8, u32); TAKEN],
}

impl Conversion {
    /// `taken`: the payload types under which the peer takes events, with their clocks in Hz, best first; the first few count. `None`: there is none.
    pub fn of(heard: u128, taken: impl IntoIterator<Item = (u8, u32)>) -> Option<Conversion> {
        let mut conversion = Conversion { heard, ..Conversion::default() };
        let usable = taken.into_iter().filter(|(number, clock)| *number < 128 && (1_000..=192_000).contains(clock));
        for (slot, one) in conversion.taken.iter_mut().zip(usable) {
            *slot = one;
        }
        conversion.taken_at(None).map(|_| conversion)
    }

    /// Number and clock for events in a sound of this clock: events share the sound's clock (RFC 4733 §2.1) if there are any of it.
    pub fn taken_at(&self, clock: Option<u32>) -> Option<(u8, u32)> {
        let known = || self.taken.iter().filter(|(_, clock)| *clock != 0);
        known().find(|(_, of)| Some(*of) == clock).or(known().next()).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_of_the_sound_decides_and_else_the_first() {
        let both = Conversion::of(1 << 101, [(101, 8_000), (102, 48_000)]).unwrap();
        assert_eq!([Some(48_000), Some(8_000), Some(16_000), None].map(|clock| both.taken_at(clock).unwrap().0), [102, 101, 101, 101]);
        assert_eq!(Conversion::of(1, []), None);
        assert_eq!(Conversion::of(1, [(128, 8_000), (101, 0), (101, u32::MAX)]), None);
    }
}
