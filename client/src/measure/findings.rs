//! The findings of a search about one path. Pure: outcomes of connections in, evidence out. A
//! second server confirms the findings from the first one, or answers in its place.

use std::collections::BTreeMap;
use std::time::Duration;

use nix::errno::Errno;

use super::Stage;
use super::down::{Down, DownEnding, DownOutcome, base};
use super::evidence::Evidence;
use super::exchange::{Answer, ConnectionSummary};
use super::loss::Loss;
use super::report::LimitedBy;
use super::run::{BatchLimits, Outcome, Probe, Transport, Usage, run};
use super::search::{FAILURES_NEEDED_DOWN, FAILURES_NEEDED_UP, SYN_TIMEOUT};
use super::up::{Up, UpEnding, UpOutcome};

/// The path that a search measures.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Subject {
    /// The family is IPv6.
    pub(super) ipv6: bool,
    /// The server's name for the hello; `None` for an address.
    pub(super) name: Option<String>,
    /// The largest size to try.
    pub(super) top: u16,
    /// Sizes at which the path is likely to end: the MTUs of links on the way.
    pub(super) hints: Vec<u16>,
    /// The kernel begins with small packets: `net.ipv4.tcp_mtu_probing` is 2.
    pub(super) probing: bool,
}

/// The knowledge about one path.
#[expect(clippy::struct_excessive_bools, reason = "each is an observation of its own, and all combinations occur")]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Findings {
    /// From us to the server.
    pub(super) up: Evidence,
    /// From the server to us.
    pub(super) down: Evidence,
    /// A connection was established.
    pub(super) connected: bool,
    /// The connections that were never established: the error (`None` for silence), and after how
    /// long.
    pub(super) refusals: Vec<(Option<Errno>, Duration)>,
    /// TLS came back.
    pub(super) tls: bool,
    /// A TLS alert came back.
    pub(super) alert: bool,
    /// Something else came back.
    pub(super) not_tls: bool,
    /// A hello was acknowledged.
    pub(super) hello_arrived: bool,
    /// Established connections that ended with a reset before anything came back.
    pub(super) resets: u32,
    /// Whether a hello without the name was answered, after one with it was not.
    pub(super) answers_without_name: Option<bool>,
    /// Whether a large hello was answered, in packets of a size that passes, and how many were
    /// tried.
    pub(super) big_hello: Option<bool>,
    pub(super) big_hellos: u32,
    /// Trains behind which not even small packets passed.
    pub(super) cuts: u32,
    /// The server switched to smaller packets by itself.
    pub(super) healed: bool,
    /// How often segments were repeated, or arrived before a missing one.
    pub(super) repeats: u32,
    /// The lost segments of a sample, if one was sent.
    pub(super) loss: Option<Loss>,
    /// A size passes on some connections and fails on others.
    pub(super) differs: bool,
    /// The smallest size at which those connections end, if it is known.
    pub(super) least: Option<u16>,
    /// The result of the second server, if one was contacted.
    pub(super) second: Option<Second>,
    /// The shortest and the longest round trip, and the longest wait for the first byte of an
    /// answer.
    pub(super) min_rtt: Option<Duration>,
    pub(super) rtt: Duration,
    pub(super) answers_after: Duration,
    /// The shortest wait for the first byte of an answer.
    pub(super) answers_within: Option<Duration>,
    /// The search ran out of time or of connections.
    pub(super) cut_short: bool,
    /// It ran out of time before the first connections, or hellos, had the time for an answer.
    pub(super) hurried: bool,
    /// The connections and bytes that the search used.
    pub(super) spent: Usage,
    /// The duration of the search.
    pub(super) took: Duration,
}

/// The result of a second server, at the sizes where the first one's path ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Second {
    /// It carried more, up or down.
    pub(super) more: bool,
    /// Its path ends there too, in each direction in which the first one's does.
    pub(super) same: bool,
}

impl Findings {
    /// Takes in the outcome of a connection.
    pub(super) fn take(&mut self, subject: &Subject, outcome: &Outcome) {
        if let Outcome::Up(outcome) = outcome
            && outcome.early
        {
            // A router's report is evidence by itself.
            self.take_report(outcome.reported);
            return;
        }
        self.record_connection(outcome.summary());
        match outcome {
            Outcome::Up(outcome) => self.take_up(subject, outcome),
            Outcome::Down(outcome) if outcome.size > base(subject.ipv6) => self.take_down(subject, outcome),
            Outcome::Down(_) | Outcome::Transfer(_) => {}
        }
    }

