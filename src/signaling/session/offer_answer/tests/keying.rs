//! Which line of an offer is answered and how; what an answer's lines mean (RFC 4568, and Exchange's, Lync's and Teams' manner of it).

use super::*;
use Suite::*;

fn answered(lines: &str) -> (Crypto, Configured) {
    let mut call = Call::between(secured(), plain());
    call.supply.keys = 100;
    call.offer(Side::A, &sdp("192.0.2.9", 1, "RTP/SAVP", lines));
    let answer = call.answer(Side::B, &sdp("10.9.9.9", 1, "RTP/AVP", ""));
    let [ours] = answer.lines().try_into().unwrap_or_else(|lines| panic!("one line in an answer: {lines:?}"));
    (ours, configured(&answer.commands, Side::A))
}

#[test]
fn the_line_that_is_answered() {
    let short = |tag: u32, byte: u8| line(tag, byte, "|2^31").replace("SHA1_80", "SHA1_32");
    let lync = format!("a=cryptoscale:1 client AES_CM_128_HMAC_SHA1_80 inline:{}|2^31|1:1\r\n", inline(5)) + &line(2, 5, "|2^31|1:1") + &line(3, 5, "|2^31");
    for (what, lines, tag, suite, byte, mki) in [
        ("the only one", line(1, 1, ""), 1, AesCm128HmacSha1_80, 1, false),
        ("lifetime alone", line(1, 1, "|2^31"), 1, AesCm128HmacSha1_80, 1, false),
        ("MKI alone", line(9, 1, "|2^31|1:1"), 9, AesCm128HmacSha1_80, 1, true),
        ("MKI without lifetime", line(1, 1, "|1:4"), 1, AesCm128HmacSha1_80, 1, true),
        ("Lync: scaled, MKI, bare: the bare one", lync, 3, AesCm128HmacSha1_80, 5, false),
        ("Teams: tag 0 and the short tag first: the plan's best suite", short(0, 1) + &line(1, 2, "|2^31"), 1, AesCm128HmacSha1_80, 2, false),
        ("tag 0 alone", line(0, 1, ""), 0, AesCm128HmacSha1_80, 1, false),
        ("the better suite even with MKI", short(1, 1) + &line(2, 2, "|1:1"), 2, AesCm128HmacSha1_80, 2, true),
        ("the first of equals", line(4, 1, "") + &line(5, 2, ""), 4, AesCm128HmacSha1_80, 1, false),
        (
            "broken and foreign ones skipped",
            line(1, 1, "|2^99") + &line(2, 2, "").replace("AES_CM_128", "F8_128") + &line(3, 3, ""),
            3,
            AesCm128HmacSha1_80,
            3,
            false,
        ),
        ("weakened ones skipped", line(1, 1, " UNAUTHENTICATED_SRTP") + &short(2, 2), 2, AesCm128HmacSha1_32, 2, false),
        ("NULL suites skipped", line(1, 1, "").replace("AES_CM_128", "NULL") + &short(12, 7), 12, AesCm128HmacSha1_32, 7, false),
    ] {
        let (ours, on_a) = answered(&lines);
        assert_eq!((ours.tag, ours.usable(), ours.has_mki()), (tag, Ok(suite), mki), "{what}");
        let Some(Protection::Srtp(receive)) = on_a.receive else { panic!("{what}") };
        assert_eq!((receive.suite, receive.keys[0].key_and_salt[0], receive.keys[0].mki.is_some()), (suite, byte, mki), "{what}");
        assert_eq!(on_a.transmit, Some(srtp(suite, ours.keys[0].clone())), "{what}: what we wrote is what we use");
        assert_ne!(ours.keys[0].key_and_salt, receive.keys[0].key_and_salt, "{what}: our key is our own");
    }
}

/// With an MKI exactly if the line has one, of its value and length; a lifetime only then and only if the peer gives one.
#[test]
fn the_form_of_our_answer() {
    for (rest, lifetime, mki) in [
        ("", None, None),
        ("|2^20", None, None),
        ("|2^31|1:1", Some(1 << 31), Some(vec![1])),
        ("|2^4|258:2", Some(1 << 31), Some(vec![1, 2])),
        ("|7:4", None, Some(vec![0, 0, 0, 7])),
    ] {
        let (ours, _) = answered(&line(1, 1, rest));
        assert_eq!((ours.keys.len(), ours.keys[0].lifetime, &ours.keys[0].mki, ours.session.len()), (1, lifetime, &mki, 0), "{rest}");
    }
}

