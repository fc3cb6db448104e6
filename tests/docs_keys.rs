//! `docs/configuration.md` is the reference of every key. The reader of policy sets says itself which keys it knows, in what it answers to one it does not: each of these stands in the table of
//! its section, and none stands there that the reader does not know. The same reader says of each TOML example in the guide that nothing in it is unknown.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use portcullis::config::source::Texts;
use portcullis::config::{self, Problem};

/// A key so unlike any other that the reader suggests none and lists all.
const NO_KEY: &str = "qxqxqxqxqxqxqxqxqxqxqxqxqxqxqxqxqxqxqxqxqxqxqxqx";

const FILES: [&str; 9] =
    ["border.toml", "peers.toml", "um_pools.toml", "dial_plans.toml", "hunt_groups.toml", "admission.toml", "toll.toml", "routing.toml", "branch.toml"];

/// Sections whose headings do not name their table as a file of a set does: the keys that lead to it.
const SECTIONS: [(&str, &str); 4] = [
    ("`diversion`", "um_pools.toml um_pool diversion"),
    ("Number rules", "dial_plans.toml dial_plan numbers"),
    ("Transfers", "dial_plans.toml dial_plan transfers"),
    ("`reroute = { … }`", "dial_plans.toml dial_plan reroute"),
];

/// Whether a section is about a table: `peers.toml peer` is that of the heading "`[[peer]]`", `border.toml` of "border.toml".
fn is_about(heading: &str, table: &str) -> bool {
    let named = |word: &str| {
        let keys = word.trim_matches(['[', ']']);
        word.starts_with('[') && table.split_once(' ').is_some_and(|(_, path)| path.replace(' ', ".") == keys)
    };
    heading == table || SECTIONS.contains(&(heading, table)) || quoted(heading).any(named)
}

/// What the reader finds wrong with one file; the other files are not there.
fn problems(file: &str, text: String) -> Vec<Problem> {
    let files = [(file.to_owned(), text)].into_iter().collect();
    config::load_from(&Texts { files, ..Texts::default() }).err().map_or_else(Vec::new, |problems| problems.0)
}

/// The keys the reader knows where `text` has [`NO_KEY`]. `None`: that is no table.
fn known(file: &str, text: &str) -> Option<BTreeSet<String>> {
    let asked = format!("unknown key {NO_KEY} in ");
    let answers = problems(file, text.to_owned());
    let answer = answers.iter().find(|problem| problem.what.starts_with(&asked))?;
    let listed = answer.instead.strip_prefix("remove it (known here: ").and_then(|rest| rest.strip_suffix(')'));
    Some(listed.unwrap_or_else(|| panic!("{file}: {}", answer.instead)).split(", ").map(str::to_owned).collect())
}

/// All tables below one, by the keys that lead to them. `around`: what stands before and behind the table's content.
fn walk(file: &str, path: &str, around: (&str, &str), tables: &mut BTreeMap<String, BTreeSet<String>>) -> bool {
    let Some(keys) = known(file, &format!("{}{NO_KEY} = 1{}", around.0, around.1)) else { return false };
    for key in &keys {
        for (open, close) in [("{ ", " }"), ("[{ ", " }]")] {
            if walk(file, &format!("{path} {key}"), (&format!("{}{key} = {open}", around.0), &format!("{close}{}", around.1)), tables) {
                break;
            }
        }
    }
    tables.insert(path.to_owned(), keys);
    true
}

fn reader() -> BTreeMap<String, BTreeSet<String>> {
    let mut tables = BTreeMap::new();
    for file in FILES {
        assert!(walk(file, file, ("", ""), &mut tables), "{file} is not read");
    }
    tables
}

fn page(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The words in backquotes of a cell.
fn quoted(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}

/// The first column of each table of keys, by the heading above it.
fn reference() -> BTreeMap<String, BTreeSet<String>> {
    let page = page("docs/configuration.md");
    let mut sections: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let (mut heading, mut is_keys) = ("", false);
    for line in page.lines() {
        if let Some(words) = line.strip_prefix('#') {
            heading = words.trim_start_matches('#').trim();
        }
        let Some(first) = line.strip_prefix('|').and_then(|row| row.split('|').next()).map(str::trim) else {
            is_keys = false;
            continue;
        };
        if first == "key" || first.starts_with("key of ") {
            is_keys = true;
        } else if is_keys {
            sections.entry(heading.to_owned()).or_default().extend(quoted(first).map(str::to_owned));
        }
    }
    sections
}

/// The heading of a table's section; of a table without one, that of the table it stands in.
fn section_of<'h>(table: &str, headings: &[&'h str]) -> Option<&'h str> {
    let own = headings.iter().find(|heading| is_about(heading, table)).copied();
    own.or_else(|| table.rsplit_once(' ').and_then(|(around, _)| section_of(around, headings)))
}

