//! Event and Subscription-State (RFC 6665 §8.2).

use crate::sip::scan::{is_token, number, trim, utf8};
use crate::sip::{HeaderError, HeaderName, Message, Params};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Event<'a> {
    /// The event package with its templates, such as `message-summary`, as written. Case-sensitive.
    pub package: &'a str,
    pub params: Params<'a>,
}

impl<'a> Event<'a> {
    pub fn id(&self) -> Option<&'a str> {
        self.params.get("id").filter(|id| !id.is_empty())
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SubscriptionState<'a> {
    /// `active`, `pending`, `terminated` or another, as written.
    pub state: &'a str,
    pub params: Params<'a>,
}

impl<'a> SubscriptionState<'a> {
    pub fn is_terminated(&self) -> bool {
        self.state.eq_ignore_ascii_case("terminated")
    }

    pub fn reason(&self) -> Option<&'a str> {
        self.params.get("reason").filter(|reason| !reason.is_empty())
    }

    /// Seconds.
    pub fn expires(&self) -> Option<u32> {
        self.params.get("expires").and_then(|seconds| number(seconds.as_bytes())).map(|seconds| u32::try_from(seconds).unwrap_or(u32::MAX))
    }
}

impl Message {
    pub fn event(&self) -> Result<Option<Event<'_>>, HeaderError> {
        Ok(self.word(HeaderName::Event)?.map(|(package, params)| Event { package, params }))
    }

    pub fn subscription_state(&self) -> Result<Option<SubscriptionState<'_>>, HeaderError> {
        Ok(self.word(HeaderName::SubscriptionState)?.map(|(state, params)| SubscriptionState { state, params }))
    }

    /// A token and its parameters.
    fn word(&self, name: HeaderName) -> Result<Option<(&str, Params<'_>)>, HeaderError> {
        let Some(value) = self.at_most_one(name)? else { return Ok(None) };
        let end = memchr::memchr(b';', value).unwrap_or(value.len());
        let (word, params) = value.split_at(end);
        let word = utf8(trim(word)).filter(|word| is_token(word.as_bytes())).ok_or(HeaderError::malformed(name, "no token"))?;
        Ok(Some((word, Params::from_bytes(params))))
    }
}
