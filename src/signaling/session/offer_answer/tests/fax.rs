//! A call that becomes a T.38 fax and sound again, on the same m-line or on another one, and everything that must not become one.

use super::*;
use crate::policy::settings::Fax;

const T38: &str = "a=T38FaxVersion:0\r\na=T38MaxBitRate:14400\r\na=T38FaxRateManagement:transferredTCF\r\na=T38FaxMaxBuffer:2000\r\n\
                   a=T38FaxMaxDatagram:400\r\na=T38FaxUdpEC:t38UDPRedundancy\r\n";

/// A peer's description whose lines are these.
fn described(address: &str, version: u32, lines: &str) -> String {
    format!("v=0\r\no=peer 7 {version} IN IP4 {address}\r\ns=call\r\nc=IN IP4 {address}\r\nt=0 0\r\n{lines}")
}

/// The fax on the m-line the sound was on.
fn fax(address: &str, version: u32, port: u16, extra: &str) -> String {
    described(address, version, &format!("m=image {port} udptl t38\r\n{T38}{extra}"))
}

/// The fax on a line of its own, the sound switched off.
fn fax_beside(address: &str, version: u32, port: u16) -> String {
    described(address, version, &format!("m=audio 0 RTP/AVP 8 0 101\r\nm=image {port} udptl t38\r\n{T38}"))
}

/// Both sides plain, in a call of sound.
fn up() -> Call {
    up_between(plain(), plain())
}

fn up_between(a: Terms, b: Terms) -> Call {
    let mut call = Call::between(a, b);
    call.offer(Side::A, &sdp("192.0.2.1", 1, "RTP/AVP", ""));
    call.answer(Side::B, &sdp("10.0.0.9", 1, "RTP/AVP", ""));
    call.media.settled();
    call
}

fn carried(out: &Out) -> Vec<Content> {
    out.commands.iter().filter_map(|command| if let Command::Carry { content, .. } = command { Some(*content) } else { None }).collect()
}

fn media(out: &Out) -> Vec<String> {
    out.sdp.media.iter().map(|media| format!("{} {} {} {}", media.kind, media.port, media.proto, media.formats.join(" "))).collect()
}

#[test]
fn sound_becomes_a_fax_on_its_own_line_and_sound_again() {
    for from in [Side::A, Side::B] {
        let mut call = up();
        let [near, far] = if from == Side::A { ["192.0.2.1", "10.0.0.9"] } else { ["10.0.0.9", "192.0.2.1"] };
        let offered = call.offer(from, &fax(near, 2, 4002, "a=T38VendorInfo:0 1 2\r\na=X-box:fax-gw-7\r\na=sendrecv\r\n"));
        let port = call.media.addresses(from.other()).unwrap().rtp.port();
        assert_eq!(media(&offered), [format!("image {port} udptl t38")]);
        assert!(offered.text.ends_with(&format!("m=image {port} udptl t38\r\n{T38}")), "canonical, nothing unknown: {}", offered.text);
        assert_eq!(offered.commands.len(), 0, "nothing changes before the answer");
        assert!(!call.media.is_fax());
        let answered = call.answer(from.other(), &fax(far, 2, 5002, ""));
        let port = call.media.addresses(from).unwrap().rtp.port();
        assert_eq!(media(&answered), [format!("image {port} udptl t38")]);
        assert_eq!(carried(&answered), [Content::Udptl]);
        assert_eq!(configured(&answered.commands, from).remote, Some(Some(addresses(near, 4002))));
        assert_eq!(configured(&answered.commands, from.other()).remote, Some(Some(addresses(far, 5002))));
        call.media.settled();
        assert!(call.media.is_fax());
        assert_eq!(call.media.codec(Side::A), None);

        let back = call.offer(from.other(), &sdp(far, 3, "RTP/AVP", ""));
        assert_eq!(media(&back), [format!("audio {port} RTP/AVP 8 0 101")]);
        let out = call.answer(from, &sdp(near, 3, "RTP/AVP", ""));
        assert_eq!(carried(&out), [Content::Rtp { events: 1 << 101 }]);
        assert!(!call.media.is_fax());
        assert_eq!(out.version(), 3, "sound, fax, sound");
    }
}

