//! Where what is made of the facts goes: the log, records, copies of messages, traces, ladders. All of it can be changed while the border runs; a part
//! that cannot be had as it is wanted stays as it was.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;

use super::receivers::Receiver;
use super::recording::{self, Recording, Stores};
use super::{mirrored, traced};
use crate::adapters::hep::{self, Hep};
use crate::adapters::otlp::{self, Otlp};
use crate::adapters::telemetry::{self, Anchor, Change, RecordsFile, Sink, Telemetry, log};
use crate::app::border::StartError;
use crate::config;

/// A disk or a thread that does not come within this time is given up.
const PATIENCE: Duration = Duration::from_secs(5);

/// As they are now. Cheap to clone: all clones are one.
#[derive(Clone)]
pub struct Outlets {
    pub telemetry: Arc<Telemetry>,
    pub recording: Recording,
    anchor: Anchor,
    hep: Arc<ArcSwapOption<Hep>>,
    otlp: Arc<ArcSwapOption<Otlp>>,
}

impl Outlets {
    pub fn start(settings: &config::Settings, anchor: Anchor) -> Result<(Sink, Outlets), StartError> {
        let failed = |what: &str| StartError(vec![what.to_owned()]);
        let stores = Stores::open(settings, anchor.wall).map_err(|error| failed(&error.to_string()))?;
        let hep = settings.hep.as_ref().map(Hep::start).transpose().map_err(|error| failed(&error))?;
        let otlp = settings.otlp.as_ref().map(|written| traced::start(written, &settings.name)).transpose().map_err(|error| failed(&error))?;
        let tracer = otlp.clone().zip(settings.otlp.as_ref()).map(|(otlp, written)| traced::tracer(otlp, written));
        let mirror = hep.clone().map(|hep| mirrored::mirror(hep, &settings.signaling.listeners));
        let outlets = telemetry::Outlets { archive: stores.archive(), mirror, tracer };
        let (sink, telemetry) = Telemetry::start(settings.telemetry.clone(), outlets, anchor).map_err(|error| failed(&format!("call records: {error}")))?;
        let recording = Recording::new(telemetry.file(), stores);
        let (hep, otlp) = (Arc::new(ArcSwapOption::from_pointee(hep)), Arc::new(ArcSwapOption::from_pointee(otlp)));
        Ok((sink, Outlets { telemetry: Arc::new(telemetry), recording, anchor, hep, otlp }))
    }

    /// In Prometheus' text exposition.
    pub fn exposition(&self) -> String {
        self.recording.exposition()
            + &self.hep.load().as_ref().map(|hep| mirrored::exposition(hep.status())).unwrap_or_default()
            + &self.otlp.load().as_ref().map(|otlp| traced::exposition(otlp.status())).unwrap_or_default()
    }

    /// What waits to be sent, by where to, and how much may.
    pub fn queues(&self) -> Vec<(&'static str, u64, u64)> {
        let copies = self.hep.load().as_ref().map(|hep| ("hep", hep.status().waiting, hep::WAITING as u64));
        let traces = self.otlp.load().as_ref().map(|otlp| ("otlp", otlp.status().waiting, otlp::WAITING as u64));
        copies.into_iter().chain(traces).collect()
    }

    /// How it stands with those that get copies.
    pub fn receivers(&self) -> Vec<Receiver> {
        let copies = self.hep.load().as_deref().map(Receiver::of_hep);
        copies.into_iter().chain(self.otlp.load().as_deref().map(Receiver::of_otlp)).collect()
    }

    /// Waits until what was made of all facts so far is where it belongs, within some seconds. Blocks the thread.
    pub fn flush(&self) {
        self.telemetry.flush(Duration::from_secs(2));
        self.recording.stores().flush(Duration::from_secs(2));
        if let Some(otlp) = &*self.otlp.load()
            && !otlp.flush(Duration::from_secs(3))
        {
            tracing::error!(lost = otlp.status().waiting, "traces of calls did not reach the OpenTelemetry receiver in time, and are lost");
        }
        if let Some(hep) = &*self.hep.load() {
            hep.flush(Duration::from_secs(1));
            let lost = hep.status().waiting;
            if lost > 0 {
                tracing::error!(lost, "copies of SIP messages did not reach the HEP server in time, and are lost");
            }
        }
    }

    /// Changes what is wanted otherwise than it runs. What cannot be had stays, and `wanted` is made to say so; a line for each of these tells why.
    pub async fn take(&self, running: &config::Settings, wanted: &mut config::Settings) -> Vec<String> {
        let mut refused = Vec::new();
        self.take_log(running, wanted, &mut refused).await;
        self.take_ladders(running, wanted, &mut refused).await;
        self.take_records(running, wanted, &mut refused).await;
        self.take_hep(running, wanted, &mut refused).await;
        self.take_otlp(running, wanted, &mut refused).await;
        refused
    }

    async fn take_log(&self, running: &config::Settings, wanted: &mut config::Settings, refused: &mut Vec<String>) {
        if wanted.telemetry.log == running.telemetry.log {
            return;
        }
        let settings = wanted.telemetry.log.clone();
        match blocking(move || log::change(&settings)).await {
            Ok(()) => {
                self.telemetry.take(Change::Log(wanted.telemetry.log.clone()));
                taken("[log]");
            }
            Err(why) => {
                refused.push(stays("[log]", &why));
                wanted.telemetry.log = running.telemetry.log.clone();
            }
        }
    }

