//! The matching side of what calls in from outside where that is Microsoft's: a Lync Mediation Server's trunk, Teams Direct Routing. Commands for their
//! management shells.

use std::fmt::Write as _;

use super::powershell::{comment, flag, quoted};
use super::{Gateway, Subject, names};
use crate::policy::security_mode::mode_name;
use crate::policy::settings::{Peer, PeerKind, SecurityMode};
use crate::policy::transfer::Refer;
use crate::sip::Transport;

/// The domain under which Teams' SIP proxies live.
const TEAMS: &str = ".pstnhub.microsoft.com";

/// Empty where no peer is a Mediation Server or Teams.
pub fn script(subject: &Subject<'_>) -> String {
    let mut script = String::new();
    for peer in &subject.settings.policy.peers {
        let Some(gateway) = subject.listener_of(peer) else { continue };
        if peer.kind == PeerKind::Mediation {
            mediation(&mut script, subject, peer, &gateway);
        } else if is_teams(peer) {
            teams(&mut script, subject, peer, &gateway);
        }
    }
    script
}

pub fn is_teams(peer: &Peer) -> bool {
    names(peer).any(|name| name.ends_with(TEAMS))
}

fn mediation(script: &mut String, subject: &Subject<'_>, peer: &Peer, gateway: &Gateway<'_>) {
    let host = gateway.host();
    let transport = peer.transport.via_token();
    let srtp = if peer.mode == SecurityMode::Secured { "Required" } else { "NotSupported" };
    comment(script, "");
    comment(script, &format!("Lync Server Management Shell: Mediation Server \"{}\" ({}).", peer.name, mode_name(peer.mode)));
    comment(
        script,
        &format!(
            "In Topology Builder: PSTN gateway {host}, listening port {}, SIP transport {transport}, with a trunk to the Mediation Server (its port {}: {}); then publish.",
            gateway.port(),
            transport,
            peer.port.map_or_else(|| String::from("as peers.toml says, 5067 for TLS unless changed"), |port| port.to_string())
        ),
    );
    let trunk = quoted(&format!("Service:PstnGateway:{host}"));
    if peer.refer == Refer::Refuse {
        comment(
            script,
            "REFER of this peer is refused here: with support for it Lync would fail every transfer. For it, write refer = \"execute\" in peers.toml.",
        );
    }
    let _ = writeln!(
        script,
        "New-CsTrunkConfiguration -Identity {trunk} -SRTPMode {srtp} -EnableReferSupport {} -EnableSessionTimer $true -RTCPActiveCalls $true -RTCPCallsOnHold $true -ForwardCallHistory {} -ForwardPAI {}",
        flag(peer.refer != Refer::Refuse),
        flag(peer.diversion_trusted),
        flag(peer.identity_trusted)
    );
    if peer.transport == Transport::Tls {
        comment(
            script,
            &format!(
                "  Certificates: this border shows {host}, Lync compares it with the gateway's FQDN. Self-signed ones will not do, and each side needs the other's CA:"
            ),
        );
        let _ = writeln!(
            script,
            "Import-Certificate -FilePath (Read-Host {}) -CertStoreLocation Cert:\\LocalMachine\\Root",
            quoted("File with the CA of this border")
        );
    }
    let (first, last) = subject.settings.signaling.media.ports;
    comment(
        script,
        &format!(
            "  Ports: TCP {} to this border, TCP {} from it; UDP {first} to {last} of the border, and the Mediation Server's media ports (60000 to 64000 unless changed)",
            gateway.listener.bound.port(),
            peer.port.unwrap_or(5067)
        ),
    );
}

fn teams(script: &mut String, subject: &Subject<'_>, peer: &Peer, gateway: &Gateway<'_>) {
    let host = gateway.host();
    comment(script, "");
    comment(script, &format!("Teams PowerShell: Direct Routing, peer \"{}\".", peer.name));
    let sessions = subject.settings.policy.admission.calls.map(|calls| format!(" -MaxConcurrentSessions {calls}")).unwrap_or_default();
    let _ = writeln!(
        script,
        "New-CsOnlinePSTNGateway -Fqdn {} -SipSignalingPort {} -SendSipOptions $true -ForwardCallHistory {} -ForwardPai {}{sessions} -Enabled $true",
        quoted(host),
        gateway.port(),
        flag(peer.diversion_trusted),
        flag(peer.identity_trusted)
    );
    comment(
        script,
        &format!("  Certificate: {host} as common name or subject alternative name, from a public CA of Microsoft's list, for serverAuth and clientAuth."),
    );
    let (first, last) = subject.settings.signaling.media.ports;
    comment(
        script,
        &format!(
            "  Ports: TCP {} to this border, TCP 5061 from it; UDP {first} to {last} of the border, and Teams' 3478 to 3481 and 49152 to 53247",
            gateway.listener.bound.port()
        ),
    );
}
