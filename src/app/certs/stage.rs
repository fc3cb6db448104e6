//! `portcullis certs stage`: puts new files into a new generation, with those of the current one that did not change, checks all of it, and leaves it
//! waiting for `activate`. With one problem anywhere nothing is staged, and all problems are said.

use std::collections::BTreeMap;
use std::fs::{self, File, Metadata};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};
use std::time::Duration;

use time::OffsetDateTime;
use zeroize::Zeroizing;

use super::examine::{self, Yardstick};
use super::facts::Facts;
use super::files;
use super::fitness::{self, Files};
use super::folder::Folder;
use super::layout::{Generation, Layout, Link};
use super::report::{Finding, Outcome, Report, Style};
use super::set::Set;
use super::span;

/// So little left is worth a warning, not a refusal: some certificates live no longer.
const SOON: Duration = Duration::from_secs(86_400);

/// The command line of `certs stage`.
#[derive(clap::Args, Clone, Debug)]
pub struct Arguments {
    /// The folder rotation works on, such as certs beside the policy set.
    pub folder: PathBuf,
    /// New files: a folder (its .pem, .crt, .cer, .key and .crl files), a file, or NAME=FILE to store a file under another name. May be given several times.
    #[arg(long, required = true, value_name = "FOLDER|FILE|NAME=FILE")]
    pub from: Vec<String>,
    /// Take over nothing of the current generation.
    #[arg(long)]
    pub only: bool,
    /// Check by what this policy set asks: its files, its names, and that the border would load them.
    #[arg(long, value_name = "POLICYSET")]
    pub set: Option<PathBuf>,
    /// CA certificates our chains may end at, beside those staged and those of this machine.
    #[arg(long)]
    pub ca: Vec<PathBuf>,
    /// Refuse for warnings as well.
    #[arg(long)]
    pub strict: bool,
    /// How long to wait for another run to end.
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = span)]
    pub wait: Duration,
    #[command(flatten)]
    pub style: Style,
}

/// A file that goes into the generation.
struct Source {
    /// Where it comes from.
    path: PathBuf,
    contents: Zeroizing<Vec<u8>>,
    /// Its own mode …
    mode: u32,
    /// … and that of the file it replaces, which it gets.
    kept_mode: Option<u32>,
    owner: (u32, u32),
    /// The owner is that of the file it replaces, and must be kept.
    inherited: bool,
}

/// Exit status: 0 staged, or current or staged already; 1 refused; 2 the arguments cannot be used.
pub fn run(arguments: &Arguments, out: &mut dyn Write) -> io::Result<u8> {
    let set = arguments.set.as_deref().map(Set::load).transpose()?;
    let mut report = Report::new("stage", Outcome::Nothing);
    let mut new = sources(arguments, &mut report)?;
    let layout = Layout::at(&arguments.folder);
    layout.make()?;
    let _lock = layout.lock(arguments.wait)?;
    let (current, staged) = (layout.get(Link::Current)?, layout.get(Link::Staged)?);
    if let Some(current) = current {
        inherit(&mut new, &layout.open(current)?, arguments.only)?;
    }
    without_authority_keys(&mut new, &mut report);
    if new.is_empty() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "there is nothing to stage: none of --from holds a certificate file"));
    }
    report.put("files", new.keys().collect::<Vec<_>>());
    if same(&layout, current, &new)? {
        report.tell(format!("generation {} is current and has these files already", shown(current)));
        if staged.is_some() && staged != current {
            layout.set(Link::Staged, None)?;
            report.tell(format!("generation {} is staged no longer", shown(staged)));
        }
        report.put("generation", current);
        return report.print(&arguments.style, out);
    }
    let already = same(&layout, staged, &new)?;
    let (folder, mut findings) = match staged {
        Some(staged) if already => (layout.folder(staged), Vec::new()),
        _ => {
            let draft = layout.draft()?;
            (draft.path().to_path_buf(), write(&draft, &new))
        }
    };
    let check = Check { root: &arguments.folder, set: set.as_ref(), ca: &arguments.ca, within: SOON };
    findings.extend(check.folder(&folder)?);
    findings.extend(open_keys(&new));
    report.findings = findings.into_iter().map(|finding| as_named(finding, &folder, &new)).collect();
    let refused = report.findings.iter().any(|finding| finding.is_problem() || arguments.strict);
    if refused {
        report.outcome = Outcome::Findings;
        if !already {
            layout.discard(&folder)?;
        }
        report.tell(if already { "what is staged is not fit to be activated" } else { "refused: nothing is staged, nothing has changed" });
    } else if already {
        report.tell(format!("generation {} is staged already with these files", shown(staged)));
        report.put("generation", staged);
    } else {
        let generation = layout.number(&folder)?;
        layout.set(Link::Staged, Some(generation))?;
        report.outcome = Outcome::Done;
        report.tell(format!("generation {generation} is staged; `portcullis certs activate {}` puts it into force", arguments.folder.display()));
        report.put("generation", generation);
    }
    report.print(&arguments.style, out)
}

