//! What operators see of the running border and ask of it over its control socket (`adapters/control`): the table of who may talk, the media of calls,
//! bans, certificates, reload.

mod media;
mod peers;

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ipnet::IpNet;
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};

use crate::adapters::clock::Clock;
use crate::adapters::control::{self, Done, Operator, Refused, Request, Show};
use crate::adapters::dns::PeerResolver;
use crate::adapters::media::MediaPlane;
use crate::adapters::nft::Firewall;
use crate::adapters::telemetry::Anchor;
use crate::adapters::tls::Lifetime;
use crate::app::missed_calls::MissedCalls;
use crate::app::rotation::Rotation;
use crate::policy::liveness::Board;
use crate::signaling::fact::{Fact, What};

pub use media::Calls;

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

/// What the core has told of its peers' liveness, for whoever looks.
#[derive(Clone, Default)]
pub struct Watched(Arc<Mutex<Board>>);

impl Watched {
    pub fn note(&self, fact: &Fact) {
        if let What::PeerLiveness { peer, address, state, .. } = &fact.what {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).set(peer, *address, *state);
        }
    }
}

pub struct Desk {
    pub clock: Clock,
    pub resolver: Arc<PeerResolver>,
    pub rotation: Arc<Rotation>,
    pub firewall: Firewall,
    pub watched: Watched,
    pub calls: Calls,
    /// Not kept alive by the desk.
    pub media: Weak<MediaPlane>,
    pub anchor: Anchor,
    /// `None`: nobody is told of missed calls.
    pub missed_calls: Option<MissedCalls>,
    pub orders: mpsc::Sender<Order>,
}

impl Desk {
    /// The sending end of orders, for a desk, and the one they come out at.
    pub fn orders() -> (mpsc::Sender<Order>, mpsc::Receiver<Order>) {
        mpsc::channel(ORDERS)
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
        let board = self.watched.0.lock().unwrap_or_else(PoisonError::into_inner);
        peers::Scene { table: &table, names: &self.resolver.names(), board: &board, now: self.clock.now() }.describe()
    }

    /// With everything that has an end in one list, by fingerprint: what a rotation job compares its files with.
    fn certificates(&self) -> Value {
        let store = self.rotation.store();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
        let held: Vec<Value> = store.current().lifetimes().iter().map(|held| certificate(held, now)).collect();
        let mut status = json!(store.status());
        status["held"] = held.into();
        status
    }

    async fn ban(&self, operator: Operator, net: IpNet, length: Duration, why: &str) -> Result<Value, Refused> {
        let banned = self.firewall.ban(net, why, &user(operator), Some(length)).await;
        banned.map(|ban| json!(ban)).map_err(|refusal| Refused { status: 409, detail: refusal.to_string() })
    }

    async fn unban(&self, operator: Operator, net: IpNet) -> Result<Value, Refused> {
        let lifted = self.firewall.unban(net, &user(operator)).await;
        lifted.map(|lifted| json!({ "lifted": lifted })).map_err(|refusal| Refused { status: 404, detail: refusal.to_string() })
    }

    fn missed_calls(&self) -> Result<&MissedCalls, Refused> {
        let detail = "this border tells nobody of missed calls: its policy set has no [missed_calls] in branch.toml";
        self.missed_calls.as_ref().ok_or_else(|| Refused { status: 404, detail: detail.into() })
    }

    async fn retry_missed_calls(&self, operator: Operator) -> Result<Value, Refused> {
        tracing::info!(uid = operator.uid, pid = operator.pid, "an operator has parked missed calls delivered again");
        let queued = self.missed_calls()?.unpark().await;
        queued.map(|queued| json!({ "queued": queued })).map_err(|error| Refused { status: 409, detail: error.to_string() })
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
        "fingerprint": held.fingerprint.map(|octets| octets.iter().map(|octet| format!("{octet:02X}")).collect::<Vec<_>>().join(":")),
        "days_left": (held.not_after as i64 - now as i64).div_euclid(86_400),
    })
}

/// The operator's name, as this machine's list of users has it.
fn user(operator: Operator) -> String {
    let known = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let name = known.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (name, uid) = (fields.next()?, fields.nth(1)?);
        (uid.parse() == Ok(operator.uid)).then(|| String::from(name))
    });
    name.unwrap_or_else(|| format!("uid {}", operator.uid))
}

impl control::Desk for Desk {
    fn show(&self, what: Show) -> Value {
        match what {
            Show::Peers => self.peers(),
            Show::Certificates => self.certificates(),
            Show::Bans => json!({ "bans": self.firewall.bans() }),
            Show::Firewall => json!(self.firewall.status()),
        }
    }

    fn request(&self, operator: Operator, request: Request) -> Done<'_> {
        Box::pin(async move {
            match request {
                Request::Reload => self.order(operator, Task::Reload).await,
                Request::Rotate => self.rotate(operator).await,
                Request::Ban { source, duration, reason } => self.ban(operator, source, duration, &reason).await,
                Request::Unban { source } => self.unban(operator, source).await,
                Request::Media { call } => self.media(call).await,
                Request::MissedCalls => Ok(self.missed_calls()?.describe().await),
                Request::RetryMissedCalls => self.retry_missed_calls(operator).await,
            }
        })
    }
}
