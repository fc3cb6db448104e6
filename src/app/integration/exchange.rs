//! The matching side of Exchange, as commands of the Exchange Management Shell: dial plans, this border as UM IP gateway, hunt groups, start-up mode,
//! certificates, and the ports firewalls must let through. Only what the policy set says; what it cannot know is asked for when the script runs.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::powershell::{comment, flag, list, quoted};
use super::{Gateway, Subject, names};
use crate::policy::security_mode::mode_name;
use crate::policy::settings::{DialPlan, HuntGroup, Peer, PeerKind, SecurityMode, UmVersion, UriType, pilot_key};
use crate::sip::Transport;

/// Empty where no plan leads to an Exchange.
pub fn script(subject: &Subject<'_>) -> String {
    let mut script = String::new();
    for plan in subject.settings.policy.dial_plans.iter().filter(|plan| plan.um_pool.version == UmVersion::Hosted) {
        hosted(&mut script, subject, plan);
    }
    if subject.exchange_plans().next().is_none() {
        return script;
    }
    comment(
        &mut script,
        "Exchange Management Shell: what Exchange must have for this set. Read before running; what exists already needs Set- instead of New-.",
    );
    for (_, plan) in subject.exchange_plans() {
        dial_plan(&mut script, subject, plan);
    }
    gateways(&mut script, subject);
    for (_, plan) in subject.exchange_plans() {
        hunt_groups(&mut script, subject, plan);
    }
    start_up(&mut script, subject);
    certificates(&mut script, subject);
    ports(&mut script, subject);
    script
}

/// The shell is the tenant's; the service itself has ended, so what is printed is for what stands in for it.
fn hosted(script: &mut String, subject: &Subject<'_>, plan: &DialPlan) {
    comment(
        script,
        "Hosted UM, as Exchange Online's was until 28 February 2020: what its shell was told. What stands in for it: portcullis simulate um --profile hosted",
    );
    dial_plan(script, subject, plan);
    for gateway in subject.gateways(plan) {
        let host = quoted(gateway.host());
        let _ = writeln!(script, "New-UMIPGateway -Name {host} -Address {host} -UMDialPlan {}", quoted(&plan.name));
        comment(
            script,
            &format!(
                "  This border shows {}, as common name and subject alternative name, letter by letter, no wildcard, from a public CA: else 403.",
                gateway.host()
            ),
        );
    }
    if let Some(hosted) = &plan.um_pool.hosted {
        comment(script, &format!("  Its forwarding address, which (Get-UMIPGateway).ForwardingAddress shows, must be {}: else 488.", hosted.name));
    }
    comment(
        script,
        "  Ports: TCP 5061 both ways; UDP 1024 to 65535 of the service. The border is at the edge of the network: behind a firewall's NAT it was unsupported.",
    );
}

fn dial_plan(script: &mut String, subject: &Subject<'_>, plan: &DialPlan) {
    let uri_type = match plan.uri_type {
        UriType::Extension => "TelExtn",
        UriType::SipUri => "SipName",
        UriType::E164 => "E164",
    };
    let security = match plan.mode {
        SecurityMode::Unsecured => "Unsecured",
        SecurityMode::SipSecured => "SIPSecured",
        SecurityMode::Secured => "Secured",
    };
    comment(script, "");
    comment(script, &format!("Dial plan \"{}\" ({}). Its URI type can never be changed.", plan.name, mode_name(plan.mode)));
    let country = match &plan.numbering.country_code {
        Some(code) => quoted(code),
        None => format!("(Read-Host {})", quoted(&format!("Country or region code of {}", plan.name))),
    };
    let name = quoted(&plan.name);
    let _ = writeln!(
        script,
        "New-UMDialPlan -Name {name} -URIType {uri_type} -NumberOfDigitsInExtension {} -VoIPSecurity {security} -CountryOrRegionCode {country}",
        plan.digits
    );
    let numbers = access_numbers(subject, plan);
    if !numbers.is_empty() {
        if plan.access_numbers.is_empty() && plan.auto_attendants.is_empty() {
            comment(script, "Outlook Voice Access answers at these; write those of auto attendants as auto_attendants in dial_plans.toml.");
        }
        let _ = writeln!(script, "Set-UMDialPlan -Identity {name} -AccessTelephoneNumbers {}", list(numbers.iter().map(String::as_str)));
    }
    if !plan.auto_attendants.is_empty() {
        let attendant = quoted(&format!("{} attendant", plan.name));
        let numbers: Vec<String> = plan.auto_attendants.iter().map(|number| exchange_pilot(number)).collect();
        let numbers = list(numbers.iter().map(String::as_str));
        let _ = writeln!(script, "New-UMAutoAttendant -Name {attendant} -UMDialPlan {name} -Status Enabled -PilotIdentifierList {numbers}");
    }
}

