//! Calls through each set: in by every hunt group, out by every plan's gateways.

use portcullis::policy::settings::{DialPlan, HuntGroup, PeerKind, UmVersion, UriType};
use portcullis::policy::verdict::Reason;
use portcullis::sip::{HeaderName, Method};

use crate::stage::{Caller, Sent, Stage, sets};

/// A number that the group's calls go to: its pilot, or for a default group one that fits the plan.
pub fn called(group: &HuntGroup) -> String {
    match (&group.pilot, group.plan.uri_type) {
        // The plan's name stands for its numbers.
        (Some(pilot), _) if *pilot == group.plan.name => group.plan.access_numbers.first().expect("a number").to_string(),
        (Some(pilot), _) => pilot.trim_start_matches("sip:").replace([' ', '-'], ""),
        (None, UriType::E164) => String::from("+14255550123"),
        (None, _) => "12345678901234567890"[..usize::from(group.plan.digits)].to_owned(),
    }
}

/// A caller who fits any plan.
pub fn caller(plan: &DialPlan) -> &'static str {
    match plan.uri_type {
        UriType::Extension => "2065550199",
        UriType::SipUri | UriType::E164 => "+12065550199",
    }
}

/// A mailbox of the plan, whose user did not answer.
fn mailbox(plan: &DialPlan) -> String {
    match plan.uri_type {
        UriType::E164 => String::from("+14255550142"),
        UriType::SipUri => String::from("kim"),
        UriType::Extension => "22222222222222222222"[..usize::from(plan.digits)].to_owned(),
    }
}

/// How often the pool's servers redirect: to the UM service, to a worker.
fn redirects(version: UmVersion) -> u16 {
    match version {
        UmVersion::Exchange2007 | UmVersion::Exchange2010 => 1,
        UmVersion::Exchange2013 | UmVersion::Exchange2016 | UmVersion::Lync => 2,
        UmVersion::Generic | UmVersion::Hosted => 0,
    }
}

/// The next INVITE, after as many redirects as the pool's version makes: what the one who answers gets.
fn through(stage: &mut Stage, plan: &DialPlan) -> Sent {
    let mut invite = stage.request(&Method::Invite);
    assert!(plan.um_pool.routers.contains(&invite.to), "first to a router, not to {}\n{}", invite.to, stage.ladder());
    let policy = stage.settings.policy.clone();
    let server = policy.peers.iter().find(|peer| peer.kind == PeerKind::UmServer && plan.um_pool.has(&peer.name)).expect("a server").clone();
    for hop in 0..redirects(plan.um_pool.version) {
        let host = server.hosts.first().map(|host| match host {
            portcullis::policy::settings::PeerHost::Name(name) => name.to_string(),
            portcullis::policy::settings::PeerHost::Address(address) => address.to_string(),
            portcullis::policy::settings::PeerHost::Network(net) => net.addr().to_string(),
        });
        let contact = format!("Contact: <sip:{}:{};transport={}>\n", host.expect("a host"), 5063 + hop * 3, server.transport.uri_token());
        stage.answer(&invite, 302, &contact, "");
        invite = stage.request(&Method::Invite);
        assert_eq!(invite.to, server.name, "{}", stage.ladder());
    }
    invite
}

#[test]
fn every_hunt_group_of_every_set_leads_to_its_um() {
    for set in sets() {
        let groups = Stage::new(&set).settings.policy.hunt_groups.clone();
        assert!(!groups.is_empty(), "{set}");
        for group in groups.iter() {
            let mut stage = Stage::new(&set);
            let plan = &group.plan;
            let diversion = format!("Diversion: <sip:{}@pbx.example.com>;reason=no-answer\n", mailbox(plan));
            let mut call = Caller::invite(&mut stage, &group.peer, &called(group), caller(plan), &diversion);
            stage.response(100);
            let invite = through(&mut stage, plan);
            // Inside, no address of the outside: Via, Contact and description are ours.
            let outside = stage.address_of(&call.peer).ip();
            assert!(outside.is_loopback() || !invite.text().contains(&outside.to_string()), "{set}: {}", invite.text());
            let believed = call.peer.diversion_trusted && stage.settings.policy.peer(&invite.to).is_some();
            assert_eq!(invite.header(HeaderName::Diversion).contains(&mailbox(plan)), believed, "{set}: {}\n{}", invite.text(), stage.ladder());
            let answer = stage.description(&stage.peer(&invite.to), plan.mode);
            stage.answer(&invite, 200, "", &answer);
            let accepted = stage.response(200);
            assert_eq!(accepted.to, group.peer, "{set}");
            call.accepted(&mut stage, &accepted);
            call.hangs_up(&mut stage);
            let records = stage.records();
            let record = records.first().unwrap_or_else(|| panic!("{set}: no record\n{}", stage.ladder()));
            assert_eq!(
                (record.reason, record.redirects.len()),
                (Reason::NormalClearing, usize::from(redirects(plan.um_pool.version))),
                "{set}: {}",
                stage.ladder()
            );
            let modes = (record.a.mode, record.b.as_ref().map(|leg| leg.mode));
            assert_eq!(modes, (call.peer.mode, Some(plan.mode)), "{set}: {}", stage.ladder());
        }
    }
}

