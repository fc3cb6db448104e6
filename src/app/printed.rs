//! `portcullis explain` of what was printed: a reason code, one of Exchange's event numbers, or a whole line of the log, for people or as JSON.

use std::io::{self, Write};
use std::net::SocketAddr;

use serde_json::{Map, Value, json};

use crate::config::nearest;
use crate::policy::verdict::{Fault, Reason};
use crate::sip::{Transport, phrase};

/// What was recognised in a text.
#[derive(Debug, PartialEq)]
pub struct Printed {
    pub reasons: Vec<Reason>,
    /// Names and values, as the line has them.
    fields: Vec<(String, String)>,
}

/// `None`: no reason's code and no event number is in it.
pub fn recognise(text: &str) -> Option<Printed> {
    let fields = fields(text);
    let mut reasons: Vec<Reason> = Vec::new();
    let mut note = |reason: Reason| {
        if !reasons.contains(&reason) {
            reasons.push(reason);
        }
    };
    text.split(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '_'))).filter_map(|word| Reason::of_code(word.trim_matches('.'))).for_each(&mut note);
    let event = fields.iter().find(|(name, _)| name == "event").map_or(text.trim(), |(_, value)| value);
    if let Ok(event) = event.parse::<u16>() {
        Reason::ALL.iter().copied().filter(|reason| reason.exchange_events().contains(&event)).for_each(&mut note);
    }
    (!reasons.is_empty()).then_some(Printed { reasons, fields })
}

/// What was meant for a code, an event or a line, and is none: what comes near it.
pub fn unknown(text: &str, as_json: bool, out: &mut dyn Write) -> io::Result<()> {
    let codes: Vec<&str> = Reason::ALL.iter().map(|reason| reason.code()).collect();
    let near = nearest(text, &codes);
    if as_json {
        return writeln!(out, "{:#}", json!({ "reasons": [], "near": near, "fields": {} }));
    }
    let near = near.map(|code| format!("; the nearest is {code}")).unwrap_or_default();
    writeln!(
        out,
        "{text}: no reason, no event of Exchange and no line of the log that names one, and no folder of a policy set{near}; `portcullis show reasons WORD` lists those with a word"
    )
}

impl Printed {
    /// Where the line says that something came from, and how.
    pub fn source(&self) -> Option<(SocketAddr, Option<Transport>)> {
        let field = |wanted: &str| self.fields.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.as_str());
        // What was compared is pairs as well, of which these two have values without spaces.
        let compared = |wanted: &str| field(LAST)?.split(' ').find_map(|word| word.strip_prefix(wanted)?.strip_prefix('='));
        let from = field("from").or(field("source")).or(compared("source"))?.parse().ok()?;
        Some((from, field("transport").or(compared("transport")).and_then(Transport::from_token)))
    }

    pub fn print(&self, as_json: bool, out: &mut dyn Write) -> io::Result<()> {
        if as_json {
            let reasons: Vec<Value> = self.reasons.iter().map(|reason| describe(*reason)).collect();
            let fields: Map<String, Value> = self.fields.iter().map(|(name, value)| (name.clone(), Value::from(value.as_str()))).collect();
            return writeln!(out, "{:#}", json!({ "reasons": reasons, "fields": fields }));
        }
        for reason in &self.reasons {
            writeln!(out, "reason           {reason}")?;
            writeln!(out, "meaning          {}", reason.meaning())?;
            writeln!(out, "look at          {}", whose(reason.fault()))?;
            writeln!(out, "what to do       {}", reason.remedy())?;
            let answer = reason.status().map_or_else(|| String::from("nothing: silence"), |status| format!("{status} {}", phrase(status)));
            writeln!(out, "the peer is told {answer}")?;
            for event in reason.exchange_events() {
                writeln!(out, "Exchange event   {event}")?;
            }
        }
        for (name, value) in &self.fields {
            writeln!(out, "{name:<16} {value}")?;
        }
        Ok(())
    }
}

fn describe(reason: Reason) -> Value {
    json!({
        "reason": reason,
        "meaning": reason.meaning(),
        "remedy": reason.remedy(),
        "fault": reason.fault(),
        "status": reason.status(),
        "exchange_events": reason.exchange_events(),
    })
}

const fn whose(fault: Fault) -> &'static str {
    match fault {
        Fault::None => "nothing: all is well",
        Fault::Peer => "the other side: it did this",
        Fault::Policy => "the policy set: it says so",
        Fault::Resource => "what ran out or could not be reached",
        Fault::Us => "the border itself",
    }
}

/// The field that is always the last of its line, and has names and values of its own, with spaces in both.
const LAST: &str = "compared";

