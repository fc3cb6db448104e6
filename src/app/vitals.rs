//! What the border knows of itself besides the facts of its calls: what network and media plane have counted, and until when its certificates hold.

use std::fmt::Write as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::adapters::media::Counters;
use crate::adapters::net::Counts;
use crate::adapters::tls::LoadedCertificate;

/// A certificate that ends within this time is told of.
const SOON: u64 = 21 * 86_400;

/// In Prometheus' text exposition, to follow that of the facts.
pub fn exposition(network: Option<&Counts>, media: Option<&Counters>, certificates: &[LoadedCertificate]) -> String {
    let mut text = String::new();
    let head = |name: &str, kind: &str, help: &str| format!("# HELP {name} {help}\n# TYPE {name} {kind}\n");
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
    if !certificates.is_empty() {
        text += &head("portcullis_certificate_not_after_seconds", "gauge", "When a certificate of ours ends, seconds since 1970");
        for certificate in certificates {
            let file = label(&certificate.file.display().to_string());
            let _ = writeln!(text, "portcullis_certificate_not_after_seconds{{file=\"{file}\"}} {}", certificate.not_after);
        }
    }
    text
}

/// A label's value as the exposition wants it.
fn label(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// What an operator should know of our certificates before a peer says it.
pub fn warnings(certificates: &[LoadedCertificate]) -> Vec<String> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs();
    certificates.iter().flat_map(|certificate| warnings_of(certificate, now)).collect()
}

fn warnings_of(certificate: &LoadedCertificate, now: u64) -> Vec<String> {
    let file = certificate.file.display();
    let left = certificate.not_after.saturating_sub(now);
    let mut told = Vec::new();
    if left < SOON {
        told.push(format!("{file}: our certificate ends in {} days; renew it and send SIGHUP", left / 86_400));
    }
    for (has, usage, who) in [(certificate.server_auth, "serverAuth", "call us"), (certificate.client_auth, "clientAuth", "are called by us")] {
        if !has {
            told.push(format!("{file}: our certificate has no {usage}: peers that {who} over TLS will refuse it; request it with both usages"));
        }
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate() -> LoadedCertificate {
        LoadedCertificate { file: "certs/\"sbc\".pem".into(), names: Vec::new(), not_after: 100 * 86_400, server_auth: true, client_auth: true }
    }

    #[test]
    fn all_that_is_counted_can_be_scraped() {
        let counts = Counts { connections_refused: 7, ..Counts::default() };
        let counters = Counters { streams: 3, send_failed: 5, ..Counters::default() };
        let text = exposition(Some(&counts), Some(&counters), &[certificate()]);
        for line in [
            "portcullis_network_total{event=\"connections_refused\"} 7",
            "portcullis_media_plane_total{event=\"send_failed\"} 5",
            "portcullis_media_streams 3",
            "portcullis_certificate_not_after_seconds{file=\"certs/\\\"sbc\\\".pem\"} 8640000",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
        }
        assert_eq!(exposition(None, None, &[]), "");
    }

    #[test]
    fn a_certificate_that_ends_soon_or_lacks_a_usage_is_told_of() {
        assert_eq!(warnings_of(&certificate(), 0), [""; 0]);
        assert!(warnings_of(&certificate(), 90 * 86_400)[0].contains("in 10 days"));
        let told = warnings_of(&LoadedCertificate { client_auth: false, ..certificate() }, 0);
        assert!(told.len() == 1 && told[0].contains("clientAuth"), "{told:?}");
    }
}
