//! `portcullis show peers|bans|certs|firewall`: what a running border knows, as tables for people or as JSON.

use std::fmt::Write as _;
use std::io::{self, Write};

use serde_json::Value;

use crate::app::ask::{Socket, ask};

#[derive(clap::Subcommand, Clone, Debug)]
pub enum Show {
    /// Who may talk: names and what DNS says of them, addresses, how they prove themselves, whether they answer.
    Peers(Socket),
    /// Who is shut out, why, by whom and for how long.
    Bans(Socket),
    /// Our certificates, the CAs and CRLs peers are held against, and how long each is good for.
    Certs(Socket),
    /// What the kernel enforces, and what it has dropped.
    Firewall(Socket),
}

pub fn show(show: &Show, out: &mut dyn Write) -> io::Result<u8> {
    match show {
        Show::Peers(socket) => ask(socket, "GET", "/v1/peers", None, out, peers),
        Show::Bans(socket) => ask(socket, "GET", "/v1/bans", None, out, bans),
        Show::Certs(socket) => ask(socket, "GET", "/v1/certs", None, out, certificates),
        Show::Firewall(socket) => ask(socket, "GET", "/v1/firewall", None, out, firewall),
    }
}

fn peers(answer: &Value) -> String {
    let mut table = Columns::new(&["PEER", "KIND", "STATUS", "MODE", "VIA", "ADDRESS"]);
    for peer in list(answer, "peers") {
        let of_peer = [text(&peer["name"]), text(&peer["kind"]), text(&peer["status"]), text(&peer["mode"]), text(&peer["transport"])];
        let addresses = list(peer, "addresses");
        let first = addresses.first().map(text).unwrap_or_else(|| String::from("-"));
        table.row(of_peer.into_iter().chain([first]));
        for address in addresses.iter().skip(1) {
            table.row((0..5).map(|_| String::new()).chain([text(address)]));
        }
    }
    format!("peer table {}\n{table}", text(&answer["table"]))
}

fn bans(answer: &Value) -> String {
    format!("{answer:#}\n")
}

fn certificates(answer: &Value) -> String {
    let mut table = Columns::new(&["FILE", "KIND", "NAME", "ENDS", "DAYS LEFT"]);
    for held in list(answer, "held") {
        table.row([text(&held["file"]), text(&held["kind"]), text(&held["name"]), date(&held["not_after"]), text(&held["days_left"])]);
    }
    format!("load {}\n{table}", text(&answer["generation"]))
}

/// Of seconds since 1970.
fn date(value: &Value) -> String {
    let moment = value.as_i64().and_then(|seconds| time::OffsetDateTime::from_unix_timestamp(seconds).ok());
    moment.map_or_else(|| String::from("-"), |moment| moment.date().to_string())
}

fn firewall(answer: &Value) -> String {
    format!("{answer:#}\n")
}

fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value[key].as_array().map_or(&[], |list| list)
}

/// As a person reads it; what is not known is a dash.
fn text(value: &Value) -> String {
    match value {
        Value::Null => String::from("-"),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Left-aligned columns, two spaces between them.
struct Columns {
    rows: Vec<Vec<String>>,
}

impl Columns {
    fn new(heads: &[&str]) -> Columns {
        Columns { rows: vec![heads.iter().map(|head| String::from(*head)).collect()] }
    }

    fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }
}

impl std::fmt::Display for Columns {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| self.rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..columns).map(width).collect();
        for row in &self.rows {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(&widths) {
                // Writing into a String does not fail.
                let _ = write!(line, "{cell:<width$}  ");
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}
