//! Changes as they happen, as server-sent events (HTML Standard §9.2): what kind of thing has changed, so that whoever shows it asks for it again. Nothing of a
//! call is in them, so losing one loses nothing that cannot be asked for.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::Stream;
use futures_util::stream::unfold;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::time::sleep;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Behind, Desk};
use crate::adapters::api::Problem;
use crate::signaling::fact::{Fact, FirewallEvent, What};

/// Who reads more slowly than this many changes come is told `lagged` instead.
const BEHIND: usize = 4096;
/// Changes of one kind that come within this are told once: with many calls there are thousands in a second, and whoever shows them asks once.
const GATHER: Duration = Duration::from_millis(250);
const ALIVE: Duration = Duration::from_secs(15);
/// Streams at once: each keeps one of a door's connections, and half of those are left to questions.
const STREAMS: usize = 32;
/// Whoever finds no place is told to come again after so many seconds.
const AGAIN: u32 = 15;

pub(super) fn routes() -> OpenApiRouter<Arc<Desk>> {
    OpenApiRouter::new().routes(routes!(events))
}

/// Something has become of calls.
pub const CALLS: &str = "calls";

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
            self.tell(kind);
        }
    }

    pub fn tell(&self, kind: &'static str) {
        // All may have left meanwhile.
        let _ = self.0.send(kind);
    }
}

fn kind(what: &What) -> Option<&'static str> {
    match what {
        What::CallBegan { .. } | What::CallProgressed { .. } | What::CallAnswered | What::Held { .. } | What::CallEnded(_) | What::LegOpened { .. } => {
            Some(CALLS)
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

/// The first and what comes soon after it, each kind once. `None`: there will be none.
async fn gathered(changes: &mut broadcast::Receiver<&'static str>) -> Option<Vec<&'static str>> {
    let first = match changes.recv().await {
        Ok(kind) => kind,
        Err(RecvError::Lagged(_)) => "lagged",
        Err(RecvError::Closed) => return None,
    };
    let mut kinds = vec![first];
    sleep(GATHER).await;
    loop {
        let kind = match changes.try_recv() {
            Ok(kind) => kind,
            Err(TryRecvError::Lagged(_)) => "lagged",
            Err(TryRecvError::Empty | TryRecvError::Closed) => return Some(kinds),
        };
        if !kinds.contains(&kind) {
            kinds.push(kind);
        }
    }
}

/// A stream of server-sent events, each named for what has changed: `calls`, `peers`, `bans`, `certificates`, `policy`, `drain`, `limits`, or `lagged`: some of these.
#[utoipa::path(get, path = "/v1/events", tag = "border", responses((status = 200, body = String, content_type = "text/event-stream")))]
async fn events(State(desk): Behind) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Problem> {
    if desk.changes.0.receiver_count() >= STREAMS {
        let detail = format!("{STREAMS} others listen for changes already; close pages nobody looks at, or ask again in {AGAIN} s");
        return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail).after(AGAIN));
    }
    let stream = unfold((desk.changes.0.subscribe(), Vec::new()), async |(mut changes, mut kinds)| {
        if kinds.is_empty() {
            kinds = gathered(&mut changes).await?;
        }
        let kind = kinds.pop()?;
        Some((Ok(Event::default().event(kind).data("{}")), (changes, kinds)))
    });
    Ok(Sse::new(stream).keep_alive(KeepAlive::new().interval(ALIVE)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_thousand_changes_of_a_kind_are_told_once() {
        let changes = Changes::default();
        let mut listening = changes.0.subscribe();
        for _ in 0..1000 {
            changes.0.send("calls").unwrap();
        }
        changes.0.send("bans").unwrap();
        assert_eq!(gathered(&mut listening).await, Some(vec!["calls", "bans"]));
        changes.0.send("peers").unwrap();
        assert_eq!(gathered(&mut listening).await, Some(vec!["peers"]));
        for _ in 0..5000 {
            changes.0.send("calls").unwrap();
        }
        assert_eq!(gathered(&mut listening).await, Some(vec!["lagged", "calls"]), "some of these were lost");
        drop(changes);
        assert_eq!(gathered(&mut listening).await, None);
    }
}
