//! What comes after the first exchange: hold, re-keying, refusals, forks, failover, refreshes.

use super::*;

/// An agreed call with SRTP on both legs: keys 0xaa from A's peer, 0xbb from B's; ours as returned by the media plane's last commands.
fn agreed() -> (Call, Configured, Configured) {
    let mut call = Call::between(secured(), secured());
    call.offer(Side::A, &sdp("192.0.2.9", 1, "RTP/SAVP", &line(1, 0xaa, "")));
    let answer = call.answer(Side::B, &sdp("10.9.9.9", 1, "RTP/SAVP", &line(1, 0xbb, "")));
    call.media.settled();
    let (a, b) = (configured(&answer.commands, Side::A), configured(&answer.commands, Side::B));
    (call, a, b)
}

#[test]
fn hold_and_resume_keep_every_key() {
    let (mut call, a, b) = agreed();
    for (from, to, ip, byte, other_byte) in [(Side::A, Side::B, "192.0.2.9", 0xaa, 0xbb), (Side::B, Side::A, "10.9.9.9", 0xbb, 0xaa)] {
        for (version, offered, answered, passed, held) in
            [(2, "sendonly", "recvonly", "recvonly", true), (3, "inactive", "inactive", "inactive", true), (4, "sendrecv", "sendrecv", "sendrecv", false)]
        {
            let offer = call.offer(from, &sdp(ip, version, "RTP/SAVP", &(line(1, byte, "") + &format!("a={offered}\r\n"))));
            assert!(offer.commands.is_empty(), "nothing changes before the answer");
            assert_eq!((offer.direction().name(), offer.lines().len()), (offered, 1));
            let peer = if to == Side::B { "10.9.9.9" } else { "192.0.2.9" };
            let answer = call.answer(to, &sdp(peer, version, "RTP/SAVP", &(line(1, other_byte, "") + &format!("a={answered}\r\n"))));
            call.media.settled();
            assert_eq!(answer.direction().name(), passed);
            assert_eq!(configured(&answer.commands, Side::A), a, "the same protection: no context is reset");
            assert_eq!(configured(&answer.commands, Side::B), b);
            assert_eq!(call.media.held(from), held, "{offered}");
        }
    }
    assert_eq!(call.supply.keys, 3, "two offered to B, one answered to A");
}

#[test]
fn hold_by_address() {
    for (address, name) in [("0.0.0.0", "sendonly"), ("nowhere.invalid", "sendonly")] {
        let (mut call, a, b) = agreed();
        let text = sdp("192.0.2.9", 2, "RTP/SAVP", &line(1, 0xaa, "")).replace("c=IN IP4 192.0.2.9", &format!("c=IN IP4 {address}"));
        let offer = call.offer(Side::A, &text);
        assert_eq!(offer.direction().name(), name);
        assert!(offer.text.contains("c=IN IP4 10.0.0.1\r\n"), "our own address stays");
        let answer = call.answer(Side::B, &sdp("10.9.9.9", 2, "RTP/SAVP", &(line(1, 0xbb, "") + "a=recvonly\r\n")));
        assert_eq!(configured(&answer.commands, Side::A), Configured { remote: Some(None), ..a.clone() });
        assert!(call.media.held(Side::A) && !call.media.held(Side::B));
        call.offer(Side::A, &sdp("192.0.2.9", 3, "RTP/SAVP", &line(1, 0xaa, "")));
        let answer = call.answer(Side::B, &sdp("10.9.9.9", 3, "RTP/SAVP", &line(1, 0xbb, "")));
        assert_eq!((configured(&answer.commands, Side::A), configured(&answer.commands, Side::B)), (a, b));
    }
}

