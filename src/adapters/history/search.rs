//! Looking records up: newest first, by pages, each question within its time.
//!
//! A question that an index answers with few records is sorted after that; one that many records answer is walked from the newest until a page is full. Which of
//! them it is shows by counting a few thousand in the index first: SQLite cannot know it.

use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::types::Value;
use rusqlite::{Connection, params_from_iter};

use super::file::{backwards, failed, read_only};

/// A question takes no longer.
const PATIENCE: Duration = Duration::from_secs(2);
/// More than so many are not worth sorting.
const FEW: i64 = 4000;
/// Operations of SQLite's machine between two looks at the clock.
const LOOK: i32 = 10_000;
pub const MOST: usize = 1000;

/// What is looked for; what is not said does not matter.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Query {
    /// The caller or the called: whole, or with `*` at its end or its beginning.
    pub number: Option<String>,
    /// A leg's.
    pub peer: Option<String>,
    pub reason: Option<String>,
    pub fault: Option<String>,
    /// Milliseconds since 1970: not before, and before.
    pub from: Option<i64>,
    pub until: Option<i64>,
    pub answered: Option<bool>,
    /// A direction was not heard, or not well.
    pub audio_fault: Option<bool>,
    /// Continues after the last of an earlier page.
    pub after: Option<(i64, i64)>,
    /// At most so many, [`MOST`] at the most.
    pub limit: usize,
}

/// One record found.
#[derive(Clone, PartialEq, Debug)]
pub struct Sought {
    /// Its number in the store.
    pub number: i64,
    pub began: i64,
    /// A line of JSON.
    pub record: String,
    pub ladder: Option<String>,
}

#[derive(Clone, PartialEq, Debug, Default)]
pub struct Page {
    pub records: Vec<Sought>,
    /// There are more after the last.
    pub more: bool,
}

pub(super) struct Reader {
    connection: Connection,
}

/// One condition, and what it compares with.
struct Condition {
    text: String,
    values: Vec<Value>,
    /// An index answers it.
    indexed: bool,
}

impl Reader {
    pub fn open(path: &Path) -> io::Result<Reader> {
        Ok(Reader { connection: read_only(path).map_err(|error| failed(&error))? })
    }

    pub fn one(&mut self, number: i64) -> io::Result<Option<Sought>> {
        let found = self.ask("SELECT number, began, record, ladder FROM call JOIN told USING (number) WHERE number = ?", vec![number.into()])?;
        Ok(found.into_iter().next())
    }

    pub fn search(&mut self, query: &Query) -> io::Result<Page> {
        let limit = query.limit.clamp(1, MOST);
        let mut conditions = conditions(query);
        if let Some((began, number)) = query.after {
            // The first half is what the index of time is walked by.
            conditions.push(Condition {
                text: "+began <= ? AND (+began < ? OR number < ?)".into(),
                values: vec![began.into(), began.into(), number.into()],
                indexed: false,
            });
        }
        let few = match conditions.iter().find(|condition| condition.indexed) {
            Some(condition) => self.count(condition)? <= FEW,
            None => false,
        };
        let (mut clauses, mut values) = (Vec::new(), Vec::new());
        for condition in conditions {
            // A plus sign takes a column's index away: the index of time is to be walked then, not another.
            let text = if condition.indexed && !few { unindexed(&condition.text) } else { condition.text };
            clauses.push(text);
            values.extend(condition.values);
        }
        let filter = if clauses.is_empty() { String::from("1") } else { clauses.join(" AND ") };
        let time = if few { "+began" } else { "began" };
        let filter = if few { filter } else { filter.replace("+began", "began") };
        values.push(Value::from(limit as i64 + 1));
        let question = format!(
            "SELECT number, began, record, NULL FROM (SELECT number, began FROM call WHERE {filter} ORDER BY {time} DESC, number DESC LIMIT ?)
             JOIN told USING (number) ORDER BY began DESC, number DESC"
        );
        let mut records = self.ask(&question, values)?;
        let more = records.len() > limit;
        records.truncate(limit);
        Ok(Page { records, more })
    }