#[test]
fn several_keys_in_one_line_are_all_received() {
    let (ours, on_a) = answered(&line(1, 1, &format!("|2^20|1:1;inline:{}|2^20|2:1", inline(2))));
    let Some(Protection::Srtp(receive)) = on_a.receive else { panic!() };
    assert_eq!(receive.keys.iter().map(|key| key.mki.clone().unwrap()).collect::<Vec<_>>(), [vec![1], vec![2]]);
    assert_eq!(ours.keys.len(), 1);
}

#[test]
fn our_offers_have_one_bare_fresh_key_per_suite() {
    let mut call = Call::between(plain(), secured());
    let offer = call.offer(Side::A, &sdp("192.0.2.9", 1, "RTP/AVP", ""));
    let lines = offer.lines();
    assert_eq!(
        lines.iter().map(|l| (l.tag, l.usable().unwrap(), l.keys.len())).collect::<Vec<_>>(),
        [(1, AesCm128HmacSha1_80, 1), (2, AesCm128HmacSha1_32, 1)]
    );
    assert!(lines.iter().all(|l| l.keys[0].lifetime.is_none() && l.keys[0].mki.is_none() && l.session.is_empty()));
    assert_ne!(lines[0].keys, lines[1].keys);
}

/// Lines of an answer against our two.
#[test]
fn the_answers_line_that_counts() {
    let short = |tag: u32, byte: u8| line(tag, byte, "").replace("SHA1_80", "SHA1_32");
    for (what, lines, ours, byte) in [
        ("the usual", line(1, 9, ""), 0, 9),
        ("the second suite", short(2, 9), 1, 9),
        ("two lines: the first that fits", line(2, 8, "|2^31|1:1") + &line(3, 7, "|2^31") + &short(2, 9) + &line(1, 6, ""), 1, 9),
        ("with an MKI of its own", line(1, 9, "|2^31|1:1"), 0, 9),
        ("after a broken one", line(1, 8, "|2^31|1:0") + &line(1, 9, ""), 0, 9),
    ] {
        let mut call = Call::between(plain(), secured());
        let offer = call.offer(Side::A, &sdp("192.0.2.9", 1, "RTP/AVP", ""));
        let answer = call.answer(Side::B, &sdp("10.9.9.9", 1, "RTP/SAVP", &lines));
        let on_b = configured(&answer.commands, Side::B);
        assert_eq!(on_b.transmit, Some(srtp(SUITES[ours], offer.lines()[ours].keys[0].clone())), "{what}");
        let Some(Protection::Srtp(receive)) = on_b.receive else { panic!("{what}") };
        assert_eq!((receive.suite, receive.keys[0].key_and_salt[0]), (SUITES[ours], byte), "{what}");
    }
}

/// In the manner of Exchange's UM service: b=CT, label, c= twice, events up to 36, no lifetime, no MKI, no a=rtcp.
#[test]
fn an_answer_in_exchanges_manner() {
    let mut call = Call::between(secured(), secured());
    call.offer(Side::A, &sdp("192.0.2.9", 1, "RTP/SAVP", &line(1, 0xaa, "")));
    let exchange =
        "v=0\r\no=- 71 0 IN IP4 10.9.9.9\r\ns=session\r\nc=IN IP4 10.9.9.9\r\nb=CT:10000000\r\nt=0 0\r\nm=audio 6000 RTP/SAVP 0 101\r\nc=IN IP4 10.9.9.9\r\n\
        a=label:main-audio\r\na=sendrecv\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-16,36\r\na=ptime:20\r\n"
            .to_owned()
            + &line(1, 0xbb, "");
    let answer = call.answer(Side::B, &exchange);
    assert!(answer.text.contains("a=fmtp:101 0-16,36\r\n") && answer.text.contains("m=audio 20000 RTP/SAVP 0 101\r\n"));
    assert!(!answer.text.contains("label") && !answer.text.contains("b="));
    assert_eq!(configured(&answer.commands, Side::B).remote, Some(Some(addresses("10.9.9.9", 6000))));
}

/// Optional SRTP (RTP/AVP with keys) on a leg that wants plain RTP over TLS: plain RTP, the keys ignored.
#[test]
fn optional_srtp_on_a_plain_leg_over_tls() {
    let mut call = Call::between(sip_secured(), plain());
    let offer = call.offer(Side::A, &sdp("192.0.2.9", 1, "RTP/AVP", &line(1, 1, "|2^31|1:1")));
    assert!(!offer.text.contains("crypto"));
    let answer = call.answer(Side::B, &sdp("10.9.9.9", 1, "RTP/AVP", ""));
    assert!(!answer.text.contains("crypto"));
    assert_eq!(configured(&answer.commands, Side::A).receive, Some(Protection::Plain));
}
