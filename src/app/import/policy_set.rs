//! Exchange's objects as the files of a policy set. The border takes the place of Exchange's gateways towards UM, so each UM IP gateway becomes an
//! outside peer, and Exchange's servers the peers of its UM pools.

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;

use super::exchange::{DialPlan, Exchange, Family, Gateway, HuntGroup, Remark, Server};
use super::toml::{comment, list, text};
use crate::policy::dial_plan;
use crate::policy::numbering::{Numbering, inward};
use crate::policy::security_mode::mode_name;
use crate::policy::settings::{self, PeerStatus, SecurityMode, StartUp, UmPool, UriType, pilot_key};

/// Exchange's own limit is 64, but a plan's default mailbox policy carries its name and " Default Policy".
const PLAN_NAME_CHARACTERS: usize = 49;
/// More on one plan, and Exchange's UM service does not start.
const MOST_GATEWAYS: usize = 200;
/// Of an access number, by Exchange's cmdlet.
const LONGEST_PILOT: usize = 32;
/// Stands where a name must be filled in: no such name can ever resolve (RFC 6761 §6.4).
const FILL_IN: &str = "fill-in.invalid";

pub struct PolicySet {
    pub files: Vec<(&'static str, String)>,
    pub remarks: Vec<Remark>,
    pub summary: String,
}

/// Whether legs are with TLS or without: peers, pools and listeners are made for each that is needed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Way {
    Tls,
    Tcp,
}

impl Way {
    fn of(mode: SecurityMode) -> Way {
        if mode > SecurityMode::Unsecured { Way::Tls } else { Way::Tcp }
    }

    const fn word(self) -> &'static str {
        match self {
            Way::Tls => "tls",
            Way::Tcp => "tcp",
        }
    }

    const fn port(self) -> u16 {
        match self {
            Way::Tls => 5061,
            Way::Tcp => 5060,
        }
    }
}

pub fn policy_set(mut exchange: Exchange) -> PolicySet {
    names_that_load(&mut exchange);
    numbers_that_load(&mut exchange);
    let mut servers = servers(&mut exchange);
    let gateways = outside(&mut exchange, &servers);
    let groups = hunt_groups(&mut exchange, &gateways);
    let ways: Vec<Way> = [Way::Tls, Way::Tcp].into_iter().filter(|way| exchange.plans.iter().any(|plan| Way::of(plan.mode) == *way)).collect();
    // Gateways and servers are peers alike, each with a name of its own.
    for machine in &mut servers {
        while gateways.iter().any(|gateway| gateway.is(&machine.name) || gateway.is(&format!("{}-tcp", machine.name))) {
            machine.name.push_str("-um");
        }
    }
    let files = vec![
        ("border.toml", border(&gateways, &ways)),
        ("peers.toml", peers(&exchange, &gateways, &servers, &ways)),
        ("um_pools.toml", pools(&servers, &ways)),
        ("dial_plans.toml", plans(&exchange, &gateways, &groups)),
        (
            "hunt_groups.toml",
            groups.iter().fold(head("Hunt groups: which number of which gateway leads to which dial plan."), |file, group| file + &group.written()),
        ),
        ("toll.toml", toll()),
    ];
    let summary = format!("{} dial plans, {} gateways, {} hunt groups, {} UM servers", exchange.plans.len(), gateways.len(), groups.len(), servers.len());
    PolicySet { files, remarks: exchange.remarks, summary }
}

fn head(what: &str) -> String {
    format!("# {what}\n# Made from Exchange's objects by `portcullis import exchange`; what says FILL IN is yours to write.\nversion = 1\n")
}

