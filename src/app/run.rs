//! `portcullis run POLICYSET`: the border itself. SIGHUP reloads the policy set and its certificates, all or nothing; SIGTERM and SIGINT stop it
//! gracefully, a second one at once. systemd is told of each of these, and that the border lives.

use std::path::PathBuf;
use std::process::ExitCode;

use tokio::signal::unix::{SignalKind, signal};

use crate::adapters::supervisor::{News, Supervisor, Watch as Signs};
use crate::adapters::telemetry::log;
use crate::app::api::{Order, Task};
use crate::app::border::Border;
use crate::app::mailboxes::Watch;
use crate::config;

/// What `systemctl status` says of a border that stops.
const DRAINING: &str = "draining: no new calls, those that are up go on";

/// Exit status: 0 stopped as asked, 1 the policy set has problems or something could not be opened.
pub fn run(folder: PathBuf) -> ExitCode {
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
        match Border::start(settings).await {
            Ok(border) => serve(border, folder).await,
            Err(error) => {
                eprintln!("{error}");
                ExitCode::from(1)
            }
        }
    })
}

async fn serve(mut border: Border, folder: PathBuf) -> ExitCode {
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
    let Some(mut orders) = border.orders() else { return ExitCode::from(1) };
    let (Ok(mut hangup), Ok(mut terminate), Ok(mut interrupt)) =
        (signal(SignalKind::hangup()), signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        eprintln!("the system gives no signals");
        return ExitCode::from(1);
    };
    let supervisor = supervisor();
    let mut signs = supervisor.watch();
    supervisor.tell(&[News::Ready, News::Status(status(&border, false))]);
    let mut mailboxes = Watch::of(border.settings());
    // The last reload was.
    let mut refused = false;
    loop {
        tokio::select! {
            () = signs.due() => sign(&supervisor, border.media_is_whole(), status(&border, refused)),
            _ = hangup.recv() => {
                refused = reload(&mut border, &folder, &supervisor).is_err();
                mailboxes = Watch::of(border.settings());
            }
            Some(order) = orders.recv() => {
                refused = carry_out(&mut border, &folder, order, &supervisor);
                mailboxes = Watch::of(border.settings());
            }
            table = mailboxes.changed() => border.take_mailboxes(table),
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            () = border.died() => return failed(border).await,
        }
    }
    // Who still waits for an order is told that the border is stopping.
    drop(orders);
    tracing::info!("draining: no new calls; a second signal ends at once");
    supervisor.tell(&[News::Stopping { within: border.stops_within() }, News::Status(DRAINING)]);
    border.drain();
    let last_words = tokio::select! {
        () = border.drained() => false,
        _ = terminate.recv() => true,
        _ = interrupt.recv() => true,
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
fn reload(border: &mut Border, folder: &std::path::Path, supervisor: &Supervisor) -> Result<Vec<String>, String> {
    supervisor.tell(&[News::Reloading]);
    let outcome = border.reload(folder);
    supervisor.tell(&[News::Ready, News::Status(status(border, outcome.is_err()))]);
    match outcome {
        Ok(told) => {
            for line in &told {
                tracing::warn!("{line}");
            }
            tracing::info!(folder = %folder.display(), "policy set reloaded");
            Ok(told)
        }
        // The old set stays in force.
        Err(error) => {
            tracing::error!("reload refused, the old policy set stays in force: {error}");
            Err(error.to_string())
        }
    }
}

/// Returns whether a reload was refused.
fn carry_out(border: &mut Border, folder: &std::path::Path, order: Order, supervisor: &Supervisor) -> bool {
    let outcome = match order.task {
        Task::Reload => {
            tracing::info!(operator = &*order.operator.name, via = %order.operator.via, "an operator asks for a reload");
            reload(border, folder, supervisor)
        }
    };
    let refused = outcome.is_err();
    // Whoever asked may have left.
    let _ = order.reply.send(outcome);
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
