//! One call as facts, rendered in every form: ladder, record, metrics, log; and no secret in any of them.

use std::io::Write;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use portcullis::adapters::telemetry::ladder::{Class, Counted, Drawing, Look, Mark, Stamp};
use portcullis::adapters::telemetry::{Anchor, Archive, Filed, LaddersKept, Outlets, Settings, Sink, Telemetry, ladder, log, records, redact};
use portcullis::media::control::{Io, Report, Run, Side, SideReport, Signalled, Way};
use portcullis::media::shortcut::WhyNot;
use portcullis::policy::ban::{Ban, Cause, Owner};
use portcullis::policy::flow::{Flow, FlowId, ListenerId, TlsIdentity};
use portcullis::policy::liveness::Liveness;
use portcullis::policy::overlap::Resolution;
use portcullis::policy::settings::SecurityMode;
use portcullis::policy::verdict::{Decision, Reason};
use portcullis::sdp::crypto::Suite;
use portcullis::signaling::fact::{CallId, CallRecord, Fact, FirewallEvent, Hop, LegRecord, NameError, NameOddity, NameState, ReleasedBy, What};
use portcullis::signaling::session::offer_answer::{Apart, SrtpKeys};
use portcullis::sip::Transport;
use portcullis::time::Time;

const KEY_A: &str = "WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz";
const KEY_B: &str = "NzB4d1BINUAvLEw6UzF3WSJ+PSdFcGdUJShpX1Zj";
const PASSWORD: &str = "correct-horse";
const DIGEST: &str = "6629fae49393a05397450978507c4ef1";
const CALL: CallId = CallId(17);

fn caller() -> SocketAddr {
    "127.0.0.1:40312".parse().unwrap()
}

fn router() -> SocketAddr {
    "127.0.0.1:6061".parse().unwrap()
}

fn worker() -> SocketAddr {
    "[2001:db8::25]:5067".parse().unwrap()
}

fn anchor() -> Anchor {
    Anchor { time: Time::from_millis(1000), wall: SystemTime::UNIX_EPOCH + Duration::from_millis(1_795_179_600_000) }
}

fn sdp(proto: &str, port: u16, key: &str, direction: &str) -> String {
    format!(
        "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio {port} {proto} 8 101\r\na=rtpmap:8 PCMA/8000\r\n\
         a=rtpmap:101 telephone-event/8000\r\na=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{key}|2^31|1:1\r\na={direction}\r\n"
    )
}

