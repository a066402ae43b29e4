//! Splits the streams that podman sends into lines: a pull's JSON lines, and a log's frames.

/// The part of a log to read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogOptions {
    /// Wait for further lines.
    pub follow: bool,
    /// Only this number of last lines.
    pub tail: Option<u32>,
    /// Only lines since then: RFC 3339, seconds since 1970, or an age such as `10m`.
    pub since: Option<String>,
}

/// The stream that a line was written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogSource {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// A line of a log, without its newline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// The stream.
    pub source: LogSource,
    /// When it was written, as podman writes it (RFC 3339).
    pub time: String,
    /// Its bytes, which need not be UTF-8.
    pub text: Vec<u8>,
    /// The next line redraws this one, as progress bars do.
    pub open: bool,
}

/// The longest line that is kept in one piece, in bytes.
const LONGEST: usize = 1 << 20;

/// The longest unread data, in bytes. podman writes a frame per log entry, of 16 KiB at most, so
/// more means a wrong length.
const LARGEST: usize = 16 << 20;

/// Splits bytes at newlines.
#[derive(Default)]
pub(super) struct Lines {
    unfinished: Vec<u8>,
}

impl Lines {
    /// Adds a piece and returns the lines that it completes, without their newlines. A line longer
    /// than [`LONGEST`] is returned in several.
    pub(super) fn push(&mut self, piece: &[u8]) -> Vec<Vec<u8>> {
        let mut lines = Vec::new();
        for part in piece.split_inclusive(|byte| *byte == b'\n') {
            match part.strip_suffix(b"\n") {
                Some(end) => {
                    self.unfinished.extend_from_slice(end);
                    lines.push(std::mem::take(&mut self.unfinished));
                }
                None => self.unfinished.extend_from_slice(part),
            }
            if self.unfinished.len() >= LONGEST {
                lines.push(std::mem::take(&mut self.unfinished));
            }
        }
        lines
    }

    /// Whether there is no unfinished line.
    fn is_empty(&self) -> bool {
        self.unfinished.is_empty()
    }

    /// The unfinished line, if it holds a carriage return: the program will draw over it, and may
    /// never end it with a newline.
    fn drawn(&mut self) -> Option<Vec<u8>> {
        self.unfinished.contains(&b'\r').then(|| std::mem::take(&mut self.unfinished))
    }

    /// The text behind the last newline.
    pub(super) fn rest(&mut self) -> Option<Vec<u8>> {
        (!self.unfinished.is_empty()).then(|| std::mem::take(&mut self.unfinished))
    }
}

/// The size of the header before each frame, in bytes. It has the stream (1 stdout, 2 stderr),
/// three zero bytes and the length as a big-endian 32-bit number (Docker's API, `ContainerAttach`,
/// "Stream format").
const HEADER: usize = 8;

/// Splits frames into lines, for each stream separately. Each frame begins with its time, and a
/// line too long for one frame continues in the next of its stream.
#[derive(Default)]
pub(super) struct Frames {
    unread: Vec<u8>,
    stdout: Stream,
    stderr: Stream,
}

#[derive(Default)]
struct Stream {
    lines: Lines,
    /// The time of the unfinished line.
    time: String,
}

impl Frames {
    /// Adds a piece and returns the lines that it completes.
    pub(super) fn push(&mut self, piece: &[u8]) -> Vec<LogLine> {
        self.unread.extend_from_slice(piece);
        let mut unread = std::mem::take(&mut self.unread);
        let (mut rest, mut lines) = (unread.as_slice(), Vec::new());
        while let Some((&[stream, _, _, _, a, b, c, d], behind)) = rest.split_first_chunk::<HEADER>() {
            let Some((frame, after)) = behind.split_at_checked(u32::from_be_bytes([a, b, c, d]) as usize) else {
                break;
            };
            let source = if stream == 2 { LogSource::Stderr } else { LogSource::Stdout };
            lines.extend(self.of(source).push(source, frame));
            rest = after;
        }
        let read = unread.len() - rest.len();
        unread.drain(..read);
        self.unread = unread;
        lines
    }

    /// Whether a frame is announced that is longer than any of podman's.
    pub(super) fn is_endless(&self) -> bool {
        self.unread.len() > LARGEST
    }

    /// The last lines, if they have no newline.
    pub(super) fn rest(&mut self) -> Vec<LogLine> {
        [LogSource::Stdout, LogSource::Stderr]
            .into_iter()
            .filter_map(|source| {
                let stream = self.of(source);
                let text = stream.lines.rest()?;
                Some(LogLine { source, time: std::mem::take(&mut stream.time), text, open: false })
            })
            .collect()
    }