/// Names as a set takes them: short enough, and of each kind once.
fn names_that_load(exchange: &mut Exchange) {
    let mut seen: Vec<String> = Vec::new();
    let mut remarks = Vec::new();
    exchange.plans.retain(|plan| {
        let is_new = !seen.iter().any(|other| other.eq_ignore_ascii_case(&plan.name));
        if !is_new {
            remarks.push((format!("UM dial plan \"{}\"", plan.name), "it is there twice; the first was taken"));
        }
        seen.push(plan.name.clone());
        is_new
    });
    for (of, what) in remarks {
        exchange.remark(&of, what, "look which of them is current");
    }
    let long: Vec<String> = exchange.plans.iter().map(|plan| plan.name.clone()).filter(|name| name.chars().count() > PLAN_NAME_CHARACTERS).collect();
    for (index, name) in long.into_iter().enumerate() {
        let short: String = name.chars().take(PLAN_NAME_CHARACTERS - 4).chain(format!(" {}", index + 1).chars()).collect();
        exchange.remark(
            &format!("UM dial plan \"{name}\""),
            format!("its name is too long and was cut to \"{short}\""),
            format!("write a name of at most {PLAN_NAME_CHARACTERS} characters, in Exchange too"),
        );
        exchange.plans.iter_mut().filter(|plan| plan.name == name).for_each(|plan| plan.name.clone_from(&short));
        exchange.groups.iter_mut().filter(|group| group.plan == name).for_each(|group| group.plan.clone_from(&short));
    }
}

/// A UM IP gateway as an outside peer.
struct Outside {
    gateway: Gateway,
    host: String,
    mode: SecurityMode,
    /// TLS with an address alone: the name of its certificate is to be filled in.
    nameless: bool,
    /// Other gateways of Exchange at the same place, which are this one now.
    also: Vec<String>,
}

impl Outside {
    fn is(&self, name: &str) -> bool {
        self.gateway.name.eq_ignore_ascii_case(name) || self.also.iter().any(|other| other.eq_ignore_ascii_case(name))
    }
}

fn outside(exchange: &mut Exchange, servers: &[Machine]) -> Vec<Outside> {
    let mut all: Vec<Outside> = Vec::new();
    for gateway in std::mem::take(&mut exchange.gateways) {
        let of = format!("UM IP gateway \"{}\"", gateway.name);
        let Some(host) = host(&gateway.address) else {
            exchange.remark(
                &of,
                format!("its address \"{}\" is neither an address nor a host name; it was left out", gateway.address),
                "correct it in Exchange",
            );
            continue;
        };
        if servers.iter().any(|machine| machine.host == host) {
            exchange.remark(&of, format!("it is at {host}, one of Exchange's own servers; it was left out"), "add it as a peer if calls come from there");
            continue;
        }
        if gateway.address.contains('%') {
            exchange.remark(&of, format!("the scope of {} was left out", gateway.address), "give it an address that is not link-local");
        }
        let groups = exchange.groups.iter().filter(|group| group.gateway.eq_ignore_ascii_case(&gateway.name));
        let mut modes: Vec<SecurityMode> = groups.filter_map(|group| plan_of(&exchange.plans, &group.plan)).map(|plan| plan.mode).collect();
        modes.sort_unstable();
        modes.dedup();
        let by_port = if gateway.port == Some(5061) { SecurityMode::Secured } else { SecurityMode::Unsecured };
        let mode = modes.last().copied().unwrap_or(by_port);
        if modes.is_empty() {
            exchange.remark(
                &of,
                format!("no hunt group links it with a dial plan; it was taken for {}", mode_name(mode)),
                "add [[hunt_group]], or remove the peer",
            );
        } else if modes.len() > 1 {
            exchange.remark(&of, format!("its dial plans have several modes; {} was written, the strongest", mode_name(mode)), "see that it speaks so");
        }
        if all.iter().any(|other| other.is(&gateway.name)) {
            exchange.remark(&of, "it is there twice; the first was taken", "look which of them is current");
            continue;
        }
        let same_place = |other: &&mut Outside| other.host.eq_ignore_ascii_case(&host) && Way::of(other.mode) == Way::of(mode);
        if let Some(other) = all.iter_mut().find(same_place) {
            let what = format!("it is at {host} as \"{}\" is, and nothing would tell them apart (event 1175); both are one peer now", other.gateway.name);
            other.also.push(gateway.name);
            exchange.remark(&of, what, "give each an address of its own if they are two");
            continue;
        }
        let nameless = Way::of(mode) == Way::Tls && host.parse::<IpAddr>().is_ok();
        if nameless {
            exchange.remark(
                &of,
                "it is known by address, yet its dial plan wants TLS, which Exchange allows with names only",
                "write the name of its certificate in tls_names",
            );
        }
        exchange.remark(
            &of,
            "its Diversion, which Exchange believed, is not believed: no mailbox answers calls it diverts",
            "write diversion = true if it is yours, and answers for what it says",
        );
        all.push(Outside { gateway, host, mode, nameless, also: Vec::new() });
    }
    all
}

