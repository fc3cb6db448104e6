//! `border.toml` as meant: listeners and their certificates, media addresses, what the operator sees.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use super::place;
use crate::adapters::{admin, media, net};
use crate::config::finding::{At, Findings, Written};
use crate::config::written::{self, Border, Set};
use crate::policy::flow::ListenerId;
use crate::signaling::settings as signaling;
use crate::sip::Transport;

/// A listener that makes sense, with what was written of its certificate.
pub struct Listener {
    pub id: ListenerId,
    pub at: At,
    pub name: Arc<str>,
    pub transport: Transport,
    pub address: SocketAddr,
    pub advertised: Arc<str>,
    pub certificate: Option<(String, String)>,
}

const DEFAULT_PORTS: (u16, u16) = (20_000, 29_999);
const DEFAULT_SILENCE: Duration = Duration::from_secs(60);
const DEFAULT_DRAIN: Duration = Duration::from_secs(60);
const DEFAULT_RETRY_AFTER: u32 = 30;
/// Two ports on each side.
const PORTS_OF_ONE_CALL: u32 = 4;

pub fn listeners(border: &Border, findings: &Findings) -> Vec<Listener> {
    let mut seen = Vec::new();
    let mut listeners: Vec<Listener> = Vec::new();
    for written in &border.listeners {
        let name = super::name(written.name.as_ref(), "listener", 64, &mut seen, findings);
        let address = address(written, findings);
        let certificate = certificate(written, findings);
        let (Some(name), Some(transport), Some(address)) = (name, &written.transport, address) else { continue };
        let at = place(written.address.as_ref(), written.at);
        if let Some(other) = listeners.iter().find(|other| clash((transport.value, address), (other.transport, other.address))) {
            let what = format!("listener \"{name}\" wants {address}, which listener \"{}\" has", other.name);
            findings.problem(at, what, "write another address or port for one of them");
        }
        let advertised = advertised(written, address, findings);
        let id = ListenerId(listeners.len().min(usize::from(u16::MAX)) as u16);
        listeners.push(Listener { id, at, name, transport: transport.value, address, advertised, certificate });
    }
    if border.listeners.is_empty() {
        let instead = "add [[listener]] with name, transport and address";
        findings.problem(At { file: "border.toml", line: 1, column: 1 }, "the border has no listener", instead);
    }
    listeners
}

fn address(listener: &written::Listener, findings: &Findings) -> Option<SocketAddr> {
    let written = listener.address.as_ref()?;
    let port = listener.transport.as_ref().map_or(5060, |transport| transport.value.default_port());
    match written::socket_address(&written.value, port) {
        Some(address) if address.port() != 0 => Some(address),
        _ => {
            let example = format!("write an address of this machine and a port, such as \"192.0.2.1:{port}\" or \"[2001:db8::1]:{port}\"");
            findings.problem(written.at, format!("\"{}\" is no address to listen on", written.value), example);
            None
        }
    }
}

fn certificate(listener: &written::Listener, findings: &Findings) -> Option<(String, String)> {
    let is_tls = listener.transport.as_ref()?.value == Transport::Tls;
    match (&listener.certificate, &listener.key) {
        (Some(certificate), Some(key)) if is_tls => return Some((certificate.value.clone(), key.value.clone())),
        (None, None) if !is_tls => {}
        (Some(other), _) | (_, Some(other)) if !is_tls => {
            findings.problem(other.at, "a certificate or key on a listener that is not TLS", "remove it, or write transport = \"tls\"");
        }
        (None, _) => {
            findings.problem(listener.at, "a TLS listener without certificate", "add certificate = \"certs/sbc.pem\" (our certificate first, then its chain)")
        }
        (_, None) => findings.problem(listener.at, "a TLS listener without key", "add key = \"certs/sbc.key\""),
        _ => {}
    }
    None
}

