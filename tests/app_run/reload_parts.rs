//! Parts of a running border that a reload puts others in the place of: the log, records, copies of messages, traces, ladders.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use crate::ports::free_port;
use crate::process::{Border, Set, portcullis, um};

const CONTROL: &str = "[control]\nsocket = \"control.sock\"\n";

/// Standard output of a command that is told where the socket is.
fn ask(border: &Border, arguments: &[&str]) -> String {
    let socket = border.set.path().join("control.sock");
    let output = portcullis().args(arguments).arg("--socket").arg(socket).output().expect("portcullis");
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// What a reload says once border.toml has this in the place of that.
fn edited(border: &Border, edits: &[(&str, &str)]) -> String {
    let path = border.set.path().join("border.toml");
    let mut text = fs::read_to_string(&path).expect("border.toml");
    for (from, to) in edits {
        assert!(text.contains(from), "border.toml has no {from}");
        text = text.replacen(from, to, 1);
    }
    fs::write(&path, text).expect("border.toml");
    let told = ask(border, &["reload"]);
    assert!(told.contains("in force"), "{told}");
    told
}

fn lines(border: &Border, file: &str) -> usize {
    fs::read_to_string(border.set.path().join(file)).unwrap_or_default().lines().count()
}

async fn one_call(border: &Border) {
    border.call("5000").await.unwrap().hang_up().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_go_where_the_new_set_says_and_where_that_cannot_be_stay_where_they_were() {
    let um = um().await;
    let mut border = Set::new(&um, "", CONTROL).run();
    one_call(&border).await;
    border.record(1);
    let told = edited(&border, &[("file = \"records.jsonl\"", "file = \"other.jsonl\"\nstore = \"records.sqlite\"\nladders = \"all\"")]);
    assert!(!told.contains("next start"), "{told}");
    one_call(&border).await;
    border
        .until("recorded in both", |border| lines(border, "other.jsonl") == 1 && border.metric("portcullis_records_written_total{to=\"store\"}") == Some(1.0));
    assert_eq!(lines(&border, "records.jsonl"), 1, "nothing more goes there");
    let found: serde_json::Value = serde_json::from_str(&ask(&border, &["show", "records", "--json"])).unwrap();
    assert_eq!(found["records"].as_array().map(Vec::len), Some(1), "{found:#}");

    // Nobody can write there: the part stays, the rest of the set is in force, and everybody is told.
    border.set.pilot("5000");
    let told = edited(&border, &[("store = \"records.sqlite\"", "store = \"nowhere/records.sqlite\"\nkeep_days = 7")]);
    assert!(told.contains("[records] store runs by the old policy set"), "{told}");
    let status = ask(&border, &["show", "status"]);
    assert!(status.contains("not in force     [records] store"), "{status}");
    one_call(&border).await;
    border.until("recorded in the old one", |border| border.metric("portcullis_records_written_total{to=\"store\"}") == Some(2.0));

    // Put right it is taken; taken out it is left, with all it was given.
    fs::create_dir(border.set.path().join("nowhere")).unwrap();
    assert!(!edited(&border, &[]).contains("old policy set"));
    assert!(!ask(&border, &["show", "status"]).contains("not in force"));
    one_call(&border).await;
    border.until("recorded in the new one", |border| border.metric("portcullis_records_written_total{to=\"store\"}") == Some(1.0));
    edited(&border, &[("store = \"nowhere/records.sqlite\"\nkeep_days = 7", "")]);
    one_call(&border).await;
    border.until("recorded in the file", |border| lines(border, "other.jsonl") == 4);
    assert_eq!(border.metric("portcullis_records_written_total{to=\"store\"}"), None);
    assert!(ask(&border, &["show", "records"]).contains("has no store"));

    // A server that is away is no reason to keep the old part; calls do not wait for it.
    let postgres = format!("[records.postgres]\nhost = \"127.0.0.1\"\nport = {}\nuser = \"u\"\ndatabase = \"d\"\n[control]", free_port());
    assert!(!edited(&border, &[("[control]", &postgres)]).contains("old policy set"));
    one_call(&border).await;
    border.until("told that it is away", |border| border.metric("portcullis_records_failing{to=\"postgres\"}") == Some(1.0));
    edited(&border, &[(&postgres, "[control]")]);
    assert_eq!(border.metric("portcullis_records_failing{to=\"postgres\"}"), None);
}

/// Else `ladder N` and `show records` would mean two calls by one number.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_are_numbered_on_from_those_of_another_store() {
    let um = um().await;
    let mut border = Set::new(&um, "", CONTROL).run();
    edited(&border, &[("file = \"records.jsonl\"", "file = \"records.jsonl\"\nstore = \"records.sqlite\"")]);
    for _ in 0..3 {
        one_call(&border).await;
    }
    border.until("stored", |border| border.metric("portcullis_records_written_total{to=\"store\"}") == Some(3.0));
    let full = border.set.path().join("records.sqlite");
    let highest = border.record(3)["call"].as_u64().unwrap();
    // A border of its own, whose numbers begin with 1, is given the store of the other.
    let mut second = Set::new(&um, "", CONTROL).run();
    edited(&second, &[("file = \"records.jsonl\"", &format!("file = \"records.jsonl\"\nstore = \"{}\"", full.display()))]);
    one_call(&second).await;
    assert_eq!(second.record(1)["call"].as_u64(), Some(highest + 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_keeps_its_file_and_takes_another_bound() {
    let um = um().await;
    let mut border = Set::new(&um, "", CONTROL).run();
    edited(&border, &[("file = \"records.jsonl\"", "store = \"records.sqlite\"")]);
    one_call(&border).await;
    border.until("recorded", |border| border.metric("portcullis_records_written_total{to=\"store\"}") == Some(1.0));
    edited(&border, &[("store = \"records.sqlite\"", "store = \"records.sqlite\"\nkeep_days = 1\ninvites = false")]);
    assert_eq!(border.metric("portcullis_records_written_total{to=\"store\"}"), Some(1.0), "the same store goes on");
    one_call(&border).await;
    border.until("recorded", |border| border.metric("portcullis_records_written_total{to=\"store\"}") == Some(2.0));
    let store = rusqlite::Connection::open(border.set.path().join("records.sqlite")).unwrap();
    let invites: i64 = store.query_row("SELECT count(*) FROM invite", [], |row| row.get(0)).unwrap();
    assert_eq!(invites, 1, "that of the first call alone");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_takes_another_filter_and_form() {
    let um = um().await;
    let mut border = Set::new(&um, "", CONTROL).run();
    one_call(&border).await;
    border.record(1);
    assert!(!border.log().contains("INVITE"), "messages are told at debug alone");
    edited(&border, &[("[control]", "[log]\nfilter = \"debug\"\nformat = \"json\"\n[control]")]);
    one_call(&border).await;
    let is_told = |line: &str| serde_json::from_str::<serde_json::Value>(line).is_ok_and(|line| line["level"] == "DEBUG" && line["leg"] == "A");
    border.until("telling messages as JSON", |border| border.log().lines().any(is_told));
    edited(&border, &[("filter = \"debug\"\nformat = \"json\"", "filter = \"warn\"")]);
    let before = border.log().len();
    one_call(&border).await;
    border.record(3);
    assert_eq!(&border.log()[before..], "", "a good call is no warning");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn copies_and_traces_go_to_the_servers_of_the_new_set() {
    let um = um().await;
    let mut border = Set::new(&um, "", CONTROL).run();
    let servers = [0, 1].map(|_| UdpSocket::bind("127.0.0.1:0").expect("a socket"));
    let hep = |server: &UdpSocket| format!("[hep]\nserver = \"{}\"\ntransport = \"udp\"\n", server.local_addr().expect("an address"));
    let heard = |server: &UdpSocket| {
        server.set_nonblocking(true).expect("a socket");
        std::iter::repeat_with(|| server.recv(&mut [0; 65_535])).take_while(Result::is_ok).count()
    };
    edited(&border, &[("[control]", &(hep(&servers[0]) + "[control]"))]);
    one_call(&border).await;
    border.until("copying", |border| border.metric("portcullis_hep_packets_total{result=\"sent\"}").is_some_and(|sent| sent > 10.0));
    border.record(1);
    edited(&border, &[(&hep(&servers[0]), &hep(&servers[1]))]);
    heard(&servers[0]);
    one_call(&border).await;
    border.record(2);
    border.until("copying elsewhere", |border| border.metric("portcullis_hep_packets_total{result=\"sent\"}").is_some_and(|sent| sent > 10.0));
    assert!(heard(&servers[1]) > 10 && heard(&servers[0]) == 0);

    let receiver = TcpListener::bind("127.0.0.1:0").expect("a socket");
    let otlp = format!("[otlp]\nurl = \"http://{}\"\n", receiver.local_addr().expect("an address"));
    edited(&border, &[(&hep(&servers[1]), &otlp)]);
    assert_eq!((border.metric("portcullis_hep_up"), border.metric("portcullis_otlp_up")), (None, Some(0.0)));
    one_call(&border).await;
    receiver.set_nonblocking(true).expect("a socket");
    border.until("tracing", |_| receiver.accept().is_ok());
    edited(&border, &[(&otlp, "")]);
    assert_eq!(border.metric("portcullis_otlp_up"), None);
    one_call(&border).await;
    border.record(4);
    assert_eq!(heard(&servers[1]), 0, "nobody gets copies any more");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ladders_are_kept_and_traced_as_the_new_set_says() {
    let um = um().await;
    let mut border = Set::new(&um, "", &format!("{CONTROL}[ladder]\ncalls = 10\n")).run();
    one_call(&border).await;
    border.record(1);
    assert!(ask(&border, &["trace", "start", "--calls", "1"]).contains("keeps no keys"));
    edited(&border, &[("calls = 10", "calls = 10\ntraces = true")]);
    assert!(!ask(&border, &["trace", "start", "--calls", "1"]).contains("keeps no keys"));
    let call = border.call("5000").await.unwrap();
    let number = border.record(1)["call"].to_string();
    assert!(ask(&border, &["ladder", &number]).contains("INVITE"));
    // A call that is up sees nothing of it.
    edited(&border, &[("calls = 10\ntraces = true", "calls = 0")]);
    assert!(!ask(&border, &["ladder", &number]).contains("INVITE"));
    assert!(ask(&border, &["trace", "start", "--calls", "1"]).contains("keeps no keys"));
    assert!(call.hears(Duration::from_secs(5)).await.is_clear());
    call.hang_up().await.unwrap();
    border.until("recorded", |border| border.records().len() == 2);
}

/// The first line of what the door answers; nothing: there is none.
fn door(port: u16, path: &str) -> String {
    let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else { return String::new() };
    stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a limit");
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: border\r\nConnection: close\r\n\r\n").as_bytes()).expect("a request");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer.lines().next().unwrap_or_default().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_doors_of_operators_move_and_a_call_goes_on() {
    let um = um().await;
    let border = Set::new(&um, "", CONTROL).run();
    let call = border.call("5000").await.unwrap();
    let (old, new, taken) = (border.set.admin, free_port(), TcpListener::bind("127.0.0.1:0").expect("a socket"));
    let at = |port: u16| format!("[admin]\nlisten = \"127.0.0.1:{port}\"");
    edited(&border, &[(&at(old), &at(new))]);
    assert_eq!((door(new, "/healthz").as_str(), door(old, "/healthz").as_str()), ("HTTP/1.1 200 OK", ""));
    let busy = taken.local_addr().expect("an address").port();
    let told = edited(&border, &[(&at(new), &at(busy))]);
    assert!(told.contains("[admin] runs by the old policy set") && told.contains(&format!("127.0.0.1:{busy}")), "{told}");
    assert_eq!(door(new, "/healthz"), "HTTP/1.1 200 OK");
    edited(&border, &[(&at(busy), &at(new))]);

    let (first, second) = (free_port(), free_port());
    let api = |port: u16| {
        let digest = "ab".repeat(32);
        format!("[api]\nlisten = \"127.0.0.1:{port}\"\naudit = \"audit.jsonl\"\n[[api.token]]\nname = \"x\"\nrole = \"read\"\nsha256 = \"{digest}\"\n[control]")
    };
    edited(&border, &[("[control]", &api(first))]);
    assert_eq!(door(first, "/v1/status"), "HTTP/1.1 401 Unauthorized");
    edited(&border, &[(&api(first), &api(second))]);
    assert_eq!((door(second, "/v1/status").as_str(), door(first, "/v1/status").as_str()), ("HTTP/1.1 401 Unauthorized", ""));
    assert_eq!(lines(&border, "audit.jsonl"), 2, "each of these requests");
    let path = border.set.path().join("audit.jsonl");
    fs::rename(&path, path.with_extension("1")).expect("rotated");
    edited(&border, &[(&api(second), &("[dns]\nservers = [\"127.0.0.1\"]\ngrace = \"2h\"\n".to_owned() + &api(second)))]);
    assert_eq!((lines(&border, "audit.jsonl"), lines(&border, "audit.1")), (1, 2));
    edited(&border, &[(&api(second), "[control]")]);
    assert_eq!(door(second, "/v1/status"), "");
    assert!(!ask(&border, &["show", "status"]).contains("not in force"));
    assert!(call.hears(Duration::from_secs(5)).await.is_clear());
    call.hang_up().await.unwrap();
}
