//! One body: the messages of `opentelemetry/proto/{collector/trace,trace,resource,common}/v1`, as far as we use them, and how a call's spans become them.

use std::time::SystemTime;

use prost::Message;
use sha1::{Digest, Sha1};

use super::{Kind, Span, Trace, Value};

/// `ExportTraceServiceRequest`.
#[derive(Clone, PartialEq, Message)]
struct Request {
    #[prost(message, repeated, tag = "1")]
    resource_spans: Vec<ResourceSpans>,
}

#[derive(Clone, PartialEq, Message)]
struct ResourceSpans {
    #[prost(message, optional, tag = "1")]
    resource: Option<Resource>,
    #[prost(message, repeated, tag = "2")]
    scope_spans: Vec<ScopeSpans>,
}

#[derive(Clone, PartialEq, Message)]
struct Resource {
    #[prost(message, repeated, tag = "1")]
    attributes: Vec<KeyValue>,
}

#[derive(Clone, PartialEq, Message)]
struct ScopeSpans {
    #[prost(message, optional, tag = "1")]
    scope: Option<Scope>,
    #[prost(message, repeated, tag = "2")]
    spans: Vec<WireSpan>,
}

/// `InstrumentationScope`.
#[derive(Clone, PartialEq, Message)]
struct Scope {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    version: String,
}

/// `Span`.
#[derive(Clone, PartialEq, Message)]
struct WireSpan {
    #[prost(bytes = "vec", tag = "1")]
    trace_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    span_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "4")]
    parent_span_id: Vec<u8>,
    #[prost(string, tag = "5")]
    name: String,
    #[prost(int32, tag = "6")]
    kind: i32,
    #[prost(fixed64, tag = "7")]
    start_time_unix_nano: u64,
    #[prost(fixed64, tag = "8")]
    end_time_unix_nano: u64,
    #[prost(message, repeated, tag = "9")]
    attributes: Vec<KeyValue>,
    #[prost(message, repeated, tag = "11")]
    events: Vec<Event>,
    #[prost(uint32, tag = "12")]
    dropped_events_count: u32,
    #[prost(message, optional, tag = "15")]
    status: Option<WireStatus>,
}

#[derive(Clone, PartialEq, Message)]
struct Event {
    #[prost(fixed64, tag = "1")]
    time_unix_nano: u64,
    #[prost(string, tag = "2")]
    name: String,
    #[prost(message, repeated, tag = "3")]
    attributes: Vec<KeyValue>,
}

/// `Status`.
#[derive(Clone, PartialEq, Message)]
struct WireStatus {
    #[prost(string, tag = "2")]
    message: String,
    #[prost(int32, tag = "3")]
    code: i32,
}

#[derive(Clone, PartialEq, Message)]
struct KeyValue {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(message, optional, tag = "2")]
    value: Option<AnyValue>,
}

#[derive(Clone, PartialEq, Message)]
struct AnyValue {
    #[prost(oneof = "Any", tags = "1, 2, 3, 4")]
    value: Option<Any>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum Any {
    #[prost(string, tag = "1")]
    String(String),
    #[prost(bool, tag = "2")]
    Bool(bool),
    #[prost(int64, tag = "3")]
    Int(i64),
    #[prost(double, tag = "4")]
    Double(f64),
}

/// `ExportTraceServiceResponse`.
#[derive(Clone, PartialEq, Message)]
struct Response {
    #[prost(message, optional, tag = "1")]
    partial_success: Option<PartialSuccess>,
}

/// `ExportTracePartialSuccess`.
#[derive(Clone, PartialEq, Message)]
struct PartialSuccess {
    #[prost(int64, tag = "1")]
    rejected_spans: i64,
    #[prost(string, tag = "2")]
    error_message: String,
}

/// What the answer to a body that was taken says besides: how many of its spans were not, and why. A message without spans is a warning. `None`: all is
/// well, or what came is no such answer.
pub fn partial(body: &[u8]) -> Option<(u64, String)> {
    let PartialSuccess { rejected_spans, error_message } = Response::decode(body).ok()?.partial_success?;
    let rejected = u64::try_from(rejected_spans).unwrap_or_default();
    let says: String = error_message.chars().filter(|character| !character.is_control()).take(TOLD).collect();
    (rejected > 0 || !says.is_empty()).then_some((rejected, says))
}

/// Of a receiver's message, characters.
const TOLD: usize = 200;

const ERROR: i32 = 2;

/// Of all these calls.
pub fn request(service: &str, seed: &[u8; 16], traces: &[Trace]) -> Vec<u8> {
    let named = |key: &str, value: &str| KeyValue { key: key.to_owned(), value: any(Value::Text(value.to_owned())) };
    let version = env!("CARGO_PKG_VERSION");
    let resource = Resource { attributes: vec![named("service.name", "portcullis"), named("service.instance.id", service), named("service.version", version)] };
    let spans = traces.iter().flat_map(|trace| spans(seed, trace)).collect();
    let scope = Scope { name: "portcullis".to_owned(), version: version.to_owned() };
    let all = ResourceSpans { resource: Some(resource), scope_spans: vec![ScopeSpans { scope: Some(scope), spans }] };
    Request { resource_spans: vec![all] }.encode_to_vec()
}

fn spans(seed: &[u8; 16], trace: &Trace) -> Vec<WireSpan> {
    let trace_id = digest(seed, trace.call, None)[..16].to_vec();
    let id = |place: usize| digest(seed, trace.call, Some(place))[..8].to_vec();
    let each = trace.spans.iter().enumerate().map(|(place, span)| {
        let Span { name, kind, parent, began, ended, values, notes, failed } = span.clone();
        WireSpan {
            trace_id: trace_id.clone(),
            span_id: id(place),
            parent_span_id: parent.map(id).unwrap_or_default(),
            name,
            kind: number(kind),
            start_time_unix_nano: nanos(began),
            end_time_unix_nano: nanos(ended),
            attributes: attributes(values),
            events: notes.into_iter().map(|note| Event { time_unix_nano: nanos(note.at), name: note.name, attributes: attributes(note.values) }).collect(),
            dropped_events_count: if parent.is_none() { trace.left_out } else { 0 },
            status: failed.map(|message| WireStatus { message, code: ERROR }),
        }
    });
    each.collect()
}

/// `SpanKind`.
fn number(kind: Kind) -> i32 {
    match kind {
        Kind::Internal => 1,
        Kind::Server => 2,
        Kind::Client => 3,
    }
}

/// Names nobody else makes, and which samplers can go by: every bit is as good as random.
fn digest(seed: &[u8; 16], call: u64, place: Option<usize>) -> [u8; 20] {
    let mut sha = Sha1::new();
    sha.update(seed);
    sha.update(call.to_be_bytes());
    if let Some(place) = place {
        sha.update((place as u64).to_be_bytes());
    }
    sha.finalize().into()
}

fn attributes(values: Vec<(String, Value)>) -> Vec<KeyValue> {
    values.into_iter().map(|(key, value)| KeyValue { key, value: any(value) }).collect()
}

fn any(value: Value) -> Option<AnyValue> {
    let value = match value {
        Value::Text(text) => Any::String(text),
        Value::Whole(number) => Any::Int(number),
        Value::Real(number) => Any::Double(number),
        Value::Flag(flag) => Any::Bool(flag),
    };
    Some(AnyValue { value: Some(value) })
}

fn nanos(at: SystemTime) -> u64 {
    at.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}