fn message(start: &str, cseq: &str, extra: &str, body: &str) -> Bytes {
    let kind = if body.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
    format!(
        "{start}\r\nVia: SIP/2.0/TLS host;branch=z9hG4bK77\r\nFrom: <sip:alice@trunk.test>;tag=1\r\nTo: <sip:7000@um.test>\r\nCall-ID: c1\r\nCSeq: {cseq}\r\n{extra}{kind}Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into()
}

fn tls() -> Arc<TlsIdentity> {
    Arc::new(TlsIdentity {
        version: "TLSv1.3".into(),
        cipher: "TLS13_AES_256_GCM_SHA384".into(),
        backend: Default::default(),
        names: vec!["trunk.test".into()],
        trusted_for: vec!["trunk".into()],
    })
}

fn flow(remote: SocketAddr) -> Arc<Flow> {
    let local = "127.0.0.1:5061".parse().unwrap();
    Arc::new(Flow { id: FlowId(1), transport: Transport::Tls, listener: ListenerId(0), local, remote, tls: Some(tls()) })
}

fn at(micros: u64, what: What) -> Fact {
    Fact { at: Time::from_nanos(micros * 1000), call: Some(CALL), what }
}

fn received(micros: u64, leg: Side, remote: SocketAddr, bytes: Bytes) -> Fact {
    at(micros, What::Received { leg: Some(leg), flow: flow(remote), bytes, retransmission: false })
}

fn sent(micros: u64, leg: Side, remote: SocketAddr, bytes: Bytes) -> Fact {
    at(micros, What::Sent { leg: Some(leg), transport: Transport::Tls, remote, over: None, bytes, retransmission: false })
}

fn again(mut fact: Fact) -> Fact {
    match &mut fact.what {
        What::Received { retransmission, .. } | What::Sent { retransmission, .. } => *retransmission = true,
        other => panic!("no message: {other:?}"),
    }
    fact
}

fn record() -> CallRecord {
    let leg = |peer: &str, remote, call_id: &str| LegRecord {
        peer: peer.into(),
        call_id: call_id.into(),
        transport: Transport::Tls,
        remote,
        tls: Some(tls()),
        mode: SecurityMode::Secured,
        suite: Some(Suite::AesCm128HmacSha1_80),
        codec: Some("PCMA/8000".into()),
        simulator: false,
    };
    let side = |received, lost, sent, address: SocketAddr| SideReport {
        path: Some((Way::Sockets(Io::IoUring), Some(WhyNot::Transformed))),
        received,
        received_bytes: received * 182,
        sent,
        lost,
        gaps: lost,
        jitter_us: 1250,
        round_trip_us: Some(8_250),
        refused_replay: 2,
        first: Some(Time::from_millis(1300)),
        last: Some(Time::from_millis(9240)),
        last_rtp: Some(Time::from_millis(9230)),
        first_sent: Some(Time::from_millis(1300)),
        last_sent: Some(Time::from_millis(9230)),
        signalled: Signalled::At(address),
        latched: Some(address),
        ..SideReport::default()
    };
    CallRecord {
        call: CALL,
        began: Time::from_millis(1000),
        progressed: Some(Time::from_millis(1070)),
        answered: Some(Time::from_millis(1250)),
        ended: Time::from_millis(9250),
        from: format!("sip:alice:{PASSWORD}@trunk.test"),
        to: "sip:7000@um.test".into(),
        dial_plan: Some("main".into()),
        a: leg("trunk", caller(), "c1"),
        b: Some(leg("um-worker", worker(), "b1")),
        redirects: vec![Hop { status: 302, from: "127.0.0.1:6061".into(), to: "[2001:db8::25]:5067".into(), transport: Transport::Tls }],
        transfers: Vec::new(),
        released_by: ReleasedBy::Caller,
        status: Some(200),
        reason: Reason::NormalClearing,
        fax: Default::default(),
        srtp_keys: Some(SrtpKeys::Apart(Apart::PayloadTypes)),
        digits: Default::default(),
        media: Some(Report { a: side(399, 1, 400, "127.0.0.1:20000".parse().unwrap()), b: side(400, 0, 399, "127.0.0.3:30000".parse().unwrap()) }),
    }
}

fn opened(micros: u64, side: Side, peer: &str, remote: SocketAddr) -> Fact {
    at(micros, What::LegOpened { side, peer: peer.into(), mode: SecurityMode::Secured, transport: Transport::Tls, remote })
}

/// A TLS call from a trunk, redirected once, answered, hung up.
fn call() -> Vec<Fact> {
    let authorization = format!("Proxy-Authorization: Digest username=\"alice\", response=\"{DIGEST}\"\r\n");
    let offer_a = sdp("RTP/SAVP", 20000, KEY_A, "sendrecv");
    let offer_b = sdp("RTP/SAVP", 30000, KEY_B, "sendrecv");
    let invite_a = message(&format!("INVITE sip:7000:{PASSWORD}@border.test SIP/2.0"), "1 INVITE", &authorization, &offer_a);
    let invite_b = message("INVITE sip:7000@um.test SIP/2.0", "1 INVITE", "", &offer_b);
    vec![
        received(1_000_000, Side::A, caller(), invite_a),
        at(1_000_100, What::CallBegan { peer: "trunk".into(), from: format!("sip:alice:{PASSWORD}@trunk.test"), to: "sip:7000@um.test".into() }),
        at(
            1_000_200,
            What::Decided(vec![
                Decision::passed("access_control", "default"),
                Decision::passed("hunt_group", "hunt group \"main\"").comparing("peer", "trunk").comparing("pilot", "7000"),
                Decision::passed("security_mode", "dial plan \"main\"").comparing("mode", "secured").comparing("transport", "TLS").comparing("leg", "A"),
            ]),
        ),
        sent(1_000_400, Side::A, caller(), message("SIP/2.0 100 Trying", "1 INVITE", "", "")),
        opened(1_000_500, Side::A, "trunk", caller()),
        opened(1_000_900, Side::B, "um-router", router()),
        sent(1_001_000, Side::B, router(), invite_b.clone()),
        again(sent(1_501_000, Side::B, router(), invite_b.clone())),
        received(1_520_000, Side::B, router(), message("SIP/2.0 302 Moved Temporarily", "1 INVITE", "Contact: <sip:7000@[2001:db8::25]:5067>\r\n", "")),
        sent(1_520_050, Side::B, router(), message("ACK sip:7000@um.test SIP/2.0", "1 ACK", "", "")),
        at(1_520_100, What::Redirected { hop: record().redirects[0].clone() }),
        opened(1_520_600, Side::B, "um-worker", worker()),
        sent(1_520_700, Side::B, worker(), invite_b),
        received(1_600_000, Side::B, worker(), message("SIP/2.0 200 OK", "1 INVITE", "", &sdp("RTP/SAVP", 40000, KEY_B, "sendrecv"))),
        sent(1_600_200, Side::A, caller(), message("SIP/2.0 200 OK", "1 INVITE", "", &sdp("RTP/SAVP", 30002, KEY_A, "sendrecv"))),
        at(1_600_250, What::CallAnswered),
        received(1_610_000, Side::A, caller(), message("ACK sip:7000@border.test SIP/2.0", "1 ACK", "", "")),
        sent(1_610_100, Side::B, worker(), message("ACK sip:7000@um.test SIP/2.0", "1 ACK", "", "")),
        received(9_240_000, Side::A, caller(), message("BYE sip:7000@border.test SIP/2.0", "2 BYE", "", "")),
        sent(9_240_100, Side::A, caller(), message("SIP/2.0 200 OK", "2 BYE", "", "")),
        sent(9_240_150, Side::B, worker(), message("BYE sip:7000@um.test SIP/2.0", "2 BYE", "", "")),
        received(9_241_000, Side::B, worker(), message("SIP/2.0 200 OK", "2 BYE", "", "")),
        at(9_250_000, What::CallEnded(Box::new(record()))),
    ]
}

/// Compares with the file, or writes it when asked to by the environment.
fn golden(name: &str, text: &str) {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if std::env::var_os("PORTCULLIS_WRITE_GOLDEN").is_some() {
        std::fs::write(&path, text).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap();
    assert!(expected == text, "{name} differs; PORTCULLIS_WRITE_GOLDEN=1 writes it anew. Now:\n{text}\nexpected:\n{expected}");
}

fn no_secret(text: &str) {
    for secret in [KEY_A, KEY_B, PASSWORD, DIGEST, "inline:W", "inline:N"] {
        assert!(!text.contains(secret), "{secret} appears in\n{text}");
    }
}

#[test]
fn the_ladder_of_a_redirected_call() {
    let text = ladder::render(&call());
    no_secret(&text);
    assert!(text.lines().all(|line| line.chars().count() <= 140), "{text}");
    golden("ladder_redirected.txt", &text);
}

/// Text, picture and what programs read are of one drawing: the same arrows, the same decisions, media where it began; and no secret in any of them.
#[test]
fn one_drawing_has_every_form() {
    let drawing = Drawing::of(&call(), &anchor());
    let json = serde_json::to_string(&drawing).unwrap();
    no_secret(&json);
    assert_eq!(serde_json::from_str::<Drawing>(&json).unwrap(), drawing, "it comes back as it went");
    assert_eq!(drawing.page(), ladder::render_at(&call(), &anchor()));
    let picture = drawing.picture(true);
    no_secret(&picture);
    let arrows: Vec<&Mark> = drawing.rows.iter().map(|row| &row.mark).filter(|mark| matches!(mark, Mark::Arrow { .. })).collect();
    assert_eq!(arrows.len(), drawing.messages.len());
    assert_eq!(picture.matches("data-message=").count(), arrows.len());
    assert_eq!(picture.matches(" again\"").count(), 1);
    let Mark::Arrow { from, to, class, message, description, .. } = arrows[0] else { panic!("{:?}", arrows[0]) };
    assert_eq!((*from, *to, *class, *message), (0, drawing.border, Class::Request, 0));
    assert_eq!(description.as_deref(), Some("RTP/SAVP PCMA 127.0.0.1:20000 sendrecv"));
    assert_eq!((drawing.messages[0].from, drawing.messages[0].to, drawing.messages[0].transport.as_str()), (caller(), flow(caller()).local, "tls"));
    assert!(drawing.messages[0].text.starts_with("INVITE sip:7000:") && drawing.messages[0].text.contains("inline:****"), "{}", drawing.messages[0].text);
    let bars: Vec<_> =
        drawing.rows.iter().filter_map(|row| if let Mark::Media { packets, last, .. } = row.mark { Some((packets, last - row.at)) } else { None }).collect();
    assert_eq!(bars, [(399, 7_930_000), (400, 7_930_000), (400, 7_930_000), (399, 7_930_000)]);
    assert!(drawing.rows.is_sorted_by_key(|row| row.at));
    let decided = |row: &&ladder::Row| matches!(&row.mark, Mark::Decision { stage, values, .. } if stage == "hunt_group" && values[1].value == "7000");
    assert_eq!(drawing.rows.iter().filter(decided).count(), 1);
}

/// As of every telephone system that calls from a port of the moment and names the one it listens at.
#[test]
fn what_goes_back_on_a_connection_is_drawn_towards_its_far_end() {
    let answer = message("SIP/2.0 200 OK", "1 INVITE", "", "");
    let over =
        |over| at(2, What::Sent { leg: Some(Side::A), transport: Transport::Tls, remote: listening(), over, bytes: answer.clone(), retransmission: false });
    let invite = received(1, Side::A, caller(), message("INVITE sip:x SIP/2.0", "1 INVITE", "", ""));
    let drawn = |sent: Fact| Drawing::of(&[invite.clone(), sent], &anchor());
    let back = drawn(over(Some(FlowId(1))));
    assert_eq!((back.columns.len(), back.messages[1].to), (2, caller()), "{:?}", back.columns);
    let anew = drawn(over(Some(FlowId(2))));
    assert_eq!((anew.columns.len(), anew.messages[1].to), (3, listening()), "a connection nothing came by leads where it was made to");
}

fn listening() -> SocketAddr {
    SocketAddr::new(caller().ip(), 5097)
}

/// What a terminal shows has its own width and times, and each line knows its row.
#[test]
fn a_ladder_fits_any_terminal() {
    let drawing = Drawing::of(&call(), &anchor());
    for width in [0, 40, 60, 80, 200] {
        for stamp in [Stamp::Both, Stamp::Clock, Stamp::After] {
            let look = Look { width, stamp, descriptions: width > 60 };
            let lines = drawing.lines(&look);
            assert!(lines.iter().all(|line| line.text.chars().count() <= width.max(40)), "{lines:#?}");
            assert!(lines.is_sorted_by_key(|line| line.row) && lines.last().unwrap().row == drawing.rows.len() - 1);
            assert_eq!(lines.iter().any(|line| line.text.contains("sendrecv")), width > 60);
        }
    }
}

/// Such as a serial console's: no line is longer than it is wide, so none is torn in two, and arrows keep their words.
#[test]
fn a_page_is_as_wide_as_it_is_asked_to_be() {
    let drawing = Drawing::of(&call(), &anchor());
    assert_eq!(drawing.page_of(140), drawing.page());
    for width in [80, 100, 110, 139, 200] {
        let page = drawing.page_of(width);
        assert!(page.lines().all(|line| line.chars().count() <= width), "{width}:\n{page}");
        for wanted in [" INVITE ", " BYE ", "leg A trunk: secured", "tls [2001:db8::25]:5067", "- - > sent or received again"] {
            assert!(page.contains(wanted), "{wanted} in {width}:\n{page}");
        }
    }
}

/// Above a ladder stands what each leg is; of a call that goes on, as far as it was seen, and from what is kept of it, which holds no keys.
#[test]
fn the_head_of_a_ladder_tells_mode_tls_and_suite_of_each_leg() {
    let whole = "TLSv1.3 TLS13_AES_256_GCM_SHA384, SRTP AES_CM_128_HMAC_SHA1_80, PCMA/8000";
    let of_both = [format!("leg A trunk: secured, TLS, {whole}"), format!("leg B um-worker: secured, TLS, {whole}")];
    assert_eq!(ladder::render(&call()).lines().take(2).collect::<Vec<_>>(), of_both);
    let facts: Vec<Fact> = call().into_iter().filter(|fact| !matches!(fact.what, What::CallEnded(_))).collect();
    assert_eq!(ladder::render(&facts).lines().take(2).collect::<Vec<_>>(), of_both, "while it goes on");
    let (sink, telemetry) = start(Settings::default());
    facts.iter().for_each(|fact| sink.put(fact.clone()));
    assert!(telemetry.flush(Duration::from_secs(5)));
    assert_eq!(telemetry.ladder(CALL).unwrap().lines().take(2).collect::<Vec<_>>(), of_both, "from what is kept");
    // The second target has not answered yet.
    let until = |what: fn(&What) -> bool| facts.iter().take_while(|fact| !what(&fact.what)).cloned().collect::<Vec<_>>();
    let ringing = ladder::render(&until(|what| matches!(what, What::Redirected { .. })));
    assert!(ringing.lines().nth(1).unwrap().starts_with("leg B um-router: secured, TLS, "), "{ringing}");
    assert_eq!(ladder::render(&until(|what| matches!(what, What::LegOpened { .. }))).lines().filter(|line| line.starts_with("leg ")).count(), 0);
}

#[test]
fn a_ladder_with_more_addresses_than_columns_and_unreadable_bytes_stays_on_the_page() {
    let long = "x".repeat(700);
    let mut facts: Vec<Fact> = (0..20u16)
        .map(|n| {
            sent(
                u64::from(n),
                Side::B,
                SocketAddr::new(worker().ip(), 5000 + n),
                message("INVITE sip:x SIP/2.0", "1 INVITE", "", &sdp("RTP/AVP", 4000, KEY_A, "inactive")),
            )
        })
        .collect();
    facts.push(received(50, Side::A, caller(), Bytes::from_static(b"\x80\xff\x00 no SIP \r\n\r\n")));
    facts.push(received(
        60,
        Side::A,
        "[2001:db8:1111:2222:3333:4444:5555:6666]:65535".parse().unwrap(),
        message(&format!("{long} sip:x SIP/2.0"), "1 X", "", ""),
    ));
    facts.push(at(70, What::Decided(vec![Decision::refused("routing", long, Reason::NoRoute).comparing("to", "a\r\nb\u{1b}[31m")])));
    let text = ladder::render(&facts);
    assert!(text.lines().all(|line| line.chars().count() <= 140), "{text}");
    assert!(text.contains("unreadable, 15 bytes") && text.contains("a??b?[31m"), "{text}");
    assert_eq!(ladder::render(&[]).lines().count(), 1, "an empty call has the border's lifeline only");
}

/// Nobody's message is drawn as another's: those who find no column share one that says so, and each arrow there names its address, media as well.
#[test]
fn from_the_seventh_far_end_on_a_ladder_says_whose_each_arrow_is() {
    let server = |n: u8| SocketAddr::from(([127, 0, 1, n], 5062));
    let mut facts = vec![received(1, Side::A, caller(), message("INVITE sip:7000@border.test SIP/2.0", "1 INVITE", "", ""))];
    for n in 1..=14u8 {
        facts.push(sent(u64::from(n) * 10, Side::B, server(n), message("INVITE sip:7000@um.test SIP/2.0", "1 INVITE", "", "")));
        facts.push(received(u64::from(n) * 10 + 5, Side::B, server(n), message("SIP/2.0 503 Service Unavailable", "1 INVITE", "", "")));
    }
    let six = Drawing::of(&facts[..13], &anchor());
    assert_eq!(six.columns.len(), 8);
    assert_eq!(six.columns[7], "tls 127.0.1.6:5062", "six have a column each");
    assert!(!six.page().contains("127.0.1.6:5062 INVITE"), "and need no more words");
    let report = record().media.unwrap();
    let counted = Counted { at: Time::from_millis(9240), a: caller(), b: Some(server(14)), report: &report, so_far: true };
    let drawing = Drawing::so_far(&facts, &anchor(), &counted);
    assert_eq!((drawing.columns.len(), drawing.columns[6].as_str(), drawing.columns[7].as_str()), (8, "tls 127.0.1.5:5062", "9 others"));
    for row in &drawing.rows {
        match &row.mark {
            Mark::Arrow { from, to, label, message, .. } => {
                let passed = &drawing.messages[*message];
                let (column, address) = if *from == drawing.border { (*to, passed.to) } else { (*from, passed.from) };
                let named = drawing.columns[column].ends_with(&format!(" {address}"));
                assert!(named ^ (column == 7 && label.starts_with(&format!("{address} "))), "{label} of {address} in column {column}");
            }
            Mark::Media { from, to, far, .. } => assert_eq!(far.as_deref(), (*from.max(to) == 7).then_some("127.0.1.14:5062")),
            _ => {}
        }
    }
    let look = Look { width: 80, stamp: Stamp::After, descriptions: true };
    let followed: String = drawing.head(&look).into_iter().chain(drawing.lines(&look).into_iter().map(|line| line.text + "\n")).collect();
    for shown in [drawing.page(), drawing.picture(true), serde_json::to_string(&drawing).unwrap(), followed] {
        for wanted in ["9 others", "127.0.1.6:5062 INVITE", "127.0.1.14:5062 INVITE", "127.0.1.14:5062 503 Servi", "127.0.1.14:5062"] {
            assert!(shown.contains(wanted), "{wanted} is not in\n{shown}");
        }
    }
    assert!(drawing.page().contains("127.0.1.14:5062 503 Service Unavailable") && drawing.page().contains("127.0.1.14:5062 RTP 400"), "{}", drawing.page());
    // So many stand on the caller's side: one who calls from a pool that moves.
    let callers: Vec<Fact> =
        (1..=6).map(|n| received(u64::from(n), Side::A, server(n), message("INVITE sip:7000@border.test SIP/2.0", "1 INVITE", "", ""))).collect();
    let drawing = Drawing::of(&callers, &anchor());
    assert_eq!((drawing.border, drawing.columns[0].as_str(), drawing.columns[1].as_str()), (4, "3 others", "tls 127.0.1.1:5062"));
    assert!(drawing.page().contains("127.0.1.6:5062 INVITE"), "{}", drawing.page());
}

#[derive(Default)]
struct Stored(Mutex<Vec<Filed>>);

impl Archive for Stored {
    fn keep(&self, filed: Filed) {
        self.0.lock().unwrap().push(filed);
    }
}

/// What comes of these facts in a store, with the ladder of every call.
fn stored(facts: Vec<Fact>) -> Filed {
    let stored = Arc::<Stored>::default();
    let outlets = Outlets { archive: Some(stored.clone()), ..Outlets::default() };
    let (sink, telemetry) = Telemetry::start(Settings { ladders_kept: LaddersKept::All, ..Settings::default() }, outlets, anchor()).unwrap();
    facts.into_iter().for_each(|fact| sink.put(fact));
    assert!(telemetry.flush(Duration::from_secs(5)));
    let mut stored = stored.0.lock().unwrap();
    assert_eq!(stored.len(), 1);
    stored.remove(0)
}

#[test]
fn no_secret_is_stored_with_a_call() {
    let filed = stored(call());
    let (ladder, invite) = (filed.ladder.unwrap(), filed.invite.unwrap());
    for text in [ladder.as_str(), filed.line.as_str(), invite.told.as_str(), std::str::from_utf8(&invite.message).unwrap()] {
        no_secret(text);
    }
    assert_eq!(serde_json::from_str::<Drawing>(&ladder).unwrap(), Drawing::of(&call(), &anchor()), "it is the ladder that memory has");
}

/// The answer that refuses a call, and the ACK to it, are facts that come after its end.
#[test]
fn the_stored_ladder_of_a_refused_call_has_the_answer() {
    let refused =
        CallRecord { answered: None, status: Some(404), reason: Reason::NoHuntGroup, released_by: ReleasedBy::Border, b: None, media: None, ..record() };
    let facts = vec![
        received(1_000_000, Side::A, caller(), message("INVITE sip:7001@border.test SIP/2.0", "1 INVITE", "", "")),
        at(1_000_100, What::CallBegan { peer: "trunk".into(), from: "sip:alice@trunk.test".into(), to: "sip:7001@um.test".into() }),
        at(1_000_200, What::CallEnded(Box::new(refused))),
        sent(1_000_300, Side::A, caller(), message("SIP/2.0 404 Not Found", "1 INVITE", "", "")),
        received(1_010_000, Side::A, caller(), message("ACK sip:7001@border.test SIP/2.0", "1 ACK", "", "")),
    ];
    let drawing: Drawing = serde_json::from_str(&stored(facts).ladder.unwrap()).unwrap();
    let labels: Vec<&str> = drawing.rows.iter().filter_map(|row| if let Mark::Arrow { label, .. } = &row.mark { Some(label.as_str()) } else { None }).collect();
    assert_eq!(labels, ["INVITE", "404 Not Found", "ACK"]);
}

#[test]
fn the_record_of_a_redirected_call() {
    let line = records::line(&record(), &anchor());
    no_secret(&line);
    assert!(!line.contains('\n'));
    let value: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(value["began"], "2026-11-20T13:00:00.000Z");
    assert_eq!(value["answered"], "2026-11-20T13:00:00.250Z");
    assert_eq!(value["setup_ms"], 250);
    assert_eq!(value["a"]["tls"]["cipher"], "TLS13_AES_256_GCM_SHA384");
    assert_eq!(value["b"]["srtp_suite"], "AES_CM_128_HMAC_SHA1_80");
    assert_eq!(value["media"]["a_to_b"]["loss_percent"], 0.25);
    assert_eq!(value["reason"], "call.normal");
    golden("record.json", &format!("{}\n", serde_json::to_string_pretty(&value).unwrap()));
    // The order of keys is part of the form; the pretty form above has them sorted.
    let keys: Vec<usize> = ["\"call\"", "\"began\"", "\"ended\"", "\"from\"", "\"reason\"", "\"a\":", "\"b\":", "\"media\"", "\"audio\""]
        .iter()
        .map(|key| line.find(key).unwrap())
        .collect();
    assert!(keys.is_sorted(), "{line}");
}

#[test]
fn the_record_of_a_call_refused_at_once_has_nulls() {
    let refused = CallRecord {
        b: None,
        progressed: None,
        answered: None,
        media: None,
        status: Some(488),
        reason: Reason::ModeMedia,
        released_by: ReleasedBy::Border,
        redirects: Vec::new(),
        ..record()
    };
    let value: serde_json::Value = serde_json::from_str(&records::line(&refused, &anchor())).unwrap();
    assert_eq!(
        (&value["b"], &value["media"], &value["answered"], &value["talk_ms"]),
        (&serde_json::Value::Null, &serde_json::Value::Null, &serde_json::Value::Null, &serde_json::Value::Null)
    );
    assert_eq!((value["fault"].as_str(), value["released_by"].as_str(), value["status"].as_u64()), (Some("policy"), Some("border"), Some(488)));
}

const SOON: Duration = Duration::from_secs(10);

fn start(settings: Settings) -> (Sink, Telemetry) {
    Telemetry::start(settings, Outlets::default(), anchor()).unwrap()
}

/// Prometheus' text format: every sample with its labels, after the rules of the exposition.
fn samples(text: &str) -> Vec<(String, f64)> {
    let mut typed = std::collections::HashSet::new();
    let mut samples = Vec::new();
    for line in text.lines() {
        if let Some(comment) = line.strip_prefix("# TYPE ") {
            assert!(typed.insert(comment.split(' ').next().unwrap().to_owned()), "twice: {comment}");
            continue;
        }
        if line.starts_with('#') {
            continue;
        }
        let (name, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("no value: {line}"));
        let family = name.split('{').next().unwrap();
        let base = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| family.strip_suffix(suffix)).filter(|base| typed.contains(*base)).unwrap_or(family);
        assert!(typed.contains(base), "{line} has no type");
        assert!(family.starts_with("portcullis_"), "{line}");
        samples.push((name.to_owned(), value.parse().unwrap()));
    }
    samples
}

fn value(samples: &[(String, f64)], name: &str) -> f64 {
    samples.iter().find(|(known, _)| known == name).unwrap_or_else(|| panic!("no {name} in {samples:#?}")).1
}

#[test]
fn the_metrics_of_a_call_a_stranger_and_a_refusal() {
    let (sink, telemetry) = start(Settings::default());
    for fact in call() {
        sink.put(fact);
    }
    sink.put(at(0, What::CallBegan { peer: "trunk".into(), from: "a".into(), to: "b".into() }));
    let decision = Decision::refused("peer", "no peer", Reason::StrangerAddress);
    sink.put(Fact { at: Time::ZERO, call: None, what: What::Stranger { transport: Transport::Udp, remote: caller(), decision } });
    sink.put(Fact {
        at: Time::ZERO,
        call: None,
        what: What::Standalone { method: "X-ATTACK\n".into(), peer: "trunk".into(), status: 405, reason: Reason::MethodNotAllowed },
    });
    sink.put(Fact { at: Time::ZERO, call: None, what: What::PeerName { name: "um.test".into(), state: NameState::Fresh { addresses: vec![caller().ip()] } } });
    sink.put(Fact {
        at: Time::ZERO,
        call: None,
        what: What::PeerName { name: "um.test".into(), state: NameState::Stale { error: NameError::Timeout, age: SOON, grace: SOON } },
    });
    let odd = |given| NameOddity::TooMany { given, kept: 16 };
    sink.put(Fact { at: Time::ZERO, call: None, what: What::PeerNameOdd { name: "um.test".into(), oddity: odd(2000) } });
    sink.put(Fact {
        at: Time::ZERO,
        call: None,
        what: What::PeersShareAddress {
            place: "192.0.2.1/32".parse().unwrap(),
            transport: Transport::Udp,
            peers: vec!["a".into(), "b".into()],
            resolution: Resolution::Rejected,
            since: "2026-11-20T13:05:52Z".into(),
        },
    });
    sink.put(Fact { at: Time::ZERO, call: None, what: What::PeersChanged { number: 4 } });
    let down = Liveness::Down { since: Time::ZERO, why: Reason::LivenessTimeout };
    for (peer, last, state) in [
        ("um", 1, Liveness::Up { since: Time::ZERO }),
        ("um", 2, down),
        ("gone", 3, down),
        ("gone", 3, Liveness::Unwatched),
        ("um", 2, Liveness::Draining { since: Time::ZERO, until: Time::ZERO }),
    ] {
        let address = std::net::SocketAddr::from(([192, 0, 2, last], 5060));
        sink.put(at(0, What::PeerLiveness { peer: peer.into(), address, state, why: state.why() }));
        sink.put(at(0, What::Probed { peer: peer.into(), address, answer: Ok(200), took: Duration::from_millis(250) }));
    }
    assert!(telemetry.flush(SOON));
    let text = telemetry.metrics().exposition();
    no_secret(&text);
    let all = samples(&text);
    for (name, expected) in [
        ("portcullis_calls", 1.0),
        ("portcullis_calls_began_total{peer=\"trunk\"}", 2.0),
        ("portcullis_calls_ended_total{answered=\"yes\",fault=\"none\",peer=\"trunk\",reason=\"call.normal\",released_by=\"caller\"}", 1.0),
        ("portcullis_calls_total{mode_a=\"secured\",mode_b=\"secured\"}", 1.0),
        ("portcullis_call_setup_seconds_bucket{le=\"0.1\"}", 0.0),
        ("portcullis_call_setup_seconds_bucket{le=\"0.25\"}", 1.0),
        ("portcullis_call_setup_seconds_count", 1.0),
        ("portcullis_messages_total{class=\"request\",direction=\"received\",method=\"INVITE\",transport=\"tls\"}", 1.0),
        ("portcullis_messages_total{class=\"2xx\",direction=\"sent\",method=\"BYE\",transport=\"tls\"}", 1.0),
        ("portcullis_messages_total{class=\"3xx\",direction=\"received\",method=\"INVITE\",transport=\"tls\"}", 1.0),
        ("portcullis_retransmissions_total{direction=\"sent\",transport=\"tls\"}", 1.0),
        ("portcullis_redirects_total{status=\"3xx\"}", 1.0),
        ("portcullis_strangers_total{reason=\"peer.stranger_address\",transport=\"udp\"}", 1.0),
        ("portcullis_standalone_total{class=\"4xx\",method=\"other\",peer=\"trunk\"}", 1.0),
        ("portcullis_refusals_total{reason=\"access.method\"}", 1.0),
        ("portcullis_media_packets_total{direction=\"received\",leg=\"a\"}", 399.0),
        ("portcullis_media_lost_total{leg=\"a\"}", 1.0),
        ("portcullis_media_refused_total{cause=\"replay\",leg=\"b\"}", 2.0),
        ("portcullis_peer_name_addresses{name=\"um.test\",state=\"stale\"}", 1.0),
        ("portcullis_peer_name_addresses{name=\"um.test\",state=\"fresh\"}", 0.0),
        ("portcullis_peer_name_oddities_total{kind=\"too_many\"}", 1.0),
        ("portcullis_peers_sharing_total{resolution=\"rejected\"}", 1.0),
        ("portcullis_peer_table_number", 4.0),
        ("portcullis_peer_up{peer=\"um\"}", 1.0),
        ("portcullis_peer_addresses{peer=\"um\",state=\"up\"}", 1.0),
        ("portcullis_peer_addresses{peer=\"um\",state=\"down\"}", 0.0),
        ("portcullis_peer_addresses{peer=\"um\",state=\"draining\"}", 1.0),
        ("portcullis_peer_answer_seconds{peer=\"um\"}", 0.25),
        ("portcullis_telemetry_lost_total{kind=\"calls\"}", 0.0),
    ] {
        assert_eq!(value(&all, name), expected, "{name}\n{text}");
    }
    assert!(!text.contains("gone"), "who is watched no more is shown no more\n{text}");
    assert!(all.iter().any(|(name, one)| name.starts_with("portcullis_build_info{version=") && *one == 1.0), "{text}");
}

#[test]
fn a_flood_of_new_names_does_not_grow_the_metrics_without_bound() {
    let (sink, telemetry) = start(Settings::default());
    for n in 0..5000u32 {
        sink.put(at(0, What::CallBegan { peer: format!("peer{n}").into(), from: String::new(), to: String::new() }));
        if n % 1000 == 0 {
            assert!(telemetry.flush(SOON));
        }
    }
    assert!(telemetry.flush(SOON));
    let all = samples(&telemetry.metrics().exposition());
    assert!(all.iter().filter(|(name, _)| name.starts_with("portcullis_calls_began_total")).count() <= 1001);
    assert_eq!(value(&all, "portcullis_calls_began_total{peer=\"other\"}"), 4000.0);
}

/// A writer that blocks until it is let go.
#[derive(Clone, Default)]
struct Clogged {
    gate: Arc<Mutex<()>>,
}

impl Write for Clogged {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        drop(self.gate.lock().unwrap());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_clogged_output_never_blocks_the_core_and_costs_traffic_before_calls() {
    let clogged = Clogged::default();
    let gate = Arc::clone(&clogged.gate);
    let held = gate.lock().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let records = folder.path().join("calls.jsonl");
    let settings = Settings { queue: 1000, records: Some(records.clone()), ..Settings::default() };
    let (sink, telemetry) = tracing::subscriber::with_default(log::subscriber(&settings.log, move || clogged.clone()), || start(settings));
    // The first line of the log hangs. Then a flood of strangers, then calls end.
    let began = std::time::Instant::now();
    for n in 0..5000 {
        let decision = Decision::refused("peer", "no peer", Reason::StrangerAddress);
        sink.put(Fact { at: Time::from_millis(n), call: None, what: What::Stranger { transport: Transport::Udp, remote: caller(), decision } });
    }
    for n in 0..200 {
        sink.put(Fact { at: Time::ZERO, call: Some(CallId(n)), what: What::CallEnded(Box::new(record())) });
    }
    assert!(began.elapsed() < Duration::from_secs(2), "putting took {:?}", began.elapsed());
    assert!(!telemetry.flush(Duration::from_millis(50)), "nothing moves");
    drop(held);
    assert!(telemetry.flush(SOON));
    let all = samples(&telemetry.metrics().exposition());
    assert_eq!(value(&all, "portcullis_telemetry_lost_total{kind=\"calls\"}"), 0.0);
    let lost = value(&all, "portcullis_telemetry_lost_total{kind=\"traffic\"}");
    // Traffic may fill three quarters of the queue; the thread holds a batch of 256 at most while it hangs, and none where it was not yet woken.
    assert!((5000.0 - 750.0 - 256.0..=5000.0 - 750.0).contains(&lost), "{lost}");
    assert_eq!(value(&all, "portcullis_call_records_total"), 200.0);
    assert_eq!(std::fs::read_to_string(records).unwrap().lines().count(), 200);
}

fn end_call(sink: &Sink, telemetry: &Telemetry) {
    sink.put(at(0, What::CallEnded(Box::new(record()))));
    assert!(telemetry.flush(SOON));
}

#[test]
fn records_follow_a_rotation() {
    let folder = tempfile::tempdir().unwrap();
    let (now, old) = (folder.path().join("calls.jsonl"), folder.path().join("calls.jsonl.1"));
    std::fs::write(&now, "{\"earlier\":true}\n").unwrap();
    let (sink, telemetry) = start(Settings { records: Some(now.clone()), ..Settings::default() });
    end_call(&sink, &telemetry);
    std::fs::rename(&now, &old).unwrap();
    end_call(&sink, &telemetry);
    assert!(!now.exists(), "until asked, the file that was opened is written");
    telemetry.reopen();
    end_call(&sink, &telemetry);
    let lines = |path| {
        let text = std::fs::read_to_string(path).unwrap();
        assert!(text.lines().all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()), "{text}");
        text.lines().count()
    };
    assert_eq!((lines(&old), lines(&now)), (3, 1));
}

#[test]
fn a_record_that_cannot_be_written_is_counted_and_the_next_is_tried() {
    let (sink, telemetry) = start(Settings { records: Some("/dev/full".into()), ..Settings::default() });
    end_call(&sink, &telemetry);
    end_call(&sink, &telemetry);
    assert_eq!(value(&samples(&telemetry.metrics().exposition()), "portcullis_call_record_failures_total"), 2.0);
    let nowhere = Settings { records: Some("/nonexistent/folder/calls.jsonl".into()), ..Settings::default() };
    let error = Telemetry::start(nowhere, Outlets::default(), anchor()).err().expect("must not start").to_string();
    assert!(error.contains("/nonexistent/folder/calls.jsonl"), "{error}");
}

#[derive(Clone, Default)]
struct Page(Arc<Mutex<Vec<u8>>>);

impl Write for Page {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// What the log says of these facts.
fn logged(format: log::Format, filter: &str, facts: Vec<Fact>) -> String {
    let page = Page::default();
    let settings = log::Settings { format, filter: filter.into(), flood_lines: 5 };
    let writer = page.clone();
    let whole = Settings { log: settings.clone(), ..Settings::default() };
    let (sink, telemetry) = tracing::subscriber::with_default(log::subscriber(&settings, move || writer.clone()), || start(whole));
    for fact in facts {
        sink.put(fact);
    }
    assert!(telemetry.flush(SOON));
    let bytes = page.0.lock().unwrap().clone();
    String::from_utf8(bytes).unwrap()
}

/// Each key of a JSON object as it is written, twice where it stands twice.
struct Keys(Vec<String>);

impl<'de> serde::Deserialize<'de> for Keys {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Keys, D::Error> {
        struct Object;

        impl<'de> serde::de::Visitor<'de> for Object {
            type Value = Keys;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Keys, A::Error> {
                let mut keys = Vec::new();
                while let Some((key, _)) = map.next_entry::<String, serde::de::IgnoredAny>()? {
                    keys.push(key);
                }
                Ok(Keys(keys))
            }
        }

        deserializer.deserialize_map(Object)
    }
}

/// RFC 8259 §4: names are unique, or readers disagree about what was said.
#[test]
fn no_line_of_a_json_log_has_a_key_twice() {
    let log = logged(log::Format::Json, "trace", call());
    let lines: Vec<&str> = log.lines().collect();
    assert!(lines.len() > 20, "{log}");
    for line in lines {
        let Keys(mut keys) = serde_json::from_str(line).unwrap();
        keys.sort();
        let count = keys.len();
        keys.dedup();
        assert_eq!(keys.len(), count, "{line}");
    }
    let sent = log.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()).find(|line| line["message"] == "sent").unwrap();
    assert!(sent["sip"].as_str().is_some_and(|sip| !sip.is_empty()), "{sent}");
}

/// An answered call in which one side could not be heard says so in its record, in the log and in the metrics, each with the cause.
#[test]
fn a_call_without_sound_says_why_in_the_record_the_log_and_the_metrics() {
    let mut record = record();
    let run = Run { packets: 214, first: Time::from_millis(4_000), last: Time::from_millis(9_240) };
    let report = record.media.as_mut().unwrap();
    report.a = SideReport {
        refused_authentication: 214,
        failing: Some(run),
        signalled: report.a.signalled,
        sent: 400,
        last_sent: report.a.last_sent,
        ..Default::default()
    };
    report.b = SideReport { sent: 0, first_sent: None, last_sent: None, ..report.b.clone() };
    let says = "trunk -> um-worker: silent, 214 packets failed SRTP authentication since 13:00:03; the key it was to use is not what trunk sends with.";
    let line: serde_json::Value = serde_json::from_str(&records::line(&record, &anchor())).unwrap();
    assert_eq!((&line["audio"]["a_to_b"]["cause"], &line["audio"]["a_to_b"]["says"]), (&"srtp.authentication".into(), &says.into()));
    assert_eq!(line["audio"]["b_to_a"]["fault"], true, "nothing came back from where it is sent to, either");
    let ended = at(9_250_000, What::CallEnded(Box::new(record)));
    let log = logged(log::Format::Human, "info", vec![ended.clone()]);
    assert!(log.contains("WARN") && log.contains(says) && log.contains("cause=\"srtp.authentication\""), "{log}");
    let (sink, telemetry) = start(Settings::default());
    sink.put(ended);
    assert!(telemetry.flush(SOON));
    let all = samples(&telemetry.metrics().exposition());
    assert_eq!(value(&all, "portcullis_audio_total{cause=\"srtp.authentication\",direction=\"a_to_b\"}"), 1.0);
    assert_eq!(value(&all, "portcullis_media_mos_count{direction=\"b_to_a\"}"), 1.0);
    assert_eq!(value(&all, "portcullis_media_round_trip_seconds_count{leg=\"b\"}"), 1.0);
}

#[test]
fn the_log_tells_a_call_in_a_few_lines_and_never_a_secret() {
    let human = logged(log::Format::Human, "info", call());
    no_secret(&human);
    for expected in ["call began", "peer=trunk", "redirect followed", "call answered", "call ended", "reason=call.normal", "setup_ms=250"] {
        assert!(human.contains(expected), "no {expected} in\n{human}");
    }
    assert_eq!(human.lines().count(), 4, "{human}");
    let everything = logged(log::Format::Json, "trace", call());
    no_secret(&everything);
    for line in everything.lines() {
        let value: serde_json::Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert!(value["message"].is_string() && value["level"].is_string() && value["timestamp"].is_string(), "{line}");
    }
    assert!(everything.lines().count() > 15, "{everything}");
}

#[test]
fn a_flood_of_strangers_takes_a_few_lines_a_minute() {
    let stranger = |n: u64| {
        let decision = Decision::refused("peer", "no peer", Reason::StrangerAddress).comparing("said", "x\nlevel=INFO forged line");
        Fact { at: Time::from_millis(100_000 + n * 10), call: None, what: What::Stranger { transport: Transport::Udp, remote: caller(), decision } }
    };
    // A minute and a half of a hundred a second.
    let text = logged(log::Format::Human, "info", (0..9000).map(stranger).collect());
    let told = text.lines().filter(|line| line.contains(" stranger ")).count();
    assert_eq!(told, 10, "{text}");
    assert_eq!(text.lines().filter(|line| line.contains("lines left out") && line.contains("strangers")).count(), 1, "{text}");
    assert_eq!(text.lines().count(), 11, "nobody can forge a line:\n{text}");
}

/// What became of the kernel's table is told with what to do; bans, which strangers can cause at will, are limited, and nobody writes lines of his own.
#[test]
fn the_firewall_tells_what_to_do_and_bans_flood_no_log() {
    let fact = |event: FirewallEvent| Fact { at: Time::from_millis(100_000), call: None, what: What::Firewall(event) };
    let ban = |last: u8| Ban {
        net: std::net::IpAddr::from([192, 0, 2, last]).into(),
        cause: if last == 0 { Cause::Ordered("fraud\nlevel=ERROR forged".into()) } else { Cause::Scan },
        owner: if last == 0 { Owner::Operator("ada".into()) } else { Owner::Kernel },
        since: Time::ZERO,
        until: Some(Time::from_millis(600_000)),
    };
    let mut facts = vec![
        fact(FirewallEvent::NotInForce { why: "no CAP_NET_ADMIN".into(), remedy: "grant it".into(), retry: Some(SOON) }),
        fact(FirewallEvent::InForce { table: "portcullis".into(), elements: 7, took: Duration::from_micros(12_345) }),
        fact(FirewallEvent::Rebuilt { table: "portcullis".into(), missing: "the whole table".into(), took: SOON }),
        fact(FirewallEvent::Unbanned { ban: ban(9), why: "by operator ada".into() }),
    ];
    facts.extend((0..100).map(|n| fact(FirewallEvent::Banned(ban(n)))));
    let text = logged(log::Format::Human, "info", facts.clone());
    for expected in
        ["firewall not in force", "grant it", "took_ms=12.345", "firewall.rebuilt", "missing=the whole table", "unbanned net=192.0.2.9/32", "by=operator ada"]
    {
        assert!(text.contains(expected), "no {expected} in\n{text}");
    }
    assert_eq!(text.lines().count(), 4 + 5, "nobody can forge a line:\n{text}");

    let (sink, telemetry) = start(Settings::default());
    facts.into_iter().for_each(|fact| sink.put(fact));
    assert!(telemetry.flush(SOON));
    let all = samples(&telemetry.metrics().exposition());
    for (name, expected) in [
        ("portcullis_firewall_in_force", 1.0),
        ("portcullis_firewall_rebuilt_total", 1.0),
        ("portcullis_bans_total{cause=\"scan\"}", 99.0),
        ("portcullis_bans_total{cause=\"ordered\"}", 1.0),
    ] {
        assert!(all.iter().any(|(found, value)| found == name && *value == expected), "{name}: {all:?}");
    }
}

#[test]
fn ladders_are_kept_in_bounded_memory_without_secrets() {
    let kept = ladder::Settings { calls: 3, entries: 10, bytes: 1 << 20, ..ladder::Settings::default() };
    let (sink, telemetry) = start(Settings { ladder: kept, ..Settings::default() });
    for n in 0..10 {
        for fact in call() {
            sink.put(Fact { call: Some(CallId(n)), ..fact });
        }
    }
    assert!(telemetry.flush(SOON));
    assert_eq!(telemetry.ladders(), [CallId(7), CallId(8), CallId(9)]);
    assert_eq!(telemetry.ladder(CallId(1)), None);
    let text = telemetry.ladder(CallId(9)).unwrap();
    no_secret(&text);
    assert!(text.contains("13:00:00.000") && text.contains("ended by the caller"), "{text}");
}

#[test]
fn a_redacted_message_keeps_its_length_and_loses_every_secret() {
    for fact in call() {
        if let What::Received { bytes, .. } | What::Sent { bytes, .. } = &fact.what {
            let out = redact(bytes);
            assert_eq!(out.len(), bytes.len());
            no_secret(&String::from_utf8_lossy(&out));
        }
    }
}