    fn record_connection(&mut self, summary: &ConnectionSummary) {
        self.connected |= summary.connected;
        if !summary.connected {
            self.refusals.push((summary.error, summary.ended_after));
        }
        match summary.answer {
            Answer::None => self.resets += u32::from(summary.was_reset),
            Answer::Tls => self.tls = true,
            Answer::Alert => self.alert = true,
            Answer::NotTls => self.not_tls = true,
        }
        self.hello_arrived |= summary.hello_arrived;
        self.repeats += summary.repeats;
        if let Some(rtt) = summary.min_rtt {
            self.min_rtt = Some(self.min_rtt.map_or(rtt, |known| known.min(rtt)));
            self.rtt = self.rtt.max(summary.rtt);
        }
        if let Some(after) = summary.first_byte_after {
            self.answers_after = self.answers_after.max(after);
            self.answers_within = Some(self.answers_within.map_or(after, |known| known.min(after)));
        }
    }

    fn take_report(&mut self, reported: Option<u16>) {
        self.up.reported = [self.up.reported, reported].into_iter().flatten().min();
    }

    fn take_up(&mut self, subject: &Subject, outcome: &UpOutcome) {
        if let Some(proven) = outcome.proven {
            self.up.prove(proven);
        }
        self.take_report(outcome.reported);
        match outcome.ending {
            UpEnding::Hole => {
                if let Some(failed) = outcome.failed {
                    self.up.miss(failed, outcome.strict);
                }
            }
            UpEnding::Cut => self.cuts += 1,
            UpEnding::All | UpEnding::Reported | UpEnding::Early | UpEnding::Split | UpEnding::Unclear => {}
        }
        if let (Some(limit), UpEnding::All | UpEnding::Hole) = (outcome.limit, outcome.ending) {
            let by = match (subject.probing, outcome.learnt) {
                (_, true) => LimitedBy::Learnt,
                (true, false) => LimitedBy::MtuProbing,
                (false, false) => LimitedBy::Mss,
            };
            self.up.limit_to(limit, by);
        }
    }

    fn take_down(&mut self, subject: &Subject, outcome: &DownOutcome) {
        if let Some(largest) = outcome.largest {
            self.down.prove(largest.min(outcome.size));
        }
        let announced = outcome.masked.unwrap_or(outcome.size).min(outcome.size);
        match outcome.ending {
            DownEnding::Hole | DownEnding::Silent => self.down.miss(announced, outcome.strict),
            DownEnding::Short if outcome.masked.is_none() => {
                let largest = outcome.largest.unwrap_or_else(|| base(subject.ipv6));
                self.healed |= self.down.forget_failures_above(largest) || outcome.healed;
                self.down.limit_to(largest, LimitedBy::Flight);
            }
            DownEnding::Full | DownEnding::Short | DownEnding::Unclear => {}
        }
        if let Some(masked) = outcome.masked {
            self.down.limit_to(masked, LimitedBy::Learnt);
        }
    }

    /// Whether the largest packet that could be tried up has arrived.
    pub(super) fn up_is_whole(&self, top: u16) -> bool {
        let ceiling = self.up.reported.map_or(top, |reported| reported.min(top)).min(self.up.ceiling(top));
        self.up.proven.is_some_and(|proven| proven >= ceiling)
    }

    /// The same for the direction down.
    pub(super) fn down_is_whole(&self, top: u16) -> bool {
        self.down.proven.is_some_and(|proven| proven >= self.down.ceiling(top))
    }
}

/// Further tries of a size that has passed on some connections and failed on others.
#[derive(Clone, Debug, Default)]
pub(super) struct Retried {
    passes: u32,
    /// The failures by size, with the largest size that arrived on the same connection.
    fails: BTreeMap<u16, Vec<Option<u16>>>,
}

