//! What the border knows of itself besides the facts of its calls: what network and media plane have counted, and until when its certificates,
//! its peers' CAs and their revocation lists hold.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::adapters::dns::NameStatus;
use crate::adapters::history;
use crate::adapters::media::Counters;
use crate::adapters::net::{Counts, Shaken};
use crate::adapters::tls::Lifetime;
use crate::signaling::fact::CertificateKind;

/// In Prometheus' text exposition, to follow that of the facts.
pub fn exposition(network: Option<&Counts>, media: Option<&Counters>, lifetimes: &[Lifetime]) -> String {
    let mut text = String::new();
    if let Some(counts) = network {
        text += &head("portcullis_network_total", "counter", "What listeners and connections have counted");
        for (event, count) in counts.each() {
            // Writing into a String does not fail.
            let _ = writeln!(text, "portcullis_network_total{{event=\"{event}\"}} {count}");
        }
    }
    if let Some(counters) = media {
        text += &head("portcullis_media_plane_total", "counter", "What the media plane has counted over all streams");
        for (event, count) in counters.each() {
            let _ = writeln!(text, "portcullis_media_plane_total{{event=\"{event}\"}} {count}");
        }
        text += &head("portcullis_media_streams", "gauge", "Streams open now");
        let _ = writeln!(text, "portcullis_media_streams {}", counters.streams);
    }
    // One line for each file, since two lines of one name are none to a scraper: the end that comes first.
    let mut ends = BTreeMap::new();
    for lifetime in lifetimes {
        let kind = match lifetime.kind {
            CertificateKind::Own => "own",
            CertificateKind::Authority => "authority",
            CertificateKind::RevocationList => "revocation_list",
            CertificateKind::Api => "api",
            CertificateKind::ApiAuthority => "api_authority",
        };
        let end = ends.entry((&lifetime.file, kind)).or_insert(lifetime.not_after);
        *end = lifetime.not_after.min(*end);
    }
    if !ends.is_empty() {
        text += &head(
            "portcullis_certificate_not_after_timestamp_seconds",
            "gauge",
            "When the first certificate of a file ends, or a revocation list, seconds since 1970",
        );
        for ((file, kind), not_after) in ends {
            let file = label(&file.display().to_string());
            let _ = writeln!(text, "portcullis_certificate_not_after_timestamp_seconds{{file=\"{file}\",kind=\"{kind}\"}} {not_after}");
        }
    }
    text
}

/// Calls of another process of this border, in Prometheus' text exposition.
pub fn calls_before(calls: u64) -> String {
    let head = head("portcullis_calls_before", "gauge", "Calls up in the process this one has taken over from, as that said a second ago");
    format!("{head}portcullis_calls_before {calls}\n")
}

pub(super) fn head(name: &str, kind: &str, help: &str) -> String {
    format!("# HELP {name} {help}\n# TYPE {name} {kind}\n")
}

/// How it stands with the store of records.
pub fn records(status: &history::Status) -> String {
    let mut text = head("portcullis_records_stored_total", "counter", "Call records for the store, by what became of them");
    // Writing into a String does not fail.
    let _ = writeln!(text, "portcullis_records_stored_total{{result=\"written\"}} {}", status.written);
    let _ = writeln!(text, "portcullis_records_stored_total{{result=\"lost\"}} {}", status.lost);
    text += &head("portcullis_records_held", "gauge", "Call records in the store");
    let _ = writeln!(text, "portcullis_records_held {}", status.held);
    text += &head("portcullis_records_bytes", "gauge", "Size of the store of call records");
    let _ = writeln!(text, "portcullis_records_bytes {}", status.size);
    text
}

