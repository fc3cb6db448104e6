//! Keeps every peer's host name fresh (RFC 3263 order, by TTL) and publishes the numbered table of who lives where.
//!
//! One task owns the names' states ([`super::freshness`]); each question runs in a task of its own, so a name whose servers are dead delays
//! no other. A peer without a port lives wherever its SRV records lead, one with a port at the addresses of its name. Nothing a caller sends
//! makes a question.

use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;

use super::Settings;
use super::asking;
use super::files::Files;
use super::freshness::{Address, Answered, Change};
use super::lookup::{self, Lookup, Outcome};
use super::names::{Entry, Key, Names};
use super::status::NameStatus;
use crate::policy::address_scope::AddressScope;
use crate::policy::overlap::Shared;
use crate::policy::peer::PeerTable;
use crate::policy::settings::PolicySet;
use crate::signaling::event::{LocateError, LocateQuery};
use crate::signaling::fact::{NameError, NameOddity, What};
use crate::sip::Transport;
use crate::time::Time;

/// Names asked for at the same time, of those that answer in time; more wait their turn.
const AT_ONCE: usize = 256;
/// Names beside these that keep us waiting, or did the last time: they take no place of one that answers.
const SLOW: usize = 1024;
/// After so long a name is slow.
const PATIENCE: Duration = Duration::from_millis(500);

/// Dropping it stops the refreshing; the last table stays with its holders.
pub struct PeerResolver {
    tables: watch::Receiver<Arc<PeerTable>>,
    policies: watch::Sender<Arc<PolicySet>>,
    asked: watch::Sender<Arc<Asked>>,
    settled: watch::Receiver<bool>,
    names: Arc<Mutex<Names>>,
    began: Instant,
    task: AbortHandle,
}

impl PeerResolver {
    /// Starts refreshing in the background (inside a tokio runtime). `report` is told of every change of a name's state and of every address
    /// that two peers share; it must not block. The first table, number 1, holds the literal addresses only and is there at once.
    pub fn start(settings: Settings, set: Arc<PolicySet>, report: impl Fn(What) + Send + Sync + 'static) -> io::Result<PeerResolver> {
        let (asked, asked_out) = watch::channel(Arc::new(Asked::new(settings)?));
        let first = PeerTable::build(1, &set, &|_| Vec::new());
        let (tables_in, tables) = watch::channel(Arc::new(first));
        let (settled_in, settled) = watch::channel(false);
        let (policies, policies_out) = watch::channel(set);
        let seed = getrandom::u64().map_err(|error| io::Error::other(format!("the system gives no randomness: {error}")))?;
        let (names, began) = (Arc::<Mutex<Names>>::default(), Instant::now());
        let rounds = Rounds {
            asked: asked_out,
            places: Places { quick: Arc::new(Semaphore::new(AT_ONCE)), slow: Arc::new(Semaphore::new(SLOW)) },
            began,
            seed,
            names: Arc::clone(&names),
            under_way: JoinSet::new(),
            policies: policies_out,
            tables: tables_in,
            settled: settled_in,
            report: Box::new(report),
        };
        let task = tokio::spawn(rounds.run()).abort_handle();
        Ok(PeerResolver { tables, policies, asked, settled, names, began, task })
    }

    /// The table in force, and a way to await the next: every change of an address or of the policy set makes one, with the next number.
    pub fn tables(&self) -> watch::Receiver<Arc<PeerTable>> {
        self.tables.clone()
    }

    /// A reload: names that stay keep their addresses; others, and those that have no good ones, are asked for. The next table has the new set.
    pub fn policies(&self, set: Arc<PolicySet>) {
        self.policies.send_replace(set);
    }

    /// Asks others, or in another way, where the settings or the files they name are not what they were: every name at once, and what is known of each holds until they
    /// have answered. Says whether that was so. With an error, which names the cause, all is as it was. Inside a tokio runtime.
    pub fn take(&self, settings: &Settings) -> io::Result<bool> {
        let (now, files) = (Arc::clone(&self.asked.borrow()), Files::read(settings));
        let is_other = now.settings != *settings || now.files != files;
        if is_other {
            self.asked.send_replace(Arc::new(Asked::new(settings.clone())?));
        }
        Ok(is_other)
    }

    /// Returns once every name of the first set was answered or has failed for the first time: at the latest after `Settings::limit`.
    pub async fn settled(&self) {
        let _ = self.settled.clone().wait_for(|settled| *settled).await;
    }

    /// As `settled`, without waiting.
    pub fn is_settled(&self) -> bool {
        *self.settled.borrow()
    }

    /// How many lookups ended in which way, since those were asked that are asked now.
    pub fn lookups(&self) -> Vec<(&'static str, u64)> {
        self.asked.borrow().lookup.tally()
    }

    /// How it stands with each name of the set, by name: a snapshot, cheap enough for once a second with thousands of names.
    pub fn names(&self) -> Vec<NameStatus> {
        locked(&self.names).statuses(since(self.began))
    }
}

