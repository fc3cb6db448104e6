//! What operators see of the running border and ask of it over its control socket (`adapters/control`): the table of who may talk, certificates,
//! reload.

use std::sync::Arc;

use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};

use crate::adapters::control::{self, Done, Operator, Refused, Request, Show};
use crate::adapters::dns::PeerResolver;
use crate::adapters::tls::CredentialStore;
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
    credentials: Arc<CredentialStore>,
    orders: mpsc::Sender<Order>,
}

impl Desk {
    pub fn new(resolver: Arc<PeerResolver>, credentials: Arc<CredentialStore>) -> (Desk, mpsc::Receiver<Order>) {
        let (orders, received) = mpsc::channel(ORDERS);
        (Desk { resolver, credentials, orders }, received)
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
        let credentials = self.credentials.current();
        let own: Vec<Value> = credentials
            .certificates()
            .iter()
            .map(|certificate| json!({ "file": certificate.file, "names": certificate.names, "not_after": certificate.not_after }))
            .collect();
        json!({ "own": own })
    }
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
                Request::Rotate | Request::Ban { .. } | Request::Unban { .. } => Err(Refused { status: 501, detail: "not yet".into() }),
            }
        })
    }
}
