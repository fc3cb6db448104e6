//! `peers.toml` as meant: what a peer must have to be told apart and to keep its mode.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use super::border::Listener;
use super::{number_pattern, place, unknown};
use crate::config::finding::{At, Findings, Written};
use crate::config::written::{self, is_host_name};
use crate::media::control::LatchPolicy;
use crate::policy::address_scope::AddressScope;
use crate::policy::number_pattern::NumberPattern;
use crate::policy::overlap::Resolution;
use crate::policy::peer::PeerTable;
use crate::policy::security_mode::mode_name;
use crate::policy::settings::{
    AddressFamily, Fax, Keying, OFFERED, Peer, PeerHost, PeerKind, PolicySet, RTCP_KEEPALIVE, Refer, SecurityMode, TAKEN, UmVersion, domain_of,
};
use crate::policy::sound::{Codec, Dtmf, Sound};
use crate::sdp::crypto::Suite;
use crate::sip::Transport;

/// Exchange's limit of a UM IP gateway's name.
const NAME_CHARACTERS: usize = 64;

pub fn peers(written: &[written::Peer], pools: &[written::UmPool], listeners: &[Listener], findings: &Findings) -> Vec<Arc<Peer>> {
    let mut seen = Vec::new();
    let mut places = Vec::new();
    let mut peers = Vec::new();
    for entry in written {
        let name = super::name(entry.name.as_ref(), "peer", NAME_CHARACTERS, &mut seen, findings);
        check_mode(entry, findings);
        let tls_names = tls_names(entry, findings);
        check_certificates(entry, findings);
        let listener = listener(entry, listeners, findings);
        let (Some(name), Some(kind), Some(transport)) = (name, &entry.kind, &entry.transport) else { continue };
        if kind.value.is_um() && transport.value == Transport::Udp {
            // A warning only: other voicemail servers do speak UDP.
            findings.warning(
                transport.at,
                format!("UM peer \"{name}\" on UDP: Exchange UM speaks TCP and TLS only"),
                "write transport = \"tls\" or \"tcp\" if it is Exchange",
            );
        }
        let peer = Peer {
            name,
            kind: kind.value,
            status: entry.status,
            hosts: entry.hosts.iter().map(|host| host.value.clone()).collect(),
            prefer: prefer(entry, findings),
            addresses: entry.addresses.as_ref().map_or(AddressScope::of_kind(kind.value), |scope| scope.value),
            transport: transport.value,
            port: entry.port,
            mode: entry.mode.as_ref().map_or(SecurityMode::Secured, |mode| mode.value),
            tls_names,
            listener,
            latch: entry.latch.as_ref().map(|latch| latch.value).unwrap_or_default(),
            suites: suites(entry, &OFFERED),
            suites_taken: suites(entry, &TAKEN),
            keying: keying(entry, findings),
            srtp_passthrough: srtp_passthrough(entry, written, findings),
            rtcp_mux: rtcp_mux(entry, findings),
            diversion_trusted: entry.diversion.unwrap_or(false),
            diversion_sent: entry.send_diversion.unwrap_or(false),
            mutual: mutual(entry, findings),
            identity_trusted: entry.identity.unwrap_or(kind.value.is_um()),
            probe: entry.probe.as_ref().map(|probe| probe.value),
            outcalls: outside_only(entry, "outcalls", entry.outcalls.as_ref(), findings).unwrap_or(kind.value != PeerKind::Fax),
            mwi: outside_only(entry, "mwi", entry.mwi.as_ref(), findings).unwrap_or(kind.value.takes_mwi()),
            mwi_accounts: mwi_accounts(entry, findings),
            delayed_source_party: outside_only(entry, "delayed_source_party", entry.delayed_source_party.as_ref(), findings).unwrap_or(false),
            address_family: address_family(entry, listeners, findings),
            simulator: entry.simulator.as_ref().is_some_and(|simulator| simulator.value),
            fax: entry.fax.as_ref().map_or(Fax::of_kind(kind.value), |fax| fax.value),
            rtcp_keepalive: rtcp_keepalive(entry, pools),
            refer: entry.refer.as_ref().map_or(Refer::of_kind(kind.value), |refer| refer.value),
            sound: sound(entry, findings),
            limits: entry.limits,
            limits_towards: entry.limits_towards,
        };
        warn(&peer, entry, findings);
        places.push(entry.at);
        peers.push(Arc::new(peer));
    }
    if written.is_empty() {
        findings.warning(At { file: "peers.toml", line: 1, column: 1 }, "there is no peer: everybody is a stranger", "add [[peer]]");
    }
    check_told_apart(&peers, &places, findings);
    peers
}

