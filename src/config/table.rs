//! Reads one TOML table key by key: every value with its place, every mistake noted and none fatal, so that all come out at once.
//!
//! A table must be finished with [`Table::finish`], which refuses the keys nobody asked for.

use std::cell::RefCell;
use std::ops::Range;
use std::time::Duration;

use serde_spanned::Spanned;
use toml::de::{DeTable, DeValue};

use super::finding::{At, Findings, Written};
use super::near_miss::nearest;
use super::source::Source;

/// One file of the set being read.
pub struct Document<'d> {
    file: &'static str,
    text: &'d str,
    /// Where each line begins: places are asked for by the thousand.
    lines: Vec<usize>,
    findings: &'d Findings,
    source: &'d dyn Source,
}

impl<'d> Document<'d> {
    pub fn new(file: &'static str, text: &'d str, findings: &'d Findings, source: &'d dyn Source) -> Document<'d> {
        let lines = std::iter::once(0).chain(memchr::memchr_iter(b'\n', text.as_bytes()).map(|end| end + 1)).collect();
        Document { file, text, lines, findings, source }
    }

    /// The root table; `None`, with the first mistake of each line noted, where the text is not TOML.
    pub fn parse(&self) -> Option<Spanned<DeTable<'d>>> {
        let (table, errors) = DeTable::parse_recoverable(self.text);
        let mut lines = Vec::new();
        for error in &errors {
            let at = self.place(&error.span().unwrap_or_default());
            if !lines.contains(&at.line) {
                lines.push(at.line);
                match self.written_before(error) {
                    Some((key, line)) => self.findings.problem(at, format!("{key} is written a second time, after line {line}"), "take one of the two out"),
                    None => self.findings.problem(at, error.message().trim().replace('\n', ", "), "write it as TOML 1.1 has it"),
                }
            }
        }
        errors.is_empty().then_some(table)
    }

    /// A key or table the text has twice: what it is called, and the line it was on before.
    fn written_before(&self, error: &toml::de::Error) -> Option<(&str, usize)> {
        let span = error.span().filter(|_| error.message() == "duplicate key")?;
        let key = self.text.get(span.clone())?.trim();
        let is_it =
            |line: &str| line.trim_start_matches(['[', ' ', '\t']).strip_prefix(key).is_some_and(|after| after.trim_start().starts_with(['=', ']', '.']));
        let before: Vec<&str> = self.text.get(..span.start)?.split('\n').collect();
        // The last of these is the line that has it now.
        let line = before[..before.len() - 1].iter().rposition(|line| is_it(line))?;
        Some((key, line + 1))
    }

    pub fn root<'t>(&'t self, table: &'t DeTable<'d>) -> Table<'t, 'd> {
        Table { document: self, table, name: self.file, at: At { file: self.file, line: 1, column: 1 }, asked: RefCell::default() }
    }

    pub fn place(&self, span: &Range<usize>) -> At {
        let before = self.text.get(..span.start).unwrap_or(self.text);
        let line = self.lines.partition_point(|begin| *begin <= before.len());
        let begin = self.lines.get(line.saturating_sub(1)).copied().unwrap_or_default();
        let column = before.get(begin..).unwrap_or_default().chars().count() as u32 + 1;
        At { file: self.file, line: line as u32, column }
    }
}

pub struct Table<'t, 'd> {
    document: &'t Document<'d>,
    table: &'t DeTable<'d>,
    /// As an operator writes it: `[[peer]]`.
    name: &'static str,
    at: At,
    asked: RefCell<Vec<&'static str>>,
}

/// A bound of an integer, both ends inclusive.
pub type Bounds = std::ops::RangeInclusive<i64>;

impl<'t, 'd> Table<'t, 'd> {
    /// Where the table begins.
    pub fn at(&self) -> At {
        self.at
    }

    fn value(&self, key: &'static str) -> Option<&'t Spanned<DeValue<'d>>> {
        self.asked.borrow_mut().push(key);
        self.table.get(key)
    }

    fn wrong(&self, key: &str, value: &Spanned<DeValue<'d>>, wanted: &str, example: &str) -> At {
        let at = self.document.place(&value.span());
        let found = value.get_ref().type_str();
        self.document.findings.problem(at, format!("{key} is {} {found}, not {wanted}", article(found)), format!("write {key} = {example} instead"));
        at
    }