#[test]
fn the_version_counts_up_only_on_a_change() {
    let (mut call, ..) = agreed();
    let (id_a, id_b) = (call.media.last_sent(Side::A).unwrap().origin.clone().unwrap(), call.media.last_sent(Side::B).unwrap().origin.clone().unwrap());
    let mut versions = Vec::new();
    for extra in ["", "", "a=sendonly\r\n", "a=sendonly\r\n", ""] {
        let offer = call.offer(Side::A, &sdp("192.0.2.9", 9, "RTP/SAVP", &(line(1, 0xaa, "") + extra)));
        let answer = call.answer(Side::B, &sdp("10.9.9.9", 9, "RTP/SAVP", &line(1, 0xbb, "")));
        call.media.settled();
        assert_eq!(offer.sdp.origin.as_ref().unwrap().session_id, id_b.session_id);
        assert_eq!(answer.sdp.origin.as_ref().unwrap().session_id, id_a.session_id);
        versions.push((offer.version(), answer.version()));
    }
    // The first re-offer differs from the first offer: one crypto line instead of two.
    assert_eq!(versions, [(2, 1), (2, 1), (3, 2), (3, 2), (4, 3)]);
}

#[test]
fn a_peer_that_changes_its_key_or_address() {
    let (mut call, a, b) = agreed();
    call.offer(Side::A, &sdp("192.0.2.55", 2, "RTP/SAVP", &line(1, 0xac, "")));
    let answer = call.answer(Side::B, &sdp("10.9.9.9", 1, "RTP/SAVP", &line(1, 0xbb, "")));
    let on_a = configured(&answer.commands, Side::A);
    assert_eq!(on_a, Configured { remote: Some(Some(addresses("192.0.2.55", 4000))), receive: Some(srtp(SUITES[0], key(0xac))), ..a }, "our own key stays");
    assert_eq!(configured(&answer.commands, Side::B), b, "the other leg is as it was");
}

#[test]
fn a_line_in_force_stays_in_force_wherever_it_stands() {
    let (mut call, a, _) = agreed();
    let more = line(5, 0x01, "") + &line(6, 0xaa, "");
    call.offer(Side::A, &sdp("192.0.2.9", 2, "RTP/SAVP", &more));
    let answer = call.answer(Side::B, &sdp("10.9.9.9", 1, "RTP/SAVP", &line(1, 0xbb, "")));
    assert_eq!(answer.lines()[0].tag, 6);
    assert_eq!(configured(&answer.commands, Side::A), a);
}

/// A key used under another form would begin a new context and repeat its key stream.
#[test]
fn another_suite_or_mki_gets_a_key_of_its_own() {
    for changed in [line(1, 0xaa, "|2^31|1:1"), line(1, 0xaa, "").replace("SHA1_80", "SHA1_32")] {
        let (mut call, a, _) = agreed();
        call.offer(Side::A, &sdp("192.0.2.9", 2, "RTP/SAVP", &changed));
        let answer = call.answer(Side::B, &sdp("10.9.9.9", 1, "RTP/SAVP", &line(1, 0xbb, "")));
        let (Some(Protection::Srtp(old)), Some(Protection::Srtp(new))) = (a.transmit, configured(&answer.commands, Side::A).transmit) else { panic!() };
        assert_ne!(old.keys[0].key_and_salt, new.keys[0].key_and_salt, "{changed}");
    }
}

#[test]
fn a_refused_reoffer_leaves_everything() {
    let (mut call, a, b) = agreed();
    let before = call.media.last_sent(Side::B).unwrap().clone();
    let offer = call.offer(Side::A, &sdp("192.0.2.55", 2, "RTP/SAVP", &(line(1, 0xac, "") + "a=sendonly\r\n")));
    assert!(call.media.rejected(Side::B).is_empty());
    assert!(call.media.can_offer(Side::A) && call.media.can_offer(Side::B) && !call.media.held(Side::A));
    // What stands is what was agreed, under a number B has not seen on anything else.
    let after = call.media.last_sent(Side::B).unwrap();
    assert_eq!((&after.media, after.origin.as_ref().unwrap().session_version.parse::<u64>().unwrap()), (&before.media, offer.version() + 1));
    call.offer(Side::B, &sdp("10.9.9.9", 2, "RTP/SAVP", &line(1, 0xbb, "")));
    let answer = call.answer(Side::A, &sdp("192.0.2.9", 2, "RTP/SAVP", &line(1, 0xaa, "")));
    assert_eq!((configured(&answer.commands, Side::A), configured(&answer.commands, Side::B)), (a, b));
}

