//! The policy set in force and those before it, for people.

use std::fmt::Write as _;

use serde_json::Value;

use super::{Columns, list, text};

/// Digits of a digest that tell sets apart, and are enough to go back by.
const SHORT: usize = 12;

pub fn policy(answer: &Value) -> String {
    let short = |digest: &Value| text(digest).chars().take(SHORT).collect::<String>();
    let set = &answer["set"];
    let mut page =
        format!("load             {}, peer table {}\nfolder           {}\n", text(&answer["number"]), text(&answer["peer_table"]), text(&answer["folder"]));
    // Writing into a String does not fail.
    let _ = writeln!(page, "in force since   {}, {} by {}", text(&set["since"]), text(&set["how"]).replace('_', " "), text(&set["by"]));
    let _ = writeln!(page, "digest           {}", short(&set["digest"]));
    let parts = answer["parts"].as_object().into_iter().flatten().map(|(part, count)| format!("{count} {}", part.replace('_', " ")));
    let _ = writeln!(page, "parts            {}", parts.collect::<Vec<_>>().join(", "));
    let files = list(answer, "files").iter().map(|file| format!("{} ({} lines)", text(&file["name"]), text(&file["lines"])));
    let _ = writeln!(page, "files            {}", files.collect::<Vec<_>>().join(", "));
    if set["until_restart"] == true {
        page += "attention        in force until the next start only: what lies in the folder comes into force then\n";
    } else if answer["folder_differs"] == true {
        page += "attention        the folder holds another set: `portcullis diff` says what a reload would change\n";
    }
    let _ = writeln!(page, "kept in          {}", answer["kept_in"].as_str().unwrap_or("memory alone, until the next start ([policy_sets] kept_in)"));
    let mut table = Columns::new(&["EARLIER", "IN FORCE SINCE", "HOW", "BY"]);
    for earlier in list(answer, "earlier") {
        table.row([short(&earlier["digest"]), text(&earlier["since"]), text(&earlier["how"]).replace('_', " "), text(&earlier["by"])]);
    }
    if !list(answer, "earlier").is_empty() {
        let _ = write!(page, "\n{table}");
    }
    page
}
