//! `peers.toml`: who may talk to the border, where they live, how they prove who they are.

use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;

use super::border::TRANSPORTS;
use crate::adapters::tls::StaleCrl;
use crate::config::finding::{At, Written};
use crate::config::table::Table;
use crate::media::control::LatchPolicy;
use crate::policy::address_scope::AddressScope;
use crate::policy::admission::CallLimits;
use crate::policy::flow::TlsBackend;
use crate::policy::settings::{AddressFamily, Fax, Keying, PeerHost, PeerKind, PeerStatus, Refer, SecurityMode};
use crate::policy::sound::Dtmf;
use crate::sdp::crypto::Suite;
use crate::sip::Transport;

const KINDS: [(&str, PeerKind); 7] = [
    ("trunk", PeerKind::Trunk),
    ("gateway", PeerKind::Gateway),
    ("pbx", PeerKind::Pbx),
    ("mediation", PeerKind::Mediation),
    ("um-router", PeerKind::UmRouter),
    ("um-server", PeerKind::UmServer),
    ("fax", PeerKind::Fax),
];

pub const MODES: [(&str, SecurityMode); 3] =
    [("secured", SecurityMode::Secured), ("sip-secured", SecurityMode::SipSecured), ("unsecured", SecurityMode::Unsecured)];

const STATUSES: [(&str, PeerStatus); 3] = [("enabled", PeerStatus::Enabled), ("no-new-calls", PeerStatus::NoNewCalls), ("disabled", PeerStatus::Disabled)];

const SCOPES: [(&str, AddressScope); 3] =
    [(AddressScope::Public.word(), AddressScope::Public), (AddressScope::Private.word(), AddressScope::Private), (AddressScope::Any.word(), AddressScope::Any)];

const FAMILIES: [(&str, AddressFamily); 3] =
    [(AddressFamily::Ipv4.word(), AddressFamily::Ipv4), (AddressFamily::Ipv6.word(), AddressFamily::Ipv6), (AddressFamily::Any.word(), AddressFamily::Any)];

const LATCHES: [(&str, LatchPolicy); 3] = [("signalled-address", LatchPolicy::SignalledAddress), ("strict", LatchPolicy::Strict), ("nat", LatchPolicy::Nat)];

const SUITES: [(&str, Suite); Suite::ALL.len()] = {
    let mut named = [("", Suite::ALL[0]); Suite::ALL.len()];
    let mut n = 0;
    while n < named.len() {
        named[n] = (Suite::ALL[n].name(), Suite::ALL[n]);
        n += 1;
    }
    named
};

/// Between questions for signs of life: no burden, and soon enough to be of use.
const PROBE: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(3600));

const FAXES: [(&str, Fax); 3] = [(Fax::T38.name(), Fax::T38), (Fax::G711.name(), Fax::G711), (Fax::Off.name(), Fax::Off)];

/// Lync waits for 30 s; RFC 3550 §6.2 sends no oftener than every 5 s.
const RTCP_KEEPALIVE: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(30));

const DTMFS: [(&str, Dtmf); 2] = [(Dtmf::AsOffered.name(), Dtmf::AsOffered), (Dtmf::Info.name(), Dtmf::Info)];

const KEYINGS: [(&str, Keying); 2] = [(Keying::Sdes.name(), Keying::Sdes), (Keying::Dtls.name(), Keying::Dtls)];

const BACKENDS: [(&str, TlsBackend); 2] = [("rustls", TlsBackend::Rustls), ("openssl", TlsBackend::OpenSsl)];

const REFERS: [(&str, Refer); 3] = [("refuse", Refer::Refuse), ("execute", Refer::Execute), ("relay", Refer::Relay)];

const STALE: [(&str, StaleCrl); 2] = [("refuse", StaleCrl::Refuse), ("accept", StaleCrl::Accept)];

pub struct Peer {
    pub at: At,
    pub name: Option<Written<String>>,
    pub kind: Option<Written<PeerKind>>,
    pub hosts: Vec<Written<HostWritten>>,
    pub addresses: Option<Written<AddressScope>>,
    pub prefer: Option<Written<bool>>,
    pub transport: Option<Written<Transport>>,
    pub port: Option<u16>,
    pub mode: Option<Written<SecurityMode>>,
    pub tls_names: Option<Vec<Written<String>>>,
    pub ca: Option<Vec<Written<String>>>,
    pub crl: Option<Vec<Written<String>>>,
    pub stale_crl: Option<Written<StaleCrl>>,
    pub server_certificate_as_client: Option<Written<bool>>,
    pub tls_backend: Option<Written<TlsBackend>>,
    pub certificate: Option<Written<String>>,
    pub key: Option<Written<String>>,
    pub listener: Option<Written<String>>,
    pub latch: Option<Written<LatchPolicy>>,
    pub suites: Option<Vec<Written<Suite>>>,
    pub keying: Option<Written<Keying>>,
    pub srtp_passthrough: Option<Written<bool>>,
    pub rtcp_mux: Option<Written<bool>>,
    pub diversion: Option<bool>,
    pub send_diversion: Option<bool>,
    pub identity: Option<bool>,
    pub mutual: Option<Written<bool>>,
    pub probe: Option<Written<Duration>>,
    pub fax: Option<Written<Fax>>,
    pub rtcp_keepalive: Option<Written<Duration>>,
    pub refer: Option<Written<Refer>>,
    pub codecs: Option<Vec<Written<String>>>,
    pub comfort_noise: Option<bool>,
    pub dtmf: Option<Written<Dtmf>>,
    pub status: PeerStatus,
    pub outcalls: Option<Written<bool>>,
    pub mwi: Option<Written<bool>>,
    pub mwi_accounts: Option<Vec<Written<String>>>,
    pub delayed_source_party: Option<Written<bool>>,
    pub address_family: Option<Written<AddressFamily>>,
    pub simulator: Option<Written<bool>>,
    pub limits: CallLimits,
    pub limits_towards: CallLimits,
}

