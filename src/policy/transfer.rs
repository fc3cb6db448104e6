//! Where a REFER may lead (RFC 3515, RFC 5589): what its Refer-To asks for, and which of it policy allows to whom.
//!
//! | who refers | Refer-To | goes to |
//! |---|---|---|
//! | UM | the host of the plan's `fax_server` | that peer |
//! | UM | the host of a router or server of the plan's UM pool | that peer (versions of Exchange side by side refer callers to each other) |
//! | UM | any other | its number, if the toll rules allow it, by the plan's gateways (also those without `outcalls`); first the one the call is with |
//! | a trunk, gateway, PBX or Mediation Server | any | what the peer could have dialled itself: a pilot of a hunt group of its own, and so UM |
//!
//! A number UM refers to in a call with a peer of `refer = "relay"` is that peer's to call; the verdict is the same.
//!
//! The host of a Refer-To is never called: it only tells these apart. Of its `?headers` Replaces alone is read; a method other than INVITE is refused.
//! No leg is planned here: [`Admitted`] plans it as it plans every other.

use std::net::IpAddr;
use std::sync::Arc;

use crate::policy::hunt_group::Dialled;
use crate::policy::liveness::Board;
use crate::policy::peer::PeerTable;
use crate::policy::screening::{Admitted, Way, other_leg};
use crate::policy::security_mode::{self, mode_name};
use crate::policy::settings::{DialPlan, Peer, PeerHost, PeerKind, PeerStatus, PolicySet, SecurityMode, number_of};
use crate::policy::toll::{self, TollCaller};
use crate::policy::verdict::{Decision, Reason};
use crate::policy::{access_control, dial_plan, hunt_group, mailboxes, numbering, routing, screening};
use crate::sip::{HeaderName, Message, Method, NameAddr, Scheme, Uri};

/// Transfers of one call, one after another.
pub const MOST_TRANSFERS: usize = 16;

/// The longest Replaces that is looked at.
const REPLACES_BYTES: usize = 1024;

/// What REFER of a peer comes to.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Refer {
    /// It may not send any.
    Refuse,
    /// The border executes what it sends: calls the target itself, and tells the peer what becomes of it.
    Execute,
    /// The same, and what UM refers in calls with the peer is handed to it: it calls the target itself. If it will not, the border executes that too.
    Relay,
}

impl Refer {
    /// UM transfers by REFER and nothing else; from anybody else it has to be wanted.
    pub const fn of_kind(kind: PeerKind) -> Refer {
        if kind.is_um() { Refer::Execute } else { Refer::Refuse }
    }
}

/// What becomes of a caller whose transfer failed when the one who transferred him has left.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailedTransfer {
    /// He is taken back to UM, with the number he first called.
    #[default]
    CallBack,
    Release,
}

/// The facts of the question.
#[derive(Clone, Copy)]
pub struct Question<'a> {
    pub set: &'a PolicySet,
    pub table: &'a PeerTable,
    pub liveness: &'a Board,
    /// What let the call in.
    pub admitted: &'a Admitted,
    /// Who refers, and who is referred.
    pub transferor: &'a Peer,
    pub transferee: &'a Peer,
    /// The mode of his leg.
    pub stays: SecurityMode,
}

/// What a Refer-To asks for, read and nothing more.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Wanted {
    /// As written, for records.
    pub uri: String,
    /// Without `%hh`; empty where the URI has none.
    pub user: String,
    pub host: String,
    /// The dialog the target is to give up: an attended transfer. Its `%hh` resolved.
    pub replaces: Option<String>,
}

/// What kind of target a transfer has.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A number outside.
    Number,
    /// UM: another server of the pool, or a pilot.
    Um,
    Fax,
    /// A call that is up already.
    Attended,
    /// Back to UM, since another transfer failed.
    CallBack,
}

impl Kind {
    pub const fn word(self) -> &'static str {
        match self {
            Kind::Number => "number",
            Kind::Um => "um",
            Kind::Fax => "fax",
            Kind::Attended => "attended",
            Kind::CallBack => "call_back",
        }
    }
}

pub struct Verdict {
    pub trail: Vec<Decision>,
    pub outcome: Result<(Kind, Admitted), Reason>,
}

