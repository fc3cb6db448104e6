//! Calls that are up or being set up, as the core's facts tell of them; ending one.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::elsewhere::ShownBefore;
use super::{Answered, Behind, Desk, drain, limit};
use crate::adapters::api::Problem;
use crate::adapters::telemetry::{Anchor, clean};
use crate::media::control::{Side, StreamId};
use crate::policy::security_mode::mode_name;
use crate::policy::settings::SecurityMode;
use crate::signaling::event::Command;
use crate::signaling::fact::{CallId, Fact, What};
use crate::sip::Transport;
use crate::time::Time;

pub(super) fn routes() -> OpenApiRouter<Arc<Desk>> {
    OpenApiRouter::new().routes(routes!(calls)).routes(routes!(call, end))
}

/// As many as admission lets in. Cheap to clone: all clones are one.
#[derive(Clone, Default)]
pub struct Calls(Arc<Mutex<BTreeMap<CallId, Up>>>);

/// One of them.
#[derive(Clone)]
pub(super) struct Up {
    pub began: Time,
    /// Set once the call has passed the screening: the dial plan that governs it, if one does.
    pub admitted: Option<Option<Arc<str>>>,
    /// Whose budget it is of, whatever becomes of its legs.
    pub begun_by: Arc<str>,
    /// Shared, since whoever looks holds up the core while these are taken along.
    pub from: Arc<str>,
    pub to: Arc<str>,
    pub a: Leg,
    /// We called the one who is the A leg now.
    pub a_called: bool,
    /// The one that was tried last.
    pub b: Option<Leg>,
    pub status: Option<u16>,
    pub answered: Option<Time>,
    /// By its A and its B leg.
    pub held: [bool; 2],
    /// The last opened; those before are closed, or about to be.
    pub stream: Option<StreamId>,
}

#[derive(Clone)]
pub(super) struct Leg {
    pub peer: Arc<str>,
    /// `None`: it has only just come.
    pub way: Option<(SecurityMode, Transport, SocketAddr)>,
}

impl Calls {
    pub fn note(&self, fact: &Fact) {
        let Some(call) = fact.call else { return };
        match &fact.what {
            What::CallBegan { peer, from, to } => {
                let a = Leg { peer: Arc::clone(peer), way: None };
                let (from, to) = (clean(from).into(), clean(to).into());
                let up = Up {
                    began: fact.at,
                    admitted: None,
                    begun_by: Arc::clone(peer),
                    from,
                    to,
                    a,
                    a_called: false,
                    b: None,
                    status: None,
                    answered: None,
                    held: [false; 2],
                    stream: None,
                };
                self.held().insert(call, up);
            }
            What::CallEnded(_) => drop(self.held().remove(&call)),
            What::CallAdmitted { .. }
            | What::LegOpened { .. }
            | What::CallProgressed { .. }
            | What::CallAnswered
            | What::Held { .. }
            | What::MediaOpened { .. } => {
                if let Some(up) = self.held().get_mut(&call) {
                    up.note(fact);
                }
            }
            _ => {}
        }
    }

    pub fn up(&self) -> usize {
        self.held().len()
    }

    fn held(&self) -> MutexGuard<'_, BTreeMap<CallId, Up>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Those that are wanted, by number, at most so many; second: how many there are in all.
    pub(super) fn of(&self, wanted: impl Fn(CallId, &Up) -> bool, most: usize) -> (Vec<(CallId, Up)>, usize) {
        self.beyond(None, wanted, most)
    }

    /// The same, of those with higher numbers than this.
    fn beyond(&self, after: Option<u64>, wanted: impl Fn(CallId, &Up) -> bool, most: usize) -> (Vec<(CallId, Up)>, usize) {
        let held = self.held();
        let start = after.map_or(Bound::Unbounded, |after| Bound::Excluded(CallId(after)));
        let chosen = held.range((start, Bound::Unbounded)).filter(|(id, up)| wanted(**id, up)).take(most);
        (chosen.map(|(id, up)| (*id, up.clone())).collect(), held.len())
    }

    pub(super) fn each(&self, mut look: impl FnMut(CallId, &Up)) {
        self.held().iter().for_each(|(id, up)| look(*id, up));
    }

    /// The streams of those that are answered, as far as wanted.
    pub fn talking(&self, wanted: impl Fn(CallId) -> bool) -> Vec<(CallId, StreamId)> {
        let held = self.held();
        let streams = held.iter().filter(|(id, up)| up.answered.is_some() && wanted(**id)).filter_map(|(id, up)| Some((*id, up.stream?)));
        streams.collect()
    }

    pub(super) fn one(&self, call: u64) -> Option<Up> {
        self.held().get(&CallId(call)).cloned()
    }
}

impl Up {
    fn note(&mut self, fact: &Fact) {
        match &fact.what {
            What::LegOpened { side, peer, mode, transport, remote } => {
                let leg = Leg { peer: Arc::clone(peer), way: Some((*mode, *transport, *remote)) };
                match side {
                    Side::A => {
                        self.a_called = self.a.way.is_some();
                        self.a = leg;
                    }
                    Side::B => self.b = Some(leg),
                }
            }
            What::CallAdmitted { plan } => self.admitted = Some(plan.clone()),
            What::CallProgressed { status } => self.status = Some(*status),
            What::CallAnswered => self.answered = Some(fact.at),
            What::Held { by, held } => self.held[usize::from(*by == Side::B)] = *held,
            What::MediaOpened { stream } => self.stream = Some(*stream),
            _ => {}
        }
    }

    /// Whom it goes to: the B side, and the A side once a transfer has put somebody there whom we called.
    pub(super) fn goes_to(&self) -> impl Iterator<Item = &Arc<str>> {
        let a = Some(&self.a.peer).filter(|_| self.a_called);
        a.into_iter().chain(self.b.as_ref().map(|leg| &leg.peer))
    }

