//! How fast RTP timestamps go, by payload type (RFC 3551 §4.1, §6): 8,000 units a second unless told otherwise.

/// What most voice has, G.722 too (RFC 3551 §4.5.2). Hz.
const USUAL: u32 = 8_000;
/// Others that are remembered; no voice call offers more.
const OTHERS: usize = 4;

/// The clocks of one side's payload types.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Clocks([(u8, u32); OTHERS]);

impl Clocks {
    /// Payload types with their clocks in Hz; the first few that are unusual count.
    pub fn of_payloads(payloads: impl IntoIterator<Item = (u8, u32)>) -> Clocks {
        let mut clocks = Clocks::default();
        let unusual = payloads.into_iter().filter(|(_, clock)| *clock != USUAL && (1_000..=192_000).contains(clock));
        for (slot, one) in clocks.0.iter_mut().zip(unusual) {
            *slot = one;
        }
        clocks
    }

    /// Hz.
    #[inline]
    pub fn of(&self, payload_type: u8) -> u32 {
        self.0.iter().find(|(of, clock)| *of == payload_type && *clock != 0).map_or(USUAL, |(_, clock)| *clock)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unusual_clocks_are_remembered_and_no_more_of_them_than_there_is_room_for() {
        let clocks = Clocks::of_payloads([(0, 8_000), (104, 16_000), (111, 48_000), (112, 0), (113, u32::MAX)]);
        assert_eq!([0, 104, 111, 112, 113].map(|payload| clocks.of(payload)), [8_000, 16_000, 48_000, 8_000, 8_000]);
        let many = Clocks::of_payloads((96..128).map(|payload| (payload, 32_000)));
        assert_eq!((96..128).filter(|payload| many.of(*payload) == 32_000).count(), OTHERS);
        assert_eq!(Clocks::default().of(0), 8_000);
    }
}
