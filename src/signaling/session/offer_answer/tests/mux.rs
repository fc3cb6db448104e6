//! RTCP on the port of RTP: offered and accepted where policy allows it, and nowhere else.

use super::*;

const MUX: &str = "a=rtcp-mux\r\n";

fn muxing(terms: Terms) -> Terms {
    Terms { plan: terms.plan.muxing_for_test(), ..terms }
}

fn profile(terms: &Terms) -> (&'static str, String) {
    if terms.plan.is_srtp() { ("RTP/SAVP", line(1, 9, "")) } else { ("RTP/AVP", String::new()) }
}

/// Of each side, as the media plane is told last.
fn shared(commands: &[Command], side: Side) -> Option<bool> {
    commands.iter().rev().find_map(|command| match command {
        Command::Configure { side: of, set, .. } if *of == side => set.mux,
        _ => None,
    })
}

#[test]
fn it_is_offered_with_a_port_beside_and_holds_if_the_answer_agrees() {
    for terms in [muxing(plain()), muxing(secured())] {
        for agrees in [true, false] {
            let mut call = Call::between(plain(), terms.clone());
            let offer = call.offer(Side::A, &sdp("198.51.100.7", 1, "RTP/AVP", MUX));
            assert!(offer.text.contains("a=rtcp:30003\r\na=rtcp-mux\r\n"), "{}", offer.text);
            assert_eq!(shared(&offer.commands, Side::B), Some(false), "nothing is agreed yet");
            let (proto, key) = profile(&terms);
            let answer = call.answer(Side::B, &sdp("192.0.2.9", 1, proto, &(key + if agrees { MUX } else { "" })));
            assert!(!answer.text.contains("rtcp-mux") && answer.text.contains("a=rtcp:20001\r\n"), "each leg has its own way: {}", answer.text);
            assert_eq!((shared(&answer.commands, Side::A), shared(&answer.commands, Side::B)), (Some(false), Some(agrees)));
        }
    }
}

#[test]
fn it_is_accepted_where_policy_allows_it_and_ends_with_an_offer_without() {
    for (terms, allowed) in [(muxing(plain()), true), (muxing(secured()), true), (plain(), false), (secured(), false)] {
        let (proto, key) = profile(&terms);
        let mut call = Call::between(terms, plain());
        let offer = call.offer(Side::A, &sdp("198.51.100.7", 1, proto, &(key.clone() + MUX)));
        assert!(!offer.text.contains("rtcp-mux"), "{}", offer.text);
        let answer = call.answer(Side::B, &sdp("192.0.2.9", 1, "RTP/AVP", ""));
        assert_eq!(answer.text.contains("a=rtcp:20000\r\na=rtcp-mux\r\n"), allowed, "{}", answer.text);
        assert_eq!(answer.text.contains("rtcp-mux"), allowed, "{}", answer.text);
        assert_eq!((shared(&answer.commands, Side::A), shared(&answer.commands, Side::B)), (Some(allowed), Some(false)));
        call.media.settled();
        let again = Description::parse(sdp("198.51.100.7", 1, proto, &(key.clone() + MUX)).as_bytes()).unwrap();
        assert!(call.media.is_refresh(Side::A, &again), "the same again changes nothing");
        call.offer(Side::A, &sdp("198.51.100.7", 2, proto, &key));
        let answer = call.answer(Side::B, &sdp("192.0.2.9", 2, "RTP/AVP", ""));
        assert!(!answer.text.contains("rtcp-mux") && answer.text.contains("a=rtcp:20001\r\n"), "{}", answer.text);
        assert_eq!(shared(&answer.commands, Side::A), Some(false));
    }
}

/// RFC 5761 §4: with the marker these look like RTCP.
#[test]
fn payload_types_that_look_like_rtcp_keep_two_ports() {
    let clashing = |version, extra: &str| sdp("198.51.100.7", version, "RTP/AVP", extra).replace("8 0 101", "8 77 101").replace("a=rtpmap:0 ", "a=rtpmap:77 ");
    let mut call = Call::between(muxing(plain()), muxing(plain()));
    let offer = call.offer(Side::A, &clashing(1, MUX));
    assert!(offer.text.contains(" 8 77 101\r\n") && !offer.text.contains("rtcp-mux"), "{}", offer.text);
    let answer = call.answer(Side::B, &sdp("192.0.2.9", 1, "RTP/AVP", "").replace("8 0 101", "8 101"));
    assert!(!answer.text.contains("rtcp-mux"), "{}", answer.text);

    let mut call = Call::between(muxing(plain()), plain());
    assert_eq!(call.try_offer(Side::A, &clashing(1, "a=rtcp-mux\r\na=rtcp-mux-only\r\n")).unwrap_err(), Reason::MediaMux);
    call.offer(Side::A, &sdp("198.51.100.7", 1, "RTP/AVP", "a=rtcp-mux\r\na=rtcp-mux-only\r\n"));
    assert!(call.answer(Side::B, &sdp("192.0.2.9", 1, "RTP/AVP", "")).text.contains(MUX));

    let mut call = Call::between(plain(), muxing(plain()));
    call.offer(Side::A, &sdp("198.51.100.7", 1, "RTP/AVP", ""));
    assert_eq!(call.try_answer(Side::B, &clashing(1, MUX)).unwrap_err(), Reason::MediaMux);
}

/// An answer may not agree to what was not offered.
#[test]
fn an_answer_that_agrees_unasked_changes_nothing() {
    let mut call = Call::between(plain(), plain());
    call.offer(Side::A, &sdp("198.51.100.7", 1, "RTP/AVP", ""));
    let answer = call.answer(Side::B, &sdp("192.0.2.9", 1, "RTP/AVP", MUX));
    assert_eq!(shared(&answer.commands, Side::B), Some(false));
}
