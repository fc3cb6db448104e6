//! Changing policy by what calls have shown: recorded calls are asked about under another set before it is in force.

use std::path::Path;

use serde_json::Value;

use crate::process::{Border, Set, portcullis, um};

const TABLES: &str = "store = \"records.sqlite\"\n[control]\nsocket = \"control.sock\"";

/// Another set, which differs from the border's in this.
fn other(border: &Border, change: impl Fn(&str, String) -> String) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for entry in std::fs::read_dir(border.set.path()).expect("the set").flatten() {
        let name = entry.file_name().into_string().expect("a name");
        if name.ends_with(".toml") {
            let text = std::fs::read_to_string(entry.path()).expect("a text");
            std::fs::write(folder.path().join(&name), change(&name, text)).expect("a file");
        }
    }
    folder
}

fn pilot(border: &Border, pilot: &str) -> tempfile::TempDir {
    other(border, |file, text| if file == "hunt_groups.toml" { text.replace("5000", pilot) } else { text })
}

/// Exit status and output.
fn replay(border: &Border, set: &Path, more: &[&str]) -> (Option<i32>, String) {
    let store = border.set.path().join("records.sqlite");
    let output = portcullis().arg("replay").arg(set).arg("--from").arg(store).args(more).output().expect("portcullis");
    (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
}

fn json(border: &Border, set: &Path, more: &[&str]) -> Value {
    serde_json::from_str(&replay(border, set, &[more, &["--json"]].concat()).1).expect("JSON")
}

/// One call that was let in and one that was refused, both filed.
async fn with_two_calls(border: &mut Border) {
    border.call("5000").await.unwrap().hang_up().await.unwrap();
    assert!(border.call("5999").await.is_err(), "no pilot");
    border.until("done with its records", |border| border.records().len() == 2);
    border.until("done with its store", |border| json(border, border.set.path(), &[])["compared"] == 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn recorded_calls_are_asked_about_under_another_set() {
    let um = um().await;
    let mut border = Set::new(&um, "", TABLES).run();
    with_two_calls(&mut border).await;
    let (status, said) = replay(&border, border.set.path(), &[]);
    assert!(status == Some(0) && said.contains("the verdict of none would change"), "{said}");

    let moved = pilot(&border, "5999");
    let (status, said) = replay(&border, moved.path(), &[]);
    assert_eq!(status, Some(1), "{said}");
    for part in
        ["2 would change: 1 let in before, refused now; 1 refused before, let in now", "refused, 404, hunt_group.none", "2001 -> 5000", "by plan \"um\""]
    {
        assert!(said.contains(part), "{part} is missing:\n{said}");
    }
    let told = json(&border, moved.path(), &[]);
    assert_eq!((&told["kinds"]["refused"], &told["kinds"]["admitted"], &told["changing"]), (&1.into(), &1.into(), &2.into()));
    let refused = told["changes"].as_array().expect("changes").iter().find(|call| call["change"] == "refused").expect("the call that was let in");
    let why = refused["why"].as_array().expect("reasons").iter().find(|why| why["stage"] == "hunt_group").expect("its stage");
    assert!(why["before"][0].as_str().is_some_and(|line| line.contains("voicemail")), "{why}");
    assert!(why["after"][0].as_str().is_some_and(|line| line.contains("hunt_group.none")), "{why}");

    let against = border.set.path().to_str().expect("a path");
    assert_eq!(json(&border, moved.path(), &["--against", against])["changing"], 2);
    assert_eq!(json(&border, moved.path(), &["--last", "1"])["compared"], 1);
    assert_eq!(json(&border, moved.path(), &["--since", "2100-01-01T00:00:00Z"])["compared"], 0);
    assert_eq!(json(&border, moved.path(), &["--since", "1h"])["compared"], 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn numbers_carried_otherwise_are_told_where_both_sets_are_asked() {
    let um = um().await;
    let mut border = Set::new(&um, "", TABLES).run();
    with_two_calls(&mut border).await;
    let other_way =
        other(
            &border,
            |file, text| if file == "peers.toml" { text.replace("name = \"worker\"", "name = \"laborer\"") } else { text.replace("\"worker\"", "\"laborer\"") },
        );
    assert_eq!(json(&border, other_way.path(), &[])["changing"], 0, "a server behind the routers is nobody's first target");
    let disabled =
        other(&border, |file, text| if file == "peers.toml" { text.replace("name = \"router\"", "name = \"router\"\nstatus = \"disabled\"") } else { text });
    let told = json(&border, disabled.path(), &[]);
    assert!(told["changing"].as_u64() >= Some(1), "{told}");
}

#[test]
fn what_cannot_be_used_is_said_with_the_status_for_it() {
    let run = |arguments: &[&str]| {
        let output = portcullis().arg("replay").args(arguments).output().expect("portcullis");
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let folder = tempfile::tempdir().expect("a folder");
    let nothing = folder.path().join("nothing");
    let text = folder.path().join("text");
    std::fs::write(&text, "neither a store nor a capture, but long enough").expect("a file");
    let at = |path: &Path| path.to_str().expect("a path").to_owned();
    let quickstart = concat!(env!("CARGO_MANIFEST_DIR"), "/policies/quickstart");
    let (status, said) = run(&[&at(&nothing), "--from", &at(&text)]);
    assert!(status == Some(2) && said.contains("has problems"), "{said}");
    let (status, said) = run(&[quickstart, "--from", &at(&nothing)]);
    assert!(status == Some(2) && said.contains("--from"), "{said}");
    let (status, said) = run(&[quickstart, "--from", &at(&text)]);
    assert!(status == Some(2) && said.contains("--against"), "a capture does not say what was decided: {said}");
    let (status, said) = run(&[quickstart, "--from", &at(&text), "--against", quickstart]);
    assert!(status == Some(2) && said.contains("is no capture"), "{said}");
    let (status, said) = run(&[quickstart, "--from", &at(&text), "--since", "yesterday", "--against", quickstart]);
    assert!(status == Some(2) && said.contains("--since yesterday"), "{said}");
}
