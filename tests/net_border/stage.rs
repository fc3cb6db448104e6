//! TLS without TLS: what the network is told of handshakes, at the test's will.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use portcullis::adapters::net::{self, Secured, Shaking};
use portcullis::policy::flow::{ListenerId, Presented, Proof, TlsIdentity, TlsRefusal};
use portcullis::policy::settings::Peer;
use portcullis::policy::verdict::Reason;
use portcullis::signaling::event::Connect;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

/// TLS as the network sees it, without any: shows what it is told, and takes back what it is told.
#[derive(Default)]
pub struct Stage {
    /// Certificates no longer trusted, by the name of their peer.
    pub spent: Mutex<HashSet<String>>,
    pub asked: AtomicU64,
    /// One for each handshake that may come to its end.
    pub curtain: Option<Arc<Semaphore>>,
}

impl Stage {
    async fn shake(&self, peer: Arc<str>, proves: Proof, stream: TcpStream) -> Result<Secured, TlsRefusal> {
        if let Some(curtain) = &self.curtain {
            curtain.acquire().await.unwrap().forget();
        }
        let identity = TlsIdentity { names: vec![format!("{peer}.example.org")], trusted_for: vec![peer.clone()], ..TlsIdentity::default() };
        let presented = Arc::new(Presented { chain: vec![String::from(&*peer).into()], proves });
        Ok(Secured { stream: Box::new(stream), identity, presented })
    }
}

pub struct Handshakes(pub Arc<Stage>);

impl net::Handshakes for Handshakes {
    fn accept(&self, _: ListenerId, candidates: Vec<Arc<Peer>>, stream: TcpStream) -> Shaking<'_> {
        Box::pin(async move { self.0.shake(candidates[0].name.clone(), Proof::Client(candidates), stream).await })
    }

    fn connect<'a>(&'a self, to: &'a Connect, stream: TcpStream) -> Shaking<'a> {
        let proves = Proof::Server { peer: to.peer.clone(), names: to.names.clone() };
        Box::pin(async move { self.0.shake(to.peer.clone(), proves, stream).await })
    }

    fn recheck(&self, presented: &Presented) -> Result<(), TlsRefusal> {
        self.0.asked.fetch_add(1, Ordering::SeqCst);
        let name = std::str::from_utf8(&presented.chain[0]).unwrap();
        let spent = self.0.spent.lock().unwrap().contains(name);
        if spent { Err(TlsRefusal::new(Reason::TlsRevoked, "it was revoked")) } else { Ok(()) }
    }
}
