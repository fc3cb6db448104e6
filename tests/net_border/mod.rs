//! A border's network for tests: throw-away certificates, a peer table, real sockets on loopback.

#![allow(dead_code)]

pub mod stage;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use portcullis::adapters::net::{Limits, ListenerSettings, NetEvent, Network, Settings};
use portcullis::adapters::tls::{self, CredentialStore, Credentials, KeyPairFiles, ListenerCertificate, PeerCertificates};
use portcullis::app::certs::{Issued, write_whole};
use portcullis::app::handshakes::Handshakes;
use portcullis::policy::flow::{Flow, ListenerId};
use portcullis::policy::peer::PeerTable;
use portcullis::policy::settings::{Peer, PeerHost, PeerKind, PolicySet, SecurityMode};
use portcullis::policy::verdict::Reason;
use portcullis::signaling::event::{Connect, Route, TransmitId, TransportError};
use portcullis::sip::Transport;
use tokio::sync::mpsc;

pub const V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
pub const V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);
pub const PATIENCE: Duration = Duration::from_secs(10);

pub fn peer(name: &str, transport: Transport, host: IpAddr, tls_names: &[&str]) -> Peer {
    let mode = if transport == Transport::Tls { SecurityMode::Secured } else { SecurityMode::Unsecured };
    Peer {
        hosts: vec![PeerHost::Address(host)],
        tls_names: tls_names.iter().map(|name| Arc::from(*name)).collect(),
        ..Peer::new(name, PeerKind::Trunk, transport, mode)
    }
}

pub fn table(number: u64, peers: &[Peer]) -> PeerTable {
    let set = PolicySet { number, peers: peers.iter().cloned().map(Arc::new).collect(), ..PolicySet::default() };
    PeerTable::build(number, &set, &|_| Vec::new())
}

pub struct Border {
    pub network: Arc<Network>,
    pub events: mpsc::Receiver<NetEvent>,
    pub table: Arc<ArcSwap<PeerTable>>,
    pub credentials: Arc<CredentialStore>,
    /// Peers and reasons of TLS that was refused on our way out.
    pub told: Vec<(String, Reason)>,
}

impl Border {
    /// One listener for each of these, in order: listener n has id n.
    pub async fn open(listeners: &[(Transport, IpAddr)], peers: &[Peer]) -> Border {
        Border::with(listeners, peers, Limits::default(), tls::Settings::default()).await
    }

    pub async fn with(listeners: &[(Transport, IpAddr)], peers: &[Peer], limits: Limits, tls: tls::Settings) -> Border {
        let listener = |(n, (transport, ip)): (usize, &(Transport, IpAddr))| ListenerSettings {
            id: ListenerId(n as u16),
            name: format!("listener {n}").into(),
            transport: *transport,
            address: SocketAddr::new(*ip, 0),
        };
        let settings = Settings { listeners: listeners.iter().enumerate().map(listener).collect(), limits };
        let credentials = Arc::new(CredentialStore::new(Credentials::load(&tls).unwrap_or_else(|problems| panic!("{problems:?}"))));
        let table = Arc::new(ArcSwap::from_pointee(table(1, peers)));
        let (sender, events) = mpsc::channel(64);
        let network = Network::bind(settings, Arc::new(Handshakes(Arc::clone(&credentials))), Arc::clone(&table), sender).await.unwrap();
        Border { network: Arc::new(network), events, table, credentials, told: Vec::new() }
    }

    pub fn address(&self, listener: u16) -> SocketAddr {
        self.network.bound().into_iter().find(|(id, _)| *id == ListenerId(listener)).unwrap().1
    }

    pub fn send(&self, id: u64, route: Route, bytes: &[u8]) {
        self.network.transmit(TransmitId(id), route, Bytes::copy_from_slice(bytes));
    }

