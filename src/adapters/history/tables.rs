//! The tables of the file, how they came to be, and what to say when SQLite refuses.
//!
//! What is searched is kept apart from what is only read, and narrow: a walk over a million calls reads some thirty megabytes. Peers, reason, fault, answered and
//! heard are a *class*, of which there are few, so that any combination of them is a handful of classes and one index answers for all; how many calls each holds
//! is counted along. Numbers are *parties*, written once and once from the end, so that an index answers for the last digits as well.

use std::io;
use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use super::invites;

/// How the tables are written. A file of a higher one is of a newer program, and is left alone.
const VERSION: i64 = 2;

/// A class without a B leg has an empty `b_peer`: no peer is called so, and null would not be unique. The indexes hold all that a question compares, so that
/// none reads the table beside.
const TABLES: &str = "
    CREATE TABLE IF NOT EXISTS class (
        id INTEGER PRIMARY KEY,
        a_peer TEXT NOT NULL,
        b_peer TEXT NOT NULL,
        reason TEXT NOT NULL,
        fault TEXT NOT NULL,
        answered INTEGER NOT NULL,
        audio_fault INTEGER NOT NULL,
        held INTEGER NOT NULL,
        UNIQUE (a_peer, b_peer, reason, fault, answered, audio_fault)
    );
    CREATE TABLE IF NOT EXISTS party (id INTEGER PRIMARY KEY, text TEXT NOT NULL UNIQUE, back TEXT NOT NULL);
    CREATE INDEX IF NOT EXISTS party_back ON party (back);
    CREATE TABLE IF NOT EXISTS ended (
        began INTEGER NOT NULL,
        number INTEGER NOT NULL,
        class INTEGER NOT NULL,
        caller INTEGER NOT NULL,
        called INTEGER NOT NULL,
        PRIMARY KEY (began, number)
    ) WITHOUT ROWID;
    CREATE INDEX IF NOT EXISTS ended_class ON ended (class, began, number, caller, called);
    CREATE INDEX IF NOT EXISTS ended_caller ON ended (caller, began, number, class, called);
    CREATE INDEX IF NOT EXISTS ended_called ON ended (called, began, number, class, caller);
    CREATE TABLE IF NOT EXISTS told (number INTEGER PRIMARY KEY, record TEXT NOT NULL, ladder TEXT);
    CREATE VIEW IF NOT EXISTS calls AS
        SELECT number, strftime('%Y-%m-%dT%H:%M:%fZ', began / 1000.0, 'unixepoch') AS began, caller.text AS caller, called.text AS called,
            a_peer, b_peer, reason, fault, answered, audio_fault
        FROM ended JOIN class ON class.id = class JOIN party AS caller ON caller.id = caller JOIN party AS called ON called.id = called;
";

/// From the first form, in which everything that is searched stood in one wide table. Records and ladders stay where they are.
const FROM_FIRST: &str = "
    DROP TRIGGER IF EXISTS call_gone;
    INSERT INTO class (a_peer, b_peer, reason, fault, answered, audio_fault, held)
        SELECT a_peer, coalesce(b_peer, ''), reason, fault, answered, audio_fault, count(*) FROM call GROUP BY 1, 2, 3, 4, 5, 6;
    INSERT OR IGNORE INTO party (text, back) SELECT caller, caller_back FROM call;
    INSERT OR IGNORE INTO party (text, back) SELECT called, called_back FROM call;
    INSERT INTO ended (began, number, class, caller, called)
        SELECT call.began, call.number, class.id, caller.id, called.id FROM call
        JOIN class ON class.a_peer = call.a_peer AND class.b_peer = coalesce(call.b_peer, '') AND class.reason = call.reason AND class.fault = call.fault
            AND class.answered = call.answered AND class.audio_fault = call.audio_fault
        JOIN party AS caller ON caller.text = call.caller JOIN party AS called ON called.text = call.called;
    DROP TABLE call;
