//! Changes as they happen, as server-sent events (HTML Standard §9.2): what kind of thing has changed, so that whoever shows it asks for it again. Nothing of a
//! call is in them, so losing one loses nothing that cannot be asked for.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::Stream;
use futures_util::stream::unfold;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Behind, Desk};
use crate::signaling::fact::{Fact, FirewallEvent, What};

/// Who reads more slowly than this many changes come is told `lagged` instead.
const BEHIND: usize = 256;
const ALIVE: Duration = Duration::from_secs(15);

pub(super) fn routes() -> OpenApiRouter<Arc<Desk>> {
    OpenApiRouter::new().routes(routes!(events))
}

/// Cheap to clone: all clones are one.
#[derive(Clone)]
pub struct Changes(broadcast::Sender<&'static str>);

impl Default for Changes {
    fn default() -> Changes {
        Changes(broadcast::Sender::new(BEHIND))
    }
}

impl Changes {
    pub fn note(&self, fact: &Fact) {
        if self.0.receiver_count() > 0
            && let Some(kind) = kind(&fact.what)
        {
            // All may have left meanwhile.
            let _ = self.0.send(kind);
        }
    }
}

fn kind(what: &What) -> Option<&'static str> {
    match what {
        What::CallBegan { .. } | What::CallProgressed { .. } | What::CallAnswered | What::Held { .. } | What::CallEnded(_) | What::LegOpened { .. } => {
            Some("calls")
        }
        What::PeerName { .. } | What::PeerLiveness { .. } | What::PeersChanged { .. } | What::PeersShareAddress { .. } | What::PeersShareNoMore { .. } => {
            Some("peers")
        }
        What::Firewall(FirewallEvent::Banned(_) | FirewallEvent::Unbanned { .. } | FirewallEvent::InForce { .. } | FirewallEvent::NotInForce { .. }) => {
            Some("bans")
        }
        What::CertificatesChanged { .. } | What::CertificatesRefused { .. } | What::Crl { .. } | What::CertificateEnding(_) => Some("certificates"),
        What::PoliciesChanged { .. } => Some("policy"),
        What::Draining { .. } | What::Resumed | What::Drained => Some("drain"),
        What::Overloaded { .. } | What::Relieved { .. } => Some("limits"),
        _ => None,
    }
}

/// A stream of server-sent events, each named for what has changed: `calls`, `peers`, `bans`, `certificates`, `policy`, `drain`, `limits`, or `lagged`: some of these.
#[utoipa::path(get, path = "/v1/events", tag = "border", responses((status = 200, body = String, content_type = "text/event-stream")))]
async fn events(State(desk): Behind) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let changes = desk.changes.0.subscribe();
    let stream = unfold(changes, async |mut changes| {
        let kind = match changes.recv().await {
            Ok(kind) => kind,
            Err(RecvError::Lagged(_)) => "lagged",
            Err(RecvError::Closed) => return None,
        };
        Some((Ok(Event::default().event(kind).data("{}")), changes))
    });
    Sse::new(stream).keep_alive(KeepAlive::new().interval(ALIVE))
}
