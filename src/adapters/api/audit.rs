//! The account of what operators changed, and of what they were not let: who, by which door, what, and what came of it.
//!
//! The last entries are kept in memory; all go to the log, and to a file where the settings name one.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use axum::body::Bytes;
use axum::http::Method;
use axum::response::Response;
use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::access::Operator;
use super::problem::Problem;

/// Entries kept in memory.
const KEPT: usize = 1000;

/// One request that changed something, or was to.
#[derive(Clone, PartialEq, Debug, Serialize, utoipa::ToSchema)]
pub struct Entry {
    /// RFC 3339, UTC.
    pub time: String,
    /// A user of this machine, a token's name, a name in a certificate.
    pub operator: String,
    /// The door, and from where.
    pub via: String,
    /// Method and path.
    pub request: String,
    /// The body as it was; null where there was none, or it was long.
    pub asked: Option<serde_json::Value>,
    /// The HTTP status of the answer.
    pub status: u16,
    /// Why it was refused.
    pub detail: Option<String>,
}

impl Entry {
    pub(super) fn new(operator: &Operator, method: &Method, path: &str, body: &Bytes, response: &Response) -> Entry {
        let now = OffsetDateTime::now_utc();
        Entry {
            time: now.replace_nanosecond(now.millisecond() as u32 * 1_000_000).unwrap_or(now).format(&Rfc3339).unwrap_or_default(),
            operator: String::from(&*operator.name),
            via: operator.via.to_string(),
            request: format!("{method} {path}"),
            asked: serde_json::from_slice(body).ok(),
            status: response.status().as_u16(),
            detail: response.extensions().get::<Problem>().map(|problem| problem.detail.clone()),
        }
    }
}

/// Cheap to clone: all clones are one account.
#[derive(Clone, Default)]
pub struct Audit(Arc<Mutex<Account>>);

#[derive(Default)]
struct Account {
    entries: VecDeque<Entry>,
    file: Option<File>,
}

impl Audit {
    /// `file`: entries are appended there too, a line of JSON each.
    pub fn open(file: Option<&Path>) -> io::Result<Audit> {
        let open = |path: &Path| {
            let mut options = File::options();
            options.append(true).create(true);
            std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o640);
            options.open(path).map_err(|error| io::Error::new(error.kind(), format!("[api] audit {}: {error}", path.display())))
        };
        let file = file.map(open).transpose()?;
        Ok(Audit(Arc::new(Mutex::new(Account { entries: VecDeque::new(), file }))))
    }

    pub(super) fn note(&self, entry: Entry) {
        let Entry { operator, via, request, status, detail, .. } = &entry;
        let detail = detail.as_deref().unwrap_or("done");
        tracing::info!(operator, via, request, status, detail, "an operator's request");
        let mut account = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = &mut account.file {
            // Nothing in an entry can fail to be JSON.
            let line = serde_json::to_string(&entry).unwrap_or_default() + "\n";
            if let Err(error) = file.write_all(line.as_bytes()) {
                tracing::error!(%error, "an operator's request is not in the audit's file; check its disk");
            }
        }
        if account.entries.len() == KEPT {
            account.entries.pop_front();
        }
        account.entries.push_back(entry);
    }

    /// The last ones, newest first.
    pub fn entries(&self) -> Vec<Entry> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).entries.iter().rev().cloned().collect()
    }
}
