//! The recording that the border itself makes: the INVITEs beside the call records of its store.

use std::cell::Cell;
use std::path::PathBuf;

use bytes::Bytes;

use super::heard::{Before, Heard, Place, Recording};
use crate::adapters::history::{self, Chosen, Recorded};
use crate::adapters::telemetry::invites::Told;
use crate::sip::Transport;

/// A store of call records, as a file.
pub struct Records {
    store: PathBuf,
    chosen: Chosen,
    unreadable: Cell<u64>,
}

impl Records {
    pub fn new(store: PathBuf, chosen: Chosen) -> Records {
        Records { store, chosen, unreadable: Cell::new(0) }
    }
}

impl Recording for Records {
    fn each(&self, with: &mut dyn FnMut(Heard) -> bool) -> Result<(), String> {
        self.unreadable.set(0);
        let mut each = |recorded: Recorded| match heard(recorded) {
            Some(heard) => with(heard),
            None => {
                self.unreadable.set(self.unreadable.get() + 1);
                true
            }
        };
        history::recorded(&self.store, &self.chosen, &mut each).map_err(|error| error.to_string())
    }

    fn remarks(&self) -> Vec<String> {
        match self.unreadable.get() {
            0 => Vec::new(),
            count => vec![format!("{count} INVITEs were written by another version of this program and are left out")],
        }
    }
}

fn heard(recorded: Recorded) -> Option<Heard> {
    let told: Told = serde_json::from_str(&recorded.invite.told).ok()?;
    Some(Heard {
        place: Place::Record { number: recorded.number, call: recorded.call },
        at: Some(recorded.began),
        caller: recorded.caller,
        called: recorded.called,
        transport: Transport::from_token(&told.transport)?,
        source: told.source,
        local: told.local,
        tls: told.tls,
        message: Bytes::from(recorded.invite.message),
        before: told.screened.map_or(Before::Unasked { reason: recorded.reason }, |then| Before::Screened(Box::new(then))),
    })
}
