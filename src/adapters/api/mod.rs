//! The operators' door: HTTP and JSON for commands, scripts and the browser. What is behind it, routes and answers, is the router [`Api::start`] is
//! given; this folder knows who asks, what that one may do, and keeps account of it.
//!
//! | door | who asks is known by |
//! |---|---|
//! | a Unix socket | the kernel (`SO_PEERCRED`): root, and the user the border runs as; both operate |
//! | TCP on a loopback address | a bearer token (RFC 6750), of which the settings hold the SHA-256 digest |
//! | TLS | the same, or a certificate of the settings' CA with a name the settings know |
//!
//! A role reads, or reads and operates. Refusals are problem documents (RFC 9457). Whatever changes something, and whoever was turned away from that, is in the
//! audit ([`Audit`]). A slow or silent client costs one of a fixed number of connections, for a fixed time.

mod access;
mod audit;
mod client;
mod network;
mod problem;
mod remote;
mod serve;
mod socket;
mod stream;
mod unread;

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::http::Method;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{JoinHandle, JoinSet};

use access::Callers;
pub use access::{Operator, Role, Token, TokenDigest, Via};
pub use audit::{Audit, CLASSES, Counts, DOORS, Entry, Outcome};
pub use client::{Answer, Place, Relayed, ask, fetch, listen, reach, relay};
pub use network::Identities;
pub use problem::Problem;
pub use remote::{Remote, Trust};

/// The longest body a request may have: a whole policy set.
pub const LONGEST_BODY: usize = 8 << 20;

#[derive(Clone, Debug, PartialEq, Default)]
pub struct Settings {
    /// Where the Unix socket lies; `None`: at [`DEFAULT`], if its folder is there.
    pub socket: Option<PathBuf>,
    /// Where else it is listened; `None`: nowhere.
    pub listen: Option<Listen>,
    /// Changes are written there too, one line of JSON each.
    pub audit: Option<PathBuf>,
}

impl Settings {
    /// With the network's door of these, and the callers of what it is now: what is left where another door cannot be had.
    pub fn with_door_of(&mut self, running: &Settings) {
        let callers = std::mem::replace(&mut self.listen, running.listen.clone());
        if let (Some(listen), Some(callers)) = (&mut self.listen, callers) {
            (listen.tokens, listen.certificates) = (callers.tokens, callers.certificates);
        }
    }

    /// Whether the network's door is the same, whoever may come by it.
    pub fn same_door(&self, other: &Settings) -> bool {
        let door = |settings: &Settings| settings.listen.as_ref().map(|listen| (listen.address, listen.tls.clone()));
        door(self) == door(other)
    }
}

/// A door others than this machine's users can reach.
#[derive(Clone, Debug, PartialEq)]
pub struct Listen {
    pub address: SocketAddr,
    /// `None`: without TLS, so on a loopback address only.
    pub tls: Option<TlsFiles>,
    pub tokens: Vec<Token>,
    /// Names in certificates of the CA, and what their holders may do.
    pub certificates: Vec<(String, Role)>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct TlsFiles {
    pub certificate: PathBuf,
    pub key: PathBuf,
    /// Whose certificates prove who asks; `None`: only tokens do.
    pub client_ca: Option<PathBuf>,
}

/// Where operators look for the socket. The folder is made by whoever starts the border: a service's `RuntimeDirectory=`, an image.
pub const DEFAULT: &str = "/run/portcullis/control.sock";

/// What a request needs, by its method and path.
pub type Needs = fn(&Method, &str) -> Role;

/// Dropping it closes the doors and removes the socket.
pub struct Api {
    /// Where the Unix socket is looked for, and where it is: aside, while another process of this border has that place.
    place: Option<PathBuf>,
    socket: Mutex<Option<PathBuf>>,
    network: Network,
    gate: watch::Sender<bool>,
    known: access::Known,
    /// Dropped: the thread ends.
    moves: mpsc::UnboundedSender<Move>,
}

/// Where the network's door is, and its listening socket once more.
type Network = Arc<Mutex<Option<(SocketAddr, OwnedFd)>>>;

/// Another place for the network's door; `None`: there is to be none.
struct Move {
    listen: Option<Listen>,
    moved: oneshot::Sender<io::Result<()>>,
}

/// After another process of this border, doors are opened aside and shut.
#[derive(Debug, Default)]
pub enum Start {
    #[default]
    InPlace,
    Aside {
        /// The socket of [`Listen::address`], if that process has it.
        inherited: Option<OwnedFd>,
    },
}

impl Api {
    /// The doors have a thread and an event loop of their own: a long answer, or a slow disk under the audit, costs no call a millisecond. `identities` is asked
    /// only where [`Listen::tls`] is set.
    pub async fn start(settings: &Settings, router: Router, needs: Needs, identities: Arc<dyn Identities>, audit: Audit, start: Start) -> io::Result<Api> {
        let (gate, shut) = watch::channel(matches!(start, Start::InPlace));
        let known = access::Known::of(Callers::of(settings.listen.as_ref()));
        let hall = Hall { gate: shut, router, needs, identities, audit, known: known.clone(), network: Network::default(), by_network: None };
        let opened_by = settings.clone();
        let (opened_in, opened) = oneshot::channel();
        let (moves, moves_in) = mpsc::unbounded_channel();
        // The log that holds for the caller's thread holds for this one as well.
        let dispatch = tracing::dispatcher::get_default(Clone::clone);
        let serve = move || {
            tracing::dispatcher::with_default(&dispatch, || match tokio::runtime::Builder::new_current_thread().enable_all().build() {
                Ok(runtime) => runtime.block_on(serve(hall, opened_by, start, opened_in, moves_in)),
                // Whoever started it may have left.
                Err(error) => drop(opened_in.send(Err(error))),
            });
        };
        std::thread::Builder::new().name("api".into()).spawn(serve)?;
        let Places { socket, network } = opened.await.unwrap_or_else(|_| Err(io::Error::other("the API's thread has ended")))?;
        Ok(Api { place: socket_path(settings), socket: Mutex::new(socket), network, gate, known, moves })
    }

