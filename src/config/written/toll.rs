//! `toll.toml`: which numbers may be called outward.

use crate::config::finding::Written;
use crate::config::table::Table;
use crate::policy::toll::TollAction;

const ACTIONS: [(&str, TollAction); 2] = [("allow", TollAction::Allow), ("deny", TollAction::Deny)];

pub struct TollRule {
    pub name: Option<Written<String>>,
    pub plans: Vec<Written<String>>,
    pub numbers: Vec<Written<String>>,
    pub action: Option<Written<TollAction>>,
}

pub fn read(root: &Table<'_, '_>) -> Vec<TollRule> {
    let read = |table: Table<'_, '_>| {
        let rule = TollRule {
            name: table.required_text("name", "\"national\""),
            plans: table.some_texts("plans", "[\"main\"]").unwrap_or_default(),
            numbers: table.required_texts("numbers", "[\"+1*\"]"),
            action: table.required_choice("action", &ACTIONS),
        };
        table.finish();
        rule
    };
    root.tables("rule", "[[rule]]").into_iter().map(read).collect()
}
