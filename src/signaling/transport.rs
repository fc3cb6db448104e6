//! The transport user's part of RFC 3261 §18: Via in both directions (received, rport: RFC 3581; alias: RFC 5923), where responses go
//! (§18.2.2), which listener speaks to whom.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;

use crate::policy::flow::Flow;
use crate::policy::settings::Peer;
use crate::signaling::event::{Connect, Route};
use crate::signaling::settings::{Listener, Settings};
use crate::sip::{Builder, HeaderName, Message, Transport, Via, phrase};

/// Where the response to a request goes. Over UDP with `rport` (or from an address other than sent-by) back to the source; over a stream back on
/// the connection, and if that is gone to the sent-by port at the source address.
pub fn reply_route(flow: &Flow, via: &Via<'_>, peer: &Peer) -> Route {
    let sent_by_port = via.port.unwrap_or(flow.transport.default_port());
    if flow.transport == Transport::Udp {
        let remote = if via.rport().is_some() { flow.remote } else { SocketAddr::new(flow.remote.ip(), sent_by_port) };
        return Route::Datagram { listener: flow.listener, remote };
    }
    Route::Flow { id: flow.id, otherwise: Some(connect_back(flow, sent_by_port, peer)) }
}

/// A new connection to the peer behind `flow`, for when that flow has gone.
pub fn connect_back(flow: &Flow, port: u16, peer: &Peer) -> Connect {
    Connect {
        transport: flow.transport,
        remote: SocketAddr::new(flow.remote.ip(), port),
        listener: flow.listener,
        peer: peer.name.clone(),
        names: peer.tls_names.clone(),
    }
}

/// Starts a response as §8.2.6.2 says: Via, From, To, Call-ID and CSeq of the request; `to_tag` is added where the To has none.
pub fn response(request: &Message, flow: &Flow, status: u16, to_tag: Option<&str>) -> Builder {
    let mut reply = Builder::response(status, phrase(status));
    for (index, value) in request.values(HeaderName::Via).enumerate() {
        if index == 0 {
            reply.header("Via", stamped(value, request, flow))
        } else {
            reply.header("Via", value)
        };
    }
    if let Some(from) = request.first(HeaderName::From) {
        reply.header("From", from);
    }
    if let Some(to) = request.first(HeaderName::To) {
        match to_tag {
            Some(tag) if request.to().is_ok_and(|to| to.tag().is_none()) => reply.header("To", [to, b";tag=", tag.as_bytes()].concat()),
            _ => reply.header("To", to),
        };
    }
    for (name, header) in [("Call-ID", HeaderName::CallId), ("CSeq", HeaderName::CSeq)] {
        if let Some(value) = request.first(header) {
            reply.header(name, value);
        }
    }
    reply
}

/// The top Via with `received` and `rport` filled in (§18.2.1, RFC 3581 §4). A value the peer put there itself is replaced.
fn stamped(value: &[u8], request: &Message, flow: &Flow) -> Vec<u8> {
    let Ok(via) = request.top_via() else { return value.to_vec() };
    let source = flow.remote.ip().to_string();
    let wants_rport = via.rport().is_some();
    let host = via.host.trim_start_matches('[').trim_end_matches(']');
    if host == source && !wants_rport && via.received().is_none() {
        return value.to_vec();
    }
    let text = String::from_utf8_lossy(value);
    let mut line = String::with_capacity(text.len() + 40);
    for (index, part) in segments(&text).enumerate() {
        let name = part.split('=').next().unwrap_or_default().trim();
        if index > 0 && (name.eq_ignore_ascii_case("rport") || name.eq_ignore_ascii_case("received")) {
            continue;
        }
        line.push_str(if index > 0 { ";" } else { "" });
        line.push_str(part.trim());
    }
    let _ = write!(line, ";received={source}");
    if wants_rport {
        let _ = write!(line, ";rport={}", flow.remote.port());
    }
    line.into_bytes()
}

/// The parts of a header value between semicolons outside quotes.
fn segments(text: &str) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped) = (false, false);
    text.split(move |character| {
        match character {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            ';' => return !quoted,
            _ => {}
        }
        false
    })
}

/// Our Via on a listener. `alias` offers the connection for requests the other way (RFC 5923 §8).
pub fn via(listener: &Listener, branch: &str) -> String {
    let extra = if listener.transport.is_reliable() { "alias" } else { "rport" };
    format!("SIP/2.0/{} {};branch={branch};{extra}", listener.transport.via_token(), listener.advertised)
}

/// Our Contact on a listener.
pub fn contact(listener: &Listener) -> String {
    match listener.transport {
        Transport::Udp => format!("<sip:{}>", listener.advertised),
        transport => format!("<sip:{};transport={}>", listener.advertised, transport.uri_token()),
    }
}

/// The listener through which we speak to `remote`: the one the peer names, else the first of the transport and address family.
pub fn listener_for<'a>(settings: &'a Settings, peer: &Peer, transport: Transport, remote: SocketAddr) -> Option<&'a Listener> {
    let fits = |listener: &&Listener| listener.transport == transport && listener.bound.is_ipv4() == remote.is_ipv4();
    let named = |listener: &&Listener| peer.listener.as_ref().is_some_and(|name| *name == listener.name);
    settings.listeners.iter().find(|listener| named(listener) && fits(listener)).or_else(|| settings.listeners.iter().find(fits))
}

/// The route for a new request to `remote`.
pub fn request_route(listener: &Listener, peer: &Peer, remote: SocketAddr, names: &[Arc<str>]) -> Route {
    match listener.transport {
        Transport::Udp => Route::Datagram { listener: listener.id, remote },
        transport => Route::Connect(Connect { transport, remote, listener: listener.id, peer: peer.name.clone(), names: names.to_vec() }),
    }
}

/// The Call-ID of a message of our own making, without parsing it.
pub fn call_id_of(bytes: &[u8]) -> Option<&str> {
    const NAME: &[u8] = b"\r\nCall-ID: ";
    let start = memchr::memmem::find(bytes, NAME)? + NAME.len();
    let length = memchr::memchr(b'\r', bytes.get(start..)?)?;
    std::str::from_utf8(bytes.get(start..start + length)?).ok()
}
