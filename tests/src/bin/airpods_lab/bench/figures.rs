//! From figures to a table. Pure.

use std::time::Duration;

/// The figures of one contender, and its name in the table.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Series {
    name: String,
    sorted: Vec<f64>,
}

impl Series {
    /// A series of any figures; `None` without a single one.
    pub(super) fn of(name: impl Into<String>, figures: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut sorted: Vec<f64> = figures.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        (!sorted.is_empty()).then(|| Self { name: name.into(), sorted })
    }

    /// A series of times, in milliseconds; `None` without a single one.
    pub(super) fn new(name: impl Into<String>, times: &[Duration]) -> Option<Self> {
        Self::of(name, times.iter().map(|time| time.as_secs_f64() * 1000.0))
    }

    /// The median; for an even number of figures, the mean of the two in the middle.
    pub(super) fn median(&self) -> f64 {
        let (below, above) = ((self.sorted.len() - 1) / 2, self.sorted.len() / 2);
        f64::midpoint(self.sorted[below], self.sorted[above])
    }

    /// Whether other programs used the processors meanwhile. On an idle machine the median of a
    /// process that does nothing is a tenth above its least time.
    pub(super) fn is_disturbed(&self) -> bool {
        self.median() > 1.3 * self.range().0
    }

    /// The 99th percentile.
    pub(super) fn p99(&self) -> f64 {
        self.sorted[(self.sorted.len() * 99 / 100).min(self.sorted.len() - 1)]
    }

    fn range(&self) -> (f64, f64) {
        (self.sorted[0], self.sorted[self.sorted.len() - 1])
    }
}

/// A Markdown table, which is readable in a terminal too. It has medians, ranges, and each median
/// as a multiple of that of `reference`. `unit` is the unit of the figures.
pub(super) fn table(unit: &str, series: &[Series], reference: &str) -> String {
    let one = series.iter().find(|series| series.name == reference).map(Series::median);
    let width = series.iter().map(|series| series.name.chars().count()).max().unwrap_or_default();
    let row = |name: &str, median: &str, range: &str, ratio: &str| {
        format!("| {name:width$} | {median:>13} | {range:>17} | {ratio:>5} |\n")
    };
    let head = row("", &format!("median {unit}"), "min – max", "ratio");
    let rule = format!("|{}|{}:|{}:|{}:|\n", "-".repeat(width + 2), "-".repeat(14), "-".repeat(18), "-".repeat(6));
    series.iter().fold(head + &rule, |text, series| {
        let (median, (least, most)) = (series.median(), series.range());
        let ratio = one.map_or_else(String::new, |one| format!("{:.2}", median / one));
        text + &row(&series.name, &format!("{median:.1}"), &format!("{least:.1} – {most:.1}"), &ratio)
    })
}

#[cfg(test)]
#[allow(clippy::expect_used)]
mod tests {
    use super::*;

    fn series(name: &str, times: &[u64]) -> Series {
        let times: Vec<Duration> = times.iter().copied().map(Duration::from_millis).collect();
        Series::new(name, &times).expect("there are times")
    }

    #[test]
    #[allow(clippy::float_cmp)]
    fn a_median_ignores_order_and_outliers() {
        assert_eq!(series("odd", &[900, 1, 3]).median(), 3.0);
        assert_eq!(series("even", &[4, 1, 900, 3]).median(), 3.5);
        assert_eq!(series("one", &[7]).median(), 7.0);
        assert_eq!(series("any", &[4, 1, 900, 3]).range(), (1.0, 900.0));
        assert_eq!(Series::new("none", &[]), None);
    }

    #[test]
    fn a_few_outliers_are_no_disturbance() {
        assert!(!series("quiet", &[10, 11, 11, 900]).is_disturbed());
        assert!(series("busy", &[10, 14, 20, 30]).is_disturbed());
    }

    #[test]
    fn ratios_are_multiples_of_the_reference() {
        let table = table("ms", &[series("true", &[1]), series("on", &[2, 4, 3]), series("other", &[33])], "on");
        let last = |line: &str| line.trim_end_matches([' ', '|']).rsplit(' ').next().map(ToOwned::to_owned);
        let ratios: Vec<_> = table.lines().skip(2).filter_map(last).collect();
        assert_eq!(ratios, ["0.33", "1.00", "11.00"]);
        assert!(
            table.lines().all(|line| line.chars().count() == table.lines().next().unwrap_or_default().chars().count())
        );
    }
}
