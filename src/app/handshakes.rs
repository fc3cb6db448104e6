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
    fn server(&self, _listener: ListenerId, _candidates: &[Arc<Peer>]) -> Option<Arc<rustls::ServerConfig>> {
        None
    }

    fn client(&self, _to: &Connect) -> Option<(Arc<rustls::ClientConfig>, rustls::pki_types::ServerName<'static>)> {
        None
    }

    fn accepted(&self, _candidates: &[Arc<Peer>], _connection: &rustls::CommonState) -> TlsIdentity {
        TlsIdentity::default()
    }

    fn connected(&self, _to: &Connect, _connection: &rustls::CommonState) -> TlsIdentity {
        TlsIdentity::default()
    }
}
