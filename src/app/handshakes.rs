//! Joins the network to the certificates: the one place where the two adapters meet.

use std::sync::Arc;

use crate::adapters::net;
use crate::adapters::tls::CredentialStore;
use crate::policy::flow::{ListenerId, TlsIdentity};
use crate::policy::settings::Peer;
use crate::signaling::event::Connect;

/// Answers the network's questions from the credentials in force at that moment.
pub struct Handshakes(pub Arc<CredentialStore>);

impl net::Handshakes for Handshakes {
    fn server(&self, listener: ListenerId, candidates: &[Arc<Peer>]) -> Option<Arc<rustls::ServerConfig>> {
        self.0.current().server(listener, candidates)
    }

    fn client(&self, to: &Connect) -> Option<(Arc<rustls::ClientConfig>, rustls::pki_types::ServerName<'static>)> {
        self.0.current().client(to)
    }

    fn accepted(&self, candidates: &[Arc<Peer>], connection: &rustls::CommonState) -> TlsIdentity {
        self.0.current().accepted(candidates, connection)
    }

    fn connected(&self, to: &Connect, connection: &rustls::CommonState) -> TlsIdentity {
        self.0.current().connected(to, connection)
    }
}
