//! The order in which the border asks its questions of an INVITE, and the one value that proves they were all answered.
//!
//! Access control, admission, hunt group (from the trunk side) or the pool's plan (from the UM side), security mode of this leg, interwork, fit of
//! the called number, the caller and the diverting users after number rules (from the UM side: toll, then number rules), routing, security mode of the
//! other leg. The first refusal ends it. `run` and `explain` both come through here.

use std::sync::Arc;

pub use crate::policy::admission::Load;
use crate::policy::flow::Flow;
use crate::policy::hunt_group::Dialled;
use crate::policy::liveness::Board;
use crate::policy::peer::PeerTable;
use crate::policy::security_mode::{self, MediaPlan, mode_name};
use crate::policy::settings::{DialPlan, HuntGroup, Peer, PolicySet, SecurityMode, UmPool, UriType, number_of, pilot_key};
use crate::policy::toll::{self, TollCaller};
use crate::policy::verdict::{Decision, Reason};
use crate::policy::{access_control, admission, caller, dial_plan, diversion, hunt_group, mailboxes, numbering, routing};
use crate::sdp::Description;
use crate::sip::{Message, Method, Scheme, Uri};

/// The facts of the question.
#[derive(Clone, Copy)]
pub struct Question<'a> {
    pub set: &'a PolicySet,
    pub table: &'a PeerTable,
    /// How it stands with the addresses of those that may be called.
    pub liveness: &'a Board,
    pub load: &'a Load,
    pub flow: &'a Flow,
    /// Whom `peer::identify` found behind the flow.
    pub peer: &'a Arc<Peer>,
    /// A new call: an INVITE without a To tag.
    pub invite: &'a Message,
    /// `None`: the offer comes later (RFC 3264 §4), and is then asked for by [`security_mode::offer`].
    pub offer: Option<&'a Description>,
}

/// A call that screening let in. Only `screen` makes one.
#[derive(Clone, Debug, PartialEq)]
pub struct Admitted {
    pub peer: Arc<Peer>,
    /// The plan that governs the call, on the trunk side found by its hunt group.
    pub plan: Option<Arc<DialPlan>>,
    /// Where the call came in; `None` from the UM side.
    pub hunt_group: Option<Arc<HuntGroup>>,
    /// The pool whose redirects may be followed; `None` towards gateways.
    pub pool: Option<Arc<UmPool>>,
    /// Peers to try for the B leg, in order; never empty.
    pub targets: Vec<Arc<Peer>>,
    pub a: MediaPlan,
    /// Of the first target; for another one ask [`Admitted::b_leg`].
    pub b: MediaPlan,
    /// User part for the B leg's Request-URI and To, as the dial plan wants it; not escaped.
    pub called: String,
    /// The least a B leg must be.
    floor: SecurityMode,
    /// `called` as it was when the call came in, whatever transfers have made of it.
    dialled: String,
}

impl Admitted {
    /// The plan of a B leg to this peer: a target, or where a redirect leads.
    pub fn b_leg(&self, target: &Peer) -> MediaPlan {
        security_mode::leg_plan(self.floor, target)
    }

    /// The same targets in another order; no other one comes in by it.
    pub fn reordered(mut self, order: Vec<Arc<Peer>>) -> Admitted {
        let place = |peer: &Arc<Peer>| order.iter().position(|other| other.name == peer.name).unwrap_or(usize::MAX);
        self.targets.sort_by_key(place);
        if let Some(first) = self.targets.first() {
            self.b = self.b_leg(first);
        }
        self
    }

    /// The same call on its way over the PSTN: as with UM's own outward calls a gateway's leg has the gateway's mode, and a gateway weaker than the plan
    /// gets none unless the plan names it in `interwork`. `None`: no target may carry it.
    pub fn rerouted(&self, called: String, targets: Vec<Arc<Peer>>) -> (Decision, Option<Admitted>) {
        let Some(plan) = &self.plan else { return (Decision::refused("security_mode", "no plan governs the call", Reason::NoRoute), None) };
        let floor = SecurityMode::Unsecured;
        let (decision, targets) = other_leg(plan, floor, targets);
        let b = targets.first().map(|first| security_mode::leg_plan(floor, first));
        let admitted = b.map(|b| Admitted { pool: None, targets, b, called, floor, ..self.clone() });
        (decision, admitted)
    }

