//! Decides which connections to open next, until the largest packet of each direction is known or
//! time is up.
//!
//! Quick rounds narrow down where the path ends. A size that fails in them is only a hint, because
//! loss looks the same at first. Then strict probes test the boundary. The next larger size counts
//! as too large only after three transmissions each, on three connections up and two down.

use std::cell::Cell;
use std::time::Duration;

use super::Stage;
use super::down::{Down, base};
use super::evidence::{Evidence, down_sizes, ladder, spread};
use super::exchange::Answer;
use super::findings::{Findings, Retried, Subject};
use super::loss::{SAMPLE, sample};
use super::run::{BatchLimits, Budget, Outcome, Probe, Progress, Transport, run};
use super::train::Record;
use super::up::{Up, UpEnding};

/// Upper bound on simultaneous connections.
const MAX_CONNECTIONS: usize = 10;

/// Time for three SYNs, with the linear timeouts of Linux 6.5 and later or the doubling ones
/// before. A server that has not answered by then does not answer.
pub(super) const SYN_TIMEOUT: Duration = Duration::from_millis(3600);

/// Above this round trip eight bytes are exact enough when time is short: each round takes several
/// round trips.
const LONG_RTT: Duration = Duration::from_millis(120);

/// Duration of one more round and of the proof at the boundary: a number of round trips, and a
/// fixed time.
const LAST_ROUNDS: (u32, Duration) = (16, Duration::from_millis(1500));

/// The padding that makes a hello of 256 bytes one of 1,760, as those with post-quantum groups are.
const BIG_PADDING: u16 = 1500;

/// The number of connections up, and down, that try a contradicted size again.
const RETRIES: u32 = 5;

/// The number of connections up and down on which a size must fail before it is too large.
pub(super) const FAILURES_NEEDED_UP: u32 = 3;
pub(super) const FAILURES_NEEDED_DOWN: u32 = 2;

/// The number of connections down on which a size must fail. On a path that loses packets it is one
/// more: two losses on each of two connections look like a size that does not fit.
#[must_use]
pub(super) fn failures_needed_down(down: &Evidence) -> u32 {
    FAILURES_NEEDED_DOWN + u32::from(down.loses())
}

/// Searches one path.
pub(super) fn search<T: Transport>(
    transport: &mut T,
    subject: &Subject,
    budget: Budget,
    on_progress: &dyn Fn(Stage),
) -> Findings {
    let begun = transport.now();
    let mut search = Search {
        transport,
        subject,
        budget,
        on_progress,
        begun,
        findings: Findings::default(),
        record: Record::Data,
        tied: false,
    };
    search.go();
    search.findings.took = search.elapsed();
    search.findings
}

struct Search<'a, T: Transport> {
    transport: &'a mut T,
    subject: &'a Subject,
    budget: Budget,
    on_progress: &'a dyn Fn(Stage),
    begun: Duration,
    findings: Findings,
    record: Record,
    tied: bool,
}

