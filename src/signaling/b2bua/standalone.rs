//! Everything outside a call: OPTIONS answered (RFC 3261 §11), requests refused, messages that are not SIP; and what we say of ourselves.

use std::sync::Arc;

use bytes::Bytes;

use crate::policy::access_control;
use crate::policy::flow::Flow;
use crate::policy::message_waiting::{CONTENT_TYPE, PACKAGE};
use crate::policy::settings::{Peer, Refer};
use crate::policy::verdict::Reason;
use crate::signaling::b2bua::call::ServerRequest;
use crate::signaling::b2bua::message_waiting;
use crate::signaling::border::Border;
use crate::signaling::event::Route;
use crate::signaling::fact::What;
use crate::signaling::transport;
use crate::sip::{Builder, HeaderName, Limits, Message, Method, ParseError};
use crate::time::Time;

/// Methods we take.
pub const ALLOW: &str = "INVITE, ACK, CANCEL, BYE, OPTIONS, PRACK, UPDATE, INFO";

/// … and those of a peer who may transfer calls.
const ALLOW_REFER: &str = "INVITE, ACK, CANCEL, BYE, OPTIONS, PRACK, UPDATE, INFO, REFER";

/// … and of one who is handed transfers.
const ALLOW_NOTIFY: &str = "INVITE, ACK, CANCEL, BYE, OPTIONS, PRACK, UPDATE, INFO, REFER, NOTIFY";

/// Methods we take of this peer.
pub fn allow(peer: &Peer) -> &'static str {
    match peer.refer {
        Refer::Refuse => ALLOW,
        Refer::Execute => ALLOW_REFER,
        Refer::Relay => ALLOW_NOTIFY,
    }
}

/// Extensions a peer may require of us.
const EXTENSIONS: [&str; 3] = ["100rel", "timer", "norefersub"];

/// Option tags in Require that we do not know, comma separated (RFC 3261 §8.2.2.3).
pub fn unsupported(message: &Message) -> String {
    let tags = message.values(HeaderName::Require).map(|tag| String::from_utf8_lossy(tag).trim().to_owned());
    let unknown: Vec<String> = tags.filter(|tag| !tag.is_empty() && !EXTENSIONS.iter().any(|known| known.eq_ignore_ascii_case(tag))).take(16).collect();
    unknown.join(", ")
}

/// What a 200 to OPTIONS says (§11.2).
pub fn capabilities(reply: &mut Builder) {
    reply.header("Allow", ALLOW).header("Accept", "application/sdp").header("Supported", "100rel, timer");
}

/// A request that no transaction can be made of, or that has gone too far; `detail` is for the operator.
pub fn unusable(message: &Message) -> Option<(Reason, &'static str)> {
    let method = message.method()?;
    let broken = |detail| Some((Reason::Malformed, detail));
    match message.cseq() {
        Ok(cseq) if cseq.method == *method => {}
        Ok(_) => return broken("the CSeq method is not the request's"),
        Err(_) => return broken("CSeq is missing or unreadable"),
    }
    match (message.from(), message.to()) {
        (Err(_), _) => return broken("From is missing or unreadable"),
        (_, Err(_)) => return broken("To is missing or unreadable"),
        (Ok(from), Ok(_)) if from.tag().is_none_or(str::is_empty) => return broken("From has no tag"),
        _ => {}
    }
    if message.call_id().map_or(true, str::is_empty) {
        return broken("Call-ID is missing, empty or unreadable");
    }
    if message.top_via().is_err() {
        return broken("the top Via is missing or unreadable");
    }
    if message.contact().is_err() {
        return broken("Contact is unreadable");
    }
    if *method == Method::Invite && message.contact().is_ok_and(|contact| contact.is_none()) {
        return broken("an INVITE needs a Contact");
    }
    match message.max_forwards() {
        Err(_) => broken("Max-Forwards is unreadable"),
        Ok(Some(0)) if *method != Method::Ack => Some((Reason::TooManyHops, "Max-Forwards is 0")),
        Ok(_) => None,
    }
}

/// Refuses without a transaction what cannot have one (the response is not repeated, its retransmission asks anew).
pub fn refuse_unusable(border: &mut Border, now: Time, flow: &Arc<Flow>, peer: &Arc<Peer>, message: &Message, reason: Reason, detail: &'static str) {
    received(border, now, flow, message.bytes().clone());
    border.fact(now, None, What::Malformed { flow: flow.clone(), peer: peer.name.clone(), reason, detail });
    if message.method() == Some(&Method::Ack) {
        return;
    }
    let (Some(status), Ok(via)) = (reason.status(), message.top_via()) else { return };
    let route = transport::reply_route(flow, &via, peer);
    stateless(border, message, flow, route, status);
}

/// As much of a refused message as is looked at: what was too long for us must still be answered 513.
const SALVAGED: Limits = Limits { header_bytes: Limits::HEADER_BYTES_MOST, body_bytes: 64 * 1024, fields: 1024 };

