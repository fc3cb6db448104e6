//! Where the record of a call goes when the call is over: a file of lines, a store that can be searched, or both.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::invites::Invite;
use super::ladder::{Drawing, Ladders};
use super::metrics::Metrics;
use super::records::{self, RecordFile};
use super::sound;
use super::wall::Anchor;
use crate::policy::verdict::Fault;
use crate::signaling::fact::CallRecord;

/// A store of records. Must not wait.
pub trait Archive: Send + Sync {
    fn keep(&self, filed: Filed);
}

/// A record as a store wants it.
#[derive(Clone, PartialEq, Debug)]
pub struct Filed {
    /// Milliseconds since 1970.
    pub began: i64,
    pub call: u64,
    /// What stands before the host in their URIs.
    pub caller: String,
    pub called: String,
    pub a_peer: String,
    pub b_peer: Option<String>,
    /// A reason code and who is at fault.
    pub reason: &'static str,
    pub fault: &'static str,
    pub status: Option<u16>,
    pub answered: bool,
    pub total_ms: u64,
    pub talk_ms: Option<u64>,
    /// A direction was not heard, or not well.
    pub audio_fault: bool,
    /// As the file has it.
    pub line: String,
    /// What the call began with, where that is kept.
    pub invite: Option<Invite>,
    /// A [`Drawing`] as JSON.
    pub ladder: Option<String>,
}

/// Of which calls the ladder is kept with the record.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum LaddersKept {
    None,
    /// Of those that failed, or in which something was not heard.
    #[default]
    Failed,
    All,
}

/// How it stands with the file of records. Cheap to clone: all clones are one.
#[derive(Clone, Default)]
pub struct FileStanding(Arc<Counted>);

#[derive(Default)]
struct Counted {
    written: AtomicU64,
    lost: AtomicU64,
    error: Mutex<Option<String>>,
}

impl FileStanding {
    pub fn written(&self) -> u64 {
        self.0.written.load(Ordering::Relaxed)
    }

    pub fn lost(&self) -> u64 {
        self.0.lost.load(Ordering::Relaxed)
    }

    /// What the disk last said, while it refuses.
    pub fn error(&self) -> Option<String> {
        self.0.error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, error: Option<String>) -> Option<String> {
        std::mem::replace(&mut *self.0.error.lock().unwrap_or_else(PoisonError::into_inner), error)
    }
}

/// A disk that refuses is told of so often.
const TELL: Duration = Duration::from_secs(60);

/// The telemetry thread's own.
pub(super) struct Filing {
    file: Option<RecordsFile>,
    archive: Option<Arc<dyn Archive>>,
    ladders: LaddersKept,
}

/// The file of records, open.
pub struct RecordsFile {
    file: RecordFile,
    path: PathBuf,
    standing: FileStanding,
    told: Option<Instant>,
}

impl Filing {
    pub fn new(file: Option<RecordsFile>, archive: Option<Arc<dyn Archive>>, ladders: LaddersKept) -> Filing {
        Filing { file, archive, ladders }
    }

    pub fn put_file(&mut self, file: Option<RecordsFile>) {
        self.file = file;
    }

    pub fn put_archive(&mut self, archive: Option<Arc<dyn Archive>>) {
        self.archive = archive;
    }

    pub fn keep_ladders(&mut self, ladders: LaddersKept) {
        self.ladders = ladders;
    }

    /// After a rotation.
    pub fn reopen(&mut self) {
        if let Some(appended) = &mut self.file {
            appended.file.reopen();
        }
    }

    pub fn file(&mut self, record: &CallRecord, invite: Option<Invite>, held: &Ladders, metrics: &Metrics, anchor: &Anchor) {
        if self.file.is_none() && self.archive.is_none() {
            return;
        }
        let line = records::line(record, anchor);
        if let Some(appended) = &mut self.file {
            metrics.record_written(appended.append(&line));
        }
        if let Some(archive) = &self.archive {
            archive.keep(Filed { invite, ..filed(record, line, self.ladders, held, anchor) });
        }
    }
}

