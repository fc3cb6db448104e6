//! The simulated UM by raw SIP messages on real sockets: each way in which it is strict, without a border in between.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use portcullis::app::certs;
use portcullis::policy::settings::SecurityMode;
use portcullis::simulator::connection::{Connection, Identity, response};
use portcullis::simulator::profile::Profile;
use portcullis::simulator::rules::Rules;
use portcullis::simulator::trunk::{self, Manners, Stayed};
use portcullis::simulator::um::{Conduct, Settings, Um};
use portcullis::sip::{HeaderName, Message, Method};

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const PATIENCE: Duration = Duration::from_secs(20);
const PLAIN: &str = "m=audio 40000 RTP/AVP 0 101\r\na=rtpmap:0 PCMU/8000\r\na=ptime:20\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\n";
const SECURED: &str = "m=audio 31182 RTP/SAVP 0 101\r\na=rtpmap:0 PCMU/8000\r\na=ptime:20\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\na=rtcp:31183\r\n\
                       a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:Rt5s9b1WdrBKIoygx4q3Tx8Zog/+Qt1/UTEmxr9x\r\n";

fn settings(identity: Option<Identity>) -> Settings {
    let any = SocketAddr::new(HERE, 0);
    Settings::new(any, any, any, identity.map(|identity| [identity.clone(), identity.clone(), identity]))
}