/// The plan's own, or else the pilots of its hunt groups.
fn access_numbers(subject: &Subject<'_>, plan: &DialPlan) -> Vec<String> {
    let own: Vec<String> = plan.access_numbers.iter().map(|number| exchange_pilot(number)).collect();
    if !own.is_empty() || !plan.auto_attendants.is_empty() {
        return own;
    }
    let mut pilots: Vec<String> = Vec::new();
    for (_, group) in subject.hunt_groups(plan) {
        pilots.extend(pilots_of(group).into_iter().filter(|pilot| !pilots.contains(pilot)).collect::<Vec<_>>());
    }
    pilots
}

/// The numbers of a hunt group: the plan's name stands for all of the plan's.
fn pilots_of(group: &HuntGroup) -> Vec<String> {
    match &group.pilot {
        Some(pilot) if *pilot == group.plan.name => {
            group.plan.access_numbers.iter().chain(&group.plan.auto_attendants).map(|number| exchange_pilot(number)).collect()
        }
        Some(pilot) => vec![exchange_pilot(pilot)],
        None => Vec::new(),
    }
}

/// A pilot as Exchange writes it: numbers without visual separators.
pub fn exchange_pilot(pilot: &str) -> String {
    let key = pilot_key(pilot);
    if pilot.contains('@') { pilot.trim().trim_start_matches("sip:").to_owned() } else { key }
}

/// Each name of this border inside is one UM IP gateway, whatever number of plans it serves.
fn gateways(script: &mut String, subject: &Subject<'_>) {
    for gateway in all_gateways(subject).values() {
        let plans: Vec<&DialPlan> = subject
            .exchange_plans()
            .map(|(_, plan)| &**plan)
            .filter(|plan| subject.gateways(plan).iter().any(|other| other.position == gateway.position))
            .collect();
        comment(script, "");
        comment(script, &format!("This border, as UM IP gateway {}", gateway.host()));
        let host = quoted(gateway.host());
        let default = plans.iter().find(|plan| subject.hunt_groups(plan).iter().any(|(_, group)| group.pilot.is_none()));
        let linked = default.map(|plan| format!(" -UMDialPlan {}", quoted(&plan.name))).unwrap_or_default();
        if !linked.is_empty() {
            comment(script, "With a dial plan, Exchange makes a default hunt group for it: every number of this gateway is that plan's.");
        }
        let family = if gateway.listener.bound.is_ipv6() { " -IPAddressFamily IPv6Only" } else { "" };
        let _ = writeln!(script, "New-UMIPGateway -Name {host} -Address {host}{linked}");
        let any = |wanted: fn(&Peer) -> bool| {
            let outward = plans
                .iter()
                .flat_map(|plan| plan.gateways.iter().map(|name| &**name).chain(subject.hunt_groups(plan).into_iter().map(|(_, group)| &*group.peer)));
            outward.filter_map(|name| subject.peer(name)).any(|(_, peer)| wanted(peer))
        };
        let outcalls = plans.iter().flat_map(|plan| &plan.gateways).filter_map(|name| subject.peer(name)).any(|(_, peer)| peer.outcalls);
        let _ = writeln!(
            script,
            "Set-UMIPGateway -Identity {host} -Port {}{family} -OutcallsAllowed {} -MessageWaitingIndicatorAllowed {}",
            gateway.port(),
            flag(outcalls),
            flag(any(|peer| peer.mwi))
        );
    }
}

