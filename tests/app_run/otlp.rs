//! Traces of calls as an OpenTelemetry receiver gets them from a running border, read by the official definitions.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::mpsc::{Receiver, channel};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;

use crate::process::{PATIENCE, Set, um};

/// Takes what is posted to it, each on a connection of its own, and answers the first as busy. Head and body of each.
fn receiver() -> (u16, Receiver<(String, Vec<u8>)>) {
    receiver_saying(&["503 Busy\r\nRetry-After: 0"], &[])
}

/// Answers so in turn, then 200 with this body.
fn receiver_saying(first: &'static [&'static str], says: &'static [u8]) -> (u16, Receiver<(String, Vec<u8>)>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a socket");
    let port = listener.local_addr().expect("an address").port();
    let (seen, requests) = channel();
    std::thread::spawn(move || {
        let mut answers = first.iter().copied().chain(std::iter::repeat("200 OK"));
        for stream in listener.incoming().flatten() {
            stream.set_read_timeout(Some(PATIENCE)).expect("a limit");
            let mut reader = BufReader::new(&stream);
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") && reader.read_line(&mut head).expect("a head") > 0 {}
            let length = head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok()).unwrap_or(0);
            let mut body = vec![0; length];
            reader.read_exact(&mut body).expect("a body");
            let answer = answers.next().expect("endless");
            let says = if answer.starts_with("200") { says } else { b"" };
            let _ = (&stream).write_all(&[format!("HTTP/1.1 {answer}\r\nContent-Length: {}\r\n\r\n", says.len()).as_bytes(), says].concat());
            if answer.starts_with("200") && seen.send((head, body)).is_err() {
                return;
            }
        }
    });
    (port, requests)
}

fn spans(body: &[u8]) -> Vec<Span> {
    let request = ExportTraceServiceRequest::decode(body).expect("an ExportTraceServiceRequest");
    request.resource_spans.into_iter().flat_map(|resource| resource.scope_spans).flat_map(|scope| scope.spans).collect()
}

