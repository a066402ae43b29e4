//! The evidence about one direction, and the sizes to try next. Pure.

use std::collections::BTreeMap;

use super::report::LimitedBy;

/// The evidence of connections about one direction. Sizes are those of whole IP packets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Evidence {
    /// The largest packet that arrived.
    pub(super) proven: Option<u16>,
    /// Sizes that did not arrive, with the number of connections: only a hint, because loss looks
    /// the same at first.
    suspected: BTreeMap<u16, u32>,
    /// Sizes that did not arrive after repeated transmissions, with the number of connections.
    refuted: BTreeMap<u16, u32>,
    /// The largest packet that can be tried, and why no larger one can.
    pub(super) limit: Option<(u16, LimitedBy)>,
    /// The path MTU that a router reported.
    pub(super) reported: Option<u16>,
    /// A size that failed strictly although it, or a larger one, had arrived before: the path
    /// changed, or there are several.
    retracted: Option<u16>,
    /// The largest packet of that size or larger that has arrived again since.
    passed_again: Option<u16>,
}

impl Evidence {
    /// A packet of this size arrived.
    pub(super) fn prove(&mut self, size: u16) {
        if self.retracted.is_some_and(|retracted| size >= retracted) {
            self.passed_again = self.passed_again.max(Some(size));
            return;
        }
        self.proven = self.proven.max(Some(size));
    }

    /// A packet of this size did not arrive; `strictly` means after repeated transmissions. If this
    /// size or a larger one had arrived before, the earlier proofs belong to another path, and all
    /// of them are discarded.
    pub(super) fn miss(&mut self, size: u16, strictly: bool) {
        if strictly && self.proven.is_some_and(|proven| proven >= size) {
            self.retracted = Some(self.retracted.map_or(size, |known| known.min(size)));
            self.proven = None;
        }
        let sizes = if strictly { &mut self.refuted } else { &mut self.suspected };
        *sizes.entry(size).or_default() += 1;
    }

    /// Forgets failures above this size, because the other end has learnt to send smaller packets.
    /// Returns whether there were any.
    pub(super) fn forget_failures_above(&mut self, size: u16) -> bool {
        let before = self.suspected.len() + self.refuted.len();
        self.suspected.retain(|failed, _| *failed <= size);
        self.refuted.retain(|failed, _| *failed <= size);
        before > self.suspected.len() + self.refuted.len()
    }

    /// Sets the limit, unless a larger size is proven.
    pub(super) fn limit_to(&mut self, size: u16, by: LimitedBy) {
        if self.proven.is_none_or(|proven| proven <= size) {
            self.limit = Some((size, by));
        }
    }

    /// The smallest size above the proven one that did not arrive and can still be tried.
    pub(super) fn open_end(&self) -> Option<u16> {
        self.failed().filter(|failed| self.limit.is_none_or(|(limit, _)| *failed <= limit))
    }

    /// The largest size to try, at most `top`.
    pub(super) fn ceiling(&self, top: u16) -> u16 {
        self.limit.map_or(top, |(limit, _)| limit.min(top))
    }

    /// The smallest size above the proven one that did not arrive.
    pub(super) fn failed(&self) -> Option<u16> {
        let above = |sizes: &BTreeMap<u16, u32>| sizes.range(self.above()..).next().map(|(size, _)| *size);
        [above(&self.suspected), above(&self.refuted)].into_iter().flatten().min()
    }

    /// The smallest refuted size above the proven one.
    pub(super) fn refuted(&self) -> Option<u16> {
        self.refuted.range(self.above()..).next().map(|(size, _)| *size)
    }

    /// The number of connections that refuted a size above the proven one.
    pub(super) fn refutations(&self) -> u32 {
        self.refuted.range(self.above()..).map(|(_, count)| count).sum()
    }

    /// Whether a size failed on one connection and passed on another, as on a path that loses
    /// packets.
    pub(super) fn loses(&self) -> bool {
        let below = |sizes: &BTreeMap<u16, u32>| sizes.range(..self.above()).next().is_some();
        below(&self.suspected) || below(&self.refuted)
    }

    /// The size that seems to pass on some connections and to fail on others. Losses can look the
    /// same, so it has to be tried again.
    pub(super) fn contradicted(&self) -> Option<u16> {
        let below = |sizes: &BTreeMap<u16, u32>| sizes.range(..self.above()).next_back().map(|(size, _)| *size);
        self.retracted
            .filter(|_| self.passed_again.is_some())
            .or_else(|| below(&self.refuted).max(below(&self.suspected)))
    }

    /// Every further try of the contradicted size passed: it had failed by accident.
    pub(super) fn settle(&mut self) {
        self.retracted = None;
        self.proven = self.proven.max(self.passed_again.take());
    }

    fn above(&self) -> u16 {
        self.proven.map_or(0, |proven| proven.saturating_add(1))
    }

    /// Whether the gap between what passed and what failed is wider than `precision` bytes.
    pub(super) fn is_open(&self, base: u16, precision: u16) -> bool {
        self.open_end().is_some_and(|failed| failed.saturating_sub(self.floor(base)) > precision)
    }

    /// The proven size, but at least `base`.
    pub(super) fn floor(&self, base: u16) -> u16 {
        self.proven.unwrap_or(base).max(base)
    }
}

