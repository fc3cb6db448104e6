//! The firewall in front of the border: who may come in, in the kernel's nftables and, whatever the kernel does or cannot do, at this process's
//! own doors ([`Firewall::turns_away`]).
//!
//! In the kernel it is one table, `inet portcullis`, and nothing else is ever touched. Its structure ([`ruleset`]) is loaded by the program `nft`
//! in one transaction; its elements ([`contents`]: peers by transport, bans, media ports in use) change by netlink ([`wire`], [`netlink`]), which
//! takes microseconds where a process takes milliseconds. [`keeper`] is the one thread that does both, and finds out when others have changed
//! what is ours.

pub mod contents;
mod failure;
mod firewall;
mod keeper;
pub mod netlink;
mod privilege;
pub mod process;
mod rules;
mod ruleset;
mod shared;
mod wire;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::policy::ban::{Ban, Cause, Rules};
use crate::sip::Transport;
use crate::time::Time;

pub use contents::Change;
pub use firewall::{Firewall, Place, Refused};
pub use keeper::Tell;
pub use ruleset::COUNTERS;

/// What the kernel does.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Nothing.
    #[default]
    Off,
    /// What it can be brought to; the border runs without.
    On,
    /// The border does not start without.
    Required,
}

/// What the firewall is told at start, and at a reload.
#[derive(Clone, PartialEq, Debug)]
pub struct Settings {
    pub mode: Mode,
    /// Of the family `inet`.
    pub table: Arc<str>,
    /// What strangers are banned for by themselves.
    pub rules: Rules,
    /// Media ports that no stream uses are shut.
    pub shut_media: bool,
    /// Neither SIP nor media is followed by connection tracking.
    pub notrack: bool,
    /// The table stays in the kernel when the border stops.
    pub keep_on_stop: bool,
    /// How often all of the table is compared with what it should be.
    pub check: Duration,
    /// `nft`; `None`: wherever system programs are.
    pub program: Option<PathBuf>,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            mode: Mode::Off,
            table: "portcullis".into(),
            rules: Rules::default(),
            shut_media: true,
            notrack: false,
            keep_on_stop: false,
            check: Duration::from_secs(10),
            program: None,
        }
    }
}

impl Settings {
    /// With what a reload cannot change as it runs.
    pub fn as_running(&mut self, running: &Settings) {
        (self.mode, self.keep_on_stop, self.check) = (running.mode, running.keep_on_stop, running.check);
        (self.table, self.program) = (Arc::clone(&running.table), running.program.clone());
    }
}

/// What is to be guarded.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Ours {
    pub listeners: Vec<(Transport, SocketAddr)>,
    /// Addresses for media, of either side.
    pub media: Vec<IpAddr>,
    /// First and last port for media, inclusive.
    pub ports: (u16, u16),
    /// Ports of name servers we ask, besides the usual one: their answers come to any port of ours.
    pub name_servers: Vec<u16>,
}

/// How it stands with the firewall.
#[derive(Clone, PartialEq, Debug, serde::Serialize, utoipa::ToSchema)]
#[schema(as = FirewallStatus)]
pub struct Status {
    /// Number of the peer table it goes by.
    pub peer_table: u64,
    /// Bans in force, by whomever.
    pub bans: usize,
    pub kernel: Kernel,
}

/// How it stands with the kernel's part. Numbers are at most some seconds old.
#[derive(Clone, PartialEq, Debug, serde::Serialize, utoipa::ToSchema)]
#[schema(as = FirewallKernel)]
pub struct Kernel {
    #[schema(value_type = String)]
    pub mode: Mode,
    /// The kernel holds our table, as far as we know.
    pub in_force: bool,
    /// In its sets: peers' addresses, operators' bans, open media ports.
    pub elements: usize,
    /// Times others had removed or changed it.
    pub rebuilt: u64,
    /// Packets dropped, by the reason after `firewall.`: `stranger`, `transport`, `banned`, `media_closed`.
    #[schema(value_type = std::collections::BTreeMap<String, u64>)]
    pub dropped: BTreeMap<&'static str, u64>,
    /// Why it is not in force.
    pub last_error: Option<String>,
}

/// A ban as operators are shown it.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize, utoipa::ToSchema)]
pub struct BanStatus {
    /// `192.0.2.1/32`.
    pub net: String,
    /// `scan`, `handshake_flood` or `ordered`.
    pub cause: &'static str,
    /// The operator's words; empty for other causes.
    pub why: String,
    /// `kernel`, `border`, or `operator NAME`.
    pub owner: String,
    pub since_seconds: u64,
    /// `None`: until it is lifted, or the border stops.
    pub left_seconds: Option<u64>,
}

impl BanStatus {
    fn of(ban: &Ban, now: Time) -> BanStatus {
        let rounded_up = |left: Duration| left.as_millis().div_ceil(1000) as u64;
        BanStatus {
            net: ban.net.to_string(),
            cause: ban.cause.code(),
            why: if let Cause::Ordered(why) = &ban.cause { why.to_string() } else { String::new() },
            owner: ban.owner.to_string(),
            since_seconds: now.since(ban.since).as_secs(),
            left_seconds: ban.left(now).map(rounded_up),
        }
    }
}

/// What would be loaded, as JSON for `nft -j -f -`: the structure, and whom this table lets in.
pub fn ruleset_of(settings: &Settings, ours: &Ours, table: &crate::policy::peer::PeerTable) -> serde_json::Value {
    ruleset::render(&firewall::layout(settings, ours), &contents::Contents::of_peers(table), &[])
}
