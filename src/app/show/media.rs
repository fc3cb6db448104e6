//! `show media`: a line for each call, or all of one; last, in a sentence for each direction, why it is heard or is not.

use std::fmt::Write as _;

use serde_json::Value;

use super::calls::before;
use super::{Columns, list, span, text};

const DIRECTIONS: [&str; 2] = ["a_to_b", "b_to_a"];

/// Every call: what an operator looks for first stands last.
pub(super) fn all(answer: &Value) -> String {
    let mut page = ways(answer);
    let calls = list(answer, "calls");
    if calls.is_empty() {
        page.push_str("no call is up\n");
        return page;
    }
    let mut table = Columns::new(&["CALL", "FROM", "TO", "UP", "PACKETS >", "LOSS %", "MOS", "AUDIO >", "PACKETS <", "LOSS %", "MOS", "AUDIO <"]);
    for call in calls {
        let up = call["answered_seconds"].as_u64().map_or_else(|| String::from("-"), span);
        let mut row = vec![text(&call["call"]), text(&call["a"]), text(&call["b"]), up];
        for direction in DIRECTIONS {
            let (counted, audio) = (&call["stream"][direction]["counted"], &call["stream"][direction]["audio"]);
            row.extend([text(&counted["sent"]), text(&counted["loss_percent"]), text(&counted["mos"]), text(&audio["cause"])]);
        }
        table.row(row);
    }
    // Writing into a String does not fail.
    let _ = write!(page, "{table}");
    if let Some(up) = answer["up"].as_u64().filter(|up| *up > calls.len() as u64) {
        let _ = writeln!(page, "the first {} of {up} calls; ask for another by its number", calls.len());
    }
    for call in calls {
        for audio in DIRECTIONS.map(|direction| &call["stream"][direction]["audio"]) {
            if audio["fault"] == true {
                let _ = writeln!(page, "call {}: {}", text(&call["call"]), text(&audio["says"]));
            }
        }
    }
    page + &before(&answer["before"])
}

/// One call.
pub(super) fn one(answer: &Value) -> String {
    let Some(call) = list(answer, "calls").first() else { return String::from("no such call is up\n") };
    let mut page = String::new();
    let stream = &call["stream"];
    let mut line = |name: &str, value: String| {
        // Writing into a String does not fail.
        let _ = writeln!(page, "{name:<17}{value}");
    };
    line("call", text(&call["call"]));
    line("from, to", format!("{}, {}", text(&call["a"]), text(&call["b"])));
    line("answered", text(&call["answered"]));
    if stream.is_null() {
        line("media", String::from("none is open, or its worker does not answer"));
        return page;
    }
    line("our ports", format!("{} towards {}, {} towards {}", text(&stream["ours"]["a"]), text(&call["a"]), text(&stream["ours"]["b"]), text(&call["b"])));
    for direction in DIRECTIONS {
        let (carried, counted) = (&stream[direction]["carried"], &stream[direction]["counted"]);
        let (from, to) = if direction == "a_to_b" { (&call["a"], &call["b"]) } else { (&call["b"], &call["a"]) };
        line("", String::new());
        line("direction", format!("{} -> {}", text(from), text(to)));
        let why = carried["why_not_shorter"].as_str().map_or(String::new(), |why| format!("; by no shorter way because {why}"));
        line("carried by", text(&carried["way"]) + &why);
        if counted["keys"] == "shared" {
            line("keys", String::from("shared: SRTP crosses as it came, and both peers can read and forge it"));
        }
        line("signalled", text(&counted["signalled"]));
        line("heard from", format!("{} (latch: {})", text(&counted["from"]), text(&counted["latch"])));
        line("packets", format!("{} in, {} out", text(&counted["received"]), text(&counted["sent"])));
        line("first, last", format!("{}, {}", text(&counted["first"]), text(&counted["last"])));
        line("lost", format!("{} ({} %)", text(&counted["lost"]), text(&counted["loss_percent"])));
        line("jitter", format!("{} ms", text(&counted["jitter_ms"])));
        line("round trip", format!("{} ms", text(&counted["round_trip_ms"])));
        line("MOS", text(&counted["mos"]));
        let refused = counted["refused"].as_object().into_iter().flatten().filter(|(_, count)| **count != 0);
        let refused: Vec<String> = refused.map(|(cause, count)| format!("{cause} {}", text(count))).collect();
        line("refused", if refused.is_empty() { String::from("-") } else { refused.join(", ") });
        for (key, name) in [("unreachable", "ICMP"), ("rtcp_unreachable", "ICMP of RTCP")] {
            let met = &counted[key];
            if !met.is_null() {
                line(name, format!("{} ({}) from {}", text(&met["errors"]), text(&met["icmp"]), text(&met["by"])));
            }
        }
    }
    page.push('\n');
    for direction in DIRECTIONS {
        page.push_str(&text(&stream[direction]["audio"]["says"]));
        page.push('\n');
    }
    page
}

fn ways(answer: &Value) -> String {
    let mut page = String::new();
    for way in list(answer, "ways") {
        let used = if way["used"] == true { "used" } else { "not used" };
        // Writing into a String does not fail.
        let _ = writeln!(page, "{}: {used}, {}", text(&way["way"]), text(&way["detail"]));
    }
    page
}
