//! What identifies the transaction of a message: RFC 3261 §17.1.3 (responses), §17.2.3 (requests, with the rules for RFC 2543 peers), §8.2.2.2
//! (merged requests).

use crate::policy::flow::Flow;
use crate::sip::{HeaderName, Message, Method};

use super::fingerprint::{Fingerprint, Fingerprinter};

/// Begins every branch made by RFC 3261's rules.
const MAGIC_COOKIE: &str = "z9hG4bK";

#[derive(Clone, Debug)]
pub struct Matching {
    key: [u64; 2],
}

/// Of a received request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Identity {
    pub kind: Kind,
    /// Its own transaction. For ACK the INVITE's.
    pub transaction: Fingerprint,
    /// The same for every copy of the request whatever its path; only for requests outside a dialog.
    pub origin: Option<Fingerprint>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Invite,
    Ack,
    /// With the transaction of the INVITE it cancels.
    Cancel(Fingerprint),
    Other,
}

impl Matching {
    /// `key`: random, of this process.
    pub fn new(key: [u64; 2]) -> Matching {
        Matching { key }
    }

    /// §17.1.3: the branch and the method of CSeq.
    pub fn response(&self, branch: &str, method: &str) -> Fingerprint {
        self.start(b"response").with(branch.as_bytes()).with(method.as_bytes()).finish()
    }

    /// `peer`: whose request it is. Branch and sent-by are the sender's to write, so only the same peer's copy, CANCEL or ACK is of a transaction, and
    /// only by the same transport and with the same proof: answers go where the newest copy came from.
    /// `None`: it lacks what every request has (§8.1.1).
    pub fn request(&self, message: &Message, peer: &str, flow: &Flow) -> Option<Identity> {
        let method = message.method()?;
        let cseq = message.cseq().ok()?;
        let call_id = message.call_id().ok()?;
        let from_tag = message.from().ok()?.tag().unwrap_or_default();
        let via = message.top_via().ok()?;
        let way = flow.transport as u32 * 2 + u32::from(flow.is_mutual_tls());
        let common = match via.branch() {
            Some(branch) if branch.get(..MAGIC_COOKIE.len()).is_some_and(|start| start.eq_ignore_ascii_case(MAGIC_COOKIE)) => {
                let port = via.port.map_or(0, u32::from);
                self.start(b"request").with(peer.as_bytes()).with_number(way).with(branch.as_bytes()).with_folded(via.host).with_number(port)
            }
            // RFC 2543: no unique branch. The To tag is left out: an ACK carries the one of our answer, its INVITE none; CSeq tells requests apart.
            _ => {
                let top = message.first(HeaderName::Via)?;
                let uri = message.request_uri()?;
                let start = self.start(b"2543").with(peer.as_bytes()).with_number(way).with(uri.as_bytes()).with(from_tag.as_bytes()).with(call_id.as_bytes());
                start.with_number(cseq.number).with(top)
            }
        };
        let (kind, transaction) = match method {
            Method::Invite => (Kind::Invite, common.with(b"INVITE").finish()),
            Method::Ack => (Kind::Ack, common.with(b"INVITE").finish()),
            Method::Cancel => (Kind::Cancel(common.clone().with(b"INVITE").finish()), common.with(b"CANCEL").finish()),
            other => (Kind::Other, common.with(other.as_str().as_bytes()).finish()),
        };
        let outside = matches!(kind, Kind::Invite | Kind::Other) && message.to().ok()?.tag().is_none();
        let origin = outside.then(|| {
            let start = self.start(b"origin").with(from_tag.as_bytes()).with(call_id.as_bytes());
            start.with_number(cseq.number).with(method.as_str().as_bytes()).finish()
        });
        Some(Identity { kind, transaction, origin })
    }

    fn start(&self, purpose: &[u8]) -> Fingerprinter {
        Fingerprinter::new(self.key).with(purpose)
    }
}
