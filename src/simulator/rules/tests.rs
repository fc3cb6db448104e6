//! Each rule by a message that breaks nothing else.

use bytes::Bytes;

use super::*;
use crate::sip::Limits;

fn invite(uri: &str, to: &str, from: &str, more: &str) -> Message {
    let text = format!(
        "INVITE {uri} SIP/2.0\r\nVia: SIP/2.0/TCP 127.0.0.1:5060;branch=z9hG4bK1\r\nMax-Forwards: 70\r\nFrom: {from};tag=1\r\nTo: {to}\r\nCall-ID: 1\r\n\
         CSeq: 1 INVITE\r\nContact: <sip:127.0.0.1>\r\n{more}Content-Length: 0\r\n\r\n"
    );
    Message::parse(Bytes::from(text), &Limits::default()).expect("a message")
}

fn extension() -> Rules {
    Rules { digits: Some(4), ..Rules::new(Profile::Exchange2016, SecurityMode::Unsecured) }
}

fn of(rules: &Rules, more: &str) -> Result<Service, (u16, Option<u16>)> {
    rules.invite(&invite("sip:5000@um", "<sip:5000@um>", "<sip:2001@gw>", more)).map_err(|refusal| (refusal.status, refusal.event))
}

fn answering(mailbox: &str, from: &'static str) -> Result<Service, (u16, Option<u16>)> {
    Ok(Service::CallAnswering { mailbox: mailbox.into(), from })
}

#[test]
fn an_extension_plan_takes_digits_and_anonymous_callers_only() {
    let rules = extension();
    let verdict = |uri: &str, to: &str, from: &str| rules.invite(&invite(uri, to, from, "")).map_err(|refusal| (refusal.status, refusal.event)).map(|_| ());
    let (to, from) = ("<sip:5000@um>", "<sip:2001@gw>");
    for fits in ["<sip:2001@gw>", "<tel:+15551234>", "\"A, B\" <sip:+15551234@gw;user=phone>", "\"Anonymous\" <sip:anonymous@anonymous.invalid>"] {
        assert_eq!(verdict("sip:5000@um", to, fits), Ok(()), "{fits}");
    }
    for unfit in ["<sip:bob@192.168.1.101>", "<sip:192.168.1.101>", "<sip:2001x@gw>", "<mailto:a@b>", "<sip:123456789012345678901@gw>"] {
        assert_eq!(verdict("sip:5000@um", to, unfit), Err((403, Some(1021))), "{unfit}");
    }
    assert_eq!(verdict("sip:bob@um", to, from), Err((403, Some(1021))));
    assert_eq!(verdict("sip:anonymous@um", to, from), Err((403, Some(1021))), "only a caller may hide");
    assert_eq!(verdict("sip:5000@um", "<sip:bob@um>", from), Err((403, Some(1021))));
    assert_eq!(of(&rules, "P-Asserted-Identity: <sip:2001@gw>, <sip:bob@gw>\r\n"), Err((403, Some(1021))));
    assert_eq!(of(&rules, "History-Info: <sip:bob@gw>;index=1\r\n"), Err((403, Some(1021))));
}

#[test]
fn e164_and_sip_uri_plans_take_their_own() {
    let e164 = Rules { uri_type: UriType::E164, ..extension() };
    let verdict = |rules: &Rules, uri: &str, from: &str| rules.invite(&invite(uri, &format!("<{uri}>"), from, "")).is_ok();
    assert!(verdict(&e164, "sip:+14255550123@um", "<tel:+14255550124>"));
    assert!(!verdict(&e164, "sip:5000@um", "<tel:+14255550124>"));
    assert!(!verdict(&e164, "sip:+1425555012345678@um", "<tel:+14255550124>"), "more than 15 digits");
    let names = Rules { uri_type: UriType::SipUri, ..extension() };
    assert!(verdict(&names, "sip:um@contoso.com", "<sip:bob@contoso.com>"));
    assert!(!verdict(&names, "sip:um@contoso.com", "<tel:2001>"));
    assert_eq!(of(&names, "Diversion: <sip:bob@contoso.com>;reason=no-answer\r\n"), answering("bob", "Diversion"));
    assert_eq!(of(&names, "Diversion: <sip:1000@contoso.com>;reason=no-answer\r\n"), Err((404, Some(1109))), "an extension names no mailbox there");
}