    /// The number the call came in with, as `called` was then.
    pub fn dialled(&self) -> &str {
        &self.dialled
    }

    /// The same call on another way (a transfer): who let it in stays, where it goes is new. `None` without a target.
    pub(super) fn towards(&self, way: Way) -> Option<Admitted> {
        let b = security_mode::leg_plan(way.floor, way.targets.first()?);
        let Way { plan, pool, targets, called, floor } = way;
        Some(Admitted { plan: Some(plan), pool, targets, called, floor, b, ..self.clone() })
    }
}

/// Where a call is to go instead: targets that [`other_leg`] has let through.
pub(super) struct Way {
    pub plan: Arc<DialPlan>,
    pub pool: Option<Arc<UmPool>>,
    pub targets: Vec<Arc<Peer>>,
    pub called: String,
    pub floor: SecurityMode,
}

pub struct Screening {
    pub trail: Vec<Decision>,
    pub outcome: Result<Admitted, Reason>,
}

pub fn screen(question: Question<'_>) -> Screening {
    let mut trail = Trail(Vec::with_capacity(10));
    let outcome = deliberate(&question, &mut trail);
    Screening { trail: trail.0, outcome }
}

struct Trail(Vec<Decision>);

impl Trail {
    fn record(&mut self, decision: Decision) -> Result<(), Reason> {
        let refused = decision.refused;
        self.0.push(decision);
        refused.map_or(Ok(()), Err)
    }
}

/// What the hunt group, or the pool of the UM server, led to.
struct Governed {
    plan: Arc<DialPlan>,
    hunt_group: Option<Arc<HuntGroup>>,
    /// The user part that was dialled.
    called: String,
    /// It is a pilot of the hunt group.
    by_pilot: bool,
}

fn deliberate(question: &Question<'_>, trail: &mut Trail) -> Result<Admitted, Reason> {
    let peer = question.peer;
    trail.record(access_control::method(peer, &Method::Invite, false))?;
    trail.record(admission::admission(&question.set.admission, peer, question.load))?;
    let mut governed = if peer.kind.is_um() { by_pool(question, trail)? } else { by_hunt_group(question, trail)? };
    let plan = &governed.plan;
    admission::of_plan(plan, question.load).map_or(Ok(()), |decision| trail.record(decision))?;

    let a_mode = if peer.kind.is_um() { plan.mode } else { peer.mode };
    let a = security_mode::leg_plan(a_mode, peer);
    trail.record(this_leg(question, &a))?;
    let (floor, pool, called, targets) = if peer.kind.is_um() {
        trail.record(toll::permits(question.set, plan, TollCaller::Outcall, &governed.called))?;
        let (decision, targets) = routing::towards_gateways(question.table, question.liveness, plan);
        trail.record(decision)?;
        // A gateway's leg has the gateway's own mode, which `permitted` compares with the plan's.
        let called = translated(numbering::outward(plan, &governed.called), trail)?;
        // Rules that allow speak of what was asked for; those that deny, of what would be dialled as well.
        toll::denies(question.set, plan, TollCaller::Outcall, &called).map_or(Ok(()), |decision| trail.record(decision))?;
        (SecurityMode::Unsecured, None, called, targets)
    } else {
        trail.record(interwork(plan, peer))?;
        let (called, asked) = (every_uri(question, &governed, trail)?, plan.mode);
        let plan = &routed(question, &mut governed, trail)?;
        // The pool in which the mailbox lives may demand more than the plan.
        if plan.mode > asked {
            trail.record(interwork(plan, peer))?;
        }
        let (decision, targets) = routing::towards_um(question.table, question.liveness, plan);
        trail.record(decision)?;
        (plan.mode, Some(Arc::clone(&plan.um_pool)), called, targets)
    };
    let (decision, targets) = other_leg(&governed.plan, floor, targets);
    trail.record(decision)?;
    let targets = fax_leg(question, &a, floor, targets, trail)?;
    let first = targets.first().ok_or(Reason::NoRoute)?;
    let b = security_mode::leg_plan(floor, first);
    let dialled = called.clone();
    Ok(Admitted { peer: Arc::clone(peer), hunt_group: governed.hunt_group, pool, targets, a, b, called, floor, dialled, plan: Some(governed.plan) })
}