/// Reads Refer-To. Errors: `TransferReferTo`, `UnsupportedScheme`, `TransferMethod`.
pub fn wanted(refer: &Message) -> Result<Wanted, Reason> {
    let mut values = refer.values(HeaderName::ReferTo);
    let (Some(value), None) = (values.next(), values.next()) else { return Err(Reason::TransferReferTo) };
    let address = NameAddr::parse(value).map_err(|_| Reason::TransferReferTo)?;
    let uri = address.parsed_uri().map_err(|_| Reason::TransferReferTo)?;
    if matches!(uri.scheme, Scheme::Other(_)) {
        return Err(Reason::UnsupportedScheme);
    }
    if uri.params.get("method").is_some_and(|method| !method.eq_ignore_ascii_case("INVITE")) {
        return Err(Reason::TransferMethod);
    }
    let user = dial_plan::subscriber(&uri.user_decoded()).to_owned();
    let replaces = uri.headers.and_then(replaces).transpose()?;
    Ok(Wanted { uri: Uri { headers: None, password: None, ..uri }.to_string(), user, host: bare(uri.host), replaces })
}

/// The escaped Replaces among a URI's headers.
fn replaces(headers: &str) -> Option<Result<String, Reason>> {
    let (_, value) = headers.split('&').filter_map(|header| header.split_once('=')).find(|(name, _)| name.eq_ignore_ascii_case("replaces"))?;
    Some(if value.len() <= REPLACES_BYTES { Ok(unescaped(value)) } else { Err(Reason::TransferReferTo) })
}

