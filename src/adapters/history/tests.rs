//! The store of call records on a real file: what is kept is found, in order and by pages; what is too old or too much goes; what fails is counted.

use super::*;

fn record(number: u64) -> Kept {
    let fields = Fields {
        began: number as i64 * 1000,
        call: number,
        caller: format!("+4930{number:06}"),
        called: if number.is_multiple_of(10) { "5000".into() } else { "6000".into() },
        a_peer: if number.is_multiple_of(2) { "even".into() } else { "odd".into() },
        b_peer: (!number.is_multiple_of(5)).then(|| "um".into()),
        reason: if number.is_multiple_of(100) { "media.silent" } else { "call.normal" },
        fault: "none",
        status: Some(200),
        answered: number.is_multiple_of(3),
        total_ms: number,
        talk_ms: None,
        audio_fault: number == 7,
    };
    Kept {
        fields,
        record: format!("{{\"call\":{number}}}"),
        ladder: (number == 7).then(|| "INVITE".into()),
        invite: number.is_multiple_of(2).then(|| invite(number)),
    }
}

fn invite(number: u64) -> Invite {
    Invite { message: format!("INVITE sip:{number}@x SIP/2.0\r\n\r\n").into_bytes(), told: format!("{{\"number\":{number}}}") }
}

struct Lab {
    folder: tempfile::TempDir,
    history: History,
}

impl Lab {
    fn new(days: u32, size: u64, records: u64) -> Lab {
        let folder = tempfile::tempdir().unwrap();
        let settings = Settings { path: folder.path().join("records.sqlite"), days, size };
        let history = History::open(&settings).unwrap();
        let lab = Lab { folder, history };
        // As fast as the thread takes them: a full queue loses some, which is another test.
        for chunk in (1..=records).collect::<Vec<_>>().chunks(4000) {
            chunk.iter().for_each(|number| lab.history.keep(record(*number)));
            assert!(lab.history.flush(Duration::from_secs(60)));
        }
        lab
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("records.sqlite")
    }

    /// The calls found, newest first, and whether there are more.
    fn found(&self, query: Query) -> (Vec<u64>, bool) {
        let page = self.history.search(&query).unwrap();
        let call = |sought: &Sought| serde_json::from_str::<serde_json::Value>(&sought.record).unwrap()["call"].as_u64().unwrap();
        (page.records.iter().map(call).collect(), page.more)
    }
}

fn query(limit: usize) -> Query {
    Query { limit, ..Query::default() }
}

#[test]
fn records_are_found_by_everything_they_can_be_found_by() {
    let lab = Lab::new(0, 0, 9000);
    assert_eq!(lab.found(query(3)), (vec![9000, 8999, 8998], true));
    let number = |written: &str| lab.found(Query { number: Some(written.into()), ..query(3) });
    assert_eq!(number("+4930000017"), (vec![17], false));
    assert_eq!(number("*0017"), (vec![17], false));
    assert_eq!(number("+49300001*"), (vec![199, 198, 197], true));
    assert_eq!(number("*93000001*"), (vec![19, 18, 17], true));
    assert_eq!(number("5000"), (vec![9000, 8990, 8980], true));
    assert_eq!(number("6000"), (vec![8999, 8998, 8997], true), "more than are worth sorting");
    assert_eq!(number("nobody"), (vec![], false));
    assert_eq!(lab.found(Query { peer: Some("odd".into()), ..query(2) }), (vec![8999, 8997], true));
    assert_eq!(lab.found(Query { peer: Some("um".into()), ..query(2) }), (vec![8999, 8998], true));
    assert_eq!(lab.found(Query { reason: Some("media.silent".into()), ..query(2) }), (vec![9000, 8900], true));
    assert_eq!(lab.found(Query { audio_fault: Some(true), ..query(2) }), (vec![7], false));
    assert_eq!(lab.found(Query { answered: Some(true), until: Some(10_000), ..query(9) }), (vec![9, 6, 3], false));
    assert_eq!(lab.found(Query { from: Some(8_999_000), ..query(9) }), (vec![9000, 8999], false));
    assert_eq!(lab.found(Query { number: Some("6000".into()), from: Some(2_000), until: Some(4_000), ..query(9) }), (vec![3, 2], false));
    assert_eq!(lab.found(Query { fault: Some("none".into()), until: Some(3_000), ..query(9) }), (vec![2, 1], false));
}

#[test]
fn pages_follow_one_another_without_a_gap() {
    let lab = Lab::new(0, 0, 50);
    let mut after = None;
    let mut all = Vec::new();
    loop {
        let page = lab.history.search(&Query { after, ..query(7) }).unwrap();
        all.extend(page.records.iter().map(|sought| sought.began / 1000));
        after = page.records.last().map(|last| (last.began, last.number));
        if !page.more {
            break;
        }
    }
    assert_eq!(all, (1..=50).rev().collect::<Vec<_>>());
}

#[test]
fn one_record_comes_with_its_ladder() {
    let lab = Lab::new(0, 0, 9);
    let seven = lab.history.one(7).unwrap().unwrap();
    assert_eq!((seven.record.as_str(), seven.ladder.as_deref()), ("{\"call\":7}", Some("INVITE")));
    assert_eq!(lab.history.one(8).unwrap().unwrap().ladder, None);
    assert_eq!(lab.history.one(4711).unwrap(), None);
}

