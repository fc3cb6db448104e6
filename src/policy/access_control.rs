//! May this peer ask this of us now: method × kind of peer × inside a dialog or not (RFC 5853 §3.2, access control).
//!
//! | method | trunk, gateway, PBX, Mediation | UM router, fax server | UM server |
//! |---|---|---|---|
//! | INVITE | new calls and inside | inside (they make no calls)| new calls and inside |
//! | ACK, BYE, CANCEL, PRACK, UPDATE, INFO | about a call | about a call | about a call |
//! | OPTIONS | always | always | always |
//! | NOTIFY | inside, of a REFER it was handed (`refer = "relay"`); else never: 405 | never: 405 | outside: of waiting messages |
//! | REFER | inside, where the peer's `refer` allows it; else never: 405 | the same | the same |
//! | REGISTER, SUBSCRIBE, PUBLISH, MESSAGE, unknown ones | never: 405 | never: 405 | never: 405 |
//!
//! The peer's status comes first, as a UM IP gateway's: a disabled peer is a stranger; one that takes no new calls may go on with those that are up,
//! and is told 503 where it asks for a new one, by INVITE or, to find out, by OPTIONS.
//!
//! We never challenge: trust is by address and certificate, and UM fails a call it is challenged on.

use crate::policy::settings::{Peer, PeerKind, PeerStatus, Refer};
use crate::policy::verdict::{Decision, Reason};
use crate::sip::Method;

/// When a peer may use a method.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Permit {
    Always,
    InsideOnly,
    OutsideOnly,
    /// Not spoken by this border: 405.
    Never,
}

fn permit(peer: &Peer, method: &Method) -> Permit {
    use Permit::*;
    let kind = peer.kind;
    match method {
        Method::Options => Always,
        Method::Invite if matches!(kind, PeerKind::UmRouter | PeerKind::Fax) => InsideOnly,
        Method::Invite => Always,
        // Whether the call or transaction they are about exists is the core's to say (481).
        Method::Ack | Method::Bye | Method::Cancel | Method::Prack | Method::Update | Method::Info => Always,
        // About a mailbox's waiting messages; from mailbox servers, as Exchange sends them, and from nobody else.
        Method::Notify if matches!(kind, PeerKind::UmServer) => OutsideOnly,
        Method::Notify if peer.refer == Refer::Relay => InsideOnly,
        Method::Refer if peer.refer != Refer::Refuse => InsideOnly,
        Method::Refer | Method::Notify | Method::Register | Method::Subscribe | Method::Publish | Method::Message | Method::Other(_) => Never,
    }
}

/// `in_dialog`: the request carries a To tag. Passing allocates little; compared values are for a human.
pub fn method(peer: &Peer, method: &Method, in_dialog: bool) -> Decision {
    let refused = |rule: &'static str, reason: Reason| {
        Decision::refused("access_control", rule, reason)
            .comparing("method", String::from(method.as_str()))
            .comparing("peer kind", kind_name(peer.kind))
            .comparing("in a dialog", if in_dialog { "yes" } else { "no" })
    };
    let new_call = matches!(method, Method::Invite | Method::Options) && !in_dialog;
    match peer.status {
        PeerStatus::Disabled => return refused("peer status", Reason::PeerDisabled).comparing("status", "disabled"),
        PeerStatus::NoNewCalls if new_call => return refused("peer status", Reason::PeerNoNewCalls).comparing("status", "no-new-calls"),
        PeerStatus::NoNewCalls | PeerStatus::Enabled => {}
    }
    match permit(peer, method) {
        Permit::Always => Decision::passed("access_control", "method allowed from this kind of peer").comparing("peer kind", kind_name(peer.kind)),
        Permit::InsideOnly if in_dialog => Decision::passed("access_control", "method allowed inside a dialog").comparing("peer kind", kind_name(peer.kind)),
        Permit::InsideOnly => refused("from this kind of peer inside a dialog only", Reason::NotAllowedHere),
        Permit::OutsideOnly if !in_dialog => Decision::passed("access_control", "method allowed outside a dialog").comparing("peer kind", kind_name(peer.kind)),
        Permit::Never | Permit::OutsideOnly => refused("method not spoken here", Reason::MethodNotAllowed),
    }
}

pub const fn kind_name(kind: PeerKind) -> &'static str {
    match kind {
        PeerKind::Trunk => "trunk",
        PeerKind::Gateway => "gateway",
        PeerKind::Pbx => "pbx",
        PeerKind::UmRouter => "um-router",
        PeerKind::UmServer => "um-server",
        PeerKind::Mediation => "mediation",
        PeerKind::Fax => "fax",
    }
}
