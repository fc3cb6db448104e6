//! The store of call records under `kill -9`, again and again while records come in and old ones are taken out: the file stays whole, what was said to be
//! written is there, nothing is missing in between, and what is lost is what came in the last moments.
//!
//! The process that is killed is this test's own binary, run for one test that does nothing unless it is told where to write.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use portcullis::adapters::history::{Class, Fields, History, Kept, Query, Settings};

const FILE: &str = "PORTCULLIS_RECORDS_CRASH_FILE";
const FROM: &str = "PORTCULLIS_RECORDS_CRASH_FROM";

fn settings(path: &Path) -> Settings {
    // So small that records are taken out all the time.
    Settings { path: path.to_owned(), days: 0, size: 2 << 20, is_required: true }
}

fn record(number: u64) -> Kept {
    let class =
        Class { a_peer: "trunk".into(), b_peer: Some(format!("um{}", number % 3)), reason: "call.normal", fault: "none", answered: true, audio_fault: false };
    let fields = Fields { began: number as i64, caller: format!("+49{number}"), called: "5000".into(), class };
    Kept { call: number, fields, record: format!("{{\"call\":{number},\"filling\":\"{}\"}}", "x".repeat(1500)), ladder: None, invite: None }
}

/// What the child does until it is killed: keeps records, says how far it has come and how many of them are written.
#[test]
fn child() {
    let (Ok(file), Ok(from)) = (std::env::var(FILE), std::env::var(FROM)) else { return };
    let from: u64 = from.parse().unwrap();
    let history = History::open(&settings(Path::new(&file))).expect("the store opens after a crash");
    let mut number = from;
    loop {
        for _ in 0..20 {
            history.keep(record(number));
            number += 1;
        }
        let status = history.status();
        assert_eq!(status.lost, 0);
        let mut out = std::io::stdout().lock();
        writeln!(out, "kept {} {}", number - 1, from + status.written - 1).and_then(|()| out.flush()).expect("the parent reads");
        drop(out);
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Runs a child for so long after its first record, kills it, and returns what it said last: kept and written up to there, and when each number was kept, before the kill.
fn killed(file: &Path, from: u64, after: Duration) -> (u64, u64, Vec<(u64, Duration)>) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["child", "--exact", "--nocapture", "--test-threads", "2"])
        .envs([(FILE, file.to_str().unwrap()), (FROM, &from.to_string())])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let out = child.stdout.take().unwrap();
    let (begun, first) = std::sync::mpsc::channel();
    let reader = std::thread::spawn(move || {
        let lines = BufReader::new(out).lines().map_while(Result::ok);
        let read = |line: String| {
            let mut words = line.strip_prefix("kept ")?.split(' ').map(|word| word.parse::<u64>());
            // Only the first is waited for.
            let _ = begun.send(());
            Some((words.next()?.ok()?, words.next()?.ok()?, Instant::now()))
        };
        lines.filter_map(read).collect::<Vec<_>>()
    });
    // On a busy machine a process takes its time to begin.
    first.recv_timeout(Duration::from_secs(30)).expect("the child keeps records");
    std::thread::sleep(after);
    // SIGKILL.
    child.kill().unwrap();
    let killed = Instant::now();
    child.wait().unwrap();
    let said = reader.join().unwrap();
    let last = said.last().map_or((from - 1, from - 1), |(kept, written, _)| (*kept, *written));
    (last.0, last.1, said.iter().map(|(kept, _, at)| (*kept, killed.saturating_duration_since(*at))).collect())
}

#[test]
fn a_store_whose_process_is_killed_is_whole_and_lost_only_the_last_moments() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("records.sqlite");
    let (mut next, mut longest) = (1, Duration::ZERO);
    for round in 0..6_u64 {
        let (kept, written, when) = killed(&file, next, Duration::from_millis(700 + round * 137));
        let history = History::open(&settings(&file)).unwrap();
        let mut numbers = Vec::new();
        let mut after = None;
        loop {
            let page = history.search(&Query { after, limit: 1000, ..Query::default() }).unwrap();
            numbers.extend(page.records.iter().map(|sought| serde_json::from_str::<serde_json::Value>(&sought.record).unwrap()["call"].as_u64().unwrap()));
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        drop(history);
        let newest = numbers.first().copied().unwrap_or(0);
        assert!(newest >= written, "round {round}: {written} was said to be written, the newest is {newest}");
        assert!(numbers.windows(2).all(|pair| pair[0] == pair[1] + 1), "round {round}: one in between is missing");
        if let Some((_, ago)) = when.iter().find(|(number, _)| *number > newest) {
            longest = longest.max(*ago);
        }
        assert!(kept >= newest);
        whole(&file);
        next = newest.max(kept) + 1;
        // A new range begins where the killed one was cut off: numbers stay without a gap only within one run.
        std::fs::remove_file(&file).unwrap();
        for end in ["-wal", "-shm"] {
            let _ = std::fs::remove_file(folder.path().join(format!("records.sqlite{end}")));
        }
    }
    println!("the longest that was lost was {longest:?} old");
    assert!(longest < Duration::from_secs(3), "{longest:?}: what gathers is written twice a second");
}

/// As SQLite sees it, and as our own counts do.
fn whole(file: &Path) {
    let connection = rusqlite::Connection::open(file).unwrap();
    let text = |question: &str| connection.query_row(question, [], |row| row.get::<_, String>(0)).unwrap();
    assert_eq!(text("PRAGMA integrity_check"), "ok");
    let number = |question: &str| connection.query_row(question, [], |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!(number("SELECT count(*) FROM ended"), number("SELECT count(*) FROM told"));
    assert_eq!(number("SELECT count(*) FROM ended"), number("SELECT coalesce(sum(held), 0) FROM class"));
    assert_eq!(number("SELECT count(*) FROM ended WHERE caller NOT IN (SELECT id FROM party) OR called NOT IN (SELECT id FROM party)"), 0);
}
