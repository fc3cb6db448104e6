//! `branch.toml`.

use std::time::Duration;

use crate::config::finding::{At, Written};
use crate::config::table::Table;
use crate::signaling::b2bua::missed_call::By;

#[derive(Default)]
pub struct Branch {
    /// `[branch] um_pool`.
    pub um_pool: Option<Written<String>>,
    pub missed_calls: Option<MissedCalls>,
}

pub struct MissedCalls {
    pub store: Option<Written<String>>,
    pub max: u64,
    /// One of these two.
    pub target: Option<Target>,
    pub sip: Option<Sip>,
}

/// Where notices go.
pub struct Target {
    pub url: Option<Written<String>>,
    pub ca: Option<Written<String>>,
    pub token: Option<Written<String>>,
    pub token_file: Option<Written<String>>,
    pub timeout: Option<Written<Duration>>,
    pub allow_http: Option<Written<bool>>,
}

/// Where notices go over SIP.
pub struct Sip {
    pub at: At,
    pub peer: Option<Written<String>>,
    pub uri: Option<Written<String>>,
    pub by: Option<Written<By>>,
}

/// Notices on disk unless the set says otherwise.
const MAX: u64 = 10_000;

pub fn read(root: &Table<'_, '_>) -> Branch {
    let mut branch = Branch::default();
    if let Some(table) = root.table("branch", "[branch]") {
        branch.um_pool = table.required_text("um_pool", "\"centre\"");
        table.finish();
    }
    if let Some(table) = root.table("missed_calls", "[missed_calls]") {
        if !table.has("target") && !table.has("sip") {
            table.missing("target", "{ url = \"https://notices.example.com/missed\", ca = \"certs/ca.pem\" }, or sip = { peer = \"centre\", uri = \"sip:missed-calls@um.example.com\" }");
        }
        branch.missed_calls = Some(MissedCalls {
            store: table.required_text("store", "\"/var/lib/portcullis/missed-calls.redb\""),
            max: table.integer("max", 1..=1_000_000).map_or(MAX, |max| max.value as u64),
            target: table.table("target", "target = { … }").map(read_target),
            sip: table.table("sip", "sip = { … }").map(read_sip),
        });
        table.finish();
    }
    branch
}

fn read_sip(table: Table<'_, '_>) -> Sip {
    let sip = Sip {
        at: table.at(),
        peer: table.required_text("peer", "\"centre\""),
        uri: table.required_text("uri", "\"sip:missed-calls@um.example.com\""),
        by: table.choice("method", &[("message", By::Message), ("notify", By::Notify)]),
    };
    table.finish();
    sip
}

fn read_target(table: Table<'_, '_>) -> Target {
    let target = Target::read(&table, "\"https://notices.example.com/missed\"");
    table.finish();
    target
}

impl Target {
    /// The keys of a receiver, among those of a table.
    pub fn read(table: &Table<'_, '_>, example: &str) -> Target {
        Target {
            url: table.required_text("url", example),
            ca: table.text("ca", "\"certs/ca.pem\""),
            token: table.text("token", "\"${NOTICES_TOKEN}\""),
            token_file: table.text("token_file", "\"notices.token\""),
            timeout: table.duration("timeout", Duration::from_secs(1), Duration::from_secs(60)),
            allow_http: table.flag("allow_http"),
        }
    }
}
