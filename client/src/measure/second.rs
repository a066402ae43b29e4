//! Another server, which confirms what the first one has shown, or answers in its place.

use std::time::Duration;

use super::down::{Down, base};
use super::evidence::Evidence;
use super::findings::{Findings, Second, Subject};
use super::hello::Answer;
use super::run::{Patience, Probe, Spent, Transport, run};
use super::search::{STANDS_DOWN, STANDS_UP, SYN_PATIENCE};
use super::stage::Stage;
use super::up::Up;

/// Tries on another server the sizes where the first one's path ends.
pub(super) fn confirm<T: Transport>(
    transport: &mut T,
    subject: &Subject,
    first: &Findings,
    tell: &dyn Fn(Stage),
) -> (Option<Second>, Spent) {
    tell(Stage::Confirming);
    let mut findings = Findings { rtt: first.rtt, answers_after: first.answers_after, ..Findings::default() };
    let name = subject.name.as_deref();
    let (up, down) = (first.up.refuted(), first.down.refuted());
    let mut batch = Vec::new();
    if let Some(high) = up {
        let sizes: Vec<u16> = first.up.proven.into_iter().chain([high]).collect();
        batch.extend((0..STANDS_UP).map(|_| Probe::Up(Box::new(Up::new(subject.ipv6, name, &sizes, true)))));
    }
    if let Some(high) = down {
        batch.extend((0..STANDS_DOWN).map(|_| Probe::Down(Box::new(Down::new(subject.ipv6, name, high, true)))));
    }
    let patience = Patience { limit: Duration::from_secs(4).max(first.rtt * 14), stragglers: None };
    for outcome in run(transport, batch, patience, &mut findings.spent, |_, _| false) {
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

/// Whether a server answers a small hello at all.
pub(super) fn answers<T: Transport>(transport: &mut T, subject: &Subject) -> (bool, Spent) {
    let mut spent = Spent::default();
    let hello = || {
        let down = Down::new(subject.ipv6, subject.name.as_deref(), base(subject.ipv6), false);
        Probe::Down(Box::new(down))
    };
    let patience = Patience { limit: SYN_PATIENCE, stragglers: None };
    let outcomes = run(transport, vec![hello(), hello()], patience, &mut spent, |under_way, _| {
        under_way.iter().any(|one| one.probe.exchange().first_at.is_some())
    });
    (outcomes.iter().any(|outcome| matches!(outcome.contact().answer, Answer::Tls | Answer::Alert)), spent)
}
