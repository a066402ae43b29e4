//! Measures the path behind a VPN while podman is called, once for each network. An attempt that
//! shows nothing is not repeated soon.

use std::collections::BTreeSet;
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, timeout, timeout_at};

use crate::command::Context;
use crate::command::net::check::Subject;
use crate::command::net::lock;
use crate::config::{Config, MssClamp, Service, ServiceName};
use crate::cure::Remedy;
use crate::egress::{Egress, EgressLinks};
use crate::execute::{self, Interrupted};
use crate::helper_link::status_if_running;
use crate::measure::memory::{self, Known, Memory, Network, SeenFrom, StaleClamp};
use crate::measure::report::Family;
use crate::measure::{self, Places, Plan, Report, Stage};

/// The longest delay of a start by a measurement. A good path takes 0.2 s, a black hole 3 s.
const LIMIT: Duration = Duration::from_secs(10);

/// Time for a measurement that keeps to [`LIMIT`] to hand over its report.
const AFTER: Duration = Duration::from_millis(500);

/// How long the start of services waits while no packet was missed, and the largest has not yet
/// passed on every path. On most such paths nothing answers at all, and no clamp helps there.
const MAX_WAIT: Duration = Duration::from_secs(2);

/// A measurement that is running, or the remembered result of an earlier one.
pub(super) struct Measuring {
    folder: Option<PathBuf>,
    /// The content of the folder's file when the start began.
    memory: Memory,
    /// The tunnel by which the host's packets leave, and the network that it is in.
    tunnel: Option<(Egress, Network)>,
    known: Option<Known>,
    /// Dropping it ends the measurement.
    running: JoinSet<Report>,
    progress: watch::Sender<Progress>,
    until: Instant,
}

/// The stages of the paths, as far as services wait for them.
#[derive(Clone, Debug, Default)]
struct Progress {
    /// Packets are missed on a path.
    missed: bool,
    /// The largest packets pass on a path.
    passed: bool,
    /// The paths on which nothing is known yet.
    unknown: BTreeSet<Family>,
}

impl Progress {
    fn enter(&mut self, family: Family, stage: Stage) {
        match stage {
            Stage::Begun => {
                self.unknown.insert(family);
            }
            Stage::Full(_) => {
                self.unknown.remove(&family);
                self.passed = true;
            }
            // Such as a family without a route.
            Stage::Ended => {
                self.unknown.remove(&family);
            }
            stage => self.missed |= stage.is_after_a_miss(),
        }
    }

    fn is_good(&self) -> bool {
        self.passed && self.unknown.is_empty()
    }
}

impl Measuring {
    /// Begins a measurement, if there is a tunnel, its result in this network is not yet known, and
    /// no attempt was made shortly before. `running` says that the services run now.
    pub(super) fn begin(
        context: &Context,
        config: &Config,
        services: &[(&ServiceName, &Service)],
        running: bool,
    ) -> Self {
        let mut measuring = Self::remembered(context);
        let network = &config.runtime.network;
        let forwarding = is_forwarding(config);
        let from = match (forwarding, running) {
            (false, _) => SeenFrom::Host,
            (true, false) => SeenFrom::Network,
            (true, true) => SeenFrom::RunningNetwork,
        };
        if !network.measure || network.mss_clamp == MssClamp::Off || !measuring.is_due(from) {
            return measuring;
        }
        let subject = Subject::of_config(config, services);
        if subject.targets.is_empty() {
            return measuring;
        }
        // Another check of this user would disturb this one. Its result is remembered, too.
        let Ok(lock) = lock(context) else { return measuring };
        let (progress, until) = (measuring.progress.clone(), measuring.until);
        measuring.running.spawn(async move {
            let _lock = lock;
            let plan = if forwarding {
                subject.plan(false).await
            } else {
                // Sockets of the host send the services' packets, so measuring from the host is
                // enough.
                Plan { targets: subject.targets, places: Places::default(), proof: false, unmeasurable: None }
            };
            let on_progress = move |family, stage: Stage| {
                // The host's own packets may fit where those of a forwarded network do not.
                if !(forwarding && matches!(stage, Stage::Full(_))) {
                    progress.send_modify(|progress| progress.enter(family, stage));
                }
            };
            let left = until.saturating_duration_since(Instant::now());
            measure::check(&plan, left, Arc::new(on_progress)).await
        });
        measuring
    }

