//! `[otlp]` as meant: who gets traces of calls, and of which.

use crate::config;
use crate::config::finding::Findings;
use crate::config::source::Source;
use crate::config::written::otlp::Otlp;

/// Where a receiver takes traces (OTLP/HTTP).
const PATH: &str = "/v1/traces";

pub fn otlp(written: &Otlp, source: &dyn Source, findings: &Findings) -> Option<config::Otlp> {
    let mut to = super::branch::target(&written.target, "an OpenTelemetry receiver", source, findings)?;
    if to.url.path == "/" {
        to.url.path = PATH.to_owned();
    }
    Some(config::Otlp { to, calls: written.calls.as_ref().map(|calls| calls.value).unwrap_or_default() })
}
