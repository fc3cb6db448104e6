//! The documents say what the program is: `docs/reasons.md` is written from the code, and no key, metric or field of a record is left out of the others.
//!
//! `BLESS=1 cargo test --test docs_current` writes `docs/reasons.md` anew.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use portcullis::policy::verdict::{Fault, Reason};

fn at(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn text(path: &str) -> String {
    fs::read_to_string(at(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn fault(fault: Fault) -> &'static str {
    match fault {
        Fault::None => "nobody",
        Fault::Peer => "peer",
        Fault::Policy => "policy",
        Fault::Resource => "resource",
        Fault::Us => "us",
    }
}

fn reasons() -> String {
    let mut page = String::from(
        "# Reasons\n\n\
         Every refused request, every ended call and every state of a watched peer has one reason. Its code is stable: it stands in the log, in metrics (`reason`), in call records and in\n\
         what `portcullis explain` prints. This page is written by `BLESS=1 cargo test --test docs_current` from `src/policy/verdict.rs` and `remedy.rs`, and a test keeps it so.\n\n\
         *Fault* says where to look. **peer**: the other side did it. **policy**: the policy set says so. **resource**: something ran out or could not be\n\
         reached. **us**: the border itself is the cause, as when it is shut down. **nobody**: all is well.\n\n\
         *Status* is what the peer that asked is told, a bare SIP status without our reason. Where a call that is already up ends, both sides get a BYE instead, and for\n\
         a call the called side refused, that side's status is passed on, or the general one of its class where it is about our request only. \"none\" is silence: a stranger's datagram is dropped, a stranger's connection is closed.\n\n\
         *Exchange* gives the event number under which Unified Messaging tells of the same. `portcullis explain` takes a code, an event number or a whole line of the\n\
         log and says the same as this page.\n\n\
         | code | fault | status | meaning | what to do | Exchange |\n|---|---|---|---|---|---|\n",
    );
    let mut all = Reason::ALL.to_vec();
    all.sort_by_key(|reason| reason.code());
    for reason in all {
        let status = reason.status().map_or("none".to_owned(), |status| status.to_string());
        let events: Vec<String> = reason.exchange_events().iter().map(u16::to_string).collect();
        let (code, whose, events) = (reason.code(), fault(reason.fault()), events.join(", "));
        writeln!(page, "| `{code}` | {whose} | {status} | {} | {} | {events} |", reason.meaning(), reason.remedy()).unwrap();
    }
    page
}

#[test]
fn reasons_are_current() {
    let path = "docs/reasons.md";
    if std::env::var_os("BLESS").is_some() {
        fs::write(at(path), reasons()).unwrap();
    }
    assert!(text(path) == reasons(), "{path} is not what the code says: run BLESS=1 cargo test --test docs_current and read what changed");
}

/// The quoted words that follow any of these in a source file.
fn quoted_after(source: &str, openings: &[&str]) -> BTreeSet<String> {
    let mut words = BTreeSet::new();
    for opening in openings {
        for (start, _) in source.match_indices(opening) {
            let word: String = source[start + opening.len()..].chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
            words.insert(word);
        }
    }
    words
}

fn assert_named(page: &str, words: &BTreeSet<String>, least: usize) {
    assert!(words.len() >= least, "only {words:?} were found in the code: has its form changed?");
    let content = text(page);
    let missing: Vec<&String> = words.iter().filter(|word| !content.contains(&format!("`{word}`"))).collect();
    assert!(missing.is_empty(), "{page} does not name {missing:?}");
}

#[test]
fn every_key_of_a_policy_set_is_documented() {
    let mut keys = BTreeSet::new();
    for file in ["api", "border", "branch", "firewall", "hep", "numbers", "otlp", "peers", "plans", "records", "mod"] {
        let source = text(&format!("src/config/written/{file}.rs"));
        for method in ["text", "texts", "required_text", "required_texts", "some_texts", "choice", "choices", "required_choice"] {
            keys.extend(quoted_after(&source, &[&format!("table.{method}(\""), &format!("root.{method}(\"")]));
        }
        for method in ["integer", "required_integer", "flag", "duration", "pair"] {
            keys.extend(quoted_after(&source, &[&format!("table.{method}(\""), &format!("root.{method}(\"")]));
        }
        keys.extend(quoted_after(&source, &["budget(\""]));
    }
    assert_named("docs/configuration.md", &keys, 55);
    let configuration = text("docs/configuration.md");
    for table in [
        "listener",
        "media",
        "limits",
        "timers",
        "admin",
        "control",
        "api",
        "hep",
        "otlp",
        "log",
        "records",
        "dns",
        "firewall",
        "peer",
        "um_pool",
        "dial_plan",
        "hunt_group",
    ] {
        assert!(configuration.contains(&format!("[{table}]")), "docs/configuration.md has no [{table}]");
    }
}

/// By their whole names, wherever in the program they are made.
fn exposed_metrics() -> BTreeSet<String> {
    let all = sources(&at("src"), None);
    let mut names: BTreeSet<String> =
        quoted_after(&text("src/adapters/telemetry/metrics.rs"), &["\"portcullis_"]).iter().map(|name| format!("portcullis_{name}")).collect();
    // Without what rustfmt puts between a call and its first argument.
    let dense: String = all.split_whitespace().collect();
    let elsewhere = quoted_after(&dense, &["head(\"", "family(\""]).into_iter().chain(quoted_after(&all, &["# TYPE "]));
    names.extend(elsewhere.filter(|name| name.starts_with("portcullis_") || name.starts_with("process_")));
    names
}

/// Whoever has a terminal and no browser can ask for everything as well.
#[test]
fn every_request_of_the_api_has_a_command() {
    let document = serde_json::to_value(portcullis::app::api::document()).unwrap();
    let mut requests = BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        let methods = item.as_object().unwrap().keys().filter(|key| ["get", "post", "put", "delete", "patch"].contains(&key.as_str()));
        requests.extend(methods.map(|method| format!("{} {path}", method.to_uppercase())));
    }
    let operating = text("docs/operating.md");
    let rows = operating.lines().filter_map(|line| line.strip_prefix("| `")?.strip_suffix("` |")?.split_once("` | `"));
    let rows: Vec<(&str, &str)> = rows.filter(|(request, _)| request.contains(" /v1/")).collect();
    assert_eq!(rows.iter().map(|(request, _)| (*request).to_owned()).collect::<BTreeSet<_>>(), requests);
    for command in rows.iter().map(|(_, command)| command).collect::<BTreeSet<_>>() {
        let help = std::process::Command::new(env!("CARGO_BIN_EXE_portcullis")).args(command.split(' ')).arg("--help").output().unwrap();
        assert!(help.status.success() && String::from_utf8_lossy(&help.stdout).contains(&format!("Usage: portcullis {command}")), "{command}");
    }
}

#[test]
fn every_metric_is_documented() {
    assert_named("docs/operating.md", &exposed_metrics(), 70);
}

/// A dashboard or a rule that asks for a metric nobody exposes shows nothing, and nobody notices.
#[test]
fn dashboard_and_alerts_name_metrics_and_reasons_there_are() {
    let (exposed, reasons) = (exposed_metrics(), Reason::ALL.iter().map(|reason| reason.code()).collect::<Vec<_>>());
    let is_exposed = |name: &str| {
        exposed.contains(name) || ["_bucket", "_count", "_sum"].iter().any(|part| name.strip_suffix(part).is_some_and(|name| exposed.contains(name)))
    };
    for (file, least) in [("dashboard.json", 70), ("alerts.yml", 25), ("alerts_test.yml", 8), ("README.md", 0)] {
        let content = text(&format!("docs/monitoring/{file}")).replace("\\\"", "\"");
        let named: BTreeSet<&str> = content
            .split(|c: char| !(c.is_ascii_lowercase() || c == '_'))
            .filter(|word| ["portcullis_", "process_"].iter().any(|prefix| word.starts_with(prefix)))
            .collect();
        assert!(named.len() >= least, "{file} names only {named:?}");
        let wrong: Vec<_> = named.into_iter().filter(|name| !is_exposed(name)).collect();
        assert!(wrong.is_empty(), "docs/monitoring/{file} names {wrong:?}, which the program does not expose");
        for operator in ["reason=\"", "reason!=\"", "reason=~\"", "reason!~\""] {
            for codes in content.split(operator).skip(1).filter_map(|rest| rest.split('"').next()) {
                let wrong: Vec<_> = codes.split('|').filter(|code| !code.ends_with(".*") && !reasons.contains(code)).collect();
                assert!(wrong.is_empty(), "docs/monitoring/{file} asks for the reasons {wrong:?}, which there are not");
            }
        }
    }
}

/// What Grafana needs of a dashboard to draw it, and what keeps panels from lying on one another.
#[test]
fn the_dashboard_can_be_drawn() {
    let dashboard: serde_json::Value = serde_json::from_str(&text("docs/monitoring/dashboard.json")).unwrap();
    assert!(dashboard["schemaVersion"].as_u64() >= Some(36) && dashboard["uid"] == "portcullis", "{}", dashboard["schemaVersion"]);
    let variables: BTreeSet<_> = dashboard["templating"]["list"].as_array().unwrap().iter().map(|variable| variable["name"].as_str().unwrap()).collect();
    assert_eq!(variables, BTreeSet::from(["datasource", "instance"]));
    let (mut ids, mut taken) = (BTreeSet::new(), BTreeSet::new());
    for panel in dashboard["panels"].as_array().unwrap() {
        let title = panel["title"].as_str().unwrap();
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{title}: its id is another panel's");
        let [x, y, w, h] = ["x", "y", "w", "h"].map(|side| panel["gridPos"][side].as_u64().unwrap());
        assert!(x + w <= 24, "{title} is wider than the page");
        for cell in (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y))) {
            assert!(taken.insert(cell), "{title} lies on another panel");
        }
        if panel["type"] == "row" {
            continue;
        }
        assert!(panel["description"].as_str().is_some_and(|text| text.ends_with('.')), "{title} does not say what it means");
        for target in panel["targets"].as_array().unwrap() {
            let query = target["expr"].as_str().unwrap();
            assert!(query.contains("{instance=~\"$instance\""), "{title} shows other borders than those chosen: {query}");
            assert_eq!(target["datasource"]["uid"], "${datasource}", "{title}");
        }
    }
    assert!(ids.len() > 50);
}

