//! What is sent, as the official definitions read it; and that nothing is waited for, sent for ever, or lost uncounted.

use std::collections::HashMap;
use std::sync::Mutex;

use opentelemetry_proto::tonic::collector::trace::v1::{ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::trace::v1::Span as Official;
use prost::Message;

use super::*;

const PATIENCE: Duration = Duration::from_secs(20);

fn at(millis: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_000 + millis)
}

fn span(name: &str, parent: Option<usize>, (began, ended): (u64, u64)) -> Span {
    let kind = if parent.is_none() { Kind::Server } else { Kind::Internal };
    Span { name: name.into(), kind, parent, began: at(began), ended: at(ended), values: Vec::new(), notes: Vec::new(), failed: None }
}

fn call(number: u64) -> Trace {
    let mut refused = span("routing", Some(1), (3, 3));
    refused.values = vec![("portcullis.rule".into(), Value::Text("default".into()))];
    refused.failed = Some("routing.none: nothing leads there".into());
    let mut root = span("call", None, (0, 40));
    root.values = vec![
        ("portcullis.call".into(), Value::Whole(number as i64)),
        ("portcullis.mos".into(), Value::Real(4.4)),
        ("portcullis.heard".into(), Value::Flag(true)),
    ];
    root.notes = vec![Note { at: at(20), name: "held".into(), values: vec![("portcullis.leg".into(), Value::Text("A".into()))] }];
    Trace { call: number, spans: vec![root, span("setup", Some(0), (0, 10)), refused], left_out: 7 }
}

fn read(body: &[u8]) -> (Vec<KeyValue>, Vec<Official>) {
    let request = ExportTraceServiceRequest::decode(body).unwrap();
    assert_eq!(request.encoded_len(), body.len(), "nothing that the definitions do not know");
    let [resource] = &request.resource_spans[..] else { panic!("{request:?}") };
    let [scope] = &resource.scope_spans[..] else { panic!("{request:?}") };
    (resource.resource.clone().unwrap().attributes, scope.spans.clone())
}

fn values(attributes: &[KeyValue]) -> HashMap<&str, Any> {
    attributes.iter().map(|pair| (pair.key.as_str(), pair.value.clone().unwrap().value.unwrap())).collect()
}

#[test]
fn a_call_is_a_trace_by_the_official_definitions() {
    let mut first = call(41);
    first.spans.push(Span { kind: Kind::Client, ..span("target", Some(1), (4, 10)) });
    let (resource, spans) = read(&wire::request("sbc.example.com", &[7; 16], &[first, call(42)]));
    let resource = values(&resource);
    assert_eq!(resource["service.name"], Any::StringValue("portcullis".into()));
    assert_eq!(resource["service.instance.id"], Any::StringValue("sbc.example.com".into()));
    let names: Vec<&str> = spans.iter().map(|span| span.name.as_str()).collect();
    assert_eq!(names, ["call", "setup", "routing", "target", "call", "setup", "routing"]);
    let [root, setup, routing, target, other, ..] = &spans[..] else { panic!() };
    assert!(root.trace_id.len() == 16 && root.span_id.len() == 8 && root.parent_span_id.is_empty());
    assert_eq!((&setup.parent_span_id, &routing.parent_span_id), (&root.span_id, &setup.span_id));
    assert!(setup.trace_id == root.trace_id && other.trace_id != root.trace_id && other.span_id != root.span_id);
    assert_eq!((root.kind, setup.kind, target.kind), (2, 1, 3), "server, internal, client");
    assert_eq!((root.start_time_unix_nano, root.end_time_unix_nano), (1_700_000_000_000_000_000, 1_700_000_000_040_000_000));
    let told = values(&root.attributes);
    assert_eq!(
        (&told["portcullis.call"], &told["portcullis.mos"], &told["portcullis.heard"]),
        (&Any::IntValue(41), &Any::DoubleValue(4.4), &Any::BoolValue(true))
    );
    let [event] = &root.events[..] else { panic!("{root:?}") };
    assert_eq!((event.name.as_str(), event.time_unix_nano, root.dropped_events_count), ("held", 1_700_000_000_020_000_000, 7));
    let status = routing.status.as_ref().unwrap();
    assert_eq!((status.code, status.message.as_str()), (2, "routing.none: nothing leads there"));
    assert!(root.status.is_none());
}

#[test]
fn two_processes_name_their_first_calls_differently() {
    let id = |seed: u8| read(&wire::request("x", &[seed; 16], &[call(1)])).1[0].trace_id.clone();
    assert_ne!(id(1), id(2));
}

/// Answers in turn, the last for ever; remembers how many spans each body had.
struct Answers {
    left: Vec<Carried>,
    seen: Arc<Mutex<Vec<usize>>>,
}

impl Carrier for Answers {
    fn to(&self) -> String {
        "answers".into()
    }

    fn carry(&mut self, body: Vec<u8>) -> Carried {
        self.seen.lock().unwrap().push(read(&body).1.len());
        if self.left.len() > 1 { self.left.remove(0) } else { self.left[0].clone() }
    }
}

