//! The table of mailboxes while the border runs: looked at every so often, read again when it has changed, in force as a whole or not at all.
//!
//! A file that is being written is left alone until it has looked the same twice; writing another and renaming it over is better still. What is wrong
//! with a new table is told once, line by line, and the old one stays in force.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use tokio::time::{Interval, MissedTickBehavior};

use crate::config::Settings;
use crate::config::mailboxes::{self, RowProblem, TableFile};
use crate::policy::mailboxes::MailboxTable;
use crate::policy::settings::UmPool;

/// By what a file is told from what it was.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Look {
    modified: SystemTime,
    length: u64,
    inode: u64,
}

/// The table of one policy set.
pub struct Watch {
    /// `None`: the set has none.
    kept: Option<Kept>,
}

struct Kept {
    file: TableFile,
    pools: Arc<[Arc<UmPool>]>,
    in_force: Option<Arc<MailboxTable>>,
    /// At the last look; `None` inside: the file was not there.
    seen: Option<Option<Look>>,
    /// What was read, or told of, last.
    done: Option<Option<Look>>,
    clock: Interval,
}

impl Watch {
    pub fn of(settings: &Settings) -> Watch {
        let kept = settings.mailboxes.clone().map(|file| {
            let mut clock = tokio::time::interval(file.poll);
            clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let pools = settings.policy.um_pools.iter().cloned().collect();
            Kept { file, pools, in_force: settings.policy.mailboxes.table.clone(), seen: None, done: None, clock }
        });
        Watch { kept }
    }

    /// Returns with a new table when there is one. Cancel safe.
    pub async fn changed(&mut self) -> Arc<MailboxTable> {
        let Some(kept) = &mut self.kept else { return std::future::pending().await };
        loop {
            kept.clock.tick().await;
            if let Some(table) = kept.look().await {
                return table;
            }
        }
    }
}

impl Kept {
    async fn look(&mut self) -> Option<Arc<MailboxTable>> {
        let look = look(&self.file.path);
        let settled = self.seen.replace(look) == Some(look);
        if !settled || self.done == Some(look) {
            return None;
        }
        if look.is_some_and(|look| look.length > mailboxes::MOST_BYTES as u64) {
            self.done = Some(look);
            return self.take(Err(io::Error::other(format!("it is larger than {} bytes", mailboxes::MOST_BYTES))));
        }
        let (file, pools) = (self.file.clone(), self.pools.clone());
        let read = tokio::task::spawn_blocking(move || std::fs::read_to_string(&file.path).map(|text| mailboxes::read(&file.name, &text, &pools))).await;
        self.done = Some(look);
        let outcome = read.unwrap_or_else(|error| Err(io::Error::other(error)));
        self.take(outcome)
    }

    fn take(&mut self, outcome: io::Result<Result<MailboxTable, Vec<RowProblem>>>) -> Option<Arc<MailboxTable>> {
        let (file, rows) = (&self.file.name, self.in_force.as_ref().map_or(0, |table| table.len()));
        match outcome {
            Err(error) => {
                tracing::error!("{file} cannot be read: {error}; the table as it was, with {rows} rows, stays in force: put the file back");
                None
            }
            Ok(Err(problems)) => {
                for problem in &problems {
                    tracing::error!("{file}:{}: {}; {}", problem.line, problem.what, problem.instead);
                }
                tracing::error!("{file} was not taken: the table as it was, with {rows} rows, stays in force until the file is mended");
                None
            }
            Ok(Ok(table)) if self.in_force.as_deref() == Some(&table) => None,
            Ok(Ok(table)) => {
                tracing::info!("{file} was read again: {} rows in place of {rows}, in force for every new call", table.len());
                let table = Arc::new(table);
                self.in_force = Some(table.clone());
                Some(table)
            }
        }
    }
}

fn look(path: &Path) -> Option<Look> {
    let metadata = path.metadata().ok()?;
    Some(Look { modified: metadata.modified().ok()?, length: metadata.len(), inode: metadata.ino() })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn kept(folder: &Path) -> Watch {
        let file = TableFile { path: folder.join("m.csv"), name: "m.csv".into(), poll: Duration::from_secs(1) };
        let pools = ["premises", "online"].map(|name| Arc::new(UmPool::new(name, Vec::new())));
        let clock = tokio::time::interval(file.poll);
        Watch { kept: Some(Kept { file, pools: pools.into(), in_force: None, seen: None, done: None, clock }) }
    }

    async fn within(watch: &mut Watch, seconds: u64) -> Option<usize> {
        tokio::time::timeout(Duration::from_secs(seconds), watch.changed()).await.ok().map(|table| table.len())
    }

    #[tokio::test(start_paused = true)]
    async fn a_table_is_taken_when_it_has_changed_and_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.csv");
        std::fs::write(&path, "1000,online\n").unwrap();
        let mut watch = kept(folder.path());
        assert_eq!(within(&mut watch, 5).await, Some(1));
        assert_eq!(within(&mut watch, 5).await, None, "nothing has changed");
        std::fs::write(&path, "1000,online\n1001,nowhere\n").unwrap();
        assert_eq!(within(&mut watch, 5).await, None, "it is wrong");
        std::fs::write(&path, "1000,online\n1001,premises\n1002,online\n").unwrap();
        assert_eq!(within(&mut watch, 5).await, Some(3));
        std::fs::remove_file(&path).unwrap();
        assert_eq!(within(&mut watch, 5).await, None, "it is gone, and the old one stays");
        std::fs::write(&path, "1000,online\n1001,premises\n1002,online\n").unwrap();
        assert_eq!(within(&mut watch, 5).await, None, "it says what is in force");
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_table_nothing_is_ever_read() {
        let mut watch = Watch { kept: None };
        assert_eq!(within(&mut watch, 3600).await, None);
    }
}
