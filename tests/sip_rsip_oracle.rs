//! The wire layer against an independent reader, the `rsip` crate, on the subset both accept: one Via per line, undotted users, host names and IPv4, known
//! methods and transports, plain parameters, canonical header names, CRLF, no folds, UTF-8 bodies. Outside it rsip is wrong or refuses
//! (`rsip_is_still_wrong_where_we_say` keeps that claim true), so there is nothing to compare.

use std::convert::TryFrom;

use bytes::Bytes;
use portcullis::sip::{HeaderName, Limits, Message, NameAddr, Scheme, Uri, Via};
use proptest::prelude::*;
use rsip::headers::untyped::ToTypedHeader;
use rsip::prelude::{HeadersExt, UntypedHeader};

fn word() -> impl Strategy<Value = String> {
    "[a-z][a-z0-9]{0,9}"
}

fn host() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z][a-z0-9]{0,8}(\\.[a-z][a-z0-9]{1,5}){0,3}",
        (1u8..=254, any::<u8>(), any::<u8>(), 1u8..=254).prop_map(|(a, b, c, d)| format!("{a}.{b}.{c}.{d}"))
    ]
}

fn host_port() -> impl Strategy<Value = String> {
    (host(), proptest::option::of(1u16..)).prop_map(|(host, port)| port.map_or(host.clone(), |port| format!("{host}:{port}")))
}

fn params() -> impl Strategy<Value = String> {
    proptest::collection::vec((word(), proptest::option::of("[A-Za-z0-9]{1,8}")), 0..3).prop_map(|all| {
        // rsip types some names; ours stay clear of them.
        all.into_iter().enumerate().map(|(i, (name, value))| value.map_or(format!(";x{i}{name}"), |value| format!(";x{i}{name}={value}"))).collect()
    })
}

fn uri() -> impl Strategy<Value = String> {
    ("sips?", proptest::option::of("[a-zA-Z0-9_-]{1,12}"), host_port(), params())
        .prop_map(|(scheme, user, host, params)| format!("{scheme}:{}{host}{params}", user.map_or(String::new(), |user| format!("{user}@"))))
}

fn address(tag: bool) -> impl Strategy<Value = String> {
    (proptest::option::of("[A-Za-z][A-Za-z0-9 ]{0,10}[A-Za-z]"), uri(), "[a-zA-Z0-9]{4,12}", params()).prop_map(move |(display, uri, value, params)| {
        let display = display.map_or(String::new(), |display| format!("\"{display}\" "));
        let tag = if tag { format!(";tag={value}") } else { String::new() };
        format!("{display}<{uri}>{tag}{params}")
    })
}

fn method() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "INVITE",
        "ACK",
        "BYE",
        "CANCEL",
        "OPTIONS",
        "REGISTER",
        "PRACK",
        "UPDATE",
        "REFER",
        "NOTIFY",
        "SUBSCRIBE",
        "INFO",
        "MESSAGE",
        "PUBLISH",
    ])
}

prop_compose! {
    fn headers()(
        vias in proptest::collection::vec((prop::sample::select(vec!["UDP", "TCP", "TLS"]), host_port(), "[a-zA-Z0-9]{6,20}", params()), 1..4),
        from in address(true), to in address(false), contact in address(false), call_id in "[a-zA-Z0-9.@-]{1,30}", cseq in 0u32..0x8000_0000, method in method(),
        hops in any::<u8>(), agent in "[ -~]{0,30}", body in "[ -~\\r\\n]{0,80}",
    ) -> (String, &'static str, String) {
        let vias: String = vias.iter().map(|(transport, host, branch, params)| format!("Via: SIP/2.0/{transport} {host};branch=z9hG4bK{branch}{params}\r\n")).collect();
        let lines = format!("{vias}Max-Forwards: {hops}\r\nFrom: {from}\r\nTo: {to}\r\nContact: {contact}\r\nCall-ID: {call_id}\r\nCSeq: {cseq} {method}\r\nUser-Agent: {}\r\nContent-Length: {}\r\n", agent.trim(), body.len());
        (lines, method, body)
    }
}

fn same_uri(ours: &Uri<'_>, theirs: &rsip::Uri) {
    let scheme = match ours.scheme {
        Scheme::Sip => rsip::Scheme::Sip,
        Scheme::Sips => rsip::Scheme::Sips,
        other => panic!("{other:?}"),
    };
    assert_eq!(theirs.scheme, Some(scheme));
    assert_eq!(theirs.user(), ours.user);
    assert_eq!(theirs.host().to_string(), ours.host);
    assert_eq!(theirs.port().map(|p| *p.value()), ours.port);
    same_params(ours.params.iter().collect(), &theirs.params);
}

fn same_params(ours: Vec<(&str, &str)>, theirs: &[rsip::Param]) {
    let theirs: Vec<String> = theirs.iter().map(ToString::to_string).collect();
    let ours: Vec<String> = ours.into_iter().map(|(name, value)| if value.is_empty() { format!(";{name}") } else { format!(";{name}={value}") }).collect();
    assert_eq!(theirs, ours);
}

fn same_address(ours: &NameAddr<'_>, display: Option<&String>, uri: &rsip::Uri, params: &[rsip::Param]) {
    assert_eq!(display.map(|d| d.trim().trim_matches('"')), ours.display.as_deref());
    same_uri(&ours.parsed_uri().unwrap(), uri);
    same_params(ours.params.iter().collect(), params);
}

