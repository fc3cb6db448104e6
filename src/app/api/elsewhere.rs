//! While the process this one has taken over from still has calls, whoever asks here sees those of both: what is asked of one of its calls is asked there, over the control
//! socket it was left, and lists of calls hold both.

use axum::Json;
use axum::body::to_bytes;
use axum::extract::{Request, State};
use axum::http::{Method, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::Behind;
use crate::adapters::api::{Place, Problem, Relayed, relay};
use crate::app::takeover::Before;

/// Of our own answer: ten thousand calls stay well below.
const LONGEST: usize = 64 << 20;

/// Its calls are none of this process's, and end there.
#[derive(Serialize, ToSchema)]
#[schema(as = ProcessBefore)]
pub(super) struct ShownBefore {
    process: u32,
    /// Its own control socket.
    socket: Option<String>,
    /// Calls that are up there, as it said a second ago.
    calls: u64,
    /// Of a list: false where it did not answer in time, so that its calls are not in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    answers: Option<bool>,
}

impl ShownBefore {
    pub(super) fn of(before: Before, calls: u64) -> ShownBefore {
        ShownBefore { process: before.process, socket: before.socket.map(|socket| socket.display().to_string()), calls, answers: None }
    }
}

/// What a request asks for, where another process may have it.
enum Asked {
    OfCall(u64),
    List(List),
}

/// A list of calls.
#[derive(Clone, Copy)]
struct List {
    rows: &'static str,
    /// Where no limit is asked for.
    limit: usize,
    /// Else by number, so that those of the process before come first.
    is_newest_first: bool,
    /// What is counted in each, and so in both.
    sums: &'static [&'static str],
}

const CALLS: List = List { rows: "calls", limit: super::calls::LIMIT, is_newest_first: false, sums: &["up"] };
const LADDERS: List = List { rows: "ladders", limit: super::ladder::LIMIT, is_newest_first: true, sums: &["calls", "exchanges", "bytes"] };
const MEDIA: List = List { rows: "calls", limit: super::media::CALLS, is_newest_first: false, sums: &["up"] };

impl Asked {
    fn by(method: &Method, uri: &Uri) -> Option<Asked> {
        match (uri.path(), method) {
            ("/v1/calls", &Method::GET) => Some(Asked::List(CALLS)),
            ("/v1/ladders", &Method::GET) => Some(Asked::List(LADDERS)),
            ("/v1/media", &Method::GET) => Some(Asked::List(MEDIA)),
            (path, _) => {
                let rest = path.strip_prefix("/v1/calls/").or_else(|| path.strip_prefix("/v1/media/"))?;
                rest.split('/').next()?.parse().ok().map(Asked::OfCall)
            }
        }
    }
}

pub(super) async fn elsewhere(State(desk): Behind, request: Request, next: Next) -> Response {
    let Some(before) = desk.between.before() else { return next.run(request).await };
    match Asked::by(request.method(), request.uri()) {
        Some(Asked::OfCall(call)) if call < before.next_call && desk.calls.one(call).is_none() => of_call(&before, call, request, next).await,
        Some(Asked::List(list)) => {
            let calls = desk.between.calls_there();
            of_both(list, before, calls, request, next).await
        }
        _ => next.run(request).await,
    }
}

async fn ask(before: &Before, method: &Method, uri: &Uri) -> Result<Relayed, String> {
    let socket = before.socket.as_deref().ok_or("it has no control socket")?;
    let path = uri.path_and_query().map_or(uri.path(), |path| path.as_str());
    relay(&Place::from(socket), method.as_str(), path).await.map_err(|error| error.to_string())
}

async fn of_call(before: &Before, call: u64, request: Request, next: Next) -> Response {
    match ask(before, request.method(), request.uri()).await {
        // It may have ended, and be in a store.
        Ok(Relayed { status: 404, .. }) => next.run(request).await,
        Ok(Relayed { status, headers, body }) => {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY);
            if let Ok(problem) = serde_json::from_slice::<Problem>(&body)
                && !status.is_success()
            {
                return Problem::new(status, problem.detail).into_response();
            }
            let mut response = (status, body).into_response();
            response.headers_mut().remove(header::CONTENT_TYPE);
            let kept = [header::CONTENT_TYPE, header::CONTENT_SECURITY_POLICY].into_iter();
            response.headers_mut().extend(kept.filter_map(|name| Some((name.clone(), headers.get(name)?.clone()))));
            response
        }
        Err(error) => {
            let process = before.process;
            let detail =
                format!("call {call} was begun in process {process}, which this one has taken over from and which does not answer ({error}): see its log");
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail).into_response()
        }
    }
}