fn shown(generation: Option<Generation>) -> String {
    generation.map_or_else(|| String::from("none"), |generation| generation.to_string())
}

/// What `stage` and `activate` ask of a generation.
pub struct Check<'a> {
    pub root: &'a Path,
    pub set: Option<&'a Set>,
    pub ca: &'a [PathBuf],
    pub within: Duration,
}

impl Check<'_> {
    pub fn folder(&self, folder: &Path) -> io::Result<Vec<Finding>> {
        let mut yardstick = Yardstick::new(OffsetDateTime::now_utc(), self.within);
        self.ca.iter().for_each(|file| yardstick.learn(file));
        let (files, mut found) = Files::read(folder)?;
        found.extend(links(folder)?);
        found.extend(files.examine(self.set.map(|set| (set, self.root)), &mut yardstick));
        Ok(found)
    }
}

/// Links in a generation's place or among its files: what is behind one can be changed unseen, and be anybody's.
fn links(folder: &Path) -> io::Result<Vec<Finding>> {
    let mut places = vec![folder.to_path_buf()];
    for entry in fs::read_dir(folder)? {
        places.push(entry?.path());
    }
    let links = places.into_iter().filter(|path| path.is_symlink());
    let remedy = "see who put it there; remove it and stage again";
    Ok(links.map(|path| Finding::problem("link", &path, "it is a link, where rotation only ever puts files and folders", remedy)).collect())
}

/// Reads what --from names.
fn sources(arguments: &Arguments, report: &mut Report) -> io::Result<BTreeMap<String, Source>> {
    let wrong = |what: String| io::Error::new(io::ErrorKind::InvalidInput, what);
    let mut sources = BTreeMap::new();
    let mut add = |name: String, path: PathBuf| -> io::Result<()> {
        if !fitness::is_name(&name) {
            let what = format!("{}: \"{name}\" cannot be staged: name it with one of .{}", path.display(), fitness::ENDINGS.join(", ."));
            return Err(wrong(what));
        }
        let source = read(&path)?;
        match sources.insert(name.clone(), source) {
            None => Ok(()),
            Some(other) => Err(wrong(format!("two files would be {name}: {} and {}; give them names of their own", other.path.display(), path.display()))),
        }
    };
    for from in &arguments.from {
        let path = PathBuf::from(from);
        if path.is_dir() {
            let (names, left) = fitness::names(&path)?;
            for name in names {
                add(name.clone(), path.join(name))?;
            }
            left.iter().for_each(|name| report.tell(format!("{}: left out, it is no certificate file by its name", path.join(name).display())));
            continue;
        }
        match from.split_once('=') {
            Some((name, path)) if !name.contains('/') => add(name.to_owned(), PathBuf::from(path))?,
            _ => add(path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned(), path.clone())?,
        }
    }
    Ok(sources)
}

fn read(path: &Path) -> io::Result<Source> {
    let file = File::open(path).map_err(|error| files::named(path, &error))?;
    Ok(Source::new(path.to_path_buf(), files::read_open(file, path)?))
}

impl Source {
    fn new(path: PathBuf, (contents, metadata): (Zeroizing<Vec<u8>>, Metadata)) -> Source {
        let mode = metadata.permissions().mode() & 0o777;
        Source { path, contents, mode, kept_mode: None, owner: (metadata.uid(), metadata.gid()), inherited: false }
    }
}

/// Owner and mode of what is replaced, and the files that are not.
fn inherit(new: &mut BTreeMap<String, Source>, current: &Folder, only: bool) -> io::Result<()> {
    for name in fitness::names(current.path())?.0 {
        let old = Source::new(current.path().join(&name), current.read(&name)?);
        match new.get_mut(&name) {
            Some(source) => (source.owner, source.kept_mode, source.inherited) = (old.owner, Some(old.mode), true),
            None if only => {}
            None => {
                new.insert(name, Source { inherited: true, ..old });
            }
        }
    }
    Ok(())
}

