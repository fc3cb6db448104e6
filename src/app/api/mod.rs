//! What operators can see of the running border and ask of it over HTTP (`adapters/api` is the door): one file per noun, each with its routes, its answers and
//! how they are made. The OpenAPI document is made of the same declarations and served at `/v1/openapi.json`.

mod account;
pub mod calls;
mod certificates;
mod drain;
mod dry_run;
mod elsewhere;
mod events;
mod explain;
mod firewall;
mod identities;
mod ladder;
mod limits;
mod listeners;
mod media;
mod missed_calls;
mod page;
mod peers;
mod policy;
mod reasons;
mod records;
mod status;
pub mod takeover;
mod trace;

use std::sync::{Arc, Weak};

use axum::extract::State;
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use tokio::sync::{mpsc, oneshot};
use utoipa::openapi::{Content, OpenApi, Ref, RefOr, ResponseBuilder};
use utoipa::{OpenApi as _, ToSchema};
use utoipa_axum::router::OpenApiRouter;

use crate::adapters::api::{Audit, Operator, Problem, Role};
use crate::adapters::clock::Clock;
use crate::adapters::dns::PeerResolver;
use crate::adapters::driver::Input;
use crate::adapters::media::MediaPlane;
use crate::adapters::net::Network;
use crate::adapters::nft::Firewall;
use crate::adapters::telemetry::{Anchor, Telemetry};
use crate::app::missed_calls::MissedCalls;
use crate::app::outlets::Outlets;
use crate::app::policy_sets::{Adoption, PolicySets};
use crate::app::rotation::Rotation;
use crate::app::takeover::Between;
use crate::signaling::companion::Companion;

pub use account::asked;
pub use firewall::network;
pub use identities::Shown;
pub use limits::Limits;
pub use peers::Watched;

/// Orders that may wait; operators are few.
const ORDERS: usize = 16;

/// Something only the border's owner can do.
pub struct Order {
    pub operator: Operator,
    pub task: Task,
    /// Dropped: the border is stopping.
    pub reply: oneshot::Sender<Outcome>,
}

/// What was told, or why it was refused.
pub type Outcome = Result<Vec<String>, String>;

pub enum Task {
    Reload,
    /// Another policy set.
    Adopt(Box<Adoption>),
    /// Another process of this border asks for its place.
    TakeOver(takeover::Asked),
}

/// The running border, as what answers operators has hold of it. Nothing here keeps alive what `Border::stop` ends.
pub struct Desk {
    pub clock: Clock,
    pub anchor: Anchor,
    pub resolver: Arc<PeerResolver>,
    pub rotation: Arc<Rotation>,
    pub firewall: Firewall,
    pub watched: Watched,
    pub calls: calls::Calls,
    pub media: Weak<MediaPlane>,
    pub network: Weak<Network>,
    pub telemetry: Arc<Telemetry>,
    /// `None`: nobody is told of missed calls.
    pub missed_calls: Option<MissedCalls>,
    pub commands: mpsc::UnboundedSender<Input>,
    pub standing: Arc<status::Standing>,
    pub changes: Changes,
    pub limits: Arc<Limits>,
    pub outlets: Outlets,
    pub policy_sets: Arc<PolicySets>,
    pub trials: Trials,
    pub audit: Audit,
    pub orders: mpsc::Sender<Order>,
    pub between: Arc<Between>,
}

pub use dry_run::Trials;
pub use events::{CALLS, Changes};
pub use status::{RefusedReload, Standing};

/// The border, in a handler.
type Behind = State<Arc<Desk>>;
/// What a handler that can refuse gives.
type Answered<T> = Result<Json<T>, Problem>;

impl Desk {
    /// The sending end of orders, for a desk, and the one they come out at.
    pub fn orders() -> (mpsc::Sender<Order>, mpsc::Receiver<Order>) {
        mpsc::channel(ORDERS)
    }

    async fn order(&self, operator: Operator, task: Task) -> Result<Told, Problem> {
        let (reply, answer) = oneshot::channel();
        self.orders.send(Order { operator, task, reply }).await.map_err(|_| stopping())?;
        match answer.await.map_err(|_| stopping())? {
            Ok(told) => Ok(Told { told }),
            Err(detail) => Err(Problem::new(StatusCode::CONFLICT, detail)),
        }
    }
}

/// How many may be asked for.
fn limit(asked: Option<usize>, otherwise: usize, most: usize) -> Result<usize, Problem> {
    match asked {
        None => Ok(otherwise),
        Some(limit) if (1..=most).contains(&limit) => Ok(limit),
        Some(limit) => Err(Problem::new(StatusCode::BAD_REQUEST, format!("limit={limit}: write a number from 1 to {most}"))),
    }
}

fn stopping() -> Problem {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "the border is stopping")
}

