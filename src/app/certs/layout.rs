//! The folder that rotation works on (docs/certificates.md, "The folder"): generations of files, of which one is current, and links to them that
//! are swapped whole, as Kubernetes does with `..data`.
//!
//! ```text
//! certs/generations/0006/sbc.pem …   never changed once it has its number
//! certs/generations/0007/…
//! certs/current  -> generations/0006  what the policy set names: certs/current/sbc.pem
//! certs/staged   -> generations/0007  checked, waiting to be activated
//! certs/previous -> generations/0005  what rollback goes back to
//! certs/.lock                         held by whoever changes any of this
//! ```
//!
//! Every step is one rename, and on disk before the next begins: after a crash the folder is as it was before a step or after it, and whoever comes
//! next goes on from there.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::OFlags;
use serde::Serialize;

use super::files::{settle, wrong};
use super::folder::Folder;

pub const GENERATIONS: &str = "generations";

/// Links followed from a file that a policy set names to one in a generation.
const LINKS: usize = 8;

/// The generation that is being made.
const DRAFT: &str = ".draft";

/// How long a command that is not told otherwise waits for another one to end.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// How often a taken lock is tried again.
const POLL: Duration = Duration::from_millis(50);

/// A generation's number, written with at least four digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(transparent)]
pub struct Generation(pub u64);

impl std::fmt::Display for Generation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:04}", self.0)
    }
}

impl std::str::FromStr for Generation {
    type Err = String;

    fn from_str(text: &str) -> Result<Generation, String> {
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        text.parse().ok().filter(|_| digits).map(Generation).ok_or_else(|| format!("\"{text}\" is no generation's number, such as 7"))
    }
}

/// Which generation has a role.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Link {
    Current,
    Staged,
    Previous,
}

impl Link {
    const fn name(self) -> &'static str {
        match self {
            Link::Current => "current",
            Link::Staged => "staged",
            Link::Previous => "previous",
        }
    }
}

/// The folder with its generations.
#[derive(Clone, Debug)]
pub struct Layout {
    root: PathBuf,
}

impl Layout {
    pub fn at(root: &Path) -> Layout {
        Layout { root: root.to_path_buf() }
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    pub fn folder(&self, generation: Generation) -> PathBuf {
        self.root.join(GENERATIONS).join(generation.to_string())
    }

    /// A generation, held open.
    pub fn open(&self, generation: Generation) -> io::Result<Folder> {
        self.open_generations()?.folder(&generation.to_string())
    }

    fn open_generations(&self) -> io::Result<Folder> {
        Folder::open(&self.root)?.folder(GENERATIONS)
    }

    /// Whether rotation has ever worked here.
    pub fn exists(&self) -> bool {
        self.root.join(GENERATIONS).is_dir()
    }

    /// Makes what is missing of the folder.
    pub fn make(&self) -> io::Result<()> {
        let generations = self.root.join(GENERATIONS);
        if generations.is_dir() {
            return Ok(());
        }
        if !self.root.is_dir() {
            fs::create_dir_all(&self.root).map_err(|error| wrong(&self.root, error))?;
            open_folder(&self.root)?;
        }
        Folder::open(&self.root)?.make(GENERATIONS)?;
        settle(&self.root)
    }

    /// The generation a link points at; `None` where there is no such link. An error where it is something else, or its generation is gone.
    pub fn get(&self, link: Link) -> io::Result<Option<Generation>> {
        let path = self.root.join(link.name());
        let target = match fs::read_link(&path) {
            Ok(target) => target,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(_) => {
                let what = format!("it is in the way of the link to the {} generation; move it elsewhere", link.name());
                return Err(wrong(&path, what));
            }
        };
        let number = target.strip_prefix(GENERATIONS).ok().and_then(Path::to_str).and_then(|name| name.parse().ok());
        let generation: Generation = number.ok_or_else(|| wrong(&path, format!("it leads to {}, which is no generation; remove it", target.display())))?;
        if !self.folder(generation).is_dir() {
            return Err(wrong(&path, format!("generation {generation} is gone; remove the link, or point it at one that is there (`rollback --to`)")));
        }
        Ok(Some(generation))
    }

    /// Points a link at a generation in one step, or takes it away.
    pub fn set(&self, link: Link, to: Option<Generation>) -> io::Result<()> {
        let path = self.root.join(link.name());
        match to {
            Some(generation) => {
                let beside = self.root.join(format!(".{}.new", link.name()));
                remove_if_there(&beside)?;
                std::os::unix::fs::symlink(Path::new(GENERATIONS).join(generation.to_string()), &beside).map_err(|error| wrong(&beside, error))?;
                fs::rename(&beside, &path).map_err(|error| wrong(&path, error))?;
            }
            None => remove_if_there(&path)?,
        }
        settle(&self.root)
    }

    /// All there are, in order.
    pub fn generations(&self) -> io::Result<Vec<Generation>> {
        let folder = self.root.join(GENERATIONS);
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(wrong(&folder, error)),
        };
        let mut all = Vec::new();
        for entry in entries {
            let name = entry?.file_name();
            all.extend(name.to_str().filter(|name| name.len() >= 4).and_then(|name| name.parse::<Generation>().ok()));
        }
        all.sort();
        Ok(all)
    }

