//! What operators have made of a process while it ran, and no file of its policy set says: it goes over with the place.
//!
//! | | in the new process |
//! |---|---|
//! | the policy set in force and those before it | to go back to, where it has not read them from disk already; the same set goes on with the same date and author |
//! | the account of requests | stands before its own |
//! | a trace that still takes calls | goes on with as many calls and as much time as are left; what it has gathered stays where it is, until that process ends |
//! | ladders of calls that have ended | go over when it has ended its last call, as they were drawn there, and make room for those of new calls first |
//! | a drain | is over: a process is put in the place of another to take calls. Whoever wants it to go on is told so |
//! | bans, missed calls | go over by words of their own |

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::adapters::api::{Audit, Entry};
use crate::adapters::clock::Clock;
use crate::adapters::telemetry::Telemetry;
use crate::adapters::telemetry::ladder::Order;
use crate::app::api::calls::Calls;
use crate::app::api::{Changes, Standing};
use crate::app::policy_sets::texts::Texts;
use crate::app::policy_sets::{About, Adopted, PolicySets};

/// Entries of the account said at once: each is a few thousand octets at most.
const AT_ONCE: usize = 100;

/// Where it lies in this process.
pub struct Estate {
    pub clock: Clock,
    pub policy_sets: Arc<PolicySets>,
    pub audit: Audit,
    pub telemetry: Arc<Telemetry>,
    pub standing: Arc<Standing>,
    pub calls: Calls,
    pub changes: Changes,
}

/// A piece of it.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum Item {
    /// The newest first. `is_last`: it is in force there.
    PolicySet { is_last: bool, about: About, files: BTreeMap<String, String> },
    /// The oldest first.
    Account { entries: Vec<Entry> },
    /// Of so many calls more, that begin within this time.
    Trace { peer: Option<String>, calls: u32, left: Duration },
    /// New calls were refused there.
    Drained,
}

impl Estate {
    /// All of it, as it is now.
    pub fn items(&self) -> Vec<Item> {
        let (last, earlier) = (self.policy_sets.now(), self.policy_sets.earlier());
        let last = last.into_iter().map(|adopted| set(true, &adopted));
        let mut items: Vec<Item> = last.chain(earlier.iter().map(|adopted| set(false, adopted))).collect();
        let mut entries = self.audit.entries();
        entries.reverse();
        items.extend(entries.chunks(AT_ONCE).map(|entries| Item::Account { entries: entries.to_vec() }));
        items.extend(self.trace());
        items.extend(self.standing.drained().map(|_| Item::Drained));
        items
    }

    fn trace(&self) -> Option<Item> {
        let now = self.clock.now();
        let standing = self.telemetry.traced(now);
        let (Order { peer, calls, until }, _) = standing.order?;
        let calls = calls.saturating_sub(u32::try_from(standing.held.len()).unwrap_or(u32::MAX));
        let left = until.since(now);
        (calls > 0 && left > Duration::ZERO).then(|| Item::Trace { peer: peer.map(|peer| peer.to_string()), calls, left })
    }

    /// A piece of the other process's.
    pub fn take(&self, item: Item) {
        match item {
            Item::PolicySet { is_last, about, files } => self.take_set(is_last, about, files),
            Item::Account { entries } => self.audit.inherit(entries),
            Item::Trace { peer, calls, left } => {
                if !self.telemetry.may_trace() {
                    return tracing::warn!(
                        calls,
                        "the old process still traced calls, and this set allows no traces ([ladder] traces): no further call is traced"
                    );
                }
                let until = self.clock.now() + left;
                tracing::info!(peer, calls, seconds = left.as_secs(), "the old process still traced calls: this one traces the rest");
                self.telemetry.trace(Order { peer: peer.map(Arc::from), calls, until });
            }
            Item::Drained => tracing::warn!(
                "the old process was drained, and this one takes calls, as every process does that was started to: if it is not to, portcullis drain"
            ),
        }
    }

    fn take_set(&self, is_last: bool, about: About, files: BTreeMap<String, String>) {
        let (digest, by, until_restart) = (about.digest.clone(), about.by.clone(), about.until_restart);
        // It has been in force: it is one.
        let Ok(texts) = Texts::new(files) else { return };
        if self.policy_sets.inherit(texts, about, is_last) && is_last {
            let digest = digest.get(..12).unwrap_or_default();
            tracing::warn!(
                digest,
                by,
                until_restart,
                "the old process ran another policy set than this one has read from its folder, which is in force now; back to that: portcullis request rollback policy"
            );
        }
    }

    /// Calls that are up here.
    pub fn calls(&self) -> u64 {
        self.calls.up() as u64
    }
}

fn set(is_last: bool, adopted: &Adopted) -> Item {
    let files = adopted.texts.files().map(|(name, text)| (name.to_owned(), text.to_owned())).collect();
    Item::PolicySet { is_last, about: adopted.about.clone(), files }
}
