//! The messages the layer writes by itself: the ACK to a non-2xx (RFC 3261 §17.1.1.3), CANCEL (§9.1), and the 100 to a non-INVITE the core is slow
//! to answer (RFC 4320 §4.1, RFC 3261 §8.2.6.1).

use bytes::Bytes;

use crate::policy::flow::Flow;
use crate::sip::{Builder, HeaderName, Limits, Message, Method, phrase};

/// Of the INVITE that `response` refuses; `None` if either lacks what it must have.
pub fn ack(invite: &Bytes, response: &Message) -> Option<Bytes> {
    let invite = parse(invite)?;
    let to = response.first(HeaderName::To)?;
    within(&invite, &Method::Ack, to)
}

/// Of the INVITE to be cancelled; with the branch both have.
pub fn cancel(invite: &Bytes) -> Option<(String, Bytes)> {
    let invite = parse(invite)?;
    let to = invite.first(HeaderName::To)?;
    let branch = invite.top_via().ok()?.branch()?.to_owned();
    Some((branch, within(&invite, &Method::Cancel, to)?))
}

/// Reads again what has been read or written here before, whatever its size.
fn parse(known: &Bytes) -> Option<Message> {
    let limits = Limits { header_bytes: Limits::HEADER_BYTES_MOST, body_bytes: usize::MAX, fields: Limits::HEADER_BYTES_MOST };
    Message::parse(known.clone(), &limits).ok()
}

/// A request of the INVITE's own transaction: its Request-URI, top Via, Route, From, Call-ID and CSeq number.
fn within(invite: &Message, method: &Method, to: &[u8]) -> Option<Bytes> {
    let mut builder = Builder::request(method, invite.request_uri()?);
    builder.header("Via", invite.first(HeaderName::Via)?);
    for route in invite.values(HeaderName::Route) {
        builder.header("Route", route);
    }
    builder.header("Max-Forwards", "70");
    builder.header("From", invite.first(HeaderName::From)?);
    builder.header("To", to);
    builder.header("Call-ID", invite.call_id().ok()?);
    builder.header_fmt("CSeq", format_args!("{} {}", invite.cseq().ok()?.number, method));
    Some(builder.finish())
}

/// 100 to `request`, which came by `flow`.
pub fn trying(request: &Bytes, flow: &Flow) -> Option<Bytes> {
    let request = parse(request)?;
    let mut builder = Builder::response(100, phrase(100));
    let mut vias = request.values(HeaderName::Via);
    builder.header("Via", received_via(&request, vias.next()?, flow));
    for via in vias {
        builder.header("Via", via);
    }
    builder.header("From", request.first(HeaderName::From)?);
    builder.header("To", request.first(HeaderName::To)?);
    builder.header("Call-ID", request.call_id().ok()?);
    builder.header("CSeq", request.first(HeaderName::CSeq)?);
    for timestamp in request.named("Timestamp") {
        builder.header("Timestamp", timestamp);
    }
    Some(builder.finish())
}

/// §18.2.1 and RFC 3581 §4: the source address, and the source port where rport asks for it. What the sender wrote there is not kept.
fn received_via(request: &Message, via: &[u8], flow: &Flow) -> Vec<u8> {
    let mut out = Vec::with_capacity(via.len() + 64);
    let mut asked = false;
    for (index, part) in via.split(|&byte| byte == b';').enumerate() {
        let name = part.split(|&byte| byte == b'=').next().unwrap_or_default().trim_ascii();
        asked |= index > 0 && name.eq_ignore_ascii_case(b"rport");
        if index > 0 && (name.eq_ignore_ascii_case(b"rport") || name.eq_ignore_ascii_case(b"received")) {
            continue;
        }
        if index > 0 {
            out.push(b';');
        }
        out.extend_from_slice(part);
    }
    let elsewhere = request.top_via().is_ok_and(|via| via.host_addr() != Some(flow.remote.ip()));
    if asked || elsewhere {
        out.extend_from_slice(format!(";received={}", flow.remote.ip()).as_bytes());
    }
    if asked {
        out.extend_from_slice(format!(";rport={}", flow.remote.port()).as_bytes());
    }
    out
}