/// How old what DNS said of peers' names is: one line for each name, the oldest answer where several were asked for. A name nothing was ever heard of
/// has none.
pub fn names(statuses: &[NameStatus]) -> String {
    let mut ages = BTreeMap::new();
    for (name, age) in statuses.iter().filter_map(|status| Some((&status.name, status.age_seconds?))) {
        let oldest = ages.entry(name).or_insert(age);
        *oldest = age.max(*oldest);
    }
    if ages.is_empty() {
        return String::new();
    }
    let mut text = head("portcullis_peer_name_age_seconds", "gauge", "Since the last good answer of DNS about a peer's host name");
    for (name, age) in ages {
        // Writing into a String does not fail.
        let _ = writeln!(text, "portcullis_peer_name_age_seconds{{name=\"{}\"}} {age}", label(name));
    }
    text
}

/// What lookups came to, of peers' names and of those calls are to go to.
pub fn lookups(of: &[(&str, Vec<(&'static str, u64)>)]) -> String {
    let mut text = head("portcullis_dns_lookups_total", "counter", "Questions to DNS, the cache or the hosts file, by what for and how they ended");
    for (what_for, ended) in of {
        for (outcome, count) in ended {
            // Writing into a String does not fail.
            let _ = writeln!(text, "portcullis_dns_lookups_total{{for=\"{what_for}\",outcome=\"{outcome}\"}} {count}");
        }
    }
    if of.iter().all(|(_, ended)| ended.is_empty()) { String::new() } else { text }
}

/// TLS handshakes with peers.
pub fn handshakes(shaken: &[Shaken]) -> String {
    if shaken.is_empty() {
        return String::new();
    }
    let mut text = head("portcullis_tls_handshakes_total", "counter", "TLS handshakes, by peer and what came of them");
    for Shaken { inbound, peer, result, count } in shaken {
        let (direction, peer) = (if *inbound { "in" } else { "out" }, label(peer));
        // Writing into a String does not fail.
        let _ = writeln!(text, "portcullis_tls_handshakes_total{{direction=\"{direction}\",peer=\"{peer}\",result=\"{result}\"}} {count}");
    }
    text
}

/// A label's value as the exposition wants it.
fn label(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lifetime(kind: CertificateKind, days: u64) -> Lifetime {
        Lifetime { kind, file: "certs/\"sbc\".pem".into(), name: String::new(), not_before: 0, not_after: days * 86_400, fingerprint: None }
    }

    #[test]
    fn all_that_is_counted_can_be_scraped() {
        let counts = Counts { connections_refused: 7, ..Counts::default() };
        let counters = Counters { streams: 3, send_failed: 5, ..Counters::default() };
        let text = exposition(
            Some(&counts),
            Some(&counters),
            &[lifetime(CertificateKind::Own, 400), lifetime(CertificateKind::Own, 100), lifetime(CertificateKind::Authority, 200)],
        );
        for line in [
            "portcullis_network_total{event=\"connections_refused\"} 7",
            "portcullis_media_plane_total{event=\"send_failed\"} 5",
            "portcullis_media_streams 3",
            "portcullis_certificate_not_after_timestamp_seconds{file=\"certs/\\\"sbc\\\".pem\",kind=\"own\"} 8640000",
            "portcullis_certificate_not_after_timestamp_seconds{file=\"certs/\\\"sbc\\\".pem\",kind=\"authority\"} 17280000",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
        }
        assert_eq!(text.matches("kind=\"own\"").count(), 1, "{text}");
        assert_eq!(exposition(None, None, &[]), "");
        let text = lookups(&[("peers", vec![("answered", 3), ("no_domain", 1)]), ("calls", Vec::new())]);
        assert!(text.ends_with("\nportcullis_dns_lookups_total{for=\"peers\",outcome=\"no_domain\"} 1\n"), "{text}");
        let text = handshakes(&[Shaken { inbound: true, peer: "a\"b".into(), result: "done", count: 2 }]);
        assert!(text.ends_with("\nportcullis_tls_handshakes_total{direction=\"in\",peer=\"a\\\"b\",result=\"done\"} 2\n"), "{text}");
        assert_eq!((lookups(&[("peers", Vec::new())]), handshakes(&[])), (String::new(), String::new()));
    }
}
