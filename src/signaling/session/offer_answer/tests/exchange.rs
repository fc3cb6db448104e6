//! The first exchange of a call: what is written, what the media plane is told, what is refused.

use super::*;

#[test]
fn plain_both_ways_to_the_letter() {
    let mut call = Call::between(plain(), plain());
    let offer = call.offer(Side::A, &sdp("192.0.2.9", 1, "RTP/AVP", "a=rtcp:4009\r\nb=CT:100\r\n"));
    assert_eq!(
        offer.text,
        "v=0\r\no=- 100 1 IN IP4 10.0.0.1\r\ns=-\r\nc=IN IP4 10.0.0.1\r\nt=0 0\r\nm=audio 30002 RTP/AVP 8 0 101\r\na=rtcp:30003\r\na=rtpmap:8 PCMA/8000\r\n\
         a=rtpmap:0 PCMU/8000\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\na=ptime:20\r\na=sendrecv\r\n"
    );
    assert!(call.media.pending(Side::A) && !call.media.can_offer(Side::B) && !call.media.is_agreed());
    let Some(Command::Open { stream, a, b, silence }) = offer.commands.first().cloned() else { panic!("{:?}", offer.commands) };
    assert_eq!((stream, a, b), (StreamId(1), addresses(OUR_A, 20000), addresses(OUR_B, 30002)));
    assert_eq!(silence, Some(Duration::from_secs(60)));
    let early = configured(&offer.commands, Side::A);
    assert_eq!(early.remote, Some(Some(Addresses { rtp: "192.0.2.9:4000".parse().unwrap(), rtcp: "192.0.2.9:4009".parse().unwrap() })));
    assert_eq!((early.receive, early.transmit), (Some(Protection::Plain), Some(Protection::Plain)));
    assert_eq!(configured(&offer.commands, Side::B).remote, None);

    let answer = call.answer(
        Side::B,
        "v=0\r\no=- 5 5 IN IP4 10.9.9.9\r\ns=-\r\nc=IN IP4 10.9.9.9\r\nt=0 0\r\nm=audio 6000 RTP/AVP 0 101\r\na=fmtp:101 0-16,36\r\na=ptime:20\r\n",
    );
    assert_eq!(
        answer.text,
        "v=0\r\no=- 200 1 IN IP4 203.0.113.1\r\ns=-\r\nc=IN IP4 203.0.113.1\r\nt=0 0\r\nm=audio 20000 RTP/AVP 0 101\r\na=rtcp:20001\r\na=fmtp:101 0-16,36\r\n\
         a=ptime:20\r\na=sendrecv\r\n"
    );
    assert_eq!(answer.commands.len(), 2);
    assert_eq!(configured(&answer.commands, Side::B).remote, Some(Some(addresses("10.9.9.9", 6000))));
    assert_eq!(call.media.codec(Side::A).as_deref(), Some("PCMU/8000"));
    assert!(call.media.is_agreed() && call.media.can_offer(Side::A) && call.media.can_offer(Side::B));
    assert_eq!(call.media.last_sent(Side::A).unwrap().write(), answer.text.as_bytes());
    assert!(matches!(call.media.close().as_slice(), [Command::Close { stream: StreamId(1) }]));
    assert!(call.media.close().is_empty());
}

