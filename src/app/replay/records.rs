//! The recording that the border itself makes: the INVITEs beside the call records of its store.

use std::cell::Cell;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

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
    /// Once it is set, nobody wants more.
    enough: Arc<AtomicBool>,
}

impl Records {
    pub fn new(store: PathBuf, chosen: Chosen) -> Records {
        Records { store, chosen, unreadable: Cell::new(0), enough: Arc::default() }
    }

    /// The same, read no further once this is set.
    pub fn until(self, enough: Arc<AtomicBool>) -> Records {
        Records { enough, ..self }
    }
}

impl Recording for Records {
    fn each(&self, with: &mut dyn FnMut(Heard) -> bool) -> Result<(), String> {
        self.unreadable.set(0);
        let mut each = |recorded: Recorded| match heard(recorded) {
            _ if self.enough.load(Ordering::Relaxed) => false,
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::adapters::history::{Class, Fields, History, Invite, Kept, Settings};

    #[test]
    fn nothing_is_read_once_nobody_wants_more() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("records.sqlite");
        let history = History::open(&Settings { path: path.clone(), days: 0, size: 0, is_required: true }).unwrap();
        let told =
            serde_json::json!({ "transport": "udp", "source": "192.0.2.1:5060", "local": "192.0.2.2:5060", "tls": null, "peer": "trunk", "screened": null });
        for call in 1..=50_u64 {
            let class = Class { a_peer: "trunk".into(), b_peer: None, reason: "hunt_group.none", fault: "policy", answered: false, audio_fault: false };
            let fields = Fields { began: call as i64 * 1000, caller: "1".into(), called: "2".into(), class };
            let invite = Some(Invite { message: b"INVITE sip:2@x SIP/2.0\r\n\r\n".to_vec(), told: told.to_string() });
            history.keep(Kept { call, fields, record: format!("{{\"call\":{call}}}"), ladder: None, invite });
        }
        assert!(history.flush(Duration::from_secs(60)));
        let enough = Arc::<AtomicBool>::default();
        let records = Records::new(path, Chosen::default()).until(Arc::clone(&enough));
        let mut seen = 0;
        let mut count = |_| {
            seen += 1;
            enough.store(seen == 7, Ordering::Relaxed);
            true
        };
        records.each(&mut count).unwrap();
        assert_eq!(seen, 7, "of fifty");
    }
}
