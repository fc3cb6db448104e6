//! The 48-bit packet index from the 16-bit sequence number (RFC 3711 §3.3.1, appendix A).

/// Indices end here: 2^48.
pub const END: u64 = 1 << 48;

/// The index nearest to `highest` (ROC and sequence number of the highest packet so far) that ends in `sequence`. `None`: it would lie before
/// the first or after the last index there is.
#[inline]
pub fn estimate(highest: u64, sequence: u16) -> Option<u64> {
    const HALF: u16 = 0x8000;
    let roc = highest >> 16;
    let last = highest as u16;
    let roc = if last < HALF {
        if sequence > last && sequence - last > HALF { roc.checked_sub(1)? } else { roc }
    } else if last - HALF > sequence {
        roc + 1
    } else {
        roc
    };
    let index = roc << 16 | u64::from(sequence);
    (index < END).then_some(index)
}

/// The rollover counter in an index.
#[inline]
pub fn roc(index: u64) -> u32 {
    (index >> 16) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_index_is_chosen() {
        assert_eq!(estimate(100, 101), Some(101));
        assert_eq!(estimate(100, 90), Some(90));
        assert_eq!(estimate(0xfffe, 1), Some(0x1_0001), "forward across the wrap");
        assert_eq!(estimate(0x1_0001, 0xfffe), Some(0xfffe), "late, from before the wrap");
        assert_eq!(estimate(0x5_7fff, 0xffff), Some(0x5_ffff));
        assert_eq!(estimate(0x5_0000, 0x8000), Some(0x5_8000));
        assert_eq!(estimate(0x5_0000, 0x8001), Some(0x4_8001));
        assert_eq!(estimate(0x5_8000, 0x0000), Some(0x5_0000));
        assert_eq!(estimate(0x5_8001, 0x0000), Some(0x6_0000));
    }

    #[test]
    fn there_is_nothing_before_the_first_and_after_the_last() {
        assert_eq!(estimate(1, 0xffff), None);
        assert_eq!(estimate(END - 1, 0), None);
        assert_eq!(estimate(END - 1, 0xfffe), Some(END - 2));
    }
}
