//! A folder held open, in which files are read and made by name without following a link. The folder that rotation works on may belong to the border's
//! user, and the job that works there may be root: a link put there meanwhile must not lend root's hand to anybody.

use std::fs::{File, Metadata, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, mkdirat, openat};
use rustix::io::Errno;
use zeroize::Zeroizing;

use super::files::{self, wrong};

pub struct Folder {
    file: File,
    path: PathBuf,
}

impl Folder {
    /// The folder itself may be named by way of links: its name is the operator's.
    pub fn open(path: &Path) -> io::Result<Folder> {
        let file = File::open(path).map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))?;
        Ok(Folder { file, path: path.to_path_buf() })
    }

    /// The way it was named.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A folder in this one.
    pub fn folder(&self, name: &str) -> io::Result<Folder> {
        let file = self.opened(name, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())?;
        Ok(Folder { file, path: self.path.join(name) })
    }

    /// Makes a folder in this one, which others may read whatever the umask is: the border is another user than the job that works here, and keys are
    /// guarded by their own modes.
    pub fn make(&self, name: &str) -> io::Result<Folder> {
        let path = self.path.join(name);
        mkdirat(&self.file, name, Mode::RWXU).map_err(|error| wrong(&path, io::Error::from(error)))?;
        let made = self.folder(name)?;
        made.file.set_permissions(Permissions::from_mode(0o755)).map_err(|error| wrong(&path, error))?;
        Ok(made)
    }

    /// The whole file, wiped when dropped, and whose it is.
    pub fn read(&self, name: &str) -> io::Result<(Zeroizing<Vec<u8>>, Metadata)> {
        // A pipe in a file's place must not keep us waiting.
        let file = self.opened(name, OFlags::RDONLY | OFlags::NONBLOCK, Mode::empty())?;
        files::read_open(file, &self.path.join(name))
    }

    /// A new file, as [`files::create`] makes it, still open.
    pub fn create(&self, name: &str, contents: &[u8], mode: u32) -> io::Result<File> {
        let mut file = self.opened(name, OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL, Mode::RUSR | Mode::WUSR)?;
        files::fill(&mut file, contents, mode)?;
        Ok(file)
    }

    fn opened(&self, name: &str, flags: OFlags, mode: Mode) -> io::Result<File> {
        let path = self.path.join(name);
        match openat(&self.file, name, flags | OFlags::NOFOLLOW | OFlags::CLOEXEC, mode) {
            Ok(file) => Ok(file.into()),
            Err(Errno::LOOP | Errno::NOTDIR) => {
                Err(wrong(&path, "it is a link, where rotation only ever puts files and folders; see who put it there, and remove it"))
            }
            Err(error) => Err(files::named(&path, &io::Error::from(error))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    /// Between two steps of a job, whoever owns the folder puts a link in its place, or in a file's.
    #[test]
    fn what_is_swapped_for_a_link_is_not_followed() {
        let place = tempfile::tempdir().unwrap();
        let target = place.path().join("target");
        fs::create_dir(&target).unwrap();
        fs::write(target.join("secret"), "secret").unwrap();
        fs::set_permissions(target.join("secret"), Permissions::from_mode(0o644)).unwrap();
        let draft = Folder::open(place.path()).unwrap().make("draft").unwrap();
        fs::rename(draft.path(), place.path().join("moved")).unwrap();
        symlink(&target, draft.path()).unwrap();
        let made = draft.create("a.pem", b"a", 0o644).unwrap();
        assert_eq!(fs::read(place.path().join("moved/a.pem")).unwrap(), b"a");
        assert!(!target.join("a.pem").exists());
        // The descriptor is the file's own, whatever has its name.
        fs::remove_file(place.path().join("moved/a.pem")).unwrap();
        symlink(target.join("secret"), place.path().join("moved/a.pem")).unwrap();
        made.set_permissions(Permissions::from_mode(0o600)).unwrap();
        assert_eq!(fs::metadata(target.join("secret")).unwrap().permissions().mode() & 0o777, 0o644);
        let refused = |error: Option<io::Error>| error.is_some_and(|error| error.to_string().contains("it is a link"));
        assert!(refused(draft.read("a.pem").err()));
        assert!(draft.create("a.pem", b"b", 0o644).is_err());
        assert!(refused(Folder::open(place.path()).unwrap().folder("draft").err()));
        assert_eq!(fs::read(target.join("secret")).unwrap(), b"secret");
    }
}