impl Drop for PeerResolver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Who is asked, and how.
struct Asked {
    settings: Settings,
    files: Files,
    lookup: Arc<Lookup>,
}

impl Asked {
    fn new(settings: Settings) -> io::Result<Asked> {
        Ok(Asked { lookup: Arc::new(Lookup::new(&settings, false)?), files: Files::read(&settings), settings })
    }
}

/// Who may ask at the same time.
#[derive(Clone)]
struct Places {
    quick: Arc<Semaphore>,
    slow: Arc<Semaphore>,
}

/// The task's own.
struct Rounds {
    asked: watch::Receiver<Arc<Asked>>,
    places: Places,
    began: Instant,
    seed: u64,
    names: Arc<Mutex<Names>>,
    under_way: JoinSet<(u64, Outcome)>,
    policies: watch::Receiver<Arc<PolicySet>>,
    tables: watch::Sender<Arc<PeerTable>>,
    settled: watch::Sender<bool>,
    report: Box<dyn Fn(What) + Send + Sync>,
}

impl Rounds {
    async fn run(mut self) {
        self.take_policies();
        self.publish();
        loop {
            self.ask_due();
            let (deadline, settled) = {
                let names = locked(&self.names);
                (names.deadline(), names.are_settled())
            };
            if settled {
                self.settled.send_if_modified(|settled| !std::mem::replace(settled, true));
            }
            let asleep = async {
                match deadline {
                    Some(deadline) => tokio::time::sleep_until(self.began + deadline.since(Time::ZERO)).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                Some(done) = self.under_way.join_next() => {
                    let mut changed = self.answered(done);
                    // Answers that came together make one table.
                    while let Some(done) = self.under_way.try_join_next() {
                        changed |= self.answered(done);
                    }
                    if changed {
                        self.publish();
                    }
                }
                changed = self.policies.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    self.asked().lookup.forget();
                    self.take_policies();
                    self.publish();
                }
                changed = self.asked.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    // What those before have yet to say is not heard.
                    self.under_way = JoinSet::new();
                    locked(&self.names).ask_anew(self.now());
                }
                () = asleep => {
                    if self.expire() {
                        self.publish();
                    }
                }
            }
        }
    }

    fn now(&self) -> Time {
        since(self.began)
    }

    fn asked(&self) -> Arc<Asked> {
        Arc::clone(&self.asked.borrow())
    }

    fn take_policies(&mut self) {
        let set = Arc::clone(&self.policies.borrow_and_update());
        self.seed = asking::next_seed(self.seed);
        locked(&self.names).take(&set, self.now(), self.seed);
    }

    fn ask_due(&mut self) {
        let (now, asked) = (self.now(), self.asked());
        let mut names = locked(&self.names);
        for number in names.due(now) {
            let due = |entry: &mut Entry| entry.freshness.take_due(now).then(|| (entry.key.clone(), entry.freshness.is_failing()));
            if let Some(Some((key, failing))) = names.change(number, due) {
                let asking = ask(key, failing, self.places.clone(), Arc::clone(&asked.lookup), asked.settings.limit);
                self.under_way.spawn(async move { (number, asking.await) });
            }
        }
    }

    /// Whether any address changed.
    fn answered(&mut self, done: Result<(u64, Outcome), tokio::task::JoinError>) -> bool {
        let now = self.now();
        // A task that died took its number with it; it cannot: it has nothing to panic on.
        let Ok((number, outcome)) = done else { return false };
        let asked = self.asked();
        let settings = &asked.settings;
        let took = locked(&self.names).change(number, |entry| {
            let mut odd = oddities(&outcome, settings);
            let signed = outcome.signed;
            let answered = answered(outcome, entry.key.scope, &mut odd);
            if let Answered::Whole { .. } | Answered::Half { .. } = answered {
                entry.signed = Some(signed);
            }
            let news: Vec<NameOddity> = odd.iter().filter(|one| !entry.oddities.iter().any(|told| one.is_known_from(told))).cloned().collect();
            entry.oddities = odd;
            (Arc::clone(&entry.key.name), news, entry.freshness.answered(now, answered, settings))
        });
        // The name may have left the set meanwhile.
        let Some((name, news, change)) = took else { return false };
        for oddity in news {
            (self.report)(What::PeerNameOdd { name: Arc::clone(&name), oddity });
        }
        self.tell(name, change)
    }

    /// Whether any address changed.
    fn tell(&self, name: Arc<str>, change: Change) -> bool {
        if let Some(state) = change.told {
            (self.report)(What::PeerName { name, state });
        }
        change.addresses
    }

    fn expire(&mut self) -> bool {
        let now = self.now();
        let numbers = locked(&self.names).due(now);
        let mut changed = false;
        for number in numbers {
            let expired = locked(&self.names).change(number, |entry| (Arc::clone(&entry.key.name), entry.freshness.expire(now)));
            if let Some((name, change)) = expired {
                changed |= self.tell(name, change);
            }
        }
        changed
    }

    fn publish(&mut self) {
        let set = Arc::clone(&self.policies.borrow());
        let before = Arc::clone(&self.tables.borrow());
        let mut table = {
            let names = locked(&self.names);
            PeerTable::build_with(before.number + 1, &set, &|peer, name| names.addresses(peer, name))
        };
        table.date_shared(&before, &wall_clock());
        self.report_shared(&before, &table);
        self.tables.send_replace(Arc::new(table));
    }

    /// Exchange's event 1175: once when it begins, when what decides there changes, and when it ends.
    fn report_shared(&self, before: &PeerTable, table: &PeerTable) {
        let since = |shared: &Shared| shared.since.clone().unwrap_or_default();
        for shared in before.shared().iter().filter(|shared| !table.shared().iter().any(|now| now.is_same(shared))) {
            let (place, transport) = (shared.place, shared.transport);
            (self.report)(What::PeersShareNoMore { place, transport, peers: shared.names(), since: since(shared) });
        }
        let is_told =
            |shared: &Shared| before.shared().iter().any(|told| told.is_same(shared) && told.resolution() == shared.resolution() && told.since.is_some());
        for shared in table.shared().iter().filter(|shared| !is_told(shared)) {
            let (place, transport) = (shared.place, shared.transport);
            (self.report)(What::PeersShareAddress { place, transport, peers: shared.names(), resolution: shared.resolution(), since: since(shared) });
        }
    }
}