/// All four of plain and SRTP, in and out: profile and keys of each leg are its own.
#[test]
fn every_pair_of_modes() {
    for (a, b) in [(plain(), plain()), (sip_secured(), secured()), (secured(), sip_secured()), (secured(), secured()), (plain(), secured())] {
        let (a_srtp, b_srtp) = (a.plan.is_srtp(), b.plan.is_srtp());
        let proto = |srtp| if srtp { "RTP/SAVP" } else { "RTP/AVP" };
        let mut call = Call::between(a, b);
        let offer = call.offer(Side::A, &sdp("192.0.2.9", 1, proto(a_srtp), &if a_srtp { line(7, 0xaa, "") } else { String::new() }));
        assert_eq!(offer.audio().proto.name(), proto(b_srtp));
        assert_eq!(offer.lines().len(), if b_srtp { 2 } else { 0 });
        let early = configured(&offer.commands, Side::A);
        assert_eq!(early.receive, Some(if a_srtp { srtp(SUITES[0], key(0xaa)) } else { Protection::Plain }));
        assert_eq!(early.transmit.is_some(), !a_srtp);

        let answer = call.answer(Side::B, &sdp("10.9.9.9", 1, proto(b_srtp), &if b_srtp { line(1, 0xbb, "") } else { String::new() }));
        assert_eq!(answer.audio().proto.name(), proto(a_srtp));
        let on_a = configured(&answer.commands, Side::A);
        let on_b = configured(&answer.commands, Side::B);
        if a_srtp {
            let [ours] = answer.lines().try_into().unwrap();
            assert_eq!(ours.tag, 7);
            assert_eq!((on_a.receive, on_a.transmit), (Some(srtp(SUITES[0], key(0xaa))), Some(srtp(SUITES[0], ours.keys[0].clone()))));
        } else {
            assert_eq!((on_a.receive, on_a.transmit), (Some(Protection::Plain), Some(Protection::Plain)));
        }
        if b_srtp {
            assert_eq!((on_b.receive, on_b.transmit), (Some(srtp(SUITES[0], key(0xbb))), Some(srtp(SUITES[0], offer.lines()[0].keys[0].clone()))));
        } else {
            assert_eq!((on_b.receive, on_b.transmit), (Some(Protection::Plain), Some(Protection::Plain)));
        }
        assert_eq!(call.media.current_suite(Side::A), a_srtp.then_some(SUITES[0]));
        assert_eq!(call.media.current_suite(Side::B), b_srtp.then_some(SUITES[0]));
    }
}

#[test]
fn offers_that_are_refused() {
    use Reason::*;
    let ok = line(1, 1, "");
    let no_c = "v=0\r\no=- 1 1 IN IP4 192.0.2.9\r\ns=-\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n";
    let with = |from: &str, to: &str| sdp("192.0.2.9", 1, "RTP/AVP", "").replace(from, to);
    for (what, terms, offer, reason) in [
        ("AVP where SRTP is demanded", secured(), with("", ""), ModeMedia),
        ("optional SRTP where it is demanded", secured(), sdp("192.0.2.9", 1, "RTP/AVP", &ok), ModeMedia),
        ("SAVP where RTP is demanded", sip_secured(), sdp("192.0.2.9", 1, "RTP/SAVP", &ok), ModeMedia),
        ("SAVP without keys where RTP is demanded", plain(), sdp("192.0.2.9", 1, "RTP/SAVP", ""), ModeMedia),
        ("keys in clear", plain(), sdp("192.0.2.9", 1, "RTP/SAVP", &ok), KeysInClear),
        ("optional SRTP in clear", plain(), sdp("192.0.2.9", 1, "RTP/AVP", &ok), KeysInClear),
        ("a scaled key in clear", plain(), sdp("192.0.2.9", 1, "RTP/AVP", &ok.replace("a=crypto", "a=CryptoScale")), KeysInClear),
        ("SAVP without a key", secured(), sdp("192.0.2.9", 1, "RTP/SAVP", ""), MediaUnacceptable),
        (
            "only suites we cannot run",
            secured(),
            sdp("192.0.2.9", 1, "RTP/SAVP", &ok.replace("AES_CM_128_HMAC_SHA1_80", "NULL_HMAC_SHA1_80")),
            MediaUnacceptable,
        ),
        (
            "a suite the plan does not allow",
            terms(SecurityMode::Secured, Transport::Tls, &[SUITES[1]]),
            sdp("192.0.2.9", 1, "RTP/SAVP", &ok),
            MediaUnacceptable,
        ),
        ("no encryption asked for", secured(), sdp("192.0.2.9", 1, "RTP/SAVP", &line(1, 1, " UNENCRYPTED_SRTP")), MediaUnacceptable),
        ("only a scaled key", secured(), sdp("192.0.2.9", 1, "RTP/SAVP", &ok.replace("a=crypto", "a=cryptoscale")), MediaUnacceptable),
        ("no audio", plain(), with("m=audio", "m=video"), MediaUnacceptable),
        ("audio switched off", plain(), with("m=audio 4000", "m=audio 0"), MediaUnacceptable),
        ("another fax alone", plain(), "v=0\r\nc=IN IP4 192.0.2.9\r\nm=image 4000 tcp t38\r\n".into(), MediaUnacceptable),
        ("no formats", plain(), with(" 8 0 101", ""), MediaUnacceptable),
        ("formats that are none", plain(), with(" 8 0 101", " 128 x * +8"), MediaUnacceptable),
        ("a host name", plain(), with("c=IN IP4 192.0.2.9", "c=IN IP4 media.example.com"), MediaUnacceptable),
        ("a multicast group", plain(), with("c=IN IP4 192.0.2.9", "c=IN IP4 224.2.1.1/127"), MediaUnacceptable),
        ("a multicast address", plain(), with("c=IN IP4 192.0.2.9", "c=IN IP4 224.2.1.1"), MediaUnacceptable),
        ("no address", plain(), no_c.into(), MediaMalformed),
        ("a plan the transport does not permit", terms(SecurityMode::Secured, Transport::Tcp, &SUITES), sdp("192.0.2.9", 1, "RTP/SAVP", &ok), ModeTransport),
    ] {
        let mut call = Call::between(terms, plain());
        assert_eq!(call.try_offer(Side::A, &offer).map(|out| out.text), Err(reason), "{what}");
        assert!(call.media.can_offer(Side::A) && call.media.stream().is_none(), "{what}: the session is as it was");
    }
}

