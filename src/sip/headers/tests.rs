//! Typed headers: what is read, what is refused, and that one bad header spoils no other.

use bytes::Bytes;

use crate::sip::{HeaderError, HeaderName, HeaderProblem, Limits, Message, Method, Refresher};

fn with(lines: &str) -> Message {
    let text = format!("INVITE sip:bob@example.com SIP/2.0\r\n{}\r\n\r\n", lines.trim().replace("\n", "\r\n"));
    Message::parse(Bytes::from(text), &Limits::default()).unwrap()
}

fn problem<T: std::fmt::Debug>(result: Result<T, HeaderError>) -> (HeaderName, HeaderProblem) {
    let error = result.unwrap_err();
    (error.name, error.problem)
}

const WHOLE: &str = "Via: SIP/2.0/UDP h;branch=z9hG4bKx\nFrom: <sip:a@h>;tag=1\nTo: <sip:b@h>\nCall-ID: x@h\nCSeq: 7 INVITE";

#[test]
fn a_request_with_all_it_needs_passes_the_check() {
    assert_eq!(with(WHOLE).check(), Ok(()));
    assert_eq!(with(&format!("{WHOLE}\nMax-Forwards: 0")).check(), Ok(()));
}

#[test]
fn the_check_names_what_is_missing_repeated_or_malformed() {
    for (name, line) in [
        (HeaderName::Via, "Via: SIP/2.0/UDP h;branch=z9hG4bKx"),
        (HeaderName::From, "From: <sip:a@h>;tag=1"),
        (HeaderName::To, "To: <sip:b@h>"),
        (HeaderName::CallId, "Call-ID: x@h"),
        (HeaderName::CSeq, "CSeq: 7 INVITE"),
    ] {
        let without = with(&WHOLE.replace(line, "X-Nothing: 1"));
        assert_eq!(without.check(), Err(HeaderError::missing(name)));
        let bare = line.split(':').next().unwrap();
        let malformed = with(&WHOLE.replace(line, &format!("{bare}: , <")));
        assert_eq!(malformed.check().unwrap_err().name, name, "{line}");
        if name != HeaderName::Via {
            assert_eq!(with(&format!("{WHOLE}\n{line}")).check(), Err(HeaderError::repeated(name)));
        }
    }
    assert_eq!(problem(with(&WHOLE.replace("7 INVITE", "7 BYE")).check()).0, HeaderName::CSeq);
    assert_eq!(problem(with(&format!("{WHOLE}\nMax-Forwards: 256")).check()).0, HeaderName::MaxForwards);
}

#[test]
fn cseq_bounds_and_shapes() {
    assert_eq!(with("CSeq: 0009 INVITE").cseq().unwrap().number, 9);
    assert_eq!(with("CSeq: 2147483647  \t NOTIFY").cseq().unwrap().method, Method::Notify);
    assert_eq!(with("CSeq: 1 invite").cseq().unwrap().method, Method::Other("invite".into()));
    for bad in
        ["", "1", "INVITE", "1INVITE", "-1 INVITE", "+1 INVITE", "2147483648 INVITE", "36893488147419103232 INVITE", "1 INVITE BYE", "1 INV(ITE", "0x1 ACK"]
    {
        assert!(with(&format!("CSeq: {bad}")).cseq().is_err(), "{bad:?}");
    }
}

#[test]
fn call_id_is_one_word() {
    assert_eq!(with("i: a84b4c76e66710").call_id(), Ok("a84b4c76e66710"));
    assert_eq!(with("Call-ID: <>[]{}/?\"()%@\u{e9}").call_id(), Ok("<>[]{}/?\"()%@\u{e9}"));
    assert!(with("Call-ID: a b").call_id().is_err());
    assert!(with("Call-ID:").call_id().is_err());
}

#[test]
fn max_forwards_expires_and_retry_after() {
    assert_eq!(with("X: 1").max_forwards(), Ok(None));
    assert_eq!(with("Max-Forwards: 255").max_forwards(), Ok(Some(255)));
    assert!(with("Max-Forwards: 70, 60").max_forwards().is_err());
    assert!(with("Max-Forwards: -1").max_forwards().is_err());
    assert_eq!(problem(with("Max-Forwards: 7\nMax-Forwards: 7").max_forwards()).1, HeaderProblem::Repeated);
    assert_eq!(with("Expires: 99999999999999999999").expires(), Ok(Some(u32::MAX)));
    assert_eq!(with("Retry-After: 18000 (I'm in a meeting);duration=3600").retry_after(), Ok(Some(18000)));
    assert!(with("Retry-After: soon").retry_after().is_err());
    assert!(with("Expires: Thu, 01 Dec 1994 16:00:00 GMT").expires().is_err());
}

