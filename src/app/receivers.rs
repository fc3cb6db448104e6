//! Who gets copies of what passes, HEP servers and OpenTelemetry receivers, and how it stands with each, for those who ask for the border's status.

use std::time::SystemTime;

use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use utoipa::ToSchema;

use crate::adapters::hep::{self, Hep};
use crate::adapters::otlp::{self, Otlp};

/// Whether a receiver takes what it gets.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = ReceiverState)]
pub enum State {
    /// Nothing was sent yet.
    Untried,
    /// It took the last of it; over UDP, which has no answers, the network did.
    Up,
    Down,
}

/// One of them.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, ToSchema)]
#[schema(as = Receiver)]
pub struct Receiver {
    /// `hep` (copies of SIP messages, packets) or `otlp` (traces of calls, spans).
    pub kind: &'static str,
    /// Host and port, or a URL.
    pub server: String,
    pub state: State,
    /// Since it was set up: taken.
    pub sent: u64,
    /// For want of room in the queue, or since it was away.
    pub lost: u64,
    /// By the receiver itself.
    pub refused: u64,
    /// In the queue: packets, or traces.
    pub waiting: u64,
    /// As many may be.
    pub places: u64,
    /// The last time something was not taken, which may be over; null: there was none.
    pub last_error: Option<LastError>,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, ToSchema)]
#[schema(as = ReceiverError)]
pub struct LastError {
    /// RFC 3339, UTC.
    pub at: String,
    pub why: String,
}

impl Receiver {
    pub fn of_hep(hep: &Hep) -> Receiver {
        let hep::Status { sent, lost, up, waiting } = hep.status();
        let last_error = hep.failure().map(|failure| LastError { at: written(failure.at), why: failure.why });
        let state = state(up, last_error.is_some());
        Receiver { kind: "hep", server: hep.server().to_owned(), state, sent, lost, refused: 0, waiting, places: hep::WAITING as u64, last_error }
    }

    pub fn of_otlp(otlp: &Otlp) -> Receiver {
        let otlp::Status { sent, lost, refused, up, waiting } = otlp.status();
        let last_error = otlp.failure().map(|failure| LastError { at: written(failure.at), why: failure.why });
        let state = state(up, last_error.is_some());
        Receiver { kind: "otlp", server: otlp.receiver().to_owned(), state, sent, lost, refused, waiting, places: otlp::WAITING as u64, last_error }
    }
}

fn state(up: bool, failed: bool) -> State {
    match (up, failed) {
        (true, _) => State::Up,
        (false, true) => State::Down,
        (false, false) => State::Untried,
    }
}

/// To the second.
fn written(at: SystemTime) -> String {
    let at = OffsetDateTime::from(at);
    at.replace_nanosecond(0).unwrap_or(at).format(&Rfc3339).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_wrong_is_no_longer_down_but_is_still_told() {
        assert_eq!([state(false, false), state(false, true), state(true, true), state(true, false)], [State::Untried, State::Down, State::Up, State::Up]);
        assert_eq!(written(SystemTime::UNIX_EPOCH + std::time::Duration::from_millis(1_700_000_000_250)), "2023-11-14T22:13:20Z");
    }
}
