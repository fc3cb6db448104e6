//! The composition root: settings become a running border. Everything is loaded and checked before the first socket opens.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::{mpsc, watch};

use crate::adapters::admin::Admin;
use crate::adapters::api::{Api, Audit, Start};
use crate::adapters::clock::Clock;
use crate::adapters::dns::{Locator, PeerResolver};
use crate::adapters::driver::{self, Input};
use crate::adapters::media::MediaPlane;
use crate::adapters::net::{Gates, Network};
use crate::adapters::nft::{Firewall, Place};
use crate::adapters::telemetry::{Anchor, Sink, Telemetry};
use crate::adapters::tls::CredentialStore;
use crate::app::admin_view::State;
use crate::app::api::{self, Changes, Desk, Limits, Order, Shown, Standing, Watched, calls::Calls};
use crate::app::census::{Held, Queues};
use crate::app::firewall;
use crate::app::handshakes::Handshakes;
use crate::app::hosted;
use crate::app::listening::{Listening, take_bound_addresses};
use crate::app::measuring;
use crate::app::media_addresses;
use crate::app::missed_calls::{self, MissedCalls};
use crate::app::outlets::Outlets;
use crate::app::policy_sets::PolicySets;
use crate::app::reloading::{AT_NEXT_START, as_running, restart_needed};
use crate::app::reporting::Reporting;
use crate::app::rotation::{self, Rotation};
use crate::app::takeover::{Between, Estate, Inheritance};
use crate::config;
use crate::policy::flow::ListenerId;
use crate::policy::mailboxes::MailboxTable;
use crate::policy::peer::PeerTable;
use crate::policy::settings::PolicySet;
use crate::signaling::core::Core;
use crate::signaling::event::{Action, Command, Event};
use crate::signaling::fact::What;

/// Events of the network that may wait for the core; above it datagrams are dropped and streams made to wait.
const TRAFFIC: usize = 8192;

/// How long calls get to end by BYE after the drain time.
const LAST_WORDS: Duration = Duration::from_secs(3);

/// How long the records of what is left then may take to be filed.
const LAST_FILING: Duration = Duration::from_secs(1);

/// How long the last notice may take to be delivered, and a disk for those that wait.
const LAST_NOTICES: Duration = Duration::from_secs(5);

/// How long sockets, threads and files may take to close at the very end.
const CLOSING: Duration = Duration::from_secs(15);

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
    pub(super) network: Arc<Network>,
    pub(super) firewall: Firewall,
    listening: Arc<Listening>,
    media: Option<Arc<MediaPlane>>,
    pub(super) resolver: Arc<PeerResolver>,
    pub(super) locator: Arc<Locator>,
    pub(super) rotation: Arc<Rotation>,
    pub(super) commands: mpsc::UnboundedSender<Input>,
    /// The way to another process of this border, while there is one.
    pub(super) between: Arc<Between>,
    drained: watch::Receiver<bool>,
    driver: tokio::task::JoinHandle<()>,
    /// Closed when the driver has ended, however it did.
    alive: watch::Receiver<()>,
    pub(super) admin: Option<Admin>,
    pub(super) api: Api,
    pub(super) audit: Audit,
    reporting: Reporting,
    missed_calls: Option<MissedCalls>,
    /// What operators ask of the border as a whole, for whoever owns it to carry out.
    orders: Option<mpsc::Receiver<Order>>,
    pub(super) state: Arc<State>,
    policy_sets: Arc<PolicySets>,
    /// In force. Of the parts that a reload cannot change: as they run.
    settings: config::Settings,
    loads: u64,
}

/// Carries out the core's actions.
struct Rim {
    network: Arc<Network>,
    firewall: Firewall,
    listening: Arc<Listening>,
    media: Arc<MediaPlane>,
    locator: Arc<Locator>,
    sink: Sink,
    watched: Watched,
    calls: Calls,
    standing: Arc<Standing>,
    held: Held,
    changes: Changes,
    limits: Arc<Limits>,
    missed_calls: Option<MissedCalls>,
    commands: mpsc::UnboundedSender<Input>,
    between: Arc<Between>,
    drained: watch::Sender<bool>,
    /// The peer table the core goes by.
    core_table: watch::Sender<Arc<PeerTable>>,
}

