//! Draws rows as a table that fits a width.
//!
//! If all five columns fit, they are side by side. Otherwise the last ones are printed below their
//! row, indented and wrapped at words. A service's name is shortened in its middle only if the
//! first three columns do not fit. `--json` has whole values.

use std::fmt;

use super::row::Row;
use crate::terminal::{EscapedLine, TextStyle};

/// The space between two columns.
const GAP: usize = 2;

/// The column in which a text below its row begins.
const INDENT: usize = 4;

/// The fewest characters that a service's name is shortened to.
const SHORTEST: usize = 8;

/// The headings, one for each column.
const HEADINGS: [&str; 5] = ["Service", "Status", "Uptime", "Path", "Info"];

/// The number of columns that always stay in the row.
const FIRST: usize = 3;

/// The text of one cell, with control characters escaped.
#[derive(Debug, Clone)]
struct Cell {
    text: String,
    style: TextStyle,
}

impl Cell {
    fn new(text: &str, style: TextStyle) -> Self {
        Self { text: EscapedLine(text).to_string(), style }
    }

    fn width(&self) -> usize {
        self.text.chars().count()
    }
}

/// A line on the screen. Its `Display` writes colours, which anstream removes for a stream that
/// shows none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Line(Vec<(String, TextStyle)>);

impl Line {
    /// A line without colours, with control characters escaped.
    pub(super) fn plain(text: &str) -> Self {
        Self(vec![(EscapedLine(text).to_string(), TextStyle::Plain)])
    }

    /// The same line, cut to a width.
    pub(super) fn cut(&self, width: usize) -> Self {
        let mut left = width;
        let pieces = self.0.iter().map(|(text, style)| {
            let text: String = text.chars().take(left).collect();
            left -= text.chars().count();
            (text, *style)
        });
        Self(pieces.collect())
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().filter(|(text, _)| !text.is_empty()).try_for_each(|(text, style)| {
            let ansi = style.ansi();
            write!(f, "{ansi}{text}{ansi:#}")
        })
    }
}

/// The heading and the lines of each row, at most `width` wide.
pub(super) fn lines(rows: &[Row], width: usize) -> Vec<Line> {
    let heading = HEADINGS.map(|text| Cell::new(text, TextStyle::Plain));
    let mut table: Vec<[Cell; 5]> = std::iter::once(heading).chain(rows.iter().map(cells)).collect();
    let beside = (FIRST..=HEADINGS.len()).rev().find(|count| extent(&table, *count) <= width).unwrap_or(FIRST);
    shorten_names(&mut table, beside, width);
    let widths = widths(&table);
    let mut lines = Vec::new();
    for (number, row) in table.iter().enumerate() {
        let (first, below) = row.split_at(beside);
        lines.push(beside_each_other(first, &widths).cut(width));
        // Headings of columns that do not fit are left out.
        for cell in below.iter().filter(|cell| number > 0 && !["", "-"].contains(&cell.text.as_str())) {
            let indent = (" ".repeat(INDENT), TextStyle::Plain);
            let wrapped = wrap(&cell.text, width.saturating_sub(INDENT)).into_iter();
            lines.extend(wrapped.map(|text| Line(vec![indent.clone(), (text, cell.style)]).cut(width)));
        }
    }
    lines
}

fn cells(row: &Row) -> [Cell; 5] {
    let uptime = row.uptime().map_or_else(|| "-".to_owned(), |uptime| uptime.to_string());
    let broken = |is: bool| if is { TextStyle::Bad } else { TextStyle::Plain };
    [
        Cell::new(&row.service, TextStyle::Plain),
        Cell::new(row.state.word(), broken(row.state.has_failed())),
        Cell::new(&uptime, TextStyle::Plain),
        Cell::new(&row.path(), if row.may_hang() { TextStyle::Doubtful } else { TextStyle::Plain }),
        Cell::new(&row.info(), broken(row.state.has_failed() || row.is_unhealthy())),
    ]
}

fn widths(table: &[[Cell; 5]]) -> [usize; 5] {
    std::array::from_fn(|column| table.iter().map(|row| row[column].width()).max().unwrap_or_default())
}

/// The width of the first `count` columns.
fn extent(table: &[[Cell; 5]], count: usize) -> usize {
    widths(table).iter().take(count).sum::<usize>() + GAP * (count - 1)
}

