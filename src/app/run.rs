//! `portcullis run POLICYSET`: the border itself. SIGHUP reloads the policy set and its certificates, all or nothing; SIGTERM and SIGINT stop it
//! gracefully, a second one at once. systemd is told of each of these, and that the border lives.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot};

use crate::adapters::api::Operator;
use crate::adapters::supervisor::{News, Supervisor, Watch as Signs};
use crate::adapters::telemetry::log;
use crate::app::adopting;
use crate::app::api::takeover::Asked;
use crate::app::api::{Order, Outcome, Task};
use crate::app::border::Border;
use crate::app::mailboxes::Watch;
use crate::app::takeover::{self, Left, Offering, Successor, Wanted};
use crate::config;

/// What `systemctl status` says of a border that stops.
const DRAINING: &str = "draining: no new calls, those that are up go on";

/// Runs the border on a policy set. SIGHUP reloads it, SIGTERM drains and stops.
#[derive(clap::Args, Clone, Debug)]
pub struct Run {
    /// The folder of the policy set.
    pub policy_set: PathBuf,
    /// Take the place of the border that runs, if one does: its listening sockets come over, its calls go on in the old process until they end.
    #[arg(long)]
    pub take_over: bool,
    /// The running border's control socket, if it is another than this policy set's.
    #[arg(long, value_name = "PATH", requires = "take_over")]
    pub socket: Option<PathBuf>,
    /// After so long, such as 2h, calls that are still up in the old process are ended; without it they end by themselves.
    #[arg(long, value_name = "TIME", requires = "take_over")]
    pub release_after: Option<String>,
}

/// Exit status: 0 stopped as asked, 1 the policy set has problems or something could not be opened, 2 wrong command line.
pub fn run(run: Run) -> ExitCode {
    let time = run.release_after.as_deref().map(|written| config::duration(written).ok_or(written));
    let release_after = match time.transpose() {
        Ok(time) => time,
        Err(written) => {
            eprintln!("--release-after {written}: write a time, such as 2h");
            return ExitCode::from(2);
        }
    };
    let after = run.take_over.then_some(Wanted { socket: run.socket, release_after });
    let folder = run.policy_set;
    let (settings, warnings) = match config::load(&folder) {
        Ok(loaded) => loaded,
        Err(problems) => {
            eprintln!("{problems}");
            return ExitCode::from(1);
        }
    };
    log::install(&settings.telemetry.log);
    for warning in &warnings {
        tracing::warn!("{warning}");
    }
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("the system gives no event loop: {error}");
            return ExitCode::from(1);
        }
    };
    runtime.block_on(async {
        let started = match &after {
            None => Border::start(settings).await,
            Some(wanted) => takeover::start(settings, wanted).await,
        };
        match started {
            Ok(border) => serve(border, folder).await,
            Err(error) => {
                eprintln!("{error}");
                ExitCode::from(1)
            }
        }
    })
}

/// What the system asks of the process.
pub struct Signals {
    pub hangup: Signal,
    pub end: End,
}

/// The signals that ask it to end.
pub struct End {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn heard() -> io::Result<Signals> {
        let [hangup, terminate, interrupt] = [SignalKind::hangup(), SignalKind::terminate(), SignalKind::interrupt()].map(signal);
        Ok(Signals { hangup: hangup?, end: End { terminate: terminate?, interrupt: interrupt? } })
    }
}

