//! Missed calls while one process takes over from another: each is told once, whichever of the two it was missed by and wherever the store was then.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use portcullis::simulator::trunk::{self, Failure};

use crate::process::{Border, CALLER, GREETING, PATIENCE, Set, portcullis, um};

/// Takes notices one after the other; says each id as it comes, and answers when it is told to.
struct Receiving {
    port: u16,
    came: Receiver<String>,
    answer: Sender<&'static str>,
}

fn receiver() -> Receiving {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a socket");
    let port = listener.local_addr().expect("an address").port();
    let (seen, came) = channel();
    let (answer, answers) = channel::<&'static str>();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            stream.set_read_timeout(Some(PATIENCE)).expect("a limit");
            let mut reader = BufReader::new(&stream);
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") && reader.read_line(&mut head).expect("a head") > 0 {}
            let length = head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok()).unwrap_or(0);
            let mut body = vec![0; length];
            reader.read_exact(&mut body).expect("a body");
            let body: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
            if seen.send(body["id"].as_str().expect("an id").to_owned()).is_err() {
                return;
            }
            let Ok(status) = answers.recv() else { return };
            let _ = (&stream).write_all(format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").as_bytes());
        }
    });
    Receiving { port, came, answer }
}

impl Receiving {
    fn next(&self) -> String {
        self.came.recv_timeout(PATIENCE).expect("a missed call is told")
    }

    fn take(&self) {
        self.answer.send("200 OK").expect("it listens");
    }
}

/// A border whose UM takes connections and says nothing on them.
async fn border(receiving: &Receiving) -> (Border, TcpListener) {
    let um = um().await;
    let mute = TcpListener::bind((Ipv4Addr::new(127, 0, 0, 3), 0)).expect("a socket");
    let set = Set::new(&um, "", "[control]\nsocket = \"control.sock\"");
    let peers = std::fs::read_to_string(set.path().join("peers.toml")).expect("peers");
    let (before, after) = (um.router.port(), mute.local_addr().expect("an address").port());
    let peers = peers.replace(&format!("port = {before}\n"), &format!("port = {after}\n"));
    set.write("peers.toml", &peers.replace("name = \"trunk\"\n", "name = \"trunk\"\ndiversion = true\n"));
    let target = format!("target = {{ url = \"http://127.0.0.1:{}/missed\" }}", receiving.port);
    set.write("branch.toml", &format!("version = 1\n[missed_calls]\nstore = \"missed.redb\"\n{target}\n"));
    (set.run(), mute)
}

/// A caller who was diverted from a mailbox, hears nothing, and gives up.
fn missed(border: &Border, after: Duration) -> tokio::task::JoinHandle<()> {
    let settings = trunk::Settings {
        border: border.address(),
        border_name: String::new(),
        identity: None,
        media: Ipv4Addr::LOCALHOST.into(),
        caller: "2001".into(),
        called: "5000".into(),
        diversion: Some("<sip:1000@192.0.2.1>;reason=no-answer".into()),
        says: CALLER,
        listens: GREETING,
        manners: trunk::Manners { no_answer: after, ..trunk::Manners::default() },
    };
    tokio::spawn(async move {
        let outcome = tokio::time::timeout(PATIENCE, trunk::call(settings)).await.expect("it ends");
        assert!(matches!(outcome, Err(Failure::Silent)), "{:?}", outcome.err());
    })
}

const SOON: Duration = Duration::from_millis(300);

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn each_is_told_once_while_the_store_goes_from_process_to_process() {
    let receiving = receiver();
    let (mut border, _mute) = border(&receiving).await;
    missed(&border, SOON).await.unwrap();
    // It is being delivered all through the take-over.
    let mut told: VecDeque<String> = [receiving.next()].into();
    let of_the_old = missed(&border, Duration::from_secs(4));
    tokio::time::sleep(SOON).await;
    let old = border.taken_over();
    missed(&border, SOON).await.unwrap();
    assert!(!border.log().contains("the store is the other process's"), "not before the receiver has answered");
    receiving.take();
    // The new process's own, which waited in memory.
    told.push_back(receiving.next());
    receiving.take();
    of_the_old.await.unwrap();
    told.push_back(receiving.next());
    receiving.take();
    assert_eq!(old.ended(&border).code(), Some(0), "{}", border.log());
    border.until("done with all three", |border| border.metric("portcullis_notices_total{outcome=\"delivered\"}") == Some(3.0));
    assert_eq!(border.metric("portcullis_notices{state=\"queued\"}"), Some(0.0));
    told.make_contiguous().sort_unstable();
    assert!(told.iter().zip(told.iter().skip(1)).all(|(one, next)| one != next), "each once: {told:?}");
    assert!(receiving.came.try_recv().is_err(), "and nothing more");
    missed(&border, SOON).await.unwrap();
    assert!(!told.contains(&receiving.next()));
    receiving.take();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_the_new_process_did_not_write_is_told_by_the_old_one_that_outlives_it() {
    let receiving = receiver();
    let (mut border, _mute) = border(&receiving).await;
    let of_the_old = missed(&border, Duration::from_secs(8));
    tokio::time::sleep(SOON).await;
    let old = border.taken_over();
    border.until("with its store", |border| border.log().contains("the store is this process's from here on"));
    // It hangs, so that it cannot write what it is handed, and is killed.
    border.signal("STOP");
    of_the_old.await.unwrap();
    tokio::time::sleep(SOON).await;
    border.kill();
    border.is_again(old);
    receiving.next();
    receiving.take();
    missed(&border, SOON).await.unwrap();
    receiving.next();
    receiving.take();
    border.until("done with both", |border| border.metric("portcullis_notices_total{outcome=\"delivered\"}") == Some(2.0));
    assert!(receiving.came.try_recv().is_err(), "each once");
}

/// The lock that telling of them takes is the one that the next missed call takes, in the core.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_asks_for_missed_calls_is_told_and_stops_nothing() {
    let receiving = receiver();
    let (border, _mute) = border(&receiving).await;
    let socket = border.set.path().join("control.sock");
    let shown = || {
        let output = portcullis().args(["show", "missed-calls", "--json", "--socket"]).arg(&socket).output().expect("portcullis");
        serde_json::from_slice::<serde_json::Value>(&output.stdout).expect("an answer")
    };
    assert_eq!(shown()["store"], "here");
    missed(&border, Duration::from_millis(300)).await.unwrap();
    assert!(!receiving.next().is_empty());
    assert_eq!(shown()["queued"].as_array().map(Vec::len), Some(1));
    receiving.take();
}
