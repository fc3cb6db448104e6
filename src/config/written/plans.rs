//! `um_pools.toml`, `dial_plans.toml`, `hunt_groups.toml`, `admission.toml`.

use std::time::Duration;

use super::numbers::{self, Numbers};
use super::peers::MODES;
use crate::config::finding::{At, Written};
use crate::config::table::Table;
use crate::policy::admission::CallLimits;
use crate::policy::diversion::DiversionPolicy;
use crate::policy::settings::{FailedTransfer, GREYLIST, NO_ANSWER, REROUTE_LIMIT, SecurityMode, StartUp, UmVersion, UriType};

const URI_TYPES: [(&str, UriType); 3] = [("extension", UriType::Extension), ("sip-uri", UriType::SipUri), ("e164", UriType::E164)];

const VERSIONS: [(&str, UmVersion); 7] = [
    (UmVersion::Exchange2016.word(), UmVersion::Exchange2016),
    (UmVersion::Exchange2013.word(), UmVersion::Exchange2013),
    (UmVersion::Exchange2010.word(), UmVersion::Exchange2010),
    (UmVersion::Exchange2007.word(), UmVersion::Exchange2007),
    (UmVersion::Lync.word(), UmVersion::Lync),
    (UmVersion::Generic.word(), UmVersion::Generic),
    (UmVersion::Hosted.word(), UmVersion::Hosted),
];

/// Longest time a failed target is put off: what is wrong for longer is liveness's to find.
const LONGEST_GREYLIST: Duration = Duration::from_secs(600);

const START_UPS: [(&str, StartUp); 3] = [(StartUp::Tcp.word(), StartUp::Tcp), (StartUp::Tls.word(), StartUp::Tls), (StartUp::Dual.word(), StartUp::Dual)];

const FAILED_TRANSFERS: [(&str, FailedTransfer); 2] = [("call-back", FailedTransfer::CallBack), ("release", FailedTransfer::Release)];

pub struct UmPool {
    pub at: At,
    pub name: Option<Written<String>>,
    pub routers: Vec<Written<String>>,
    pub servers: Vec<Written<String>>,
    pub max_redirects: Option<u8>,
    pub no_answer: Duration,
    pub start_up: Option<StartUp>,
    pub version: UmVersion,
    pub weights: Option<Written<Vec<i64>>>,
    pub greylist: Duration,
    pub diversion: DiversionPolicy,
    pub hosted_name: Option<Written<String>>,
    pub destination: Option<Written<String>>,
    pub organization: Option<Written<String>>,
}

pub struct DialPlan {
    pub at: At,
    pub name: Option<Written<String>>,
    pub uri_type: UriType,
    pub digits: Option<u8>,
    pub mode: SecurityMode,
    pub um_pool: Option<Written<String>>,
    pub interwork: Vec<Written<String>>,
    pub gateways: Vec<Written<String>>,
    pub numbers: Numbers,
    pub reroute: Option<Reroute>,
    pub fax_server: Option<Written<String>>,
    pub failed_transfer: FailedTransfer,
    pub limits: CallLimits,
}

/// `reroute` of a plan.
pub struct Reroute {
    pub at: At,
    pub gateways: Vec<Written<String>>,
    pub auto_attendant: Option<Written<String>>,
    pub subscriber_access: Option<Written<String>>,
    pub limit: u32,
}

pub struct HuntGroup {
    pub at: At,
    pub name: Option<Written<String>>,
    pub peer: Option<Written<String>>,
    pub pilot: Option<Written<String>>,
    pub dial_plan: Option<Written<String>>,
}

#[derive(Default)]
pub struct Admission {
    pub calls: Option<u32>,
    pub calls_per_peer: Option<u32>,
    pub rate: Option<u32>,
    pub rate_per_peer: Option<u32>,
    /// Percent; absent where it is to be however much.
    pub occupancy: Option<u16>,
    /// MiB.
    pub memory: Option<u32>,
    /// Seconds.
    pub retry_after: Option<u32>,
}