impl RecordsFile {
    /// Fails where it cannot be opened.
    pub fn open(path: &Path) -> io::Result<RecordsFile> {
        let named = |error: io::Error| io::Error::new(error.kind(), format!("call records cannot be written to {}: {error}", path.display()));
        Ok(RecordsFile { file: RecordFile::open(path).map_err(named)?, path: path.to_owned(), standing: FileStanding::default(), told: None })
    }

    pub fn standing(&self) -> FileStanding {
        self.standing.clone()
    }

    /// Whether it is written. What is not is lost: a file that is only added to has no place for what comes late.
    fn append(&mut self, line: &str) -> bool {
        match self.file.append(line) {
            Ok(()) => {
                self.standing.0.written.fetch_add(1, Ordering::Relaxed);
                if self.standing.error().is_some() {
                    self.standing.set(None);
                    self.told = None;
                    tracing::info!(file = %self.path.display(), lost = self.standing.lost(), "call records are written again");
                }
                true
            }
            Err(error) => {
                self.standing.0.lost.fetch_add(1, Ordering::Relaxed);
                let full = error.kind() == io::ErrorKind::StorageFull;
                self.standing.set(Some(if full { String::from("the disk is full; make room") } else { error.to_string() }));
                if self.told.is_none_or(|told| told.elapsed() >= TELL) {
                    self.told = Some(Instant::now());
                    let lost = self.standing.lost();
                    tracing::error!(file = %self.path.display(), %error, lost, "call records are not written and are lost, calls go on; make room on the disk, or look at the file's rights");
                }
                false
            }
        }
    }
}

fn filed(record: &CallRecord, line: String, kept: LaddersKept, held: &Ladders, anchor: &Anchor) -> Filed {
    let millis = |span: std::time::Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
    let audio_fault = sound::of_record(record, anchor).is_some_and(|told| told.iter().any(|direction| direction.fault));
    let wanted = match kept {
        LaddersKept::None => false,
        LaddersKept::Failed => audio_fault || record.reason.fault() != Fault::None,
        LaddersKept::All => true,
    };
    let drawn = wanted.then(|| held.facts(record.call)).flatten();
    let ladder = drawn.and_then(|(facts, left_out)| serde_json::to_string(&Drawing { left_out, ..Drawing::of(&facts, anchor) }).ok());
    let began = anchor.wall(record.began).duration_since(std::time::UNIX_EPOCH).map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX));
    Filed {
        began,
        call: record.call.0,
        caller: user_part(&record.from),
        called: user_part(&record.to),
        a_peer: String::from(&*record.a.peer),
        b_peer: record.b.as_ref().map(|leg| String::from(&*leg.peer)),
        reason: record.reason.code(),
        fault: record.reason.fault().word(),
        status: record.status,
        answered: record.answered.is_some(),
        total_ms: millis(record.ended.since(record.began)),
        talk_ms: record.answered.map(|answered| millis(record.ended.since(answered))),
        audio_fault,
        line,
        invite: None,
        ladder,
    }
}

/// Of `sip:+49301234;phone-context=x@gw` what an operator searches by: `+49301234`. Without a user part, the host.
fn user_part(uri: &str) -> String {
    let rest = uri.split_once(':').map_or(uri, |(_, rest)| rest);
    let user = rest.split('@').next().unwrap_or(rest);
    super::clean(user.split([';', '?', ':']).next().unwrap_or(user))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operator_searches_by_the_number_alone() {
        for (uri, number) in [
            ("sip:+49301234@carrier.example;user=phone", "+49301234"),
            ("sip:+49301234;phone-context=x@gw", "+49301234"),
            ("tel:+49301234;ext=7", "+49301234"),
            ("sip:alice:secret@example", "alice"),
            ("sip:um.example:5060", "um.example"),
        ] {
            assert_eq!(user_part(uri), number);
        }
    }
}
