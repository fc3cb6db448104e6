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
mod serve;
mod socket;

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::Router;
use axum::http::Method;
use tokio::task::AbortHandle;

pub use access::{Operator, Role, Token, TokenDigest, Via};
pub use audit::{Audit, Entry};
pub use client::{Answer, ask, reach};
pub use network::Identities;
pub use problem::Problem;

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
    socket: Option<PathBuf>,
    bound: Option<SocketAddr>,
    tasks: Vec<AbortHandle>,
}

impl Api {
    /// Inside a tokio runtime. `identities` is asked only where [`Listen::tls`] is set.
    pub async fn start(settings: &Settings, router: Router, needs: Needs, identities: Arc<dyn Identities>, audit: Audit) -> io::Result<Api> {
        let mut api = Api { socket: None, bound: None, tasks: Vec::new() };
        if let Some(path) = socket_path(settings) {
            let door = socket::Door::open(&path)?;
            let guard = access::Guard::new(needs, None, audit.clone());
            api.socket = Some(path);
            api.tasks.push(tokio::spawn(serve::forever(door, access::guarded(router.clone(), guard))).abort_handle());
        }
        if let Some(listen) = &settings.listen {
            let door = network::Door::open(listen, identities).await?;
            let guard = access::Guard::new(needs, Some(listen.clone()), audit);
            api.bound = Some(door.bound()?);
            api.tasks.push(tokio::spawn(serve::forever(door, access::guarded(router, guard))).abort_handle());
        }
        Ok(api)
    }

    pub fn socket(&self) -> Option<&Path> {
        self.socket.as_deref()
    }

    pub fn bound(&self) -> Option<SocketAddr> {
        self.bound
    }
}

impl Drop for Api {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
        if let Some(path) = &self.socket {
            // Gone already, or another's by now: nothing to be done.
            let _ = std::fs::remove_file(path);
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
