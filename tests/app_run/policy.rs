//! Changing policy by what calls have shown: recorded calls are asked about under another set before it is in force.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
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
    let capture = folder.path().join("capture");
    std::fs::write(&capture, [0xd4, 0xc3, 0xb2, 0xa1]).expect("a file");
    let at = |path: &Path| path.to_str().expect("a path").to_owned();
    let quickstart = concat!(env!("CARGO_MANIFEST_DIR"), "/policies/quickstart");
    let (status, said) = run(&[&at(&nothing), "--from", &at(&text)]);
    assert!(status == Some(2) && said.contains("has problems"), "{said}");
    let (status, said) = run(&[quickstart, "--from", &at(&nothing)]);
    assert!(status == Some(2) && said.contains("--from"), "{said}");
    let (status, said) = run(&[quickstart, "--from", &at(&capture)]);
    assert!(status == Some(2) && said.contains("--against"), "a capture does not say what was decided: {said}");
    let (status, said) = run(&[quickstart, "--from", &at(&text), "--against", quickstart]);
    assert!(status == Some(2) && said.contains("nor a capture of packets"), "{said}");
    let (status, said) = run(&[quickstart, "--from", &at(&text), "--since", "yesterday", "--against", quickstart]);
    assert!(status == Some(2) && said.contains("--since yesterday"), "{said}");
}

const KEPT: &str = "store = \"records.sqlite\"\n[control]\nsocket = \"control.sock\"\n[policy_sets]\nkept_in = \"kept\"";

fn ask(border: &Border, arguments: &[&str]) -> (Option<i32>, String) {
    let socket = border.set.path().join("control.sock");
    let output = portcullis().args(arguments).arg("--socket").arg(socket).stdin(std::process::Stdio::null()).output().expect("portcullis");
    (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr))
}

fn shown(border: &Border) -> Value {
    let (status, said) = ask(border, &["show", "policy", "--json"]);
    assert_eq!(status, Some(0), "{said}");
    serde_json::from_str(&said).expect("JSON")
}

fn hunt_groups(border: &Border) -> String {
    std::fs::read_to_string(border.set.path().join("hunt_groups.toml")).expect("a file")
}

