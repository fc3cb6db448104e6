//! Certificates while the border runs: everything new is loaded and checked first, then put in force in one step, inbound and outbound alike.
//! Calls and open connections go on. What cannot be used changes nothing.
//!
//! Three things lead here: the operator (a command, SIGHUP), the files themselves where they are watched, and a reload of the policy set. What
//! blocks on the disk and is not asked for by the operator runs on a thread of its own.

mod expiry;
mod watch;

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

use self::expiry::Expiry;
use self::watch::Watch;
use crate::adapters::clock::Clock;
use crate::adapters::driver::Input;
use crate::adapters::net::Network;
use crate::adapters::tls::{self, CredentialStore, Credentials, Door, DoorFiles, Fingerprint, Upkeep};
use crate::app::border::StartError;
use crate::policy::peer::PeerTable;
use crate::signaling::fact::{CrlState, What};
use crate::signaling::settings::Listener;
use crate::sip::Transport;

/// How often the ends of certificates are looked at.
const HOURLY: Duration = Duration::from_secs(3_600);

/// Files that change while they are read are read again so often.
const READINGS: u32 = 3;

/// Certificates that have been loaded and checked, ready to be put in force.
pub struct Ready {
    settings: tls::Settings,
    credentials: Credentials,
    content: Fingerprint,
}

/// Certificates that cannot be used.
struct Refused {
    content: Fingerprint,
    /// Each with its file and its remedy.
    problems: Vec<String>,
}

impl From<Refused> for StartError {
    fn from(refused: Refused) -> StartError {
        StartError(refused.problems)
    }
}

impl Ready {
    /// All or nothing. What is read is of one moment: files that change meanwhile are read anew.
    pub fn load(settings: &tls::Settings) -> Result<Ready, StartError> {
        Ok(read(settings)?)
    }

    /// What the operators' door is to show.
    pub fn door(&self) -> Option<Arc<Door>> {
        self.credentials.door()
    }

    /// The operators' door stays what it was.
    pub fn keep_door(&mut self, files: Option<DoorFiles>, door: Option<Arc<Door>>) {
        self.credentials.put_door(door);
        self.settings.door = files;
        // Those files were not read with the others: nothing is equal to this, so that a look at them reads all once more.
        self.content = Fingerprint::of(&[]);
    }

    /// What an operator should know of them before a peer says it.
    pub fn remarks(&self, listeners: &[Listener]) -> Vec<String> {
        let mut lines: Vec<String> = self.credentials.remarks().iter().map(ToString::to_string).collect();
        lines.extend(usages(&self.credentials));
        lines.extend(listeners.iter().filter_map(|listener| misnamed(&self.credentials, listener)));
        lines
    }
}

fn read(settings: &tls::Settings) -> Result<Ready, Refused> {
    let mut content = tls::fingerprint(settings);
    let mut readings = 1;
    loop {
        let loaded = Credentials::load(settings);
        let after = tls::fingerprint(settings);
        if after == content || readings == READINGS {
            return match loaded {
                Ok(credentials) => Ok(Ready { settings: settings.clone(), credentials, content }),
                Err(problems) => Err(Refused { content, problems: problems.iter().map(ToString::to_string).collect() }),
            };
        }
        content = after;
        readings += 1;
    }
}

fn usages(credentials: &Credentials) -> Vec<String> {
    let mut lines = Vec::new();
    for certificate in credentials.certificates() {
        for (has, usage, who) in [(certificate.server_auth, "serverAuth", "call us"), (certificate.client_auth, "clientAuth", "are called by us")] {
            if !has {
                let file = certificate.file.display();
                lines.push(format!("{file}: our certificate has no {usage}: peers that {who} over TLS will refuse it; request it with both usages"));
            }
        }
    }
    lines
}

