//! `show limits`: how many calls there may be and how many there are, and what the border itself can carry just now.

use std::fmt::Write as _;

use serde_json::Value;

use super::{Columns, list, text};

pub(super) fn limits(answer: &Value) -> String {
    let mut table = Columns::new(&["OF", "NAME", "CALLS", "AT MOST", "A SECOND AT MOST"]);
    let allowed = |value: &Value| value.as_u64().map_or_else(|| String::from("no limit"), |limit| limit.to_string());
    let mut row = |of: &str, budget: &Value| {
        table.row([of.to_owned(), text(&budget["name"]), text(&budget["calls"]), allowed(&budget["limits"]["calls"]), allowed(&budget["limits"]["rate"])]);
    };
    row("all", &answer["total"]);
    list(answer, "peers").iter().for_each(|peer| row("peer", peer));
    list(answer, "targets").iter().for_each(|target| row("calls to", target));
    list(answer, "dial_plans").iter().for_each(|plan| row("dial plan", plan));
    let mut page = table.to_string();
    let (occupancy, memory) = (&answer["occupancy"], &answer["memory"]);
    let ceiling = occupancy["ceiling_percent"].as_f64().map_or_else(String::new, |ceiling| format!(", new calls are held back above {ceiling} %"));
    // Writing into a String does not fail.
    let _ = writeln!(page, "signalling is busy {} % of its time{ceiling}", occupancy["percent"]);
    let mebibytes = |value: &Value| value.as_u64().map(|bytes| bytes >> 20);
    let ceiling = mebibytes(&memory["ceiling_bytes"]).map_or_else(String::new, |ceiling| format!(", new calls are held back from {ceiling} MiB on"));
    let _ = writeln!(page, "memory held is {} MiB{ceiling}", mebibytes(&memory["bytes"]).unwrap_or_default());
    if answer["holds_back"] == true {
        page += "NEW CALLS ARE HELD BACK: all of them, or a share, are refused with 503 (admission.occupancy, admission.memory)\n";
    }
    page
}
