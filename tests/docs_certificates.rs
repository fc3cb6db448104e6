//! The operator's guide to certificates says what the program does: the codes of findings, the options of commands, and examples that others can read.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

fn guide() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/certificates.md")).unwrap()
}

/// The contents of fenced blocks of one language.
fn blocks(language: &str) -> Vec<String> {
    let guide = guide();
    let opening = format!("```{language}\n");
    let blocks = guide.split(&opening).skip(1).map(|rest| rest[..rest.find("\n```").unwrap() + 1].to_owned());
    blocks.collect()
}

fn is_code(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

#[test]
fn every_code_of_a_finding_is_listed_and_no_other() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/app/certs");
    let mut made = BTreeSet::new();
    for entry in fs::read_dir(folder).unwrap() {
        let source = fs::read_to_string(entry.unwrap().path()).unwrap();
        for opening in ["Finding::problem(", "Finding::warning("] {
            for rest in source.split(opening).skip(1) {
                let code = rest.trim_start().strip_prefix('"').and_then(|rest| rest.split('"').next());
                made.extend(code.filter(|code| is_code(code)).map(str::to_owned));
            }
        }
    }
    let guide = guide();
    let table = guide.split("| code | means |").nth(1).unwrap();
    let cells = table.lines().filter_map(|line| line.strip_prefix("| ")).filter_map(|line| line.split(" | ").next());
    let listed: BTreeSet<String> = cells.flat_map(|cell| cell.split('`').filter(|code| is_code(code)).map(str::to_owned).collect::<Vec<_>>()).collect();
    assert!(made.len() > 30, "{made:?}");
    assert_eq!(made, listed);
}

/// `portcullis certs COMMAND` with the options it is given, wherever it stands in the guide.
fn invocations() -> Vec<(String, Vec<String>)> {
    let words =
        |text: &str| text.split(|c: char| c.is_whitespace() || "`\",[]…;".contains(c)).filter(|word| !word.is_empty()).map(str::to_owned).collect::<Vec<_>>();
    let mut found = Vec::new();
    for line in guide().lines() {
        let all = words(line);
        for (at, pair) in all.windows(2).enumerate() {
            if pair[0] == "certs" && is_code(&pair[1]) {
                let rest = all[at + 2..].iter().take_while(|word| !["&&", "|", "certs"].contains(&word.as_str()));
                found.push((pair[1].clone(), rest.filter(|word| word.starts_with("--")).cloned().collect()));
            }
        }
    }
    found
}

#[test]
fn commands_and_options_are_those_of_the_program() {
    let mut seen = BTreeSet::new();
    for (command, options) in invocations() {
        let output = Command::new(env!("CARGO_BIN_EXE_portcullis")).args(["certs", &command, "--help"]).output().unwrap();
        if !output.status.success() {
            continue; // "certs folder" and the like are prose
        }
        let help = String::from_utf8(output.stdout).unwrap();
        for option in options {
            assert!(help.contains(&option), "certs {command} has no {option}");
        }
        seen.insert(command);
    }
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), ["activate", "crl", "csr", "init", "inspect", "issue", "rollback", "stage", "status"]);
}

fn is_there(program: &str) -> bool {
    Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success())
}

#[test]
fn units_are_systemds() {
    let units = blocks("ini");
    assert_eq!(units.len(), 4);
    let folder = tempfile::tempdir().unwrap();
    let mut paths = Vec::new();
    for unit in units {
        let name = unit.lines().next().unwrap().strip_prefix("# /etc/systemd/system/").unwrap().to_owned();
        assert!(unit.contains("[Unit]\nDescription=") && unit.contains("\n["), "{name}");
        let path = folder.path().join(name);
        // The program stands elsewhere here.
        fs::write(&path, unit.replace("/usr/bin/portcullis", env!("CARGO_BIN_EXE_portcullis"))).unwrap();
        paths.push(path);
    }
    if !is_there("systemd-analyze") {
        println!("systemd-analyze is not here: only names and sections were checked");
        return;
    }
    let output = Command::new("systemd-analyze").args(["verify", "--man=no"]).args(&paths).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    let ours: Vec<&str> = said.lines().filter(|line| line.contains("portcullis")).collect();
    assert!(output.status.success() && ours.is_empty(), "{said}");
}

#[test]
fn yaml_is_yaml_and_of_the_kinds_meant() {
    let documents = blocks("yaml");
    assert_eq!(documents.len(), 3);
    for (document, kind) in documents.iter().zip(["Pod", "CronJob", "CronJob"]) {
        assert!(document.contains(&format!("\nkind: {kind}\n")) && !document.contains('\t'), "{document}");
    }
    let reader = "import sys, yaml; [print(yaml.safe_load(open(path))['kind']) for path in sys.argv[1:]]";
    if !Command::new("python3").args(["-c", "import yaml"]).output().is_ok_and(|output| output.status.success()) {
        println!("PyYAML is not here: only kinds were checked");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let write = |(index, document): (usize, &String)| {
        let path = folder.path().join(format!("{index}.yaml"));
        fs::write(&path, document).unwrap();
        path
    };
    let paths: Vec<_> = documents.iter().enumerate().map(write).collect();
    let output = Command::new("python3").args(["-c", reader]).args(&paths).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "Pod\nCronJob\nCronJob\n", "{}", String::from_utf8_lossy(&output.stderr));
}
