//! Writing to the file: records in, and those that are too old or too many out, by small steps between which others are written.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;

use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};

use super::Settings;
use super::invites::{self, Invite};
use super::packed::Packed;
use super::tables::{self, backwards, failed};

/// Taken out in one transaction: some milliseconds.
const STEP: i64 = 500;
/// Pages given back to the system in one.
const GIVE_BACK: u32 = 512;
/// Classes remembered, with room for every peer with every reason it ever met.
const CLASSES: usize = 50_000;

/// What a record is searched by.
#[derive(Clone, PartialEq, Debug)]
pub struct Fields {
    /// Milliseconds since 1970.
    pub began: i64,
    /// The user parts: numbers, or what stands for them.
    pub caller: String,
    pub called: String,
    pub class: Class,
}

/// What few differ in and many share.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Class {
    pub a_peer: String,
    pub b_peer: Option<String>,
    /// A reason code and who is at fault.
    pub reason: &'static str,
    pub fault: &'static str,
    pub answered: bool,
    /// A direction was not heard, or not well.
    pub audio_fault: bool,
}

/// One record to be kept.
#[derive(Clone, PartialEq, Debug)]
pub struct Kept {
    /// The call's number, and the record's, unless there is one of that number.
    pub call: u64,
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
    /// Those known to be in the file. They are never taken out of it.
    classes: HashMap<Class, i64>,
}

impl File {
    pub fn open(settings: &Settings) -> io::Result<File> {
        Ok(File { connection: tables::open(&settings.path)?, classes: HashMap::new() })
    }

    /// All in one transaction.
    pub fn append(&mut self, records: &[Kept]) -> io::Result<()> {
        let written = write(&mut self.connection, &mut self.classes, records);
        if written.is_err() || self.classes.len() > CLASSES {
            // Those of a transaction that was not committed are not in the file.
            self.classes.clear();
        }
        written.map_err(|error| failed(&error))
    }

    /// What stands in the log beside the file is put into it, as far as that goes.
    pub fn settle(&self) {
        // Without it the file is as it was at the last time, which is whole as well.
        let _ = self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
    }

    /// Takes out some of what is too old or too much, or gives back to the system some of what is free. `now`: milliseconds since 1970.
    pub fn sweep(&mut self, settings: &Settings, now: i64) -> io::Result<Swept> {
        self.take_out(settings, now).map_err(|error| failed(&error))
    }

    fn take_out(&mut self, settings: &Settings, now: i64) -> rusqlite::Result<Swept> {
        let mut swept = Swept::default();
        if settings.days > 0 {
            let oldest = now.saturating_sub(i64::from(settings.days) * 86_400_000);
            swept.aged = remove(&mut self.connection, oldest, STEP)?;
            if swept.aged == STEP as u64 {
                return Ok(Swept { more: true, ..swept });
            }
        }
        let (used, free) = self.pages()?;
        if settings.size > 0 && used.bytes > settings.size {
            // As many as the share that is too much, so that few are taken out for nothing.
            let share = 1.0 - settings.size as f64 / used.bytes as f64;
            let part = (self.held()? as f64 * share).ceil() as i64;
            swept.crowded = remove(&mut self.connection, i64::MAX, part.clamp(1, STEP))?;
            return Ok(Swept { more: swept.crowded > 0, ..swept });
        }
        // Some room stays for what comes next; without giving back the rest the file would never shrink.
        if free.pages > used.pages / 8 {
            let mut vacuum = self.connection.prepare_cached(&format!("PRAGMA incremental_vacuum({GIVE_BACK})"))?;
            let mut rows = vacuum.query([])?;
            while rows.next()?.is_some() {}
            return Ok(Swept { more: true, ..swept });
        }
        Ok(swept)
    }

    /// The highest number of a record; zero: there is none.
    pub fn highest(&self) -> io::Result<u64> {
        self.number("SELECT coalesce(max(number), 0) FROM told").map_err(|error| failed(&error))
    }

    /// Records held, and bytes of the file.
    pub fn measure(&self) -> io::Result<(u64, u64)> {
        let pages = self.pages().map_err(|error| failed(&error));
        let (used, free) = pages?;
        Ok((self.held().map_err(|error| failed(&error))?, used.bytes + free.bytes))
    }

    fn held(&self) -> rusqlite::Result<u64> {
        self.number("SELECT coalesce(sum(held), 0) FROM class")
    }

    /// In use, and free in the file.
    fn pages(&self) -> rusqlite::Result<(Pages, Pages)> {
        let (all, free, size) = (self.number("PRAGMA page_count")?, self.number("PRAGMA freelist_count")?, self.number("PRAGMA page_size")?);
        let of = |pages: u64| Pages { pages, bytes: pages.saturating_mul(size) };
        Ok((of(all.saturating_sub(free)), of(free)))
    }

    fn number(&self, question: &str) -> rusqlite::Result<u64> {
        let number: i64 = self.connection.prepare_cached(question)?.query_row([], |row| row.get(0))?;
        Ok(u64::try_from(number).unwrap_or(0))
    }
}

/// What a step of sweeping has done.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Swept {
    /// Records taken out for their age, and because the file was too large.
    pub aged: u64,
    pub crowded: u64,
    /// There is more to do.
    pub more: bool,
}

