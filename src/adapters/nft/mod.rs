//! The firewall in front of the border: bans, and who may come in.
//!
//! Whatever the kernel does or cannot do, this process enforces by itself: [`Firewall::turns_away`] is asked at the doors.

mod firewall;

use std::time::Duration;

use crate::policy::ban::{Ban, Cause, Rules};
use crate::time::Time;

pub use firewall::Firewall;

/// What the firewall is told at start, and at a reload.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Settings {
    /// What strangers are banned for by themselves.
    pub rules: Rules,
}

/// How it stands with the firewall.
#[derive(Clone, PartialEq, Debug, serde::Serialize)]
pub struct Status {
    /// Number of the peer table it goes by.
    pub peer_table: u64,
    /// Bans in force, those of operators and of automation.
    pub bans: usize,
}

/// A ban as operators are shown it.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize)]
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
