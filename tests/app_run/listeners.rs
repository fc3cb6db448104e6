//! Listeners that a reload adds, moves and takes out, with calls over them.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use portcullis::simulator::trunk::Call;

use crate::ports::free_port;
use crate::process::{Border, Set, portcullis, um};

const CONTROL: &str = "[control]\nsocket = \"control.sock\"\n";

fn ask(border: &Border, arguments: &[&str]) -> String {
    let socket = border.set.path().join("control.sock");
    let output = portcullis().args(arguments).arg("--socket").arg(socket).output().expect("portcullis");
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// What a reload says once border.toml has this in the place of that.
fn edited(border: &Border, from: &str, to: &str) -> String {
    let path = border.set.path().join("border.toml");
    let text = fs::read_to_string(&path).expect("border.toml");
    assert!(text.contains(from), "border.toml has no {from}");
    fs::write(&path, text.replacen(from, to, 1)).expect("border.toml");
    ask(border, &["reload"])
}

fn listener(name: &str, transport: &str, port: u16) -> String {
    format!("[[listener]]\nname = \"{name}\"\ntransport = \"{transport}\"\naddress = \"127.0.0.1:{port}\"\n")
}

async fn call_by(border: &mut Border, port: u16) -> Call {
    let first = std::mem::replace(&mut border.set.sip, port);
    let call = border.call("5000").await;
    border.set.sip = first;
    call.unwrap_or_else(|failure| panic!("{failure}\n{}", border.log()))
}

fn accepts(port: u16) -> bool {
    TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()
}

/// Whether somebody who is a peer over UDP is answered.
fn answers_options(pbx: &UdpSocket, port: u16, n: u32) -> bool {
    let from = pbx.local_addr().unwrap();
    let text = format!(
        "OPTIONS sip:border SIP/2.0\r\nVia: SIP/2.0/UDP {from};branch=z9hG4bK{n};rport\r\nFrom: <sip:pbx@{from}>;tag={n}\r\nTo: <sip:border>\r\nCall-ID: {n}@pbx\r\n\
         CSeq: {n} OPTIONS\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
    );
    let _ = pbx.send_to(text.as_bytes(), SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    let mut buffer = [0; 2000];
    // A port that is shut answers by ICMP.
    let heard = pbx.recv(&mut buffer).map(|length| String::from_utf8_lossy(&buffer[..length]).into_owned()).unwrap_or_default();
    heard.starts_with("SIP/2.0 200") && heard.contains(&format!("Call-ID: {n}@pbx"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listener_that_comes_takes_calls_and_one_that_goes_keeps_its_own() {
    let um = um().await;
    let mut border = Set::new(&um, "", CONTROL).run();
    let (old, new) = (border.set.sip, free_port());
    let first = listener("tcp", "tcp", old);

    // Added, at once, beside the other.
    let told = edited(&border, &first, &(first.clone() + &listener("second", "tcp", new)));
    assert!(told.contains("in force") && !told.contains("next start"), "{told}");
    let mut stays = call_by(&mut border, old).await;
    call_by(&mut border, new).await.hang_up().await.unwrap();

    // Taken out: nobody comes in, and the call over it is held, taken back, and goes on.
    let told = edited(&border, &first, "");
    assert!(told.contains("\"tcp\"") && told.contains("taken out"), "{told}");
    border.until("shut", |_| !accepts(old));
    stays.hold(true).await.unwrap();
    stays.hold(false).await.unwrap();
    call_by(&mut border, new).await.hang_up().await.unwrap();
    let shown = ask(&border, &["show", "listeners"]);
    assert!(shown.lines().any(|line| line.contains("tcp") && line.contains("leaving")), "{shown}");
    assert_eq!(border.metric("portcullis_listeners{state=\"leaving\"}"), Some(1.0));
    assert!(!border.log().contains("listener closed"));

    // With the last call over it, it is closed.
    stays.hang_up().await.unwrap();
    border.until("closed", |border| border.log().contains("listener closed"));
    assert!(!ask(&border, &["show", "listeners"]).contains("leaving"));
    assert!(TcpListener::bind((Ipv4Addr::LOCALHOST, old)).is_ok(), "the port is free");
    let records = border.records();
    assert!(records.iter().all(|record| record["reason"] == "call.normal"), "{records:#?}");
    call_by(&mut border, new).await.hang_up().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listener_that_cannot_be_opened_refuses_the_set_and_leaves_all_as_it_was() {
    let um = um().await;
    let mut border = Set::new(&um, "", CONTROL).run();
    let (old, good) = (border.set.sip, free_port());
    let somebody = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = somebody.local_addr().unwrap().port();
    let first = listener("tcp", "tcp", old);
    border.set.pilot("7000");
    let told = edited(&border, &first, &(listener("good", "tcp", good) + &listener("bad", "tcp", taken)));
    assert!(told.contains("\"bad\"") && told.contains("nothing was changed"), "{told}");
    assert!(!accepts(good), "nothing of it is open");
    // By the old listener and the old number.
    border.call("5000").await.unwrap().hang_up().await.unwrap();
    border.record(1);

    // The other program gone, the same set is taken.
    drop(somebody);
    let told = edited(&border, "", "");
    assert!(told.contains("in force"), "{told}");
    let path = border.set.path().join("hunt_groups.toml");
    assert!(fs::read_to_string(path).unwrap().contains("7000"));
    border.until("closed", |_| !accepts(old));
    border.set.sip = taken;
    border.call("7000").await.unwrap().hang_up().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_udp_listener_comes_moves_and_goes() {
    let um = um().await;
    let mut border = Set::new(&um, "", CONTROL).run();
    let peers = fs::read_to_string(border.set.path().join("peers.toml")).unwrap();
    let pbx = UdpSocket::bind("127.0.0.9:0").unwrap();
    pbx.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    let (one, two) = (free_port(), free_port());
    border
        .set
        .write("peers.toml", &format!("{peers}\n[[peer]]\nname = \"pbx\"\nkind = \"pbx\"\nhosts = \"127.0.0.9\"\ntransport = \"udp\"\nmode = \"unsecured\"\n"));
    let first = listener("udp", "udp", one);
    let told = edited(&border, "[media]", &format!("{first}[media]"));
    assert!(told.contains("in force"), "{told}");
    border.until("answering", |_| answers_options(&pbx, one, 1));
    let told = edited(&border, &first, &listener("udp", "udp", two));
    assert!(told.contains("taken out"), "{told}");
    border.until("answering", |_| answers_options(&pbx, two, 2));
    assert!(!answers_options(&pbx, one, 3), "nothing new begins there");
    border.until("told of it", |border| border.log().contains("listener.removed"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_over_a_listener_that_went_are_kept_by_a_take_over() {
    let um = um().await;
    let mut border = Set::new(&um, "", CONTROL).run();
    let (old, new) = (border.set.sip, free_port());
    let mut stays = call_by(&mut border, old).await;
    let told = edited(&border, &listener("tcp", "tcp", old), &listener("second", "tcp", new));
    assert!(told.contains("taken out"), "{told}");
    let process = border.taken_over();
    stays.hold(true).await.unwrap();
    stays.hold(false).await.unwrap();
    call_by(&mut border, new).await.hang_up().await.unwrap();
    stays.hang_up().await.unwrap();
    assert!(process.ended(&border).success());
    let records = border.records();
    assert!(records.len() == 2 && records.iter().all(|record| record["reason"] == "call.normal"), "{records:#?}");
}
