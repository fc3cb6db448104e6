//! A test for each cause, for what hides what, and that any counters make one sentence.

use proptest::prelude::*;

use super::*;
use crate::media::control::{Icmp, Rekeyed, Told};

const NAMES: Names = Names { from: "trunk", to: "um" };

fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn second(n: u64) -> Time {
    Time::from_millis(n * 1000)
}

fn clock(at: Time) -> String {
    format!("12:00:{:02}", at.as_millis() / 1000 % 60)
}

const TALK: Talk = Talk { answered: Some(Time::from_millis(10_000)), until: Time::from_millis(60_000) };

fn run(packets: u64) -> Run {
    Run { packets, first: second(20), last: second(59) }
}

/// Agreed, and nothing came yet.
fn quiet(address: &str) -> SideReport {
    SideReport { signalled: Signalled::At(at(address)), ..Default::default() }
}

/// Sound both ways.
fn speaking(address: &str) -> SideReport {
    let (early, late) = (Some(second(10)), Some(second(60)));
    SideReport {
        received: 2_500,
        sent: 2_500,
        first: early,
        last: late,
        last_rtp: late,
        first_sent: early,
        last_sent: late,
        latched: Some(at(address)),
        ..quiet(address)
    }
}

/// A speaks, or does not; B hears nothing of it, and speaks itself.
fn says(from: SideReport, to: SideReport, talk: Talk) -> (&'static str, String) {
    let cause = explain(&from, &to, &talk);
    (cause.code(), cause.sentence(&NAMES, &clock))
}

/// Nothing was sent to the listener, who is heard.
fn unheard() -> SideReport {
    SideReport { sent: 0, first_sent: None, last_sent: None, ..speaking("198.51.100.1:6000") }
}

fn silent(from: SideReport) -> (&'static str, String) {
    says(from, unheard(), TALK)
}

fn far(change: impl Fn(&mut SideReport)) -> (&'static str, String) {
    let mut to = speaking("198.51.100.1:6000");
    change(&mut to);
    says(speaking("192.0.2.7:4000"), to, TALK)
}

#[test]
fn sound_is_heard() {
    let (code, text) = far(|_| {});
    assert_eq!((code, text.as_str()), ("audio.heard", "trunk -> um: heard, 2500 packets from 192.0.2.7:4000, the last at 12:00:00, 0.0 % lost."));
    assert!(!explain(&speaking("192.0.2.7:4000"), &speaking("198.51.100.1:6000"), &TALK).is_fault());
}

#[test]
fn sound_with_holes_says_on_which_side() {
    let lossy = SideReport { lost: 500, gaps: 400, ..speaking("192.0.2.7:4000") };
    let (code, text) = says(lossy, speaking("198.51.100.1:6000"), TALK);
    assert!(code == "audio.poor" && text.contains("16.7 % of trunk's packets are lost before they reach us"), "{text}");
    let (code, text) = far(|to| to.told = Some(Told { at: second(58), fraction_lost: 64, lost: 600, jitter: 0 }));
    assert!(code == "audio.poor" && text.contains("25.0 % of what we send is lost by um's own reports"), "{text}");
    let (code, text) = far(|to| to.told = Some(Told { at: second(58), fraction_lost: 250, lost: 2000, jitter: 0 }));
    assert!(code == "network.lost" && text.contains("um reports that 98 %"), "{text}");
    assert_eq!(far(|to| to.told = Some(Told { at: second(30), fraction_lost: 250, lost: 2000, jitter: 0 })).0, "audio.heard", "what was told long ago is over");
}

#[test]
fn a_fax_is_no_silence() {
    let fax = SideReport { fax_received: 77, last: Some(second(60)), last_rtp: Some(second(15)), ..speaking("192.0.2.7:4000") };
    let (code, text) = silent(fax);
    assert!(code == "audio.fax" && text.contains("77 datagrams"), "{text}");
}

#[test]
fn what_is_not_agreed_or_not_answered_cannot_be_heard() {
    let ringing = Talk { answered: None, ..TALK };
    assert_eq!(says(quiet("192.0.2.7:4000"), unheard(), ringing).0, "call.not_answered");
    let (code, text) = silent(SideReport::default());
    assert!(code == "call.not_agreed" && text.contains("trunk has not said yet"), "{text}");
    let (code, text) = says(quiet("192.0.2.7:4000"), SideReport::default(), TALK);
    assert!(code == "call.not_agreed" && text.contains("um has not said yet"), "{text}");
    // A refused call has no audio fault for want of a description.
    assert_eq!(says(quiet("192.0.2.7:4000"), SideReport::default(), ringing).0, "call.not_answered");
    let short = Talk { answered: Some(second(10)), until: Time::from_millis(10_400) };
    let (code, text) = says(quiet("192.0.2.7:4000"), quiet("198.51.100.1:6000"), short);
    assert!(code == "call.too_short" && text.contains("400 ms after the answer"), "{text}");
    let early = SideReport { last_sent: Some(second(60)), sent: 9, ..unheard() };
    assert_eq!(says(speaking("192.0.2.7:4000"), early, ringing).0, "audio.heard", "early media");
}

