//! Whether the files of one generation are fit to be used: each by itself, all together, and by what a policy set asks of them. All problems at once.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use super::examine::{self, Yardstick};
use super::facts::Facts;
use super::files::{self, Contents};
use super::report::Finding;
use super::set::{Role, Set};

/// Endings of names that are taken for certificate files.
pub const ENDINGS: [&str; 5] = ["pem", "crt", "cer", "key", "crl"];

/// A folder of files, read.
pub struct Files {
    folder: PathBuf,
    read: BTreeMap<String, Held>,
}

pub struct Held {
    pub contents: Contents,
    pub certificates: Vec<Facts>,
}

/// Whether a file's name is one of a certificate file. Hidden ones, as Kubernetes' `..data`, are not.
pub fn is_name(name: &str) -> bool {
    let ending = Path::new(name).extension().and_then(|ending| ending.to_str()).is_some_and(|ending| ENDINGS.contains(&ending));
    ending && !name.starts_with('.') && !name.chars().any(char::is_control)
}

/// Names of the certificate files in a folder, and of what else lies there.
pub fn names(folder: &Path) -> io::Result<(Vec<String>, Vec<String>)> {
    let (mut taken, mut left) = (Vec::new(), Vec::new());
    let unreadable = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", folder.display()));
    for entry in std::fs::read_dir(folder).map_err(unreadable)? {
        let Ok(name) = entry.map_err(unreadable)?.file_name().into_string() else { continue };
        // Links are followed: a mounted Secret has nothing else.
        match folder.join(&name).is_file() {
            true if is_name(&name) => taken.push(name),
            true if !name.starts_with('.') => left.push(name),
            _ => {}
        }
    }
    taken.sort();
    left.sort();
    Ok((taken, left))
}

impl Files {
    /// Reads a folder; what cannot be read becomes findings.
    pub fn read(folder: &Path) -> io::Result<(Files, Vec<Finding>)> {
        let mut found = Vec::new();
        let mut read = BTreeMap::new();
        for name in names(folder)?.0 {
            let path = folder.join(&name);
            match files::contents(&path) {
                Ok(contents) => {
                    let certificates: Vec<Facts> = contents.certificates.iter().filter_map(Facts::read).collect();
                    if certificates.len() < contents.certificates.len() {
                        found.push(Finding::problem("unreadable", &path, "one of its certificates cannot be read", "export it again as PEM"));
                    }
                    read.insert(name, Held { contents, certificates });
                }
                Err(error) => found.push(examine::unreadable(&path, &error)),
            }
        }
        Ok((Files { folder: folder.to_path_buf(), read }, found))
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &Held)> {
        self.read.iter().map(|(name, held)| (name.as_str(), held))
    }

    /// Our certificates and their keys, by file name: those a set pairs, then those whose keys fit, then those whose names do.
    pub fn pairs(&self, set: Option<(&Set, &Path)>) -> Vec<Pair> {
        let mut pairs: Vec<Pair> = set.map(|(set, root)| named_by_set(set, root)).unwrap_or_default();
        let covered: BTreeSet<String> = pairs.iter().map(|pair| pair.key.clone()).collect();
        for (key, held) in self.iter().filter(|(name, held)| !held.contents.keys.is_empty() && !covered.contains(*name)) {
            let public = examine::public_key(&held.contents).ok();
            let fits = |(_, other): &(&str, &Held)| other.certificates.first().is_some_and(|leaf| Some(&leaf.public_key_info) == public.as_ref());
            let stem = Path::new(key).file_stem();
            let named = |(name, other): &(&str, &Held)| *name != key && Path::new(name).file_stem() == stem && !other.certificates.is_empty();
            if let Some((certificate, _)) = self.iter().find(fits).or_else(|| self.iter().find(named)) {
                pairs.push(Pair { certificate: certificate.to_owned(), key: key.to_owned(), known_as: Vec::new() });
            }
        }
        pairs
    }