    fn of(&mut self, source: LogSource) -> &mut Stream {
        match source {
            LogSource::Stdout => &mut self.stdout,
            LogSource::Stderr => &mut self.stderr,
        }
    }
}

impl Stream {
    fn push(&mut self, source: LogSource, frame: &[u8]) -> Vec<LogLine> {
        let mut parts = frame.splitn(2, |byte| *byte == b' ');
        let time = String::from_utf8_lossy(parts.next().unwrap_or_default()).into_owned();
        if self.lines.is_empty() {
            self.time.clone_from(&time);
        }
        let complete = self.lines.push(parts.next().unwrap_or_default());
        let mut lines: Vec<_> = complete
            .into_iter()
            .map(|text| LogLine { source, time: std::mem::replace(&mut self.time, time.clone()), text, open: false })
            .collect();
        lines.extend(self.lines.drawn().map(|text| LogLine { source, time, text, open: true }));
        lines
    }
}

/// Property: the lines do not depend on how the log is cut into pieces, and no byte of its text is
/// lost.
#[cfg(any(test, fuzzing))]
#[allow(clippy::panic, clippy::unwrap_used, clippy::missing_panics_doc, reason = "a panic reports a finding")]
pub fn log_frames(bytes: &[u8]) {
    let Some((size, stream)) = bytes.split_first() else { return };
    let size = usize::from(*size).max(1);
    let mut whole = Frames::default();
    let lines = [whole.push(stream), whole.rest()].concat();
    let mut cut = Frames::default();
    let in_pieces: Vec<LogLine> = stream.chunks(size).flat_map(|piece| cut.push(piece)).collect();
    assert_eq!([in_pieces, cut.rest()].concat(), lines);
    assert!(lines.iter().all(|line| !line.text.contains(&b'\n')));
    assert!(lines.iter().map(|line| line.text.len()).sum::<usize>() <= stream.len());

    let mut cut = Lines::default();
    let mut joined: Vec<u8> = Vec::new();
    for line in stream.chunks(size).flat_map(|piece| cut.push(piece)) {
        joined.extend(line);
        joined.push(b'\n');
    }
    joined.extend(cut.rest().unwrap_or_default());
    assert_eq!(joined, stream);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_log_is_cut_into_lines_wherever_its_frames_are_cut() {
        let frame = |stream: u8, text: &str| {
            let length = u8::try_from(text.len()).unwrap();
            [&[stream, 0, 0, 0, 0, 0, 0, length], text.as_bytes()].concat()
        };
        // The second line is too long for one frame, and a frame of the other stream comes in
        // between.
        let stream = [
            frame(1, "01Z one\n"),
            frame(1, "02Z tw"),
            frame(2, "03Z err x\n"),
            frame(1, "04Z o\n"),
            frame(1, "05Z \n"),
        ];
        let whole = stream.concat();
        for size in [1, 3, 7, whole.len()] {
            let mut frames = Frames::default();
            let lines: Vec<LogLine> = whole.chunks(size).flat_map(|piece| frames.push(piece)).collect();
            let expected = [("01Z", "one"), ("03Z", "err x"), ("02Z", "two"), ("05Z", "")];
            let source = |time: &str| if time == "03Z" { LogSource::Stderr } else { LogSource::Stdout };
            let line = |(time, text): (&str, &str)| LogLine {
                source: source(time),
                time: time.into(),
                text: text.into(),
                open: false,
            };
            let expected = expected.map(line);
            assert_eq!(lines, expected, "in pieces of {size}");
            assert_eq!(frames.rest(), []);
        }
    }

    #[test]
    fn redrawn_lines_are_passed_on_as_they_are_drawn() {
        let frame = |text: &str| [&[1, 0, 0, 0, 0, 0, 0, u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
        let mut frames = Frames::default();
        let mut shown = |piece: &str| -> Vec<(String, bool)> {
            let lines = frames.push(&frame(piece));
            lines.into_iter().map(|line| (String::from_utf8(line.text).unwrap(), line.open)).collect()
        };
        assert_eq!(shown("01Z 10%"), [], "it may be the beginning of a line");
        assert_eq!(shown("01Z \r20%"), [("10%\r20%".to_owned(), true)]);
        assert_eq!(shown("02Z \r30%"), [("\r30%".to_owned(), true)]);
        assert_eq!(shown("03Z done\n"), [("done".to_owned(), false)]);
    }

    #[test]
    fn a_line_that_never_ends_is_handed_out_in_pieces() {
        let mut lines = Lines::default();
        let piece = vec![b'x'; 1 << 16];
        let cut: usize = (0..64).flat_map(|_| lines.push(&piece)).map(|line| line.len()).sum();
        assert!(cut >= 3 << 20, "{cut} bytes of 4 MiB");
    }
}
