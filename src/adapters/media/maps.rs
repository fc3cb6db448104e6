//! Entries of the kernel's BPF maps that are to go: what a failed deletion means.
//!
//! A deletion can fail for a moment (no memory, a bucket that another processor holds). An entry that stays may send a call's media where it shall not go
//! any more, so it is tried again, and whoever owns the map is told if that does not help.

use std::error::Error;
use std::io;

use rustix::io::Errno;

/// How often a deletion is tried before it counts as failed.
const ATTEMPTS: usize = 3;

/// Deletes by `attempt`. False: the entry is still there.
pub(super) fn delete<E: Error + 'static>(mut attempt: impl FnMut() -> Result<(), E>) -> bool {
    (0..ATTEMPTS).any(|_| match attempt() {
        Ok(()) => true,
        Err(error) => io_error(&error) == Some(Errno::NOENT),
    })
}

/// What the kernel said, wherever it stands among the causes.
pub(super) fn io_error(error: &(dyn Error + 'static)) -> Option<Errno> {
    let mut cause = Some(error);
    while let Some(at) = cause {
        if let Some(error) = at.downcast_ref::<io::Error>() {
            return Errno::from_io_error(error);
        }
        cause = at.source();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers(answers: &[Result<(), Errno>]) -> (bool, usize) {
        let mut asked = 0;
        let gone = delete(|| {
            asked += 1;
            answers[(asked - 1).min(answers.len() - 1)].map_err(|errno| io::Error::from_raw_os_error(errno.raw_os_error()))
        });
        (gone, asked)
    }

    #[test]
    fn a_deletion_that_fails_for_a_moment_is_tried_again() {
        assert_eq!(answers(&[Ok(())]), (true, 1));
        assert_eq!(answers(&[Err(Errno::BUSY), Err(Errno::NOMEM), Ok(())]), (true, 3));
        assert_eq!(answers(&[Err(Errno::NOENT)]), (true, 1), "gone already");
        assert_eq!(answers(&[Err(Errno::BUSY)]), (false, ATTEMPTS));
    }
}