/// A property of UM IP gateways says nothing of UM's own servers.
fn outside_only(entry: &written::Peer, key: &str, written: Option<&Written<bool>>, findings: &Findings) -> Option<bool> {
    let written = written?;
    if entry.kind.as_ref().is_some_and(|kind| kind.value.is_um()) {
        findings.problem(written.at, format!("{key} on a UM peer: it is a property of gateways, PBXs and trunks"), "remove it");
    }
    Some(written.value)
}

fn mwi_accounts(entry: &written::Peer, findings: &Findings) -> Vec<NumberPattern> {
    let Some(accounts) = &entry.mwi_accounts else { return Vec::new() };
    let told = entry.mwi.as_ref().map_or(entry.kind.as_ref().is_some_and(|kind| kind.value.takes_mwi()), |mwi| mwi.value);
    if let Some(first) = accounts.first().filter(|_| !told) {
        findings.problem(first.at, "mwi_accounts on a peer that is not told of waiting messages", "add mwi = true, or remove it");
    }
    accounts.iter().filter_map(|account| number_pattern(account, "mwi_accounts", findings)).collect()
}

fn address_family(entry: &written::Peer, listeners: &[Listener], findings: &Findings) -> AddressFamily {
    let Some(family) = &entry.address_family else { return AddressFamily::Any };
    let transport = entry.transport.as_ref().map(|transport| transport.value);
    let is_of = |listener: &&Listener| Some(listener.transport) == transport;
    let speaks = |listener: &Listener| family.value.admits(listener.address.ip());
    if family.value != AddressFamily::Any && listeners.iter().any(|listener| is_of(&listener)) && !listeners.iter().filter(is_of).any(speaks) {
        let what = format!("address_family = \"{}\", but no listener of the peer's transport has such an address", family.value.word());
        findings.problem(family.at, what, "add a [[listener]] of that family to border.toml, or write address_family = \"any\"");
    }
    let stray = entry.hosts.iter().find(|host| matches!(&host.value, PeerHost::Address(address) if !family.value.admits(*address)));
    if let Some(stray) = stray {
        findings.warning(
            stray.at,
            format!("an address that address_family = \"{}\" has us never call", family.value.word()),
            "remove it, or write address_family = \"any\"",
        );
    }
    family.value
}

fn sound(entry: &written::Peer, findings: &Findings) -> Sound {
    let mut codecs: Vec<Codec> = Vec::new();
    for written in entry.codecs.iter().flatten() {
        match Codec::parse(&written.value) {
            Some(codec) if codecs.contains(&codec) => {}
            Some(codec) => codecs.push(codec),
            None => findings.problem(
                written.at,
                format!("\"{}\" is no codec's name", written.value),
                "write it as in a=rtpmap: \"PCMA\", or with its clock \"opus/48000\"",
            ),
        }
    }
    let is_voice = |codec: &Codec| !["telephone-event", "CN"].iter().any(|name| codec.encoding.eq_ignore_ascii_case(name));
    if let Some(first) = entry.codecs.iter().flatten().next().filter(|_| !codecs.is_empty() && !codecs.iter().any(is_voice)) {
        findings.problem(first.at, "codecs names none that carries speech: every call would be refused", "add one, say \"PCMA\"");
    }
    Sound { codecs, comfort_noise: entry.comfort_noise.unwrap_or(true), dtmf: dtmf(entry, findings) }
}

