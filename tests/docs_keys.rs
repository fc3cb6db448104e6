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

/// Which tables of the reader a section of the reference is about: file, and the keys that lead to the table.
const SECTIONS: &[(&str, &[&str])] = &[
    ("border.toml", &["border.toml"]),
    ("`[[listener]]`, at least one", &["border.toml listener"]),
    ("`[media]`, required", &["border.toml media"]),
    ("`[limits]`", &["border.toml limits"]),
    ("`[timers]`", &["border.toml timers"]),
    ("`[admin]`, `[control]`, `[log]`, `[records]`", &["border.toml admin", "border.toml control", "border.toml log", "border.toml records"]),
    ("`[api]`, `[[api.token]]`, `[[api.client]]`", &["border.toml api", "border.toml api token", "border.toml api client"]),
    ("`[hep]`", &["border.toml hep"]),
    ("`[certificates]`", &["border.toml certificates"]),
    ("`[dns]`", &["border.toml dns"]),
    ("`[firewall]`", &["border.toml firewall"]),
    ("`[[peer]]`", &["peers.toml peer"]),
    ("`[[um_pool]]`", &["um_pools.toml um_pool"]),
    ("`diversion`", &["um_pools.toml um_pool diversion"]),
    ("`[[dial_plan]]`", &["dial_plans.toml dial_plan"]),
    ("Number rules", &["dial_plans.toml dial_plan numbers"]),
    ("Transfers", &["dial_plans.toml dial_plan transfers"]),
    ("`reroute = { … }`", &["dial_plans.toml dial_plan reroute"]),
    ("`[[hunt_group]]`", &["hunt_groups.toml hunt_group"]),
    ("admission.toml", &["admission.toml"]),
    ("`[[rule]]`", &["toll.toml rule"]),
    ("routing.toml", &["routing.toml"]),
    ("`[[mailbox]]`", &["routing.toml mailbox"]),
    ("`[branch]`", &["branch.toml branch"]),
    ("`[missed_calls]`", &["branch.toml missed_calls", "branch.toml missed_calls target", "branch.toml missed_calls sip"]),
];

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

#[test]
fn the_reference_has_every_key_the_reader_knows_and_no_other() {
    let (tables, sections) = (reader(), reference());
    assert!(tables.len() > 25 && tables.values().map(BTreeSet::len).sum::<usize>() > 180, "{tables:#?}");
    let mut wrong = Vec::new();
    for heading in sections.keys().filter(|heading| !SECTIONS.iter().any(|(known, _)| known == heading)) {
        wrong.push(format!("the section {heading} has a table of keys, and no table of the reader"));
    }
    for table in tables.keys().filter(|table| !SECTIONS.iter().any(|(_, about)| about.contains(&table.as_str()))) {
        // What holds nothing but lists of tables and `version` needs no section of its own.
        let plain: Vec<_> = tables[table].iter().filter(|key| *key != "version" && !tables.contains_key(&format!("{table} {key}"))).collect();
        if !plain.is_empty() {
            wrong.push(format!("the reader's table {table} has no section: {plain:?}"));
        }
    }
    for (heading, about) in SECTIONS {
        let documented = sections.get(*heading).cloned().unwrap_or_default();
        let mut read = BTreeSet::new();
        for table in *about {
            let keys = tables.get(*table).unwrap_or_else(|| panic!("the reader has no table {table}"));
            read.extend(keys.iter().cloned());
            for key in keys.iter().filter(|key| *key != "version" && !tables.contains_key(&format!("{table} {key}")) && !documented.contains(*key)) {
                wrong.push(format!("{heading}: {key} is not there"));
            }
        }
        wrong.extend(documented.difference(&read).map(|key| format!("{heading}: {key} is no key")));
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
