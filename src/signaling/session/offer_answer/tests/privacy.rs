//! Nothing of one side's description but codecs, packet times and direction appears on the other.

use super::*;

/// Every value in it that starts with `leak` or is listed below names its author.
fn telltale(ip: &str, proto: &str, key: &str) -> String {
    format!(
        "v=0\r\no=leakuser 98765432101 98765432102 IN IP4 {ip}\r\ns=leaksession\r\ni=leakinfo\r\nu=http://leak.example/\r\ne=leak@leak.example\r\np=+1 555 0100\r\n\
         c=IN IP4 {ip}\r\nb=AS:98765\r\nt=2873397496 2873404696\r\nr=604800 3600 0 90000\r\nk=base64:bGVhaw==\r\na=tool:leaktool\r\na=group:BUNDLE leakmid\r\na=ice-lite\r\n\
         a=msid-semantic: WMS leakms\r\na=x-devicecaps:leak\r\nx=leakunknown\r\nm=audio 45678/2 {proto} 111 0 8 101\r\ni=leaktitle\r\nc=IN IP4 {ip}\r\nb=TIAS:98764\r\n\
         a=rtpmap:111 opus/48000/2\r\na=fmtp:111 useinbandfec=1\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-16\r\na=rtpmap:77 leakcodec/8000\r\na=fmtp:77 leak\r\n\
         a=rtcp:45699 IN IP4 {ip}\r\na=rtcp-mux\r\na=rtcp-rsize\r\na=rtcp-fb:* leak\r\na=label:leaklabel\r\na=mid:leakmid\r\na=ice-ufrag:leakfrag\r\na=ice-pwd:leakpwdleakpwdleakpwdleak\r\n\
         a=candidate:1 1 UDP 2130706431 {ip} 45678 typ host\r\na=candidate:2 1 UDP 1 198.51.100.200 45677 typ srflx raddr {ip} rport 45678\r\n\
         a=fingerprint:sha-256 AE:24:07:15\r\na=setup:actpass\r\na=ssrc:3735928559 cname:leakcname\r\na=msid:leakms leaktrack\r\na=extmap:1 urn:leak\r\na=X-leak:leak\r\n\
         a=nortpproxy:leak\r\na=encryption:optional\r\na=ptime:20\r\na=maxptime:60\r\na=sendrecv\r\na=remote-candidates:1 {ip} 45678\r\n{key}"
    )
}

const NAMES: [&str; 17] = [
    "leak",
    "98765",
    "9876543",
    "45678",
    "45699",
    "45677",
    "198.51.100.200",
    "rtcp-mux",
    "rtcp-fb",
    "candidate",
    "ice-",
    "fingerprint",
    "setup",
    "ssrc",
    "encryption",
    "2873397496",
    "3735928559",
];

fn crossing(out: &Out, author: &str, key: u8) {
    for name in NAMES.iter().copied().chain([author, inline(key).as_str()]) {
        assert!(!out.text.contains(name), "{name} crosses the border: {}", out.text);
    }
    for kept in [
        "a=rtpmap:111 opus/48000/2\r\n",
        "a=fmtp:111 useinbandfec=1\r\n",
        "a=rtpmap:101 telephone-event/8000\r\n",
        "a=fmtp:101 0-16\r\n",
        "a=ptime:20\r\n",
        "a=maxptime:60\r\n",
    ] {
        assert!(out.text.contains(kept), "{kept} is kept: {}", out.text);
    }
    assert!(out.text.contains(" 111 0 8 101\r\n"));
}

#[test]
fn nothing_names_the_other_side() {
    for (a, b, proto) in [(secured(), secured(), "RTP/SAVP"), (plain(), plain(), "RTP/AVP")] {
        let secret = |byte| if proto == "RTP/SAVP" { line(1, byte, "|2^31") } else { String::new() };
        let mut call = Call::between(a, b);
        for version in 0..2 {
            let (asker, answerer) = if version == 0 { (Side::A, Side::B) } else { (Side::B, Side::A) };
            let ip = |side| if side == Side::A { "192.0.2.99" } else { "10.99.99.99" };
            let key = |side| if side == Side::A { 0xd1 } else { 0xd2 };
            crossing(&call.offer(asker, &telltale(ip(asker), proto, &secret(key(asker)))), ip(asker), key(asker));
            crossing(&call.answer(answerer, &telltale(ip(answerer), proto, &secret(key(answerer)))), ip(answerer), key(answerer));
        }
    }
}

/// The whole text, so that whatever is added one day is looked at.
#[test]
fn all_that_is_written() {
    let mut call = Call::between(secured(), secured());
    let offer = call.offer(Side::A, &telltale("192.0.2.99", "RTP/SAVP", &line(1, 0xd1, "|2^31")));
    let expected = format!(
        "v=0\r\no=- 100 1 IN IP4 10.0.0.1\r\ns=-\r\nc=IN IP4 10.0.0.1\r\nt=0 0\r\nm=audio 30002 RTP/SAVP 111 0 8 101\r\na=rtcp:30003\r\n\
         a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{}\r\na=crypto:2 AES_CM_128_HMAC_SHA1_32 inline:{}\r\na=rtpmap:111 opus/48000/2\r\na=fmtp:111 useinbandfec=1\r\n\
         a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-16\r\na=ptime:20\r\na=maxptime:60\r\na=sendrecv\r\n",
        inline(1),
        inline(2)
    );
    assert_eq!(offer.text, expected);
}

#[test]
fn debug_shows_no_key() {
    let mut call = Call::between(secured(), secured());
    call.offer(Side::A, &sdp("192.0.2.9", 1, "RTP/SAVP", &line(1, 0x61, "")));
    let answer = call.answer(Side::B, &sdp("10.9.9.9", 1, "RTP/SAVP", &line(1, 0x62, "")));
    let shown = format!("{:?} {:?}", call.media, answer.commands);
    for byte in [0x61, 0x62, 1, 2, 3] {
        assert!(!shown.contains(&inline(byte)), "{byte}");
    }
    assert!(!shown.contains("97, 97") && !shown.contains("98, 98"));
}
