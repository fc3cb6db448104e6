//! A call as a trace: one span for the whole, one for each chapter of its life (setup, each target that was tried, talk), one for each decision with its
//! rule, the values compared and, where it refused, the reason. Made when the call is over; calls that go on have none yet.
//!
//! What is gathered meanwhile is bounded, for each call and in all. It holds what the ladder's notes hold and no message: no keys, no credentials.

use std::borrow::Cow;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::SystemTime;

use super::ended::Ended;
use super::redact::clean;
use super::wall::Anchor;
use crate::media::control::Side;
use crate::policy::security_mode::mode_name;
use crate::policy::verdict::{Decision, Fault};
use crate::signaling::fact::{CallId, CallRecord, Fact, TransferEvent, What};
use crate::time::Time;

/// Where traces go. Must not wait.
pub trait Tracer: Send + Sync {
    fn trace(&self, trace: Trace);
}

/// Of which calls there are traces.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Traced {
    /// Of those that failed, or in which something was not heard.
    Failed,
    #[default]
    All,
}

/// One call that is over.
#[derive(Clone, PartialEq, Debug)]
pub struct Trace {
    pub call: CallId,
    /// The first is the whole call and has no parent; every parent stands before its children.
    pub spans: Vec<Span>,
    /// Spans and notes there was no room for.
    pub left_out: u32,
}

#[derive(Clone, PartialEq, Debug)]
pub struct Span {
    pub name: Cow<'static, str>,
    pub kind: Kind,
    /// Among the trace's spans.
    pub parent: Option<usize>,
    pub began: SystemTime,
    pub ended: SystemTime,
    pub values: Vec<Named>,
    pub notes: Vec<Note>,
    /// Why it came to no good: a reason code and what it means.
    pub failed: Option<String>,
}

/// Whose question a span is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// The caller's, to us.
    Asked,
    /// Ours, to another.
    Asking,
    /// Nobody's: what we do by ourselves.
    Within,
}

/// What happened in a span at one moment.
#[derive(Clone, PartialEq, Debug)]
pub struct Note {
    pub at: SystemTime,
    pub name: &'static str,
    pub values: Vec<Named>,
}