fn otlp(answers: Vec<Carried>) -> (Otlp, Arc<Mutex<Vec<usize>>>) {
    let seen = Arc::<Mutex<Vec<usize>>>::default();
    (Otlp::start("x", [0; 16], Box::new(Answers { left: answers, seen: Arc::clone(&seen) })).unwrap(), seen)
}

#[test]
fn what_may_be_taken_later_is_sent_again_and_what_is_refused_is_not() {
    let soon = Carried::Later("503".into(), Some(Duration::from_millis(1)));
    let (sender, seen) = otlp(vec![soon, Carried::Taken(Vec::new()), Carried::Refused("400".into())]);
    sender.put(call(1));
    assert!(sender.flush(PATIENCE));
    assert_eq!((sender.status(), seen.lock().unwrap().clone()), (Status { sent: 3, up: true, ..Status::default() }, vec![3, 3]));
    sender.put(call(2));
    assert!(sender.flush(PATIENCE));
    assert_eq!((sender.status(), seen.lock().unwrap().len()), (Status { sent: 3, refused: 3, ..Status::default() }, 3));
}

#[test]
fn a_receiver_that_never_takes_anything_is_given_up() {
    let (sender, seen) = otlp(vec![Carried::Later("away".into(), Some(Duration::from_millis(1)))]);
    sender.put(call(1));
    assert!(sender.flush(PATIENCE));
    assert_eq!((sender.status(), seen.lock().unwrap().len()), (Status { lost: 3, ..Status::default() }, ATTEMPTS as usize));
    assert_eq!(sender.failure().map(|failure| failure.why).as_deref(), Some("away"));
}

/// Read by the official definitions, as a receiver writes it.
fn partly(rejected_spans: i64, error_message: &str) -> Carried {
    let partial_success = Some(ExportTracePartialSuccess { rejected_spans, error_message: error_message.into() });
    Carried::Taken(ExportTraceServiceResponse { partial_success }.encode_to_vec())
}

#[test]
fn what_a_receiver_rejects_of_a_body_it_takes_is_counted_and_not_sent_again() {
    let (sender, seen) =
        otlp(vec![partly(2, "too old"), partly(0, "a warning"), partly(99, "more than there were"), partly(-5, ""), Carried::Taken(b"{}".to_vec())]);
    for (number, sent, refused) in [(1, 1, 2), (2, 4, 2), (3, 4, 5), (4, 7, 5), (5, 10, 5)] {
        sender.put(call(number));
        assert!(sender.flush(PATIENCE));
        assert_eq!(sender.status(), Status { sent, refused, up: true, ..Status::default() }, "{number}");
    }
    assert_eq!(seen.lock().unwrap().len(), 5, "once each");
}

#[test]
fn a_receiver_that_was_away_gets_what_comes_after() {
    let (sender, _) =
        otlp(vec![Carried::Later("away".into(), Some(Duration::ZERO)); ATTEMPTS as usize].into_iter().chain([Carried::Taken(Vec::new())]).collect());
    sender.put(call(1));
    assert!(sender.flush(PATIENCE));
    assert_eq!(sender.status(), Status { lost: 3, ..Status::default() });
    sender.put(call(2));
    assert!(sender.flush(PATIENCE));
    assert_eq!(sender.status(), Status { sent: 3, lost: 3, up: true, ..Status::default() });
    assert_eq!(sender.failure().map(|failure| failure.why).as_deref(), Some("away"), "what was last wrong is still known");
}

#[test]
fn long_traces_cannot_fill_memory_either() {
    let (release, held) = sync_channel(0);
    let sender = Otlp::start("x", [0; 16], Box::new(Stuck(held))).unwrap();
    let long = |number| Trace { spans: vec![span("target", None, (0, 1)); 300], ..call(number) };
    (0..900).for_each(|number| sender.put(long(number)));
    let status = sender.status();
    assert!(status.waiting * 300 <= WAITING_SPANS && status.lost == (900 - status.waiting) * 300, "{status:?}");
    drop(release);
    assert!(sender.flush(PATIENCE));
    assert_eq!(sender.status().sent + sender.status().lost, 270_000);
}

/// Takes nothing until it may.
struct Stuck(Receiver<()>);

impl Carrier for Stuck {
    fn to(&self) -> String {
        "stuck".into()
    }

    fn carry(&mut self, _: Vec<u8>) -> Carried {
        let _ = self.0.recv();
        Carried::Taken(Vec::new())
    }
}

#[test]
fn a_receiver_that_hangs_costs_traces_and_holds_nobody() {
    let (release, held) = sync_channel(0);
    let sender = Otlp::start("x", [0; 16], Box::new(Stuck(held))).unwrap();
    let began = Instant::now();
    for number in 0..5000 {
        sender.put(call(number));
    }
    assert!(began.elapsed() < Duration::from_secs(5), "nobody waits");
    let lost = sender.status().lost;
    assert!(lost >= 3 * (5000 - WAITING as u64 - TOGETHER as u64), "{lost}");
    assert!(!sender.flush(Duration::from_millis(20)));
    drop(release);
    assert!(sender.flush(PATIENCE));
    assert_eq!(sender.status().sent + sender.status().lost, 15_000, "every span is counted once");
}
