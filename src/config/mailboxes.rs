//! The table of mailboxes that `routing.toml` names: which lives in which UM pool, as CSV (`mailbox,pool`) or TOML (`[mailboxes]`, `"1000" = "online"`).
//!
//! It is read with the set, and again whenever it changes while the border runs. All that is wrong with it comes out at once, by its own lines.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_spanned::Spanned;

use super::near_miss::nearest;
use crate::policy::mailboxes::MailboxTable;
use crate::policy::settings::UmPool;

/// Largest table.
pub const MOST_BYTES: usize = 64 << 20;
/// Lines that are told of; what is wrong with one is often wrong with all.
const TOLD: usize = 20;

/// Where the table is, and how often it is looked at.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TableFile {
    pub path: PathBuf,
    /// As written.
    pub name: Arc<str>,
    pub poll: Duration,
}

/// What is wrong with one line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RowProblem {
    /// From 1.
    pub line: u32,
    pub what: String,
    /// A clause that begins with a verb.
    pub instead: String,
}

struct Reading<'r> {
    pools: &'r [Arc<UmPool>],
    table: MailboxTable,
    problems: Vec<RowProblem>,
    /// Those there is no room to tell of.
    more: usize,
}

/// `name`: the file as written; its ending says which form it has.
pub fn read(name: &str, text: &str, pools: &[Arc<UmPool>]) -> Result<MailboxTable, Vec<RowProblem>> {
    let mut reading = Reading { pools, table: MailboxTable::new(name), problems: Vec::new(), more: 0 };
    if text.len() > MOST_BYTES {
        reading.problem(
            1,
            format!("the table has {} bytes", text.len()),
            format!("keep it below {MOST_BYTES}; numbers that begin alike can be one [[mailbox]]"),
        );
    } else if name.to_ascii_lowercase().ends_with(".toml") {
        reading.toml(text);
    } else {
        reading.csv(text);
    }
    if reading.more > 0 {
        let what = format!("{} more lines are wrong", reading.more);
        reading.problems.push(RowProblem { line: reading.problems.last().map_or(1, |last| last.line), what, instead: "mend the ones before first".into() });
    }
    if reading.problems.is_empty() { Ok(reading.table) } else { Err(reading.problems) }
}

impl Reading<'_> {
    fn problem(&mut self, line: u32, what: impl Into<String>, instead: impl Into<String>) {
        if self.problems.len() < TOLD {
            self.problems.push(RowProblem { line, what: what.into(), instead: instead.into() });
        } else {
            self.more += 1;
        }
    }

    fn csv(&mut self, text: &str) {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut heading = true;
        for (index, row) in text.lines().enumerate() {
            let (line, row) = (index as u32 + 1, row.trim());
            if row.is_empty() || row.starts_with('#') {
                continue;
            }
            let fields: Vec<&str> = row.split([',', ';']).map(|field| field.trim().trim_matches('"').trim()).collect();
            let [mailbox, pool] = fields[..] else {
                self.problem(line, format!("\"{}\" is no row", shown(row)), "write mailbox,pool, as in 1000,online");
                continue;
            };
            if std::mem::take(&mut heading) && mailbox.eq_ignore_ascii_case("mailbox") {
                continue;
            }
            self.row(line, mailbox, pool);
        }
    }

    fn toml(&mut self, text: &str) {
        #[derive(serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        struct File {
            #[serde(rename = "version")]
            _version: Option<u32>,
            mailboxes: BTreeMap<String, Spanned<String>>,
        }
        // Where lines begin, so that a place is found by bisection.
        let starts: Vec<usize> = std::iter::once(0).chain(text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at + 1)).collect();
        let line = |at: usize| starts.partition_point(|start| *start <= at) as u32;
        match toml::from_str::<File>(text) {
            Ok(file) => file.mailboxes.iter().for_each(|(mailbox, pool)| self.row(line(pool.span().start), mailbox, pool.get_ref())),
            Err(error) => {
                let at = error.span().map_or(1, |span| line(span.start));
                self.problem(at, shown(error.message()), "write [mailboxes] and lines such as \"1000\" = \"online\"");
            }
        }
    }

    fn row(&mut self, line: u32, mailbox: &str, pool: &str) {
        if mailbox.is_empty() || mailbox.chars().any(char::is_control) || mailbox.contains('*') {
            let instead = "write an extension, a number, a user or user@domain; beginnings (10*) belong in a [[mailbox]] of routing.toml";
            return self.problem(line, format!("\"{}\" is no mailbox", shown(mailbox)), instead);
        }
        let Some(found) = self.pools.iter().find(|known| *known.name == *pool) else {
            let names: Vec<&str> = self.pools.iter().map(|pool| &*pool.name).collect();
            let instead = match nearest(pool, &names) {
                Some(near) => format!("write \"{near}\" instead"),
                None => format!("write one of {}, or add it to um_pools.toml", names.join(", ")),
            };
            return self.problem(line, format!("there is no UM pool \"{}\"", shown(pool)), instead);
        };
        let found = Arc::clone(found);
        if let Err(earlier) = self.table.insert(mailbox, &found, line) {
            self.problem(line, format!("mailbox {} lives in another pool on line {earlier}", shown(mailbox)), "leave one of the two");
        }
    }
}

