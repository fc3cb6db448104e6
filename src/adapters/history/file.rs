//! The file itself: its tables, writing to it, and taking out what is too old or too much.

use std::io;
use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, params};

use super::Settings;
use super::invites::{self, Invite};

/// How the tables are written. A file of a higher one is of a newer program, and is left alone.
const VERSION: i64 = 1;
/// Taken out in one transaction.
const CHUNK: i64 = 5000;

/// What is searched is kept apart from what is only read, so that walking through a million calls reads little. `…_back`: the same letters from the end, so
/// that an index answers for the last digits as well.
const TABLES: &str = "
    CREATE TABLE IF NOT EXISTS call (
        number INTEGER PRIMARY KEY,
        began INTEGER NOT NULL,
        call INTEGER NOT NULL,
        caller TEXT NOT NULL,
        called TEXT NOT NULL,
        caller_back TEXT NOT NULL,
        called_back TEXT NOT NULL,
        a_peer TEXT NOT NULL,
        b_peer TEXT,
        reason TEXT NOT NULL,
        fault TEXT NOT NULL,
        status INTEGER,
        answered INTEGER NOT NULL,
        total_ms INTEGER NOT NULL,
        talk_ms INTEGER,
        audio_fault INTEGER NOT NULL
    );
    CREATE TABLE IF NOT EXISTS told (number INTEGER PRIMARY KEY REFERENCES call, record TEXT NOT NULL, ladder TEXT);
    CREATE INDEX IF NOT EXISTS call_began ON call (began);
    CREATE INDEX IF NOT EXISTS call_caller ON call (caller, began);
    CREATE INDEX IF NOT EXISTS call_called ON call (called, began);
    CREATE INDEX IF NOT EXISTS call_caller_back ON call (caller_back, began);
    CREATE INDEX IF NOT EXISTS call_called_back ON call (called_back, began);
    CREATE INDEX IF NOT EXISTS call_a_peer ON call (a_peer, began);
    CREATE INDEX IF NOT EXISTS call_b_peer ON call (b_peer, began);
    CREATE INDEX IF NOT EXISTS call_reason ON call (reason, began);
    CREATE INDEX IF NOT EXISTS call_fault ON call (fault, began);
    CREATE INDEX IF NOT EXISTS call_audio ON call (audio_fault, began);
    CREATE TRIGGER IF NOT EXISTS call_gone AFTER DELETE ON call BEGIN DELETE FROM told WHERE number = old.number; END;
";

/// What a record is searched by.
#[derive(Clone, PartialEq, Debug)]
pub struct Fields {
    /// Milliseconds since 1970.
    pub began: i64,
    pub call: u64,
    /// The user parts: numbers, or what stands for them.
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
}

/// One record to be kept.
#[derive(Clone, PartialEq, Debug)]
pub struct Kept {
    pub fields: Fields,
    /// As the file of records has it, a line of JSON.
    pub record: String,
    /// Its ladder as text, where it was held.
    pub ladder: Option<String>,
    /// What the call began with, where that is kept.
    pub invite: Option<Invite>,
}

pub struct File {
    connection: Connection,
}

impl File {
    pub fn open(settings: &Settings) -> io::Result<File> {
        let named = |error: rusqlite::Error| io::Error::new(kind(&error), format!("[records] store {}: {}", settings.path.display(), said(&error)));
        let connection = Connection::open(&settings.path).map_err(named)?;
        let file = File { connection };
        file.prepare().map_err(named)?;
        restrict(&settings.path)?;
        let version: i64 = file.connection.query_row("PRAGMA user_version", [], |row| row.get(0)).map_err(named)?;
        if version > VERSION {
            let what =
                format!("[records] store {} was written by a newer version of this program; name another file, or run that version", settings.path.display());
            return Err(io::Error::new(io::ErrorKind::InvalidData, what));
        }
        file.connection.execute_batch(TABLES).map_err(named)?;
        file.connection.execute_batch(invites::TABLES).map_err(named)?;
        file.connection.pragma_update(None, "user_version", VERSION).map_err(named)?;
        Ok(file)
    }

    fn prepare(&self) -> rusqlite::Result<()> {
        self.connection.busy_timeout(Duration::from_secs(5))?;
        // Before the first table: afterwards it takes a VACUUM.
        self.connection.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
        self.connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
        // A killed process loses nothing that was committed; a power cut may lose the last commits, never more, and never the file.
        self.connection.pragma_update(None, "synchronous", "NORMAL")?;
        self.connection.pragma_update(None, "journal_size_limit", 16 << 20)
    }

    /// All in one transaction.
    pub fn append(&mut self, records: &[Kept]) -> io::Result<()> {
        self.write(records).map_err(|error| io::Error::new(kind(&error), said(&error)))
    }