fn values(span: &Span) -> HashMap<String, String> {
    let text = |value: &Value| match value {
        Value::StringValue(text) => text.clone(),
        Value::IntValue(number) => number.to_string(),
        other => format!("{other:?}"),
    };
    span.attributes.iter().filter_map(|pair| Some((pair.key.clone(), text(pair.value.as_ref()?.value.as_ref()?)))).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_is_a_trace_with_a_span_for_each_decision() {
    let (port, requests) = receiver();
    let um = um().await;
    let mut border = Set::new(&um, "", &format!("[otlp]\nurl = \"http://127.0.0.1:{port}\"\ntoken = \"for-traces\"\n")).run();
    border.call("5000").await.unwrap().hang_up().await.unwrap();
    let (head, body) = requests.recv_timeout(PATIENCE).expect("traces");
    assert!(head.starts_with("POST /v1/traces HTTP/1.1"), "{head}");
    let head = head.to_lowercase();
    assert!(head.contains("content-type: application/x-protobuf") && head.contains("authorization: bearer for-traces"), "{head}");
    let spans = spans(&body);
    let root = spans.iter().find(|span| span.parent_span_id.is_empty()).expect("a root");
    assert!(spans.iter().all(|span| span.trace_id == root.trace_id && span.start_time_unix_nano <= span.end_time_unix_nano));
    let told = values(root);
    for (name, value) in [("portcullis.reason", "call.normal"), ("portcullis.a.peer", "trunk"), ("portcullis.b.peer", "worker"), ("portcullis.status", "200")] {
        assert_eq!(told.get(name).map(String::as_str), Some(value), "{name} in {told:#?}");
    }
    assert_eq!(told["portcullis.call"], border.record(1)["call"].to_string());
    assert!(root.status.is_none(), "nothing was wrong");
    let named = |name: &str| spans.iter().filter(|span| span.name == name).collect::<Vec<_>>();
    assert_eq!((named("setup").len(), named("talk").len(), named("target").len()), (1, 1, 3), "call router, service and worker");
    assert!(root.kind == 2 && named("setup")[0].kind == 1, "server, internal");
    assert!(
        named("target").iter().all(|target| target.kind == 3 && values(target)["peer.service"] == values(target)["portcullis.peer"]),
        "client, of a service"
    );
    let notes: Vec<_> = root.events.iter().map(|event| event.name.as_str()).collect();
    assert_eq!(notes.iter().filter(|note| **note == "redirected").count(), 2, "{notes:?}");
    let [group] = named("hunt_group")[..] else { panic!("{spans:#?}") };
    assert_eq!(group.parent_span_id, named("setup")[0].span_id);
    let told = values(group);
    assert!(told["portcullis.rule"].contains("voicemail") && told.keys().any(|name| name.starts_with("portcullis.compared.")), "{told:#?}");
    border.until("counting the spans", |border| border.metric("portcullis_otlp_spans_total{result=\"sent\"}") == Some(spans.len() as f64));
    assert_eq!(border.metric("portcullis_otlp_up"), Some(1.0));
}

/// … and the last ones are not lost when the border stops.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_failed_calls_where_that_is_asked_for_and_none_is_lost_at_the_end() {
    let (port, requests) = receiver();
    let um = um().await;
    let mut border = Set::new(&um, "", &format!("[otlp]\nurl = \"http://127.0.0.1:{port}/mine\"\ncalls = \"failed\"\n")).run();
    border.call("5000").await.unwrap().hang_up().await.unwrap();
    border.call("5999").await.err().expect("no such pilot");
    border.record(2);
    border.signal("TERM");
    assert!(border.ended().success());
    let (head, body) = requests.recv_timeout(PATIENCE).expect("traces");
    assert!(head.starts_with("POST /mine HTTP/1.1"), "{head}");
    let spans = spans(&body);
    let roots: Vec<_> = spans.iter().filter(|span| span.parent_span_id.is_empty()).collect();
    let [root] = roots[..] else { panic!("{roots:#?}") };
    let status = root.status.as_ref().expect("a status");
    assert!(status.code == 2 && status.message.starts_with("hunt_group.none: "), "{status:?}");
    let refusing: Vec<_> = spans.iter().filter(|span| values(span).get("portcullis.reason").is_some_and(|reason| reason == "hunt_group.none")).collect();
    assert!(refusing.iter().any(|span| span.name == "hunt_group" && span.status.is_some()), "{spans:#?}");
}

/// `ExportTraceServiceResponse { partial_success: { rejected_spans: 2, error_message: "too old" } }`, as it is on the wire.
const PARTLY: &[u8] = b"\x0a\x0b\x08\x02\x12\x07too old";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_that_throttles_and_takes_in_part_is_obeyed_and_counted() {
    let (port, requests) =
        receiver_saying(&["429 Too Many Requests\r\nRetry-After: 1", "503 Busy\r\nRetry-After: 1", "502 Bad Gateway\r\nRetry-After: 0"], PARTLY);
    let um = um().await;
    let mut border = Set::new(&um, "", &format!("[otlp]\nurl = \"http://127.0.0.1:{port}\"\n")).run();
    let began = std::time::Instant::now();
    border.call("5000").await.unwrap().hang_up().await.unwrap();
    let (_, body) = requests.recv_timeout(PATIENCE).expect("traces");
    assert!(began.elapsed() >= std::time::Duration::from_secs(2), "as long as it said: {:?}", began.elapsed());
    let spans = spans(&body).len() as f64;
    border.until("counting what was rejected", |border| border.metric("portcullis_otlp_spans_total{result=\"refused\"}") == Some(2.0));
    assert_eq!(border.metric("portcullis_otlp_spans_total{result=\"sent\"}"), Some(spans - 2.0));
    assert_eq!(border.metric("portcullis_queue_waiting{queue=\"otlp\"}"), Some(0.0));
    border.until("saying why", |border| border.log().contains("too old"));
}
