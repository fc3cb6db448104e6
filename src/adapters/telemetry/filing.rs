//! Where the record of a call goes when the call is over: a file of lines, a store that can be searched, or both.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::ended::Ended;
use super::invites::Invite;
use super::ladder::Drawing;
use super::metrics::Metrics;
use crate::adapters::lines::{self, Lines};
use crate::signaling::fact::CallId;

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

/// So long after its end a call's ladder is taken as whole: the answer that refuses a call, and the ACK to it, come after the end of it.
const WHOLE: Duration = Duration::from_millis(300);

/// The telemetry thread's own.
pub(super) struct Filing {
    file: Option<RecordsFile>,
    archive: Option<Arc<dyn Archive>>,
    ladders: LaddersKept,
    /// Those whose ladder is not whole yet, and until when they wait.
    waiting: VecDeque<(Instant, Filed)>,
}

/// The file of records, open.
pub struct RecordsFile {
    file: Lines,
    path: PathBuf,
    standing: FileStanding,
    told: Option<Instant>,
    /// Lines that are not written yet, each with its end.
    lines: String,
}

impl Filing {
    pub fn new(file: Option<RecordsFile>, archive: Option<Arc<dyn Archive>>, ladders: LaddersKept) -> Filing {
        Filing { file, archive, ladders, waiting: VecDeque::new() }
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

    /// What goes into the file is there after [`Filing::settle`]; what goes into the archive with its ladder, once that is whole.
    pub fn file(&mut self, ended: Ended<'_>, invite: Option<Invite>) {
        if let Some(appended) = &mut self.file {
            appended.lines.push_str(ended.line());
            appended.lines.push('\n');
        }
        let Some(archive) = &self.archive else { return };
        let with_ladder = match self.ladders {
            LaddersKept::None => false,
            LaddersKept::Failed => ended.failed(),
            LaddersKept::All => true,
        };
        let filed = Filed { invite, ..filed(ended) };
        if with_ladder {
            self.waiting.push_back((Instant::now() + WHOLE, filed));
        } else {
            archive.keep(filed);
        }
    }

    /// Some records wait for their ladder to be whole.
    pub fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Gives the archive those whose time has come, or all of them, each with its ladder as it is by now.
    pub fn keep_due(&mut self, all: bool, ladder: impl Fn(CallId) -> Option<Drawing>) {
        let now = Instant::now();
        while let Some((_, filed)) = self.waiting.pop_front_if(|(due, _)| all || *due <= now) {
            let ladder = ladder(CallId(filed.call)).and_then(|drawing| drawn(&drawing));
            if let Some(archive) = &self.archive {
                archive.keep(Filed { ladder, ..filed });
            }
        }
    }

    /// Writes what has gathered: records that end together cost one write. `reopen`: to a new file of the same name.
    pub fn settle(&mut self, reopen: &AtomicBool, metrics: &Metrics) {
        let Some(appended) = self.file.as_mut().filter(|appended| !appended.lines.is_empty()) else { return };
        if reopen.swap(false, Ordering::Relaxed) {
            appended.file.reopen();
        }
        let (written, lost) = appended.write();
        metrics.records_written(written, lost);
    }
}

impl RecordsFile {
    /// Fails where it cannot be opened.
    pub fn open(path: &Path) -> io::Result<RecordsFile> {
        let named = |error: io::Error| io::Error::new(error.kind(), format!("call records cannot be written to {}: {error}", path.display()));
        let file = Lines::open(path).map_err(named)?;
        Ok(RecordsFile { file, path: path.to_owned(), standing: FileStanding::default(), told: None, lines: String::new() })
    }

    pub fn standing(&self) -> FileStanding {
        self.standing.clone()
    }

    /// Returns how many are written, and how many are lost: a file that is only added to has no place for what comes late.
    fn write(&mut self) -> (u64, u64) {
        let (bytes, done) = self.file.append(&self.lines);
        let count = |lines: &str| memchr::memchr_iter(b'\n', lines.as_bytes()).count() as u64;
        let written = self.lines.get(..bytes).map_or(0, count);
        let lost = count(&self.lines) - written;
        self.lines.clear();
        self.standing.0.written.fetch_add(written, Ordering::Relaxed);
        self.standing.0.lost.fetch_add(lost, Ordering::Relaxed);
        match done {
            Ok(()) => self.well(),
            Err(error) => self.ill(&error),
        }
        (written, lost)
    }

    fn well(&mut self) {
        if self.standing.error().is_some() {
            self.standing.set(None);
            self.told = None;
            tracing::info!(file = %self.path.display(), lost = self.standing.lost(), "call records are written again");
        }
    }

    fn ill(&mut self, error: &io::Error) {
        self.standing.set(Some(lines::remedy(error)));
        if self.told.is_none_or(|told| told.elapsed() >= TELL) {
            self.told = Some(Instant::now());
            let lost = self.standing.lost();
            tracing::error!(file = %self.path.display(), %error, lost, "call records are not written and are lost, calls go on; make room on the disk, or look at the file's rights");
        }
    }
}

/// A ladder takes about so much as JSON, bytes: text that grows by doubling from nothing is copied as often as it doubles.
const USUAL_LADDER: usize = 16 << 10;

fn drawn(drawing: &Drawing) -> Option<String> {
    let mut text = Vec::with_capacity(USUAL_LADDER);
    serde_json::to_writer(&mut text, drawing).ok()?;
    String::from_utf8(text).ok()
}

fn filed(ended: Ended<'_>) -> Filed {
    let millis = |span: std::time::Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
    let (record, audio_fault) = (ended.record, ended.audio_fault());
    let began = ended.anchor.wall(record.began).duration_since(std::time::UNIX_EPOCH);
    Filed {
        began: began.map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX)),
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
        line: ended.into_line(),
        invite: None,
        ladder: None,
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