    /// From now on these tokens and names in certificates are let in from the network, and no others; connections that are up included, and answers that are
    /// under way without end.
    pub fn know(&self, settings: &Settings) {
        self.known.put(Callers::of(settings.listen.as_ref()));
    }

    /// Opens the network's door elsewhere, or with TLS or without, and shuts the one there was; connections that are open go on until those who asked end
    /// them. With an error the one there was stays.
    pub async fn move_to(&self, settings: &Settings) -> io::Result<()> {
        let ended = || io::Error::other("the API's thread has ended");
        let (moved_in, moved) = oneshot::channel();
        self.moves.send(Move { listen: settings.listen.clone(), moved: moved_in }).map_err(|_| ended())?;
        moved.await.map_err(|_| ended())?
    }

    pub fn socket(&self) -> Option<PathBuf> {
        self.socket.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Where operators look for the socket.
    pub fn place(&self) -> Option<PathBuf> {
        self.place.clone()
    }

    /// Makes room for another process of this border: operators find this one's socket aside, and nobody is let in from the network.
    pub fn step_aside(&self) -> io::Result<()> {
        self.gate.send_replace(false);
        self.place.as_deref().map_or(Ok(()), |place| self.rename(&aside(place, std::process::id())))
    }

    /// Takes the place, or takes it again.
    pub fn take_place(&self) -> io::Result<()> {
        self.gate.send_replace(true);
        self.place.as_deref().map_or(Ok(()), |place| self.rename(place))
    }

    fn rename(&self, to: &Path) -> io::Result<()> {
        let mut socket = self.socket.lock().unwrap_or_else(PoisonError::into_inner);
        match socket.as_mut().filter(|from| *from != to) {
            Some(from) => {
                std::fs::rename(&*from, to)?;
                *from = to.to_owned();
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// The listening socket of the network's door once more, for another process of this border.
    pub fn bequeath(&self) -> io::Result<Option<OwnedFd>> {
        held(&self.network).as_ref().map(|(_, socket)| socket.try_clone()).transpose()
    }

    pub fn bound(&self) -> Option<SocketAddr> {
        held(&self.network).as_ref().map(|(bound, _)| *bound)
    }
}

impl Drop for Api {
    fn drop(&mut self) {
        if let Some(path) = self.socket() {
            // Gone already, or another's by now: nothing to be done.
            let _ = std::fs::remove_file(path);
        }
    }
}

/// Where the doors are.
struct Places {
    socket: Option<PathBuf>,
    network: Network,
}

fn held(network: &Network) -> std::sync::MutexGuard<'_, Option<(SocketAddr, OwnedFd)>> {
    network.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Where a process's socket lies that has left its place to another process of this border.
pub fn aside(place: &Path, process: u32) -> PathBuf {
    beside(place, &process.to_string())
}

/// Where this process's socket lies until it has the place. Not where the other's will lie: in containers both may be process 1.
fn waiting(place: &Path) -> PathBuf {
    beside(place, &format!("{}.new", std::process::id()))
}

fn beside(place: &Path, ending: &str) -> PathBuf {
    let mut name = place.as_os_str().to_owned();
    name.push(format!(".{ending}"));
    name.into()
}

async fn serve(mut hall: Hall, settings: Settings, start: Start, opened: oneshot::Sender<io::Result<Places>>, mut moves: mpsc::UnboundedReceiver<Move>) {
    let mut tasks = JoinSet::new();
    let places = hall.open(settings, start, &mut tasks).await;
    let is_open = places.is_ok();
    if opened.send(places).is_ok() && is_open {
        while let Some(Move { listen, moved }) = moves.recv().await {
            // Whoever wanted it may have left.
            let _ = moved.send(hall.move_to(listen).await);
        }
    }
}

/// What all doors lead to, and the network's door.
struct Hall {
    gate: watch::Receiver<bool>,
    router: Router,
    needs: Needs,
    identities: Arc<dyn Identities>,
    audit: Audit,
    known: access::Known,
    network: Network,
    by_network: Option<(Listen, JoinHandle<()>)>,
}

impl Hall {
    async fn open(&mut self, settings: Settings, start: Start, tasks: &mut JoinSet<()>) -> io::Result<Places> {
        let (socket, inherited) = match start {
            Start::InPlace => (socket_path(&settings), None),
            Start::Aside { inherited } => (socket_path(&settings).map(|place| waiting(&place)), inherited),
        };
        if let Some(path) = &socket {
            let door = socket::Door::open(path)?;
            let guard = access::Guard::new(self.needs, access::Known::default(), Arc::clone(&self.identities), self.audit.clone());
            // Operators of this machine find it wherever it lies.
            let (always, open) = watch::channel(true);
            let (router, crowd) = (access::guarded(self.router.clone(), guard), self.audit.by_socket());
            tasks.spawn(async move {
                serve::forever(door, router, open, crowd).await;
                drop(always);
            });
        }
        if socket.is_none() {
            let folder = Path::new(DEFAULT).parent().unwrap_or(Path::new("/")).display();
            tracing::warn!(
                "no control socket: {folder} is not there, so show, ladder, drain and reload cannot ask this border; make that folder, or write [control] socket = \"PATH\" in border.toml"
            );
        }
        if let Some(listen) = settings.listen {
            let door = self.door(&listen, inherited).await?;
            self.stand(door, listen)?;
        }
        Ok(Places { socket, network: Arc::clone(&self.network) })
    }

    /// With an error the door there was stands as it stood.
    async fn move_to(&mut self, listen: Option<Listen>) -> io::Result<()> {
        let Some(listen) = listen else {
            self.shut().await;
            return Ok(());
        };
        let now = self.by_network.as_ref().map(|(now, _)| now.clone());
        // At the same place nobody is turned away meanwhile.
        let same_place = now.as_ref().is_some_and(|now| now.address == listen.address);
        let inherited = held(&self.network).as_ref().filter(|_| same_place).map(|(_, socket)| socket.try_clone()).transpose()?;
        let door = match (self.door(&listen, inherited).await, now) {
            // One of the two is every address of this machine: they cannot stand side by side.
            (Err(error), Some(now)) if error.kind() == io::ErrorKind::AddrInUse && now.address.port() == listen.address.port() => {
                self.shut().await;
                match self.door(&listen, None).await {
                    Ok(door) => door,
                    Err(error) => {
                        let before = self.door(&now, None).await?;
                        self.stand(before, now)?;
                        return Err(error);
                    }
                }
            }
            (door, _) => door?,
        };
        self.shut().await;
        self.stand(door, listen)
    }

    async fn door(&self, listen: &Listen, inherited: Option<OwnedFd>) -> io::Result<network::Door> {
        network::Door::open(listen, self.known.clone(), Arc::clone(&self.identities), inherited).await
    }

    fn stand(&mut self, door: network::Door, listen: Listen) -> io::Result<()> {
        *held(&self.network) = Some((door.bound()?, door.bequeath()?));
        let guard = access::Guard::new(self.needs, self.known.clone(), Arc::clone(&self.identities), self.audit.clone());
        let router = access::guarded(self.router.clone(), guard);
        let task = tokio::spawn(serve::forever(door, router, self.gate.clone(), self.audit.by_network()));
        self.by_network = Some((listen, task));
        Ok(())
    }

    /// Its place is free when this returns.
    async fn shut(&mut self) {
        held(&self.network).take();
        if let Some((_, task)) = self.by_network.take() {
            task.abort();
            let _ = task.await;
        }
    }
}

fn socket_path(settings: &Settings) -> Option<PathBuf> {
    match &settings.socket {
        Some(path) => Some(path.clone()),
        None => Some(PathBuf::from(DEFAULT)).filter(|path| path.parent().is_some_and(Path::is_dir)),
    }
}

#[cfg(test)]
mod tests;
