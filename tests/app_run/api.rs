//! The API of a running border: over its Unix socket by the commands, over the network with a token, and as it describes itself.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;

use serde_json::Value;

use crate::ports::free_port;
use crate::process::{Border, PATIENCE, Set, portcullis, um};

const CONTROL: &str = "[control]\nsocket = \"control.sock\"";

fn ask(border: &Border, arguments: &[&str]) -> (Option<i32>, String) {
    let socket: PathBuf = border.set.path().join("control.sock");
    let output = portcullis().args(arguments).arg("--socket").arg(socket).output().expect("portcullis");
    (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr))
}

/// Status and answer, as a program asks.
fn over_socket(border: &Border, path: &str) -> (u16, Value) {
    let socket = border.set.path().join("control.sock");
    let asked = std::thread::scope(|scope| {
        let ask = move || {
            tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime")
                .block_on(portcullis::adapters::api::ask(&socket, "GET", path, None))
        };
        scope.spawn(ask).join().expect("asked").expect("an answer")
    });
    (asked.status, asked.body)
}

fn json(border: &Border, arguments: &[&str]) -> Value {
    let (status, shown) = ask(border, &[arguments, &["--json"]].concat());
    assert_eq!(status, Some(0), "{shown}");
    serde_json::from_str(&shown).expect("JSON")
}

/// What `portcullis token` prints: the token, apart, and the lines for border.toml.
fn token(name: &str, role: &str) -> (String, String) {
    let output = portcullis().args(["token", name, "--role", role]).output().expect("portcullis");
    let aside = String::from_utf8(output.stderr).expect("text");
    let token = aside.lines().next().and_then(|line| line.rsplit(' ').next()).expect("a token").to_owned();
    (token, String::from_utf8(output.stdout).expect("text"))
}

/// Status and body.
fn over_network(port: u16, method: &str, path: &str, token: Option<&str>, body: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("the door");
    let authorization = token.map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: x\r\n{authorization}Content-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    (status, answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_are_shown_laddered_and_ended_one_by_one() {
    let um = um().await;
    let mut border = Set::new(&um, "", CONTROL).run();
    assert!(ask(&border, &["show", "calls"]).1.contains("no call is up"));
    let first = border.call("5000").await.unwrap();
    let second = border.call("5000").await.unwrap();
    let shown = json(&border, &["show", "calls"]);
    assert_eq!(shown["up"], 2);
    let call = shown["calls"][0]["call"].as_u64().expect("a number").to_string();
    assert_eq!(
        (shown["calls"][0]["state"].as_str(), shown["calls"][0]["a"]["peer"].as_str(), shown["calls"][0]["b"]["peer"].as_str()),
        (Some("up"), Some("trunk"), Some("worker"))
    );
    assert_eq!(json(&border, &["show", "calls", "--peer", "trunk", "--number", "5000"])["calls"].as_array().map(Vec::len), Some(2));
    assert_eq!(json(&border, &["show", "calls", "--peer", "nobody"])["calls"].as_array().map(Vec::len), Some(0));
    let (status, ladder) = ask(&border, &["ladder", &call]);
    assert!(status == Some(0) && ladder.contains("INVITE") && ladder.contains("302") && ladder.contains("portcullis"), "{ladder}");
    assert_eq!(ask(&border, &["ladder", "4711"]).0, Some(1));
    let held = over_socket(&border, "/v1/ladders?number=5000&peer=worker").1;
    assert!(held["calls"] == 2 && held["ladders"][1]["call"] == shown["calls"][0]["call"] && held["ladders"][1]["state"] == "answered", "{held}");
    let drawing = over_socket(&border, &format!("/v1/calls/{call}/ladder?format=json")).1;
    assert_eq!(drawing["columns"][drawing["border"].as_u64().expect("ours") as usize], "portcullis");
    assert!(drawing["messages"][0]["text"].as_str().is_some_and(|text| text.starts_with("INVITE ")), "{drawing}");
    assert_eq!(over_socket(&border, &format!("/v1/calls/{call}/ladder?format=png")).0, 400);
    let file = border.set.path().join("call.pcapng");
    let (status, said) = ask(&border, &["ladder", &call, "--pcapng", file.to_str().expect("a path")]);
    let capture = std::fs::read(&file).unwrap_or_default();
    assert!(status == Some(0) && said.contains("bytes written to") && capture.starts_with(&[0x0a, 0x0d, 0x0d, 0x0a]), "{said}");
    let holds = |wanted: &str| capture.windows(wanted.len()).any(|window| window == wanted.as_bytes());
    assert!(holds("INVITE sip:5000@") && holds("SIP/2.0 302 ") && holds("* hunt_group: "), "messages and decisions");
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&file).expect("the file").permissions());
    assert_eq!(mode & 0o077, 0, "who called whom is for the owner of the file");
    let (status, said) = ask(&border, &["ladder", "4711", "--pcapng", file.to_str().expect("a path")]);
    assert!(status == Some(1) && said.contains("call 4711 is not held"), "{said}");
    assert_eq!(ask(&border, &["ladder", "--follow"]).0, Some(2), "no terminal");

    let leaving = tokio::spawn(first.hung_up(PATIENCE));
    let (status, said) = ask(&border, &["end", &call]);
    assert!(status == Some(0) && said.contains("is being ended"), "{said}");
    border.until("the call has ended", |border| border.records().len() == 1);
    assert_eq!(border.record(1)["reason"], "call.operator");
    assert_eq!(json(&border, &["show", "calls"])["up"], 1);
    assert_eq!(ask(&border, &["end", &call]).0, Some(1), "it is up no more");
    assert!(leaving.await.unwrap().unwrap(), "the caller got its BYE");
    second.hang_up().await.unwrap();
    let audit = json(&border, &["show", "audit"]);
    let told: Vec<_> = audit["entries"].as_array().expect("entries").iter().map(|entry| (entry["request"].clone(), entry["status"].clone())).collect();
    let line = format!("DELETE /v1/calls/{call}");
    assert_eq!(told, [(Value::from(line.clone()), Value::from(404)), (Value::from(line), Value::from(202))]);
}

