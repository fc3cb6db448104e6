//! Case tables of the policy plane: one TOML file for each file of `src/policy`, all against the policy set in `tests/policies/set`.
//!
//! A case says what goes in and what must come out; the name of a failing case is printed with what came out instead.

mod crossing;
mod door;
mod numbers;
mod outward;
mod redirects;
mod screening;
mod small;

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use portcullis::policy::peer::PeerTable;
use portcullis::policy::settings::{Peer, PolicySet};
use portcullis::policy::verdict::Reason;
use portcullis::sip::{Limits, Message};
use serde::de::DeserializeOwned;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/policies")
}

pub fn set() -> &'static Arc<PolicySet> {
    static SET: OnceLock<Arc<PolicySet>> = OnceLock::new();
    SET.get_or_init(|| match portcullis::config::load(&folder().join("set")) {
        Ok((settings, _)) => settings.policy,
        Err(problems) => panic!("{problems}"),
    })
}

/// Where the set's host names live in these tests.
pub fn resolved(name: &str) -> Vec<IpAddr> {
    let address = match name {
        "carrier.example" => "198.51.100.11",
        "router.corp.example" => "10.0.0.10",
        "mbx1.corp.example" => "10.0.0.21",
        _ => return Vec::new(),
    };
    vec![address.parse().unwrap()]
}

pub fn table() -> PeerTable {
    PeerTable::build(7, set(), &resolved)
}

pub fn peer(name: &str) -> &'static Arc<Peer> {
    set().peer(name).unwrap_or_else(|| panic!("no peer {name} in tests/policies/set"))
}

/// The cases of one table, `[[case]]` each.
pub fn cases<T: DeserializeOwned>(file: &str) -> Vec<T> {
    #[derive(serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Table<T> {
        case: Vec<T>,
    }
    let text = std::fs::read_to_string(folder().join(file)).unwrap();
    let table: Table<T> = toml::from_str(&text).unwrap_or_else(|error| panic!("{file}: {error}"));
    assert!(!table.case.is_empty(), "{file} has no cases");
    table.case
}

/// The stable code of a refusal, `passed` otherwise: how the tables write a verdict.
pub fn code(refused: Option<Reason>) -> &'static str {
    refused.map_or("passed", Reason::code)
}

pub fn message(text: &str) -> Message {
    let text = text.trim_start().replace("\r\n", "\n").replace('\n', "\r\n");
    Message::parse(Bytes::from(text), &Limits::default()).unwrap()
}

/// Gathers every failing case, so that one run shows them all.
#[derive(Default)]
pub struct Failures(Vec<String>);

impl Failures {
    pub fn expect<T: PartialEq + std::fmt::Debug>(&mut self, case: &str, found: T, wanted: T) {
        if found != wanted {
            self.0.push(format!("{case}\n    wanted {wanted:?}\n    found  {found:?}"));
        }
    }
}

impl Drop for Failures {
    fn drop(&mut self) {
        if !self.0.is_empty() && !std::thread::panicking() {
            panic!("{} cases fail:\n{}", self.0.len(), self.0.join("\n"));
        }
    }
}
