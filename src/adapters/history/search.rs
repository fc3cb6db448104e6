//! Looking records up: newest first, by pages, each question within its time.
//!
//! What is asked for is first made into numbers: the classes that fit (how many calls each holds is known) and the parties that fit. Few of them, or few calls in
//! all, are gathered by their own index and sorted; of many, the calls are walked from the newest until a page is full. Either way only narrow indexes are read,
//! and the records of the page alone.

use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Params, params_from_iter};

use super::packed::Unpacked;
use super::tables::{backwards, failed, read_only};

/// A question takes no longer.
const PATIENCE: Duration = Duration::from_secs(2);
/// More calls than this are not gathered to be sorted.
const FEW: usize = 40_000;
/// More parties or classes than this are not looked for one by one.
const EACH: usize = 10_000;
/// So many of the newest calls are tried before the parties of a pattern are looked up, since most of what is asked for is among them.
const PROBE: usize = 4_000;
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
    /// Continues after an earlier page: its `next`.
    pub after: Option<Place>,
    /// At most so many, [`MOST`] at the most.
    pub limit: usize,
}

/// Where a call stands in time: when it began, milliseconds since 1970, and its number in the store.
pub type Place = (i64, i64);

/// One record found.
#[derive(Clone, PartialEq, Debug)]
pub struct Sought {
    /// Its number in the store.
    pub number: i64,
    /// A line of JSON.
    pub record: String,
    /// Only of a single one.
    pub ladder: Option<String>,
}

#[derive(Clone, PartialEq, Debug, Default)]
pub struct Page {
    pub records: Vec<Sought>,
    /// Where the next page goes on; `None`: there is no more.
    pub next: Option<Place>,
}

pub(super) struct Reader {
    connection: Connection,
}

impl Reader {
    pub fn open(path: &Path) -> io::Result<Reader> {
        Ok(Reader { connection: read_only(path).map_err(|error| failed(&error))? })
    }

    pub fn one(&mut self, number: i64) -> io::Result<Option<Sought>> {
        self.timed(|connection| {
            let mut one = connection.prepare_cached("SELECT record, ladder FROM told WHERE number = ?1")?;
            one.query_row([number], |row| {
                let ladder: Option<Unpacked> = row.get(1)?;
                Ok(Sought { number, record: row.get(0)?, ladder: ladder.map(|Unpacked(text)| text) })
            })
            .optional()
        })
    }

    pub fn search(&mut self, query: &Query) -> io::Result<Page> {
        self.timed(|connection| {
            // One state of the file for all that is asked of it.
            let reading = connection.unchecked_transaction()?;
            let limit = query.limit.clamp(1, MOST);
            let mut places = Asked { connection: &reading, range: Range::of(query), wanted: limit + 1 }.places(query)?;
            let more = places.len() > limit;
            places.truncate(limit);
            let mut told = reading.prepare_cached("SELECT record FROM told WHERE number = ?1")?;
            let mut records = Vec::with_capacity(places.len());
            for (_, number) in &places {
                if let Some(record) = told.query_row([number], |row| row.get(0)).optional()? {
                    records.push(Sought { number: *number, record, ladder: None });
                }
            }
            Ok(Page { records, next: places.last().copied().filter(|_| more) })
        })
    }

    fn timed<T>(&mut self, ask: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> io::Result<T> {
        let limit = Instant::now() + PATIENCE;
        let watch = self.connection.progress_handler(LOOK, Some(move || Instant::now() > limit));
        let answer = watch.and_then(|()| ask(&self.connection));
        answer.map_err(|error| failed(&error))
    }
}

/// From this time on, and before that place.
#[derive(Clone, Copy)]
struct Range {
    from: i64,
    before: Place,
}

impl Range {
    fn of(query: &Query) -> Range {
        let until = (query.until.unwrap_or(i64::MAX), i64::MIN);
        Range { from: query.from.unwrap_or(i64::MIN), before: query.after.map_or(until, |after| until.min(after)) }
    }
}

/// The clause for it, and its place among the values.
const IN_RANGE: &str = "began >= ?1 AND (began, number) < (?2, ?3)";
const NEWEST_FIRST: &str = "ORDER BY began DESC, number DESC";

struct Asked<'a> {
    connection: &'a Connection,
    range: Range,
    wanted: usize,
}

/// A row of an index.
struct Row {
    place: Place,
    class: i64,
    caller: i64,
    called: i64,
}

