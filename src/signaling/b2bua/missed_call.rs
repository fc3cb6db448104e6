//! Notices of missed calls to a receiver that speaks SIP: MESSAGE (RFC 3428), or an unsolicited NOTIFY of a private package (RFC 6665 §4.1).
//!
//! One request for each attempt; whether there is another is for whoever keeps the notice. What goes out of one notice is the same each time but for
//! the names of the transaction: the receiver knows a repeat by [`ID`], and by the id in the body.

use std::sync::Arc;

use crate::policy::branch;
use crate::policy::verdict::Reason;
use crate::signaling::b2bua::errand::{self, Errand, ErrandOwner, RequestUri};
use crate::signaling::border::Border;
use crate::signaling::fact::What;
use crate::sip::Method;
use crate::time::Time;

/// The header a receiver knows a repeat by.
pub const ID: &str = "Portcullis-Notice";
/// The event package of NOTIFY.
pub const PACKAGE: &str = "portcullis-missed-call";
const CONTENT_TYPE: &str = "application/json";

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum By {
    Message,
    Notify,
}

impl By {
    pub fn method(self) -> Method {
        match self {
            By::Message => Method::Message,
            By::Notify => Method::Notify,
        }
    }
}

/// A notice, and to whom it goes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Carriage {
    pub id: Arc<str>,
    /// By its name in the policy set.
    pub peer: Arc<str>,
    pub uri: Arc<str>,
    pub by: By,
    /// JSON.
    pub body: String,
}

pub fn carry(border: &mut Border, now: Time, carriage: Carriage) {
    let Carriage { id, peer, uri, by, body } = carriage;
    let Some(known) = border.table.peer(&peer).cloned() else {
        return reported(border, now, id, peer, 503, Reason::PeerRemoved);
    };
    // The set may be another than when this was configured.
    let pool = border.set.branch.as_ref().map(|branch| &*branch.um_pool);
    let decision = branch::messenger(&border.set.dial_plans, pool, &known);
    let refused = decision.refused;
    if let Some(reason) = refused {
        border.fact(now, None, What::Decided(vec![decision]));
        return reported(border, now, id, peer, 503, reason);
    }
    let mut headers = vec![(ID, id.to_string())];
    if by == By::Notify {
        headers.extend([("Event", PACKAGE.into()), ("Subscription-State", "terminated".into())]);
    }
    let errand = Errand {
        peer: known,
        request_uri: RequestUri::Whole(uri.to_string()),
        from_user: String::new(),
        method: by.method(),
        headers,
        body: Some((CONTENT_TYPE, body.into_bytes())),
        by: now + errand::LONGEST,
        owner: ErrandOwner::MissedCall { id, peer },
    };
    errand::send(border, now, errand);
}

pub fn reported(border: &mut Border, now: Time, id: Arc<str>, peer: Arc<str>, status: u16, reason: Reason) {
    border.fact(now, None, What::MissedCallCarried { id, peer, status, reason });
}
