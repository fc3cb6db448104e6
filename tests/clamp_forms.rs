//! Bounding forms under optimisation. Run with `cargo test --release -p portcullis-optimised`: at opt-level 0 these tests prove nothing.
//!
//! Several compilers, 1.95 among them, drop the upper bound of a branch that mixes a constant comparison with `.max()` or `.min()`
//! (`if x < A { x.max(B) } else { A }` and its kin), and then every bounds check derived from it. The house rule is therefore `.clamp(lo, hi)` or
//! `.max(lo).min(hi)` and nothing else. Here those two forms are held to their meaning, in the widths and with the constants in use, called the way real
//! code calls them: inlined, behind a branch, as an index.

use std::hint::black_box;

/// What every form must give, found without any of them.
fn meant(value: i128, low: i128, high: i128) -> i128 {
    let mut all = [low, value, high];
    all.sort_unstable();
    all[1]
}

macro_rules! forms {
    ($name:ident, $type:ty, $low:expr, $high:expr) => {
        #[test]
        fn $name() {
            fn clamped(x: $type) -> $type {
                x.clamp($low, $high)
            }
            // The two-step form is the very thing under test.
            #[allow(clippy::manual_clamp)]
            fn max_then_min(x: $type) -> $type {
                x.max($low).min($high)
            }
            fn behind_a_branch(x: $type) -> $type {
                if black_box(x) < $high { x.clamp($low, $high) } else { x.clamp($low, $high) }
            }
            #[allow(clippy::manual_clamp)]
            fn two_step_behind_a_branch(x: $type) -> $type {
                if x < $high { x.max($low).min($high) } else { x.max($low).min($high) }
            }
            let (low, high) = ($low as i128, $high as i128);
            let edges =
                [<$type>::MIN as i128, 0, 1, low - 1, low, low + 1, (low + high) / 2, high - 1, high, high + 1, high * 2, high * 100, <$type>::MAX as i128];
            for edge in edges {
                let Ok(x) = <$type>::try_from(edge) else { continue };
                let x = black_box(x);
                for form in [clamped, max_then_min, behind_a_branch, two_step_behind_a_branch] {
                    assert_eq!(form(x) as i128, meant(edge, low, high), "{x} within {low}..={high}");
                    assert_eq!(black_box(form as fn($type) -> $type)(x) as i128, meant(edge, low, high), "{x} within {low}..={high}");
                }
                assert_eq!(clamped(x) as i128, meant(edge, low, high));
                assert_eq!(max_then_min(x) as i128, meant(edge, low, high));
            }
        }
    };
}

forms!(session_expires_u32, u32, 90, 1800);
forms!(small_usize, usize, 1, 44);
forms!(port_u16, u16, 1024, 32_767);
forms!(status_u16, u16, 100, 699);
forms!(byte_u8, u8, 3, 200);
forms!(seconds_u64, u64, 30, 86_400);
forms!(level_i64, i64, -70, 6);
forms!(sample_i32, i32, -32_768, 32_767);

/// The finding in its dangerous form: an index derived from a bound.
#[test]
fn an_index_from_a_bound_stays_inside() {
    let table: Vec<usize> = (0..45).collect();
    fn look(table: &[usize], at: usize) -> Option<usize> {
        table.get(at.clamp(1, 44)).copied()
    }
    #[allow(clippy::manual_clamp)]
    fn look_two_step(table: &[usize], at: usize) -> Option<usize> {
        table.get(at.max(1).min(44)).copied()
    }
    for at in [0, 1, 43, 44, 45, 50, 5000, usize::MAX] {
        let wanted = Some(meant(at as i128, 1, 44) as usize);
        assert_eq!(look(black_box(&table), black_box(at)), wanted);
        assert_eq!(look_two_step(black_box(&table), black_box(at)), wanted);
    }
}

/// Bounds that are not constants, as limits from a policy set are not.
#[test]
fn bounds_from_settings() {
    for (low, high) in [(90u32, 1800u32), (1, 1), (0, u32::MAX), (5, 6)] {
        for x in [0, 1, 5, 6, 89, 90, 91, 1799, 1800, 1801, 5000, u32::MAX] {
            let (x, low, high) = (black_box(x), black_box(low), black_box(high));
            let wanted = meant(i128::from(x), i128::from(low), i128::from(high)) as u32;
            assert_eq!(x.clamp(low, high), wanted);
            assert_eq!(Ord::min(x.max(low), high), wanted);
        }
    }
}