impl Asked<'_> {
    /// As many as are wanted, newest first.
    fn places(&self, query: &Query) -> rusqlite::Result<Vec<Place>> {
        let classes = self.classes(query)?;
        let pattern = query.number.as_deref().map(Pattern::of);
        if let Some(pattern) = &pattern
            && !matches!(pattern, Pattern::Whole(_))
            && let Some(found) = self.probe(pattern, classes.as_ref())?
        {
            return Ok(found);
        }
        let parties = pattern.map(|pattern| self.parties(&pattern)).transpose()?;
        if classes.as_ref().is_some_and(|classes| classes.ids.is_empty()) || parties.as_ref().is_some_and(|parties| parties.is_empty()) {
            return Ok(Vec::new());
        }
        let fits = Fits { classes: classes.as_ref().map(|classes| Marks::of(&classes.ids)), parties: parties.as_deref().map(Marks::of) };
        if let Some(found) = self.gathered(classes.as_ref(), parties.as_deref(), &fits)? {
            return Ok(found);
        }
        Ok(self.walked(usize::MAX, |row| Ok(fits.row(row)))?.0)
    }

    /// By the indexes of classes or of parties, where that is little work.
    fn gathered(&self, classes: Option<&Classes>, parties: Option<&[i64]>, fits: &Fits) -> rusqlite::Result<Option<Vec<Place>>> {
        let of_class: &[(&str, &str)] = &[("ended_class", "class")];
        let of_party: &[(&str, &str)] = &[("ended_caller", "caller"), ("ended_called", "called")];
        // With nothing else asked for, no more than a page of each can be on the page.
        let newest = |ids: &[i64], ways: usize| ids.len().saturating_mul(ways).saturating_mul(self.wanted) <= FEW;
        match (classes, parties) {
            (Some(classes), None) if newest(&classes.ids, 1) => self.gather(&classes.ids, of_class, self.wanted, fits),
            (None, Some(parties)) if newest(parties, 2) => self.gather(parties, of_party, self.wanted, fits),
            (Some(classes), _) if classes.held <= FEW && classes.ids.len() <= EACH => self.gather(&classes.ids, of_class, usize::MAX, fits),
            (_, Some(parties)) if parties.len() <= EACH => self.gather(parties, of_party, usize::MAX, fits),
            _ => Ok(None),
        }
    }

    /// Of each at most so many of the newest; `None`: they are too many.
    fn gather(&self, ids: &[i64], ways: &[(&str, &str)], most: usize, fits: &Fits) -> rusqlite::Result<Option<Vec<Place>>> {
        let (mut places, mut read) = (Vec::new(), 0);
        for (index, column) in ways {
            let question =
                format!("SELECT began, number, class, caller, called FROM ended INDEXED BY {index} WHERE {column} = ?4 AND {IN_RANGE} {NEWEST_FIRST} LIMIT ?5");
            let mut statement = self.connection.prepare_cached(&question)?;
            for id in ids {
                let most = i64::try_from(most).unwrap_or(i64::MAX);
                let mut rows = statement.query((self.range.from, self.range.before.0, self.range.before.1, id, most))?;
                while let Some(row) = rows.next()? {
                    let row = Row::of(row)?;
                    read += 1;
                    if read > FEW {
                        return Ok(None);
                    }
                    if fits.row(&row) {
                        places.push(row.place);
                    }
                }
            }
        }
        places.sort_unstable_by(|one, other| other.cmp(one));
        // Who calls oneself is found by both ways.
        places.dedup();
        places.truncate(self.wanted);
        Ok(Some(places))
    }

    /// From the newest, until there are as many as wanted or so many have been looked at; second: whether there is more to look at.
    fn walked(&self, most: usize, mut fits: impl FnMut(&Row) -> rusqlite::Result<bool>) -> rusqlite::Result<(Vec<Place>, bool)> {
        let question = format!("SELECT began, number, class, caller, called FROM ended NOT INDEXED WHERE {IN_RANGE} {NEWEST_FIRST}");
        let mut statement = self.connection.prepare_cached(&question)?;
        let mut rows = statement.query((self.range.from, self.range.before.0, self.range.before.1))?;
        let (mut places, mut read) = (Vec::new(), 0);
        while let Some(row) = rows.next()? {
            if read == most {
                return Ok((places, true));
            }
            read += 1;
            let row = Row::of(row)?;
            if fits(&row)? {
                places.push(row.place);
                if places.len() == self.wanted {
                    break;
                }
            }
        }
        Ok((places, false))
    }

    /// Among the newest; `None`: they did not do.
    fn probe(&self, pattern: &Pattern, classes: Option<&Classes>) -> rusqlite::Result<Option<Vec<Place>>> {
        let classes = classes.map(|classes| Marks::of(&classes.ids));
        let mut text = self.connection.prepare_cached("SELECT text FROM party WHERE id = ?1")?;
        let mut fits = |party: i64| text.query_row([party], |row| Ok(row.get_ref(0)?.as_str().is_ok_and(|text| pattern.fits(text))));
        let of_class = |row: &Row| classes.as_ref().is_none_or(|classes| classes.has(row.class));
        let (places, more) = self.walked(PROBE, |row| Ok(of_class(row) && (fits(row.caller)? || fits(row.called)?)))?;
        Ok((!more || places.len() == self.wanted).then_some(places))
    }

    fn parties(&self, pattern: &Pattern) -> rusqlite::Result<Vec<i64>> {
        // A range of the index; no character of a number sorts behind this one.
        let range = |start: &str| (start.to_owned(), format!("{start}\u{10FFFF}"));
        match pattern {
            Pattern::Whole(text) => self.ids("SELECT id FROM party WHERE text = ?1", [text]),
            Pattern::Begins(text) => self.ids("SELECT id FROM party WHERE text >= ?1 AND text < ?2", range(text)),
            Pattern::Ends(text) => self.ids("SELECT id FROM party WHERE back >= ?1 AND back < ?2", range(&backwards(text))),
            Pattern::Contains(text) => self.ids("SELECT id FROM party WHERE instr(text, ?1) > 0", [text]),
        }
    }

    fn ids(&self, question: &str, values: impl Params) -> rusqlite::Result<Vec<i64>> {
        let mut statement = self.connection.prepare_cached(question)?;
        let ids = statement.query_map(values, |row| row.get(0))?;
        ids.collect()
    }

    /// `None`: nothing is asked of them.
    fn classes(&self, query: &Query) -> rusqlite::Result<Option<Classes>> {
        let (mut clauses, mut values) = (Vec::new(), Vec::<Value>::new());
        let mut add = |clause: &'static str, value: Option<Value>| {
            if let Some(value) = value {
                clauses.push(clause);
                values.push(value);
            }
        };
        let peer = query.peer.clone().filter(|peer| !peer.is_empty());
        add("? IN (a_peer, b_peer)", peer.map(Value::from));
        add("reason = ?", query.reason.clone().map(Value::from));
        add("fault = ?", query.fault.clone().map(Value::from));
        add("answered = ?", query.answered.map(Value::from));
        add("audio_fault = ?", query.audio_fault.map(Value::from));
        if clauses.is_empty() {
            return Ok(None);
        }
        let mut statement = self.connection.prepare_cached(&format!("SELECT id, held FROM class WHERE held > 0 AND {}", clauses.join(" AND ")))?;
        let mut rows = statement.query(params_from_iter(values))?;
        let mut classes = Classes { ids: Vec::new(), held: 0 };
        while let Some(row) = rows.next()? {
            classes.ids.push(row.get(0)?);
            classes.held = classes.held.saturating_add(usize::try_from(row.get::<_, i64>(1)?).unwrap_or(0));
        }
        Ok(Some(classes))
    }
}

