//! Log lines of the telemetry thread, written together: a call has four, and a write for each cost more than making them. Lines of other threads go out at once.
//!
//! What is gathered goes out before the thread rests, before a flush is answered, when it is much, and when the thread ends, by a panic as well.

use std::cell::RefCell;
use std::io::{self, Write};
use std::sync::Arc;

use tracing_subscriber::fmt::MakeWriter;

/// Gathered at most, bytes.
const MUCH: usize = 64 << 10;

/// A writer of log lines, as the subscriber wants it.
pub(super) struct Lines<W>(Arc<W>);

impl<W> Clone for Lines<W> {
    fn clone(&self) -> Lines<W> {
        Lines(Arc::clone(&self.0))
    }
}

impl<W> Lines<W> {
    pub fn to(writer: W) -> Lines<W> {
        Lines(Arc::new(writer))
    }
}

/// Where gathered lines go.
trait Out: Send + Sync {
    fn write(&self, lines: &[u8]) -> io::Result<()>;
}

impl<W> Out for W
where
    W: for<'w> MakeWriter<'w> + Send + Sync,
{
    fn write(&self, lines: &[u8]) -> io::Result<()> {
        let mut writer = self.make_writer();
        writer.write_all(lines)?;
        writer.flush()
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
            // As without gathering: nobody is left to be told that the log cannot be written.
            let _ = self.to.as_ref().map(|to| to.write(&self.text));
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

pub(super) struct Line<'a, W>(&'a Arc<W>);

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
        if gathers { Ok(line.len()) } else { self.0.make_writer().write(line) }
    }

    fn flush(&mut self) -> io::Result<()> {
        if GATHERED.with_borrow(Option::is_some) { Ok(()) } else { self.0.make_writer().flush() }
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
}
