//! What the border writes besides call records: its log, the audit, notices of missed calls, policy sets to go back to; and whether each place takes it.

use std::fmt::Write as _;

use serde::Serialize;
use utoipa::ToSchema;

use super::missed_calls::MissedCalls;
use super::policy_sets::PolicySets;
use super::vitals::head;
use crate::adapters::api::Audit;
use crate::adapters::telemetry::log;

/// One of them.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, ToSchema)]
pub struct Written {
    /// `log`, `audit`, `missed_calls` or `policy_sets`.
    pub what: &'static str,
    /// Since it was opened: lines, notices, sets that are not there.
    pub lost: u64,
    /// In memory, until the place takes them.
    pub waiting: u64,
    /// Why it takes none at present; null: it takes them.
    pub error: Option<String>,
}

/// All that are written somewhere.
pub fn places(audit: &Audit, missed_calls: Option<&MissedCalls>, policy_sets: &PolicySets) -> Vec<Written> {
    let log = log::standing();
    let log = Written { what: "log", lost: log.lost, waiting: 0, error: log.error };
    let audit = audit.file().map(|file| Written { what: "audit", lost: file.lost, waiting: file.waiting, error: file.error });
    let missed = missed_calls.map(MissedCalls::status);
    let missed = missed.map(|status| Written { what: "missed_calls", lost: status.dropped, waiting: status.unwritten, error: status.error });
    let (is_kept, error) = policy_sets.kept();
    let sets = is_kept.then(|| Written { what: "policy_sets", lost: u64::from(error.is_some()), waiting: 0, error });
    [Some(log), audit, missed, sets].into_iter().flatten().collect()
}

/// A line for each that takes none.
pub fn troubles(places: &[Written]) -> Vec<String> {
    let failing = places.iter().filter_map(|place| Some((place.what, place.error.as_ref()?, place.lost)));
    failing.map(|(what, error, lost)| format!("{}: {error} ({lost} lost, calls go on)", what.replace('_', " "))).collect()
}

/// In Prometheus' text exposition.
pub fn exposition(places: &[Written]) -> String {
    let (failing, lost) = ("portcullis_writing_failing", "portcullis_writing_lost_total");
    let mut text = head("portcullis_writing_failing", "gauge", "1 while the place of log, audit, missed calls or policy sets takes none");
    for place in places {
        // Writing into a String does not fail.
        let _ = writeln!(text, "{failing}{{what=\"{}\"}} {}", place.what, u64::from(place.error.is_some()));
    }
    text += &head("portcullis_writing_lost_total", "counter", "Lines of log and audit, and notices of missed calls, that were not written and are lost");
    // Sets are not lost: the last ones are in memory.
    for place in places.iter().filter(|place| place.what != "policy_sets") {
        let _ = writeln!(text, "{lost}{{what=\"{}\"}} {}", place.what, place.lost);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_that_takes_none_is_told_of_in_words_and_as_a_metric() {
        let full = |what| Written { what, lost: 3, waiting: 0, error: Some(String::from("the disk is full; make room")) };
        let places = [Written { what: "log", lost: 0, waiting: 0, error: None }, full("audit"), full("missed_calls")];
        assert_eq!(
            troubles(&places),
            ["audit: the disk is full; make room (3 lost, calls go on)", "missed calls: the disk is full; make room (3 lost, calls go on)"]
        );
        let text = exposition(&places);
        for line in [
            "portcullis_writing_failing{what=\"log\"} 0\n",
            "portcullis_writing_failing{what=\"audit\"} 1\n",
            "portcullis_writing_lost_total{what=\"audit\"} 3\n",
        ] {
            assert!(text.contains(line), "{text}");
        }
    }
}
