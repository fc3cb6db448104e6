//! Who and where: Via, From, To, Contact, Route, Record-Route (RFC 3261 §20.10, §20.20, §20.30, §20.34, §20.39, §20.42).

use crate::sip::{HeaderError, HeaderName, Message, NameAddr, Via};

impl Message {
    /// The first Via, whoever wrote it.
    pub fn top_via(&self) -> Result<Via<'_>, HeaderError> {
        let value = self.first(HeaderName::Via).ok_or(HeaderError::missing(HeaderName::Via))?;
        Via::parse(value).map_err(|what| HeaderError::malformed(HeaderName::Via, what))
    }

    pub fn from(&self) -> Result<NameAddr<'_>, HeaderError> {
        self.one_address(HeaderName::From)
    }

    pub fn to(&self) -> Result<NameAddr<'_>, HeaderError> {
        self.one_address(HeaderName::To)
    }

    /// The first Contact; `Ok(None)` if there is none.
    pub fn contact(&self) -> Result<Option<NameAddr<'_>>, HeaderError> {
        self.contacts().next().transpose()
    }

    /// Every Contact in order. `*` is not an address: see [`Message::contact_is_wildcard`].
    pub fn contacts(&self) -> impl Iterator<Item = Result<NameAddr<'_>, HeaderError>> {
        self.addresses(HeaderName::Contact)
    }

    /// RFC 3261 §10.2.2: `Contact: *`.
    pub fn contact_is_wildcard(&self) -> bool {
        self.values(HeaderName::Contact).any(|value| value == b"*")
    }

    /// The values of a list header of name-addrs: Contact, Route, Record-Route, Diversion, P-Asserted-Identity, History-Info and so on. Each
    /// malformed one is an error of its own.
    pub fn addresses(&self, name: HeaderName) -> impl Iterator<Item = Result<NameAddr<'_>, HeaderError>> {
        self.values(name).map(move |value| NameAddr::parse(value).map_err(|what| HeaderError::malformed(name, what)))
    }

    /// The one address of a header that may stand only once: From, To, Refer-To, Referred-By, Reply-To. Missing is an error.
    pub fn one_address(&self, name: HeaderName) -> Result<NameAddr<'_>, HeaderError> {
        let value = self.exactly_one(name)?;
        NameAddr::parse(value).map_err(|what| HeaderError::malformed(name, what))
    }
}
