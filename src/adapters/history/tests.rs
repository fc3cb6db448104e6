//! The store of call records on a real file: what is kept is found, in order and by pages; what is too old or too much goes; what fails is counted.

use super::queue::BATCH;
use super::*;

fn record(number: u64) -> Kept {
    let class = Class {
        a_peer: if number.is_multiple_of(2) { "even".into() } else { "odd".into() },
        b_peer: (!number.is_multiple_of(5)).then(|| "um".into()),
        reason: if number.is_multiple_of(100) { "media.silent" } else { "call.normal" },
        fault: "none",
        answered: number.is_multiple_of(3),
        audio_fault: number == 7,
    };
    let called = if number.is_multiple_of(10) { "5000".into() } else { "6000".into() };
    let fields = Fields { began: number as i64 * 1000, caller: format!("+4930{number:06}"), called, class };
    Kept {
        call: number,
        fields,
        record: format!("{{\"call\":{number}}}"),
        ladder: (number == 7).then(|| "INVITE".into()),
        invite: number.is_multiple_of(2).then(|| invite(number)),
    }
}

fn invite(number: u64) -> Invite {
    Invite { message: format!("INVITE sip:{number}@x SIP/2.0\r\n\r\n").into_bytes(), told: format!("{{\"number\":{number}}}") }
}

/// As of a disk that is full, or a folder with the wrong owner, when the border starts: calls do not wait for it, and nothing has to be started anew.
#[test]
fn a_store_that_cannot_be_opened_at_the_start_is_told_of_and_opened_later() {
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings { path: folder.path().join("later").join("records.sqlite"), days: 0, size: 0, is_required: false };
    assert!(History::open_or_wait(&Settings { is_required: true, ..settings.clone() }).is_err(), "a path of the policy set that leads nowhere cannot be meant");
    let history = History::open_or_wait(&settings).unwrap();
    history.keep(record(7));
    let said = |history: &History| history.status().error.unwrap_or_default();
    assert!(said(&history).contains("make its folder"), "{}", said(&history));
    let refused = history.search(&query(9)).err().map(|error| error.to_string()).unwrap_or_default();
    assert_eq!(refused, said(&history), "who searches hears why");
    std::fs::create_dir(folder.path().join("later")).unwrap();
    assert!(history.flush(Duration::from_secs(60)));
    let lab = Lab { folder, history };
    assert_eq!((lab.found(query(9)).0, lab.history.status().written, lab.history.status().error), (vec![7], 1, None));
}

#[test]
fn a_disk_that_takes_nothing_passes_and_a_path_that_leads_nowhere_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let there = folder.path().join("x");
    for (kind, is_passing) in [(io::ErrorKind::StorageFull, true), (io::ErrorKind::ResourceBusy, true), (io::ErrorKind::InvalidData, false)] {
        assert_eq!(passes(&kind.into(), &there), is_passing, "{kind}");
    }
    assert!(!passes(&io::ErrorKind::NotFound.into(), &folder.path().join("no").join("x")));
}

struct Lab {
    folder: tempfile::TempDir,
    history: History,
}

impl Lab {
    fn new(days: u32, size: u64, records: u64) -> Lab {
        let folder = tempfile::tempdir().unwrap();
        let settings = Settings { path: folder.path().join("records.sqlite"), days, size, is_required: true };
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
        (page.records.iter().map(call).collect(), page.next.is_some())
    }
}