fn same_message(ours: &Message, theirs: &impl HeadersExt) {
    assert_eq!(ours.check(), Ok(()));
    assert_eq!(theirs.headers().iter().count(), ours.fields().count());
    let vias: Vec<_> = theirs.headers().iter().filter_map(|h| if let rsip::Header::Via(via) = h { Some(via.typed().unwrap()) } else { None }).collect();
    let our_vias: Vec<_> = ours.values(HeaderName::Via).map(|v| Via::parse(v).unwrap()).collect();
    assert_eq!(vias.len(), our_vias.len());
    for (theirs, ours) in vias.iter().zip(&our_vias) {
        assert_eq!(theirs.transport.to_string(), ours.transport);
        assert_eq!((theirs.uri.host().to_string().as_str(), theirs.uri.port().map(|p| *p.value())), (ours.host, ours.port));
        assert_eq!(theirs.branch().map(|b| b.value()), ours.branch());
        same_params(ours.params.iter().collect(), &theirs.params);
    }
    let from = theirs.from_header().unwrap().typed().unwrap();
    same_address(&ours.from().unwrap(), from.display_name.as_ref(), &from.uri, &from.params);
    assert_eq!(from.tag().map(|t| t.value()), ours.from().unwrap().tag());
    let to = theirs.to_header().unwrap().typed().unwrap();
    same_address(&ours.to().unwrap(), to.display_name.as_ref(), &to.uri, &to.params);
    let contact = theirs.contact_header().unwrap().typed().unwrap();
    same_address(&ours.contact().unwrap().unwrap(), contact.display_name.as_ref(), &contact.uri, &contact.params);
    let cseq = theirs.cseq_header().unwrap().typed().unwrap();
    let our_cseq = ours.cseq().unwrap();
    assert_eq!((cseq.seq, cseq.method.to_string().as_str()), (our_cseq.number, our_cseq.method.as_str()));
    assert_eq!(theirs.call_id_header().unwrap().value(), ours.call_id().unwrap());
    assert_eq!(theirs.max_forwards_header().unwrap().num().ok(), ours.max_forwards().unwrap().map(u32::from));
    assert_eq!(theirs.user_agent_header().map(|a| a.value()), ours.text(HeaderName::UserAgent));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn requests_read_alike((lines, method, body) in headers(), uri in uri()) {
        let bytes = Bytes::from(format!("{method} {uri} SIP/2.0\r\n{lines}\r\n{body}"));
        let ours = Message::parse(bytes.clone(), &Limits::default()).unwrap();
        let theirs = rsip::Request::try_from(bytes).unwrap();
        prop_assert_eq!(ours.method().unwrap().as_str(), theirs.method.to_string());
        same_uri(&Uri::parse(ours.request_uri().unwrap()).unwrap(), &theirs.uri);
        same_message(&ours, &theirs);
        prop_assert_eq!(ours.body(), &theirs.body[..]);
    }

    #[test]
    fn responses_read_alike((lines, _, body) in headers(), status in prop::sample::select(vec![100u16, 180, 183, 200, 302, 404, 486, 488, 503, 603])) {
        let phrase = portcullis::sip::phrase(status);
        let bytes = Bytes::from(format!("SIP/2.0 {status} {phrase}\r\n{lines}\r\n{body}"));
        let ours = Message::parse(bytes.clone(), &Limits::default()).unwrap();
        let theirs = rsip::Response::try_from(bytes).unwrap();
        prop_assert_eq!(ours.status().unwrap(), theirs.status_code.code());
        same_message(&ours, &theirs);
        prop_assert_eq!(ours.body(), &theirs.body[..]);
    }
}

/// What keeps rsip out of the wire layer. If one of these fails, rsip has been mended there and belongs into the comparison.
#[test]
fn rsip_is_still_wrong_where_we_say() {
    let dotted = rsip::Uri::try_from("sip:john.doe@example.com").unwrap();
    assert_ne!(dotted.user(), Some("john.doe"));
    assert_eq!(Uri::parse("sip:john.doe@example.com").unwrap().user, Some("john.doe"));

    assert!(rsip::Uri::try_from("sip:[2001:db8::1]").map(|u| u.host().to_string()).ok().as_deref() != Some("[2001:db8::1]"));
    assert_eq!(Uri::parse("sip:[2001:db8::1]").unwrap().host, "[2001:db8::1]");

    let context = rsip::Uri::try_from("sip:+1;phone-context=example.com@gw").map(|u| u.host().to_string());
    assert_ne!(context.ok().as_deref(), Some("gw"));
    assert_eq!(Uri::parse("sip:+1;phone-context=example.com@gw").unwrap().host, "gw");

    let compact = Bytes::from_static(b"OPTIONS sip:h SIP/2.0\r\nv: SIP/2.0/UDP h;branch=z9hG4bK1\r\n\r\n");
    assert!(rsip::Request::try_from(compact.clone()).map_or(true, |request| request.via_header().is_err()));
    assert!(Message::parse(compact, &Limits::default()).unwrap().top_via().is_ok());

    let binary = Bytes::from_static(b"INFO sip:h SIP/2.0\r\nContent-Length: 2\r\n\r\n\xff\xfe");
    assert_ne!(rsip::Request::try_from(binary.clone()).map(|request| Vec::<u8>::from(request)[..].to_vec()).unwrap_or_default(), binary.to_vec());
    assert_eq!(Message::parse(binary.clone(), &Limits::default()).unwrap().bytes(), &binary);
}
