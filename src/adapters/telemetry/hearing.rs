//! Metrics of how calls sounded: why each direction was heard or was not, and how good it was.

use prometheus::{HistogramVec, IntCounterVec};

use super::sound::{codec_at_end, score};
use crate::media::control::{Report, SideReport};
use crate::media::verdict::{Talk, explain};
use crate::signaling::fact::CallRecord;

/// Mean opinion scores: below 3.6 many are dissatisfied, below 3.1 nearly all (G.107 annex B).
pub(super) const SCORES: [f64; 9] = [1.5, 2.0, 2.6, 3.1, 3.6, 4.0, 4.2, 4.3, 4.5];
pub(super) const RATIOS: [f64; 8] = [0.0, 0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.3];
pub(super) const SECONDS: [f64; 10] = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0];

#[derive(Clone)]
pub(super) struct Hearing {
    /// `portcullis_audio_total{direction, cause}`.
    pub causes: IntCounterVec,
    /// `portcullis_media_mos{direction}`.
    pub scores: HistogramVec,
    /// `portcullis_media_loss_ratio{leg}`, `portcullis_media_jitter_seconds{leg}`, `portcullis_media_round_trip_seconds{leg}`.
    pub losses: HistogramVec,
    pub jitters: HistogramVec,
    pub round_trips: HistogramVec,
}

impl Hearing {
    /// Of a call that was answered; any other has nothing to be heard.
    pub fn count(&self, record: &CallRecord, report: &Report) {
        if record.answered.is_none() {
            return;
        }
        let talk = Talk { answered: record.answered, until: record.ended };
        for (direction, from, to) in [("a_to_b", &report.a, &report.b), ("b_to_a", &report.b, &report.a)] {
            self.causes.with_label_values(&[direction, explain(from, to, &talk).code()]).inc();
            if let Some(score) = score(from, to, codec_at_end(record)) {
                self.scores.with_label_values(&[direction]).observe(score.mos);
            }
        }
        for (leg, side) in [("a", &report.a), ("b", &report.b)] {
            self.leg(leg, side);
        }
    }

    fn leg(&self, leg: &str, side: &SideReport) {
        let expected = side.received.saturating_add(side.lost);
        if side.received > 0 {
            self.losses.with_label_values(&[leg]).observe(side.lost as f64 / expected as f64);
            self.jitters.with_label_values(&[leg]).observe(f64::from(side.jitter_us) / 1e6);
        }
        if let Some(us) = side.round_trip_us {
            self.round_trips.with_label_values(&[leg]).observe(f64::from(us) / 1e6);
        }
    }
}
