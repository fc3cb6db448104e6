//! The account of what operators changed, and of what they were not let: who, by which door, what, and what came of it.
//!
//! The last entries are kept in memory; all go to the log, and to a file where the settings name one. Whoever may read them may not read everything that was
//! shown to the border: of files they have the names, and of a long text its length.
//!
//! Who asked and was not known is no entry, since anybody may ask: it is counted, and so many a minute are told of.

use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::body::Bytes;
use axum::http::Method;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::access::Operator;
use super::problem::Problem;
use super::serve::Crowd;
use crate::adapters::lines::{self, Lines};

/// Entries kept in memory.
const KEPT: usize = 1000;
/// Of what was asked, an entry holds no more than this.
const LONGEST: usize = 2048;
/// Characters of one text in it.
const LONGEST_TEXT: usize = 200;
/// Where a request has files: their texts may hold secrets.
const FILES: &str = "files";
/// Lines a minute about those who are not known.
const LINES: u32 = 30;
const MINUTE: Duration = Duration::from_secs(60);

/// One request that changed something, or was to.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Entry {
    /// RFC 3339, UTC.
    pub time: String,
    /// A user of this machine, a token's name, a name in a certificate.
    pub operator: String,
    /// The door, and from where.
    pub via: String,
    /// Method and path.
    pub request: String,
    /// The body, with lengths in the place of files and of long texts; null where there was none, or it was longer still.
    pub asked: Option<Value>,
    /// The HTTP status of the answer.
    pub status: u16,
    /// Why it was refused, or what came of it.
    pub detail: Option<String>,
}

/// What came of a request, where its status does not say it: an extension of the answer.
#[derive(Clone, Debug)]
pub struct Outcome(pub String);

impl Entry {
    pub(super) fn new(operator: &Operator, method: &Method, path: &str, body: &Bytes, response: &Response) -> Entry {
        let now = OffsetDateTime::now_utc();
        Entry {
            time: now.replace_nanosecond(now.millisecond() as u32 * 1_000_000).unwrap_or(now).format(&Rfc3339).unwrap_or_default(),
            operator: String::from(&*operator.name),
            via: operator.via.to_string(),
            request: format!("{method} {path}"),
            asked: serde_json::from_slice(body).ok().map(shortened).filter(|asked| asked.to_string().len() <= LONGEST),
            status: response.status().as_u16(),
            detail: {
                let (problem, outcome) = (response.extensions().get::<Problem>(), response.extensions().get::<Outcome>());
                problem.map(|problem| problem.detail.clone()).or_else(|| outcome.map(|outcome| outcome.0.clone()))
            },
        }
    }
}

fn shortened(asked: Value) -> Value {
    match asked {
        Value::String(text) if text.chars().nth(LONGEST_TEXT).is_some() => length(&text),
        Value::Array(items) => items.into_iter().map(shortened).collect(),
        Value::Object(members) => {
            members.into_iter().map(|(name, value)| if name == FILES { (name, lengths(value)) } else { (name, shortened(value)) }).collect()
        }
        short => short,
    }
}

fn lengths(files: Value) -> Value {
    match files {
        Value::Object(files) => files.into_iter().map(|(name, text)| (name, length(text.as_str().unwrap_or_default()))).collect::<Map<_, _>>().into(),
        // No files at all: the request was refused.
        _ => Value::Null,
    }
}

fn length(text: &str) -> Value {
    format!("{} bytes", text.len()).into()
}

/// Cheap to clone: all clones are one account.
#[derive(Clone, Default)]
pub struct Audit(Arc<Books>);

#[derive(Default)]
struct Books {
    account: Mutex<Account>,
    asked: [AtomicU64; CLASSES.len()],
    unknown: AtomicU64,
    crowds: [Arc<Crowd>; DOORS.len()],
    told: Mutex<Option<Told>>,
}

#[derive(Default)]
struct Account {
    entries: VecDeque<Entry>,
    /// So many of them, the first, are of a process before this one.
    inherited: usize,
    file: Option<Appended>,
}

/// The file entries are appended to, and how it stands with it.
struct Appended {
    lines: Lines,
    /// Of entries it did not take yet, oldest first.
    waiting: VecDeque<String>,
    lost: u64,
    error: Option<String>,
}

/// How it stands with the file.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct FileStanding {
    /// Entries that wait for the file to take them.
    pub waiting: u64,
    /// Entries since it was opened for which there was no more room to wait.
    pub lost: u64,
    /// Why it takes none at present.
    pub error: Option<String>,
}

impl Account {
    fn drop_oldest(&mut self) {
        self.entries.pop_front();
        self.inherited = self.inherited.saturating_sub(1);
    }
}

