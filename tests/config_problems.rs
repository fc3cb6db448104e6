//! What `config` says of broken sets, word for word: each file of `tests/config` holds the set's files and, last, the problems and warnings expected.
//!
//! Files a case does not give are those of a small set that is clean. `BLESS=1` writes what came out into the cases, to be read before it is kept.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use portcullis::config::source::Texts;
use portcullis::config::{FILES, load_from};

const CLEAN: [(&str, &str); 5] = [
    (
        "border.toml",
        r#"version = 1
[[listener]]
name = "outside"
transport = "tls"
address = "192.0.2.1:5061"
certificate = "certs/sbc.pem"
key = "certs/sbc.key"
[media]
inside = "192.0.2.1"
outside = "192.0.2.1"
"#,
    ),
    (
        "peers.toml",
        r#"version = 1
[[peer]]
name = "carrier"
kind = "trunk"
hosts = "carrier.example"
transport = "tls"
ca = "ca.pem"
[[peer]]
name = "um1"
kind = "um-server"
hosts = "um1.example"
transport = "tls"
ca = "ca.pem"
"#,
    ),
    ("um_pools.toml", "version = 1\n[[um_pool]]\nname = \"um\"\nrouters = [\"um1\"]\n"),
    ("dial_plans.toml", "version = 1\n[[dial_plan]]\nname = \"main\"\ndigits = 4\num_pool = \"um\"\n"),
    ("hunt_groups.toml", "version = 1\n[[hunt_group]]\nname = \"main\"\npeer = \"carrier\"\npilot = \"5000\"\ndial_plan = \"main\"\n"),
];

fn clean() -> HashMap<String, String> {
    CLEAN.iter().map(|(file, text)| (file.to_string(), text.to_string())).collect()
}

/// What came out, one line each, problems first.
fn outcome(files: HashMap<String, String>) -> String {
    let variables = HashMap::from([("CARRIER_HOST".to_string(), "carrier.example".to_string())]);
    match load_from(&Texts { files, variables }) {
        Ok((_, warnings)) => warnings.iter().map(|warning| format!("warning: {warning}\n")).collect(),
        Err(problems) => problems.to_string(),
    }
}

fn sections(text: &str) -> Vec<(String, String)> {
    let mut sections: Vec<(String, String)> = Vec::new();
    for line in text.lines() {
        match line.strip_prefix("=== ") {
            Some(name) => sections.push((name.to_string(), String::new())),
            None => {
                let (_, text) = sections.last_mut().expect("a case begins with === FILE");
                text.push_str(line);
                text.push('\n');
            }
        }
    }
    sections
}

fn cases() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config");
    let mut cases: Vec<PathBuf> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.extension().is_some_and(|end| end == "txt")).collect();
    cases.sort();
    cases
}

#[test]
fn problems_are_named_with_place_and_remedy() {
    let mut failures = Vec::new();
    for case in cases() {
        let text = std::fs::read_to_string(&case).unwrap();
        let mut files = clean();
        let mut expected = String::new();
        let mut given = String::new();
        for (name, text) in sections(&text) {
            if name == "expected" {
                expected = text;
            } else {
                given.push_str(&format!("=== {name}\n{text}"));
                files.insert(name, text);
            }
        }
        let found = outcome(files);
        if std::env::var_os("BLESS").is_some() {
            std::fs::write(&case, format!("{given}=== expected\n{found}")).unwrap();
        } else if found != expected {
            failures.push(format!("{}\n--- expected\n{expected}--- found\n{found}", case.display()));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn the_clean_set_is_clean_and_defaults_are_safe() {
    let (settings, warnings) = load_from(&Texts { files: clean(), variables: HashMap::new() }).unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(warnings, []);
    assert_eq!(settings.admin.address, None, "no admin door unless asked for");
    let carrier = settings.policy.peer("carrier").unwrap();
    assert_eq!(carrier.mode, portcullis::policy::settings::SecurityMode::Secured);
    assert!(!carrier.diversion_trusted && !carrier.identity_trusted);
    assert_eq!(carrier.tls_names, ["carrier.example".into()]);
    assert_eq!(carrier.listener.as_deref(), Some("outside"), "the only listener of its transport");
    assert_eq!(settings.policy.dial_plans[0].mode, portcullis::policy::settings::SecurityMode::Secured);
    assert_eq!(settings.signaling.media.ports, (20_000, 29_999));
    assert_eq!(settings.tls.peers.len(), 2);
    assert_eq!(settings.numbered(5).policy.number, 5);
}

/// Cut anywhere, a file yields problems or settings, never a panic.
#[test]
fn every_prefix_of_every_file_is_survived() {
    for (file, text) in CLEAN {
        for end in 0..text.len() {
            let mut files = clean();
            files.insert(file.to_string(), text[..end].to_string());
            let _ = load_from(&Texts { files, variables: HashMap::new() });
        }
    }
}

#[test]
fn every_file_is_read() {
    for file in FILES {
        let mut files = clean();
        files.insert(file.to_string(), "version = 1\nno_such_key = 1\n".to_string());
        assert!(outcome(files).contains(&format!("{file}:2:1: unknown key no_such_key")), "{file}");
    }
}

/// Exchange makes a default hunt group with a gateway that is linked to a dial plan when it is made.
#[test]
fn a_gateway_linked_to_one_plan_gets_a_default_hunt_group() {
    let plan = |name: &str| format!("[[dial_plan]]\nname = \"{name}\"\ndigits = 4\num_pool = \"um\"\ngateways = [\"carrier\"]\n");
    let groups = |plans: &str, written: &str| {
        let mut files = clean();
        files.insert("dial_plans.toml".into(), format!("version = 1\n{plans}"));
        files.insert("hunt_groups.toml".into(), format!("version = 1\n{written}"));
        let (settings, warnings) = load_from(&Texts { files, variables: HashMap::new() }).unwrap_or_else(|problems| panic!("{problems}"));
        let groups: Vec<_> =
            settings.policy.hunt_groups.iter().map(|group| (group.peer.to_string(), group.pilot.clone(), group.plan.name.to_string())).collect();
        (groups, warnings.iter().any(|warning| warning.what.contains("has no hunt group")))
    };
    assert_eq!(groups(&plan("main"), ""), (vec![("carrier".into(), None, "main".into())], false));
    let pilot = "[[hunt_group]]\nname = \"main\"\npeer = \"carrier\"\npilot = \"5000\"\ndial_plan = \"main\"\n";
    let (with_pilot, _) = groups(&plan("main"), pilot);
    assert_eq!(with_pilot, [("carrier".into(), Some("5000".into()), "main".into())], "who has written one has decided");
    let (of_two, warned) = groups(&format!("{}{}", plan("main"), plan("other")), "");
    assert!(of_two.is_empty() && warned, "of two plans nobody knows which");
}
