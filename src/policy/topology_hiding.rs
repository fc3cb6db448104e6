//! What crosses the border and under which name (RFC 5853 §3.1, topology hiding).
//!
//! Each leg's message is written anew; from the other leg come only the headers of this list, each in a canonical form. Everything not listed stays
//! behind: Via, Route, Record-Route, Contact, Call-ID, User-Agent, Server, Warning, Call-Info, P-Charging-Vector, ms-diagnostics and the rest of them.
//!
//! | header | towards UM | towards trunks, gateways, PBXs |
//! |---|---|---|
//! | From | the caller as the plan has it ([`crate::policy::caller`]) | display name and user, our host |
//! | Diversion, CC-Diversion, History-Info | one of them, canonical, from peers believed in this | no; the same where the peer has `send_diversion` |
//! | P-Asserted-Identity, Privacy | canonical, within the trust domain, what fits the plan | canonical, within the trust domain |
//! | Remote-Party-ID, P-Preferred-Identity | no | no |
//! | Reason (requests) | protocol and cause, no text | no |
//! | Event, Subscription-State (NOTIFY) | tokens | tokens |
//!
//! Hosts in what crosses become our own advertised name. One exception: towards UM on a SIP URI plan a caller's or diverting user's domain is part
//! of who they are, and stays unless it is an address or a name of the peer it came from.

use std::net::IpAddr;

use crate::policy::caller::{self, Caller};
use crate::policy::settings::{DialPlan, Peer, PeerHost, UriType, domain_of};
use crate::policy::verdict::Decision;
use crate::policy::{dial_plan, diversion, identity, numbering};
use crate::sip::{HeaderName, Message, Method, NameAddr, Params, Scheme, Transport, Uri};

/// Longest display name that crosses, in characters.
const DISPLAY_CHARACTERS: usize = 128;

/// From whom to whom, and what we are called over there.
#[derive(Clone, Copy, Debug)]
pub struct Crossing<'a> {
    /// Whose message it is.
    pub from: &'a Peer,
    /// Who will read it.
    pub to: &'a Peer,
    /// Our advertised host on the leg of `to`: a name or an address (IPv6 in brackets), without port.
    pub ours: &'a str,
    pub plan: Option<&'a DialPlan>,
    /// Who is called over there: the user part of the Request-URI, not escaped.
    pub called: &'a str,
}

/// Headers for the other leg, in order, and what was decided about them.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Carried {
    pub headers: Vec<(HeaderName, String)>,
    pub trail: Vec<Decision>,
}

/// What of `message`, a request or a response, crosses besides what the core writes itself (start line, Via, From, To, Call-ID, CSeq, Contact,
/// Max-Forwards, the session timer's and 100rel's headers, Allow, Supported, body).
pub fn carry(crossing: &Crossing<'_>, message: &Message) -> Carried {
    let mut carried = Carried::default();
    let from = message.from().ok().filter(|_| message.is_request()).and_then(|from| from.parsed_uri().ok());
    carried.trail.extend(from.and_then(|uri| renumbered(crossing, &uri)).map(|(decision, _)| decision));
    diversion::carry(crossing, message, &mut carried);
    identity::carry(crossing, message, &mut carried);
    if message.is_request() && crossing.to.kind.is_um() {
        carried.headers.extend(message.values(HeaderName::Reason).take(2).filter_map(reason).map(|value| (HeaderName::Reason, value)));
    }
    if message.method() == Some(&Method::Notify) {
        for name in [HeaderName::Event, HeaderName::SubscriptionState] {
            carried.headers.extend(message.text(name).and_then(token).map(|value| (name, value)));
        }
    }
    carried
}

/// RFC 3326: protocol and cause; the text may tell of hosts.
fn reason(value: &[u8]) -> Option<String> {
    let value = std::str::from_utf8(value).ok()?;
    let (protocol, params) = value.split_once(';').unwrap_or((value, ""));
    let cause: u16 = Params::new(params).get("cause")?.parse().ok()?;
    let protocol = token(protocol)?;
    Some(format!("{protocol};cause={cause}"))
}