/// What goes into Via and Contact, with a port.
fn advertised(listener: &written::Listener, address: SocketAddr, findings: &Findings) -> Arc<str> {
    if address.ip().is_unspecified() {
        let at = place(listener.address.as_ref(), listener.at);
        match &listener.advertised {
            None => findings.problem(
                at,
                format!("{address} is every address, which nobody can answer to"),
                "write the one address to listen on, or add advertised = \"sbc.example.com\"",
            ),
            Some(_) => findings.warning(
                at,
                format!("{address} listens on every address of this machine, inside and outside alike"),
                "write the one address that is meant",
            ),
        }
    }
    let Some(written) = &listener.advertised else { return address.to_string().into() };
    let text = written.value.trim();
    if let Ok(address) = text.parse::<SocketAddr>() {
        return address.to_string().into();
    }
    if let Ok(host) = text.parse::<IpAddr>() {
        return SocketAddr::new(host, address.port()).to_string().into();
    }
    let (host, port) = text.rsplit_once(':').map_or((text, Some(address.port())), |(host, port)| (host, port.parse().ok().filter(|port| *port != 0)));
    match port.filter(|_| written::is_host_name(host)) {
        Some(port) => format!("{host}:{port}").into(),
        None => {
            findings.problem(
                written.at,
                format!("\"{text}\" is no host name or address"),
                "write the name peers know us by, such as \"sbc.example.com\" or \"sbc.example.com:5061\"",
            );
            text.into()
        }
    }
}

/// Whether two sockets cannot both be opened. TLS listens on TCP.
fn clash(a: (Transport, SocketAddr), b: (Transport, SocketAddr)) -> bool {
    let same_protocol = (a.0 == Transport::Udp) == (b.0 == Transport::Udp);
    let (a, b) = (a.1, b.1);
    let overlap = a.ip() == b.ip() || (a.is_ipv4() == b.is_ipv4() && (a.ip().is_unspecified() || b.ip().is_unspecified()));
    same_protocol && a.port() == b.port() && overlap
}

pub fn media(border: &Border, listeners: &[Listener], findings: &Findings) -> Option<signaling::MediaSettings> {
    let Some(media) = &border.media else {
        let at = At { file: "border.toml", line: 1, column: 1 };
        findings.problem(
            at,
            "there is no [media]",
            "add [media] with inside = \"…\" and outside = \"…\": our addresses for media towards UM and towards all others",
        );
        return None;
    };
    let inside = media_addresses(&media.inside, "inside", media.at, findings);
    let outside = media_addresses(&media.outside, "outside", media.at, findings);
    let ports = media_ports(media, findings);
    for listener in listeners.iter().filter(|listener| listener.transport == Transport::Udp && (ports.0..=ports.1).contains(&listener.address.port())) {
        let what =
            format!("listener \"{}\" is on UDP port {}, which is one of the media ports {} to {}", listener.name, listener.address.port(), ports.0, ports.1);
        findings.problem(listener.at, what, "write a port outside [media] ports");
    }
    let silence = media.silence.unwrap_or(DEFAULT_SILENCE);
    if silence < Duration::from_secs(5) && !silence.is_zero() {
        findings.problem(media.at, "silence below 5 s would release calls that only pause", "write silence = \"60s\", or \"0s\" to switch it off");
    }
    Some(signaling::MediaSettings { outside, inside, ports, silence: Some(silence).filter(|silence| !silence.is_zero()) })
}

/// How media is carried, told of our addresses for it.
pub fn media_plane(border: &Border, media: Option<&signaling::MediaSettings>) -> media::Settings {
    let mut settings = border.media_plane.clone();
    let mut addresses: Vec<IpAddr> = media.map(|media| media.inside.iter().chain(&media.outside).copied().collect()).unwrap_or_default();
    addresses.sort();
    addresses.dedup();
    if settings.frames.mode != media::frames::Mode::Off {
        settings.frames.addresses = addresses.clone();
    }
    if settings.kernel.mode != media::kernel::Mode::Off {
        settings.kernel.addresses = addresses;
    }
    settings
}

