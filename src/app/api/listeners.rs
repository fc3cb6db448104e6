//! Where the border listens for SIP, and what it does not listen on any more but still uses for calls that are up.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Behind, Desk};
use crate::adapters::net::Standing;

pub(super) fn routes() -> OpenApiRouter<Arc<Desk>> {
    OpenApiRouter::new().routes(routes!(listeners))
}

#[derive(Serialize, ToSchema)]
struct Listeners {
    listeners: Vec<Listener>,
}

#[derive(Serialize, ToSchema)]
struct Listener {
    #[schema(value_type = String)]
    name: Arc<str>,
    /// `udp`, `tcp` or `tls`.
    transport: &'static str,
    /// Where it really listens.
    #[schema(value_type = String)]
    address: SocketAddr,
    /// What stands in Via and Contact; null of one that was taken out.
    #[schema(value_type = Option<String>)]
    advertised: Option<Arc<str>>,
    state: ListenerState,
    /// Open on it, made by peers or by us; over UDP there are none.
    connections: usize,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum ListenerState {
    Open,
    /// A reload took it out: nothing new begins there, and it is closed when nothing goes over it any more.
    Leaving,
}

/// Where the border listens for SIP, and what a reload took out and calls still use.
#[utoipa::path(get, path = "/v1/listeners", tag = "border", responses((status = 200, body = Listeners)))]
async fn listeners(State(desk): Behind) -> Json<Listeners> {
    let settings = desk.policy_sets.settings();
    let told = |standing: Standing| {
        let written = settings.signaling.listeners.iter().find(|listener| listener.id == standing.id && !standing.leaving);
        Listener {
            name: standing.name,
            transport: standing.transport.uri_token(),
            address: standing.address,
            advertised: written.map(|listener| Arc::clone(&listener.advertised)),
            state: if standing.leaving { ListenerState::Leaving } else { ListenerState::Open },
            connections: standing.connections,
        }
    };
    let all = desk.network.upgrade().map(|network| network.listeners()).unwrap_or_default();
    Json(Listeners { listeners: all.into_iter().map(told).collect() })
}