pub type HostWritten = PeerHost;

pub fn read(root: &Table<'_, '_>) -> Vec<Peer> {
    root.tables("peer", "[[peer]]").into_iter().map(read_peer).collect()
}

fn read_peer(table: Table<'_, '_>) -> Peer {
    let hosts = table.required_texts("hosts", "[\"sbc.carrier.example\"]");
    let peer = Peer {
        at: table.at(),
        name: table.required_text("name", "\"carrier\""),
        kind: table.required_choice("kind", &KINDS),
        hosts: hosts.into_iter().filter_map(|host| read_host(&table, host)).collect(),
        addresses: table.choice("addresses", &SCOPES),
        prefer: table.flag("prefer"),
        transport: table.required_choice("transport", &TRANSPORTS),
        port: table.integer("port", 1..=65_535).map(|port| port.value as u16),
        mode: table.choice("mode", &MODES),
        tls_names: table.texts("tls_names", "[\"sbc.carrier.example\"]"),
        ca: table.some_texts("ca", "\"certs/ca.pem\""),
        crl: table.some_texts("crl", "\"certs/ca.crl\""),
        stale_crl: table.choice("stale_crl", &STALE),
        server_certificate_as_client: table.flag("server_certificate_as_client"),
        tls_backend: table.choice("tls_backend", &BACKENDS),
        certificate: table.text("certificate", "\"certs/sbc.pem\""),
        key: table.text("key", "\"certs/sbc.key\""),
        listener: table.text("listener", "\"outside\""),
        latch: table.choice("latch", &LATCHES),
        suites: table.choices("suites", &SUITES),
        keying: table.choice("keying", &KEYINGS),
        srtp_passthrough: table.flag("srtp_passthrough"),
        rtcp_mux: table.flag("rtcp_mux"),
        diversion: table.flag("diversion").map(|flag| flag.value),
        send_diversion: table.flag("send_diversion").map(|flag| flag.value),
        identity: table.flag("identity").map(|flag| flag.value),
        mutual: table.flag("mutual"),
        probe: table.duration("probe", PROBE.0, PROBE.1),
        fax: table.choice("fax", &FAXES),
        rtcp_keepalive: table.duration("rtcp_keepalive", RTCP_KEEPALIVE.0, RTCP_KEEPALIVE.1),
        refer: table.choice("refer", &REFERS),
        codecs: table.some_texts("codecs", "[\"PCMA\", \"PCMU\"]"),
        comfort_noise: table.flag("comfort_noise").map(|flag| flag.value),
        dtmf: table.choice("dtmf", &DTMFS),
        status: table.choice("status", &STATUSES).map(|status| status.value).unwrap_or_default(),
        outcalls: table.flag("outcalls"),
        mwi: table.flag("mwi"),
        mwi_accounts: table.some_texts("mwi_accounts", "[\"2*\"]"),
        delayed_source_party: table.flag("delayed_source_party"),
        address_family: table.choice("address_family", &FAMILIES),
        simulator: table.flag("simulator"),
        limits: super::plans::read_call_limits(&table, ["calls", "rate"]),
        limits_towards: super::plans::read_call_limits(&table, ["calls_to", "rate_to"]),
    };
    table.finish();
    peer
}

fn read_host(table: &Table<'_, '_>, written: Written<String>) -> Option<Written<HostWritten>> {
    let text = written.value.trim().to_ascii_lowercase();
    let host = match (text.parse::<IpAddr>(), text.parse::<IpNet>()) {
        (Ok(address), _) => PeerHost::Address(address.to_canonical()),
        (_, Ok(net)) if net.trunc() == net => PeerHost::Network(net),
        (_, Ok(net)) => {
            table.findings().problem(
                written.at,
                format!("{text} has bits beyond its prefix"),
                format!("write \"{}\" for the network, or the address alone", net.trunc()),
            );
            return None;
        }
        _ if is_host_name(&text) => PeerHost::Name(text.as_str().into()),
        _ => {
            let instead =
                "write an address (192.0.2.1), a network (192.0.2.0/28) or a host name (um1.example.com), without port; the port has a key of its own";
            table.findings().problem(written.at, format!("\"{text}\" is no host"), instead);
            return None;
        }
    };
    Some(Written { value: host, at: written.at })
}

/// RFC 1123 §2.1, with the underscore the field is full of; not all digits and dots, which would be a mistyped address.
pub fn is_host_name(text: &str) -> bool {
    let labels_fit = text.split('.').all(|label| {
        !label.is_empty()
            && label.len() <= 63
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
    });
    labels_fit && text.len() <= 253 && text.bytes().any(|b| b.is_ascii_alphabetic())
}