fn unescaped(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let hex = after.get(..2).filter(|_| *first == b'%').and_then(|hex| std::str::from_utf8(hex).ok()).and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match hex {
            Some(byte) => {
                bytes.push(byte);
                rest = after.get(2..).unwrap_or_default();
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn bare(host: &str) -> String {
    host.trim_matches(['[', ']']).trim_end_matches('.').to_ascii_lowercase()
}

/// Whether, and where, the one referred is to be connected.
pub fn decide(question: Question<'_>, wanted: &Wanted) -> Verdict {
    let mut trail = Vec::new();
    let outcome = if question.transferor.kind.is_um() { for_um(&question, wanted, &mut trail) } else { as_dialled(&question, wanted, &mut trail) };
    Verdict { trail, outcome }
}

fn record(trail: &mut Vec<Decision>, decision: Decision) -> Result<(), Reason> {
    let refused = decision.refused;
    trail.push(decision);
    refused.map_or(Ok(()), Err)
}

fn for_um(question: &Question<'_>, wanted: &Wanted, trail: &mut Vec<Decision>) -> Result<(Kind, Admitted), Reason> {
    let Some(plan) = &question.admitted.plan else {
        return record(trail, Decision::refused("transfer", "the call has no dial plan", Reason::TransferTarget)).and(Err(Reason::TransferTarget));
    };
    let enabled = |name: &Arc<str>| question.table.peer(name).filter(|peer| peer.status == PeerStatus::Enabled);
    let lives_there = |peer: &&Arc<Peer>| is_host_of(question.table, peer, &wanted.host);
    if let Some(fax) = plan.fax_server.as_ref().and_then(enabled).filter(lives_there) {
        let decision = Decision::passed("transfer", format!("fax_server of dial plan \"{}\"", plan.name)).comparing("host", wanted.host.clone());
        record(trail, decision)?;
        return admit(question, plan, trail, Towards { kind: Kind::Fax, targets: vec![Arc::clone(fax)], called: wanted.user.clone() });
    }
    let members = plan.um_pool.servers.iter().chain(&plan.um_pool.routers);
    if let Some(server) = members.filter_map(enabled).find(lives_there) {
        let called = if wanted.user.is_empty() { &question.admitted.called } else { &wanted.user };
        let decision = Decision::passed("transfer", format!("UM pool \"{}\"", plan.um_pool.name)).comparing("host", wanted.host.clone());
        record(trail, decision.comparing("peer", String::from(&*server.name)))?;
        let (decision, called) = dial_plan::called(plan, called);
        record(trail, decision)?;
        return admit(question, plan, trail, Towards { kind: Kind::Um, targets: vec![Arc::clone(server)], called: called.unwrap_or_default() });
    }
    let rule = format!("numbers of dial plan \"{}\"", plan.name);
    if wanted.user.is_empty() {
        let decision = Decision::refused("transfer", rule, Reason::TransferTarget).comparing("host", wanted.host.clone());
        return record(trail, decision).and(Err(Reason::TransferTarget));
    }
    if let Some(decision) = Uri::parse(&wanted.uri).ok().and_then(|uri| mailboxes::outward(question.set, &uri)) {
        return record(trail, decision).and(Err(Reason::SharedDomain));
    }
    record(trail, Decision::passed("transfer", rule).comparing("number", wanted.user.clone()).comparing("host, not called", wanted.host.clone()))?;
    // As an outcall of UM's, whose dialling rules have made the number what it is.
    let called = number_of(dial_plan::subscriber(&wanted.user)).unwrap_or_else(|| wanted.user.clone());
    record(trail, toll::permits(question.set, plan, TollCaller::Transfer, &called))?;
    let (decision, called) = numbering::outward(plan, &called);
    if numbering::applied(&decision) {
        record(trail, decision)?;
    }
    toll::denies(question.set, plan, TollCaller::Transfer, &called).map_or(Ok(()), |decision| record(trail, decision))?;
    let (decision, mut targets) = routing::towards_transfers(question.table, question.liveness, plan);
    record(trail, decision)?;
    // Among equals the one the call is with: what comes in by a trunk goes out by it.
    targets.sort_by_key(|peer| (question.liveness.of(&peer.name).rank(), peer.name != question.transferee.name));
    admit(question, plan, trail, Towards { kind: Kind::Number, targets, called })
}

/// A peer outside gets what its own INVITE would have got.
fn as_dialled(question: &Question<'_>, wanted: &Wanted, trail: &mut Vec<Decision>) -> Result<(Kind, Admitted), Reason> {
    let transferor = question.transferor;
    record(trail, access_control::method(transferor, &Method::Invite, false))?;
    let dialled = [Dialled { place: "Refer-To", user: wanted.user.as_str().into(), host: &wanted.host }];
    let (decision, found) = hunt_group::find(question.set, &transferor.name, &dialled);
    record(trail, decision)?;
    let plan = &found.ok_or(Reason::NoHuntGroup)?.group.plan;
    record(trail, screening::interwork(plan, transferor))?;
    let (decision, number) = numbering::inward(plan, &wanted.user);
    record(trail, decision)?;
    let (decision, called) = dial_plan::called(plan, &number);
    record(trail, decision)?;
    let (decision, targets) = routing::towards_um(question.table, question.liveness, plan);
    record(trail, decision)?;
    admit(question, plan, trail, Towards { kind: Kind::Um, targets, called: called.unwrap_or_default() })
}

/// Whether the peer of the one referred is handed the transfer. Never one that leads inside, whose hosts it must not learn.
pub fn relayed(transferor: &Peer, transferee: &Peer, kind: Kind) -> Option<Decision> {
    let leads_outside = matches!(kind, Kind::Number | Kind::Attended);
    let relays = transferor.kind.is_um() && !transferee.kind.is_um() && transferee.refer == Refer::Relay && leads_outside;
    relays.then(|| Decision::passed("transfer", "refer = \"relay\" of the other leg's peer").comparing("peer", String::from(&*transferee.name)))
}

/// The way back to UM, with the number first called, for one whose transfer failed. `None`: the call was not one to UM, or the plan will have it
/// released.
pub fn back(question: Question<'_>) -> Option<Verdict> {
    let plan = question.admitted.plan.as_ref().filter(|_| question.admitted.hunt_group.is_some())?;
    if plan.failed_transfer != crate::policy::settings::FailedTransfer::CallBack {
        return None;
    }
    let mut trail = Vec::new();
    let outcome = (|| {
        let (decision, targets) = routing::towards_um(question.table, question.liveness, plan);
        record(&mut trail, decision)?;
        admit(&question, plan, &mut trail, Towards { kind: Kind::Um, targets, called: question.admitted.dialled().to_owned() })
    })();
    Some(Verdict { trail, outcome })
}

struct Towards {
    kind: Kind,
    targets: Vec<Arc<Peer>>,
    called: String,
}

/// The last question, as for every other leg: which targets may carry it.
fn admit(question: &Question<'_>, plan: &Arc<DialPlan>, trail: &mut Vec<Decision>, towards: Towards) -> Result<(Kind, Admitted), Reason> {
    let Towards { kind, targets, called } = towards;
    record(trail, stays(question, plan))?;
    let (floor, pool) = match kind {
        Kind::Um | Kind::CallBack => (plan.mode.max(plan.um_pool.floor()), Some(Arc::clone(&plan.um_pool))),
        Kind::Number | Kind::Fax | Kind::Attended => (SecurityMode::Unsecured, None),
    };
    let (decision, targets) = other_leg(plan, floor, targets);
    record(trail, decision)?;
    let way = question.admitted.towards(Way { plan: Arc::clone(plan), pool, targets, called, floor }).ok_or(Reason::NoRoute)?;
    Ok((kind, way))
}

/// Whether the one referred may be in a call of this plan: what he says and hears is then as well protected there as in the call he comes from.
pub fn stays(question: &Question<'_>, plan: &DialPlan) -> Decision {
    let (transferee, leg) = (question.transferee, question.stays);
    let verdict = match transferee.kind.is_um() {
        true if plan.mode < leg => Err(Reason::ModeInterwork),
        true => Ok(()),
        false => security_mode::between(leg, plan.mode, security_mode::interworks(&plan.interwork, &transferee.name)).map(|_| ()),
    };
    let rule = "the leg of the one who is transferred, and the plan it comes under";
    let decision = verdict.map_or_else(|reason| Decision::refused("security_mode", rule, reason), |()| Decision::passed("security_mode", rule));
    decision.comparing("peer", String::from(&*transferee.name)).comparing("leg's mode", mode_name(leg)).comparing("plan's mode", mode_name(plan.mode))
}

fn is_host_of(table: &PeerTable, peer: &Peer, host: &str) -> bool {
    if let Ok(address) = host.parse::<IpAddr>() {
        return table.addresses(&peer.name).contains(&address.to_canonical());
    }
    let is_name = |known: &PeerHost| matches!(known, PeerHost::Name(name) if name.eq_ignore_ascii_case(host));
    !host.is_empty() && (peer.hosts.iter().any(is_name) || peer.tls_names.iter().any(|name| name.eq_ignore_ascii_case(host)))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::sip::Limits;

    fn read(refer_to: &str) -> Result<Wanted, Reason> {
        let text = format!("REFER sip:a@b SIP/2.0\r\n{refer_to}Content-Length: 0\r\n\r\n");
        wanted(&Message::parse(Bytes::from(text), &Limits::default()).expect("a REFER"))
    }

    #[test]
    fn replaces_is_read_and_every_other_header_left() {
        let wanted = read("Refer-To: <sip:2002@um.test?Subject=x&Replaces=1%40a%3Bto-tag%3Db%3Bfrom-tag%3Dc&Route=y>\r\n").expect("readable");
        assert_eq!(wanted.replaces.as_deref(), Some("1@a;to-tag=b;from-tag=c"));
        assert_eq!(wanted.uri, "sip:2002@um.test");
    }

    #[test]
    fn a_replaces_of_ours_reads_as_it_was_meant() {
        let ours = crate::sip::Replaces { call_id: "a&b=c?%@h", to_tag: "x;y", from_tag: "z", early_only: false };
        let wanted = read(&format!("Refer-To: <sip:2002@um.test?Replaces={}>\r\n", ours.escaped())).expect("readable");
        assert_eq!(wanted.replaces.as_deref(), Some("a&b=c?%@h;to-tag=x;y;from-tag=z"));
    }

    #[test]
    fn one_target_by_invite_in_a_scheme_we_know() {
        assert_eq!(read(""), Err(Reason::TransferReferTo));
        assert_eq!(read("Refer-To: <sip:1@a>\r\nRefer-To: <sip:2@a>\r\n"), Err(Reason::TransferReferTo));
        assert_eq!(read("Refer-To: <sip:1@a>, <sip:2@a>\r\n"), Err(Reason::TransferReferTo));
        assert_eq!(read("Refer-To: <sip:1@a;method=BYE>\r\n"), Err(Reason::TransferMethod));
        assert_eq!(read("Refer-To: <http://a/>\r\n"), Err(Reason::UnsupportedScheme));
        assert_eq!(read("r: <tel:+1425-555-0100>\r\n").map(|wanted| wanted.user), Ok("+1425-555-0100".into()));
        assert_eq!(read("Refer-To: <sip:[2001:db8::1]>\r\n").map(|wanted| (wanted.user, wanted.host)), Ok((String::new(), "2001:db8::1".into())));
    }

    #[test]
    fn broken_escapes_stay_as_they_are() {
        assert_eq!(unescaped("%4"), "%4");
        assert_eq!(unescaped("%zz%41%"), "%zzA%");
    }
}