fn plan_of<'p>(plans: &'p [DialPlan], name: &str) -> Option<&'p DialPlan> {
    plans.iter().find(|plan| plan.name.eq_ignore_ascii_case(name))
}

/// As a peer's `hosts` takes it.
fn host(address: &str) -> Option<String> {
    let bare = address.trim().trim_start_matches('[').trim_end_matches(']');
    let bare = bare.split_once('%').map_or(bare, |(address, _)| address).trim_end_matches('.').to_ascii_lowercase();
    let labels_fit = || {
        bare.split('.').all(|label| {
            let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
            (1..=63).contains(&label.len()) && !label.starts_with('-') && !label.ends_with('-') && label.bytes().all(fits)
        })
    };
    let is_name = bare.len() <= 253 && bare.bytes().any(|byte| byte.is_ascii_alphabetic()) && labels_fit();
    (bare.parse::<IpAddr>().is_ok() || is_name).then_some(bare)
}

struct Group {
    name: String,
    peer: String,
    pilot: Option<String>,
    plan: String,
}

impl Group {
    fn written(&self) -> String {
        let pilot = self.pilot.as_ref().map(|pilot| format!("pilot = {}\n", text(pilot))).unwrap_or_default();
        format!("\n[[hunt_group]]\nname = {}\npeer = {}\n{pilot}dial_plan = {}\n", text(&self.name), text(&self.peer), text(&self.plan))
    }
}

fn hunt_groups(exchange: &mut Exchange, gateways: &[Outside]) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for group in std::mem::take(&mut exchange.groups) {
        let of = format!("UM hunt group \"{}\" of gateway \"{}\"", group.name, group.gateway);
        let (Some(plan), Some(peer)) = (plan_of(&exchange.plans, &group.plan).cloned(), gateways.iter().find(|gateway| gateway.is(&group.gateway))) else {
            exchange.remark(&of, format!("dial plan \"{}\" or its gateway is not among the objects; it was left out", group.plan), "export them too");
            continue;
        };
        let is_name = group.pilot.as_ref().is_some_and(|pilot| pilot.eq_ignore_ascii_case(&plan.name));
        let stands_for_numbers = is_name && (plan.uri_type == UriType::SipUri || !plan.access_numbers.is_empty());
        if let Some(pilot) = group.pilot.as_ref().filter(|pilot| !stands_for_numbers && (is_name || !fits(&plan, pilot))) {
            exchange.remark(
                &of,
                format!("its pilot \"{pilot}\" is nothing that can be called in dial plan \"{}\"; it was left out", plan.name),
                "add [[hunt_group]] with the number callers dial",
            );
            continue;
        }
        let key = group.pilot.as_deref().map(pilot_key);
        let twice = groups.iter().any(|other| other.peer == peer.gateway.name && other.pilot.as_deref().map(pilot_key) == key);
        if twice {
            exchange.remark(&of, "another hunt group of this peer has its number; it was left out", "give each plan numbers of its own");
            continue;
        }
        let name = if groups.iter().any(|other| other.name == group.name && other.plan != plan.name) {
            format!("{} of {}", group.name, plan.name)
        } else {
            group.name
        };
        groups.push(Group { name, peer: peer.gateway.name.clone(), pilot: group.pilot, plan: plan.name });
    }
    for plan in exchange.plans.clone() {
        let of = format!("UM dial plan \"{}\"", plan.name);
        let own: Vec<&Group> = groups.iter().filter(|group| group.plan == plan.name).collect();
        if own.is_empty() {
            exchange.remark(&of, "no hunt group leads to it, so nobody can call it", "add [[hunt_group]]");
        }
        let peers: HashSet<&str> = own.iter().map(|group| &*group.peer).collect();
        if peers.len() > MOST_GATEWAYS {
            exchange.remark(
                &of,
                format!("it has {} gateways; Exchange's UM service does not start with more than {MOST_GATEWAYS}", peers.len()),
                "leave Exchange this border alone as gateway",
            );
        }
        let reached = |number: &str| {
            own.iter().any(|group| group.pilot.as_deref().is_none_or(|pilot| pilot_key(pilot) == pilot_key(number) || pilot.eq_ignore_ascii_case(&plan.name)))
        };
        for number in plan.access_numbers.iter().filter(|number| !own.is_empty() && !reached(number)) {
            exchange.remark(&of, format!("no hunt group leads callers to its access number {number}"), "add [[hunt_group]] with it as pilot");
        }
    }
    groups
}