#[test]
fn session_timers() {
    let read = |line: &str| with(line).session_expires();
    let whole = read("Session-Expires: 1800 ; Refresher=UAS").unwrap().unwrap();
    assert_eq!((whole.seconds, whole.refresher), (1800, Some(Refresher::Uas)));
    assert_eq!(read("x: 90;refresher=uac").unwrap().unwrap().refresher, Some(Refresher::Uac));
    assert_eq!(read("x: 90;other=1").unwrap().unwrap().refresher, None);
    assert_eq!(read("x: 99999999999").unwrap().unwrap().seconds, u32::MAX);
    assert!(read("x: 1800;refresher=both").is_err());
    assert!(read("x: ;refresher=uac").is_err());
    assert_eq!(with("Min-SE: 90;x=y").min_se(), Ok(Some(90)));
    assert!(with("Min-SE: 90 s").min_se().is_err());
}

#[test]
fn reliability() {
    assert_eq!(with("RSeq: 4294967295").rseq(), Ok(Some(u32::MAX)));
    assert!(with("RSeq: 4294967296").rseq().is_err());
    let rack = with("RAck: 776656  1\tINVITE").rack().unwrap().unwrap();
    assert_eq!((rack.rseq, rack.cseq, rack.method), (776_656, 1, Method::Invite));
    for bad in ["1 INVITE", "1 2", "1 2 INVITE 3", "a 2 INVITE", "1 2 IN\"VITE", ""] {
        assert!(with(&format!("RAck: {bad}")).rack().is_err(), "{bad:?}");
    }
}

#[test]
fn capabilities() {
    let m = with("Supported: timer,100rel , ,replaces\nk: HistInfo\nRequire: precondition\nAllow: INVITE, ACK,foo");
    assert!(m.supports("100rel") && m.supports("histinfo") && m.supports("precondition") && !m.supports("rel"));
    assert!(m.requires("Precondition") && !m.requires("timer"));
    assert!(m.allows(&Method::Ack) && m.allows(&Method::Other("foo".into())) && !m.allows(&Method::Bye));
    assert!(!with("Supported:").supports(""));
}

#[test]
fn contacts_and_wildcard() {
    let m = with("Contact: \"A, B\" <sip:a@h;transport=tls>;q=0.7, <sip:b@h,c>;expires=1\nm: sip:c@h;q=1");
    let uris: Vec<_> = m.contacts().map(|c| c.unwrap().uri).collect();
    assert_eq!(uris, ["sip:a@h;transport=tls", "sip:b@h,c", "sip:c@h"]);
    assert_eq!(m.contact().unwrap().unwrap().display.as_deref(), Some("A, B"));
    assert_eq!(with("X: 1").contact(), Ok(None));
    let wild = with("Contact:  * ");
    assert!(wild.contact_is_wildcard() && wild.contact().is_err());
    assert!(!m.contact_is_wildcard());
}

#[test]
fn a_broken_diversion_spoils_only_itself() {
    let m = with(
        "Diversion: \"Roe, Jim\"<sip:61@h>;reason=no-answer;counter=3;privacy=off\nDiversion: \" Jim\" \"<sip:62@h>;reason=busy\nDiversion: <sip:63@h>;reason=\"x;y\"",
    );
    let all: Vec<_> = m.diversions().collect();
    assert_eq!(all.len(), 3);
    let first = all[0].as_ref().unwrap();
    assert_eq!((first.reason(), first.counter(), first.privacy(), first.address.uri), (Some("no-answer"), 3, Some("off"), "sip:61@h"));
    assert!(all[1].is_err());
    let last = all[2].as_ref().unwrap();
    assert_eq!((last.reason(), last.counter(), last.privacy()), (Some("x;y"), 1, None));
}

#[test]
fn history_entries_tell_index_and_cause() {
    let m = with(
        "History-Info: <sip:1@h>;index=1,<sip:2@h?Reason=SIP%3Bcause%3D302%3Btext%3D%22Moved%22>;index=1.1, <sip:3@h;cause=408?x=y>;index=1.2;mp=1\nHistory-Info: sip:bad@h?x",
    );
    let entries: Vec<_> = m.history().collect();
    let read: Vec<_> = entries.iter().flatten().map(|e| (e.index(), e.cause())).collect();
    assert_eq!(read, [(Some("1"), None), (Some("1.1"), Some(302)), (Some("1.2"), Some(408))]);
    assert_eq!(entries[1].as_ref().unwrap().reason().as_deref(), Some("SIP;cause=302;text=\"Moved\""));
    assert!(entries[3].is_err());
}