    pub(super) fn b(&self) -> Arc<str> {
        self.b.as_ref().map_or_else(|| "-".into(), |leg| Arc::clone(&leg.peer))
    }
}

#[derive(Serialize, ToSchema)]
#[schema(as = ShownCall)]
struct Shown {
    /// The number that log lines, records and ladders carry.
    call: u64,
    /// `setup`, `ringing`, `up` or `held`.
    state: &'static str,
    #[schema(value_type = String)]
    from: Arc<str>,
    #[schema(value_type = String)]
    to: Arc<str>,
    a: ShownLeg,
    b: Option<ShownLeg>,
    /// RFC 3339, UTC.
    began: String,
    answered: Option<String>,
    /// Since the answer; null before it.
    answered_seconds: Option<u64>,
    /// The process that has it, where that is the one before this.
    #[serde(skip_serializing_if = "Option::is_none")]
    process: Option<u32>,
}

#[derive(Serialize, ToSchema)]
struct ShownLeg {
    #[schema(value_type = String)]
    peer: Arc<str>,
    mode: Option<&'static str>,
    transport: Option<&'static str>,
    #[schema(value_type = Option<String>)]
    remote: Option<SocketAddr>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = CallsList)]
struct List {
    /// In all.
    up: usize,
    calls: Vec<Shown>,
    /// For `after`; null where there is no more.
    next: Option<u64>,
    /// The process this one has taken over from, while it still has calls.
    #[serde(skip_serializing_if = "Option::is_none")]
    before: Option<ShownBefore>,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct Which {
    /// Only those with a leg of this peer.
    peer: Option<String>,
    /// Only those whose caller or called contains this.
    number: Option<String>,
    /// Continues an earlier answer: its `next`.
    after: Option<u64>,
    /// At most so many.
    #[param(minimum = 1, maximum = 10_000)]
    limit: Option<usize>,
}

pub(super) const LIMIT: usize = 1000;
const MOST: usize = 10_000;

/// Calls that are up or being set up, by number.
#[utoipa::path(get, path = "/v1/calls", tag = "calls", params(Which), responses((status = 200, body = List)))]
async fn calls(State(desk): Behind, Query(which): Query<Which>) -> Answered<List> {
    let limit = limit(which.limit, LIMIT, MOST)?;
    if which.after.is_some_and(|after| i64::try_from(after).is_err()) {
        return Err(Problem::new(StatusCode::BAD_REQUEST, "after: write what the answer before gave as next"));
    }
    let of_peer = |up: &Up, peer: &str| *up.a.peer == *peer || up.b.as_ref().is_some_and(|leg| *leg.peer == *peer);
    let of_number = |up: &Up, number: &str| up.from.contains(number) || up.to.contains(number);
    let wanted = |_, up: &Up| which.peer.as_deref().is_none_or(|peer| of_peer(up, peer)) && which.number.as_deref().is_none_or(|number| of_number(up, number));
    let (mut chosen, up) = desk.calls.beyond(which.after, wanted, limit + 1);
    let more = chosen.len() > limit;
    chosen.truncate(limit);
    let next = chosen.last().filter(|_| more).map(|(id, _)| id.0);
    let now = desk.clock.now();
    Ok(Json(List { up, next, before: None, calls: chosen.iter().map(|(id, up)| show(*id, up, now, &desk.anchor)).collect() }))
}

/// One call that is up.
#[utoipa::path(get, path = "/v1/calls/{call}", tag = "calls", params(("call" = u64, Path)), responses((status = 200, body = Shown)))]
async fn call(State(desk): Behind, Path(call): Path<u64>) -> Answered<Shown> {
    let up = desk.calls.one(call).ok_or_else(|| not_up(call))?;
    Ok(Json(show(CallId(call), &up, desk.clock.now(), &desk.anchor)))
}

/// Ends a call: both legs get their BYE, or the caller a refusal.
#[utoipa::path(delete, path = "/v1/calls/{call}", tag = "calls", params(("call" = u64, Path)), responses((status = 202, description = "It is being ended")))]
async fn end(State(desk): Behind, Path(call): Path<u64>) -> Result<StatusCode, Problem> {
    desk.calls.one(call).ok_or_else(|| not_up(call))?;
    drain::command(&desk, Command::Release(CallId(call)))?;
    Ok(StatusCode::ACCEPTED)
}

pub(super) fn not_up(call: u64) -> Problem {
    Problem::new(StatusCode::NOT_FOUND, format!("no call {call} is up; one that has ended is in show records {call}, with what was heard of it"))
}

fn show(id: CallId, up: &Up, now: Time, anchor: &Anchor) -> Shown {
    let state = match (up.answered, up.status) {
        (Some(_), _) if up.held.contains(&true) => "held",
        (Some(_), _) => "up",
        (None, Some(_)) => "ringing",
        (None, None) => "setup",
    };
    Shown {
        call: id.0,
        state,
        from: Arc::clone(&up.from),
        to: Arc::clone(&up.to),
        a: show_leg(&up.a),
        b: up.b.as_ref().map(show_leg),
        began: anchor.rfc3339(up.began),
        answered: up.answered.map(|at| anchor.rfc3339(at)),
        answered_seconds: up.answered.map(|at| now.since(at).as_secs()),
        process: None,
    }
}

fn show_leg(leg: &Leg) -> ShownLeg {
    ShownLeg {
        peer: Arc::clone(&leg.peer),
        mode: leg.way.map(|(mode, _, _)| mode_name(mode)),
        transport: leg.way.map(|(_, transport, _)| transport.uri_token()),
        remote: leg.way.map(|(_, _, remote)| remote),
    }
}
