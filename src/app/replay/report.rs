//! What asking a policy set about a recording came to: counted, and for each call whose verdict would change what and why. For people, and as JSON.

use std::collections::BTreeMap;
use std::io::{self, Write};

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use utoipa::ToSchema;

use super::compare::{Change, Difference, Kind, Why};
use super::heard::{Heard, Judged, Place};
use crate::policy::outcome::Outcome;
use crate::policy::security_mode::mode_name;
use crate::policy::verdict::Reason;

/// What would become of recorded calls under another policy set.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, ToSchema)]
#[schema(as = DryRun)]
pub struct Report {
    /// With what the set's verdicts were compared.
    pub against: String,
    /// Calls the set was asked about and could be compared for.
    pub compared: u64,
    pub changing: u64,
    /// Of those that change, how.
    pub kinds: Kinds,
    /// Calls that were left out, and why.
    pub left_out: Vec<LeftOut>,
    /// What was taken to be so, since nothing said it; and what of the recording could not be used.
    pub assumed: Vec<String>,
    /// Those that change, newest first; the first of them where there are many.
    pub changes: Vec<Changed>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct Kinds {
    /// Let in before, refused after.
    pub refused: u64,
    /// Refused before, let in after.
    pub admitted: u64,
    pub other_reason: u64,
    /// Let in both times, by another plan, to another target, in another mode or with other numbers.
    pub other_way: u64,
}

impl Kinds {
    fn count(&mut self, kind: Kind) {
        match kind {
            Kind::Refused => self.refused += 1,
            Kind::Admitted => self.admitted += 1,
            Kind::OtherReason => self.other_reason += 1,
            Kind::OtherWay => self.other_way += 1,
        }
    }

    fn each(self) -> [(Kind, u64); 4] {
        [(Kind::Refused, self.refused), (Kind::Admitted, self.admitted), (Kind::OtherReason, self.other_reason), (Kind::OtherWay, self.other_way)]
    }
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct LeftOut {
    pub calls: u64,
    pub why: String,
}

/// One call whose verdict would change.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = ChangedCall)]
pub struct Changed {
    /// The record's number in the store; null: it is of a capture.
    pub record: Option<i64>,
    /// The call's number in its process's life.
    pub call: Option<i64>,
    /// The packet that completed it, from 1; null: it is of a store.
    pub packet: Option<u64>,
    /// RFC 3339, UTC.
    pub began: Option<String>,
    pub caller: String,
    pub called: String,
    /// Transport and address it came from.
    pub source: String,
    pub change: Kind,
    /// Both verdicts in one line each.
    pub before: String,
    pub after: String,
    pub differences: Vec<Difference>,
    /// The stages that decided otherwise.
    pub why: Vec<Why>,
}

impl Report {
    pub fn leave_out(&mut self, counts: BTreeMap<String, u64>) {
        self.left_out = counts.into_iter().map(|(why, calls)| LeftOut { calls, why }).collect();
    }

    /// `limit`: so many are listed.
    pub fn add(&mut self, limit: usize, heard: &Heard, before: &Judged, after: &Judged, change: Change) {
        self.changing += 1;
        self.kinds.count(change.kind);
        if self.changes.len() >= limit {
            return;
        }
        let (record, call, packet) = match heard.place {
            Place::Record { number, call } => (Some(number), Some(call), None),
            Place::Packet(packet) => (None, None, Some(packet)),
        };
        self.changes.push(Changed {
            record,
            call,
            packet,
            began: heard.at.and_then(written),
            caller: heard.caller.clone(),
            called: heard.called.clone(),
            source: format!("{} {}", heard.transport, heard.source),
            change: change.kind,
            before: verdict(&before.outcome),
            after: verdict(&after.outcome),
            differences: change.differences,
            why: change.why,
        });
    }

    /// For people.
    pub fn print(&self, out: &mut dyn Write) -> io::Result<()> {
        for line in &self.assumed {
            writeln!(out, "assumed   {line}")?;
        }
        for changed in &self.changes {
            changed.print(out)?;
        }
        let unlisted = self.changing - self.changes.len() as u64;
        if unlisted > 0 {
            writeln!(out, "… and {unlisted} more (--limit lists more of them)")?;
        }
        writeln!(out, "compared  {} calls with {}", self.compared, self.against)?;
        for LeftOut { calls, why } in &self.left_out {
            writeln!(out, "left out  {calls}: {why}")?;
        }
        match self.changing {
            0 if self.compared == 0 => writeln!(out, "nothing was compared, so nothing is known"),
            0 => writeln!(out, "the verdict of none would change"),
            changing => {
                let kinds = self.kinds.each();
                let kinds: Vec<String> = kinds.iter().filter(|(_, count)| *count > 0).map(|(kind, count)| format!("{count} {}", kind.words())).collect();
                writeln!(out, "{changing} would change: {}", kinds.join("; "))
            }
        }
    }
}

impl Changed {
    fn print(&self, out: &mut dyn Write) -> io::Result<()> {
        let place = match (self.record, self.call, self.packet) {
            (Some(record), Some(call), _) => format!("record {record} (call {call})"),
            (_, _, packet) => format!("packet {}", packet.unwrap_or(0)),
        };
        writeln!(out, "{place}  {}  {} -> {}  from {}", self.began.as_deref().unwrap_or("-"), self.caller, self.called, self.source)?;
        writeln!(out, "  before  {}", self.before)?;
        writeln!(out, "  after   {}", self.after)?;
        // Verdicts that are both admissions say the rest only here.
        if self.change == Kind::OtherWay {
            for Difference { of, before, after } in &self.differences {
                writeln!(out, "  {of}: {} -> {}", shown(before), shown(after))?;
            }
        }
        for Why { stage, before, after } in &self.why {
            for (when, lines) in [("before", before), ("after", after)] {
                for line in lines {
                    writeln!(out, "    {stage:<16} {when:<7} {line}")?;
                }
                if lines.is_empty() {
                    writeln!(out, "    {stage:<16} {when:<7} not asked")?;
                }
            }
        }
        writeln!(out)
    }
}

fn shown(value: &str) -> &str {
    if value.is_empty() { "nothing" } else { value }
}

fn written(millis: i64) -> Option<String> {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(millis) * 1_000_000).ok()?.format(&Rfc3339).ok()
}

/// In one line.
fn verdict(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Refused { reason } => match Reason::of_code(reason) {
            Some(known) => {
                let status = known.status().map_or_else(|| String::from("silence"), |status| status.to_string());
                format!("refused, {status}, {reason}: {}", known.meaning())
            }
            None => format!("refused, {reason}"),
        },
        Outcome::Admitted(course) => {
            let plan = course.dial_plan.as_deref().map(|plan| format!(" by plan \"{plan}\"")).unwrap_or_default();
            let targets: Vec<&str> = course.targets.iter().map(|target| &**target).collect();
            let modes = format!("A {}, B {}", mode_name(course.a_mode), mode_name(course.b_mode));
            format!("let in{plan} to {} as {}; {modes}", targets.join(", then "), course.called)
        }
    }
}
