//! Codecs and payload types between legs: policy's lists and order, and numbers that each leg keeps as its own.

use super::*;
use crate::policy::sound::{Codec, Sound};

fn described(version: u32, formats: &[(u8, &str)]) -> String {
    let numbers: Vec<String> = formats.iter().map(|(number, _)| number.to_string()).collect();
    let maps: String = formats.iter().filter(|(_, name)| !name.is_empty()).map(|(number, name)| format!("a=rtpmap:{number} {name}\r\n")).collect();
    format!(
        "v=0\r\no=peer 7 {version} IN IP4 192.0.2.9\r\ns=call\r\nc=IN IP4 192.0.2.9\r\nt=0 0\r\nm=audio 4000 RTP/AVP {}\r\n{maps}a=ptime:20\r\n",
        numbers.join(" ")
    )
}

fn wanting(codecs: &[&str], comfort_noise: bool) -> Terms {
    let sound = Sound { codecs: codecs.iter().map(|name| Codec::parse(name).unwrap()).collect(), comfort_noise, ..Sound::default() };
    Terms { plan: plain().plan.sounding(sound), ..plain() }
}

/// `8:pcma/8000/1` and the like, of the relayed line.
fn names(out: &Out) -> Vec<String> {
    let media = out.audio();
    let name = |format: &String| media.rtpmap_of(format).map_or_else(|| format.clone(), |map| format!("{format}:{}", map.label().to_ascii_lowercase()));
    media.formats.iter().map(name).collect()
}

/// What a side's peer may send, and under which number it goes on.
fn passes(commands: &[Command], of: Side) -> Vec<(u8, u8)> {
    let payloads = commands.iter().rev().find_map(|command| match command {
        Command::Configure { side, set, .. } if *side == of => set.payloads.clone(),
        _ => None,
    });
    let payloads = payloads.expect("the side is configured");
    (0..128).filter_map(|number| Some((number, payloads.outgoing(number)?))).collect()
}

const EVENTS: &str = "telephone-event/8000";
const ALL: [(u8, &str); 5] = [(0, "PCMU/8000"), (8, ""), (18, "G729/8000"), (13, "CN/8000"), (101, EVENTS)];

#[test]
fn a_peers_list_filters_and_orders_what_it_is_offered() {
    let mut call = Call::between(plain(), wanting(&["PCMA", "PCMU"], false));
    let offer = call.offer(Side::A, &described(1, &ALL));
    assert_eq!(names(&offer), ["8:pcma/8000", "0:pcmu/8000", "101:telephone-event/8000"]);
    assert!(!offer.text.contains("G729") && !offer.text.contains("CN"), "{}", offer.text);
    assert_eq!(passes(&offer.commands, Side::B).len(), 128, "before the answer nobody knows");
    let answer = call.answer(Side::B, &described(1, &[(8, "PCMA/8000"), (101, EVENTS)]));
    assert_eq!(names(&answer), ["8:pcma/8000", "101:telephone-event/8000"]);
    assert_eq!(passes(&answer.commands, Side::A), [(8, 8), (101, 101)]);
    assert_eq!(passes(&answer.commands, Side::B), [(0, 0), (8, 8), (101, 101)], "what was offered to it, A takes");
}

#[test]
fn a_peers_list_holds_for_what_it_offers_and_answers_too() {
    let mut call = Call::between(wanting(&["G729"], true), plain());
    assert_eq!(names(&call.offer(Side::A, &described(1, &ALL))), ["18:g729/8000", "13:cn/8000", "101:telephone-event/8000"]);
    let mut call = Call::between(plain(), wanting(&["PCMU"], true));
    call.offer(Side::A, &described(1, &ALL));
    assert_eq!(call.try_answer(Side::B, &described(1, &[(8, "PCMA/8000")])).unwrap_err(), Reason::CodecRefused);
    assert_eq!(names(&call.answer(Side::B, &described(1, &[(8, "PCMA/8000"), (0, "")]))), ["0:pcmu/8000"]);
}

#[test]
fn two_lists_with_nothing_in_common_are_a_refusal_that_says_so() {
    let mut call = Call::between(wanting(&["PCMU"], true), wanting(&["PCMA"], true));
    assert_eq!(call.try_offer(Side::A, &described(1, &ALL)).unwrap_err(), Reason::CodecRefused);
    assert_eq!(Reason::CodecRefused.status(), Some(488));
    let mut call = Call::between(plain(), wanting(&["opus/48000"], true));
    assert_eq!(call.try_offer(Side::A, &described(1, &ALL)).unwrap_err(), Reason::CodecRefused);
}

