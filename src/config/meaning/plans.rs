//! `um_pools.toml`, `dial_plans.toml`, `hunt_groups.toml` as meant: every name resolved, and no plan that could not keep its mode.

use std::sync::Arc;

use super::{hosted, name, numbers, place, reroute, unknown};
use crate::config::finding::{At, Findings, Written};
use crate::config::written;
use crate::policy::security_mode::{between, interworks, leg_plan, mode_name};
use crate::policy::settings::{AdmissionLimits, DialPlan, HuntGroup, Peer, PeerKind, SecurityMode, UmPool, UriType, pilot_key};
use crate::policy::{dial_plan, numbering};

/// Exchange's limit is 64, but a plan's default mailbox policy carries its name and " Default Policy".
const PLAN_NAME_CHARACTERS: usize = 49;
const NAME_CHARACTERS: usize = 64;
/// What Exchange calls the hunt group it makes with a gateway.
const DEFAULT_HUNT_GROUP: &str = "Default Hunt Group";

/// The peers made, and the names written for everything, made or not.
pub struct Known<'k> {
    pub(super) peers: &'k [Arc<Peer>],
    peer_names: Vec<&'k str>,
    pub(super) pool_names: Vec<&'k str>,
    pub plan_names: Vec<&'k str>,
}

impl<'k> Known<'k> {
    pub fn new(set: &'k written::Set, peers: &'k [Arc<Peer>]) -> Known<'k> {
        fn names<'n>(written: impl Iterator<Item = &'n Option<Written<String>>>) -> Vec<&'n str> {
            written.flatten().map(|name| name.value.as_str()).collect()
        }
        Known {
            peers,
            peer_names: names(set.peers.iter().map(|peer| &peer.name)),
            pool_names: names(set.um_pools.iter().map(|pool| &pool.name)),
            plan_names: names(set.dial_plans.iter().map(|plan| &plan.name)),
        }
    }
}

fn find<'p>(known: &Known<'p>, written: &Written<String>, um: bool, findings: &Findings) -> Option<&'p Arc<Peer>> {
    let found = known.peers.iter().find(|peer| *peer.name == *written.value);
    let fitting: Vec<&str> = known.peers.iter().filter(|peer| peer.kind.is_um() == um).map(|peer| &*peer.name).collect();
    match found {
        None => unknown(written, "peer", "peers.toml", &fitting, &known.peer_names, findings),
        Some(peer) if peer.kind.is_um() != um => {
            let (what, instead) = if um {
                ("is not on the UM side", "name a peer of kind \"um-router\" or \"um-server\"")
            } else {
                ("is on the UM side", "name a peer of kind \"trunk\", \"gateway\" or \"pbx\"")
            };
            findings.problem(written.at, format!("peer \"{}\" {what}", peer.name), instead);
            return None;
        }
        Some(_) => {}
    }
    found
}

pub(super) fn names_of(known: &Known<'_>, written: &[Written<String>], um: bool, findings: &Findings) -> Vec<Arc<str>> {
    written.iter().filter_map(|name| find(known, name, um, findings)).map(|peer| Arc::clone(&peer.name)).collect()
}

pub fn pools(written: &[written::UmPool], known: &Known<'_>, findings: &Findings) -> Vec<Arc<UmPool>> {
    let mut seen = Vec::new();
    let mut pools = Vec::new();
    for entry in written {
        let name = name(entry.name.as_ref(), "UM pool", NAME_CHARACTERS, &mut seen, findings);
        let routers = names_of(known, &entry.routers, true, findings);
        let servers = names_of(known, &entry.servers, true, findings);
        let weights = weights(entry, &routers, findings);
        let hosted = hosted::hosted(entry, [&routers, &servers], known.peers, findings);
        let Some(name) = name else { continue };
        let (version, no_answer, greylist) = (entry.version, entry.no_answer, entry.greylist);
        let max_redirects = entry.max_redirects.unwrap_or(version.redirects());
        pools.push(Arc::new(UmPool {
            servers,
            max_redirects,
            no_answer,
            version,
            weights,
            greylist,
            start_up: entry.start_up,
            diversion: entry.diversion,
            hosted,
            ..UmPool::new(&name, routers)
        }));
    }
    pools
}