/// Of who is not known, in the minute that began then.
struct Told {
    began: Instant,
    count: u32,
}

impl Told {
    /// How many there were before it in its minute.
    fn next(told: &mut Option<Told>, now: Instant) -> u32 {
        let begun = told.take().filter(|told| now.duration_since(told.began) < MINUTE);
        let told = told.insert(begun.unwrap_or(Told { began: now, count: 0 }));
        let before = told.count;
        told.count = before.saturating_add(1);
        before
    }
}

/// Of HTTP statuses, by their first digit.
pub const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// Where operators come in: by the control socket, and from the network.
pub const DOORS: [&str; 2] = ["socket", "network"];

/// Requests since the start, and connections.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    /// By [`CLASSES`].
    pub answered: [u64; CLASSES.len()],
    /// Of those, with credentials that are not known.
    pub unknown: u64,
    /// Connections that are open, by [`DOORS`].
    pub connections: [u64; DOORS.len()],
    /// Connections closed to make room for others, likewise.
    pub made_room: [u64; DOORS.len()],
}

impl Audit {
    /// `file`: entries are appended there too, a line of JSON each.
    pub fn open(file: Option<&Path>) -> io::Result<Audit> {
        let file = file.map(appended).transpose()?;
        Ok(Audit(Arc::new(Books { account: Mutex::new(Account { file, ..Account::default() }), ..Books::default() })))
    }

    pub(super) fn count(&self, response: &Response) {
        let class = usize::from(response.status().as_u16() / 100).saturating_sub(1);
        if let Some(count) = self.0.asked.get(class) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Somebody showed credentials that are not known.
    pub(super) fn unknown(&self, from: impl std::fmt::Display, method: &Method, path: &str) {
        self.0.unknown.fetch_add(1, Ordering::Relaxed);
        let mut told = self.0.told.lock().unwrap_or_else(PoisonError::into_inner);
        match Told::next(&mut told, Instant::now()) {
            0..LINES => tracing::warn!(%from, %method, path, "a request with credentials that are not known here was refused"),
            LINES => tracing::warn!("more such requests of this minute are only counted: portcullis_api_credentials_refused_total"),
            _ => {}
        }
    }

    pub fn counts(&self) -> Counts {
        let Books { asked, unknown, crowds, .. } = &*self.0;
        Counts {
            answered: asked.each_ref().map(|count| count.load(Ordering::Relaxed)),
            unknown: unknown.load(Ordering::Relaxed),
            connections: crowds.each_ref().map(|crowd| crowd.here.load(Ordering::Relaxed)),
            made_room: crowds.each_ref().map(|crowd| crowd.made_room.load(Ordering::Relaxed)),
        }
    }

    /// What is counted of those who come in by the control socket.
    pub(super) fn by_socket(&self) -> Arc<Crowd> {
        Arc::clone(&self.0.crowds[0])
    }

    /// … and from the network, by the door there is and by those before it.
    pub(super) fn by_network(&self) -> Arc<Crowd> {
        Arc::clone(&self.0.crowds[1])
    }

    /// Entries to come go to this file, opened anew: the one before may have been moved away. With an error all is as it was. Blocks the thread.
    pub fn to_file(&self, file: Option<&Path>) -> io::Result<()> {
        let mut file = file.map(appended).transpose()?;
        let mut account = self.0.account.lock().unwrap_or_else(PoisonError::into_inner);
        if let (Some(new), Some(old)) = (&mut file, account.file.take()) {
            // What the one before did not take.
            (new.waiting, new.lost) = (old.waiting, old.lost);
            new.write();
        }
        account.file = file;
        Ok(())
    }

    pub(super) fn note(&self, entry: Entry) {
        let Entry { operator, via, request, status, detail, .. } = &entry;
        let detail = detail.as_deref().unwrap_or("done");
        tracing::info!(operator, via, request, status, detail, "an operator's request");
        let mut account = self.0.account.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = &mut account.file {
            // Nothing in an entry can fail to be JSON.
            let line = serde_json::to_string(&entry).unwrap_or_default() + "\n";
            file.append(line);
        }
        if account.entries.len() == KEPT {
            account.drop_oldest();
        }
        account.entries.push_back(entry);
    }

    /// How it stands with the file; `None`: there is none. What waits for it is tried again by this, since who looks is who wants to know.
    pub fn file(&self) -> Option<FileStanding> {
        let mut account = self.0.account.lock().unwrap_or_else(PoisonError::into_inner);
        let file = account.file.as_mut()?;
        file.write();
        Some(FileStanding { waiting: file.waiting.len() as u64, lost: file.lost, error: file.error.clone() })
    }

    /// Entries of a process before this one, oldest first: they stand before those that are here. They are in the log and the file already.
    pub fn inherit(&self, entries: Vec<Entry>) {
        let mut account = self.0.account.lock().unwrap_or_else(PoisonError::into_inner);
        let earlier = account.inherited;
        for (index, entry) in entries.into_iter().enumerate() {
            account.entries.insert(earlier + index, entry);
            account.inherited += 1;
        }
        while account.entries.len() > KEPT {
            account.drop_oldest();
        }
    }

    /// The last ones, newest first.
    pub fn entries(&self) -> Vec<Entry> {
        self.0.account.lock().unwrap_or_else(PoisonError::into_inner).entries.iter().rev().cloned().collect()
    }
}

fn appended(path: &Path) -> io::Result<Appended> {
    let lines = Lines::open(path).map_err(|error| io::Error::new(error.kind(), format!("[api] audit {}: {error}", path.display())))?;
    Ok(Appended { lines, waiting: VecDeque::new(), lost: 0, error: None })
}

impl Appended {
    fn append(&mut self, line: String) {
        if self.waiting.len() == KEPT {
            self.waiting.pop_front();
            self.lost += 1;
        }
        self.waiting.push_back(line);
        self.write();
        if let Some(error) = &self.error {
            let (waiting, lost) = (self.waiting.len(), self.lost);
            tracing::error!(
                error,
                waiting,
                lost,
                "an operator's request is not in the audit's file yet; make room on its disk, or look at the file's rights ([api] audit)"
            );
        }
    }