async fn carries(border: &Border, pilot: &str) -> bool {
    match border.call(pilot).await {
        Ok(call) => call.hang_up().await.is_ok(),
        Err(_) => false,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_set_is_looked_at_activated_and_gone_back_from() {
    let um = um().await;
    let mut border = Set::new(&um, "", KEPT).run();
    with_two_calls(&mut border).await;
    let first = shown(&border);
    assert_eq!(
        (&first["number"], &first["set"]["how"], &first["parts"]["hunt_groups"], &first["earlier"]),
        (&1.into(), &"started".into(), &1.into(), &Value::Array(vec![]))
    );
    let moved = pilot(&border, "5999");
    let at = moved.path().to_str().expect("a path");

    let (status, said) = ask(&border, &["set", "policy", at]);
    assert_eq!(status, Some(1), "{said}");
    for part in [
        "~ hunt group \"voicemail\": pilot: \"5000\" -> \"5999\"",
        "compared  2 calls with what the set in force decides",
        "2 would change",
        "not activated: nobody can be asked here",
    ] {
        assert!(said.contains(part), "{part} is missing:\n{said}");
    }
    assert!(hunt_groups(&border).contains("5000") && carries(&border, "5000").await, "nothing was changed");

    let (status, said) = ask(&border, &["set", "policy", at, "--yes"]);
    assert!(status == Some(0) && said.contains("the policy set is in force"), "{said}");
    assert!(hunt_groups(&border).contains("5999") && carries(&border, "5999").await && !carries(&border, "5000").await);
    let second = shown(&border);
    assert_eq!(
        (&second["number"], &second["set"]["how"], &second["earlier"][0]["digest"], &second["folder_differs"]),
        (&2.into(), &"activated".into(), &first["set"]["digest"], &false.into())
    );

    let (status, said) = ask(&border, &["request", "rollback", "policy"]);
    assert!(status == Some(0) && said.contains("earlier policy set is in force"), "{said}");
    assert!(hunt_groups(&border).contains("5000") && carries(&border, "5000").await);
    let back = shown(&border);
    assert_eq!((&back["set"]["digest"], &back["set"]["how"]), (&first["set"]["digest"], &"rolled_back".into()));

    border.kill_and_run_again();
    assert_eq!(shown(&border)["earlier"][0]["digest"], second["set"]["digest"], "it was kept over the restart");
    let digest = second["set"]["digest"].as_str().expect("a digest");
    assert_eq!(ask(&border, &["request", "rollback", "policy", "--to", &digest[..12], "--until-restart"]).0, Some(0));
    assert!(hunt_groups(&border).contains("5000") && carries(&border, "5999").await, "the folder stays as it was");
    let (_, page) = ask(&border, &["show", "policy"]);
    assert!(page.contains("until the next start only") && page.contains(&digest[..12]), "{page}");
    let (_, audit) = ask(&border, &["show", "audit"]);
    assert!(audit.contains("POST /v1/policy/rollback"), "{audit}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_set_is_not_activated_by_any_way() {
    let um = um().await;
    let mut border = Set::new(&um, "", KEPT).run();
    border.until("to be asked", |border| border.set.path().join("control.sock").exists());
    let bad = other(&border, |file, text| if file == "dial_plans.toml" { text.replace("\"um\"", "\"nowhere\"") } else { text });
    let at = bad.path().to_str().expect("a path");
    let (status, said) = ask(&border, &["set", "policy", at, "--yes"]);
    assert!(status == Some(1) && said.contains("dial_plans.toml:") && said.contains("nothing was changed"), "{said}");
    assert_eq!(ask(&border, &["set", "policy", "/nowhere", "--yes"]).0, Some(2));
    assert_eq!(ask(&border, &["request", "rollback", "policy"]).0, Some(1), "there is none before it");
    assert_eq!(ask(&border, &["request", "rollback", "policy", "--to", "0123456789ab"]).0, Some(1));
    // By hand, and not by the command that looks first.
    let body = serde_json::json!({ "folder": at });
    let socket = border.set.path().join("control.sock");
    let answer = portcullis::adapters::api::ask(&socket, "POST", "/v1/policy/activate", Some(&body)).await.expect("an answer");
    assert_eq!(answer.status, 409, "{}", answer.body);
    for body in [
        serde_json::json!({}),
        serde_json::json!({ "folder": "relative" }),
        serde_json::json!({ "files": { "../x": "" } }),
        serde_json::json!({ "files": {}, "folder": at }),
        serde_json::json!({ "strange": 1 }),
    ] {
        let answer = portcullis::adapters::api::ask(&socket, "POST", "/v1/policy/validate", Some(&body)).await.expect("an answer");
        assert_eq!(answer.status, 400, "{body}: {}", answer.body);
    }
    assert_eq!(shown(&border)["number"], 1);
    // What was written by hand and never reloaded is not written over.
    let moved = pilot(&border, "5999");
    border.set.pilot("5111");
    let (status, said) = ask(&border, &["set", "policy", moved.path().to_str().expect("a path"), "--yes"]);
    assert!(status == Some(1) && said.contains("not in force"), "{said}");
    assert!(hunt_groups(&border).contains("5111"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_running_border_says_what_would_become_of_a_call() {
    let um = um().await;
    let mut border = Set::new(&um, "", KEPT).run();
    border.until("to be asked", |border| border.set.path().join("control.sock").exists());
    let socket = border.set.path().join("control.sock");
    let ask = async |question: Value| portcullis::adapters::api::ask(&socket, "POST", "/v1/explain", Some(&question)).await.expect("an answer");
    let let_in = ask(serde_json::json!({ "peer": "trunk", "caller": "2001", "called": "5000" })).await.body;
    assert_eq!(
        (&let_in["outcome"]["verdict"], &let_in["outcome"]["dial_plan"], &let_in["outcome"]["targets"][0]),
        (&"admitted".into(), &"um".into(), &"router".into()),
        "{let_in:#}"
    );
    let refused = ask(serde_json::json!({ "from": "127.0.0.1", "called": "5999" })).await.body;
    assert_eq!((&refused["outcome"]["reason"], &refused["outcome"]["status"]), (&"hunt_group.none".into(), &404.into()), "{refused:#}");
    let stranger = ask(serde_json::json!({ "from": "203.0.113.7:5060", "message": "INVITE sip:5000@x SIP/2.0\nVia: SIP/2.0/TCP x\n\n" })).await.body;
    assert_eq!((&stranger["outcome"]["reason"], &stranger["outcome"]["status"]), (&"peer.stranger_address".into(), &Value::Null), "{stranger:#}");
    for question in [
        serde_json::json!({}),
        serde_json::json!({ "peer": "nobody", "called": "1" }),
        serde_json::json!({ "from": "x" }),
        serde_json::json!({ "peer": "trunk", "called": "1 2" }),
        serde_json::json!({ "peer": "trunk", "transport": "smoke" }),
    ] {
        assert_eq!(ask(question.clone()).await.status, 400, "{question}");
    }
}

/// Status, Retry-After and body of a dry run, by a connection of its own.
fn dry_run(socket: &Path, folder: &Path) -> (u16, Option<String>, String) {
    let mut stream = asked_to_try(socket, folder);
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    let again = answer.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("retry-after: ").map(String::from));
    (status, again, answer)
}

fn asked_to_try(socket: &Path, folder: &Path) -> UnixStream {
    let body = serde_json::json!({ "folder": folder }).to_string();
    let mut stream = UnixStream::connect(socket).expect("the socket");
    let head = "POST /v1/policy/dry-run HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nConnection: close\r\n";
    write!(stream, "{head}Content-Length: {}\r\n\r\n{body}", body.len()).expect("sent");
    stream
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_set_is_tried_at_a_time_and_only_while_somebody_waits() {
    let um = um().await;
    let mut border = Set::new(&um, "", TABLES).run();
    with_two_calls(&mut border).await;
    let socket = border.set.path().join("control.sock");
    // A name server that says nothing keeps a trial busy for some seconds.
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let servers = format!("\n[dns]\nservers = [\"{}\"]\nhosts_file = false\n", silent.local_addr().expect("an address"));
    let slow = other(&border, |file, text| match file {
        "border.toml" => text + &servers,
        "peers.toml" => text.replacen("hosts = \"127.0.0.1\"", "hosts = \"nobody.knows.test\"", 1),
        _ => text,
    });
    let same = other(&border, |_, text| text);
    let waiting = asked_to_try(&socket, slow.path());
    border.until("busy with a trial", |_| {
        let mut packet = [0; 512];
        silent.set_read_timeout(Some(std::time::Duration::from_millis(50))).expect("a limit");
        silent.recv(&mut packet).is_ok()
    });
    let (status, again, answer) = dry_run(&socket, same.path());
    assert_eq!((status, again.as_deref()), (503, Some("10")), "{answer}");
    assert!(answer.contains("another policy set is being tried"), "{answer}");
    drop(waiting);
    border.until("free again", |_| dry_run(&socket, same.path()).0 == 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_of_a_set_live_where_the_running_border_knows_them() {
    let um = um().await;
    let set = Set::new(&um, "", TABLES);
    let peers = std::fs::read_to_string(set.path().join("peers.toml")).expect("a text");
    let beside = "[[peer]]\nname = \"beside\"\nkind = \"trunk\"\nhosts = \"localhost\"\naddresses = \"any\"\ntransport = \"tcp\"\nmode = \"unsecured\"\n";
    set.write("peers.toml", &(peers.replacen("mode = \"unsecured\"", "mode = \"unsecured\"\nprefer = true", 1) + "\n" + beside));
    let mut border = set.run();
    with_two_calls(&mut border).await;
    // By name now, which only whoever asks DNS, or the border, can place.
    let by_name = other(&border, |file, text| match file {
        "peers.toml" => text.replacen("hosts = \"127.0.0.1\"", "hosts = \"localhost\"\naddresses = \"any\"", 1),
        _ => text,
    });
    let (status, said) = replay(&border, by_name.path(), &[]);
    assert!(status == Some(1) && said.contains("stand-in address"), "{said}");
    let socket = border.set.path().join("control.sock");
    let (status, said) = replay(&border, by_name.path(), &["--live", socket.to_str().expect("a path")]);
    assert!(status == Some(0) && !said.contains("stand-in address"), "{said}");
    let (status, said) = replay(&border, by_name.path(), &["--live", "/nowhere.sock"]);
    assert!(status == Some(2) && said.contains("--live /nowhere.sock"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn setting_a_policy_is_told_as_one_document() {
    let um = um().await;
    let mut border = Set::new(&um, "", KEPT).run();
    with_two_calls(&mut border).await;
    let moved = pilot(&border, "5999");
    let at = moved.path().to_str().expect("a path");
    let (status, said) = ask(&border, &["set", "policy", at, "--json"]);
    let told: Value = serde_json::from_str(&said).expect("one document");
    assert_eq!(
        (status, &told["activated"], &told["validated"]["valid"], &told["dry_run"]["changing"]),
        (Some(1), &false.into(), &true.into(), &2.into()),
        "{said}"
    );
    assert!(hunt_groups(&border).contains("5000"), "nothing was changed");
    let (status, said) = ask(&border, &["set", "policy", at, "--json", "--yes"]);
    let told: Value = serde_json::from_str(&said).expect("one document");
    assert_eq!((status, &told["activated"]), (Some(0), &true.into()), "{said}");
    assert!(told["difference"]["changes"].as_array().is_some_and(|changes| changes.len() == 1) && carries(&border, "5999").await, "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_set_waits_for_the_trial_of_another_before_it_is_activated() {
    let um = um().await;
    let mut border = Set::new(&um, "", KEPT).run();
    with_two_calls(&mut border).await;
    let socket = border.set.path().join("control.sock");
    // A name server that says nothing keeps a trial busy for some seconds.
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let servers = format!("\n[dns]\nservers = [\"{}\"]\nhosts_file = false\n", silent.local_addr().expect("an address"));
    let slow = other(&border, |file, text| match file {
        "border.toml" => text + &servers,
        "peers.toml" => text.replacen("hosts = \"127.0.0.1\"", "hosts = \"nobody.knows.test\"", 1),
        _ => text,
    });
    let waiting = asked_to_try(&socket, slow.path());
    border.until("busy with a trial", |_| {
        let mut packet = [0; 512];
        silent.set_read_timeout(Some(std::time::Duration::from_millis(50))).expect("a limit");
        silent.recv(&mut packet).is_ok()
    });
    let moved = pilot(&border, "5999");
    let (status, said) = ask(&border, &["set", "policy", moved.path().to_str().expect("a path"), "--yes"]);
    assert!(status == Some(0) && said.contains("compared  2 calls") && said.contains("the policy set is in force"), "{said}");
    drop(waiting);
    let back = pilot(&border, "5000");
    let (status, said) = ask(&border, &["set", "policy", back.path().to_str().expect("a path"), "--yes", "--untried"]);
    assert!(status == Some(0) && !said.contains("compared") && said.contains("the policy set is in force"), "{said}");
}
