//! Repeats the status: in place on a terminal, one after the other elsewhere.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

use super::row::Row;
use super::table::{self, Line};
use super::{Args, document, print, remarks};
use crate::error::Failure;
use crate::terminal::{self, print_json_line};

/// Repeats for ever, every `interval`. Ends with the first failure, or when the output is closed.
pub(super) async fn watch(
    interval: Duration,
    args: &Args,
    read: impl AsyncFn() -> Result<Vec<Row>, Failure>,
) -> Result<(), Failure> {
    let dumb = std::env::var_os("TERM").is_none_or(|name| name.is_empty() || name == "dumb");
    if args.json || dumb || !io::stdout().is_terminal() {
        return watch_in_a_row(interval, args, read).await;
    }
    let mut resized = signal(SignalKind::window_change())?;
    let mut screen = Screen::open(format!("every {} s, Ctrl-C ends", interval.as_secs_f64()), &args.services)?;
    loop {
        screen.show(read().await?)?;
        let pause = tokio::time::sleep(interval);
        tokio::pin!(pause);
        loop {
            tokio::select! {
                () = &mut pause => break,
                _ = resized.recv() => screen.draw()?,
            }
        }
    }
}

async fn watch_in_a_row(
    interval: Duration,
    args: &Args,
    read: impl AsyncFn() -> Result<Vec<Row>, Failure>,
) -> Result<(), Failure> {
    let mut first = true;
    loop {
        let rows = read().await?;
        if args.json {
            print_json_line(&document(&rows))?;
        } else {
            if !first {
                writeln!(anstream::stdout())?;
            }
            print(&rows, args)?;
        }
        first = false;
        tokio::time::sleep(interval).await;
    }
}

/// Switches to the alternate screen, which has no history, and hides the cursor (xterm's control
/// sequences, "DEC Private Mode Set": 1049 and 25).
const OPEN: &str = "\u{1b}[?1049h\u{1b}[?25l";

/// Shows the cursor and switches back.
const CLOSE: &str = "\u{1b}[?25h\u{1b}[?1049l";

/// A terminal that shows one table. Dropping it restores the terminal and leaves the last table on
/// it.
struct Screen<'a> {
    title: String,
    /// The services that the user named.
    named: &'a [String],
    rows: Vec<Row>,
}

impl<'a> Screen<'a> {
    fn open(title: String, named: &'a [String]) -> io::Result<Self> {
        write_at_once(OPEN)?;
        Ok(Self { title, named, rows: Vec::new() })
    }

    fn show(&mut self, rows: Vec<Row>) -> io::Result<()> {
        self.rows = rows;
        self.draw()
    }

    fn draw(&self) -> io::Result<()> {
        let (width, height) = terminal::size();
        let title = [Line::plain(&self.title), Line::default()].into_iter();
        let lines: Vec<Line> = title.chain(self.lines(width)).collect();
        write_at_once(&frame(&lines, width, height))
    }

    fn lines(&self, width: usize) -> Vec<Line> {
        if self.rows.is_empty() {
            return Vec::new();
        }
        let remarks = remarks(&self.rows, self.named);
        table::lines(&self.rows, width).into_iter().chain(remarks.iter().map(|line| Line::plain(line))).collect()
    }
}

impl Drop for Screen<'_> {
    fn drop(&mut self) {
        let last = self.lines(terminal::size().0).iter().fold(String::new(), |text, line| text + &painted(line) + "\n");
        // A terminal that is gone needs no restoring.
        let _ = write_at_once(&format!("{CLOSE}{last}"));
    }
}

/// A line with its colours, unless the user turned them off (`NO_COLOR`, `CLICOLOR`).
fn painted(line: &Line) -> String {
    let text = line.to_string();
    match anstream::AutoStream::choice(&io::stdout()) {
        anstream::ColorChoice::Never => anstream::adapter::strip_str(&text).to_string(),
        _ => text,
    }
}

/// Writes with one call, so that nothing flickers, and past anstream, which would take control
/// sequences for colours.
fn write_at_once(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// The text that draws lines over the old content of a screen of this size. Nothing wraps or
/// scrolls.
fn frame(lines: &[Line], width: usize, height: usize) -> String {
    let fits = |line: &Line| painted(&line.cut(width));
    let shown: Vec<String> = if lines.len() > height {
        let more = lines.len() - height.saturating_sub(1);
        let kept = lines.iter().take(height.saturating_sub(1)).map(fits);
        kept.chain([fits(&Line::plain(&format!("… and {more} more")))]).collect()
    } else {
        lines.iter().map(fits).collect()
    };
    // Move home, erase the rest of each line, and erase everything below the last (ECMA-48: CUP,
    // EL, ED).
    format!("\u{1b}[H{}\u{1b}[J", shown.join("\u{1b}[K\r\n") + "\u{1b}[K")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn painted(lines: &[&str], width: usize, height: usize) -> Vec<String> {
        let lines: Vec<Line> = lines.iter().map(|line| Line::plain(line)).collect();
        let frame = frame(&lines, width, height);
        let inner = frame.strip_prefix("\u{1b}[H").and_then(|rest| rest.strip_suffix("\u{1b}[K\u{1b}[J"));
        inner.unwrap_or_default().split("\u{1b}[K\r\n").map(str::to_owned).collect()
    }

    #[test]
    fn a_frame_never_wraps_or_scrolls() {
        assert_eq!(painted(&["abc", "d"], 80, 24), ["abc", "d"]);
        assert_eq!(painted(&["äbcdef", "d"], 3, 2), ["äbc", "d"]);
        assert_eq!(painted(&["a", "b", "c", "d"], 80, 3), ["a", "b", "… and 2 more"]);
        assert_eq!(painted(&["a", "b"], 4, 1), ["… an"]);
    }
}
