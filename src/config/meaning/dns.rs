//! `[dns]` of `border.toml` as meant: whom to ask, and what must be signed.

use crate::adapters::dns::{self, Dnssec};
use crate::config::finding::{At, Findings};
use crate::config::source::Source;
use crate::config::written::{self, Border, is_host_name};

/// The trust anchor's path is relative to the set's folder; whether the file is there and good is the adapter's to say.
pub fn dns(border: &Border, source: &dyn Source, findings: &Findings) -> dns::Settings {
    let mut settings = border.dns.clone();
    for written in &border.dns_servers {
        match written::socket_address(&written.value, 53) {
            Some(server) => settings.servers.push(server),
            None => findings.problem(
                written.at,
                format!("\"{}\" is no DNS server's address", written.value),
                "write an address such as \"192.0.2.53\" or \"192.0.2.53:53\"",
            ),
        }
    }
    if settings.floor > settings.ceiling {
        findings.problem(At { file: "border.toml", line: 1, column: 1 }, "[dns] floor is above ceiling", "write a floor below the ceiling");
    }
    signed(border, source, findings, &mut settings);
    settings
}

fn signed(border: &Border, source: &dyn Source, findings: &Findings, settings: &mut dns::Settings) {
    for written in &border.dns_unsigned {
        let zone = written.value.trim_end_matches('.').to_ascii_lowercase();
        if is_host_name(&zone) {
            settings.unsigned.push(zone);
        } else {
            findings.problem(written.at, format!("\"{}\" is no zone", written.value), "write the zone's name, such as \"corp.example.com\"");
        }
    }
    settings.trust_anchor = border.dns_trust_anchor.as_ref().map(|written| written::path(source, &written.value));
    let idle = border.dns_trust_anchor.as_ref().or(border.dns_unsigned.first()).filter(|_| settings.dnssec == Dnssec::Off);
    if let Some(written) = idle {
        findings.problem(
            written.at,
            "trust_anchor and unsigned are without effect while [dns] dnssec is off",
            "write dnssec = \"validate\" or \"require\", or remove them",
        );
    }
}