/// Every URI that UM will see fits the plan, or the call is refused before UM can: called user, caller, diverting users. The called user's form comes back.
fn every_uri(question: &Question<'_>, governed: &Governed, trail: &mut Trail) -> Result<String, Reason> {
    let plan = &governed.plan;
    let number = translated(numbering::inward(plan, &governed.called), trail)?;
    let (decision, called) = if governed.by_pilot { dial_plan::called_pilot(plan, &number) } else { dial_plan::called(plan, &number) };
    trail.record(decision)?;
    let (decisions, _) = caller::judge(plan, question.peer, question.invite);
    decisions.into_iter().try_for_each(|decision| trail.record(decision))?;
    if let Some(chosen) = diversion::choose(plan, question.peer, question.invite).filter(|chosen| chosen.decision.refused.is_some()) {
        // What crosses is told when it does, for each target.
        chosen.numbering.into_iter().try_for_each(|decision| trail.record(decision))?;
        trail.record(chosen.decision)?;
    }
    called.ok_or(Reason::PlanMismatch)
}

/// The plan with the UM pool in which the mailbox lives: everything after this goes by it.
fn routed(question: &Question<'_>, governed: &mut Governed, trail: &mut Trail) -> Result<Arc<DialPlan>, Reason> {
    let mut pool = Arc::clone(&governed.plan.um_pool);
    if let Some((decision, found)) = mailboxes::pool(question.set, &governed.plan, question.peer, question.invite) {
        trail.record(decision)?;
        pool = found;
    }
    governed.plan = mailboxes::governing(&governed.plan, &pool);
    Ok(Arc::clone(&governed.plan))
}

/// What the number rules made of a number; told where they made something of it.
fn translated((decision, number): (Decision, String), trail: &mut Trail) -> Result<String, Reason> {
    if numbering::applied(&decision) {
        trail.record(decision)?;
    }
    Ok(number)
}

fn by_hunt_group(question: &Question<'_>, trail: &mut Trail) -> Result<Governed, Reason> {
    let to = question.invite.to().ok();
    let dialled = [Some(request_uri(question, trail)?), to.as_ref().and_then(|to| to.parsed_uri().ok()).map(|uri| dialled("To", &uri))];
    let dialled: Vec<Dialled<'_>> = dialled.into_iter().flatten().collect();
    let (decision, found) = hunt_group::find(question.set, &question.peer.name, &dialled);
    trail.record(decision)?;
    let found = found.ok_or(Reason::NoHuntGroup)?;
    let called = dialled.get(found.dialled).map(|at| String::from(&*at.user)).unwrap_or_default();
    let called = named_pilot(found.group, &called).unwrap_or(called);
    let by_pilot = is_pilot(found.group, &called);
    Ok(Governed { plan: Arc::clone(&found.group.plan), hunt_group: Some(Arc::clone(found.group)), called, by_pilot })
}

/// Whether what was dialled is a pilot, and not only something in the context of the plan.
fn is_pilot(group: &HuntGroup, called: &str) -> bool {
    let is_own = group.pilot.is_some() && !group.is_by_plan_name();
    is_own || called.eq_ignore_ascii_case(&group.plan.name) || group.plan.is_pilot(&pilot_key(&dial_plan::dialled_number(called)))
}

