//! Hard but legal messages, and messages that only look legal, in the manner of RFC 4475 and RFC 5118: what must be read, how, and what must be
//! refused at which layer. The inputs are our own.

use bytes::Bytes;
use portcullis::sip::{HeaderName, HeaderProblem, Limits, Message, Method, ParseError, Scheme, Uri};

fn message(lines: &[&str], body: &str) -> Vec<u8> {
    let mut text = lines.join("\r\n");
    text.push_str("\r\n\r\n");
    text.push_str(body);
    text.into_bytes()
}

fn parse(bytes: impl Into<Vec<u8>>) -> Result<Message, ParseError> {
    Message::parse(Bytes::from(bytes.into()), &Limits::default())
}

fn request(lines: &[&str]) -> Message {
    parse(message(lines, "")).unwrap()
}

/// A request that passes, whose single lines the cases below replace.
const PLAIN: [&str; 8] = [
    "OPTIONS sip:vm@um.example.com SIP/2.0",
    "Via: SIP/2.0/UDP trunk.example.net:5060;branch=z9hG4bKtort1",
    "From: <sip:caller@example.net>;tag=f1",
    "To: <sip:vm@um.example.com>",
    "Call-ID: torture.1@trunk.example.net",
    "CSeq: 41 OPTIONS",
    "Max-Forwards: 70",
    "Content-Length: 0",
];

fn with(line: usize, text: &'static str) -> Message {
    let mut lines = PLAIN;
    lines[line] = text;
    request(&lines)
}

#[test]
fn the_plain_one_passes() {
    assert_eq!(request(&PLAIN).check(), Ok(()));
}

/// RFC 4475 §3.1.1.1's manner: blanks wherever blanks may be, folds, empty values, odd but legal characters, compact forms, unknown everything.
#[test]
fn short_tortuous_invite() {
    let sdp = "v=0\r\no=- 1 1 IN IP4 192.0.2.3\r\n";
    let length = format!("l\t:   000{}", sdp.len());
    let m = parse(message(
        &[
            "INVITE sip:vm@um.example.com;unknownparam SIP/2.0",
            "TO :",
            " sip:vm@um.example.com ;   tag    = 1918181833n",
            "from   : \"J \\\\\\\" R \"       <sip:jr@example.net>",
            "  ;",
            "  tag = 98asjd8",
            "MaX-fOrWaRdS: 0068",
            "Call-ID: tort.0ha0isndaksdj@192.0.2.1",
            &length,
            "cseq: 0009",
            "  INVITE",
            "Via  : SIP  /   2.0",
            " /UDP",
            "    192.0.2.2;branch=390skdjuw",
            "s :",
            "NewFangledHeader:   newfangled value",
            " continued newfangled value",
            "UnknownHeaderWithUnusualValue: ;;,,;;,;",
            "Content-Type: application/sdp",
            "Route:",
            " <sip:services.example.com;lr;unknownwith=value;unknown-no-value>",
            "v:  SIP  / 2.0  / TCP     spindle.example.com   ;",
            "  branch  =   z9hG4bK9ikj8  ,",
            " SIP  /    2.0   / UDP  192.168.255.111   ; branch=",
            " z9hG4bK30239",
            "m:\"Quoted string \\\"\\\"\" <sip:jr@example.net> ; newparam =",
            "      newvalue ;",
            "  secondparam ; q = 0.33",
        ],
        sdp,
    ))
    .unwrap();
    assert_eq!(m.check(), Ok(()));
    assert_eq!(m.to().unwrap().tag(), Some("1918181833n"));
    let from = m.from().unwrap();
    assert_eq!((from.display.as_deref(), from.tag()), (Some("J \\\" R "), Some("98asjd8")));
    assert_eq!((m.max_forwards(), m.cseq().unwrap().number), (Ok(Some(68)), 9));
    let vias: Vec<_> = m.values(HeaderName::Via).map(|v| portcullis::sip::Via::parse(v).unwrap()).collect();
    assert_eq!(
        vias.iter().map(|v| (v.transport, v.host, v.branch())).collect::<Vec<_>>(),
        [("UDP", "192.0.2.2", Some("390skdjuw")), ("TCP", "spindle.example.com", Some("z9hG4bK9ikj8")), ("UDP", "192.168.255.111", Some("z9hG4bK30239"))]
    );
    assert_eq!(m.text(HeaderName::Subject), Some(""));
    assert_eq!(m.named("UnknownHeaderWithUnusualValue").next(), Some(&b";;,,;;,;"[..]));
    let contact = m.contact().unwrap().unwrap();
    assert_eq!(
        (contact.display.as_deref(), contact.params.get("newparam"), contact.params.get("q")),
        (Some("Quoted string \"\""), Some("newvalue"), Some("0.33"))
    );
    let route = m.addresses(HeaderName::Route).next().unwrap().unwrap();
    assert!(route.parsed_uri().unwrap().params.has("lr"));
    assert_eq!(m.sdp(), Some(sdp.as_bytes()));
}

