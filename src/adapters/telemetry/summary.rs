//! What metrics and logs say of a message: its method and status, nothing that its sender could make grow.

use bytes::Bytes;

use crate::sip::{Limits, Message};

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Summary {
    /// Of the request, or of the request answered (CSeq).
    pub method: String,
    /// `None`: a request.
    pub status: Option<u16>,
}

impl Summary {
    pub fn of(bytes: &Bytes) -> Option<Summary> {
        let message = read(bytes)?;
        let method = match message.method() {
            Some(method) => method.as_str().to_owned(),
            None => message.cseq().map(|cseq| cseq.method.as_str().to_owned()).unwrap_or_default(),
        };
        Some(Summary { method, status: message.status() })
    }
}

/// The message, or what can be used of it.
pub(super) fn read(bytes: &Bytes) -> Option<Message> {
    let limits = Limits::default();
    Message::parse(bytes.clone(), &limits).ok().or_else(|| Message::salvage(bytes.clone(), &limits))
}
