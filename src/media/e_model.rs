//! How good a direction of the sound is, as a mean opinion score: the E-model of ITU-T G.107 with its default values, and the codecs of ITU-T G.113
//! appendix I.
//!
//! What a relay in the middle can know goes in: loss, its burstiness, jitter, the round trip of either leg. What it cannot know is at G.107's defaults,
//! and the receiver is taken to conceal losses as G.711 appendix I does and to hold back twice the jitter.

use crate::media::control::SideReport;

/// What G.113 says of a codec: its impairment without loss, and how well it bears loss.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Codec {
    pub ie: f64,
    pub bpl: f64,
    /// Of one packet and what the coder looks ahead, ms.
    pub delay: f64,
}

/// By encoding name, in any letter case, with or without the clock (`PCMU/8000`). `None`: G.113 has no values for it on the narrow-band scale.
pub fn codec(name: &str) -> Option<Codec> {
    let encoding = name.split('/').next().unwrap_or(name);
    let (_, ie, bpl, delay) = CODECS.into_iter().find(|(known, ..)| known.eq_ignore_ascii_case(encoding))?;
    Some(Codec { ie, bpl, delay })
}

/// By static payload type (RFC 3551 §6).
pub fn codec_of_type(payload_type: u8) -> Option<Codec> {
    match payload_type {
        0 => codec("PCMU"),
        4 => codec("G723"),
        8 => codec("PCMA"),
        18 => codec("G729"),
        _ => None,
    }
}

/// Encoding, Ie, Bpl (G.113 appendix I, for losses that are random), ms of packet and look-ahead.
///
/// The rows are: G.711 in packets of 10 ms with the concealment of its appendix I (without any its Bpl is 4.3); G.729 annex A with annex B in packets of 20 ms;
/// G.723.1 at 6.3 kbit/s with annex A in packets of 30 ms. AMR is left out, as its values are those of one rate and a packet's rate is not read here, and
/// so is every codec whose values have not been compared with more than one published source.
const CODECS: [(&str, f64, f64, f64); 4] = [("PCMU", 0.0, 25.1, 20.0), ("PCMA", 0.0, 25.1, 20.0), ("G729", 11.0, 19.0, 25.0), ("G723", 15.0, 16.1, 37.5)];

/// The score of one direction.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Score {
    /// Transmission rating R, 0 to 100.
    pub rating: f64,
    /// 1 to 4.5.
    pub mos: f64,
    /// Packets that did not reach the ear, by what we or the receiver's RTCP lacks, percent.
    pub loss: f64,
    /// From mouth to ear, ms.
    pub delay: f64,
}

/// Of the sound from `from`'s peer to `to`'s. `None`: too little came to judge.
pub fn score(from: &SideReport, to: &SideReport, codec: Codec) -> Option<Score> {
    let expected = from.received.saturating_add(from.lost);
    if from.received < LEAST {
        return None;
    }
    let near = from.lost as f64 / expected as f64;
    // The receiver's own reports go by the sender's numbers: they say what was lost on the whole way.
    let far = to.told.map_or(0.0, |told| f64::from(told.lost) / expected as f64);
    let lost = near.max(far).clamp(0.0, 1.0);
    let ways = [from.round_trip_us, to.round_trip_us].into_iter().flatten().map(|us| f64::from(us) / 2000.0).sum::<f64>();
    let held_back = 2.0 * f64::from(from.jitter_us) / 1000.0;
    let delay = codec.delay + ways + held_back.clamp(20.0, 500.0);
    let rating = rating(delay, effective(codec, lost, burst_ratio(from.lost, from.gaps, near)));
    Some(Score { rating, mos: mos(rating), loss: 100.0 * lost, delay })
}

/// Packets below which nothing is said: a second of speech.
const LEAST: u64 = 50;

/// G.107 §7.1's R for a mean one-way delay in ms, with its defaults in all else: R0 - Is - Id - Ie,eff, where the first two leave 93.36.
pub fn rating(delay: f64, impairment: f64) -> f64 {
    (RO - simultaneous() - talker_echo(delay) - listener_echo(2.0 * delay) - too_long(delay) - impairment).clamp(0.0, 100.0)
}

