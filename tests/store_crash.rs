//! The store of notices under `kill -9`: a process that queues and one that delivers are killed at any moment, again and again. What was said to be
//! queued is delivered, in order, and a receiver that knows notices by their id gets each once.
//!
//! The processes are this test's own binary, run for one test that does nothing unless it is told what to be.

use std::collections::HashSet;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use portcullis::adapters::store::{Notice, Outcome, Settings, Store};

const ROLE: &str = "PORTCULLIS_STORE_CRASH_ROLE";
const FILE: &str = "PORTCULLIS_STORE_CRASH_FILE";
const FROM: &str = "PORTCULLIS_STORE_CRASH_FROM";

fn settings(path: &Path) -> Settings {
    Settings { path: path.to_owned(), most: 1_000_000 }
}

fn notice(number: u64) -> Notice {
    Notice { id: number.to_string(), mailbox: "1000".into(), time: String::new(), body: format!("{{\"id\":\"{number}\"}}") }
}

fn said(word: &str, number: u64) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{word} {number}").and_then(|()| out.flush()).expect("the parent reads");
}

/// What a child does until it is killed.
#[test]
fn child() {
    let (Ok(role), Ok(file)) = (std::env::var(ROLE), std::env::var(FILE)) else { return };
    let from: u64 = std::env::var(FROM).ok().and_then(|from| from.parse().ok()).unwrap_or(0);
    let store = Store::open(&settings(Path::new(&file))).expect("the store opens after a crash");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        match role.as_str() {
            "queue" => {
                for number in from.. {
                    said("offered", number);
                    assert!(store.queue(notice(number)).await.unwrap());
                    said("queued", number);
                }
            }
            _ => {
                while let Some((number, notice)) = store.first().await {
                    said("delivered", notice.id.parse().unwrap());
                    store.settle(number, Outcome::Delivered).await.unwrap();
                }
                said("empty", 0);
            }
        }
    });
}

fn start(role: &str, file: &Path, from: u64) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["child", "--exact", "--nocapture", "--test-threads", "2"])
        .envs([(ROLE, role), (FILE, file.to_str().unwrap()), (FROM, &from.to_string())])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Runs a child for so long at most, kills it, and returns what it said.
fn killed(role: &str, file: &Path, from: u64, after: Duration) -> Vec<(String, u64)> {
    let mut child = start(role, file, from);
    let out = child.stdout.take().unwrap();
    let reader = std::thread::spawn(move || {
        let lines = BufReader::new(out).lines().map_while(Result::ok);
        lines.filter_map(|line| line.split_once(' ').and_then(|(word, number)| Some((word.to_owned(), number.parse().ok()?)))).collect::<Vec<(String, u64)>>()
    });
    std::thread::sleep(after);
    // SIGKILL; it may have ended by itself.
    let _ = child.kill();
    child.wait().unwrap();
    reader.join().unwrap()
}

#[test]
fn what_was_queued_is_delivered_in_order_and_once_whatever_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("missed.redb");
    let (mut queued, mut offered, mut delivered) = (Vec::new(), 0, Vec::new());
    // Times of no pattern: 20 to 320 ms, by a fixed sequence.
    let mut seed = 0x2545_f491_4f6c_dd1d_u64;
    let mut moment = || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        Duration::from_millis(20 + seed % 300)
    };
    let began = Instant::now();
    for _ in 0..12 {
        let lines = killed("queue", &file, offered, moment());
        queued.extend(lines.iter().filter(|(word, _)| word == "queued").map(|(_, number)| *number));
        offered = lines.iter().map(|(_, number)| number + 1).max().unwrap_or(offered);
        delivered.extend(killed("deliver", &file, 0, moment()).into_iter().filter(|(word, _)| word == "delivered").map(|(_, number)| number));
    }
    let mut empty = false;
    while !empty {
        assert!(began.elapsed() < Duration::from_secs(120), "the queue does not empty");
        let lines = killed("deliver", &file, 0, Duration::from_secs(3));
        empty = lines.iter().any(|(word, _)| word == "empty");
        delivered.extend(lines.into_iter().filter(|(word, _)| word == "delivered").map(|(_, number)| number));
    }
    // The receiver: a repeat is known by its id.
    let mut known = HashSet::new();
    let received: Vec<u64> = delivered.iter().copied().filter(|id| known.insert(*id)).collect();
    assert!(received.is_sorted(), "in order: {received:?}");
    let lost: Vec<&u64> = queued.iter().filter(|id| !known.contains(id)).collect();
    assert!(lost.is_empty(), "said to be queued and never delivered: {lost:?}");
    assert!(received.iter().all(|id| *id < offered), "nothing that was never offered");
    assert!(queued.len() > 20, "only {} were queued: nothing was tried", queued.len());
    let repeats = delivered.len() - received.len();
    assert!(repeats <= 12, "at most the one under way at each kill comes twice: {repeats}");
}
