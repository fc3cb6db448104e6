//! When a name is asked for again (RFC 1035 TTL, RFC 2308 negative TTL): before its answer ends, between floor and ceiling, and not all names at once.
//!
//! Pure: the same arguments give the same time. `seed` is a number of its own for each question; equal TTLs would otherwise bring a thousand
//! questions in one burst, again and again.

use std::time::Duration;

use super::Settings;

/// A floor of nothing would ask without pause.
const LEAST: Duration = Duration::from_millis(10);
/// The longest a failing name waits to be asked again (the floor, where that is longer).
pub(super) const RETRY: Duration = Duration::from_secs(60);
/// Percent of a TTL after which its name is asked for again at the latest.
const LATEST: u32 = 90;

pub(super) fn floor(settings: &Settings) -> Duration {
    settings.floor.max(LEAST)
}

/// After an answer that holds for `ttl` (`None`: for ever): at a point drawn from the `jitter` percent of its life before nine tenths of it are over.
pub(super) fn after_answer(ttl: Option<Duration>, settings: &Settings, seed: u64) -> Duration {
    let life = bounded(ttl.unwrap_or(settings.ceiling), settings);
    let earliest = percent(life, LATEST.saturating_sub(settings.jitter.into()));
    bounded(draw(earliest.max(floor(settings)), percent(life, settings.jitter.into()), seed), settings)
}

/// After word that the name does not exist, which holds for `ttl`: when that ends. Where nothing says for how long it holds (RFC 2308 §5), as after
/// a failure.
pub(super) fn after_absence(ttl: Option<Duration>, failures: u32, settings: &Settings, seed: u64) -> Duration {
    let Some(ttl) = ttl else { return after_failure(failures, settings, seed) };
    let life = bounded(ttl, settings);
    bounded(draw(life, percent(life, settings.jitter.into()), seed), settings)
}

/// After the first word that a name with good addresses does not exist any more: when the second may be had, soon enough to matter.
pub(super) fn second_word(ttl: Option<Duration>, settings: &Settings, seed: u64) -> Duration {
    let floor = floor(settings);
    let wait = ttl.unwrap_or(floor).max(floor).min(RETRY.max(floor));
    draw(wait, percent(floor, settings.jitter.into()), seed)
}

/// After the `failures`th failure in a row, counted from 0: the floor, then twice that, up to a minute.
pub(super) fn after_failure(failures: u32, settings: &Settings, seed: u64) -> Duration {
    let floor = floor(settings);
    let wait = floor.saturating_mul(1 << failures.min(16)).min(RETRY.max(floor));
    draw(wait, percent(wait, settings.jitter.into()), seed)
}

fn bounded(wait: Duration, settings: &Settings) -> Duration {
    let floor = floor(settings);
    wait.max(floor).min(settings.ceiling.max(floor))
}

/// The number after this one, by SplitMix64: each question of a name has its own.
pub(super) fn next_seed(seed: u64) -> u64 {
    seed.wrapping_add(0x9e37_79b9_7f4a_7c15)
}

/// A point in `from..=from + span`.
fn draw(from: Duration, span: Duration, seed: u64) -> Duration {
    let mut z = seed;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    let part = ((z ^ (z >> 31)) >> 32) as u32;
    from + Duration::from_nanos((span.as_nanos().saturating_mul(part.into()) >> 32).try_into().unwrap_or(u64::MAX))
}

fn percent(of: Duration, percent: u32) -> Duration {
    of.saturating_mul(percent) / 100
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn settings() -> Settings {
        Settings { floor: 10 * SECOND, ceiling: 600 * SECOND, jitter: 20, ..Settings::default() }
    }

    fn seconds(n: u64) -> Option<Duration> {
        Some(Duration::from_secs(n))
    }

    #[test]
    fn every_wait_lies_between_floor_and_ceiling_and_before_the_answer_ends() {
        for ttl in [0, 1, 10, 11, 12, 13, 30, 100, 599, 600, 601, 86_400, u64::from(u32::MAX)] {
            for seed in (0..200u64).map(|n| n.wrapping_mul(0x1234_5678_9abc_def1)) {
                let wait = after_answer(seconds(ttl), &settings(), seed);
                assert!(wait >= 10 * SECOND && wait <= 540 * SECOND, "TTL {ttl}: {wait:?}");
                assert!(ttl < 15 || wait <= Duration::from_secs(ttl) * 9 / 10, "TTL {ttl}: {wait:?}");
                let wait = after_absence(seconds(ttl), 0, &settings(), seed);
                assert!(wait >= 10 * SECOND && wait <= 600 * SECOND, "negative TTL {ttl}: {wait:?}");
                assert!(wait >= Duration::from_secs(ttl).min(600 * SECOND), "asked before the negative answer {ttl} ends: {wait:?}");
                let wait = second_word(seconds(ttl), &settings(), seed);
                assert!(wait >= 10 * SECOND && wait <= 62 * SECOND, "second word {ttl}: {wait:?}");
            }
        }
    }

    #[test]
    fn a_thousand_names_of_one_ttl_are_spread_from_the_first_round_on() {
        let mut per_tenth = [0u32; 300];
        for name in 0..1000u64 {
            let wait = after_answer(seconds(30), &settings(), name.wrapping_mul(0xdead_beef_cafe_f00d));
            per_tenth[(wait.as_millis() / 100) as usize] += 1;
        }
        let busiest = per_tenth.iter().max().copied().unwrap_or(0);
        // Spread evenly over 6 s there would be 17 in each tenth of a second; without jitter all 1,000 in one.
        assert!((17..40).contains(&busiest), "{busiest} questions in a tenth of a second");
    }

    #[test]
    fn failures_double_the_wait_up_to_a_minute() {
        let plain = Settings { jitter: 0, ..settings() };
        let waits: Vec<u64> = (0..5).map(|failures| after_failure(failures, &plain, 7).as_secs()).collect();
        assert_eq!(waits, [10, 20, 40, 60, 60]);
        assert_eq!(after_absence(None, 2, &plain, 7), 40 * SECOND, "no SOA: nothing says how long the absence holds");
        let slow = Settings { floor: 90 * SECOND, ..plain };
        assert_eq!(after_failure(9, &slow, 7), 90 * SECOND);
    }

    #[test]
    fn odd_settings_and_endless_ttls_do_not_overflow() {
        let odd = Settings { floor: Duration::ZERO, ceiling: Duration::ZERO, jitter: 255, ..Settings::default() };
        for ttl in [None, Some(Duration::ZERO), Some(Duration::MAX)] {
            for seed in [0, u64::MAX] {
                assert!(after_answer(ttl, &odd, seed) >= LEAST);
                assert!(after_absence(ttl, u32::MAX, &odd, seed) >= LEAST);
                assert!(second_word(ttl, &odd, seed) >= LEAST);
            }
        }
    }
}