/// Annex B: the score an average listener gives.
pub fn mos(rating: f64) -> f64 {
    match rating {
        r if r <= 0.0 => 1.0,
        r if r >= 100.0 => 4.5,
        r => (1.0 + 0.035 * r + r * (r - 60.0) * (100.0 - r) * 7e-6).clamp(1.0, 4.5),
    }
}

/// §7.5, Ie,eff. `lost`: 0 to 1.
pub fn effective(codec: Codec, lost: f64, burst_ratio: f64) -> f64 {
    let percent = 100.0 * lost;
    codec.ie + (95.0 - codec.ie) * percent / (percent / burst_ratio.max(1.0) + codec.bpl)
}

/// How much longer bursts of losses are than where each is lost for itself (§7.5, BurstR): 1 to 8.
fn burst_ratio(lost: u64, gaps: u64, loss: f64) -> f64 {
    if gaps == 0 {
        return 1.0;
    }
    (lost as f64 / gaps as f64 * (1.0 - loss)).clamp(1.0, 8.0)
}

// G.107 table 2, dB.
const SLR: f64 = 8.0;
const RLR: f64 = 2.0;
const STMR: f64 = 15.0;
const TELR: f64 = 65.0;
const WEPL: f64 = 110.0;
/// §7.2 with those: noise at the 0 dBr point, and the ratio of the signal to it.
const NO: f64 = -61.179_21;
const RO: f64 = 15.0 - 1.5 * (SLR + NO);

/// §7.3, Is: too loud a line, sidetone, quantising (one unit: G.711).
fn simultaneous() -> f64 {
    let x = SLR + RLR + 0.2 * (64.0 + NO - RLR);
    let loud = 20.0 * ((1.0 + (x / 8.0).powi(8)).powf(1.0 / 8.0) - x / 8.0);
    let masked = STMR;
    let sidetone = 12.0 * (1.0 + ((masked - 13.0) / 6.0).powi(8)).powf(1.0 / 8.0)
        - 28.0 * (1.0 + ((masked + 1.0) / 19.4).powi(35)).powf(1.0 / 35.0)
        - 13.0 * (1.0 + ((masked - 3.0) / 33.0).powi(13)).powf(1.0 / 13.0)
        + 29.0;
    let q = 37.0;
    let g = 1.07 + 0.258 * q + 0.0602 * q * q;
    let y = (RO - 100.0) / 15.0 + 46.0 / 8.4 - g / 9.0;
    let z = 46.0 / 30.0 - g / 40.0;
    let quantising = 15.0 * (1.0 + 10f64.powf(y) + 10f64.powf(z)).log10();
    loud + sidetone + quantising
}

/// §7.4, Idte.
fn talker_echo(delay: f64) -> f64 {
    let heard = TELR - 40.0 * ((1.0 + delay / 10.0) / (1.0 + delay / 150.0)).log10() + 6.0 * (-0.3 * delay * delay).exp();
    let noise = -1.5 * (NO - RLR);
    let echo = 80.0 + 2.5 * (heard - 14.0);
    let half = (noise - echo) / 2.0;
    (half + (half * half + 100.0).sqrt() - 1.0) * (1.0 - (-delay).exp())
}

/// §7.4, Idle, of the round trip in the four-wire loop.
fn listener_echo(round_trip: f64) -> f64 {
    let echo = 10.5 * (WEPL + 7.0) * (round_trip + 1.0).powf(-0.25);
    let half = (RO - echo) / 2.0;
    half + (half * half + 169.0).sqrt()
}

