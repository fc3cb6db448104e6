//! A side keyed by DTLS, by hand: what it takes before it has keys, where checks of ICE lead, RTCP on the port of RTP.

use super::*;
use crate::media::control::{DtlsRole, IceParameters, StreamId};
use crate::media::relay::TAIL_ROOM;
use crate::media::srtp::{Receiver, Sender};
use crate::media::stun::tests::{NOMINATES, check};
use crate::sdp::crypto::{MasterKey, Suite};
use crate::sdp::fingerprint::{Fingerprint, HashFunction};
use crate::sdp::ice::Credentials;

const T0: Time = Time::from_millis(1000);
const PLAIN: &str = "192.0.2.1:4000";
const KEYED: &str = "198.51.100.1:6000";
const PASSWORD: &str = "asd88fgpdd777uzjYhagZg";

fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn dtls(association: u32, ice: bool) -> Arc<DtlsParameters> {
    let local = Credentials { ufrag: "ours".into(), password: PASSWORD.into() };
    Arc::new(DtlsParameters {
        association,
        identity: 0,
        role: Some(DtlsRole::Passive),
        fingerprints: vec![Fingerprint { hash: HashFunction::Sha256, digest: vec![1; 32] }],
        suites: Vec::new(),
        ice: ice.then_some(IceParameters { local, peer: Some("them".into()), is_checked: true }),
    })
}

fn set(address: &str, protection: Protection) -> Configuration {
    let remote = Addresses { rtp: at(address), rtcp: at(address) };
    Configuration::new(Some(Some(remote)), LatchPolicy::Strict, Some(protection.clone()), Some(protection))
}

/// A plain, B keyed by DTLS.
fn stream(ice: bool) -> Stream {
    let mut stream = Stream::new(StreamId(1), None, T0);
    stream.configure(T0, Side::A, set(PLAIN, Protection::Plain)).unwrap();
    stream.configure(T0, Side::B, Configuration { mux: Some(true), ..set(KEYED, Protection::Dtls(dtls(1, ice))) }).unwrap();
    stream
}

fn parameters(fill: u8) -> SrtpParameters {
    SrtpParameters { suite: Suite::AesCm128HmacSha1_80, keys: vec![MasterKey { key_and_salt: vec![fill; 30], lifetime: None, mki: None }] }
}

fn rtp(sequence: u8) -> Vec<u8> {
    [&[0x80, 8, 0, sequence, 0, 0, 0, 1, 0, 0, 0, 7][..], &[9; 160]].concat()
}

const RTCP: [u8; 8] = [0x80, 201, 0, 1, 0, 0, 0, 7];
const HELLO: [u8; 14] = [22, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0];

fn give(stream: &mut Stream, side: Side, from: &str, packet: &[u8]) -> (Verdict, Vec<u8>) {
    let mut buffer = [packet, &[0; TAIL_ROOM]].concat();
    let verdict = stream.packet(T0, side, Channel::Rtp, at(from), &mut buffer, packet.len());
    (verdict, buffer)
}

#[test]
fn nothing_passes_before_the_keys_and_only_under_them_afterwards() {
    let mut stream = stream(false);
    assert_eq!(give(&mut stream, Side::A, PLAIN, &rtp(1)).0, Verdict::Drop(DropReason::NotReady));
    assert_eq!(give(&mut stream, Side::B, KEYED, &rtp(1)).0, Verdict::Drop(DropReason::NotReady));
    assert_eq!(give(&mut stream, Side::B, KEYED, &HELLO).0, Verdict::Handshake);
    assert_eq!(give(&mut stream, Side::B, "198.51.100.2:6000", &HELLO).0, Verdict::Drop(DropReason::Source));
    assert_eq!(give(&mut stream, Side::A, PLAIN, &HELLO).0, Verdict::Drop(DropReason::NotMedia), "that side is plain");
    stream.keyed(T0, Side::B, (0, Claimant::At(at(KEYED))), parameters(1), parameters(2)).unwrap();
    assert_eq!(give(&mut stream, Side::A, PLAIN, &rtp(2)).0, Verdict::Drop(DropReason::NotReady), "keys of an association that is no more");
    stream.keyed(T0, Side::B, (1, Claimant::At(at(KEYED))), parameters(1), parameters(2)).unwrap();
    let (verdict, mut sent) = give(&mut stream, Side::A, PLAIN, &rtp(3));
    let Verdict::Forward { to, len, channel: Channel::Rtp } = verdict else { panic!("{verdict:?}") };
    assert_eq!(to, at(KEYED));
    let header = crate::media::rtp::Header::parse(&sent).unwrap();
    let clear = Receiver::new(&parameters(2)).unwrap().unprotect_rtp(T0, &mut sent[..len], &header).unwrap();
    assert_eq!(sent[..clear], rtp(3));
    assert!(matches!(give(&mut stream, Side::B, KEYED, &rtp(4)).0, Verdict::Drop(_)), "in clear");
    let mut said = [rtp(5), vec![0; TAIL_ROOM]].concat();
    let header = crate::media::rtp::Header::parse(&said).unwrap();
    let len = Sender::new(&parameters(1)).unwrap().protect_rtp(T0, &mut said, 172, &header).unwrap();
    assert!(matches!(give(&mut stream, Side::B, KEYED, &said[..len]).0, Verdict::Forward { len: 172, .. }));
}

