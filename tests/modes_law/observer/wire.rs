//! What the observer reads of a message, by its own few rules: start line, Call-ID, and of a description the m-lines, their profiles and keys.

use portcullis::sip::Transport;

pub struct Text<'a> {
    pub text: &'a str,
    /// `None`: a response.
    pub method: Option<&'a str>,
    pub status: u16,
    pub call_id: &'a str,
    pub body: &'a str,
}

impl<'a> Text<'a> {
    pub fn read(text: &'a str) -> Text<'a> {
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((text, ""));
        let first = head.split("\r\n").next().unwrap_or_default();
        let mut words = first.split(' ');
        let (one, two) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let is_response = one == "SIP/2.0";
        Text {
            text,
            method: (!is_response).then_some(one),
            status: if is_response { two.parse().unwrap_or(0) } else { 0 },
            call_id: field(head, "Call-ID"),
            body,
        }
    }

    /// A response that says no, or not yet, and nothing else: all that whoever comes by the wrong way may be told.
    pub fn is_bare_refusal(&self) -> bool {
        self.method.is_none() && (self.status == 100 || self.status >= 400) && self.body.is_empty()
    }
}

/// A header's value. The names are ours or written by this test, so they are found as they are.
pub fn field<'a>(head: &'a str, name: &str) -> &'a str {
    let line = |line: &'a str| line.strip_prefix(name)?.strip_prefix(": ");
    head.split("\r\n").find_map(line).unwrap_or_default()
}

/// One m-line that is not switched off.
#[derive(Clone, PartialEq, Debug)]
pub struct Active<'a> {
    pub profile: &'a str,
    /// (suite, key) of each `a=crypto`.
    pub keys: Vec<(&'a str, &'a str)>,
    /// Of the lines' own `a=fingerprint`.
    pub fingerprints: Vec<&'a str>,
}

impl Active<'_> {
    pub fn is_srtp(&self) -> bool {
        matches!(self.profile, "RTP/SAVP" | "RTP/SAVPF")
    }

    /// SRTP whose keys a handshake brings that is held to a fingerprint, and that has no other keys.
    pub fn is_dtls(&self) -> bool {
        matches!(self.profile, "UDP/TLS/RTP/SAVP" | "UDP/TLS/RTP/SAVPF" | "RTP/SAVP" | "RTP/SAVPF") && !self.fingerprints.is_empty() && self.keys.is_empty()
    }

    /// RTP, or a fax in its place: neither has protection.
    pub fn is_clear_media(&self) -> bool {
        matches!(self.profile, "RTP/AVP" | "RTP/AVPF" | "udptl")
    }
}

pub fn active_lines(body: &str) -> Vec<Active<'_>> {
    let mut lines: Vec<(bool, Active<'_>)> = Vec::new();
    for line in body.split("\r\n") {
        if let Some(media) = line.strip_prefix("m=") {
            let mut words = media.split(' ');
            let (_, port, profile) = (words.next(), words.next().unwrap_or("0"), words.next().unwrap_or_default());
            lines.push((port != "0", Active { profile, keys: Vec::new(), fingerprints: Vec::new() }));
        } else if let (Some(crypto), Some((_, last))) = (line.strip_prefix("a=crypto:"), lines.last_mut()) {
            let suite = crypto.split(' ').nth(1).unwrap_or_default();
            last.keys.extend(keys(crypto).into_iter().map(|key| (suite, key)));
        } else if let (true, Some((_, last))) = (line.starts_with("a=fingerprint:"), lines.last_mut()) {
            last.fingerprints.extend(fingerprints(line));
        }
    }
    lines.into_iter().filter(|(is_on, _)| *is_on).map(|(_, line)| line).collect()
}

/// Every inline key of a text, wherever it stands.
pub fn keys(text: &str) -> Vec<&str> {
    let mut keys = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find("inline:") {
        rest = &rest[at + "inline:".len()..];
        let end = rest.find(['|', ';', ' ', '\r', '\n']).unwrap_or(rest.len());
        keys.push(&rest[..end]);
        rest = &rest[end..];
    }
    keys
}

/// Every fingerprint of a text.
pub fn fingerprints(text: &str) -> Vec<&str> {
    text.split("\r\n").filter_map(|line| line.strip_prefix("a=fingerprint:")?.split(' ').nth(1)).collect()
}

/// Whether a text looks as if it held a key or what proves one, known or not.
pub fn smells_of_keys(text: &str) -> bool {
    text.contains("inline:") || text.contains("a=crypto") || text.contains("a=key-mgmt") || text.contains("a=fingerprint")
}

pub fn is_clear(transport: Transport) -> bool {
    transport != Transport::Tls
}