    /// Everything wrong with the files and with their being the current generation of `root`.
    pub fn examine(&self, set: Option<(&Set, &Path)>, yardstick: &mut Yardstick) -> Vec<Finding> {
        for (_, held) in self.iter() {
            let known = held.certificates.iter().filter(|facts| facts.is_ca || facts.self_issued);
            yardstick.known.extend(known.map(|facts| (self.folder.clone(), facts.clone())));
        }
        let pairs = self.pairs(set);
        let mut found: Vec<Finding> = pairs.iter().flat_map(|pair| self.pair(pair, yardstick)).collect();
        let authorities: BTreeSet<String> = match set {
            Some((set, root)) => set.names_in(root).into_iter().filter(|(_, used)| used.role == Role::Ca).map(|(name, _)| name).collect(),
            None => BTreeSet::new(),
        };
        for (name, held) in self.iter() {
            let path = self.folder.join(name);
            let (is_key, is_certificate) = (pairs.iter().any(|pair| pair.key == name), pairs.iter().any(|pair| pair.certificate == name));
            if !held.contents.keys.is_empty() && !is_key {
                found.extend(examine::key(&path, None));
                let what = "this key belongs to no certificate beside it";
                found.push(Finding::problem("key-mismatch", &path, what, "put the certificate beside it that was issued for it, or take it out"));
            }
            if !held.certificates.is_empty() && !is_certificate {
                found.extend(self.keyless(name, held, &authorities, yardstick));
            }
            for der in &held.contents.lists {
                found.extend(examine::list(&path, der, yardstick).map_or_else(|finding| vec![finding], |(_, found)| found));
            }
        }
        if let Some((set, root)) = set {
            found.extend(self.missing(set, root));
            if !found.iter().any(Finding::is_problem) {
                found.extend(refused(set, root, &self.folder));
            }
        }
        found
    }

    fn pair(&self, pair: &Pair, yardstick: &Yardstick) -> Vec<Finding> {
        let (certificate, key) = (self.folder.join(&pair.certificate), self.folder.join(&pair.key));
        let chain = self.read.get(&pair.certificate).map_or(&[][..], |held| &held.certificates);
        let leaf = chain.first();
        let mut found = Vec::new();
        if self.read.contains_key(&pair.key) {
            found.extend(examine::key(&key, leaf.map(|leaf| (certificate.as_path(), leaf))));
        }
        found.extend(examine::leaf(&certificate, chain, yardstick));
        if let Some(leaf) = leaf {
            found.extend(pair.known_as.iter().filter_map(|(name, whose)| examine::names(&certificate, leaf, name, whose)));
        }
        found
    }

    /// Certificates without a key beside them: CAs', or pinned ones.
    fn keyless(&self, name: &str, held: &Held, authorities: &BTreeSet<String>, yardstick: &Yardstick) -> Vec<Finding> {
        let path = self.folder.join(name);
        let trusted = authorities.contains(name) || held.certificates.iter().all(|facts| facts.is_ca || facts.self_issued);
        if trusted {
            return examine::authorities(&path, &held.certificates, yardstick);
        }
        let what = "the private key of this certificate is not beside it, and it is no CA's that a peer could be verified by";
        vec![Finding::problem("key-missing", &path, what, "put its key beside it, or take it out")]
    }

    /// Files the set names in this folder that are not there.
    fn missing(&self, set: &Set, root: &Path) -> Vec<Finding> {
        let named = set.names_in(root);
        if named.is_empty() {
            let what = format!("the policy set names no file in {}/current, so nothing here would be used", root.display());
            return vec![Finding::problem("set-unused", root, what, "name certificates, keys and CAs by way of the folder's link `current`")];
        }
        let exists = |name: &str| self.folder.join(name).exists();
        let absent = named.iter().filter(|(name, _)| !exists(name)).map(|(name, used)| {
            let what = format!("it is not there, but the policy set names it: {used}");
            Finding::problem("set-missing-file", &self.folder.join(name), what, "stage it along with the others, or correct the policy set")
        });
        absent.collect()
    }
}

/// One of our certificates and its key, by their names in the folder.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pair {
    pub certificate: String,
    pub key: String,
    pub known_as: Vec<(String, String)>,
}

fn named_by_set(set: &Set, root: &Path) -> Vec<Pair> {
    let name = |file: &Path| super::layout::name_in_current(root, file);
    let own = set.own().into_iter();
    own.filter_map(|own| Some(Pair { certificate: name(&own.files.certificate)?, key: name(&own.files.key)?, known_as: own.known_as })).collect()
}

/// What the border's own loading says that has not been said yet.
fn refused(set: &Set, root: &Path, folder: &Path) -> Vec<Finding> {
    let problems = set.load_with(root, folder).err().unwrap_or_default();
    problems.into_iter().map(|problem| Finding::problem("refused-by-border", &problem.file, problem.what, problem.remedy)).collect()
}