    pub fn findings(&self) -> &'t Findings {
        self.document.findings
    }

    pub fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    pub fn required_text(&self, key: &'static str, example: &str) -> Option<Written<String>> {
        if !self.has(key) {
            self.missing(key, example);
        }
        let written = self.text(key, example)?;
        if written.value.trim().is_empty() {
            self.document.findings.problem(written.at, format!("{key} is empty"), format!("write {key} = {example} instead"));
            return None;
        }
        Some(written)
    }

    /// At least one text.
    pub fn required_texts(&self, key: &'static str, example: &str) -> Vec<Written<String>> {
        if !self.has(key) {
            self.missing(key, example);
        }
        self.some_texts(key, example).unwrap_or_default()
    }

    /// At least one text where the key is there; an empty list is noted.
    pub fn some_texts(&self, key: &'static str, example: &str) -> Option<Vec<Written<String>>> {
        if self.table.get(key).and_then(|value| value.get_ref().as_array()).is_some_and(|array| array.is_empty()) {
            self.missing(key, example);
        }
        self.texts(key, example)
    }

    pub fn required_choice<T: Copy>(&self, key: &'static str, words: &[(&'static str, T)]) -> Option<Written<T>> {
        if !self.has(key) {
            let all: Vec<String> = words.iter().map(|(word, _)| format!("\"{word}\"")).collect();
            self.missing(key, &all.join(" or "));
        }
        self.choice(key, words)
    }

    pub fn required_integer(&self, key: &'static str, bounds: Bounds, example: &str) -> Option<Written<i64>> {
        if !self.has(key) {
            self.missing(key, example);
        }
        self.integer(key, bounds)
    }

    /// Notes that a key is missing.
    pub fn missing(&self, key: &str, example: &str) {
        self.document.findings.problem(self.at, format!("{} has no {key}", self.name), format!("add {key} = {example}"));
    }

    pub fn text(&self, key: &'static str, example: &str) -> Option<Written<String>> {
        let value = self.value(key)?;
        match value.get_ref().as_str() {
            Some(text) => self.expanded(text, self.document.place(&value.span())),
            None => {
                self.wrong(key, value, "a text", example);
                None
            }
        }
    }

    /// A text, or a list of texts.
    pub fn texts(&self, key: &'static str, example: &str) -> Option<Vec<Written<String>>> {
        let value = self.value(key)?;
        if let Some(text) = value.get_ref().as_str() {
            return Some(self.expanded(text, self.document.place(&value.span())).into_iter().collect());
        }
        let Some(array) = value.get_ref().as_array() else {
            self.wrong(key, value, "a list of texts", example);
            return None;
        };
        let mut texts = Vec::new();
        for item in array.iter() {
            match item.get_ref().as_str() {
                Some(text) => texts.extend(self.expanded(text, self.document.place(&item.span()))),
                None => {
                    self.wrong(key, item, "a text", example);
                }
            }
        }
        Some(texts)
    }

    /// `${NAME}` stands for an environment variable.
    fn expanded(&self, text: &str, at: At) -> Option<Written<String>> {
        let mut value = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("${") {
            let Some((name, following)) = after.split_once('}') else {
                self.document.findings.problem(at, format!("\"{text}\" has ${{ without }}"), "write ${NAME} for the value of the environment variable NAME");
                return None;
            };
            let Some(found) = self.document.source.variable(name) else {
                self.document.findings.problem(at, format!("the environment variable {name} is not set"), format!("set {name}, or write the value itself"));
                return None;
            };
            value.push_str(before);
            value.push_str(&found);
            rest = following;
        }
        value.push_str(rest);
        Some(Written { value, at })
    }

    pub fn integer(&self, key: &'static str, bounds: Bounds) -> Option<Written<i64>> {
        let value = self.value(key)?;
        self.as_integer(key, value, &bounds)
    }

    fn as_integer(&self, key: &str, value: &Spanned<DeValue<'d>>, bounds: &Bounds) -> Option<Written<i64>> {
        let wanted =
            if bounds.start() == bounds.end() { bounds.start().to_string() } else { format!("a whole number from {} to {}", bounds.start(), bounds.end()) };
        let example = bounds.start().to_string();
        let Some(integer) = value.get_ref().as_integer() else {
            self.wrong(key, value, &wanted, &example);
            return None;
        };
        let at = self.document.place(&value.span());
        match i64::from_str_radix(integer.as_str(), integer.radix()) {
            Ok(number) if bounds.contains(&number) => Some(Written { value: number, at }),
            _ => {
                let others = if bounds.start() == bounds.end() { "" } else { " or another number within these" };
                self.document.findings.problem(at, format!("{key} is {}, not {wanted}", integer.as_str()), format!("write {key} = {example}{others}"));
                None
            }
        }
    }

    /// A pair such as `[20000, 29999]`.
    pub fn pair(&self, key: &'static str, bounds: Bounds, example: &str) -> Option<Written<(i64, i64)>> {
        let value = self.value(key)?;
        let items: Option<Vec<_>> = value.get_ref().as_array().map(|array| array.iter().collect());
        let Some([first, last]) = items.as_deref() else {
            self.wrong(key, value, "a pair of numbers", example);
            return None;
        };
        let (first, last) = (self.as_integer(key, first, &bounds), self.as_integer(key, last, &bounds));
        Some(Written { value: (first?.value, last?.value), at: self.document.place(&value.span()) })
    }

    /// A list of whole numbers, such as `[2, 1]`.
    pub fn integers(&self, key: &'static str, bounds: Bounds, example: &str) -> Option<Written<Vec<i64>>> {
        let value = self.value(key)?;
        let Some(items) = value.get_ref().as_array() else {
            self.wrong(key, value, "a list of whole numbers", example);
            return None;
        };
        let numbers: Option<Vec<i64>> = items.iter().map(|item| self.as_integer(key, item, &bounds).map(|number| number.value)).collect();
        Some(Written { value: numbers?, at: self.document.place(&value.span()) })
    }

    pub fn flag(&self, key: &'static str) -> Option<Written<bool>> {
        let value = self.value(key)?;
        match value.get_ref().as_bool() {
            Some(flag) => Some(Written { value: flag, at: self.document.place(&value.span()) }),
            None => {
                self.wrong(key, value, "true or false", "true");
                None
            }
        }
    }

    /// A time such as `"500ms"`, `"30s"`, `"2m"`, `"1h"`, or a whole number of seconds.
    pub fn duration(&self, key: &'static str, least: Duration, most: Duration) -> Option<Written<Duration>> {
        let value = self.value(key)?;
        let example = format!("\"{}\"", spell(least.max(Duration::from_secs(1)).min(most)));
        let span = match value.get_ref() {
            DeValue::Integer(integer) => integer.as_str().parse().ok().map(Duration::from_secs),
            DeValue::String(text) => duration(text),
            _ => None,
        };
        let Some(span) = span else {
            self.wrong(key, value, "a time such as \"500ms\", \"30s\", \"2m\" or \"1h\"", &example);
            return None;
        };
        let at = self.document.place(&value.span());
        if span < least || span > most {
            let what = format!("{key} is {}, not within {} and {}", spell(span), spell(least), spell(most));
            self.document.findings.problem(at, what, format!("write {key} = {example} or another time within these"));
            return None;
        }
        Some(Written { value: span, at })
    }

    /// One of a few words.
    pub fn choice<T: Copy>(&self, key: &'static str, words: &[(&'static str, T)]) -> Option<Written<T>> {
        let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        let example = format!("\"{}\"", known.first().copied().unwrap_or_default());
        let written = self.text(key, &example)?;
        self.pick(key, &written, words, &known)
    }

    /// A list of words from a few.
    pub fn choices<T: Copy>(&self, key: &'static str, words: &[(&'static str, T)]) -> Option<Vec<Written<T>>> {
        let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        let example = format!("[\"{}\"]", known.first().copied().unwrap_or_default());
        let written = self.texts(key, &example)?;
        Some(written.iter().filter_map(|text| self.pick(key, text, words, &known)).collect())
    }

    fn pick<T: Copy>(&self, key: &str, written: &Written<String>, words: &[(&'static str, T)], known: &[&str]) -> Option<Written<T>> {
        if let Some((_, value)) = words.iter().find(|(word, _)| *word == written.value) {
            return Some(Written { value: *value, at: written.at });
        }
        let all: Vec<String> = known.iter().map(|word| format!("\"{word}\"")).collect();
        let instead = match nearest(&written.value, known) {
            Some(word) => format!("write \"{word}\" instead (known: {})", all.join(", ")),
            None => format!("write one of {} instead", all.join(", ")),
        };
        self.document.findings.problem(written.at, format!("{key} = \"{}\" is not known", written.value), instead);
        None
    }

    /// A table such as `[media]`; `name` is how an operator writes it.
    pub fn table(&self, key: &'static str, name: &'static str) -> Option<Table<'t, 'd>> {
        let value = self.value(key)?;
        match value.get_ref().as_table() {
            Some(table) => Some(self.inner(table, name, &value.span())),
            None => {
                let at = self.document.place(&value.span());
                self.document.findings.problem(
                    at,
                    format!("{key} is {} {}, not a table", article(value.get_ref().type_str()), value.get_ref().type_str()),
                    format!("begin it with {name}"),
                );
                None
            }
        }
    }

    /// The tables of a list such as `[[peer]]`, in the order written.
    pub fn tables(&self, key: &'static str, name: &'static str) -> Vec<Table<'t, 'd>> {
        let Some(value) = self.value(key) else { return Vec::new() };
        if let Some(array) = value.get_ref().as_array() {
            let tables: Vec<Table<'t, 'd>> = array.iter().filter_map(|item| Some(self.inner(item.get_ref().as_table()?, name, &item.span()))).collect();
            if tables.len() == array.len() {
                return tables;
            }
        }
        let at = self.document.place(&value.span());
        self.document.findings.problem(at, format!("{key} is not a list of tables"), format!("begin each with {name}"));
        Vec::new()
    }

    fn inner(&self, table: &'t DeTable<'d>, name: &'static str, span: &Range<usize>) -> Table<'t, 'd> {
        Table { document: self.document, table, name, at: self.document.place(span), asked: RefCell::default() }
    }

    /// Refuses every key that was not asked for.
    pub fn finish(self) {
        let asked = self.asked.into_inner();
        for (key, _) in self.table.iter() {
            let word = key.get_ref().as_ref();
            if asked.contains(&word) {
                continue;
            }
            let instead = match nearest(word, &asked) {
                Some(known) => format!("write {known} instead"),
                None => format!("remove it (known here: {})", asked.join(", ")),
            };
            self.document.findings.problem(self.document.place(&key.span()), format!("unknown key {word} in {}", self.name), instead);
        }
    }
}

fn article(noun: &str) -> &'static str {
    if noun.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" }
}