pub type Named = (Cow<'static, str>, Value);

#[derive(Clone, PartialEq, Debug)]
pub enum Value {
    Text(String),
    Whole(i64),
    Real(f64),
    Flag(bool),
}

/// Of one call.
const SPANS: usize = 256;
const NOTES: usize = 256;
/// Exchanges that may be no call at all, and what was gathered of them.
const PASSING: usize = 4096;
/// Calls in all; only such whose end was lost could make more.
const CALLS: usize = 65_536;

/// The telemetry thread's own.
pub(super) struct Tracing {
    to: Arc<dyn Tracer>,
    which: Traced,
    calls: HashMap<CallId, Gathered>,
    passing: VecDeque<CallId>,
}

#[derive(Default)]
struct Gathered {
    /// It is a call, not an exchange outside one.
    is_call: bool,
    /// A target, as it was tried.
    tries: Vec<Try>,
    decisions: Vec<(Time, Decision)>,
    notes: Vec<(Time, &'static str, Vec<Named>)>,
    left_out: u32,
}

struct Try {
    began: Time,
    ended: Option<Time>,
    failed: Option<String>,
    values: Vec<Named>,
}

impl Tracing {
    pub fn new(to: Arc<dyn Tracer>, which: Traced) -> Tracing {
        Tracing { to, which, calls: HashMap::new(), passing: VecDeque::new() }
    }

    /// To another receiver, with what is gathered.
    pub fn to(self, to: Arc<dyn Tracer>, which: Traced) -> Tracing {
        Tracing { to, which, ..self }
    }

    pub fn note(&mut self, fact: &Fact) {
        let Some(call) = fact.call else { return };
        if !concerns(&fact.what) {
            return;
        }
        if !self.calls.contains_key(&call) {
            self.begin(call);
        }
        if let Some(gathered) = self.calls.get_mut(&call) {
            gathered.note(fact);
        }
    }

    fn begin(&mut self, call: CallId) {
        if self.calls.len() >= CALLS {
            self.calls.clear();
            self.passing.clear();
        }
        self.calls.insert(call, Gathered::default());
        self.passing.push_back(call);
        if self.passing.len() > PASSING
            && let Some(oldest) = self.passing.pop_front()
            && self.calls.get(&oldest).is_some_and(|gathered| !gathered.is_call)
        {
            self.calls.remove(&oldest);
        }
    }

    pub fn ended(&mut self, ended: &Ended<'_>) {
        let gathered = self.calls.remove(&ended.record.call).unwrap_or_default();
        if self.which == Traced::All || ended.failed() {
            self.to.trace(gathered.trace(ended.record, ended.line(), ended.anchor));
        }
    }
}

/// Facts that make a span or a note; messages make none.
fn concerns(what: &What) -> bool {
    !matches!(what, What::Received { .. } | What::Sent { .. } | What::Standalone { .. } | What::CallEnded(_))
}

impl Gathered {
    fn note(&mut self, fact: &Fact) {
        let at = fact.at;
        match &fact.what {
            What::CallBegan { .. } => self.is_call = true,
            What::Decided(decisions) => {
                for decision in decisions {
                    if self.decisions.len() + self.tries.len() < SPANS {
                        self.decisions.push((at, decision.clone()));
                    } else {
                        self.left_out = self.left_out.saturating_add(1);
                    }
                }
            }
            What::LegOpened { side: Side::B, peer, mode, transport, remote } => {
                self.end_try(at, None);
                if self.decisions.len() + self.tries.len() < SPANS {
                    let values = vec![
                        text("portcullis.peer", peer),
                        // By which those who draw a map of services know whom a client asks.
                        text("peer.service", peer),
                        text("portcullis.mode", mode_name(*mode)),
                        text("network.transport", transport.uri_token()),
                        text("network.peer.address", &remote.ip().to_string()),
                        ("network.peer.port".into(), Value::Whole(remote.port().into())),
                    ];
                    self.tries.push(Try { began: at, ended: None, failed: None, values });
                } else {
                    self.left_out = self.left_out.saturating_add(1);
                }
            }
            What::CallProgressed { status } => self.tell(at, "progress", vec![whole("sip.status", i64::from(*status))]),
            What::CallAnswered => {
                self.end_try(at, None);
                self.tell(at, "answered", Vec::new());
            }
            What::Redirected { hop } => {
                self.end_try(at, None);
                let values = vec![whole("sip.status", i64::from(hop.status)), text("portcullis.from", &hop.from), text("portcullis.to", &hop.to)];
                self.tell(at, "redirected", values);
            }
            What::FailedOver { peer, target, why } => {
                self.end_try(at, Some(format!("{why}: {}", why.meaning())));
                let values = vec![text("portcullis.peer", peer), text("portcullis.target", &target.to_string()), text("portcullis.reason", why.code())];
                self.tell(at, "failover", values);
            }
            What::Rerouted { wanted, number, why, .. } => {
                let values = vec![text("portcullis.wanted", wanted.word()), text("portcullis.number", number), text("portcullis.reason", why.code())];
                self.tell(at, "rerouted over the PSTN", values);
            }
            What::Held { by, held } => self.tell(at, if *held { "held" } else { "resumed" }, vec![text("portcullis.leg", &by.to_string())]),
            What::FaxTone { side } => self.tell(at, "fax tone", vec![text("portcullis.leg", &side.to_string())]),
            What::FaxSwitched { t38 } => self.tell(at, if *t38 { "fax over T.38" } else { "sound again" }, Vec::new()),
            What::DigitRefused { side, status } => {
                self.tell(at, "digit refused", vec![text("portcullis.leg", &side.to_string()), whole("sip.status", i64::from(*status))]);
            }
            What::MediaKeyed { side, suite } => {
                self.tell(at, "media keyed by DTLS", vec![text("portcullis.leg", &side.to_string()), text("portcullis.srtp_suite", suite.name())]);
            }
            What::Transfer(event) => self.transfer(at, event),
            _ => {}
        }
    }

    fn transfer(&mut self, at: Time, event: &TransferEvent) {
        let (name, values) = match event {
            TransferEvent::Began { by, to, kind, .. } => {
                ("transfer began", vec![text("portcullis.leg", &by.to_string()), text("portcullis.to", to), text("portcullis.kind", kind.word())])
            }
            TransferEvent::Refused { to, reason, .. } => ("transfer refused", vec![text("portcullis.to", to), text("portcullis.reason", reason.code())]),
            TransferEvent::Failed { status, reason, .. } => {
                ("transfer failed", vec![whole("sip.status", i64::from(*status)), text("portcullis.reason", reason.code())])
            }
            TransferEvent::Done { peer, .. } | TransferEvent::DoneThere { peer } => ("transfer done", vec![text("portcullis.peer", peer)]),
            TransferEvent::Relayed { peer, .. } => ("transfer relayed", vec![text("portcullis.peer", peer)]),
            TransferEvent::Declined { peer, status } => ("transfer declined", vec![text("portcullis.peer", peer), whole("sip.status", i64::from(*status))]),
            TransferEvent::TransferorLeft { by } => ("transferor left", vec![text("portcullis.leg", &by.to_string())]),
            TransferEvent::Unheard { .. } => return,
        };
        self.tell(at, name, values);
    }

    fn tell(&mut self, at: Time, name: &'static str, values: Vec<Named>) {
        if self.notes.len() < NOTES {
            self.notes.push((at, name, values));
        } else {
            self.left_out = self.left_out.saturating_add(1);
        }
    }

    fn end_try(&mut self, at: Time, failed: Option<String>) {
        if let Some(last) = self.tries.last_mut().filter(|last| last.ended.is_none()) {
            last.ended = Some(at);
            last.failed = failed;
        }
    }

    /// `line`: the call's record, as the file has it.
    fn trace(self, record: &CallRecord, line: &str, anchor: &Anchor) -> Trace {
        let reason = record.reason;
        let fault = (reason.fault() != Fault::None).then(|| format!("{reason}: {}", reason.meaning()));
        let span = |name: Cow<'static, str>, parent: Option<usize>, (began, ended): (Time, Time), values, failed| Span {
            kind: if parent.is_none() { Kind::Asked } else { Kind::Within },
            name,
            parent,
            began: anchor.wall(began),
            ended: anchor.wall(ended.max(began)),
            values,
            notes: Vec::new(),
            failed,
        };
        let up = record.answered.unwrap_or(record.ended);
        let failed_before_answer = fault.clone().filter(|_| record.answered.is_none());
        let mut spans = vec![
            span("call".into(), None, (record.began, record.ended), of_record(line), fault),
            span("setup".into(), Some(0), (record.began, up), Vec::new(), failed_before_answer.clone()),
        ];
        let talk = record.answered.map(|answered| {
            spans.push(span("talk".into(), Some(0), (answered, record.ended), Vec::new(), None));
            spans.len() - 1
        });
        for attempt in self.tries {
            // One that nothing else ended ended with the call.
            let failed = attempt.failed.or_else(|| failed_before_answer.clone().filter(|_| attempt.ended.is_none()));
            let parent = if attempt.began <= up { Some(1) } else { talk.or(Some(1)) };
            let target = span("target".into(), parent, (attempt.began, attempt.ended.unwrap_or(record.ended)), attempt.values, failed);
            spans.push(Span { kind: Kind::Asking, ..target });
        }
        for (at, decision) in self.decisions {
            let parent = if at <= up { Some(1) } else { talk.or(Some(1)) };
            let failed = decision.refused.map(|reason| format!("{reason}: {}", reason.meaning()));
            spans.push(span(decision.stage.into(), parent, (at, at), of_decision(&decision), failed));
        }
        spans[0].notes = self.notes.into_iter().map(|(at, name, values)| Note { at: anchor.wall(at), name, values }).collect();
        Trace { call: record.call, spans, left_out: self.left_out }
    }
}

fn of_decision(decision: &Decision) -> Vec<Named> {
    let mut values = vec![text("portcullis.rule", &decision.rule)];
    if let Some(reason) = decision.refused {
        values.push(text("portcullis.reason", reason.code()));
    }
    values.extend(decision.compared.iter().map(|(name, value)| (Cow::from(format!("portcullis.compared.{name}")), Value::Text(clean(value)))));
    values
}

/// The record's fields by their names, `portcullis.a.peer`; lists as JSON, what is not known left out.
fn of_record(line: &str) -> Vec<Named> {
    let mut values = Vec::new();
    // The line is our own.
    if let Ok(serde_json::Value::Object(fields)) = serde_json::from_str(line) {
        flatten("portcullis", fields, &mut values);
    }
    values
}

fn flatten(before: &str, fields: serde_json::Map<String, serde_json::Value>, values: &mut Vec<Named>) {
    use serde_json::Value as Json;
    for (key, value) in fields {
        let name = format!("{before}.{key}");
        let value = match value {
            Json::Null => continue,
            Json::Object(fields) => {
                flatten(&name, fields, values);
                continue;
            }
            Json::Array(items) if items.is_empty() => continue,
            Json::Array(items) => Value::Text(Json::Array(items).to_string()),
            Json::Bool(flag) => Value::Flag(flag),
            Json::Number(number) => number.as_i64().map_or_else(|| Value::Real(number.as_f64().unwrap_or_default()), Value::Whole),
            Json::String(text) => Value::Text(text),
        };
        values.push((name.into(), value));
    }
}

fn text(name: &'static str, value: &str) -> Named {
    (name.into(), Value::Text(clean(value)))
}

fn whole(name: &'static str, value: i64) -> Named {
    (name.into(), Value::Whole(value))
}
