//! Where a policy set's text comes from: a folder and the environment, or a test's own values.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};

/// What reading a set asks of the world.
pub trait Source {
    /// The text of a file of the set; `None` if it is not there.
    fn text(&self, file: &str) -> io::Result<Option<String>>;
    /// An environment variable.
    fn variable(&self, name: &str) -> Option<String>;
    /// A path of the set, relative ones to its folder.
    fn path(&self, written: &str) -> PathBuf;
    /// Names of files in the folder that end in `.toml`, for near misses.
    fn files(&self) -> Vec<String>;
}

/// A folder on disk and the process's environment.
pub struct Folder<'p>(pub &'p Path);

impl Source for Folder<'_> {
    fn text(&self, file: &str) -> io::Result<Option<String>> {
        match std::fs::read_to_string(self.0.join(file)) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn variable(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }

    fn path(&self, written: &str) -> PathBuf {
        self.0.join(written)
    }

    fn files(&self) -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(self.0) else { return Vec::new() };
        let mut files: Vec<String> =
            entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).filter(|name| name.ends_with(".toml")).collect();
        files.sort();
        files
    }
}

/// Texts held in memory, for tests.
#[derive(Clone, Debug, Default)]
pub struct Texts {
    pub files: HashMap<String, String>,
    pub variables: HashMap<String, String>,
}

impl Source for Texts {
    fn text(&self, file: &str) -> io::Result<Option<String>> {
        Ok(self.files.get(file).cloned())
    }

    fn variable(&self, name: &str) -> Option<String> {
        self.variables.get(name).cloned()
    }

    fn path(&self, written: &str) -> PathBuf {
        PathBuf::from(written)
    }

    fn files(&self) -> Vec<String> {
        let mut files: Vec<String> = self.files.keys().filter(|name| name.ends_with(".toml")).cloned().collect();
        files.sort();
        files
    }
}
