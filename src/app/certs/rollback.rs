//! `portcullis certs rollback`: makes the previous generation, or a chosen one, current again, and has the running border take it.

use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Duration;

use super::activate::{existing, nobody_there, told};
use super::files::wrong;
use super::layout::{Generation, Link};
use super::report::{Finding, Outcome, Report, Style};
use super::running::Border;
use super::set::Set;
use super::span;
use super::stage::Check;

/// The command line of `certs rollback`.
#[derive(clap::Args, Clone, Debug)]
pub struct Arguments {
    /// The folder rotation works on.
    pub folder: PathBuf,
    /// Back, or forth, to this generation instead of the previous one.
    #[arg(long, value_name = "GENERATION")]
    pub to: Option<Generation>,
    #[command(flatten)]
    pub border: Border,
    /// Check by what this policy set asks.
    #[arg(long, value_name = "POLICYSET")]
    pub set: Option<PathBuf>,
    /// CA certificates our chains may end at, beside those of the generation and those of this machine.
    #[arg(long)]
    pub ca: Vec<PathBuf>,
    /// How long to wait for another run to end.
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = span)]
    pub wait: Duration,
    #[command(flatten)]
    pub style: Style,
}

/// Exit status: 0 rolled back, or nothing to go back to; 1 refused, and all is as it was; 2 the arguments cannot be used.
pub fn run(arguments: &Arguments, out: &mut dyn Write) -> io::Result<u8> {
    let set = arguments.set.as_deref().map(Set::load).transpose()?;
    let layout = existing(&arguments.folder)?;
    let _lock = layout.lock(arguments.wait)?;
    // A current one that is gone is a reason to go back, not to stop.
    let (current, previous) = (layout.get(Link::Current).unwrap_or_default(), layout.get(Link::Previous)?);
    let mut report = Report::new("rollback", Outcome::Nothing);
    report.put("current", current);
    let to = match arguments.to {
        Some(to) if !layout.folder(to).is_dir() => return Err(wrong(&layout.folder(to), "there is no such generation")),
        Some(to) => Some(to),
        None => previous,
    };
    let shown = current.map_or_else(|| String::from("none"), |current| current.to_string());
    // Both links alike: an earlier run that ended half way.
    let interrupted = arguments.to.is_none() && previous.is_some() && previous == current;
    let Some(to) = to.filter(|to| interrupted || Some(*to) != current) else {
        report.tell(match arguments.to {
            Some(to) => format!("generation {to} is current already"),
            None => format!("there is no previous generation to go back to; the current one is {shown} (`--to` chooses any that is kept)"),
        });
        return report.print(&arguments.style, out);
    };
    let check = Check { root: &arguments.folder, set: set.as_ref(), ca: &arguments.ca, within: Duration::ZERO };
    report.findings = check.folder(&layout.folder(to))?;
    if report.findings.iter().any(Finding::is_problem) {
        report.outcome = Outcome::Findings;
        report.tell(format!("refused: generation {to} is not fit to be used any more; generation {shown} stays current"));
        return report.print(&arguments.style, out);
    }
    let door = match arguments.border.door(set.as_ref()) {
        Ok(door) => door,
        Err(error) => return nobody_there(report, &error, &arguments.style, out),
    };
    layout.set(Link::Current, Some(to))?;
    if told(&door, &layout, current, &mut report)? {
        // Nothing to go back to from here: a second rollback changes nothing.
        layout.set(Link::Previous, None)?;
        report.outcome = Outcome::Done;
        report.tell(format!("generation {to} is current; {shown} is kept, and can be made current again by `--to`"));
        report.put("current", to);
    }
    report.print(&arguments.style, out)
}