/// The key of a CA has no business beside a border: a laboratory's folder has it in the same place.
fn without_authority_keys(new: &mut BTreeMap<String, Source>, report: &mut Report) {
    let contents = |source: &Source| files::of_text(&source.contents).unwrap_or_default();
    let authorities: Vec<Facts> =
        new.values().flat_map(|source| contents(source).certificates.iter().filter_map(Facts::read).filter(|facts| facts.is_ca).collect::<Vec<_>>()).collect();
    let public = |source: &Source| examine::public_key(&contents(source)).ok();
    new.retain(|name, source| {
        let of_authority = public(source).is_some_and(|public| authorities.iter().any(|facts| facts.public_key_info == public));
        if of_authority {
            report.tell(format!("{name}: left out, it is a CA's key, which a border does not need"));
        }
        !of_authority
    });
}

/// Whether a generation has exactly these files.
fn same(layout: &Layout, generation: Option<Generation>, new: &BTreeMap<String, Source>) -> io::Result<bool> {
    let Some(generation) = generation else { return Ok(false) };
    let folder = layout.open(generation)?;
    let names = fitness::names(folder.path())?.0;
    let equal = |name: &String| {
        let there = folder.read(name);
        there.is_ok_and(|(there, _)| new.get(name).is_some_and(|source| *source.contents == *there))
    };
    Ok(names.len() == new.len() && names.iter().all(equal))
}

/// Writes the files with their owners and modes; keys are never open, whatever they were.
fn write(folder: &Folder, new: &BTreeMap<String, Source>) -> Vec<Finding> {
    let mut found = Vec::new();
    for (name, source) in new {
        let path = folder.path().join(name);
        let mode = if files::may_be_key(&source.contents) { source.kept_mode.unwrap_or(source.mode) & 0o640 | 0o400 } else { 0o644 };
        let made = match folder.create(name, &source.contents, mode) {
            Ok(made) => made,
            Err(error) => {
                found.push(Finding::problem("not-written", &path, error.to_string(), "make room and rights for it"));
                continue;
            }
        };
        if let Err(error) = own(&made, source) {
            let (user, group) = source.owner;
            let what = format!("it cannot be given to its owner so far, user {user} and group {group} ({error}), so the border could not read it");
            found.push(Finding::problem("owner", &path, what, "run this as root, or as that user"));
        }
    }
    found
}

/// The file that was made, not whatever has its name by now.
fn own(file: &File, source: &Source) -> io::Result<()> {
    let metadata = file.metadata()?;
    let (user, group) = source.owner;
    if (metadata.uid(), metadata.gid()) == source.owner {
        return Ok(());
    }
    match fchown(file, Some(user), Some(group)) {
        // A new file: ours will do, though its group is better.
        Err(_) if !source.inherited => {
            let _ = fchown(file, None, Some(group));
            Ok(())
        }
        result => result,
    }
}

/// Keys that others could read where they come from.
fn open_keys(new: &BTreeMap<String, Source>) -> Vec<Finding> {
    // What is unreadable is refused as that: it may be a CA's certificate as DER.
    let has_key = |source: &Source| files::of_text(&source.contents).is_ok() && files::may_be_key(&source.contents);
    let open = new.values().filter(|source| source.mode & 0o027 != 0 && has_key(source));
    open.map(|source| {
        let what = format!("this private key is open to others (mode {:04o}); it may have been read by them", source.mode);
        let remedy = format!("run: chmod 600 {} (in Kubernetes: defaultMode: 0440 or less); better, make a new key", source.path.display());
        Finding::problem("key-open", &source.path, what, remedy)
    })
    .collect()
}

/// A finding about a draft, told as one about the file it came from.
fn as_named(finding: Finding, folder: &Path, new: &BTreeMap<String, Source>) -> Finding {
    let name = finding.file.strip_prefix(folder).ok().and_then(Path::to_str).map(str::to_owned);
    let prefix = format!("{}/", folder.display());
    let file = match &name {
        Some(name) => new.get(name).map_or_else(|| PathBuf::from(name), |source| source.path.clone()),
        None => finding.file.clone(),
    };
    Finding { file, what: finding.what.replace(&prefix, ""), remedy: finding.remedy.replace(&prefix, ""), ..finding }
}