/// The weight of each router, in the order of `routers`.
fn weights(entry: &written::UmPool, routers: &[Arc<str>], findings: &Findings) -> Vec<(Arc<str>, u32)> {
    let Some(weights) = &entry.weights else { return Vec::new() };
    if weights.value.len() != entry.routers.len() {
        let what = format!("{} weights for {} routers", weights.value.len(), entry.routers.len());
        findings.problem(weights.at, what, "write one number for each router, in their order; 0 for one that only stands by");
    }
    if weights.value.iter().all(|weight| *weight == 0) {
        findings.problem(weights.at, "no router has a weight above 0", "write how many calls each takes of all, such as [2, 1], or remove weights");
    }
    // `routers` may lack some of which other problems tell.
    routers.iter().cloned().zip(weights.value.iter().map(|weight| *weight as u32)).filter(|(_, weight)| *weight > 0).collect()
}

pub fn plans(written: &[written::DialPlan], pools: &[Arc<UmPool>], known: &Known<'_>, findings: &Findings) -> Vec<Arc<DialPlan>> {
    let mut seen = Vec::new();
    let mut plans = Vec::new();
    for entry in written {
        let name = name(entry.name.as_ref(), "dial plan", PLAN_NAME_CHARACTERS, &mut seen, findings);
        let interwork = names_of(known, &entry.interwork, false, findings);
        let gateways = names_of(known, &entry.gateways, false, findings);
        let pool = entry.um_pool.as_ref().and_then(|written| {
            let pool = pools.iter().find(|pool| *pool.name == *written.value);
            if pool.is_none() {
                let pools: Vec<&str> = pools.iter().map(|pool| &*pool.name).collect();
                unknown(written, "UM pool", "um_pools.toml", &pools, &known.pool_names, findings);
            }
            pool
        });
        let (Some(name), Some(pool)) = (name, pool) else { continue };
        let digits = entry.digits.unwrap_or(1);
        let texts = |written: &[Written<String>]| written.iter().map(|text| text.value.as_str().into()).collect();
        let plan = DialPlan {
            interwork,
            gateways,
            numbering: numbers::numbering(&entry.numbers, findings),
            access_numbers: texts(&entry.numbers.access_numbers),
            auto_attendants: texts(&entry.numbers.auto_attendants),
            own_numbers: numbers::own_numbers(&entry.numbers, findings),
            unfit_caller: entry.numbers.unfit_caller,
            extension_callers: entry.numbers.extension_callers.unwrap_or_default(),
            fax_server: fax_server(entry, known, findings),
            failed_transfer: entry.failed_transfer,
            limits: entry.limits,
            ..DialPlan::new(&name, entry.uri_type, digits, entry.mode, Arc::clone(pool))
        };
        numbers::check_pilots(&plan, &entry.numbers, findings);
        check_floor(&plan, pool, place(entry.um_pool.as_ref(), entry.at), findings);
        check_pool(&plan, pool, place(entry.um_pool.as_ref(), entry.at), known.peers, findings);
        check_gateways(&plan, entry, known.peers, findings);
        check_interwork(&plan, entry, known.peers, findings);
        let reroute = entry.reroute.as_ref().and_then(|written| reroute::reroute(&plan, written, known, findings));
        plans.push(Arc::new(DialPlan { reroute, ..plan }));
    }
    reroute::check_unique(written, findings);
    numbers::check_spans(written, findings);
    plans
}

