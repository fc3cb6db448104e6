//! Listening sockets that two processes of one border have at once, while one takes over from the other, and the gates behind them: which of the two
//! takes what comes in.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::watch;

use super::listeners::Stage;
use crate::policy::flow::{Flow, Presented};
use crate::signaling::event::TransmitId;
use crate::sip::Transport;

/// A listening socket of another process of this border.
#[derive(Debug)]
pub struct Inherited {
    pub is_datagram: bool,
    /// Where it is bound.
    pub address: SocketAddr,
    pub socket: OwnedFd,
}

impl Inherited {
    /// Takes out the socket for a listener; `None`: there is none like it.
    pub fn take(all: &mut Vec<Inherited>, transport: Transport, address: SocketAddr) -> Option<OwnedFd> {
        let index = all.iter().position(|one| one.is_datagram == (transport == Transport::Udp) && one.address == address)?;
        Some(all.swap_remove(index).socket)
    }
}

/// What becomes of connections that are open.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Part {
    /// They stay.
    No,
    /// A plain one goes to the other process as it stands; one over TLS is closed as soon as nothing is under way on it, and nothing has crossed for a moment.
    InPauses,
    /// One over TLS does not wait for a pause any more.
    Now,
}

/// What is taken in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Gates {
    /// New connections.
    pub connections: bool,
    pub datagrams: bool,
    pub part: Part,
}

impl Gates {
    pub const OPEN: Gates = Gates { connections: true, datagrams: true, part: Part::No };
    pub const SHUT: Gates = Gates { connections: false, datagrams: false, part: Part::No };
}

/// Resolves when the gates are so, and what the listener is for. (Never, when nobody is left to open them; a listener that is gone stays what it was.)
pub async fn until(gates: &watch::Receiver<Gates>, stage: &watch::Receiver<Stage>, hold: impl Fn(Gates, Stage) -> bool) {
    let (mut gates, mut stage, mut is_there) = (gates.clone(), stage.clone(), true);
    loop {
        let now = (*gates.borrow_and_update(), *stage.borrow_and_update());
        if hold(now.0, now.1) {
            return;
        }
        tokio::select! {
            changed = gates.changed() => if changed.is_err() {
                std::future::pending::<()>().await;
            },
            changed = stage.changed(), if is_there => is_there = changed.is_ok(),
        }
    }
}

/// The other process: some flows are its connections, and it may know whom we do not. None of it may block. False: it does not take it.
pub trait Companion: Send + Sync + 'static {
    /// To be sent on the connection that it calls so.
    fn send(&self, flow: u64, id: TransmitId, bytes: &Bytes) -> bool;

    /// To be sent on a connection that was ours and is its own now, which we called so. `id`: the other process's, if the message is.
    fn carry(&self, flow: u64, id: Option<TransmitId>, bytes: &Bytes) -> bool;

    /// From here on the connection is its own.
    fn adopt(&self, moved: Moved) -> bool;

    /// From somebody who is no peer of ours.
    fn datagram(&self, local: SocketAddr, remote: SocketAddr, bytes: &Bytes) -> bool;
}

/// A plain connection on its way from process to process. All that was to be sent on it has been.
#[derive(Debug)]
pub struct Moved {
    pub foreign: Foreign,
    /// We made it.
    pub outbound: bool,
    /// What has been read of it and is no whole message yet.
    pub rest: Bytes,
    pub socket: OwnedFd,
}

/// A connection of the other process, as that one describes it.
#[derive(Clone, PartialEq, Debug)]
pub struct Foreign {
    /// Its number there.
    pub number: u64,
    /// Where its listener is bound.
    pub listener: SocketAddr,
    /// As there; the listener and the number are not ours yet.
    pub flow: Flow,
    /// Over TLS: by what its other end has proven who it is.
    pub presented: Option<Arc<Presented>>,
}