/// Whether the plan takes calls to it, by the rule the border itself goes by.
fn fits(plan: &DialPlan, pilot: &str) -> bool {
    let pool = Arc::new(UmPool::new("", Vec::new()));
    let numbering = Numbering { country_code: plan.country_code.as_deref().map(Arc::from), ..Numbering::default() };
    let plan = settings::DialPlan { numbering, ..settings::DialPlan::new(&plan.name, plan.uri_type, plan.digits, plan.mode, pool) };
    let user = pilot.trim_start_matches("sip:").split('@').next().unwrap_or_default();
    dial_plan::called_pilot(&plan, &inward(&plan, user).1).1.is_some()
}

/// Country codes and access numbers as a set takes them.
fn numbers_that_load(exchange: &mut Exchange) {
    let mut seen: HashSet<String> = HashSet::new();
    for index in 0..exchange.plans.len() {
        let Some(mut plan) = exchange.plans.get(index).cloned() else { continue };
        let of = format!("UM dial plan \"{}\"", plan.name);
        if let Some(code) = plan.country_code.take() {
            let bare = code.trim_start_matches('+');
            let is_code = (1..=3).contains(&bare.len()) && bare.bytes().all(|byte| byte.is_ascii_digit()) && !bare.starts_with('0');
            plan.country_code = is_code.then(|| bare.to_owned());
            if !is_code {
                exchange.remark(&of, format!("its country or region code \"{code}\" is none, and was left out"), "write country_code in dial_plans.toml");
            }
        }
        for number in std::mem::take(&mut plan.access_numbers) {
            let key = pilot_key(&number);
            let pilot_elsewhere =
                |group: &HuntGroup| group.pilot.as_deref().is_some_and(|pilot| pilot_key(pilot) == key) && !group.plan.eq_ignore_ascii_case(&plan.name);
            let why = if number.chars().count() > LONGEST_PILOT || !fits(&plan, &number) {
                "is nothing that can be called in it"
            } else if exchange.groups.iter().any(pilot_elsewhere) || !seen.insert(key.clone()) {
                "is another dial plan's, too, or there twice"
            } else {
                plan.access_numbers.push(number);
                continue;
            };
            exchange.remark(&of, format!("its access number {number} {why}, and was left out"), "give each plan numbers of its own, as its URI type has them");
        }
        exchange.plans[index] = plan;
    }
}

/// A machine of Exchange with what of UM runs there.
struct Machine {
    name: String,
    host: String,
    routes: bool,
    works: bool,
    start_up: Option<StartUp>,
}

fn servers(exchange: &mut Exchange) -> Vec<Machine> {
    let mut machines: Vec<Machine> = Vec::new();
    for Server { name, is_mailbox, start_up } in std::mem::take(&mut exchange.servers) {
        let of = format!("UM server \"{name}\"");
        let Some(host) = host(&name).filter(|host| host.parse::<IpAddr>().is_err()) else {
            exchange.remark(&of, "its name is no host name; it was left out", "add a peer of kind um-server for it");
            continue;
        };
        if !host.contains('.') {
            exchange.remark(&of, "its full name is not known, which redirects use", "write it in hosts, as mbx1.corp.example.com");
        }
        let label = host.split('.').next().unwrap_or_default().to_owned();
        if let Some(machine) = machines.iter_mut().find(|machine| machine.host == host || machine.name == label) {
            machine.routes |= !is_mailbox;
            machine.works |= is_mailbox;
            // What listens for less counts.
            machine.start_up = machine.start_up.filter(|other| *other != StartUp::Dual).or(Some(start_up));
        } else {
            machines.push(Machine { name: label, host, routes: !is_mailbox, works: is_mailbox, start_up: Some(start_up) });
        }
    }
    if machines.is_empty() {
        exchange.remark(
            "UM servers",
            "none is among the objects, one stands in the set to be filled in",
            "export Get-UMService and Get-UMCallRouterSettings too, or write a peer for each server",
        );
        machines.push(Machine { name: String::from("mbx1"), host: format!("mbx1.{FILL_IN}"), routes: true, works: true, start_up: None });
    }
    if !machines.iter().any(|machine| machine.routes) {
        machines.iter_mut().for_each(|machine| machine.routes = true);
    }
    machines
}