impl<T: Transport> Search<'_, T> {
    fn go(&mut self) {
        let first = self.first();
        if !self.findings.connected || self.findings.not_tls {
            return;
        }
        if !self.findings.tls && !self.findings.alert && !self.answers_without_name() {
            return;
        }
        self.train_again(first);
        self.narrow();
        self.probe_boundary();
        self.retry_contradictions();
        self.count_losses();
    }

    fn base(&self) -> u16 {
        base(self.subject.ipv6)
    }

    fn name(&self) -> Option<&str> {
        self.subject.name.as_deref()
    }

    fn elapsed(&self) -> Duration {
        self.transport.now().saturating_sub(self.begun)
    }

    /// Whether the time is up.
    fn is_over(&self) -> bool {
        self.elapsed() >= self.budget.end
    }

    /// Whether time and budget allow this many more connections. If not, notes that the search was
    /// cut short.
    fn may_begin(&mut self, connections: u32) -> bool {
        let room = self.findings.spent.connections + connections <= self.budget.connections;
        // A server that resets two hellos after it has answered some seems to limit their rate.
        let welcome = !self.findings.tls || self.findings.resets < 2;
        let may = room && welcome && self.elapsed() < self.budget.last_begin && !self.transport.is_stopped();
        self.findings.cut_short |= !may;
        may
    }

    fn up(&self, sizes: &[u16], strict: bool) -> Probe {
        Probe::Up(Box::new(self.train(sizes, strict).tied(self.tied)))
    }

    fn train(&self, sizes: &[u16], strict: bool) -> Up {
        let up = Up::new(self.subject.ipv6, self.name(), sizes, strict).beginning_with(self.record);
        up.with_answer_time(self.findings.answers_after)
    }

    fn down(&self, size: u16, strict: bool) -> Probe {
        let down = Down::new(self.subject.ipv6, self.name(), size, strict);
        Probe::Down(Box::new(down.with_answer_time(self.findings.answers_after)))
    }

    fn big_hello(&self) -> Probe {
        let down = Down::new(self.subject.ipv6, self.name(), self.base(), true).padded(BIG_PADDING);
        Probe::Down(Box::new(down.with_answer_time(self.findings.answers_after)))
    }

    /// Runs a batch, and takes the outcomes into the findings.
    fn run(
        &mut self,
        batch: Vec<Probe>,
        limit: Duration,
        stragglers: Option<Duration>,
        enough: impl Fn(&[Progress<'_>], Duration) -> bool,
    ) -> Vec<Outcome> {
        let left = self.budget.end.saturating_sub(self.elapsed());
        let limits = BatchLimits { limit: limit.min(left), stragglers };
        debug_assert!(batch.len() <= MAX_CONNECTIONS);
        let big: Vec<bool> = batch.iter().map(|probe| matches!(probe, Probe::Down(down) if down.is_padded())).collect();
        let outcomes = run(self.transport, batch, limits, &mut self.findings.spent, enough);
        for (outcome, big) in outcomes.iter().zip(big) {
            self.findings.take(self.subject, outcome);
            let answered = matches!(outcome.summary().answer, Answer::Tls | Answer::Alert);
            // A hello that the end of the time cut off has not failed.
            if big && (answered || !self.is_over()) {
                self.findings.big_hellos += u32::from(outcome.summary().connected);
                self.findings.big_hello = Some(self.findings.big_hello.unwrap_or(false) || answered);
            }
        }
        outcomes
    }

    fn round_trips(&self, at_least: Duration, count: u32) -> Duration {
        at_least.max(self.findings.rtt * count) + self.findings.answers_after
    }

    /// The first round, which is all that a good path needs: three round trips. The connections
    /// down go first, because the train may teach the kernel a path MTU. Returns how the train
    /// ended.
    fn first(&mut self) -> UpEnding {
        let top = self.subject.top;
        (self.on_progress)(Stage::First(top));
        let (on_progress, base) = (self.on_progress, self.base());
        let (is_full, is_reported) = (Cell::new(false), Cell::new(false));
        let sizes = ladder(top, self.base(), &self.subject.hints);
        let batch = vec![
            self.down(top, true),
            self.down(top, true),
            self.down(self.base(), false),
            self.big_hello(),
            Probe::Up(Box::new(Up::early(self.subject.ipv6, self.name(), top))),
            self.up(&sizes, false),
        ];
        let settled = |under_way: &[Progress<'_>], lasted: Duration| {
            let connected = under_way.iter().any(|one| one.probe.exchange().connected_at.is_some());
            if !connected {
                return lasted > SYN_TIMEOUT;
            }
            let counts = |one: &&Progress<'_>| !matches!(one.probe, Probe::Up(up) if up.is_early());
            let train = under_way.iter().filter(counts).all(|one| one.ended || !matches!(one.probe, Probe::Up(_)));
            let tops: Vec<_> = under_way.iter().take(2).collect();
            let full = tops.iter().any(|one| matches!(one.probe, Probe::Down(down) if down.is_full()));
            let up = under_way.iter().any(|one| matches!(one.probe, Probe::Up(up) if up.is_full()));
            if full && up && !is_full.replace(true) {
                on_progress(Stage::Full(top));
            }
            // Once our kernel has learnt a path MTU it announces no more than that. No later
            // connection can show a hole, so these two run to their end.
            let taught = under_way.iter().any(|one| matches!(one.probe, Probe::Up(up) if up.is_reported()));
            let suspect = |one: &Progress<'_>| matches!(one.probe, Probe::Down(down) if down.is_suspect());
            if tops.iter().any(|one| suspect(one)) && !full && !is_reported.replace(true) {
                on_progress(Stage::Between(None, Some((base, top))));
            }
            let down = full || tops.iter().all(|one| one.ended || (!taught && suspect(one)));
            let others = under_way.iter().filter(counts).all(|one| one.ended) || lasted > Duration::from_millis(1200);
            let answered = under_way.iter().any(|one| one.probe.exchange().first_at.is_some());
            train && down && others && answered
        };
        let outcomes = self.run(batch, Duration::from_secs(5), None, settled);
        self.findings.hurried |= self.is_over();
        match outcomes.last() {
            Some(Outcome::Up(up)) => {
                self.tied = up.limit.is_some_and(|limit| limit <= self.base()) && !up.learnt;
                up.ending
            }
            _ => UpEnding::Unclear,
        }
    }

    /// No hello was answered: tries one without the name. Returns whether the direction up can
    /// still be measured.
    fn answers_without_name(&mut self) -> bool {
        if self.name().is_some() && !self.may_begin(2) {
            self.findings.hurried = true;
        } else if self.name().is_some() {
            let nameless = |ipv6, size| Probe::Down(Box::new(Down::new(ipv6, None, size, false)));
            let (ipv6, size) = (self.subject.ipv6, self.base());
            let outcomes = self.run(
                vec![nameless(ipv6, size), nameless(ipv6, size)],
                self.round_trips(Duration::from_millis(2500), 8),
                None,
                |_, _| false,
            );
            let answered =
                outcomes.iter().any(|outcome| matches!(outcome.summary().answer, Answer::Tls | Answer::Alert));
            self.findings.hurried |= self.is_over();
            self.findings.answers_without_name = Some(answered);
            // These answers are to a hello without the name, so they do not count.
            (self.findings.tls, self.findings.alert) = (false, false);
            if answered {
                return false;
            }
        }
        self.record = Record::Hello;
        self.findings.hello_arrived
    }

    /// Sends another train if the first one ended without showing which sizes pass.
    fn train_again(&mut self, first: UpEnding) {
        let (mut ending, mut top, mut cuts, mut tried_tied) = (first, self.subject.top, 0, false);
        for _ in 0..4 {
            match ending {
                // The SYN-ACK arrived before the second `TCP_MAXSEG` was set, as on a path without
                // delay. So the train was limited to what the SYN announced. From now on the SYN
                // announces as much as the train sends (`tied`).
                UpEnding::All | UpEnding::Hole if self.tied && !tried_tied => {
                    tried_tied = true;
                    self.findings.up.limit = None;
                }
                UpEnding::All if !self.findings.up_is_whole(self.subject.top) => {
                    // Some sizes arrived only after a retransmission, out of order or late, which
                    // proves nothing.
                }
                UpEnding::All | UpEnding::Hole => return,
                // The answer may be too large for the direction down, or come late and in pieces. A
                // train that is itself a hello needs none.
                UpEnding::Unclear | UpEnding::Split if tried_tied => self.record = Record::Hello,
                UpEnding::Cut if cuts > 0 => return,
                UpEnding::Cut => cuts += 1,
                UpEnding::Early => self.record = Record::Hello,
                UpEnding::Reported => match self.findings.up.reported {
                    Some(reported) if reported < top => top = reported,
                    _ => return,
                },
                UpEnding::Split | UpEnding::Unclear => {}
            }
            if !self.may_begin(1) {
                return;
            }
            let train = self.up(&ladder(top, self.base(), &self.subject.hints), false);
            let limit = self.round_trips(Duration::from_secs(5), 12);
            ending = match self.run(vec![train], limit, None, |_, _| false).first() {
                Some(Outcome::Up(up)) => up.ending,
                _ => return,
            };
        }
    }

    /// How many bytes may stay unknown. A value that is slightly too small costs little, but one
    /// without a proof costs the verdict.
    fn precision(&self) -> u16 {
        let (trips, beside) = LAST_ROUNDS;
        let is_late = |rtt: Duration| rtt > LONG_RTT && self.elapsed() + rtt * trips + beside > self.budget.last_begin;
        if self.findings.min_rtt.is_some_and(is_late) { 8 } else { 1 }
    }

    /// The gap in which a direction's end lies, if it is wider than `precision`.
    fn gap(&self, evidence: &Evidence, precision: u16) -> Option<(u16, u16)> {
        let high = evidence.open_end().filter(|_| evidence.is_open(self.base(), precision))?;
        Some((evidence.floor(self.base()), high))
    }

    /// Runs quick rounds, up and down side by side.
    fn narrow(&mut self) {
        for _ in 0..6 {
            let precision = self.precision();
            let up = self.gap(&self.findings.up, precision);
            let down = self.gap(&self.findings.down, precision).filter(|_| self.findings.tls);
            if (up.is_none() && down.is_none()) || !self.may_begin(8) {
                return;
            }
            (self.on_progress)(Stage::Between(up, down));
            let mut batch = Vec::new();
            if let Some((low, high)) = down {
                // If the end of the direction up is known exactly, the direction down often ends at
                // the same size.
                let exact = up.is_none() && self.findings.up.failed().is_some();
                let likely = self.findings.up.proven.filter(|_| exact).into_iter();
                let guess = likely.chain(self.subject.hints.iter().copied()).find(|guess| (low..high).contains(guess));
                batch.extend(down_sizes(low, high, guess).into_iter().map(|size| self.down(size, false)));
            }
            if let Some((low, high)) = up {
                batch.push(self.up(&spread(low, high, 8), false));
            }
            let stragglers = self.round_trips(Duration::from_millis(500), 5);
            let limit = self.round_trips(Duration::from_secs(4), 12);
            self.run(batch, limit, Some(stragglers), |_, _| false);
        }
    }

    /// Tests the boundary strictly. A larger size that passes reopens the search, at most twice.
    fn probe_boundary(&mut self) {
        for again in 0..4 {
            let batch = self.boundary_probes();
            if batch.is_empty() || !self.may_begin(u32::try_from(batch.len()).unwrap_or(u32::MAX)) {
                return;
            }
            let before = (self.findings.up.proven, self.findings.down.proven);
            let tls = self.findings.tls;
            (self.on_progress)(Stage::Boundary(self.findings.up.failed(), self.findings.down.failed().filter(|_| tls)));
            let limit = self.round_trips(Duration::from_secs(5), 16);
            self.run(batch, limit, None, |_, _| false);
            if before != (self.findings.up.proven, self.findings.down.proven) && again < 2 {
                self.narrow();
            }
        }
    }

    /// The connections whose evidence a verdict still needs.
    fn boundary_probes(&self) -> Vec<Probe> {
        let (findings, top) = (&self.findings, self.subject.top);
        let mut batch = Vec::new();
        if let Some(high) = findings.up.open_end() {
            let largest = findings.up.ceiling(top).max(high);
            for failures in findings.up.refutations()..FAILURES_NEEDED_UP {
                // One of them tries the largest size: if it passes, there is more to find above
                // `high`.
                let tested = if failures + 1 == FAILURES_NEEDED_UP { largest } else { high };
                let sizes: Vec<u16> = findings.up.proven.into_iter().chain([tested]).collect();
                batch.push(self.up(&sizes, true));
            }
        }
        if let Some(high) = findings.down.open_end().filter(|_| findings.tls) {
            let needed = failures_needed_down(&findings.down);
            let missing = needed.saturating_sub(findings.down.refutations());
            batch.extend((0..missing).map(|_| self.down(high, true)));
            if missing == needed && high < top {
                batch.push(self.down(top, true));
            }
        }
        if findings.tls && findings.big_hello != Some(true) && findings.big_hellos < 4 {
            let missing =
                if findings.big_hello.is_none() { 1 } else { 4u32.saturating_sub(findings.big_hellos).min(3) };
            batch.extend((0..missing).map(|_| self.big_hello()));
        }
        batch
    }

    /// A size failed on one connection and passed on another: by accident, or because the paths
    /// differ. Tries it again.
    fn retry_contradictions(&mut self) {
        let (up, down) =
            (self.findings.up.contradicted(), self.findings.down.contradicted().filter(|_| self.findings.tls));
        if (up.is_none() && down.is_none()) || !self.may_begin(RETRIES * 2) {
            return;
        }
        // The smaller packets of a train show what the narrower path carries.
        let train = ladder(up.unwrap_or(self.subject.top), self.base(), &self.subject.hints);
        let trains = (0..RETRIES).map(|_| self.up(&train, true));
        let batch = trains.chain(down.iter().flat_map(|size| (0..RETRIES).map(|_| self.down(*size, true)))).collect();
        let limit = self.round_trips(Duration::from_secs(5), 16);
        let outcomes = self.run(batch, limit, None, |_, _| false);
        let (up, down) = Retried::of(&outcomes);
        let findings = &mut self.findings;
        findings.differs = up.differs() || down.differs();
        findings.least = up.least();
        for (retried, evidence) in [(up, &mut findings.up), (down, &mut findings.down)] {
            if retried.clears() {
                evidence.settle();
            }
        }
    }

    /// Counts the lost packets if some had to be repeated and every size passes.
    fn count_losses(&mut self) {
        let (findings, top) = (&self.findings, self.subject.top);
        let whole = [findings.up.proven, findings.down.proven].into_iter().all(|proven| proven >= Some(top));
        if findings.repeats == 0 || !whole || !self.may_begin(1) {
            return;
        }
        // Not tied, as no size is in question: the server would answer in packets of 200 bytes.
        let train = Probe::Up(Box::new(self.train(&SAMPLE, true)));
        let limit = self.round_trips(Duration::from_secs(3), 16).min(self.budget.end.saturating_sub(self.elapsed()));
        self.findings.loss = sample(self.transport, train, limit, &mut self.findings.spent);
    }
}