#[test]
fn hold_names_who_asked_for_it() {
    let held = SideReport { takes_none: true, ..unheard() };
    let (code, text) = says(SideReport { refused_on_hold: 31, refused_not_ready: 31, ..speaking("192.0.2.7:4000") }, held, TALK);
    assert!(code == "hold.listener" && text.contains("um asked for hold, 31 packets were withheld"), "{text}");
    let (code, text) = says(SideReport { sends_none: true, ..speaking("192.0.2.7:4000") }, SideReport { takes_none: true, ..unheard() }, TALK);
    assert!(code == "hold.both" && text.contains("trunk sends nothing and um takes nothing"), "{text}");
    let (code, text) = silent(SideReport { sends_none: true, ..quiet("192.0.2.7:4000") });
    assert!(code == "hold.speaker" && text.contains("trunk said that it sends nothing"), "{text}");
    assert_eq!(silent(SideReport { signalled: Signalled::Held, ..quiet("192.0.2.7:4000") }).0, "hold.speaker");
}

#[test]
fn packets_from_elsewhere_are_told_with_the_rule_and_the_remedy() {
    let stray =
        |from: &str, latch| SideReport { refused_source: 512, foreign: Some(Foreign { from: at(from), run: run(512) }), latch, ..quiet("192.0.2.7:4000") };
    let (code, text) = silent(stray("198.51.100.9:4000", LatchPolicy::Strict));
    assert_eq!(code, "source.elsewhere");
    assert_eq!(
        text,
        "trunk -> um: silent, nothing came from 192.0.2.7:4000, signalled by trunk; 512 packets came from 198.51.100.9:4000 since 12:00:20 and were refused \
         (latch: strict); if that is trunk behind a NAT, write latch = \"nat\" for it."
    );
    let (_, text) = silent(stray("192.0.2.7:4444", LatchPolicy::Strict));
    assert!(text.contains("write latch = \"signalled-address\""), "{text}");
    let latched = SideReport { latched: Some(at("192.0.2.7:4000")), last_rtp: Some(second(12)), received: 5, ..stray("203.0.113.1:9", LatchPolicy::Nat) };
    let (_, text) = silent(latched.clone());
    assert!(text.contains("nothing more came from 192.0.2.7:4000, where trunk was heard") && text.contains("re-INVITE"), "{text}");
    let over = SideReport { last_rtp: Some(second(60)), ..latched };
    assert_ne!(silent(over).0, "source.elsewhere", "it was heard since");
}

#[test]
fn failing_authentication_names_the_key() {
    let wrong = |number| SideReport {
        refused_authentication: 214,
        failing: Some(run(214)),
        rekeyed: Some(Rekeyed { number, at: second(19) }),
        ..quiet("192.0.2.7:4000")
    };
    let (code, text) = silent(wrong(1));
    assert_eq!(code, "srtp.authentication");
    assert_eq!(text, "trunk -> um: silent, 214 packets failed SRTP authentication since 12:00:20; the key agreed at 12:00:19 is not what trunk sends with.");
    let (_, text) = silent(SideReport { received: 100, last_rtp: Some(second(18)), ..wrong(3) });
    assert!(text.contains("the key agreed at 12:00:19 (number 3 of this call)"), "{text}");
}

#[test]
fn what_the_network_says_of_our_packets_is_told() {
    let errors = |icmp| Unreachable { errors: 9, first: second(20), last: second(60), icmp, to: None, by: Some("198.51.100.254".parse().unwrap()) };
    let (code, text) = far(|to| (to.last, to.unreachable) = (Some(second(19)), Some(errors(Icmp::Port))));
    assert_eq!(code, "network.unreachable");
    assert_eq!(
        text,
        "trunk -> um: not delivered, ICMP port unreachable from 198.51.100.254 for 198.51.100.1:6000, 9 times since 12:00:20; um has closed its port, or never \
         opened it."
    );
    for icmp in [Icmp::Host, Icmp::Network, Icmp::Prohibited, Icmp::TooBig, Icmp::Other { kind: 3, code: 99 }] {
        assert_eq!(far(|to| (to.last, to.unreachable) = (None, Some(errors(icmp)))).0, "network.unreachable");
    }
    let before = Unreachable { last: second(30), ..errors(Icmp::Port) };
    assert_eq!(far(|to| to.unreachable = Some(before)).0, "audio.heard", "it is over");
    assert_eq!(far(|to| (to.last, to.rtcp_unreachable) = (None, Some(errors(Icmp::Port)))).0, "audio.heard", "nobody hears RTCP");
    assert_eq!(far(|to| to.send_failed = 2_000).0, "network.not_sent");
}

