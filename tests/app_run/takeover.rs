//! One process takes over from another, and no call is lost, whatever becomes of either.

use std::fs;
use std::time::Duration;

use portcullis::simulator::connection::Connection;
use portcullis::sip::{Builder, Method};

use crate::process::{Border, PATIENCE, Set, um};

/// With a control socket of its own.
async fn border(um: &portcullis::simulator::um::Um) -> Border {
    Set::new(um, "", "[control]\nsocket = \"control.sock\"").run()
}

/// The status of OPTIONS on a connection that is there already.
async fn options(connection: &mut Connection, border: &Border, number: u32) -> u16 {
    let mut options = Builder::request(&Method::Options, &format!("sip:{}", border.address()));
    options.header_fmt("Via", format_args!("SIP/2.0/TCP {};branch=z9hG4bKoptions{number}", connection.local));
    options.header("Max-Forwards", "70").header("From", "<sip:127.0.0.1>;tag=o").header("To", "<sip:border>");
    options.header_fmt("Call-ID", format_args!("options{number}")).header_fmt("CSeq", format_args!("{number} OPTIONS"));
    connection.send(options.finish()).await.expect("sent");
    let answer = tokio::time::timeout(PATIENCE, connection.next()).await.expect("no answer").expect("a message").expect("closed");
    answer.status().expect("an answer")
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
