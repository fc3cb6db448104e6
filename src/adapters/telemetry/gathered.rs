//! Log lines of the telemetry thread, written together: a call has four, and a write for each cost more than making them. Lines of other threads go out at once.
//!
//! What is gathered goes out before the thread rests, before a flush is answered, when it is much, and when the thread ends, by a panic as well.

use std::cell::RefCell;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tracing_subscriber::fmt::MakeWriter;

use crate::adapters::lines;

/// Gathered at most, bytes.
const MUCH: usize = 64 << 10;

/// Where the log goes, and what of it was not taken there.
struct End<W> {
    writer: W,
    standing: Taken,
}

/// Cheap to clone: all clones are one.
#[derive(Clone, Default)]
pub(super) struct Taken(Arc<Mutex<Standing>>);

/// How it stands with the place the log goes to.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Standing {
    /// Lines since the start that it did not take.
    pub lost: u64,
    /// Why it takes none at present.
    pub error: Option<String>,
    /// It ends with half a line.
    torn: bool,
    /// Lines that were lost when it was told of last.
    told: u64,
}

impl Taken {
    fn held(&self) -> MutexGuard<'_, Standing> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn standing(&self) -> Standing {
        self.held().clone()
    }

    /// How many were lost until it took some again, and have not been told of.
    pub fn told(&self) -> Option<u64> {
        let mut standing = self.held();
        let more = standing.lost - standing.told;
        (standing.error.is_none() && more > 0).then(|| {
            standing.told = standing.lost;
            more
        })
    }

    fn write(&self, mut writer: impl Write, text: &[u8]) {
        let mut standing = self.held();
        let ended = if standing.torn { lines::put(&mut writer, b"\n").1 } else { Ok(()) };
        let (written, done) = match ended {
            Ok(()) => lines::put(&mut writer, text),
            Err(error) => (0, Err(error)),
        };
        if written > 0 {
            standing.torn = !text[..written].ends_with(b"\n");
        }
        standing.lost += memchr::memchr_iter(b'\n', &text[written..]).count() as u64;
        standing.error = done.and_then(|()| writer.flush()).err().map(|error| lines::remedy(&error));
    }
}

/// A writer of log lines, as the subscriber wants it. It never fails: what cannot be written is counted.
pub(super) struct Lines<W>(Arc<End<W>>);

impl<W> Clone for Lines<W> {
    fn clone(&self) -> Lines<W> {
        Lines(Arc::clone(&self.0))
    }
}

impl<W> Lines<W> {
    pub fn to(writer: W) -> Lines<W> {
        Lines(Arc::new(End { writer, standing: Taken::default() }))
    }

    pub fn taken(&self) -> Taken {
        self.0.standing.clone()
    }
}

/// Where gathered lines go.
trait Out: Send + Sync {
    fn write(&self, lines: &[u8]);
}

impl<W> Out for End<W>
where
    W: for<'w> MakeWriter<'w> + Send + Sync,
{
    fn write(&self, lines: &[u8]) {
        self.standing.write(self.writer.make_writer(), lines);
    }
}

#[derive(Default)]
struct Gathered {
    text: Vec<u8>,
    to: Option<Arc<dyn Out>>,
}

impl Gathered {
    fn settle(&mut self) {
        if !self.text.is_empty() {
            if let Some(to) = &self.to {
                to.write(&self.text);
            }
            self.text.clear();
        }
    }
}

thread_local! {
    /// `None`: this thread gathers nothing.
    static GATHERED: RefCell<Option<Gathered>> = const { RefCell::new(None) };
}

/// This thread's lines are gathered until what is returned is dropped.
pub(super) fn begin() -> Gathering {
    GATHERED.set(Some(Gathered::default()));
    Gathering
}

/// What was gathered is written.
pub(super) fn settle() {
    GATHERED.with_borrow_mut(|gathered| gathered.as_mut().map(Gathered::settle));
}

pub(super) struct Gathering;

impl Drop for Gathering {
    fn drop(&mut self) {
        settle();
        GATHERED.set(None);
    }
}

impl<'a, W> MakeWriter<'a> for Lines<W>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    type Writer = Line<'a, W>;

    fn make_writer(&'a self) -> Line<'a, W> {
        Line(&self.0)
    }
}

pub(super) struct Line<'a, W>(&'a Arc<End<W>>);

impl<W> Write for Line<'_, W>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    /// A whole line at a time is what the subscriber gives.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let gathers = GATHERED.with_borrow_mut(|gathered| {
            let Some(gathered) = gathered else { return false };
            gathered.to.get_or_insert_with(|| Arc::clone(self.0) as Arc<dyn Out>);
            gathered.text.extend_from_slice(line);
            if gathered.text.len() > MUCH {
                gathered.settle();
            }
            true
        });
        if !gathers {
            self.0.write(line);
        }
        Ok(line.len())
    }

    /// Each write has been.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl Write for Written {
        fn write(&mut self, text: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(text)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_of_a_thread_that_gathers_go_out_together_and_none_is_lost() {
        let written = Written::default();
        let to = written.clone();
        let lines = Lines::to(move || to.clone());
        let line = |text: &str| lines.make_writer().write_all(text.as_bytes()).unwrap();
        let text = || String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
        line("one\n");
        assert_eq!(text(), "one\n", "a thread that gathers nothing");
        let gathering = begin();
        line("two\n");
        line("three\n");
        assert_eq!(text(), "one\n");
        settle();
        assert_eq!(text(), "one\ntwo\nthree\n");
        line(&"x".repeat(MUCH + 1));
        assert_eq!(text().len(), 14 + MUCH + 1, "much goes out at once");
        line("four\n");
        drop(gathering);
        assert!(text().ends_with("four\n"));
        line("five\n");
        assert!(text().ends_with("five\n"));
    }

    /// A disk of so many bytes.
    #[derive(Clone)]
    struct Disk(Arc<Mutex<(Vec<u8>, usize)>>);

    impl Write for Disk {
        fn write(&mut self, text: &[u8]) -> io::Result<usize> {
            let (held, size) = &mut *self.0.lock().unwrap();
            let room = (*size - held.len()).min(text.len());
            held.extend_from_slice(&text[..room]);
            if room == 0 { Err(io::ErrorKind::StorageFull.into()) } else { Ok(room) }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_log_whose_disk_is_full_counts_what_is_lost_and_goes_on_with_a_line_of_its_own() {
        let disk = Disk(Arc::new(Mutex::new((Vec::new(), 6))));
        let to = disk.clone();
        let lines = Lines::to(move || to.clone());
        let line = |text: &str| lines.make_writer().write_all(text.as_bytes()).unwrap();
        line("one\n");
        assert_eq!(lines.taken().standing(), Standing::default());
        line("two\n");
        line("three\n");
        assert_eq!(lines.taken().told(), None, "not to a place that takes none");
        let standing = lines.taken().standing();
        assert_eq!((standing.lost, standing.error.as_deref()), (2, Some("the disk is full; make room")));
        disk.0.lock().unwrap().1 = 100;
        line("four\n");
        let standing = lines.taken().standing();
        assert_eq!((standing.lost, standing.error), (2, None));
        assert_eq!([lines.taken().told(), lines.taken().told()], [Some(2), None]);
        assert_eq!(String::from_utf8(disk.0.lock().unwrap().0.clone()).unwrap(), "one\ntw\nfour\n");
    }
}
