//! The composition root: settings become a running border. Everything is loaded and checked before the first socket opens.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::{mpsc, watch};

use crate::adapters::admin::{Admin, View};
use crate::adapters::clock::Clock;
use crate::adapters::dns::{Locator, PeerResolver};
use crate::adapters::driver::{self, Input};
use crate::adapters::media::MediaPlane;
use crate::adapters::net::{NetEvent, Network};
use crate::adapters::telemetry::{Anchor, Metrics, Sink, Telemetry};
use crate::adapters::tls::{CredentialStore, Credentials};
use crate::app::handshakes::Handshakes;
use crate::config;
use crate::policy::flow::ListenerId;
use crate::signaling::core::Core;
use crate::signaling::event::{Action, Command, Event};
use crate::signaling::fact::What;

/// Events of the network that may wait for the core; above it datagrams are dropped and streams made to wait.
const TRAFFIC: usize = 8192;

/// How long calls get to end by BYE after the drain time.
const LAST_WORDS: Duration = Duration::from_secs(3);

/// Why a border did not start. Every line names the cause and the remedy.
#[derive(Debug)]
pub struct StartError(pub Vec<String>);

impl std::fmt::Display for StartError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

/// A running border.
pub struct Border {
    pub clock: Clock,
    pub telemetry: Arc<Telemetry>,
    network: Arc<Network>,
    media: Option<Arc<MediaPlane>>,
    resolver: Arc<PeerResolver>,
    credentials: Arc<CredentialStore>,
    commands: mpsc::UnboundedSender<Input>,
    drained: watch::Receiver<bool>,
    driver: tokio::task::JoinHandle<()>,
    admin: Option<Admin>,
    state: Arc<State>,
    settings: config::Settings,
    loads: u64,
}

/// What `/readyz` tells.
struct State {
    draining: AtomicBool,
    metrics: Metrics,
    resolver: Arc<PeerResolver>,
}

impl View for State {
    fn metrics(&self) -> String {
        self.metrics.exposition()
    }

    fn ready(&self) -> Result<(), &'static str> {
        if self.draining.load(Ordering::Relaxed) {
            return Err("draining");
        }
        if self.resolver.is_settled() { Ok(()) } else { Err("peers' names are not resolved yet") }
    }
}

/// Carries out the core's actions.
struct Rim {
    network: Arc<Network>,
    media: Arc<MediaPlane>,
    locator: Arc<Locator>,
    sink: Sink,
    commands: mpsc::UnboundedSender<Input>,
    drained: watch::Sender<bool>,
}

impl driver::Rim for Rim {
    fn act(&self, action: Action) {
        match action {
            Action::Transmit { id, route, bytes } => self.network.transmit(id, route, bytes),
            Action::Media(command) => self.media.command(command),
            Action::Fact(fact) => {
                if matches!(fact.what, What::Drained) {
                    self.drained.send_replace(true);
                }
                self.sink.put(fact);
            }
            Action::Locate { id, query } => {
                let (locator, commands) = (self.locator.clone(), self.commands.clone());
                tokio::spawn(async move {
                    let targets = locator.locate(query).await;
                    // The border may have stopped meanwhile: then nobody waits.
                    let _ = commands.send(Input::Event(Event::Located { id, targets }));
                });
            }
        }
    }
}

impl From<NetEvent> for Input {
    fn from(event: NetEvent) -> Input {
        match event {
            NetEvent::Received { flow, bytes } => Input::Event(Event::Received { flow, bytes }),
            NetEvent::FlowClosed { flow } => Input::Event(Event::FlowClosed { flow }),
            NetEvent::TransportFailed { id, error } => Input::Event(Event::TransportFailed { id, error }),
            NetEvent::Stranger { transport, remote, decision } => Input::Fact(What::Stranger { transport, remote, decision }),
        }
    }
}

