//! Ladders: of calls still held in memory, and of records that were kept with theirs; as text, as a drawing that
//! programs read, as a picture, or as a capture file.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::calls::Leg;
use super::elsewhere::ShownBefore;
use super::{Answered, Behind, Desk, limit, media, records};
use crate::adapters::api::Problem;
use crate::adapters::telemetry::Anchor;
use crate::adapters::telemetry::ladder::{Counted, Drawing, Held, Stage, Who};
use crate::signaling::fact::CallId;

pub(super) fn routes() -> OpenApiRouter<Arc<Desk>> {
    OpenApiRouter::new().routes(routes!(ladders)).routes(routes!(of_call)).routes(routes!(of_record))
}

/// A picture asked for by itself runs nothing and loads nothing.
const PICTURE: &str = "default-src 'none'; style-src 'unsafe-inline'";
/// As registered with IANA for files of either form.
pub(super) const CAPTURE: &str = "application/vnd.tcpdump.pcap";
pub(super) const LIMIT: usize = 100;
const MOST: usize = 1000;

#[derive(Clone, Copy, Deserialize, ToSchema, Default)]
#[schema(as = LadderForm)]
#[serde(rename_all = "lowercase")]
enum Form {
    #[default]
    Text,
    Json,
    Svg,
    /// A capture file.
    Pcapng,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct How {
    /// `text` where nothing is said.
    #[param(inline)]
    format: Option<Form>,
    /// Of a picture: `false` leaves its style out, for a page that has it.
    alone: Option<bool>,
}

impl How {
    fn answer(&self, drawing: &Drawing) -> Response {
        match self.format.unwrap_or_default() {
            Form::Text => drawing.page().into_response(),
            Form::Json => Json(drawing).into_response(),
            Form::Pcapng => ([(header::CONTENT_TYPE, CAPTURE)], drawing.capture()).into_response(),
            Form::Svg => {
                let headers = [(header::CONTENT_TYPE, "image/svg+xml"), (header::CONTENT_SECURITY_POLICY, PICTURE)];
                (headers, drawing.picture(self.alone.unwrap_or(true))).into_response()
            }
        }
    }
}

/// The ladder of a call: as held in memory, or else as kept with its record.
#[utoipa::path(get, path = "/v1/calls/{call}/ladder", tag = "calls", params(("call" = u64, Path), How),
    responses((status = 200, content((String = "text/plain"), (Drawing = "application/json"), (String = "image/svg+xml"), (Vec<u8> = "application/vnd.tcpdump.pcap")))))]
async fn of_call(State(desk): Behind, Path(call): Path<u64>, how: Result<Query<How>, QueryRejection>) -> Result<Response, Problem> {
    let Query(how) = how.map_err(wrong)?;
    if let Some(drawing) = drawing(&desk, call).await {
        return Ok(how.answer(&drawing));
    }
    if let Some(drawing) = desk.telemetry.inherited(CallId(call)) {
        return Ok(how.answer(&drawing));
    }
    // Without a store, or without such a record, there is one thing to say.
    let number = i64::try_from(call).map_err(|_| not_held(&desk, call))?;
    let written = records::ladder(&desk, number).await.ok().flatten().ok_or_else(|| not_held(&desk, call))?;
    answer_kept(&how, number, written)
}

/// While the call is up its media is in it as well, as counted so far.
async fn drawing(desk: &Desk, call: u64) -> Option<Drawing> {
    let id = CallId(call);
    let Some((up, view)) = media::view(desk, call).await else { return desk.telemetry.drawing(id) };
    let at = |leg: &Leg| leg.way.map(|(_, _, remote)| remote);
    let Some(a) = at(&up.a) else { return desk.telemetry.drawing(id) };
    let counted = Counted { at: desk.clock.now(), a, b: up.b.as_ref().and_then(at), report: &view.report, so_far: true };
    desk.telemetry.drawing_so_far(id, &counted)
}

/// The ladder that was kept with a call record.
#[utoipa::path(get, path = "/v1/records/{number}/ladder", tag = "calls", params(("number" = i64, Path), How),
    responses((status = 200, content((String = "text/plain"), (Drawing = "application/json"), (String = "image/svg+xml"), (Vec<u8> = "application/vnd.tcpdump.pcap")))))]
async fn of_record(State(desk): Behind, Path(number): Path<i64>, how: Result<Query<How>, QueryRejection>) -> Result<Response, Problem> {
    let Query(how) = how.map_err(wrong)?;
    let missing = || Problem::new(StatusCode::NOT_FOUND, format!("no ladder was kept with record {number}: [records] ladders says of which calls one is"));
    let written = records::ladder(&desk, number).await?.ok_or_else(missing)?;
    answer_kept(&how, number, written)
}