impl End {
    /// Returns when the process is to end. Nothing is lost if it is dropped while it waits.
    pub async fn asked(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Why a border does not go on as it is.
enum Turn {
    Stop,
    Died,
    TakenOver(Successor),
}

async fn serve(mut border: Border, folder: PathBuf) -> ExitCode {
    announce(&border);
    let Some(mut orders) = border.orders() else { return ExitCode::from(1) };
    let Ok(mut signals) = Signals::heard() else {
        eprintln!("the system gives no signals");
        return ExitCode::from(1);
    };
    border.policy_sets().begin(&folder);
    let supervisor = supervisor();
    let mut signs = supervisor.watch();
    loop {
        match take_calls(&mut border, &folder, &mut orders, &mut signals, &supervisor, &mut signs).await {
            Turn::Stop => break,
            Turn::Died => return failed(border).await,
            Turn::TakenOver(successor) => {
                if let Some(pid) = successor.pid {
                    supervisor.tell(&[News::Successor { pid }]);
                }
                match takeover::leave(&mut border, successor, &mut signals, &mut orders).await {
                    Left::CallLess => {
                        border.stop().await;
                        tracing::info!("stopped");
                        return ExitCode::SUCCESS;
                    }
                    Left::InPlaceAgain => {}
                    Left::AskedToEnd => break,
                    Left::Died => return failed(border).await,
                }
            }
        }
    }
    // Who still waits for an order is told that the border is stopping.
    drop(orders);
    tracing::info!("draining: no new calls; a second signal ends at once");
    supervisor.tell(&[News::Stopping { within: border.stops_within() }, News::Status(DRAINING)]);
    border.drain();
    let last_words = tokio::select! {
        () = border.drained() => false,
        () = signals.end.asked() => true,
        () = border.died() => return failed(border).await,
        never = signs_of(&border, &supervisor, &mut signs) => match never {},
    };
    if last_words {
        border.release_all().await;
    }
    supervisor.tell(&[News::Alive, News::Status("closing: no call is left")]);
    border.stop().await;
    tracing::info!("stopped");
    ExitCode::SUCCESS
}

/// Where it can be reached, in the log.
fn announce(border: &Border) {
    for (id, address) in border.bound() {
        let listener = border.settings().signaling.listeners.iter().find(|listener| listener.id == id);
        if let Some(listener) = listener {
            tracing::info!(listener = %listener.name, transport = %listener.transport, %address, "listening");
        }
    }
    if let Some(address) = border.admin() {
        tracing::info!(%address, "admin");
    }
    if let Some(path) = border.control() {
        tracing::info!(socket = %path.display(), "control");
    }
    if let Some(address) = border.api() {
        tracing::info!(%address, "api");
    }
}

async fn take_calls(
    border: &mut Border,
    folder: &Path,
    orders: &mut mpsc::Receiver<Order>,
    signals: &mut Signals,
    supervisor: &Supervisor,
    signs: &mut Signs,
) -> Turn {
    supervisor.tell(&[News::Ready, News::Status(status(border, false))]);
    let mut mailboxes = Watch::of(border.settings());
    // The last reload was.
    let mut refused = false;
    // Another process that prepares itself to take over.
    let mut offering: Option<Offering> = None;
    loop {
        tokio::select! {
            () = signs.due() => sign(supervisor, border.media_is_whole(), status(border, refused)),
            _ = signals.hangup.recv() => {
                refused = reload(border, folder, "SIGHUP", supervisor).await.is_err();
                mailboxes = Watch::of(border.settings());
            }
            Some(order) = orders.recv() => match order {
                Order { task: Task::TakeOver(asked), reply, .. } => drop(reply.send(offer(border, &mut offering, asked))),
                Order { task: Task::Adopt(adoption), operator, reply } => {
                    let outcome = match &offering {
                        Some(_) => Err("another process is about to take over: activate the set there".to_owned()),
                        None => adopting::adopt(border, folder, *adoption, &operator.name).await,
                    };
                    // Whoever asked may have left.
                    let _ = reply.send(outcome);
                    mailboxes = Watch::of(border.settings());
                }
                Order { task: Task::Reload, operator, reply } => {
                    refused = carry_out(border, folder, &operator, reply, supervisor).await;
                    mailboxes = Watch::of(border.settings());
                }
            },
            table = mailboxes.changed() => border.take_mailboxes(table),
            successor = prepared(&mut offering) => {
                offering = None;
                if let Some(successor) = successor {
                    return Turn::TakenOver(successor);
                }
            }
            () = signals.end.asked() => return Turn::Stop,
            () = border.died() => return Turn::Died,
        }
    }
}

/// Returns when another process is ready to take over, or is not to be.
async fn prepared(offering: &mut Option<Offering>) -> Option<Successor> {
    match offering {
        Some(offering) => offering.outcome().await,
        None => std::future::pending().await,
    }
}

/// Gives the sockets to another process, one at a time; the border goes on.
fn offer(border: &Border, offering: &mut Option<Offering>, asked: Asked) -> Result<Vec<String>, String> {
    if offering.is_some() {
        return Err("another process is about to take over already".to_owned());
    }
    if let Some(why) = Offering::refusal(border, &asked) {
        return Err(why);
    }
    *offering = Some(Offering::begin(border, asked).map_err(|error| format!("its sockets cannot be given: {error}"))?);
    Ok(Vec::new())
}

/// What `systemctl status` says of a border that runs.
fn status(border: &Border, refused: bool) -> &'static str {
    match (border.takes_calls(), refused) {
        (false, _) => "drained by an operator: no new calls until `portcullis resume`",
        (true, true) => "taking calls by the old policy set: the last reload was refused, see the log",
        (true, false) => "taking calls",
    }
}

/// The way to systemd, if it started us.
fn supervisor() -> Supervisor {
    Supervisor::of_environment().unwrap_or_else(|error| {
        tracing::warn!("systemd is told nothing, and will think that the border never started: NOTIFY_SOCKET cannot be used: {error}");
        Supervisor::default()
    })
}

/// One sign of life, but none of a border that lacks a media thread, whose calls have no sound. The core needs no asking, since it runs on the thread
/// that says this: were it stuck, so would this be.
fn sign(supervisor: &Supervisor, media_is_whole: bool, status: &str) {
    if media_is_whole {
        supervisor.tell(&[News::Alive, News::Status(status)]);
    } else {
        supervisor.tell(&[News::Status("a media thread has ended by a fault and is not back yet: the watchdog ends the process unless it comes back")]);
    }
}

/// Signs of life for as long as it is polled.
async fn signs_of(border: &Border, supervisor: &Supervisor, signs: &mut Signs) -> std::convert::Infallible {
    loop {
        signs.due().await;
        sign(supervisor, border.media_is_whole(), DRAINING);
    }
}

/// A border without its core answers nobody; whoever supervises the process starts another.
async fn failed(border: Border) -> ExitCode {
    tracing::error!("the signalling core has ended by a fault of its own, which stands in the lines before this one; calls are lost, stopping");
    border.stop().await;
    ExitCode::from(1)
}

/// What changed and what did not, as told in the log.
async fn reload(border: &mut Border, folder: &Path, by: &str, supervisor: &Supervisor) -> Result<Vec<String>, String> {
    supervisor.tell(&[News::Reloading]);
    let outcome = adopting::reload(border, folder, by).await;
    supervisor.tell(&[News::Ready, News::Status(status(border, outcome.is_err()))]);
    match outcome {
        Ok(told) => {
            border.refused(None);
            for line in &told {
                tracing::warn!("{line}");
            }
            tracing::info!(folder = %folder.display(), "policy set reloaded");
            Ok(told)
        }
        // The old set stays in force.
        Err(error) => {
            tracing::error!("reload refused, the old policy set stays in force: {error}");
            border.refused(Some((by, &error)));
            Err(error)
        }
    }
}

/// Returns whether a reload was refused.
async fn carry_out(border: &mut Border, folder: &Path, operator: &Operator, reply: oneshot::Sender<Outcome>, supervisor: &Supervisor) -> bool {
    tracing::info!(operator = &*operator.name, via = %operator.via, "an operator asks for a reload");
    let outcome = reload(border, folder, &operator.name, supervisor).await;
    let refused = outcome.is_err();
    // Whoever asked may have left.
    let _ = reply.send(outcome);
    refused
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixDatagram;
    use std::time::Duration;

    #[test]
    fn a_border_without_a_media_thread_gives_no_sign_of_life() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let supervisor = Supervisor::at(path.as_os_str(), None).unwrap();
        let heard = || {
            let mut buffer = [0; 512];
            let length = socket.recv(&mut buffer).unwrap();
            String::from_utf8_lossy(&buffer[..length]).into_owned()
        };
        sign(&supervisor, true, "well");
        assert_eq!(heard(), "WATCHDOG=1\nSTATUS=well\n");
        sign(&supervisor, false, "well");
        let text = heard();
        assert!(!text.contains("WATCHDOG") && text.contains("media thread"), "{text}");
    }
}
