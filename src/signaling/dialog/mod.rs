//! Dialogs, early and confirmed (RFC 3261 §12): what two user agents remember of each other.

use crate::sip::{Builder, HeaderError, HeaderName, Message, Method, NameAddr, Uri};

/// One dialog as we see it. The header fields are kept as they go on the wire, tags included, so that what a peer wrote is echoed to the letter.
#[derive(Clone, Debug)]
pub struct Dialog {
    pub call_id: String,
    pub local_tag: String,
    pub remote_tag: String,
    /// Value of From in our requests and of To in our responses.
    local: Vec<u8>,
    /// Value of To in our requests.
    remote: Vec<u8>,
    local_seq: u32,
    remote_seq: Option<u32>,
    /// URI of the peer's Contact: the Request-URI of our requests.
    pub remote_target: String,
    /// Route header values in order; the first is where requests go.
    route_set: Vec<String>,
}

/// A request came with a CSeq not above the last one (§12.2.2: answer 500).
#[derive(Debug, PartialEq, Eq)]
pub struct OutOfOrder;

impl Dialog {
    /// §12.1.1: as the user agent server of `request`, which has no To tag yet.
    pub fn server(request: &Message, local_tag: String) -> Result<Dialog, HeaderError> {
        let from = request.from()?;
        let target = request.contact()?.map(|contact| contact.uri.to_owned()).unwrap_or_else(|| from.uri.to_owned());
        let to = request.first(HeaderName::To).unwrap_or_default();
        Ok(Dialog {
            call_id: request.call_id()?.to_owned(),
            remote_tag: from.tag().unwrap_or_default().to_owned(),
            local: [to, b";tag=", local_tag.as_bytes()].concat(),
            remote: request.first(HeaderName::From).unwrap_or_default().to_vec(),
            local_tag,
            local_seq: 0,
            remote_seq: Some(request.cseq()?.number),
            remote_target: target,
            route_set: texts(request.values(HeaderName::RecordRoute)),
        })
    }

    /// §12.1.2: as the user agent client whose `invite` (as we sent it) `response` answers.
    pub fn client(invite: &Message, response: &Message) -> Result<Dialog, HeaderError> {
        let from = invite.from()?;
        let to = response.to()?;
        let mut route_set = texts(response.values(HeaderName::RecordRoute));
        route_set.reverse();
        // A 2xx must be acknowledged even if its Contact cannot be read.
        let target = response.contact().ok().flatten().map(|contact| contact.uri.to_owned());
        Ok(Dialog {
            call_id: invite.call_id()?.to_owned(),
            local_tag: from.tag().unwrap_or_default().to_owned(),
            remote_tag: to.tag().unwrap_or_default().to_owned(),
            local: invite.first(HeaderName::From).unwrap_or_default().to_vec(),
            remote: response.first(HeaderName::To).unwrap_or_default().to_vec(),
            local_seq: invite.cseq()?.number,
            remote_seq: None,
            remote_target: target.unwrap_or_else(|| invite.request_uri().unwrap_or_default().to_owned()),
            route_set,
        })
    }

    /// A 2xx fixes the route set of an early dialog anew (§13.2.2.4).
    pub fn confirm(&mut self, response: &Message) {
        self.route_set = texts(response.values(HeaderName::RecordRoute));
        self.route_set.reverse();
        self.refresh_target(response);
    }

    /// §12.2.1.2, §12.2.2: a target refresh request or its 2xx moves the remote target.
    pub fn refresh_target(&mut self, message: &Message) {
        if let Ok(Some(contact)) = message.contact() {
            self.remote_target = contact.uri.to_owned();
        }
    }

    /// Whether `message`, a request of the peer, belongs here (§12.2.2).
    pub fn matches(&self, message: &Message) -> bool {
        message.call_id().is_ok_and(|id| id == self.call_id) && message.from().is_ok_and(|from| from.tag().unwrap_or_default() == self.remote_tag)
    }

    /// §12.2.2: requests must count up.
    pub fn accept(&mut self, cseq: u32) -> Result<(), OutOfOrder> {
        if self.remote_seq.is_some_and(|last| cseq <= last) {
            return Err(OutOfOrder);
        }
        self.remote_seq = Some(cseq);
        Ok(())
    }

    /// The peer as From or To had it, with his tag.
    pub fn remote_value(&self) -> &[u8] {
        &self.remote
    }

    /// The CSeq number our last request went out with.
    pub fn last_seq(&self) -> u32 {
        self.local_seq
    }

    /// The next request of ours in this dialog (§12.2.1.1), up to but without Contact and body.
    pub fn request(&mut self, method: &Method, via: &str) -> Builder {
        self.local_seq = self.local_seq.saturating_add(1);
        self.build(method, self.local_seq, via)
    }

    /// The ACK to a 2xx (§13.2.2.4): the CSeq number is that of the INVITE.
    pub fn ack(&self, invite_seq: u32, via: &str) -> Builder {
        self.build(&Method::Ack, invite_seq, via)
    }

    fn build(&self, method: &Method, seq: u32, via: &str) -> Builder {
        // §12.2.1.1: behind a strict router the remote target travels as the last Route value.
        let strict = self.route_set.first().filter(|route| !is_loose(route));
        let uri = match strict {
            Some(route) => NameAddr::parse(route.as_bytes()).map(|route| route.uri.to_owned()).unwrap_or_else(|_| self.remote_target.clone()),
            None => self.remote_target.clone(),
        };
        let mut request = Builder::request(method, &uri);
        request.header("Via", via).header("Max-Forwards", "70");
        request.header("From", &self.local).header("To", &self.remote).header("Call-ID", &self.call_id);
        request.header_fmt("CSeq", format_args!("{seq} {}", method.as_str()));
        for route in self.route_set.iter().skip(usize::from(strict.is_some())) {
            request.header("Route", route);
        }
        if strict.is_some() {
            request.header_fmt("Route", format_args!("<{}>", self.remote_target));
        }
        request
    }

    /// Host and port the next request is addressed to: the first route, or the remote target.
    pub fn next_hop(&self) -> Option<(String, Option<u16>)> {
        let from_route = self.route_set.first().and_then(|route| NameAddr::parse(route.as_bytes()).ok().map(|route| route.uri.to_owned()));
        let uri = from_route.unwrap_or_else(|| self.remote_target.clone());
        let uri = Uri::parse(&uri).ok()?;
        Some((uri.params.get("maddr").unwrap_or(uri.host).to_owned(), uri.port))
    }
}

/// RFC 3261 §19.1.1: `;lr`.
fn is_loose(route: &str) -> bool {
    NameAddr::parse(route.as_bytes()).is_ok_and(|route| Uri::parse(route.uri).is_ok_and(|uri| uri.params.get("lr").is_some()))
}

fn texts<'a>(values: impl Iterator<Item = &'a [u8]>) -> Vec<String> {
    values.map(|value| String::from_utf8_lossy(value).into_owned()).collect()
}