fn answer_kept(how: &How, number: i64, written: String) -> Result<Response, Problem> {
    match serde_json::from_str::<Drawing>(&written) {
        Ok(drawing) => Ok(how.answer(&drawing)),
        // Of a program that kept them as text.
        Err(_) if matches!(how.format, None | Some(Form::Text)) => Ok(written.into_response()),
        Err(_) => Err(Problem::new(StatusCode::NOT_FOUND, format!("the ladder of record {number} was kept as text: ask for format=text"))),
    }
}

/// As a page, whichever way it was kept.
pub(super) fn page(written: String) -> String {
    serde_json::from_str::<Drawing>(&written).map_or(written, |drawing| drawing.page())
}

pub(super) fn not_held(desk: &Desk, call: u64) -> Problem {
    if desk.policy_sets.settings().telemetry.ladder.calls == 0 {
        let detail = format!(
            "the signalling of call {call} is not held, nor that of any other: border.toml has [ladder] calls = 0; and no ladder was kept with its record ([records] ladders)"
        );
        return Problem::new(StatusCode::NOT_FOUND, detail);
    }
    let detail = format!(
        "the signalling of call {call} is not held: it is older than the last calls that are, or never was, and no ladder was kept with its record ([records] ladders says of which calls one is)"
    );
    Problem::new(StatusCode::NOT_FOUND, detail)
}

fn wrong(rejection: QueryRejection) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, rejection.body_text())
}

#[derive(Serialize, ToSchema)]
#[schema(as = HeldLadder)]
struct Shown {
    /// The number that log lines and records carry; of an exchange one of its own, from 9000000000000 on.
    call: u64,
    /// `setup`, `answered`, `ended`, or `exchange`: a request outside calls.
    state: &'static str,
    /// RFC 3339, UTC.
    began: String,
    /// Of an exchange: its method, and the URI it asks.
    from: String,
    to: String,
    /// The peers of the legs.
    a: Option<String>,
    b: Option<String>,
    /// Why it ended.
    reason: Option<&'static str>,
    /// Messages and notes held.
    entries: usize,
    /// The process that has it, where that is the one before this.
    #[serde(skip_serializing_if = "Option::is_none")]
    process: Option<u32>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = LaddersList)]
struct List {
    /// Calls held in all, exchanges outside calls, and the bytes they take, about.
    calls: usize,
    exchanges: usize,
    bytes: usize,
    /// Newest first.
    ladders: Vec<Shown>,
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
    /// Exchanges outside calls too, such as OPTIONS.
    exchanges: Option<bool>,
    /// At most so many.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
}

impl Which {
    fn wants(&self, held: &Held) -> bool {
        let Who { from, to, a, b } = &held.who;
        let is = |leg: &Option<Arc<str>>, peer: &str| leg.as_deref() == Some(peer);
        (held.stage != Stage::Exchange || self.exchanges == Some(true))
            && self.peer.as_deref().is_none_or(|peer| is(a, peer) || is(b, peer))
            && self.number.as_deref().is_none_or(|number| from.contains(number) || to.contains(number))
    }
}

/// Calls whose signalling is held in memory, those that have ended too.
#[utoipa::path(get, path = "/v1/ladders", tag = "calls", params(Which), responses((status = 200, body = List)))]
async fn ladders(State(desk): Behind, which: Result<Query<Which>, QueryRejection>) -> Answered<List> {
    let Query(which) = which.map_err(wrong)?;
    let limit = limit(which.limit, LIMIT, MOST)?;
    let (held, load) = desk.telemetry.held(&|held| which.wants(held), limit);
    let ladders = held.into_iter().map(|held| shown(held, &desk.anchor)).collect();
    Ok(Json(List { calls: load.calls, exchanges: load.exchanges, bytes: load.bytes, ladders, before: None }))
}

fn shown(held: Held, anchor: &Anchor) -> Shown {
    let (state, reason) = match held.stage {
        Stage::Exchange => ("exchange", None),
        Stage::Setup => ("setup", None),
        Stage::Answered => ("answered", None),
        Stage::Ended(reason) => ("ended", Some(reason.code())),
    };
    let Who { from, to, a, b } = held.who;
    let name = |peer: Option<Arc<str>>| peer.map(|peer| String::from(&*peer));
    Shown { call: held.call.0, state, began: anchor.rfc3339(held.began), from, to, a: name(a), b: name(b), reason, entries: held.entries, process: None }
}
