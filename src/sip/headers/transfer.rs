//! Transfer: Refer-To (RFC 3515), Referred-By (RFC 3892), Replaces (RFC 3891).

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

impl Message {
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
