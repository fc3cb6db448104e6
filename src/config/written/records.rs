//! `[records]` of `border.toml`: where call records are kept.

use crate::adapters::telemetry::{self, LaddersKept};
use crate::config::finding::{At, Written};
use crate::config::table::Table;

const LADDERS: [(&str, LaddersKept); 3] = [("none", LaddersKept::None), ("failed", LaddersKept::Failed), ("all", LaddersKept::All)];

#[derive(Default)]
pub struct Records {
    /// Relative to the set's folder.
    pub file: Option<String>,
    /// Not written: in the folder for state that the environment names, if it does.
    pub store: Option<Store>,
    pub days: Option<u32>,
    pub megabytes: Option<u64>,
    pub postgres: Option<Postgres>,
}

/// `store`.
pub enum Store {
    /// Relative to the set's folder.
    At(String),
    Off,
}

/// `[records.postgres]`.
pub struct Postgres {
    pub at: At,
    pub host: Option<Written<String>>,
    pub port: Option<Written<i64>>,
    pub user: Option<Written<String>>,
    pub database: Option<Written<String>>,
    /// Relative to the set's folder.
    pub password_file: Option<Written<String>>,
    pub ca: Option<Written<String>>,
    pub tls: Option<Written<bool>>,
}

pub fn read(root: &Table<'_, '_>, telemetry: &mut telemetry::Settings) -> Records {
    let Some(table) = root.table("records", "[records]") else { return Records::default() };
    let records = Records {
        file: table.text("file", "\"records.jsonl\"").map(|file| file.value),
        store: table.text("store", "\"records.db\", or \"off\"").map(|file| if file.value == "off" { Store::Off } else { Store::At(file.value) }),
        days: table.integer("keep_days", 0..=36_500).map(|days| days.value as u32),
        megabytes: table.integer("keep_megabytes", 0..=100_000_000).map(|megabytes| megabytes.value as u64),
        postgres: table.table("postgres", "[records.postgres]").map(postgres),
    };
    if let Some(kept) = table.choice("ladders", &LADDERS) {
        telemetry.ladders_kept = kept.value;
    }
    if let Some(kept) = table.flag("invites") {
        telemetry.invites_kept = kept.value;
    }
    if records.file.is_none() && records.store.is_none() && records.postgres.is_none() {
        let instead = "write store = \"records.db\" to search them, file = \"records.jsonl\" for other programs, or both";
        table.findings().problem(table.at(), "[records] says nowhere to keep them", instead);
    }
    table.finish();
    records
}

fn postgres(table: Table<'_, '_>) -> Postgres {
    let postgres = Postgres {
        at: table.at(),
        host: table.required_text("host", "\"db.example.com\", or the folder of its socket, \"/run/postgresql\""),
        port: table.integer("port", 1..=65_535),
        user: table.required_text("user", "\"portcullis\""),
        database: table.required_text("database", "\"calls\""),
        password_file: table.text("password_file", "\"/etc/portcullis/postgres.password\""),
        ca: table.text("ca", "\"certs/postgres-ca.pem\""),
        tls: table.flag("tls"),
    };
    table.finish();
    postgres
}
