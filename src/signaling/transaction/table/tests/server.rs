//! Server transactions.

use super::*;

fn bye(branch: &str) -> String {
    OPTIONS.replace("OPTIONS", "BYE").replace("z9hG4bKoptions", branch).replace("To: <sip:sbc.example>", "To: <sip:sbc.example>;tag=ours")
}

#[test]
fn a_repeated_invite_gets_the_newest_provisional() {
    let mut world = World::new();
    let key = world.take_new(0, THEIR_INVITE);
    assert_eq!(world.take(1, THEIR_INVITE), Incoming::Absorbed);
    assert!(world.said().is_empty(), "nothing to repeat yet");
    world.respond(2, key, 100);
    world.respond(3, key, 183);
    assert_eq!(world.take(500, THEIR_INVITE), Incoming::Absorbed);
    assert_eq!(world.said(), ["100", "183", "again 183"]);
}

#[test]
fn a_provisional_given_twice_is_a_retransmission() {
    let mut world = World::new();
    let key = world.take_new(0, THEIR_INVITE);
    world.respond(2, key, 183);
    world.respond(502, key, 183);
    assert_eq!(world.said(), ["183", "again 183"]);
}

#[test]
fn a_refused_invite_goes_through_completed_and_confirmed() {
    let mut world = World::new();
    let key = world.take_new(0, THEIR_INVITE);
    world.respond(100, key, 486);
    assert_eq!(world.said(), ["486"]);
    assert_eq!(world.run(600), [(600, "again 486".into())]);
    assert_eq!(world.take(700, THEIR_INVITE), Incoming::Absorbed);
    assert_eq!(world.take(800, &ack_of(THEIR_INVITE)), Incoming::Confirmed);
    assert_eq!(world.take(900, &ack_of(THEIR_INVITE)), Incoming::Absorbed);
    assert_eq!(world.take(901, THEIR_INVITE), Incoming::Absorbed);
    assert_eq!(world.said(), ["again 486"]);
    assert_eq!(world.run(60_000), [(5_800, "server ended".into())]);
    assert_eq!(world.take(7_000, &ack_of(THEIR_INVITE)), Incoming::Ack, "nobody's ACK is the core's to drop");
}

#[test]
fn an_unacknowledged_refusal_times_out() {
    let mut world = World::new();
    let key = world.take_new(0, THEIR_INVITE);
    world.respond(0, key, 486);
    let log = world.run(100_000);
    assert_eq!(log[log.len() - 2..], [(32_000, "server timeout".into()), (32_000, "server ended".into())]);
}

#[test]
fn after_a_2xx_invites_are_absorbed_and_acks_are_the_cores() {
    let mut world = World::new();
    let key = world.take_new(0, THEIR_INVITE);
    world.respond(100, key, 200);
    assert_eq!(world.take(200, THEIR_INVITE), Incoming::Absorbed);
    world.respond(600, key, 200);
    assert_eq!(world.said(), ["200", "again 200"], "only the core repeats a 2xx");
    assert_eq!(world.take(700, &ack_of(THEIR_INVITE)), Incoming::Ack);
    assert_eq!(world.take(710, &ack_of(THEIR_INVITE).replace("z9hG4bKtheirs", "z9hG4bKack")), Incoming::Ack);
    world.respond(800, key, 500);
    assert!(world.said().is_empty());
    assert_eq!(world.run(60_000), [(32_100, "server ended".into())]);
}

#[test]
fn cancel_finds_its_invite_and_has_its_own_answer() {
    let mut world = World::new();
    let invite_key = world.take_new(0, THEIR_INVITE);
    let text = with_method(THEIR_INVITE, "CANCEL");
    let Incoming::Cancel { cancel, invite } = world.take(100, &text) else { panic!("a CANCEL") };
    assert_eq!(invite, Some(invite_key));
    world.respond(101, cancel, 200);
    world.respond(102, invite_key, 487);
    assert_eq!(world.take(400, &text), Incoming::Absorbed);
    assert_eq!(world.said(), ["200", "487", "again 200"]);
}

#[test]
fn cancel_of_nothing_says_so() {
    let mut world = World::new();
    assert!(matches!(world.take(0, &with_method(THEIR_INVITE, "CANCEL")), Incoming::Cancel { invite: None, .. }));
}

