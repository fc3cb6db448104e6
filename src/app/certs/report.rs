//! What every `certs` command says at its end: in words for people, or as one JSON object for jobs, and by an exit status that never changes its
//! meaning (docs/certificates.md, "Exit status").

use std::io::{self, Write};

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
}

impl Outcome {
    pub const fn status(self) -> u8 {
        match self {
            Outcome::Done | Outcome::Nothing => 0,
        }
    }
}

/// Exit status: the arguments, or the files they name, cannot be used.
pub const UNUSABLE: u8 = 2;

/// Gathered while a command works, printed at its end.
#[derive(Debug)]
pub struct Report {
    command: &'static str,
    pub outcome: Outcome,
    told: Vec<String>,
    facts: Map<String, Value>,
}

impl Report {
    pub fn new(command: &'static str, outcome: Outcome) -> Report {
        Report { command, outcome, told: Vec::new(), facts: Map::new() }
    }

    /// A line for people.
    pub fn tell(&mut self, line: impl Into<String>) {
        self.told.push(line.into());
    }

    /// A fact for jobs, beside `command`, `outcome` and `messages`.
    pub fn put(&mut self, key: &str, value: impl Serialize) {
        self.facts.insert(key.to_owned(), serde_json::to_value(value).unwrap_or(Value::Null));
    }

    /// Prints, and returns the exit status.
    pub fn print(mut self, style: &Style, out: &mut dyn Write) -> io::Result<u8> {
        let status = self.outcome.status();
        if style.quiet && self.outcome == Outcome::Nothing {
            return Ok(status);
        }
        if style.json {
            let mut object = Map::new();
            object.insert("command".into(), json!(self.command));
            object.insert("outcome".into(), json!(self.outcome));
            object.insert("exit_status".into(), json!(status));
            object.append(&mut self.facts);
            object.insert("messages".into(), json!(self.told));
            writeln!(out, "{:#}", Value::Object(object))?;
            return Ok(status);
        }
        for line in &self.told {
            writeln!(out, "{line}")?;
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