#[test]
fn every_token_character_and_control_bytes_in_quotes() {
    let m = parse(
        [
            b"!interesting-Method0123456789_*+`.%indeed'~ sip:1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*:&it+has=1,weird!*pas$wo~d_too.(doesn't-it)@example.com SIP/2.0\r\n"
                .as_slice(),
            b"Via: SIP/2.0/TCP host1.example.com;branch=z9hG4bK-.!%66*_+`'~\r\n",
            b"To: \"BEL:\\\x07 NUL:\\\x00 DEL:\\\x7f\" <sip:1_unusual.URI~(to-be!sure)@example.com>\r\n",
            b"From: token1~` token2'+_ token3*%!.- <sip:mundane@example.com>;fromParam''~+*_!.-%=\"\xd1\x80\xd0\xb0\";tag=_token~1'+`*%!-.\r\n",
            b"Call-ID: intmeth.word%ZK-!.*_+'@word`~)(><:\\/\"][?}{\r\n",
            b"CSeq: 139122385 !interesting-Method0123456789_*+`.%indeed'~\r\n",
            b"Max-Forwards: 255\r\nextensionHeader-!.%*+_`'~: \xef\xbb\xbf\xe5\xa4\xa7\r\nContent-Length: 0\r\n\r\n",
        ]
        .concat(),
    )
    .unwrap();
    assert_eq!(m.check(), Ok(()));
    let uri = Uri::parse(m.request_uri().unwrap()).unwrap();
    assert_eq!((uri.user, uri.host), (Some("1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*"), "example.com"));
    assert_eq!(m.to().unwrap().display.as_deref(), Some("BEL:\x07 NUL:\0 DEL:\x7f"));
    assert_eq!(m.from().unwrap().tag(), Some("_token~1'+`*%!-."));
    assert_eq!(m.top_via().unwrap().branch(), Some("z9hG4bK-.!%66*_+`'~"));
}

#[test]
fn escapes_that_must_not_be_resolved_too_soon() {
    let m = with(0, "OPTIONS sip:sips%3Auser%40example.com@um.example.com SIP/2.0");
    let uri = Uri::parse(m.request_uri().unwrap()).unwrap();
    assert_eq!((uri.scheme, uri.host, &*uri.user_decoded()), (Scheme::Sip, "um.example.com", "sips:user@example.com"));
    let nul = with(3, "To: sip:null-%00-null@example.com");
    assert_eq!(nul.to().unwrap().parsed_uri().unwrap().user_decoded(), "null-\0-null");
    let method = parse(message(&["RE%47IST%45R sip:registrar.example.com SIP/2.0", "CSeq: 1 RE%47IST%45R"], "")).unwrap();
    assert_eq!(method.method(), Some(&Method::Other("RE%47IST%45R".into())));
    let parameter = with(0, "OPTIONS sip:user;par=u%40example.net@um.example.com SIP/2.0");
    assert_eq!(Uri::parse(parameter.request_uri().unwrap()).unwrap().host, "um.example.com");
}