fn dtmf(entry: &written::Peer, findings: &Findings) -> Dtmf {
    let Some(dtmf) = &entry.dtmf else { return Dtmf::default() };
    if dtmf.value == Dtmf::Info && entry.kind.as_ref().is_some_and(|kind| kind.value.is_um() || kind.value == PeerKind::Mediation) {
        let what = "dtmf = \"info\" on UM or a Mediation Server: Exchange and Lync say digits by telephone-events only, so callers could not use a menu";
        findings.warning(dtmf.at, what, "remove it if it is one of these, and write it on the peer that needs INFO");
    }
    dtmf.value
}

/// Lync and all that stands behind it wants RTCP, unless something else is written.
fn rtcp_keepalive(entry: &written::Peer, pools: &[written::UmPool]) -> Option<Duration> {
    let is = |name: &Written<String>| entry.name.as_ref().is_some_and(|own| own.value == name.value);
    let behind_lync = pools.iter().filter(|pool| pool.version == UmVersion::Lync).any(|pool| pool.routers.iter().chain(&pool.servers).any(is));
    let is_lync = behind_lync || entry.kind.as_ref().is_some_and(|kind| kind.value == PeerKind::Mediation);
    entry.rtcp_keepalive.as_ref().map(|every| every.value).or(RTCP_KEEPALIVE.filter(|_| is_lync))
}

fn check_mode(entry: &written::Peer, findings: &Findings) {
    let Some(transport) = &entry.transport else { return };
    let mode = entry.mode.as_ref().map_or(SecurityMode::Secured, |mode| mode.value);
    if mode == SecurityMode::Unsecured || transport.value == Transport::Tls {
        return;
    }
    let by_default = if entry.mode.is_none() { " (the default)" } else { "" };
    let what = format!("mode {}{by_default} on transport {}", mode_name(mode), transport.value.uri_token());
    findings.problem(place(entry.mode.as_ref(), transport.at), what, "write transport = \"tls\", or mode = \"unsecured\" if calls may travel in clear");
}

/// TLS without a certificate of the client proves nothing about it, so it is no more than unsecured.
fn mutual(entry: &written::Peer, findings: &Findings) -> bool {
    let Some(mutual) = &entry.mutual else { return true };
    let is_tls = entry.transport.as_ref().is_none_or(|transport| transport.value == Transport::Tls);
    let unsecured = entry.mode.as_ref().is_some_and(|mode| mode.value == SecurityMode::Unsecured);
    if !mutual.value && !is_tls {
        findings.problem(mutual.at, "mutual on a peer that is not TLS", "remove it, or write transport = \"tls\"");
    } else if !mutual.value && !unsecured {
        findings.problem(mutual.at, "mutual = false on a peer that is more than unsecured", "remove it, or write mode = \"unsecured\"");
    }
    mutual.value
}

/// What DTLS proves is what signalling said: over signalling that anybody can alter that is nothing.
fn keying(entry: &written::Peer, findings: &Findings) -> Keying {
    let Some(keying) = &entry.keying else { return Keying::default() };
    let is_tls = entry.transport.as_ref().is_none_or(|transport| transport.value == Transport::Tls);
    if keying.value == Keying::Dtls && !is_tls {
        let what = "keying = \"dtls\" on a peer that is not TLS: whoever alters a message in clear puts his own fingerprint into it";
        findings.problem(keying.at, what, "write transport = \"tls\", or remove it");
    } else if keying.value == Keying::Dtls && entry.kind.as_ref().is_some_and(|kind| kind.value.is_um() || kind.value == PeerKind::Mediation) {
        findings.warning(keying.at, "keying = \"dtls\" on UM or a Mediation Server: Exchange and Lync speak SDES only", "remove it if it is one of these");
    }
    keying.value
}

