//! The firewall in the running border: at the network's doors, and in step with the peer table.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;
use tokio::sync::{mpsc, watch};

use crate::adapters::driver::Input;
use crate::adapters::net::Guard;
use crate::adapters::nft::Firewall;
use crate::policy::ban::Knock;
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

/// Carries every new table to all who go by it. Whom it adds the firewall lets in first, since who is let in by the core must not be dropped in
/// the kernel; whom it removes the doors and the core refuse first, since nobody may be dropped there whom they would still serve.
/// `core`: the number of the table the core goes by. `held`: open connections are to be held to the new table.
pub fn follow_tables(
    mut tables: watch::Receiver<Arc<PeerTable>>,
    firewall: Firewall,
    doors: Arc<ArcSwap<PeerTable>>,
    commands: mpsc::UnboundedSender<Input>,
    mut core: watch::Receiver<u64>,
    held: impl Fn() + Send + 'static,
) {
    tokio::spawn(async move {
        while tables.changed().await.is_ok() {
            let (next, published) = (tables.borrow_and_update().clone(), Instant::now());
            firewall.admit(next.clone()).await;
            let admitted = published.elapsed();
            doors.store(next.clone());
            if commands.send(Input::Event(Event::Peers(next.clone()))).is_err() {
                break;
            }
            held();
            let _ = tokio::time::timeout(CORE, core.wait_for(|number| *number >= next.number)).await;
            firewall.retire(next.clone()).await;
            let event = FirewallEvent::InStep { number: next.number, admitted, agreed: published.elapsed() };
            let _ = commands.send(Input::Fact(What::Firewall(event)));
        }
    });
}