#[test]
fn many_values_long_values_and_no_reason() {
    let long = "x".repeat(4000);
    let vias = (0..34).map(|n| format!("SIP/2.0/TCP sip{n}.example.com;branch=z9hG4bK{n}{}", "y".repeat(20))).collect::<Vec<_>>().join(", ");
    let text =
        format!("SIP/2.0 200 \r\nVia: {vias}\r\nFrom: \"{long}\" <sip:a@h;{long}=1>;tag={long}\r\nTo: sip:b@h\r\nCall-ID: {long}\r\nCSeq: 1 INVITE\r\n\r\n");
    let m = Message::parse(Bytes::from(text), &Limits { header_bytes: 60_000, ..Limits::default() }).unwrap();
    assert_eq!((m.values(HeaderName::Via).count(), m.reason_phrase(), m.check()), (34, Some(&b""[..]), Ok(())));
    assert_eq!(m.from().unwrap().tag().map(str::len), Some(4000));
}

#[test]
fn surplus_and_lack_of_body() {
    let mut lines = PLAIN;
    let surplus = message(&lines, "INVITE sip:second@h SIP/2.0\r\n\r\n");
    assert_eq!(parse(surplus).unwrap().body(), b"");
    lines[7] = "Content-Length: 9999";
    assert_eq!(parse(message(&lines, "short")).unwrap_err(), ParseError::BodyTruncated { declared: 9999, present: 5 });
    lines[7] = "Content-Length: -999";
    assert_eq!(parse(message(&lines, "")).unwrap_err().status(), 400);
    let mut cut = message(&PLAIN, "");
    cut.truncate(cut.len() - 2);
    assert_eq!(parse(cut).unwrap_err(), ParseError::Unterminated);
}

#[test]
fn bad_request_lines_are_400_and_another_version_505() {
    for line in [
        "OPTIONS <sip:user@um.example.com> SIP/2.0 x",
        "OPTIONS sip:user@um.example.com; lr SIP/2.0",
        "OPTIONS  sip:user@um.example.com  SIP/2.0",
        "OPTIONS sip:user@um.example.com",
        "OPTIONS sip:user@um.example.com SIP/2.0/UDP",
        "OP TIONS sip:user@um.example.com SIP/2.0",
    ] {
        let mut lines = PLAIN;
        lines[0] = line;
        let bytes = Bytes::from(message(&lines, ""));
        assert_eq!(Message::parse(bytes, &Limits::default()).unwrap_err().status(), 400, "{line}");
    }
    let mut lines = PLAIN;
    lines[0] = "OPTIONS sip:t1@um.example.com SIP/7.0";
    let bytes = Bytes::from(message(&lines, ""));
    assert_eq!(Message::parse(bytes.clone(), &Limits::default()).unwrap_err(), ParseError::Version);
    let salvaged = Message::salvage(bytes, &Limits::default()).unwrap();
    assert_eq!(salvaged.check(), Ok(()), "all a 505 needs is there");
}

/// The message is read; what is wrong shows in the one value that is wrong.
#[test]
fn bad_values_are_errors_of_their_own() {
    for (line, text, name) in [
        (1, "Via: SIP/2.0/UDP 192.0.2.15;;,;,,", HeaderName::Via),
        (2, "From: \"Mr. J. User <sip:j.user@example.com>;tag=93942939o2", HeaderName::From),
        (3, "To: \"Watson, Thomas\" < sip:t. watson@example.org >", HeaderName::To),
        (3, "To: sip:user@example.com?Subject=x", HeaderName::To),
        (4, "Call-ID: two words", HeaderName::CallId),
        (5, "CSeq: 36893488147419103232 OPTIONS", HeaderName::CSeq),
        (5, "CSeq: 41 INVITE", HeaderName::CSeq),
        (6, "Max-Forwards: 300", HeaderName::MaxForwards),
        (6, "Max-Forwards: seventy", HeaderName::MaxForwards),
    ] {
        let m = with(line, text);
        match (name, m.check()) {
            // The first element is whole: only what follows it is nothing.
            (HeaderName::Via, outcome) => assert_eq!((outcome, m.values(HeaderName::Via).count()), (Ok(()), 2), "{text}"),
            (_, Err(error)) => assert_eq!(error.name, name, "{text}"),
            (_, Ok(())) => panic!("{text} passes"),
        }
    }
}

