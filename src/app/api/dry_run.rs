//! A policy set tried on recorded calls, within the running border: on a thread of its own that gives way to all others, one trial at a time, and no longer than whoever
//! asked is there. Calls wait for none of it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::http::StatusCode;
use serde::Deserialize;
use tokio::sync::{Semaphore, oneshot};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::policy::{Given, loaded, off_the_loop, read};
use super::{Answered, Behind, Desk, limit, stopping};
use crate::adapters::api::Problem;
use crate::adapters::dns::{self, PeerResolver};
use crate::adapters::history::Chosen;
use crate::app::replay::report::Report;
use crate::app::replay::{self, DryRun, Records};
use crate::config::Settings;
use crate::policy::settings::PeerHost;

pub(super) fn routes() -> OpenApiRouter<Arc<Desk>> {
    OpenApiRouter::new().routes(routes!(dry_run))
}

/// Calls a dry run is about.
const CALLS: usize = 1000;
const MOST_CALLS: usize = 20_000;
/// Of those that change, so many are listed.
const LISTED: usize = 100;
const MOST_LISTED: usize = 1000;
/// Names of another set's peers are asked for so long.
const NAMES: Duration = Duration::from_secs(5);
/// Whoever finds another trial under way is told to come again after so many seconds: the longest takes about as long.
const AGAIN: u32 = 10;
/// How far the thread of a trial gives way to all others (setpriority(2)).
const NICE: i32 = 19;

/// One at a time.
#[derive(Clone)]
pub struct Trials(Arc<Semaphore>);

impl Default for Trials {
    fn default() -> Trials {
        Trials(Arc::new(Semaphore::new(1)))
    }
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Trial {
    /// As for `/v1/policy/validate`.
    files: Option<BTreeMap<String, String>>,
    folder: Option<String>,
    /// The newest so many recorded calls; 1000 where nothing is written.
    #[schema(minimum = 1, maximum = 20000)]
    last: Option<usize>,
    /// Begun then or later, milliseconds since 1970.
    since_ms: Option<i64>,
    /// So many of those that change are listed; 100 where nothing is written.
    #[schema(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
}

/// Which recorded calls a policy set would decide otherwise than the one in force, and why. Names of peers lead where the peer table, the records and DNS say.
///
/// One trial runs at a time; another gets 503 with Retry-After. It ends when its connection does.
#[utoipa::path(post, path = "/v1/policy/dry-run", tag = "policy", request_body = Trial, responses((status = 200, body = Report)))]
async fn dry_run(State(desk): Behind, body: Result<Json<Trial>, JsonRejection>) -> Answered<Report> {
    let Trial { files, folder, last, since_ms, limit: listed } = read(body)?;
    let (last, listed) = (limit(last, CALLS, MOST_CALLS)?, limit(listed, LISTED, MOST_LISTED)?);
    let store = desk.policy_sets.settings().history.as_ref().map(|history| history.path.clone());
    let detail = "this border keeps no calls to try a set on: its policy set has no store in [records] of border.toml";
    let store = store.ok_or_else(|| Problem::new(StatusCode::NOT_FOUND, detail))?;
    let detail = format!("another policy set is being tried on recorded calls; ask again in {AGAIN} s");
    let busy = |_| Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail).after(AGAIN);
    let turn = Arc::clone(&desk.trials.0).try_acquire_owned().map_err(busy)?;
    let of_candidate = Arc::clone(&desk);
    let (_, candidate) = off_the_loop(move || loaded(&of_candidate, Given { files, folder })).await?;
    let mut names = replay::names_in_force(&desk.resolver.tables().borrow());
    if candidate.policy.peers.iter().flat_map(|peer| &peer.hosts).any(|host| matches!(host, PeerHost::Name(name) if !names.knows(name))) {
        ask_dns(&candidate, &mut names).await;
    }
    let asker = Asker::default();
    let has_left = Arc::clone(&asker.0);
    let report = aside(move || {
        let in_force = desk.policy_sets.settings();
        let recording = Records::new(store, Chosen { last: Some(last as u64), since: since_ms }).until(has_left);
        let against = Some(String::from("what the set in force decides"));
        let run = DryRun { recording: &recording, candidate: &candidate, old: Some(&in_force), against, limit: listed };
        let report = run.run(names);
        drop(turn);
        report
    })?;
    let report = report.await.map_err(|_| stopping())?;
    report.map(Json).map_err(|why| Problem::new(StatusCode::SERVICE_UNAVAILABLE, why))
}

/// Whoever waits for the report; dropped with the connection.
#[derive(Default)]
struct Asker(Arc<AtomicBool>);

impl Drop for Asker {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// On a thread of its own that gets what time the others leave.
fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<oneshot::Receiver<T>, Problem> {
    let (done, waits) = oneshot::channel();
    let thread = std::thread::Builder::new().name("dry-run".into()).spawn(move || {
        // Of this thread alone, on Linux. Where it is not allowed, it takes its share as others do.
        let _ = rustix::process::setpriority_process(None, NICE);
        // Nobody may wait any more.
        drop(done.send(work()));
    });
    thread.map_err(|error| Problem::new(StatusCode::SERVICE_UNAVAILABLE, format!("no thread can be started: {error}")))?;
    Ok(waits)
}

/// As the set's own resolver would once it is in force; what does not answer in time is not known.
async fn ask_dns(candidate: &Settings, names: &mut replay::names::Names) {
    let settings = dns::Settings { limit: NAMES, timeout: candidate.dns.timeout.min(NAMES / 2), ..candidate.dns.clone() };
    if let Ok(resolver) = PeerResolver::start(settings, candidate.policy.clone(), |_| {}) {
        let _ = tokio::time::timeout(NAMES, resolver.settled()).await;
        names.learn_table(&resolver.tables().borrow());
    }
}