    /// The remembered result, without a new measurement.
    pub(super) fn remembered(context: &Context) -> Self {
        let folder = context.environment.state_folder();
        let leaving = EgressLinks::of_host();
        let tunnel = leaving.iter().flat_map(EgressLinks::links).find(|egress| egress.is_tunnel());
        let tunnel = tunnel.map(|egress| (egress.clone(), Network::of(&egress.link)));
        let memory = Memory::load(folder.as_deref());
        let known = tunnel.as_ref().and_then(|(_, network)| memory.known(network, SystemTime::now()));
        let (running, progress) = (JoinSet::new(), watch::Sender::default());
        Self { folder, memory, tunnel, known, running, progress, until: Instant::now() + LIMIT }
    }

    /// Whether there is a tunnel to measure, and no result or recent attempt is in the way.
    fn is_due(&self, from: SeenFrom) -> bool {
        self.tunnel
            .as_ref()
            .is_some_and(|(_, network)| self.memory.may_measure(network, self.known.as_ref(), from, SystemTime::now()))
    }

    /// A fixed clamp on the tunnel whose value was measured on another network.
    pub(super) async fn stale_clamp(&self) -> Option<StaleClamp> {
        let (tunnel, network) = self.tunnel.as_ref()?;
        if self.memory == Memory::default() {
            return None;
        }
        self.memory.stale_clamp(&status_if_running().await?, tunnel, network, SystemTime::now())
    }

    /// Whether a measurement is running.
    pub(super) fn is_under_way(&self) -> bool {
        !self.running.is_empty()
    }

    /// The present result.
    pub(super) fn known(&self) -> Option<Known> {
        self.known.clone()
    }

    /// Waits before the first service starts: until the end if packets were missed. Otherwise until
    /// the largest packets pass on every path, for [`MAX_WAIT`] at most.
    pub(super) async fn before_services(&mut self) {
        let suspected = self.known.as_ref().is_some_and(|known| matches!(known.remedy, Remedy::Fixed { .. }));
        let mut progress = self.progress.subscribe();
        let decided = timeout(MAX_WAIT, progress.wait_for(|progress| progress.missed || progress.is_good()));
        // Without a running measurement `join_next` returns `None` at once, so nothing waits.
        let wait = suspected
            || tokio::select! {
                biased;
                ended = self.running.join_next() => {
                    self.take(ended);
                    false
                }
                decided = decided => matches!(decided, Ok(Ok(progress)) if progress.missed),
            };
        if wait {
            self.finish().await;
        }
    }

    /// The result, after waiting for a running measurement.
    pub(super) async fn end(
        mut self,
        interrupt: Pin<&mut impl Future<Output = ()>>,
    ) -> Result<Option<Known>, Interrupted> {
        execute::interruptible(interrupt, self.finish()).await?;
        Ok(self.known)
    }

    async fn finish(&mut self) {
        if let Ok(ended) = timeout_at(self.until + AFTER, self.running.join_next()).await {
            self.take(ended);
        } else {
            // Ends it, so that a second call notes no second failure.
            self.running = JoinSet::new();
            self.note(None);
        }
    }

    fn take(&mut self, ended: Option<Result<Report, JoinError>>) {
        if let Some(Ok(report)) = ended {
            self.note(Some(&report));
        }
    }

    /// Keeps the result, and notes the attempt, so that the next starts do not wait for the same.
    fn note(&mut self, report: Option<&Report>) {
        let (Some(folder), Some((tunnel, _))) = (&self.folder, &self.tunnel) else { return };
        let recalled = memory::remember_attempt(folder, &tunnel.link, report);
        self.known = recalled.or(self.known.take());
    }
}

