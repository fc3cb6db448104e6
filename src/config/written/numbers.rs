//! What `dial_plans.toml` says of numbers and callers, and `um_pools.toml` of diversions.

use crate::config::finding::{At, Written};
use crate::config::table::Table;
use crate::policy::caller::{ExtensionCallers, UnfitCaller};
use crate::policy::diversion::{Cause487, DiversionPolicy, Form, Keep, Unfit};
use crate::policy::numbering::OutwardForm;

const OUTWARD: [(&str, OutwardForm); 3] = [("as-dialled", OutwardForm::AsDialled), ("e164", OutwardForm::E164), ("national", OutwardForm::National)];
const DIRECTIONS: [(&str, Direction); 2] = [("in", Direction::In), ("out", Direction::Out)];
const UNFIT_CALLER: [(&str, UnfitCaller); 2] = [("refuse", UnfitCaller::Refuse), ("anonymous", UnfitCaller::Anonymous)];
const EXTENSION_CALLERS: [(&str, ExtensionCallers); 3] =
    [("anonymous", ExtensionCallers::Anonymous), ("refuse", ExtensionCallers::Refuse), ("believe", ExtensionCallers::Believe)];
const KEEP: [(&str, Keep); 3] = [("all", Keep::All), ("first", Keep::First), ("last", Keep::Last)];
const FORMS: [(&str, Form); 3] = [("as-received", Form::AsReceived), ("diversion", Form::Diversion), ("history-info", Form::HistoryInfo)];
const CAUSE_487: [(&str, Cause487); 2] = [("no-answer", Cause487::NoAnswer), ("deflection", Cause487::Deflection)];
const UNFIT: [(&str, Unfit); 2] = [("refuse", Unfit::Refuse), ("drop", Unfit::Drop)];

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    In,
    Out,
}

pub struct Rule {
    pub at: At,
    pub direction: Option<Direction>,
    pub prefix: Option<Written<String>>,
    pub length: Option<u8>,
    pub lengths: Option<Written<(i64, i64)>>,
    pub strip: u8,
    pub prepend: Option<Written<String>>,
}

/// Of one dial plan.
pub struct Numbers {
    pub country_code: Option<Written<String>>,
    pub national_prefix: Option<Written<String>>,
    pub international_prefix: Option<Written<String>>,
    pub outward: Option<Written<OutwardForm>>,
    pub rules: Vec<Rule>,
    pub access_numbers: Vec<Written<String>>,
    pub auto_attendants: Vec<Written<String>>,
    pub own_numbers: Vec<Written<String>>,
    pub unfit_caller: UnfitCaller,
    /// `None`: not said.
    pub extension_callers: Option<ExtensionCallers>,
}

pub fn read(table: &Table<'_, '_>) -> Numbers {
    Numbers {
        country_code: table.text("country_code", "\"49\""),
        national_prefix: table.text("national_prefix", "\"0\""),
        international_prefix: table.text("international_prefix", "\"00\""),
        outward: table.choice("outward", &OUTWARD),
        rules: table.tables("numbers", "[[dial_plan.numbers]]").into_iter().map(read_rule).collect(),
        access_numbers: table.texts("access_numbers", "[\"+14255550100\"]").unwrap_or_default(),
        auto_attendants: table.texts("auto_attendants", "[\"+14255550101\"]").unwrap_or_default(),
        own_numbers: table.texts("own_numbers", "[\"+1425555\"]").unwrap_or_default(),
        unfit_caller: table.choice("unfit_caller", &UNFIT_CALLER).map_or(UnfitCaller::default(), |choice| choice.value),
        extension_callers: table.choice("extension_callers", &EXTENSION_CALLERS).map(|choice| choice.value),
    }
}

fn read_rule(table: Table<'_, '_>) -> Rule {
    let rule = Rule {
        at: table.at(),
        direction: table.required_choice("direction", &DIRECTIONS).map(|direction| direction.value),
        prefix: table.text("prefix", "\"+49\""),
        length: table.integer("length", 1..=20).map(|length| length.value as u8),
        lengths: table.pair("lengths", 1..=20, "[7, 15]"),
        strip: table.integer("strip", 0..=20).map_or(0, |strip| strip.value as u8),
        prepend: table.text("prepend", "\"0\""),
    };
    table.finish();
    rule
}

pub fn read_diversion(pool: &Table<'_, '_>) -> DiversionPolicy {
    let default = DiversionPolicy::default();
    let Some(table) = pool.table("diversion", "diversion = { keep = \"first\" }") else { return default };
    let policy = DiversionPolicy {
        keep: table.choice("keep", &KEEP).map_or(default.keep, |keep| keep.value),
        form: table.choice("form", &FORMS).map_or(default.form, |form| form.value),
        drop_attendants: table.flag("drop_attendants").map_or(default.drop_attendants, |flag| flag.value),
        cause_487: table.choice("cause_487", &CAUSE_487).map_or(default.cause_487, |cause| cause.value),
        unfit: table.choice("unfit", &UNFIT).map_or(default.unfit, |unfit| unfit.value),
    };
    table.finish();
    policy
}
