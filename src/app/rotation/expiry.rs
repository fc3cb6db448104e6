//! How near the end of every certificate and revocation list is, told once at each threshold. Time comes in as seconds since 1970.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

use crate::adapters::tls::Lifetime;
use crate::signaling::fact::{CertificateEnding, CertificateKind};

const DAY: u64 = 86_400;

/// Days before the end, nearest first. 0: it has ended.
const THRESHOLDS: [u64; 6] = [0, 1, 7, 14, 30, 60];

/// The nearest threshold that has been crossed. A revocation list lives for days only, so thresholds longer than half its life say nothing there.
fn crossed(lifetime: &Lifetime, now: u64) -> Option<u64> {
    let life = lifetime.not_after.saturating_sub(lifetime.not_before);
    let tells = |days: &u64| lifetime.kind != CertificateKind::RevocationList || days.saturating_mul(2 * DAY) <= life;
    let near = |days: &u64| lifetime.not_after <= now.saturating_add(days * DAY);
    THRESHOLDS.into_iter().filter(tells).find(near)
}

/// What has been told of what is in force.
#[derive(Debug, Default)]
pub struct Expiry {
    told: HashMap<(CertificateKind, PathBuf, String, u64), u64>,
}

impl Expiry {
    /// What is to be told now. `lifetimes`: all that is in force; what is no longer among them is forgotten.
    pub fn due(&mut self, lifetimes: &[Lifetime], now: u64) -> Vec<CertificateEnding> {
        let mut told = HashMap::new();
        let mut due = Vec::new();
        for lifetime in lifetimes {
            let Some(threshold) = crossed(lifetime, now) else { continue };
            let key = (lifetime.kind, lifetime.file.clone(), lifetime.name.clone(), lifetime.not_after);
            if self.told.get(&key).is_none_or(|before| threshold < *before) && !told.contains_key(&key) {
                due.push(CertificateEnding {
                    kind: lifetime.kind,
                    file: lifetime.file.display().to_string(),
                    name: lifetime.name.clone(),
                    threshold,
                    left: Duration::from_secs(lifetime.not_after.saturating_sub(now)),
                });
            }
            told.insert(key, threshold);
        }
        self.told = told;
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate(file: &str, not_after: u64) -> Lifetime {
        Lifetime { kind: CertificateKind::Own, file: file.into(), name: "sbc".into(), not_before: 0, not_after, fingerprint: None }
    }

    #[test]
    fn each_threshold_is_told_once() {
        let mut expiry = Expiry::default();
        let lifetime = certificate("sbc.pem", 100 * DAY);
        let mut told = Vec::new();
        for hour in 0..102 * 24 {
            for ending in expiry.due(std::slice::from_ref(&lifetime), hour * 3_600) {
                assert_eq!(ending.left.as_secs(), ending.threshold * DAY);
                told.push((hour / 24, ending.threshold));
            }
        }
        assert_eq!(told, [(40, 60), (70, 30), (86, 14), (93, 7), (99, 1), (100, 0)]);
    }

    #[test]
    fn at_a_load_the_nearest_that_applies_is_told_and_a_renewal_begins_anew() {
        let mut expiry = Expiry::default();
        let thresholds = |found: Vec<CertificateEnding>| found.iter().map(|ending| (ending.file.clone(), ending.threshold)).collect::<Vec<_>>();
        let all = [certificate("old.pem", 95 * DAY), certificate("gone.pem", 80 * DAY), certificate("new.pem", 400 * DAY)];
        assert_eq!(thresholds(expiry.due(&all, 90 * DAY)), [("old.pem".into(), 7), ("gone.pem".into(), 0)]);
        assert_eq!(expiry.due(&all, 90 * DAY + 3_600), []);
        // A reload of the same files says nothing anew; a clock that was set back neither.
        assert_eq!(expiry.due(&all, 85 * DAY), []);
        let renewed = [certificate("old.pem", 120 * DAY), certificate("new.pem", 400 * DAY)];
        assert_eq!(thresholds(expiry.due(&renewed, 90 * DAY)), [("old.pem".into(), 30)]);
    }

    #[test]
    fn a_list_that_lives_for_a_week_is_no_alarm_all_its_life() {
        let list = |days: u64| Lifetime { kind: CertificateKind::RevocationList, ..certificate("ca.crl", days * DAY) };
        let told = |days: u64| {
            let mut expiry = Expiry::default();
            (0..days * 24 + 2).flat_map(|hour| expiry.due(&[list(days)], hour * 3_600)).map(|ending| ending.threshold).collect::<Vec<_>>()
        };
        assert_eq!(told(1), [0]);
        assert_eq!(told(7), [1, 0]);
        assert_eq!(told(30), [14, 7, 1, 0]);
    }

    #[test]
    fn two_of_one_file_are_two() {
        let twins = [certificate("ca.pem", 10 * DAY), Lifetime { name: "other".into(), ..certificate("ca.pem", 10 * DAY) }];
        assert_eq!(Expiry::default().due(&twins, 0).len(), 2);
    }
}
