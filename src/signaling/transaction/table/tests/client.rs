//! Client transactions.

use super::*;

#[test]
fn the_ack_to_a_non_2xx_is_made_from_the_invite() {
    let mut world = World::new();
    let key = world.invite(0, udp());
    world.outputs();
    assert_eq!(world.hear(100, &answer(INVITE, 486, "theirs")), Some(key));
    let (_, ack) = world.last_sent();
    let expected = "ACK sip:5000@um.example SIP/2.0\r\n\
        Via: SIP/2.0/UDP sbc.example:5060;branch=z9hG4bKbranch1;rport\r\n\
        Route: <sip:edge.example;lr>\r\n\
        Route: <sip:core.example;lr>\r\n\
        Max-Forwards: 70\r\n\
        From: <sip:100@trunk.example>;tag=ours\r\n\
        To: <sip:5000@um.example>;tag=theirs\r\n\
        Call-ID: call-1@sbc.example\r\n\
        CSeq: 7 ACK\r\n\
        Content-Length: 0\r\n\r\n";
    assert_eq!(std::str::from_utf8(&ack).expect("text"), expected);
}

#[test]
fn a_repeated_non_2xx_is_acknowledged_again_and_not_passed() {
    let mut world = World::new();
    let key = world.invite(0, udp());
    assert_eq!(world.hear(100, &answer(INVITE, 486, "theirs")), Some(key));
    assert_eq!(world.said(), ["INVITE", "ACK"]);
    assert_eq!(world.hear(600, &answer(INVITE, 486, "theirs")), None);
    assert_eq!(world.said(), ["again ACK"]);
    assert_eq!(world.run(40_000), [(32_100, "client ended".into())]);
    assert_eq!(world.hear(41_000, &answer(INVITE, 486, "theirs")), None);
    assert!(world.said().is_empty());
}

#[test]
fn repeated_and_forked_2xx_are_passed_without_an_ack_of_ours() {
    let mut world = World::new();
    let key = world.invite(0, udp());
    world.outputs();
    for (now, tag) in [(100, "a"), (600, "a"), (700, "b")] {
        assert_eq!(world.hear(now, &answer(INVITE, 200, tag)), Some(key));
    }
    assert!(world.said().is_empty());
    world.table.send_ack(udp(), Bytes::from_static(b"ACK sip:a SIP/2.0\r\n\r\n"));
    assert_eq!(world.said(), ["ACK"]);
    assert_eq!(world.run(40_000), [(32_100, "client ended".into())]);
    assert_eq!(world.hear(33_000, &answer(INVITE, 200, "a")), None, "RFC 6026: a stray");
}

#[test]
fn strays_are_nobodys() {
    let mut world = World::new();
    world.invite(0, udp());
    let other_branch = INVITE.replace("branch1", "branch2");
    assert_eq!(world.hear(1, &answer(&other_branch, 200, "a")), None);
    let other_method = INVITE.replace("7 INVITE", "7 OPTIONS");
    assert_eq!(world.hear(1, &answer(&other_method, 200, "a")), None);
    let no_branch = INVITE.replace(";branch=z9hG4bKbranch1", "");
    assert_eq!(world.hear(1, &answer(&no_branch, 200, "a")), None);
}

#[test]
fn cancel_waits_for_a_provisional_and_has_a_transaction_of_its_own() {
    let mut world = World::new();
    let key = world.invite(0, udp());
    world.table.cancel(ms(10), key);
    assert_eq!(world.said(), ["INVITE"]);
    assert_eq!(world.hear(100, &answer(INVITE, 180, "theirs")), Some(key));
    let (_, cancel) = world.last_sent();
    let expected = "CANCEL sip:5000@um.example SIP/2.0\r\n\
        Via: SIP/2.0/UDP sbc.example:5060;branch=z9hG4bKbranch1;rport\r\n\
        Route: <sip:edge.example;lr>\r\n\
        Route: <sip:core.example;lr>\r\n\
        Max-Forwards: 70\r\n\
        From: <sip:100@trunk.example>;tag=ours\r\n\
        To: <sip:5000@um.example>\r\n\
        Call-ID: call-1@sbc.example\r\n\
        CSeq: 7 CANCEL\r\n\
        Content-Length: 0\r\n\r\n";
    let cancel = std::str::from_utf8(&cancel).expect("text").to_owned();
    assert_eq!(cancel, expected);
    assert_eq!(world.run(600), [(600, "again CANCEL".into())]);
    assert_eq!(world.hear(700, &answer(&cancel, 200, "theirs")), None, "the CANCEL's own answer is not the core's");
    assert_eq!(world.hear(800, &answer(INVITE, 487, "theirs")), Some(key));
    assert_eq!(world.said(), ["ACK"]);
    assert_eq!(world.run(60_000), [(32_800, "client ended".into())]);
    assert_eq!(world.table.counts(), (0, 0));
}

