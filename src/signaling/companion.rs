//! Two processes of one border, while one takes over from the other: which of them a message is for.
//!
//! What is about a transaction (RFC 3261 §17.1.3, §17.2.3) or a dialog (§12) belongs to the process that has it. What is about neither begins
//! something new, and is the successor's. Who gets a message that is the other's hands it over as it came; what was handed over is never handed back,
//! so each message is dealt with once.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::policy::flow::Flow;
use crate::policy::settings::Peer;
use crate::signaling::border::Border;
use crate::sip::{Message, Method};

/// Pairs of media ports of each address that calls which go on may still need here, for transfers and changes of their sound.
const SPARE_PORTS: usize = 64;

/// The other process, as long as there is one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Companion {
    /// It takes over from us: we keep our calls, it gets all others.
    Successor,
    /// We take over from it: it keeps its calls, we get all others.
    Predecessor,
}

/// How things come to stand between two processes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Change {
    /// From now on there is a successor. The answer is `Action::Bequeath`.
    Leave,
    /// From now on there is a predecessor, and this is what it has said. Before the first call.
    Follow(Bequest),
    /// There is no other process any more.
    Alone,
}

/// What a predecessor says of itself, so that nothing is used twice.
#[derive(Clone, PartialEq, Eq, Debug, Default, serde::Serialize, serde::Deserialize)]
pub struct Bequest {
    /// The first number that no call has had.
    pub next_call: u64,
    /// The RTP ports of the pairs it keeps.
    pub ports: Vec<SocketAddr>,
}

/// The bequest of a process that is left.
pub fn leave(border: &mut Border) -> Bequest {
    border.companion = Some(Companion::Successor);
    border.bequest(SPARE_PORTS)
}

/// Whether a message is for the other process. `peer`: who is behind the flow, as far as we know; `message`: `None`, if it cannot be read.
pub fn is_theirs(border: &Border, flow: &Arc<Flow>, peer: Option<&Peer>, message: Option<&Message>) -> bool {
    let Some(companion) = border.companion else { return false };
    let (Some(peer), Some(message)) = (peer, message) else {
        // The successor has the newer table of peers, and answers whatever belongs to nothing.
        return companion == Companion::Successor;
    };
    if !message.is_request() {
        let branch = message.top_via().ok().and_then(|via| via.branch().map(str::to_owned));
        return !branch.is_some_and(|branch| border.mint.is_ours(&branch));
    }
    if is_known(border, flow, peer, message) {
        return false;
    }
    let is_about_something = message.to().is_ok_and(|to| to.tag().is_some()) || matches!(message.method(), Some(Method::Ack | Method::Cancel));
    companion == Companion::Successor || is_about_something
}

/// Whether a request is about a transaction or a dialog of this process.
pub fn is_known(border: &Border, flow: &Arc<Flow>, peer: &Peer, message: &Message) -> bool {
    let in_dialog = message.to().ok().and_then(|to| to.tag().map(str::to_owned)).is_some_and(|tag| border.tags.contains_key(&tag));
    in_dialog || border.transactions.knows(message, &peer.name, flow)
}
