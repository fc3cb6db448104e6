//! `portcullis import exchange`: what becomes of JSON as Exchange's management shell writes it, word for word (`tests/import/*.json` beside what comes
//! out, `*.txt`; `BLESS=1` writes those anew), that every set made loads, and that files are never written over unasked.

use std::fs;
use std::path::{Path, PathBuf};

use portcullis::app::import::{Arguments, Command, DONE, REMARKS, UNUSABLE, import};
use portcullis::config;
use proptest::prelude::*;
use serde_json::{Value, json};
use tempfile::TempDir;

fn at(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

struct Imported {
    status: u8,
    told: String,
    to: PathBuf,
    _folder: TempDir,
}

fn imported(files: &[&[u8]]) -> Imported {
    let folder = tempfile::tempdir().unwrap();
    let mut paths = Vec::new();
    for (index, bytes) in files.iter().enumerate() {
        paths.push(folder.path().join(format!("{index}.json")));
        fs::write(&paths[index], bytes).unwrap();
    }
    let to = folder.path().join("set");
    let mut out = Vec::new();
    let arguments = Arguments { files: paths, to: to.clone(), force: false, json: false };
    let status = import(&Command::Exchange(arguments), &mut out).unwrap();
    let told = String::from_utf8(out).unwrap().replace(&folder.path().display().to_string(), "DIR");
    Imported { status, told, to, _folder: folder }
}

fn written(folder: &Path) -> String {
    config::FILES
        .iter()
        .filter_map(|file| Some((file, fs::read_to_string(folder.join(file)).ok()?)))
        .map(|(file, text)| format!("=== {file}\n{text}"))
        .collect()
}

#[test]
fn what_becomes_of_exchanges_objects_is_as_written() {
    let mut cases: Vec<PathBuf> = fs::read_dir(at("tests/import")).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.retain(|path| path.extension().is_some_and(|end| end == "json"));
    cases.sort();
    assert!(cases.len() >= 2);
    for case in cases {
        let done = imported(&[&fs::read(&case).unwrap()]);
        let (_, warnings) = config::load(&done.to).unwrap_or_else(|problems| panic!("{}: it does not load:\n{problems}\n{}", case.display(), done.told));
        let warnings: String = warnings.iter().map(|warning| format!("{warning}\n")).collect();
        let found = format!("=== told\n{}=== warnings\n{warnings}{}", done.told, written(&done.to));
        let golden = case.with_extension("txt");
        if std::env::var_os("BLESS").is_some() {
            fs::write(&golden, &found).unwrap();
        }
        assert_eq!(fs::read_to_string(&golden).unwrap(), found, "{}", golden.display());
    }
}

/// One file for each kind, as `Get-UMDialPlan | ConvertTo-Json > plan.json` leaves them: UTF-16, a single object instead of a list.
#[test]
fn single_objects_in_files_of_utf16_are_taken() {
    let wide = |value: Value| -> Vec<u8> { [0xFF, 0xFE].into_iter().chain(format!("{value:#}\r\n").encode_utf16().flat_map(u16::to_le_bytes)).collect() };
    let plan = wide(json!({ "Name": "B\u{fc}ro", "URIType": "TelExtn", "NumberOfDigitsInExtension": 4, "VoIPSecurity": "SIPSecured" }));
    let gateway = wide(json!({ "Name": "gw", "Address": "gw.example.com", "Port": 5061, "OutcallsAllowed": true }));
    let group = wide(json!({ "Name": "Default Hunt Group", "UMDialPlan": "B\u{fc}ro", "UMIPGateway": "gw", "PilotIdentifier": null }));
    let server = wide(json!({ "Name": "mbx1.example.com", "UMStartupMode": "Dual" }));
    let done = imported(&[&plan, &gateway, &group, &server]);
    assert!(done.status == 1 && done.told.contains("1 remarks"), "Diversion alone is told of: {}", done.told);
    let (settings, _) = config::load(&done.to).unwrap();
    let set = &settings.policy;
    assert_eq!((set.dial_plans.len(), set.hunt_groups.len(), &*set.dial_plans[0].name), (1, 1, "B\u{fc}ro"));
    assert_eq!(set.dial_plans[0].mode, portcullis::policy::settings::SecurityMode::SipSecured);
    assert_eq!((&*set.peers[0].name, set.peers[0].mode), ("gw", portcullis::policy::settings::SecurityMode::SipSecured));
}

#[test]
fn nothing_is_written_over_unasked() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("um.json");
    fs::copy(at("tests/import/two_plans.json"), &file).unwrap();
    let run = |force: bool| {
        let mut out = Vec::new();
        let arguments = Arguments { files: vec![file.clone()], to: folder.path().join("set"), force, json: false };
        (import(&Command::Exchange(arguments), &mut out).unwrap(), String::from_utf8(out).unwrap())
    };
    assert_eq!(run(false).0, 1);
    fs::write(folder.path().join("set/peers.toml"), "mine").unwrap();
    let (status, told) = run(false);
    assert!(status == 2 && told.contains("--force") && told.contains("nothing was written"), "{told}");
    assert_eq!(fs::read_to_string(folder.path().join("set/peers.toml")).unwrap(), "mine");
    assert_eq!(run(true).0, 1);
    assert_ne!(fs::read_to_string(folder.path().join("set/peers.toml")).unwrap(), "mine");
}