#[test]
fn cancel_is_dropped_on_a_final() {
    let mut world = World::new();
    let key = world.invite(0, udp());
    world.table.cancel(ms(10), key);
    world.hear(100, &answer(INVITE, 200, "theirs"));
    world.table.cancel(ms(200), key);
    assert_eq!(world.said(), ["INVITE"]);
}

#[test]
fn without_a_final_after_cancel_the_invite_times_out_after_64_t1() {
    let mut world = World::new();
    let key = world.invite(0, tcp());
    world.hear(100, &answer(INVITE, 180, "theirs"));
    world.table.cancel(ms(1_000), key);
    world.outputs();
    let log = world.run(100_000);
    assert_eq!(log, [(33_000, "client timeout".into()), (33_000, "client ended".into())], "and the CANCEL's own timeout is not told");
}

#[test]
fn a_transport_failure_is_told_once() {
    let mut world = World::new();
    world.invite(0, udp());
    let (first, _) = world.last_sent();
    world.table.timeout(ms(500));
    let (second, _) = world.last_sent();
    assert_ne!(first, second);
    world.table.transport_failed(ms(510), second, TransportError::Refused);
    assert_eq!(world.said(), ["client Refused", "client ended"]);
    world.table.transport_failed(ms(520), first, TransportError::Refused);
    assert!(world.said().is_empty());
    assert_eq!((world.table.counts(), world.table.deadline()), ((0, 0), None));
}

#[test]
fn a_failure_of_an_earlier_tenant_of_the_slot_is_passed_over() {
    let mut world = World::new();
    world.invite(0, udp());
    let (old, _) = world.last_sent();
    world.table.transport_failed(ms(1), old, TransportError::Refused);
    world.outputs();
    world.invite(2, udp());
    world.outputs();
    world.table.transport_failed(ms(3), old, TransportError::Refused);
    assert!(world.said().is_empty());
    assert_eq!(world.table.counts(), (1, 0));
}

#[test]
fn unknown_ids_are_ignored() {
    let mut world = World::new();
    world.invite(0, udp());
    world.outputs();
    world.table.send_ack(udp(), Bytes::from_static(b"ACK sip:a SIP/2.0\r\n\r\n"));
    let (ack, _) = world.last_sent();
    for id in [ack, TransmitId(u64::MAX), TransmitId(77), TransmitId(1 << 62)] {
        world.table.transport_failed(ms(1), id, TransportError::Closed);
    }
    assert!(world.said().is_empty());
    assert_eq!(world.table.counts(), (1, 0));
}

#[test]
fn a_cancel_that_cannot_be_sent_is_not_told() {
    let mut world = World::new();
    let key = world.invite(0, udp());
    world.hear(100, &answer(INVITE, 180, "theirs"));
    world.outputs();
    world.table.cancel(ms(200), key);
    let (id, _) = world.last_sent();
    world.table.transport_failed(ms(210), id, TransportError::Socket);
    assert!(world.said().is_empty());
    assert_eq!(world.table.counts(), (1, 0));
}

#[test]
fn an_ack_that_cannot_be_sent_ends_the_invite() {
    let mut world = World::new();
    world.invite(0, udp());
    world.hear(100, &answer(INVITE, 486, "theirs"));
    let (id, _) = world.last_sent();
    world.table.transport_failed(ms(110), id, TransportError::Socket);
    assert_eq!(world.said(), ["client Socket", "client ended"]);
}

#[test]
fn abandoned_a_late_2xx_is_passed_and_nothing_else() {
    let mut world = World::new();
    let key = world.invite(0, udp());
    world.outputs();
    world.table.abandon(ms(300), key);
    assert_eq!(world.run(2_000), []);
    assert_eq!(world.hear(2_000, &answer(INVITE, 180, "theirs")), None);
    assert_eq!(world.said(), ["CANCEL"], "what rings after all is cancelled");
    assert_eq!(world.hear(2_100, &answer(INVITE, 200, "theirs")), Some(key));
    let log = world.run(100_000);
    assert_eq!(times(&log, "client ended"), [34_100]);
    assert!(times(&log, "client timeout").is_empty());
    assert_eq!(world.table.counts(), (0, 0));
}

#[test]
fn abandoned_a_late_refusal_is_acknowledged_and_not_passed() {
    let mut world = World::new();
    let key = world.invite(0, udp());
    world.table.abandon(ms(300), key);
    assert_eq!(world.hear(2_000, &answer(INVITE, 503, "theirs")), None);
    assert_eq!(world.said(), ["INVITE", "ACK"]);
}

#[test]
fn abandoned_and_never_answered_it_only_ends() {
    let mut world = World::new();
    let key = world.invite(0, udp());
    world.outputs();
    world.table.abandon(ms(10_000), key);
    assert_eq!(world.run(100_000), [(42_000, "client ended".into())]);
}

#[test]
fn keys_of_ended_transactions_do_nothing() {
    let mut world = World::new();
    let key = world.invite(0, udp());
    world.run(40_000);
    world.outputs();
    world.table.cancel(ms(41_000), key);
    world.table.abandon(ms(41_000), key);
    assert!(world.said().is_empty());
    assert_eq!(world.table.deadline(), None);
}
