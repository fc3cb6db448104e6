//! Messages as a whole: start lines, header lines, bodies, limits.

use bytes::Bytes;

use super::*;

fn parse(text: impl AsRef<[u8]>) -> Result<Message, ParseError> {
    Message::parse(Bytes::copy_from_slice(text.as_ref()), &Limits::default())
}

fn error(text: impl AsRef<[u8]>) -> ParseError {
    match parse(text) {
        Err(error) => error,
        Ok(message) => panic!("read as {message:?}"),
    }
}

#[test]
fn request_lines() {
    let m = parse("INVITE sip:a@h SIP/2.0\r\n\r\n").unwrap();
    assert!(m.is_request());
    assert_eq!((m.method(), m.request_uri(), m.status(), m.reason_phrase()), (Some(&Method::Invite), Some("sip:a@h"), None, None));
    assert_eq!(parse("x sip:a@h sip/2.0  \r\n\r\n").unwrap().method(), Some(&Method::Other("x".into())));
    assert_eq!(parse("X tel:+1;é SIP/2.0\r\n\r\n").unwrap().request_uri(), Some("tel:+1;é"));
    for bad in [
        "INVITE",
        "INVITE ",
        "INVITE sip:a@h",
        "INVITE  sip:a@h SIP/2.0",
        "INVITE sip:a@h  SIP/2.0",
        "INVITE sip:a b@h SIP/2.0",
        " INVITE sip:a@h SIP/2.0",
        "INVITE SIP/2.0",
        "INVITE  SIP/2.0",
        "INV\"ITE sip:a@h SIP/2.0",
        "INVITE sip:a\t@h SIP/2.0",
        "INVITE sip:a@h HTTP/1.1",
        "INVITE sip:a@h SIP/2",
        "INVITE sip:a@h SIP/x.y",
        "GET / HTTP/1.1",
        "v=0",
    ] {
        assert!(matches!(error(format!("{bad}\r\n\r\n")), ParseError::StartLine(_)), "{bad:?}");
    }
    assert!(matches!(error(b"INVITE sip:\xff@h SIP/2.0\r\n\r\n"), ParseError::StartLine(_)));
}

#[test]
fn status_lines() {
    let read = |line: &str| parse(format!("{line}\r\n\r\n")).map(|m| (m.status().unwrap(), String::from_utf8(m.reason_phrase().unwrap().to_vec()).unwrap()));
    assert_eq!(read("SIP/2.0 200 OK"), Ok((200, "OK".into())));
    assert_eq!(read("SIP/2.0 183 Call  Progress: x "), Ok((183, "Call  Progress: x".into())));
    assert_eq!(read("SIP/2.0 404 "), Ok((404, String::new())));
    assert_eq!(read("SIP/2.0 404"), Ok((404, String::new())));
    assert_eq!(read("sip/2.0 699 é"), Ok((699, "é".into())));
    assert_eq!(parse(b"SIP/2.0 200 \xff\x00\r\n\r\n").unwrap().reason_phrase(), Some(&b"\xff\x00"[..]));
    for bad in [
        "SIP/2.0",
        "SIP/2.0 ",
        "SIP/2.0 99 x",
        "SIP/2.0 700 x",
        "SIP/2.0 4294967301 x",
        "SIP/2.0 20 x",
        "SIP/2.0 200OK",
        "SIP/2.0  200 OK",
        "SIP/2.0 2x0 OK",
        "SIP/2.0 -20 OK",
    ] {
        assert!(matches!(error(format!("{bad}\r\n\r\n")), ParseError::StartLine(_)), "{bad:?}");
    }
}

#[test]
fn another_version_is_told_apart() {
    assert_eq!(error("INVITE sip:a@h SIP/7.0\r\n\r\n"), ParseError::Version);
    assert_eq!(error("SIP/1.0 200 OK\r\n\r\n"), ParseError::Version);
    assert_eq!(ParseError::Version.status(), 505);
    let salvaged = Message::salvage(Bytes::from_static(b"INVITE sip:a@h SIP/7.0\r\nCall-ID: 1\r\n\r\n"), &Limits::default()).unwrap();
    assert_eq!((salvaged.method(), salvaged.call_id()), (Some(&Method::Invite), Ok("1")));
}