#[test]
fn a_repeated_non_invite_gets_the_final_until_timer_j() {
    let mut world = World::new();
    let key = world.take_new(0, OPTIONS);
    assert_eq!(world.take(1, OPTIONS), Incoming::Absorbed);
    world.respond(2, key, 200);
    assert_eq!(world.take(500, OPTIONS), Incoming::Absorbed);
    world.respond(501, key, 500);
    assert_eq!(world.said(), ["200", "again 200"]);
    assert_eq!(world.run(100_000), [(32_002, "server ended".into())]);
}

#[test]
fn a_slow_non_invite_gets_100_when_its_client_slows_down() {
    let mut world = World::new();
    let key = world.take_new(0, OPTIONS);
    world.table.timeout(ms(3_500));
    let (_, trying) = world.last_sent();
    let expected = "SIP/2.0 100 Trying\r\n\
        Via: SIP/2.0/UDP peer.example:5070;branch=z9hG4bKoptions;received=192.0.2.7;rport=5070\r\n\
        Via: SIP/2.0/TCP behind.example;branch=z9hG4bKfar\r\n\
        From: <sip:peer.example>;tag=from-them\r\n\
        To: <sip:sbc.example>\r\n\
        Call-ID: options-1@peer.example\r\n\
        CSeq: 1 OPTIONS\r\n\
        Content-Length: 0\r\n\r\n";
    assert_eq!(std::str::from_utf8(&trying).expect("text"), expected);
    assert_eq!(world.take(7_500, OPTIONS), Incoming::Absorbed);
    world.respond(8_000, key, 200);
    assert_eq!(world.said(), ["again 100", "200"]);
}

#[test]
fn no_408_and_no_late_final_to_a_non_invite() {
    let mut world = World::new();
    let key = world.take_new(0, OPTIONS);
    world.respond(100, key, 408);
    assert_eq!(world.said(), ["server ended"]);
    let key = world.take_new(0, OPTIONS);
    assert_eq!(world.run(32_000), [(3_500, "100".into()), (32_000, "server ended".into())]);
    world.respond(32_001, key, 200);
    assert!(world.said().is_empty());
}

#[test]
fn the_same_request_by_another_path_is_merged() {
    let mut world = World::new();
    world.take_new(0, THEIR_INVITE);
    let other_path = THEIR_INVITE.replace("z9hG4bKtheirs", "z9hG4bKother");
    let Incoming::Merged(key) = world.take(10, &other_path) else { panic!("merged") };
    world.respond(11, key, 482);
    assert_eq!(world.take(12, &other_path), Incoming::Absorbed);
    assert_eq!(world.said(), ["482", "again 482"]);
    assert!(matches!(world.take(13, &other_path.replace("3 INVITE", "4 INVITE").replace("other", "next")), Incoming::New(_)));
}

#[test]
fn requests_inside_a_dialog_are_never_merged() {
    let mut world = World::new();
    world.take_new(0, &bye("z9hG4bK1"));
    world.take_new(0, &bye("z9hG4bK2"));
}

#[test]
fn when_the_first_has_ended_the_same_request_is_new() {
    let mut world = World::new();
    let key = world.take_new(0, OPTIONS);
    world.respond(0, key, 200);
    world.run(32_000);
    world.take_new(32_001, &OPTIONS.replace("z9hG4bKoptions", "z9hG4bKlater"));
}

#[test]
fn sent_by_and_branch_tell_transactions_apart_and_host_case_does_not() {
    let mut world = World::new();
    world.take_new(0, &bye("z9hG4bK1"));
    world.take_new(0, &bye("z9hG4bK1").replace("peer.example:5070", "peer.example:5071"));
    world.take_new(0, &bye("z9hG4bK1").replace("peer.example:5070", "pear.example:5070"));
    assert_eq!(world.take(0, &bye("z9hG4bK1").replace("peer.example:5070", "PEER.example:5070")), Incoming::Absorbed);
}

#[test]
fn a_peer_of_rfc_2543_is_matched_without_branch() {
    let old = THEIR_INVITE.replace(";branch=z9hG4bKtheirs", "");
    let mut world = World::new();
    let key = world.take_new(0, &old);
    assert_eq!(world.take(1, &old), Incoming::Absorbed);
    assert_eq!(world.take(2, &with_method(&old, "CANCEL")), Incoming::Cancel { cancel: ServerKey(1), invite: Some(key) });
    world.respond(3, key, 486);
    assert_eq!(world.take(4, &ack_of(&old)), Incoming::Confirmed);
    world.take_new(5, &old.replace("3 INVITE", "4 INVITE"));
}

