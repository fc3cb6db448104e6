//! Which file lies at the store's path. One that is open goes on taking records after it was moved away or removed, where nobody will look for them.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Device and inode; none where nothing is there, or nothing can be seen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Lying(Option<(u64, u64)>);

impl Lying {
    pub fn at(path: &Path) -> Lying {
        Lying(path.metadata().ok().map(|about| (about.dev(), about.ino())))
    }
}
