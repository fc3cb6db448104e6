//! The INVITE of each call, beside its record: what another policy set is asked about. A table of its own, so that searching records reads nothing of it.

use std::io;
use std::path::Path;

use rusqlite::{Connection, params};

use super::tables::{failed, read_only};

/// It goes with its call.
pub(super) const TABLES: &str = "CREATE TABLE IF NOT EXISTS invite (number INTEGER PRIMARY KEY, told TEXT NOT NULL, message BLOB NOT NULL);";

/// What is kept of an INVITE.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Invite {
    /// The message, without secrets.
    pub message: Vec<u8>,
    /// What was known of it beside its bytes, as JSON.
    pub told: String,
}

/// One call's, as it was recorded.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Recorded {
    /// The record's number in the store.
    pub number: i64,
    /// Milliseconds since 1970.
    pub began: i64,
    /// The call's number.
    pub call: i64,
    pub caller: String,
    pub called: String,
    /// Why the call ended, a reason's code.
    pub reason: String,
    pub invite: Invite,
}

/// Which calls' INVITEs are wanted.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Chosen {
    /// Of the newest so many; `None`: of all.
    pub last: Option<u64>,
    /// Begun then or later, milliseconds since 1970.
    pub since: Option<i64>,
}

pub(super) fn write(connection: &Connection, number: i64, invite: &Invite) -> rusqlite::Result<()> {
    let mut statement = connection.prepare_cached("INSERT INTO invite (number, told, message) VALUES (?1, ?2, ?3)")?;
    statement.execute(params![number, invite.told, invite.message])?;
    Ok(())
}

/// Gives each to `with`, newest first, until that says `false`; of a store by its path, which a border may be writing to. Blocks the thread; nothing is held but one.
///
/// # Errors
///
/// The file is none, or none of ours. Says what to do.
pub fn recorded(store: &Path, chosen: &Chosen, with: &mut dyn FnMut(Recorded) -> bool) -> io::Result<()> {
    let named = |error: rusqlite::Error| {
        let said = failed(&error);
        io::Error::new(said.kind(), format!("{}: {said}", store.display()))
    };
    let connection = read_only(store).map_err(named)?;
    let known: i64 = connection.query_row("SELECT count(*) FROM sqlite_master WHERE name IN ('ended', 'invite')", [], |row| row.get(0)).map_err(named)?;
    if known < 2 {
        let what = format!("{} holds no INVITEs: it is no store of call records, or one that no border has written to since INVITEs are kept", store.display());
        return Err(io::Error::new(io::ErrorKind::InvalidData, what));
    }
    walk(&connection, chosen, with).map_err(named)
}

fn walk(connection: &Connection, chosen: &Chosen, with: &mut dyn FnMut(Recorded) -> bool) -> rusqlite::Result<()> {
    let mut statement = connection.prepare(
        "SELECT number, began, json_extract(record, '$.call'), caller.text, called.text, reason, invite.told, message
         FROM ended JOIN invite USING (number) JOIN told USING (number) JOIN class ON class.id = class
         JOIN party AS caller ON caller.id = caller JOIN party AS called ON called.id = called
         WHERE began >= ?1 ORDER BY began DESC, number DESC LIMIT ?2",
    )?;
    let limit = chosen.last.map_or(-1, |last| i64::try_from(last).unwrap_or(i64::MAX));
    let mut rows = statement.query(params![chosen.since.unwrap_or(i64::MIN), limit])?;
    while let Some(row) = rows.next()? {
        let invite = Invite { told: row.get(6)?, message: row.get(7)? };
        let recorded =
            Recorded { number: row.get(0)?, began: row.get(1)?, call: row.get(2)?, caller: row.get(3)?, called: row.get(4)?, reason: row.get(5)?, invite };
        if !with(recorded) {
            break;
        }
    }
    Ok(())
}
