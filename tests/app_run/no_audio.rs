//! Calls in which one direction is silent, each for another reason, through the program as it is run: what `show media` says of the cause while they are up,
//! and that the records end with the same. The parties answer by the book and misbehave in their media alone.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use portcullis::simulator::connection::{Connection, Identity, response};
use portcullis::simulator::description::{self, Own, Theirs};
use portcullis::sip::{Builder, HeaderName, Message, Method};
use serde_json::Value;
use tokio::net::TcpListener;

use crate::ports::free_port;
use crate::process::{Border, PATIENCE, Set, portcullis, um};

const TRUNK: Ipv4Addr = Ipv4Addr::LOCALHOST;
const UM: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 6);
/// Nobody's.
const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
const SSRC: u32 = 0x0a0b_0c0d;

/// What a party sends, a packet each round.
#[derive(Clone, Copy, PartialEq)]
enum Sends {
    Nothing,
    Voice,
    /// Voice, for a few rounds.
    Briefly,
    /// Voice, but from an address that was never named.
    FromElsewhere,
    Type(u8),
    /// Sender reports alone.
    Reports,
    VoiceAndReports,
    /// Voice, and that most of the other's is lost.
    Complaints,
    Dtls,
    Stun,
    OnTheOtherPort,
    TooLong,
    Junk,
    /// Nothing, and its ports are closed.
    Closed,
}