/// Of a line of the log: a JSON object's members, or `name=value` and `name="value with spaces"`. A value without quotes may have spaces too
/// (`compared=source=192.0.2.1:5060 transport=UDP`): it ends at the next word that has an equals sign.
fn fields(text: &str) -> Vec<(String, String)> {
    if let Ok(Value::Object(members)) = serde_json::from_str::<Value>(text.trim()) {
        let plain = |value: &Value| value.as_str().map_or_else(|| value.to_string(), String::from);
        return members.iter().filter(|(name, _)| !matches!(name.as_str(), "timestamp" | "level")).map(|(name, value)| (name.clone(), plain(value))).collect();
    }
    let mut fields: Vec<(String, String)> = Vec::new();
    let mut rest = text.trim();
    while let Some(word_end) = rest.find(char::is_whitespace).or((!rest.is_empty()).then_some(rest.len())) {
        let word = &rest[..word_end];
        let name_ends = word.find('=').filter(|end| word[..*end].bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') && *end > 0);
        let Some(name_ends) = name_ends else {
            // Part of the value before it, or of the sentence the line begins with.
            if let Some((_, value)) = fields.last_mut() {
                value.push(' ');
                value.push_str(word);
            }
            rest = rest[word_end..].trim_start();
            continue;
        };
        let (name, value) = (&rest[..name_ends], &rest[name_ends + 1..]);
        if name == LAST {
            fields.push((name.into(), value.trim_matches('"').into()));
            break;
        }
        let end = match value.strip_prefix('"') {
            Some(quoted) => quoted.find('"').map_or(value.len(), |end| end + 2),
            None => value.find(char::is_whitespace).unwrap_or(value.len()),
        };
        fields.push((name.into(), value[..end].trim_matches('"').into()));
        rest = value[end..].trim_start();
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_an_event_and_a_line_are_recognised() {
        assert_eq!(recognise("peer.ambiguous").unwrap().reasons, [Reason::PeerAmbiguous]);
        assert_eq!(recognise("1175").unwrap().reasons, [Reason::PeerAmbiguous]);
        let line = "2026-11-21T10:00:00Z  INFO stranger from=203.0.113.9:5071 transport=UDP reason=\"peer.stranger_address\" rule=address and transport \
                    name one peer compared=source=203.0.113.9:5071 transport=UDP peers at this address=none";
        let printed = recognise(line).unwrap();
        assert_eq!(printed.reasons, [Reason::StrangerAddress]);
        assert_eq!(printed.source(), Some(("203.0.113.9:5071".parse().unwrap(), Some(Transport::Udp))));
        assert!(printed.fields.contains(&("rule".into(), "address and transport name one peer".into())), "{:?}", printed.fields);
        let json = r#"{"timestamp":"2026","level":"WARN","message":"target given up","peer":"um1","target":"192.0.2.1:5061","reason":"failover.timeout"}"#;
        let printed = recognise(json).unwrap();
        assert_eq!(printed.reasons, [Reason::TargetTimeout]);
        assert!(printed.fields.contains(&("peer".into(), "um1".into())));
        let line = "2026-11-22T08:57:31Z  INFO refused call=6 stage=\"peer\" rule=\"address\" reason=peer.stranger_address compared=source=127.0.0.1:34474 transport=TCP peers at this address=none";
        let printed = recognise(line).unwrap();
        let compared = printed.fields.iter().find(|(name, _)| name == "compared").map(|(_, value)| value.as_str());
        assert_eq!(compared, Some("source=127.0.0.1:34474 transport=TCP peers at this address=none"));
        assert_eq!(printed.source(), Some(("127.0.0.1:34474".parse().unwrap(), Some(Transport::Tcp))));
    }

    #[test]
    fn what_names_no_reason_is_not_recognised() {
        for text in ["", "policies/quickstart", "hello", "9999", "peer.nonsense", "a=b c=d"] {
            assert_eq!(recognise(text), None, "{text}");
        }
    }

    #[test]
    fn a_code_that_is_mistyped_is_no_policy_set() {
        let told = |text: &str, as_json: bool| {
            let mut out = Vec::new();
            unknown(text, as_json, &mut out).unwrap();
            String::from_utf8(out).unwrap()
        };
        assert!(told("peer.ambigous", false).contains("the nearest is peer.ambiguous;"), "{}", told("peer.ambigous", false));
        assert!(told("hello this is no log line", false).contains("`portcullis show reasons WORD`"));
        assert_eq!(serde_json::from_str::<Value>(&told("peer.ambigous", true)).unwrap()["near"], "peer.ambiguous");
    }

    #[test]
    fn any_text_can_be_tried() {
        for text in ["=", "==", "a=\"", "a=\"b", "é=1 reason=call.normal", "{", "{}", "\u{0}"] {
            let _ = recognise(text);
        }
    }
}
