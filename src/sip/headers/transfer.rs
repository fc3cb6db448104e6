//! Transfer: Refer-To and what NOTIFY says of it (RFC 3515), Referred-By (RFC 3892), Replaces (RFC 3891).

use crate::sip::scan::{trim, utf8};
use crate::sip::{HeaderError, HeaderName, Message, NameAddr, Params};

/// The dialog to be replaced.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Replaces<'a> {
    pub call_id: &'a str,
    pub to_tag: &'a str,
    pub from_tag: &'a str,
    pub early_only: bool,
}

impl<'a> Replaces<'a> {
    /// The header's value, or what a Refer-To URI carries once its escapes are resolved.
    pub fn parse(value: &'a [u8]) -> Result<Replaces<'a>, &'static str> {
        let end = memchr::memchr(b';', value).ok_or("no tags")?;
        let (call_id, params) = value.split_at(end);
        let call_id = utf8(trim(call_id)).filter(|id| !id.is_empty() && !id.contains(' ')).ok_or("malformed Call-ID")?;
        let params = Params::from_bytes(params);
        let tag = |name| params.get(name).filter(|tag| !tag.is_empty());
        Ok(Replaces {
            call_id,
            to_tag: tag("to-tag").ok_or("no to-tag")?,
            from_tag: tag("from-tag").ok_or("no from-tag")?,
            early_only: params.has("early-only"),
        })
    }
}

impl Replaces<'_> {
    /// The value as a header of a URI, escaped (RFC 3261 §25.1, `hvalue`).
    pub fn escaped(&self) -> String {
        let early_only = if self.early_only { ";early-only" } else { "" };
        let plain = format!("{};to-tag={};from-tag={}{early_only}", self.call_id, self.to_tag, self.from_tag);
        let mut escaped = String::with_capacity(plain.len() + 16);
        for byte in plain.bytes() {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'!' | b'~' | b'*' | b'\'' | b'(' | b')' => escaped.push(char::from(byte)),
                _ => escaped.push_str(&format!("%{byte:02X}")),
            }
        }
        escaped
    }
}

impl Message {
    /// What a NOTIFY of a REFER says (RFC 3515 §2.4.4): the status of its sipfrag's first line.
    pub fn sipfrag_status(&self) -> Option<u16> {
        let kind = self.content_type()?.split(';').next()?.trim();
        if !kind.eq_ignore_ascii_case("message/sipfrag") {
            return None;
        }
        let line = self.body().split(|byte| matches!(byte, b'\r' | b'\n')).next()?;
        let (version, rest) = (line.get(..8)?, utf8(line.get(8..)?)?);
        let code = rest.split(' ').next()?;
        let status = code.parse().ok().filter(|_| version.eq_ignore_ascii_case(b"SIP/2.0 ") && code.len() == 3)?;
        (100..=699).contains(&status).then_some(status)
    }

    /// Whether a NOTIFY is about the REFER with this CSeq; one without an id is about the only one there is.
    pub fn is_about_refer(&self, cseq: u32) -> bool {
        let Some(event) = self.text(HeaderName::Event) else { return false };
        let mut parts = event.split(';').map(str::trim);
        let is_refer = parts.next().is_some_and(|package| package.eq_ignore_ascii_case("refer"));
        let id = parts.filter_map(|param| param.split_once('=')).find(|(name, _)| name.trim().eq_ignore_ascii_case("id"));
        is_refer && id.is_none_or(|(_, id)| id.trim().parse() == Ok(cseq))
    }

    pub fn is_subscription_terminated(&self) -> bool {
        let state = self.text(HeaderName::SubscriptionState).and_then(|value| value.split(';').next());
        state.is_some_and(|state| state.trim().eq_ignore_ascii_case("terminated"))
    }

    pub fn replaces(&self) -> Result<Option<Replaces<'_>>, HeaderError> {
        let Some(value) = self.at_most_one(HeaderName::Replaces)? else { return Ok(None) };
        Replaces::parse(value).map(Some).map_err(|what| HeaderError::malformed(HeaderName::Replaces, what))
    }

    /// Missing is an error: who asks, has a REFER in hand.
    pub fn refer_to(&self) -> Result<NameAddr<'_>, HeaderError> {
        self.one_address(HeaderName::ReferTo)
    }

    pub fn referred_by(&self) -> Result<Option<NameAddr<'_>>, HeaderError> {
        match self.at_most_one(HeaderName::ReferredBy)? {
            None => Ok(None),
            Some(_) => self.one_address(HeaderName::ReferredBy).map(Some),
        }
    }
}