    /// As far as it matters.
    fn count(&mut self, condition: &Condition) -> io::Result<i64> {
        let question = format!("SELECT count(*) FROM (SELECT 1 FROM call WHERE {} LIMIT {})", condition.text, FEW + 1);
        self.timed(|connection| connection.prepare_cached(&question)?.query_row(params_from_iter(&condition.values), |row| row.get(0)))
    }

    fn ask(&mut self, question: &str, values: Vec<Value>) -> io::Result<Vec<Sought>> {
        self.timed(|connection| {
            let mut statement = connection.prepare_cached(question)?;
            let rows = statement
                .query_map(params_from_iter(values), |row| Ok(Sought { number: row.get(0)?, began: row.get(1)?, record: row.get(2)?, ladder: row.get(3)? }))?;
            rows.collect()
        })
    }

    fn timed<T>(&mut self, ask: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> io::Result<T> {
        let limit = Instant::now() + PATIENCE;
        let watch = self.connection.progress_handler(LOOK, Some(move || Instant::now() > limit));
        let answer = watch.and_then(|()| ask(&self.connection));
        answer.map_err(|error| failed(&error))
    }
}

fn conditions(query: &Query) -> Vec<Condition> {
    let mut conditions = Vec::new();
    let mut add = |text: &str, values: Vec<Value>, indexed: bool| conditions.push(Condition { text: text.into(), values, indexed });
    if let Some(number) = &query.number {
        number_condition(number, &mut add);
    }
    if let Some(peer) = &query.peer {
        add("(a_peer = ? OR b_peer = ?)", vec![peer.clone().into(), peer.clone().into()], true);
    }
    if let Some(reason) = &query.reason {
        add("reason = ?", vec![reason.clone().into()], true);
    }
    if let Some(fault) = &query.fault {
        add("fault = ?", vec![fault.clone().into()], true);
    }
    if let Some(from) = query.from {
        add("+began >= ?", vec![from.into()], false);
    }
    if let Some(until) = query.until {
        add("+began < ?", vec![until.into()], false);
    }
    if let Some(answered) = query.answered {
        add("answered = ?", vec![answered.into()], false);
    }
    if let Some(fault) = query.audio_fault {
        add("audio_fault = ?", vec![fault.into()], true);
    }
    conditions
}

fn number_condition(number: &str, add: &mut impl FnMut(&str, Vec<Value>, bool)) {
    let (begins, ends) = (number.ends_with('*'), number.starts_with('*'));
    let bare = number.trim_matches('*').to_owned();
    match (begins, ends) {
        (false, false) => add("(caller = ? OR called = ?)", vec![bare.clone().into(), bare.into()], true),
        (true, false) => {
            // A range of the index; no character of a number sorts behind this one.
            let end = format!("{bare}\u{10FFFF}");
            let values = vec![bare.clone().into(), end.clone().into(), bare.into(), end.into()];
            add("((caller >= ? AND caller < ?) OR (called >= ? AND called < ?))", values, true);
        }
        (false, true) => {
            let back = backwards(&bare);
            let end = format!("{back}\u{10FFFF}");
            let values = vec![back.clone().into(), end.clone().into(), back.into(), end.into()];
            add("((caller_back >= ? AND caller_back < ?) OR (called_back >= ? AND called_back < ?))", values, true);
        }
        (true, true) => add("(instr(caller, ?) > 0 OR instr(called, ?) > 0)", vec![bare.clone().into(), bare.into()], false),
    }
}

fn unindexed(text: &str) -> String {
    // These two are alone in their conditions, and one is a part of the other.
    let words = ["caller", "called", "a_peer", "b_peer", "reason"].iter().fold(String::from(text), |text, column| text.replace(column, &format!("+{column}")));
    if words.starts_with("audio_fault") || words.starts_with("fault") { format!("+{words}") } else { words }
}
