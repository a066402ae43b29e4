//! Draws a report for the terminal: each place, each direction, where it ends, and the verdict.

use std::fmt::Write;

use super::report::{Confidence, Direction, PathReport, PlaceReport, Report, Udp};
use super::verdict::{Code, Weight};
use crate::terminal::Tone;

/// A line of the picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// The text.
    pub text: String,
    /// Its colour.
    pub tone: Tone,
}

/// Width of a bar, in characters.
const BAR_WIDTH: u32 = 24;

/// The whole drawing.
#[must_use]
pub fn lines(report: &Report) -> Vec<Line> {
    let mut lines: Vec<Line> = report.places.iter().flat_map(place).collect();
    let (tone, word) = match report.verdict.weight() {
        Weight::Fine => (Tone::Good, "ok"),
        Weight::Unmeasured => (Tone::Doubtful, "not measured"),
        Weight::Broken => (Tone::Bad, "broken"),
    };
    if !lines.is_empty() {
        lines.push(plain(String::new()));
    }
    lines.push(Line { text: format!("{word}: {} ({})", report.sentence, report.verdict), tone });
    if let Some(blameless) = &report.not_to_blame {
        lines.push(plain(format!("not to blame: {blameless}")));
    }
    if let Some(cure) = &report.cure {
        lines.push(plain(format!("cure: {cure}")));
    }
    let sure = match report.confidence {
        Confidence::Sure => "this is sure",
        Confidence::AtLeast => "at least this much passes; it may be more",
        Confidence::NotMeasured => "sizes were not measured",
    };
    lines.push(plain(format!("{sure}; {} connections, {:.1} s", report.connections, report.seconds)));
    lines
}

fn plain(text: String) -> Line {
    Line { text, tone: Tone::Plain }
}

fn place(place: &PlaceReport) -> Vec<Line> {
    let mut heading = if place.place == "host" { "host".to_owned() } else { format!("network {}", place.place) };
    if let Some(mtu) = place.own_mtu {
        // Writing to a String cannot fail.
        let _ = write!(heading, " (MTU {mtu})");
    }
    if let Some(link) = &place.link {
        let kind = if link.kind.is_empty() { String::new() } else { format!("{}, ", link.kind) };
        let _ = write!(heading, " -> {} ({kind}MTU {})", link.name, link.mtu);
    }
    if !place.services.is_empty() {
        let _ = write!(heading, ": {}", place.services.join(", "));
    }
    let mut lines = vec![Line { text: heading, tone: Tone::Heading }];
    lines.extend(place.judged_from_host.iter().map(|why| plain(format!("  judged from the host: {why}"))));
    lines.extend(place.paths.iter().flat_map(path));
    lines
}

fn path(path: &PathReport) -> Vec<Line> {
    let rtt = path.rtt_ms.map(|rtt| format!(", {rtt:.0} ms away")).unwrap_or_default();
    let mut lines = vec![plain(format!("  {} to {}{rtt}", path.family, path.server))];
    if let Some(error) = &path.error {
        lines.push(Line { text: format!("    {error}"), tone: Tone::Bad });
        return lines;
    }
    lines.push(direction("up", &path.up, path.top));
    lines.push(direction("down", &path.down, path.top));
    lines.extend(path.udp.as_ref().map(|found| udp(found, path.verdict)));
    if let Some(made) = &path.transfers {
        let slowest = made.slowest.map(|slowest| format!(" ({slowest:.2} s)")).unwrap_or_default();
        let tone = if made.completed == made.of { Tone::Good } else { Tone::Bad };
        lines.push(Line { text: format!("    transfers  {} of {} completed{slowest}", made.completed, made.of), tone });
    }
    lines
}

fn udp(udp: &Udp, verdict: Code) -> Line {
    let (said, tone) = match udp {
        Udp { answered: true, proven, failed: Some(failed), .. } => {
            (format!("{} pass, {failed} vanishes", proven.unwrap_or_default()), Tone::Bad)
        }
        Udp { answered: true, proven, .. } => (format!("{} pass", proven.unwrap_or_default()), Tone::Good),
        Udp { refused: Some(error), .. } => (format!("refused: {error}"), Tone::Doubtful),
        _ if verdict == Code::QuicBlocked => ("no answer, although the server speaks QUIC".to_owned(), Tone::Doubtful),
        _ => ("no answer: the server may not speak QUIC, or UDP is blocked".to_owned(), Tone::Plain),
    };
    Line { text: format!("    udp   {said}"), tone }
}

fn direction(name: &str, direction: &Direction, top: u16) -> Line {
    let Some(proven) = direction.proven else {
        let why = direction.reason.as_deref().map(|why| format!(": {why}")).unwrap_or_default();
        return Line {
            text: format!("    {name:4}  {:BAR_WIDTH$}  not measured{why}", "", BAR_WIDTH = BAR_WIDTH as usize),
            tone: Tone::Doubtful,
        };
    };
    let filled = (u32::from(proven) * BAR_WIDTH).checked_div(u32::from(top)).unwrap_or(BAR_WIDTH).min(BAR_WIDTH);
    // The bar of a path that is slightly narrower than the link is not full.
    let filled = if proven < top { filled.min(BAR_WIDTH - 1) } else { filled };
    let bar = format!("{}{}", "=".repeat(filled as usize), ".".repeat((BAR_WIDTH - filled) as usize));
    let mut text = format!("    {name:4}  {bar}  {proven} of {top} pass");
    if let Some(failed) = direction.failed {
        let _ = write!(text, ", {failed} vanishes");
    }
    match direction.confidence {
        Confidence::Sure => text.push_str(", sure"),
        other => {
            let why = direction.reason.as_deref().map(|why| format!(": {why}")).unwrap_or_default();
            let _ = write!(text, ", {}{why}", other.as_str());
        }
    }
    let tone = match direction {
        Direction { failed: Some(_), .. } => Tone::Bad,
        Direction { confidence: Confidence::Sure, .. } => Tone::Good,
        _ => Tone::Doubtful,
    };
    Line { text, tone }
}