fn border(gateways: &[Outside], ways: &[Way]) -> String {
    let mut file = head("Where the border listens. Addresses are of the documentation's range until you write yours.");
    file.push_str("name = \"portcullis\"\n");
    let outside = |way: &&Way| gateways.iter().any(|gateway| Way::of(gateway.mode) == **way);
    let sides = [("outside", "192.0.2.1", [Way::Tls, Way::Tcp].iter().filter(outside).copied().collect()), ("inside", "192.0.2.2", ways.to_vec())];
    for (side, address, ways) in sides {
        let ways: Vec<Way> = ways;
        for way in ways {
            let whom = if side == "inside" { "Exchange knows it, the Address of its UM IP gateway" } else { "gateways and trunks know it" };
            file.push_str(&format!(
                "\n# FILL IN: this machine's address, and the name by which {whom}.\n[[listener]]\nname = \"{side}-{word}\"\ntransport = \"{word}\"\naddress = \"{address}:{port}\"\nadvertised = \"sbc-{side}.{FILL_IN}\"\n",
                word = way.word(),
                port = way.port()
            ));
            if way == Way::Tls {
                file.push_str(&format!("certificate = \"certs/{side}.pem\"\nkey = \"certs/{side}.key\"\n"));
            }
        }
    }
    file.push_str("\n# FILL IN: this machine's addresses for media.\n[media]\ninside = \"192.0.2.2\"\noutside = \"192.0.2.1\"\nports = [20000, 29999]\n");
    file
}

fn peers(exchange: &Exchange, gateways: &[Outside], servers: &[Machine], ways: &[Way]) -> String {
    let mut file = head("Who may talk to the border: Exchange's gateways outside, its servers inside.");
    for outside in gateways {
        file.push_str(&gateway(outside));
    }
    for way in ways {
        // A server's own mode is the least of the plans it serves; each call has its plan's.
        let mode = exchange.plans.iter().map(|plan| plan.mode).filter(|mode| Way::of(*mode) == *way).min().unwrap_or(SecurityMode::Secured);
        for machine in servers {
            let kind = if machine.works { "um-server" } else { "um-router" };
            file.push_str(&format!(
                "\n[[peer]]\nname = {}\nkind = \"{kind}\"\nhosts = {}\ntransport = \"{}\"\nport = {}\nmode = \"{}\"\n",
                text(&peer_name(machine, *way, ways)),
                text(&machine.host),
                way.word(),
                way.port(),
                mode_name(mode)
            ));
            if *way == Way::Tls {
                file.push_str("# FILL IN: the CA of the servers' certificates.\nca = \"certs/exchange-ca.pem\"\n");
            }
            file.push_str(&format!("listener = \"inside-{}\"\nprobe = \"30s\"\n", way.word()));
        }
    }
    file
}

fn peer_name(machine: &Machine, way: Way, ways: &[Way]) -> String {
    if ways.len() > 1 && way == Way::Tcp { format!("{}-tcp", machine.name) } else { machine.name.clone() }
}

fn gateway(outside: &Outside) -> String {
    let Outside { gateway, host, mode, nameless, also } = outside;
    let way = Way::of(*mode);
    let mut peer = String::from("\n");
    if !also.is_empty() {
        peer.push_str(&comment(&format!("Also, in Exchange: {}.", also.join(", "))));
    }
    peer.push_str(&format!("[[peer]]\nname = {}\nkind = \"gateway\"\nhosts = {}\n", text(&gateway.name), text(host)));
    peer.push_str(&format!("transport = \"{}\"\nport = {}\nmode = \"{}\"\n", way.word(), gateway.port.unwrap_or(way.port()), mode_name(*mode)));
    if *nameless {
        peer.push_str(&format!("# FILL IN: the name in its certificate.\ntls_names = [\"gateway.{FILL_IN}\"]\n"));
    }
    if way == Way::Tls {
        peer.push_str("# FILL IN: the CA of its certificate.\nca = \"certs/gateways-ca.pem\"\n");
    }
    peer.push_str(&format!("listener = \"outside-{}\"\n", way.word()));
    peer.push_str("# FILL IN: believe its Diversion, which chooses the mailbox, where it answers for what it writes there.\n# diversion = true\n");
    match gateway.status {
        PeerStatus::Enabled => {}
        PeerStatus::NoNewCalls => peer.push_str("status = \"no-new-calls\"\n"),
        PeerStatus::Disabled => peer.push_str("status = \"disabled\"\n"),
    }
    peer.push_str(&format!("outcalls = {}\nmwi = {}\n", gateway.outcalls, gateway.mwi));
    if gateway.delayed_source_party {
        peer.push_str("delayed_source_party = true\n");
    }
    if gateway.simulator {
        peer.push_str("simulator = true\n");
    }
    match gateway.family {
        Family::Ipv6 => peer.push_str("address_family = \"ipv6\"\n"),
        Family::Ipv4 if host.parse::<IpAddr>().is_err() => peer.push_str("address_family = \"ipv4\"\n"),
        Family::Ipv4 | Family::Any => {}
    }
    peer
}