";

/// Makes the file where there is none, brings an older one to today's form, and leaves a newer one alone.
pub(super) fn open(path: &Path) -> io::Result<Connection> {
    let named = |error: rusqlite::Error| io::Error::new(kind(&error), format!("[records] store {}: {}", path.display(), said(&error)));
    let mut connection = Connection::open(path).map_err(named)?;
    prepare(&connection).map_err(named)?;
    restrict(path)?;
    let version: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0)).map_err(named)?;
    if version > VERSION {
        let what = format!("[records] store {} was written by a newer version of this program; name another file, or run that version", path.display());
        return Err(io::Error::new(io::ErrorKind::InvalidData, what));
    }
    if version == 1 {
        tracing::info!(store = %path.display(), "the store of call records is brought to a newer form, once; a minute for some million records");
    }
    bring(&mut connection, version).map_err(named)?;
    Ok(connection)
}

/// All or nothing: a process killed meanwhile leaves the file as it was.
fn bring(connection: &mut Connection, version: i64) -> rusqlite::Result<()> {
    let transaction = connection.transaction()?;
    transaction.execute_batch(TABLES)?;
    transaction.execute_batch(invites::TABLES)?;
    if version == 1 {
        transaction.execute_batch(FROM_FIRST)?;
    }
    transaction.pragma_update(None, "user_version", VERSION)?;
    transaction.commit()
}

fn prepare(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(Duration::from_secs(5))?;
    // Before the first table: afterwards it takes a VACUUM.
    connection.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
    // A killed process loses nothing that was committed; a power cut may lose the last commits, never more, and never the file.
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    connection.pragma_update(None, "journal_size_limit", 16 << 20)?;
    // Pages: those that every commit changes go to the file once for many commits.
    connection.pragma_update(None, "wal_autocheckpoint", 4000)?;
    // Records of the first form refer to a table that is no more.
    connection.pragma_update(None, "foreign_keys", false)?;
    // Kibibytes: new numbers fall everywhere into the indexes.
    connection.pragma_update(None, "cache_size", -16_384)
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
    connection.pragma_update(None, "cache_size", -16_384)?;
    Ok(connection)
}

/// From the end.
pub(super) fn backwards(text: &str) -> String {
    text.chars().rev().collect()
}

fn kind(error: &rusqlite::Error) -> io::ErrorKind {
    match error.sqlite_error_code() {
        Some(rusqlite::ErrorCode::DiskFull) => io::ErrorKind::StorageFull,
        Some(rusqlite::ErrorCode::CannotOpen) => io::ErrorKind::NotFound,
        Some(rusqlite::ErrorCode::PermissionDenied | rusqlite::ErrorCode::ReadOnly) => io::ErrorKind::PermissionDenied,
        // Of a file that is there, a full disk says so as well: the memory it shares with readers is a file beside it.
        Some(rusqlite::ErrorCode::SystemIoFailure | rusqlite::ErrorCode::DatabaseBusy) => io::ErrorKind::ResourceBusy,
        Some(rusqlite::ErrorCode::OperationInterrupted) => io::ErrorKind::TimedOut,
        Some(rusqlite::ErrorCode::DatabaseCorrupt | rusqlite::ErrorCode::NotADatabase) => io::ErrorKind::InvalidData,
        Some(rusqlite::ErrorCode::ConstraintViolation | rusqlite::ErrorCode::TooBig | rusqlite::ErrorCode::TypeMismatch) => io::ErrorKind::InvalidInput,
        _ => io::ErrorKind::Other,
    }
}

/// In words, with what to do where that is known.
pub(super) fn said(error: &rusqlite::Error) -> String {
    match kind(error) {
        io::ErrorKind::StorageFull => String::from("the disk is full; make room"),
        io::ErrorKind::ResourceBusy => format!("{error}; see whether the disk is full or ill"),
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
