//! `[firewall]` as meant: what the kernel would drop that is not meant for us.

use crate::adapters::nft::{self, Mode};
use crate::config::finding::Findings;
use crate::config::written::Border;

/// Ports that Linux gives to programs that do not choose one, unless told otherwise (net.ipv4.ip_local_port_range).
const EPHEMERAL: (u16, u16) = (32_768, 60_999);

pub fn firewall(border: &Border, findings: &Findings) -> nft::Settings {
    let settings = border.firewall.clone();
    let ports = border.media.as_ref().and_then(|media| media.ports.as_ref());
    if let Some(ports) = ports.filter(|_| settings.mode != Mode::Off && settings.shut_media) {
        let (first, last) = ports.value;
        if first <= i64::from(EPHEMERAL.1) && last >= i64::from(EPHEMERAL.0) {
            findings.warning(
                ports.at,
                format!(
                    "the firewall shuts media ports that no call uses, and of {first} to {last} this machine's other programs use some ({} to {})",
                    EPHEMERAL.0, EPHEMERAL.1
                ),
                "write ports below 32768, or media = \"open\" in [firewall], where they share an address with media",
            );
        }
    }
    settings
}
