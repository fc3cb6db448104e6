//! Where the log goes, what of it, and in which form. There is one for the process; its filter and its form can be others while it runs.

use std::sync::OnceLock;

use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Layered, SubscriberExt};
use tracing_subscriber::{EnvFilter, Layer, Registry, reload};

use super::super::gathered::{Lines, Standing, Taken};
use super::{Format, Settings};

type Filtered = Layered<reload::Layer<EnvFilter, Registry>, Registry>;
type Form = Box<dyn Layer<Filtered> + Send + Sync>;

/// The process's own, once it is installed.
static INSTALLED: OnceLock<Output> = OnceLock::new();

/// The way to change a log that is in use.
struct Output {
    filter: reload::Handle<EnvFilter, Registry>,
    form: reload::Handle<Form, Filtered>,
    formed: Box<dyn Fn(Format) -> Form + Send + Sync>,
    taken: Taken,
}

/// Makes this process's log go to standard error. Does nothing where one is installed already.
pub fn install(settings: &Settings) {
    let (subscriber, output) = changeable(settings, std::io::stderr);
    if tracing::subscriber::set_global_default(subscriber).is_ok() {
        // Nobody was here before, or the one before would have been the default.
        let _ = INSTALLED.set(output);
    }
}

/// Gives the installed log another filter and form, for every line from now on. Does nothing where none is installed by us. With an error, which says why, all
/// is as it was.
pub fn change(settings: &Settings) -> Result<(), String> {
    INSTALLED.get().map_or(Ok(()), |output| output.change(settings))
}

/// Whether the place the installed log goes to takes its lines.
pub fn standing() -> Standing {
    INSTALLED.get().map(|output| output.taken.standing()).unwrap_or_default()
}

/// Lines that were lost until the place took some again, once for each time.
pub(in super::super) fn lost() -> Option<u64> {
    INSTALLED.get().and_then(|output| output.taken.told())
}

/// As `install` makes it, to any writer. A filter that cannot be read counts as `info`.
pub fn subscriber<W>(settings: &Settings, writer: W) -> Box<dyn tracing::Subscriber + Send + Sync>
where
    W: for<'w> MakeWriter<'w> + Clone + Send + Sync + 'static,
{
    Box::new(changeable(settings, writer).0)
}

fn changeable<W>(settings: &Settings, writer: W) -> (impl tracing::Subscriber + Send + Sync + use<W>, Output)
where
    W: for<'w> MakeWriter<'w> + Clone + Send + Sync + 'static,
{
    let writer = Lines::to(writer);
    let taken = writer.taken();
    let formed = move |format| -> Form {
        let form = tracing_subscriber::fmt::layer().with_writer(writer.clone()).with_ansi(false).with_target(false);
        match format {
            Format::Human => form.boxed(),
            Format::Json => form.json().flatten_event(true).with_current_span(false).with_span_list(false).boxed(),
        }
    };
    let (filtering, filter) = reload::Layer::new(EnvFilter::try_new(&settings.filter).unwrap_or_else(|_| EnvFilter::new("info")));
    let (forming, form) = reload::Layer::new(formed(settings.format));
    (tracing_subscriber::registry().with(filtering).with(forming), Output { filter, form, formed: Box::new(formed), taken })
}

impl Output {
    fn change(&self, settings: &Settings) -> Result<(), String> {
        let filter = EnvFilter::try_new(&settings.filter).map_err(|error| format!("the filter cannot be read: {error}"))?;
        self.form.reload((self.formed)(settings.format)).map_err(|error| error.to_string())?;
        self.filter.reload(filter).map_err(|error| error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn told(lines: &Lines) -> String {
        String::from_utf8(std::mem::take(&mut *lines.0.lock().unwrap())).unwrap()
    }

    #[test]
    fn a_log_in_use_takes_another_filter_and_form() {
        let lines = Lines::default();
        let writer = lines.clone();
        let (subscriber, output) = changeable(&Settings::default(), move || writer.clone());
        tracing::subscriber::with_default(subscriber, || {
            let tell = |call: u32| {
                tracing::debug!(call, "small");
                tracing::info!(call, "great");
            };
            tell(1);
            let text = told(&lines);
            assert!(text.contains("great call=1") && !text.contains("small"), "{text}");
            output.change(&Settings { filter: "debug".into(), format: Format::Json, ..Settings::default() }).unwrap();
            tell(2);
            let text = told(&lines);
            let parsed: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
            assert_eq!(
                parsed.iter().map(|line| (line["message"].as_str(), line["call"].as_u64())).collect::<Vec<_>>(),
                [(Some("small"), Some(2)), (Some("great"), Some(2))]
            );
            assert!(output.change(&Settings { filter: "a=b=c[".into(), ..Settings::default() }).is_err());
            tell(3);
            assert_eq!(told(&lines).lines().filter(|line| line.starts_with('{')).count(), 2, "as it was");
            output.change(&Settings { filter: "error".into(), ..Settings::default() }).unwrap();
            tell(4);
            assert_eq!(told(&lines), "");
        });
    }
}