#[test]
fn a_line_added_for_the_fax_keeps_its_place_and_the_other_leg_has_one() {
    let mut call = up();
    let offered = call.offer(Side::A, &fax_beside("192.0.2.1", 2, 4002));
    assert_eq!(media(&offered), ["image 30002 udptl t38"]);
    let answered = call.answer(Side::B, &fax("10.0.0.9", 2, 5002, ""));
    assert_eq!(media(&answered), ["audio 0 RTP/AVP 8 0 101", "image 20000 udptl t38"]);
    call.media.settled();
    // The other side goes back: here the line of old is used again, the fax's is off.
    let back = call.offer(Side::B, &sdp("10.0.0.9", 3, "RTP/AVP", ""));
    assert_eq!(media(&back), ["audio 20000 RTP/AVP 8 0 101", "image 0 udptl t38"]);
    let lines = "m=audio 4000 RTP/AVP 8 101\r\na=rtpmap:101 telephone-event/8000\r\nm=image 0 udptl t38\r\n";
    let answered = call.answer(Side::A, &described("192.0.2.1", 3, lines));
    assert_eq!(media(&answered), ["audio 30002 RTP/AVP 8 101"]);
    assert_eq!(configured(&answered.commands, Side::A).remote, Some(Some(addresses("192.0.2.1", 4000))));
}

#[test]
fn an_offer_of_both_stays_sound() {
    let mut call = up();
    let both = format!("m=audio 4000 RTP/AVP 8\r\nm=image 4002 udptl t38\r\n{T38}");
    assert_eq!(media(&call.offer(Side::A, &described("192.0.2.1", 2, &both))), ["audio 30002 RTP/AVP 8"]);
    let answered = call.answer(Side::B, &sdp("10.0.0.9", 2, "RTP/AVP", ""));
    assert_eq!(media(&answered), ["audio 20000 RTP/AVP 8", "image 0 udptl t38"], "nothing is answered that was not offered");
}

#[test]
fn a_refused_fax_leaves_the_sound_as_it_was() {
    let mut call = up();
    let before = call.media.last_sent(Side::B).unwrap().media.clone();
    call.offer(Side::A, &fax("192.0.2.1", 2, 4002, ""));
    assert_eq!(call.media.rejected(Side::B).len(), 0, "nothing had been changed");
    assert_eq!(call.media.last_sent(Side::B).unwrap().media, before);
    assert!(!call.media.is_fax() && call.media.can_offer(Side::A));
    let again = call.offer(Side::A, &sdp("192.0.2.1", 3, "RTP/AVP", "a=sendonly\r\n"));
    assert!(again.audio().is_audio() && again.version() > 2, "the peer has seen version 2 on the fax");
}

#[test]
fn a_fax_declined_in_the_answer_is_declined_there_too() {
    let mut call = up();
    call.offer(Side::A, &fax("192.0.2.1", 2, 4002, ""));
    let declined = call.answer(Side::B, &described("10.0.0.9", 2, "m=image 0 udptl t38\r\n"));
    assert_eq!(media(&declined), ["image 0 udptl t38"]);
    assert!(!call.media.is_fax());
}

#[test]
fn an_answer_of_another_kind_is_no_answer() {
    let mut call = up();
    call.offer(Side::A, &fax("192.0.2.1", 2, 4002, ""));
    assert_eq!(call.try_answer(Side::B, &sdp("10.0.0.9", 2, "RTP/AVP", "")).unwrap_err(), Reason::MediaUnacceptable);
    let mut call = up();
    call.offer(Side::A, &sdp("192.0.2.1", 2, "RTP/AVP", "a=sendonly\r\n"));
    assert_eq!(call.try_answer(Side::B, &fax("10.0.0.9", 2, 5002, "")).unwrap_err(), Reason::MediaUnacceptable);
}

#[test]
fn um_may_answer_the_fax_with_a_hold_which_crosses() {
    for (lines, expected) in [("a=sendonly\r\n", Direction::SendOnly), ("a=inactive\r\n", Direction::Inactive), ("c=IN IP4 0.0.0.0\r\n", Direction::SendOnly)] {
        let mut call = up();
        call.offer(Side::A, &fax("192.0.2.1", 2, 4002, ""));
        let answered = call.answer(Side::B, &fax("10.0.0.9", 2, 5002, lines));
        assert_eq!((answered.direction(), media(&answered)), (expected, vec![String::from("image 20000 udptl t38")]), "{lines}");
        assert!(call.media.held(Side::B), "{lines}");
        let remote = configured(&answered.commands, Side::B).remote;
        assert_eq!(remote.flatten().is_none(), lines.contains("0.0.0.0"), "{lines}");
    }
}