/// A whole number of `ms`, `s` (also without a unit), `m`, `h` or `d`.
pub fn duration(text: &str) -> Option<Duration> {
    let text = text.trim();
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let number: u64 = text.get(..digits)?.parse().ok()?;
    match text.get(digits..)?.trim() {
        "us" => Some(Duration::from_micros(number)),
        "ms" => Some(Duration::from_millis(number)),
        "" | "s" => Some(Duration::from_secs(number)),
        "m" => Some(Duration::from_secs(number.checked_mul(60)?)),
        "h" => Some(Duration::from_secs(number.checked_mul(3600)?)),
        "d" => Some(Duration::from_secs(number.checked_mul(86_400)?)),
        _ => None,
    }
}

/// As an operator would write it.
pub fn spell(span: Duration) -> String {
    let seconds = span.as_secs();
    if !span.subsec_micros().is_multiple_of(1000) {
        return format!("{}us", span.as_micros());
    }
    if span.subsec_millis() != 0 {
        return format!("{}ms", span.as_millis());
    }
    match seconds {
        0 => String::from("0s"),
        _ if seconds.is_multiple_of(3600) => format!("{}h", seconds / 3600),
        _ if seconds.is_multiple_of(60) => format!("{}m", seconds / 60),
        _ => format!("{seconds}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::source::Texts;

    /// Line and column by their definition, at every octet.
    #[test]
    fn a_place_is_where_the_text_before_it_ends() {
        let text = "a = 1\n\n\u{fc}b\u{e9} = \"x\"\r\n# \u{65e5}\u{672c}\nlast = 2";
        let (findings, source) = (Findings::default(), Texts::default());
        let document = Document::new("border.toml", text, &findings, &source);
        for start in 0..=text.len() + 3 {
            let before = text.get(..start).unwrap_or(text);
            let line = before.matches('\n').count() as u32 + 1;
            let column = before.rsplit('\n').next().unwrap_or_default().chars().count() as u32 + 1;
            let at = document.place(&(start..start));
            assert_eq!((at.line, at.column), (line, column), "octet {start}");
        }
    }
}