fn invite(connection: &Connection, to: &str, from: &str, more: &str, media: &str) -> Bytes {
    let body = format!("v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=SIP Call\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n{media}");
    let local = connection.local;
    let text = format!(
        "INVITE {to} SIP/2.0\r\nVia: SIP/2.0/TCP {local};branch=z9hG4bKraw1\r\nMax-Forwards: 70\r\nFrom: <{from}>;tag=raw\r\nTo: <{to}>\r\n\
         Call-ID: raw@{local}\r\nCSeq: 1 INVITE\r\nContact: <sip:2001@{local}>\r\nSupported: timer\r\n{more}Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    Bytes::from(text)
}

/// The final answer.
async fn asked(connection: &mut Connection, message: Bytes) -> Message {
    connection.send(message).await.unwrap();
    let answer = async {
        loop {
            let message = connection.next().await.unwrap().expect("the UM closed the connection");
            if message.status().is_some_and(|status| status >= 200) {
                return message;
            }
        }
    };
    tokio::time::timeout(PATIENCE, answer).await.expect("an answer")
}

fn text(message: &Message) -> String {
    String::from_utf8_lossy(message.bytes()).into_owned()
}

async fn call(um: SocketAddr, to: &str, from: &str, more: &str, media: &str) -> Message {
    let mut connection = Connection::open(um, None).await.unwrap();
    let message = invite(&connection, to, from, more, media);
    asked(&mut connection, message).await
}

#[tokio::test]
async fn exchange_2016_redirects_twice_by_ports_of_its_own_and_answers_as_exchange_does() {
    let um = Um::start(settings(None)).await.unwrap();
    let first = call(um.router, "sip:5000@127.0.0.1", "sip:2001@127.0.0.1", "", PLAIN).await;
    assert_eq!(first.status(), Some(302));
    assert_eq!(first.contact().unwrap().unwrap().uri, format!("sip:5000@{};transport=Tcp", um.service));
    let second = call(um.service, "sip:5000@127.0.0.1", "sip:2001@127.0.0.1", "", PLAIN).await;
    assert_eq!(second.contact().unwrap().unwrap().uri, format!("sip:5000@{};transport=Tcp", um.worker));
    let answer = call(um.worker, "sip:5000@127.0.0.1", "sip:2001@127.0.0.1", "", PLAIN).await;
    assert_eq!(answer.status(), Some(200));
    let answer = text(&answer);
    for oddity in [
        "CONTACT: <sip:",
        ";automata;text;audio;video;image\r\n",
        "SUPPORTED: Replaces\r\nSUPPORTED: timer\r\nSUPPORTED: 100rel\r\n",
        "ALLOW: ACK\r\nAllow: CANCEL,",
        "Session-Expires: 1800;refresher=uac\r\n",
        "a=label:main-audio\r\n",
        "b=CT:10000000\r\n",
        "a=fmtp:101 0-16,36\r\n",
        "m=audio ",
    ] {
        assert!(answer.contains(oddity), "{oddity:?} is missing:\n{answer}");
    }
    assert!(!answer.contains("a=rtcp") && !answer.contains("Require"), "{answer}");
    assert_eq!(um.taken()[0].service, "subscriber access, asks for the caller's PIN");
}

#[tokio::test]
async fn exchange_2010_redirects_once_and_the_worker_changes_its_port() {
    let mut settings = settings(None);
    settings.rules = Rules::new(Profile::Exchange2010, SecurityMode::Unsecured);
    settings.recycled = Some((SocketAddr::new(HERE, 0), Duration::from_millis(200)));
    let um = Um::start(settings.clone()).await.unwrap();
    let other = um.other_worker.unwrap();
    let mut seen = Vec::new();
    for _ in 0..100 {
        let redirect = call(um.router, "sip:5000@127.0.0.1", "sip:2001@127.0.0.1", "", PLAIN).await;
        seen.push(redirect.contact().unwrap().unwrap().uri.to_owned());
        if [um.worker, other].iter().all(|worker| seen.contains(&format!("sip:5000@{worker};transport=Tcp"))) {
            assert!(settings.log.tells(&["recycled", &other.to_string()]));
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("never both workers: {seen:?}");
}

#[tokio::test]
async fn every_role_refuses_what_does_not_fit_and_says_why() {
    let mut settings = settings(None);
    settings.rules.digits = Some(4);
    let um = Um::start(settings.clone()).await.unwrap();
    for role in [um.router, um.service, um.worker] {
        let refused = call(role, "sip:5000@127.0.0.1", "sip:bob@192.168.1.101", "", PLAIN).await;
        assert_eq!(refused.status(), Some(403));
        let diagnostics = refused.named("ms-diagnostics-public").next().map(|value| String::from_utf8_lossy(value).into_owned());
        assert!(diagnostics.is_some_and(|text| text.contains("sip:bob@192.168.1.101 does not fit the extension plan")), "{}", text(&refused));
    }
    assert!(settings.log.tells(&["refused INVITE with 403", "From sip:bob@192.168.1.101 does not fit the extension plan", "event 1021"]));
    let status = |more: &'static str| async move { call(um.worker, "sip:5000@127.0.0.1", "sip:2001@127.0.0.1", more, PLAIN).await.status() };
    assert_eq!(status("Diversion: \" Jane\" \"<sip:1000@127.0.0.1>;reason=no-answer\r\n").await, Some(400));
    assert_eq!(status("Diversion: <sip:65514@127.0.0.1>;reason=no-answer\r\n").await, Some(404));
    assert!(settings.log.tells(&["65514, no extension of 4 digits", "event 1109"]));
    assert_eq!(status("Session-Expires: 90\r\n").await, Some(422));
    assert_eq!(status("Diversion: <sip:1000@127.0.0.1>;reason=no-answer\r\n").await, Some(200));
}

#[tokio::test]
async fn unknown_sources_unknown_numbers_and_too_many_calls_are_refused_and_nobody_is_challenged() {
    let mut settings = settings(None);
    settings.rules.gateways = vec!["127.0.0.9".parse().unwrap()];
    let um = Um::start(settings.clone()).await.unwrap();
    let refused = call(um.router, "sip:5000@127.0.0.1", "sip:2001@127.0.0.1", "", PLAIN).await;
    assert_eq!(refused.status(), Some(403));
    assert!(settings.log.tells(&["127.0.0.1 is the address of no UM IP gateway"]));
    settings.rules.gateways = vec![HERE];
    settings.rules.access_numbers = vec!["5000".into()];
    settings.conduct = Conduct { max_calls: Some(1), ..Conduct::default() };
    let um = Um::start(settings.clone()).await.unwrap();
    assert_eq!(call(um.router, "sip:5001@127.0.0.1", "sip:2001@127.0.0.1", "", PLAIN).await.status(), Some(404));
    assert_eq!(call(um.worker, "sip:5000@127.0.0.1", "sip:2001@127.0.0.1", "", PLAIN).await.status(), Some(200));
    assert_eq!(call(um.worker, "sip:5000@127.0.0.1", "sip:2001@127.0.0.1", "", PLAIN).await.status(), Some(503));
    assert!(!settings.log.lines().iter().any(|line| line.contains("401") || line.contains("407")));
}

#[tokio::test]
async fn keys_in_an_offer_to_a_plan_without_srtp_are_an_incompatible_security_setting() {
    let um = Um::start(settings(None)).await.unwrap();
    assert_eq!(call(um.worker, "sip:5000@127.0.0.1", "sip:2001@127.0.0.1", "", SECURED).await.status(), Some(488));
    assert_eq!(call(um.worker, "sip:5000@127.0.0.1", "sip:2001@127.0.0.1", "", "m=audio 4000 RTP/AVP 9\r\n").await.status(), Some(488));
}

const HOSTED: &str = "df6b236d-056d-416a-8f5f-f2e8e1a0238d.um.outlook.com";
const OURS: &str = "sbc.example.com";

fn identities(folder: &Path, names: [&str; 3]) -> [Identity; 3] {
    certs::init(folder, &certs::Init::new(names)).unwrap();
    names.map(|name| Identity::load(&folder.join(format!("{name}.pem")), &folder.join(format!("{name}.key")), &folder.join("ca.pem")).unwrap())
}

#[tokio::test]
async fn hosted_um_takes_the_offer_that_worked_and_refuses_what_it_refused() {
    let folder = tempfile::tempdir().unwrap();
    let [hosted, ours, other] = identities(folder.path(), [HOSTED, OURS, "other.example.com"]);
    let mut settings = settings(Some(hosted));
    settings.rules = Rules { hosted_name: Some(HOSTED.into()), gateway_names: vec![OURS.into()], ..Rules::new(Profile::Hosted, SecurityMode::Secured) };
    let um = Um::start(settings.clone()).await.unwrap();
    let (to, from) = (format!("sip:87000@{HOSTED}"), "sip:10048@10.0.0.6");
    let ask = async |identity: &Identity, to: &str, media: &str| {
        let mut connection = Connection::open(um.router, Some((identity, HOSTED))).await.unwrap();
        let message = invite(&connection, to, from, "", media);
        asked(&mut connection, message).await
    };
    let answer = ask(&ours, &to, SECURED).await;
    assert_eq!(answer.status(), Some(200));
    assert!(
        text(&answer).contains("m=audio") && text(&answer).contains("RTP/SAVP 0 101") && text(&answer).contains("a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:")
    );
    assert_eq!(ask(&other, &to, SECURED).await.status(), Some(403), "a certificate of another name");
    assert_eq!(ask(&ours, "sip:87000@sbc.example.com", SECURED).await.status(), Some(488), "another host in To");
    assert_eq!(ask(&ours, &to, PLAIN).await.status(), Some(488), "no SRTP");
    for attribute in ["a=rtcp-mux", "a=ice-ufrag:tlMR", "a=candidate:1 1 UDP 2130706431 10.77.44.43 50052 typ host"] {
        assert_eq!(ask(&ours, &to, &format!("{SECURED}{attribute}\r\n")).await.status(), Some(488), "{attribute}");
    }
    let lower_case = "SBC.example.com";
    settings.rules.gateway_names = vec![lower_case.into()];
    let strict = Um::start(settings).await.unwrap();
    let mut connection = Connection::open(strict.router, Some((&ours, HOSTED))).await.unwrap();
    let message = invite(&connection, &to, from, "", SECURED);
    assert_eq!(asked(&mut connection, message).await.status(), Some(403), "letters' case counts");
}

fn caller(border: SocketAddr, manners: Manners) -> trunk::Settings {
    trunk::Settings {
        border,
        border_name: String::new(),
        identity: None,
        media: HERE,
        caller: "2001".into(),
        called: "5000".into(),
        diversion: Some("<sip:1000@127.0.0.1>;reason=no-answer".into()),
        says: 440.0,
        listens: 1000.0,
        manners,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_whole_call_with_keys_greeting_and_hanging_up() {
    let mut settings = settings(None);
    settings.conduct = Conduct { hangs_up: Some(Duration::from_secs(2)), rtcp: Some(Duration::from_millis(300)), ..Conduct::default() };
    let um = Um::start(settings).await.unwrap();
    let manners = Manners { law: portcullis::simulator::g711::Law::Mu, rtcp: Some(Duration::from_millis(300)), ..Manners::default() };
    let mut call = trunk::call(caller(um.worker, manners)).await.unwrap();
    call.dial("12#");
    assert_eq!(call.stay(PATIENCE).await.unwrap(), Stayed::HungUp);
    let heard = call.over().await;
    assert!(heard.is_clear() && heard.reports > 2, "{heard}");
    let taken = um.until(PATIENCE, |taken| taken.ended).await.unwrap();
    assert_eq!(taken.heard.digits.as_str(), "12#");
    assert!(taken.heard.is_clear() && taken.heard.reports > 2, "{}", taken.heard);
    assert_eq!(taken.service, "call answering for mailbox 1000 (by Diversion)");
}

/// The next request, which must be this one.
async fn request(connection: &mut Connection, method: Method) -> Message {
    let next = tokio::time::timeout(PATIENCE, connection.next()).await.expect("in time").unwrap().expect("a message");
    assert_eq!(next.method(), Some(&method), "{}", text(&next));
    next
}

fn in_dialog(answer: &Message, method: &str, seq: u32, body: &str) -> Bytes {
    let to = String::from_utf8_lossy(answer.first(HeaderName::To).unwrap()).into_owned();
    let call_id = answer.call_id().unwrap();
    let of_sdp = if body.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
    let text = format!(
        "{method} sip:um SIP/2.0\r\nVia: SIP/2.0/TCP 127.0.0.1;branch=z9hG4bK{method}{seq}\r\nFrom: <sip:2001@127.0.0.1>;tag=raw\r\nTo: {to}\r\n\
         Call-ID: {call_id}\r\nCSeq: {seq} {method}\r\nContact: <sip:2001@127.0.0.1>\r\nMax-Forwards: 70\r\n{of_sdp}Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    Bytes::from(text)
}

fn sipfrag(refer: &Message, line: &str) -> Bytes {
    let header = |name| String::from_utf8_lossy(refer.first(name).unwrap_or_default()).into_owned();
    let text = format!(
        "NOTIFY sip:um SIP/2.0\r\nVia: SIP/2.0/TCP 127.0.0.1;branch=z9hG4bKn{}\r\nFrom: {}\r\nTo: {}\r\nCall-ID: {}\r\nCSeq: 7 NOTIFY\r\nMax-Forwards: 70\r\n\
         Event: refer\r\nSubscription-State: terminated\r\nContent-Type: message/sipfrag\r\nContent-Length: {}\r\n\r\n{line}\r\n",
        line.len(),
        header(HeaderName::To),
        header(HeaderName::From),
        header(HeaderName::CallId),
        line.len() + 2
    );
    Bytes::from(text)
}

#[tokio::test]
async fn a_fax_is_put_on_hold_referred_and_left_when_the_fax_server_has_it() {
    let mut settings = settings(None);
    settings.conduct.fax_server = Some("sip:fax.contoso.com:5060;transport=tcp".into());
    let um = Um::start(settings).await.unwrap();
    let mut connection = Connection::open(um.worker, None).await.unwrap();
    let message = invite(&connection, "sip:5000@127.0.0.1", "sip:2001@127.0.0.1", "", PLAIN);
    let answer = asked(&mut connection, message).await;
    connection.send(in_dialog(&answer, "ACK", 1, "")).await.unwrap();
    let t38 = "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=image 40000 udptl t38\r\na=T38FaxVersion:0\r\n";
    let held = asked(&mut connection, in_dialog(&answer, "INVITE", 2, t38)).await;
    assert_eq!(held.status(), Some(200));
    assert!(text(&held).contains("udptl t38\r\na=inactive\r\n"), "{}", text(&held));
    connection.send(in_dialog(&answer, "ACK", 2, "")).await.unwrap();
    let refer = request(&mut connection, Method::Refer).await;
    assert_eq!(refer.refer_to().unwrap().uri, "sip:fax.contoso.com:5060;transport=tcp");
    assert!(refer.referred_by().unwrap().is_some());
    connection.send(response(&refer, 202, "raw").finish()).await.unwrap();
    assert_eq!(asked(&mut connection, sipfrag(&refer, "SIP/2.0 200 OK")).await.status(), Some(200));
    request(&mut connection, Method::Bye).await;
    assert_eq!(um.until(PATIENCE, |taken| taken.ended).await.unwrap().referred, Some(200));
}

#[tokio::test]
async fn a_transfer_that_fails_leaves_the_caller_with_um() {
    let mut settings = settings(None);
    settings.conduct.refers = Some((Duration::ZERO, "sip:2002@127.0.0.1".into()));
    let um = Um::start(settings.clone()).await.unwrap();
    let mut connection = Connection::open(um.worker, None).await.unwrap();
    let message = invite(&connection, "sip:5000@127.0.0.1", "sip:2001@127.0.0.1", "", PLAIN);
    let answer = asked(&mut connection, message).await;
    connection.send(in_dialog(&answer, "ACK", 1, "")).await.unwrap();
    let refer = request(&mut connection, Method::Refer).await;
    connection.send(response(&refer, 202, "raw").finish()).await.unwrap();
    asked(&mut connection, sipfrag(&refer, "SIP/2.0 486 Busy Here")).await;
    let taken = um.until(PATIENCE, |taken| taken.referred.is_some()).await.unwrap();
    assert_eq!((taken.referred, taken.ended), (Some(486), false));
    assert!(settings.log.tells(&["failed with 486 (event 1025)"]));
    assert_eq!(asked(&mut connection, in_dialog(&answer, "BYE", 3, "")).await.status(), Some(200));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mediation_server_rings_in_two_early_dialogs_and_drops_calls_without_rtcp() {
    let mut settings = settings(None);
    settings.rules = Rules::new(Profile::Mediation, SecurityMode::Unsecured);
    let mediation = Um::start(settings).await.unwrap();
    // No RTCP comes from the answering side: the caller gives up as a Mediation Server does, only sooner.
    let impatient = Manners { expects_rtcp: Some(Duration::from_secs(1)), ..Manners::mediation() };
    let mut call = trunk::call(caller(mediation.router, impatient)).await.unwrap();
    assert_eq!(call.progress, [100, 183, 180], "PRACK came between them");
    assert_eq!(call.stay(PATIENCE).await.unwrap(), Stayed::NoRtcp);
    assert!(mediation.until(PATIENCE, |taken| taken.ended).await.unwrap().ended);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_three_crypto_lines_is_taken_and_its_key_holds() {
    let folder = tempfile::tempdir().unwrap();
    let [mediation, um, _] = identities(folder.path(), ["mediation.example.com", "um.example.com", "other.example.com"]);
    let um = Um::start(settings(Some(um))).await.unwrap();
    let settings = trunk::Settings { border_name: "um.example.com".into(), identity: Some(mediation), ..caller(um.worker, Manners::mediation()) };
    let call = trunk::call(settings).await.unwrap();
    assert_eq!(call.theirs.tag, Some(2), "the first that is no scale-SRTP");
    assert!(call.hears(PATIENCE).await.is_clear());
    assert!(um.until(PATIENCE, |taken| taken.heard.is_clear()).await.unwrap().heard.is_clear(), "with the MKI of the line that was taken");
    call.hang_up().await.unwrap();
}

/// The next answer to this method of this call.
async fn heard(connection: &mut Connection) -> (String, u16, Method) {
    let message = tokio::time::timeout(PATIENCE, connection.next()).await.expect("an answer").unwrap().expect("the UM closed the connection");
    (message.call_id().unwrap().to_owned(), message.status().unwrap(), message.cseq().unwrap().method)
}

#[tokio::test]
async fn calls_of_one_connection_ring_beside_each_other_and_may_be_given_up() {
    let mut ringing = settings(None);
    ringing.ring = Duration::from_millis(400);
    let um = Um::start(ringing).await.unwrap();
    let mut connection = Connection::open(um.worker, None).await.unwrap();
    let first = String::from_utf8(invite(&connection, "sip:5000@127.0.0.1", "sip:2001@127.0.0.1", "", PLAIN).to_vec()).unwrap();
    for number in 0..5 {
        let other = first.replace("Call-ID: raw@", &format!("Call-ID: {number}@")).replace("z9hG4bKraw1", &format!("z9hG4bKraw1{number}"));
        connection.send(other.into()).await.unwrap();
    }
    // All ring before the first is answered: one after the other would take two seconds, with an answer between.
    for _ in 0..10 {
        let (call, status, _) = heard(&mut connection).await;
        assert!(status < 200, "{call} {status}");
    }
    let cancel = first.replace("Call-ID: raw@", "Call-ID: 3@").replace("z9hG4bKraw1", "z9hG4bKraw13").replace("INVITE sip", "CANCEL sip");
    let cancel = cancel.replace("1 INVITE", "1 CANCEL").split("Content-Type").next().unwrap().to_owned() + "Content-Length: 0\r\n\r\n";
    connection.send(cancel.into()).await.unwrap();
    let mut finals = Vec::new();
    while finals.len() < 6 {
        let (call, status, method) = heard(&mut connection).await;
        finals.push((call.split('@').next().unwrap().to_owned(), status, method));
    }
    let of = |call: &str, status: u16, method: Method| (call.to_owned(), status, method);
    assert_eq!(finals[..2], [of("3", 200, Method::Cancel), of("3", 487, Method::Invite)]);
    assert_eq!(finals[2..], ["0", "1", "2", "4"].map(|call| of(call, 200, Method::Invite)));
}