/// Shortens names until the first `count` columns fit, as far as a name can be shortened.
fn shorten_names(table: &mut [[Cell; 5]], count: usize, width: usize) {
    let longest = widths(table)[0];
    let excess = extent(table, count).saturating_sub(width);
    let most = longest.saturating_sub(excess).max(SHORTEST);
    for [name, ..] in table {
        name.text = shortened(&name.text, most);
    }
}

/// At most `most` characters of a name. Its end stays, since names often differ only there.
fn shortened(name: &str, most: usize) -> String {
    let count = name.chars().count();
    if count <= most {
        return name.to_owned();
    }
    let end = (most - 1) / 2;
    let (start, rest) = (name.chars().take(most - 1 - end), name.chars().skip(count - end));
    start.chain(['…']).chain(rest).collect()
}

fn beside_each_other(cells: &[Cell], widths: &[usize; 5]) -> Line {
    let last = cells.iter().rposition(|cell| cell.width() > 0).unwrap_or_default();
    let mut pieces = Vec::new();
    for (index, (cell, width)) in cells.iter().zip(widths).enumerate().take(last + 1) {
        pieces.push((cell.text.clone(), cell.style));
        if index < last {
            pieces.push((" ".repeat(width - cell.width() + GAP), TextStyle::Plain));
        }
    }
    Line(pieces)
}

/// The text in lines of at most `width` characters. Only a longer word is broken.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let width = width.max(1);
    let (mut lines, mut line, mut used) = (Vec::new(), String::new(), 0);
    for word in text.split(' ') {
        if used > 0 && used + 1 + word.chars().count() > width {
            lines.push(std::mem::take(&mut line));
            used = 0;
        }
        if used > 0 {
            line.push(' ');
            used += 1;
        }
        for c in word.chars() {
            if used == width {
                lines.push(std::mem::take(&mut line));
                used = 0;
            }
            line.push(c);
            used += 1;
        }
    }
    lines.push(line);
    lines
}

#[cfg(test)]
mod tests {
    use super::super::row::tests::{RUNNING, ended, ended_with, row, running, silent};
    use super::*;
    use crate::config::StatusRange;
    use crate::cure::clamp::tests::clamped;
    use crate::egress::{NetworkPath, Verdict};
    use crate::health::{HealthCheck, HttpCheck};
    use crate::podman::{End, RootlessBackend};

    /// The usual width of a terminal.
    const WIDTH: usize = 80;

    /// The table without its colours.
    fn shown(rows: &[Row], width: usize) -> Vec<String> {
        lines(rows, width).iter().map(|line| anstream::adapter::strip_str(&line.to_string()).to_string()).collect()
    }

    #[test]
    fn an_answer_from_elsewhere_cannot_steer_the_terminal() {
        let (at, path, expected) = (([127, 0, 0, 1], 80).into(), "/".to_owned(), StatusRange::SUCCESS);
        let check = HealthCheck::Http(HttpCheck { at, path, expected });
        let health = Some((check, Err("\u{1b}[2J\u{9b}".to_owned())));
        let row = Row { state: RUNNING, health, ..row("web") };
        assert_eq!(
            shown(&[row], 100)[1],
            "web      running  -       -     no answer at http://127.0.0.1:80/: \\u{1b}[2J\\u{9b}"
        );
    }

    #[test]
    fn each_state_is_distinguished() {
        let exited = Row { state: ended(137, End::OutOfMemory), ..row("model") };
        let stopped = Row { state: ended_with(0), ..row("web") };
        let killed = Row { state: ended(137, End::Stopped), ..row("slow") };
        let expected = [
            "Service  Status         Uptime  Path  Info",
            "model    exited         -       -     killed, memory ran out",
            "web      stopped        -       -     exit code 0",
            "slow     stopped        -       -",
            "paint    never started  -       -",
        ];
        assert_eq!(shown(&[exited, stopped, killed, row("paint")], WIDTH), expected);
    }

    #[test]
    fn services_outside_the_configuration_are_marked() {
        let ended = Row { state: ended_with(3), configured: false, ..row("old") };
        let runs = Row { state: RUNNING, configured: false, ..row("older") };
        assert_eq!(runs.to_json()["configured"], false);
        let expected = [
            "Service  Status   Uptime  Path  Info",
            "old      exited   -       -     exit code 3, not in the configuration",
            "older    running  -       -     not in the configuration",
        ];
        assert_eq!(shown(&[ended, runs], WIDTH), expected);
    }