/// The sizes of the first train, up to `top`: close together where paths usually end.
#[must_use]
pub(super) fn ladder(top: u16, base: u16, hints: &[u16]) -> Vec<u16> {
    let steps = [420, 252, 124, 60, 28, 12, 4, 0].map(|step| top.saturating_sub(step));
    let mut sizes: Vec<u16> = steps.into_iter().filter(|size| *size > base).collect();
    for hint in hints.iter().copied().filter(|hint| (base + 1..top).contains(hint)) {
        // A hint costs no extra packet: it replaces the size next to it.
        let nearest = sizes.iter_mut().filter(|size| **size < top).min_by_key(|size| size.abs_diff(hint));
        match nearest {
            Some(size) => *size = hint,
            None => sizes.push(hint),
        }
    }
    if sizes.is_empty() {
        sizes.push(top);
    }
    sizes.sort_unstable();
    sizes.dedup();
    sizes
}

/// Up to `count` evenly spaced sizes between one that passes and one that fails, both excluded.
#[must_use]
pub(super) fn spread(low: u16, high: u16, count: u16) -> Vec<u16> {
    let room = high.saturating_sub(low).saturating_sub(1);
    let count = count.min(room);
    let step = |k: u16| {
        let offset = (u32::from(high - low) * u32::from(k) + u32::from(count + 1) / 2) / u32::from(count + 1);
        low + u16::try_from(offset).unwrap_or(u16::MAX).clamp(1, room)
    };
    let mut sizes: Vec<u16> = (1..=count).map(step).collect();
    sizes.dedup();
    sizes
}

/// Up to seven sizes for the direction down, between one that passes and one that fails. `guess` is
/// a likely end of the path: it is tried together with the next larger size.
#[must_use]
pub(super) fn down_sizes(low: u16, high: u16, guess: Option<u16>) -> Vec<u16> {
    const WIDE: u16 = 300;
    let inside = |size: &u16| low < *size && *size < high;
    let mut sizes = if let Some(guess) = guess.filter(|guess| (low..high).contains(guess) && high - low > 8) {
        let around = [guess, guess + 1].into_iter();
        around.chain(spread(low, guess, 1)).chain(spread(guess + 1, high, 4)).collect()
    } else if high - low > WIDE {
        // Most paths end just below the link's MTU, the others anywhere.
        let close = [124, 60, 28, 12].into_iter().map(|step| high - step);
        close.chain(spread(low, high - 124, 3)).collect()
    } else {
        spread(low, high, 7)
    };
    sizes.retain(inside);
    sizes.sort_unstable();
    sizes.dedup();
    sizes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ladder_ends_at_the_top_and_takes_hints() {
        assert_eq!(ladder(1420, 576, &[]), [1000, 1168, 1296, 1360, 1392, 1408, 1416, 1420]);
        assert_eq!(ladder(1500, 576, &[1380]), [1080, 1248, 1380, 1440, 1472, 1488, 1496, 1500]);
        assert_eq!(ladder(600, 576, &[]), [588, 596, 600]);
        assert_eq!(ladder(576, 576, &[]), [576]);
    }

    #[test]
    fn sizes_lie_strictly_between_and_close_the_gap() {
        for (low, high) in [(576, 1420), (1296, 1360), (1299, 1301), (1300, 1301), (900, 902), (576, 584)] {
            for sizes in [spread(low, high, 8), down_sizes(low, high, None), down_sizes(low, high, Some(1300))] {
                assert!(sizes.iter().all(|size| low < *size && *size < high), "{low} {high} {sizes:?}");
                assert_eq!(sizes.is_empty(), high - low <= 1, "{low} {high}");
                assert!(sizes.len() <= 8 && sizes.is_sorted(), "{sizes:?}");
            }
        }
        assert_eq!(down_sizes(576, 1420, Some(1300)), [938, 1300, 1301, 1325, 1349, 1372, 1396]);
        assert_eq!(down_sizes(576, 1420, None), [756, 936, 1116, 1296, 1360, 1392, 1408]);
    }

    #[test]
    fn packets_that_arrived_outweigh_lost_ones() {
        let mut evidence = Evidence::default();
        evidence.prove(1296);
        evidence.miss(1301, true);
        evidence.miss(1360, false);
        assert_eq!((evidence.failed(), evidence.refutations()), (Some(1301), 1));
        assert!(evidence.is_open(576, 1));
        evidence.prove(1340);
        assert_eq!((evidence.failed(), evidence.refutations()), (Some(1360), 0));
        assert!(evidence.forget_failures_above(1340));
        assert_eq!(evidence.failed(), None);
    }

    #[test]
    fn a_size_that_fails_after_it_arrived_throws_the_earlier_proofs_away() {
        let mut evidence = Evidence::default();
        evidence.prove(1408);
        evidence.miss(1360, false);
        assert_eq!(evidence.proven, Some(1408), "a hint is none");
        evidence.miss(1360, true);
        assert_eq!((evidence.proven, evidence.failed(), evidence.contradicted()), (None, Some(1360), None));
        evidence.prove(1300);
        evidence.prove(1400);
        assert_eq!((evidence.proven, evidence.contradicted()), (Some(1300), Some(1360)));
    }
}
