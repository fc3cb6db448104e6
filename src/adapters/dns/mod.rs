//! The domain name system, off the call path: locating targets (RFC 3263) and keeping every peer's host name fresh.
//!
//! [`Locator`] answers `Action::Locate`; [`PeerResolver`] keeps the numbered `PeerTable` in step with DNS.

mod asking;
mod files;
mod freshness;
mod hosts_file;
mod locator;
mod lookup;
mod names;
mod peer_resolver;
mod records;
mod servers;
mod status;
mod tally;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

pub use locator::Locator;
pub use peer_resolver::PeerResolver;
pub use servers::{anchors, are_any_servers};
pub use status::{AddressStatus, NameStateWord, NameStatus, Signed};

/// How names are resolved.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Servers to ask; empty: those of /etc/resolv.conf.
    pub servers: Vec<SocketAddr>,
    /// Names found in this file are answered from it alone; `None`: no such file is read.
    pub hosts_file: Option<PathBuf>,
    /// One try of one question.
    pub timeout: Duration,
    /// One whole location, all its questions and retries.
    pub limit: Duration,
    /// A peer's name is asked for again no sooner than this, whatever its TTL says.
    pub floor: Duration,
    /// A peer's name is asked for again at the latest after this, whatever its TTL says.
    pub ceiling: Duration,
    /// How long the last good answer is kept when no server answers.
    pub grace: Duration,
    /// Percent of an answer's life over which the next question is drawn, so that names of one TTL are not asked for at the same moment. 0 to 50.
    pub jitter: u8,
    pub dnssec: Dnssec,
    /// DNSKEY records that are trusted; `None`: those of the root zone.
    pub trust_anchor: Option<PathBuf>,
    /// Zones that are known not to be signed and are not checked (RFC 7646).
    pub unsigned: Vec<String>,
}

/// Whether answers must be signed (RFC 4035).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Dnssec {
    #[default]
    Off,
    /// Forged answers are failures; of zones that are proven not to be signed they are taken as they are.
    Validate,
    /// As `Validate`, and answers of zones that are not signed are failures too.
    Require,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            servers: Vec::new(),
            hosts_file: Some(PathBuf::from("/etc/hosts")),
            timeout: Duration::from_secs(2),
            limit: Duration::from_secs(8),
            floor: Duration::from_secs(10),
            ceiling: Duration::from_secs(3600),
            grace: Duration::from_secs(3600),
            jitter: 20,
            dnssec: Dnssec::Off,
            trust_anchor: None,
            unsigned: Vec::new(),
        }
    }
}
