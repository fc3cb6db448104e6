//! What operators see of the running border and ask of it over its control socket (`adapters/control`): the table of who may talk, certificates,
//! reload.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};

use crate::adapters::control::{self, Done, Operator, Refused, Request, Show};
use crate::adapters::dns::PeerResolver;
use crate::adapters::tls::Lifetime;
use crate::app::rotation::Rotation;
use crate::policy::access_control::kind_name;
use crate::policy::peer::PeerTable;
use crate::policy::security_mode::mode_name;
use crate::policy::settings::{Peer, PeerHost};

/// Orders that may wait; operators are few.
const ORDERS: usize = 16;

/// Something only the border's owner can do.
pub struct Order {
    pub operator: Operator,
    pub task: Task,
    /// What was told, or why it was refused; dropped: the border is stopping.
    pub reply: oneshot::Sender<Result<Vec<String>, String>>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Task {
    Reload,
}

pub struct Desk {
    resolver: Arc<PeerResolver>,
    rotation: Arc<Rotation>,
    orders: mpsc::Sender<Order>,
}

impl Desk {
    pub fn new(resolver: Arc<PeerResolver>, rotation: Arc<Rotation>) -> (Desk, mpsc::Receiver<Order>) {
        let (orders, received) = mpsc::channel(ORDERS);
        (Desk { resolver, rotation, orders }, received)
    }

    async fn order(&self, operator: Operator, task: Task) -> Result<Value, Refused> {
        let stopping = || Refused { status: 503, detail: "the border is stopping".into() };
        let (reply, answer) = oneshot::channel();
        self.orders.send(Order { operator, task, reply }).await.map_err(|_| stopping())?;
        match answer.await.map_err(|_| stopping())? {
            Ok(told) => Ok(json!({ "told": told })),
            Err(detail) => Err(Refused { status: 409, detail }),
        }
    }

    fn peers(&self) -> Value {
        let tables = self.resolver.tables();
        let table = tables.borrow().clone();
        let peers: Vec<Value> = table.peers().map(|peer| describe(&table, peer)).collect();
        json!({ "table": table.number, "peers": peers })
    }

    fn certificates(&self) -> Value {
        let store = self.rotation.store();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
        let held: Vec<Value> = store.current().lifetimes().iter().map(|held| certificate(held, now)).collect();
        json!({ "generation": store.generation(), "held": held })
    }

    /// Off the event loop: a disk may be slow.
    async fn rotate(&self, operator: Operator) -> Result<Value, Refused> {
        tracing::info!(uid = operator.uid, pid = operator.pid, "an operator asks for the certificates to be loaded anew");
        let rotation = Arc::clone(&self.rotation);
        let outcome = tokio::task::spawn_blocking(move || rotation.rotate()).await;
        match outcome.map_err(|error| Refused { status: 500, detail: error.to_string() })? {
            Ok(told) => Ok(json!({ "told": told, "generation": self.rotation.store().generation() })),
            Err(error) => {
                tracing::error!("certificates not loaded, the old ones stay in force: {error}");
                Err(Refused { status: 409, detail: error.to_string() })
            }
        }
    }
}

fn certificate(held: &Lifetime, now: u64) -> Value {
    json!({
        "kind": held.kind,
        "file": held.file,
        "name": held.name,
        "not_before": held.not_before,
        "not_after": held.not_after,
        "days_left": (held.not_after as i64 - now as i64).div_euclid(86_400),
    })
}

fn describe(table: &PeerTable, peer: &Peer) -> Value {
    let hosts: Vec<String> = peer
        .hosts
        .iter()
        .map(|host| match host {
            PeerHost::Address(address) => address.to_string(),
            PeerHost::Network(net) => net.to_string(),
            PeerHost::Name(name) => String::from(&**name),
        })
        .collect();
    json!({
        "name": peer.name,
        "kind": kind_name(peer.kind),
        "status": peer.status,
        "transport": peer.transport.uri_token(),
        "port": peer.port,
        "mode": mode_name(peer.mode),
        "hosts": hosts,
        "certificate_names": peer.tls_names,
        "addresses": table.addresses(&peer.name),
    })
}

impl control::Desk for Desk {
    fn show(&self, what: Show) -> Value {
        match what {
            Show::Peers => self.peers(),
            Show::Certificates => self.certificates(),
            Show::Bans | Show::Firewall => json!({}),
        }
    }

    fn request(&self, operator: Operator, request: Request) -> Done<'_> {
        Box::pin(async move {
            match request {
                Request::Reload => self.order(operator, Task::Reload).await,
                Request::Rotate => self.rotate(operator).await,
                Request::Ban { .. } | Request::Unban { .. } => Err(Refused { status: 501, detail: "not yet".into() }),
            }
        })
    }
}
