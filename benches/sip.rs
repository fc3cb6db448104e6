//! The wire layer's cost: `cargo bench --bench sip`. One INVITE of about 1.4 kB with SDP, as a trunk sends it.

use std::hint::black_box;

use bytes::Bytes;
use criterion::{Criterion, criterion_group, criterion_main};
use portcullis::sip::{Builder, Frame, Framer, HeaderName, Limits, Message, Uri};

/// 23 header lines and a secured offer: about 1,400 bytes.
fn invite() -> Bytes {
    let sdp = "v=0\r\no=trunk 20518 0 IN IP4 192.0.2.101\r\ns=-\r\nc=IN IP4 192.0.2.101\r\nt=0 0\r\nm=audio 49172 RTP/SAVP 8 0 101\r\n\
        a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz|2^31\r\n\
        a=rtpmap:8 PCMA/8000\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-16\r\na=ptime:20\r\na=sendrecv\r\n";
    let head = "INVITE sip:+4930123456;phone-context=example.net@um.example.com:5061;user=phone;transport=tls SIP/2.0\r\n\
        Via: SIP/2.0/TLS sbc.example.net:5061;branch=z9hG4bK2d4790751f1b4a8e;alias\r\n\
        Via: SIP/2.0/TLS 198.51.100.7:23811;received=198.51.100.7;branch=z9hG4bKnashds7\r\n\
        Record-Route: <sip:sbc.example.net:5061;transport=tls;lr>\r\n\
        Max-Forwards: 69\r\n\
        From: \"Doe, Jane\" <sip:+493098765@example.net;user=phone>;tag=9fxced76sl\r\n\
        To: <sip:+4930123456@um.example.com;user=phone>\r\n\
        Call-ID: 3848276298220188511-7f3b@sbc.example.net\r\n\
        CSeq: 1 INVITE\r\n\
        Contact: <sip:+493098765@sbc.example.net:5061;transport=tls>\r\n\
        Allow: INVITE, ACK, OPTIONS, CANCEL, BYE, UPDATE, INFO, REFER, NOTIFY, PRACK\r\n\
        Supported: timer, 100rel, histinfo, replaces\r\n\
        Session-Expires: 1800;refresher=uac\r\n\
        Min-SE: 90\r\n\
        Diversion: <sip:+4930123499@example.net>;reason=no-answer;counter=1;privacy=off\r\n\
        P-Asserted-Identity: \"Doe, Jane\" <sip:+493098765@example.net>, <tel:+493098765>\r\n\
        Privacy: none\r\n\
        User-Agent: Trunk 7.2\r\n\
        Session-ID: ab30317f1a784dc48ff824d0d3715d86;remote=00000000\r\n\
        Accept: application/sdp\r\n\
        Content-Type: application/sdp\r\n";
    Bytes::from(format!("{head}Content-Length: {}\r\n\r\n{sdp}", sdp.len()))
}

fn serialise(message: &Message) -> Bytes {
    let mut builder = match message.method() {
        Some(method) => Builder::request(method, message.request_uri().unwrap_or_default()),
        None => Builder::response(message.status().unwrap_or_default(), "OK"),
    };
    for field in message.fields().filter(|f| f.name != HeaderName::ContentType) {
        builder.header(field.raw_name, field.value);
    }
    builder.body(message.content_type().unwrap_or_default(), message.body());
    builder.finish()
}

fn bench(c: &mut Criterion) {
    let bytes = invite();
    let limits = Limits::default();
    let message = Message::parse(bytes.clone(), &limits).unwrap();
    assert_eq!(serialise(&message).len(), bytes.len());
    let mut group = c.benchmark_group("sip");
    group.throughput(criterion::Throughput::Bytes(bytes.len() as u64));
    group.bench_function("parse", |b| b.iter(|| Message::parse(black_box(bytes.clone()), &limits).unwrap()));
    group.bench_function("serialise, field by field", |b| b.iter(|| serialise(black_box(&message))));
    group.bench_function("parse + serialise", |b| b.iter(|| serialise(&Message::parse(black_box(bytes.clone()), &limits).unwrap())));
    group.bench_function("clone", |b| b.iter(|| black_box(&message).clone()));
    group.bench_function("typed: Via From To Contact CSeq Call-ID", |b| {
        b.iter(|| {
            let m = black_box(&message);
            (
                m.top_via().unwrap().branch(),
                m.from().unwrap().tag(),
                m.to().unwrap().tag(),
                m.contact().unwrap(),
                m.cseq().unwrap().number,
                m.call_id().unwrap(),
            )
        });
    });
    group.bench_function("typed: Request-URI", |b| b.iter(|| Uri::parse(black_box(&message).request_uri().unwrap()).unwrap()));
    group.bench_function("frame", |b| {
        let mut framer = Framer::new(limits);
        b.iter(|| {
            framer.push(black_box(&bytes));
            assert!(matches!(framer.next(), Ok(Some(Frame::Message(_)))));
        });
    });
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