#[test]
fn an_early_answer_to_a_refused_reoffer_is_taken_back() {
    let (mut call, a, b) = agreed();
    call.offer(Side::A, &sdp("192.0.2.55", 2, "RTP/SAVP", &line(1, 0xac, "")));
    call.answer(Side::B, &sdp("10.9.9.66", 2, "RTP/SAVP", &line(1, 0xbc, "")));
    let commands = call.media.rejected(Side::B);
    assert_eq!((configured(&commands, Side::A), configured(&commands, Side::B)), (a, b));

    let (mut call, ..) = agreed();
    call.offer(Side::A, &sdp("192.0.2.55", 2, "RTP/SAVP", &line(1, 0xac, "")));
    call.answer(Side::B, &sdp("10.9.9.66", 2, "RTP/SAVP", &line(1, 0xbc, "")));
    call.media.settled();
    assert!(call.media.rejected(Side::B).is_empty(), "what was reliably answered stands");
}

#[test]
fn a_repeated_answer_after_settling_changes_nothing() {
    let (mut call, ..) = agreed();
    let sent = call.media.last_sent(Side::A).unwrap().write();
    let again = call.answer(Side::B, &sdp("10.9.9.77", 3, "RTP/SAVP", &line(1, 0xbe, "")));
    assert!(again.commands.is_empty() && again.text.as_bytes() == sent);
}

#[test]
fn a_fork_that_answers_later_replaces_the_earlier() {
    let mut call = Call::between(secured(), secured());
    let offer = call.offer(Side::A, &sdp("192.0.2.9", 1, "RTP/SAVP", &line(1, 0xaa, "")));
    let first = call.answer(Side::B, &sdp("10.9.9.1", 1, "RTP/SAVP", &line(1, 0xb1, "")));
    let second = call.answer(Side::B, &sdp("10.9.9.2", 1, "RTP/SAVP", &line(2, 0xb2, "").replace("SHA1_80", "SHA1_32")));
    assert_eq!(first.text, second.text, "A hears the same: our port, our key");
    let on_b = configured(&second.commands, Side::B);
    assert_eq!(on_b.remote, Some(Some(addresses("10.9.9.2", 4000))));
    assert_eq!((on_b.receive, on_b.transmit), (Some(srtp(SUITES[1], key(0xb2))), Some(srtp(SUITES[1], offer.lines()[1].keys[0].clone()))));
    let stands = call.media.last_sent(Side::B).unwrap().media[0].cryptos().map(Result::unwrap).collect::<Vec<_>>();
    assert_eq!(stands, [offer.lines()[1].clone()], "what stands towards B has the line the last fork took");
}

#[test]
fn the_next_target_gets_other_keys_and_another_session() {
    let mut call = Call::between(secured(), secured());
    let first = call.offer(Side::A, &sdp("192.0.2.9", 1, "RTP/SAVP", &line(1, 0xaa, "")));
    call.answer(Side::B, &sdp("10.9.9.1", 1, "RTP/SAVP", &line(1, 0xb1, "")));
    for refused_first in [false, true] {
        if refused_first {
            call.media.rejected(Side::B);
        }
        let next = call.reoffer(Side::B);
        assert_eq!(next.audio().port, first.audio().port, "the stream stays");
        assert!(
            matches!(next.commands.as_slice(), [Command::Configure { side: Side::B, set: Configuration { remote: Some(None), .. }, .. }]),
            "the last target hears no more"
        );
        assert!(next.lines().iter().all(|l| first.lines().iter().all(|old| old.keys != l.keys)));
        assert_ne!(next.sdp.origin, first.sdp.origin);
        assert!(call.media.pending(Side::A));
    }
    let answer = call.answer(Side::B, &sdp("10.9.9.2", 1, "RTP/SAVP", &line(1, 0xb2, "")));
    assert_eq!(configured(&answer.commands, Side::B).receive, Some(srtp(SUITES[0], key(0xb2))));
    call.media.settled();
    assert!(call.media.reoffer(Side::B, &mut call.supply).is_err(), "an agreed session has no next target");
}