fn all_gateways<'s>(subject: &Subject<'s>) -> BTreeMap<usize, Gateway<'s>> {
    subject.exchange_plans().flat_map(|(_, plan)| subject.gateways(plan)).map(|gateway| (gateway.position, gateway)).collect()
}

fn hunt_groups(script: &mut String, subject: &Subject<'_>, plan: &DialPlan) {
    let mut made: Vec<(String, String)> = Vec::new();
    let mut names: Vec<String> = Vec::new();
    for gateway in subject.gateways(plan) {
        for (_, group) in subject.hunt_groups(plan) {
            for pilot in pilots_of(group) {
                // The same pilot of several peers of ours is one to Exchange.
                if made.iter().any(|(host, other)| host == gateway.host() && *other == pilot) {
                    continue;
                }
                if made.is_empty() {
                    comment(script, "");
                    comment(
                        script,
                        &format!(
                            "Hunt groups of \"{}\". One that came into being with the gateway and has no pilot must go (Remove-UMHuntGroup), else it catches every number.",
                            plan.name
                        ),
                    );
                }
                let name = if names.contains(&group.name.to_string()) { format!("{} {pilot}", group.name).replace('+', "") } else { group.name.to_string() };
                let _ = writeln!(
                    script,
                    "New-UMHuntGroup -Name {} -UMIPGateway {} -UMDialPlan {} -PilotIdentifier {}",
                    quoted(&name),
                    quoted(gateway.host()),
                    quoted(&plan.name),
                    quoted(&pilot)
                );
                names.push(name);
                made.push((gateway.host().to_owned(), pilot));
            }
        }
    }
}

/// A machine of Exchange's: whether calls begin there, and whether its UM service takes them.
struct Server {
    name: String,
    routes: bool,
    works: bool,
    /// Of a version with a single UM role.
    one_role: bool,
}

/// All UM servers that have a name, each once.
fn servers(subject: &Subject<'_>) -> Vec<Server> {
    let mut servers: Vec<Server> = Vec::new();
    for (_, plan) in subject.exchange_plans() {
        for (_, peer) in subject.members(plan) {
            let (routes, works) = (plan.um_pool.routers.contains(&peer.name), peer.kind == PeerKind::UmServer);
            for name in names(peer).filter(|name| !name.starts_with('_')) {
                match servers.iter_mut().find(|server| server.name == name) {
                    Some(server) => server.routes |= routes,
                    None => {
                        let one_role = matches!(plan.um_pool.version, UmVersion::Exchange2007 | UmVersion::Exchange2010);
                        servers.push(Server { name: name.to_owned(), routes, works, one_role });
                    }
                }
            }
        }
    }
    servers
}

fn start_up(script: &mut String, subject: &Subject<'_>) {
    let secured = subject.exchange_plans().any(|(_, plan)| plan.mode > SecurityMode::Unsecured);
    comment(script, "");
    if !secured {
        comment(script, "Start-up mode: TCP, the default, serves these plans. Nothing need be done.");
        return;
    }
    comment(
        script,
        "Start-up mode. The default is TCP, with which nothing listens for TLS: calls are refused on 5061 until this is done. Dual serves plans of every mode.",
    );
    for server in servers(subject) {
        let name = quoted(&server.name);
        if server.one_role {
            let _ = writeln!(script, "Set-UMServer -Identity {name} -UMStartupMode Dual");
            continue;
        }
        if server.routes {
            let _ = writeln!(script, "Set-UMCallRouterSettings -Server {name} -UMStartupMode Dual");
        }
        if server.works {
            let _ = writeln!(script, "Set-UMService -Identity {name} -UMStartupMode Dual");
        }
    }
}

