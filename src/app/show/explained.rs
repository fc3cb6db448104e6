//! `request explain`: what a running border would do with a message or a call now, by the set, the peer table and the signs of life it goes by. Nothing is sent.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::path::PathBuf;

use serde_json::{Value, json};

use super::{list, text};
use crate::app::ask::{Socket, ask};

/// Asks a running border what would become of a message, or of who calls whom, and which rules decide.
#[derive(clap::Args, Clone, Debug)]
pub struct Explain {
    /// A file with one SIP message; without it say who calls whom by --caller and --called.
    pub message: Option<PathBuf>,
    /// Where it came from: an address, with or without a port.
    #[arg(long, value_name = "ADDRESS")]
    pub from: Option<String>,
    /// As if it came from this peer's first address, with its certificate.
    #[arg(long, conflicts_with = "from")]
    pub peer: Option<String>,
    /// udp, tcp or tls; otherwise that of the peer.
    #[arg(long, value_parser = ["udp", "tcp", "tls"])]
    pub transport: Option<String>,
    /// A name in the other end's certificate; may be given several times.
    #[arg(long, value_name = "NAME")]
    pub tls_name: Vec<String>,
    /// A number, a user part or a URI.
    #[arg(long, value_name = "NUMBER", conflicts_with = "message")]
    pub caller: Option<String>,
    #[arg(long, value_name = "NUMBER", conflicts_with = "message")]
    pub called: Option<String>,
    /// Who has diverted the call.
    #[arg(long, value_name = "NUMBER", conflicts_with = "message")]
    pub diverted_by: Option<String>,
    #[command(flatten)]
    pub socket: Socket,
}

/// Exit status: 0 let in, 1 refused, or no border answers.
pub fn explain(asked: &Explain, out: &mut dyn Write) -> io::Result<u8> {
    let read =
        |path: &PathBuf| std::fs::read_to_string(path).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, format!("{}: {error}", path.display())));
    let message = asked.message.as_ref().map(read).transpose()?;
    let names = (!asked.tls_name.is_empty()).then_some(&asked.tls_name);
    let body = json!({
        "message": message, "from": asked.from, "peer": asked.peer, "transport": asked.transport, "tls_names": names,
        "caller": asked.caller, "called": asked.called, "diverted_by": asked.diverted_by,
    });
    let mut refused = false;
    let told = |answer: &Value| {
        refused = answer["outcome"]["verdict"] == "refused";
        page(answer)
    };
    let status = ask_with(&asked.socket, &body, out, told)?;
    Ok(if refused { 1 } else { status })
}

fn ask_with(socket: &Socket, body: &Value, out: &mut dyn Write, mut told: impl FnMut(&Value) -> String) -> io::Result<u8> {
    let mut page = Vec::new();
    let silent = Socket { json: true, ..socket.clone() };
    let status = ask(&silent, "POST", "/v1/explain", Some(body), &mut page, |_| String::new())?;
    let answer: Value = serde_json::from_slice(&page).unwrap_or_default();
    let words = told(&answer);
    match (socket.json, status) {
        (true, _) => out.write_all(&page)?,
        (false, 0) => out.write_all(words.as_bytes())?,
        (false, _) if page.is_empty() => {}
        (false, _) => writeln!(out, "refused: {}", answer["detail"].as_str().unwrap_or("the border does not say why"))?,
    }
    Ok(status)
}

fn page(answer: &Value) -> String {
    let mut page = String::new();
    // Writing into a String does not fail.
    let _ = writeln!(page, "message          {} from {} over {}", text(&answer["message"]), text(&answer["from"]), text(&answer["transport"]));
    let _ = writeln!(page, "decided by       policy set load {}, peer table {}", text(&answer["policy_set"]), text(&answer["peer_table"]));
    for assumption in list(answer, "assumed") {
        let _ = writeln!(page, "assumed          {}", text(assumption));
    }
    for decision in list(answer, "decisions") {
        let verdict = if decision["refused"].is_null() { "passed" } else { "REFUSED" };
        let _ = writeln!(page, "{:<16} {verdict:<8} {}", text(&decision["stage"]), text(&decision["rule"]));
        for (name, value) in decision["compared"].as_object().into_iter().flatten() {
            let _ = writeln!(page, "{:26}{name}: {}", "", text(value));
        }
    }
    let outcome = &answer["outcome"];
    match outcome["verdict"].as_str() {
        Some("admitted") => admitted(&mut page, outcome),
        Some("allowed") => drop(writeln!(page, "verdict          allowed: {}", text(&outcome["what"]))),
        _ => {
            let status = outcome["status"].as_u64().map_or_else(|| String::from("no answer, nothing is parsed"), |status| status.to_string());
            let _ = writeln!(page, "verdict          refused: {status}");
            let _ = writeln!(page, "reason           {}: {}", text(&outcome["reason"]), text(&outcome["meaning"]));
            let _ = writeln!(page, "what to do       {}", text(&outcome["remedy"]));
        }
    }
    page
}

fn admitted(page: &mut String, outcome: &Value) {
    let joined = |key: &str, between: &str| list(outcome, key).iter().map(text).collect::<Vec<_>>().join(between);
    let _ = writeln!(page, "verdict          admitted: peer \"{}\" to {}", text(&outcome["peer"]), joined("targets", ", then "));
    for limit in list(outcome, "target_limits") {
        let (calls, under_way) = (text(&limit["calls"]), text(&limit["under_way"]));
        let _ = writeln!(page, "limit            calls to {}: {under_way} of {calls} at once, {} a second", text(&limit["target"]), text(&limit["rate"]));
    }
    for (name, leg) in [("A leg", &outcome["a_leg"]), ("B leg", &outcome["b_leg"])] {
        let suites = list(leg, "suites").iter().map(text).collect::<Vec<_>>().join(", ");
        let _ = writeln!(page, "{name:<16} {}{}{suites}", text(&leg["mode"]), if suites.is_empty() { "" } else { ", " });
    }
    for (name, key) in [("sent on", "sent_on"), ("carried", "carried")] {
        for field in list(outcome, key) {
            let _ = writeln!(page, "{name:<16} {}: {}", text(&field["name"]), text(&field["value"]));
        }
    }
    let _ = writeln!(page, "stays behind     {}", joined("stays_behind", ", "));
}