#[test]
fn the_same_association_keeps_its_keys_and_another_does_not() {
    let mut stream = stream(false);
    stream.keyed(T0, Side::B, (1, Claimant::At(at(KEYED))), parameters(1), parameters(2)).unwrap();
    stream.configure(T0, Side::B, set(KEYED, Protection::Dtls(dtls(1, false)))).unwrap();
    assert!(matches!(give(&mut stream, Side::A, PLAIN, &rtp(1)).0, Verdict::Forward { .. }));
    stream.configure(T0, Side::B, set(KEYED, Protection::Dtls(dtls(2, false)))).unwrap();
    assert_eq!(give(&mut stream, Side::A, PLAIN, &rtp(2)).0, Verdict::Drop(DropReason::NotReady));
    assert_eq!(give(&mut stream, Side::B, KEYED, &rtp(2)).0, Verdict::Drop(DropReason::NotReady));
}

#[test]
fn a_side_that_was_plain_passes_nothing_once_it_is_to_be_keyed() {
    let mut stream = Stream::new(StreamId(1), None, T0);
    stream.configure(T0, Side::A, set(PLAIN, Protection::Plain)).unwrap();
    stream.configure(T0, Side::B, set(KEYED, Protection::Plain)).unwrap();
    assert!(matches!(give(&mut stream, Side::A, PLAIN, &rtp(1)).0, Verdict::Forward { .. }));
    stream.configure(T0, Side::B, set(KEYED, Protection::Dtls(dtls(1, false)))).unwrap();
    assert_eq!(give(&mut stream, Side::A, PLAIN, &rtp(2)).0, Verdict::Drop(DropReason::NotReady));
}

#[test]
fn the_peer_is_where_its_checks_come_from() {
    let mut stream = stream(true);
    assert_eq!(stream.handshake_to(Side::B), None, "nobody has checked yet");
    let nominates = check("ours:them", PASSWORD, &[NOMINATES]);
    assert!(matches!(give(&mut stream, Side::B, "203.0.113.9:1234", &check("ours:them", "another password of 22+", &[])).0, Verdict::Drop(_)));
    let (verdict, reply) = give(&mut stream, Side::B, "203.0.113.9:1234", &nominates);
    assert!(matches!(verdict, Verdict::Reply { .. }));
    assert_eq!(reply[..2], [1, 1]);
    assert_eq!(stream.handshake_to(Side::B), Some(at("203.0.113.9:1234")));
    assert_eq!(give(&mut stream, Side::B, "203.0.113.9:1234", &HELLO).0, Verdict::Handshake);
    assert!(matches!(give(&mut stream, Side::B, KEYED, &HELLO).0, Verdict::Drop(DropReason::Source)));
    stream.keyed(T0, Side::B, (1, Claimant::Checked), parameters(1), parameters(2)).unwrap();
    let (verdict, _) = give(&mut stream, Side::A, PLAIN, &rtp(1));
    assert!(matches!(verdict, Verdict::Forward { to, .. } if to == at("203.0.113.9:1234")), "{verdict:?}");
    // What signalling repeats of its default address changes nothing; a hold does.
    stream.configure(T0, Side::B, set(KEYED, Protection::Dtls(dtls(1, true)))).unwrap();
    assert!(matches!(give(&mut stream, Side::A, PLAIN, &rtp(2)).0, Verdict::Forward { to, .. } if to == at("203.0.113.9:1234")));
    stream.configure(T0, Side::B, Configuration { remote: Some(None), ..set(KEYED, Protection::Dtls(dtls(1, true))) }).unwrap();
    assert_eq!(give(&mut stream, Side::A, PLAIN, &rtp(3)).0, Verdict::Drop(DropReason::OnHold));
    assert!(matches!(give(&mut stream, Side::B, "203.0.113.9:1234", &nominates).0, Verdict::Reply { .. }), "checks go on (RFC 8445 section 11)");
    assert_eq!(give(&mut stream, Side::A, PLAIN, &rtp(4)).0, Verdict::Drop(DropReason::OnHold));
}

