//! Log lines: an event, its fields, and where they go.
//!
//! On stderr a line is text in the logfmt style. Control characters and characters beyond ASCII are
//! escaped. Under systemd it goes to the journal with separate fields. They are escaped in the same
//! way, because `journalctl --output=verbose` and log shippers pass them on unchanged.

use std::fmt;
use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, SyncSender};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use log::{Level, Record};
use systemd_journal_logger::JournalLog;

/// One line of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    level: Level,
    /// The first one is `event`.
    pub(crate) fields: Vec<(&'static str, String)>,
}

impl Line {
    /// A line about normal operation.
    #[must_use]
    pub fn info(event: &'static str) -> Self {
        Self { level: Level::Info, fields: vec![("event", event.to_owned())] }
    }

    /// A line about something that may need an administrator's attention.
    #[must_use]
    pub fn warning(event: &'static str) -> Self {
        Self { level: Level::Warn, ..Self::info(event) }
    }

    /// A line about a failure.
    #[must_use]
    pub fn error(event: &'static str) -> Self {
        Self { level: Level::Error, ..Self::info(event) }
    }

    /// Adds a field.
    #[must_use]
    pub fn with(mut self, field: &'static str, value: impl fmt::Display) -> Self {
        self.fields.push((field, value.to_string()));
        self
    }

    /// The fields for the journal. Quotes stay as they are, because the journal stores each field
    /// separately.
    pub(crate) fn journal_fields(&self) -> Vec<(&'static str, String)> {
        let printable = |value: &str| escaped(value).replace("\\\"", "\"");
        self.fields.iter().map(|(field, value)| (*field, printable(value))).collect()
    }
}

/// The line as text. A value is bare if it is one plain word, and quoted otherwise, so no value can
/// leave its field.
impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let level = match self.level {
            Level::Error => "error",
            Level::Warn => "warning",
            Level::Info | Level::Debug | Level::Trace => "info",
        };
        write!(f, "level={level}")?;
        let is_plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\' | b'=');
        self.fields.iter().try_for_each(|(field, value)| match value.as_str() {
            plain if !plain.is_empty() && plain.bytes().all(is_plain) => write!(f, " {field}={plain}"),
            other => write!(f, " {field}=\"{}\"", escaped(other)),
        })
    }
}

/// Escapes everything but printable ASCII, and also the backslash and the double quote. The single
/// quote stays readable, because sentences use it.
fn escaped(text: &str) -> String {
    // Each quote has its own backslash here, so no other backslash can be taken for it.
    text.escape_default().to_string().replace("\\'", "'")
}

/// The destination of log lines. Clones share it.
#[derive(Clone)]
pub struct Log(Arc<Inner>);

/// Writes one line, and blocks until it is written.
type Sink = Box<dyn Fn(&Line) + Send + Sync>;

/// A task of the thread that writes the lines.
type Task = Box<dyn FnOnce(&Sink) + Send>;

struct Inner {
    sink: Sink,
    /// Set once a separate thread writes the lines.
    queue: OnceLock<SyncSender<Task>>,
    /// Lines dropped because the queue was full, since the last report of such losses.
    dropped: AtomicU64,
}

/// Upper bound on queued lines.
const QUEUE: usize = 512;

impl Log {
    /// Opens the journal if the service manager has connected stderr to it, else stderr.
    #[must_use]
    pub fn open() -> Self {
        match systemd_journal_logger::connected_to_journal().then(JournalLog::new) {
            Some(Ok(journal)) => Self::to(Box::new(move |line| drop(send(&journal, line)))),
            // One write for each line: stderr is unbuffered, and other programs may write to the
            // same file.
            _ => Self::to(Box::new(|line| drop(std::io::stderr().write_all(format!("{line}\n").as_bytes())))),
        }
    }

    pub(crate) fn to(sink: Sink) -> Self {
        Self(Arc::new(Inner { sink, queue: OnceLock::new(), dropped: AtomicU64::new(0) }))
    }

    /// Writes later lines on a separate thread, so that a stopped journal or an unread stderr does
    /// not block the helper. Lines beyond the queue's bound are dropped and counted.
    ///
    /// # Errors
    /// The system's error if the thread cannot be started; lines are then written as before.
    pub fn write_in_the_background(&self) -> std::io::Result<()> {
        let (queue, tasks) = mpsc::sync_channel::<Task>(QUEUE);
        let inner = Arc::clone(&self.0);
        thread::Builder::new().name("log".to_owned()).spawn(move || {
            for task in tasks {
                task(&inner.sink);
                let dropped = inner.dropped.swap(0, Ordering::Relaxed);
                if dropped > 0 {
                    (inner.sink)(&Line::warning("log-lines-dropped").with("count", dropped));
                }
            }
        })?;
        // Called once. After a second call the new queue is dropped here, so the new thread ends at
        // once.
        let _ = self.0.queue.set(queue);
        Ok(())
    }

