//! Where call records go, taken together: the file of lines, the store to be searched, PostgreSQL; how it stands with each, for metrics, health, status.

use std::fmt::Write as _;
use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use serde::Serialize;
use utoipa::ToSchema;

use super::vitals::head;
use crate::adapters::history::{self, Class, Fields, History, Invite};
use crate::adapters::postgres::{self, Postgres};
use crate::adapters::telemetry::{Archive, FileStanding, Filed};
use crate::config;

/// The stores, as the telemetry thread fills them. Cheap to clone.
#[derive(Clone, Default)]
pub struct Stores {
    pub history: Option<History>,
    pub postgres: Option<Postgres>,
}

impl Stores {
    /// `started`: when this process did. A file that cannot be meant is an error and says what to do; a full disk, or a server that is away, is none.
    pub fn open(settings: &config::Settings, started: SystemTime) -> io::Result<Stores> {
        let history = match &settings.history {
            None => {
                tracing::info!("call records are not kept to be searched: write [records] store in border.toml, if they are to be");
                None
            }
            Some(settings) => Some(History::open_or_wait(settings)?),
        };
        Ok(Stores { history, postgres: postgres(settings.postgres.as_ref(), started)? })
    }

    pub fn is_any(&self) -> bool {
        self.history.is_some() || self.postgres.is_some()
    }

    /// For the telemetry; `None`: there is none.
    pub fn archive(&self) -> Option<Arc<dyn Archive>> {
        self.is_any().then(|| Arc::new(self.clone()) as Arc<dyn Archive>)
    }

    /// Waits until all is stored, so long for each. Blocks the thread.
    pub fn flush(&self, limit: Duration) {
        if let Some(history) = &self.history
            && history.status().waiting > 0
            && !history.flush(limit)
        {
            tracing::error!(lost = history.status().waiting, "call records were not stored in time, and are lost");
        }
        if let Some(postgres) = &self.postgres
            && postgres.status().waiting > 0
            && !postgres.flush(limit)
        {
            tracing::error!(lost = postgres.status().waiting, "call records did not reach PostgreSQL in time, and are lost there");
        }
    }
}

/// How long records that were given to a store before it was left may take to get there.
const LAST: Duration = Duration::from_secs(30);

impl Stores {
    /// These have taken their last records but for some that are on the way; those that are also among `kept` go on. What does not get there is told of.
    pub fn retire(self, kept: &Stores) {
        let history = self.history.filter(|old| !kept.history.as_ref().is_some_and(|new| old.is_same(new)));
        let postgres = self.postgres.filter(|old| !kept.postgres.as_ref().is_some_and(|new| old.is_same(new)));
        let last = Stores { history, postgres };
        if last.is_any() {
            std::thread::spawn(move || last.flush(LAST));
        }
    }
}

/// The store as it is to be: the one that is open, with another bound, where its file is the same. Blocks the thread. The error says what to do.
pub fn other_history(now: Option<History>, settings: Option<&history::Settings>) -> Result<Option<History>, String> {
    match (now, settings) {
        (Some(now), Some(settings)) if now.settings().path == settings.path => {
            now.retain(settings.days, settings.size);
            Ok(Some(now))
        }
        // What was not written down, and is not had, is not missed.
        (None, Some(settings)) if !settings.is_required => Ok(History::open(settings).ok()),
        (_, settings) => settings.map(History::open).transpose().map_err(|error| error.to_string()),
    }
}

/// A server that is away is no error.
pub fn postgres(settings: Option<&postgres::Settings>, started: SystemTime) -> io::Result<Option<Postgres>> {
    let started = started.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX));
    settings.map(|settings| Postgres::start(settings, started)).transpose()
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

/// All places of records, as they stand. Cheap to clone: all clones are one.
#[derive(Clone, Default)]
pub struct Recording(Arc<ArcSwap<Open>>);

#[derive(Clone, Default)]
struct Open {
    file: Option<FileStanding>,
    stores: Stores,
}

/// One of them.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, ToSchema)]
#[schema(as = RecordsPlace)]
pub struct Place {
    /// `file`, `store` or `postgres`.
    pub to: &'static str,
    /// Since it was opened: written, and lost.
    pub written: u64,
    pub lost: u64,
    /// In memory, until the place takes them.
    pub waiting: u64,
    /// Why it takes none at present; null: it takes them.
    pub error: Option<String>,
}

impl Recording {
    pub fn new(file: Option<FileStanding>, stores: Stores) -> Recording {
        Recording(Arc::new(ArcSwap::from_pointee(Open { file, stores })))
    }

    pub fn stores(&self) -> Stores {
        self.0.load().stores.clone()
    }

    pub fn put_file(&self, file: Option<FileStanding>) {
        self.0.rcu(|open| Open { file: file.clone(), ..Open::clone(open) });
    }

    pub fn put_stores(&self, stores: Stores) {
        self.0.rcu(|open| Open { stores: stores.clone(), ..Open::clone(open) });
    }

    pub fn places(&self) -> Vec<Place> {
        let Open { file, stores } = &**self.0.load();
        let file = file.as_ref().map(|file| Place { to: "file", written: file.written(), lost: file.lost(), waiting: 0, error: file.error() });
        let store = stores.history.as_ref().map(History::status);
        let store = store.map(|history::Status { written, lost, waiting, error, .. }| Place { to: "store", written, lost, waiting, error });
        let postgres = stores.postgres.as_ref().map(Postgres::status);
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
        if let Some(history) = &self.stores().history {
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
        let recording = Recording::new(Some(FileStanding::default()), Stores::default());
        assert!(recording.exposition().contains("portcullis_records_failing{to=\"file\"} 0\n"), "{}", recording.exposition());
        assert_eq!(recording.troubles(), Vec::<String>::new());
    }
}