impl Border {
    /// Within a tokio runtime. Everything runs when this returns.
    pub async fn start(settings: config::Settings) -> Result<Border, StartError> {
        let clock = Clock::start();
        let credentials = Credentials::load(&settings.tls).map_err(|problems| StartError(problems.iter().map(ToString::to_string).collect()))?;
        let credentials = Arc::new(CredentialStore::new(credentials));
        let anchor = Anchor { time: crate::time::Time::ZERO, wall: clock.began() };
        let (sink, telemetry) = Telemetry::start(settings.telemetry.clone(), anchor).map_err(|error| failed("call records", &error))?;
        let (commands, commands_in) = mpsc::unbounded_channel();

        let resolver = resolver(&settings, &commands)?;
        let table = Arc::new(ArcSwap::new(resolver.tables().borrow().clone()));
        follow_tables(&resolver, table.clone(), commands.clone());

        let (traffic, traffic_in) = mpsc::channel(TRAFFIC);
        let handshakes = Arc::new(Handshakes(credentials.clone()));
        let network = Network::bind(settings.net.clone(), handshakes, table.clone(), traffic)
            .await
            .map_err(|errors| StartError(errors.iter().map(ToString::to_string).collect()))?;
        let network = Arc::new(network);
        let media = Arc::new(media_plane(&settings, &clock, &commands)?);
        let locator = Arc::new(Locator::new(settings.dns.clone()).map_err(|error| failed("name resolution", &error))?);

        let mut signaling = settings.signaling.clone();
        take_bound_addresses(&mut signaling, &network.bound());
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(|error| StartError(vec![format!("the system gives no randomness: {error}")]))?;
        let core = Core::new(Arc::new(signaling), settings.policy.clone(), table.load_full(), seed);
        let (drained_in, drained) = watch::channel(false);
        let rim = Rim { network: network.clone(), media: media.clone(), locator, sink, commands: commands.clone(), drained: drained_in };
        let driver = tokio::spawn(driver::drive(core, clock, rim, traffic_in, commands_in));

        let telemetry = Arc::new(telemetry);
        let state = Arc::new(State { draining: AtomicBool::new(false), metrics: telemetry.metrics(), resolver: resolver.clone() });
        let admin = Admin::start(settings.admin.clone(), state.clone()).await.map_err(|error| failed("admin listener", &error))?;
        let media = Some(media);
        Ok(Border { clock, telemetry, network, media, resolver, credentials, commands, drained, driver, admin, state, settings, loads: 1 })
    }

    pub fn settings(&self) -> &config::Settings {
        &self.settings
    }

    /// Where the listeners really listen, and the admin door.
    pub fn bound(&self) -> Vec<(ListenerId, std::net::SocketAddr)> {
        self.network.bound()
    }

    pub fn admin(&self) -> Option<std::net::SocketAddr> {
        self.admin.as_ref().map(Admin::bound)
    }

    /// Returns once every peer's name was resolved, or failed, for the first time.
    pub async fn settled(&self) {
        self.resolver.settled().await;
    }

    /// Takes a policy set and its certificates into force, all or nothing. Listeners stay as they are: what they would need a restart for is told.
    pub fn reload(&mut self, folder: &Path) -> Result<Vec<String>, StartError> {
        let (settings, warnings) = config::load(folder).map_err(|problems| StartError(vec![problems.to_string()]))?;
        let credentials = Credentials::load(&settings.tls).map_err(|problems| StartError(problems.iter().map(ToString::to_string).collect()))?;
        self.loads += 1;
        let settings = settings.numbered(self.loads);
        let mut told: Vec<String> = warnings.iter().map(ToString::to_string).collect();
        told.extend(restart_needed(&self.settings, &settings).into_iter().map(|part| format!("{part} changed: takes effect at the next start")));
        self.credentials.swap(credentials);
        let mut signaling = settings.signaling.clone();
        signaling.listeners = self.settings.signaling.listeners.clone();
        take_bound_addresses(&mut signaling, &self.network.bound());
        self.resolver.policies(settings.policy.clone());
        // The driver outlives every reload; were it gone, the border would be too.
        let _ = self.commands.send(Input::Event(Event::Policies(settings.policy.clone(), Arc::new(signaling))));
        let kept = self.settings.signaling.listeners.clone();
        self.settings = settings;
        self.settings.signaling.listeners = kept;
        self.telemetry.reopen();
        Ok(told)
    }