#[test]
fn an_answer_in_other_numbers_reaches_the_caller_in_its_own() {
    let mut call = Call::between(plain(), plain());
    call.offer(Side::A, &described(1, &[(97, "opus/48000/2"), (8, ""), (101, EVENTS)]));
    let answer = call.answer(Side::B, &described(1, &[(111, "OPUS/48000/2"), (8, "PCMA/8000"), (96, EVENTS)]));
    assert_eq!(names(&answer), ["97:opus/48000/2", "8:pcma/8000", "101:telephone-event/8000"]);
    assert_eq!(passes(&answer.commands, Side::A), [(8, 8), (97, 111), (101, 96)]);
    // B was told 97 and 101; if it sends by its own numbers it is understood as well.
    assert_eq!(passes(&answer.commands, Side::B), [(8, 8), (96, 101), (97, 97), (101, 101), (111, 97)]);
}

#[test]
fn an_answer_that_does_not_spell_out_its_numbers_means_ours() {
    let mut call = Call::between(plain(), wanting(&["opus/48000"], true));
    call.offer(Side::A, &described(1, &[(97, "opus/48000/2"), (101, EVENTS)]));
    let answer = call.answer(Side::B, &described(1, &[(97, ""), (101, "")]));
    assert_eq!(passes(&answer.commands, Side::A), [(97, 97), (101, 101)]);
    assert_eq!(passes(&answer.commands, Side::B), [(97, 97), (101, 101)]);
}

#[test]
fn a_codec_spelt_otherwise_under_its_number_is_the_same() {
    for (number, offered, answered) in [(18, "G729/8000", "G729a/8000"), (9, "G722/8000", "G722/16000"), (96, "opus/48000/2", "opus/48000")] {
        let mut call = Call::between(plain(), plain());
        call.offer(Side::A, &described(1, &[(number, offered), (101, EVENTS)]));
        let answer = call.answer(Side::B, &described(1, &[(number, answered), (101, EVENTS)]));
        assert_eq!(answer.audio().formats, [number.to_string(), "101".to_owned()], "{answered}");
        assert_eq!(passes(&answer.commands, Side::A), [(number, number), (101, 101)]);
        assert_eq!(passes(&answer.commands, Side::B), [(number, number), (101, 101)]);
    }
    let mut call = Call::between(plain(), wanting(&["G729"], true));
    call.offer(Side::A, &described(1, &ALL));
    assert_eq!(call.answer(Side::B, &described(1, &[(18, "G729A/8000")])).audio().formats, ["18"]);
}

#[test]
fn a_later_offer_never_gives_a_number_another_meaning_on_a_leg() {
    let mut call = Call::between(plain(), plain());
    call.offer(Side::A, &described(1, &[(8, ""), (101, EVENTS)]));
    call.answer(Side::B, &described(1, &[(8, ""), (101, EVENTS)]));
    call.media.settled();
    // B now calls its events 96 and opus 101, which A knows as events.
    let carried = call.offer(Side::B, &described(2, &[(101, "opus/48000/2"), (8, ""), (96, EVENTS)]));
    assert_eq!(names(&carried), ["96:opus/48000/2", "8:pcma/8000", "101:telephone-event/8000"]);
    let answer = call.answer(Side::A, &described(2, &[(96, "opus/48000/2"), (8, ""), (101, EVENTS)]));
    assert_eq!(names(&answer), ["101:opus/48000/2", "8:pcma/8000", "96:telephone-event/8000"]);
    assert_eq!(passes(&answer.commands, Side::A), [(8, 8), (96, 101), (101, 96)]);
    assert_eq!(passes(&answer.commands, Side::B), [(8, 8), (96, 101), (101, 96)]);
}

#[test]
fn redundancy_does_not_cross_where_its_numbers_would_be_wrong() {
    let mut call = Call::between(plain(), plain());
    call.offer(Side::A, &described(1, &[(8, ""), (97, "red/8000"), (101, EVENTS)]));
    let answer = call.answer(Side::B, &described(1, &[(8, ""), (97, "red/8000"), (96, EVENTS)]));
    assert_eq!(names(&answer), ["8:pcma/8000", "101:telephone-event/8000"]);
}

#[test]
fn comfort_noise_crosses_unless_policy_says_otherwise() {
    for (comfort_noise, expected) in [(true, vec!["8:pcma/8000", "13:cn/8000"]), (false, vec!["8:pcma/8000"])] {
        let mut call = Call::between(wanting(&[], comfort_noise), plain());
        assert_eq!(
            names(&call.offer(Side::A, &described(1, &[(13, ""), (8, "")]))),
            if comfort_noise { vec!["13:cn/8000", "8:pcma/8000"] } else { expected.clone() }
        );
        let answer = call.answer(Side::B, &described(1, &[(8, ""), (13, "")]));
        assert_eq!(names(&answer), if comfort_noise { expected } else { vec!["8:pcma/8000"] });
        assert_eq!(passes(&answer.commands, Side::A).contains(&(13, 13)), comfort_noise);
    }
}