#[test]
fn every_field_of_a_call_record_is_documented() {
    fn walk(value: &serde_json::Value, keys: &mut BTreeSet<String>) {
        match value {
            serde_json::Value::Object(object) => {
                for (key, value) in object {
                    keys.insert(key.clone());
                    walk(value, keys);
                }
            }
            serde_json::Value::Array(array) => array.iter().for_each(|value| walk(value, keys)),
            _ => {}
        }
    }
    let mut keys = BTreeSet::new();
    walk(&serde_json::from_str(&text("tests/golden/record.json")).unwrap(), &mut keys);
    assert_named("docs/operating.md", &keys, 40);
}

/// Every cause of silence is in the table of `docs/media.md`.
#[test]
fn every_cause_of_silence_is_documented() {
    let verdict = text("src/media/verdict.rs");
    let codes: BTreeSet<String> =
        verdict.lines().filter_map(|line| line.trim().strip_prefix("Cause::")?.split_once("=> \"")?.1.strip_suffix("\",").map(str::to_owned)).collect();
    assert_named("docs/media.md", &codes, 26);
}

/// A heading as the address of a part of its page, the way GitHub makes it: lower case, without what is no letter, digit, `-` or `_`; blanks as `-`.
fn anchor(heading: &str) -> String {
    let kept = heading.trim().chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.flat_map(char::to_lowercase).map(|c| if c == ' ' { '-' } else { c }).collect()
}

