//! The numbers every request carries: Call-ID, CSeq, Max-Forwards, and waiting times (RFC 3261 §20.8, §20.16, §20.22, §20.19, §20.33).

use super::number_32;
use crate::sip::scan::{number, trim, utf8};
use crate::sip::{HeaderError, HeaderName, Message, Method};

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CSeq {
    /// Less than 2³¹.
    pub number: u32,
    pub method: Method,
}

impl Message {
    /// Whether the headers every message needs are there once and can be read: Via, From, To, Call-ID, CSeq (RFC 3261 §8.1.1, §16.3); in a request also that
    /// CSeq names its method and that Max-Forwards, if there, is a number. The first thing wrong is the error; a request is then answered 400.
    pub fn check(&self) -> Result<(), HeaderError> {
        self.top_via()?;
        self.from()?;
        self.to()?;
        self.call_id()?;
        let cseq = self.cseq()?;
        if let Some(method) = self.method() {
            if *method != cseq.method {
                return Err(HeaderError::malformed(HeaderName::CSeq, "not the method of the request line"));
            }
            self.max_forwards()?;
        }
        Ok(())
    }

    /// One word, byte for byte.
    pub fn call_id(&self) -> Result<&str, HeaderError> {
        let value = self.exactly_one(HeaderName::CallId)?;
        if value.is_empty() || value.iter().any(|&b| b <= b' ' || b == 0x7f) {
            return Err(HeaderError::malformed(HeaderName::CallId, "not one word"));
        }
        utf8(value).ok_or(HeaderError::malformed(HeaderName::CallId, "not UTF-8"))
    }

    pub fn cseq(&self) -> Result<CSeq, HeaderError> {
        let value = self.exactly_one(HeaderName::CSeq)?;
        let blank = value.iter().position(|b| matches!(b, b' ' | b'\t')).ok_or(HeaderError::malformed(HeaderName::CSeq, "not a number and a method"))?;
        let (digits, method) = value.split_at(blank);
        let number = number_32(HeaderName::CSeq, digits)?;
        if number > i32::MAX as u32 {
            return Err(HeaderError::malformed(HeaderName::CSeq, "number not below 2^31"));
        }
        Ok(CSeq { number, method: cseq_method(HeaderName::CSeq, trim(method))? })
    }

    /// 0 to 255 (RFC 3261 §20.22).
    pub fn max_forwards(&self) -> Result<Option<u8>, HeaderError> {
        let Some(value) = self.at_most_one(HeaderName::MaxForwards)? else { return Ok(None) };
        let hops = number(value).and_then(|n| u8::try_from(n).ok());
        hops.map(Some).ok_or(HeaderError::malformed(HeaderName::MaxForwards, "not a number from 0 to 255"))
    }

    /// Seconds; larger ones than 32 bits hold are the largest (RFC 3261 §20.19).
    pub fn expires(&self) -> Result<Option<u32>, HeaderError> {
        self.seconds(HeaderName::Expires)
    }

    /// Seconds to wait before trying again; the comment and parameters after it are left aside.
    pub fn retry_after(&self) -> Result<Option<u32>, HeaderError> {
        self.seconds(HeaderName::RetryAfter)
    }

    fn seconds(&self, name: HeaderName) -> Result<Option<u32>, HeaderError> {
        let Some(value) = self.at_most_one(name)? else { return Ok(None) };
        let end = value.iter().position(|b| !b.is_ascii_digit()).unwrap_or(value.len());
        let (digits, rest) = value.split_at(end);
        let seconds = number(digits).ok_or(HeaderError::malformed(name, "no number of seconds"))?;
        match trim(rest).first() {
            None | Some(b';' | b'(') => Ok(Some(u32::try_from(seconds).unwrap_or(u32::MAX))),
            _ => Err(HeaderError::malformed(name, "text after the seconds")),
        }
    }
}

pub(super) fn cseq_method(name: HeaderName, token: &[u8]) -> Result<Method, HeaderError> {
    Method::from_bytes(token).ok_or(HeaderError::malformed(name, "malformed method"))
}