    /// As much of what waits as the file takes.
    fn write(&mut self) {
        while let Some(line) = self.waiting.front() {
            if let Err(error) = self.lines.append(line).1 {
                self.error = Some(lines::remedy(&error));
                return;
            }
            self.waiting.pop_front();
        }
        if self.error.take().is_some() {
            tracing::info!(lost = self.lost, "operators' requests are in the audit's file again");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(request: &str) -> Entry {
        let [time, operator, via] = ["2026-01-02T03:04:05Z", "anna", "socket"].map(String::from);
        Entry { time, operator, via, request: request.to_owned(), asked: None, status: 200, detail: None }
    }

    #[test]
    fn what_a_process_before_was_asked_stands_before_what_this_one_is() {
        let audit = Audit::default();
        let requests = || audit.entries().iter().rev().map(|entry| entry.request.clone()).collect::<Vec<_>>();
        audit.note(entry("own 1"));
        audit.inherit(vec![entry("old 1"), entry("old 2")]);
        audit.note(entry("own 2"));
        audit.inherit(vec![entry("old 3")]);
        assert_eq!(requests(), ["old 1", "old 2", "old 3", "own 1", "own 2"]);
        audit.inherit((0..KEPT).map(|number| entry(&number.to_string())).collect());
        let all = requests();
        assert_eq!((all.len(), all[0].as_str(), all[KEPT - 1].as_str()), (KEPT, "2", "own 2"), "the oldest have gone");
    }

    #[test]
    fn those_of_each_minute_are_told_apart() {
        let (mut told, began) = (None, Instant::now());
        let at = |seconds: u64| began + Duration::from_secs(seconds);
        let numbers: Vec<u32> = [0, 1, 59, 60, 61].map(|seconds| Told::next(&mut told, at(seconds))).into();
        assert_eq!(numbers, [0, 1, 2, 0, 1]);
    }

    #[test]
    fn what_a_full_disk_does_not_take_waits_and_is_told_of() {
        let audit = Audit::open(Some(Path::new("/dev/full"))).unwrap();
        let entry = |number: u32| Entry {
            time: String::new(),
            operator: String::from("alice"),
            via: String::from("socket"),
            request: format!("POST /v1/bans/{number}"),
            asked: None,
            status: 200,
            detail: None,
        };
        assert_eq!(audit.file(), Some(FileStanding::default()));
        (0..KEPT as u32 + 2).for_each(|number| audit.note(entry(number)));
        let full = FileStanding { waiting: KEPT as u64, lost: 2, error: Some(String::from("the disk is full; make room")) };
        assert_eq!(audit.file(), Some(full));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.jsonl");
        audit.to_file(Some(&path)).unwrap();
        assert_eq!(audit.file(), Some(FileStanding { waiting: 0, lost: 2, error: None }));
        let text = std::fs::read_to_string(path).unwrap();
        assert_eq!(text.lines().count(), KEPT);
        assert!(text.starts_with("{") && text.lines().next().unwrap().contains("/v1/bans/2\""), "the oldest went first");
    }
}
