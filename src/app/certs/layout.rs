//! The folder that rotation works on (docs/certificates.md, "The folder"): generations of files, of which one is current, and links to them that
//! are swapped whole, as Kubernetes does with `..data`.
//!
//! ```text
//! certs/generations/0006/sbc.pem …   never changed once it has its number
//! certs/generations/0007/…
//! certs/current  -> generations/0006  what the policy set names: certs/current/sbc.pem
//! certs/staged   -> generations/0007  checked, waiting to be activated
//! certs/previous -> generations/0005  what rollback goes back to
//! ```

use std::io;
use std::path::Path;

use super::files::wrong;

pub const GENERATIONS: &str = "generations";

/// Files of a generation are never changed: what is made must go elsewhere and be staged.
pub fn refuse_generation(folder: &Path) -> io::Result<()> {
    let Ok(real) = folder.canonicalize() else { return Ok(()) };
    if real.parent().and_then(Path::file_name).is_some_and(|name| name == GENERATIONS) {
        let what = "it is a generation in use, which is never changed; make new files in another folder and stage them";
        return Err(wrong(folder, what));
    }
    Ok(())
}