#[test]
fn a_stranger_is_met_with_silence_in_every_set() {
    for set in sets() {
        let stage = Stage::new(&set);
        let stranger = "203.0.113.250".parse().unwrap();
        for transport in [portcullis::sip::Transport::Udp, portcullis::sip::Transport::Tcp, portcullis::sip::Transport::Tls] {
            assert!(stage.table.expected(stranger, transport).is_empty(), "{set}");
        }
    }
}

/// A user's number as the PSTN knows it is his extension inside, called as well as diverting.
#[test]
fn numbers_of_the_campus_are_extensions() {
    let mut stage = Stage::new("exchange-2013-sip-secured");
    Caller::invite(&mut stage, "pbx", "5000", "+4930123456", "Diversion: <sip:+49305551234@pbx>;reason=no-answer\n");
    let invite = stage.request(&Method::Invite);
    assert!(invite.header(HeaderName::Diversion).starts_with("<sip:1234@"), "{}", invite.text());
    let mut stage = Stage::new("exchange-2013-sip-secured");
    Caller::invite(&mut stage, "pbx", "5000", "+4930123456", "Diversion: <sip:0305551234@pbx>;reason=no-answer\n");
    assert!(stage.request(&Method::Invite).header(HeaderName::Diversion).starts_with("<sip:1234@"));
}

/// Who says to be a subscriber, on a trunk that proves nothing, is nobody.
#[test]
fn a_caller_who_only_says_to_be_a_subscriber_is_anonymous() {
    let mut stage = Stage::new("generic-voicemail");
    Caller::invite(&mut stage, "carrier", "+14255550100", "+14255550142", "");
    let invite = stage.request(&Method::Invite);
    assert!(invite.header(HeaderName::From).contains("anonymous") && !invite.text().contains("4255550142"), "{}", invite.text());
}

/// Rules of the shipped sets against numbers that cost money.
#[test]
fn shipped_toll_rules_spend_no_money_unasked() {
    use portcullis::policy::toll::{TollCaller, permits};
    for (set, plan, allowed, denied) in [
        (
            "exchange-2013-sip-secured",
            "Campus",
            &["1234", "03012345", "01711234567", "+493012345"][..],
            &["0010123", "010333001", "01801", "0190123", "09001234", "+490900123", "+49900123", "+1206", "118"][..],
        ),
        ("exchange-2016-secured", "HeadOffice", &["+12065550123"], &["+19005550123", "+4930123", "011493012"]),
        ("lync-2013", "LyncUsers", &["+12065550123"], &["+19005550123", "+4930123"]),
        ("teams-direct-routing", "Teams", &["+14255550142"], &["+12065550123", "+4930123"]),
        ("hosted", "Hosted", &["12345"], &["+12065550123", "912065550123", "0123"]),
    ] {
        let stage = Stage::new(set);
        let policy = &stage.settings.policy;
        let plan = policy.dial_plan(plan).expect("a plan");
        for caller in [TollCaller::Outcall, TollCaller::Transfer] {
            for number in allowed {
                assert_eq!(permits(policy, plan, caller, number).refused, None, "{set}: {number}");
            }
            for number in denied {
                assert!(permits(policy, plan, caller, number).refused.is_some(), "{set}: {number}");
            }
        }
    }
}