async fn of_both(list: List, before: Before, calls: u64, request: Request, next: Next) -> Response {
    let (method, uri) = (request.method().clone(), request.uri().clone());
    let asked = |key: &str| uri.query().and_then(|query| query.split('&').find_map(|pair| pair.strip_prefix(key)?.strip_prefix('=')?.parse::<u64>().ok()));
    let limit = asked("limit").map_or(list.limit, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
    let is_beyond = asked("after").is_some_and(|after| after.saturating_add(1) >= before.next_call);
    let (ours, theirs) = (next.run(request), ask(&before, &method, &uri));
    let (ours, theirs) = tokio::join!(ours, theirs);
    if !ours.status().is_success() {
        return ours;
    }
    let Ok(bytes) = to_bytes(ours.into_body(), LONGEST).await else { return StatusCode::INTERNAL_SERVER_ERROR.into_response() };
    let mut page: Value = serde_json::from_slice(&bytes).unwrap_or_default();
    let theirs = theirs.ok().filter(|theirs| theirs.status == 200).and_then(|theirs| serde_json::from_slice::<Value>(&theirs.body).ok());
    let answers = theirs.is_some();
    if let Some(theirs) = theirs {
        list.join(&mut page, theirs, before.process, limit, is_beyond);
    }
    page["before"] = json!(ShownBefore { answers: Some(answers), ..ShownBefore::of(before, calls) });
    Json(page).into_response()
}

impl List {
    /// `is_beyond`: what is asked for begins after their last call.
    fn join(self, ours: &mut Value, mut theirs: Value, process: u32, limit: usize, is_beyond: bool) {
        for sum in self.sums {
            ours[*sum] = json!(ours[*sum].as_u64().unwrap_or(0) + theirs[*sum].as_u64().unwrap_or(0));
        }
        if is_beyond {
            return;
        }
        let rows = |page: &mut Value| page[self.rows].as_array_mut().map(std::mem::take).unwrap_or_default();
        let (own, mut other) = (rows(ours), rows(&mut theirs));
        for row in &mut other {
            row["process"] = json!(process);
        }
        let mut all: Vec<Value> = if self.is_newest_first { own.into_iter().chain(other).collect() } else { other.into_iter().chain(own).collect() };
        if ours.get("next").is_some() && (all.len() > limit || !theirs["next"].is_null()) {
            all.truncate(limit);
            ours["next"] = all.last().map_or(Value::Null, |last| last["call"].clone());
        }
        all.truncate(limit);
        ours[self.rows] = all.into();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(calls: &[u64], up: u64, next: Option<u64>) -> Value {
        json!({ "up": up, "next": next, "calls": calls.iter().map(|call| json!({ "call": call })).collect::<Vec<_>>() })
    }

    fn joined(mut ours: Value, theirs: Value, limit: usize, is_beyond: bool) -> (Vec<u64>, Option<u64>, Option<u64>) {
        CALLS.join(&mut ours, theirs, 7, limit, is_beyond);
        let calls = ours["calls"].as_array().unwrap();
        assert!(calls.iter().all(|call| (call["process"] == 7) == (call["call"].as_u64() < Some(10))), "{ours:#}");
        (calls.iter().filter_map(|call| call["call"].as_u64()).collect(), ours["up"].as_u64(), ours["next"].as_u64())
    }

    #[test]
    fn pages_go_from_their_calls_to_ours_and_lose_none() {
        let all = joined(page(&[10, 11], 2, None), page(&[3, 4], 2, None), 100, false);
        assert_eq!(all, (vec![3, 4, 10, 11], Some(4), None));
        let first = joined(page(&[10, 11], 2, None), page(&[3, 4], 3, Some(4)), 2, false);
        assert_eq!(first, (vec![3, 4], Some(5), Some(4)));
        let second = joined(page(&[10, 11], 2, None), page(&[5], 3, None), 2, false);
        assert_eq!(second, (vec![5, 10], Some(5), Some(10)));
        let third = joined(page(&[11], 2, None), page(&[], 3, None), 2, true);
        assert_eq!(third, (vec![11], Some(5), None));
        let exactly = joined(page(&[10], 1, None), page(&[5], 1, None), 2, false);
        assert_eq!(exactly, (vec![5, 10], Some(2), None));
        let more_of_ours = joined(page(&[10, 11], 3, Some(11)), page(&[], 0, None), 2, false);
        assert_eq!(more_of_ours, (vec![10, 11], Some(3), Some(11)));
    }
}
