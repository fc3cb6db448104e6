//! The store of call records with very many of them: what writing costs, what each kind of question takes, cold and warm, and what taking out old ones does to both.
//!
//!     cargo bench --bench records [-- RECORDS [FOLDER [fill]]]        1,000,000 records in a folder of its own that is removed, unless said otherwise
//!
//! A folder that is named is kept, and one that holds a store already is not filled again; with `fill` that is all. Cold: the store is opened anew and its files are out of the
//! page cache. Warm: the same question twenty times, with other numbers, peers and times each time; the median and the longest.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use portcullis::adapters::history::{Class, Fields, History, Kept, Query, Settings};

const DAY: i64 = 86_400_000;
/// So many days the records lie apart.
const DAYS: i64 = 90;
const TRIES: u64 = 20;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let records = arguments.first().map_or(1_000_000, |text| text.parse().expect("how many records"));
    let own = arguments.get(1).is_none().then(|| tempfile::tempdir().unwrap());
    let folder = own.as_ref().map_or_else(|| PathBuf::from(&arguments[1]), |own| own.path().to_owned());
    if cfg!(debug_assertions) {
        println!("not optimised: these figures are upper bounds");
    }
    let file = folder.join("records.sqlite");
    let calls = Calls { all: records, until: SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64 };
    let settings = Settings { path: file.clone(), days: 0, size: 0, is_required: true };
    let held = History::open(&settings).map(|history| settled(&history)).unwrap();
    if held < records {
        fill(&settings, &calls, records - held);
    }
    let (held, size) = History::open(&settings).map(|history| (settled(&history), history.status().size)).unwrap();
    println!("{held} records, {} MB, {} bytes a record\n", size >> 20, size / held.max(1));
    if arguments.get(2).is_some_and(|word| word == "fill") {
        return;
    }
    search(&settings, &calls);
    take_out(&settings, &calls);
}

fn settled(history: &History) -> u64 {
    assert!(history.flush(Duration::from_secs(60)));
    std::thread::sleep(Duration::from_millis(50));
    history.status().held
}

/// Made-up calls, the same each time: many callers, a pilot that is called most, few peers, few faults.
struct Calls {
    all: u64,
    /// Milliseconds since 1970: when the last began.
    until: i64,
}

const REASONS: [(&str, &str, u64); 9] = [
    ("call.normal", "none", 9_000),
    ("call.cancelled", "none", 400),
    ("call.rejected", "peer", 250),
    ("failover.timeout", "peer", 150),
    ("hunt_group.none", "policy", 100),
    ("access.denied", "policy", 60),
    ("media.silent", "peer", 30),
    ("load.shed", "resource", 9),
    ("internal.fault", "us", 1),
];

/// Splitmix64: evenly spread, and the same for the same number.
fn drawn(number: u64, what: u64) -> u64 {
    let mut mixed = number.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(what.wrapping_mul(0xD1B5_4A32_D192_ED03));
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}

/// Below `most`, the small ones far more often.
fn few(number: u64, what: u64, most: u64) -> u64 {
    let share = (drawn(number, what) % 1_000_000) as f64 / 1e6;
    ((share * share * share) * most as f64) as u64
}

impl Calls {
    fn caller(&self, number: u64) -> String {
        format!("+4930{:07}", few(number, 1, 300_000) * 31 % 10_000_000)
    }

    fn began(&self, number: u64) -> i64 {
        self.until + (number as i64 - self.all as i64) * (DAYS * DAY / self.all as i64)
    }

    fn record(&self, number: u64) -> Kept {
        let mut draw = drawn(number, 2) % 10_000;
        let (reason, fault, _) = *REASONS.iter().find(|(_, _, share)| draw.checked_sub(*share).map(|rest| draw = rest).is_none()).unwrap_or(&REASONS[0]);
        let answered = reason == "call.normal" || reason == "media.silent";
        let class = Class {
            a_peer: format!("trunk{}", few(number, 3, 24)),
            b_peer: (fault != "policy").then(|| format!("um{}", drawn(number, 4) % 6)),
            reason,
            fault,
            answered,
            audio_fault: reason == "media.silent" || drawn(number, 5).is_multiple_of(100),
        };
        let called = if drawn(number, 6) % 10 < 6 { String::from("5000") } else { format!("{}", 20_000 + drawn(number, 7) % 20_000) };
        let record = record(number, self.began(number), &self.caller(number), &called, &class);
        let ladder = (fault != "none").then(|| "a line of a ladder, which is as wide as that, and there are many of them\n".repeat(60));
        Kept { call: number, fields: Fields { began: self.began(number), caller: self.caller(number), called, class }, record, ladder, invite: None }
    }
}

