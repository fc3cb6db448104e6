//! Another process of this border, mostly of a newer version, asks for this one's place: the connection goes on in the protocol of `app/takeover`.

use std::os::unix::net::UnixStream as StdUnixStream;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::rejection::{ExtensionRejection, JsonRejection};
use axum::extract::{Extension, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};
use tokio::net::UnixStream;
use tokio::sync::oneshot;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Behind, Desk, Task};
use crate::adapters::api::{Operator, Problem, Via};

/// As it stands in the header Upgrade.
pub const PROTOCOL: &str = "portcullis-take-over";

pub(super) fn routes() -> OpenApiRouter<Arc<Desk>> {
    OpenApiRouter::new().routes(routes!(take_over))
}

/// Who asks, and for how long the calls of this process may go on.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TakeOver {
    /// Of the protocol after the answer.
    pub protocol: u32,
    /// The other process's version.
    pub version: String,
    /// After so long, calls that are still up here are ended by BYE; null: they end by themselves.
    #[schema(minimum = 1, maximum = 86_400)]
    pub release_after_seconds: Option<u64>,
}

/// What was asked, and the connection, as soon as it speaks the other protocol.
pub struct Asked {
    pub wanted: TakeOver,
    pub pid: Option<i32>,
    pub stream: oneshot::Receiver<StdUnixStream>,
}

impl Asked {
    pub fn release_after(&self) -> Option<Duration> {
        self.wanted.release_after_seconds.map(Duration::from_secs)
    }
}

/// Gives the listening sockets to another process of the same user, and the calls that are up time to end. Over the control socket only.
#[utoipa::path(post, path = "/v1/take-over", tag = "border", request_body = TakeOver, responses((status = 101, description = "The connection goes on as portcullis-take-over")))]
async fn take_over(
    State(desk): Behind,
    Extension(operator): Extension<Operator>,
    upgrade: Result<Extension<OnUpgrade>, ExtensionRejection>,
    headers: HeaderMap,
    body: Result<Json<TakeOver>, JsonRejection>,
) -> Result<(StatusCode, [(header::HeaderName, HeaderValue); 2]), Problem> {
    let Via::Socket { uid, pid } = operator.via else {
        return Err(Problem::new(StatusCode::FORBIDDEN, "sockets can be given over the control socket only: ask there"));
    };
    let ours = rustix::process::getuid().as_raw();
    if uid != ours {
        return Err(Problem::new(
            StatusCode::FORBIDDEN,
            format!("this border runs as uid {ours}, and its sockets go to no other: start the new process as that user"),
        ));
    }
    let Json(wanted) = body.map_err(|rejection| Problem::new(StatusCode::BAD_REQUEST, rejection.body_text()))?;
    let is_named = headers.get(header::UPGRADE).is_some_and(|protocol| protocol.as_bytes() == PROTOCOL.as_bytes());
    let Some(Extension(upgrade)) = upgrade.ok().filter(|_| is_named) else {
        return Err(Problem::new(StatusCode::UPGRADE_REQUIRED, format!("ask with the header Upgrade: {PROTOCOL}")));
    };
    let (give, stream) = oneshot::channel();
    desk.order(operator, Task::TakeOver(Asked { wanted, pid, stream })).await?;
    tokio::spawn(async move {
        let Ok(upgraded) = upgrade.await else { return };
        // Over this door it is nothing else, and nothing was sent ahead.
        let Ok(parts) = upgraded.downcast::<TokioIo<UnixStream>>() else { return };
        if let Ok(stream) = parts.io.into_inner().into_std() {
            let _ = give.send(stream);
        }
    });
    Ok((StatusCode::SWITCHING_PROTOCOLS, [(header::CONNECTION, HeaderValue::from_static("upgrade")), (header::UPGRADE, HeaderValue::from_static(PROTOCOL))]))
}
