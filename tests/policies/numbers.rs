//! `numbering.rs`, hunt groups by the plan's name, and what hostile headers make of it all.

use std::sync::Arc;

use portcullis::policy::diversion::{DiversionPolicy, Form, Unfit};
use portcullis::policy::hunt_group::{Dialled, find};
use portcullis::policy::numbering::{self, NumberRule, Numbering, OutwardForm};
use portcullis::policy::settings::{DialPlan, HuntGroup, PolicySet, UmPool, UriType};
use portcullis::policy::topology_hiding::{Crossing, carry, from_value};
use portcullis::policy::{caller, dial_plan, diversion};
use portcullis::sip::{HeaderName, Limits, Message, NameAddr};
use proptest::prelude::*;

use super::{Failures, cases, peer, set};

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    direction: String,
    #[serde(default)]
    prefix: Arc<str>,
    lengths: Option<(u8, u8)>,
    #[serde(default)]
    strip: u8,
    #[serde(default)]
    prepend: Arc<str>,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    #[serde(default = "extension")]
    uri_type: UriType,
    /// Country code, national prefix, international prefix.
    country: Option<[Arc<str>; 3]>,
    #[serde(default)]
    outward: OutwardForm,
    #[serde(default)]
    rules: Vec<Rule>,
    r#in: Option<String>,
    out: Option<String>,
    becomes: String,
}

fn extension() -> UriType {
    UriType::Extension
}

fn plan(uri_type: UriType) -> DialPlan {
    DialPlan { uri_type, ..DialPlan::clone(&set().dial_plans[0]) }
}

#[test]
fn numbering_cases() {
    let mut failures = Failures::default();
    for case in cases::<Case>("numbering.toml") {
        let rules = |direction| {
            let of_direction = case.rules.iter().filter(|rule| rule.direction == direction);
            of_direction
                .map(|rule| NumberRule { prefix: rule.prefix.clone(), lengths: rule.lengths, strip: rule.strip, prepend: rule.prepend.clone() })
                .collect()
        };
        let [country_code, national_prefix, international_prefix] = case.country.clone().map_or([const { None }; 3], |country| country.map(Some));
        let (inward, outward) = (rules("in"), rules("out"));
        let numbering = Numbering { country_code, national_prefix, international_prefix, inward, outward, outward_form: case.outward };
        let plan = DialPlan { numbering, ..plan(case.uri_type) };
        let (decision, found) = match (&case.r#in, &case.out) {
            (Some(user), None) => numbering::inward(&plan, user),
            (None, Some(number)) => numbering::outward(&plan, number),
            _ => panic!("{}: write in or out", case.name),
        };
        failures.expect(&case.name, found.as_str(), &case.becomes);
        assert!(decision.refused.is_none() && decision.stage == "numbering", "{}", case.name);
    }
}

/// As Exchange's script for Lync makes hunt groups: the pilot is the dial plan's name.
#[test]
fn a_plans_name_as_pilot_stands_for_its_numbers() {
    let named = DialPlan {
        name: "Lync.Corp.Example".into(),
        access_numbers: vec!["+1 425 555 0100".into(), "voice@um.example".into()],
        auto_attendants: vec!["55555".into()],
        ..plan(UriType::Extension)
    };
    let named = Arc::new(named);
    let other = Arc::new(DialPlan { name: "other".into(), ..plan(UriType::Extension) });
    let group = |name: &str, pilot: Option<&str>, plan: &Arc<DialPlan>| {
        Arc::new(HuntGroup { name: name.into(), peer: "carrier".into(), pilot: pilot.map(Into::into), plan: plan.clone() })
    };
    // The other plan's own pilot comes first, though it is written later.
    let groups = vec![group("lync", Some("lync.corp.example"), &named), group("five", Some("55555"), &other)];
    let set = PolicySet { hunt_groups: groups.into(), dial_plans: vec![named, other], ..PolicySet::clone(set()) };
    let found = |user: &str| {
        let dialled = Dialled { place: "Request-URI", user: user.to_string().into(), host: "um.example" };
        let (decision, found) = find(&set, "carrier", &[dialled]);
        (found.map(|found| found.group.name.to_string()), decision)
    };
    for user in ["LYNC.corp.example", "+14255550100", "+1(425)5550100", "voice", "12345;phone-context=Lync.Corp.Example"] {
        assert_eq!(found(user).0.as_deref(), Some("lync"), "{user}");
    }
    assert_eq!(found("55555").0.as_deref(), Some("five"));
    let (none, decision) = found("12345");
    assert_eq!(none, None);
    let compared: Vec<String> = decision.compared.iter().map(|(name, value)| format!("{name}={value}")).collect();
    assert_eq!(compared, ["peer=carrier", "pilots=lync.corp.example, 55555", "Request-URI=12345"], "the refusal names what was compared with what");
}

