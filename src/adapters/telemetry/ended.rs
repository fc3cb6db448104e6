//! A call that is over, for all that tell of it: what was heard is judged once, and the record is written as JSON once, if anybody wants it.

use std::cell::OnceCell;

use super::records;
use super::sound::{self, Told};
use super::wall::Anchor;
use crate::policy::verdict::Fault;
use crate::signaling::fact::CallRecord;

pub(super) struct Ended<'a> {
    pub record: &'a CallRecord,
    pub anchor: &'a Anchor,
    /// Of either direction, A to B first; `None`: the call had no media.
    pub told: Option<[Told; 2]>,
    line: OnceCell<String>,
}

impl<'a> Ended<'a> {
    pub fn of(record: &'a CallRecord, anchor: &'a Anchor) -> Ended<'a> {
        Ended { record, anchor, told: sound::of_record(record, anchor), line: OnceCell::new() }
    }

    /// One line of JSON, without the newline.
    pub fn line(&self) -> &str {
        self.line.get_or_init(|| records::written(self.record, self.told.as_ref(), self.anchor))
    }

    /// The same, to be kept.
    pub fn into_line(self) -> String {
        self.line();
        self.line.into_inner().unwrap_or_default()
    }

    /// A direction was not heard, or not well.
    pub fn audio_fault(&self) -> bool {
        self.told.iter().flatten().any(|direction| direction.fault)
    }

    /// Or it failed for another reason.
    pub fn failed(&self) -> bool {
        self.audio_fault() || self.record.reason.fault() != Fault::None
    }
}
