//! `[firewall]` of `border.toml`: what the kernel does in front of the border, and what strangers are banned for by themselves.

use std::path::PathBuf;
use std::time::Duration;

use crate::adapters::nft::{self, Mode};
use crate::config::table::Table;
use crate::policy::ban::Rate;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const MONTH: Duration = Duration::from_secs(30 * 86_400);

const MODES: [(&str, Mode); 3] = [("off", Mode::Off), ("on", Mode::On), ("required", Mode::Required)];
/// Whether unused media ports are shut.
const MEDIA: [(&str, bool); 2] = [("signalled", true), ("open", false)];

/// As long as a name may be that the kernel takes, with room.
const LONGEST: usize = 32;

pub fn read(root: &Table<'_, '_>, firewall: &mut nft::Settings) {
    let Some(table) = root.table("firewall", "[firewall]") else { return };
    if let Some(mode) = table.choice("mode", &MODES) {
        firewall.mode = mode.value;
    }
    if let Some(name) = table.text("table", "\"portcullis\"") {
        if is_name(&name.value) {
            firewall.table = name.value.as_str().into();
        } else {
            let what = format!("\"{}\" is no name for a table", name.value);
            table.findings().problem(name.at, what, "write letters, digits and underscores, a letter first, 32 at most: \"portcullis\"");
        }
    }
    if let Some(media) = table.choice("media", &MEDIA) {
        firewall.shut_media = media.value;
    }
    if let Some(notrack) = table.flag("notrack") {
        firewall.notrack = notrack.value;
    }
    if let Some(keep) = table.flag("keep_on_stop") {
        firewall.keep_on_stop = keep.value;
    }
    if let Some(check) = table.duration("check", SECOND, HOUR) {
        firewall.check = check.value;
    }
    if let Some(program) = table.text("nft", "\"/usr/sbin/nft\"") {
        firewall.program = Some(PathBuf::from(program.value));
    }
    read_rules(&table, firewall);
    table.finish();
}

fn read_rules(table: &Table<'_, '_>, firewall: &mut nft::Settings) {
    // Zero: never.
    let rate = |count: i64, per: Duration| (count > 0).then_some(Rate { count: count as u32, per });
    if let Some(scan) = table.integer("scan", 0..=100_000) {
        firewall.rules.scan = rate(scan.value, MINUTE);
    }
    if let Some(flood) = table.integer("flood", 0..=100_000) {
        firewall.rules.flood = rate(flood.value, SECOND);
    }
    if let Some(ban) = table.duration("ban", Duration::from_secs(10), MONTH) {
        firewall.rules.length = ban.value;
    }
}

fn is_name(text: &str) -> bool {
    text.len() <= LONGEST && text.starts_with(|c: char| c.is_ascii_alphabetic()) && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}
