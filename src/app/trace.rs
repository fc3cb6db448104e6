//! `portcullis trace`: has a running border keep the messages of the next calls with their keys, for `ladder CALL --pcapng FILE --keys`.

use std::io::{self, Write};

use serde_json::{Value, json};

use super::ask::{Socket, ask};
use crate::config::duration;

/// Keeps the messages of calls with their keys for a while, where `[ladder] traces` allows it. Every use is in the audit.
#[derive(clap::Subcommand, Clone, Debug)]
pub enum Trace {
    /// Begins with the next call; what was gathered before is wiped.
    Start(Start),
    /// Ends it, and wipes what it gathered.
    Stop(Socket),
    /// What is traced, until when, and which calls are held.
    Status(Socket),
}

#[derive(clap::Args, Clone, Debug)]
pub struct Start {
    /// Only calls with a leg of this peer.
    #[arg(long)]
    pub peer: Option<String>,
    /// The next so many.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub calls: u32,
    /// For so long at most, such as 30m; an hour after that all of it is wiped.
    #[arg(long = "for", value_name = "TIME", default_value = "10m")]
    pub time: String,
    #[command(flatten)]
    pub socket: Socket,
}

pub fn trace(trace: &Trace, out: &mut dyn Write) -> io::Result<u8> {
    match trace {
        Trace::Start(start) => {
            let wrong = || io::Error::new(io::ErrorKind::InvalidInput, format!("--for {}: write a time such as 10m or 2h", start.time));
            let seconds = duration(&start.time).ok_or_else(wrong)?.as_secs();
            let body = json!({ "peer": start.peer, "calls": start.calls, "seconds": seconds });
            ask(&start.socket, "POST", "/v1/trace", Some(&body), out, told)
        }
        Trace::Stop(socket) => ask(socket, "DELETE", "/v1/trace", None, out, |_| String::from("nothing is traced, and what was gathered is wiped\n")),
        Trace::Status(socket) => ask(socket, "GET", "/v1/trace", None, out, told),
    }
}

fn told(answer: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let trace = &answer["trace"];
    if trace.is_null() {
        let allowed = if answer["allowed"] == true { "portcullis trace start begins one" } else { "[ladder] traces of border.toml does not allow any" };
        return format!("nothing is traced; {allowed}\n");
    }
    let of = trace["peer"].as_str().map_or_else(String::new, |peer| format!(" of {peer}"));
    let calls: Vec<String> = answer["calls"].as_array().into_iter().flatten().map(Value::to_string).collect();
    let held = if calls.is_empty() { String::from("no call yet") } else { format!("calls {}", calls.join(", ")) };
    format!("the next {} calls{of} until {}; held with their keys until {}: {held}\n", trace["calls"], text(&trace["until"]), text(&trace["held_until"]))
}