#[test]
fn one_unbalanced_quote_costs_the_whole_call() {
    let broken = "Diversion: \"Jane\"<sip:1000@gw>;reason=no-answer\r\nDiversion: \" Jane\" \"<sip:1000@gw>;reason=no-answer\r\n";
    assert_eq!(of(&extension(), broken), Err((400, Some(1021))));
    assert_eq!(of(&extension(), "Diversion: \"a \\\" quote\" <sip:1000@gw>\r\n"), answering("1000", "Diversion"), "an escaped one counts for nothing");
}

#[test]
fn diversion_goes_before_cc_diversion_and_that_before_history_info() {
    let (diversion, cc) = ("Diversion: <sip:1000@gw>;reason=no-answer\r\n", "CC-Diversion: <sip:1001@gw>;reason=no-answer\r\n");
    let history = "History-Info: <sip:1002@gw;user=phone?Reason=SIP%3Bcause%3D487%3Btext%3DTimeout>;index=1, <sip:5000@gw;user=phone>;index=1.1\r\n";
    let rules = extension();
    assert_eq!(of(&rules, &format!("{history}{cc}{diversion}")), answering("1000", "Diversion"));
    assert_eq!(of(&rules, &format!("{history}{cc}")), answering("1001", "CC-Diversion"));
    assert_eq!(of(&rules, history), answering("1002", "History-Info"));
    assert_eq!(of(&rules, "History-Info: <sip:1002@gw>;index=1, <sip:5000@gw>;index=1.1\r\n"), Ok(Service::SubscriberAccess { asks_extension: false }));
}

#[test]
fn of_several_diversions_the_original_counts_unless_told_otherwise() {
    let two = "Diversion: <sip:1001@gw>;reason=no-answer\r\nDiversion: <sip:1002@gw>;reason=unconditional\r\n";
    assert_eq!(of(&extension(), two), answering("1002", "Diversion"));
    assert_eq!(of(&Rules { which_diversion: Which::First, ..extension() }, two), answering("1001", "Diversion"));
    let attendant = Rules { auto_attendants: vec!["1002".into()], access_numbers: vec!["5000".into()], ..extension() };
    assert_eq!(of(&attendant, two), Ok(Service::AutoAttendant), "the call comes back to the attendant");
}

#[test]
fn a_diverting_extension_of_another_length_is_not_answered() {
    assert_eq!(of(&extension(), "Diversion: <sip:10001@gw>;reason=no-answer\r\n"), Err((404, Some(1109))));
    assert_eq!(of(&extension(), "Diversion: <sip:bob@gw>;reason=no-answer\r\n"), Err((404, Some(1109))));
}

#[test]
fn the_service_goes_by_number_diversion_and_caller() {
    let rules = Rules { access_numbers: vec!["5000".into()], auto_attendants: vec!["5001".into()], ..extension() };
    assert_eq!(of(&rules, ""), Ok(Service::SubscriberAccess { asks_extension: false }));
    let from_outside = rules.invite(&invite("sip:5000@um", "<sip:5000@um>", "<tel:+15551234>", ""));
    assert_eq!(from_outside, Ok(Service::SubscriberAccess { asks_extension: true }));
    assert_eq!(rules.invite(&invite("sip:5001@um", "<sip:5001@um>", "<sip:2001@gw>", "")), Ok(Service::AutoAttendant));
    let unknown = rules.invite(&invite("sip:5002@um", "<sip:5002@um>", "<sip:2001@gw>", "")).unwrap_err();
    assert_eq!(unknown.status, 404);
    assert!(unknown.why.contains("can't be located"), "{unknown:?}");
}

#[test]
fn sessions_shorter_than_half_an_hour_are_too_short() {
    assert_eq!(of(&extension(), "Session-Expires: 1799\r\n"), Err((422, None)));
    assert!(of(&extension(), "Session-Expires: 1800;refresher=uac\r\n").is_ok());
}