/// RFC 5922 §7.3: a peer compares the name it reaches us by, which is the advertised one, with those in our certificate.
fn misnamed(credentials: &Credentials, listener: &Listener) -> Option<String> {
    let names = credentials.own_names(listener.id).filter(|_| listener.transport == Transport::Tls)?;
    let host = listener.host();
    let host = host.trim_start_matches('[').trim_end_matches(']').trim_end_matches('.');
    let carried = names.iter().any(|name| name.eq_ignore_ascii_case(host));
    (!carried).then(|| {
        let carries = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        format!(
            "listener \"{}\": its certificate does not carry \"{host}\", the name it advertises (it carries {carries}): peers that compare them will refuse us; \
             advertise one of its names, or request it with this one",
            listener.name
        )
    })
}

/// What is in force, and when it is looked at again.
pub struct Rotation {
    clock: Clock,
    store: Arc<CredentialStore>,
    facts: mpsc::UnboundedSender<Input>,
    /// Whose open connections are asked again. Not there before it has been opened, and no longer when it has closed.
    network: OnceLock<Weak<Network>>,
    state: Mutex<State>,
    /// Held by who reads files to put them in force.
    reading: Mutex<()>,
    upkeep: tokio::sync::watch::Sender<Upkeep>,
}

struct State {
    settings: tls::Settings,
    listeners: Vec<Listener>,
    watch: Watch,
    expiry: Expiry,
}

impl Rotation {
    /// Puts the first load in force. `facts`: where to tell what happens.
    pub fn start(clock: Clock, ready: Ready, listeners: Vec<Listener>, upkeep: Upkeep, facts: mpsc::UnboundedSender<Input>) -> Arc<Rotation> {
        let Ready { settings, credentials, content } = ready;
        let state = State { settings, listeners, watch: Watch::new(content), expiry: Expiry::default() };
        let store = Arc::new(CredentialStore::new(credentials));
        let rotation = Rotation {
            clock,
            store,
            facts,
            network: OnceLock::new(),
            state: Mutex::new(state),
            reading: Mutex::default(),
            upkeep: tokio::sync::watch::Sender::new(upkeep),
        };
        rotation.tell(What::CertificatesChanged { generation: rotation.store.generation() });
        rotation.tell_endings(&mut rotation.state());
        let rotation = Arc::new(rotation);
        tokio::spawn(tend(Arc::downgrade(&rotation), rotation.upkeep.subscribe()));
        tokio::spawn(tls::keep_crls_fresh(Arc::downgrade(&rotation.store), rotation.reporter()));
        rotation
    }

    /// The network whose connections are held to these certificates. To be called once.
    pub fn attach(&self, network: &Arc<Network>) {
        let _ = self.network.set(Arc::downgrade(network));
    }

    /// Asks of every open connection whether its other end is still trusted.
    pub fn recheck(&self) {
        if let Some(network) = self.network.get().and_then(Weak::upgrade) {
            network.recheck();
        }
    }

    /// Holds open connections to a table that has come into force. A peer that has left the set is trusted, by what it was trusted by then, while a
    /// table has it or it lingers.
    pub fn table(&self, table: &PeerTable) {
        self.store.release(|name| table.peer(name).is_some() || table.who_lingers().any(|(_, peer)| &*peer.name == name));
        self.recheck();
    }

    /// Where the upkeep of CRLs tells what happens.
    fn reporter(self: &Arc<Rotation>) -> tls::Report {
        let rotation = Arc::downgrade(self);
        Arc::new(move |what| {
            let Some(rotation) = rotation.upgrade() else { return };
            let renewed = matches!(&what, What::Crl { state: CrlState::Fresh { .. } | CrlState::NotCached { .. }, .. });
            rotation.tell(what);
            if renewed {
                rotation.recheck();
            }
        })
    }

    pub fn store(&self) -> &Arc<CredentialStore> {
        &self.store
    }

    /// Loads every file of the set in force anew, and puts them in force all at once or not at all. Returns what is worth knowing of them.
    pub fn rotate(&self) -> Result<Vec<String>, StartError> {
        // Of two that read at the same time the later must win: what it read is newer.
        let _reading = self.reading.lock().unwrap_or_else(PoisonError::into_inner);
        let settings = self.state().settings.clone();
        match read(&settings) {
            Ok(ready) => {
                let mut state = self.state();
                if state.settings != settings {
                    return Err(StartError(vec!["the policy set was reloaded meanwhile, with its certificates: nothing else was changed".to_owned()]));
                }
                Ok(self.put(&mut state, ready))
            }
            Err(refused) => {
                // Whoever asked is told; the watch need not say it again.
                self.state().watch.refused(self.clock.now(), refused.content, &refused.problems);
                Err(refused.into())
            }
        }
    }

