//! `[policy_sets]` of `border.toml`: the sets that were in force before, kept to go back to.

use crate::config::table::Table;

#[derive(Default)]
pub struct PolicySets {
    /// Relative to the set's folder.
    pub kept_in: Option<String>,
    pub keep: Option<usize>,
}

pub fn read(root: &Table<'_, '_>) -> PolicySets {
    let Some(table) = root.table("policy_sets", "[policy_sets]") else { return PolicySets::default() };
    let kept = PolicySets {
        kept_in: table.text("kept_in", "\"/var/lib/portcullis/policy-sets\"").map(|folder| folder.value),
        keep: table.integer("keep", 1..=crate::config::PolicySets::MOST as i64).and_then(|keep| usize::try_from(keep.value).ok()),
    };
    table.finish();
    kept
}
