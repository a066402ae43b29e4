//! How a service is asked for its health.

use std::net::SocketAddr;
use std::time::Duration;

use crate::config::{Config, HealthTest, Period, Service, StatusRange};
use crate::podman::HealthTimes;

/// How a service is asked for its health.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HealthCheck {
    /// Over HTTP.
    Http(HttpCheck),
    /// By a command within its container, as podman has it: after `CMD-SHELL` or `CMD`.
    Command(Vec<String>),
}

impl HealthCheck {
    /// The check of a service that has one and, where it takes one, a port to ask on.
    #[must_use]
    pub fn of(config: &Config, service: &Service) -> Option<Self> {
        match &service.health.as_ref()?.test {
            HealthTest::Command { command } => Some(Self::Command(command.clone())),
            HealthTest::Http { path, expected_status } => {
                let at = config.reached_by(service)?.reached_at();
                Some(Self::Http(HttpCheck { at, path: path.clone(), expected: *expected_status }))
            }
        }
    }

    /// The target of the check: a URL, or the words of the command.
    #[must_use]
    pub fn question(&self) -> String {
        match self {
            Self::Http(check) => check.url(),
            Self::Command(words) => words.get(1..).unwrap_or_default().join(" "),
        }
    }

    /// The same for a sentence about an answer.
    #[must_use]
    pub fn place(&self) -> String {
        match self {
            Self::Http(check) => format!("at {}", check.url()),
            Self::Command(_) => format!("to `{}`", self.question()),
        }
    }
}

/// A question over HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpCheck {
    /// Where the host reaches it.
    pub at: SocketAddr,
    /// Path, beginning with `/`.
    pub path: String,
    /// The codes that mean healthy.
    pub expected: StatusRange,
}

impl HttpCheck {
    /// Where it asks.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}{}", self.at, self.path)
    }
}

/// Looks in a row that may fail after the start where nothing else is said, as compose and podman have it.
const RETRIES: u32 = 3;

impl HealthTimes {
    /// Those of a service.
    #[must_use]
    pub fn of(service: &Service) -> Self {
        service.health.as_ref().map(|health| health.times).unwrap_or_default()
    }

    /// How long one look may take, where `of_all` is the time for all services.
    #[must_use]
    pub fn timeout_or(&self, of_all: Duration) -> Duration {
        self.timeout.map_or(of_all, Period::get)
    }

    /// Time between two looks.
    #[must_use]
    pub fn interval_or(&self, of_all: Duration) -> Duration {
        self.interval.map_or(of_all, Period::get)
    }

    /// How long a service has to become healthy: `of_all`, or as long as its start may take and its looks may fail, where that is
    /// longer.
    #[must_use]
    pub fn patience(&self, of_all: Duration, interval_of_all: Duration) -> Duration {
        if self.start_period.is_none() && self.retries.is_none() {
            return of_all;
        }
        let start = self.start_period.map_or(Duration::ZERO, Period::get);
        of_all.max(start + self.interval_or(interval_of_all) * self.retries.unwrap_or(RETRIES))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_service_has_the_time_of_all_or_the_longer_one_that_it_says_it_needs() {
        let seconds = Duration::from_secs;
        let patience = |times: HealthTimes| times.patience(seconds(60), seconds(2)).as_secs();
        let period = |text: &str| Some(text.parse().unwrap());
        assert_eq!(patience(HealthTimes { interval: period("30s"), ..HealthTimes::default() }), 60);
        assert_eq!(patience(HealthTimes { start_period: period("5m"), ..HealthTimes::default() }), 306);
        assert_eq!(patience(HealthTimes { retries: Some(5), interval: period("30s"), ..HealthTimes::default() }), 150);
        assert_eq!(patience(HealthTimes { retries: Some(1), ..HealthTimes::default() }), 60);
    }
}
