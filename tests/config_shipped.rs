//! Every shipped policy set loads without a problem or a warning.

use std::path::{Path, PathBuf};

fn sets() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("policies");
    let mut sets: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()).collect();
    sets.sort();
    sets
}

#[test]
fn every_shipped_set_loads_clean() {
    let sets = sets();
    assert!(sets.len() >= 3, "{sets:?}");
    for set in sets {
        match portcullis::config::load(&set) {
            Ok((_, warnings)) => assert!(warnings.is_empty(), "{}: {}", set.display(), warnings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")),
            Err(problems) => panic!("{}:\n{problems}", set.display()),
        }
    }
}