    async fn take_ladders(&self, running: &config::Settings, wanted: &mut config::Settings, refused: &mut Vec<String>) {
        if wanted.telemetry.ladder == running.telemetry.ladder {
            return;
        }
        let (telemetry, settings) = (Arc::clone(&self.telemetry), wanted.telemetry.ladder.clone());
        let take = move || {
            telemetry.take_ladders(settings);
            Ok(())
        };
        match blocking(take).await {
            Ok(()) => taken("[ladder]"),
            Err(why) => {
                refused.push(stays("[ladder]", &why));
                wanted.telemetry.ladder = running.telemetry.ladder.clone();
            }
        }
    }

    async fn take_records(&self, running: &config::Settings, wanted: &mut config::Settings, refused: &mut Vec<String>) {
        let before = self.recording.stores();
        let mut stores = before.clone();
        if wanted.telemetry.records != running.telemetry.records {
            let path = wanted.telemetry.records.clone();
            match blocking(move || path.as_deref().map(RecordsFile::open).transpose().map_err(|error| error.to_string())).await {
                Ok(file) => {
                    self.recording.put_file(file.as_ref().map(RecordsFile::standing));
                    self.telemetry.take(Change::File(file));
                    taken("[records] file");
                }
                Err(why) => {
                    refused.push(stays("[records] file", &why));
                    wanted.telemetry.records = running.telemetry.records.clone();
                }
            }
        }
        // One that could not be had at the start may be there by now.
        if wanted.history != running.history || wanted.history.is_some() && stores.history.is_none() {
            let (settings, now) = (wanted.history.clone(), stores.history.clone());
            match blocking(move || recording::other_history(now, settings.as_ref())).await {
                Ok(history) => {
                    stores.history = history;
                    taken("[records] store");
                }
                Err(why) => {
                    refused.push(stays("[records] store", &why));
                    wanted.history = running.history.clone();
                }
            }
        }
        if wanted.postgres != running.postgres {
            let (settings, started) = (wanted.postgres.clone(), self.anchor.wall);
            match blocking(move || recording::postgres(settings.as_ref(), started).map_err(|error| error.to_string())).await {
                Ok(postgres) => {
                    stores.postgres = postgres;
                    taken("[records.postgres]");
                }
                Err(why) => {
                    refused.push(stays("[records.postgres]", &why));
                    wanted.postgres = running.postgres.clone();
                }
            }
        }
        if wanted.history != running.history || wanted.postgres != running.postgres || stores.history.is_some() != before.history.is_some() {
            self.recording.put_stores(stores.clone());
            self.telemetry.take(Change::Archive(stores.archive()));
            before.retire(&stores);
        }
        let (invites, ladders) = (wanted.telemetry.invites_kept && stores.is_any(), wanted.telemetry.ladders_kept);
        self.telemetry.take(Change::Kept { invites, ladders });
    }

    async fn take_hep(&self, running: &config::Settings, wanted: &mut config::Settings, refused: &mut Vec<String>) {
        if wanted.hep == running.hep {
            if let Some(hep) = self.hep.load_full().filter(|_| wanted.signaling.listeners != running.signaling.listeners) {
                self.telemetry.take(Change::Mirror(Some(mirrored::mirror(Hep::clone(&hep), &wanted.signaling.listeners))));
            }
            return;
        }
        let settings = wanted.hep.clone();
        match blocking(move || settings.as_ref().map(Hep::start).transpose()).await {
            Ok(hep) => {
                self.telemetry.take(Change::Mirror(hep.clone().map(|hep| mirrored::mirror(hep, &wanted.signaling.listeners))));
                self.hep.store(hep.map(Arc::new));
                taken("[hep]");
            }
            Err(why) => {
                refused.push(stays("[hep]", &why));
                wanted.hep = running.hep.clone();
            }
        }
    }

    async fn take_otlp(&self, running: &config::Settings, wanted: &mut config::Settings, refused: &mut Vec<String>) {
        if wanted.otlp == running.otlp && (wanted.name == running.name || wanted.otlp.is_none()) {
            return;
        }
        let (settings, name) = (wanted.otlp.clone(), Arc::clone(&wanted.name));
        match blocking(move || settings.as_ref().map(|written| traced::start(written, &name)).transpose()).await {
            Ok(otlp) => {
                self.telemetry.take(Change::Tracer(otlp.clone().zip(wanted.otlp.as_ref()).map(|(otlp, written)| traced::tracer(otlp, written))));
                self.otlp.store(otlp.map(Arc::new));
                taken("[otlp]");
            }
            Err(why) => {
                refused.push(stays("[otlp]", &why));
                wanted.otlp = running.otlp.clone();
            }
        }
    }
}

/// In the log.
pub fn taken(part: &str) {
    tracing::info!(part, "a part of the border runs by the new policy set");
}

/// In words for whoever asked for the change.
pub fn stays(part: &str, why: &str) -> String {
    format!("{part} runs by the old policy set, since the new one cannot be had: {why}; mend that and reload")
}

/// Off the event loop, which carries calls, and not for ever.
pub async fn blocking<T: Send + 'static>(open: impl FnOnce() -> Result<T, String> + Send + 'static) -> Result<T, String> {
    let opened = tokio::time::timeout(PATIENCE, tokio::task::spawn_blocking(open)).await;
    opened.map_err(|_| format!("it did not open within {} s", PATIENCE.as_secs()))?.map_err(|fault| fault.to_string())?
}
