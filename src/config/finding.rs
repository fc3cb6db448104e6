//! What is wrong with a policy set, where, and what to write instead.

use std::cell::RefCell;
use std::fmt;
use std::path::Path;

/// A place in one of the set's files. Lines and columns count from 1, columns in characters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct At {
    pub file: &'static str,
    pub line: u32,
    pub column: u32,
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

/// A value as written, with its place.
#[derive(Clone, PartialEq, Debug)]
pub struct Written<T> {
    pub value: T,
    pub at: At,
}

impl<T> Written<T> {
    pub fn map<U>(self, f: impl FnOnce(T) -> U) -> Written<U> {
        Written { value: f(self.value), at: self.at }
    }
}

/// One thing wrong: the set does not load until it is mended. As a warning, it loads all the same.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize)]
pub struct Problem {
    pub file: &'static str,
    pub line: u32,
    pub column: u32,
    pub what: String,
    /// A clause that begins with a verb: what to write or do instead.
    pub instead: String,
}

/// Something the operator should know of a set that loads.
pub type Warning = Problem;

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: {}; {}", self.file, self.line, self.column, self.what, self.instead)
    }
}

impl Problem {
    /// The same with its file's path, as an editor opens it.
    pub fn within(&self, folder: &Path) -> impl fmt::Display {
        format!("{}:{}:{}: {}; {}", folder.join(self.file).display(), self.line, self.column, self.what, self.instead)
    }
}

/// Everything wrong with a set, in the order of files and lines.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|problem| writeln!(f, "{problem}"))
    }
}

impl std::error::Error for Problems {}

/// Where findings are gathered while a set is read, so that all of them come out at once.
#[derive(Default)]
pub struct Findings {
    problems: RefCell<Vec<Problem>>,
    warnings: RefCell<Vec<Problem>>,
}

impl Findings {
    pub fn problem(&self, at: At, what: impl Into<String>, instead: impl Into<String>) {
        self.problems.borrow_mut().push(finding(at, what.into(), instead.into()));
    }

    pub fn warning(&self, at: At, what: impl Into<String>, instead: impl Into<String>) {
        self.warnings.borrow_mut().push(finding(at, what.into(), instead.into()));
    }

    /// Sorted by place: problems, warnings.
    pub fn into_parts(self) -> (Vec<Problem>, Vec<Warning>) {
        let sorted = |list: RefCell<Vec<Problem>>| {
            let mut list = list.into_inner();
            list.sort_by_key(|problem| (file_order(problem.file), problem.line, problem.column));
            list
        };
        (sorted(self.problems), sorted(self.warnings))
    }
}

fn finding(at: At, what: String, instead: String) -> Problem {
    Problem { file: at.file, line: at.line, column: at.column, what, instead }
}

fn file_order(file: &str) -> usize {
    super::FILES.iter().position(|known| *known == file).unwrap_or(usize::MAX)
}