#[test]
fn no_offer_goes_out_below_its_plan() {
    let mut call = Call::between(plain(), terms(SecurityMode::Secured, Transport::Tcp, &SUITES));
    assert_eq!(call.try_offer(Side::A, &sdp("192.0.2.9", 1, "RTP/AVP", "")).map(|out| out.text), Err(Reason::ModeTransport));
    let mut call = Call::between(plain(), terms(SecurityMode::Secured, Transport::Tls, &[]));
    assert_eq!(call.try_offer(Side::A, &sdp("192.0.2.9", 1, "RTP/AVP", "")).map(|out| out.text), Err(Reason::MediaUnacceptable));
    assert_eq!(call.supply.keys, 0);
}

#[test]
fn no_ports() {
    let mut call = Call::between(plain(), plain());
    call.supply.exhausted = true;
    assert_eq!(call.try_offer(Side::A, &sdp("192.0.2.9", 1, "RTP/AVP", "")).map(|out| out.text), Err(Reason::MediaPorts));
}

/// Ports found for one leg when there are none for the other go back.
#[test]
fn no_ports_of_the_family() {
    let mut call = Call::between(plain(), plain());
    call.supply.only_v4 = true;
    assert_eq!(call.try_offer(Side::A, &sdp("2001:db8::9", 1, "RTP/AVP", "")).map(|out| out.text), Err(Reason::MediaUnacceptable));
    assert_eq!((call.supply.released.len(), call.media.addresses(Side::A)), (1, None));
}

#[test]
fn answers_that_are_refused() {
    use Reason::*;
    let ok = line(1, 1, "");
    for (what, terms, answer, reason) in [
        ("RTP to an offer of SRTP", secured(), sdp("10.9.9.9", 1, "RTP/AVP", ""), ModeMedia),
        ("optional SRTP to an offer of SRTP", secured(), sdp("10.9.9.9", 1, "RTP/AVP", &ok), ModeMedia),
        ("SRTP without a key", secured(), sdp("10.9.9.9", 1, "RTP/SAVP", ""), MediaUnacceptable),
        ("a tag not offered", secured(), sdp("10.9.9.9", 1, "RTP/SAVP", &line(3, 1, "")), MediaUnacceptable),
        ("another suite under the tag", secured(), sdp("10.9.9.9", 1, "RTP/SAVP", &line(2, 1, "")), MediaUnacceptable),
        ("a weakened line", secured(), sdp("10.9.9.9", 1, "RTP/SAVP", &line(1, 1, " UNENCRYPTED_SRTCP")), MediaUnacceptable),
        ("DTLS", secured(), sdp("10.9.9.9", 1, "UDP/TLS/RTP/SAVP", &ok), ModeMedia),
        ("SRTP to an offer of RTP", sip_secured(), sdp("10.9.9.9", 1, "RTP/SAVP", &ok), ModeMedia),
        ("keys in clear", plain(), sdp("10.9.9.9", 1, "RTP/AVP", &ok), KeysInClear),
        ("no m-line", plain(), "v=0\r\no=- 1 1 IN IP4 10.9.9.9\r\nc=IN IP4 10.9.9.9\r\n".into(), MediaMalformed),
        ("another kind in its place", plain(), sdp("10.9.9.9", 1, "RTP/AVP", "").replace("m=audio", "m=video"), MediaMalformed),
        ("the other address family", plain(), sdp("2001:db8::9", 1, "RTP/AVP", ""), MediaUnacceptable),
    ] {
        let mut call = Call::between(plain(), terms);
        call.offer(Side::A, &sdp("192.0.2.9", 1, "RTP/AVP", ""));
        assert_eq!(call.try_answer(Side::B, &answer).map(|out| out.text), Err(reason), "{what}");
        assert!(call.media.pending(Side::A), "{what}: the offer stays pending");
    }
}