impl driver::Rim for Rim {
    fn act(&self, action: Action) {
        match action {
            Action::Transmit { id, route, bytes } => self.network.transmit(id, route, bytes),
            Action::Media(command) => {
                firewall::follow_media(&self.firewall, &command);
                self.media.command(command);
            }
            Action::Fact(fact) => {
                self.watched.note(&fact);
                self.calls.note(&fact);
                self.standing.note(&fact);
                self.changes.note(&fact);
                self.limits.note(&fact);
                self.held.note(&fact);
                if let Some(missed_calls) = &self.missed_calls {
                    missed_calls.note(&fact);
                }
                match fact.what {
                    What::Drained => drop(self.drained.send_replace(true)),
                    What::Resumed => drop(self.drained.send_replace(false)),
                    _ => {}
                }
                self.sink.put(fact);
            }
            Action::HandOver { flow, bytes } => self.between.hand_over(&self.network, flow, bytes),
            Action::FlowOver(flow) => self.between.flow_over(flow),
            Action::Bequeath(bequest) => self.between.bequeath(bequest),
            Action::Unused(listener) => self.listening.close(listener),
            Action::Doors(table) => drop(self.core_table.send_replace(table)),
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

impl Border {
    /// Within a tokio runtime. Everything runs when this returns.
    pub async fn start(settings: config::Settings) -> Result<Border, StartError> {
        Border::start_after(settings, None).await
    }

    /// The same, with what another process of this border has; the doors remain shut then.
    pub async fn start_after(settings: config::Settings, before: Option<Inheritance>) -> Result<Border, StartError> {
        let (gates, place) = if before.is_some() { (Gates::SHUT, Place::Anothers) } else { (Gates::OPEN, Place::Ours) };
        let mut before = before.unwrap_or_default();
        let clock = Clock::start();
        let certificates = rotation::Ready::load(&settings.tls)?;
        for line in certificates.remarks(&settings.signaling.listeners) {
            tracing::warn!("{line}");
        }
        media_addresses::check(&settings.signaling.media)?;
        check_hosted(&settings)?;
        let anchor = Anchor { time: crate::time::Time::ZERO, wall: clock.began() };
        let (sink, outlets) = Outlets::start(&settings, anchor)?;
        // A call has one number, in the log, on the ladder and in the store, whenever the border was started.
        let first_call = outlets.recording.stores().history.map_or(1, |history| history.highest() + 1);
        let (commands, commands_in) = mpsc::unbounded_channel();
        let listeners = settings.signaling.listeners.clone();
        let rotation = Rotation::start(clock, certificates, listeners, settings.certificates.clone(), commands.clone());

        let resolver = resolver(&settings, &commands)?;
        let mut tables = resolver.tables();
        let table = Arc::new(ArcSwap::new(tables.borrow_and_update().clone()));

        let (traffic, traffic_in) = mpsc::channel(TRAFFIC);
        let (counted, queues) = (Held::default(), Queues { network: traffic.downgrade(), telemetry: sink.clone() });
        let handshakes = Arc::new(Handshakes(rotation.store().clone()));
        let network = Network::bind_after(settings.net.clone(), handshakes, table.clone(), traffic, &mut before.sip, gates)
            .await
            .map_err(|errors| StartError(errors.iter().map(ToString::to_string).collect()))?;
        let network = Arc::new(network);
        let firewall = firewall::start(&settings, place, &network, clock, table.load_full(), &commands).await?;
        let (core_table_in, core_table) = watch::channel(table.load_full());
        rotation.attach(&network);
        let listening = Listening::new(network.clone(), firewall.clone(), rotation.store().clone(), &settings);
        let held = rotation.clone();
        firewall::follow_tables(tables, firewall.clone(), table.clone(), commands.clone(), core_table, move |table| held.table(table));
        let media = Arc::new(media_plane(&settings, &clock, &commands)?);
        let announced = crate::media::control::Event::Certificates(media.fingerprints().to_vec());
        let _ = commands.send(Input::Event(Event::Media(announced)));
        let locator = Arc::new(Locator::new(settings.dns.clone()).map_err(|error| failed("name resolution", &error))?);

        let mut signaling = settings.signaling.clone();
        take_bound_addresses(&mut signaling, &network.bound());
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(|error| StartError(vec![format!("the system gives no randomness: {error}")]))?;
        let mut core = Core::new(Arc::new(signaling), settings.policy.clone(), table.load_full(), seed);
        core.number_calls_from(first_call);
        let (drained_in, drained) = watch::channel(false);
        let (watched, calls, standing, changes) = (Watched::default(), Calls::default(), Arc::<Standing>::default(), Changes::default());
        let limits = Arc::new(Limits::new(settings.policy.clone(), calls.clone()));
        measuring::start(commands.clone(), limits.clone());
        let between = Between::new(commands.clone(), clock);
        let opening = if before.awaits_store { missed_calls::Opening::Later } else { missed_calls::Opening::Now };
        let missed_calls = settings.missed_calls.as_ref().map(|missed| MissedCalls::start(missed, opening, &settings.name, anchor, &commands)).transpose();
        let missed_calls = missed_calls.map_err(|error| failed("[missed_calls] store", &error))?;
        if let Some(missed_calls) = &missed_calls {
            between.knows(missed_calls);
        }
        let reporting = Reporting::start(reports(&settings), calls.clone(), Arc::downgrade(&media), sink.clone(), clock);
        let rim = Rim {
            network: network.clone(),
            firewall: firewall.clone(),
            listening: listening.clone(),
            media: media.clone(),
            locator: locator.clone(),
            sink,
            watched: watched.clone(),
            calls: calls.clone(),
            standing: standing.clone(),
            held: counted.clone(),
            changes: changes.clone(),
            limits: limits.clone(),
            missed_calls: missed_calls.clone(),
            commands: commands.clone(),
            between: between.clone(),
            drained: drained_in,
            core_table: core_table_in,
        };
        let (alive_in, alive) = watch::channel(());
        let driver = tokio::spawn(async move {
            driver::drive(core, clock, rim, traffic_in, commands_in).await;
            drop(alive_in);
        });

        let telemetry = outlets.telemetry.clone();
        let audit = Audit::open(settings.api.audit.as_deref()).map_err(|error| StartError(vec![error.to_string()]))?;
        let policy_sets = Arc::new(PolicySets::new(settings.clone()));
        let state = State {
            began: clock.began(),
            standing: standing.clone(),
            metrics: telemetry.metrics(),
            resolver: resolver.clone(),
            network: Arc::downgrade(&network),
            media: Arc::downgrade(&media),
            firewall: firewall.clone(),
            credentials: rotation.store().clone(),
            missed_calls: missed_calls.clone(),
            outlets: outlets.clone(),
            limits: limits.clone(),
            audit: audit.clone(),
            policy_sets: policy_sets.clone(),
            locator: locator.clone(),
            between: between.clone(),
            held: counted,
            queues,
        };
        let state = Arc::new(state);
        let admin = Admin::start_after(settings.admin.clone(), state.clone(), before.admin(settings.admin.address), false)
            .await
            .map_err(|error| failed("admin listener", &error))?;
        let (send_orders, orders) = Desk::orders();
        let (resolver_of, rotation_of) = (resolver.clone(), rotation.clone());
        between.has(Estate {
            clock,
            policy_sets: policy_sets.clone(),
            audit: audit.clone(),
            telemetry: telemetry.clone(),
            standing: standing.clone(),
            calls: calls.clone(),
            changes: changes.clone(),
        });
        let desk = Desk {
            clock,
            resolver: resolver_of,
            rotation: rotation_of,
            firewall: firewall.clone(),
            watched,
            calls,
            media: Arc::downgrade(&media),
            network: Arc::downgrade(&network),
            anchor,
            missed_calls: missed_calls.clone(),
            telemetry: telemetry.clone(),
            commands: commands.clone(),
            standing,
            changes,
            limits,
            outlets: outlets.clone(),
            policy_sets: policy_sets.clone(),
            trials: api::Trials::default(),
            audit: audit.clone(),
            orders: send_orders,
            between: between.clone(),
        };
        let opening = if gates == Gates::OPEN { Start::InPlace } else { before.api(settings.api.listen.as_ref().map(|listen| listen.address)) };
        let api = Api::start(&settings.api, api::router(Arc::new(desk)), api::needs, Arc::new(Shown(rotation.store().clone())), audit.clone(), opening);
        let api = api.await.map_err(|error| StartError(vec![error.to_string()]))?;
        // Ready is who has all its doors.
        if let Some(admin) = admin.as_ref().filter(|_| gates == Gates::OPEN) {
            admin.open(true);
        }
        let (media, orders) = (Some(media), Some(orders));
        Ok(Border {
            clock,
            telemetry,
            network,
            firewall,
            listening,
            media,
            resolver,
            locator,
            rotation,
            commands,
            between,
            drained,
            driver,
            alive,
            admin,
            api,
            audit,
            reporting,
            missed_calls,
            orders,
            state,
            policy_sets,
            settings,
            loads: 1,
        })
    }

    /// The set in force and those before it.
    pub fn policy_sets(&self) -> Arc<PolicySets> {
        self.policy_sets.clone()
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

    /// Where operators ask.
    /// Where operators look for the control socket, whoever has that place.
    pub fn control_place(&self) -> Option<PathBuf> {
        self.api.place()
    }

    pub fn control(&self) -> Option<PathBuf> {
        self.api.socket()
    }

    /// Where operators ask over the network.
    pub fn api(&self) -> Option<std::net::SocketAddr> {
        self.api.bound()
    }

    /// Orders of operators, once: the owner is to carry them out, or drop what it got to refuse them.
    pub fn orders(&mut self) -> Option<mpsc::Receiver<Order>> {
        self.orders.take()
    }

    /// Returns once every peer's name was resolved, or failed, for the first time.
    pub async fn settled(&self) {
        self.resolver.settled().await;
    }

    /// Returns if the signalling core has ended by itself, which only a fault of ours can bring about: nothing works any more then.
    pub async fn died(&self) {
        // Nothing is ever sent: it closes, or waits.
        let _ = self.alive.clone().changed().await;
    }

    /// Whether every media thread carries streams.
    pub fn media_is_whole(&self) -> bool {
        self.media.as_ref().is_none_or(|media| media.is_whole())
    }

    /// Not while it is drained, by an operator or to stop.
    pub fn takes_calls(&self) -> bool {
        !self.state.standing.draining()
    }

    /// The longest that `drain` and `stop` take together.
    pub fn stops_within(&self) -> Duration {
        self.settings.signaling.drain + LAST_WORDS + LAST_FILING + LAST_NOTICES * 2 + CLOSING
    }

    /// Takes a policy set and its certificates into force. Refused, it changes nothing; taken, it is told which parts wait for another process, and which stay as they
    /// were since they cannot be had otherwise.
    /// The records' file is opened anew even where the set is refused: it may have been moved away, and what follows would go into the old one.
    pub async fn reload(&mut self, folder: &Path) -> Result<Vec<String>, StartError> {
        self.telemetry.reopen();
        self.take(config::load(folder).map_err(|problems| StartError(vec![problems.to_string()]))?).await
    }

    /// As [`reload`](Border::reload), of a set that is read already.
    pub async fn take(&mut self, (mut settings, warnings): (config::Settings, Vec<config::Warning>)) -> Result<Vec<String>, StartError> {
        self.listening.number(&mut settings)?;
        let mut certificates = rotation::Ready::load(&settings.tls)?;
        media_addresses::check(&settings.signaling.media)?;
        check_hosted(&settings)?;
        // The last that can refuse the set.
        let listeners = self.listening.prepare(&settings)?;
        self.loads += 1;
        let settings = settings.numbered(self.loads);
        let mut told: Vec<String> = warnings.iter().map(ToString::to_string).collect();
        let waiting = restart_needed(&self.settings, &settings).into_iter().map(|part| format!("{part} changed: {AT_NEXT_START}"));
        let mut not_in_force: Vec<String> = waiting.collect();
        let mut settings = as_running(settings, &self.settings);
        let outlets = self.state.outlets.clone();
        not_in_force.extend(outlets.take(&self.settings, &mut settings).await);
        // Another store has numbers of its own.
        let from = outlets.recording.stores().history.map_or(0, |history| history.highest() + 1);
        let _ = self.commands.send(Input::Event(Event::Command(Command::NumberCalls { from })));
        not_in_force.extend(self.take_doors(&mut settings, &mut certificates).await);
        told.extend(not_in_force.iter().cloned());
        self.state.standing.put_not_in_force(not_in_force);
        told.extend(certificates.remarks(&settings.signaling.listeners));
        self.rotation.reload(certificates, settings.signaling.listeners.clone(), settings.certificates.clone());
        let mut signaling = settings.signaling.clone();
        let bound: Vec<_> = listeners.addresses().into_iter().map(|(id, _, address)| (id, address)).collect();
        take_bound_addresses(&mut signaling, &bound);
        self.listening.guard(&settings, &listeners).await;
        self.resolver.policies(settings.policy.clone());
        // The driver outlives every reload; were it gone, the border would be too.
        let _ = self.commands.send(Input::Event(Event::Policies(settings.policy.clone(), Arc::new(signaling))));
        // What comes by the new ones finds a core that knows them: it takes commands before traffic.
        told.extend(self.listening.take_force(listeners));
        self.state.limits.take(settings.policy.clone());
        self.api.know(&settings.api);
        self.reporting.take(reports(&settings));
        self.policy_sets.put(settings.clone());
        self.settings = settings;
        Ok(told)
    }

    /// Takes another table of mailboxes into force, for every new call.
    pub fn take_mailboxes(&mut self, table: Arc<MailboxTable>) {
        let mut policy = PolicySet::clone(&self.settings.policy);
        policy.mailboxes.table = Some(table);
        self.settings.policy = Arc::new(policy);
        self.policy_sets.put(self.settings.clone());
        let mut signaling = self.settings.signaling.clone();
        take_bound_addresses(&mut signaling, &self.network.bound());
        // The driver outlives every table; were it gone, the border would be too.
        let _ = self.commands.send(Input::Event(Event::Policies(self.settings.policy.clone(), Arc::new(signaling))));
    }

    /// Takes new contents of the certificate files of the set in force, all or nothing, for every handshake from now on. Returns what is worth
    /// knowing of them; the error names every file that cannot be used, and the remedy.
    pub fn rotate(&mut self) -> Result<Vec<String>, StartError> {
        self.rotation.rotate()
    }

    /// The certificates in force, and the number of their load.
    pub fn certificates(&self) -> &Arc<CredentialStore> {
        self.rotation.store()
    }

    /// No new calls from now on.
    pub fn drain(&self) {
        self.state.standing.stop();
        let release_after = Some(self.settings.signaling.drain);
        let _ = self.commands.send(Input::Event(Event::Command(Command::Drain { release_after })));
    }

    /// Ends every call now by BYE, and gives that a moment.
    pub async fn release_all(&self) {
        let _ = self.commands.send(Input::Event(Event::Command(Command::ReleaseAll)));
        let mut drained = self.drained.clone();
        if tokio::time::timeout(LAST_WORDS, drained.wait_for(|drained| *drained)).await.is_err() {
            self.finish().await;
        }
    }

    /// Calls whose other end answers no more are given up, their records filed.
    async fn finish(&self) {
        let _ = self.commands.send(Input::Event(Event::Command(Command::Finish)));
        let mut drained = self.drained.clone();
        let _ = tokio::time::timeout(LAST_FILING, drained.wait_for(|drained| *drained)).await;
    }

    /// Returns when it takes no calls and has none.
    pub async fn call_less(&self) {
        // Never closed while the border lives.
        let _ = self.drained.clone().wait_for(|drained| *drained).await;
    }

    /// Waits until no call is left after `drain`: at the latest a little after the drain time.
    pub async fn drained(&self) {
        let limit = self.settings.signaling.drain + LAST_WORDS;
        let mut drained = self.drained.clone();
        if tokio::time::timeout(limit, drained.wait_for(|drained| *drained)).await.is_err() {
            self.finish().await;
        }
    }

    /// Closes everything. Calls still up are lost, so `drain` first.
    pub async fn stop(mut self) {
        // A notice on its way over SIP is settled by its answer, which needs the network and the core.
        if let Some(missed_calls) = &self.missed_calls {
            let _ = tokio::time::timeout(LAST_NOTICES, missed_calls.close()).await;
        }
        self.firewall.stop().await;
        self.network.close().await;
        self.driver.abort();
        let _ = (&mut self.driver).await;
        if let Some(media) = self.media.take().and_then(Arc::into_inner) {
            media.close();
        }
        // What the core told of meanwhile.
        if let Some(missed_calls) = &self.missed_calls {
            let _ = tokio::time::timeout(LAST_NOTICES, missed_calls.close()).await;
        }
        self.state.outlets.flush();
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
    let plane = MediaPlane::start(settings.media.clone(), clock.anchor(), events).map_err(|error| failed("media plane", &error))?;
    for probe in plane.probes() {
        match &probe.outcome {
            Ok(how) => tracing::info!(way = %probe.way, "media packets: {how}"),
            Err(why) => tracing::info!(way = %probe.way, "media packets, not this way: {why}"),
        }
    }
    Ok(plane)
}

/// How often copies are told of media.
fn reports(settings: &config::Settings) -> Duration {
    settings.hep.as_ref().map_or(Duration::ZERO, |hep| hep.reports)
}

fn check_hosted(settings: &config::Settings) -> Result<(), StartError> {
    let lines = hosted::problems(settings);
    if lines.is_empty() { Ok(()) } else { Err(StartError(lines)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A border with one TCP listener on a port of the system's choice, and its folder.
    fn settings(media: &str) -> (tempfile::TempDir, config::Settings) {
        let folder = tempfile::tempdir().unwrap();
        let border = format!(
            "version = 1\n[[listener]]\nname = \"tcp\"\ntransport = \"tcp\"\naddress = \"127.0.0.1:5060\"\n[media]\ninside = \"{media}\"\noutside = \"127.0.0.1\"\n"
        );
        std::fs::write(folder.path().join("border.toml"), border).unwrap();
        let (mut settings, _) = config::load(folder.path()).unwrap();
        settings.net.listeners[0].address.set_port(0);
        settings.admin.address = None;
        (folder, settings)
    }

    #[tokio::test]
    async fn a_core_that_has_ended_is_noticed() {
        let border = Border::start(settings("127.0.0.1").1).await.unwrap();
        assert!(tokio::time::timeout(Duration::from_millis(50), border.died()).await.is_err(), "it lives");
        border.driver.abort();
        tokio::time::timeout(Duration::from_secs(5), border.died()).await.unwrap();
    }

    #[tokio::test]
    async fn a_media_address_that_is_not_ours_is_told_at_start() {
        let error = Border::start(settings("192.0.2.77").1).await.err().map(|error| error.to_string()).unwrap_or_default();
        assert!(error.contains("192.0.2.77") && error.contains("address of this machine"), "{error}");
    }

    #[tokio::test]
    async fn every_reload_tells_what_still_waits_for_a_restart() {
        let (folder, mut settings) = settings("127.0.0.1");
        settings.net.limits.connections = 17;
        let mut border = Border::start(settings).await.unwrap();
        let file = folder.path().join("border.toml");
        let text = std::fs::read_to_string(&file).unwrap();
        // The port the system chose: the listener is the same.
        std::fs::write(&file, text.replace("127.0.0.1:5060", &border.bound()[0].1.to_string())).unwrap();
        for _ in 0..2 {
            let told = border.reload(folder.path()).await.unwrap();
            assert!(told.iter().any(|line| line.starts_with("[limits] connections changed")), "{told:?}");
            assert!(!told.iter().any(|line| line.contains("taken out")), "{told:?}");
        }
        border.stop().await;
    }
}