#[test]
fn header_lines() {
    let m = parse("OPTIONS sip:h SIP/2.0\r\nSubject : a: b \r\nx-EMPTY:\r\nTO:\t<sip:b@h>\r\nUnknown:\x01\x02\r\n\r\n").unwrap();
    let fields: Vec<_> = m.fields().map(|f| (f.name, f.raw_name, f.value)).collect();
    assert_eq!(
        fields,
        [
            (HeaderName::Subject, "Subject", &b"a: b"[..]),
            (HeaderName::Other, "x-EMPTY", b""),
            (HeaderName::To, "TO", b"<sip:b@h>"),
            (HeaderName::Other, "Unknown", b"\x01\x02")
        ]
    );
    assert_eq!(m.named("X-Empty").collect::<Vec<_>>(), [b""]);
    assert_eq!(m.values(HeaderName::Other).count(), 0);
    assert_eq!(m.text(HeaderName::Subject), Some("a: b"));
    for (line, bad) in [(2, "no colon"), (2, ": no name"), (2, "two words: x"), (2, " fold of nothing"), (3, "A: b\r\n\u{e9}: x"), (2, "A(: x")] {
        assert_eq!(error(format!("OPTIONS sip:h SIP/2.0\r\n{bad}\r\n\r\n")), ParseError::HeaderLine(line), "{bad}");
    }
}

#[test]
fn folds_become_blanks() {
    let m = parse("OPTIONS sip:h SIP/2.0\r\nSubject:\r\n first\r\n\tsecond  \r\n \r\nFrom: <sip:a@h>\n ;tag=1\r\nVia: SIP/2.0/UDP a,\r\n SIP/2.0/TCP b\r\nTo: x\r\n\r\nbody\r\n x").unwrap();
    assert_eq!(m.text(HeaderName::Subject), Some("first  \tsecond"));
    assert_eq!(m.from().unwrap().tag(), Some("1"));
    assert_eq!(m.values(HeaderName::Via).collect::<Vec<_>>(), [&b"SIP/2.0/UDP a"[..], b"SIP/2.0/TCP b"]);
    assert_eq!(m.text(HeaderName::To), Some("x"));
    assert_eq!(m.body(), b"body\r\n x");
}

#[test]
fn a_bare_carriage_return_hides_no_header() {
    assert_eq!(error("OPTIONS sip:h SIP/2.0\r\nA: b\rVia: SIP/2.0/UDP evil\r\n\r\n"), ParseError::BareCarriageReturn);
    assert_eq!(error("OPTIONS sip:h SIP/2.0\r\nA: b\r\r\n\r\n"), ParseError::BareCarriageReturn);
    assert_eq!(parse("OPTIONS sip:h SIP/2.0\r\nl: 3\r\n\r\na\rb").unwrap().body(), b"a\rb");
}

#[test]
fn line_ends_before_and_lf_alone() {
    let m = parse("\r\n\n\r\nOPTIONS sip:h SIP/2.0\nCall-ID: 1\n\nbody").unwrap();
    assert_eq!((m.call_id(), m.body()), (Ok("1"), &b"body"[..]));
    assert!(m.bytes().starts_with(b"OPTIONS"));
    assert_eq!(error(""), ParseError::Empty);
    assert_eq!(error("\r\n\r\n"), ParseError::Empty);
}

#[test]
fn list_headers_split_and_others_do_not() {
    let m = parse("OPTIONS sip:h SIP/2.0\r\nv: SIP/2.0/UDP a , SIP/2.0/UDP b\r\nVIA: SIP/2.0/UDP c\r\nDate: Sat, 13 Nov 2010 23:29:00 GMT\r\nSubject: a, b\r\nSupported:\r\n\r\n").unwrap();
    assert_eq!(m.values(HeaderName::Via).collect::<Vec<_>>(), [b"SIP/2.0/UDP a", b"SIP/2.0/UDP b", b"SIP/2.0/UDP c"]);
    assert_eq!(m.text(HeaderName::Date), Some("Sat, 13 Nov 2010 23:29:00 GMT"));
    assert_eq!(m.text(HeaderName::Subject), Some("a, b"));
    assert_eq!(m.first(HeaderName::Supported), None);
}

