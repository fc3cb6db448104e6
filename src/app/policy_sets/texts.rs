//! The text of a policy set, apart from where it lies: read at once, known by its digest, loaded as if it lay in a folder.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use crate::config::source::{Folder, Source};
use crate::config::{self, FILES, Problems, Settings, Warning};

/// Bytes of a whole set: no real one is near it.
const LONGEST: usize = 6 << 20;

/// The files of a set by their names.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Texts(BTreeMap<String, String>);

impl Texts {
    /// # Errors
    ///
    /// A name that no file of a set has, or too much.
    pub fn new(files: BTreeMap<String, String>) -> Result<Texts, String> {
        if let Some(strange) = files.keys().find(|name| !FILES.contains(&name.as_str())) {
            return Err(format!("\"{strange}\" is no file of a policy set (known: {})", FILES.join(", ")));
        }
        if !files.contains_key(FILES[0]) {
            return Err(format!("there is no {} in it: that is no policy set", FILES[0]));
        }
        let length: usize = files.values().map(String::len).sum();
        if length > LONGEST {
            return Err(format!("{length} bytes are more than a policy set may have ({LONGEST})"));
        }
        Ok(Texts(files))
    }

    /// # Errors
    ///
    /// The folder is none that can be read, or a file of it is not.
    pub fn read(folder: &Path) -> Result<Texts, String> {
        let mut files = BTreeMap::new();
        for name in FILES {
            let text = Folder(folder).text(name).map_err(|error: io::Error| format!("{}: {error}", folder.join(name).display()))?;
            if let Some(text) = text {
                files.insert(String::from(name), text);
            }
        }
        Texts::new(files).map_err(|why| format!("{}: {why}", folder.display()))
    }

    /// By name, in order.
    pub fn files(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, text)| (name.as_str(), text.as_str()))
    }

    pub fn get(&self, file: &str) -> Option<&str> {
        self.0.get(file).map(String::as_str)
    }

    /// SHA-256 over names and texts, in hexadecimal.
    pub fn digest(&self) -> String {
        let mut context = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
        for (name, text) in &self.0 {
            // Lengths, so that no two sets run together to the same octets.
            context.update(&(name.len() as u64).to_be_bytes());
            context.update(name.as_bytes());
            context.update(&(text.len() as u64).to_be_bytes());
            context.update(text.as_bytes());
        }
        context.finish().as_ref().iter().map(|octet| format!("{octet:02x}")).collect()
    }

    /// What it means, were it in this folder: relative paths lead from there.
    pub fn load(&self, folder: &Path) -> Result<(Settings, Vec<Warning>), Problems> {
        config::load_from(&Placed { texts: self, folder })
    }
}

struct Placed<'a> {
    texts: &'a Texts,
    folder: &'a Path,
}

impl Source for Placed<'_> {
    fn text(&self, file: &str) -> io::Result<Option<String>> {
        Ok(self.texts.get(file).map(String::from))
    }

    fn variable(&self, name: &str) -> Option<String> {
        Folder(self.folder).variable(name)
    }

    fn path(&self, written: &str) -> PathBuf {
        self.folder.join(written)
    }

    /// Strange files that lie in the folder would be found there at the next start as well.
    fn files(&self) -> Vec<String> {
        let strange = Folder(self.folder).files().into_iter().filter(|name| !FILES.contains(&name.as_str()));
        self.texts.0.keys().cloned().chain(strange).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(files: &[(&str, &str)]) -> Result<Texts, String> {
        Texts::new(files.iter().map(|(name, text)| (String::from(*name), String::from(*text))).collect())
    }

    #[test]
    fn a_set_is_known_by_what_is_in_it() {
        let one = texts(&[("border.toml", "a"), ("peers.toml", "b")]).unwrap();
        assert_eq!(one.digest(), texts(&[("peers.toml", "b"), ("border.toml", "a")]).unwrap().digest());
        assert_ne!(one.digest(), texts(&[("border.toml", "ab"), ("peers.toml", "")]).unwrap().digest());
        assert_eq!(one.digest().len(), 64);
    }

    #[test]
    fn what_is_no_set_is_refused() {
        assert!(texts(&[("peers.toml", "")]).unwrap_err().contains("no border.toml"));
        assert!(texts(&[("border.toml", ""), ("../peers.toml", "")]).unwrap_err().contains("../peers.toml"));
        assert!(texts(&[("border.toml", &"x".repeat(LONGEST + 1))]).unwrap_err().contains("more than"));
    }
}
