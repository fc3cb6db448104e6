//! `show status`, `show calls`, `show audit`: the border as a whole, what is up, who changed what.

use std::fmt::Write as _;

use serde_json::Value;

use super::{Columns, list, span, text};

pub(super) fn status(answer: &Value) -> String {
    let mut page = String::new();
    let mut line = |name: &str, value: String| {
        // Writing into a String does not fail.
        let _ = writeln!(page, "{name:<17}{value}");
    };
    line("border", format!("{} ({})", text(&answer["name"]), text(&answer["version"])));
    line("up since", format!("{} ({})", text(&answer["started"]), answer["uptime_seconds"].as_u64().map_or_else(|| "-".into(), span)));
    line("calls", text(&answer["calls"]));
    if !answer["before"].is_null() {
        let [process, calls, socket] = ["process", "calls", "socket"].map(|key| text(&answer["before"][key]));
        line(
            "before",
            format!("process {process}, from which this one has taken over, still has {calls} calls; show calls lists both (alone: --socket {socket})"),
        );
    }
    let drain = match (&answer["drain"], answer["drain"]["release_in_seconds"].as_u64()) {
        (Value::Null, _) => String::from("yes"),
        (_, Some(seconds)) => format!("no: draining, and in {} those that are left are ended", span(seconds)),
        (_, None) => String::from("no: draining"),
    };
    line("takes calls", drain);
    line("policy set", text(&answer["policy_set"]));
    line("peer table", text(&answer["peer_table"]));
    line("certificates", format!("load {}", text(&answer["certificates"])));
    line("names", if answer["names_settled"] == true { "all asked for".into() } else { "some were never answered yet".into() });
    if let Some(problems) = answer["refused_reload"]["problems"].as_array() {
        let (at, by) = (text(&answer["refused_reload"]["at"]), text(&answer["refused_reload"]["by"]));
        line("last reload", format!("REFUSED at {at} (asked for by {by}); the set before it is in force, and a start would fail on what lies in the folder:"));
        problems.iter().for_each(|problem| line("", text(problem)));
    }
    for part in list(answer, "not_in_force") {
        line("not in force", text(part));
    }
    for place in list(answer, "records") {
        let stands = match place["error"].as_str() {
            None => {
                let few = [("waiting", "wait for a moment"), ("lost", "lost since the start")];
                let few = few.iter().filter(|(key, _)| place[*key].as_u64().is_some_and(|count| count > 0));
                few.fold(format!("{} written", text(&place["written"])), |line, (key, what)| line + &format!(", {} {what}", text(&place[*key])))
            }
            Some(error) => format!("NOT TAKEN: {error} ({} wait, {} lost; calls go on)", text(&place["waiting"]), text(&place["lost"])),
        };
        // Writing into a String does not fail.
        let _ = writeln!(page, "{:<17}{stands}", format!("records {}", text(&place["to"])));
    }
    // Of these, only what an operator has to look at.
    for place in list(answer, "writing") {
        let (waiting, lost) = (text(&place["waiting"]), text(&place["lost"]));
        let stands = match place["error"].as_str() {
            Some(error) => format!("NOT TAKEN: {error} ({waiting} wait, {lost} lost; calls go on)"),
            None if place["lost"].as_u64().is_some_and(|lost| lost > 0) => format!("{lost} lost since the start"),
            None => continue,
        };
        let _ = writeln!(page, "{:<17}{stands}", text(&place["what"]).replace('_', " "));
    }
    for receiver in list(answer, "receivers") {
        // Writing into a String does not fail.
        let _ = writeln!(page, "{:<17}{}", if receiver["kind"] == "hep" { "HEP copies" } else { "OTLP traces" }, received(receiver));
    }
    page
}

