//! Who the caller is to UM: From, as far as it can be told honestly.
//!
//! UM takes the caller's number for more than a name: who calls Outlook Voice Access from an extension is asked for the PIN alone. And since Exchange
//! 2010 a From or P-Asserted-Identity that does not fit the dial plan's type makes UM refuse the call (event 1021). So, in this order:
//!
//! 1. Who asks for anonymity is anonymous: Privacy with `user` or `id` (RFC 3323 §4.2, RFC 3325 §9.3; what `header` and `session` ask for every call
//!    gets), `anonymous@anonymous.invalid` and its kin, Remote-Party-ID with `privacy=full`. P-Asserted-Identity then stays behind as well: the mailbox's owner is no part of a trust domain.
//! 2. A From that fits after the number rules is the caller.
//! 3. Where From does not fit or says nothing, a P-Asserted-Identity that is believed and fits stands in for it.
//! 4. What fits nowhere is refused or becomes anonymous, as the plan's `unfit_caller` says. A From that says nothing is anonymous.
//! 5. An extension of the plan, or a number of its users, is believed from peers whose word on identity is (`identity = true`) and otherwise treated
//!    as `extension_callers` says.
//!
//! No identity is ever made up.

use std::borrow::Cow;

use crate::policy::dial_plan;
use crate::policy::numbering;
use crate::policy::settings::{DialPlan, Peer, UriType, number_of};
use crate::policy::verdict::{Decision, Reason};
use crate::sip::{HeaderName, Message, NameAddr, Scheme, Uri};

/// `unfit_caller` of a plan.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UnfitCaller {
    #[default]
    Refuse,
    Anonymous,
}

/// `extension_callers` of a plan: callers that name themselves by an extension, from peers nobody vouches for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ExtensionCallers {
    #[default]
    Anonymous,
    Refuse,
    /// Anybody who can call in that way can be anybody else's extension.
    Believe,
}

#[derive(Clone, PartialEq, Debug)]
pub enum Caller<'m> {
    Anonymous,
    Known {
        /// Where the display name and the domain are taken from.
        address: NameAddr<'m>,
        /// The user as the plan wants it: a number without separators, or the user part, not escaped.
        user: String,
    },
}

/// Users that stand for nobody where only numbers are somebody (RFC 3323 §4.1.1.3, 3GPP TS 29.163 §7.2.3.1.2.6, and as gateways write them).
const NOBODY: [&str; 5] = ["anonymous", "restricted", "unavailable", "unknown", "private"];

/// The caller of an INVITE from outside, and why. `peer`: whose INVITE it is.
pub fn judge<'m>(plan: &DialPlan, peer: &Peer, invite: &'m Message) -> (Vec<Decision>, Caller<'m>) {
    if wants_anonymity(invite) {
        return (vec![Decision::passed("caller", "the caller wants to be anonymous")], Caller::Anonymous);
    }
    let mut trail = Vec::new();
    let from = invite.from().ok().filter(|from| from.parsed_uri().is_ok_and(|uri| !matches!(uri.scheme, Scheme::Other(_))));
    let shown = from.as_ref().map_or(Cow::Borrowed("unreadable"), |from| Cow::Owned(String::from(from.uri)));
    let says_nothing = from.as_ref().is_none_or(|from| from.parsed_uri().is_ok_and(|uri| is_nobody(plan, &uri)));
    let named = from.filter(|_| !says_nothing).and_then(|address| named(plan, address, &mut trail));
    let named = named.map(|named| ("From fits the plan", named)).or_else(|| {
        let asserted = || invite.values(HeaderName::PAssertedIdentity).take(4).filter_map(|value| NameAddr::parse(value).ok());
        let stand_in = peer.identity_trusted.then(|| asserted().find_map(|address| named_somebody(plan, address, &mut trail))).flatten();
        stand_in.map(|stand_in| ("P-Asserted-Identity stands in for From", stand_in))
    });
    let (decision, caller) = match named {
        Some((_, named)) if !peer.identity_trusted && claims_extension(plan, &named.1) => unproven(plan, peer, named),
        Some((rule, (address, user))) => {
            (Decision::passed("caller", rule).comparing("From", shown).comparing("caller", user.clone()), Caller::Known { address, user })
        }
        None if says_nothing => (Decision::passed("caller", "From names nobody").comparing("From", shown), Caller::Anonymous),
        None => {
            let decision = match plan.unfit_caller {
                UnfitCaller::Anonymous => Decision::passed("caller", "unfit_caller is anonymous"),
                UnfitCaller::Refuse => Decision::refused("caller", "From does not fit the plan, and unfit_caller is refuse", Reason::CallerUnfit),
            };
            (decision.comparing("From", shown).comparing("wanted", dial_plan::wanted_of_calling(plan.uri_type)), Caller::Anonymous)
        }
    };
    trail.push(decision);
    (trail, caller)
}

/// What UM may be told of a user of this peer of whom no INVITE of his speaks: who is reached, and then talks to UM (RFC 3515). `None`: anonymous.
pub fn of_user(plan: &DialPlan, peer: &Peer, user: &str) -> Option<String> {
    let (_, number) = numbering::inward(plan, user);
    let form = dial_plan::calling(plan, &number)?;
    let unproven = !peer.identity_trusted && plan.extension_callers != ExtensionCallers::Believe && claims_extension(plan, &form);
    (!unproven && !NOBODY.iter().any(|nobody| form.eq_ignore_ascii_case(nobody))).then_some(form)
}

