//! The border's listeners while it runs: a reload opens new ones before it changes anything, takes others out, and what was taken out is closed when nothing
//! uses it any more. Firewall and certificates go by what is open.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::sync::Mutex;

use crate::adapters::net::{Changed, Network, Prepared, Standing};
use crate::adapters::nft::{self, Firewall, Ours};
use crate::adapters::tls::CredentialStore;
use crate::app::border::StartError;
use crate::app::firewall::ours;
use crate::app::vitals::head;
use crate::config;
use crate::policy::flow::ListenerId;
use crate::sip::Transport;

pub struct Listening {
    network: Arc<Network>,
    firewall: Firewall,
    certificates: Arc<CredentialStore>,
    /// What the firewall goes by, held while it is told. Its listeners are the network's to say.
    guarded: Mutex<(nft::Settings, Ours)>,
}

impl Listening {
    pub fn new(network: Arc<Network>, firewall: Firewall, certificates: Arc<CredentialStore>, settings: &config::Settings) -> Arc<Listening> {
        let guarded = Mutex::new((settings.firewall.clone(), ours(settings, &[])));
        Arc::new(Listening { network, firewall, certificates, guarded })
    }

    /// Gives the listeners of a set that was read the numbers they have, or are to have, in the running border.
    pub fn number(&self, settings: &mut config::Settings) -> Result<(), StartError> {
        let none_left =
            || StartError(vec!["so many listeners have come and gone that no number is left for another: `portcullis run SET --take-over`".to_owned()]);
        let numbers = self.network.number(&settings.net.listeners).ok_or_else(none_left)?;
        let numbers: HashMap<ListenerId, ListenerId> = settings.net.listeners.iter().map(|listener| listener.id).zip(numbers).collect();
        let number = |id: &mut ListenerId| *id = numbers.get(id).copied().unwrap_or(*id);
        settings.net.listeners.iter_mut().for_each(|listener| number(&mut listener.id));
        settings.signaling.listeners.iter_mut().for_each(|listener| number(&mut listener.id));
        settings.tls.listeners.iter_mut().for_each(|certificate| number(&mut certificate.listener));
        Ok(())
    }

    /// Opens what is not open. Refused, nothing has changed.
    pub fn prepare(&self, settings: &config::Settings) -> Result<Prepared, StartError> {
        let told = |error: &dyn std::fmt::Display| format!("{error}; nothing was changed");
        self.network.prepare(&settings.net.listeners).map_err(|errors| StartError(errors.iter().map(|error| told(error)).collect()))
    }

    /// Lets the firewall guard what is open and what is to be. Returns when the kernel has it, or takes too long.
    pub async fn guard(&self, settings: &config::Settings, coming: &Prepared) {
        let mut guarded = self.guarded.lock().await;
        *guarded = (settings.firewall.clone(), ours(settings, &[]));
        guarded.1.listeners = coming.addresses().into_iter().map(|(_, transport, address)| (transport, address)).collect();
        self.tell(&mut guarded).await;
    }

    /// Puts them in force. Returns what whoever asked is to be told.
    pub fn take_force(&self, prepared: Prepared) -> Vec<String> {
        let Changed { opened, left } = self.network.take_force(prepared);
        for Standing { name, transport, address, .. } in opened {
            tracing::info!(listener = %name, %transport, %address, "listening");
        }
        let told = |Standing { name, transport, address, connections, .. }: Standing| {
            let open = if transport == Transport::Udp { String::new() } else { format!(", which has {connections} connections") };
            format!(
                "listener \"{name}\" ({transport} {address}{open}) is taken out: nothing new begins there, and it is closed when no call goes over it any more"
            )
        };
        left.into_iter().map(told).collect()
    }

    /// Nothing uses it any more. Does not wait.
    pub fn close(self: &Arc<Listening>, id: ListenerId) {
        let Some(Standing { name, transport, address, connections, .. }) = self.network.close_unused(id) else { return };
        tracing::info!(listener = %name, %transport, %address, connections, "listener closed: nothing went over it any more since it was taken out");
        self.certificates.release_listener(id);
        let listening = Arc::clone(self);
        tokio::spawn(async move {
            let mut guarded = listening.guarded.lock().await;
            guarded.1.listeners.clear();
            listening.tell(&mut guarded).await;
        });
    }

    async fn tell(&self, (settings, ours): &mut (nft::Settings, Ours)) {
        for Standing { transport, address, .. } in self.network.listeners() {
            if !ours.listeners.contains(&(transport, address)) {
                ours.listeners.push((transport, address));
            }
        }
        self.firewall.reload(settings, ours).await;
    }
}

/// A listener on port 0 gets a port from the system: that one is advertised.
pub fn take_bound_addresses(signaling: &mut crate::signaling::settings::Settings, bound: &[(ListenerId, SocketAddr)]) {
    for listener in &mut signaling.listeners {
        let Some((_, address)) = bound.iter().find(|(id, _)| *id == listener.id) else { continue };
        if listener.bound.port() == 0 {
            listener.advertised = format!("{}:{}", listener.host(), address.port()).into();
        }
        listener.bound = *address;
    }
}

/// In Prometheus' text exposition.
pub fn exposition(listeners: &[Standing]) -> String {
    let mut text = head("portcullis_listeners", "gauge", "Listeners, those that were taken out and are still used as leaving");
    for (state, leaving) in [("open", false), ("leaving", true)] {
        // Writing into a String does not fail.
        let _ = writeln!(text, "portcullis_listeners{{state=\"{state}\"}} {}", listeners.iter().filter(|listener| listener.leaving == leaving).count());
    }
    text
}