#[test]
fn bodies_and_content_length() {
    let with = |lines: &str, body: &str| parse(format!("INFO sip:h SIP/2.0\r\n{lines}\r\n{body}"));
    assert_eq!(with("", "all the rest").unwrap().body(), b"all the rest");
    let surplus = with("Content-Length: 3\r\n", "abcdef").unwrap();
    assert_eq!(surplus.body(), b"abc");
    assert!(surplus.bytes().ends_with(b"\r\n\r\nabc"));
    assert_eq!(with("l: 0\r\n", "junk").unwrap().body(), b"");
    assert_eq!(with("l: 3\r\nContent-Length: 003\r\n", "abc").unwrap().body(), b"abc");
    assert_eq!(with("l:\r\n 3\r\n", "abc").unwrap().body(), b"abc");
    assert_eq!(with("l: 4\r\n", "abc").unwrap_err(), ParseError::BodyTruncated { declared: 4, present: 3 });
    assert_eq!(with("l: 3\r\nl: 4\r\n", "abcd").unwrap_err(), ParseError::ContentLength("given twice with different values"));
    for bad in ["-1", "+3", "3 3", "3,3", "", "0x3", "3;x"] {
        assert_eq!(with(&format!("Content-Length: {bad}\r\n"), "abc").unwrap_err(), ParseError::ContentLength("no number"), "{bad:?}");
    }
    assert_eq!(with("Content-Length: 18446744073709551616\r\n", "abc").unwrap_err(), ParseError::BodyTooLarge);
    assert_eq!(with("Content-Length: 65537\r\n", "abc").unwrap_err(), ParseError::BodyTooLarge);
    assert_eq!(with("Content-Length: 65536\r\n", "abc").unwrap_err().status(), 400);
}

#[test]
fn limits_are_told_apart() {
    let limits = Limits { header_bytes: 100, body_bytes: 10, fields: 3 };
    let parse = |text: String| Message::parse(Bytes::from(text), &limits).map(|_| ());
    let head = |pad: usize| format!("INFO sip:h SIP/2.0\r\nX: {}\r\n\r\n", "x".repeat(pad));
    assert_eq!(parse(head(73)), Ok(()));
    assert_eq!(head(73).len(), 100);
    assert_eq!(parse(head(74)), Err(ParseError::HeaderTooLarge));
    assert_eq!(parse("x".repeat(101)), Err(ParseError::HeaderTooLarge));
    assert_eq!(parse("x".repeat(100)), Err(ParseError::Unterminated));
    assert_eq!(parse("INFO sip:h SIP/2.0\r\na:\r\nb:\r\nc:\r\n\r\n".into()), Ok(()));
    assert_eq!(parse("INFO sip:h SIP/2.0\r\na:\r\nb:\r\nc:\r\nd:\r\n\r\n".into()), Err(ParseError::TooManyFields));
    assert_eq!(parse(format!("{}0123456789", head(0))), Ok(()));
    assert_eq!(parse(format!("{}0123456789x", head(0))), Err(ParseError::BodyTooLarge));
    let statuses = [ParseError::HeaderTooLarge, ParseError::TooManyFields, ParseError::BodyTooLarge, ParseError::Unterminated].map(|e| e.status());
    assert_eq!(statuses, [513, 513, 413, 400]);
}

#[test]
fn a_header_section_may_fill_its_widest_limit() {
    let limits = Limits { header_bytes: usize::MAX, body_bytes: 10, fields: 3 };
    let text = |pad: usize| format!("INFO sip:h SIP/2.0\r\nX: {}\r\nSubject: y\r\n\r\nbody", "x".repeat(pad));
    let fill = Limits::HEADER_BYTES_MOST - (text(0).len() - 4);
    let m = Message::parse(Bytes::from(text(fill)), &limits).unwrap();
    assert_eq!((m.text(HeaderName::Subject), m.body(), m.named("x").next().unwrap().len()), (Some("y"), &b"body"[..], fill));
    assert_eq!(Message::parse(Bytes::from(text(fill + 1)), &limits).unwrap_err(), ParseError::HeaderTooLarge);
}

#[test]
fn salvage_reads_what_a_refusal_needs() {
    let limits = Limits { header_bytes: 200, body_bytes: 10, fields: 4 };
    let salvage = |text: &str| Message::salvage(Bytes::copy_from_slice(text.as_bytes()), &limits);
    let m =
        salvage("INVITE sip:a@h SIP/2.0\r\ngarbage\r\n folded garbage\r\nVia: SIP/2.0/UDP h\r\nl: x\r\nCall-ID: 1\r\nFrom: a\rb\r\nTo: too many\r\n\r\nbody")
            .unwrap();
    assert_eq!((m.top_via().unwrap().host, m.call_id(), m.text(HeaderName::From)), ("h", Ok("1"), Some("a b")));
    assert_eq!((m.first(HeaderName::To), m.body()), (None, &b""[..]));
    let cut = salvage(&format!("INVITE sip:a@h SIP/2.0\r\nCall-ID: 1\r\nX: {}", "x".repeat(300))).unwrap();
    assert_eq!(cut.call_id(), Ok("1"));
    assert!(salvage("garbage\r\n\r\n").is_none());
    assert!(salvage("").is_none());
}

#[test]
fn debug_shows_no_body() {
    let m = parse("INVITE sip:a@h SIP/2.0\r\nAuthorization: secret\r\n\r\na=crypto:1 secret").unwrap();
    assert!(!format!("{m:?}").contains("secret"));
}