/// The leading token (RFC 3261 §25.1) of a value.
fn token(value: &str) -> Option<String> {
    let value = value.trim();
    let end = value.find(|c: char| !(c.is_ascii_alphanumeric() || "-.!%*_+`'~".contains(c))).unwrap_or(value.len());
    value.get(..end).filter(|token| !token.is_empty()).map(String::from)
}

/// The From value of the other leg: the caller's display name and user, our host, our tag. `Anonymous` where Privacy asks for it and `to` is outside
/// the trust domain (RFC 3323 §4.1.1.3). A From that cannot be read becomes anonymous too. Towards UM it is the caller as
/// [`caller::judge`] has it.
pub fn from_value(crossing: &Crossing<'_>, message: &Message, tag: &str) -> String {
    if let Some(plan) = crossing.plan.filter(|_| crossing.to.kind.is_um()) {
        return match caller::judge(plan, crossing.from, message).1 {
            Caller::Known { address, user } => format!("{}<{}>;tag={tag}", display(&address), caller_uri(crossing, &address, &user)),
            Caller::Anonymous => format!("\"Anonymous\" <{ANONYMOUS}>;tag={tag}"),
        };
    }
    let from = message.from().ok().filter(|_| !identity::hides_caller(crossing, message));
    match from.as_ref().and_then(|from| Some((from, outward_uri(crossing, &from.parsed_uri().ok()?)?))) {
        Some((from, uri)) => format!("{}<{uri}>;tag={tag}", display(from)),
        None => format!("\"Anonymous\" <{ANONYMOUS}>;tag={tag}"),
    }
}

/// A domain says who a caller is, so it crosses only where the peer is believed in that.
pub fn caller_uri(crossing: &Crossing<'_>, address: &NameAddr<'_>, user: &str) -> String {
    let Ok(uri) = address.parsed_uri() else { return String::from(ANONYMOUS) };
    let host = domain(crossing, &uri).filter(|_| crossing.from.identity_trusted);
    self::address(&escaped(user), host.unwrap_or(crossing.ours), is_phone(&uri))
}

/// As [`uri`], with an extension or pilot of UM's in the form gateways know it by.
pub fn outward_uri(crossing: &Crossing<'_>, uri: &Uri<'_>) -> Option<String> {
    match renumbered(crossing, uri).filter(|_| uri.is_sip()) {
        Some((_, number)) => Some(address(&escaped(&number), crossing.ours, is_phone(uri))),
        None => self::uri(crossing, uri),
    }
}

/// An extension or pilot UM calls from, where a number rule makes another number of it.
pub fn renumbered(crossing: &Crossing<'_>, uri: &Uri<'_>) -> Option<(Decision, String)> {
    let plan = crossing.plan.filter(|_| crossing.from.kind.is_um() && !crossing.to.kind.is_um())?;
    numbering::outward_caller(plan, &uri.user_decoded())
}

fn is_phone(uri: &Uri<'_>) -> bool {
    uri.scheme == Scheme::Tel || uri.params.get("user").is_some_and(|user| user.eq_ignore_ascii_case("phone"))
}

/// A SIP URI of a user, as written into it, and a host.
pub fn address(user: &str, host: &str, is_phone: bool) -> String {
    let phone = if is_phone { ";user=phone" } else { "" };
    if user.is_empty() { format!("sip:{host}") } else { format!("sip:{user}@{host}{phone}") }
}

/// The To value of the other leg, before the other side has set its tag. `host`: what is dialled there.
pub fn to_value(called: &str, host: &str) -> String {
    let user = if called.is_empty() { String::new() } else { format!("{}@", escaped(called)) };
    format!("<sip:{user}{}>", reference(host))
}

/// A peer itself, without a user: for questions outside calls. `host` as for [`request_uri`].
pub fn peer_uri(host: &str, port: Option<u16>, transport: Transport) -> String {
    let port = port.map(|port| format!(":{port}")).unwrap_or_default();
    format!("sip:{}{port};transport={}", reference(host), transport.uri_token())
}

/// The Request-URI towards a target. `called` is not escaped; `host` is a name or an address, with or without brackets.
pub fn request_uri(called: &str, host: &str, port: Option<u16>, transport: Transport) -> String {
    let port = port.map(|port| format!(":{port}")).unwrap_or_default();
    format!("sip:{}@{}{port};transport={}", escaped(called), reference(host), transport.uri_token())
}