    /// An empty folder for a generation that has no number yet; what an earlier run left behind is cleared away.
    pub fn draft(&self) -> io::Result<Folder> {
        let generations = self.open_generations()?;
        clear(&generations.path().join(DRAFT))?;
        generations.make(DRAFT)
    }

    /// Takes a draft away that is not wanted.
    pub fn discard(&self, draft: &Path) -> io::Result<()> {
        clear(draft)
    }

    /// Gives a draft the next number. From here on it is never changed.
    pub fn number(&self, draft: &Path) -> io::Result<Generation> {
        let next = self.generations()?.last().map_or(1, |last| last.0.saturating_add(1));
        let generation = Generation(next);
        settle(draft)?;
        fs::rename(draft, self.folder(generation)).map_err(|error| wrong(draft, error))?;
        settle(&self.root.join(GENERATIONS))?;
        Ok(generation)
    }

    /// Removes all but the newest `keep` generations; one that a link points at always stays.
    pub fn prune(&self, keep: usize) -> io::Result<Vec<Generation>> {
        let linked: Vec<Generation> = [Link::Current, Link::Staged, Link::Previous].into_iter().filter_map(|link| self.get(link).ok().flatten()).collect();
        let all = self.generations()?;
        let old = all.len().saturating_sub(keep.max(1));
        for entry in fs::read_dir(self.root.join(GENERATIONS))? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with(".removed-") {
                clear(&entry.path())?;
            }
        }
        let gone: Vec<Generation> = all.into_iter().take(old).filter(|generation| !linked.contains(generation)).collect();
        for generation in &gone {
            // Out of the way first: a crash half way leaves no half generation.
            let removed = self.root.join(GENERATIONS).join(format!(".removed-{generation}"));
            clear(&removed)?;
            fs::rename(self.folder(*generation), &removed).map_err(|error| wrong(&removed, error))?;
            clear(&removed)?;
        }
        Ok(gone)
    }

    /// Waits for whoever else changes the folder, for at most `patience`. The lock is gone with the process, however that ends.
    pub fn lock(&self, patience: Duration) -> io::Result<Lock> {
        Lock::of(&self.root, patience)
    }
}

/// Held while a folder is being changed.
pub struct Lock {
    _file: fs::File,
}

impl Lock {
    /// Waits for whoever else changes this folder, for at most `patience`. The lock is gone with the process, however that ends.
    pub fn of(folder: &Path, patience: Duration) -> io::Result<Lock> {
        use std::os::unix::fs::OpenOptionsExt;
        let path = folder.join(".lock");
        let no_link = OFlags::NOFOLLOW.bits().cast_signed();
        let made = fs::OpenOptions::new().create(true).append(true).custom_flags(no_link).open(&path);
        let file = match made {
            // Made by another user, whose turn it was: to wait, reading is enough.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                fs::OpenOptions::new().read(true).custom_flags(no_link).open(&path).map_err(|_| error)
            }
            made => made,
        };
        let file = file.map_err(|error| wrong(&path, error))?;
        let begun = Instant::now();
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Lock { _file: file }),
                Err(fs::TryLockError::WouldBlock) if begun.elapsed() < patience => std::thread::sleep(POLL),
                Err(fs::TryLockError::WouldBlock) => {
                    let what = format!("another run works here and has not ended within {} seconds; try again, or see what it waits for", patience.as_secs());
                    return Err(io::Error::new(io::ErrorKind::WouldBlock, format!("{}: {what}", folder.display())));
                }
                Err(fs::TryLockError::Error(error)) => return Err(wrong(&path, error)),
            }
        }
    }
}

/// The border is another user than the job that works here, whose umask may be 077. Keys are guarded by their own modes.
fn open_folder(folder: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).map_err(|error| wrong(folder, error))
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(wrong(path, error)),
        _ => Ok(()),
    }
}

fn clear(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(wrong(folder, error)),
        _ => Ok(()),
    }
}

/// The name within a generation of a file that is named by way of the folder's `current` link, directly or by links of its own.
pub fn name_in_current(root: &Path, file: &Path) -> Option<String> {
    let root = root.canonicalize().ok()?;
    let mut file = file.to_path_buf();
    for _ in 0..LINKS {
        let folder = file.parent()?;
        let above = folder.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."));
        if folder.file_name().is_some_and(|name| name == Link::Current.name()) && above.canonicalize().ok()? == root {
            return file.file_name()?.to_str().map(str::to_owned);
        }
        file = folder.join(fs::read_link(&file).ok()?);
    }
    None
}

/// Files of a generation are never changed: what is made must go elsewhere and be staged.
pub fn refuse_generation(folder: &Path) -> io::Result<()> {
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let Ok(real) = folder.canonicalize() else { return Ok(()) };
    if real.parent().and_then(Path::file_name).is_some_and(|name| name == GENERATIONS) {
        let what = "it is a generation, which is never changed; make new files in another folder and stage them";
        return Err(wrong(folder, what));
    }
    Ok(())
}
