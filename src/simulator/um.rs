//! The simulated Unified Messaging side: call router, UM service, workers, by the profile that is played.
//!
//! TCP or mutual TLS only; a challenge is never sent. Every role looks at an INVITE by [`Rules`]; what fits is redirected, and by the worker answered
//! ([`worker`](crate::simulator::worker)). A refusal carries ms-diagnostics, which a border must keep to itself.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;

use crate::policy::settings::SecurityMode;
use crate::simulator::connection::{Connection, Identity};
use crate::simulator::log::Log;
use crate::simulator::profile::Profile;
use crate::simulator::rules::Rules;
use crate::simulator::voice::Heard;
use crate::simulator::worker::Worker;

/// Connections served at a time; more wait in the listener's queue.
const CONNECTIONS: usize = 256;

/// What UM does with a call it has taken, besides greeting and recording.
#[derive(Clone, Debug, Default)]
pub struct Conduct {
    /// It hangs up when it has greeted and recorded this long; `None`: the caller does.
    pub hangs_up: Option<Duration>,
    /// It refers the caller there (a URI) this long after its answer.
    pub refers: Option<(Duration, String)>,
    /// It refers the caller there when this key is pressed.
    pub refers_on: Option<(char, String)>,
    /// The partner fax server's URI: faxes are put on hold and referred there.
    pub fax_server: Option<String>,
    /// How often it sends RTCP; `None`: never.
    pub rtcp: Option<Duration>,
    /// Calls up at a time, as MaxCallsAllowed; more are refused.
    pub max_calls: Option<usize>,
}

#[derive(Clone)]
pub struct Settings {
    /// Call router, UM service and worker; port 0 lets the system choose. What the profile has no use for is not opened.
    pub router: SocketAddr,
    pub service: SocketAddr,
    pub worker: SocketAddr,
    /// The other worker, and how often a new one takes over; calls that are up stay where they are.
    pub recycled: Option<(SocketAddr, Duration)>,
    /// Of call router, UM service and worker; `None`: TCP.
    pub identities: Option<[Identity; 3]>,
    pub media: IpAddr,
    /// The greeting's tone and the caller's, hertz.
    pub greeting: f64,
    pub listens: f64,
    /// How long it rings before UM answers.
    pub ring: Duration,
    pub rules: Rules,
    pub conduct: Conduct,
    pub log: Log,
}

impl Settings {
    /// An Exchange 2016 that listens on ports the system chooses: over TLS in mode Secured, over TCP unsecured.
    pub fn new(router: SocketAddr, service: SocketAddr, worker: SocketAddr, identities: Option<[Identity; 3]>) -> Settings {
        let mode = if identities.is_some() { SecurityMode::Secured } else { SecurityMode::Unsecured };
        Settings {
            router,
            service,
            worker,
            recycled: None,
            identities,
            media: worker.ip(),
            greeting: 1000.0,
            listens: 440.0,
            ring: Duration::ZERO,
            rules: Rules::new(Profile::Exchange2016, mode),
            conduct: Conduct::default(),
            log: Log::default(),
        }
    }
}

/// One call as the worker saw it, final once `ended`.
#[derive(Clone, Debug, Default)]
pub struct Taken {
    pub call_id: String,
    pub called: String,
    pub caller: String,
    pub diversion: Option<String>,
    /// What UM made of it.
    pub service: String,
    pub heard: Heard,
    pub protected: bool,
    /// Master key and salt UM sent with, and those it was offered.
    pub key: Option<Vec<u8>>,
    pub offered_key: Option<Vec<u8>>,
    /// What became of the REFER: the last status of its NOTIFYs.
    pub referred: Option<u16>,
    pub ended: bool,
}

/// A running UM. Dropping it closes everything.
pub struct Um {
    pub router: SocketAddr,
    pub service: SocketAddr,
    pub worker: SocketAddr,
    /// The worker that recycling brings, where it is asked for.
    pub other_worker: Option<SocketAddr>,
    present: watch::Sender<SocketAddr>,
    taken: watch::Receiver<Vec<Taken>>,
    tasks: Vec<JoinHandle<()>>,
}

