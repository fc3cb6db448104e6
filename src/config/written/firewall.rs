//! `[firewall]` of `border.toml`: what strangers are banned for by themselves.

use std::time::Duration;

use crate::adapters::nft;
use crate::config::table::Table;
use crate::policy::ban::Rate;

const MINUTE: Duration = Duration::from_secs(60);
const MONTH: Duration = Duration::from_secs(30 * 86_400);

pub fn read(root: &Table<'_, '_>, firewall: &mut nft::Settings) {
    let Some(table) = root.table("firewall", "[firewall]") else { return };
    // Zero: never.
    let rate = |count: i64, per: Duration| (count > 0).then_some(Rate { count: count as u32, per });
    if let Some(scan) = table.integer("scan", 0..=100_000) {
        firewall.rules.scan = rate(scan.value, MINUTE);
    }
    if let Some(flood) = table.integer("flood", 0..=100_000) {
        firewall.rules.flood = rate(flood.value, Duration::from_secs(1));
    }
    if let Some(ban) = table.duration("ban", Duration::from_secs(10), MONTH) {
        firewall.rules.length = ban.value;
    }
    table.finish();
}