/// Nothing of a call's keys can be had unless configuration allows it, an operator asked for it before, and the account says so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_are_had_of_traced_calls_alone_and_the_audit_tells() {
    let um = um().await;
    let border = Set::new(&um, "", CONTROL).run();
    let (status, said) = ask(&border, &["trace", "start"]);
    assert!(status == Some(1) && said.contains("traces = true under [ladder]"), "{said}");
    drop(border);

    let border = Set::new(&um, "", &format!("{CONTROL}\n[ladder]\ntraces = true")).run();
    let before = border.call("5000").await.unwrap();
    let (status, said) = ask(&border, &["trace", "start", "--peer", "worker", "--calls", "1", "--for", "5m"]);
    assert!(status == Some(0) && said.contains("of worker until"), "{said}");
    let traced = border.call("5000").await.unwrap();
    let beyond = border.call("5000").await.unwrap();
    let trace = json(&border, &["trace", "status"]);
    let calls: Vec<u64> = json(&border, &["show", "calls"])["calls"].as_array().expect("calls").iter().filter_map(|call| call["call"].as_u64()).collect();
    assert_eq!(trace["calls"], Value::from(vec![calls[1]]), "the one after the order, and no more than one: {calls:?}");
    let file = border.set.path().join("keys.pcapng");
    let keys = |call: u64| ask(&border, &["ladder", &call.to_string(), "--keys", "--pcapng", file.to_str().expect("a path")]);
    assert_eq!(keys(calls[1]).0, Some(0));
    for call in [calls[0], calls[2]] {
        let (status, said) = keys(call);
        assert!(status == Some(1) && said.contains("was not traced"), "{said}");
    }
    assert_eq!(ask(&border, &["trace", "stop"]).0, Some(0));
    assert_eq!(keys(calls[1]).0, Some(1), "wiped");
    assert_eq!(over_socket(&border, &format!("/v1/calls/{}/keys", calls[1])).0, 405, "none by looking");
    let audit = json(&border, &["show", "audit"]);
    let told: Vec<_> = audit["entries"].as_array().expect("entries").iter().map(|entry| entry["request"].as_str().expect("a request").to_owned()).collect();
    let taken = format!("POST /v1/calls/{}/keys", calls[1]);
    assert_eq!(told.iter().filter(|request| **request == taken).count(), 2, "{told:?}");
    assert!(told.contains(&"POST /v1/trace".to_owned()) && told.contains(&"DELETE /v1/trace".to_owned()), "{told:?}");
    for call in [before, traced, beyond] {
        call.hang_up().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_is_told_and_taken_back() {
    let um = um().await;
    let mut border = Set::new(&um, "", CONTROL).run();
    let up = border.call("5000").await.unwrap();
    let (status, said) = ask(&border, &["drain", "--release-after", "10m"]);
    assert!(status == Some(0) && said.contains("1 are up, which are ended in 10m"), "{said}");
    border.until("it is not ready", |border| border.door("/readyz").is_some_and(|answer| answer.contains("503")));
    let drain = json(&border, &["show", "status"])["drain"].clone();
    assert!(drain["calls"] == 1 && drain["release_in_seconds"].as_u64().is_some_and(|seconds| (500..=600).contains(&seconds)), "{drain}");
    assert!(border.call("5000").await.is_err(), "no new calls");
    assert_eq!(ask(&border, &["resume"]).0, Some(0));
    border.until("it is ready", |border| border.door("/readyz").is_some_and(|answer| answer.contains("200")));
    assert!(ask(&border, &["show", "status"]).1.contains("takes calls      yes"));
    border.call("5000").await.unwrap().hang_up().await.unwrap();
    up.hang_up().await.unwrap();
    assert_eq!(ask(&border, &["drain", "--release-after", "soon"]).0, Some(2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_that_waits_tells_how_far_it_is_and_ends_with_the_last_call() {
    let um = um().await;
    let border = Set::new(&um, "", CONTROL).run();
    let up = border.call("5000").await.unwrap();
    let mut waiting = portcullis();
    waiting.args(["drain", "--wait", "--socket"]).arg(border.set.path().join("control.sock")).stdout(std::process::Stdio::piped());
    let waiting = waiting.spawn().unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(1500)).await;
    up.hang_up().await.unwrap();
    let output = tokio::task::spawn_blocking(move || waiting.wait_with_output()).await.unwrap().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(text.contains("1 of 1 calls left, the longest for ") && text.contains("no call is left, after "), "{text}");
    assert!(!text.contains('\u{1b}'), "no terminal, no colours: {text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_the_network_a_token_says_who_may_do_what() {
    let um = um().await;
    let port = free_port();
    let ((look, lines), (operate, more)) = (token("grafana", "read"), token("alice", "operate"));
    let border = Set::new(&um, "", &format!("{CONTROL}\n[api]\nlisten = \"127.0.0.1:{port}\"\n{lines}\n{more}")).run();
    assert_eq!(over_network(port, "GET", "/v1/status", None, "").0, 401);
    assert_eq!(over_network(port, "GET", "/v1/status", Some("guess"), "").0, 401);
    let (status, body) = over_network(port, "GET", "/v1/status", Some(&look), "");
    assert!(status == 200 && body.contains("\"name\":\"test\""), "{body}");
    let ban = "{\"source\":\"203.0.113.9\",\"seconds\":60,\"reason\":\"scans\"}";
    assert_eq!(over_network(port, "POST", "/v1/bans", Some(&look), ban).0, 403);
    let (status, body) = over_network(port, "POST", "/v1/bans", Some(&operate), ban);
    assert!(status == 200 && body.contains("operator alice"), "{body}");
    let (status, body) = over_network(port, "POST", "/v1/bans", Some(&operate), "{\"source\":1}");
    assert!(status == 400 && body.contains("\"detail\""), "{body}");
    for (path, said) in [("/v1/calls/nine", "Cannot parse"), ("/v1/calls?limit=0", "from 1 to 10000"), ("/v1/calls?colour=red", "unknown field")] {
        let (status, body) = over_network(port, "GET", path, Some(&operate), "");
        assert!(status == 400 && body.contains("\"detail\"") && body.contains(said), "{path}: {body}");
    }
    assert_eq!(over_network(port, "PATCH", "/v1/bans", Some(&operate), "").0, 405);
    assert_eq!(over_network(port, "GET", "/v1/nonsense", Some(&operate), "").0, 404);
    let entries = json(&border, &["show", "audit"]);
    let entries = entries["entries"].as_array().expect("entries");
    let who: Vec<_> = entries.iter().map(|entry| (entry["operator"].as_str().unwrap(), entry["status"].as_u64().unwrap())).collect();
    assert_eq!(who, [("alice", 405), ("alice", 400), ("alice", 200), ("grafana", 403)]);
    let log = border.log();
    assert!(!log.contains(&look) && !log.contains(&operate) && !log.contains("guess"), "no token in the log");
}

/// What is required is there, and nothing is there that is not described.
fn fits(document: &Value, schema: &Value, value: &Value, place: &str) {
    let schema = match schema["$ref"].as_str() {
        Some(name) => document.pointer(&name[1..]).unwrap_or_else(|| panic!("{name} is not described")),
        None => schema,
    };
    if let (Some(known), Some(object)) = (schema["properties"].as_object(), value.as_object()) {
        for required in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            assert!(object.contains_key(required), "{place} has no {required}: {value}");
        }
        for (key, inner) in object {
            let described = known.get(key).unwrap_or_else(|| panic!("{place}: {key} is not described"));
            fits(document, described, inner, &format!("{place}.{key}"));
        }
    }
    for inner in value.as_array().into_iter().flatten() {
        fits(document, &schema["items"], inner, place);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_api_describes_itself_and_keeps_to_it() {
    let um = um().await;
    let port = free_port();
    let (look, lines) = token("reader", "read");
    let _border = Set::new(&um, "", &format!("{CONTROL}\n[api]\nlisten = \"127.0.0.1:{port}\"\n{lines}")).run();
    let (status, body) = over_network(port, "GET", "/v1/openapi.json", Some(&look), "");
    assert_eq!(status, 200);
    let document: Value = serde_json::from_str(&body).expect("JSON");
    let paths = document["paths"].as_object().expect("paths");
    assert!(paths.len() >= 15, "{:?}", paths.keys().collect::<Vec<_>>());
    for (path, item) in paths {
        // Events go on for ever.
        if item["get"].is_null() || path.contains('{') || path == "/v1/events" {
            continue;
        }
        let (status, body) = over_network(port, "GET", path, Some(&look), "");
        let known = status == 200 || (status == 404 && ["/v1/missed-calls", "/v1/records", "/v1/records-store"].contains(&path.as_str()));
        assert!(known, "{path}: {status} {body}");
        assert!(item["get"]["responses"]["default"].is_object(), "{path} says how it refuses");
        if status == 200 {
            let schema = &item["get"]["responses"]["200"]["content"]["application/json"]["schema"];
            fits(&document, schema, &serde_json::from_str(&body).expect("JSON"), path);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_that_are_over_are_found_in_the_store() {
    let um = um().await;
    let set = Set::new(&um, "", CONTROL);
    let border = std::fs::read_to_string(set.path().join("border.toml")).unwrap();
    set.write("border.toml", &border.replace("file = \"records.jsonl\"", "file = \"records.jsonl\"\nstore = \"records.sqlite\"\nladders = \"failed\""));
    let mut border = set.run();
    border.call("5000").await.unwrap().hang_up().await.unwrap();
    assert!(border.call("4711").await.is_err(), "no hunt group has it");
    border.until("both are in the store", |border| json(border, &["show", "records"])["records"].as_array().map(Vec::len) == Some(2));
    let refused = json(&border, &["show", "records", "--of", "4711"]);
    assert_eq!(refused["records"].as_array().map(Vec::len), Some(1));
    assert_eq!(refused["records"][0]["record"]["reason"], "hunt_group.none");
    assert_eq!(json(&border, &["show", "records", "--of", "*711"])["records"], refused["records"]);
    assert_eq!(json(&border, &["show", "records", "--peer", "worker"])["records"][0]["record"]["reason"], "call.normal");
    let number = refused["records"][0]["number"].to_string();
    let one = json(&border, &["show", "records", &number]);
    assert!(one["ladder"].as_str().is_some_and(|ladder| ladder.contains("404") && ladder.contains("hunt_group")), "{one}");
    let drawing = over_socket(&border, &format!("/v1/records/{number}/ladder?format=json")).1;
    assert!(drawing["rows"].as_array().is_some_and(|rows| rows.iter().any(|row| row["refused"] == "hunt_group.none")), "{drawing}");
    assert_eq!(over_socket(&border, &format!("/v1/records/{number}/ladder")).1, one["ladder"]);
    let (status, page) = ask(&border, &["show", "records", "--limit", "1"]);
    assert!(status == Some(0) && page.contains("hunt_group.none") && page.contains("there are more"), "{page}");
    assert_eq!(ask(&border, &["show", "records", "4711"]).0, Some(1));
    let (status, said) = ask(&border, &["show", "records", "--from", "yesterday"]);
    assert!(status == Some(2) && said.contains("2026-11-22T13:00:00Z"), "{said}");
    assert_eq!(border.metric("portcullis_records_stored_total{result=\"written\"}"), Some(2.0));
    // The records of a process that is killed are there for the next.
    border.kill_and_run_again();
    assert_eq!(json(&border, &["show", "records"])["records"].as_array().map(Vec::len), Some(2));
    // Whose calls have numbers of their own, so that a number means one call.
    let (status, kept) = ask(&border, &["ladder", &number]);
    assert!(status == Some(0) && kept.contains("hunt_group.none"), "{kept}");
    border.call("5000").await.unwrap().hang_up().await.unwrap();
    border.until("the third is in the store", |border| json(border, &["show", "records"])["records"].as_array().map(Vec::len) == Some(3));
    let newest = json(&border, &["show", "records", "--limit", "1"])["records"][0].clone();
    assert_eq!((&newest["number"], &newest["record"]["call"]), (&3.into(), &3.into()));
    let (status, drawn) = ask(&border, &["ladder", "3"]);
    assert!(status == Some(0) && drawn.contains("call.normal"), "{drawn}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_gets_no_more_calls_than_it_may_and_is_shown() {
    let um = um().await;
    let set = Set::new(&um, "", CONTROL);
    let peers = std::fs::read_to_string(set.path().join("peers.toml")).unwrap();
    set.write(
        "peers.toml",
        &peers
            .replace("name = \"worker\"\n", "name = \"worker\"\ncalls_to = 1\nrate_to = 8\n")
            .replace("name = \"router\"\n", "name = \"router\"\ncalls_to = 9\n"),
    );
    let border = set.run();
    let call = border.call("5000").await.unwrap();
    assert!(border.call("5000").await.is_err(), "the worker has one already");
    let shown = json(&border, &["show", "limits"]);
    let worker = shown["targets"].as_array().and_then(|targets| targets.iter().find(|target| target["name"] == "worker")).cloned().unwrap_or_default();
    assert_eq!((&worker["calls"], &worker["limits"]["calls"]), (&1.into(), &1.into()), "{shown:#}");
    let (_, page) = ask(&border, &["show", "limits"]);
    assert!(page.contains("calls to"), "{page}");
    let asked = serde_json::json!({ "peer": "trunk", "caller": "2001", "called": "5000" });
    let socket = border.set.path().join("control.sock");
    let explained = portcullis::adapters::api::ask(&socket, "POST", "/v1/explain", Some(&asked)).await.expect("an answer").body;
    let limit = &explained["outcome"]["target_limits"][0];
    assert_eq!((&limit["target"], &limit["calls"], &limit["under_way"]), (&"router".into(), &9.into(), &0.into()), "{explained:#}");
    assert_eq!(border.metric("portcullis_limited_calls{of=\"target\",name=\"worker\"}"), Some(1.0));
    assert_eq!(border.metric("portcullis_limited_calls_most{of=\"target\",name=\"worker\"}"), Some(1.0));
    assert_eq!(border.metric("portcullis_limited_rate_most{of=\"target\",name=\"worker\"}"), Some(8.0));
    assert_eq!(border.metric("portcullis_targets_total{peer=\"worker\"}"), Some(1.0), "the call that found it full was not sent there");
    assert_eq!(border.metric("portcullis_api_connections_closed_total{door=\"socket\"}"), Some(0.0));
    call.hang_up().await.unwrap();
    border.call("5000").await.unwrap().hang_up().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_comes_whole_and_hears_of_changes() {
    let um = um().await;
    let port = free_port();
    let (look, lines) = token("reader", "read");
    let border = Set::new(&um, "", &format!("{CONTROL}\n[api]\nlisten = \"127.0.0.1:{port}\"\n{lines}")).run();
    let (status, page) = over_network(port, "GET", "/", None, "");
    assert!(status == 200 && page.contains("/page.js"), "{page}");
    for part in ["/page.js", "/page.css", "/ladder.js", "/ladder.css", "/live.js", "/icon.svg"] {
        let (status, content) = over_network(port, "GET", part, None, "");
        assert!(status == 200 && !content.is_empty(), "{part}");
    }
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("the door");
    stream.set_read_timeout(Some(PATIENCE)).expect("a limit");
    stream.write_all(format!("GET /v1/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {look}\r\n\r\n").as_bytes()).expect("sent");
    let mut heard = String::new();
    let mut more = |until: &str| {
        while !heard.contains(until) {
            let mut buffer = [0; 4096];
            let length = stream.read(&mut buffer).expect("it goes on");
            assert!(length > 0, "closed after {heard}");
            heard.push_str(&String::from_utf8_lossy(&buffer[..length]));
        }
    };
    more("text/event-stream");
    assert_eq!(ask(&border, &["ban", "203.0.113.9"]).0, Some(0));
    more("event: bans");
    border.call("5000").await.unwrap().hang_up().await.unwrap();
    more("event: calls");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_take_over_nobody_changes_the_old_process_by_mistake() {
    let um = um().await;
    let port = free_port();
    let (operator, lines) = token("operator", "operate");
    let mut border = Set::new(&um, "", &format!("{CONTROL}\n[api]\nlisten = \"127.0.0.1:{port}\"\n{lines}")).run();
    let call = border.call("5000").await.unwrap();
    // A page that stays open.
    let mut kept = TcpStream::connect(("127.0.0.1", port)).expect("the door");
    kept.set_read_timeout(Some(PATIENCE)).expect("a limit");
    kept.write_all(format!("GET /v1/status HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {operator}\r\n\r\n").as_bytes()).expect("sent");
    let mut heard = [0; 8192];
    let length = kept.read(&mut heard).expect("an answer");
    assert!(heard[..length].starts_with(b"HTTP/1.1 200"));

    let old = border.taken_over();
    assert_eq!(kept.read(&mut heard).expect("it is closed"), 0, "a connection of the old process ends with its place");
    let status = json(&border, &["show", "status"]);
    let aside = status["before"]["socket"].as_str().expect("where the old process is").to_owned();
    assert_eq!(status["calls"], 0);
    assert!(ask(&border, &["show", "status"]).1.contains(&aside));
    let of_old = |arguments: &[&str]| {
        let output = portcullis().args(arguments).args(["--socket", &aside]).output().expect("portcullis");
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr))
    };
    assert!(of_old(&["show", "calls"]).1.contains("5000"), "its calls are asked for there");
    for arguments in [&["resume"][..], &["ban", "203.0.113.9"], &["rotate"], &["reload"]] {
        let (status, said) = of_old(arguments);
        assert!(status == Some(1) && said.contains("another process has taken over"), "{arguments:?}: {said}");
    }
    assert_eq!(over_network(port, "GET", "/v1/status", Some(&operator), "").0, 200, "the new process's door");
    assert!(!of_old(&["end", "77"]).1.contains("another process"), "but its calls can be ended there");
    call.hang_up().await.unwrap();
    assert_eq!(old.ended(&border).code(), Some(0), "{}", border.log());
    border.until("alone", |border| json(border, &["show", "status"])["before"].is_null());
}