#[test]
fn pilots_of_a_plan_have_any_number_of_digits() {
    let plan = DialPlan { access_numbers: vec!["50".into()], auto_attendants: vec!["600".into()], ..plan(UriType::Extension) };
    for (user, fits) in [("50", true), ("6-00", true), ("51", false), ("12345", true)] {
        assert_eq!(dial_plan::called(&plan, user).1.is_some(), fits, "{user}");
    }
    assert_eq!(dial_plan::called_pilot(&plan, "51").1.as_deref(), Some("51"), "a hunt group found it");
    assert_eq!(dial_plan::called_pilot(&plan, "voice").1, None, "its type must fit all the same");
}

/// Bits of headers as they come, in any order.
fn scraps() -> impl Strategy<Value = String> {
    let scrap = prop_oneof![
        Just("<sip:10001@x>".to_string()),
        Just("<sip:%31000%31;x=y@x;user=phone?Reason=SIP%3Bcause%3D486&Privacy=history>".to_string()),
        Just("\"Jane\" <tel:+1-425-555-0100;phone-context=+1>".to_string()),
        Just("<sip:anonymous@anonymous.invalid>".to_string()),
        Just(";reason=no-answer;counter=65535;index=1.1.1".to_string()),
        Just("\"".to_string()),
        Just("<sip:j%20%25b%40%3b@corp.example>".to_string()),
        Just("<sip:100011@x>".to_string()),
        Just(", ".to_string()),
        Just("sip:jane@[::1]".to_string()),
        "[ -~]{0,12}",
        "\\PC{0,4}",
    ];
    proptest::collection::vec(scrap, 0..6).prop_map(|scraps| scraps.concat())
}

fn invite(from: &str, lines: &[(String, String)]) -> Option<Message> {
    let mut text = format!("INVITE sip:50000@sbc SIP/2.0\r\nTo: <sip:50000@sbc>\r\nFrom: {from};tag=1\r\nCall-ID: 1\r\nCSeq: 1 INVITE\r\n");
    for (name, value) in lines {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str("\r\n");
    Message::parse(text.into_bytes().into(), &Limits::default()).ok()
}

proptest! {
    /// Whatever comes, what goes to UM can be read, fits the plan and is bounded; and what was refused is refused for these reasons.
    #[test]
    fn hostile_headers_become_fitting_ones(
        from in scraps(),
        lines in proptest::collection::vec((prop_oneof![
            Just("Diversion".to_string()), Just("CC-DIVERSION".to_string()), Just("History-Info".to_string()),
            Just("P-Asserted-Identity".to_string()), Just("Privacy".to_string()), Just("Remote-Party-ID".to_string()),
        ], scraps()), 0..6),
        uri_type in prop_oneof![Just(UriType::Extension), Just(UriType::E164), Just(UriType::SipUri)],
        form in prop_oneof![Just(Form::AsReceived), Just(Form::Diversion), Just(Form::HistoryInfo)],
        unvouched in any::<bool>(),
    ) {
        let Some(message) = invite(&from, &lines) else { return Ok(()) };
        let mut plan = plan(uri_type);
        plan.um_pool = Arc::new(UmPool { diversion: DiversionPolicy { form, unfit: Unfit::Drop, ..DiversionPolicy::default() }, ..UmPool::clone(&plan.um_pool) });
        let carrier = portcullis::policy::settings::Peer { identity_trusted: !unvouched, ..(**peer("carrier")).clone() };
        let crossing = Crossing { from: &carrier, to: peer("mbx1"), ours: "sbc.example.com", plan: Some(&plan), called: "50000" };
        let (_, judged) = caller::judge(&plan, &carrier, &message);
        let written = from_value(&crossing, &message, "t");
        let address = NameAddr::parse(written.as_bytes()).expect("our own From");
        let uri = address.parsed_uri().expect("our own From's URI");
        if let caller::Caller::Known { user, .. } = &judged {
            prop_assert_eq!(&*uri.user_decoded(), user.as_str());
            prop_assert!(dial_plan::calling(&plan, user).is_some());
            prop_assert!(!unvouched || !dial_plan::is_extension(&plan, user.trim_start_matches('+')), "{}", written);
        } else {
            prop_assert_eq!(uri.host, "anonymous.invalid");
        }
        prop_assert!(diversion::choose(&plan, &carrier, &message).is_none_or(|chosen| chosen.decision.refused.is_none()));
        let carried = carry(&crossing, &message);
        prop_assert!(carried.headers.len() < 64);
        for (name, value) in carried.headers.iter().filter(|(name, _)| *name != HeaderName::Privacy) {
            let address = NameAddr::parse(value.as_bytes()).unwrap_or_else(|error| panic!("{name}: {value}: {error}"));
            let uri = address.parsed_uri().unwrap_or_else(|error| panic!("{name}: {value}: {error}"));
            let user = uri.user_decoded();
            let is_mailbox = uri_type != UriType::Extension || *name == HeaderName::PAssertedIdentity || user.len() == 5;
            prop_assert!(is_mailbox, "{}: {}", name, value);
            let fits = user == "50000" || *name == HeaderName::PAssertedIdentity && dial_plan::calling(&plan, &user).is_some() || dial_plan::diverting(&plan, &user).is_some();
            prop_assert!(fits, "{}: {}", name, value);
        }
    }
}
