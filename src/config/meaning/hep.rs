//! `[hep]` as meant: who gets copies of SIP messages, and what those on the way may read.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::adapters::hep::{Settings, Transport};
use crate::config::finding::Findings;
use crate::config::source::Source;
use crate::config::written;
use crate::config::written::hep::Hep;

/// Where HOMER listens.
const DEFAULT_PORT: u16 = 9060;
const DEFAULT_TLS_PORT: u16 = 9061;
const DEFAULT_CAPTURE_ID: u32 = 1;
const LONGEST_PASSWORD: usize = 256;
/// With thousands of calls up, four packets each so often are a few hundred a second.
const DEFAULT_REPORTS: Duration = Duration::from_secs(20);
const SHORTEST_REPORTS: Duration = Duration::from_secs(1);

pub fn hep(hep: &Hep, source: &dyn Source, findings: &Findings) -> Option<Settings> {
    let (server, transport) = (hep.server.as_ref()?, hep.transport.as_ref()?);
    let is_tls = transport.value == Transport::Tls;
    match &hep.ca {
        None if is_tls => findings.problem(
            transport.at,
            "[hep] over TLS without ca: no certificate could ever verify",
            "add ca = \"certs/ca.pem\" with the CAs of its certificate",
        ),
        Some(ca) if !is_tls => findings.problem(ca.at, "ca for a HEP server without TLS", "remove it, or write transport = \"tls\""),
        _ => {}
    }
    if let Some(password) = hep.password.as_ref().filter(|password| password.value.is_empty() || password.value.len() > LONGEST_PASSWORD) {
        findings.problem(password.at, "no password a HEP server takes", format!("write 1 to {LONGEST_PASSWORD} bytes, or leave it out"));
    }
    if let Some(reports) = hep.reports.as_ref().filter(|reports| !reports.value.is_zero() && reports.value < SHORTEST_REPORTS) {
        findings.problem(reports.at, "reports oftener than every second", "write \"1s\" or more, or \"0s\" for none while a call is up");
    }
    let Some((host, port)) = place(&server.value, if is_tls { DEFAULT_TLS_PORT } else { DEFAULT_PORT }) else {
        let what = format!("\"{}\" is no address of a server", server.value);
        findings.problem(server.at, what, "write a host name or address, with a port or without, such as \"homer.example.com\" or \"192.0.2.9:9060\"");
        return None;
    };
    if !is_tls && !is_loopback(&host) {
        let what = format!("copies go to {host} in clear: who is on the way reads all signalling, that of TLS legs as well");
        findings.warning(server.at, what, "write transport = \"tls\" and ca, if the server can; else see that the way is your own");
    }
    Some(Settings {
        host,
        port,
        transport: transport.value,
        ca: hep.ca.as_ref().map(|file| written::path(source, &file.value)),
        capture_id: hep.capture_id.as_ref().and_then(|id| u32::try_from(id.value).ok()).unwrap_or(DEFAULT_CAPTURE_ID),
        password: hep.password.as_ref().map(|password| password.value.clone()),
        reports: hep.reports.as_ref().map_or(DEFAULT_REPORTS, |reports| reports.value),
    })
}

/// Host (an address without brackets) and port.
fn place(text: &str, default_port: u16) -> Option<(String, u16)> {
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Some((address.ip().to_string(), address.port())).filter(|(_, port)| *port != 0);
    }
    if let Ok(address) = text.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() {
        return Some((address.to_string(), default_port));
    }
    let (host, port) = match text.split_once(':') {
        Some((host, port)) => (host, port.parse().ok().filter(|port| *port != 0)?),
        None => (text, default_port),
    };
    written::is_host_name(host).then(|| (host.to_owned(), port))
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}