struct Case {
    trunk: Sends,
    um: Sends,
    /// Of the offer and of the answer.
    directions: [&'static str; 2],
    /// Which direction is looked at, its cause, and a part of the sentence.
    told: (&'static str, &'static str, &'static str),
}

fn case(trunk: Sends, um: Sends, cause: &'static str, says: &'static str) -> Case {
    Case { trunk, um, directions: ["sendrecv"; 2], told: ("a_to_b", cause, says) }
}

fn cases() -> Vec<Case> {
    use Sends::*;
    vec![
        case(Voice, Voice, "audio.heard", "trunk -> um: heard, "),
        case(Nothing, Voice, "source.nothing", "trunk -> um: silent, nothing ever came from 127.0.0.1:"),
        case(FromElsewhere, Voice, "source.elsewhere", " packets came from 127.0.0.2:"),
        case(Type(96), Voice, "payload.type", " packets came under payload type 96, which trunk and um did not agree on"),
        case(Reports, Voice, "source.rtcp_only", " packets of RTCP came from trunk but none of RTP"),
        case(Dtls, Voice, "payload.dtls", " DTLS handshakes came instead of media"),
        case(Stun, Voice, "payload.ice", " STUN requests came instead of media"),
        case(OnTheOtherPort, Voice, "payload.port", " packets came to the wrong one of our two ports"),
        case(TooLong, Voice, "payload.oversized", " packets were longer than any we relay"),
        case(Junk, Voice, "payload.malformed", " packets were not RTP"),
        case(Voice, Closed, "network.unreachable", "ICMP port unreachable from 127.0.0.6 for 127.0.0.6:"),
        case(Voice, Nothing, "latch.none", " packets went to 127.0.0.6:"),
        case(VoiceAndReports, Complaints, "network.lost", "um reports that 78 % of what we send does not reach it"),
        case(Briefly, Briefly, "source.stopped", ", when the last packet came from 127.0.0.1:"),
        Case { directions: ["sendonly", "recvonly"], told: ("b_to_a", "hold.both", "um -> trunk: silent, on hold, "), ..case(Voice, Voice, "", "") },
    ]
}

/// The border with one caller and one UM, each over one connection.
struct Scene {
    border: Border,
    trunk: Connection,
    listener: TcpListener,
    um: Option<Connection>,
    identity: Option<Identity>,
    calls: u32,
}

/// A call that is up, and what its parties send by.
struct Call {
    number: usize,
    request: String,
    to: String,
    trunk: Party,
    um: Party,
}

struct Party {
    /// RTP and, a port higher, RTCP; `None`: closed.
    sockets: Option<[UdpSocket; 2]>,
    /// Where the border takes its RTP.
    border: SocketAddr,
    sequence: u16,
}

impl Scene {
    async fn start(secured: bool) -> Scene {
        let simulated = um().await;
        let listener = TcpListener::bind((UM, 0)).await.unwrap();
        let (port, tls) = (listener.local_addr().unwrap().port(), free_port());
        let tables = format!(
            "[control]\nsocket = \"control.sock\"\n[[listener]]\nname = \"tls\"\ntransport = \"tls\"\naddress = \"127.0.0.1:{tls}\"\n\
             certificate = \"certs/sbc.example.test.pem\"\nkey = \"certs/sbc.example.test.key\"\n"
        );
        let set = Set::new(&simulated, "", if secured { &tables } else { "[control]\nsocket = \"control.sock\"" });
        let how = match secured {
            true => "transport = \"tls\"\nca = \"certs/ca.pem\"\nlistener = \"tls\"\nmode = \"secured\"\ntls_names = [\"peer.example.test\"]",
            false => "transport = \"tcp\"\nmode = \"unsecured\"",
        };
        let peer = |name: &str, kind: &str, at: Ipv4Addr, port: u16| {
            format!("[[peer]]\nname = \"{name}\"\nkind = \"{kind}\"\nhosts = \"{at}\"\nport = {port}\n{how}\n")
        };
        set.write("peers.toml", &format!("version = 1\n{}{}", peer("trunk", "trunk", TRUNK, 5060), peer("um", "um-server", UM, port)));
        set.write("um_pools.toml", "version = 1\n[[um_pool]]\nname = \"um\"\nrouters = [\"um\"]\n");
        let mode = if secured { "secured" } else { "unsecured" };
        set.write("dial_plans.toml", &format!("version = 1\n[[dial_plan]]\nname = \"um\"\ndigits = 4\nmode = \"{mode}\"\num_pool = \"um\"\n"));
        let identity = secured.then(|| {
            let certs = set.path().join("certs");
            let names = ["--name", "sbc.example.test", "--name", "peer.example.test"];
            assert!(portcullis().args(["certs", "init"]).arg(&certs).args(names).output().expect("portcullis").status.success());
            let at = |file: &str| certs.join(file);
            Identity::load(&at("peer.example.test.pem"), &at("peer.example.test.key"), &at("ca.pem")).unwrap()
        });
        let border = set.run();
        let to = if secured { SocketAddr::from((TRUNK, tls)) } else { border.address() };
        let trunk = Connection::open(to, identity.as_ref().map(|identity| (identity, "sbc.example.test"))).await.unwrap();
        Scene { border, trunk, listener, um: None, identity, calls: 0 }
    }

    /// The next message UM is sent that is not about whether it lives.
    async fn at_um(&mut self) -> Message {
        if self.um.is_none() {
            let (tcp, _) = self.listener.accept().await.unwrap();
            self.um = Some(Connection::accept(tcp, self.identity.as_ref()).await.unwrap());
        }
        let um = self.um.as_mut().unwrap();
        loop {
            let message = um.next().await.unwrap().expect("the border keeps its connection");
            match message.method() {
                Some(Method::Options) => um.send(response(&message, 200, "um").finish()).await.unwrap(),
                Some(_) => return message,
                None => {}
            }
        }
    }

    async fn final_answer(&mut self) -> Message {
        loop {
            let message = self.trunk.next().await.unwrap().expect("the border keeps its connection");
            if message.status().is_some_and(|status| status >= 200) {
                assert_eq!(message.status(), Some(200), "{message:?}\n{}", self.border.log());
                return message;
            }
        }
    }

    async fn call(&mut self, case: &Case) -> Call {
        self.calls += 1;
        let (trunk, ours) = party(TRUNK, case.trunk, self.identity.is_some());
        let (um, theirs) = party(UM, case.um, self.identity.is_some());
        let request = format!("silent-{}@trunk.invalid", self.calls);
        let own = Own { direction: case.directions[0], ..ours };
        let mut invite = self.request("INVITE", 1, &request, "<sip:5000@127.0.0.1>");
        invite.body("application/sdp", description::write(&own).as_bytes());
        self.trunk.send(invite.finish()).await.unwrap();
        let asked = self.at_um().await;
        assert_eq!(asked.method(), Some(&Method::Invite));
        let offered = asked.sdp().and_then(description::read).expect("an offer");
        let mut reply = response(&asked, 200, "um");
        reply.header_fmt("Contact", format_args!("<sip:{};transport={}>", self.listener.local_addr().unwrap(), self.transport()));
        let own = Own { direction: case.directions[1], tag: offered.tag.unwrap_or(1), ..theirs };
        reply.body("application/sdp", description::write(&own).as_bytes());
        self.um.as_mut().unwrap().send(reply.finish()).await.unwrap();
        let answer = self.final_answer().await;
        let answered = answer.sdp().and_then(description::read).expect("an answer");
        let to = String::from_utf8_lossy(answer.first(HeaderName::To).unwrap()).into_owned();
        let ack = self.request("ACK", 1, &request, &to);
        self.trunk.send(ack.finish()).await.unwrap();
        assert_eq!(self.at_um().await.method(), Some(&Method::Ack));
        let at = |party: Party, theirs: Theirs| Party { border: theirs.address, ..party };
        Call { number: self.calls as usize, request, to, trunk: at(trunk, answered), um: at(um, offered) }
    }

    async fn hang_up(&mut self, call: &Call) {
        let bye = self.request("BYE", 2, &call.request, &call.to);
        self.trunk.send(bye.finish()).await.unwrap();
        let asked = self.at_um().await;
        assert_eq!(asked.method(), Some(&Method::Bye));
        self.um.as_mut().unwrap().send(response(&asked, 200, "um").finish()).await.unwrap();
        self.final_answer().await;
    }

    fn transport(&self) -> &'static str {
        if self.identity.is_some() { "tls" } else { "tcp" }
    }

    fn request(&self, method: &str, number: u32, call: &str, to: &str) -> Builder {
        let (local, transport) = (self.trunk.local, self.transport());
        let mut request = Builder::request(&Method::parse(method).unwrap(), &format!("sip:5000@127.0.0.1;transport={transport}"));
        let branch = format!("z9hG4bK{}{method}", call.split('@').next().unwrap());
        request.header_fmt("Via", format_args!("SIP/2.0/{} {local};branch={branch}", transport.to_ascii_uppercase()));
        request.header("Max-Forwards", "70").header("From", "<sip:2001@127.0.0.1>;tag=t").header("To", to).header("Call-ID", call);
        request.header_fmt("CSeq", format_args!("{number} {method}"));
        request.header_fmt("Contact", format_args!("<sip:2001@{local};transport={transport}>"));
        request
    }

    /// What `portcullis show media --json` says of the calls that are up, in their order.
    fn shown(&self) -> Vec<Value> {
        let socket = self.border.set.path().join("control.sock");
        let output = portcullis().args(["show", "media", "--json", "--socket"]).arg(socket).output().expect("portcullis");
        let shown: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"));
        shown["calls"].as_array().cloned().unwrap_or_default()
    }

    /// A ladder has its bars while the call is up: two for each direction that is heard, and none of one that never was.
    fn ladder_so_far(&self, call: &Call, case: &Case) {
        let heard = match (case.trunk, case.um) {
            (Sends::Voice, Sends::Voice) if case.directions == ["sendrecv"; 2] => 4,
            (Sends::Nothing, Sends::Voice) => 2,
            _ => return,
        };
        let ladder = |json: &[&str]| {
            let socket = self.border.set.path().join("control.sock");
            let output = portcullis().args(["ladder", &call.number.to_string()]).args(json).arg("--socket").arg(socket).output().expect("portcullis");
            String::from_utf8(output.stdout).unwrap()
        };
        let drawing: Value = serde_json::from_str(&ladder(&["--json"])).unwrap();
        let bars: Vec<&Value> = drawing["rows"].as_array().unwrap().iter().filter(|row| row["kind"] == "media").collect();
        assert_eq!(bars.len(), heard, "{bars:?}");
        assert!(bars.iter().all(|bar| bar["so_far"] == true && bar["packets"].as_u64() > Some(0)), "{bars:?}");
        let text = ladder(&[]);
        assert!(text.matches(" s so far").count() == heard && text.contains("= media A to B so far: "), "{text}");
    }

    /// All calls up at once, each misbehaving until all are told of as they should be; then their records.
    async fn told(mut self, cases: &[Case]) {
        let mut calls = Vec::new();
        for case in cases {
            calls.push(self.call(case).await);
        }
        let stranger = UdpSocket::bind((ELSEWHERE, 0)).unwrap();
        let limit = Instant::now() + 2 * PATIENCE;
        for round in 0u32.. {
            for (call, case) in calls.iter_mut().zip(cases) {
                call.trunk.send(case.trunk, round, &stranger);
                call.um.send(case.um, round, &stranger);
            }
            let shown = self.shown();
            assert_eq!(shown.len(), cases.len(), "{}", self.border.log());
            let wrong: Vec<String> = cases.iter().zip(&shown).filter_map(|(case, call)| differs(case, &call["stream"][case.told.0]["audio"])).collect();
            if wrong.is_empty() {
                break;
            }
            assert!(Instant::now() < limit, "after {round} rounds:\n{}\n{}", wrong.join("\n"), self.border.log());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        for (call, case) in calls.iter().zip(cases) {
            self.ladder_so_far(call, case);
        }
        for (call, case) in calls.iter_mut().zip(cases) {
            call.trunk.send(case.trunk, u32::MAX, &stranger);
            call.um.send(case.um, u32::MAX, &stranger);
            self.hang_up(call).await;
        }
        self.border.record(cases.len());
        let records = self.border.records();
        for (call, case) in calls.iter().zip(cases) {
            let record = records.iter().find(|record| record["call"] == call.number).unwrap_or_else(|| panic!("no record of call {}", call.number));
            assert_eq!(differs(case, &record["audio"][case.told.0]), None, "the record of call {}", call.number);
        }
    }
}

/// What is told instead of what the case wants.
fn differs(case: &Case, audio: &Value) -> Option<String> {
    let (direction, cause, says) = case.told;
    let told = audio["says"].as_str().unwrap_or_default();
    (audio["cause"] != cause || !told.contains(says)).then(|| format!("{direction}: {audio} in place of {cause}: …{says}…"))
}

fn party(host: Ipv4Addr, sends: Sends, secured: bool) -> (Party, Own) {
    let sockets = loop {
        let rtp = UdpSocket::bind((host, 0)).unwrap();
        let port = rtp.local_addr().unwrap().port();
        if let Some(rtcp) = port.checked_add(1).and_then(|port| UdpSocket::bind((host, port)).ok()) {
            break [rtp, rtcp];
        }
    };
    let address = sockets[0].local_addr().unwrap();
    let sockets = (sends != Sends::Closed).then_some(sockets);
    (Party { sockets, border: address, sequence: 0 }, Own::new(address, secured.then(description::key)))
}

impl Party {
    fn send(&mut self, sends: Sends, round: u32, stranger: &UdpSocket) {
        let Some([rtp, rtcp]) = &self.sockets else { return };
        let border_rtcp = SocketAddr::new(self.border.ip(), self.border.port() + 1);
        self.sequence += 1;
        let voice = voice(8, self.sequence);
        let out = |packet: &[u8]| sent(rtp.send_to(packet, self.border));
        match sends {
            Sends::Nothing | Sends::Closed => {}
            Sends::Briefly if round > 2 => {}
            Sends::Voice | Sends::Briefly => out(&voice),
            Sends::FromElsewhere => sent(stranger.send_to(&voice, self.border)),
            Sends::Type(number) => out(&self::voice(number, self.sequence)),
            Sends::Reports => sent(rtcp.send_to(&sender_report(), border_rtcp)),
            Sends::VoiceAndReports => {
                sent(rtcp.send_to(&sender_report(), border_rtcp));
                out(&voice);
            }
            Sends::Complaints => {
                sent(rtcp.send_to(&complaint(), border_rtcp));
                out(&voice);
            }
            Sends::Dtls => out(&[&[22, 254, 253, 0, 0][..], &[0; 60]].concat()),
            Sends::Stun => out(&[&[0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42][..], &[7; 12]].concat()),
            Sends::OnTheOtherPort => sent(rtcp.send_to(&voice, border_rtcp)),
            Sends::TooLong => out(&[&voice[..], &[0; 1_900]].concat()),
            Sends::Junk => out(b"who hears this?"),
        }
    }
}

/// ICMP errors of earlier packets are no concern of the party's.
fn sent(outcome: io::Result<usize>) {
    if let Err(error) = outcome {
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    }
}

fn voice(number: u8, sequence: u16) -> Vec<u8> {
    let mut packet = vec![0x80, number];
    packet.extend(sequence.to_be_bytes());
    packet.extend((u32::from(sequence) * 160).to_be_bytes());
    packet.extend(SSRC.to_be_bytes());
    packet.extend([0x55; 160]);
    packet
}

fn sender_report() -> Vec<u8> {
    [&[0x80, 200, 0, 6][..], &SSRC.to_be_bytes(), &[1; 20]].concat()
}

/// A receiver report in which 200 of 256 are lost.
fn complaint() -> Vec<u8> {
    [&[0x81, 201, 0, 7, 0, 0, 0, 9][..], &SSRC.to_be_bytes(), &[200, 0, 0, 99], &[0; 16]].concat()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_cause_of_silence_is_told_in_a_sentence() {
    Scene::start(false).await.told(&cases()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_that_sends_under_another_key_than_agreed_is_told_of() {
    let says = " packets failed SRTP authentication since ";
    Scene::start(true).await.told(&[case(Sends::Voice, Sends::Nothing, "srtp.authentication", says)]).await;
}
