//! Peers asked for signs of life over real sockets: one that answers, one behind a closed port, one that drains, one that comes back.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use crate::ports::free_port;
use crate::process::{Border, Set, um};

/// A peer on UDP that answers OPTIONS with a status; 0: not at all.
struct Responder {
    status: Arc<AtomicU16>,
    port: u16,
}

impl Responder {
    fn start() -> Responder {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let (port, status) = (socket.local_addr().unwrap().port(), Arc::new(AtomicU16::new(200)));
        let answers = status.clone();
        std::thread::spawn(move || {
            let mut buffer = [0; 2048];
            while let Ok((length, from)) = socket.recv_from(&mut buffer) {
                let status = answers.load(Ordering::Relaxed);
                if status != 0 {
                    let _ = socket.send_to(answer(&String::from_utf8_lossy(&buffer[..length]), status).as_bytes(), from);
                }
            }
        });
        Responder { status, port }
    }
}

/// Written by hand, from RFC 3261 §8.2.6.
fn answer(request: &str, status: u16) -> String {
    let copied = ["Via:", "From:", "To:", "Call-ID:", "CSeq:"];
    let lines = request.lines().filter(|line| copied.iter().any(|name| line.starts_with(name)));
    let lines: Vec<String> = lines.map(|line| if line.starts_with("To:") { format!("{line};tag=life") } else { line.to_owned() }).collect();
    format!("SIP/2.0 {status} Whatever\r\n{}\r\nContent-Length: 0\r\n\r\n", lines.join("\r\n"))
}

fn state(border: &Border, peer: &str, state: &str) -> Option<f64> {
    border.metric(&format!("portcullis_peer_addresses{{peer=\"{peer}\",state=\"{state}\"}}"))
}

fn with_probes(set: &Set, more: &str) {
    let text = std::fs::read_to_string(set.path().join("peers.toml")).unwrap();
    set.write("peers.toml", &format!("{}\n{more}", text.replace("kind = \"um-router\"\n", "kind = \"um-router\"\nprobe = \"5s\"\n")));
}

fn peer(name: &str, kind: &str, address: SocketAddr, transport: &str) -> String {
    format!(
        "[[peer]]\nname = \"{name}\"\nkind = \"{kind}\"\nhosts = \"{}\"\nport = {}\ntransport = \"{transport}\"\nmode = \"unsecured\"\nprobe = \"5s\"\n",
        address.ip(),
        address.port()
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn peers_are_asked_over_udp_and_tcp_and_their_states_are_told() {
    let um = um().await;
    let responder = Responder::start();
    let set = Set::new(&um, "", "");
    let closed = free_port();
    let text = std::fs::read_to_string(set.path().join("border.toml")).unwrap();
    let udp = format!("[[listener]]\nname = \"udp\"\ntransport = \"udp\"\naddress = \"127.0.0.1:{}\"\n[media]", set.sip);
    set.write("border.toml", &text.replace("[media]", &udp));
    let at = |last: u8, port| SocketAddr::from(([127, 0, 0, last], port));
    with_probes(&set, &(peer("gateway", "gateway", at(1, responder.port), "udp") + &peer("shut", "gateway", at(9, closed), "tcp")));
    let mut border = set.run();
    border.until("sure of the router", |border| state(border, "router", "up") == Some(1.0));
    border.until("sure of the gateway", |border| state(border, "gateway", "up") == Some(1.0));
    border.until("sure that one is shut", |border| state(border, "shut", "down") == Some(1.0));
    assert_eq!(border.metric("portcullis_peer_up{peer=\"shut\"}"), Some(0.0));
    assert!(border.metric("portcullis_peer_answer_seconds{peer=\"gateway\"}").is_some_and(|seconds| seconds < 1.0));
    let log = border.log();
    let line = log.lines().find(|line| line.contains("peer is down")).unwrap_or_default();
    assert!(line.contains("1088 1400") && line.contains("liveness.unreachable") && line.contains(&format!("127.0.0.9:{closed}")), "{log}");
    responder.status.store(503, Ordering::Relaxed);
    border.until("told that it drains", |border| state(border, "gateway", "draining") == Some(1.0));
    responder.status.store(200, Ordering::Relaxed);
    border.until("told that it is back", |border| state(border, "gateway", "up") == Some(1.0));
}

/// The pool's first router is a port that accepts connections and says nothing; ten seconds would be lost on each call.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_passes_over_a_router_that_gives_no_sign_of_life() {
    let um = um().await;
    let mute = TcpListener::bind((Ipv4Addr::new(127, 0, 0, 7), 0)).unwrap();
    let address = mute.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut kept = Vec::new();
        while let Ok((stream, _)) = mute.accept() {
            kept.push(stream);
        }
    });
    let set = Set::new(&um, "", "");
    with_probes(&set, &peer("mute", "um-router", address, "tcp"));
    set.write("um_pools.toml", "version = 1\n[[um_pool]]\nname = \"um\"\nrouters = [\"mute\", \"router\"]\nservers = [\"service\", \"worker\"]\n");
    let mut border = set.run();
    border.until("sure that it is mute", |border| state(border, "mute", "down") == Some(1.0));
    let began = std::time::Instant::now();
    let call = border.call("5000").await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
    call.hang_up().await.unwrap();
    assert_eq!(border.record(1)["reason"], "call.normal");
}

/// An OPTIONS goes out as written: read from the socket, not by the border's own parser.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_question_on_the_wire() {
    let um = um().await;
    let listener = TcpListener::bind((Ipv4Addr::new(127, 0, 0, 8), 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let set = Set::new(&um, "", "");
    with_probes(&set, &peer("watched", "um-server", address, "tcp"));
    let mut border = set.run();
    let (mut stream, _) = listener.accept().unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut text = String::new();
    let mut buffer = [0; 2048];
    while !text.ends_with("\r\n\r\n") {
        let length = stream.read(&mut buffer).unwrap();
        assert!(length > 0, "{text}");
        text.push_str(&String::from_utf8_lossy(&buffer[..length]));
    }
    assert!(text.starts_with(&format!("OPTIONS sip:127.0.0.8:{};transport=tcp SIP/2.0\r\n", address.port())), "{text}");
    for line in ["Max-Forwards: 70", "CSeq: 1 OPTIONS", "Content-Length: 0", "Accept: application/sdp"] {
        assert!(text.contains(&format!("\r\n{line}\r\n")), "{line} in {text}");
    }
    stream.write_all(answer(&text, 405).as_bytes()).unwrap();
    border.until("content with 405", |border| state(border, "watched", "up") == Some(1.0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_looks_at_the_peers_sees_why_one_is_down() {
    let um = um().await;
    let set = Set::new(&um, "", "[control]\nsocket = \"control.sock\"\n");
    with_probes(&set, &peer("shut", "gateway", SocketAddr::from(([127, 0, 0, 9], free_port())), "tcp"));
    let mut border = set.run();
    border.until("sure that one is shut", |border| state(border, "shut", "down") == Some(1.0));
    let socket = border.set.path().join("control.sock");
    let output = crate::process::portcullis().args(["show", "peers", "--socket"]).arg(socket).output().unwrap();
    let page = String::from_utf8_lossy(&output.stdout);
    assert!(page.contains("\nshut at 127.0.0.9 is down: liveness.unreachable: ") && !page.contains("router at"), "{page}");
}
