//! Where call records go, taken together: the file of lines, the store to be searched, PostgreSQL; how it stands with each, for metrics, health, status.

use std::fmt::Write as _;
use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::Serialize;
use utoipa::ToSchema;

use super::vitals::head;
use crate::adapters::history::{self, Class, Fields, History, Invite};
use crate::adapters::postgres::{self, Postgres};
use crate::adapters::telemetry::{Archive, FileStanding, Filed, Telemetry};
use crate::config;

/// The stores, as the telemetry thread fills them. Cheap to clone.
#[derive(Clone, Default)]
pub struct Stores {
    pub history: Option<History>,
    pub postgres: Option<Postgres>,
}

impl Stores {
    /// `started`: when this process did. A file that cannot be opened is an error and says what to do; a server that is away is none.
    pub fn open(settings: &config::Settings, started: SystemTime) -> io::Result<Stores> {
        let started = started.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX));
        let history = match &settings.history {
            None => {
                tracing::info!("call records are not kept to be searched: write [records] store in border.toml, if they are to be");
                None
            }
            Some(settings) => match History::open(settings) {
                Err(error) if !settings.is_required => {
                    tracing::error!(%error, "call records are not kept to be searched; write [records] store in border.toml, a path or \"off\"");
                    None
                }
                opened => Some(opened?),
            },
        };
        let postgres = settings.postgres.as_ref().map(|settings| Postgres::start(settings, started)).transpose()?;
        Ok(Stores { history, postgres })
    }

    /// For the telemetry; `None`: there is none.
    pub fn archive(&self) -> Option<Arc<dyn Archive>> {
        (self.history.is_some() || self.postgres.is_some()).then(|| Arc::new(self.clone()) as Arc<dyn Archive>)
    }

    /// Waits until all is stored, so long for each. Blocks the thread.
    pub fn flush(&self, limit: Duration) {
        if let Some(history) = &self.history
            && !history.flush(limit)
        {
            tracing::error!(lost = history.status().waiting, "call records were not stored before the end, and are lost");
        }
        if let Some(postgres) = &self.postgres
            && !postgres.flush(limit)
        {
            tracing::error!(lost = postgres.status().waiting, "call records did not reach PostgreSQL before the end, and are lost there");
        }
    }
}

impl Archive for Stores {
    fn keep(&self, filed: Filed) {
        if let Some(postgres) = &self.postgres {
            postgres.keep(row(&filed));
        }
        if let Some(history) = &self.history {
            let Filed { call, began, caller, called, a_peer, b_peer, reason, fault, answered, audio_fault, line, invite, ladder, .. } = filed;
            let fields = Fields { began, caller, called, class: Class { a_peer, b_peer, reason, fault, answered, audio_fault } };
            let invite = invite.map(|invite| Invite { message: invite.message.to_vec(), told: invite.told });
            history.keep(history::Kept { call, fields, record: line, ladder, invite });
        }
    }
}

fn row(filed: &Filed) -> postgres::Kept {
    postgres::Kept {
        began: filed.began,
        call: filed.call,
        caller: filed.caller.clone(),
        called: filed.called.clone(),
        a_peer: filed.a_peer.clone(),
        b_peer: filed.b_peer.clone(),
        reason: filed.reason,
        fault: filed.fault,
        status: filed.status,
        answered: filed.answered,
        total_ms: filed.total_ms,
        talk_ms: filed.talk_ms,
        audio_fault: filed.audio_fault,
        record: filed.line.clone(),
        ladder: filed.ladder.clone(),
    }
}

/// All places of records, as they stand. Cheap to clone.
#[derive(Clone, Default)]
pub struct Recording {
    file: Option<FileStanding>,
    pub stores: Stores,
}

/// One of them.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, ToSchema)]
#[schema(as = RecordsPlace)]
pub struct Place {
    /// `file`, `store` or `postgres`.
    pub to: &'static str,
    /// Since the start: written, and lost.
    pub written: u64,
    pub lost: u64,
    /// In memory, until the place takes them.
    pub waiting: u64,
    /// Why it takes none at present; null: it takes them.
    pub error: Option<String>,
}

impl Recording {
    pub fn new(telemetry: &Telemetry, stores: Stores) -> Recording {
        Recording { file: telemetry.file(), stores }
    }

    pub fn places(&self) -> Vec<Place> {
        let file = self.file.as_ref().map(|file| Place { to: "file", written: file.written(), lost: file.lost(), waiting: 0, error: file.error() });
        let store = self.stores.history.as_ref().map(History::status);
        let store = store.map(|history::Status { written, lost, waiting, error, .. }| Place { to: "store", written, lost, waiting, error });
        let postgres = self.stores.postgres.as_ref().map(Postgres::status);
        let postgres = postgres.map(|postgres::Status { written, lost, waiting, error }| Place { to: "postgres", written, lost, waiting, error });
        [file, store, postgres].into_iter().flatten().collect()
    }

    /// A line for each place that takes none.
    pub fn troubles(&self) -> Vec<String> {
        let failing = self.places().into_iter().filter_map(|place| Some((place.to, place.error?, place.lost)));
        failing.map(|(to, error, lost)| format!("call records, {to}: {error} ({lost} lost, calls go on)")).collect()
    }

    /// In Prometheus' text exposition.
    pub fn exposition(&self) -> String {
        let places = self.places();
        if places.is_empty() {
            return String::new();
        }
        let mut text = String::new();
        // Writing into a String does not fail.
        let mut family = |name: &str, kind: &str, help: &str, value: &dyn Fn(&Place) -> u64| {
            text += &head(name, kind, help);
            for place in &places {
                let _ = writeln!(text, "{name}{{to=\"{}\"}} {}", place.to, value(place));
            }
        };
        family("portcullis_records_failing", "gauge", "1 while this place takes no call records", &|place| u64::from(place.error.is_some()));
        family("portcullis_records_written_total", "counter", "Call records written, by place", &|place| place.written);
        family("portcullis_records_lost_total", "counter", "Call records lost, by place", &|place| place.lost);
        family("portcullis_records_waiting", "gauge", "Call records in memory that this place has not taken yet", &|place| place.waiting);
        if let Some(history) = &self.stores.history {
            text += &super::vitals::records(&history.status());
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_is_told_of_and_none_where_there_is_none() {
        assert_eq!(Recording::default().exposition(), "");
        let recording = Recording { file: Some(FileStanding::default()), stores: Stores::default() };
        assert!(recording.exposition().contains("portcullis_records_failing{to=\"file\"} 0\n"), "{}", recording.exposition());
        assert_eq!(recording.troubles(), Vec::<String>::new());
    }
}