#[test]
fn the_reference_has_every_key_the_reader_knows_and_no_other() {
    let (tables, sections) = (reader(), reference());
    assert!(tables.len() > 25 && tables.values().map(BTreeSet::len).sum::<usize>() > 180, "{tables:#?}");
    let headings: Vec<&str> = sections.keys().map(String::as_str).collect();
    let mut read: BTreeMap<&str, BTreeSet<String>> = headings.iter().map(|heading| (*heading, BTreeSet::new())).collect();
    let mut wrong = Vec::new();
    for (table, keys) in &tables {
        let section = section_of(table, &headings);
        // `version` stands in every file, and a key that holds a table has its section, or its keys stand in this one.
        for key in keys.iter().filter(|key| *key != "version" && !tables.contains_key(&format!("{table} {key}"))) {
            if !section.is_some_and(|section| sections[section].contains(key)) {
                wrong.push(format!("{key} of {table} is not there, in the section {section:?}"));
            }
        }
        if let Some(section) = section {
            read.entry(section).or_default().extend(keys.iter().cloned());
        }
    }
    for (section, keys) in &sections {
        wrong.extend(keys.difference(&read[section.as_str()]).map(|key| format!("{section}: {key} is no key")));
    }
    assert!(wrong.is_empty(), "docs/configuration.md: {wrong:#?}");
}

/// A key that is nobody's must be found, or the test above could not fail.
#[test]
fn the_reader_tells_its_keys() {
    let tables = reader();
    for (table, key) in [
        ("border.toml api token", "sha256"),
        ("border.toml hep", "capture_id"),
        ("peers.toml peer", "tls_names"),
        ("dial_plans.toml dial_plan numbers", "strip"),
        ("branch.toml missed_calls target", "allow_http"),
    ] {
        assert!(tables.get(table).is_some_and(|keys| keys.contains(key)), "{table}: {:?}", tables.get(table));
    }
}

/// The parts of the blocks marked as TOML: a comment that begins with a file's name begins a part of that file. With the file, where it is named.
fn examples(page: &str) -> Vec<(Option<&'static str>, String)> {
    let mut parts: Vec<(Option<&'static str>, String)> = Vec::new();
    let mut is_inside = false;
    for line in page.lines() {
        if line.trim_start().starts_with("```") {
            is_inside = !is_inside && line.trim() == "```toml";
            if is_inside {
                parts.push((None, String::new()));
            }
            continue;
        }
        let Some(part) = parts.last_mut().filter(|_| is_inside) else { continue };
        let first = line.trim_start().strip_prefix("# ").and_then(|comment| comment.split([' ', ':', ',']).next());
        match first.and_then(|word| FILES.into_iter().find(|file| word.rsplit('/').next() == Some(file))) {
            Some(file) if part.1.trim().is_empty() => part.0 = Some(file),
            Some(file) => parts.push((Some(file), String::new())),
            None => part.1.extend([line, "\n"]),
        }
    }
    parts
}

/// Where an example does not say its file, it must fit one; keys of one table may stand without its head.
#[test]
fn examples_in_the_guide_have_no_unknown_key() {
    const HEADS: [&str; 6] = ["", "[[peer]]\n", "[[um_pool]]\n", "[[dial_plan]]\n", "[[listener]]\n", "[media]\n"];
    let fits = |file: &str, text: &str| {
        HEADS.iter().any(|head| {
            let found = problems(file, format!("{head}{text}"));
            !found.iter().any(|problem| problem.what.starts_with("unknown key") || problem.instead == "write it as TOML 1.1 has it")
        })
    };
    let (mut seen, mut wrong) = (0, Vec::new());
    for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs")).unwrap() {
        let name = format!("docs/{}", entry.unwrap().file_name().to_string_lossy());
        for (file, text) in if name.ends_with(".md") { examples(&page(&name)) } else { Vec::new() } {
            seen += 1;
            if !FILES.iter().filter(|known| file.is_none_or(|file| file == **known)).any(|file| fits(file, &text)) {
                wrong.push(format!("{name}, {file:?}: {text}"));
            }
        }
    }
    assert!(seen >= 15, "only {seen} examples were found");
    assert!(wrong.is_empty(), "no file of a set takes these: {wrong:#?}");
    assert!(!fits("peers.toml", "latches = \"nat\"\n") && !fits("border.toml", "name = \n"));
}
