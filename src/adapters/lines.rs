//! A file of lines that are only added, and that rotation may move away at any time: of call records, of the audit.
//!
//! A full disk, or a process that is killed, leaves half a line at its end. What is added next begins on a line of its own, so that the half one is all that is lost.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Made for us and our group alone: lines tell who called whom, and who did what.
const MODE: u32 = 0o640;

pub struct Lines {
    path: PathBuf,
    file: Option<File>,
    /// It may end with half a line.
    torn: bool,
}

impl Lines {
    /// Opens the file, or makes it.
    pub fn open(path: &Path) -> io::Result<Lines> {
        let mut lines = Lines { path: path.to_owned(), file: None, torn: false };
        lines.file = Some(lines.opened()?);
        Ok(lines)
    }

    /// After a rotation: what is added next goes to a file of the old name.
    pub fn reopen(&mut self) {
        self.file = None;
    }

    /// Whole lines; returns how many bytes of them are written, and why not all.
    pub fn append(&mut self, lines: &str) -> (usize, io::Result<()>) {
        let mut file = match self.file.take().map_or_else(|| self.opened(), Ok) {
            Ok(file) => file,
            Err(error) => return (0, Err(error)),
        };
        if self.torn {
            match file.write_all(b"\n") {
                Ok(()) => self.torn = false,
                Err(error) => {
                    self.file = Some(file);
                    return (0, Err(error));
                }
            }
        }
        // One write, so that another reader or writer of the file never sees half a line.
        let (written, done) = put(&mut file, lines.as_bytes());
        self.torn = written > 0 && !lines.as_bytes()[..written].ends_with(b"\n");
        self.file = Some(file);
        (written, done)
    }

    fn opened(&mut self) -> io::Result<File> {
        let file = File::options().append(true).create(true).mode(MODE).open(&self.path)?;
        self.torn = ends_torn(&self.path);
        Ok(file)
    }
}

/// As much of it as is taken, in as few writes as can be, and what stood against the rest.
pub fn put(to: &mut impl Write, bytes: &[u8]) -> (usize, io::Result<()>) {
    let mut written = 0;
    while written < bytes.len() {
        match to.write(&bytes[written..]) {
            Ok(0) => return (written, Err(io::ErrorKind::WriteZero.into())),
            Ok(more) => written += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return (written, Err(error)),
        }
    }
    (written, Ok(()))
}

/// In an operator's words.
pub fn remedy(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => String::from("the disk is full; make room"),
        _ => error.to_string(),
    }
}

/// Whether a file that was there before ends with half a line. Of what is no file, or may not be read, that is not known.
fn ends_torn(path: &Path) -> bool {
    let last = || -> io::Result<Option<u8>> {
        let about = path.metadata()?;
        // A pipe would wait for its writer.
        if !about.is_file() || about.len() == 0 {
            return Ok(None);
        }
        let mut last = [0];
        File::open(path)?.read_exact_at(&mut last, about.len() - 1)?;
        Ok(Some(last[0]))
    };
    last().ok().flatten().is_some_and(|last| last != b'\n')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn others_may_not_read_who_called_whom() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("records.jsonl");
        Lines::open(&path).unwrap().append("{}\n").1.unwrap();
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o007, 0);
    }

    #[test]
    fn half_a_line_of_a_process_that_was_killed_takes_no_other_with_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("records.jsonl");
        std::fs::write(&path, "{\"call\":1}\n{\"call\":2").unwrap();
        let mut lines = Lines::open(&path).unwrap();
        lines.append("{\"call\":3}\n").1.unwrap();
        lines.append("{\"call\":4}\n").1.unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "{\"call\":1}\n{\"call\":2\n{\"call\":3}\n{\"call\":4}\n");
        // Told to open it anew, though nobody moved it away.
        std::fs::write(&path, "{\"call\":5").unwrap();
        lines.reopen();
        lines.append("{\"call\":6}\n").1.unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "{\"call\":5\n{\"call\":6}\n");
    }

    #[test]
    fn what_a_full_disk_takes_half_of_is_counted_as_far_as_it_went() {
        struct Small(Vec<u8>);
        impl Write for Small {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                let room = (8 - self.0.len()).min(bytes.len());
                if room == 0 {
                    return Err(io::ErrorKind::StorageFull.into());
                }
                self.0.extend_from_slice(&bytes[..room]);
                Ok(room)
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let (written, done) = put(&mut Small(Vec::new()), b"one\ntwo\nthree\n");
        assert_eq!(written, 8);
        assert_eq!(remedy(&done.unwrap_err()), "the disk is full; make room");
    }
}