    fn write(&mut self, records: &[Kept]) -> rusqlite::Result<()> {
        let transaction = self.connection.transaction()?;
        {
            let mut call = transaction.prepare_cached(
                "INSERT INTO call (began, call, caller, called, caller_back, called_back, a_peer, b_peer, reason, fault, status, answered, total_ms, talk_ms, audio_fault)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)",
            )?;
            let mut told = transaction.prepare_cached("INSERT INTO told (number, record, ladder) VALUES (?1, ?2, ?3)")?;
            for Kept { fields, record, ladder, invite } in records {
                call.execute(params![
                    fields.began,
                    signed(fields.call),
                    fields.caller,
                    fields.called,
                    backwards(&fields.caller),
                    backwards(&fields.called),
                    fields.a_peer,
                    fields.b_peer,
                    fields.reason,
                    fields.fault,
                    fields.status,
                    fields.answered,
                    signed(fields.total_ms),
                    fields.talk_ms.map(signed),
                    fields.audio_fault,
                ])?;
                let number = transaction.last_insert_rowid();
                told.execute(params![number, record, ladder])?;
                if let Some(invite) = invite {
                    invites::write(&transaction, number, invite)?;
                }
            }
        }
        transaction.commit()
    }

    /// Takes out what is too old or too much, and says how many are left and how large the file is. `now`: milliseconds since 1970.
    pub fn sweep(&mut self, settings: &Settings, now: i64) -> io::Result<(u64, u64)> {
        self.take_out(settings, now).map_err(|error| io::Error::new(kind(&error), said(&error)))
    }

    fn take_out(&mut self, settings: &Settings, now: i64) -> rusqlite::Result<(u64, u64)> {
        if settings.days > 0 {
            let oldest = now - i64::from(settings.days) * 86_400_000;
            let old = "DELETE FROM call WHERE number IN (SELECT number FROM call WHERE began < ?1 ORDER BY began LIMIT ?2)";
            while self.connection.execute(old, params![oldest, CHUNK])? == CHUNK as usize {}
        }
        let held = self.number("SELECT count(*) FROM call")?;
        let mut left = held;
        let mut used = self.used()?;
        while settings.size > 0 && used > settings.size && left > 0 {
            // As many as the share that is too much, so that few rounds do.
            let part = (left as f64 * (1.0 - settings.size as f64 / used as f64)).ceil() as i64;
            let oldest = "DELETE FROM call WHERE number IN (SELECT number FROM call ORDER BY began LIMIT ?1)";
            let gone = self.connection.execute(oldest, [part.clamp(1, CHUNK)])?;
            if gone == 0 {
                break;
            }
            left = left.saturating_sub(gone as u64);
            used = self.used()?;
        }
        // Gives back to the system what is free; without it the file never shrinks.
        let mut vacuum = self.connection.prepare_cached("PRAGMA incremental_vacuum(4096)")?;
        let mut rows = vacuum.query([])?;
        while rows.next()?.is_some() {}
        drop(rows);
        drop(vacuum);
        Ok((left, self.number("SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()")?))
    }

    /// Bytes in use: what is free in the file is not counted.
    fn used(&self) -> rusqlite::Result<u64> {
        self.number("SELECT (page_count - freelist_count) * page_size FROM pragma_page_count(), pragma_page_size(), pragma_freelist_count()")
    }

    fn number(&self, question: &str) -> rusqlite::Result<u64> {
        let number: i64 = self.connection.prepare_cached(question)?.query_row([], |row| row.get(0))?;
        Ok(u64::try_from(number).unwrap_or(0))
    }
}

/// Records tell who called whom: for us and our group alone.
fn restrict(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::metadata(path)?.permissions().mode();
    if mode & 0o007 != 0 {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode & !0o007))?;
    }
    Ok(())
}

pub(super) fn read_only(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(Duration::from_secs(1))?;
    Ok(connection)
}

/// From the end.
pub(super) fn backwards(text: &str) -> String {
    text.chars().rev().collect()
}

/// SQLite knows no unsigned numbers.
pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn kind(error: &rusqlite::Error) -> io::ErrorKind {
    match error.sqlite_error_code() {
        Some(rusqlite::ErrorCode::DiskFull) => io::ErrorKind::StorageFull,
        Some(rusqlite::ErrorCode::CannotOpen) => io::ErrorKind::NotFound,
        Some(rusqlite::ErrorCode::PermissionDenied | rusqlite::ErrorCode::ReadOnly) => io::ErrorKind::PermissionDenied,
        Some(rusqlite::ErrorCode::OperationInterrupted) => io::ErrorKind::TimedOut,
        Some(rusqlite::ErrorCode::DatabaseCorrupt | rusqlite::ErrorCode::NotADatabase) => io::ErrorKind::InvalidData,
        _ => io::ErrorKind::Other,
    }
}

/// In words, with what to do where that is known.
pub(super) fn said(error: &rusqlite::Error) -> String {
    match kind(error) {
        io::ErrorKind::StorageFull => String::from("the disk is full; make room"),
        io::ErrorKind::NotFound => format!("{error}; make its folder, or name another file"),
        io::ErrorKind::PermissionDenied => format!("{error}; let the border's user write it"),
        io::ErrorKind::InvalidData => format!("{error}; move the file away, and a new one is made"),
        io::ErrorKind::TimedOut => String::from("the question took too long; ask for less"),
        _ => error.to_string(),
    }
}

pub(super) fn failed(error: &rusqlite::Error) -> io::Error {
    io::Error::new(kind(error), said(error))
}