#[test]
fn what_is_too_old_goes_and_what_is_young_stays() {
    let lab = Lab::new(0, 0, 0);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64;
    for (number, days) in [(1, 40), (2, 31), (3, 29), (4, 0)] {
        let mut kept = record(number);
        kept.fields.began = now - days * 86_400_000;
        lab.history.keep(kept);
    }
    assert!(lab.history.flush(Duration::from_secs(10)));
    let mut file = File::open(&Settings { path: lab.path(), days: 30, size: 0 }).unwrap();
    let (held, size) = file.sweep(&Settings { path: lab.path(), days: 30, size: 0 }, now).unwrap();
    assert!(held == 2 && size > 0);
    assert_eq!(lab.found(query(9)).0, [4, 3]);
}

#[test]
fn a_file_too_large_loses_its_oldest() {
    let lab = Lab::new(0, 0, 6000);
    let settings = Settings { path: lab.path(), days: 0, size: 512 << 10 };
    let mut file = File::open(&settings).unwrap();
    let (held, size) = file.sweep(&settings, 0).unwrap();
    assert!(held > 100 && held < 6000, "{held}");
    assert!(size < 2 << 20, "{size}: what is free is given back");
    let (newest, _) = lab.found(query(1));
    assert_eq!(newest, [6000]);
}

#[test]
fn what_a_killed_process_had_committed_is_there() {
    let lab = Lab::new(0, 0, 100);
    // Without closing anything: a copy of the files as they lie is what a killed process leaves.
    let left = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(lab.folder.path()).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, left.path().join(path.file_name().unwrap())).unwrap();
    }
    let history = History::open(&Settings { path: left.path().join("records.sqlite"), days: 0, size: 0 }).unwrap();
    assert_eq!(history.search(&query(1000)).unwrap().records.len(), 100);
}

#[test]
fn records_that_find_the_queue_full_are_counted_not_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("records.sqlite");
    let history = History::open(&Settings { path: path.clone(), days: 0, size: 0 }).unwrap();
    // Somebody else has the file: the thread waits for it.
    let other = rusqlite::Connection::open(&path).unwrap();
    other.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let all = WAITING as u64 + BATCH as u64 + 500;
    let began = Instant::now();
    (0..all).for_each(|number| history.keep(record(number)));
    assert!(began.elapsed() < Duration::from_secs(4), "it waited");
    assert!(history.status().lost >= 400, "{:?}", history.status());
    other.execute_batch("COMMIT").unwrap();
    assert!(history.flush(Duration::from_secs(60)));
    let status = history.status();
    assert_eq!(status.written + status.lost, all, "{status:?}");
}

#[test]
fn a_file_of_something_else_is_left_alone_and_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("precious");
    std::fs::write(&path, "this is no database, and longer than a header of one would have to be, by far and wide, to be taken for none").unwrap();
    let error = History::open(&Settings { path: path.clone(), days: 0, size: 0 }).err().map(|error| error.to_string()).unwrap_or_default();
    assert!(error.contains("precious") && error.contains("move the file away"), "{error}");
    assert!(std::fs::read_to_string(&path).unwrap().starts_with("this is no database"));
}

#[test]
fn others_may_not_read_who_called_whom() {
    use std::os::unix::fs::PermissionsExt;
    let lab = Lab::new(0, 0, 1);
    assert_eq!(std::fs::metadata(lab.path()).unwrap().permissions().mode() & 0o007, 0);
}

#[test]
fn an_invite_is_found_with_its_call_and_goes_with_it() {
    let lab = Lab::new(0, 0, 20);
    let found = |chosen: Chosen| {
        let mut found = Vec::new();
        lab.history.invites(&chosen, &mut |recorded| (found.push(recorded), true).1).unwrap();
        found
    };
    let all = found(Chosen::default());
    assert_eq!(all.iter().map(|recorded| recorded.call).collect::<Vec<_>>(), (1..=10).map(|half| half * 2).rev().collect::<Vec<_>>(), "those that have one");
    assert_eq!((&all[0].invite, all[0].reason.as_str(), all[0].called.as_str()), (&invite(20), "call.normal", "5000"));
    assert_eq!(found(Chosen { last: Some(3), since: None }).len(), 3);
    assert_eq!(found(Chosen { last: None, since: Some(15_000) }).iter().map(|recorded| recorded.call).collect::<Vec<_>>(), [20, 18, 16]);
    let mut first = 0;
    lab.history.invites(&Chosen::default(), &mut |_| (first += 1, false).1).unwrap();
    assert_eq!(first, 1, "whoever asks may stop");
    let file = rusqlite::Connection::open(lab.path()).unwrap();
    file.execute("DELETE FROM call WHERE call > 4", []).unwrap();
    assert_eq!(file.query_row("SELECT count(*) FROM invite", [], |row| row.get::<_, i64>(0)).unwrap(), 2);
}

#[test]
fn a_file_without_invites_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("other.sqlite");
    rusqlite::Connection::open(&path).unwrap().execute_batch("CREATE TABLE call (number INTEGER)").unwrap();
    let said = recorded(&path, &Chosen::default(), &mut |_| true).unwrap_err().to_string();
    assert!(said.contains("holds no INVITEs"), "{said}");
    std::fs::write(&path, "no database at all, but long enough to be looked at as one").unwrap();
    assert!(recorded(&path, &Chosen::default(), &mut |_| true).is_err());
    assert!(recorded(&folder.path().join("nothing"), &Chosen::default(), &mut |_| true).is_err());
}
