//! The telemetry's traces of calls, on their way to the OpenTelemetry receiver.

use std::fmt::Write as _;
use std::sync::Arc;

use super::vitals::head;
use crate::adapters::otlp::{self, Carried, Carrier, Otlp, Status};
use crate::adapters::telemetry::{Named, SpanKind, Trace, Traced, Tracer, Value};
use crate::adapters::webhook::{self, Answer, Document};
use crate::config;

struct ToReceiver(Otlp);

impl Tracer for ToReceiver {
    fn trace(&self, trace: Trace) {
        let values = |values: Vec<Named>| values.into_iter().map(|(name, value)| (name.into_owned(), worded(value))).collect();
        let spans = trace.spans.into_iter().map(|span| otlp::Span {
            name: span.name.into_owned(),
            kind: match span.kind {
                SpanKind::Asked => otlp::Kind::Server,
                SpanKind::Asking => otlp::Kind::Client,
                SpanKind::Within => otlp::Kind::Internal,
            },
            parent: span.parent,
            began: span.began,
            ended: span.ended,
            values: values(span.values),
            notes: span.notes.into_iter().map(|note| otlp::Note { at: note.at, name: note.name.to_owned(), values: values(note.values) }).collect(),
            failed: span.failed,
        });
        self.0.put(otlp::Trace { call: trace.call.0, spans: spans.collect(), left_out: trace.left_out });
    }
}

fn worded(value: Value) -> otlp::Value {
    match value {
        Value::Text(text) => otlp::Value::Text(text),
        Value::Whole(number) => otlp::Value::Whole(number),
        Value::Real(number) => otlp::Value::Real(number),
        Value::Flag(flag) => otlp::Value::Flag(flag),
    }
}

/// By HTTP as notices of missed calls go: the same bounds, the same checks of the other end.
struct ByHttp {
    to: webhook::Settings,
    runtime: tokio::runtime::Runtime,
}

impl Carrier for ByHttp {
    /// Without the query, in which some receivers want their key.
    fn to(&self) -> String {
        let url = self.to.url.to_string();
        url.split('?').next().unwrap_or_default().to_owned()
    }

    fn carry(&mut self, body: Vec<u8>) -> Carried {
        let document = Document { kind: "application/x-protobuf", id: None, body: body.into() };
        let (answer, body) = self.runtime.block_on(webhook::send_and_read(&self.to, document));
        match answer {
            Answer::Status { status: 200..=299, .. } => Carried::Taken(body.to_vec()),
            // OTLP/HTTP, "Failures": these and no others are worth another try.
            Answer::Status { status: status @ (429 | 502 | 503 | 504), retry_after, says } => Carried::Later(format!("{status} {says}"), retry_after),
            Answer::Status { status, says, .. } => Carried::Refused(format!("{} answered {status} {says}", self.to.url)),
            Answer::Failed(why) => Carried::Later(why, None),
        }
    }
}

/// `service`: the border's name. The error says what the system would not give.
pub fn start(settings: &config::Otlp, service: &str) -> Result<Otlp, String> {
    // Of the exporter's thread alone: a receiver that is slow must not hold what carries calls.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| format!("[otlp]: {error}"))?;
    let mut seed = [0; 16];
    getrandom::fill(&mut seed).map_err(|error| format!("the system gives no randomness: {error}"))?;
    Otlp::start(service, seed, Box::new(ByHttp { to: settings.to.clone(), runtime }))
}

pub fn tracer(otlp: Otlp, settings: &config::Otlp) -> (Arc<dyn Tracer>, Traced) {
    (Arc::new(ToReceiver(otlp)), settings.calls)
}

/// How it stands with the receiver, in Prometheus' text exposition.
pub fn exposition(status: Status) -> String {
    let mut text = head("portcullis_otlp_spans_total", "counter", "Spans of calls for the OpenTelemetry receiver, by what became of them");
    // Writing into a String does not fail.
    let _ = writeln!(text, "portcullis_otlp_spans_total{{result=\"sent\"}} {}", status.sent);
    let _ = writeln!(text, "portcullis_otlp_spans_total{{result=\"lost\"}} {}", status.lost);
    let _ = writeln!(text, "portcullis_otlp_spans_total{{result=\"refused\"}} {}", status.refused);
    text += &head("portcullis_otlp_up", "gauge", "The OpenTelemetry receiver took the last traces");
    let _ = writeln!(text, "portcullis_otlp_up {}", u8::from(status.up));
    text
}
