//! The operator's HTTP door: `/metrics`, `/healthz`, `/readyz`.
//!
//! `/healthz` says that the process lives; `/readyz` that new calls should be sent here, else 503 with the reason. There is no authentication:
//! the door stands on a loopback address unless the settings say otherwise.
//!
//! Each connection is for one request: whoever asks again is answered by the process that stands behind the door then.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Where to listen; `None`: nowhere. There is no authentication, so only a loopback address is taken unless `beyond_loopback`.
    pub address: Option<SocketAddr>,
    /// Listen on an address others can reach: for containers and scrapers on another host, behind a firewall.
    pub beyond_loopback: bool,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings { address: Some(SocketAddr::from(([127, 0, 0, 1], 9160))), beyond_loopback: false }
    }
}

/// What the door shows.
pub trait View: Send + Sync + 'static {
    /// Prometheus' text exposition.
    fn metrics(&self) -> String;
    /// What does not work though calls go on, a line each.
    fn troubles(&self) -> Vec<String> {
        Vec::new()
    }
    /// Why no new calls should be sent here: draining, no peer table yet.
    fn ready(&self) -> Result<(), &'static str>;
}

/// Dropping it closes the door.
pub struct Admin {
    bound: SocketAddr,
    socket: OwnedFd,
    gate: watch::Sender<bool>,
    task: JoinHandle<()>,
}

/// Whoever comes while it is shut waits in the system's queue.
struct Door {
    listener: TcpListener,
    gate: watch::Receiver<bool>,
}