/// Where the plan's name was dialled, UM is called by the plan's first access number, unless names fit the plan.
fn named_pilot(group: &HuntGroup, called: &str) -> Option<String> {
    let by_name = group.is_by_plan_name() && called.eq_ignore_ascii_case(&group.plan.name) && group.plan.uri_type != UriType::SipUri;
    group.plan.access_numbers.first().filter(|_| by_name).map(|number| String::from(&**number))
}

/// A UM server's outward call belongs to the plan whose pilot its From carries, else to the first plan in the set's order whose pool has the server.
fn by_pool(question: &Question<'_>, trail: &mut Trail) -> Result<Governed, Reason> {
    let called = request_uri(question, trail)?;
    if let Some(decision) = question.invite.request_uri().and_then(|uri| Uri::parse(uri).ok()).and_then(|uri| mailboxes::outward(question.set, &uri)) {
        trail.record(decision)?;
    }
    let plans: Vec<Arc<DialPlan>> = mailboxes::plans_of(question.set, &question.peer.name).collect();
    let from = question.invite.from().ok().and_then(|from| from.parsed_uri().ok().map(|uri| pilot_key(dial_plan::subscriber(&uri.user_decoded()))));
    let by_pilot = from.as_deref().filter(|pilot| !pilot.is_empty()).and_then(|pilot| {
        plans.iter().find(|plan| {
            plan.is_pilot(pilot)
                || plan.gateways.iter().any(|gateway| question.set.hunt_groups.with_pilot(gateway, pilot).is_some_and(|group| group.plan.name == plan.name))
        })
    });
    let (rule, plan) = match by_pilot {
        Some(plan) => ("the caller is a pilot of the plan", Some(plan)),
        None => ("first plan whose UM pool has this server", plans.first()),
    };
    let Some(plan) = plan else {
        trail.record(
            Decision::refused("dial_plan", "no plan's UM pool has this server", Reason::NoRoute).comparing("server", String::from(&*question.peer.name)),
        )?;
        return Err(Reason::NoRoute);
    };
    let number = number_of(dial_plan::subscriber(&called.user)).unwrap_or_else(|| String::from(&*called.user));
    trail.record(Decision::passed("dial_plan", rule).comparing("plan", String::from(&*plan.name)).comparing("called", number.clone()))?;
    Ok(Governed { plan: Arc::clone(plan), hunt_group: None, called: number, by_pilot: false })
}

fn request_uri<'a>(question: &Question<'a>, trail: &mut Trail) -> Result<Dialled<'a>, Reason> {
    let text = question.invite.request_uri().unwrap_or_default();
    let refuse = |trail: &mut Trail, reason| {
        let decision = Decision::refused("hunt_group", "the Request-URI must be sip, sips or tel", reason).comparing("Request-URI", String::from(text));
        trail.record(decision).and(Err(reason))
    };
    match Uri::parse(text) {
        Ok(uri) if matches!(uri.scheme, Scheme::Other(_)) => refuse(trail, Reason::UnsupportedScheme),
        Ok(uri) => Ok(dialled("Request-URI", &uri)),
        Err(_) => refuse(trail, Reason::Malformed),
    }
}

fn dialled<'a>(place: &'static str, uri: &Uri<'a>) -> Dialled<'a> {
    let user = match (uri.scheme, uri.params.get("phone-context")) {
        // So that a tel URI reads as the same number in a SIP URI (RFC 3261 §19.1.6).
        (Scheme::Tel, Some(context)) => format!("{};phone-context={context}", uri.user.unwrap_or_default()).into(),
        _ => uri.user_decoded(),
    };
    Dialled { place, user, host: uri.host }
}

fn this_leg(question: &Question<'_>, a: &MediaPlan) -> Decision {
    let transport = question.flow.transport;
    let verdict = match question.offer {
        _ if !a.admits(question.flow) => Err(Reason::ModeTransport),
        Some(description) => security_mode::offer(a, transport, description),
        None => Ok(()),
    };
    let rule = "this leg's security mode";
    let decision = match verdict {
        Ok(()) => Decision::passed("security_mode", rule),
        Err(reason) => Decision::refused("security_mode", rule, reason),
    };
    let offered = match question.offer {
        Some(description) => security_mode::profiles(description),
        None => "nothing yet".into(),
    };
    let decision = decision.comparing("mode", mode_name(a.mode())).comparing("transport", transport.via_token()).comparing("offered", offered);
    let unproven = transport.is_encrypted() && !question.flow.is_mutual_tls();
    if unproven { decision.comparing("certificate", "none") } else { decision }
}

