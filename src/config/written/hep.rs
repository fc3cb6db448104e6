//! `[hep]` of `border.toml`: the server that gets copies of SIP messages.

use std::time::Duration;

use crate::adapters::hep::Transport;
use crate::config::finding::Written;
use crate::config::table::Table;

const TRANSPORTS: [(&str, Transport); 3] = [("udp", Transport::Udp), ("tcp", Transport::Tcp), ("tls", Transport::Tls)];

const LONGEST_REPORTS: Duration = Duration::from_secs(600);

pub struct Hep {
    pub server: Option<Written<String>>,
    pub transport: Option<Written<Transport>>,
    /// Relative to the set's folder.
    pub ca: Option<Written<String>>,
    pub capture_id: Option<Written<i64>>,
    pub password: Option<Written<String>>,
    /// `Some(ZERO)`: not while a call is up.
    pub reports: Option<Written<Duration>>,
}

pub fn read(root: &Table<'_, '_>) -> Option<Hep> {
    let table = root.table("hep", "[hep]")?;
    let hep = Hep {
        server: table.required_text("server", "\"homer.example.com\""),
        transport: table.required_choice("transport", &TRANSPORTS),
        ca: table.text("ca", "\"certs/ca.pem\""),
        capture_id: table.integer("capture_id", 1..=i64::from(u32::MAX)),
        password: table.text("password", "\"${HEP_PASSWORD}\""),
        reports: table.duration("reports", Duration::ZERO, LONGEST_REPORTS),
    };
    table.finish();
    Some(hep)
}
