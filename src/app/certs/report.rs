//! What every `certs` command says at its end: in words for people, or as one JSON object for jobs, and by an exit status that never changes its
//! meaning (docs/certificates.md, "Exit status").

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::{Map, Value, json};

/// How a command is to speak.
#[derive(clap::Args, Clone, Copy, Debug, Default)]
pub struct Style {
    /// Print one JSON object instead of lines.
    #[arg(long)]
    pub json: bool,
    /// Print nothing where nothing was done and nothing is wrong: for cron, which mails what is printed.
    #[arg(long, short)]
    pub quiet: bool,
}

/// How it went.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Done as asked.
    Done,
    /// All was as asked already.
    Nothing,
    /// Something is wrong; a command that changes things has changed none, or has taken its change back.
    Findings,
    /// Nothing is wrong yet, but something runs out within the time asked about.
    DueSoon,
}

impl Outcome {
    pub const fn status(self) -> u8 {
        match self {
            Outcome::Done | Outcome::Nothing => 0,
            Outcome::Findings => 1,
            Outcome::DueSoon => 3,
        }
    }
}

/// Exit status: the arguments, or the files they name, cannot be used.
pub const UNUSABLE: u8 = 2;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// It does not work, or will not be taken.
    Problem,
    /// It works, but somebody may refuse it, or soon will.
    Warning,
}

/// One thing wrong with one file.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Finding {
    pub severity: Severity,
    /// Stable, for jobs: `expired`, `key-mismatch`, …
    pub code: &'static str,
    pub file: PathBuf,
    pub what: String,
    /// A clause that begins with a verb.
    pub remedy: String,
}

impl Finding {
    pub fn problem(code: &'static str, file: &Path, what: impl Into<String>, remedy: impl Into<String>) -> Finding {
        Finding { severity: Severity::Problem, code, file: file.to_path_buf(), what: what.into(), remedy: remedy.into() }
    }

    pub fn warning(code: &'static str, file: &Path, what: impl Into<String>, remedy: impl Into<String>) -> Finding {
        Finding { severity: Severity::Warning, ..Finding::problem(code, file, what, remedy) }
    }

    pub fn is_problem(&self) -> bool {
        self.severity == Severity::Problem
    }
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let severity = if self.is_problem() { "problem" } else { "warning" };
        write!(f, "{severity}: {}: {}; {} [{}]", self.file.display(), self.what, self.remedy, self.code)
    }
}

/// Gathered while a command works, printed at its end.
#[derive(Debug)]
pub struct Report {
    command: &'static str,
    pub outcome: Outcome,
    told: Vec<String>,
    pub findings: Vec<Finding>,
    facts: Map<String, Value>,
}

impl Report {
    pub fn new(command: &'static str, outcome: Outcome) -> Report {
        Report { command, outcome, told: Vec::new(), findings: Vec::new(), facts: Map::new() }
    }

    /// A line for people.
    pub fn tell(&mut self, line: impl Into<String>) {
        self.told.push(line.into());
    }

    /// A fact for jobs, beside `command`, `outcome`, `messages` and `findings`.
    pub fn put(&mut self, key: &str, value: impl Serialize) {
        self.facts.insert(key.to_owned(), serde_json::to_value(value).unwrap_or(Value::Null));
    }

    /// Prints, and returns the exit status.
    pub fn print(mut self, style: &Style, out: &mut dyn Write) -> io::Result<u8> {
        let status = self.outcome.status();
        if style.quiet && self.findings.is_empty() && self.outcome == Outcome::Nothing {
            return Ok(status);
        }
        self.findings.sort_by_key(|finding| finding.severity);
        if style.json {
            let mut object = Map::new();
            object.insert("command".into(), json!(self.command));
            object.insert("outcome".into(), json!(self.outcome));
            object.insert("exit_status".into(), json!(status));
            object.append(&mut self.facts);
            object.insert("messages".into(), json!(self.told));
            object.insert("findings".into(), json!(self.findings));
            writeln!(out, "{:#}", Value::Object(object))?;
            return Ok(status);
        }
        for line in &self.told {
            writeln!(out, "{line}")?;
        }
        for finding in &self.findings {
            writeln!(out, "{finding}")?;
        }
        Ok(status)
    }
}

/// As [`Report::print`] for a command that could not do anything at all.
pub fn unusable(command: &str, error: &io::Error, out: &mut dyn Write) -> io::Result<u8> {
    let object = json!({ "command": command, "outcome": "unusable", "exit_status": UNUSABLE, "error": error.to_string() });
    writeln!(out, "{object:#}")?;
    Ok(UNUSABLE)
}