#[test]
fn reasons_warnings_and_privacy() {
    let m = with(
        "Reason: Q.850;cause=16;text=\"Terminated, normally\", SIP ;cause=200\nWarning: 307 isi.edu \"parameter 'foo', no\", 399 h \"x\"\nPrivacy: id;Critical\nReason: SIP;cause=-1",
    );
    let reasons: Vec<_> = m.reasons().collect();
    let first = reasons[0].as_ref().unwrap();
    assert_eq!((first.protocol, first.cause, first.text), ("Q.850", Some(16), Some("Terminated, normally")));
    assert_eq!(reasons[1].as_ref().unwrap().protocol, "SIP");
    assert!(reasons[2].is_err());
    let warnings: Vec<_> = m.warnings().map(Result::unwrap).map(|w| (w.code, w.agent, w.text)).collect();
    assert_eq!(warnings, [(307, "isi.edu", "parameter 'foo', no"), (399, "h", "x")]);
    assert!(m.wants_privacy("ID") && m.wants_privacy("critical") && !m.wants_privacy("user"));
    for bad in ["30 h \"x\"", "307 h", "307 h x", "307", "3070 h \"x\"", "é07 h \"x\""] {
        assert!(with(&format!("Warning: {bad}")).warnings().all(|w| w.is_err()), "{bad}");
    }
}

#[test]
fn events() {
    let m = with("o: message-summary;id=4\nSubscription-State: Terminated;reason=noresource;expires=99999999999");
    let event = m.event().unwrap().unwrap();
    assert_eq!((event.package, event.id()), ("message-summary", Some("4")));
    let state = m.subscription_state().unwrap().unwrap();
    assert!(state.is_terminated());
    assert_eq!((state.reason(), state.expires()), (Some("noresource"), Some(u32::MAX)));
    assert!(with("Event: a b").event().is_err());
}

#[test]
fn transfer() {
    let m = with("r: <sip:dave@h?Replaces=12345%40h%3Bto-tag%3D1>\nb: <sip:r@h>;cid=1\nReplaces: 12345@h;to-tag=1;from-tag=2 ; early-only");
    assert_eq!(m.refer_to().unwrap().uri, "sip:dave@h?Replaces=12345%40h%3Bto-tag%3D1");
    assert_eq!(m.referred_by().unwrap().unwrap().uri, "sip:r@h");
    let replaces = m.replaces().unwrap().unwrap();
    assert_eq!((replaces.call_id, replaces.to_tag, replaces.from_tag, replaces.early_only), ("12345@h", "1", "2", true));
    assert!(with("Replaces: 1;to-tag=1").replaces().is_err());
    assert_eq!(with("X: 1").refer_to().unwrap_err(), HeaderError::missing(HeaderName::ReferTo));
}

#[test]
fn sdp_is_found_plain_nested_and_not_when_encoded() {
    let message = |content_type: &str, extra: &str, body: &str| {
        let text = format!("INVITE sip:b@h SIP/2.0\r\nc: {content_type}\r\n{extra}Content-Length: {}\r\n\r\n{body}", body.len());
        Message::parse(Bytes::from(text), &Limits::default()).unwrap()
    };
    assert_eq!(message("Application/SDP ;charset=utf-8", "", "v=0\r\n").sdp(), Some(&b"v=0\r\n"[..]));
    assert_eq!(message("application/sdp", "Content-Encoding: gzip\r\n", "v=0\r\n").sdp(), None);
    assert_eq!(message("application/isup", "", "v=0\r\n").sdp(), None);
    let mixed = "preamble\r\n--b1\r\nContent-Type: application/isup\r\n\r\n\x01\x02--b1\r\n--b1\r\ncontent-type: application/sdp\r\nContent-Disposition: session\r\n\r\nv=0\r\n\r\n--b1--\r\nepilogue";
    assert_eq!(message("multipart/mixed;boundary=\"b1\"", "", mixed).sdp(), Some(&b"v=0\r\n"[..]));
    let nested =
        "--o\nContent-Type: multipart/alternative; boundary=i\n\n--i\nContent-Type: text/plain\n\nx\n--i\nContent-Type: application/sdp\n\nv=0\n--i--\n--o--\n";
    assert_eq!(message("multipart/mixed; boundary=o", "", nested).sdp(), Some(&b"v=0"[..]));
    let bottomless = message("multipart/mixed; boundary=o", "", "--o\r\nContent-Type: multipart/mixed; boundary=o\r\n\r\n--o");
    assert_eq!(bottomless.sdp(), None);
}
