//! The policy set in force and those before it: what it says and means, since when, by whom, and how it came into force; kept to go back to.
//!
//! Those before are kept in memory, and in a folder of their own where `[policy_sets] kept_in` names one, so that a restart does not lose them.

pub mod staged;
pub mod texts;

use std::collections::VecDeque;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use utoipa::ToSchema;

use self::staged::Staged;
use self::texts::Texts;
use crate::adapters::lines;
use crate::config::{self, Settings};

/// How a set came into force.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum How {
    Started,
    Reloaded,
    Activated,
    RolledBack,
}

/// A set that is in force, or was.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Adopted {
    pub texts: Arc<Texts>,
    pub about: About,
}

/// What is known of it beside its text.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = AdoptedSet)]
pub struct About {
    /// SHA-256 of its files, hexadecimal.
    pub digest: String,
    /// When it came into force last, RFC 3339, UTC.
    pub since: String,
    /// The operator, or the signal.
    pub by: String,
    pub how: How,
    /// Not in the border's folder: at the next start what lies there comes into force.
    pub until_restart: bool,
}

/// What is to come into force.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Adoption {
    pub texts: Texts,
    pub how: How,
    /// The folder stays as it is.
    pub until_restart: bool,
    /// Though the folder holds what was never in force.
    pub overwrite: bool,
    /// Only over this one, by its digest.
    pub over: Option<String>,
}

pub struct PolicySets {
    settings: ArcSwap<Settings>,
    sets: Mutex<Sets>,
}

#[derive(Default)]
struct Sets {
    folder: Option<PathBuf>,
    now: Option<Adopted>,
    /// Newest first.
    earlier: VecDeque<Adopted>,
    /// Why they are not on disk, though they are to be.
    unkept: Option<String>,
}

impl Sets {
    /// Among those before, where it belongs by its time, once. False: it was there.
    fn put_in(&mut self, adopted: Adopted) -> bool {
        if self.earlier.iter().any(|earlier| earlier.about.digest == adopted.about.digest) {
            return false;
        }
        let at = |adopted: &Adopted| OffsetDateTime::parse(&adopted.about.since, &Rfc3339).ok();
        let place = self.earlier.iter().position(|earlier| at(earlier) < at(&adopted)).unwrap_or(self.earlier.len());
        self.earlier.insert(place, adopted);
        true
    }
}

impl PolicySets {
    pub fn new(settings: Settings) -> PolicySets {
        PolicySets { settings: ArcSwap::from_pointee(settings), sets: Mutex::default() }
    }

    fn sets(&self) -> MutexGuard<'_, Sets> {
        self.sets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// As they are in force.
    pub fn settings(&self) -> Arc<Settings> {
        self.settings.load_full()
    }

    pub fn put(&self, settings: Settings) {
        self.settings.store(Arc::new(settings));
    }

    /// The folder the border was started on.
    pub fn folder(&self) -> Option<PathBuf> {
        self.sets().folder.clone()
    }

    pub fn now(&self) -> Option<Adopted> {
        self.sets().now.clone()
    }

    /// Those before it, newest first, each once.
    pub fn earlier(&self) -> Vec<Adopted> {
        self.sets().earlier.iter().cloned().collect()
    }

    /// The set to go back to: of this digest or a beginning of it, else the one before the one in force.
    pub fn back(&self, to: Option<&str>) -> Result<Adopted, String> {
        let sets = self.sets();
        match to {
            None => sets
                .earlier
                .front()
                .cloned()
                .ok_or_else(|| String::from("there is no set before this one: none was in force since the start, or none is kept ([policy_sets] kept_in)")),
            Some(digest) if digest.len() < 6 => Err(format!("\"{digest}\" is too short: write six characters or more of the digest")),
            Some(digest) => {
                let mut found = sets.earlier.iter().filter(|adopted| adopted.about.digest.starts_with(digest));
                match (found.next(), found.next()) {
                    (Some(one), None) => Ok(one.clone()),
                    (Some(_), Some(_)) => Err(format!("several kept sets begin with {digest}: write more of it")),
                    (None, _) => Err(format!("no kept set has the digest {digest}; `portcullis show policy` lists them")),
                }
            }
        }
    }