#[test]
fn a_listener_never_heard_may_not_be_where_it_says() {
    let lost = |address: &str| SideReport { sent: 2_500, last_sent: Some(second(60)), ..quiet(address) };
    let (code, text) = says(speaking("192.0.2.7:4000"), lost("10.1.2.3:6000"), TALK);
    assert!(code == "latch.none" && text.contains("went to 10.1.2.3:6000 as um signalled") && text.contains("private address"), "{text}");
    let (_, text) = says(speaking("192.0.2.7:4000"), lost("198.51.100.1:6000"), TALK);
    assert!(text.contains("a firewall drops what we send"), "{text}");
    assert_eq!(says(speaking("192.0.2.7:4000"), SideReport { sends_none: true, ..lost("10.1.2.3:6000") }, TALK).0, "audio.heard");
    assert_eq!(says(speaking("192.0.2.7:4000"), SideReport { rtcp_received: 1, first: Some(second(12)), ..lost("10.1.2.3:6000") }, TALK).0, "audio.heard");
}

#[test]
fn silence_tells_whether_anything_ever_came() {
    let (code, text) = silent(quiet("192.0.2.7:4000"));
    assert!(code == "source.nothing" && text.contains("nothing ever came from 192.0.2.7:4000"), "{text}");
    let stopped = SideReport { last_rtp: Some(second(40)), last: Some(second(40)), ..speaking("192.0.2.7:4000") };
    let (code, text) = silent(stopped.clone());
    assert!(code == "source.stopped" && text.contains("silent since 12:00:40") && text.contains("it stopped sending"), "{text}");
    let (_, text) = silent(SideReport { last: Some(second(58)), ..stopped });
    assert!(text.contains("its RTCP still comes"), "{text}");
    let (code, text) = silent(SideReport { rtcp_received: 8, first: Some(second(11)), last: Some(second(59)), ..quiet("192.0.2.7:4000") });
    assert!(code == "source.rtcp_only" && text.contains("8 packets of RTCP"), "{text}");
}

#[test]
fn what_comes_but_cannot_be_taken_has_its_own_cause() {
    let from = |change: &dyn Fn(&mut SideReport)| {
        let mut from = quiet("192.0.2.7:4000");
        change(&mut from);
        silent(from).0
    };
    assert_eq!(from(&|side| side.wrong_type = Some(WrongType { packets: 312, payload_type: 18, last: second(59) })), "payload.type");
    assert_eq!(from(&|side| (side.refused_malformed, side.refused_dtls) = (5, 5)), "payload.dtls");
    assert_eq!(from(&|side| (side.refused_malformed, side.refused_stun) = (5, 5)), "payload.ice");
    assert_eq!(from(&|side| (side.refused_malformed, side.refused_channel) = (5, 5)), "payload.port");
    assert_eq!(from(&|side| (side.refused_malformed, side.refused_oversized) = (5, 5)), "payload.oversized");
    assert_eq!(from(&|side| side.refused_malformed = 5), "payload.malformed");
    assert_eq!(from(&|side| (side.refused_replay, side.replaying) = (5, Some(run(5)))), "srtp.replay");
    assert_eq!(from(&|side| (side.refused_not_ready, side.refused_key_spent) = (5, 5)), "srtp.key_spent");
    assert_eq!(from(&|side| side.refused_not_ready = 5), "latch.not_ready");
    let wrong = WrongType { packets: 2_400, payload_type: 96, last: second(60) };
    let (code, text) = says(SideReport { wrong_type: Some(wrong), ..speaking("192.0.2.7:4000") }, speaking("198.51.100.1:6000"), TALK);
    assert!(code == "payload.type" && text.contains("payload type 96, which trunk and um did not agree on"), "{text}");
}

/// A scanner's packet or two must not hide what happens to the many.
#[test]
fn the_cause_is_what_was_refused_most() {
    let both = SideReport {
        foreign: Some(Foreign { from: at("203.0.113.66:5060"), run: run(1) }),
        failing: Some(run(214)),
        refused_malformed: 3,
        ..quiet("192.0.2.7:4000")
    };
    assert_eq!(silent(both.clone()).0, "srtp.authentication");
    let even = SideReport { failing: Some(run(1)), refused_malformed: 1, ..both };
    assert_eq!(silent(even).0, "source.elsewhere", "of equals the likelier");
}

