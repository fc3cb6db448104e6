//! Where each entry and key of a policy set is written, for findings about a set that loads: settings keep no places.
//!
//! Entries are found by their file's list (`peer`, `dial_plan`, …) and position, which is theirs in the settings too, since a set with a broken entry
//! does not load.

use std::collections::HashMap;

use toml::de::{DeTable, DeValue};

use super::FILES;
use super::finding::{At, Findings};
use super::source::Source;
use super::table::Document;

#[derive(Clone, Debug, Default)]
pub struct Places {
    /// By list and position: the entry itself under the key `""`.
    entries: HashMap<(String, usize, String), At>,
    /// Items of lists of texts, by list, position, key and position in it.
    items: HashMap<(String, usize, String, usize), At>,
    /// Keys of tables such as `[media]`, the table itself under `""`, and keys outside of all tables under the table `""`.
    keys: HashMap<(&'static str, String, String), At>,
}

impl Places {
    /// What cannot be read has no places: everything of it is then at its file's beginning.
    pub fn read(source: &dyn Source) -> Places {
        let mut places = Places::default();
        let findings = Findings::default();
        for file in FILES {
            let Ok(Some(text)) = source.text(file) else { continue };
            let document = Document::new(file, &text, &findings, source);
            if let Some(parsed) = document.parse() {
                places.file(file, &document, parsed.get_ref());
            }
        }
        places
    }

    fn file(&mut self, file: &'static str, document: &Document<'_>, root: &DeTable<'_>) {
        for (key, value) in root.iter() {
            let list = String::from(key.get_ref().as_ref());
            match value.get_ref() {
                DeValue::Array(entries) => {
                    for (position, entry) in entries.iter().enumerate() {
                        if let Some(table) = entry.get_ref().as_table() {
                            self.entries.insert((list.clone(), position, String::new()), document.place(&entry.span()));
                            self.entry(&list, position, document, table);
                        }
                    }
                }
                DeValue::Table(table) => {
                    self.keys.insert((file, list.clone(), String::new()), document.place(&value.span()));
                    for (key, value) in table.iter() {
                        self.keys.insert((file, list.clone(), String::from(key.get_ref().as_ref())), document.place(&value.span()));
                    }
                }
                _ => {
                    self.keys.insert((file, String::new(), list), document.place(&value.span()));
                }
            }
        }
    }

    fn entry(&mut self, list: &str, position: usize, document: &Document<'_>, table: &DeTable<'_>) {
        for (key, value) in table.iter() {
            let key = String::from(key.get_ref().as_ref());
            for (index, item) in value.get_ref().as_array().into_iter().flat_map(|array| array.iter()).enumerate() {
                self.items.insert((list.into(), position, key.clone(), index), document.place(&item.span()));
            }
            self.entries.insert((list.into(), position, key), document.place(&value.span()));
        }
    }

    /// The value of a key of the entry at this position of `[[list]]`, or the entry where the key is not written.
    pub fn of(&self, list: &str, position: usize, key: &str) -> At {
        let place = |key: &str| self.entries.get(&(String::from(list), position, String::from(key))).copied();
        place(key).or_else(|| place("")).unwrap_or(At { file: file_of(list), line: 1, column: 1 })
    }

    /// One item of a key's list, or as [`Places::of`].
    pub fn item(&self, list: &str, position: usize, key: &str, index: usize) -> At {
        let item = self.items.get(&(String::from(list), position, String::from(key), index));
        item.copied().unwrap_or_else(|| self.of(list, position, key))
    }

    /// A key of a file's table, `""` for one outside of all tables; else the table, else the file's beginning.
    pub fn key(&self, file: &'static str, table: &str, key: &str) -> At {
        let place = |key: &str| self.keys.get(&(file, String::from(table), String::from(key))).copied();
        place(key).or_else(|| place("")).unwrap_or(At { file, line: 1, column: 1 })
    }
}

/// Where an entry would be that is not written, but follows from others.
fn file_of(list: &str) -> &'static str {
    match list {
        "peer" => "peers.toml",
        "um_pool" => "um_pools.toml",
        "dial_plan" => "dial_plans.toml",
        "hunt_group" => "hunt_groups.toml",
        _ => "border.toml",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::source::Texts;

    #[test]
    fn entries_keys_and_items_have_their_places() {
        let text = "version = 1\n[[dial_plan]]\nname = \"a\"\n[[dial_plan]]\nname = \"b\"\ngateways = [\"x\",\n  \"y\"]\n";
        let files = [("dial_plans.toml", text), ("border.toml", "[media]\nports = [1, 2]\n"), ("peers.toml", "not toml [[")];
        let files = files.map(|(file, text)| (String::from(file), String::from(text))).into();
        let places = Places::read(&Texts { files, ..Texts::default() });
        let line = |at: At| (at.line, at.column);
        assert_eq!(line(places.of("dial_plan", 1, "name")), (5, 8));
        assert_eq!(line(places.of("dial_plan", 0, "mode")), (2, 1), "a key that is not written: its entry");
        assert_eq!(line(places.item("dial_plan", 1, "gateways", 1)), (7, 3));
        assert_eq!(line(places.key("border.toml", "media", "ports")), (2, 9));
        assert_eq!(line(places.key("border.toml", "media", "silence")), (1, 1));
        assert_eq!(places.key("admission.toml", "", "calls"), At { file: "admission.toml", line: 1, column: 1 });
    }
}