/// Sharing keys gives up what a border is for in media, so nobody has it by accident: two peers must be written down for it, and it is told each time.
fn srtp_passthrough(entry: &written::Peer, all: &[written::Peer], findings: &Findings) -> bool {
    let Some(passthrough) = entry.srtp_passthrough.as_ref().filter(|passthrough| passthrough.value) else { return false };
    let is_secured = entry.mode.as_ref().is_none_or(|mode| mode.value == SecurityMode::Secured);
    let others = all.iter().filter(|other| other.srtp_passthrough.as_ref().is_some_and(|other| other.value)).count() > 1;
    if !is_secured {
        findings.problem(passthrough.at, "srtp_passthrough on a peer that is not secured: it has no SRTP keys", "remove it, or write mode = \"secured\"");
    } else if entry.keying.as_ref().is_some_and(|keying| keying.value == Keying::Dtls) {
        findings.problem(passthrough.at, "srtp_passthrough on a peer keyed by DTLS: its keys are made with us alone", "remove it, or write keying = \"sdes\"");
    } else if !others {
        findings.warning(
            passthrough.at,
            "srtp_passthrough does nothing: no other peer has it, and both peers of a call must",
            "remove it, or write it at the other peer too",
        );
    } else {
        findings.warning(
            passthrough.at,
            "srtp_passthrough: peers that have it are given each other's SRTP keys. Each can then read and forge the other's media, their RTCP with the names in it \
             crosses unread, and no RTCP of ours is sent",
            "remove it unless these peers trust each other as they trust us",
        );
    }
    true
}

fn rtcp_mux(entry: &written::Peer, findings: &Findings) -> bool {
    let Some(mux) = &entry.rtcp_mux else { return false };
    let is_dtls = entry.keying.as_ref().is_some_and(|keying| keying.value == Keying::Dtls);
    if mux.value && entry.kind.as_ref().is_some_and(|kind| kind.value.is_um()) {
        findings.problem(mux.at, "rtcp_mux on a UM peer: Exchange UM has RTCP on a port of its own", "remove it, or write rtcp_mux = false");
    } else if !mux.value && is_dtls {
        findings.warning(mux.at, "rtcp_mux = false on a peer keyed by DTLS, where RTCP shares the port of RTP in any case", "remove it");
    }
    mux.value
}

fn prefer(entry: &written::Peer, findings: &Findings) -> bool {
    let Some(prefer) = &entry.prefer else { return false };
    if prefer.value && entry.transport.as_ref().is_some_and(|transport| transport.value == Transport::Tls) {
        findings.problem(prefer.at, "prefer on a TLS peer: there the certificate says who it is", "remove it, and give each TLS peer tls_names of its own");
    }
    prefer.value
}

fn tls_names(entry: &written::Peer, findings: &Findings) -> Vec<Arc<str>> {
    let is_tls = entry.transport.as_ref().is_some_and(|transport| transport.value == Transport::Tls);
    if let Some(names) = &entry.tls_names {
        if let Some(first) = names.first().filter(|_| !is_tls && entry.transport.is_some()) {
            findings.problem(first.at, "tls_names on a peer that is not TLS", "remove it, or write transport = \"tls\"");
        }
        for name in names.iter().filter(|name| !is_host_name(&name.value.to_ascii_lowercase()) && name.value.parse::<IpAddr>().is_err()) {
            let what = format!("\"{}\" is no name that a certificate may carry here", name.value);
            findings.problem(name.at, what, "write the whole host name: wildcards are not matched (RFC 5922 section 7.2)");
        }
    }
    let from_hosts = entry.hosts.iter().filter_map(|host| match &host.value {
        // RFC 5922 §4: who is reached by SRV records proves the domain that was asked for.
        PeerHost::Name(name) => Some(domain_of(name).map_or_else(|| Arc::clone(name), Arc::from)),
        PeerHost::Address(_) | PeerHost::Network(_) => None,
    });
    let names: Vec<Arc<str>> = match &entry.tls_names {
        Some(names) => names.iter().map(|name| name.value.to_ascii_lowercase().into()).collect(),
        None => from_hosts.collect(),
    };
    if is_tls && names.is_empty() && !entry.hosts.is_empty() {
        findings.problem(
            entry.at,
            "a TLS peer with neither a host name nor tls_names: nothing says whose certificate is right",
            "add tls_names = [\"um1.example.com\"], the name its certificate carries",
        );
    }
    names
}