#[test]
fn what_cannot_be_used_is_told_and_nothing_is_written() {
    for (bytes, said) in [(&b"Name : HeadOffice"[..], "ConvertTo-Json"), (b"[]", "Get-UMDialPlan"), (b"{\"Name\":\"x\"", "not JSON"), (b"[\xE4]", "UTF-8")] {
        let done = imported(&[bytes]);
        assert!(done.status == 2 && done.told.contains(said), "{}", done.told);
        assert!(!done.to.exists());
    }
}

/// A nest of lists as deep as a file can make it is an error, not the end of the program.
#[test]
fn a_deep_nest_is_refused() {
    assert_eq!(imported(&["[".repeat(100_000).as_bytes()]).status, 2);
}

fn texts() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(json!("a")),
        Just(json!("A")),
        Just(json!("10.0.0.1")),
        Just(json!("gw.example.com")),
        Just(json!("+14255550100")),
        Just(json!("mbx1")),
        Just(Value::Null),
        "\\PC{0,80}".prop_map(Value::from),
        any::<u16>().prop_map(Value::from),
        Just(json!({ "Name": "a" })),
        Just(json!(["1", "2"])),
        Just(json!("Secured")),
        Just(json!("E164")),
        Just(json!("mbx1-tcp")),
    ]
}

fn object(keys: &'static [&'static str]) -> impl Strategy<Value = Value> {
    proptest::collection::vec(texts(), keys.len()).prop_map(move |values| Value::Object(keys.iter().map(|key| (*key).into()).zip(values).collect()))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever the objects say, what is written loads: names, numbers and addresses of another system cannot break the set.
    #[test]
    fn whatever_is_imported_loads(
        plans in proptest::collection::vec(object(&["Name", "URIType", "VoIPSecurity", "NumberOfDigitsInExtension", "AccessTelephoneNumbers"]), 1..4),
        gateways in proptest::collection::vec(object(&["Name", "Address", "Port", "Status", "OutcallsAllowed", "IPAddressFamily", "Simulator"]), 0..4),
        groups in proptest::collection::vec(object(&["Name", "UMDialPlan", "UMIPGateway", "PilotIdentifier"]), 0..6),
        servers in proptest::collection::vec(object(&["Name", "UMStartupMode", "SipTlsListeningPort"]), 0..3),
    ) {
        let all = json!({ "p": plans, "g": gateways, "h": groups, "s": servers }).to_string();
        let done = imported(&[all.as_bytes()]);
        let loaded = if done.status == 2 { Ok(()) } else { config::load(&done.to).map(|_| ()) };
        prop_assert!(loaded.is_ok(), "{all}\n{}\n{}\n{}", loaded.unwrap_err(), done.told, written(&done.to));
    }
}

#[test]
fn a_script_is_told_in_json() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("um.json");
    let told = |text: &str| {
        fs::write(&file, text).unwrap();
        let arguments = Arguments { files: vec![file.clone()], to: folder.path().join("set"), force: true, json: true };
        let mut out = Vec::new();
        let status = import(&Command::Exchange(arguments), &mut out).unwrap();
        (status, serde_json::from_slice::<Value>(&out).unwrap())
    };
    let (status, done) = told(&fs::read_to_string(at("tests/import/two_plans.json")).unwrap());
    assert!(status <= REMARKS && done["written"].as_array().is_some_and(|written| !written.is_empty()), "{done}");
    assert_eq!(done["remarks"].as_array().is_some_and(Vec::is_empty), status == DONE);
    let (status, done) = told("no JSON");
    assert!(status == UNUSABLE && done["trouble"].is_string(), "{done}");
}