/// A trusted peer of its own kind: where UM refers faxes to is no gateway, and calls nobody.
fn fax_server(entry: &written::DialPlan, known: &Known<'_>, findings: &Findings) -> Option<Arc<str>> {
    let written = entry.fax_server.as_ref()?;
    let peer = find(known, written, false, findings)?;
    if peer.kind != PeerKind::Fax {
        findings.problem(written.at, format!("peer \"{}\" is no fax server", peer.name), "name a peer of kind \"fax\"");
        return None;
    }
    if between(peer.mode, entry.mode, entry.interwork.iter().any(|name| *name.value == *peer.name)).is_err() {
        let what =
            format!("fax server \"{}\" is {}, weaker than the plan ({}): every fax would be refused", peer.name, mode_name(peer.mode), mode_name(entry.mode));
        findings.problem(written.at, what, format!("raise the peer's mode, or add \"{}\" to the plan's interwork if that is meant", peer.name));
    }
    Some(Arc::clone(&peer.name))
}

/// A plan whose own pool is hosted is secured: anything less would promise its peers what that pool refuses.
fn check_floor(plan: &DialPlan, pool: &UmPool, at: At, findings: &Findings) {
    if plan.mode < pool.floor() {
        let what = format!(
            "dial plan \"{}\" is {}, but its UM pool is hosted, which takes no call below {}",
            plan.name,
            mode_name(plan.mode),
            mode_name(pool.floor())
        );
        findings.problem(
            at,
            what,
            format!("write mode = \"{}\" for the plan, and name weaker peers that it is to serve in its interwork", mode_name(pool.floor())),
        );
    }
}

/// Every member of a pool that serves the plan must be able to carry a leg of the plan's mode.
pub(super) fn check_pool(plan: &DialPlan, pool: &UmPool, at: At, peers: &[Arc<Peer>], findings: &Findings) {
    for member in pool.routers.iter().chain(&pool.servers).filter_map(|name| peers.iter().find(|peer| peer.name == *name)) {
        if member.mode > plan.mode.max(pool.floor()) {
            let what = format!(
                "dial plan \"{}\" is {}, below the mode {} of \"{}\" in its UM pool",
                plan.name,
                mode_name(plan.mode),
                mode_name(member.mode),
                member.name
            );
            findings.problem(at, what, format!("write mode = \"{}\" for the plan, or lower the peer's", mode_name(member.mode)));
        } else if !leg_plan(plan.mode, member).permits(member.transport) {
            let what = format!(
                "dial plan \"{}\" is {}, but \"{}\" in its UM pool speaks {}",
                plan.name,
                mode_name(plan.mode),
                member.name,
                member.transport.uri_token()
            );
            findings.problem(at, what, "write transport = \"tls\" for that peer, or mode = \"unsecured\" for the plan if calls may travel in clear");
        } else if plan.mode > SecurityMode::Unsecured && !member.mutual {
            let what =
                format!("dial plan \"{}\" is {}, but \"{}\" in its UM pool may call in without a certificate", plan.name, mode_name(plan.mode), member.name);
            findings.problem(at, what, "remove mutual = false from that peer, or write mode = \"unsecured\" for the plan");
        }
    }
}

fn check_gateways(plan: &DialPlan, entry: &written::DialPlan, peers: &[Arc<Peer>], findings: &Findings) {
    for written in &entry.gateways {
        let Some(gateway) = peers.iter().find(|peer| *peer.name == *written.value) else { continue };
        if between(gateway.mode, plan.mode, interworks(&plan.interwork, &gateway.name)).is_err() {
            findings.problem(written.at, weaker(gateway, plan), interwork_instead(gateway, plan));
        }
    }
}

/// Each interwork is a hole somebody must want: it is told whenever the set is read, for the operator to accept.
fn check_interwork(plan: &DialPlan, entry: &written::DialPlan, peers: &[Arc<Peer>], findings: &Findings) {
    for written in &entry.interwork {
        let Some(peer) = peers.iter().find(|peer| *peer.name == *written.value) else { continue };
        if peer.mode >= plan.mode {
            findings.warning(written.at, format!("peer \"{}\" is no weaker than dial plan \"{}\"", peer.name, plan.name), "remove it from interwork");
            continue;
        }
        let what = format!(
            "dial plan \"{}\" is {}, yet serves peer \"{}\", which is {}: {}",
            plan.name,
            mode_name(plan.mode),
            peer.name,
            mode_name(peer.mode),
            exposed(peer.mode)
        );
        let instead = format!("leave it in interwork to accept that, or write mode = \"{}\" for the peer and remove it from interwork", mode_name(plan.mode));
        findings.warning(written.at, what, instead);
    }
}

