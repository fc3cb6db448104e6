//! The telemetry's copies of what passes, on their way to the HEP server.

use std::fmt::Write as _;
use std::sync::Arc;

use super::vitals::head;
use crate::adapters::hep::{Captured, Hep, Kind, Status};
use crate::adapters::telemetry::{Copied, Mirror, Mirrored, Seen};
use crate::signaling::settings::Listener;
use crate::sip::Transport;

struct ToServer(Hep);

impl Mirror for ToServer {
    fn show(&self, seen: &Seen<'_>) {
        let (kind, payload) = match seen.what {
            Copied::Message(bytes) => (Kind::Sip, bytes),
            Copied::Rtcp(json) => (Kind::Rtcp, json.as_bytes()),
            Copied::Record(line) => (Kind::Log, line.as_bytes()),
        };
        let Seen { at, from, to, transport, correlation, .. } = *seen;
        self.0.put(&Captured { kind, at, is_datagram: transport == Transport::Udp, from, to, correlation, payload });
    }
}

pub fn mirror(hep: Hep, listeners: &[Listener]) -> Mirrored {
    Mirrored { to: Arc::new(ToServer(hep)), listeners: listeners.to_vec() }
}

/// How it stands with the server, in Prometheus' text exposition.
pub fn exposition(status: Status) -> String {
    let mut text = head("portcullis_hep_packets_total", "counter", "Copies for the HEP server, by what became of them");
    // Writing into a String does not fail.
    let _ = writeln!(text, "portcullis_hep_packets_total{{result=\"sent\"}} {}", status.sent);
    let _ = writeln!(text, "portcullis_hep_packets_total{{result=\"lost\"}} {}", status.lost);
    text += &head("portcullis_hep_up", "gauge", "The last copy could be sent to the HEP server");
    let _ = writeln!(text, "portcullis_hep_up {}", u8::from(status.up));
    text
}