/// As the border writes one, as far as anything reads it again, and as long.
fn record(number: u64, began: i64, caller: &str, called: &str, class: &Class) -> String {
    let Class { a_peer, b_peer, reason, fault, answered, audio_fault } = class;
    let began = OffsetDateTime::from_unix_timestamp_nanos(i128::from(began) * 1_000_000).unwrap().format(&Rfc3339).unwrap();
    let b = b_peer.as_ref().map_or_else(|| "null".into(), |peer| format!("{{\"peer\":\"{peer}\"}}"));
    let sound = |fault: bool| {
        let cause = if fault { "source.nothing" } else { "audio.heard" };
        format!("{{\"cause\":\"{cause}\",\"fault\":{fault},\"says\":\"{a_peer}: a sentence about what was heard of it, and from where\"}}")
    };
    let counted = "{\"received\":3000,\"sent\":3000,\"loss_percent\":0.1,\"jitter_ms\":1.5,\"round_trip_ms\":null,\"mos\":4.37,\"from\":\"192.0.2.1:20000\"}";
    let (status, talk) = if *answered { (200, "60000") } else { (486, "null") };
    format!(
        "{{\"call\":{number},\"began\":\"{began}\",\"from\":\"sip:{caller}@carrier.example\",\"to\":\"sip:{called}@border.example\",\"a\":{{\"peer\":\"{a_peer}\"}},\"b\":{b},\
         \"status\":{status},\"reason\":\"{reason}\",\"fault\":\"{fault}\",\"answered\":{answered},\"talk_ms\":{talk},\"released_by\":\"caller\",\
         \"audio\":{{\"a_to_b\":{},\"b_to_a\":{}}},\"media\":{{\"a_to_b\":{counted},\"b_to_a\":{counted}}},\"filling\":\"{}\"}}",
        sound(*audio_fault),
        sound(false),
        "x".repeat(800)
    )
}

fn fill(settings: &Settings, calls: &Calls, count: u64) {
    let history = History::open(settings).unwrap();
    let began = Instant::now();
    let part = (count / 5).max(1);
    let (mut done, mut since) = (0, Instant::now());
    while done < count {
        let next = (done + 4000).min(count);
        (done..next).for_each(|number| history.keep(calls.record(number + 1 + calls.all - count)));
        assert!(history.flush(Duration::from_secs(60)));
        if next / part > done / part {
            println!("written {next:>9}: {:>7.0} records/s in the last fifth", part as f64 / since.elapsed().as_secs_f64());
            since = Instant::now();
        }
        done = next;
    }
    assert_eq!(history.status().lost, 0);
    println!("in all {:.0} s", began.elapsed().as_secs_f64());
}

/// A question for the n-th try.
type Ask = fn(&Calls, u64) -> Query;

const QUESTIONS: [(&str, Ask); 17] = [
    ("newest page", |_, _| asked()),
    ("number, whole", |calls, n| number(calls.caller(drawn(n, 9) % calls.all + 1))),
    ("number, the pilot most call", |_, _| number("5000".into())),
    ("number, of nobody", |_, n| number(format!("+33{n}"))),
    ("beginning, of most", |_, _| number("+4930*".into())),
    ("beginning, of some", |_, n| number(format!("+49300{:03}*", n * 7))),
    ("end", |calls, n| number(format!("*{}", &calls.caller(drawn(n, 9) % calls.all + 1)[8..]))),
    ("in the middle", |calls, n| number(format!("*{}*", &calls.caller(drawn(n, 9) % calls.all + 1)[5..11]))),
    ("peer, a large one", |_, n| Query { peer: Some(format!("um{}", n % 6)), ..asked() }),
    ("peer, a small one", |_, n| Query { peer: Some(format!("trunk{}", 23 - n % 4)), ..asked() }),
    ("reason, a frequent one", |_, _| Query { reason: Some("call.normal".into()), ..asked() }),
    ("reason, a rare one", |_, _| Query { reason: Some("internal.fault".into()), ..asked() }),
    ("fault", |_, _| Query { fault: Some("policy".into()), ..asked() }),
    ("not heard well", |_, _| Query { audio_fault: Some(true), ..asked() }),
    ("an hour", |calls, n| {
        let from = calls.until - (1 + n as i64) * 4 * DAY;
        Query { from: Some(from), until: Some(from + DAY / 24), limit: 1000, ..asked() }
    }),
    ("peer, reason, number and week", |calls, n| {
        let until = calls.until - (n as i64 % 12) * 7 * DAY;
        Query { peer: Some("trunk1".into()), reason: Some("media.silent".into()), from: Some(until - 7 * DAY), until: Some(until), ..number("5000".into()) }
    }),
    ("what no call has, of what most have", |_, _| Query { fault: Some("policy".into()), answered: Some(true), ..number("5000".into()) }),
];

