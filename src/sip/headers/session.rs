//! Session timers: Session-Expires and Min-SE (RFC 4028 §4, §5).

use crate::sip::scan::{number, trim};
use crate::sip::{HeaderError, HeaderName, Message, Params};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refresher {
    Uac,
    Uas,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SessionExpires {
    pub seconds: u32,
    pub refresher: Option<Refresher>,
}

impl Message {
    pub fn session_expires(&self) -> Result<Option<SessionExpires>, HeaderError> {
        let Some((seconds, params)) = self.interval(HeaderName::SessionExpires)? else { return Ok(None) };
        let refresher = match params.get("refresher") {
            None => None,
            Some(who) if who.eq_ignore_ascii_case("uac") => Some(Refresher::Uac),
            Some(who) if who.eq_ignore_ascii_case("uas") => Some(Refresher::Uas),
            Some(_) => return Err(HeaderError::malformed(HeaderName::SessionExpires, "refresher is neither uac nor uas")),
        };
        Ok(Some(SessionExpires { seconds, refresher }))
    }

    /// Seconds.
    pub fn min_se(&self) -> Result<Option<u32>, HeaderError> {
        Ok(self.interval(HeaderName::MinSe)?.map(|(seconds, _)| seconds))
    }

    /// Seconds (the largest 32 bits hold, if more) and the parameters after them.
    fn interval(&self, name: HeaderName) -> Result<Option<(u32, Params<'_>)>, HeaderError> {
        let Some(value) = self.at_most_one(name)? else { return Ok(None) };
        let end = memchr::memchr(b';', value).unwrap_or(value.len());
        let (digits, params) = value.split_at(end);
        let seconds = number(trim(digits)).ok_or(HeaderError::malformed(name, "no number of seconds"))?;
        Ok(Some((u32::try_from(seconds).unwrap_or(u32::MAX), Params::from_bytes(params))))
    }
}
