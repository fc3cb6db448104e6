//! RSeq and RAck (RFC 3262 §7).

use super::number_32;
use super::request::cseq_method;
use crate::sip::{HeaderError, HeaderName, Message, Method};

/// The provisional response a PRACK acknowledges.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RAck {
    pub rseq: u32,
    pub cseq: u32,
    pub method: Method,
}

impl Message {
    pub fn rseq(&self) -> Result<Option<u32>, HeaderError> {
        let value = self.at_most_one(HeaderName::RSeq)?;
        value.map(|value| number_32(HeaderName::RSeq, value)).transpose()
    }

    pub fn rack(&self) -> Result<Option<RAck>, HeaderError> {
        let Some(value) = self.at_most_one(HeaderName::RAck)? else { return Ok(None) };
        let mut words = value.split(|b| matches!(b, b' ' | b'\t')).filter(|word| !word.is_empty());
        let (Some(rseq), Some(cseq), Some(method), None) = (words.next(), words.next(), words.next(), words.next()) else {
            return Err(HeaderError::malformed(HeaderName::RAck, "not two numbers and a method"));
        };
        let (rseq, cseq) = (number_32(HeaderName::RAck, rseq)?, number_32(HeaderName::RAck, cseq)?);
        Ok(Some(RAck { rseq, cseq, method: cseq_method(HeaderName::RAck, method)? }))
    }
}
