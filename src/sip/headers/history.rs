//! How a call came to be redirected: Diversion (RFC 5806), CC-Diversion (its ancestor), History-Info (RFC 7044, with the causes of RFC 4458).

use std::borrow::Cow;

use crate::sip::scan::number;
use crate::sip::uri::decoded;
use crate::sip::{HeaderError, HeaderName, Message, NameAddr, Params};

/// One diversion: who diverted the call, and why. The first in the header is the latest.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Diversion<'a> {
    pub address: NameAddr<'a>,
}

impl<'a> Diversion<'a> {
    /// Such as `no-answer`, `user-busy`, `unconditional`, as written.
    pub fn reason(&self) -> Option<&'a str> {
        self.address.params.get("reason").filter(|reason| !reason.is_empty())
    }

    /// How many diversions this one stands for; 1 where it does not say, or does not say a number.
    pub fn counter(&self) -> u32 {
        let count = self.address.params.get("counter").and_then(|count| number(count.as_bytes()));
        count.map_or(1, |count| u32::try_from(count).unwrap_or(u32::MAX))
    }

    /// Such as `full`, `off`, `uri`, `name`, as written.
    pub fn privacy(&self) -> Option<&'a str> {
        self.address.params.get("privacy").filter(|privacy| !privacy.is_empty())
    }
}

/// One entry of History-Info.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HistoryEntry<'a> {
    pub address: NameAddr<'a>,
}

impl<'a> HistoryEntry<'a> {
    /// Such as `1.1`, as written.
    pub fn index(&self) -> Option<&'a str> {
        self.address.params.get("index").filter(|index| !index.is_empty())
    }

    /// Why the call left this target: the `Reason` in the URI's headers (RFC 7044 §5), or the URI's `cause` parameter (RFC 4458). Such as 302, 408, 486.
    pub fn cause(&self) -> Option<u16> {
        let uri = self.address.parsed_uri().ok()?;
        let code = |params: Params<'_>| params.get("cause").and_then(|cause| number(cause.as_bytes())).and_then(|cause| u16::try_from(cause).ok());
        self.reason().and_then(|reason| code(Params::new(reason.split_once(';')?.1))).or_else(|| code(uri.params))
    }

    /// The value of the embedded Reason header without its escapes: `SIP;cause=302;text="Moved"`.
    pub fn reason(&self) -> Option<Cow<'a, str>> {
        let headers = self.address.parsed_uri().ok()?.headers?;
        let value = headers.split('&').find_map(|header| {
            let (name, value) = header.split_once('=')?;
            name.eq_ignore_ascii_case("Reason").then_some(value)
        })?;
        Some(decoded(value))
    }
}

impl Message {
    /// Every Diversion element, latest first. Each malformed one is an error of its own.
    pub fn diversions(&self) -> impl Iterator<Item = Result<Diversion<'_>, HeaderError>> {
        self.addresses(HeaderName::Diversion).map(|address| address.map(|address| Diversion { address }))
    }

    /// Every History-Info entry in order. Each malformed one is an error of its own.
    pub fn history(&self) -> impl Iterator<Item = Result<HistoryEntry<'_>, HeaderError>> {
        self.addresses(HeaderName::HistoryInfo).map(|address| address.map(|address| HistoryEntry { address }))
    }
}
