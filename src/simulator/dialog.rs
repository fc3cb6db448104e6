//! The dialog of a call a simulated party has answered (RFC 3261 §12), as far as requests of its own need it.

use std::net::SocketAddr;

use crate::sip::{Builder, HeaderName, Message, Method};

pub struct Dialog {
    /// Ours.
    pub tag: String,
    /// Whom the caller called: our address of record here.
    pub own_uri: String,
    call_id: String,
    local: String,
    remote: String,
    target: String,
    seq: u32,
}

impl Dialog {
    /// By an INVITE that is about to be answered with this tag; `None` if it lacks what makes a dialog.
    pub fn of(invite: &Message, tag: &str) -> Option<Dialog> {
        let text = |name| invite.first(name).map(|value| String::from_utf8_lossy(value).into_owned());
        Some(Dialog {
            tag: tag.to_owned(),
            own_uri: invite.to().ok()?.uri.to_owned(),
            call_id: text(HeaderName::CallId)?,
            local: format!("{};tag={tag}", text(HeaderName::To)?),
            remote: text(HeaderName::From)?,
            target: invite.contact().ok()??.uri.to_owned(),
            seq: 0,
        })
    }

    /// The next request inside it, with everything but the request's own headers and body. `transport`: as Via and the log write it.
    pub fn request(&mut self, method: &Method, local: SocketAddr, transport: &str) -> Builder {
        self.seq += 1;
        let mut request = Builder::request(method, &self.target);
        let branch = format!("z9hG4bK{}.{}", self.tag, self.seq);
        request.header_fmt("Via", format_args!("SIP/2.0/{} {local};branch={branch}", transport.to_ascii_uppercase()));
        request.header("Max-Forwards", "70").header("FROM", &self.local).header("TO", &self.remote);
        request.header("CALL-ID", &self.call_id).header_fmt("CSEQ", format_args!("{} {}", self.seq, method.as_str()));
        request
    }
}