/// Where copies go, and whether they get there.
fn received(receiver: &Value) -> String {
    let what = if receiver["kind"] == "hep" { "packets" } else { "spans" };
    let few = [("lost", "lost"), ("refused", "refused by it")].into_iter().filter(|(key, _)| receiver[*key].as_u64().is_some_and(|count| count > 0));
    let counts = few.fold(format!("{} {what} sent", text(&receiver["sent"])), |line, (key, word)| line + &format!(", {} {word}", text(&receiver[key])));
    let queue = format!("{} of {} places of the queue taken", text(&receiver["waiting"]), text(&receiver["places"]));
    let error = |before: &str| match &receiver["last_error"] {
        Value::Null => String::new(),
        error => format!("; {before}{}: {}", text(&error["at"]), text(&error["why"])),
    };
    let server = text(&receiver["server"]);
    match receiver["state"].as_str() {
        Some("untried") => format!("to {server}: nothing to send yet"),
        Some("up") => format!("to {server}: {counts}, {queue}{}", error("last trouble ")),
        _ => format!("NOT TAKEN by {server}: {counts}, {queue}, calls go on{}", error("")),
    }
}

pub(super) fn calls(answer: &Value) -> String {
    let names = ["CALL", "STATE", "FOR", "FROM", "TO", "A", "A MODE", "B", "B MODE", "PROCESS"];
    // Where there is one process, nobody asks which.
    let shown = if answer["before"].is_null() { names.len() - 1 } else { names.len() };
    let mut table = Columns::new(&names[..shown]);
    for call in list(answer, "calls") {
        let up = call["answered_seconds"].as_u64().map_or_else(|| String::from("-"), span);
        let (a, b) = (&call["a"], &call["b"]);
        table.row(
            [
                text(&call["call"]),
                text(&call["state"]),
                up,
                text(&call["from"]),
                text(&call["to"]),
                text(&a["peer"]),
                text(&a["mode"]),
                text(&b["peer"]),
                text(&b["mode"]),
                call["process"].as_u64().map_or_else(|| String::from("this"), |process| process.to_string()),
            ]
            .into_iter()
            .take(shown),
        );
    }
    let shown = list(answer, "calls").len() as u64;
    let page = match answer["up"].as_u64() {
        Some(0) => String::from("no call is up\n"),
        Some(up) if up > shown => format!("{table}{shown} of {up} calls\n"),
        _ => table.to_string(),
    };
    page + &before(&answer["before"])
}

/// What is to be known of the process before, under a list that has its calls or should.
pub(super) fn before(before: &Value) -> String {
    if before.is_null() {
        return String::new();
    }
    let [process, calls, socket] = ["process", "calls", "socket"].map(|key| text(&before[key]));
    match before["answers"] == true {
        true => {
            format!("process {process}, from which this one has taken over, keeps its calls until they end; ladder, show media and end reach them from here\n")
        }
        false => format!(
            "process {process}, from which this one has taken over, does not answer: its {calls} calls are not shown (--socket {socket}); see its log\n"
        ),
    }
}

/// One call, a line for each thing that is known of it.
pub(super) fn one(call: &Value) -> String {
    let mut page = String::new();
    let mut line = |name: &str, value: String| {
        // Writing into a String does not fail.
        let _ = writeln!(page, "{name:<17}{value}");
    };
    let up = call["answered_seconds"].as_u64().map(|seconds| format!(", answered {} ago", span(seconds))).unwrap_or_default();
    line("call", text(&call["call"]));
    line("state", format!("{}{up}", text(&call["state"])));
    line("began", text(&call["began"]));
    line("from", text(&call["from"]));
    line("to", text(&call["to"]));
    for (name, leg) in [("A leg", &call["a"]), ("B leg", &call["b"])].into_iter().filter(|(_, leg)| !leg.is_null()) {
        line(name, format!("{}, {}, {} {}", text(&leg["peer"]), text(&leg["mode"]), text(&leg["transport"]), text(&leg["remote"])));
    }
    let number = text(&call["call"]);
    line("more", format!("portcullis ladder {number}, portcullis show media {number}"));
    page
}

pub(super) fn audit(answer: &Value) -> String {
    let mut table = Columns::new(&["TIME", "OPERATOR", "VIA", "REQUEST", "STATUS", "DETAIL"]);
    for entry in list(answer, "entries") {
        let detail = if entry["detail"].is_null() { &entry["asked"] } else { &entry["detail"] };
        table.row([text(&entry["time"]), text(&entry["operator"]), text(&entry["via"]), text(&entry["request"]), text(&entry["status"]), text(detail)]);
    }
    if list(answer, "entries").is_empty() { String::from("nothing was changed since the start\n") } else { table.to_string() }
}