impl axum::serve::Listener for Door {
    type Io = TcpStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (TcpStream, SocketAddr) {
        let mut gate = self.gate.clone();
        loop {
            if gate.wait_for(|open| *open).await.is_err() {
                std::future::pending::<()>().await;
            }
            tokio::select! {
                accepted = axum::serve::Listener::accept(&mut self.listener) => return accepted,
                _ = gate.wait_for(|open| !*open) => {}
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

impl Admin {
    /// Inside a tokio runtime. `None` where the settings name no address. Fails where the address is not loopback without leave, or is taken.
    pub async fn start(settings: Settings, view: Arc<dyn View>) -> io::Result<Option<Admin>> {
        Admin::start_after(settings, view, None, true).await
    }

    /// The same, on a socket that another process of this border has there already; shut, until it is opened.
    pub async fn start_after(settings: Settings, view: Arc<dyn View>, inherited: Option<OwnedFd>, open: bool) -> io::Result<Option<Admin>> {
        let Some(address) = settings.address else { return Ok(None) };
        if !address.ip().is_loopback() && !settings.beyond_loopback {
            let text = format!("admin address {address} can be reached by others and has no authentication; use 127.0.0.1 or [::1], or allow it expressly");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        let listener = match inherited {
            Some(socket) => TcpListener::from_std(socket.into()),
            None => TcpListener::bind(address).await,
        };
        let listener = listener.map_err(|error| io::Error::new(error.kind(), format!("admin address {address} cannot be used: {error}")))?;
        let socket = listener.as_fd().try_clone_to_owned()?;
        let bound = listener.local_addr()?;
        let app = Router::new().route("/metrics", get(metrics)).route("/healthz", get(alive)).route("/readyz", get(ready)).with_state(view);
        // Serving ends only with the task.
        let (gate, shut) = watch::channel(open);
        let task = tokio::spawn(async move { drop(axum::serve(Door { listener, gate: shut }, app).await) });
        Ok(Some(Admin { bound, socket, gate, task }))
    }

    /// Another door in the place of this one, in front of the same view; `None`: there is to be none. With an error the one there was stays.
    pub async fn change(now: &mut Option<Admin>, settings: &Settings, view: &Arc<dyn View>) -> io::Result<()> {
        let (is_open, before) = (now.as_ref().is_none_or(|admin| *admin.gate.borrow()), now.as_ref().map(|admin| admin.bound));
        let start = |settings: Settings| Admin::start_after(settings, Arc::clone(view), None, is_open);
        let same_port = |bound: &SocketAddr| settings.address.is_some_and(|to| to.port() == bound.port());
        let door = match (start(settings.clone()).await, before.filter(same_port)) {
            // One of the two is every address of this machine: they cannot stand side by side.
            (Err(error), Some(before)) if error.kind() == io::ErrorKind::AddrInUse => {
                Admin::shut(now).await;
                match start(settings.clone()).await {
                    Ok(door) => door,
                    Err(error) => {
                        *now = start(Settings { address: Some(before), beyond_loopback: true }).await?;
                        return Err(error);
                    }
                }
            }
            (door, _) => door?,
        };
        Admin::shut(now).await;
        *now = door;
        Ok(())
    }

    /// Its place is free when this returns.
    async fn shut(now: &mut Option<Admin>) {
        if let Some(mut admin) = now.take() {
            admin.task.abort();
            let _ = (&mut admin.task).await;
        }
    }

    /// Whether anybody is let in.
    pub fn open(&self, open: bool) {
        self.gate.send_replace(open);
    }

    /// The listening socket once more, for another process of this border.
    pub fn bequeath(&self) -> io::Result<OwnedFd> {
        self.socket.try_clone()
    }

    pub fn bound(&self) -> SocketAddr {
        self.bound
    }
}

impl Drop for Admin {
    fn drop(&mut self) {
        self.task.abort();
    }
}

const LAST: (header::HeaderName, &str) = (header::CONNECTION, "close");

async fn metrics(State(view): State<Arc<dyn View>>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8"), LAST], view.metrics())
}

/// What does not work is told and changes nothing: starting anew would help none of it, and end calls.
async fn alive(State(view): State<Arc<dyn View>>) -> impl IntoResponse {
    ([LAST], view.troubles().iter().fold(String::from("alive\n"), |text, trouble| text + trouble + "\n"))
}

async fn ready(State(view): State<Arc<dyn View>>) -> impl IntoResponse {
    match view.ready() {
        Ok(()) => (StatusCode::OK, [LAST], "ready\n".to_owned()),
        Err(why) => (StatusCode::SERVICE_UNAVAILABLE, [LAST], format!("not ready: {why}\n")),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    struct Border {
        draining: AtomicBool,
    }

    impl View for Border {
        fn metrics(&self) -> String {
            "portcullis_calls 3\n".to_owned()
        }

        fn ready(&self) -> Result<(), &'static str> {
            if self.draining.load(Ordering::Relaxed) { Err("draining") } else { Ok(()) }
        }
    }

    async fn get(address: SocketAddr, path: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn three_doors_and_readiness_follows_the_view() {
        let view = Arc::new(Border { draining: AtomicBool::new(false) });
        let settings = Settings { address: Some("127.0.0.1:0".parse().unwrap()), beyond_loopback: false };
        let admin = Admin::start(settings, view.clone()).await.unwrap().unwrap();
        let metrics = get(admin.bound(), "/metrics").await;
        assert!(metrics.starts_with("HTTP/1.1 200") && metrics.contains("version=0.0.4") && metrics.ends_with("portcullis_calls 3\n"), "{metrics}");
        assert!(get(admin.bound(), "/healthz").await.starts_with("HTTP/1.1 200"));
        assert!(get(admin.bound(), "/readyz").await.starts_with("HTTP/1.1 200"));
        view.draining.store(true, Ordering::Relaxed);
        let refused = get(admin.bound(), "/readyz").await;
        assert!(refused.starts_with("HTTP/1.1 503") && refused.ends_with("not ready: draining\n"), "{refused}");
        assert!(get(admin.bound(), "/healthz").await.starts_with("HTTP/1.1 200"), "draining is not dying");
        assert!(get(admin.bound(), "/").await.starts_with("HTTP/1.1 404"));
    }

    #[tokio::test]
    async fn the_door_moves_and_where_that_cannot_be_stays() {
        let view: Arc<dyn View> = Arc::new(Border { draining: AtomicBool::new(false) });
        let at = |address: SocketAddr| Settings { address: Some(address), beyond_loopback: address.ip().is_unspecified() };
        let mut admin = Admin::start(at("127.0.0.1:0".parse().unwrap()), view.clone()).await.unwrap();
        let first = admin.as_ref().unwrap().bound();
        let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let second = taken.local_addr().unwrap();
        assert!(Admin::change(&mut admin, &at(second), &view).await.is_err(), "somebody is there");
        assert!(get(first, "/healthz").await.starts_with("HTTP/1.1 200"));
        drop(taken);
        Admin::change(&mut admin, &at(second), &view).await.unwrap();
        assert!(get(second, "/healthz").await.starts_with("HTTP/1.1 200") && TcpStream::connect(first).await.is_err());
        Admin::change(&mut admin, &at(SocketAddr::from(([0, 0, 0, 0], second.port()))), &view).await.unwrap();
        assert!(get(second, "/healthz").await.starts_with("HTTP/1.1 200"), "by every address");
        Admin::change(&mut admin, &Settings { address: None, beyond_loopback: false }, &view).await.unwrap();
        assert!(admin.is_none() && TcpStream::connect(second).await.is_err());
    }

    #[tokio::test]
    async fn an_address_others_can_reach_needs_leave() {
        let view = Arc::new(Border { draining: AtomicBool::new(false) });
        let open = Settings { address: Some("0.0.0.0:0".parse().unwrap()), beyond_loopback: false };
        assert_eq!(Admin::start(open.clone(), view.clone()).await.err().map(|error| error.kind()), Some(io::ErrorKind::InvalidInput));
        assert!(Admin::start(Settings { beyond_loopback: true, ..open }, view.clone()).await.is_ok());
        assert!(Admin::start(Settings { address: None, beyond_loopback: false }, view).await.unwrap().is_none());
    }
}