fn time() -> BoxedStrategy<Option<Time>> {
    prop_oneof![Just(None), (0u64..70).prop_map(|n| Some(second(n))), any::<u64>().prop_map(|n| Some(Time::from_nanos(n)))].boxed()
}

fn count() -> BoxedStrategy<u64> {
    prop_oneof![Just(0), 1u64..3_000, any::<u64>()].boxed()
}

fn any_run() -> BoxedStrategy<Option<Run>> {
    (count(), time(), time()).prop_map(|(packets, first, last)| Some(Run { packets, first: first?, last: last? })).boxed()
}

fn place() -> BoxedStrategy<Option<SocketAddr>> {
    prop_oneof![
        Just(None),
        (any::<[u8; 16]>(), any::<u16>(), any::<bool>()).prop_map(|(ip, port, v6)| {
            let v4 = [ip[0], ip[1], ip[2], ip[3]];
            Some(if v6 { SocketAddr::from((ip, port)) } else { SocketAddr::from((v4, port)) })
        })
    ]
    .boxed()
}

fn icmp() -> BoxedStrategy<Icmp> {
    prop_oneof![
        Just(Icmp::Port),
        Just(Icmp::Host),
        Just(Icmp::Network),
        Just(Icmp::Prohibited),
        Just(Icmp::TooBig),
        any::<(u8, u8)>().prop_map(|(kind, code)| Icmp::Other { kind, code })
    ]
    .boxed()
}

prop_compose! {
    fn side()(
        counts in proptest::array::uniform16(count()),
        times in proptest::array::uniform5(time()),
        (failing, replaying, strays) in (any_run(), any_run(), any_run()),
        (signalled, latched, stray, told_to) in (place(), place(), place(), place()),
        flags in proptest::array::uniform4(any::<bool>()),
        (icmp, payload_type, fraction_lost, number) in (icmp(), any::<u8>(), any::<u8>(), any::<u32>()),
        latch in prop_oneof![Just(LatchPolicy::Strict), Just(LatchPolicy::SignalledAddress), Just(LatchPolicy::Nat)],
    ) -> SideReport {
        let [received, sent, rtcp_received, fax_received, lost, refused_malformed, refused_dtls, refused_stun, refused_channel, refused_oversized,
            refused_not_ready, refused_on_hold, refused_key_spent, send_failed, wrong, errors] = counts;
        let [first, last, last_rtp, last_sent, at] = times;
        let signalled = signalled.map_or(if flags[0] { Signalled::Held } else { Signalled::Nothing }, Signalled::At);
        SideReport {
            received, sent, rtcp_received, fax_received, lost, refused_malformed, refused_dtls, refused_stun, refused_channel, refused_oversized,
            refused_not_ready, refused_on_hold, refused_key_spent, send_failed, first, last, last_rtp, last_sent, signalled, latched, latch, failing, replaying,
            takes_none: flags[1],
            sends_none: flags[2],
            foreign: stray.zip(strays).map(|(from, run)| Foreign { from, run }),
            wrong_type: at.map(|last| WrongType { packets: wrong, payload_type, last }),
            rekeyed: at.map(|at| Rekeyed { number, at }),
            unreachable: at.map(|last| Unreachable { errors, first: last, last, icmp, to: told_to, by: told_to.map(|to| to.ip()) }),
            told: at.map(|at| Told { at, fraction_lost, lost: number, jitter: number }),
            ..SideReport::default()
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, ..ProptestConfig::default() })]

    #[test]
    fn any_counters_make_exactly_one_sentence(
        from in side(),
        to in side(),
        answered in time(),
        until in time(),
        names in ("\\PC{0,80}", "[a-z0-9-]{1,20}"),
    ) {
        let cause = explain(&from, &to, &Talk { answered, until: until.unwrap_or_default() });
        let text = cause.sentence(&Names { from: &names.0, to: &names.1 }, &clock);
        prop_assert!(text.ends_with('.') && !text.ends_with(".."), "{text}");
        prop_assert!(!text.contains(". ") && !text.contains('\n') && text.contains(" -> "), "{text}");
        prop_assert!(text.chars().count() < 700, "{text}");
        prop_assert!(cause.code().split_once('.').is_some_and(|(kind, what)| !kind.is_empty() && !what.is_empty()));
        prop_assert!(!cause.sentence(&NAMES, &clock).ends_with(": ."), "a cause without words");
    }
}
