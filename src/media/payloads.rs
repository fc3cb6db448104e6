//! Payload types of one direction (RFC 3550 §5.1, RFC 3264 §5.1, §6.1): what a side's peer sends under a number of its leg goes out under the number the
//! other side's peer gave it, or not at all if that peer never said it takes it.

/// What may come in, and under which number it goes out. Small while no number changes, which is nearly always.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Payloads {
    /// One bit per payload type.
    accepted: u128,
    /// By the number that comes in; only where one changes. Boxed: 128 bytes that most streams have no use for.
    renumbered: Option<Box<[u8; 128]>>,
}

/// Everything, as it is: until both sides have agreed on something.
impl Default for Payloads {
    fn default() -> Payloads {
        Payloads { accepted: u128::MAX, renumbered: None }
    }
}

impl Payloads {
    /// From pairs of the number in and the number out, below 128 each. Of two for one number in the first counts.
    pub fn of(pairs: impl IntoIterator<Item = (u8, u8)>) -> Payloads {
        let (mut accepted, mut numbers, mut changes) = (0u128, [0u8; 128], false);
        for (from, to) in pairs.into_iter().filter(|(from, to)| *from < 128 && *to < 128) {
            if accepted >> from & 1 == 0
                && let Some(slot) = numbers.get_mut(usize::from(from))
            {
                accepted |= 1 << from;
                *slot = to;
                changes |= from != to;
            }
        }
        Payloads { accepted, renumbered: changes.then(|| Box::new(numbers)) }
    }

    /// The number a packet goes out under; `None`: it goes no further.
    #[inline]
    pub fn outgoing(&self, payload_type: u8) -> Option<u8> {
        let payload_type = payload_type & 0x7f;
        if self.accepted >> payload_type & 1 == 0 {
            return None;
        }
        match &self.renumbered {
            None => Some(payload_type),
            Some(numbers) => numbers.get(usize::from(payload_type)).copied(),
        }
    }

    /// One bit for each payload type that goes on under its own number.
    pub fn unchanged(&self) -> u128 {
        match &self.renumbered {
            None => self.accepted,
            Some(_) => (0..128).filter(|number| self.outgoing(*number) == Some(*number)).fold(0, |bits, number| bits | 1 << number),
        }
    }

    /// Bytes beside the value itself.
    pub fn heap_bytes(&self) -> usize {
        self.renumbered.as_deref().map_or(0, size_of_val)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_named_goes_no_further_and_numbers_change_as_said() {
        let everything = Payloads::default();
        assert!((0..128).all(|number| everything.outgoing(number) == Some(number)));
        let same = Payloads::of([(0, 0), (101, 101)]);
        assert_eq!((same.outgoing(0), same.outgoing(101), same.outgoing(8)), (Some(0), Some(101), None));
        assert_eq!(same.unchanged(), 1 | 1 << 101);
        let mapped = Payloads::of([(8, 8), (101, 96), (101, 97), (96, 101), (200, 1), (1, 200)]);
        assert_eq!((mapped.outgoing(101), mapped.outgoing(96), mapped.outgoing(8), mapped.outgoing(72)), (Some(96), Some(101), Some(8), None));
        assert_eq!((mapped.unchanged(), mapped.heap_bytes(), same.heap_bytes()), (1 << 8, 128, 0));
        assert!(size_of::<Payloads>() <= 32);
    }
}