/// What a leg of this mode leaves open, whatever the other leg is.
const fn exposed(mode: SecurityMode) -> &'static str {
    match mode {
        SecurityMode::Unsecured => "who is on that peer's way can read, change and place its calls, and hear them",
        SecurityMode::SipSecured => "who is on that peer's way can hear its calls, since their RTP is not encrypted",
        SecurityMode::Secured => "nothing is left open",
    }
}

pub(super) fn weaker(peer: &Peer, plan: &DialPlan) -> String {
    format!(
        "peer \"{}\" is {}, weaker than dial plan \"{}\" ({}): every call would be refused",
        peer.name,
        mode_name(peer.mode),
        plan.name,
        mode_name(plan.mode)
    )
}

pub(super) fn interwork_instead(peer: &Peer, plan: &DialPlan) -> String {
    format!("raise the peer's mode, or add interwork = [\"{}\"] to the plan \"{}\" if that is meant", peer.name, plan.name)
}

pub fn hunt_groups(written: &[written::HuntGroup], plans: &[Arc<DialPlan>], known: &Known<'_>, findings: &Findings) -> Vec<Arc<HuntGroup>> {
    let mut groups: Vec<Arc<HuntGroup>> = Vec::new();
    let mut keys = std::collections::HashSet::new();
    let mut names = std::collections::HashMap::new();
    for entry in written {
        let peer = entry.peer.as_ref().and_then(|written| find(known, written, false, findings));
        let plan = entry.dial_plan.as_ref().and_then(|written| {
            let plan = plans.iter().find(|plan| *plan.name == *written.value);
            if plan.is_none() {
                let plans: Vec<&str> = plans.iter().map(|plan| &*plan.name).collect();
                unknown(written, "dial plan", "dial_plans.toml", &plans, &known.plan_names, findings);
            }
            plan
        });
        let (Some(name), Some(peer), Some(plan)) = (&entry.name, peer, plan) else { continue };
        // As in Exchange, one hunt group may link several gateways to one plan; never to two.
        let first_plan = names.entry(name.value.clone()).or_insert_with(|| Arc::clone(&plan.name));
        if *first_plan != plan.name {
            findings.problem(name.at, format!("hunt group \"{}\" leads to two dial plans", name.value), "write a name of its own for each plan");
        }
        let pilot = entry.pilot.as_ref();
        if !keys.insert((Arc::clone(&peer.name), pilot.map(|pilot| pilot_key(&pilot.value)))) {
            let what = match pilot {
                Some(pilot) => format!("pilot \"{}\" of peer \"{}\" has a hunt group already", pilot.value, peer.name),
                None => format!("peer \"{}\" has a default hunt group (one without pilot) already", peer.name),
            };
            findings.problem(place(pilot, entry.at), what, "write each pilot once for a peer");
        }
        check_pilot(entry, plan, plans, findings);
        if between(peer.mode, plan.mode, interworks(&plan.interwork, &peer.name)).is_err() {
            findings.problem(place(entry.dial_plan.as_ref(), entry.at), weaker(peer, plan), interwork_instead(peer, plan));
        }
        let pilot = pilot.map(|pilot| pilot.value.as_str().into());
        groups.push(Arc::new(HuntGroup { name: name.value.as_str().into(), peer: Arc::clone(&peer.name), pilot, plan: Arc::clone(plan) }));
    }
    groups.extend(linked(plans, known, &groups));
    for peer in known.peers.iter().filter(|peer| peer.kind.calls_um() && !groups.iter().any(|group| group.peer == peer.name)) {
        let at = crate::config::finding::At { file: "hunt_groups.toml", line: 1, column: 1 };
        findings.warning(
            at,
            format!("peer \"{}\" has no hunt group: every call from it is refused", peer.name),
            format!("add [[hunt_group]] with peer = \"{}\"", peer.name),
        );
    }
    groups
}

