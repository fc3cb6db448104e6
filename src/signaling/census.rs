//! How much the core holds of each kind at a moment, for whoever watches it: transactions (RFC 3261 §17), dialogs (§12), locations under way (RFC 3263),
//! media ports.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;

use crate::signaling::b2bua::call::{Call, Stage};
use crate::signaling::border::Border;
use crate::signaling::fact::CallId;
use crate::time::Time;

/// Told by `What::Census` when `Event::Census` asks for it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Census {
    pub transactions: ByKind,
    pub dialogs: Dialogs,
    /// Names that calls wait for.
    pub locating: usize,
    /// Requests of ours outside any call: questions for signs of life not among them.
    pub errands: usize,
    /// Of each of our addresses, in their order.
    pub ports: Vec<Ports>,
}

impl Census {
    pub fn of(border: &Border, calls: &HashMap<CallId, Box<Call>>, now: Time) -> Census {
        let mut dialogs = Dialogs::default();
        for (call, _) in border.tags.values() {
            let Some(call) = calls.get(call) else { continue };
            *match call.stage {
                Stage::Hunting(_) => &mut dialogs.early,
                Stage::Up(_) | Stage::Transferring(_) => &mut dialogs.confirmed,
                Stage::Over { .. } => &mut dialogs.ending,
            } += 1;
        }
        // A range nobody was given a pair of yet is free as a whole.
        let media = &border.settings.media;
        let addresses: BTreeSet<IpAddr> = media.inside.iter().chain(&media.outside).copied().chain(border.media_addresses()).collect();
        Census {
            transactions: border.transactions.by_kind(),
            dialogs,
            locating: border.locates.len(),
            errands: border.errands.len(),
            ports: addresses.into_iter().map(|address| border.ports_at(address, now)).collect(),
        }
    }
}

/// Transactions standing, by the figures of RFC 3261 §17.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ByKind {
    pub invite_client: usize,
    pub invite_server: usize,
    pub non_invite_client: usize,
    pub non_invite_server: usize,
}

impl ByKind {
    pub fn each(&self) -> [(&'static str, usize); 4] {
        let ByKind { invite_client, invite_server, non_invite_client, non_invite_server } = *self;
        [("invite_client", invite_client), ("invite_server", invite_server), ("non_invite_client", non_invite_client), ("non_invite_server", non_invite_server)]
    }
}

/// Dialogs of calls, by how it stands with their call.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Dialogs {
    /// The called side is still looked for, or rings.
    pub early: usize,
    /// Both legs are up.
    pub confirmed: usize,
    /// Over, and still heard of.
    pub ending: usize,
}

impl Dialogs {
    pub fn each(&self) -> [(&'static str, usize); 3] {
        [("early", self.early), ("confirmed", self.confirmed), ("ending", self.ending)]
    }
}

/// Pairs of media ports at one address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ports {
    pub address: IpAddr,
    pub used: usize,
    /// Given back just now: nobody gets them for a moment.
    pub resting: usize,
    pub free: usize,
    /// Another process of this border has them.
    pub elsewhere: usize,
}

impl Ports {
    pub fn each(&self) -> [(&'static str, usize); 4] {
        [("used", self.used), ("resting", self.resting), ("free", self.free), ("elsewhere", self.elsewhere)]
    }
}
