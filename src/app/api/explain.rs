//! What the running border would do with a message, and by which rules: by the set, the peer table and the signs of life it goes by now. Nothing is sent.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::http::StatusCode;
use bytes::Bytes;
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Answered, Behind, Desk, limits};
use crate::adapters::api::Problem;
use crate::app::explain::compose::{Asked, invite};
use crate::app::explain::deciding::{Ground, decide};
use crate::app::explain::told::{self, Explained};
use crate::config::Settings;
use crate::policy::flow::{Flow, FlowId, ListenerId, TlsIdentity};
use crate::policy::peer::PeerTable;
use crate::sip::{Limits, Message, Transport};

pub(super) fn routes() -> OpenApiRouter<Arc<Desk>> {
    OpenApiRouter::new().routes(routes!(explain))
}

/// Ports are of no consequence to any decision.
const ANY_PORT: u16 = 49_152;
const LONGEST_WORD: usize = 512;

/// Either a message as it came, or who calls whom: `caller` and `called`. From where: `from`, or `peer`.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ExplainQuestion)]
struct Question {
    /// One SIP message. Line ends may be LF alone.
    message: Option<String>,
    /// An address, with or without a port.
    #[schema(example = "192.0.2.10")]
    from: Option<String>,
    /// A peer: as if it came from its first address, with its certificate.
    peer: Option<String>,
    /// `udp`, `tcp` or `tls`; otherwise that of the peer, of the peers at the address, or of the message's Via.
    transport: Option<String>,
    /// Names in the other end's certificate; it is taken to chain to the CA of whoever lives there.
    tls_names: Option<Vec<String>>,
    /// A number, a user part or a URI.
    #[schema(example = "+4930100")]
    caller: Option<String>,
    #[schema(example = "5000")]
    called: Option<String>,
    /// Who has diverted the call.
    diverted_by: Option<String>,
}

/// What would become of a message or a call that came now: every decision with its rule and the values compared, and what would be sent on.
#[utoipa::path(post, path = "/v1/explain", tag = "policy", request_body = Question, responses((status = 200, body = Explained)))]
async fn explain(State(desk): Behind, body: Result<Json<Question>, JsonRejection>) -> Answered<Explained> {
    let Json(question) = body.map_err(|rejection| wrong(rejection.body_text()))?;
    let settings = desk.policy_sets.settings();
    let table = desk.resolver.tables().borrow().clone();
    let mut assumed = Vec::new();
    let flow = flow(&question, &settings, &table, &mut assumed)?;
    let bytes = message(&question, &settings, &table, &flow, &mut assumed)?;
    let board = desk.watched.board();
    let ground = Ground { settings: &settings, table: &table, liveness: &board };
    let explanation = decide(&ground, &flow, bytes.as_ref());
    let explained = told::of(&settings, &table, &flow, &assumed, &explanation);
    Ok(Json(explained.with_load(|target| limits::towards(&desk.calls, target))))
}

fn flow(question: &Question, settings: &Settings, table: &PeerTable, assumed: &mut Vec<String>) -> Result<Flow, Problem> {
    let peer =
        question.peer.as_ref().map(|name| table.peer(name).ok_or_else(|| wrong(format!("peer \"{name}\": the policy set has no such peer")))).transpose()?;
    let remote = match (&question.from, peer) {
        (Some(from), _) => source(from)?,
        (None, Some(peer)) => {
            let address = table.addresses(&peer.name).first().copied();
            let address =
                address.ok_or_else(|| wrong(format!("peer \"{}\" has no address now: its names do not resolve, or it is a network; write from", peer.name)))?;
            assumed.push(format!("it came from {address}, where peer \"{}\" lives", peer.name));
            SocketAddr::new(address, ANY_PORT)
        }
        (None, None) => return Err(wrong(String::from("say where it came from: from, an address, or peer, the name of one"))),
    };
    let written =
        question.transport.as_ref().map(|token| Transport::from_token(token).ok_or_else(|| wrong(format!("transport \"{token}\": write udp, tcp or tls"))));
    let transport = match (written.transpose()?, peer) {
        (Some(transport), _) => transport,
        (None, Some(peer)) => peer.transport,
        (None, None) => guessed(question, table, remote, assumed),
    };
    let names: Vec<String> = match (&question.tls_names, peer) {
        (Some(names), _) => names.iter().map(|name| name.to_ascii_lowercase()).collect(),
        (None, Some(peer)) => peer.tls_names.iter().map(ToString::to_string).collect(),
        (None, None) => Vec::new(),
    };
    let tls = (transport == Transport::Tls).then(|| {
        let trusted_for =
            if names.is_empty() { Vec::new() } else { table.expected(remote.ip(), Transport::Tls).iter().map(|peer| Arc::clone(&peer.name)).collect() };
        if !names.is_empty() {
            assumed.push(format!("its certificate names {}, chains to the CA of whoever lives there, and is in date", names.join(", ")));
        }
        Arc::new(TlsIdentity { names, trusted_for, ..TlsIdentity::default() })
    });
    let listener = settings.signaling.listeners.iter().find(|listener| listener.transport == transport);
    let local = listener.map_or(SocketAddr::from(([0, 0, 0, 0], transport.default_port())), |listener| listener.bound);
    Ok(Flow { id: FlowId(0), transport, listener: listener.map_or(ListenerId(0), |listener| listener.id), local, remote, tls })
}

