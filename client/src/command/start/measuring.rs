//! Measuring the path behind a VPN while podman is asked, once for each network.

use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use crate::command::Context;
use crate::command::net::check::Subject;
use crate::command::net::lock;
use crate::config::{Config, MssClamp, Service, ServiceName};
use crate::egress::Leaving;
use crate::execute::{self, Interrupted};
use crate::helper_link::status_if_running;
use crate::kernel::gateways;
use crate::measure::memory::{self, Elsewhere, Known, Memory};
use crate::measure::{self, Places, Plan, Report};

/// How long a start may take longer for it. A good path takes 0.2 s, a hole 3 s.
const LIMIT: Duration = Duration::from_secs(10);

/// A measurement that is under way, or what is remembered of an earlier one.
pub(super) struct Measuring {
    folder: Option<PathBuf>,
    /// The VPN's link by which the host's packets leave.
    link: Option<String>,
    known: Option<Known>,
    /// Dropping it ends the measuring.
    running: JoinSet<Report>,
    until: Instant,
}

impl Measuring {
    /// Begins, if there is a VPN and nothing is known of it in this network yet.
    pub(super) fn begin(context: &Context, config: &Config, services: &[(&ServiceName, &Service)]) -> Self {
        let mut measuring = Self::remembered(context);
        let network = &config.runtime.network;
        let wanted = network.measure && network.mss_clamp != MssClamp::Off && measuring.link.is_some();
        let known = measuring.known.as_ref();
        if !wanted || known.is_some_and(|known| known.from_network || !is_forwarding(config)) {
            return measuring;
        }
        let subject = Subject::of_config(config, services);
        if subject.targets.is_empty() {
            return measuring;
        }
        // Another check of this user would disturb this one, and is remembered as well.
        let Ok(lock) = lock(context) else { return measuring };
        let forwarding = is_forwarding(config);
        measuring.running.spawn(async move {
            let _lock = lock;
            let plan = if forwarding {
                subject.plan(false).await
            } else {
                // Sockets of the host carry what services send.
                Plan { targets: subject.targets, places: Places::default(), proof: false, unmeasurable: None }
            };
            measure::check(&plan, Arc::new(|_, _| ())).await
        });
        measuring
    }

    /// What is remembered, without measuring.
    pub(super) fn remembered(context: &Context) -> Self {
        let folder = context.environment.state_folder();
        let leaving = Leaving::of_host();
        let vpn = leaving.iter().flat_map(Leaving::links).find(|egress| egress.kind.is_vpn());
        let link = vpn.map(|egress| egress.link.clone());
        let known = link.as_deref().and_then(|link| recall(folder.as_deref(), link));
        Self { folder, link, known, running: JoinSet::new(), until: Instant::now() + LIMIT }
    }

    /// A fixed clamp on the VPN whose value is of another network.
    pub(super) async fn of_elsewhere(&self) -> Option<Elsewhere> {
        let link = self.link.as_deref()?;
        let memory = Memory::load(self.folder.as_deref());
        if memory == Memory::default() {
            return None;
        }
        memory.of_elsewhere(&status_if_running().await?, link, &gateways(link), SystemTime::now())
    }

    /// Whether a measurement has begun.
    pub(super) fn is_under_way(&self) -> bool {
        !self.running.is_empty()
    }

    /// What is known by now; a measurement that is under way is waited for.
    pub(super) async fn end(
        mut self,
        interrupt: Pin<&mut impl Future<Output = ()>>,
    ) -> Result<Option<Known>, Interrupted> {
        let ended = execute::unless(interrupt, timeout_at(self.until, self.running.join_next())).await?;
        if let Ok(Some(Ok(report))) = ended {
            memory::remember(self.folder.as_deref(), &report);
            self.known = self.link.as_deref().and_then(|link| recall(self.folder.as_deref(), link)).or(self.known);
        }
        Ok(self.known)
    }
}

fn recall(folder: Option<&std::path::Path>, link: &str) -> Option<Known> {
    Memory::load(folder).known(link, &gateways(link), SystemTime::now())
}

/// Whether containers may be root's, whose packets the host forwards.
fn is_forwarding(config: &Config) -> bool {
    nix::unistd::geteuid().is_root()
        || config.runtime.podman_url.is_some()
        || std::env::var_os("CONTAINER_HOST").is_some()
}