    /// Puts the certificates of a reloaded set in force.
    pub fn reload(&self, ready: Ready, listeners: Vec<Listener>, upkeep: Upkeep) {
        let mut state = self.state();
        state.listeners = listeners;
        self.put(&mut state, ready);
        self.upkeep.send_if_modified(|now| std::mem::replace(now, upkeep.clone()) != upkeep);
    }

    fn put(&self, state: &mut State, ready: Ready) -> Vec<String> {
        let remarks = ready.remarks(&state.listeners);
        let Ready { settings, credentials, content } = ready;
        let generation = self.store.swap(credentials);
        state.settings = settings;
        state.watch.in_force(content);
        self.recheck();
        self.tell(What::CertificatesChanged { generation });
        self.tell_endings(state);
        remarks
    }

    /// One look at the watched files, and what follows from it. Blocks on the disk.
    fn look(&self, period: Duration) {
        let settings = self.state().settings.clone();
        let seen = tls::fingerprint(&settings);
        let due = {
            let mut state = self.state();
            state.settings == settings && state.watch.look(self.clock.now(), period, seen)
        };
        if !due {
            return;
        }
        let _reading = self.reading.lock().unwrap_or_else(PoisonError::into_inner);
        let result = read(&settings);
        let mut state = self.state();
        match result {
            // A reload came meanwhile: its files count.
            _ if state.settings != settings => {}
            Ok(Ready { content, .. }) | Err(Refused { content, .. }) if content != seen => state.watch.unsteady(self.clock.now(), content),
            Ok(ready) => self.put(&mut state, ready).iter().for_each(|line| tracing::warn!("{line}")),
            Err(Refused { content, problems }) => {
                if state.watch.refused(self.clock.now(), content, &problems) {
                    self.tell(What::CertificatesRefused { problems });
                }
            }
        }
    }

    fn tell_endings(&self, state: &mut State) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs();
        for ending in state.expiry.due(&self.store.current().lifetimes(), now) {
            self.tell(What::CertificateEnding(ending));
        }
    }

    fn tell(&self, what: What) {
        // The driver outlives this; were it gone, nobody would be left to tell.
        let _ = self.facts.send(Input::Fact(what));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Looks after the certificates until they have gone.
async fn tend(rotation: Weak<Rotation>, mut upkeep: tokio::sync::watch::Receiver<Upkeep>) {
    let mut expiry = Instant::now() + HOURLY;
    let (mut look, mut recheck) = (None, None);
    // At most one at a time. It is not waited for: the disk may be slow, a network file system may hang, and time goes on.
    let mut looking: Option<JoinHandle<()>> = None;
    loop {
        let Upkeep { watch: period, recheck: rechecks } = upkeep.borrow_and_update().clone();
        let next = period.map(|period| *look.get_or_insert(Instant::now() + period));
        let again = *recheck.get_or_insert(Instant::now() + rechecks);
        tokio::select! {
            changed = upkeep.changed() => match changed {
                Ok(()) => (look, recheck) = (None, None),
                Err(_) => return,
            },
            // Time alone ends certificates and outdates revocation lists.
            () = sleep_until(again) => {
                let Some(rotation) = rotation.upgrade() else { return };
                rotation.recheck();
                recheck = None;
            }
            () = sleep_until(next.unwrap_or(expiry)), if next.is_some() && looking.is_none() => {
                let (Some(rotation), Some(period)) = (rotation.upgrade(), period) else { return };
                looking = Some(tokio::task::spawn_blocking(move || rotation.look(period)));
            }
            () = async { if let Some(task) = &mut looking { let _ = task.await; } }, if looking.is_some() => {
                (look, looking) = (None, None);
            }
            () = sleep_until(expiry) => {
                let Some(rotation) = rotation.upgrade() else { return };
                rotation.tell_endings(&mut rotation.state());
                expiry += HOURLY;
            }
        }
    }
}