/// Illegal, harmless, and seen in the field: taken as meant.
#[test]
fn what_is_mended() {
    let comma = with(2, "From: Bell, Alexander <sip:a.g.bell@example.com>;tag=433423");
    assert_eq!(comma.from().unwrap().display.as_deref(), Some("Bell, Alexander"));
    assert_eq!(with(0, "OPTIONS sip:vm@um.example.com SIP/2.0 \t ").check(), Ok(()));
    let lf_only = String::from_utf8(message(&PLAIN, "")).unwrap().replace("\r\n", "\n");
    assert_eq!(parse(format!("\r\n\n{lf_only}")).unwrap().check(), Ok(()));
    assert_eq!(with(3, "To: < sip:vm@um.example.com >").to().unwrap().uri, "sip:vm@um.example.com");
}

#[test]
fn headers_that_may_stand_once_stand_once() {
    for line in [2, 3, 4, 5, 6] {
        let mut lines = PLAIN.to_vec();
        lines.push(PLAIN[line]);
        let error = request(&lines).check().unwrap_err();
        assert_eq!(error.problem, HeaderProblem::Repeated, "{}", PLAIN[line]);
    }
}

#[test]
fn unknown_schemes_methods_and_transports_are_read_so_that_they_can_be_refused() {
    for (uri, scheme) in
        [("nobodyKnowsThisScheme:totallyopaquecontent", "nobodyKnowsThisScheme"), ("soap.beep://192.0.2.103:3002", "soap.beep"), ("http://h/", "http")]
    {
        let text = format!("OPTIONS {uri} SIP/2.0\r\n\r\n");
        let m = parse(text).unwrap();
        assert_eq!(Uri::parse(m.request_uri().unwrap()).unwrap().scheme, Scheme::Other(scheme));
    }
    assert_eq!(with(1, "Via: SIP/2.0/UNKNOWN h;branch=z9hG4bKx").top_via().unwrap().transport, "UNKNOWN");
    let m = parse("NEWMETHOD sip:h SIP/2.0\r\nCSeq: 1 NEWMETHOD\r\n\r\n").unwrap();
    assert_eq!(m.cseq().unwrap().method, Method::Other("NEWMETHOD".into()));
}

#[test]
fn contact_without_brackets_keeps_its_parameters_to_itself() {
    let mut lines = PLAIN.to_vec();
    lines.push("Contact: sip:user@example.com;transport=tcp;expires=3600");
    let m = request(&lines);
    let contact = m.contact().unwrap().unwrap();
    assert_eq!((contact.uri, contact.params.get("expires")), ("sip:user@example.com", Some("3600")));
    lines[8] = "Contact: *";
    assert!(request(&lines).contact_is_wildcard());
}

