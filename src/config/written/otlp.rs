//! `[otlp]` of `border.toml`: the OpenTelemetry receiver that gets traces of calls.

use crate::adapters::telemetry::Traced;
use crate::config::finding::Written;
use crate::config::table::Table;
use crate::config::written::branch::Target;

const CALLS: [(&str, Traced); 2] = [("all", Traced::All), ("failed", Traced::Failed)];

pub struct Otlp {
    pub target: Target,
    pub calls: Option<Written<Traced>>,
}

pub fn read(root: &Table<'_, '_>) -> Option<Otlp> {
    let table = root.table("otlp", "[otlp]")?;
    let otlp = Otlp { target: Target::read(&table, "\"https://collector.example.com:4318/v1/traces\""), calls: table.choice("calls", &CALLS) };
    table.finish();
    Some(otlp)
}