/// The same as asking for the next target.
#[test]
fn the_first_offer_once_more() {
    let text = sdp("192.0.2.9", 1, "RTP/SAVP", &line(1, 0xaa, ""));
    let mut call = Call::between(secured(), secured());
    let first = call.offer(Side::A, &text);
    call.answer(Side::B, &sdp("10.9.9.1", 1, "RTP/SAVP", &line(1, 0xb1, "")));
    let next = call.offer(Side::A, &text);
    assert!(next.lines().iter().all(|l| first.lines().iter().all(|old| old.keys != l.keys)));
    assert!(matches!(next.commands.as_slice(), [Command::Configure { side: Side::B, set: Configuration { remote: Some(None), .. }, .. }]));
    call.answer(Side::B, &sdp("10.9.9.2", 1, "RTP/SAVP", &line(1, 0xb2, "")));
    call.media.settled();
    assert_eq!(call.offer(Side::A, &text).lines().len(), 1, "later it is a re-offer like any other");
}

/// The next target wants another mode: what we offer follows its plan.
#[test]
fn the_next_target_on_other_terms() {
    let mut call = Call::between(secured(), secured());
    call.offer(Side::A, &sdp("192.0.2.9", 1, "RTP/SAVP", &line(1, 0xaa, "")));
    call.media.set_terms(Side::B, sip_secured());
    let next = call.reoffer(Side::B);
    assert_eq!((next.audio().proto.name(), next.lines().len()), ("RTP/AVP", 0));
    call.media.set_terms(Side::B, terms(SecurityMode::Secured, Transport::Udp, &SUITES));
    assert_eq!(call.media.reoffer(Side::B, &mut call.supply).map(|o| o.sdp), Err(MediaRefusal(Reason::ModeTransport)));
}

#[test]
fn the_next_target_of_the_other_address_family() {
    let v6 = |terms: Terms| Terms { peer: Some("2001:db8::5".parse().unwrap()), ..terms };
    let v4 = |terms: Terms| Terms { peer: Some("10.9.9.9".parse().unwrap()), ..terms };
    let mut call = Call::between(plain(), v6(plain()));
    let first = call.offer(Side::A, &sdp("192.0.2.9", 1, "RTP/AVP", ""));
    call.media.set_terms(Side::B, v4(plain()));
    let next = call.reoffer(Side::B);
    assert!(next.text.contains("c=IN IP4 10.0.0.1"));
    let [Command::Close { stream: StreamId(1) }, Command::Open { stream: StreamId(2), a, b, .. }, on_a, _, Command::Carry { .. }] = next.commands.as_slice()
    else {
        panic!("{:?}", next.commands)
    };
    assert!(matches!(on_a, Command::Configure { side: Side::A, set: Configuration { remote: Some(Some(_)), .. }, .. }));
    let Command::Open { a: old_a, .. } = &first.commands[0] else { panic!() };
    assert!(call.supply.released.is_empty(), "closing the stream returns its ports");
    assert!(a != old_a && b.rtp.is_ipv4());
    assert_eq!((call.media.addresses(Side::A), call.media.addresses(Side::B)), (Some(*a), Some(*b)));
    call.answer(Side::B, &sdp("10.9.9.9", 1, "RTP/AVP", ""));

    // Once the caller has been told our port it stays, and so does the family.
    call.media.set_terms(Side::B, v6(plain()));
    assert!(call.reoffer(Side::B).text.contains("c=IN IP4 10.0.0.1"));
}

#[test]
fn a_stream_switched_off_and_on() {
    let (mut call, a, b) = agreed();
    let off = |text: String| text.replace("m=audio 4000", "m=audio 0");
    let offer = call.offer(Side::A, &off(sdp("192.0.2.9", 2, "RTP/SAVP", "")));
    assert!(offer.text.ends_with("m=audio 0 RTP/SAVP 8 0 101\r\n"));
    let answer = call.answer(Side::B, &off(sdp("10.9.9.9", 2, "RTP/SAVP", "")));
    assert!(answer.text.ends_with("m=audio 0 RTP/SAVP 8 0 101\r\n"));
    assert_eq!((configured(&answer.commands, Side::A).remote, configured(&answer.commands, Side::B).remote), (Some(None), Some(None)));
    call.offer(Side::A, &sdp("192.0.2.9", 3, "RTP/SAVP", &line(1, 0xaa, "")));
    let answer = call.answer(Side::B, &sdp("10.9.9.9", 3, "RTP/SAVP", &line(1, 0xbb, "")));
    assert_eq!((configured(&answer.commands, Side::A), configured(&answer.commands, Side::B)), (a, b));
}

