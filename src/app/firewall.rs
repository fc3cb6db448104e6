//! The firewall in the running border: at the network's doors, and in step with the peer table.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;
use tokio::sync::{mpsc, watch};

use crate::adapters::clock::Clock;
use crate::adapters::driver::Input;
use crate::adapters::net::{Guard, Network};
use crate::adapters::nft::{Firewall, Mode, Ours, Place, Status};
use crate::app::border::StartError;
use crate::config;
use crate::media::control::Command;
use crate::policy::ban::Knock;
use crate::policy::flow::ListenerId;
use crate::policy::peer::PeerTable;
use crate::signaling::event::Event;
use crate::signaling::fact::{FirewallEvent, What};
use crate::sip::Transport;

/// The core takes a table from its queue, before any traffic: it takes longer only where it has no time for anything.
const CORE: std::time::Duration = std::time::Duration::from_secs(2);

/// The firewall at the network's doors.
pub struct Doors(pub Firewall);

impl Guard for Doors {
    fn turns_away(&self, table: &PeerTable, transport: Transport, address: IpAddr) -> bool {
        let knock = match transport {
            Transport::Udp => Knock::Datagram,
            Transport::Tcp | Transport::Tls => Knock::Connection,
        };
        self.0.turns_away(table, address, knock)
    }
}

/// Starts it, and puts it at the network's doors. Returns when the kernel has it, or is known not to; where another process has the kernel's table still,
/// when it is known that it could be taken.
pub async fn start(
    settings: &config::Settings,
    place: Place,
    network: &Network,
    clock: Clock,
    table: Arc<PeerTable>,
    commands: &mpsc::UnboundedSender<Input>,
) -> Result<Firewall, StartError> {
    let report = commands.clone();
    let report = move |what| {
        // Nobody hears it once the border has stopped.
        let _ = report.send(Input::Fact(what));
    };
    let started = Firewall::start(settings.firewall.clone(), &ours(settings, &network.bound()), clock, table, place, report).await;
    let firewall = started.map_err(|refused| StartError(vec![refused.to_string()]))?;
    network.guarded_by(Arc::new(Doors(firewall.clone())));
    Ok(firewall)
}

/// What is to be guarded. `bound`: where listeners really listen.
pub fn ours(settings: &config::Settings, bound: &[(ListenerId, SocketAddr)]) -> Ours {
    let listeners = settings.net.listeners.iter().map(|listener| {
        let found = bound.iter().find(|(id, _)| *id == listener.id);
        (listener.transport, found.map_or(listener.address, |(_, address)| *address))
    });
    let media = &settings.signaling.media;
    Ours {
        listeners: listeners.collect(),
        media: media.inside.iter().chain(&media.outside).copied().collect(),
        ports: media.ports,
        name_servers: settings.dns.servers.iter().map(|server| server.port()).collect(),
    }
}

/// The kernel lets media in at the ports that are signalled, and at no others.
pub fn follow_media(firewall: &Firewall, command: &Command) {
    match command {
        Command::Open { stream, a, b, .. } => firewall.media_opened(*stream, vec![a.rtp, a.rtcp, b.rtp, b.rtcp]),
        Command::Close { stream } => firewall.media_closed(*stream),
        Command::Configure { .. } | Command::Carry { .. } | Command::KeepRtcp { .. } | Command::Succeed { .. } | Command::Digit { .. } => {}
    }
}

/// In Prometheus' text exposition.
pub fn exposition(status: &Status) -> String {
    let head = |name: &str, kind: &str, help: &str| format!("# HELP {name} {help}\n# TYPE {name} {kind}\n");
    let mut text = head("portcullis_bans", "gauge", "Bans in force, by whomever");
    // Writing into a String does not fail.
    let _ = writeln!(text, "portcullis_bans {}", status.bans);
    if status.kernel.mode == Mode::Off {
        return text;
    }
    text += &head("portcullis_firewall_elements", "gauge", "Elements in the sets of our table: peers, operators' bans, open media ports");
    let _ = writeln!(text, "portcullis_firewall_elements {}", status.kernel.elements);
    text += &head("portcullis_firewall_dropped_total", "counter", "Packets the kernel dropped by our table");
    for (reason, packets) in &status.kernel.dropped {
        let _ = writeln!(text, "portcullis_firewall_dropped_total{{reason=\"firewall.{reason}\"}} {packets}");
    }
    text
}

/// Carries every new table to all who go by it. Whom it adds the firewall lets in first, since who is let in by the core must not be dropped in
/// the kernel; whom it removes the core refuses first, since nobody may be dropped there whom it would still serve. The core says what the doors and
/// the firewall are to go by: the new table, and besides whoever lingers at an address because calls are up there.
/// `core`: the table the core goes by. `held`: open connections are to be held to the new table.
pub fn follow_tables(
    mut tables: watch::Receiver<Arc<PeerTable>>,
    firewall: Firewall,
    doors: Arc<ArcSwap<PeerTable>>,
    commands: mpsc::UnboundedSender<Input>,
    mut core: watch::Receiver<Arc<PeerTable>>,
    held: impl Fn(&PeerTable) + Send + 'static,
) {
    tokio::spawn(async move {
        loop {
            let changed = tokio::select! {
                changed = tables.changed() => changed.map(|()| Some(tables.borrow_and_update().clone())),
                changed = core.changed() => changed.map(|()| None),
            };
            let Ok(next) = changed else { return };
            let mut admitted = None;
            if let Some(next) = next {
                let began = Instant::now();
                firewall.admit(next.clone()).await;
                admitted = Some((next.number, began, began.elapsed()));
                if commands.send(Input::Event(Event::Peers(next.clone()))).is_err() {
                    return;
                }
                if !matches!(tokio::time::timeout(CORE, core.wait_for(|table| table.number >= next.number)).await, Ok(Ok(_))) {
                    // It goes by the old one still, and so do the doors. When it has taken the new one, that is seen here.
                    continue;
                }
            }
            let agreed = core.borrow_and_update().clone();
            doors.store(agreed.clone());
            held(&agreed);
            firewall.retire(agreed).await;
            if let Some((number, began, admitted)) = admitted {
                let event = FirewallEvent::InStep { number, admitted, agreed: began.elapsed() };
                let _ = commands.send(Input::Fact(What::Firewall(event)));
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapters::nft::Kernel;

    #[test]
    fn what_the_kernel_dropped_can_be_scraped_by_reason() {
        let kernel =
            Kernel { mode: Mode::On, in_force: true, elements: 12, rebuilt: 1, dropped: [("stranger", 7), ("media_closed", 3)].into(), last_error: None };
        let status = Status { peer_table: 4, bans: 2, kernel };
        let text = exposition(&status);
        for line in [
            "portcullis_bans 2",
            "portcullis_firewall_elements 12",
            "portcullis_firewall_dropped_total{reason=\"firewall.stranger\"} 7",
            "portcullis_firewall_dropped_total{reason=\"firewall.media_closed\"} 3",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
        }
        let off = exposition(&Status { kernel: Kernel { mode: Mode::Off, ..status.kernel }, ..status });
        assert!(off.contains("portcullis_bans 2") && !off.contains("dropped"), "{off}");
    }

    /// A reason that no code knows could not be explained.
    #[test]
    fn every_counter_of_the_kernel_is_a_reason() {
        for counter in crate::adapters::nft::COUNTERS {
            let code = format!("firewall.{counter}");
            assert!(crate::policy::verdict::Reason::ALL.iter().any(|reason| reason.code() == code), "{code}");
        }
    }
}
