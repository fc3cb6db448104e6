//! Call records: looked up in the store, newest first, and one whole, with its ladder where that was kept.

use std::io;
use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Answered, Behind, Desk, ladder, limit};
use crate::adapters::api::Problem;
use crate::adapters::history::{self, History, Sought, Status};
use crate::policy::verdict::Fault;

pub(super) fn routes() -> OpenApiRouter<Arc<Desk>> {
    OpenApiRouter::new().routes(routes!(records)).routes(routes!(record)).routes(routes!(store))
}

const LIMIT: usize = 100;

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct Which {
    /// The caller or the called: whole, or with `*` at its end or beginning.
    number: Option<String>,
    /// The peer of a leg.
    peer: Option<String>,
    /// A reason code.
    reason: Option<String>,
    /// `none`, `peer`, `policy`, `resource` or `us`.
    #[param(pattern = "^(none|peer|policy|resource|us)$")]
    fault: Option<String>,
    /// Begun at this time or later, RFC 3339.
    #[param(format = DateTime)]
    from: Option<String>,
    /// Begun before this time, RFC 3339.
    #[param(format = DateTime)]
    until: Option<String>,
    answered: Option<bool>,
    /// A direction was not heard, or not well.
    audio_fault: Option<bool>,
    /// Continues an earlier page: its `next`.
    #[param(pattern = "^-?[0-9]{1,18}-[0-9]{1,18}$")]
    after: Option<String>,
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = RecordsPage)]
struct Page {
    records: Vec<Found>,
    /// For `after`; null where there is no more.
    next: Option<String>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = FoundRecord)]
struct Found {
    /// The call's: as in the log, in `/v1/calls` and on its ladder.
    number: i64,
    /// As the file of records has it.
    #[schema(value_type = Object)]
    record: Box<RawValue>,
    /// As text; only of a single record.
    #[serde(skip_serializing_if = "Option::is_none")]
    ladder: Option<String>,
}

/// Call records, newest first.
#[utoipa::path(get, path = "/v1/records", tag = "calls", params(Which), responses((status = 200, body = Page)))]
async fn records(State(desk): Behind, which: Result<Query<Which>, QueryRejection>) -> Answered<Page> {
    let Query(which) = which.map_err(|rejection| wrong(rejection.body_text()))?;
    let query = query(which)?;
    let page = asked(&desk, move |history| history.search(&query)).await?;
    let next = page.next.map(|(began, number)| format!("{began}-{number}"));
    Ok(Json(Page { records: page.records.into_iter().filter_map(found).collect(), next }))
}

/// One call record, and its ladder where that was kept.
#[utoipa::path(get, path = "/v1/records/{number}", tag = "calls", params(("number" = i64, Path)), responses((status = 200, body = Found)))]
async fn record(State(desk): Behind, Path(number): Path<i64>) -> Answered<Found> {
    let one = asked(&desk, move |history| history.one(number)).await?;
    one.and_then(found).map(Json).ok_or_else(|| gone(number))
}

/// As it was kept with a record; `None`: there was none.
pub(super) async fn ladder(desk: &Desk, number: i64) -> Result<Option<String>, Problem> {
    let one = asked(desk, move |history| history.one(number)).await?;
    let one = one.ok_or_else(|| gone(number))?;
    Ok(one.ladder)
}

fn gone(number: i64) -> Problem {
    Problem::new(StatusCode::NOT_FOUND, format!("there is no record {number}, or it has been taken out for its age"))
}

/// How it stands with the store of records.
#[utoipa::path(get, path = "/v1/records-store", tag = "calls", responses((status = 200, body = Status)))]
async fn store(State(desk): Behind) -> Answered<Status> {
    Ok(Json(of(&desk)?.status()))
}

fn of(desk: &Desk) -> Result<History, Problem> {
    let detail = "this border stores no records to be searched: its policy set has no store in [records] of border.toml";
    desk.outlets.recording.stores().history.ok_or_else(|| Problem::new(StatusCode::NOT_FOUND, detail))
}

/// Off the event loop: a disk may be slow.
async fn asked<T: Send + 'static>(desk: &Desk, ask: impl FnOnce(&History) -> io::Result<T> + Send + 'static) -> Result<T, Problem> {
    let history = of(desk)?;
    let answer = tokio::task::spawn_blocking(move || ask(&history)).await;
    let answer = answer.map_err(|error| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
    answer.map_err(|error| {
        let status = if error.kind() == io::ErrorKind::TimedOut { StatusCode::GATEWAY_TIMEOUT } else { StatusCode::SERVICE_UNAVAILABLE };
        Problem::new(status, format!("the store of records: {error}"))
    })
}

fn found(sought: Sought) -> Option<Found> {
    let record = RawValue::from_string(sought.record).or_else(|_| serde_json::value::to_raw_value(&Value::Null)).ok()?;
    Some(Found { number: sought.number, record, ladder: sought.ladder.map(ladder::page) })
}

fn wrong(detail: String) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, detail)
}

fn query(which: Which) -> Result<history::Query, Problem> {
    let time = |key: &str, written: Option<String>| {
        let read =
            |written: String| OffsetDateTime::parse(&written, &Rfc3339).map_err(|_| wrong(format!("{key}={written}: write a time as 2026-11-22T13:00:00Z")));
        let millis = |time: OffsetDateTime| i64::try_from(time.unix_timestamp_nanos() / 1_000_000).unwrap_or(i64::MAX);
        written.map(read).transpose().map(|time| time.map(millis))
    };
    let after = |written: String| {
        let digits = |text: &str| text.bytes().all(|octet| octet.is_ascii_digit());
        let parts = written.rsplit_once('-').filter(|(began, number)| digits(began.strip_prefix('-').unwrap_or(began)) && digits(number));
        let parts = parts.and_then(|(began, number)| Some((began.parse().ok()?, number.parse().ok()?)));
        parts.ok_or_else(|| wrong(format!("after={written}: write what the page before gave as next")))
    };
    let fault = |word: &String| Fault::ALL.iter().any(|fault| fault.word() == word);
    if let Some(word) = which.fault.as_ref().filter(|word| !fault(word)) {
        return Err(wrong(format!("fault={word}: write none, peer, policy, resource or us")));
    }
    Ok(history::Query {
        number: which.number.filter(|number| !number.is_empty()),
        peer: which.peer,
        reason: which.reason,
        fault: which.fault,
        from: time("from", which.from)?,
        until: time("until", which.until)?,
        answered: which.answered,
        audio_fault: which.audio_fault,
        after: which.after.map(after).transpose()?,
        limit: limit(which.limit, LIMIT, history::MOST)?,
    })
}