/// T.38 alone in a re-offer of a protected call: refused, and the voice call goes on.
#[test]
fn a_change_to_fax_is_refused_where_it_must_be_protected() {
    let (mut call, ..) = agreed();
    let fax =
        "v=0\r\no=- 1 2 IN IP4 192.0.2.9\r\ns=-\r\nc=IN IP4 192.0.2.9\r\nt=0 0\r\nm=audio 0 RTP/SAVP 0\r\nm=image 4002 udptl t38\r\na=T38FaxVersion:0\r\n";
    assert_eq!(call.try_offer(Side::A, fax).map(|out| out.text), Err(Reason::FaxUnprotected));
    assert!(call.media.can_offer(Side::A) && call.media.is_agreed());
}

#[test]
fn a_weaker_reoffer_is_refused() {
    let (mut call, ..) = agreed();
    for from in [Side::A, Side::B] {
        assert_eq!(call.try_offer(from, &sdp("192.0.2.9", 2, "RTP/AVP", "")).map(|out| out.text), Err(Reason::ModeMedia));
        assert!(call.media.can_offer(from));
    }
}

#[test]
fn refreshes() {
    let (mut call, a, b) = agreed();
    // The peer's, recognised by its o= line, answered here.
    let same = Description::parse(sdp("192.0.2.9", 1, "RTP/SAVP", &line(1, 0xaa, "")).as_bytes()).unwrap();
    let changed = Description::parse(sdp("192.0.2.9", 2, "RTP/SAVP", &line(1, 0xaa, "")).as_bytes()).unwrap();
    assert!(call.media.is_refresh(Side::A, &same) && !call.media.is_refresh(Side::A, &changed) && !call.media.is_refresh(Side::B, &same));
    // Some peers never change their o= line: what is said decides.
    let held = Description::parse(sdp("192.0.2.9", 1, "RTP/SAVP", &(line(1, 0xaa, "") + "a=sendonly\r\n")).as_bytes()).unwrap();
    let rekeyed = Description::parse(sdp("192.0.2.9", 1, "RTP/SAVP", &line(1, 0xac, "")).as_bytes()).unwrap();
    assert!(!call.media.is_refresh(Side::A, &held) && !call.media.is_refresh(Side::A, &rekeyed));
    let sent = call.media.last_sent(Side::A).unwrap().write();
    let outcome = call.media.answer_here(Side::A, &same, &mut call.supply).unwrap();
    assert_eq!(outcome.sdp, sent);
    assert_eq!(configured(&outcome.commands, Side::A), a);
    assert_eq!(call.media.last_sent(Side::B).unwrap().media[0].named("crypto").count(), 1, "the line in force");
    // The called side's: what we sent it was an offer of two lines, the answer has one.
    let same = Description::parse(sdp("10.9.9.9", 1, "RTP/SAVP", &line(1, 0xbb, "")).as_bytes()).unwrap();
    let outcome = Out::of(call.media.answer_here(Side::B, &same, &mut call.supply).unwrap());
    assert_eq!(outcome.lines().len(), 1);
    assert_eq!(configured(&outcome.commands, Side::B), b);
    // Ours, with the answer put to use.
    let commands = call.media.refreshed(Side::B, &Description::parse(sdp("10.9.9.9", 2, "RTP/SAVP", &line(1, 0xbf, "")).as_bytes()).unwrap()).unwrap();
    assert_eq!(configured(&commands, Side::B), Configured { receive: Some(srtp(SUITES[0], key(0xbf))), ..b });
    let weaker = Description::parse(sdp("10.9.9.9", 3, "RTP/AVP", "").as_bytes()).unwrap();
    assert_eq!(call.media.refreshed(Side::B, &weaker).map(|c| c.len()), Err(MediaRefusal(Reason::ModeMedia)));
}
