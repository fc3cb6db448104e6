//! Bans, and what the kernel enforces.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Extension, Path, State};
use axum::http::StatusCode;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Answered, Behind, Desk};
use crate::adapters::api::{Operator, Problem};
use crate::adapters::nft::{BanStatus, Status};

pub(super) fn routes() -> OpenApiRouter<Arc<Desk>> {
    OpenApiRouter::new().routes(routes!(firewall)).routes(routes!(bans, ban)).routes(routes!(unban))
}

/// What the kernel enforces, and what it has dropped.
#[utoipa::path(get, path = "/v1/firewall", tag = "trust", responses((status = 200, body = Status)))]
async fn firewall(State(desk): Behind) -> Json<Status> {
    Json(desk.firewall.status())
}

#[derive(Serialize, ToSchema)]
struct Bans {
    bans: Vec<BanStatus>,
}

/// Who is shut out, why, by whom and for how long.
#[utoipa::path(get, path = "/v1/bans", tag = "trust", responses((status = 200, body = Bans)))]
async fn bans(State(desk): Behind) -> Json<Bans> {
    Json(Bans { bans: desk.firewall.bans() })
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Ban {
    /// An address, or a network with its prefix length; bits beyond the prefix are dropped.
    #[schema(example = "203.0.113.0/24")]
    source: String,
    #[schema(minimum = 1, maximum = 31_622_400)]
    seconds: u64,
    /// One line, for whoever looks at the list later.
    #[schema(max_length = 200)]
    reason: String,
}

/// A ban nobody would live to see end is a mistyped one.
const LONGEST_BAN: u64 = 366 * 86_400;
const LONGEST_REASON: usize = 200;

/// Shuts a source out. A trusted peer's address cannot be banned.
#[utoipa::path(post, path = "/v1/bans", tag = "trust", request_body = Ban, responses((status = 200, body = BanStatus)))]
async fn ban(State(desk): Behind, Extension(operator): Extension<Operator>, body: Result<Json<Ban>, JsonRejection>) -> Answered<BanStatus> {
    let wrong = |detail: String| Problem::new(StatusCode::BAD_REQUEST, detail);
    let Json(Ban { source, seconds, reason }) = body.map_err(|rejection| wrong(rejection.body_text()))?;
    let net = network(&source).ok_or_else(|| wrong(format!("\"{source}\" is neither an address nor a network")))?;
    if seconds == 0 || seconds > LONGEST_BAN {
        return Err(wrong("a ban lasts from one second to 366 days".into()));
    }
    if reason.chars().count() > LONGEST_REASON || reason.chars().any(char::is_control) {
        return Err(wrong("a reason is one line of at most 200 characters".into()));
    }
    let banned = desk.firewall.ban(net, &reason, &operator.name, Some(Duration::from_secs(seconds))).await;
    banned.map(Json).map_err(|refusal| Problem::new(StatusCode::CONFLICT, refusal.to_string()))
}

#[derive(Serialize, ToSchema)]
struct Lifted {
    /// The bans lifted.
    lifted: Vec<BanStatus>,
}

/// Lifts a ban.
#[utoipa::path(delete, path = "/v1/bans/{address}/{length}", tag = "trust", params(("address" = String, Path), ("length" = String, Path)), responses((status = 200, body = Lifted)))]
async fn unban(State(desk): Behind, Extension(operator): Extension<Operator>, Path((address, length)): Path<(String, String)>) -> Answered<Lifted> {
    let net = network(&format!("{address}/{length}"));
    let net =
        net.ok_or_else(|| Problem::new(StatusCode::NOT_FOUND, "no such source is banned: write the address and the prefix length as the list has them"))?;
    let lifted = desk.firewall.unban(net, &operator.name).await;
    lifted.map(|lifted| Json(Lifted { lifted })).map_err(|refusal| Problem::new(StatusCode::NOT_FOUND, refusal.to_string()))
}

/// An address alone is the network of itself; bits beyond the prefix are dropped.
pub fn network(text: &str) -> Option<IpNet> {
    let address = || text.parse::<IpAddr>().ok().map(|address| IpNet::from(address.to_canonical()));
    address().or_else(|| text.parse::<IpNet>().ok().map(|net| net.trunc()))
}
