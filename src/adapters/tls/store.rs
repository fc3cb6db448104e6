//! The credentials in force, and how others take their place.

use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use rustls::pki_types::UnixTime;
use tokio::sync::watch;

use super::credentials::Credentials;
use super::crl::{Crl, CrlSource};
use super::door::Door;
use super::refresh;
use super::revocation::Held;
use crate::policy::flow::ListenerId;

/// The credentials in force. New handshakes use the newest; open connections go on until they are asked about again.
pub struct CredentialStore {
    current: ArcSwap<Credentials>,
    generation: watch::Sender<u64>,
    /// Held while something is changed, so that no change is lost in another.
    changing: Mutex<()>,
}

impl CredentialStore {
    pub fn new(credentials: Credentials) -> CredentialStore {
        CredentialStore { current: ArcSwap::from_pointee(credentials), generation: watch::Sender::new(1), changing: Mutex::default() }
    }

    /// Puts others in force for every handshake from now on, inbound and outbound alike. CRLs fetched so far are kept, and
    /// whoever has left the set is until `release`. Returns their number.
    pub fn swap(&self, mut credentials: Credentials) -> u64 {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        credentials.inherit(&self.current.load());
        self.current.store(Arc::new(credentials));
        self.changed()
    }

    /// Others for the operators' door, ahead of a swap of all; returns those it had.
    pub fn put_door(&self, door: Option<Arc<Door>>) -> Option<Arc<Door>> {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        self.current.load().put_door(door)
    }

    /// Whoever has left the set and is no concern of anybody (by name) is trusted no more.
    pub fn release(&self, concerns: impl Fn(&str) -> bool) {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        self.current.load().release(concerns);
    }

    /// A listener that has left the set is used no more.
    pub fn release_listener(&self, id: ListenerId) {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        self.current.load().release_listener(id);
    }

    /// Counts up whenever `recheck` may answer otherwise than before, the passing of time apart: with each load, the first being 1, and with each
    /// CRL that is renewed.
    pub fn generation(&self) -> u64 {
        *self.generation.borrow()
    }

    /// As `generation`, to be waited for.
    pub fn generations(&self) -> watch::Receiver<u64> {
        self.generation.subscribe()
    }

    pub fn current(&self) -> Arc<Credentials> {
        self.current.load_full()
    }

    /// Puts new lists of a source into force, if they are fit to. `Ok(false)`: they are those already held.
    pub(super) fn take(&self, source: &CrlSource, lists: Vec<Crl>) -> Result<bool, String> {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let (credentials, now) = (self.current(), UnixTime::now());
        let Some(slot) = credentials.crl_slot(source) else { return Ok(false) };
        refresh::fit(&lists, &slot.held.load(), credentials.issuers(), credentials.algorithms(), now)?;
        slot.succeeded(now);
        let held = slot.lists();
        if held.len() == lists.len() && held.iter().zip(&lists).all(|(held, new)| **held == *new) {
            return Ok(false);
        }
        let held: Vec<Arc<Held>> = lists.into_iter().map(|crl| Held::new(Arc::new(crl))).collect();
        // Found out here, not in the first handshake.
        for held in &held {
            let _ = held.is_signed(credentials.issuers(), credentials.algorithms());
        }
        slot.held.store(Arc::new(held));
        self.changed();
        Ok(true)
    }

    fn changed(&self) -> u64 {
        self.generation.send_modify(|generation| *generation += 1);
        self.generation()
    }
}