/// Whether the containers may be those of root's podman, whose packets the host forwards.
fn is_forwarding(config: &Config) -> bool {
    nix::unistd::geteuid().is_root()
        || config.runtime.podman_url.is_some()
        || std::env::var_os("CONTAINER_HOST").is_some()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::future::pending;
    use std::pin::pin;

    use airpods_dbus::{LinkKind, PathMtu};

    use super::*;
    use crate::cure::tests::report;
    use crate::measure::Code;

    /// A running measurement in a network without a remembered result.
    fn under_way(work: impl Future<Output = Report> + Send + 'static) -> Measuring {
        let mut running = JoinSet::new();
        running.spawn(work);
        let until = Instant::now() + LIMIT;
        let (memory, progress) = (Memory::default(), watch::Sender::default());
        Measuring { folder: None, memory, tunnel: None, known: None, running, progress, until }
    }

    const MISSED: Stage = Stage::Confirming;

    fn enter(progress: &watch::Sender<Progress>, stage: Stage) {
        progress.send_modify(|progress| progress.enter(Family::Ipv4, stage));
    }

    /// A measurement that ends later than [`MAX_WAIT`].
    async fn late() -> Report {
        tokio::time::sleep(MAX_WAIT + MAX_WAIT / 2).await;
        report(Vec::new())
    }

    /// Whether the services waited for its end.
    async fn waits_for(mut measuring: Measuring) -> bool {
        measuring.before_services().await;
        !measuring.is_under_way()
    }

    fn known(remedy: Remedy) -> Known {
        let (link, verdict, age) = ("wg0".to_owned(), Code::Fine, Duration::ZERO);
        Known { link, verdict, remedy, from_network: false, age }
    }

    #[tokio::test]
    async fn services_wait_to_the_end_only_for_a_measurement_that_has_missed_packets() {
        assert!(waits_for(under_way(async { report(Vec::new()) })).await, "it ended at once");
        assert!(!waits_for(under_way(pending())).await);
        let missing = under_way(late());
        enter(&missing.progress, MISSED);
        assert!(waits_for(missing).await);
    }

    #[tokio::test]
    async fn a_miss_that_comes_while_they_wait_counts() {
        let progress = watch::Sender::default();
        let sender = progress.clone();
        let measuring = under_way(async move {
            enter(&sender, MISSED);
            late().await
        });
        assert!(waits_for(Measuring { progress, ..measuring }).await);
    }

    #[tokio::test]
    async fn services_start_as_soon_as_the_largest_packets_pass_on_every_path() {
        let measuring = under_way(pending());
        let enter = |family, stage| measuring.progress.send_modify(|progress| progress.enter(family, stage));
        let is_good = || measuring.progress.borrow().is_good();
        enter(Family::Ipv4, Stage::Begun);
        enter(Family::Ipv6, Stage::Begun);
        enter(Family::Ipv4, Stage::Full(1420));
        assert!(!is_good(), "nothing is known of IPv6");
        enter(Family::Ipv6, Stage::Ended);
        assert!(is_good(), "IPv6 has no path");
        let begun = Instant::now();
        assert!(!waits_for(measuring).await);
        assert!(begun.elapsed() < MAX_WAIT);
    }

    #[tokio::test]
    async fn services_wait_where_no_path_has_carried_anything() {
        let measuring = under_way(late());
        enter(&measuring.progress, Stage::Begun);
        enter(&measuring.progress, Stage::Ended);
        assert!(!measuring.progress.borrow().is_good());
    }

    #[tokio::test]
    async fn where_the_path_was_narrow_before_services_wait_for_the_new_measurement() {
        let fixed = Remedy::Fixed { mtu: PathMtu::new(1300).unwrap(), at_least: false };
        assert!(waits_for(Measuring { known: Some(known(fixed)), ..under_way(late()) }).await);
        assert!(!waits_for(Measuring { known: Some(known(Remedy::Nothing)), ..under_way(pending()) }).await);
    }

    #[tokio::test]
    async fn a_wait_ends_at_its_limit_even_after_a_miss_and_with_it_the_measurement() {
        let begun = Instant::now();
        let measuring = Measuring { until: begun + MAX_WAIT, ..under_way(pending()) };
        enter(&measuring.progress, MISSED);
        assert!(waits_for(measuring).await);
        assert!(begun.elapsed() < LIMIT);
    }

    #[tokio::test]
    async fn a_start_whose_measurement_never_ends_notes_one_failure() {
        let (link, mtu) = ("wg-none".to_owned(), 1420);
        let kind = LinkKind { info_kind: "wireguard".to_owned(), tun_type: None, hardware: 65534 };
        let home = tempfile::tempdir().unwrap();
        let mut measuring = Measuring {
            folder: Some(home.path().to_owned()),
            tunnel: Some((Egress { link: link.clone(), index: 9, kind, mtu }, Network::of(&link))),
            until: Instant::now(),
            ..under_way(pending())
        };
        enter(&measuring.progress, MISSED);
        measuring.before_services().await;
        measuring.end(pin!(pending())).await.unwrap();
        let may = |later: u64| {
            let now = SystemTime::now() + Duration::from_secs(later * 60);
            Memory::load(Some(home.path())).may_measure(&Network::of(&link), None, SeenFrom::Host, now)
        };
        assert!(!may(5), "it was noted");
        assert!(may(15), "two failures would pause longer");
    }
}
