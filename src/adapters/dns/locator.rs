//! Runs the locating machine of RFC 3263 against real servers, off the call path.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::Settings;
use super::lookup::{self, Lookup};
use crate::signaling::event::{LocateError, LocateQuery, Target};

/// Locations under way at the same time; more wait, within their limit.
const AT_ONCE: usize = 256;

/// Cheap to clone: all clones are one.
#[derive(Clone)]
pub struct Locator {
    asked: Arc<ArcSwap<Asked>>,
    places: Arc<Semaphore>,
}

struct Asked {
    lookup: Arc<Lookup>,
    limit: Duration,
}

impl Asked {
    fn new(settings: &Settings) -> io::Result<Asked> {
        Ok(Asked { lookup: Arc::new(Lookup::new(settings, true)?), limit: settings.limit })
    }
}

impl Locator {
    /// Without servers in the settings those of /etc/resolv.conf are asked; without that, the hosts file alone.
    pub fn new(settings: Settings) -> io::Result<Locator> {
        Ok(Locator { asked: Arc::new(ArcSwap::from_pointee(Asked::new(&settings)?)), places: Arc::new(Semaphore::new(AT_ONCE)) })
    }

    /// Asks others from now on, and forgets what was answered. With an error all is as it was.
    pub fn take(&self, settings: &Settings) -> io::Result<()> {
        self.asked.store(Arc::new(Asked::new(settings)?));
        Ok(())
    }

    /// How many lookups ended in which way, since those were asked that are asked now.
    pub fn lookups(&self) -> Vec<(&'static str, u64)> {
        self.asked.load().lookup.tally()
    }

    /// Targets in the order to try them, never empty. Ends within `Settings::limit`.
    pub async fn locate(&self, query: LocateQuery) -> Result<Vec<Target>, LocateError> {
        let asked = self.asked.load_full();
        let deadline = Instant::now() + asked.limit;
        let Ok(Ok(_place)) = tokio::time::timeout_at(deadline, self.places.acquire()).await else { return Err(LocateError::Failed) };
        let seed = getrandom::u64().unwrap_or_default();
        lookup::locate(&asked.lookup, query, seed, deadline).await.located.targets
    }
}