fn check_certificates(entry: &written::Peer, findings: &Findings) {
    let Some(transport) = &entry.transport else { return };
    if transport.value != Transport::Tls {
        let stray = entry.ca.iter().flatten().next().or(entry.certificate.as_ref()).or(entry.key.as_ref());
        if let Some(stray) = stray {
            findings.problem(stray.at, "a certificate, key or ca on a peer that is not TLS", "remove it, or write transport = \"tls\"");
        }
        return;
    }
    if entry.ca.is_none() {
        findings.problem(
            entry.at,
            "a TLS peer without ca: no certificate could ever verify",
            "add ca = \"certs/ca.pem\", the CA its certificate chains to, or the certificate itself to pin it",
        );
    }
    match (&entry.certificate, &entry.key) {
        (Some(certificate), None) => findings.problem(certificate.at, "a certificate without its key", "add key = \"certs/sbc.key\""),
        (None, Some(key)) => findings.problem(key.at, "a key without its certificate", "add certificate = \"certs/sbc.pem\""),
        _ => {}
    }
}

/// The listener named, or the only one of the peer's transport.
fn listener(entry: &written::Peer, listeners: &[Listener], findings: &Findings) -> Option<Arc<str>> {
    let transport = entry.transport.as_ref()?;
    let fitting: Vec<&Listener> = listeners.iter().filter(|listener| listener.transport == transport.value).collect();
    let Some(written) = &entry.listener else {
        if fitting.is_empty() && !listeners.is_empty() {
            let what = format!("no listener speaks this peer's transport {}", transport.value.uri_token());
            findings.problem(transport.at, what, format!("add [[listener]] with transport = \"{}\" to border.toml", transport.value.uri_token()));
        }
        return fitting.first().filter(|_| fitting.len() == 1).map(|listener| Arc::clone(&listener.name));
    };
    let Some(listener) = listeners.iter().find(|listener| *listener.name == *written.value) else {
        let known: Vec<&str> = fitting.iter().map(|listener| &*listener.name).collect();
        unknown(written, "listener", "border.toml", &known, &[], findings);
        return None;
    };
    if listener.transport != transport.value {
        let what = format!("listener \"{}\" speaks {}, the peer {}", listener.name, listener.transport.uri_token(), transport.value.uri_token());
        findings.problem(written.at, what, "name a listener of the peer's transport");
    }
    Some(Arc::clone(&listener.name))
}

/// What is written holds for offers and answers alike.
fn suites(entry: &written::Peer, default: &[Suite]) -> Vec<Suite> {
    let mut suites: Vec<Suite> = Vec::new();
    for suite in entry.suites.iter().flatten() {
        if !suites.contains(&suite.value) {
            suites.push(suite.value);
        }
    }
    if suites.is_empty() { default.to_vec() } else { suites }
}

