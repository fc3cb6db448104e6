//! `show listeners`: where the border listens, and what it has left and still uses.

use serde_json::Value;

use super::{Columns, list, text};

pub(super) fn listeners(answer: &Value) -> String {
    let mut table = Columns::new(&["LISTENER", "TRANSPORT", "ADDRESS", "ADVERTISED", "STATE", "CONNECTIONS"]);
    let mut leaving = false;
    for listener in list(answer, "listeners") {
        leaving |= listener["state"] == "leaving";
        table.row(["name", "transport", "address", "advertised", "state", "connections"].map(|key| text(&listener[key])));
    }
    let remark = "leaving: taken out by a reload; nothing new begins there, and it is closed when no call goes over it any more\n";
    table.to_string() + if leaving { remark } else { "" }
}
