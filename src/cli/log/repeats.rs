//! Warnings that come again and again are counted, not repeated: a target that is away for an hour would else fill the log.
//!
//! Two warnings are alike when they come from the same place in the program and differ in digits only (the number of a
//! try, a pause, a label). The first is shown; what comes within [`WINDOW`] of it is counted, and the count is told with
//! the next line of any kind behind the window. Errors and what is below a warning are always shown, and everything where
//! debug lines are asked for.

use std::collections::HashMap;
use std::fmt::{self, Write as _};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::json;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

const WINDOW: Duration = Duration::from_secs(60);
/// Characters of a warning that its count shows.
const SHOWN: usize = 160;

/// A format that leaves repeated warnings out.
pub(super) struct Counted<F> {
    format: F,
    json: bool,
    /// Nothing is left out.
    all: bool,
    seen: Mutex<HashMap<u64, Seen>>,
}

struct Seen {
    since: Instant,
    left_out: u32,
    message: String,
}

impl<F> Counted<F> {
    pub(super) fn text(format: F, all: bool) -> Self {
        Counted { format, json: false, all, seen: Mutex::default() }
    }

    pub(super) fn json(format: F, all: bool) -> Self {
        Counted { format, json: true, all, seen: Mutex::default() }
    }

    /// Whether a warning is to be shown.
    fn is_new(&self, key: u64, message: String, now: Instant) -> bool {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        match seen.get_mut(&key) {
            Some(seen) => {
                seen.left_out += 1;
                false
            }
            None => {
                seen.insert(key, Seen { since: now, left_out: 0, message });
                true
            }
        }
    }

    /// What was counted and has had its time.
    fn take_past(&self, now: Instant) -> Vec<Seen> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let past = seen.extract_if(|_, seen| now.saturating_duration_since(seen.since) >= WINDOW);
        past.map(|(_, seen)| seen).filter(|seen| seen.left_out > 0).collect()
    }

    fn tell(&self, writer: &mut Writer<'_>, past: &Seen) -> fmt::Result {
        let mut time = String::new();
        SystemTime.format_time(&mut Writer::new(&mut time))?;
        let message = format!("{} more like this in {} s: {}", past.left_out, WINDOW.as_secs(), past.message);
        if self.json {
            let fields = json!({"message": message, "left_out": past.left_out});
            return writeln!(writer, "{}", json!({"timestamp": time, "level": "WARN", "fields": fields}));
        }
        writeln!(writer, "{time}  WARN {message}")
    }
}

impl<S, N, F> FormatEvent<S, N> for Counted<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let now = Instant::now();
        for past in self.take_past(now) {
            self.tell(&mut writer, &past)?;
        }
        if *event.metadata().level() == Level::WARN && !self.all {
            let mut likeness = Likeness::default();
            event.metadata().callsite().hash(&mut likeness.key);
            event.record(&mut likeness);
            let message = likeness.message.chars().take(SHOWN).collect();
            if !self.is_new(likeness.key.finish(), message, now) {
                return Ok(());
            }
        }
        self.format.format_event(context, writer, event)
    }
}

/// What makes two warnings alike.
#[derive(Default)]
struct Likeness {
    key: DefaultHasher,
    message: String,
}

impl Visit for Likeness {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let text = format!("{value:?}");
        field.name().hash(&mut self.key);
        for byte in text.bytes().filter(|byte| !byte.is_ascii_digit()) {
            self.key.write_u8(byte);
        }
        let _ = match field.name() {
            "message" => write!(self.message, "{text}"),
            name => write!(self.message, " {name}={text}"),
        };
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Arc;

    use tracing_subscriber::fmt::MakeWriter;

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, text: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(text);
            Ok(text.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl<'a> MakeWriter<'a> for Lines {
        type Writer = Lines;

        fn make_writer(&'a self) -> Lines {
            self.clone()
        }
    }

    fn shown(work: impl FnOnce()) -> String {
        let lines = Lines::default();
        let subscriber = tracing_subscriber::fmt()
            .with_writer(lines.clone())
            .with_ansi(false)
            .map_event_format(|format| Counted::text(format, false))
            .finish();
        tracing::subscriber::with_default(subscriber, work);
        String::from_utf8(lines.0.lock().unwrap().clone()).unwrap()
    }

    #[test]
    fn warnings_that_differ_in_digits_only_are_shown_once() {
        let text = shown(|| {
            for number in 0..40 {
                tracing::warn!(pause = number, "load l{number} is tried again");
                tracing::info!("epoch {}", number % 2);
            }
            for table in ["a", "b"] {
                tracing::warn!("table {table} is slow");
            }
            for _ in 0..2 {
                tracing::error!("the job stops");
            }
        });
        let count = |what: &str| text.matches(what).count();
        assert_eq!((count("is tried again"), count("epoch")), (1, 40), "{text}");
        assert_eq!((count("is slow"), count("the job stops")), (2, 2), "{text}");
    }

    #[test]
    fn what_was_left_out_is_told_when_its_time_is_over() {
        let counted = Counted::text((), false);
        let now = Instant::now();
        for number in 0..3 {
            assert_eq!(counted.is_new(7, "the target is away".to_owned(), now), number == 0);
        }
        counted.is_new(8, "seen once".to_owned(), now);
        assert!(counted.take_past(now + WINDOW / 2).is_empty());
        let past = counted.take_past(now + WINDOW);
        assert_eq!(
            past.iter().map(|seen| (seen.left_out, seen.message.as_str())).collect::<Vec<_>>(),
            [(2, "the target is away")]
        );
        let mut line = String::new();
        counted.tell(&mut Writer::new(&mut line), &past[0]).unwrap();
        assert!(line.ends_with("WARN 2 more like this in 60 s: the target is away\n"), "{line}");
        assert!(counted.is_new(7, String::new(), now + WINDOW), "the next one is shown again");
    }
}