    /// Waits until all queued lines are written, at most for `limit`.
    pub fn flush(&self, limit: Duration) {
        let Some(queue) = self.0.queue.get() else { return };
        let (done, written) = mpsc::sync_channel(1);
        // The send fails if this call has timed out.
        if queue.try_send(Box::new(move |_| done.send(()).unwrap_or_default())).is_ok() {
            let _ = written.recv_timeout(limit);
        }
    }

    /// Writes a line, or queues it. Failures are ignored: the log must not stop the helper.
    pub fn write(&self, line: Line) {
        let Some(queue) = self.0.queue.get() else { return (self.0.sink)(&line) };
        if queue.try_send(Box::new(move |sink| sink(&line))).is_err() {
            self.0.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Sends a line with separate fields: `event` becomes `EVENT`, and the message is the line's text.
fn send(journal: &JournalLog, line: &Line) -> std::io::Result<()> {
    let fields = line.journal_fields();
    let mut record = Record::builder();
    record.level(line.level).target("airpods-helper").key_values(&fields);
    journal.journal_send(&record.args(format_args!("{line}")).build())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::doubles::LinesKept;

    #[test]
    fn a_blocked_sink_delays_no_writer_and_dropped_lines_are_counted() {
        let (log, lines) = LinesKept::log();
        log.write_in_the_background().unwrap();
        let stopped = lines.hold();
        // The writer holds one line, and the queue takes its bound.
        for number in 0..QUEUE + 100 {
            log.write(Line::info("x").with("number", number));
        }
        let dropped = log.0.dropped.load(Ordering::Relaxed);
        assert!(dropped >= 99, "{dropped}");
        drop(stopped);
        // The queue may still be full for a moment.
        while log.0.dropped.load(Ordering::Relaxed) > 0 {
            thread::yield_now();
        }
        log.flush(Duration::from_secs(60));
        let reported: u64 = lines
            .all()
            .iter()
            .filter(|line| line.event() == "log-lines-dropped")
            .map(|line| line.field("count").unwrap().parse::<u64>().unwrap())
            .sum();
        assert_eq!(reported, dropped);
        let written = lines.all().iter().filter(|line| line.event() == "x").count();
        assert_eq!(u64::try_from(written).unwrap() + dropped, u64::try_from(QUEUE + 100).unwrap());
    }

    #[test]
    fn a_line_is_one_line_of_fields() {
        let line = Line::info("clamp-on").with("uid", 1000).with("link", "wg0").with("detail", "link wg0 is clamped");
        assert_eq!(line.to_string(), "level=info event=clamp-on uid=1000 link=wg0 detail=\"link wg0 is clamped\"");
    }

    #[test]
    fn no_value_breaks_out_of_its_field() {
        let hostile = "x\nlevel=error \u{1b}[31m\" uid=0 é\\";
        let line = Line::warning("call").with("link", hostile).to_string();
        assert_eq!(line, "level=warning event=call link=\"x\\nlevel=error \\u{1b}[31m\\\" uid=0 \\u{e9}\\\\\"");
        assert!(line.bytes().all(|byte| (0x20..0x7f).contains(&byte)));
    }

    #[test]
    fn journal_fields_are_printable_and_printable_text_is_unchanged() {
        let line = Line::warning("call").with("link", "\u{1b}]0;x\u{7}\n\\é").with("cause", "a\r\nMESSAGE=forged");
        let line = line.with("detail", "the table \"airpods\" isn't ours; errno=1").with("name", "wg-0.1_a");
        let fields = [
            ("event", "call"),
            ("link", "\\u{1b}]0;x\\u{7}\\n\\\\\\u{e9}"),
            ("cause", "a\\r\\nMESSAGE=forged"),
            ("detail", "the table \"airpods\" isn't ours; errno=1"),
            ("name", "wg-0.1_a"),
        ];
        assert_eq!(line.journal_fields(), fields.map(|(field, value)| (field, value.to_owned())));
    }

    #[test]
    fn an_empty_value_is_shown_as_one() {
        assert_eq!(Line::error("x").with("link", "").to_string(), "level=error event=x link=\"\"");
    }
}