/// To the second, UTC, as RFC 3339 writes it.
fn wall_clock() -> Arc<str> {
    let now = OffsetDateTime::now_utc();
    now.replace_nanosecond(0).unwrap_or(now).format(&Rfc3339).unwrap_or_default().into()
}

fn locked(names: &Mutex<Names>) -> MutexGuard<'_, Names> {
    names.lock().unwrap_or_else(PoisonError::into_inner)
}

fn since(began: Instant) -> Time {
    Time::from_nanos(u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX))
}

/// Asks for one name. Nobody waits for a slow one: it moves out of the way, and if it was slow the last time it begins there.
async fn ask(key: Key, failing: bool, places: Places, lookup: Arc<Lookup>, limit: Duration) -> Outcome {
    let place: Option<OwnedSemaphorePermit> = Arc::clone(if failing { &places.slow } else { &places.quick }).acquire_owned().await.ok();
    let query = LocateQuery {
        host: key.name,
        // Any port will do: where the peer has one, only addresses are asked for.
        port: key.service.is_none().then_some(Transport::Udp.default_port()),
        transport: Some(key.service.unwrap_or(Transport::Udp)),
        allowed: Vec::new(),
    };
    // Always the same seed: the order among equals must not look like a change.
    let located = lookup::locate(&lookup, query, 0, Instant::now() + limit);
    tokio::pin!(located);
    if let Ok(outcome) = tokio::time::timeout(PATIENCE, &mut located).await {
        return outcome;
    }
    // Where even the slow ones have no place left, it keeps its own.
    let _place = Arc::clone(&places.slow).try_acquire_owned().ok().or(place);
    located.await
}

/// What the scope refuses is dropped and told; the hosts file is the operator's own word, and not judged.
fn answered(outcome: Outcome, scope: AddressScope, odd: &mut Vec<NameOddity>) -> Answered {
    let error = outcome.error.unwrap_or(NameError::Timeout);
    let scope = if outcome.from_hosts_file { AddressScope::Any } else { scope };
    match outcome.located.targets {
        Ok(targets) => {
            let mut addresses: Vec<Address> = Vec::with_capacity(targets.len());
            let mut refused: Vec<IpAddr> = Vec::new();
            for target in targets {
                let ip: IpAddr = target.address.ip();
                if !scope.admits(ip) {
                    refused.push(ip);
                } else if !addresses.iter().any(|known| known.ip == ip) {
                    addresses.push(Address { ip, ttl: outcome.ttls.get(&ip).copied() });
                }
            }
            if !refused.is_empty() {
                refused.sort_unstable();
                refused.dedup();
                odd.push(NameOddity::Refused { scope, addresses: refused });
            }
            if addresses.is_empty() {
                return Answered::Failed(NameError::OutOfScope);
            }
            if outcome.located.complete { Answered::Whole { addresses, ttl: outcome.ttl } } else { Answered::Half { addresses, error } }
        }
        Err(LocateError::NotFound) => Answered::Absent { ttl: outcome.absent },
        Err(LocateError::Failed) => Answered::Failed(error),
    }
}

fn oddities(outcome: &Outcome, settings: &Settings) -> Vec<NameOddity> {
    let mut odd = Vec::new();
    if let Some((given, kept)) = outcome.too_many {
        odd.push(NameOddity::TooMany { given, kept });
    }
    if outcome.unasked > 0 {
        odd.push(NameOddity::Unasked { given: outcome.unasked });
    }
    if outcome.ttl.is_some_and(|ttl| ttl.is_zero()) && outcome.located.targets.is_ok() {
        odd.push(NameOddity::ZeroTtl { floor: asking::floor(settings) });
    }
    odd
}