#[test]
fn answers_that_nobody_awaits() {
    let mut call = Call::between(plain(), plain());
    let text = sdp("192.0.2.9", 1, "RTP/AVP", "");
    assert_eq!(call.try_answer(Side::B, &text).map(|out| out.text), Err(Reason::MediaUnacceptable));
    call.offer(Side::A, &text);
    assert_eq!(call.try_answer(Side::A, &text).map(|out| out.text), Err(Reason::MediaUnacceptable));
    assert_eq!(call.try_offer(Side::A, &text.replace("4000", "4002")).map(|out| out.text), Err(Reason::ServerBusy));
    assert_eq!(call.try_offer(Side::B, &text).map(|out| out.text), Err(Reason::GlareRetry));
}

/// A fax line, a video line, a second audio line: in place and off towards the offerer, unknown to the other side.
#[test]
fn one_audio_line_is_relayed() {
    let mut call = Call::between(plain(), plain());
    let audio = sdp("192.0.2.9", 1, "RTP/AVP", "");
    let text = audio.replace("m=audio 4000", "m=video 3998 RTP/AVP 34 99\r\na=rtpmap:99 H264/90000\r\nm=audio 0 RTP/AVP 3\r\nm=audio 4000")
        + "m=audio 4100 RTP/AVP 0\r\nm=image 4002 udptl t38\r\na=T38FaxVersion:0\r\nm=application 5000 TCP/TLS/BFCP *\r\n";
    let offer = call.offer(Side::A, &text);
    assert_eq!(offer.sdp.media.len(), 1);
    let answer = call.answer(Side::B, &sdp("10.9.9.9", 1, "RTP/AVP", ""));
    let lines: Vec<_> = answer.text.lines().filter(|line| line.starts_with("m=")).collect();
    assert_eq!(
        lines,
        [
            "m=video 0 RTP/AVP 34 99",
            "m=audio 0 RTP/AVP 3",
            "m=audio 20000 RTP/AVP 8 0 101",
            "m=audio 0 RTP/AVP 0",
            "m=image 0 udptl t38",
            "m=application 0 TCP/TLS/BFCP *"
        ]
    );
    assert!(!answer.text.contains("H264") && !answer.text.contains("T38"));
    // The other side offers in its turn: towards A all the lines stay in their places.
    let again = call.offer(Side::B, &sdp("10.9.9.9", 2, "RTP/AVP", "a=sendonly\r\n"));
    let ports: Vec<_> = again.sdp.media.iter().map(|m| (m.kind.as_str(), m.port)).collect();
    assert_eq!(ports, [("video", 0), ("audio", 0), ("audio", 20000), ("audio", 0), ("image", 0), ("application", 0)]);
    let back = call.answer(Side::A, &text.replace("m=audio 4000", "a=x\r\nm=audio 4444").replace("m=image 4002", "m=image 0"));
    assert_eq!((back.sdp.media.len(), back.direction()), (1, Direction::RecvOnly));
    assert_eq!(configured(&back.commands, Side::A).remote, Some(Some(addresses("192.0.2.9", 4444))));
}