fn shown(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { ' ' } else { character }).take(80).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pools() -> Vec<Arc<UmPool>> {
        ["premises", "online"].map(|name| Arc::new(UmPool::new(name, Vec::new()))).to_vec()
    }

    fn told(name: &str, text: &str) -> Vec<String> {
        let problems = read(name, text, &pools()).expect_err("problems");
        problems.into_iter().map(|problem| format!("{}: {}; {}", problem.line, problem.what, problem.instead)).collect()
    }

    #[test]
    fn both_forms_say_the_same() {
        let csv = "\u{feff}mailbox,pool\r\n# moved in May\r\n1000,online\n\n\"bob@contoso.com\" ; \"premises\"\n+1 425-555-0100,online\n";
        let toml = "version = 1\n[mailboxes]\n1000 = \"online\"\n\"bob@contoso.com\" = \"premises\"\n\"+14255550100\" = \"online\"\n";
        for (name, text) in [("m.csv", csv), ("m.TOML", toml)] {
            let table = read(name, text, &pools()).unwrap();
            assert_eq!((table.len(), table.pools().len()), (3, 2), "{name}");
        }
        assert!(read("m.csv", "", &pools()).unwrap().is_empty());
    }

    #[test]
    fn every_wrong_line_is_told_with_its_number() {
        assert_eq!(
            told("m.csv", "1000,online\n1001\n1002,onlin\n10*,online\n1000,premises\n"),
            [
                "2: \"1001\" is no row; write mailbox,pool, as in 1000,online",
                "3: there is no UM pool \"onlin\"; write \"online\" instead",
                "4: \"10*\" is no mailbox; write an extension, a number, a user or user@domain; beginnings (10*) belong in a [[mailbox]] of routing.toml",
                "5: mailbox 1000 lives in another pool on line 1; leave one of the two",
            ]
        );
        assert_eq!(
            told("m.toml", "[mailboxes]\n\"1\" = \"online\"\n\"2\" = \"nowhere\"\n"),
            ["3: there is no UM pool \"nowhere\"; write one of premises, online, or add it to um_pools.toml"]
        );
        assert!(told("m.toml", "[mailboxes]\n\"1\" = \n")[0].starts_with("2: "));
    }

    #[test]
    fn a_table_wrong_from_end_to_end_is_not_told_line_by_line() {
        let text: String = (0..5000).map(|number| format!("{number},nowhere\n")).collect();
        let told = told("m.csv", &text);
        assert_eq!(told.len(), TOLD + 1);
        assert_eq!(told[TOLD], "20: 4980 more lines are wrong; mend the ones before first");
    }

    #[test]
    fn a_hundred_thousand_rows_are_read_in_a_moment() {
        let text: String = (0..100_000).map(|number| format!("{},{}\n", 200_000 + number, if number % 2 == 0 { "online" } else { "premises" })).collect();
        assert_eq!(read("m.csv", &text, &pools()).unwrap().len(), 100_000);
    }
}