#[test]
fn a_call_may_begin_as_a_fax() {
    let mut call = Call::between(plain(), sip_secured());
    let offered = call.offer(Side::A, &fax("192.0.2.1", 1, 4002, ""));
    assert_eq!((media(&offered), carried(&offered)), (vec![String::from("image 30002 udptl t38")], vec![Content::Udptl]));
    let answered = call.answer(Side::B, &fax("10.0.0.9", 1, 5002, ""));
    assert_eq!(media(&answered), ["image 20000 udptl t38"]);
    assert!(call.media.is_fax() && carried(&answered).is_empty());
}

/// Nothing of a fax on a leg that demands SRTP, whichever of the two it is and whichever way the fax goes.
#[test]
fn what_must_be_protected_carries_no_fax() {
    let secured_sdp = |address: &str, key| sdp(address, 1, "RTP/SAVP", &line(1, key, ""));
    for secured_side in [Side::A, Side::B] {
        let (a, b) = if secured_side == Side::A { (secured(), plain()) } else { (plain(), secured()) };
        let of = |side: Side, address: &str| if side == secured_side { secured_sdp(address, 7) } else { sdp(address, 1, "RTP/AVP", "") };
        let mut call = Call::between(a, b);
        call.offer(Side::A, &of(Side::A, "192.0.2.1"));
        call.answer(Side::B, &of(Side::B, "10.0.0.9"));
        call.media.settled();
        for from in [Side::A, Side::B] {
            let refused = call.try_offer(from, &fax("192.0.2.1", 2, 4002, "")).unwrap_err();
            assert_eq!(refused, Reason::FaxUnprotected, "secured {secured_side}, from {from}");
            assert!(call.media.can_offer(from) && !call.media.is_fax());
        }
        let mut first = Call::between(if secured_side == Side::A { secured() } else { plain() }, if secured_side == Side::B { secured() } else { plain() });
        assert_eq!(first.try_offer(Side::A, &fax("192.0.2.1", 1, 4002, "")).unwrap_err(), Reason::FaxUnprotected);
        assert_eq!(first.supply.ports as usize, 2 * first.supply.released.len(), "no ports are lost");
    }
    // Nor does a line with keys, or another profile's name, make it so.
    let mut call = Call::between(secured(), secured());
    for lines in [format!("m=image 4002 udptl t38\r\n{}", line(1, 9, "")), String::from("m=image 4002 UDP/TLS/UDPTL t38\r\n")] {
        assert!(matches!(call.try_offer(Side::A, &described("192.0.2.1", 1, &lines)).unwrap_err(), Reason::FaxUnprotected | Reason::MediaUnacceptable));
    }
}

#[test]
fn a_peer_of_g711_is_offered_no_t38_and_its_own_is_declined() {
    for fax_of in [Fax::G711, Fax::Off] {
        for at in [Side::A, Side::B] {
            let without = || Terms { plan: plain().plan.with_for_test(fax_of, None), ..plain() };
            let (a, b) = if at == Side::A { (without(), plain()) } else { (plain(), without()) };
            let mut call = up_between(a, b);
            for from in [Side::A, Side::B] {
                assert_eq!(call.try_offer(from, &fax("192.0.2.1", 2, 4002, "")).unwrap_err(), Reason::FaxDeclined);
            }
            // Pass-through: the same sound, changed for a fax, is nothing special.
            call.offer(Side::A, &sdp("192.0.2.1", 2, "RTP/AVP", "a=silenceSupp:off - - - -\r\n"));
        }
    }
}

#[test]
fn other_images_are_nothing_we_carry() {
    for lines in ["m=image 4002 TCP t38\r\n", "m=image 4002 udptl wb\r\n", "m=image 4002 UDP/TLS/UDPTL t38\r\n", "m=video 4002 RTP/AVP 96\r\n"] {
        let mut call = up();
        assert_eq!(call.try_offer(Side::A, &described("192.0.2.1", 2, lines)).unwrap_err(), Reason::MediaUnacceptable, "{lines}");
    }
}

#[test]
fn the_tone_of_a_calling_fax_keeps_its_place_among_the_events() {
    let with = |address: &str, events: &str| sdp(address, 1, "RTP/AVP", "").replace("a=fmtp:101 0-15", &format!("a=fmtp:101 {events}"));
    let mut call = Call::between(plain(), plain());
    let offered = call.offer(Side::A, &with("192.0.2.1", "0-15,36"));
    assert!(offered.text.contains("a=fmtp:101 0-15,36\r\n"));
    assert_eq!(carried(&offered), [Content::Rtp { events: 1 << 101 }]);
    let answered = call.answer(Side::B, &with("10.0.0.9", "0-16,36"));
    assert!(answered.text.contains("a=fmtp:101 0-16,36\r\n"));
    assert_eq!(carried(&answered), [], "told already");
}