impl Row {
    fn of(row: &rusqlite::Row<'_>) -> rusqlite::Result<Row> {
        Ok(Row { place: (row.get(0)?, row.get(1)?), class: row.get(2)?, caller: row.get(3)?, called: row.get(4)? })
    }
}

struct Classes {
    ids: Vec<i64>,
    /// Calls of all of them.
    held: usize,
}

enum Pattern {
    Whole(String),
    Begins(String),
    Ends(String),
    Contains(String),
}

impl Pattern {
    fn of(written: &str) -> Pattern {
        let bare = written.trim_matches('*').to_owned();
        match (written.starts_with('*'), written.ends_with('*')) {
            (false, false) => Pattern::Whole(bare),
            (false, true) => Pattern::Begins(bare),
            (true, false) => Pattern::Ends(bare),
            (true, true) => Pattern::Contains(bare),
        }
    }

    fn fits(&self, text: &str) -> bool {
        match self {
            Pattern::Whole(whole) => text == whole,
            Pattern::Begins(start) => text.starts_with(start.as_str()),
            Pattern::Ends(end) => text.ends_with(end.as_str()),
            Pattern::Contains(part) => text.contains(part.as_str()),
        }
    }
}

/// What a row must have; `None`: it does not matter.
struct Fits {
    classes: Option<Marks>,
    parties: Option<Marks>,
}

impl Fits {
    fn row(&self, row: &Row) -> bool {
        self.classes.as_ref().is_none_or(|classes| classes.has(row.class))
            && self.parties.as_ref().is_none_or(|parties| parties.has(row.caller) || parties.has(row.called))
    }
}

/// A set of numbers that lie close together: a bit for each from the smallest to the largest.
struct Marks {
    first: i64,
    bits: Vec<u64>,
}

impl Marks {
    fn of(ids: &[i64]) -> Marks {
        let first = ids.iter().copied().min().unwrap_or(0);
        let mut marks = Marks { first, bits: Vec::new() };
        let last = ids.iter().copied().max().and_then(|last| marks.place(last)).unwrap_or(0);
        marks.bits.resize(last / 64 + 1, 0);
        for place in ids.iter().filter_map(|id| marks.place(*id)).collect::<Vec<_>>() {
            if let Some(word) = marks.bits.get_mut(place / 64) {
                *word |= 1 << (place % 64);
            }
        }
        marks
    }

    fn place(&self, id: i64) -> Option<usize> {
        usize::try_from(id.checked_sub(self.first)?).ok()
    }

    fn has(&self, id: i64) -> bool {
        self.place(id).and_then(|place| Some(self.bits.get(place / 64)? >> (place % 64) & 1 == 1)).unwrap_or(false)
    }
}
