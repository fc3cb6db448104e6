//! Runs the locating machine of RFC 3263 against real servers, off the call path.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::Settings;
use super::lookup::{self, Lookup};
use crate::signaling::event::{LocateError, LocateQuery, Target};

/// Locations under way at the same time; more wait, within their limit.
const AT_ONCE: usize = 256;

/// Cheap to clone; clones share one cache.
#[derive(Clone)]
pub struct Locator {
    lookup: Arc<Lookup>,
    limit: Duration,
    places: Arc<Semaphore>,
}

impl Locator {
    /// Without servers in the settings those of /etc/resolv.conf are asked; without that, the hosts file alone.
    pub fn new(settings: Settings) -> io::Result<Locator> {
        Ok(Locator { lookup: Arc::new(Lookup::new(&settings, true)?), limit: settings.limit, places: Arc::new(Semaphore::new(AT_ONCE)) })
    }

    /// Targets in the order to try them, never empty. Ends within `Settings::limit`.
    pub async fn locate(&self, query: LocateQuery) -> Result<Vec<Target>, LocateError> {
        let deadline = Instant::now() + self.limit;
        let Ok(Ok(_place)) = tokio::time::timeout_at(deadline, self.places.acquire()).await else { return Err(LocateError::Failed) };
        let seed = getrandom::u64().unwrap_or_default();
        lookup::locate(&self.lookup, query, seed, deadline).await.located.targets
    }
}
