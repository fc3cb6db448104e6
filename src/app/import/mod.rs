//! `portcullis import exchange`: what Exchange has, as its management shell writes it in JSON, made into a policy set that loads.
//!
//! The set is where to begin, not where to end: what Exchange cannot know (listeners, certificates, carriers) stands in it as `FILL IN`, and what of
//! Exchange has no place in a set is told.

mod document;
mod exchange;
mod policy_set;
mod toml;

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde_json::json;

pub use document::objects;
pub use exchange::{Exchange, Remark};

#[derive(clap::Subcommand, Clone, Debug)]
pub enum Command {
    /// From the JSON of Get-UMDialPlan, Get-UMIPGateway, Get-UMHuntGroup, and Get-UMService and Get-UMCallRouterSettings if you have them.
    Exchange(Arguments),
}

/// The command line of `import exchange`.
#[derive(clap::Args, Clone, Debug)]
pub struct Arguments {
    /// Files that ConvertTo-Json wrote, in any of PowerShell's encodings; all kinds of objects may stand in one.
    #[arg(required = true)]
    pub files: Vec<PathBuf>,
    /// The folder the policy set is written into.
    #[arg(long, value_name = "DIR")]
    pub to: PathBuf,
    /// Write over files of a policy set that are there.
    #[arg(long)]
    pub force: bool,
    /// What was done as JSON.
    #[arg(long)]
    pub json: bool,
}

/// Exit status: written, nothing to tell.
pub const DONE: u8 = 0;
/// Exit status: written, with something that was not mapped or had to be guessed.
pub const REMARKS: u8 = 1;
/// Exit status: nothing was written.
pub const UNUSABLE: u8 = 2;

/// A file larger than this is no export of UM objects.
const LARGEST: u64 = 64 * 1024 * 1024;

/// Writes the set, tells what was done, and returns the exit status.
pub fn import(command: &Command, out: &mut dyn Write) -> io::Result<u8> {
    let Command::Exchange(arguments) = command;
    match exchange(arguments) {
        Ok(done) if arguments.json => {
            writeln!(out, "{:#}", told(&done))?;
            Ok(if done.remarks.is_empty() { DONE } else { REMARKS })
        }
        Ok(done) => {
            for remark in &done.remarks {
                writeln!(out, "{remark}")?;
            }
            for file in &done.written {
                writeln!(out, "{}", file.display())?;
            }
            let set = arguments.to.display();
            writeln!(out, "{set}: {}; {} remarks. Fill in what says FILL IN, then run: portcullis check {set}", done.summary, done.remarks.len())?;
            Ok(if done.remarks.is_empty() { DONE } else { REMARKS })
        }
        Err(trouble) => {
            if arguments.json {
                writeln!(out, "{:#}", json!({ "trouble": trouble }))?;
            } else {
                writeln!(out, "{trouble}")?;
            }
            Ok(UNUSABLE)
        }
    }
}

fn told(done: &Done) -> serde_json::Value {
    let lines = |remarks: &[Remark]| remarks.iter().map(ToString::to_string).collect::<Vec<_>>();
    json!({ "summary": done.summary, "written": done.written, "remarks": lines(&done.remarks) })
}

struct Done {
    written: Vec<PathBuf>,
    remarks: Vec<Remark>,
    summary: String,
}

fn exchange(arguments: &Arguments) -> Result<Done, String> {
    let mut found = Vec::new();
    for file in &arguments.files {
        let bytes = read(file).map_err(|error| format!("{}: {error}", file.display()))?;
        found.extend(objects(&bytes).map_err(|trouble| format!("{}: {trouble}", file.display()))?);
    }
    let exchange = Exchange::read(&found);
    if exchange.plans.is_empty() {
        return Err(String::from(
            "there is no UM dial plan in it; write one with: @{ DialPlans = @(Get-UMDialPlan); Gateways = @(Get-UMIPGateway -IncludeSimulator); HuntGroups = @(Get-UMHuntGroup) } | ConvertTo-Json -Depth 4 > um.json",
        ));
    }
    let set = policy_set::policy_set(exchange);
    let written = write(&arguments.to, &set.files, arguments.force)?;
    Ok(Done { written, remarks: set.remarks, summary: set.summary })
}

fn read(file: &Path) -> Result<Vec<u8>, String> {
    let length = std::fs::metadata(file).map_err(|error| error.to_string())?.len();
    if length > LARGEST {
        return Err(format!("it has {length} bytes, too many for an export of UM objects"));
    }
    std::fs::read(file).map_err(|error| error.to_string())
}

/// All or nothing as far as files that are there go: they are looked for before the first is written.
fn write(folder: &Path, files: &[(&'static str, String)], force: bool) -> Result<Vec<PathBuf>, String> {
    let paths: Vec<(PathBuf, &String)> = files.iter().map(|(name, text)| (folder.join(name), text)).collect();
    if let Some((there, _)) = paths.iter().find(|(path, _)| !force && path.symlink_metadata().is_ok()) {
        return Err(format!("{} is there already, and nothing was written; name another folder, or write over it with --force", there.display()));
    }
    let failed = |path: &Path, error: io::Error| format!("{}: {error}", path.display());
    std::fs::create_dir_all(folder).map_err(|error| failed(folder, error))?;
    for (path, text) in &paths {
        std::fs::write(path, text).map_err(|error| failed(path, error))?;
    }
    Ok(paths.into_iter().map(|(path, _)| path).collect())
}
