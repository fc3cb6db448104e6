//! Who the caller is said to be, across the trust domain (RFC 3325) and as far as privacy allows (RFC 3323).
//!
//! P-Asserted-Identity is believed from, and sent to, peers of the trust domain only; at most one SIP and one tel identity crosses. Privacy goes with
//! it. To a peer outside, `Privacy: user` makes From anonymous. Towards UM an identity crosses only in the form of the dial plan, and only if the caller
//! does not want to be anonymous: whoever reads the message afterwards belongs to no trust domain. P-Preferred-Identity and Remote-Party-ID never
//! cross. No identity is ever made up.

use crate::policy::caller;
use crate::policy::topology_hiding::{self, Carried, Crossing};
use crate::policy::verdict::Decision;
use crate::sip::{HeaderName, Message, NameAddr, Scheme};

/// Values of Privacy that are known (RFC 3323 §4.2, RFC 3325 §9.3, RFC 7044).
const PRIVACY: [&str; 7] = ["header", "session", "user", "none", "critical", "id", "history"];

/// Adds what crosses of a request's or response's identity.
pub fn carry(crossing: &Crossing<'_>, message: &Message, carried: &mut Carried) {
    let Some(first) = message.values(HeaderName::PAssertedIdentity).next() else {
        carry_privacy(crossing, message, carried);
        return;
    };
    let trust = match (crossing.from.identity_trusted, crossing.to.identity_trusted) {
        (true, true) => "both peers are in the trust domain",
        (false, _) => "not believed from this peer",
        (true, false) => "not sent outside the trust domain",
    };
    let wanted = message.is_request() && crossing.to.kind.is_um() && caller::wants_anonymity(message);
    let trust = if wanted { "the caller wants to be anonymous" } else { trust };
    if crossing.from.identity_trusted && crossing.to.identity_trusted && !wanted {
        let mut schemes = (false, false);
        for value in std::iter::once(first).chain(message.values(HeaderName::PAssertedIdentity).skip(1)).take(4) {
            let Some((is_tel, value)) = asserted(crossing, value) else { continue };
            let seen = if is_tel { &mut schemes.0 } else { &mut schemes.1 };
            if !std::mem::replace(seen, true) {
                carried.headers.push((HeaderName::PAssertedIdentity, value));
            }
        }
    }
    let crossed = carried.headers.iter().filter(|(name, _)| *name == HeaderName::PAssertedIdentity).count();
    carried.trail.push(Decision::passed("identity", trust).comparing("P-Asserted-Identity that cross", crossed.to_string()));
    carry_privacy(crossing, message, carried);
}

fn carry_privacy(crossing: &Crossing<'_>, message: &Message, carried: &mut Carried) {
    if crossing.to.identity_trusted {
        let values: Vec<&str> = privacy(message).collect();
        if !values.is_empty() {
            carried.headers.push((HeaderName::Privacy, values.join(";")));
        }
    }
}

/// Whether it is a tel identity, and its canonical value.
fn asserted(crossing: &Crossing<'_>, value: &[u8]) -> Option<(bool, String)> {
    let address = NameAddr::parse(value).ok()?;
    let uri = address.parsed_uri().ok()?;
    let display = topology_hiding::display(&address);
    if let Some(plan) = crossing.plan.filter(|_| crossing.to.kind.is_um()) {
        // UM refuses calls for an identity that does not fit (event 1021); without it the call goes on.
        let user = caller::fitting(plan, &uri, &mut Vec::new()).filter(|_| !caller::is_nobody(plan, &uri))?;
        return Some(match uri.scheme {
            Scheme::Tel => (true, format!("{display}<tel:{user}>")),
            _ => (false, format!("{display}<{}>", topology_hiding::caller_uri(crossing, &address, &user))),
        });
    }
    match uri.scheme {
        Scheme::Tel => {
            let number = topology_hiding::renumbered(crossing, &uri).map(|(_, number)| number);
            Some((true, format!("{display}<tel:{}>", number.as_deref().or(uri.user)?)))
        }
        _ => Some((false, format!("{display}<{}>", topology_hiding::outward_uri(crossing, &uri)?))),
    }
}

/// The known values of Privacy, once each, in their canonical spelling.
fn privacy(message: &Message) -> impl Iterator<Item = &'static str> {
    let written: Vec<&str> = message.values(HeaderName::Privacy).filter_map(|value| std::str::from_utf8(value).ok()).collect();
    PRIVACY.into_iter().filter(move |known| written.iter().flat_map(|value| value.split([';', ','])).any(|value| value.trim().eq_ignore_ascii_case(known)))
}

/// Whether the caller's From must not be seen by the reader: user-level privacy, and the reader is outside the trust domain.
pub fn hides_caller(crossing: &Crossing<'_>, message: &Message) -> bool {
    !crossing.to.identity_trusted && privacy(message).any(|value| value == "user")
}