    /// No new calls from now on.
    pub fn drain(&self) {
        self.state.draining.store(true, Ordering::Relaxed);
        let _ = self.commands.send(Input::Event(Event::Command(Command::Drain)));
    }

    /// Ends every call now by BYE, and gives that a moment.
    pub async fn release_all(&self) {
        let _ = self.commands.send(Input::Event(Event::Command(Command::ReleaseAll)));
        let mut drained = self.drained.clone();
        let _ = tokio::time::timeout(LAST_WORDS, drained.wait_for(|drained| *drained)).await;
    }

    /// Waits until no call is left after `drain`: at the latest a little after the drain time.
    pub async fn drained(&self) {
        let limit = self.settings.signaling.drain + LAST_WORDS;
        let mut drained = self.drained.clone();
        let _ = tokio::time::timeout(limit, drained.wait_for(|drained| *drained)).await;
    }

    /// Closes everything. Calls still up are lost, so `drain` first.
    pub async fn stop(mut self) {
        self.network.close().await;
        self.driver.abort();
        let _ = (&mut self.driver).await;
        if let Some(media) = self.media.take().and_then(Arc::into_inner) {
            media.close();
        }
        self.telemetry.flush(Duration::from_secs(2));
    }
}

fn failed(what: &str, error: &std::io::Error) -> StartError {
    StartError(vec![format!("{what}: {error}")])
}

fn resolver(settings: &config::Settings, commands: &mpsc::UnboundedSender<Input>) -> Result<Arc<PeerResolver>, StartError> {
    let report = commands.clone();
    PeerResolver::start(settings.dns.clone(), settings.policy.clone(), move |what| {
        let _ = report.send(Input::Fact(what));
    })
    .map(Arc::new)
    .map_err(|error| failed("name resolution", &error))
}

/// Every new table reaches the network's doorkeeper first, then the core.
fn follow_tables(resolver: &PeerResolver, table: Arc<ArcSwap<crate::policy::peer::PeerTable>>, commands: mpsc::UnboundedSender<Input>) {
    let mut tables = resolver.tables();
    tokio::spawn(async move {
        while tables.changed().await.is_ok() {
            let next = tables.borrow_and_update().clone();
            table.store(next.clone());
            if commands.send(Input::Event(Event::Peers(next))).is_err() {
                break;
            }
        }
    });
}

fn media_plane(settings: &config::Settings, clock: &Clock, commands: &mpsc::UnboundedSender<Input>) -> Result<MediaPlane, StartError> {
    let (events, mut events_in) = mpsc::unbounded_channel();
    let commands = commands.clone();
    tokio::spawn(async move {
        while let Some(event) = events_in.recv().await {
            if commands.send(Input::Event(Event::Media(event))).is_err() {
                break;
            }
        }
    });
    MediaPlane::start(settings.media.clone(), clock.anchor(), events).map_err(|error| failed("media plane", &error))
}

/// A listener on port 0 gets a port from the system: that one is advertised.
fn take_bound_addresses(signaling: &mut crate::signaling::settings::Settings, bound: &[(ListenerId, std::net::SocketAddr)]) {
    for listener in &mut signaling.listeners {
        let Some((_, address)) = bound.iter().find(|(id, _)| *id == listener.id) else { continue };
        if listener.bound.port() == 0 {
            listener.advertised = format!("{}:{}", listener.host(), address.port()).into();
        }
        listener.bound = *address;
    }
}

/// Parts whose change a reload cannot carry out.
fn restart_needed(old: &config::Settings, new: &config::Settings) -> Vec<&'static str> {
    let mut parts = Vec::new();
    if old.net != new.net {
        parts.push("listeners");
    }
    if old.media != new.media {
        parts.push("media threads");
    }
    if old.telemetry != new.telemetry {
        parts.push("log, records and ladder");
    }
    if old.admin != new.admin {
        parts.push("admin listener");
    }
    if old.dns != new.dns {
        parts.push("name servers");
    }
    parts
}