fn anchors(page: &str) -> BTreeSet<String> {
    let prose = page.split("\n```").step_by(2);
    let headings = prose.flat_map(str::lines).filter_map(|line| line.strip_prefix('#')).map(|line| anchor(line.trim_start_matches('#')));
    let named = page.split("<a name=\"").skip(1).filter_map(|rest| rest.split('"').next()).map(str::to_owned);
    headings.chain(named).collect()
}

/// Files and headings the documents name must be there.
#[test]
fn links_lead_somewhere() {
    let mut pages =
        vec!["README.md".to_owned(), "ARCHITECTURE.md".to_owned(), "CONTRIBUTING.md".to_owned(), "CHANGELOG.md".to_owned(), "certs/README.md".to_owned()];
    for folder in ["docs", "docs/monitoring", "deploy"] {
        pages.extend(fs::read_dir(at(folder)).unwrap().map(|entry| format!("{folder}/{}", entry.unwrap().file_name().to_string_lossy())));
    }
    let (mut wrong, mut with_anchor) = (Vec::new(), 0);
    for page in pages.iter().filter(|page| page.ends_with(".md")) {
        let content = text(page);
        let folder = at(page).parent().unwrap().to_path_buf();
        for (start, _) in content.match_indices("](") {
            let target: String = content[start + 2..].chars().take_while(|c| !matches!(c, ')' | ' ')).collect();
            if target.is_empty() || target.contains("://") {
                continue;
            }
            let (file, part) = target.split_once('#').map_or((target.as_str(), None), |(file, part)| (file, Some(part)));
            let led = if file.is_empty() { at(page) } else { folder.join(file) };
            if !led.exists() {
                wrong.push(format!("{page} links to {file}, which is not there"));
                continue;
            }
            let Some(part) = part.filter(|_| led.extension().is_some_and(|extension| extension == "md")) else { continue };
            with_anchor += 1;
            if !anchors(&fs::read_to_string(&led).unwrap()).contains(part) {
                wrong.push(format!("{page} links to {target}, and there is no such heading"));
            }
        }
    }
    assert!(with_anchor > 50, "only {with_anchor} links to headings were found");
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// The guide's table of contents has every page of the guide.
#[test]
fn the_guide_lists_its_pages() {
    let contents = text("docs/README.md");
    let pages = fs::read_dir(at("docs")).unwrap().map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned());
    let missing: Vec<String> = pages.filter(|page| page.ends_with(".md") && page != "README.md" && !contents.contains(&format!("]({page})"))).collect();
    assert!(missing.is_empty(), "docs/README.md does not list {missing:?}");
}

