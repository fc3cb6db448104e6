//! Diversion, CC-Diversion and History-Info: whom to believe, which to keep, and the one form in which they go to UM (RFC 5806, RFC 7044).
//!
//! By these UM chooses the mailbox, so they are believed only from peers flagged for it and sent only to UM. Reading is tolerant, writing canonical:
//! an unbalanced quote in a display name costs the display name, a value without a readable URI is dropped, never the call (Exchange 2010 and later
//! refuse the whole INVITE for one bad value, event 1021). The same diversion twice is written once. Order is kept: topmost is most recent.

use crate::policy::topology_hiding::{self, Carried, Crossing};
use crate::policy::verdict::Decision;
use crate::sip::{HeaderName, Message, NameAddr, Params, Uri, split_list};

/// Values of one header that are looked at.
const MAX_VALUES: usize = 20;

/// In the order in which UM's own stack looks for them.
const HEADERS: [HeaderName; 3] = [HeaderName::Diversion, HeaderName::CcDiversion, HeaderName::HistoryInfo];

/// Parameters that cross (RFC 5806 §4).
const PARAMETERS: [&str; 5] = ["reason", "privacy", "screen", "counter", "limit"];

/// Adds what crosses of a request's diversions.
pub fn carry(crossing: &Crossing<'_>, message: &Message, carried: &mut Carried) {
    let present = message.is_request() && message.fields().any(|field| HEADERS.contains(&field.name));
    if !present {
        return;
    }
    let is_told = crossing.to.kind.is_um() || crossing.to.diversion_sent;
    let rule = match (crossing.from.diversion_trusted, is_told) {
        (true, true) => "believed from this peer",
        (false, _) => "not believed from this peer",
        (true, false) => "sent to UM, and where the peer has send_diversion",
    };
    if !(crossing.from.diversion_trusted && is_told) {
        carried.trail.push(Decision::passed("diversion", rule).comparing("kept", "0"));
        return;
    }
    let mut kept: Vec<(HeaderName, String, String)> = Vec::new();
    let (mut broken, mut repeated) = (0u32, 0u32);
    for name in HEADERS {
        let lines = message.fields().filter(|field| field.name == name);
        for value in lines.flat_map(|field| values(field.value)).take(MAX_VALUES) {
            match canonical(crossing, name, value, kept.iter().filter(|(of, _, _)| *of == name).count()) {
                None => broken += 1,
                Some((key, _)) if kept.iter().any(|(of, known, _)| *of == name && *known == key) => repeated += 1,
                Some((key, value)) => kept.push((name, key, value)),
            }
        }
    }
    carried.trail.push(
        Decision::passed("diversion", rule)
            .comparing("kept", kept.len().to_string())
            .comparing("unreadable", broken.to_string())
            .comparing("repeated", repeated.to_string()),
    );
    carried.headers.extend(kept.into_iter().map(|(name, _, value)| (name, value)));
}

/// The values of one line. Where quotes do not balance they are taken for letters, lest one swallow the next value.
fn values(line: &[u8]) -> Vec<&[u8]> {
    let quotes = line.iter().enumerate().filter(|(at, byte)| **byte == b'"' && (*at == 0 || line[at - 1] != b'\\')).count();
    if quotes.is_multiple_of(2) {
        return split_list(line).collect();
    }
    let mut inside = false;
    line.split(|byte| {
        match byte {
            b'<' => inside = true,
            b'>' => inside = false,
            _ => {}
        }
        *byte == b',' && !inside
    })
    .collect()
}

/// What makes two values the same, and the value as written to UM. `position`: how many of this header came before it.
fn canonical(crossing: &Crossing<'_>, name: HeaderName, value: &[u8], position: usize) -> Option<(String, String)> {
    let (display, uri, params) = match NameAddr::parse(value) {
        Ok(address) => (topology_hiding::display(&address), address.uri, address.params),
        Err(_) => rescue(value)?,
    };
    let uri = Uri::parse(uri).ok()?;
    let address = topology_hiding::uri(crossing, &uri)?;
    if name == HeaderName::HistoryInfo {
        let index = params.get("index").filter(|index| !index.is_empty() && index.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.'));
        let index = index.map(String::from).unwrap_or_else(|| vec!["1"; position + 1].join("."));
        let reason = uri.headers.and_then(cause).map(|(protocol, cause)| format!("?Reason={protocol}%3Bcause%3D{cause}")).unwrap_or_default();
        let key = format!("{address};{index}");
        return Some((key, format!("{display}<{address}{reason}>;index={index}")));
    }
    let mut line = format!("{display}<{address}>");
    for parameter in PARAMETERS {
        if let Some(value) = params.get(parameter).map(str::trim).filter(|value| is_token(value)) {
            line.push_str(&format!(";{parameter}={}", value.to_ascii_lowercase()));
        }
    }
    let reason = params.get("reason").unwrap_or_default().to_ascii_lowercase();
    Some((format!("{address};{reason}"), line))
}

/// The URI between the first `<` and its `>`, and the parameters after it; whatever stands before is given up.
fn rescue(value: &[u8]) -> Option<(String, &str, Params<'_>)> {
    let text = std::str::from_utf8(value).ok()?;
    let (_, rest) = text.split_once('<')?;
    let (uri, rest) = rest.split_once('>')?;
    let params = rest.split_once(';').map_or("", |(_, params)| params);
    Some((String::new(), uri.trim(), Params::new(params)))
}

fn is_token(value: &str) -> bool {
    !value.is_empty() && value.len() <= 32 && value.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_'))
}

/// Protocol and cause of an escaped Reason among a URI's headers (RFC 7044 §5.1).
fn cause(headers: &str) -> Option<(&'static str, u16)> {
    let reason = headers.split('&').find_map(|header| header.split_once('=').filter(|(name, _)| name.eq_ignore_ascii_case("reason")))?.1;
    let plain = reason.replace("%3B", ";").replace("%3b", ";").replace("%3D", "=").replace("%3d", "=").replace("%20", " ");
    let protocol = if plain.trim_start().to_ascii_uppercase().starts_with("Q.850") { "Q.850" } else { "SIP" };
    let (_, cause) = plain.split_once("cause=")?;
    let digits: String = cause.chars().take_while(char::is_ascii_digit).take(3).collect();
    Some((protocol, digits.parse().ok()?))
}