/// RFC 3323 §4.1.1.3.
pub const ANONYMOUS: &str = "sip:anonymous@anonymous.invalid";

/// A URI as it may be seen on the other side: its user, our host; no port, password, parameters or headers. `None` for schemes other than sip,
/// sips and tel.
pub fn uri(crossing: &Crossing<'_>, uri: &Uri<'_>) -> Option<String> {
    let user = dial_plan::subscriber(uri.user.unwrap_or_default());
    match uri.scheme {
        Scheme::Tel => Some(format!("sip:{user}@{};user=phone", crossing.ours)),
        Scheme::Sip | Scheme::Sips if uri.host.eq_ignore_ascii_case("anonymous.invalid") => Some(String::from(ANONYMOUS)),
        Scheme::Sip | Scheme::Sips => Some(address(user, domain(crossing, uri).unwrap_or(crossing.ours), is_phone(uri))),
        Scheme::Other(_) => None,
    }
}

/// The domain of a URI where it is part of who somebody is and may cross: towards UM on a SIP URI plan, unless it is an address or names the peer it
/// came from.
pub fn domain<'u>(crossing: &Crossing<'_>, uri: &Uri<'u>) -> Option<&'u str> {
    let sip_uri_plan = crossing.plan.is_some_and(|plan| plan.uri_type == UriType::SipUri);
    let is_peers = |host: &PeerHost| matches!(host, PeerHost::Name(name) if domain_of(name).unwrap_or(name).eq_ignore_ascii_case(uri.host));
    let names_peer = crossing.from.hosts.iter().any(is_peers) || crossing.from.tls_names.iter().any(|name| name.eq_ignore_ascii_case(uri.host));
    let keeps = sip_uri_plan && crossing.to.kind.is_um() && !uri.host.is_empty() && uri.host_addr().is_none() && !names_peer;
    keeps.then_some(uri.host)
}

/// The display name, quoted, with a space after it; nothing if there is none.
pub fn display(address: &NameAddr<'_>) -> String {
    let Some(display) = &address.display else { return String::new() };
    let mut quoted = String::with_capacity(display.len() + 3);
    for character in display.trim().chars().filter(|character| !character.is_control()).take(DISPLAY_CHARACTERS) {
        if matches!(character, '"' | '\\') {
            quoted.push('\\');
        }
        quoted.push(character);
    }
    if quoted.is_empty() { quoted } else { format!("\"{quoted}\" ") }
}

/// A user part with what may not stand there as `%hh` (RFC 3261 §25.1; `?`, `;` and `,` escaped as well, which readers stumble over).
pub fn escaped(user: &str) -> String {
    let mut text = String::with_capacity(user.len());
    for byte in user.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => text.push(char::from(byte)),
            b'-' | b'_' | b'.' | b'!' | b'~' | b'*' | b'\'' | b'(' | b')' | b'&' | b'=' | b'+' | b'$' | b'/' => text.push(char::from(byte)),
            _ => text.push_str(&format!("%{byte:02X}")),
        }
    }
    text
}

/// An IPv6 address gets its brackets; for a service's own name stands its domain, which is what a URI names (RFC 3263 §4.1).
fn reference(host: &str) -> String {
    match host.parse::<IpAddr>() {
        Ok(IpAddr::V6(address)) => format!("[{address}]"),
        _ => String::from(domain_of(host).unwrap_or(host)),
    }
}

/// The status a final answer of the far leg has on the near one, where the border itself has nothing to say. Those that tell how this leg is to be
/// authenticated, routed or repaired are about our own request: they become the general answer of their class (RFC 3261 §8.1.3.2).
pub const fn status_across(status: u16) -> u16 {
    match status {
        403 | 404 | 408 | 410 | 415 | 480 | 484 | 486 | 487 | 488 | 500 | 501 | 503 | 504 | 600 | 603 | 604 | 606 => status,
        400..=499 => 480,
        500..=599 => 500,
        600..=699 => 603,
        _ => 500,
    }
}