    /// The border has begun with what lies in this folder.
    pub fn begin(&self, folder: &Path) {
        let kept = self.settings().policy_sets.clone();
        {
            let mut sets = self.sets();
            sets.folder = Some(folder.to_path_buf());
            // Another process may have left some by now.
            let inherited = std::mem::replace(&mut sets.earlier, kept.folder.as_deref().map(read_all).unwrap_or_default().into());
            for adopted in inherited {
                sets.put_in(adopted);
            }
        }
        match Texts::read(folder) {
            Ok(texts) => self.adopted(texts, "start", How::Started, false),
            Err(error) => tracing::warn!(error, "the policy set in force is not kept to go back to"),
        }
    }

    /// It is in force from now on; the one before is kept.
    pub fn adopted(&self, texts: Texts, by: &str, how: How, until_restart: bool) {
        let since = OffsetDateTime::now_utc();
        let about = About { digest: texts.digest(), since: since.format(&Rfc3339).unwrap_or_default(), by: String::from(by), how, until_restart };
        let digest = about.digest.clone();
        let mut sets = self.sets();
        let before = sets.now.replace(Adopted { texts: Arc::new(texts), about });
        if let Some(before) = before.filter(|before| before.about.digest != digest) {
            sets.earlier.push_front(before);
        }
        sets.earlier.retain(|earlier| earlier.about.digest != digest);
        drop(sets);
        self.keep();
    }

    /// One that was in force in the process this one has taken over from, the last of all there or one before that: it can be gone back to here. Returns whether it is another
    /// than the one in force here.
    pub fn inherit(&self, texts: Texts, about: About, is_last: bool) -> bool {
        let mut sets = self.sets();
        if let Some(now) = sets.now.as_mut().filter(|now| now.about.digest == about.digest) {
            if is_last {
                // It never was out of force.
                now.about = About { until_restart: false, ..about };
                drop(sets);
                self.keep();
            }
            return false;
        }
        let is_new = sets.put_in(Adopted { texts: Arc::new(texts), about });
        drop(sets);
        // On the disk that both may share it is by now.
        if is_new {
            self.keep();
        }
        true
    }

    /// No more of them than are to be, on disk too.
    fn keep(&self) {
        let kept = self.settings().policy_sets.clone();
        let mut sets = self.sets();
        sets.earlier.truncate(kept.keep);
        let wanted: Vec<Adopted> = sets.now.iter().chain(&sets.earlier).cloned().collect();
        drop(sets);
        let Some(folder) = &kept.folder else { return self.sets().unkept = None };
        let written = write_all(folder, &wanted);
        self.sets().unkept = written.as_ref().err().map(|error| format!("{}; reload then", lines::remedy(error)));
        if let Err(error) = written {
            tracing::error!(folder = %folder.display(), %error, "the policy set in force is not kept on disk to go back to after a restart; make room, or see the folder's rights ([policy_sets] kept_in), and reload: that writes it again");
        }
    }

    /// Whether they are to be kept on disk, and why those in force and before are not all there.
    pub fn kept(&self) -> (bool, Option<String>) {
        let unkept = self.sets().unkept.clone();
        (self.settings().policy_sets.folder.is_some(), unkept)
    }

    /// Whether what lies in the folder is not what is in force. `None`: it cannot be read.
    pub fn folder_differs(&self) -> Option<bool> {
        let (folder, now) = {
            let sets = self.sets();
            (sets.folder.clone()?, sets.now.clone()?)
        };
        Texts::read(&folder).ok().map(|texts| texts.digest() != now.about.digest)
    }

    /// What stands against it before anything is changed; a folder ready to be changed, where that is wanted.
    pub fn stage(&self, adoption: &Adoption) -> Result<Option<Staged>, String> {
        let now = self.now();
        let in_force = now.as_ref().map(|now| now.about.digest.as_str());
        if let (Some(over), Some(in_force)) = (&adoption.over, in_force)
            && over != in_force
        {
            return Err(String::from("another set has come into force meanwhile: look at what would change once more"));
        }
        if adoption.until_restart {
            return Ok(None);
        }
        let folder = self.folder().ok_or("this border was not started on the folder of a policy set")?;
        if self.folder_holds(&adoption.texts) {
            return Ok(None);
        }
        match self.hindrance(&adoption.texts).filter(|_| !adoption.overwrite) {
            Some(why) => Err(why),
            None => Staged::write(&folder, &adoption.texts).map(Some),
        }
    }