/// All that is to be taken out at once; how many records are left, and how large the file is.
fn swept(settings: &Settings, now: i64) -> (u64, u64) {
    let mut file = File::open(settings).unwrap();
    while file.sweep(settings, now).unwrap().more {}
    file.measure().unwrap()
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
        all.extend(page.records.iter().map(|sought| sought.number));
        after = page.next;
        if after.is_none() {
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
    let (held, size) = swept(&Settings { path: lab.path(), days: 30, size: 0, is_required: true }, now);
    assert!(held == 2 && size > 0);
    assert_eq!(lab.found(query(9)).0, [4, 3]);
}

#[test]
fn a_file_too_large_loses_its_oldest() {
    let lab = Lab::new(0, 0, 6000);
    let settings = Settings { path: lab.path(), days: 0, size: 512 << 10, is_required: true };
    let (held, size) = swept(&settings, 0);
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
    let history = History::open(&Settings { path: left.path().join("records.sqlite"), days: 0, size: 0, is_required: true }).unwrap();
    assert_eq!(history.search(&query(1000)).unwrap().records.len(), 100);
}

/// An operator whose disk is nearly full does not wait for the next look.
#[test]
fn another_bound_holds_at_once() {
    let lab = Lab::new(0, 0, 10);
    let until = Instant::now() + SWEEP / 2;
    lab.history.retain(1, 0);
    while lab.history.status().held > 0 {
        assert!(Instant::now() < until, "{:?}", lab.history.status());
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!((lab.history.settings().days, lab.found(query(20)).0), (1, Vec::new()));
}

#[test]
fn a_record_has_its_calls_number_unless_another_has_it() {
    let lab = Lab::new(0, 0, 0);
    assert_eq!(lab.history.highest(), 0);
    // Calls end in another order than they begin; the second 7 is of a process that had not seen this file.
    [7, 5, 7].into_iter().for_each(|number| lab.history.keep(record(number)));
    assert!(lab.history.flush(Duration::from_secs(10)));
    let mut numbers: Vec<i64> = lab.history.search(&query(9)).unwrap().records.iter().map(|sought| sought.number).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, [5, 7, 8]);
    let again = History::open(&Settings { path: lab.path(), days: 0, size: 0, is_required: true }).unwrap();
    assert_eq!(again.highest(), 8);
}

#[test]
fn records_that_find_the_queue_full_are_counted_not_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("records.sqlite");
    let history = History::open(&Settings { path: path.clone(), days: 0, size: 0, is_required: true }).unwrap();
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
    let error = History::open(&Settings { path: path.clone(), days: 0, size: 0, is_required: true }).err().map(|error| error.to_string()).unwrap_or_default();
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
fn every_combination_finds_what_a_plain_look_at_all_finds() {
    let all = 6000_u64;
    let lab = Lab::new(0, 0, all);
    let numbers = [None, Some("6000"), Some("5000"), Some("+4930000100"), Some("+493000*"), Some("*00"), Some("*0011*"), Some("*"), Some("nobody")];
    let peers = [None, Some("odd"), Some("um"), Some("nobody")];
    let reasons = [None, Some("media.silent"), Some("call.normal")];
    let times = [(None, None), (Some(1_000_000), None), (None, Some(2_000_000)), (Some(2_900_000), Some(3_100_000))];
    let fits = |pattern: &str, text: &str| match (pattern.strip_prefix('*'), pattern.strip_suffix('*')) {
        (Some(_), Some(_)) => text.contains(pattern.trim_matches('*')),
        (Some(end), None) => text.ends_with(end),
        (None, Some(start)) => text.starts_with(start),
        (None, None) => text == pattern,
    };
    for (number, peer, reason, (from, until)) in numbers
        .iter()
        .flat_map(|number| peers.iter().map(move |peer| (number, peer)))
        .flat_map(|(number, peer)| reasons.iter().map(move |reason| (number, peer, reason)))
        .flat_map(|(number, peer, reason)| times.iter().map(move |times| (number, peer, reason, *times)))
    {
        let wanted = |call: &u64| {
            let Fields { began, caller, called, class } = record(*call).fields;
            number.is_none_or(|number| fits(number, &caller) || fits(number, &called))
                && peer.is_none_or(|peer| class.a_peer == peer || class.b_peer.as_deref() == Some(peer))
                && reason.is_none_or(|reason| class.reason == reason)
                && from.is_none_or(|from| began >= from)
                && until.is_none_or(|until| began < until)
        };
        let expected: Vec<u64> = (1..=all).rev().filter(wanted).collect();
        let text = |text: &Option<&str>| text.map(String::from);
        for limit in [7, 1000] {
            let asked = Query { number: text(number), peer: text(peer), reason: text(reason), from, until, limit, ..Query::default() };
            let (found, more) = lab.found(asked.clone());
            assert_eq!(found, expected[..expected.len().min(limit)], "{asked:?}");
            assert_eq!(more, expected.len() > limit, "{asked:?}");
        }
    }
}

#[test]
fn numbers_and_counts_go_with_the_last_call_that_has_them() {
    let lab = Lab::new(0, 0, 2000);
    let mut file = File::open(&Settings { path: lab.path(), days: 1, size: 0, is_required: true }).unwrap();
    // A day and a second after the thousandth began.
    let settings = Settings { path: lab.path(), days: 1, size: 0, is_required: true };
    while file.sweep(&settings, 86_400_000 + 1_001_000).unwrap().more {}
    assert_eq!(file.measure().unwrap().0, 1000);
    let one = |question: &str| rusqlite::Connection::open(lab.path()).unwrap().query_row(question, [], |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!(one("SELECT count(*) FROM ended"), 1000);
    assert_eq!(one("SELECT count(*) FROM told"), 1000);
    assert_eq!(one("SELECT count(*) FROM party"), 1000 + 2, "the callers that are left, and both that were called");
    assert_eq!(one("SELECT count(*) FROM class WHERE held <> (SELECT count(*) FROM ended WHERE class = class.id)"), 0);
    assert_eq!(one("SELECT count(*) FROM calls WHERE caller LIKE '+4930%' AND began LIKE '1970-01-01T00:%Z'"), 1000, "as others look at it");
}

#[test]
fn a_store_of_the_first_form_is_searched_like_a_new_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("records.sqlite");
    let old = rusqlite::Connection::open(&path).unwrap();
    old.execute_batch(
        "CREATE TABLE call (number INTEGER PRIMARY KEY, began INTEGER NOT NULL, call INTEGER NOT NULL, caller TEXT NOT NULL, called TEXT NOT NULL,
            caller_back TEXT NOT NULL, called_back TEXT NOT NULL, a_peer TEXT NOT NULL, b_peer TEXT, reason TEXT NOT NULL, fault TEXT NOT NULL, status INTEGER,
            answered INTEGER NOT NULL, total_ms INTEGER NOT NULL, talk_ms INTEGER, audio_fault INTEGER NOT NULL);
         CREATE TABLE told (number INTEGER PRIMARY KEY REFERENCES call, record TEXT NOT NULL, ladder TEXT);
         CREATE TRIGGER call_gone AFTER DELETE ON call BEGIN DELETE FROM told WHERE number = old.number; END;
         INSERT INTO call VALUES (1, 1000, 1, '+491', '5000', '194+', '0005', 'trunk', 'um', 'call.normal', 'none', 200, 1, 9, 9, 0),
            (2, 2000, 2, '+492', '5000', '294+', '0005', 'trunk', NULL, 'hunt_group.none', 'policy', 404, 0, 9, NULL, 0);
         INSERT INTO told VALUES (1, '{\"call\":1}', NULL), (2, '{\"call\":2}', 'INVITE');
         CREATE TABLE invite (number INTEGER PRIMARY KEY REFERENCES call, told TEXT NOT NULL, message BLOB NOT NULL);
         CREATE TRIGGER invite_gone AFTER DELETE ON call BEGIN DELETE FROM invite WHERE number = old.number; END;
         INSERT INTO invite VALUES (2, '{}', X'494E56495445');
         PRAGMA user_version = 1;",
    )
    .unwrap();
    drop(old);
    let lab = Lab { history: History::open(&Settings { path, days: 0, size: 0, is_required: true }).unwrap(), folder };
    assert_eq!(lab.found(query(9)).0, [2, 1]);
    assert_eq!(lab.found(Query { number: Some("*92".into()), ..query(9) }).0, [2]);
    assert_eq!(lab.found(Query { peer: Some("um".into()), ..query(9) }).0, [1]);
    lab.history.keep(record(3));
    assert!(lab.history.flush(Duration::from_secs(10)));
    assert_eq!(lab.found(query(9)).0, [3, 2, 1]);
    assert_eq!(lab.history.one(2).unwrap().unwrap().ladder.as_deref(), Some("INVITE"));
    assert_eq!(lab.history.status().held, 3);
    let mut invites = Vec::new();
    lab.history.invites(&Chosen::default(), &mut |recorded| (invites.push((recorded.call, recorded.caller)), true).1).unwrap();
    assert_eq!(invites, [(2, String::from("+492"))]);
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
    // A day and a second after the sixteenth began.
    swept(&Settings { path: lab.path(), days: 1, size: 0, is_required: true }, 86_400_000 + 17_000);
    let file = rusqlite::Connection::open(lab.path()).unwrap();
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

#[test]
fn a_store_that_is_moved_away_or_removed_while_it_is_open_is_begun_anew_and_the_old_one_is_whole() {
    let lab = Lab::new(0, 0, 20);
    assert_eq!(lab.found(Query { limit: 1, ..Query::default() }).0, [20]);
    let kept = |number: u64| {
        lab.history.keep(record(number));
        assert!(lab.history.flush(Duration::from_secs(60)));
        lab.found(Query { limit: 5, ..Query::default() }).0
    };
    // The file alone, as an operator does who does not know of the log beside it.
    let moved = lab.folder.path().join("moved.sqlite");
    std::fs::rename(lab.path(), &moved).unwrap();
    assert_eq!(kept(21), [21], "the new file, and who searches looks there");
    let old = History::open(&Settings { path: moved, days: 0, size: 0, is_required: true }).unwrap();
    assert_eq!(old.search(&Query { limit: 1, ..Query::default() }).unwrap().records.len(), 1);
    assert_eq!(old.highest(), 20, "all that was written before is in the one that was moved");

    for name in ["records.sqlite", "records.sqlite-wal", "records.sqlite-shm"] {
        let _ = std::fs::remove_file(lab.folder.path().join(name));
    }
    assert_eq!(kept(22), [22]);
    assert_eq!(kept(23), [23, 22]);
    let status = lab.history.status();
    assert_eq!((status.written, status.lost, status.error), (23, 0, None));
    drop(lab.history);
    let again = History::open(&Settings { path: lab.folder.path().join("records.sqlite"), days: 0, size: 0, is_required: true }).unwrap();
    assert_eq!(again.highest(), 23, "and they are there after it has ended");
}