/// As Exchange does: a gateway linked to a dial plan, and to one only, gets a default hunt group where no hunt group names it.
fn linked(plans: &[Arc<DialPlan>], known: &Known<'_>, groups: &[Arc<HuntGroup>]) -> Vec<Arc<HuntGroup>> {
    let unnamed = known.peers.iter().filter(|peer| peer.kind.calls_um() && !groups.iter().any(|group| group.peer == peer.name));
    let made = unnamed.filter_map(|peer| {
        let mut linking = plans.iter().filter(|plan| plan.gateways.contains(&peer.name));
        let plan = linking.next().filter(|_| linking.next().is_none())?;
        Some(Arc::new(HuntGroup { name: DEFAULT_HUNT_GROUP.into(), peer: Arc::clone(&peer.name), pilot: None, plan: Arc::clone(plan) }))
    });
    made.collect()
}

fn check_pilot(entry: &written::HuntGroup, plan: &DialPlan, plans: &[Arc<DialPlan>], findings: &Findings) {
    let Some(pilot) = &entry.pilot else { return };
    if pilot.value.eq_ignore_ascii_case(&plan.name) {
        if plan.uri_type != UriType::SipUri && plan.access_numbers.is_empty() {
            let what = format!("pilot \"{}\" is the name of its dial plan, which has no access number to call UM by", pilot.value);
            findings.problem(pilot.at, what, "add access_numbers = [\"…\"] to the plan, or write a number as pilot");
        }
        return;
    }
    let key = pilot_key(&pilot.value);
    if let Some(other) = plans.iter().find(|other| other.name != plan.name && other.is_pilot(&key)) {
        let what = format!("pilot \"{}\" leads to dial plan \"{}\", but is a number of dial plan \"{}\"", pilot.value, plan.name, other.name);
        findings.problem(pilot.at, what, "write one plan for it: one number never spans dial plans");
    }
    let known = !plan.access_numbers.is_empty() || !plan.auto_attendants.is_empty();
    if known && !plan.is_pilot(&key) && !plan.is_pilot(&pilot_key(&numbering::inward(plan, &key).1)) {
        let what = format!("pilot \"{}\" is neither an access number nor an auto attendant of dial plan \"{}\"", pilot.value, plan.name);
        findings.warning(pilot.at, what, "add it to access_numbers or auto_attendants of the plan: UM answers no other number in that way");
    }
    let user = pilot.value.trim_start_matches("sip:").split('@').next().unwrap_or_default();
    let (decision, fits) = dial_plan::called_pilot(plan, &numbering::inward(plan, user).1);
    if fits.is_none() {
        let wanted = decision.compared.iter().find(|(name, _)| *name == "wanted").map_or("another form", |(_, wanted)| wanted);
        findings.problem(pilot.at, format!("pilot \"{}\" does not fit dial plan \"{}\"", pilot.value, plan.name), format!("write {wanted}"));
    }
}

/// Percent. Above it the time an answer takes grows faster than the load.
const OCCUPANCY: u16 = 90;

pub fn admission(written: &written::Admission) -> AdmissionLimits {
    AdmissionLimits {
        calls: written.calls,
        calls_per_peer: written.calls_per_peer,
        rate: written.rate,
        rate_per_peer: written.rate_per_peer,
        occupancy: Some(written.occupancy.unwrap_or(OCCUPANCY)).filter(|percent| *percent < 100).map(|percent| percent * 10),
        memory: written.memory.map(|mebibytes| u64::from(mebibytes) << 20),
    }
}
