//! Putting a policy set into the folder a border was started on: everything is written beside the old files first, and takes their names once it is in force.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::texts::Texts;
use crate::config::FILES;

/// Ends no name that a set's files have.
const BESIDE: &str = "-new";

/// New files beside the old ones; gone again when dropped.
#[derive(Debug)]
pub struct Staged {
    folder: PathBuf,
    /// As written, and as it shall be called.
    new: Vec<(PathBuf, PathBuf)>,
    gone: Vec<PathBuf>,
}

impl Staged {
    /// # Errors
    ///
    /// The folder cannot be changed, with the remedy.
    pub fn write(folder: &Path, texts: &Texts) -> Result<Staged, String> {
        let mut staged = Staged { folder: folder.to_path_buf(), new: Vec::new(), gone: Vec::new() };
        for name in FILES {
            let place = folder.join(name);
            let found = fs::symlink_metadata(&place).ok();
            if found.as_ref().is_some_and(fs::Metadata::is_symlink) {
                let what =
                    "is a symbolic link, as in a mounted ConfigMap: change it where it comes from, or activate the set until the next start (--until-restart)";
                return Err(format!("{} {what}", place.display()));
            }
            match texts.get(name) {
                Some(text) => {
                    let beside = folder.join(format!("{name}{BESIDE}"));
                    staged.new.push((beside.clone(), place));
                    put(&beside, text, found.map(|found| found.permissions())).map_err(|error| {
                        let remedy = "let the border's user write the folder, or activate the set until the next start (--until-restart)";
                        format!("{}: {error}; {remedy}", beside.display())
                    })?;
                }
                None if found.is_some() => staged.gone.push(place),
                None => {}
            }
        }
        Ok(staged)
    }

    /// # Errors
    ///
    /// A file could not be given its name: the folder holds parts of both sets then.
    pub fn commit(mut self) -> io::Result<()> {
        for (beside, place) in std::mem::take(&mut self.new) {
            fs::rename(beside, place)?;
        }
        for place in std::mem::take(&mut self.gone) {
            fs::remove_file(place)?;
        }
        File::open(&self.folder)?.sync_all()
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        for (beside, _) in &self.new {
            // It may never have been made.
            let _ = fs::remove_file(beside);
        }
    }
}

fn put(path: &Path, text: &str, permissions: Option<fs::Permissions>) -> io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    let mut file = File::options().create(true).write(true).truncate(true).mode(0o640).open(path)?;
    file.write_all(text.as_bytes())?;
    if let Some(permissions) = permissions {
        file.set_permissions(permissions)?;
    }
    file.sync_all()
}
