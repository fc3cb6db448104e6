//! Each set is explained: for a call of every hunt group, `portcullis explain` says who is called first and in which mode, without asking DNS.

use std::path::Path;

use portcullis::app::explain::{Explain, explain};
use portcullis::policy::settings::PeerHost;
use portcullis::sip::Transport;

use crate::calls::{called, caller};
use crate::stage::{Stage, sets};

#[test]
fn every_hunt_group_of_every_set_is_explained() {
    let folder = tempfile::tempdir().unwrap();
    for set in sets() {
        let stage = Stage::new(&set);
        for group in stage.settings.policy.hunt_groups.iter() {
            let peer = stage.peer(&group.peer);
            let message = folder.path().join("invite.sip");
            let text = format!(
                "INVITE sip:{called}@sbc.example.com SIP/2.0\r\nVia: SIP/2.0/{} 192.0.2.99;branch=z9hG4bK-explained\r\nMax-Forwards: 70\r\nFrom: <sip:{}@example.com>;tag=e\r\n\
                 To: <sip:{called}@sbc.example.com>\r\nCall-ID: explained\r\nCSeq: 1 INVITE\r\nContact: <sip:192.0.2.99;transport={}>\r\nContent-Length: 0\r\n\r\n",
                peer.transport.via_token(),
                caller(&group.plan),
                peer.transport.uri_token(),
                called = called(group),
            );
            std::fs::write(&message, text).unwrap();
            let from = peer.hosts.iter().find_map(|host| match host {
                PeerHost::Name(name) => Some(name.to_string()),
                PeerHost::Address(address) => Some(address.to_string()),
                PeerHost::Network(_) => None,
            });
            let mut arguments = Explain {
                policy_set: Path::new(env!("CARGO_MANIFEST_DIR")).join("policies").join(&set).display().to_string(),
                message: Some(message.display().to_string()),
                from,
                tls_name: peer.tls_names.first().map(ToString::to_string).filter(|_| peer.transport == Transport::Tls).into_iter().collect(),
                transport: Some(peer.transport.uri_token().to_owned()),
                resolve: Vec::new(),
                down: Vec::new(),
                json: false,
            };
            let mut text = Vec::new();
            let status = explain(&arguments, &mut text).unwrap();
            let text = String::from_utf8(text).unwrap();
            assert_eq!(status, 0, "{set}, {}: {text}", group.name);
            arguments.json = true;
            let mut json = Vec::new();
            explain(&arguments, &mut json).unwrap();
            let outcome = serde_json::from_slice::<serde_json::Value>(&json).unwrap()["outcome"].clone();
            let target = outcome["targets"][0].as_str().unwrap_or_default().to_owned();
            assert!(group.plan.um_pool.routers.iter().any(|router| **router == *target), "{set}: {outcome:#}");
            assert_eq!(outcome["dial_plan"], serde_json::json!(group.plan.name), "{set}");
            let mode = |leg: &str| outcome[leg]["mode"].clone();
            assert_eq!((mode("a_leg"), mode("b_leg")), (serde_json::json!(peer.mode), serde_json::json!(group.plan.mode)), "{set}");
            assert!(text.contains("sent on          Request-URI: sip:"), "{text}");
        }
    }
}