    /// The next event; what is told of refused TLS besides is put aside.
    pub async fn event(&mut self) -> NetEvent {
        loop {
            match tokio::time::timeout(PATIENCE, self.events.recv()).await.expect("an event in time").expect("the network is open") {
                NetEvent::TlsRefused { peer, refusal, .. } => self.told.push((peer.to_string(), refusal.reason)),
                event => return event,
            }
        }
    }

    pub async fn received(&mut self) -> (Arc<Flow>, Bytes) {
        match self.event().await {
            NetEvent::Received { flow, bytes } => (flow, bytes),
            other => panic!("expected a message, got {other:?}"),
        }
    }

    /// The ids and errors of the next `count` failures; other events are passed over.
    pub async fn failures(&mut self, count: usize) -> Vec<(u64, TransportError)> {
        let mut failures = Vec::new();
        while failures.len() < count {
            if let NetEvent::TransportFailed { id, error } = self.event().await {
                failures.push((id.0, error));
            }
        }
        failures.sort_by_key(|(id, _)| *id);
        failures
    }

    /// Ids and TLS reasons of the next `count` failures, each of which must be one of TLS's.
    pub async fn refusals(&mut self, count: usize) -> Vec<(u64, Reason)> {
        let reason = |error: &TransportError| match error {
            TransportError::Certificate(refusal) | TransportError::Handshake(refusal) => refusal.reason,
            other => panic!("not of TLS: {other:?}"),
        };
        self.failures(count).await.iter().map(|(id, error)| (*id, reason(error))).collect()
    }

    /// That nothing more happens for a while.
    pub async fn quiet(&mut self) {
        let event = tokio::time::timeout(Duration::from_millis(150), self.events.recv()).await;
        assert!(event.is_err(), "unexpected {event:?}");
    }
}

pub fn connect(transport: Transport, remote: SocketAddr, peer: &str, names: &[&str]) -> Connect {
    Connect { transport, remote, listener: ListenerId(0), peer: peer.into(), names: names.iter().map(|name| Arc::from(*name)).collect() }
}

/// An OPTIONS request, and an answer to it, of our own writing.
pub fn request(n: u64) -> Vec<u8> {
    format!(
        "OPTIONS sip:um@example.org SIP/2.0\r\nVia: SIP/2.0/TCP sbc.example.org;branch=z9hG4bK{n}\r\nFrom: <sip:sbc@example.org>;tag={n}\r\nTo: <sip:um@example.org>\r\n\
         Call-ID: {n}@example.org\r\nCSeq: {n} OPTIONS\r\nMax-Forwards: 70\r\nContent-Length: 5\r\n\r\nhello"
    )
    .into_bytes()
}

pub fn response(n: u64) -> Vec<u8> {
    format!(
        "SIP/2.0 200 OK\r\nVia: SIP/2.0/TCP sbc.example.org;branch=z9hG4bK{n}\r\nFrom: <sip:sbc@example.org>;tag={n}\r\nTo: <sip:um@example.org>;tag=u\r\n\
         Call-ID: {n}@example.org\r\nCSeq: {n} OPTIONS\r\nContent-Length: 0\r\n\r\n"
    )
    .into_bytes()
}

/// Writes a certificate and its key the way an operator should.
pub fn put(folder: &Path, name: &str, issued: &Issued) -> KeyPairFiles {
    let files = KeyPairFiles { certificate: folder.join(format!("{name}.pem")), key: folder.join(format!("{name}.key")) };
    write_whole(&files.key, issued.key.as_bytes(), 0o600).unwrap();
    write_whole(&files.certificate, issued.certificate.as_bytes(), 0o644).unwrap();
    files
}

/// TLS settings with one certificate for listener 0 and one CA file for each peer.
pub fn tls_settings(own: KeyPairFiles, peers: &[(&str, PathBuf)]) -> tls::Settings {
    tls::Settings {
        listeners: vec![ListenerCertificate { listener: ListenerId(0), name: "listener 0".into(), own }],
        peers: peers.iter().map(|(peer, ca)| PeerCertificates::new(peer, vec![ca.clone()])).collect(),
        ..tls::Settings::default()
    }
}