    #[test]
    fn the_network_path_is_shown_and_whether_it_is_clamped_where_that_matters() {
        let mut bridged = running("model", NetworkPath::Bridge, Verdict::ClampHelps);
        let hosted = running("paint", NetworkPath::Host, Verdict::HostSockets);
        let mut too_high = running("web", NetworkPath::Bridge, Verdict::ClampHelps);
        bridged.judge_clamp(&airpods_dbus::Status::default());
        too_high.judge_clamp(&clamped(airpods_dbus::Origin::Named, Some(1400)));
        let expected = [
            "Service  Status   Uptime  Path",
            "model    running  -       bridge -> wg0 (1380), not clamped",
            "web      running  -       bridge -> wg0 (1380), clamp too high",
            "paint    running  -       host -> wg0 (1380)",
        ];
        assert_eq!(too_high.to_json()["path"]["clamped"], false);
        assert_eq!(bridged.to_json()["path"]["clamped"], false);
        assert_eq!(hosted.to_json()["path"]["clamped"], serde_json::Value::Null);
        assert_eq!(bridged.to_json()["path"]["verdict"], "clamp-helps");
        let shown: Vec<String> =
            shown(&[bridged, too_high, hosted], WIDTH).iter().map(|line| line.replace("  Info", "")).collect();
        assert_eq!(shown.iter().map(|line| line.trim_end()).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn any_table_fits_its_width_and_only_shortens_names_in_the_middle() {
        let long = "a-service-with-a-name-that-is-as-long-as-names-may-be-in-a-file-1";
        for width in [40, 60, 80, 100, 200] {
            let rows = || {
                [
                    silent(long, NetworkPath::Rootless(RootlessBackend::Pasta)),
                    silent("web", NetworkPath::Bridge),
                    row("paint"),
                ]
            };
            let shown = shown(&rows(), width);
            assert!(shown.iter().all(|line| line.chars().count() <= width), "{width}: {shown:#?}");
            let text = shown.join("").replace(' ', "");
            for row in rows() {
                assert!(text.contains(&row.info().replace(' ', "")), "{width}: {shown:#?}");
                assert!(text.contains(&row.path().replace(' ', "")), "{width}: {shown:#?}");
                assert!(text.contains(&row.service[row.service.len() - 3..]), "{width}: {shown:#?}");
            }
        }
    }

    #[test]
    fn details_that_do_not_fit_beside_a_row_go_below_it() {
        let check = HealthCheck::Http(HttpCheck {
            at: ([127, 0, 0, 1], 8080).into(),
            path: "/".into(),
            expected: StatusRange::SUCCESS,
        });
        let health = Some((check, Err("connection refused (os error 111)".to_owned())));
        let row = Row { health, ..running("model", NetworkPath::Bridge, Verdict::ClampHelps) };
        let expected = [
            "Service  Status   Uptime  Path",
            "model    running  -       bridge -> wg0 (1380)",
            "    no answer at http://127.0.0.1:8080/: connection refused (os error 111)",
        ];
        assert_eq!(shown(&[row], WIDTH), expected);
    }

    #[test]
    fn only_what_is_wrong_is_coloured() {
        let failed = Row { state: ended_with(1), ..row("model") };
        let stopped = Row { state: ended(137, End::Stopped), ..row("slow") };
        let mut open = running("web", NetworkPath::Bridge, Verdict::ClampHelps);
        open.judge_clamp(&airpods_dbus::Status::default());
        let well = running("job", NetworkPath::Host, Verdict::HostSockets);
        let rows = [failed, open, stopped, row("paint"), well];
        let table = lines(&rows, WIDTH).into_iter().map(|line| line.to_string()).collect::<Vec<_>>();
        assert!(
            table[1].contains("\u{1b}[31mexited\u{1b}[0m") && table[1].contains("\u{1b}[31mexit code 1"),
            "{table:?}"
        );
        assert!(table[2].contains("\u{1b}[33mbridge -> wg0 (1380), not clamped"), "{table:?}");
        assert!(
            table.iter().enumerate().all(|(line, text)| [1, 2].contains(&line) || !text.contains('\u{1b}')),
            "{table:?}"
        );
    }

    #[test]
    fn names_are_shortened_in_the_middle() {
        assert_eq!((shortened("web", 8), shortened("open-webui-2", 8)), ("web".to_owned(), "open…i-2".to_owned()));
    }
}