/// What could not be parsed: a bare refusal if the source can be told where to send it, a count in any case.
pub fn malformed(border: &mut Border, now: Time, flow: &Arc<Flow>, peer: &Arc<Peer>, bytes: Bytes, error: &ParseError) {
    let reason = match error.status() {
        413 => Reason::BodyTooLarge,
        505 => Reason::UnsupportedVersion,
        513 => Reason::HeaderTooLarge,
        _ => Reason::Malformed,
    };
    received(border, now, flow, bytes.clone());
    border.fact(now, None, What::Malformed { flow: flow.clone(), peer: peer.name.clone(), reason, detail: error.label() });
    let Some(message) = Message::salvage(bytes, &SALVAGED) else { return };
    let repeatable = message.from().is_ok() && message.to().is_ok() && message.call_id().is_ok() && message.cseq().is_ok();
    if !repeatable || !message.is_request() || message.method() == Some(&Method::Ack) {
        return;
    }
    let (Some(status), Ok(via)) = (reason.status(), message.top_via()) else { return };
    let route = transport::reply_route(flow, &via, peer);
    stateless(border, &message, flow, route, status);
}

/// The message as it came, for whoever looks into it; of no call, and of no transaction.
fn received(border: &mut Border, now: Time, flow: &Arc<Flow>, bytes: Bytes) {
    border.fact(now, None, What::Received { leg: None, flow: flow.clone(), bytes, retransmission: false });
}

fn stateless(border: &mut Border, message: &Message, flow: &Flow, route: Route, status: u16) {
    let tag = border.mint.tag();
    let mut reply = transport::response(message, flow, status, Some(&tag));
    reply.header("Server", border.settings.product.as_bytes());
    border.transactions.send_stateless(route, reply.finish());
}

/// 503 without a transaction: there are too many.
pub fn overloaded(border: &mut Border, now: Time, flow: &Arc<Flow>, peer: &Arc<Peer>, message: &Message) {
    let method = message.method().map(|method| method.as_str().to_owned()).unwrap_or_default();
    border.fact(now, None, What::Standalone { method, peer: peer.name.clone(), status: 503, reason: Reason::Overload });
    if message.method() == Some(&Method::Ack) {
        return;
    }
    if let Ok(via) = message.top_via() {
        let route = transport::reply_route(flow, &via, peer);
        let tag = border.mint.tag();
        let mut reply = transport::response(message, flow, 503, Some(&tag));
        reply.header_fmt("Retry-After", format_args!("{}", border.settings.retry_after));
        border.transactions.send_stateless(route, reply.finish());
    }
}

/// Refuses a request that opened a transaction; the status sent is returned.
pub fn refusal(border: &mut Border, now: Time, request: &ServerRequest, reason: Reason, tag: &str) -> u16 {
    let status = reason.status().unwrap_or(403);
    let retry_after = border.settings.retry_after;
    let min_se = border.settings.session_timer.min_se;
    border.reply(now, (&request.key, &request.message, &request.flow), status, Some(tag), |reply| {
        match reason {
            Reason::ExtensionRequired => reply.header("Unsupported", unsupported(&request.message)),
            Reason::MethodNotAllowed => reply.header("Allow", ALLOW),
            Reason::MediaType => reply.header("Accept", "application/sdp"),
            Reason::MwiContentType => reply.header("Accept", CONTENT_TYPE),
            Reason::MwiEvent => reply.header("Allow-Events", PACKAGE),
            Reason::IntervalTooSmall => reply.header_fmt("Min-SE", format_args!("{min_se}")),
            _ if status == 503 => reply.header_fmt("Retry-After", format_args!("{retry_after}")),
            _ => reply,
        };
    });
    status
}

/// Refuses a request outside any call and says so.
pub fn refuse(border: &mut Border, now: Time, request: &ServerRequest, peer: &Arc<Peer>, reason: Reason) {
    let tag = border.mint.tag();
    let status = refusal(border, now, request, reason, &tag);
    told(border, now, request, peer, status, reason);
}

/// A request outside any call: OPTIONS is answered, a notice of waiting messages delivered, the rest is not ours.
pub fn answer(border: &mut Border, now: Time, request: &ServerRequest, peer: &Arc<Peer>) {
    if let Some(reason) = request.message.method().and_then(|method| access_control::method(peer, method, false).refused) {
        return refuse(border, now, request, peer, reason);
    }
    match request.message.method() {
        Some(Method::Options | Method::Notify) => {}
        // About a dialog, but of none (RFC 3261 §15.1.2, RFC 3262 §3, RFC 3311 §5.2).
        Some(Method::Bye | Method::Prack | Method::Update | Method::Info) => return refuse(border, now, request, peer, Reason::NoSuchDialog),
        _ => return refuse(border, now, request, peer, Reason::MethodNotAllowed),
    }
    if !unsupported(&request.message).is_empty() {
        return refuse(border, now, request, peer, Reason::ExtensionRequired);
    }
    if border.draining {
        // Peers that probe us move their calls elsewhere.
        return refuse(border, now, request, peer, Reason::Draining);
    }
    if request.message.method() == Some(&Method::Notify) {
        let request = ServerRequest { key: request.key, message: request.message.clone(), flow: request.flow.clone() };
        return message_waiting::requested(border, now, request, peer);
    }
    let tag = border.mint.tag();
    border.reply(now, (&request.key, &request.message, &request.flow), 200, Some(&tag), capabilities);
    told(border, now, request, peer, 200, Reason::Answered);
}

fn told(border: &mut Border, now: Time, request: &ServerRequest, peer: &Peer, status: u16, reason: Reason) {
    let method = request.message.method().map(|method| method.as_str().to_owned()).unwrap_or_default();
    border.fact(now, None, What::Standalone { method, peer: peer.name.clone(), status, reason });
}
