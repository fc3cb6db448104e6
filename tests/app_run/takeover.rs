//! One process takes over from another, and no call is lost, whatever becomes of either.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use portcullis::simulator::connection::Connection;
use portcullis::sip::{Builder, Method};

use crate::process::{Border, PATIENCE, Set, portcullis, um};

/// With a control socket of its own.
async fn border(um: &portcullis::simulator::um::Um) -> Border {
    Set::new(um, "", "[control]\nsocket = \"control.sock\"").run()
}

fn options_request(border: std::net::SocketAddr, local: std::net::SocketAddr, number: u32) -> bytes::Bytes {
    let mut options = Builder::request(&Method::Options, &format!("sip:{border}"));
    options.header_fmt("Via", format_args!("SIP/2.0/TCP {local};branch=z9hG4bKoptions{number}-{}", local.port()));
    options.header("Max-Forwards", "70").header("From", "<sip:127.0.0.1>;tag=o").header("To", "<sip:border>");
    options.header_fmt("Call-ID", format_args!("options{number}-{}", local.port())).header_fmt("CSeq", format_args!("{number} OPTIONS"));
    options.finish()
}

async fn status(connection: &mut Connection) -> u16 {
    let answer = tokio::time::timeout(PATIENCE, connection.next()).await.expect("no answer").expect("a message").expect("closed");
    answer.status().expect("an answer")
}