/// The WAN is down: the diverted call goes over the PSTN to the auto attendant, the user who wants his messages to subscriber access.
#[test]
fn a_branch_without_its_centre_reaches_um_over_the_pstn() {
    for (extra, caller, number) in [("Diversion: <sip:2222@pbx>;reason=no-answer\n", "+12065550199", "+14255550190"), ("", "2222", "+14255550191")] {
        let mut stage = Stage::new("survivable-branch");
        let mut call = Caller::invite(&mut stage, "pbx", "5000", caller, extra);
        for server in ["mbx1", "mbx2"] {
            let invite = stage.request(&Method::Invite);
            assert_eq!(&*invite.to, server);
            stage.answer(&invite, 503, "", "");
        }
        let rerouted = stage.request(&Method::Invite);
        assert_eq!(&*rerouted.to, "carrier", "{}", stage.ladder());
        assert!(rerouted.message.request_uri().is_some_and(|uri| uri.starts_with(&format!("sip:{number}@"))), "{}", rerouted.text());
        assert!(rerouted.header(HeaderName::Diversion).is_empty(), "the PSTN learns of no extension");
        let answer = stage.description(&stage.peer("carrier"), stage.peer("carrier").mode);
        stage.answer(&rerouted, 200, "", &answer);
        let accepted = stage.response(200);
        call.accepted(&mut stage, &accepted);
        call.hangs_up(&mut stage);
        assert_eq!(stage.records().len(), 1, "{}", stage.ladder());
    }
}

/// Who has moved is greeted online, by the table or the department's rule; who stayed, or came back, on the premises.
#[test]
fn in_mixed_mode_each_mailbox_is_greeted_where_it_lives() {
    for (mailbox, server, host) in [
        ("10001", "hosted-um", "2a7e0d6c-51f4-4b0e-9c6f-0d3a7b1c2e55.um.outlook.com"),
        ("17001", "hosted-um", "2a7e0d6c-51f4-4b0e-9c6f-0d3a7b1c2e55.um.outlook.com"),
        ("17099", "mbx1", "mbx1.corp.example.com"),
        ("22222", "mbx1", "mbx1.corp.example.com"),
    ] {
        let mut stage = Stage::new("mixed");
        Caller::invite(&mut stage, "pbx", "50000", "2065550199", &format!("Diversion: <sip:{mailbox}@pbx>;reason=no-answer\n"));
        let invite = stage.request(&Method::Invite);
        assert_eq!(&*invite.to, server, "{mailbox}: {}", stage.ladder());
        assert!(invite.header(HeaderName::To).contains(host), "{mailbox}: {}", invite.text());
        assert!(invite.text().contains("RTP/SAVP"), "{}", invite.text());
    }
}

/// Hosted UM is called by its own name, in To and Request-URI.
#[test]
fn hosted_um_is_called_by_its_forwarding_address() {
    let mut stage = Stage::new("hosted");
    Caller::invite(&mut stage, "pbx", "50000", "2065550199", "");
    let invite = stage.request(&Method::Invite);
    assert!(invite.header(HeaderName::To).contains("@2a7e0d6c-51f4-4b0e-9c6f-0d3a7b1c2e55.um.outlook.com"), "{}", invite.text());
}

/// A fax that UM refers to the partner fax server.
#[test]
fn the_campus_sends_its_faxes_to_the_fax_server() {
    let mut stage = Stage::new("exchange-2013-sip-secured");
    let mut call = Caller::invite(&mut stage, "pstn-gateway", "5100", "+493012345", "");
    let plan = stage.settings.policy.dial_plan("Campus").expect("a plan").clone();
    let invite = through(&mut stage, &plan);
    let answer = stage.description(&stage.peer(&invite.to), plan.mode);
    stage.answer(&invite, 200, "", &answer);
    let accepted = stage.response(200);
    call.accepted(&mut stage, &accepted);
    // Those before are of the redirects.
    let mut ack = stage.request(&Method::Ack);
    while !ack.header(HeaderName::To).ends_with("tag=um-200") {
        ack = stage.request(&Method::Ack);
    }
    let contact = invite.message.contact().ok().flatten().map(|contact| contact.uri.to_owned()).expect("a Contact");
    let refer = format!(
        "REFER {contact} SIP/2.0\nVia: SIP/2.0/TLS worker;branch=z9hG4bK-refer\nMax-Forwards: 70\nFrom: {}\nTo: {}\nCall-ID: {}\nCSeq: 1 REFER\nContact: <sip:worker;transport=tls>\nRefer-To: <sip:fax@fax.campus.example.com:5061;transport=tls>\n\n",
        ack.header(HeaderName::To),
        ack.header(HeaderName::From),
        ack.header(HeaderName::CallId)
    );
    stage.receive(&invite.to, &refer);
    stage.response(202);
    let referred = stage.request(&Method::Invite);
    assert_eq!(&*referred.to, "fax", "{}", stage.ladder());
    assert!(referred.text().contains("RTP/AVP"), "SIP secured: {}", referred.text());
}
