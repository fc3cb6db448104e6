//! What name resolution rests on beside its settings: files that may say something else at a reload though they are the same files.

use std::fs;
use std::path::Path;

use super::Settings;

/// Where the system names its servers (resolv.conf(5)).
const SYSTEM: &str = "/etc/resolv.conf";

/// What they hold; `None`: not asked for, or not to be read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Files {
    system: Option<Vec<u8>>,
    anchor: Option<Vec<u8>>,
}

impl Files {
    pub fn read(settings: &Settings) -> Files {
        let system = settings.servers.is_empty().then(|| fs::read(Path::new(SYSTEM)).ok()).flatten();
        Files { system, anchor: settings.trust_anchor.as_ref().and_then(|path| fs::read(path).ok()) }
    }
}
