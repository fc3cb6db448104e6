//! `show records`: calls that have ended, a line each; or one of them with everything that is known of it.

use std::fmt::Write as _;

use serde_json::Value;

use super::{Columns, Records, encoded, list, span, text};

/// The question, as the API takes it.
pub(super) fn path(records: &Records) -> String {
    let silent = records.silent.then(|| String::from("true"));
    let answered = (records.answered || records.unanswered).then(|| records.answered.to_string());
    let limit = Some(records.limit.to_string());
    let asked = [
        ("number", &records.of),
        ("peer", &records.peer),
        ("reason", &records.reason),
        ("fault", &records.fault),
        ("from", &records.from),
        ("until", &records.until),
        ("audio_fault", &silent),
        ("answered", &answered),
        ("after", &records.after),
        ("limit", &limit),
    ];
    let asked: Vec<String> = asked.into_iter().filter_map(|(key, value)| Some(format!("{key}={}", encoded(value.as_deref()?)))).collect();
    format!("/v1/records?{}", asked.join("&"))
}

pub(super) fn all(answer: &Value, asked: &Records) -> String {
    let mut table = Columns::new(&["NUMBER", "BEGAN", "FROM", "TO", "A", "B", "STATUS", "REASON", "TALK", "AUDIO"]);
    for found in list(answer, "records") {
        let record = &found["record"];
        let talk = record["talk_ms"].as_u64().map_or_else(|| String::from("-"), |millis| span(millis / 1000));
        table.row([
            text(&found["number"]),
            text(&record["began"]),
            text(&record["from"]),
            text(&record["to"]),
            text(&record["a"]["peer"]),
            text(&record["b"]["peer"]),
            text(&record["status"]),
            text(&record["reason"]),
            talk,
            audio(&record["audio"]),
        ]);
    }
    if list(answer, "records").is_empty() {
        return String::from("no record matches; one is stored within a moment of its call's end, and only where [records] has a store\n");
    }
    let more = answer["next"].as_str().map(|next| format!("there are more, older ones: portcullis show records {} --after {next}\n", again(asked)));
    format!("{table}{}", more.unwrap_or_default())
}

/// A line for each value, by its name and those it is within; what is not known is left out.
fn lines(page: &mut String, name: &str, value: &Value) {
    let within = |key: &str| if name.is_empty() { key.to_owned() } else { format!("{name}.{key}") };
    match value {
        Value::Null => {}
        Value::Object(members) => members.iter().for_each(|(key, value)| lines(page, &within(key), value)),
        Value::Array(items) if items.iter().any(Value::is_object) => {
            (1..).zip(items).for_each(|(place, item)| lines(page, &within(&i32::to_string(&place)), item));
        }
        Value::Array(items) if items.is_empty() => {}
        Value::Array(items) => drop(writeln!(page, "{name:<32} {}", items.iter().map(text).collect::<Vec<_>>().join(", "))),
        // Writing into a String does not fail.
        value => drop(writeln!(page, "{name:<32} {}", text(value))),
    }
}

pub(super) fn store(answer: &Value) -> String {
    let mut page = String::new();
    for (name, key) in [("records", "held"), ("bytes", "size"), ("written", "written"), ("waiting", "waiting"), ("lost", "lost")] {
        // Writing into a String does not fail.
        let _ = writeln!(page, "{name:<17}{}", text(&answer[key]));
    }
    if let Some(error) = answer["error"].as_str() {
        let _ = writeln!(page, "{:<17}{error}", "NOT TAKEN");
    }
    page
}

/// What was asked for, as it is written.
fn again(asked: &Records) -> String {
    let quoted =
        |value: &str| if value.bytes().all(|octet| octet.is_ascii_alphanumeric() || b"+-._:/".contains(&octet)) { value.into() } else { format!("'{value}'") };
    let values = [("of", &asked.of), ("peer", &asked.peer), ("reason", &asked.reason), ("fault", &asked.fault), ("from", &asked.from), ("until", &asked.until)];
    let flags = [("silent", asked.silent), ("answered", asked.answered), ("unanswered", asked.unanswered)];
    let values = values.into_iter().filter_map(|(key, value)| Some(format!("--{key} {}", quoted(value.as_deref()?))));
    let flags = flags.into_iter().filter(|(_, set)| *set).map(|(key, _)| format!("--{key}"));
    let place = asked.socket.again().into_iter().map(|(key, value)| format!("--{key} {}", quoted(&value)));
    values.chain(flags).chain([format!("--limit {}", asked.limit)]).chain(place).collect::<Vec<_>>().join(" ")
}

fn audio(audio: &Value) -> String {
    let faults = ["a_to_b", "b_to_a"].into_iter().filter(|direction| audio[*direction]["fault"] == true);
    let causes: Vec<String> = faults.map(|direction| text(&audio[direction]["cause"])).collect();
    if causes.is_empty() { String::from("-") } else { causes.join(", ") }
}

pub(super) fn one(answer: &Value) -> String {
    let record = &answer["record"];
    let mut page = String::new();
    lines(&mut page, "", record);
    if let Some(ladder) = answer["ladder"].as_str() {
        let _ = write!(page, "\n{ladder}");
    }
    for direction in ["a_to_b", "b_to_a"] {
        if let Some(says) = record["audio"][direction]["says"].as_str() {
            // Writing into a String does not fail.
            let _ = write!(page, "\n{says}");
        }
    }
    page.push('\n');
    page
}