#[test]
fn rtcp_shares_the_port_where_that_was_agreed() {
    let mut stream = stream(false);
    stream.keyed(T0, Side::B, (1, Claimant::At(at(KEYED))), parameters(1), parameters(2)).unwrap();
    let mut buffer = [&RTCP[..], &[0; TAIL_ROOM]].concat();
    let verdict = stream.packet(T0, Side::A, Channel::Rtcp, at(PLAIN), &mut buffer, RTCP.len());
    assert!(matches!(verdict, Verdict::Forward { channel: Channel::Rtp, .. }), "out of the port of RTP: {verdict:?}");
    let mut said = [&RTCP[..], &[0; TAIL_ROOM]].concat();
    let len = Sender::new(&parameters(1)).unwrap().protect_rtcp(&mut said, RTCP.len()).unwrap();
    let (verdict, _) = give(&mut stream, Side::B, KEYED, &said[..len]);
    assert!(matches!(verdict, Verdict::Forward { channel: Channel::Rtcp, len: 8, .. }), "{verdict:?}");
    assert_eq!(give(&mut stream, Side::A, PLAIN, &RTCP).0, Verdict::Drop(DropReason::WrongChannel), "not agreed on that side");
}

#[test]
fn a_handshake_from_elsewhere_moves_nobody() {
    const MOVED: &str = "198.51.100.1:6002";
    let mut stream = stream(false);
    let by = |association| Configuration { latch: LatchPolicy::SignalledAddress, ..set(KEYED, Protection::Dtls(dtls(association, false))) };
    stream.configure(T0, Side::B, by(1)).unwrap();
    assert_eq!(give(&mut stream, Side::B, KEYED, &HELLO).0, Verdict::Handshake);
    stream.keyed(T0, Side::B, (1, Claimant::At(at(KEYED))), parameters(1), parameters(2)).unwrap();
    assert_eq!(give(&mut stream, Side::B, MOVED, &HELLO).0, Verdict::Drop(DropReason::Source));
    stream.configure(T0, Side::B, by(2)).unwrap();
    stream.keyed(T0, Side::B, (2, Claimant::At(at(KEYED))), parameters(1), parameters(2)).unwrap();
    assert!(matches!(give(&mut stream, Side::A, PLAIN, &rtp(1)).0, Verdict::Forward { to, .. } if to == at(KEYED)));
}

/// What B says, under its key.
fn said(sequence: u8) -> Vec<u8> {
    let mut said = [rtp(sequence), vec![0; TAIL_ROOM]].concat();
    let header = crate::media::rtp::Header::parse(&said).unwrap();
    let len = Sender::new(&parameters(1)).unwrap().protect_rtp(T0, &mut said, 172, &header).unwrap();
    said.truncate(len);
    said
}

fn sought() -> Configuration {
    Configuration { remote: Some(Some(SOUGHT)), mux: Some(true), ..set(KEYED, Protection::Dtls(dtls(1, true))) }
}