/// RFC 5118's manner.
#[test]
fn ipv6_everywhere() {
    let m = request(&[
        "REGISTER sip:[2001:db8::10] SIP/2.0",
        "Via: SIP/2.0/UDP [2001:db8::9:1];received=[2001:db8::9:255];branch=z9hG4bKas3-111",
        "Via: SIP/2.0/UDP [2001:db8::9:2]:5060;received=2001:db8::9:256;branch=z9hG4bKas3-112",
        "From: <sip:user@[::ffff:192.0.2.10]>;tag=81x2",
        "To: <sip:user@[2001:db8::10]:5070;maddr=[2001:db8::11]>",
        "Call-ID: SSG9559905523997077@[2001:db8::9:1]",
        "CSeq: 98176 REGISTER",
        "Contact: \"Caller\" <sip:caller@[2001:db8::1]>, <sip:caller@[2001:db8::2]:5061;transport=tls>",
    ]);
    assert_eq!(m.check(), Ok(()));
    assert_eq!(Uri::parse(m.request_uri().unwrap()).unwrap().host, "[2001:db8::10]");
    let hosts: Vec<_> = m.contacts().map(|c| c.unwrap().parsed_uri().unwrap().host_addr().unwrap().to_string()).collect();
    assert_eq!(hosts, ["2001:db8::1", "2001:db8::2"]);
    let received: Vec<_> = m.values(HeaderName::Via).map(|v| portcullis::sip::Via::parse(v).unwrap().received().unwrap()).collect();
    assert_eq!(received, ["[2001:db8::9:255]", "2001:db8::9:256"]);
    for bad in ["sip:2001:db8::10", "sip:2001:db8::10:5070", "sip:[2001:db8::10:5070"] {
        assert!(Uri::parse(bad).is_err(), "{bad}");
    }
}

#[test]
fn binary_bodies_come_through_byte_for_byte() {
    let body: Vec<u8> = (0..=255).cycle().take(1000).collect();
    let mut bytes = message(&["INFO sip:h SIP/2.0", "Content-Type: application/octet-stream", "Content-Length: 1000"], "");
    bytes.extend_from_slice(&body);
    let m = parse(bytes.clone()).unwrap();
    assert_eq!(m.body(), body);
    assert_eq!(m.bytes()[..], bytes[..], "what was received is kept as it was");
}

#[test]
fn hostile_sizes_are_refused_quickly_and_told_apart() {
    let started = std::time::Instant::now();
    let limits = Limits::default();
    let of = |text: String| Message::parse(Bytes::from(text), &limits).map(|m| m.fields().count()).map_err(|e| e.status());
    assert_eq!(of(format!("OPTIONS sip:h SIP/2.0\r\nX: {}\r\n\r\n", "a".repeat(20_000))), Err(513));
    assert_eq!(of(format!("OPTIONS sip:h SIP/2.0\r\n{}\r\n", "a:\r\n".repeat(129))), Err(513));
    assert_eq!(of(format!("OPTIONS sip:h SIP/2.0\r\n{}\r\n", "a:\r\n".repeat(128))), Ok(128));
    assert_eq!(of(format!("OPTIONS sip:h SIP/2.0\r\n\r\n{}", "a".repeat(65_537))), Err(413));
    assert_eq!(of("\n".repeat(60_000)), Err(400));
    // Everything typed on the worst header sections the limits let through.
    for filler in [";", ",", "\"", "<", "\\", "=", "a,", ";a", "\",", "%", "<,>", "\r\n "] {
        let value = filler.repeat(16_000 / filler.len() - 20);
        for name in ["Via", "From", "Contact", "Diversion", "History-Info", "Warning", "Reason", "Supported", "Privacy", "CSeq", "Session-Expires"] {
            let Ok(m) = parse(format!("OPTIONS sip:h SIP/2.0\r\n{name}: <sip:a@b>{value}\r\n\r\n")) else { continue };
            let _ = (m.check(), m.from(), m.to(), m.top_via(), m.contacts().count(), m.diversions().filter_map(Result::ok).filter_map(|d| d.reason()).count());
            let _ = (m.history().filter_map(Result::ok).filter_map(|h| h.cause()).count(), m.warnings().count(), m.reasons().count(), m.supports("x"));
            let _ = (m.wants_privacy("id"), m.session_expires(), m.from().map(|f| f.params.iter().count()));
        }
    }
    assert!(started.elapsed() < std::time::Duration::from_secs(5), "{:?}", started.elapsed());
}