fn certificates(script: &mut String, subject: &Subject<'_>) {
    let tls = |gateway: &&Gateway<'_>| gateway.listener.transport == Transport::Tls;
    let gateways = all_gateways(subject);
    if !gateways.values().any(|gateway| tls(&gateway)) {
        return;
    }
    comment(script, "");
    comment(script, "Certificates. TLS is mutual: each side checks the other's, and both must know both CAs.");
    for gateway in gateways.values().filter(tls) {
        let file = subject.settings.tls.listeners.iter().find(|listener| listener.name == gateway.listener.name);
        let file = file.map(|listener| listener.own.certificate.display().to_string()).unwrap_or_default();
        comment(
            script,
            &format!(
                "  This border shows {file}: {host} as common name and subject alternative name, spelt just so, no wildcard; for serverAuth and clientAuth.",
                host = gateway.host()
            ),
        );
    }
    comment(script, "  Its CA must be trusted by every server, on each of them:");
    let _ =
        writeln!(script, "Import-Certificate -FilePath (Read-Host {}) -CertStoreLocation Cert:\\LocalMachine\\Root", quoted("File with the CA of this border"));
    for server in servers(subject) {
        let services = match (server.routes, server.works) {
            (true, true) if !server.one_role => "UM, UMCallRouter",
            (true, false) => "UMCallRouter",
            _ => "UM",
        };
        let name = &server.name;
        comment(script, &format!("  {name} shows a certificate with its full name as subject (no wildcard there) and as subject alternative name."));
        let thumbprint = quoted(&format!("Thumbprint of the certificate of {name}"));
        let _ = writeln!(script, "Enable-ExchangeCertificate -Server {} -Services {services} -Thumbprint (Read-Host {thumbprint})", quoted(name));
    }
    let mut authorities: Vec<String> = Vec::new();
    for (_, peer) in subject.exchange_plans().flat_map(|(_, plan)| subject.members(plan)) {
        let of_peer = subject.settings.tls.peers.iter().filter(|known| known.peer == peer.name).flat_map(|known| &known.ca);
        for file in of_peer.map(|file| file.display().to_string()) {
            if !authorities.contains(&file) {
                authorities.push(file);
            }
        }
    }
    comment(script, &format!("  They must chain to what is in {}.", authorities.join(", ")));
    let _ = writeln!(script, "Restart-Service MSExchangeUM, MSExchangeUMCR   # on each server, for start-up mode and certificates to count");
}

fn ports(script: &mut String, subject: &Subject<'_>) {
    let media = &subject.settings.signaling.media;
    let inside: Vec<String> = media.inside.iter().map(ToString::to_string).collect();
    comment(script, "");
    comment(script, "Ports that firewalls between the two must let through:");
    for gateway in all_gateways(subject).values() {
        let address = gateway.listener.bound.ip();
        let (router, service, worker) = match gateway.listener.transport {
            Transport::Tls => (5061, 5063, "5065 to 5068"),
            Transport::Tcp | Transport::Udp => (5060, 5062, "5065 to 5068"),
        };
        comment(
            script,
            &format!(
                "  TCP from {address} to the UM servers: {router} call router, {service} UM service, {worker} workers (which one changes when they are recycled)"
            ),
        );
        comment(script, &format!("  TCP from every UM server, call routers and mailbox servers alike, to {address}: {}", gateway.listener.bound.port()));
    }
    let (first, last) = media.ports;
    comment(script, &format!("  UDP between {} ports {first} to {last} and the Mailbox servers' 1024 to 65535, both ways: RTP and RTCP", inside.join(", ")));
}