struct Pages {
    pages: u64,
    bytes: u64,
}

fn write(connection: &mut Connection, classes: &mut HashMap<Class, i64>, records: &[Kept]) -> rusqlite::Result<()> {
    // Another process may write as well while it takes over: who waits does so here, not in the middle.
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut more = BTreeMap::new();
    {
        let mut ended = transaction.prepare_cached("INSERT INTO ended (began, number, class, caller, called) VALUES (?1, ?2, ?3, ?4, ?5)")?;
        let mut told = transaction.prepare_cached("INSERT OR IGNORE INTO told (number, record, ladder) VALUES (?1, ?2, ?3)")?;
        for Kept { call, fields, record, ladder, invite } in records {
            let class = match classes.get(&fields.class) {
                Some(class) => *class,
                None => {
                    let class = class(&transaction, &fields.class)?;
                    classes.insert(fields.class.clone(), class);
                    class
                }
            };
            let (caller, called) = (party(&transaction, &fields.caller)?, party(&transaction, &fields.called)?);
            let ladder = ladder.as_deref().map(Packed::of);
            let mut number = i64::try_from(*call).unwrap_or(i64::MAX);
            if told.execute(params![number, record, ladder])? == 0 {
                // A copy of the file was put back, or calls were numbered before this store was there: the next that is free.
                told.execute(params![None::<i64>, record, ladder])?;
                number = transaction.last_insert_rowid();
            }
            ended.execute(params![fields.began, number, class, caller, called])?;
            if let Some(invite) = invite {
                invites::write(&transaction, number, invite)?;
            }
            *more.entry(class).or_insert(0) += 1;
        }
    }
    count(&transaction, more)?;
    transaction.commit()
}

fn class(transaction: &Transaction<'_>, class: &Class) -> rusqlite::Result<i64> {
    let Class { a_peer, b_peer, reason, fault, answered, audio_fault } = class;
    let values = params![a_peer, b_peer.as_deref().unwrap_or_default(), reason, fault, answered, audio_fault];
    let known = "SELECT id FROM class WHERE a_peer = ?1 AND b_peer = ?2 AND reason = ?3 AND fault = ?4 AND answered = ?5 AND audio_fault = ?6";
    match transaction.prepare_cached(known)?.query_row(values, |row| row.get(0)).optional()? {
        Some(id) => Ok(id),
        None => {
            let new = "INSERT INTO class (a_peer, b_peer, reason, fault, answered, audio_fault, held) VALUES (?1, ?2, ?3, ?4, ?5, ?6, 0)";
            transaction.prepare_cached(new)?.insert(values)
        }
    }
}

fn party(transaction: &Transaction<'_>, text: &str) -> rusqlite::Result<i64> {
    match transaction.prepare_cached("SELECT id FROM party WHERE text = ?1")?.query_row([text], |row| row.get(0)).optional()? {
        Some(id) => Ok(id),
        None => transaction.prepare_cached("INSERT INTO party (text, back) VALUES (?1, ?2)")?.insert([text, &backwards(text)]),
    }
}

fn count(transaction: &Transaction<'_>, more: BTreeMap<i64, i64>) -> rusqlite::Result<()> {
    let mut held = transaction.prepare_cached("UPDATE class SET held = held + ?2 WHERE id = ?1")?;
    for (class, more) in more {
        held.execute([class, more])?;
    }
    Ok(())
}

/// The oldest that began before this time, at most so many; returns how many went.
fn remove(connection: &mut Connection, before: i64, most: i64) -> rusqlite::Result<u64> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let oldest = {
        let mut oldest =
            transaction.prepare_cached("SELECT began, number, class, caller, called FROM ended WHERE began < ?1 ORDER BY began, number LIMIT ?2")?;
        let rows = oldest.query_map([before, most], |row| Ok([row.get(0)?, row.get(1)?, row.get(2)?, row.get::<_, i64>(3)?, row.get(4)?]))?;
        rows.collect::<rusqlite::Result<Vec<_>>>()?
    };
    let (mut fewer, mut parties) = (BTreeMap::new(), BTreeSet::new());
    {
        let mut ended = transaction.prepare_cached("DELETE FROM ended WHERE began = ?1 AND number = ?2")?;
        let mut told = transaction.prepare_cached("DELETE FROM told WHERE number = ?1")?;
        let mut invite = transaction.prepare_cached("DELETE FROM invite WHERE number = ?1")?;
        for [began, number, class, caller, called] in &oldest {
            ended.execute([began, number])?;
            told.execute([number])?;
            invite.execute([number])?;
            *fewer.entry(*class).or_insert(0) -= 1;
            parties.extend([*caller, *called]);
        }
        let unused =
            "DELETE FROM party WHERE id = ?1 AND NOT EXISTS (SELECT 1 FROM ended WHERE caller = ?1) AND NOT EXISTS (SELECT 1 FROM ended WHERE called = ?1)";
        let mut unused = transaction.prepare_cached(unused)?;
        for party in parties {
            unused.execute([party])?;
        }
    }
    count(&transaction, fewer)?;
    transaction.commit()?;
    Ok(oldest.len() as u64)
}
