//! Any bytes as one message: no panic in reading or in any typed header; what was read reads the same again, and rebuilt.

use bytes::Bytes;
use portcullis::sip::{Builder, HeaderName, Limits, Message, Method, NameAddr, Params, Uri, Via};

pub fn run(data: &[u8]) {
    let bytes = Bytes::copy_from_slice(data);
    let limits = Limits::default();
    if let Some(m) = Message::salvage(bytes.clone(), &limits) {
        read_all(&m);
    }
    let Ok(m) = Message::parse(bytes, &limits) else { return };
    read_all(&m);
    let again = Message::parse(m.bytes().clone(), &limits).expect("reads again");
    assert_eq!(fields(&again), fields(&m));
    assert_eq!(again.body(), m.body());

    let mut builder = match m.method() {
        Some(method) => Builder::request(method, m.request_uri().expect("a request has one")),
        None => Builder::response(m.status().expect("a response has one"), "x"),
    };
    for field in m.fields() {
        builder.header(field.raw_name, field.value);
    }
    builder.body("a/b", m.body());
    // What is added may pass a limit the original met.
    let wide = Limits { header_bytes: usize::MAX, body_bytes: usize::MAX, fields: usize::MAX };
    let copy = Message::parse(builder.finish(), &wide).expect("rebuilt, it reads");
    assert_eq!(copy.body(), m.body());
    let others = |m: &Message| m.fields().filter(|f| !matches!(f.name, HeaderName::ContentLength | HeaderName::ContentType)).count();
    assert_eq!(others(&copy), others(&m));
}

fn fields(m: &Message) -> Vec<(&str, &[u8])> {
    m.fields().map(|f| (f.raw_name, f.value)).collect()
}

fn read_all(m: &Message) {
    let _ = (m.check(), m.top_via(), m.contact(), m.call_id(), m.cseq(), m.max_forwards(), m.session_expires(), m.min_se(), m.rseq(), m.rack());
    let _ = (m.supports("x"), m.allows(&Method::Invite), m.sdp(), m.replaces(), m.refer_to(), m.referred_by(), m.event(), m.subscription_state());
    let _ = (m.expires(), m.retry_after(), m.wants_privacy("id"), m.reasons().count(), m.warnings().count(), format!("{m:?}"));
    if let Some(text) = m.request_uri() {
        read_uri(text);
    }
    for d in m.diversions().flatten() {
        let _ = (d.reason(), d.counter(), d.privacy());
    }
    for h in m.history().flatten() {
        let _ = (h.index(), h.cause(), h.reason());
    }
    for f in m.fields() {
        assert!(!f.value.contains(&b'\n'), "no line end in a value");
        for value in m.values(f.name) {
            let _ = Via::parse(value).map(|v| (v.branch(), v.received(), v.rport(), v.host_addr(), v.maddr()));
            if let Ok(address) = NameAddr::parse(value) {
                read_uri(address.uri);
                let written = address.to_string();
                let read = NameAddr::parse(written.as_bytes()).expect("an address written reads back");
                assert_eq!((read.uri, read.tag()), (address.uri, address.tag()));
            }
            let _ = Params::from_bytes(value).iter().count();
        }
    }
}

fn read_uri(text: &str) {
    let Ok(uri) = Uri::parse(text) else { return };
    let written = uri.to_string();
    let read = Uri::parse(&written).expect("a URI written reads back");
    assert_eq!((read.scheme.as_str(), read.user, read.password, read.port, read.headers), (uri.scheme.as_str(), uri.user, uri.password, uri.port, uri.headers));
    assert!(read.host.eq_ignore_ascii_case(uri.host));
    assert!(uri.is_equivalent(&uri) && uri.is_equivalent(&read));
    let _ = (uri.host_addr(), uri.transport(), uri.user_decoded());
}