/// All Rust sources of a folder, as one text; of one module (`name.rs` and what is in folders called so) where a name is given.
fn sources(folder: &Path, module: Option<&str>) -> String {
    let mut all = String::new();
    for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        let is_module = entry.file_stem().and_then(|stem| stem.to_str()).is_some_and(|stem| module == Some(stem));
        let module = module.filter(|_| !is_module);
        if entry.is_dir() {
            all.push_str(&sources(&entry, module));
        } else if entry.extension().is_some_and(|extension| extension == "rs") && module.is_none() {
            all.push_str(&fs::read_to_string(&entry).unwrap());
        }
    }
    all
}

/// A function, type or file the architecture and the rules name must be there. Others' names (`Instant::now`, `mod tests`) are not written in these forms.
#[test]
fn what_the_pages_name_is_in_the_code() {
    let all = sources(&at("src"), None);
    let mut wrong = BTreeSet::new();
    let mut seen = 0;
    for page in ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md"] {
        let content = text(page);
        for quoted in content.split("```").step_by(2).flat_map(|prose| prose.split('`').skip(1).step_by(2)) {
            let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '/' | '.' | ':' | '-');
            if !quoted.chars().all(plain) {
                continue;
            }
            if let Some((path, last)) = quoted.rsplit_once("::") {
                seen += 1;
                // `module::function` is looked for in that module, `Type::method` anywhere.
                let module = path.rsplit("::").next().filter(|name| name.starts_with(|c: char| c.is_ascii_lowercase()));
                let code = module.map_or_else(|| all.clone(), |module| sources(&at("src"), Some(module)));
                let declared = ["fn", "struct", "enum", "trait", "mod", "const"].iter().any(|kind| code.contains(&format!("{kind} {last}")));
                // A variant stands alone on its line, perhaps with its data.
                let variant = [",", "(", " {"].iter().any(|end| code.contains(&format!("    {last}{end}")));
                if !declared && !variant {
                    wrong.insert(format!("{page}: {quoted}"));
                }
            } else if quoted.contains('/') && (quoted.ends_with(".rs") || quoted.ends_with('/')) || quoted.starts_with("src/") {
                seen += 1;
                if !["", "src", "src/signaling"].iter().any(|folder| at(folder).join(quoted).exists()) {
                    wrong.insert(format!("{page}: {quoted}"));
                }
            }
        }
    }
    assert!(seen > 60, "only {seen} names were found: has the form of the pages changed?");
    assert!(wrong.is_empty(), "not in the code: {wrong:#?}");
}