fn guessed(question: &Question, table: &PeerTable, remote: SocketAddr, assumed: &mut Vec<String>) -> Transport {
    let parsed = question.message.as_ref().and_then(|text| Message::parse(with_line_ends(text), &Limits::default()).ok());
    let of_via = || parsed.as_ref().and_then(|message| Transport::from_token(message.top_via().ok()?.transport));
    let (transport, why) = match (table.at(remote.ip()).first(), of_via()) {
        (Some(peer), _) => (peer.transport, "that of the peer at the address"),
        (None, Some(transport)) => (transport, "that of the message's Via"),
        (None, None) => (Transport::Udp, "since nothing says another"),
    };
    assumed.push(format!("the transport is {transport}, {why}"));
    transport
}

fn message(question: &Question, settings: &Settings, table: &PeerTable, flow: &Flow, assumed: &mut Vec<String>) -> Result<Option<Bytes>, Problem> {
    match (&question.message, &question.called) {
        (Some(_), Some(_)) => Err(wrong(String::from("give a message, or caller and called, not both"))),
        (Some(message), None) => Ok(Some(with_line_ends(message))),
        (None, None) => Ok(None),
        (None, Some(called)) => {
            let asked = Asked {
                caller: word("caller", question.caller.as_deref().unwrap_or("anonymous"))?,
                called: word("called", called)?,
                diverted_by: question.diverted_by.as_deref().map(|by| word("diverted_by", by)).transpose()?,
            };
            let peer = question.peer.as_ref().and_then(|name| table.peer(name)).or_else(|| table.at(flow.remote.ip()).first().copied());
            let listener = settings.signaling.listeners.iter().find(|listener| listener.id == flow.listener);
            let ours = listener.map_or("portcullis.invalid", |listener| listener.host());
            Ok(Some(Bytes::from(invite(&asked, peer.map(|peer| &**peer), flow, ours, assumed))))
        }
    }
}

/// Of a form: what cannot break out of its place in a message.
fn word(key: &str, text: &str) -> Result<String, Problem> {
    let text = text.trim();
    if text.is_empty()
        || text.len() > LONGEST_WORD
        || text.chars().any(|letter| letter.is_control() || letter.is_whitespace() || matches!(letter, '<' | '>' | '"' | ','))
    {
        return Err(wrong(format!("{key}: write a number, a user part or a URI of at most {LONGEST_WORD} characters, without spaces")));
    }
    Ok(String::from(text))
}

fn source(from: &str) -> Result<SocketAddr, Problem> {
    let bare = from.trim();
    let unbracketed = bare.strip_prefix('[').and_then(|bare| bare.strip_suffix(']')).unwrap_or(bare);
    let parsed = bare.parse().ok().or_else(|| unbracketed.parse().ok().map(|address| SocketAddr::new(address, ANY_PORT)));
    parsed.ok_or_else(|| wrong(format!("from \"{from}\": write an address, or an address and port")))
}

/// A form's text has LF alone, or none of both at its end.
fn with_line_ends(text: &str) -> Bytes {
    let (head, body) = match text.find("\r\n\r\n") {
        Some(_) => return Bytes::copy_from_slice(text.as_bytes()),
        None => text.split_once("\n\n").unwrap_or((text, "")),
    };
    let lines = |text: &str| text.trim_end_matches('\n').lines().map(|line| format!("{line}\r\n")).collect::<String>();
    Bytes::from(format!("{}\r\n{}", lines(head), lines(body)))
}

fn wrong(detail: String) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_pasted_with_other_line_ends_is_the_same_message() {
        let pasted = "OPTIONS sip:x SIP/2.0\nVia: SIP/2.0/UDP h\n\nv=0\ns=-\n";
        assert_eq!(&with_line_ends(pasted)[..], b"OPTIONS sip:x SIP/2.0\r\nVia: SIP/2.0/UDP h\r\n\r\nv=0\r\ns=-\r\n");
        assert_eq!(&with_line_ends("OPTIONS sip:x SIP/2.0\nVia: x")[..], b"OPTIONS sip:x SIP/2.0\r\nVia: x\r\n\r\n");
        let whole = "A\r\nB\r\n\r\nbody\n\nbody";
        assert_eq!(&with_line_ends(whole)[..], whole.as_bytes());
    }

    #[test]
    fn a_form_cannot_write_a_header_of_its_own() {
        for text in ["5000\r\nX: y", "", "a b", "<sip:x>", "a,b", &"x".repeat(600)] {
            assert!(word("called", text).is_err(), "{text:?}");
        }
        assert_eq!(word("called", " sip:5000@x;user=phone ").unwrap(), "sip:5000@x;user=phone");
    }
}
