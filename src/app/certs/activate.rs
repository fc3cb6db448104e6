//! `portcullis certs activate`: makes the staged generation the current one, and has the running border take it. A border that refuses keeps what it has,
//! and the folder goes back to that as well.

use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Duration;

use super::layout::{Generation, Layout, Link};
use super::report::{Finding, Outcome, Report, Style};
use super::running::{Border, Door, Told};
use super::set::Set;
use super::span;
use super::stage::Check;

/// The command line of `certs activate`.
#[derive(clap::Args, Clone, Debug)]
pub struct Arguments {
    /// The folder rotation works on.
    pub folder: PathBuf,
    #[command(flatten)]
    pub border: Border,
    /// Check once more by what this policy set asks.
    #[arg(long, value_name = "POLICYSET")]
    pub set: Option<PathBuf>,
    /// CA certificates our chains may end at, beside those staged and those of this machine.
    #[arg(long)]
    pub ca: Vec<PathBuf>,
    /// How many generations stay; those that are current, staged or previous always do.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    pub keep: u16,
    /// How long to wait for another run to end.
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = span)]
    pub wait: Duration,
    #[command(flatten)]
    pub style: Style,
}

/// Exit status: 0 activated, or nothing is staged; 1 refused, and all is as it was; 2 the arguments cannot be used.
pub fn run(arguments: &Arguments, out: &mut dyn Write) -> io::Result<u8> {
    let set = arguments.set.as_deref().map(Set::load).transpose()?;
    let layout = existing(&arguments.folder)?;
    let _lock = layout.lock(arguments.wait)?;
    let (current, staged, previous) = (layout.get(Link::Current)?, layout.get(Link::Staged)?, layout.get(Link::Previous)?);
    let mut report = Report::new("activate", Outcome::Nothing);
    report.put("current", current);
    let Some(staged) = staged else {
        let current = current.map_or_else(|| String::from("none"), |current| current.to_string());
        report.tell(format!("nothing is staged; the current generation is {current}"));
        return report.print(&arguments.style, out);
    };
    let check = Check { root: &arguments.folder, set: set.as_ref(), ca: &arguments.ca, within: Duration::ZERO };
    report.findings = check.folder(&layout.folder(staged))?;
    if report.findings.iter().any(Finding::is_problem) {
        report.outcome = Outcome::Findings;
        report.tell(format!("refused: generation {staged} is not fit to be used; nothing has changed"));
        return report.print(&arguments.style, out);
    }
    let door = match arguments.border.door(set.as_ref()) {
        Ok(door) => door,
        Err(error) => return nobody_there(report, &error, &arguments.style, out),
    };
    // An earlier run that ended between the swap and here has left both links alike; what it replaced is the previous one.
    let interrupted = current == Some(staged);
    let (before, older) = if interrupted { (previous, None) } else { (current, previous) };
    if interrupted {
        report.tell(format!("an earlier run ended half way; going on with generation {staged}"));
    } else {
        layout.set(Link::Previous, current)?;
        layout.set(Link::Current, Some(staged))?;
    }
    if told(&door, &layout, before, &mut report)? {
        layout.set(Link::Staged, None)?;
        report.outcome = Outcome::Done;
        report.tell(format!("generation {staged} is current{}", before.map_or_else(String::new, |before| format!(", {before} previous"))));
        report.put("current", staged);
        let gone = layout.prune(usize::from(arguments.keep))?;
        report.put("removed", &gone);
    } else {
        layout.set(Link::Previous, older)?;
        report.tell(format!("generation {staged} stays staged"));
        report.put("current", before);
    }
    report.print(&arguments.style, out)
}

/// The folder, if rotation has ever worked there.
pub fn existing(folder: &std::path::Path) -> io::Result<Layout> {
    let layout = Layout::at(folder);
    if layout.exists() {
        return Ok(layout);
    }
    let what = format!("{}: it has no generations; put files into it with `portcullis certs stage {0} --from …`", folder.display());
    Err(io::Error::new(io::ErrorKind::NotFound, what))
}

/// The border that was to be asked is not there: nothing is changed, since it would go on with the old files unnoticed until they expire.
pub fn nobody_there(mut report: Report, error: &io::Error, style: &Style, out: &mut dyn Write) -> io::Result<u8> {
    report.outcome = Outcome::Findings;
    report.tell(format!("nothing has changed: {error}"));
    report.put("refused", error.to_string());
    report.print(style, out)
}

/// Tells the border that another generation is current. `false`: it does not take it, and `before` is current again.
pub fn told(door: &Door, layout: &Layout, before: Option<Generation>, report: &mut Report) -> io::Result<bool> {
    let refused = match door.tell() {
        Ok(Told::Rotated(said)) => {
            report.tell("the running border has taken the files");
            said.into_iter().for_each(|line| report.tell(format!("the border says: {line}")));
            report.put("border", "rotated");
            return Ok(true);
        }
        Ok(Told::Signalled(process)) => {
            report.tell(format!("SIGHUP went to process {process}; whether it took the files stands in its log"));
            report.put("border", "signalled");
            return Ok(true);
        }
        Ok(Told::Nobody(why)) => {
            report.tell(why);
            report.put("border", "not told");
            return Ok(true);
        }
        Ok(Told::Refused(why)) => why,
        Err(error) => {
            // It may have taken them before it fell silent: back to the old ones, and once more.
            layout.set(Link::Current, before)?;
            go_back(door, layout, report);
            error.to_string()
        }
    };
    layout.set(Link::Current, before)?;
    let before = before.map_or_else(|| String::from("nothing is current, as before"), |before| format!("generation {before} is current again"));
    report.outcome = Outcome::Findings;
    report.tell(format!("rolled back: {before}"));
    let what = format!("the running border does not take them: {refused}");
    report.findings.push(Finding::problem("refused-by-border", layout.root(), what, "mend that, stage and activate again"));
    report.put("border", "refused");
    Ok(false)
}

/// Has a border that did not answer load what is current again; unless it confirms that, nobody knows which files it is on.
fn go_back(door: &Door, layout: &Layout, report: &mut Report) {
    let why = match door.tell() {
        Ok(Told::Rotated(_)) => {
            report.tell("asked once more, the running border has taken the files of before");
            return;
        }
        Ok(Told::Refused(why)) => why,
        Ok(Told::Signalled(_) | Told::Nobody(_)) => String::from("it was told, and does not answer"),
        Err(error) => error.to_string(),
    };
    let what = format!("the running border may be on the files that were taken back: asked to load those of before, it does not confirm it: {why}");
    let remedy = "see whether it runs; compare with `portcullis certs status`, and have it load them: `portcullis reload`, SIGHUP or a restart";
    report.findings.push(Finding::problem("border-unsure", layout.root(), what, remedy));
}