fn pools(servers: &[Machine], ways: &[Way]) -> String {
    let mut file = head("Exchange's servers: where calls begin, and where redirects may lead.");
    for way in ways {
        let names =
            |wanted: fn(&Machine) -> bool| servers.iter().filter(|machine| wanted(machine)).map(|machine| peer_name(machine, *way, ways)).collect::<Vec<_>>();
        let (routers, others) = (names(|machine| machine.routes), names(|machine| !machine.routes));
        file.push_str(&format!("\n[[um_pool]]\nname = \"exchange-{}\"\nrouters = {}\n", way.word(), list(&routers)));
        if !others.is_empty() {
            file.push_str(&format!("servers = {}\n", list(&others)));
        }
        let version = if servers.iter().all(|machine| machine.routes && machine.works) { "exchange-2016" } else { "exchange-2013" };
        file.push_str(&format!("version = \"{version}\"\nno_answer = \"4s\"\n"));
        let worst = servers.iter().filter_map(|machine| machine.start_up).find(|mode| *mode != StartUp::Dual);
        if let Some(start_up) = worst.or(servers.iter().find_map(|machine| machine.start_up)) {
            file.push_str(&format!("start_up = \"{}\"\n", start_up.word()));
        }
    }
    file
}

fn plans(exchange: &Exchange, gateways: &[Outside], groups: &[Group]) -> String {
    let mut file = head("Dial plans, as in Exchange.");
    for plan in &exchange.plans {
        let uri_type = match plan.uri_type {
            UriType::Extension => "extension",
            UriType::SipUri => "sip-uri",
            UriType::E164 => "e164",
        };
        let linked = |peer: &str| groups.iter().any(|group| group.plan == plan.name && group.peer == peer);
        let outward: Vec<&str> =
            gateways.iter().map(|outside| &outside.gateway).filter(|gateway| gateway.outcalls && linked(&gateway.name)).map(|gateway| &*gateway.name).collect();
        file.push_str(&format!(
            "\n[[dial_plan]]\nname = {}\nuri_type = \"{uri_type}\"\ndigits = {}\nmode = \"{}\"\num_pool = \"exchange-{}\"\n",
            text(&plan.name),
            plan.digits,
            mode_name(plan.mode),
            Way::of(plan.mode).word()
        ));
        if !outward.is_empty() {
            file.push_str(&format!("gateways = {}\n", list(&outward)));
        }
        if !plan.access_numbers.is_empty() {
            file.push_str(&format!(
                "access_numbers = {}\n# FILL IN: the numbers of its auto attendants (Get-UMAutoAttendant), which are no mailbox.\n# auto_attendants = []\n",
                list(&plan.access_numbers)
            ));
        }
        if let Some(code) = &plan.country_code {
            file.push_str(&format!("country_code = {}\n", text(code)));
        }
        file.push_str("# FILL IN: how the users' own numbers begin: a caller who names himself by one is asked for more than the PIN.\n# own_numbers = []\n");
    }
    file
}

fn toll() -> String {
    head("What UM may call outward. Without a rule, extensions of the plan only.")
        + "\n# FILL IN: as the dialing rules of your UM mailbox policies, such as\n# [[rule]]\n# name = \"national\"\n# numbers = [\"+1*\"]\n# action = \"allow\"\n"
}