/// The user of an address as UM may see it, not escaped: judged in the form in which UM reads it. `None` if it does not fit. Number rules that were applied go to the trail.
pub fn fitting(plan: &DialPlan, uri: &Uri<'_>, trail: &mut Vec<Decision>) -> Option<String> {
    let user = match (uri.scheme, uri.params.get("phone-context")) {
        // As in a SIP URI (RFC 3261 §19.1.6).
        (Scheme::Tel, Some(context)) => format!("{};phone-context={context}", uri.user.unwrap_or_default()).into(),
        (Scheme::Other(_), _) => return None,
        _ => uri.user_decoded(),
    };
    if plan.uri_type == UriType::SipUri {
        return dial_plan::calling(plan, dial_plan::subscriber(&user));
    }
    let (decision, number) = numbering::inward(plan, &user);
    let fitting = dial_plan::calling(plan, &number);
    if numbering::applied(&decision) {
        trail.push(decision);
    }
    fitting
}

fn named<'m>(plan: &DialPlan, address: NameAddr<'m>, trail: &mut Vec<Decision>) -> Option<(NameAddr<'m>, String)> {
    let user = fitting(plan, &address.parsed_uri().ok()?, trail)?;
    Some((address, user))
}

fn named_somebody<'m>(plan: &DialPlan, address: NameAddr<'m>, trail: &mut Vec<Decision>) -> Option<(NameAddr<'m>, String)> {
    let nobody = is_nobody(plan, &address.parsed_uri().ok()?);
    if nobody { None } else { named(plan, address, trail) }
}

fn unproven<'m>(plan: &DialPlan, peer: &Peer, (address, user): (NameAddr<'m>, String)) -> (Decision, Caller<'m>) {
    let rule = "the caller names himself by an extension or number of the plan, and the peer's word on identity is not believed";
    let decision = match plan.extension_callers {
        ExtensionCallers::Anonymous => Decision::passed("caller", format!("{rule}: anonymous")),
        ExtensionCallers::Refuse => Decision::refused("caller", rule, Reason::CallerUnproven),
        ExtensionCallers::Believe => Decision::passed("caller", "extension_callers is believe"),
    };
    let decision = decision.comparing("caller", user.clone()).comparing("peer", String::from(&*peer.name)).comparing("digits", plan.digits.to_string());
    (decision, if plan.extension_callers == ExtensionCallers::Believe { Caller::Known { address, user } } else { Caller::Anonymous })
}

/// Whether UM would take the user for one of its own.
fn claims_extension(plan: &DialPlan, user: &str) -> bool {
    let number = number_of(dial_plan::subscriber(user)).unwrap_or_default();
    // A + is easily written, and as easily overlooked.
    let number = number.trim_start_matches('+');
    let is_own = |prefix: &str| number.starts_with(prefix.trim_start_matches('+'));
    !number.is_empty() && (dial_plan::is_extension(plan, number) || plan.own_numbers.iter().any(|prefix| is_own(prefix)))
}

/// Whether a URI is a stand-in for a caller that is not told.
pub fn is_nobody(plan: &DialPlan, uri: &Uri<'_>) -> bool {
    let user = uri.user_decoded();
    let invalid = uri.host.rsplit('.').next().is_some_and(|last| last.eq_ignore_ascii_case("invalid"));
    let stands_for_nobody = NOBODY.iter().any(|nobody| user.eq_ignore_ascii_case(nobody));
    user.is_empty() || is_anonymous(uri) || stands_for_nobody && (invalid || plan.uri_type != UriType::SipUri)
}

/// RFC 3323 §4.1.1.3, and the user alone as many write it.
pub fn is_anonymous(uri: &Uri<'_>) -> bool {
    uri.host.eq_ignore_ascii_case("anonymous.invalid") || uri.user_decoded().eq_ignore_ascii_case("anonymous")
}

/// Whether the caller asks that whoever is called does not learn who calls.
pub fn wants_anonymity(invite: &Message) -> bool {
    let hidden = invite
        .values(HeaderName::Privacy)
        .filter_map(|value| std::str::from_utf8(value).ok())
        .any(|value| value.split([';', ',']).any(|word| ["user", "id"].iter().any(|level| word.trim().eq_ignore_ascii_case(level))));
    let party = || invite.values(HeaderName::RemotePartyId).take(4).filter_map(|value| NameAddr::parse(value).ok());
    let is_calling = |address: &NameAddr<'_>| address.params.get("party").is_none_or(|party| party.eq_ignore_ascii_case("calling"));
    let is_private = |address: &NameAddr<'_>| {
        address
            .params
            .get("privacy")
            .is_some_and(|privacy| privacy.split(',').any(|word| ["full", "uri"].iter().any(|level| word.trim().eq_ignore_ascii_case(level))))
    };
    let anonymous = invite.from().is_ok_and(|from| match from.parsed_uri() {
        Ok(uri) => is_anonymous(&uri),
        // `tel:anonymous`: no tel URI, yet its meaning is plain.
        Err(_) => from.uri.to_ascii_lowercase().contains("anonymous"),
    });
    hidden || anonymous || party().any(|address| is_calling(&address) && is_private(&address))
}