fn media_addresses(written: &[Written<String>], key: &str, table: At, findings: &Findings) -> Vec<IpAddr> {
    if written.is_empty() {
        findings.problem(table, format!("[media] has no {key}"), format!("add {key} = \"192.0.2.1\": our address for media on that side"));
    }
    let read = |written: &Written<String>| match written.value.parse::<IpAddr>() {
        Ok(address) if !address.is_unspecified() => Some(address),
        _ => {
            findings.problem(
                written.at,
                format!("\"{}\" is no address for media", written.value),
                "write one address of this machine, without port: it stands in every session description",
            );
            None
        }
    };
    written.iter().filter_map(read).collect()
}

fn media_ports(media: &written::Media, findings: &Findings) -> (u16, u16) {
    let Some(written) = &media.ports else { return DEFAULT_PORTS };
    let (first, last) = (written.value.0 as u16, written.value.1 as u16);
    if first >= last {
        findings.problem(written.at, format!("the media ports end at {last}, before they begin at {first}"), format!("write ports = [{last}, {first}]"));
        return DEFAULT_PORTS;
    }
    if !first.is_multiple_of(2) || last.is_multiple_of(2) {
        let (even, odd) = (first & !1, last | 1);
        findings.problem(
            written.at,
            format!("the media ports {first} to {last} cut an RTP and RTCP pair in two"),
            format!("write ports = [{even}, {odd}]: even first, odd last"),
        );
    }
    let calls = (u32::from(last) - u32::from(first) + 1) / PORTS_OF_ONE_CALL;
    if calls < 2 {
        findings.problem(written.at, format!("the media ports are enough for {calls} calls"), "write a wider range: a call takes four ports");
    } else if calls < 100 {
        findings.warning(written.at, format!("the media ports are enough for {calls} calls"), "widen the range if more are meant: a call takes four ports");
    }
    (first, last)
}

pub fn admin(border: &Border, listeners: &[Listener], findings: &Findings) -> admin::Settings {
    let Some(written) = &border.admin else { return written::admin(None, false) };
    let Some(address) = written::socket_address(&written.value, 9160) else {
        findings.problem(written.at, format!("\"{}\" is no address to listen on", written.value), "write listen = \"127.0.0.1:9160\" instead");
        return written::admin(None, false);
    };
    if !address.ip().is_loopback() && !border.admin_beyond_loopback {
        findings.problem(
            written.at,
            format!("{address} can be reached by others, and the admin door asks for no password"),
            "write a loopback address, or add beyond_loopback = true where a firewall guards it",
        );
    }
    if let Some(listener) = listeners.iter().find(|listener| clash((Transport::Tcp, address), (listener.transport, listener.address))) {
        findings.problem(written.at, format!("the admin door wants {address}, which listener \"{}\" has", listener.name), "write another port");
    }
    written::admin(Some(address), border.admin_beyond_loopback)
}

pub fn signaling(set: &Set, listeners: &[Listener], media: signaling::MediaSettings) -> signaling::Settings {
    let listeners = listeners.iter().map(|listener| signaling::Listener {
        id: listener.id,
        name: Arc::clone(&listener.name),
        transport: listener.transport,
        bound: listener.address,
        advertised: Arc::clone(&listener.advertised),
    });
    signaling::Settings {
        listeners: listeners.collect(),
        media,
        timers: set.border.timers,
        session_timer: set.border.session_timer,
        product: "Portcullis".into(),
        drain: set.border.drain.unwrap_or(DEFAULT_DRAIN),
        retry_after: set.admission.retry_after.unwrap_or(DEFAULT_RETRY_AFTER),
        removed_peers: set.border.removed_peers,
    }
}

pub fn net(border: &Border, listeners: &[Listener]) -> net::Settings {
    let listeners = listeners.iter().map(|listener| net::ListenerSettings {
        id: listener.id,
        name: Arc::clone(&listener.name),
        transport: listener.transport,
        address: listener.address,
    });
    net::Settings { listeners: listeners.collect(), limits: border.limits.clone() }
}