/// What a peer says of packet time is carried to the other as it is: nothing is repacked.
#[test]
fn packet_time_is_told_across() {
    let mut call = Call::between(plain(), plain());
    let offer = call.offer(Side::A, &described(1, &ALL).replace("ptime:20", "ptime:30\r\na=maxptime:60"));
    assert_eq!((offer.audio().ptime(), offer.text.contains("a=maxptime:60")), (Some(30), true));
    assert_eq!(call.answer(Side::B, &described(1, &ALL)).audio().ptime(), Some(20));
}

/// A fax, then sound in a codec that B is not to have: the m-line B has must still be the one of the fax.
#[test]
fn an_offer_that_policy_refuses_leaves_the_leg_as_it_was() {
    let mut call = Call::between(plain(), wanting(&["PCMU"], true));
    call.offer(Side::A, &described(1, &ALL));
    call.answer(Side::B, &described(1, &[(0, ""), (101, EVENTS)]));
    call.media.settled();
    let fax = |version: u32| described(version, &[(8, "")]).replace("m=audio 4000 RTP/AVP 8\r\na=ptime:20\r\n", "m=image 4000 udptl t38\r\n");
    call.offer(Side::A, &fax(2));
    call.answer(Side::B, &fax(2));
    call.media.settled();
    assert!(call.media.is_fax());
    let before = format!("{:?}", call.media);
    assert_eq!(call.try_offer(Side::A, &described(3, &[(8, "")])).unwrap_err(), Reason::CodecRefused);
    assert_eq!(format!("{:?}", call.media), before);
}

/// `octet-align=1` and bandwidth-efficient AMR have one name and different bits (RFC 4867 §4).
#[test]
fn codecs_of_one_name_whose_bits_differ_are_not_taken_for_each_other() {
    let with = |version: u32, formats: &[(u8, &str)], lines: &str| described(version, formats) + lines;
    let amr = "AMR/8000";
    let mut call = Call::between(plain(), plain());
    let fmtp = "a=fmtp:96 octet-align=1; mode-set=7\r\na=fmtp:97 octet-align=0; mode-set=7\r\n";
    call.offer(Side::A, &with(1, &[(96, amr), (97, amr), (101, EVENTS)], fmtp));
    // The answerer numbers them the other way round, and has the second only without parameters.
    let answer = call.answer(Side::B, &with(1, &[(97, amr), (96, amr), (101, EVENTS)], "a=fmtp:97 octet-align=1\r\n"));
    assert_eq!(answer.audio().formats, ["96", "97", "101"]);
    assert_eq!(passes(&answer.commands, Side::A), [(96, 97), (97, 96), (101, 101)]);
    // One that leaves the parameters out in its answer means what it was offered under the number.
    let mut call = Call::between(plain(), plain());
    call.offer(Side::A, &with(1, &[(96, amr), (8, "")], "a=fmtp:96 octet-align=1\r\n"));
    let answer = call.answer(Side::B, &described(1, &[(96, amr), (8, "")]));
    assert_eq!(passes(&answer.commands, Side::A), [(8, 8), (96, 96)]);
    // G.729's annexb is a wish, AMR's mode-set says what is taken.
    let mut call = Call::between(plain(), plain());
    call.offer(Side::A, &with(1, &[(18, "G729/8000"), (96, amr)], "a=fmtp:18 annexb=no\r\na=fmtp:96 mode-set=0,2,4,7\r\n"));
    let answer = call.answer(Side::B, &with(1, &[(18, "G729/8000"), (98, amr)], "a=fmtp:18 annexb=yes\r\n"));
    assert_eq!(passes(&answer.commands, Side::A), [(18, 18), (96, 98)]);
}

/// Gateways that send comfort noise and events without having named them.
#[test]
fn what_is_sent_unannounced_crosses_where_the_other_side_takes_it() {
    let mut call = Call::between(plain(), plain());
    call.offer(Side::A, &described(1, &[(8, ""), (13, ""), (101, EVENTS)]));
    let answer = call.answer(Side::B, &described(1, &[(8, "")]));
    assert_eq!(passes(&answer.commands, Side::B), [(8, 8), (13, 13), (101, 101)]);
    assert_eq!(passes(&answer.commands, Side::A), [(8, 8)], "B never said that it takes any");
    // B answers with more than it was offered, under its own number of noise.
    let mut call = Call::between(plain(), plain());
    call.offer(Side::A, &described(1, &[(8, "")]));
    let answer = call.answer(Side::B, &described(1, &[(8, ""), (98, "CN/8000"), (96, EVENTS)]));
    assert_eq!(passes(&answer.commands, Side::A), [(8, 8), (13, 98), (96, 96)]);
    // A number that means something else stays that; and who is to have no comfort noise sends none.
    let mut call = Call::between(wanting(&[], false), plain());
    call.offer(Side::A, &described(1, &[(8, ""), (96, "opus/48000/2")]));
    let answer = call.answer(Side::B, &described(1, &[(8, ""), (13, ""), (96, EVENTS)]));
    assert_eq!(passes(&answer.commands, Side::A), [(8, 8)]);
}
