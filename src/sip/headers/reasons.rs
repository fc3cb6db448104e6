//! Why something happened: Reason (RFC 3326), Warning (RFC 3261 §20.43), Privacy (RFC 3323 §4.2).

use crate::sip::scan::{cut_unquoted, is_space, number, trim, trim_start, utf8};
use crate::sip::{HeaderError, HeaderName, Message, Params};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Reason<'a> {
    /// `SIP`, `Q.850` or another, as written.
    pub protocol: &'a str,
    pub cause: Option<u16>,
    /// Without quotes, escapes as written.
    pub text: Option<&'a str>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Warning<'a> {
    /// 300 to 399 in the RFC; any three digits here.
    pub code: u16,
    /// Host or pseudonym.
    pub agent: &'a str,
    /// Without quotes, escapes as written.
    pub text: &'a str,
}

impl<'a> Reason<'a> {
    /// One element of a Reason header.
    pub fn parse(value: &'a [u8]) -> Result<Reason<'a>, &'static str> {
        let (protocol, params) = cut_unquoted(value, b';').unwrap_or((value, &[]));
        let protocol = utf8(trim(protocol)).filter(|p| !p.is_empty() && !p.contains(['"', ' '])).ok_or("no protocol")?;
        let params = Params::from_bytes(params);
        let cause = params.get("cause").map(|cause| number(cause.as_bytes()).and_then(|c| u16::try_from(c).ok()).ok_or("malformed cause")).transpose()?;
        Ok(Reason { protocol, cause, text: params.get("text") })
    }
}

impl<'a> Warning<'a> {
    /// One element of a Warning header.
    pub fn parse(value: &'a [u8]) -> Result<Warning<'a>, &'static str> {
        let (code, rest) = value.split_at(value.len().min(3));
        let code = number(code).filter(|_| code.len() == 3).ok_or("no warn-code")? as u16;
        let rest = rest.strip_prefix(b" ").ok_or("no blank after the warn-code")?;
        let rest = trim_start(rest);
        let end = rest.iter().position(|&b| is_space(b)).ok_or("no warn-text")?;
        let agent = utf8(&rest[..end]).ok_or("malformed warn-agent")?;
        match trim(&rest[end..]) {
            [b'"', text @ .., b'"'] => Ok(Warning { code, agent, text: utf8(text).ok_or("warn-text is not UTF-8")? }),
            _ => Err("warn-text is not quoted"),
        }
    }
}

impl Message {
    pub fn reasons(&self) -> impl Iterator<Item = Result<Reason<'_>, HeaderError>> {
        self.values(HeaderName::Reason).map(|value| Reason::parse(value).map_err(|what| HeaderError::malformed(HeaderName::Reason, what)))
    }

    pub fn warnings(&self) -> impl Iterator<Item = Result<Warning<'_>, HeaderError>> {
        self.values(HeaderName::Warning).map(|value| Warning::parse(value).map_err(|what| HeaderError::malformed(HeaderName::Warning, what)))
    }

    /// Whether Privacy asks for this: `id`, `user`, `header`, `session`, `history`, `critical`, `none`. In any case, separated by `;` or, as
    /// some write it, by commas.
    pub fn wants_privacy(&self, level: &str) -> bool {
        self.values(HeaderName::Privacy)
            .flat_map(|value| value.split(|b| matches!(b, b';' | b',')))
            .any(|word| trim(word).eq_ignore_ascii_case(level.as_bytes()))
    }
}