#[test]
fn formats_cross_once_each() {
    let mut call = Call::between(plain(), plain());
    let offer = call.offer(Side::A, &sdp("192.0.2.9", 1, "RTP/AVP", "").replace(" 8 0 101", &" 101 8 9999 x 8".repeat(50)));
    assert_eq!(offer.audio().formats, ["101", "8"]);
}

#[test]
fn feedback_profiles_are_answered_in_kind() {
    for (terms, proto) in [(plain(), "RTP/AVPF"), (secured(), "rtp/savpf")] {
        let mut call = Call::between(terms, plain());
        let offer = call.offer(
            Side::A,
            &sdp(
                "192.0.2.9",
                1,
                proto,
                if proto == "RTP/AVPF" { "" } else { "a=crypto:1 aes_cm_128_hmac_sha1_80 INLINE:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwd\r\n" },
            ),
        );
        assert_eq!(offer.audio().proto.name(), "RTP/AVP");
        assert_eq!(call.answer(Side::B, &sdp("10.9.9.9", 1, "RTP/AVP", "")).audio().proto.name(), proto.to_ascii_uppercase());
    }
}

#[test]
fn address_families_are_per_leg() {
    let mut call = Call::between(plain(), Terms { peer: Some("2001:db8::5".parse().unwrap()), ..plain() });
    let offer = call.offer(Side::A, &sdp("192.0.2.9", 1, "RTP/AVP", ""));
    assert!(offer.text.contains("o=- 100 1 IN IP6 2001:db8:2::1\r\n") && offer.text.contains("c=IN IP6 2001:db8:2::1\r\n"));
    let answer = call.answer(Side::B, &sdp("2001:db8::9", 1, "RTP/AVP", ""));
    assert!(answer.text.contains("c=IN IP4 203.0.113.1\r\n"));
    assert_eq!(configured(&answer.commands, Side::B).remote, Some(Some(addresses("2001:db8::9", 4000))));
}

/// RFC 3605, at media level c=, and what is not taken.
#[test]
fn where_the_peer_takes_media() {
    for (extra, rtp, rtcp) in [
        ("", "192.0.2.9:4000", "192.0.2.9:4001"),
        ("a=rtcp:4009\r\n", "192.0.2.9:4000", "192.0.2.9:4009"),
        ("a=RTCP:4009 IN IP4 192.0.2.10\r\n", "192.0.2.9:4000", "192.0.2.10:4009"),
        ("a=rtcp:4000\r\na=rtcp-mux\r\n", "192.0.2.9:4000", "192.0.2.9:4000"),
        ("a=rtcp:4009 IN IP4 0.0.0.0\r\n", "192.0.2.9:4000", "192.0.2.9:4009"),
        ("a=rtcp:4009 IN IP6 2001:db8::1\r\n", "192.0.2.9:4000", "192.0.2.9:4009"),
        ("a=rtcp:4009 IN IP4 host.example\r\n", "192.0.2.9:4000", "192.0.2.9:4009"),
        ("a=rtcp:none\r\n", "192.0.2.9:4000", "192.0.2.9:4001"),
        ("c=IN IP4 192.0.2.77\r\n", "192.0.2.77:4000", "192.0.2.77:4001"),
    ] {
        let mut call = Call::between(plain(), plain());
        let offer = call.offer(Side::A, &sdp("192.0.2.9", 1, "RTP/AVP", extra));
        let expected = Addresses { rtp: rtp.parse().unwrap(), rtcp: rtcp.parse().unwrap() };
        assert_eq!(configured(&offer.commands, Side::A).remote, Some(Some(expected)), "{extra}");
        assert!(!offer.text.contains("mux"));
    }
    let mut call = Call::between(plain(), plain());
    let last = call.offer(Side::A, &sdp("192.0.2.9", 1, "RTP/AVP", "").replace("m=audio 4000", "m=audio 65535"));
    assert!(matches!(configured(&last.commands, Side::A).remote, Some(Some(a)) if a.rtcp.port() == 65535));
}