    /// Whether the folder holds this set: then nothing of it is to be written, and the next start brings the same.
    pub fn folder_holds(&self, texts: &Texts) -> bool {
        self.folder().is_some_and(|folder| Texts::read(&folder).is_ok_and(|held| held.digest() == texts.digest()))
    }

    /// Why it cannot be put into the folder unless somebody says so.
    pub fn hindrance(&self, texts: &Texts) -> Option<String> {
        let folder = self.folder().filter(|_| self.folder_differs() == Some(true) && !self.folder_holds(texts))?;
        let what = "holds what is not in force: reload it, or put it elsewhere; --overwrite writes over it, --until-restart leaves it";
        Some(format!("{} {what}", folder.display()))
    }
}

const ABOUT: &str = "about.json";

/// What is not whole of a set has this at the end of its folder's name.
const BEGUN: &str = "-new";

fn write_all(folder: &Path, wanted: &[Adopted]) -> io::Result<()> {
    private(folder)?;
    for adopted in wanted {
        let place = folder.join(&adopted.about.digest);
        match read(&place) {
            Some(held) if held.about == adopted.about => {}
            // A disk that fills must not cost one that is there.
            Some(_) => put_about(&place, &adopted.about)?,
            None => put_whole(folder, &place, adopted)?,
        }
    }
    for entry in std::fs::read_dir(folder)?.flatten() {
        let name = entry.file_name().into_string().unwrap_or_default();
        let digest = name.strip_suffix(BEGUN).unwrap_or(&name);
        let ours = digest.len() == 64 && digest.bytes().all(|digit| digit.is_ascii_hexdigit());
        if ours && !wanted.iter().any(|adopted| adopted.about.digest == name) {
            std::fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}

fn private(path: &Path) -> io::Result<()> {
    match std::fs::DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

/// Beside its place first: whatever happens, what has the name of a set is whole.
fn put_whole(folder: &Path, place: &Path, adopted: &Adopted) -> io::Result<()> {
    let beside = folder.join(format!("{}{BEGUN}", adopted.about.digest));
    // Of one that was begun before, or was there and is not whole.
    for rest in [beside.as_path(), place] {
        if rest.exists() {
            std::fs::remove_dir_all(rest)?;
        }
    }
    let begun = || -> io::Result<()> {
        private(&beside)?;
        for (name, text) in adopted.texts.files() {
            write(&beside.join(name), text)?;
        }
        write(&beside.join(ABOUT), &serde_json::to_string_pretty(&adopted.about)?)?;
        std::fs::rename(&beside, place)
    };
    begun().inspect_err(|_| {
        // It takes room, and is no use.
        let _ = std::fs::remove_dir_all(&beside);
    })
}

fn put_about(place: &Path, about: &About) -> io::Result<()> {
    let beside = place.join(format!("{ABOUT}{BEGUN}"));
    write(&beside, &serde_json::to_string_pretty(about)?).inspect_err(|_| {
        let _ = std::fs::remove_file(&beside);
    })?;
    std::fs::rename(beside, place.join(ABOUT))
}

fn write(path: &Path, text: &str) -> io::Result<()> {
    let mut file = std::fs::File::options().create(true).write(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())
}

fn read(place: &Path) -> Option<Adopted> {
    let about: About = serde_json::from_str(&std::fs::read_to_string(place.join(ABOUT)).ok()?).ok()?;
    let texts = Texts::read(place).ok()?;
    (texts.digest() == about.digest).then(|| Adopted { texts: Arc::new(texts), about })
}

/// Those that are whole, newest first.
fn read_all(folder: &Path) -> Vec<Adopted> {
    // Neither what was begun, nor what is another's.
    let is_set = |place: &Path| read(place).filter(|adopted| place.ends_with(&adopted.about.digest));
    let mut all: Vec<Adopted> = std::fs::read_dir(folder).into_iter().flatten().flatten().filter_map(|entry| is_set(&entry.path())).collect();
    let time = |adopted: &Adopted| OffsetDateTime::parse(&adopted.about.since, &Rfc3339).ok();
    all.sort_by_key(|adopted| std::cmp::Reverse(time(adopted)));
    all.truncate(config::PolicySets::MOST);
    all
}

#[cfg(test)]
mod tests;