fn asked() -> Query {
    Query { limit: 100, ..Query::default() }
}

fn number(number: String) -> Query {
    Query { number: Some(number), ..asked() }
}

fn search(settings: &Settings, calls: &Calls) {
    println!("{:<38}{:>8}{:>10}{:>10}{:>10}", "ms", "found", "cold", "median", "longest");
    for (name, ask) in QUESTIONS {
        row(settings, name, &|_, n| ask(calls, n));
    }
    // Two dense conditions that hardly meet: all there is must be walked through.
    row(settings, "a pilot's calls, refused, unanswered", &|_, n| Query {
        reason: Some("hunt_group.none".into()),
        peer: Some(format!("trunk{}", n % 3)),
        ..number("5000".into())
    });
    row(settings, "the five hundredth page", &|history, n| Query { after: history.map(|history| deep(history, n, calls)), ..asked() });
    row(settings, "the five hundredth page, of a peer", &|history, n| Query {
        after: history.map(|history| deep(history, n, calls)),
        peer: Some("um1".into()),
        ..asked()
    });
    println!();
}

/// Where a page far back goes on.
fn deep(history: &History, n: u64, calls: &Calls) -> (i64, i64) {
    let before = calls.until - (DAYS * DAY * 50_000 / calls.all.max(50_001) as i64) - n as i64 * DAY;
    history.search(&Query { until: Some(before), limit: 1, ..Query::default() }).unwrap().next.unwrap_or((before, 0))
}

fn row(settings: &Settings, name: &str, ask: &dyn Fn(Option<&History>, u64) -> Query) {
    let query = ask(Some(&History::open(settings).unwrap()), 0);
    forget(&settings.path);
    let history = History::open(settings).unwrap();
    // Its own looks at the file are not what is measured.
    assert!(history.flush(Duration::from_secs(60)));
    forget(&settings.path);
    let began = Instant::now();
    let found = history.search(&query).unwrap().records.len();
    let cold = began.elapsed();
    let mut warm: Vec<Duration> = (0..TRIES)
        .map(|n| {
            let query = ask(Some(&history), n);
            history.search(&query).unwrap();
            let began = Instant::now();
            history.search(&query).unwrap();
            began.elapsed()
        })
        .collect();
    warm.sort_unstable();
    let millis = |span: Duration| span.as_secs_f64() * 1e3;
    println!("{name:<38}{found:>8}{:>10.1}{:>10.1}{:>10.1}", millis(cold), millis(warm[warm.len() / 2]), millis(warm[warm.len() - 1]));
}

/// Out of the page cache.
fn forget(path: &Path) {
    for end in ["", "-wal"] {
        let file = PathBuf::from(format!("{}{end}", path.display()));
        if let Ok(file) = std::fs::File::open(file) {
            file.sync_all().unwrap();
            rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
        }
    }
}

/// A tenth of the days goes, while calls end and operators search.
fn take_out(settings: &Settings, calls: &Calls) {
    let history = History::open(&Settings { days: (DAYS - DAYS / 10) as u32, ..settings.clone() }).unwrap();
    let (began, before) = (Instant::now(), calls.all);
    let (mut written, mut asked_for, mut number) = (Vec::new(), Vec::new(), calls.all);
    loop {
        number += 1;
        let since = Instant::now();
        (0..50).for_each(|_| history.keep(calls.record(number)));
        assert!(history.flush(Duration::from_secs(60)));
        written.push(since.elapsed());
        let since = Instant::now();
        history.search(&asked()).unwrap();
        asked_for.push(since.elapsed());
        let held = history.search(&Query { until: Some(calls.until - (DAYS - DAYS / 10) * DAY), limit: 1, ..Query::default() }).unwrap();
        if held.records.is_empty() || began.elapsed() > Duration::from_secs(120) {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let took = began.elapsed();
    written.sort_unstable();
    asked_for.sort_unstable();
    let millis = |spans: &[Duration], share: usize| spans[(spans.len() - 1) * share / 100].as_secs_f64() * 1e3;
    println!("{} records taken out in {:.1} s, {} written meanwhile, {} lost", before / 10, took.as_secs_f64(), written.len() * 50, history.status().lost);
    println!("fifty records on disk meanwhile: median {:.1} ms, longest {:.1} ms", millis(&written, 50), millis(&written, 100));
    println!("the newest page meanwhile:       median {:.1} ms, longest {:.1} ms", millis(&asked_for, 50), millis(&asked_for, 100));
}