/// The status of OPTIONS on a connection that is there already.
async fn options(connection: &mut Connection, border: &Border, number: u32) -> u16 {
    connection.send(options_request(border.address(), connection.local, number)).await.expect("sent");
    status(connection).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_go_on_in_the_old_process_and_new_ones_begin_in_the_new() {
    let um = um().await;
    let mut border = border(&um).await;
    let mut connection = Connection::open(border.address(), None).await.unwrap();
    assert_eq!(options(&mut connection, &border, 1).await, 200);
    let first = border.call("5000").await.unwrap();
    assert!(first.hears(Duration::from_secs(5)).await.is_clear());

    let mut old = border.taken_over();
    let before = first.heard().tone;
    let second = border.call("5000").await.unwrap();
    assert!(second.hears(Duration::from_secs(5)).await.is_clear());
    assert!(first.heard().tone > before, "the call of the old process goes on");
    // On a connection of the old process the new one answers: it takes calls.
    assert_eq!(options(&mut connection, &border, 2).await, 200);
    assert!(border.door("/readyz").unwrap().starts_with("HTTP/1.1 200"), "the new process's door");
    assert!(old.is_running());

    first.hang_up().await.unwrap();
    assert_eq!(old.ended(&border).code(), Some(0), "{}", border.log());
    assert!(second.hears(Duration::from_secs(5)).await.is_clear());
    second.hang_up().await.unwrap();
    border.until("whole again", |border| border.log().contains("taking over is over"));
    border.call("5000").await.unwrap().hang_up().await.unwrap();
    border.until("done with its records", |border| border.records().len() == 3);
    let records = border.records();
    assert!(records.iter().all(|record| record["reason"] == "call.normal"), "{records:#?}");
    let mut numbers: Vec<u64> = records.iter().filter_map(|record| record["call"].as_u64()).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, [1, 2, 3], "no number twice");

    // And once more.
    let old = border.taken_over();
    assert_eq!(old.ended(&border).code(), Some(0), "{}", border.log());
    border.call("5000").await.unwrap().hang_up().await.unwrap();
    assert!(!border.log().contains("panicked"), "{}", border.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_cannot_start_leaves_the_old_one_as_it_was() {
    let um = um().await;
    let mut border = border(&um).await;
    let call = border.call("5000").await.unwrap();
    // The same set, but for a listener where something else listens.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let other = tempfile::tempdir().unwrap();
    for file in fs::read_dir(border.set.path()).unwrap().flatten() {
        if file.path().extension().is_some_and(|extension| extension == "toml") {
            fs::copy(file.path(), other.path().join(file.file_name())).unwrap();
        }
    }
    let text = fs::read_to_string(other.path().join("border.toml")).unwrap();
    let more = format!("[[listener]]\nname = \"more\"\ntransport = \"tcp\"\naddress = \"{}\"\n[media]", taken.local_addr().unwrap());
    let socket = border.set.path().join("control.sock");
    let text = text.replacen("[media]", &more, 1).replace("\"control.sock\"", &format!("{:?}", socket.display().to_string()));
    fs::write(other.path().join("border.toml"), text).unwrap();
    let rival = border.rival(other.path());
    assert_eq!(rival.ended(&border).code(), Some(1), "{}", border.log());
    border.until("told why", |border| border.log().contains("does not take over; this one goes on as before"));
    let log = border.log();
    assert!(log.contains("listener \"more\"") && log.contains("another program"), "{log}");
    border.call("5000").await.unwrap().hang_up().await.unwrap();
    call.hang_up().await.unwrap();
    assert!(socket.exists(), "the control socket is where it was");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_old_process_takes_its_place_again_when_the_new_one_dies() {
    let um = um().await;
    let mut border = border(&um).await;
    let call = border.call("5000").await.unwrap();
    let mut old = border.taken_over();
    // Nobody else is let in meanwhile.
    let third = border.rival(border.set.path());
    assert_eq!(third.ended(&border).code(), Some(1), "{}", border.log());
    assert!(border.log().contains("wait until that has ended its last call"), "{}", border.log());
    assert!(old.is_running());
    border.kill();
    border.is_again(old);
    border.until("in its place again", |border| border.door("/readyz").is_some_and(|answer| answer.starts_with("HTTP/1.1 200")));
    assert!(border.log().contains("takes its place again"), "{}", border.log());
    border.call("5000").await.unwrap().hang_up().await.unwrap();
    assert!(call.hears(Duration::from_secs(5)).await.is_clear());
    call.hang_up().await.unwrap();
    border.record(2);
    // And it can be taken over from again.
    let old = border.taken_over();
    assert_eq!(old.ended(&border).code(), Some(0), "{}", border.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_no_border_runs_it_starts_as_ever() {
    let um = um().await;
    let mut border = border(&um).await;
    border.kill();
    let new = border.rival(border.set.path());
    border.is_again(new);
    border.until("ready", |border| border.door("/readyz").is_some_and(|answer| answer.starts_with("HTTP/1.1 200")));
    assert!(border.log().contains("no border runs there to take over from"), "{}", border.log());
    border.call("5000").await.unwrap().hang_up().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_never_pauses_goes_over_as_it_stands() {
    let um = um().await;
    let mut border = border(&um).await;
    let address = border.address();
    let call = border.call("5000").await.unwrap();
    // One on which there is always a request under way, and one in the middle of a message.
    let mut busy = Connection::open(address, None).await.unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = stop.clone();
    let asking = tokio::spawn(async move {
        busy.send(options_request(address, busy.local, 1)).await.expect("sent");
        let mut number = 1;
        while !stopped.load(Ordering::Relaxed) {
            number += 1;
            busy.send(options_request(address, busy.local, number)).await.expect("sent");
            assert_eq!(status(&mut busy).await, 200, "number {}", number - 1);
        }
        assert_eq!(status(&mut busy).await, 200, "the last");
        number
    });
    let mut halved = Connection::open(address, None).await.unwrap();
    assert_eq!(options(&mut halved, &border, 1).await, 200);
    let old = border.taken_over();
    call.hang_up().await.unwrap();
    let request = options_request(address, halved.local, 2);
    halved.send(request.slice(..40)).await.unwrap();
    assert_eq!(old.ended(&border).code(), Some(0), "{}", border.log());
    halved.send(request.slice(40..)).await.unwrap();
    assert_eq!(status(&mut halved).await, 200, "its other half");
    tokio::time::sleep(Duration::from_millis(200)).await;
    stop.store(true, Ordering::Relaxed);
    let asked = asking.await.unwrap();
    assert!(asked > 100, "{asked} requests, none lost");
    assert!(!border.log().contains("never paused"), "{}", border.log());
    border.call("5000").await.unwrap().hang_up().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_process_that_hangs_is_ended_and_the_old_one_serves_again() {
    let um = um().await;
    let mut border = border(&um).await;
    let call = border.call("5000").await.unwrap();
    let old = border.taken_over();
    border.signal("STOP");
    assert_eq!(border.ended().code(), None, "ended by a signal");
    border.is_again(old);
    border.until("in its place again", |border| border.door("/readyz").is_some_and(|answer| answer.starts_with("HTTP/1.1 200")));
    let log = border.log();
    assert!(log.contains("nothing is heard of it") && log.contains("has been ended"), "{log}");
    border.call("5000").await.unwrap().hang_up().await.unwrap();
    assert!(call.hears(Duration::from_secs(5)).await.is_clear());
    call.hang_up().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_process_that_hung_goes_on_with_its_calls() {
    let um = um().await;
    let mut border = border(&um).await;
    let call = border.call("5000").await.unwrap();
    let old = border.taken_over();
    old.signal("STOP");
    border.until("aware of it", |border| border.log().contains("the old process hangs"));
    border.call("5000").await.unwrap().hang_up().await.unwrap();
    old.signal("CONT");
    border.until("aware that it is back", |border| border.log().contains("the old process is heard of again"));
    call.hang_up().await.unwrap();
    assert_eq!(old.ended(&border).code(), Some(0), "{}", border.log());
    assert!(!border.log().contains("has been ended"), "{}", border.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_border_that_hangs_is_named_with_its_process() {
    let um = um().await;
    let border = border(&um).await;
    border.signal("STOP");
    let rival = border.rival(border.set.path());
    assert_eq!(rival.ended(&border).code(), Some(1), "{}", border.log());
    let log = border.log();
    assert!(log.contains("it hangs") && log.contains(&format!("kill -9 {} ends it", border.process())), "{log}");
    border.signal("CONT");
    border.call("5000").await.unwrap().hang_up().await.unwrap();
}

/// A command to the control socket, which the border has at its place or, with a process's number, had to leave.
fn ask(border: &Border, aside: Option<u32>, arguments: &[&str]) -> serde_json::Value {
    let name = aside.map_or_else(|| "control.sock".to_owned(), |process| format!("control.sock.{process}"));
    let socket = border.set.path().join(name);
    let output = portcullis().args(arguments).arg("--socket").arg(&socket).arg("--json").output().expect("portcullis");
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{arguments:?}: {}", String::from_utf8_lossy(&output.stderr)))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_operators_have_made_of_the_old_process_goes_over() {
    let um = um().await;
    let mut border = Set::new(&um, "", "[control]\nsocket = \"control.sock\"\n[ladder]\ntraces = true").run();
    let digest = |border: &Border| ask(border, None, &["show", "policy"])["set"]["digest"].as_str().map(str::to_owned);
    let first = digest(&border);
    border.set.pilot("5001");
    ask(&border, None, &["reload"]);
    let second = digest(&border);
    assert_ne!(first, second);
    ask(&border, None, &["trace", "start", "--peer", "trunk", "--calls", "3", "--for", "30m"]);
    border.call("5001").await.unwrap().hang_up().await.unwrap();
    let call = border.call("5001").await.unwrap();
    ask(&border, None, &["drain", "--release-after", "2h"]);

    let process = border.process();
    let old = border.taken_over();
    border.until("in possession of all", |border| border.log().contains("the old process was drained"));
    let policy = ask(&border, None, &["show", "policy"]);
    assert_eq!((policy["set"]["digest"].as_str(), policy["set"]["how"].as_str()), (second.as_deref(), Some("reloaded")), "{policy:#}");
    assert_eq!(policy["earlier"][0]["digest"].as_str(), first.as_deref(), "{policy:#}");
    let audit = ask(&border, None, &["show", "audit"]).to_string();
    assert!(["/v1/reload", "/v1/trace", "/v1/drain", "/v1/take-over"].iter().all(|path| audit.contains(path)), "{audit}");
    let trace = ask(&border, None, &["trace", "status"]);
    assert_eq!((&trace["trace"]["peer"], &trace["trace"]["calls"]), (&"trunk".into(), &1.into()), "two of the three have begun: {trace:#}");
    let status = ask(&border, None, &["show", "status"]);
    assert!(status["drain"].is_null(), "it takes calls: {status:#}");
    let left = ask(&border, Some(process), &["show", "status"]);
    assert!(left["drain"]["release_in_seconds"].as_u64().is_some_and(|left| left > 7000), "what the drain said still holds for its calls: {left:#}");
    let gathered = |border: &Border| ask(border, Some(process), &["trace", "status"])["calls"].as_array().map(Vec::len);
    assert_eq!(gathered(&border), Some(2));
    ask(&border, None, &["trace", "stop"]);
    border.until("without keys in either", |border| gathered(border) == Some(0));

    ask(&border, None, &["request", "rollback", "policy"]);
    assert_eq!(digest(&border), first);
    border.call("5000").await.unwrap().hang_up().await.unwrap();
    call.hang_up().await.unwrap();
    assert_eq!(old.ended(&border).code(), Some(0), "{}", border.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drained_process_that_takes_its_place_again_is_still_drained() {
    let um = um().await;
    let mut border = border(&um).await;
    let call = border.call("5000").await.unwrap();
    ask(&border, None, &["drain", "--release-after", "3h"]);
    let old = border.taken_over();
    border.kill();
    border.is_again(old);
    border.until("in its place again", |border| border.log().contains("takes its place again"));
    border.until("asked at its place", |border| border.set.path().join("control.sock").exists());
    let status = ask(&border, None, &["show", "status"]);
    assert!(status["drain"]["release_in_seconds"].as_u64().is_some_and(|left| left > 10_000), "{status:#}");
    assert!(border.call("5000").await.is_err(), "new calls are refused as before");
    call.hang_up().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_asks_the_new_process_sees_the_calls_of_both() {
    let um = um().await;
    let mut border = border(&um).await;
    let first = border.call("5000").await.unwrap();
    let gone = border.call("5000").await.unwrap();
    let process = border.process();
    let old = border.taken_over();
    let second = border.call("5000").await.unwrap();
    let numbers = |page: &serde_json::Value, key: &str| page[key].as_array().expect("a list").iter().filter_map(|row| row["call"].as_u64()).collect::<Vec<_>>();
    let calls = ask(&border, None, &["show", "calls"]);
    assert_eq!((numbers(&calls, "calls"), &calls["up"], &calls["before"]["answers"]), (vec![1, 2, 3], &3.into(), &true.into()), "{calls:#}");
    assert_eq!((&calls["calls"][0]["process"], &calls["calls"][2]["process"]), (&process.into(), &serde_json::Value::Null), "{calls:#}");
    assert_eq!(numbers(&ask(&border, None, &["show", "media"]), "calls"), [1, 2, 3]);
    let media = ask(&border, None, &["show", "media", "1"]);
    assert!(media["calls"][0]["stream"]["a_to_b"]["counted"]["received"].as_u64() > Some(0), "{media:#}");
    assert_eq!(ask(&border, None, &["ladder", "1"])["messages"].as_array().map(Vec::is_empty), Some(false));
    border.until("told of how many there are", |border| ask(border, None, &["show", "status"])["before"]["calls"] == 2);
    assert_eq!((border.metric("portcullis_calls"), border.metric("portcullis_calls_before")), (Some(1.0), Some(2.0)));
    let text = portcullis().args(["show", "calls", "--socket"]).arg(border.set.path().join("control.sock")).output().unwrap();
    let text = String::from_utf8_lossy(&text.stdout).into_owned();
    assert!(text.contains("PROCESS") && text.contains(&format!("process {process}, from which this one has taken over, keeps its calls")), "{text}");

    ask(&border, None, &["end", "2"]);
    assert!(gone.hung_up(PATIENCE).await.unwrap());
    border.until("rid of one", |border| border.records().len() == 1);
    let ended = ask(&border, None, &["ladder", "2"]);
    assert!(ended["messages"].as_array().is_some_and(|messages| messages.len() > 5), "of a call that has ended there: {ended:#}");

    // One that hangs is not waited for long, and is named.
    old.signal("STOP");
    let calls = ask(&border, None, &["show", "calls"]);
    assert_eq!((numbers(&calls, "calls"), &calls["before"]["answers"]), (vec![3], &false.into()), "{calls:#}");
    let refused = ask(&border, None, &["ladder", "1"]);
    assert!(refused["detail"].as_str().is_some_and(|detail| detail.contains(&format!("process {process}, which this one has taken over from"))), "{refused:#}");
    old.signal("CONT");
    first.hang_up().await.unwrap();
    assert_eq!(old.ended(&border).code(), Some(0), "{}", border.log());
    let calls = ask(&border, None, &["show", "calls"]);
    assert_eq!((numbers(&calls, "calls"), &calls["before"]), (vec![3], &serde_json::Value::Null), "{calls:#}");
    let kept = ask(&border, None, &["ladder", "2"]);
    assert_eq!(kept["messages"].as_array().map(Vec::len), ended["messages"].as_array().map(Vec::len), "it is held here now: {kept:#}");
    second.hang_up().await.unwrap();
}
