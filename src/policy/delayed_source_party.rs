//! Callers nobody names: an INVITE with neither calling party nor diversion, from a peer that may learn of these later (a UM IP gateway's
//! DelayedSourcePartyInfoEnabled).
//!
//! Exchange says that UM delays accepting such a call, not how the rest reaches it. Calling UM at once would have it answer as if the pilot had been
//! dialled by somebody unknown: the caller hears a prompt for an extension, and no message is left for whom they meant. Our reading: the call is held
//! back, before UM hears of it, for a bounded time in which a gateway that has learnt more may take the INVITE back (CANCEL) and send a better one; then
//! it goes on as it came. What comes by UPDATE or re-INVITE (RFC 4916) is not waited for. Nothing is made up, and a caller who asks for privacy is
//! not waited for either: no more will come.

use std::time::Duration;

use crate::policy::caller;
use crate::policy::settings::Peer;
use crate::policy::verdict::Decision;
use crate::sip::{HeaderName, Message};

/// How long a call is held back: shorter than the 4 s after which the most impatient callers try elsewhere.
pub const HOLD: Duration = Duration::from_secs(2);

/// `Some`: the call is held back for [`HOLD`], and this says why.
pub fn holds(peer: &Peer, invite: &Message) -> Option<Decision> {
    if !peer.delayed_source_party || peer.kind.is_um() || names_caller(invite) || names_diversion(invite) {
        return None;
    }
    let decision = Decision::passed("delayed_source_party", "neither calling party nor diversion: held back, more may come");
    Some(decision.comparing("peer", String::from(&*peer.name)).comparing("for", format!("{} s", HOLD.as_secs())))
}

fn names_caller(invite: &Message) -> bool {
    let from =
        invite.from().ok().and_then(|from| from.parsed_uri().ok().map(|uri| uri.user.is_some_and(|user| !user.is_empty()) && !caller::is_anonymous(&uri)));
    from == Some(true) || invite.first(HeaderName::PAssertedIdentity).is_some() || invite.first(HeaderName::Privacy).is_some()
}

fn names_diversion(invite: &Message) -> bool {
    [HeaderName::Diversion, HeaderName::CcDiversion, HeaderName::HistoryInfo].into_iter().any(|name| invite.first(name).is_some())
}