/// §7.4, Idd: what delay alone costs, from 100 ms on.
fn too_long(delay: f64) -> f64 {
    if delay <= 100.0 {
        return 0.0;
    }
    let x = (delay / 100.0).log2();
    25.0 * ((1.0 + x.powi(6)).powf(1.0 / 6.0) - 3.0 * (1.0 + (x / 3.0).powi(6)).powf(1.0 / 6.0) + 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::control::Told;
    use crate::time::Time;

    fn near(value: f64, expected: f64, within: f64) {
        assert!((value - expected).abs() <= within, "{value}, not {expected}");
    }

    /// G.107 §7.7: with every value at its default R is 93.2, the highest a narrow-band call gets, and its score 4.41.
    #[test]
    fn the_defaults_give_what_the_recommendation_says() {
        let rating = rating(0.0, 0.0);
        near(rating, 93.2, 0.05);
        near(mos(rating), 4.41, 0.005);
    }

    /// Annex B, table B.1: the limits of its classes.
    #[test]
    fn ratings_are_scores_as_in_annex_b() {
        for (rating, expected) in [(90.0, 4.34), (80.0, 4.03), (70.0, 3.60), (60.0, 3.10), (50.0, 2.58), (0.0, 1.0), (100.0, 4.5), (-7.0, 1.0), (130.0, 4.5)] {
            near(mos(rating), expected, 0.01);
        }
    }

    #[test]
    fn delay_costs_little_below_150_ms_and_much_above_400() {
        let cost = |delay| rating(0.0, 0.0) - rating(delay, 0.0);
        assert!(cost(100.0) < 5.0 && cost(150.0) < 8.0, "{} {}", cost(100.0), cost(150.0));
        assert!(cost(400.0) > 25.0, "{}", cost(400.0));
        // Below some milliseconds §7.4's talker echo dips under nothing, by less than one.
        assert!((0..20).all(|delay| cost(f64::from(delay)) > -1.0));
        let mut last = cost(20.0);
        for delay in 20..600 {
            assert!(cost(f64::from(delay)) >= last - 1e-9, "{delay}");
            last = cost(f64::from(delay));
        }
    }

    #[test]
    fn loss_costs_what_g_113_says_and_more_in_bursts() {
        let g711 = codec("pcma/8000").unwrap();
        assert_eq!(effective(g711, 0.0, 1.0), 0.0);
        near(effective(g711, 0.01, 1.0), 95.0 / 26.1, 1e-9);
        near(effective(g711, 0.05, 1.0), 475.0 / 30.1, 1e-9);
        assert!(effective(g711, 0.05, 3.0) > effective(g711, 0.05, 1.0));
        let g729 = codec("G729").unwrap();
        assert_eq!(effective(g729, 0.0, 1.0), 11.0);
        let g723 = codec("G723/8000").unwrap();
        near(effective(g723, 0.01, 1.0), 15.0 + 80.0 / 17.1, 1e-9);
        assert_eq!([codec("opus/48000/2"), codec("G722"), codec("AMR/8000"), codec("")], [None; 4]);
    }

    #[test]
    fn a_direction_is_scored_by_what_both_its_ends_tell() {
        let g711 = codec("PCMU").unwrap();
        let from = SideReport { received: 1_000, jitter_us: 1_000, ..Default::default() };
        let clean = score(&from, &SideReport::default(), g711).unwrap();
        assert!(clean.mos > 4.3 && clean.loss == 0.0 && clean.delay == 40.0, "{clean:?}");
        let lossy = SideReport { received: 950, lost: 50, gaps: 50, ..from.clone() };
        let bursty = SideReport { gaps: 10, ..lossy.clone() };
        let [lossy, bursty] = [lossy, bursty].map(|from| score(&from, &SideReport::default(), g711).unwrap());
        assert!(clean.mos > lossy.mos && lossy.mos > bursty.mos, "{lossy:?} {bursty:?}");
        // Nothing lost up to us, a fifth behind us, over a satellite.
        let told = Told { at: Time::ZERO, fraction_lost: 51, lost: 200, jitter: 0 };
        let to = SideReport { told: Some(told), round_trip_us: Some(600_000), ..Default::default() };
        let far = score(&from, &to, g711).unwrap();
        assert!(far.loss == 20.0 && far.delay == 340.0 && far.mos < 2.5, "{far:?}");
        assert_eq!(score(&SideReport { received: 49, ..Default::default() }, &to, g711), None);
    }

    #[test]
    fn any_counters_give_a_score_on_the_scale() {
        for codec in CODECS.map(|(name, ..)| codec(name).unwrap()) {
            for received in [50, 1_000, u64::MAX] {
                for lost in [0, 1, 7_000, u64::MAX] {
                    for told in [0, u32::MAX] {
                        let from = SideReport { received, lost, gaps: lost / 3, jitter_us: told, round_trip_us: Some(told), ..Default::default() };
                        let to = SideReport { told: Some(Told { at: Time::ZERO, fraction_lost: 255, lost: told, jitter: told }), ..from.clone() };
                        let score = score(&from, &to, codec).unwrap();
                        assert!((1.0..=4.5).contains(&score.mos) && (0.0..=100.0).contains(&score.rating) && (0.0..=100.0).contains(&score.loss));
                    }
                }
            }
        }
    }
}