/// A trickling peer signals 0.0.0.0:9 and shows where it is by its checks alone; it never got keys.
#[test]
fn a_peer_without_an_address_is_found_by_its_checks() {
    const HOME: &str = "203.0.113.9:1234";
    let mut stream = Stream::new(StreamId(1), None, T0);
    stream.configure(T0, Side::A, set(PLAIN, Protection::Plain)).unwrap();
    stream.configure(T0, Side::B, sought()).unwrap();
    assert_eq!((stream.handshake_to(Side::B), stream.awaited(Side::B)), (None, None));
    assert_eq!(give(&mut stream, Side::B, HOME, &HELLO).0, Verdict::Drop(DropReason::NotReady), "nobody yet");
    assert!(matches!(give(&mut stream, Side::B, HOME, &check("ours:them", PASSWORD, &[NOMINATES])).0, Verdict::Reply { .. }));
    assert_eq!(stream.awaited(Side::B), Some(Claimant::Checked));
    assert_eq!(give(&mut stream, Side::B, HOME, &HELLO).0, Verdict::Handshake);
    stream.keyed(T0, Side::B, (1, Claimant::Checked), parameters(1), parameters(2)).unwrap();
    assert!(matches!(give(&mut stream, Side::A, PLAIN, &rtp(1)).0, Verdict::Forward { to, .. } if to == at(HOME)));
    // ICE begins anew under the same keys: it is where it was until its checks say otherwise.
    let Protection::Dtls(before) = Protection::Dtls(dtls(1, true)) else { unreachable!() };
    let ice = before.ice.clone().map(|ice| IceParameters { peer: Some("they".into()), ..ice });
    let restarted = Protection::Dtls(Arc::new(DtlsParameters { ice, ..(*before).clone() }));
    stream.configure(T0, Side::B, Configuration { receive: Some(restarted.clone()), transmit: Some(restarted), ..sought() }).unwrap();
    assert!(matches!(give(&mut stream, Side::A, PLAIN, &rtp(2)).0, Verdict::Forward { to, .. } if to == at(HOME)));
    assert!(matches!(give(&mut stream, Side::B, "203.0.113.9:77", &check("ours:they", PASSWORD, &[NOMINATES])).0, Verdict::Reply { .. }));
    assert!(matches!(give(&mut stream, Side::A, PLAIN, &rtp(3)).0, Verdict::Forward { to, .. } if to == at("203.0.113.9:77")));
}

#[test]
fn after_a_hold_by_address_a_sought_peer_is_nowhere_until_it_checks() {
    let mut stream = stream(true);
    stream.configure(T0, Side::B, Configuration { remote: Some(None), ..sought() }).unwrap();
    stream.keyed(T0, Side::B, (1, Claimant::Checked), parameters(1), parameters(2)).unwrap();
    assert_eq!(give(&mut stream, Side::A, PLAIN, &rtp(1)).0, Verdict::Drop(DropReason::OnHold));
    stream.configure(T0, Side::B, sought()).unwrap();
    assert_eq!(give(&mut stream, Side::A, PLAIN, &rtp(2)).0, Verdict::Drop(DropReason::NotReady), "never to 0.0.0.0");
}

/// RFC 8445 section 12.2: before a pair is nominated, and on the old one afterwards, media may come by any that works.
#[test]
fn media_is_taken_from_every_address_that_has_checked_and_sent_to_one() {
    let (first, second) = ("203.0.113.9:1234", "203.0.113.9:5678");
    let mut stream = stream(true);
    let works = check("ours:them", PASSWORD, &[]);
    assert!(matches!(give(&mut stream, Side::B, first, &works).0, Verdict::Reply { .. }));
    assert!(matches!(give(&mut stream, Side::B, second, &works).0, Verdict::Reply { .. }));
    assert_eq!(give(&mut stream, Side::B, second, &rtp(9)).0, Verdict::Drop(DropReason::NotReady), "no keys yet");
    assert_eq!((stream.claimant(Side::B, at(first)), stream.claimant(Side::B, at(second))), (Claimant::Checked, Claimant::Checked));
    stream.keyed(T0, Side::B, (1, Claimant::Checked), parameters(1), parameters(2)).unwrap();
    for (sequence, from) in [(1, first), (2, second), (3, first), (4, second)] {
        assert!(matches!(give(&mut stream, Side::B, from, &said(sequence)).0, Verdict::Forward { .. }), "{from}");
        assert!(matches!(give(&mut stream, Side::A, PLAIN, &rtp(sequence)).0, Verdict::Forward { to, .. } if to == at(first)));
    }
    assert!(matches!(give(&mut stream, Side::B, second, &rtp(5)).0, Verdict::Drop(_)), "in clear");
    assert_eq!(give(&mut stream, Side::B, "203.0.113.9:9", &said(6)).0, Verdict::Drop(DropReason::Source), "who has not checked");
    assert!(matches!(give(&mut stream, Side::B, second, &check("ours:them", PASSWORD, &[NOMINATES])).0, Verdict::Reply { .. }));
    assert!(matches!(give(&mut stream, Side::B, first, &said(7)).0, Verdict::Forward { .. }), "what was on its way");
    assert!(matches!(give(&mut stream, Side::A, PLAIN, &rtp(7)).0, Verdict::Forward { to, .. } if to == at(second)));
    assert_eq!(stream.report().b.relatched, 0);
}
