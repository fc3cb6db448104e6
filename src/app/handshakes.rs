//! Joins the network to the certificates: the one place where the two adapters meet.

use std::sync::Arc;

use tokio::net::TcpStream;

use crate::adapters::net::{self, Shaking};
use crate::adapters::tls::{self, CredentialStore};
use crate::policy::flow::{ListenerId, Presented, TlsRefusal};
use crate::policy::settings::Peer;
use crate::signaling::event::Connect;

/// Answers the network's questions from the credentials in force at that moment.
pub struct Handshakes(pub Arc<CredentialStore>);

impl net::Handshakes for Handshakes {
    fn accept(&self, listener: ListenerId, candidates: Vec<Arc<Peer>>, stream: TcpStream) -> Shaking<'_> {
        Box::pin(async move { self.0.accept(listener, candidates, stream).await.map(secured) })
    }

    fn connect<'a>(&'a self, to: &'a Connect, stream: TcpStream) -> Shaking<'a> {
        Box::pin(async move { self.0.connect(to, stream).await.map(secured) })
    }

    fn recheck(&self, presented: &Presented) -> Result<(), TlsRefusal> {
        self.0.recheck(presented)
    }
}

fn secured(shaken: tls::Secured) -> net::Secured {
    net::Secured { stream: Box::new(shaken.stream), identity: shaken.identity, presented: Arc::new(shaken.presented) }
}