fn warn(peer: &Peer, entry: &written::Peer, findings: &Findings) {
    if let (AddressScope::Any, Some(scope)) = (peer.addresses, &entry.addresses) {
        let what = format!("peer \"{}\": addresses = \"any\" lets DNS make this machine itself, or any other, that peer", peer.name);
        findings.warning(scope.at, what, "outside laboratories write \"public\" or \"private\"");
    }
    if let Some(scope) = entry.addresses.as_ref().filter(|_| !peer.hosts.iter().any(|host| matches!(host, PeerHost::Name(_)))) {
        let what = format!("peer \"{}\" has no host name, so nothing of it is asked of DNS: addresses is without effect", peer.name);
        findings.warning(scope.at, what, "remove it");
    }
    if let Some(refer) = entry.refer.as_ref().filter(|refer| refer.value != Refer::Refuse && peer.kind == PeerKind::Fax) {
        let what = format!("peer \"{}\" is a fax server, which takes calls and transfers none: refer is without effect", peer.name);
        findings.warning(refer.at, what, "remove it");
    }
    if let Some(refer) = entry.refer.as_ref().filter(|refer| refer.value == Refer::Relay && peer.kind.is_um()) {
        let what = format!("peer \"{}\" is UM, which is handed no transfers: refer = \"relay\" is as \"execute\"", peer.name);
        findings.warning(refer.at, what, "write \"relay\" at the PBX or gateway that transfers by itself");
    }
    if peer.latch == LatchPolicy::Nat && peer.mode != SecurityMode::Secured {
        let what = format!("peer \"{}\": latch = \"nat\" without SRTP lets the first packet from anywhere take the stream", peer.name);
        findings.warning(place(entry.latch.as_ref(), entry.at), what, "write latch = \"signalled-address\" unless the peer is behind a NAT");
    }
    if let Some(fax) = entry.fax.as_ref().filter(|fax| fax.value == Fax::T38) {
        if peer.kind == PeerKind::Mediation {
            let what = format!("peer \"{}\" has fax = \"t38\": Lync and Skype for Business support no fax over a Mediation Server", peer.name);
            findings.warning(fax.at, what, "remove it, or write fax = \"g711\" or \"off\"");
        } else if peer.mode == SecurityMode::Secured {
            let what =
                format!("peer \"{}\" has fax = \"t38\" and is secured: T.38 cannot be protected, so it is refused there and faxes stay in G.711", peer.name);
            findings.warning(fax.at, what, "write fax = \"g711\", or a weaker mode if faxes may travel in clear");
        }
    }
    if let Some(probe) = entry.probe.as_ref().filter(|_| peer.hosts.iter().all(|host| matches!(host, PeerHost::Network(_)))) {
        let what = format!("peer \"{}\" has probe, but no address to ask: a network says from where it may come, not where it is", peer.name);
        findings.warning(probe.at, what, "add its addresses or host names to hosts, or remove probe");
    }
    if let Some(network) = entry.hosts.iter().find(|host| matches!(&host.value, PeerHost::Network(net) if net.prefix_len() == 0)) {
        findings.warning(network.at, format!("peer \"{}\" lives everywhere: nobody is a stranger", peer.name), "write the networks that are meant");
    }
}

/// Two peers at one address or under one name that nothing tells apart would both be refused at run time (Exchange's event 1175).
fn check_told_apart(peers: &[Arc<Peer>], places: &[At], findings: &Findings) {
    let names: Vec<&Arc<str>> =
        peers.iter().flat_map(|peer| &peer.hosts).filter_map(|host| if let PeerHost::Name(name) = host { Some(name) } else { None }).collect();
    // Each name gets an address of its own in the discard prefix (RFC 6666), so that equal names meet in the table.
    let stand_in = |name: &str| -> Vec<IpAddr> {
        let index = names.iter().position(|known| &***known == name).unwrap_or_default() as u64;
        vec![IpAddr::V6(Ipv6Addr::from((0x0100_u128 << 112) | u128::from(index + 1)))]
    };
    let set = PolicySet { peers: peers.to_vec(), ..PolicySet::default() };
    for shared in PeerTable::build(0, &set, &stand_in).shared().iter().filter(|shared| shared.resolution() == Resolution::Rejected) {
        let list: Vec<String> = shared.peers.iter().map(|peer| format!("\"{}\"", peer.name)).collect();
        let last = shared.peers.last().and_then(|last| peers.iter().position(|peer| peer.name == last.name)).and_then(|index| places.get(index));
        let what = format!("peers {} live at one place on {} and nothing tells them apart", list.join(" and "), shared.transport);
        let instead = match (shared.transport, shared.peers.iter().filter(|peer| peer.prefer).count()) {
            (Transport::Tls, _) => "make them one peer (a UM server may be a pool's router and server at once), or give each TLS peer tls_names of its own",
            (_, 0) => "make them one peer (a UM server may be a pool's router and server at once), or write prefer = true for the one that is meant there",
            _ => "leave prefer = true with one of them only",
        };
        findings.problem(last.copied().unwrap_or_default(), what, instead);
    }
}