/// The INVITE had no description: the called side offers, the caller answers in its ACK.
#[test]
fn a_delayed_offer() {
    let mut call = Call::between(secured(), secured());
    let offer = call.offer(Side::B, &sdp("10.9.9.9", 1, "RTP/SAVP", &line(4, 0xbb, "|2^31")));
    assert_eq!(offer.audio().port, 20002);
    assert_eq!(offer.lines().iter().map(|l| (l.tag, l.usable().unwrap())).collect::<Vec<_>>(), [(1, SUITES[0]), (2, SUITES[1])]);
    assert!(matches!(&offer.commands[0], Command::Open { a, b, .. } if a.rtp.port() == 20002 && b.rtp.port() == 30000));
    let answer =
        call.answer(Side::A, &sdp("192.0.2.9", 1, "RTP/SAVP", "a=crypto:2 AES_CM_128_HMAC_SHA1_32 inline:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwd\r\n"));
    assert_eq!(answer.audio().port, 30000);
    assert_eq!(answer.lines()[0].tag, 4);
    assert_eq!(configured(&answer.commands, Side::A).transmit, Some(srtp(SUITES[1], offer.lines()[1].keys[0].clone())));
    assert_eq!((call.media.current_suite(Side::A), call.media.current_suite(Side::B)), (Some(SUITES[1]), Some(SUITES[0])));
}

#[test]
fn a_called_side_that_declines_the_stream() {
    let mut call = Call::between(secured(), secured());
    call.offer(Side::A, &sdp("192.0.2.9", 1, "RTP/SAVP", &line(1, 1, "")));
    let answer = call.answer(Side::B, &sdp("10.9.9.9", 1, "RTP/SAVP", "").replace("m=audio 4000", "m=audio 0"));
    assert!(answer.text.ends_with("m=audio 0 RTP/SAVP 8 0 101\r\n"), "{}", answer.text);
    assert_eq!(configured(&answer.commands, Side::B).remote, Some(None));
    assert!(call.media.held(Side::B));
}

/// An answer may not go beyond its offer even if the one who wrote it forgot (RFC 3264 §6.1).
#[test]
fn answers_are_kept_within_their_offer() {
    use Direction::*;
    for (offer, answer, passed) in [
        ("sendrecv", "", SendRecv),
        ("sendonly", "", RecvOnly),
        ("sendonly", "a=recvonly\r\n", RecvOnly),
        ("recvonly", "a=sendrecv\r\n", SendOnly),
        ("inactive", "a=sendrecv\r\n", Inactive),
        ("sendrecv", "a=inactive\r\n", Inactive),
    ] {
        let mut call = Call::between(plain(), plain());
        let offered = call.offer(Side::A, &sdp("192.0.2.9", 1, "RTP/AVP", &format!("a={offer}\r\n")));
        assert_eq!(offered.direction().name(), offer);
        assert_eq!(call.answer(Side::B, &sdp("10.9.9.9", 1, "RTP/AVP", answer)).direction(), passed, "{offer} {answer}");
    }
}

/// Broken and hostile descriptions through both halves: refused or carried, never a panic, and never SRTP weakened.
#[test]
fn mutilated_descriptions() {
    let text = sdp("192.0.2.9", 1, "RTP/SAVP", &(line(1, 1, "|2^31|1:1") + "a=rtcp:4001\r\na=sendonly\r\nm=image 5 udptl t38\r\n"));
    let mut carried = 0;
    for at in 0..text.len() {
        for byte in [b'0', b'9', b' ', b':', b'/', b'=', b'\n', b'-', b'a', 0xff] {
            let mut bytes = text.clone().into_bytes();
            bytes[at] = byte;
            let Ok(mutilated) = Description::parse(&bytes) else { continue };
            let mut call = Call::between(secured(), secured());
            if let Ok(offer) = call.media.offer(Side::A, &mutilated, &mut call.supply) {
                assert!(Description::parse(&offer.sdp).unwrap().media.iter().all(|m| m.port == 0 || m.proto.is_srtp()));
                if let Ok(answer) = call.media.answer(Side::B, &mutilated, &mut call.supply) {
                    carried += 1;
                    assert!(matches!(configured(&answer.commands, Side::B).receive, Some(Protection::Srtp(_)) | None));
                }
            }
        }
    }
    assert!(carried > 100, "{carried}");
}