impl Retried {
    /// The tries up and down.
    pub(super) fn of(outcomes: &[Outcome]) -> (Self, Self) {
        let (mut up, mut down) = (Self::default(), Self::default());
        for outcome in outcomes {
            match outcome {
                Outcome::Up(UpOutcome { strict: true, failed: Some(failed), proven, .. }) => {
                    up.fails.entry(*failed).or_default().push(*proven);
                }
                Outcome::Up(tried) => up.passes += u32::from(tried.ending == UpEnding::All),
                Outcome::Down(tried) if tried.is_missing() => down.fails.entry(tried.size).or_default().push(None),
                Outcome::Down(tried) => down.passes += u32::from(tried.ending == DownEnding::Full),
                Outcome::Transfer(_) => {}
            }
        }
        (up, down)
    }

    /// Whether the paths differ: some connections carry everything, and two fail at the same size.
    /// One can fail by accident.
    pub(super) fn differs(&self) -> bool {
        self.passes > 0 && self.fails.values().any(|fails| fails.len() >= 2)
    }

    /// Whether no try failed, so that the former failure was an accident.
    pub(super) fn clears(&self) -> bool {
        self.passes > 0 && self.fails.is_empty()
    }

    /// The smallest of the sizes that arrived on connections that failed.
    pub(super) fn least(&self) -> Option<u16> {
        self.fails.values().flatten().copied().flatten().min()
    }
}

/// Time limit for another server's confirmation.
pub(super) fn confirming(first: &Findings) -> Duration {
    Duration::from_secs(4).max(first.rtt * 14)
}

/// Tries on another server the sizes at which the first one's path ends.
pub(super) fn confirm<T: Transport>(
    transport: &mut T,
    subject: &Subject,
    first: &Findings,
    on_progress: &dyn Fn(Stage),
) -> (Option<Second>, Usage) {
    on_progress(Stage::Confirming);
    let mut findings = Findings { rtt: first.rtt, answers_after: first.answers_after, ..Findings::default() };
    let name = subject.name.as_deref();
    let (up, down) = (first.up.refuted(), first.down.refuted());
    let mut batch = Vec::new();
    if let Some(high) = up {
        let sizes: Vec<u16> = first.up.proven.into_iter().chain([high]).collect();
        batch.extend((0..FAILURES_NEEDED_UP).map(|_| Probe::Up(Box::new(Up::new(subject.ipv6, name, &sizes, true)))));
    }
    if let Some(high) = down {
        batch.extend(
            (0..FAILURES_NEEDED_DOWN).map(|_| Probe::Down(Box::new(Down::new(subject.ipv6, name, high, true)))),
        );
    }
    let limits = BatchLimits { limit: confirming(first), stragglers: None };
    for outcome in run(transport, batch, limits, &mut findings.spent, |_, _| false) {
        findings.take(subject, &outcome);
    }
    if !findings.tls {
        return (None, findings.spent);
    }
    let passes = |evidence: &Evidence, size: Option<u16>| {
        size.is_some_and(|size| evidence.proven.is_some_and(|proven| proven >= size))
    };
    let fails = |evidence: &Evidence, size: Option<u16>| size.is_none() || evidence.refutations() > 0;
    let second = Second {
        more: passes(&findings.up, up) || passes(&findings.down, down),
        same: fails(&findings.up, up) && fails(&findings.down, down),
    };
    (Some(second), findings.spent)
}

/// A server's reaction to a small hello.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reaction {
    /// It accepts the connection.
    pub(super) connects: bool,
    /// It answers in TLS.
    pub(super) answers: bool,
}

/// Sends a server a small hello, on two connections.
pub(super) fn greet<T: Transport>(transport: &mut T, subject: &Subject) -> (Reaction, Usage) {
    let mut spent = Usage::default();
    let hello = || {
        let down = Down::new(subject.ipv6, subject.name.as_deref(), base(subject.ipv6), false);
        Probe::Down(Box::new(down))
    };
    let limits = BatchLimits { limit: SYN_TIMEOUT, stragglers: None };
    let outcomes = run(transport, vec![hello(), hello()], limits, &mut spent, |under_way, _| {
        under_way.iter().any(|one| one.probe.exchange().first_at.is_some())
    });
    let reaction = Reaction {
        connects: outcomes.iter().any(|outcome| outcome.summary().connected),
        answers: outcomes.iter().any(|outcome| matches!(outcome.summary().answer, Answer::Tls | Answer::Alert)),
    };
    (reaction, spent)
}