pub fn read_pools(root: &Table<'_, '_>) -> Vec<UmPool> {
    let read = |table: Table<'_, '_>| {
        let pool = UmPool {
            at: table.at(),
            name: table.required_text("name", "\"um\""),
            routers: table.required_texts("routers", "[\"um-router\"]"),
            servers: table.texts("servers", "[\"um-server\"]").unwrap_or_default(),
            max_redirects: table.integer("max_redirects", 1..=5).map(|depth| depth.value as u8),
            no_answer: table.duration("no_answer", Duration::from_secs(1), Duration::from_secs(32)).map_or(NO_ANSWER, |span| span.value),
            start_up: table.choice("start_up", &START_UPS).map(|mode| mode.value),
            version: table.choice("version", &VERSIONS).map(|version| version.value).unwrap_or_default(),
            weights: table.integers("weights", 0..=1000, "[2, 1]"),
            greylist: table.duration("greylist", Duration::ZERO, LONGEST_GREYLIST).map_or(GREYLIST, |span| span.value),
            diversion: numbers::read_diversion(&table),
            hosted_name: table.text("hosted_name", "\"<guid>.um.outlook.com\""),
            destination: table.text("destination", "\"exap.um.outlook.com\""),
            organization: table.text("organization", "\"contoso.com\""),
        };
        table.finish();
        pool
    };
    root.tables("um_pool", "[[um_pool]]").into_iter().map(read).collect()
}

pub fn read_plans(root: &Table<'_, '_>) -> Vec<DialPlan> {
    let read = |table: Table<'_, '_>| {
        let plan = DialPlan {
            at: table.at(),
            name: table.required_text("name", "\"main\""),
            uri_type: table.choice("uri_type", &URI_TYPES).map_or(UriType::Extension, |uri_type| uri_type.value),
            digits: table.required_integer("digits", 1..=20, "5").map(|digits| digits.value as u8),
            mode: table.choice("mode", &MODES).map_or(SecurityMode::Secured, |mode| mode.value),
            um_pool: table.required_text("um_pool", "\"um\""),
            interwork: table.texts("interwork", "[\"lab-trunk\"]").unwrap_or_default(),
            gateways: table.texts("gateways", "[\"carrier\"]").unwrap_or_default(),
            reroute: table.table("reroute", "reroute = { … }").map(read_reroute),
            numbers: numbers::read(&table),
            fax_server: table.text("fax_server", "\"fax\""),
            failed_transfer: read_transfers(&table),
            limits: read_call_limits(&table, ["calls", "rate"]),
        };
        table.finish();
        plan
    };
    root.tables("dial_plan", "[[dial_plan]]").into_iter().map(read).collect()
}

fn read_reroute(table: Table<'_, '_>) -> Reroute {
    let reroute = Reroute {
        at: table.at(),
        gateways: table.required_texts("gateways", "[\"carrier\"]"),
        auto_attendant: table.text("auto_attendant", "\"+14255550190\""),
        subscriber_access: table.text("subscriber_access", "\"+14255550191\""),
        limit: table.integer("limit", 1..=10_000).map_or(REROUTE_LIMIT, |limit| limit.value as u32),
    };
    table.finish();
    reroute
}

fn read_transfers(plan: &Table<'_, '_>) -> FailedTransfer {
    let Some(table) = plan.table("transfers", "[dial_plan.transfers]") else { return FailedTransfer::default() };
    let on_failure = table.choice("on_failure", &FAILED_TRANSFERS).map(|written| written.value).unwrap_or_default();
    table.finish();
    on_failure
}

pub fn read_hunt_groups(root: &Table<'_, '_>) -> Vec<HuntGroup> {
    let read = |table: Table<'_, '_>| {
        let group = HuntGroup {
            at: table.at(),
            name: table.required_text("name", "\"main\""),
            peer: table.required_text("peer", "\"carrier\""),
            pilot: table.text("pilot", "\"+14255550100\""),
            dial_plan: table.required_text("dial_plan", "\"main\""),
        };
        table.finish();
        group
    };
    root.tables("hunt_group", "[[hunt_group]]").into_iter().map(read).collect()
}

/// Of a peer or a plan, under these keys: calls at once and new ones in a second.
pub fn read_call_limits(table: &Table<'_, '_>, [calls, rate]: [&'static str; 2]) -> CallLimits {
    let limit = |key: &'static str| table.integer(key, 0..=10_000_000).map(|limit| limit.value as u32);
    CallLimits { calls: limit(calls), rate: limit(rate) }
}

pub fn read_admission(root: &Table<'_, '_>) -> Admission {
    let budget = |key: &'static str| root.integer(key, 0..=10_000_000).map(|limit| limit.value as u32);
    Admission {
        calls: budget("calls"),
        calls_per_peer: budget("calls_per_peer"),
        rate: budget("rate"),
        rate_per_peer: budget("rate_per_peer"),
        occupancy: root.integer("occupancy", 50..=100).map(|percent| percent.value as u16),
        memory: root.integer("memory", 64..=16_777_216).map(|mebibytes| mebibytes.value as u32),
        retry_after: root.integer("retry_after", 1..=3600).map(|seconds| seconds.value as u32),
    }
}