impl Drop for Um {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

/// What a listener does with an INVITE that fits.
#[derive(Clone)]
pub(crate) enum Role {
    /// Answers it with a redirect to what this says at the time.
    Redirects(watch::Receiver<SocketAddr>),
    Works,
}

#[derive(Clone)]
pub(crate) struct Server {
    pub name: &'static str,
    pub role: Role,
    pub identity: Option<Identity>,
    pub settings: Arc<Settings>,
    pub taken: watch::Sender<Vec<Taken>>,
    places: Arc<Semaphore>,
}

impl Um {
    pub async fn start(settings: Settings) -> io::Result<Um> {
        let settings = Arc::new(settings);
        let (taken_in, taken) = watch::channel(Vec::new());
        let redirects = settings.rules.profile.redirects();
        let router = TcpListener::bind(settings.router).await?;
        let service = if redirects > 1 { Some(TcpListener::bind(settings.service).await?) } else { None };
        let worker = if redirects > 0 { Some(TcpListener::bind(settings.worker).await?) } else { None };
        let other = match &settings.recycled {
            Some((address, _)) if redirects > 0 => Some(TcpListener::bind(address).await?),
            _ => None,
        };
        let at = |listener: &Option<TcpListener>| listener.as_ref().map(TcpListener::local_addr).transpose();
        let router_at = router.local_addr()?;
        let worker_at = at(&worker)?.unwrap_or(router_at);
        let (service_at, other_at) = (at(&service)?, at(&other)?);
        let (present, present_out) = watch::channel(worker_at);
        let (_, service_out) = watch::channel(service_at.unwrap_or(worker_at));
        let first = match redirects {
            0 => Role::Works,
            1 => Role::Redirects(present_out.clone()),
            _ => Role::Redirects(service_out),
        };
        let places = Arc::new(Semaphore::new(CONNECTIONS));
        let identity = |index: usize| settings.identities.as_ref().and_then(|identities| identities.get(index).cloned());
        let roles = [
            (Some(router), "call router", first, identity(0)),
            (service, "UM service", Role::Redirects(present_out), identity(1)),
            (worker, "worker", Role::Works, identity(2)),
            (other, "other worker", Role::Works, identity(2)),
        ];
        let mut tasks = Vec::new();
        for (listener, name, role, identity) in roles {
            let Some(listener) = listener else { continue };
            let server = Server { name, role, identity, settings: settings.clone(), taken: taken_in.clone(), places: places.clone() };
            tasks.push(tokio::spawn(listen(listener, server)));
        }
        if let (Some((_, period)), Some(other)) = (settings.recycled, other_at) {
            tasks.push(tokio::spawn(recycle(present.clone(), [worker_at, other], period, settings.log.clone())));
        }
        Ok(Um { router: router_at, service: service_at.unwrap_or(worker_at), worker: worker_at, other_worker: other_at, present, taken, tasks })
    }

    /// Calls the workers took, oldest first.
    pub fn taken(&self) -> Vec<Taken> {
        self.taken.borrow().clone()
    }

    /// New calls are redirected there from now on.
    pub fn redirect_to(&self, worker: SocketAddr) {
        self.present.send_replace(worker);
    }

    /// Waits until the newest call satisfies `wanted`, at most `limit`.
    pub async fn until(&self, limit: Duration, wanted: impl Fn(&Taken) -> bool) -> Option<Taken> {
        let mut taken = self.taken.clone();
        let _ = tokio::time::timeout(limit, taken.wait_for(|calls| calls.last().is_some_and(&wanted))).await;
        self.taken.borrow().last().cloned()
    }
}

/// A second worker is started on the other port, new calls go there, the old one drains.
async fn recycle(present: watch::Sender<SocketAddr>, workers: [SocketAddr; 2], period: Duration, log: Log) {
    let mut turn = 0usize;
    loop {
        tokio::time::sleep(period).await;
        turn ^= 1;
        log.say(format!("recycled: new calls are redirected to the worker at {}", workers[turn]));
        present.send_replace(workers[turn]);
    }
}

async fn listen(listener: TcpListener, server: Server) {
    while let Ok(place) = server.places.clone().acquire_owned().await {
        let Ok((tcp, remote)) = listener.accept().await else { return };
        let server = server.clone();
        tokio::spawn(async move {
            match Connection::accept(tcp, server.identity.as_ref()).await {
                // The other end closing, or nonsense from it, ends the connection; its calls end with it.
                Ok(connection) => drop(Worker::new(server, connection).serve().await),
                Err(error) => server.settings.log.say(format!("{}: no connection with {remote}: {error}", server.name)),
            }
            drop(place);
        });
    }
}
