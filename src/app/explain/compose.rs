//! An INVITE as a peer would send it, made from who calls whom: for asking what would become of a call that nobody has made.

use std::net::SocketAddr;

use crate::policy::flow::Flow;
use crate::policy::security_mode::leg_plan;
use crate::policy::settings::Peer;
use crate::sip::Transport;

/// Who calls whom.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Asked {
    /// User parts, or whole URIs.
    pub caller: String,
    pub called: String,
    /// Who has diverted the call, where somebody has.
    pub diverted_by: Option<String>,
}

/// `ours`: the host by which the border is called. Says what was assumed.
pub fn invite(asked: &Asked, peer: Option<&Peer>, flow: &Flow, ours: &str, assumed: &mut Vec<String>) -> String {
    let theirs = bracketed(flow.remote);
    let scheme = if flow.transport == Transport::Tls { "sips" } else { "sip" };
    let uri = |user: &str, host: &str| if user.contains(':') { String::from(user) } else { format!("sip:{user}@{host}") };
    let (called, caller) = (uri(&asked.called, ours), uri(&asked.caller, &theirs));
    let diversion = asked.diverted_by.as_ref().map(|by| format!("Diversion: <{}>;reason=no-answer\r\n", uri(by, &theirs))).unwrap_or_default();
    let body = offer(peer, flow, assumed);
    let kind = if body.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
    format!(
        "INVITE {called} SIP/2.0\r\nVia: SIP/2.0/{via} {theirs};branch=z9hG4bKasked\r\nMax-Forwards: 70\r\nFrom: <{caller}>;tag=asked\r\nTo: <{called}>\r\n\
         Call-ID: asked\r\nCSeq: 1 INVITE\r\nContact: <{scheme}:{theirs}>\r\n{diversion}{kind}Content-Length: {length}\r\n\r\n{body}",
        via = flow.transport.via_token(),
        length = body.len(),
    )
}

/// What its mode has it offer; nothing where that takes more than words can say.
fn offer(peer: Option<&Peer>, flow: &Flow, assumed: &mut Vec<String>) -> String {
    let Some(peer) = peer else {
        assumed.push(String::from("the offer comes later, since nobody known lives there"));
        return String::new();
    };
    let plan = leg_plan(peer.mode, peer);
    if plan.is_dtls() {
        assumed.push(String::from("the offer comes later, since media is keyed by DTLS"));
        return String::new();
    }
    let (profile, keys) = match plan.suites().first() {
        Some(suite) if plan.is_srtp() => {
            let key = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, vec![0; suite.key_length() + suite.salt_length()]);
            ("RTP/SAVP", format!("a=crypto:1 {} inline:{key}\r\n", suite.name()))
        }
        _ => ("RTP/AVP", String::new()),
    };
    assumed.push(format!("sound is offered as {profile}, as the peer's mode has it"));
    let (family, address) = (if flow.remote.is_ipv4() { "IP4" } else { "IP6" }, flow.remote.ip());
    format!(
        "v=0\r\no=- 1 1 IN {family} {address}\r\ns=-\r\nc=IN {family} {address}\r\nt=0 0\r\nm=audio 49152 {profile} 8 0 101\r\n{keys}a=rtpmap:101 telephone-event/8000\r\n"
    )
}

fn bracketed(address: SocketAddr) -> String {
    address.to_string()
}
