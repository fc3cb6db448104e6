//! `portcullis run POLICYSET`: the border itself. SIGHUP reloads the policy set and its certificates, all or nothing; SIGTERM and SIGINT stop it
//! gracefully, a second one at once.

use std::path::PathBuf;
use std::process::ExitCode;

use tokio::signal::unix::{SignalKind, signal};

use crate::adapters::telemetry::log;
use crate::app::api::{Order, Task};
use crate::app::border::Border;
use crate::app::mailboxes::Watch;
use crate::config;

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
    let mut mailboxes = Watch::of(border.settings());
    loop {
        tokio::select! {
            _ = hangup.recv() => {
                drop(reload(&mut border, &folder));
                mailboxes = Watch::of(border.settings());
            }
            Some(order) = orders.recv() => {
                carry_out(&mut border, &folder, order);
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
    border.drain();
    tokio::select! {
        () = border.drained() => {}
        _ = terminate.recv() => border.release_all().await,
        _ = interrupt.recv() => border.release_all().await,
        () = border.died() => return failed(border).await,
    }
    border.stop().await;
    tracing::info!("stopped");
    ExitCode::SUCCESS
}

/// A border without its core answers nobody; whoever supervises the process starts another.
async fn failed(border: Border) -> ExitCode {
    tracing::error!("the signalling core has ended by a fault of its own, which stands in the lines before this one; calls are lost, stopping");
    border.stop().await;
    ExitCode::from(1)
}

/// What changed and what did not, as told in the log.
fn reload(border: &mut Border, folder: &std::path::Path) -> Result<Vec<String>, String> {
    match border.reload(folder) {
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

fn carry_out(border: &mut Border, folder: &std::path::Path, order: Order) {
    let outcome = match order.task {
        Task::Reload => {
            tracing::info!(operator = &*order.operator.name, via = %order.operator.via, "an operator asks for a reload");
            reload(border, folder)
        }
    };
    // Whoever asked may have left.
    let _ = order.reply.send(outcome);
}