#[test]
fn branches_without_the_cookie_are_not_trusted() {
    let mut world = World::new();
    world.take_new(0, &THEIR_INVITE.replace("z9hG4bKtheirs", "1"));
    let next = THEIR_INVITE.replace("z9hG4bKtheirs", "1").replace("call-9", "call-10");
    world.take_new(1, &next);
}

#[test]
fn over_the_limit_new_requests_are_turned_away_and_ends_of_dialogs_are_not() {
    let mut world = World::limited(4);
    for n in 0..4 {
        world.take_new(0, &OPTIONS.replace("options-1", &format!("options-{n}")).replace("z9hG4bKoptions", &format!("z9hG4bK-{n}")));
    }
    assert_eq!(world.take(1, THEIR_INVITE), Incoming::Overload);
    assert_eq!(world.take(1, &bye("z9hG4bKbye1")), Incoming::New(ServerKey(4)));
    assert_eq!(world.take(1, &bye("z9hG4bKbye2")), Incoming::Overload);
    assert_eq!(world.take(1, &OPTIONS.replace("options-1", "options-0").replace("z9hG4bKoptions", "z9hG4bK-0")), Incoming::Absorbed);
    assert_eq!(world.take(1, &ack_of(THEIR_INVITE)), Incoming::Ack);
    world.run(40_000);
    assert!(matches!(world.take(40_000, THEIR_INVITE), Incoming::New(_)));
}

#[test]
fn a_transport_failure_of_an_invites_answer_is_told_once_and_ends_nothing() {
    let mut world = World::new();
    let key = world.take_new(0, THEIR_INVITE);
    world.respond(0, key, 200);
    let (id, _) = world.last_sent();
    world.table.transport_failed(ms(1), id, TransportError::Closed);
    world.table.transport_failed(ms(2), id, TransportError::Closed);
    assert_eq!(world.said(), ["server Closed"]);
    world.respond(500, key, 200);
    assert_eq!(world.said(), ["again 200"]);
}

#[test]
fn a_transport_failure_of_a_non_invites_answer_ends_it() {
    let mut world = World::new();
    let key = world.take_new(0, OPTIONS);
    world.respond(0, key, 200);
    let (id, _) = world.last_sent();
    world.table.transport_failed(ms(1), id, TransportError::Socket);
    assert_eq!(world.said(), ["server Socket", "server ended"]);
    assert_eq!(world.table.counts(), (0, 0));
}

#[test]
fn answers_follow_the_newest_copy_of_the_request() {
    let mut world = World::new();
    let key = world.take_new(0, THEIR_INVITE);
    let flow = world.flow.clone();
    world.table.received_request(ms(500), &parse(THEIR_INVITE), PEER, &flow, tcp());
    world.respond(600, key, 180);
    assert!(matches!(&world.outputs()[..], [Output::Transmit { route: Route::Connect(_), .. }]));
}

#[test]
fn another_peer_neither_takes_nor_cancels_what_it_copies() {
    let mut world = World::new();
    let key = world.take_new(0, THEIR_INVITE);
    let flow = world.flow.clone();
    let mut other = |text: &str| world.table.received_request(ms(100), &parse(text), "another", &flow, tcp());
    let cancel = THEIR_INVITE.replace("INVITE", "CANCEL");
    assert!(matches!(other(&cancel), Incoming::Cancel { invite: None, .. }));
    assert!(!matches!(other(THEIR_INVITE), Incoming::Absorbed), "its answers would go where the copy came from");
    world.outputs();
    world.respond(600, key, 180);
    assert!(matches!(&world.outputs()[..], [Output::Transmit { route: Route::Datagram { .. }, .. }]));
}

#[test]
fn what_has_no_identity_is_malformed() {
    let mut world = World::new();
    for broken in [
        "Via: SIP/2.0/UDP peer.example:5070;rport;branch=z9hG4bKoptions\r\n    Via: SIP/2.0/TCP behind.example;branch=z9hG4bKfar\r\n",
        "CSeq: 1 OPTIONS\r\n",
        "Call-ID: options-1@peer.example\r\n",
    ] {
        let text = OPTIONS.replace(&broken.replace("    ", ""), "");
        assert_ne!(text, OPTIONS);
        let Ok(message) = Message::parse(Bytes::from(text), &Limits::default()) else { continue };
        let flow = world.flow.clone();
        assert_eq!(world.table.received_request(ms(0), &message, PEER, &flow, udp()), Incoming::Malformed);
    }
    assert_eq!(world.table.counts(), (0, 0));
}
