//! `routing.toml`: in which UM pool mailboxes live, where that is not the same for all of a plan.

use std::time::Duration;

use crate::config::finding::Written;
use crate::config::table::Table;

/// How often the table is looked at unless the file says otherwise.
const POLL: Duration = Duration::from_secs(5);

#[derive(Default)]
pub struct Routing {
    pub table: Option<Written<String>>,
    pub poll: Duration,
    pub shared_domains: Vec<Written<String>>,
    pub rules: Vec<MailboxRule>,
}

pub struct MailboxRule {
    pub name: Option<Written<String>>,
    pub mailboxes: Vec<Written<String>>,
    pub plans: Vec<Written<String>>,
    pub um_pool: Option<Written<String>>,
}

pub fn read(root: &Table<'_, '_>) -> Routing {
    let rule = |table: Table<'_, '_>| {
        let rule = MailboxRule {
            name: table.required_text("name", "\"moved\""),
            mailboxes: table.required_texts("mailboxes", "[\"10*\"]"),
            plans: table.some_texts("plans", "[\"main\"]").unwrap_or_default(),
            um_pool: table.required_text("um_pool", "\"online\""),
        };
        table.finish();
        rule
    };
    Routing {
        table: root.text("table", "\"mailboxes.csv\""),
        poll: root.duration("poll", Duration::from_secs(1), Duration::from_secs(3600)).map_or(POLL, |span| span.value),
        shared_domains: root.texts("shared_domains", "[\"contoso.com\"]").unwrap_or_default(),
        rules: root.tables("mailbox", "[[mailbox]]").into_iter().map(rule).collect(),
    }
}