pub(super) fn interwork(plan: &DialPlan, peer: &Peer) -> Decision {
    let named = security_mode::interworks(&plan.interwork, &peer.name);
    let decision = match security_mode::between(peer.mode, plan.mode, named) {
        Ok(_) if peer.mode < plan.mode => Decision::passed("security_mode", "the plan names the peer in interwork"),
        Ok(_) => Decision::passed("security_mode", "the peer is no weaker than the plan"),
        Err(reason) => Decision::refused("security_mode", "the peer is weaker than the plan, and not in its interwork", reason),
    };
    decision.comparing("peer's mode", mode_name(peer.mode)).comparing("plan's mode", mode_name(plan.mode))
}

/// Of a call that begins as a T.38 fax, the targets whose leg may carry one: none that is to be protected, none that wants no T.38.
fn fax_leg(question: &Question<'_>, a: &MediaPlan, floor: SecurityMode, targets: Vec<Arc<Peer>>, trail: &mut Trail) -> Result<Vec<Arc<Peer>>, Reason> {
    if !question.offer.is_some_and(|offer| security_mode::is_fax(a, question.flow.transport, offer)) {
        return Ok(targets);
    }
    let mut refused = Reason::FaxDeclined;
    let carries = |target: &Arc<Peer>| security_mode::leg_plan(floor, target).fax().map_err(|reason| refused = reason).is_ok();
    let kept: Vec<Arc<Peer>> = targets.into_iter().filter(carries).collect();
    let decision = match kept.first() {
        Some(first) => Decision::passed("security_mode", "T.38 fax, in clear on both legs").comparing("first target", String::from(&*first.name)),
        None => Decision::refused("security_mode", "T.38 fax on the other leg", refused),
    };
    trail.record(decision)?;
    Ok(kept)
}

/// Keeps the targets whose transport carries the leg's mode and whose leg is neither above a UM plan's mode nor below a gateway's bond with it.
pub(super) fn other_leg(plan: &DialPlan, floor: SecurityMode, targets: Vec<Arc<Peer>>) -> (Decision, Vec<Arc<Peer>>) {
    let mut refused = None;
    let mut names = Vec::new();
    let kept: Vec<Arc<Peer>> = targets
        .into_iter()
        .filter(|target| {
            let verdict = permitted(plan, floor, target);
            names.push(format!("{} ({}, {})", target.name, mode_name(target.mode), target.transport));
            verdict.map_err(|reason| refused.get_or_insert(reason).code()).is_ok()
        })
        .collect();
    let decision = match kept.first() {
        Some(first) => {
            let leg = security_mode::leg_plan(floor, first);
            Decision::passed("security_mode", "the other leg's security mode")
                .comparing("mode", mode_name(leg.mode()))
                .comparing("first target", String::from(&*first.name))
                .comparing("transport", first.transport.via_token())
        }
        None => Decision::refused("security_mode", "no target may carry the other leg", refused.unwrap_or(Reason::NoRoute))
            .comparing("plan's mode", mode_name(plan.mode))
            .comparing("targets", names.join(", ")),
    };
    (decision, kept)
}

fn permitted(plan: &DialPlan, floor: SecurityMode, target: &Peer) -> Result<(), Reason> {
    if target.kind.is_um() {
        // The plan says what UM expects: a server that must have more cannot serve it.
        if target.mode > floor {
            return Err(Reason::ModeInterwork);
        }
    } else {
        security_mode::between(target.mode, plan.mode, security_mode::interworks(&plan.interwork, &target.name))?;
    }
    if security_mode::leg_plan(floor, target).permits(target.transport) { Ok(()) } else { Err(Reason::ModeTransport) }
}