/// What an operator is to know of what was done.
#[derive(serde::Serialize, ToSchema)]
struct Told {
    told: Vec<String>,
}

#[derive(utoipa::OpenApi)]
#[openapi(
    info(title = "Portcullis", description = "What operators see of a running border and ask of it. Whoever reads needs the role read, whoever changes something the role operate."),
    components(schemas(Problem)),
    tags(
        (name = "border", description = "The border as a whole"),
        (name = "calls", description = "Calls that are up, and their media"),
        (name = "trust", description = "Who may talk"),
        (name = "policy", description = "By which rules")
    )
)]
struct Document;

/// What a request needs: looking is reading, and so is a question that changes nothing but has a body.
pub fn needs(method: &Method, path: &str) -> Role {
    if method.is_safe() || path == "/v1/explain" { Role::Read } else { Role::Operate }
}

/// Every route, and the document that describes them.
pub fn router(desk: Arc<Desk>) -> Router {
    let (router, document) = described();
    let document = Arc::new(document);
    let served = axum::routing::get(move || {
        let document = Arc::clone(&document);
        async move { Json(OpenApi::clone(&document)) }
    });
    let left = axum::middleware::from_fn_with_state(Arc::clone(&desk), not_here_any_more);
    let elsewhere = axum::middleware::from_fn_with_state(Arc::clone(&desk), elsewhere::elsewhere);
    let router = router.merge(page::routes()).with_state(desk).route("/v1/openapi.json", served).layer(elsewhere).layer(left);
    router.fallback(nothing_here).method_not_allowed_fallback(other_method)
}

/// A process that has left its place keeps its calls and decides nothing else any more: what is changed here would end with it, unseen.
async fn not_here_any_more(State(desk): Behind, request: axum::extract::Request, next: axum::middleware::Next) -> Response {
    let (method, path) = (request.method(), request.uri().path());
    let is_of_calls = path.starts_with("/v1/calls/") || (method, path) == (&Method::POST, "/v1/drain");
    if desk.between.role() == Some(Companion::Successor) && needs(method, path) == Role::Operate && !is_of_calls {
        return Problem::new(StatusCode::CONFLICT, "another process has taken over: ask that one, at the socket and address this one had").into_response();
    }
    next.run(request).await
}

/// The document alone, as `/v1/openapi.json` gives it.
pub fn document() -> OpenApi {
    described().1
}

fn described() -> (Router<Arc<Desk>>, OpenApi) {
    let parts = [
        status::routes(),
        limits::routes(),
        listeners::routes(),
        drain::routes(),
        takeover::routes(),
        events::routes(),
        calls::routes(),
        ladder::routes(),
        trace::routes(),
        media::routes(),
        missed_calls::routes(),
        peers::routes(),
        firewall::routes(),
        certificates::routes(),
        policy::routes(),
        dry_run::routes(),
        explain::routes(),
        reasons::routes(),
        account::routes(),
        records::routes(),
    ];
    let whole = parts.into_iter().fold(OpenApiRouter::with_openapi(Document::openapi()), OpenApiRouter::merge);
    let (router, mut document) = whole.split_for_parts();
    refusals(&mut document);
    (router, document)
}

/// Any request may be refused, and always in the same form.
fn refusals(document: &mut OpenApi) {
    for item in document.paths.paths.values_mut() {
        for operation in [&mut item.get, &mut item.post, &mut item.put, &mut item.delete].into_iter().flatten() {
            let content = Content::new(Some(Ref::from_schema_name("Problem")));
            let refusal = ResponseBuilder::new().description("Refused, and why").content("application/problem+json", content).build();
            operation.responses.responses.insert("default".into(), RefOr::T(refusal));
        }
    }
}

async fn nothing_here() -> Response {
    Problem::new(StatusCode::NOT_FOUND, "there is no such thing here; /v1/openapi.json lists what there is").into_response()
}

async fn other_method() -> Response {
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "this cannot be done with it; /v1/openapi.json lists what can").into_response()
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    fn references<'d>(value: &'d Value, found: &mut Vec<&'d str>) {
        match value {
            Value::Object(fields) => fields.iter().for_each(|(key, value)| match value.as_str().filter(|_| key == "$ref") {
                Some(reference) => found.push(reference),
                None => references(value, found),
            }),
            Value::Array(values) => values.iter().for_each(|value| references(value, found)),
            _ => {}
        }
    }

    #[test]
    fn whatever_the_document_refers_to_is_in_it() {
        let document = serde_json::to_value(super::document()).unwrap();
        let mut found = Vec::new();
        references(&document, &mut found);
        assert!(found.len() > 20, "{found:?}");
        let missing: Vec<_> = found.into_iter().filter(|reference| document.pointer(reference.trim_start_matches('#')).is_none()).collect();
        assert!(missing.is_empty(), "{missing:?}");
    }
}