#[test]
fn hosted_um_wants_its_own_name_in_to() {
    let rules = Rules { hosted_name: Some("abc.um.outlook.com".into()), ..Rules::new(Profile::Hosted, SecurityMode::Secured) };
    let to = |to: &str| rules.invite(&invite("sip:5000@x", to, "<sip:2001@gw>", "")).map(|_| ()).map_err(|refusal| refusal.status);
    assert_eq!(to("<sip:5000@abc.um.outlook.com>"), Ok(()));
    assert_eq!(to("<sip:5000@sbc.example.com>"), Err(488));
}

fn shown(common_name: &str, names: &[&str]) -> Shown {
    Shown { common_name: Some(common_name.into()), names: names.iter().map(ToString::to_string).collect() }
}

#[test]
fn sources_are_told_by_address_and_certificate() {
    let there = "127.0.0.2".parse().unwrap();
    let rules = Rules { gateways: vec!["127.0.0.1".parse().unwrap()], ..extension() };
    assert_eq!(rules.source(there, None).unwrap_err().status, 403);
    let on_premises = Rules { gateway_names: vec!["sbc.example.com".into()], ..Rules::new(Profile::Exchange2016, SecurityMode::Secured) };
    assert!(on_premises.source(there, Some(&shown("SBC.example.com", &[]))).is_ok());
    assert!(on_premises.source(there, Some(&shown("x", &["sbc.example.com"]))).is_ok());
    assert!(on_premises.source(there, Some(&shown("x", &["*.example.com"]))).is_err());
    assert!(on_premises.source(there, Some(&shown("*.example.com", &["sbc.example.com"]))).is_err(), "no wildcard as the subject");
    let hosted = Rules { profile: Profile::Hosted, ..on_premises };
    assert!(hosted.source(there, Some(&shown("sbc.example.com", &["sbc.example.com"]))).is_ok());
    for (common_name, names) in [
        ("SBC.example.com", &["SBC.example.com"][..]),
        ("sbc.example.com", &["other.example.com"]),
        ("sbc.example.com", &["sbc.example.com", "*.example.com"]),
        ("*.example.com", &["sbc.example.com"]),
    ] {
        assert_eq!(hosted.source(there, Some(&shown(common_name, names))).unwrap_err().status, 403, "{common_name} {names:?}");
    }
}

const HEAD: &str = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n";
const KEY: &str = "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:Rt5s9b1WdrBKIoygx4q3Tx8Zog/+Qt1/UTEmxr9x\r\n";

#[test]
fn the_offer_is_what_the_mode_demands() {
    let offer = |mode, media: &str| Rules::new(Profile::Exchange2016, mode).offer(Some(format!("{HEAD}{media}").as_bytes())).map_err(|refusal| refusal.status);
    let (plain, secured) = ("m=audio 4000 RTP/AVP 0 101\r\n", format!("m=audio 4000 RTP/SAVP 0 101\r\n{KEY}"));
    assert_eq!(offer(SecurityMode::Secured, &secured), Ok(()));
    assert_eq!(offer(SecurityMode::Secured, plain), Err(488));
    assert_eq!(offer(SecurityMode::Secured, "m=audio 4000 RTP/SAVP 0\r\n"), Err(488), "no key");
    assert_eq!(offer(SecurityMode::Secured, &secured.replace("SHA1_80", "SHA1_32")), Err(488));
    for mode in [SecurityMode::SipSecured, SecurityMode::Unsecured] {
        assert_eq!(offer(mode, plain), Ok(()));
        assert_eq!(offer(mode, &secured), Err(488), "incompatible security setting");
    }
    assert_eq!(offer(SecurityMode::Unsecured, "m=audio 4000 RTP/AVP 9 101\r\n"), Err(488), "neither G.711 nor G.723.1");
    for attribute in
        ["rtcp-mux", "ice-ufrag:x", "ice-pwd:x", "ice-lite", "ice-options:trickle", "candidate:1 1 UDP 1 127.0.0.1 4000 typ host", "end-of-candidates"]
    {
        assert_eq!(offer(SecurityMode::Unsecured, &format!("{plain}a={attribute}\r\n")), Err(488), "{attribute}");
    }
    assert_eq!(Rules::new(Profile::Exchange2016, SecurityMode::Unsecured).offer(None).unwrap_err().status, 488);
}
