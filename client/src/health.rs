//! Health checks of services, over HTTP or by a command in the container, and their answers.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use http_body_util::Empty;
use hyper::body::Bytes;
use hyper::{Request, header};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::config::{Config, HealthTest, Period, Service, StatusRange};
use crate::podman::{HealthTiming, Podman};

/// The health check of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HealthCheck {
    /// Over HTTP.
    Http(HttpCheck),
    /// By a command in its container, in podman's form: `CMD-SHELL` or `CMD`, then the words.
    Command(Vec<String>),
}

impl HealthCheck {
    /// The check of a service that has one. An HTTP check also needs a port that the host reaches.
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

    /// The target for a sentence about the answer: `at URL`, or `to` and the command.
    #[must_use]
    pub fn place(&self) -> String {
        match self {
            Self::Http(check) => format!("at {}", check.url()),
            Self::Command(_) => format!("to `{}`", self.question()),
        }
    }
}

/// A health check over HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpCheck {
    /// The address at which the host reaches the service.
    pub at: SocketAddr,
    /// Path, beginning with `/`.
    pub path: String,
    /// The codes that mean healthy.
    pub expected: StatusRange,
}

impl HttpCheck {
    /// The URL that the check requests.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}{}", self.at, self.path)
    }
}

/// Failed checks in a row that a service may have after its start, if it sets no number; compose
/// and podman have the same default.
const RETRIES: u32 = 3;

impl HealthTiming {
    /// The times of a service's check.
    #[must_use]
    pub fn of(service: &Service) -> Self {
        service.health.as_ref().map(|health| health.times).unwrap_or_default()
    }

    /// Time limit of one check; `of_all` is the one for all services.
    #[must_use]
    pub fn timeout_or(&self, of_all: Duration) -> Duration {
        self.timeout.map_or(of_all, Period::get)
    }

    /// Time between two checks; `of_all` is the one for all services.
    #[must_use]
    pub fn interval_or(&self, of_all: Duration) -> Duration {
        self.interval.map_or(of_all, Period::get)
    }

    /// Time that a service has to become healthy: `of_all`, or its start period and its failing
    /// checks if they take longer.
    #[must_use]
    pub fn startup_limit(&self, of_all: Duration, interval_of_all: Duration) -> Duration {
        if self.start_period.is_none() && self.retries.is_none() {
            return of_all;
        }
        let start = self.start_period.map_or(Duration::ZERO, Period::get);
        of_all.max(start + self.interval_or(interval_of_all) * self.retries.unwrap_or(RETRIES))
    }
}

/// A service's answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status; `None` for a command.
    pub code: Option<u16>,
    /// Whether it means that the service is well.
    pub healthy: bool,
    /// How long it took.
    pub latency: Duration,
}

impl Answer {
    /// The service's answer, for a sentence.
    #[must_use]
    pub fn describe(&self) -> String {
        match self.code {
            Some(code) => format!("HTTP {code}"),
            None if self.healthy => "healthy".to_owned(),
            None => "the command failed".to_owned(),
        }
    }
}

/// Asks a service once, over HTTP or by the command of its container. The error says why there was
/// no answer.
pub async fn ask_health(
    podman: &impl Podman,
    container: &str,
    check: &HealthCheck,
    timeout: Duration,
) -> Result<Answer, String> {
    match check {
        HealthCheck::Http(check) => probe(check, timeout).await,
        HealthCheck::Command(_) => {
            let start = Instant::now();
            let healthy = podman.check_health(container).await.map_err(|error| error.message())?;
            Ok(Answer { code: None, healthy, latency: start.elapsed() })
        }
    }
}

/// Asks over HTTP once. The error says why there was no answer.
async fn probe(check: &HttpCheck, timeout: Duration) -> Result<Answer, String> {
    let start = Instant::now();
    match tokio::time::timeout(timeout, ask(check)).await {
        Ok(Ok(code)) => {
            Ok(Answer { code: Some(code), healthy: check.expected.contains(code), latency: start.elapsed() })
        }
        Ok(Err(error)) => Err(innermost(&*error)),
        Err(_) => Err(format!("no answer within {:.1} s", timeout.as_secs_f64())),
    }
}

async fn ask(check: &HttpCheck) -> Result<u16, Box<dyn std::error::Error + Send + Sync>> {
    let stream = TcpStream::connect(check.at).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let request = Request::get(&check.path)
        .header(header::HOST, check.at.to_string())
        .header(header::USER_AGENT, concat!("airpods/", env!("CARGO_PKG_VERSION")))
        .body(Empty::<Bytes>::new())?;
    Ok(sender.send_request(request).await?.status().as_u16())
}

/// The cause at the bottom, which names the trouble: "connection refused" rather than "error trying
/// to connect".
fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let mut error = error;
    while let Some(cause) = error.source() {
        error = cause;
    }
    error.to_string()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_service_has_the_global_startup_limit_or_its_own_longer_one() {
        let seconds = Duration::from_secs;
        let limit = |times: HealthTiming| times.startup_limit(seconds(60), seconds(2)).as_secs();
        let period = |text: &str| Some(text.parse().unwrap());
        assert_eq!(limit(HealthTiming { interval: period("30s"), ..HealthTiming::default() }), 60);
        assert_eq!(limit(HealthTiming { start_period: period("5m"), ..HealthTiming::default() }), 306);
        assert_eq!(limit(HealthTiming { retries: Some(5), interval: period("30s"), ..HealthTiming::default() }), 150);
        assert_eq!(limit(HealthTiming { retries: Some(1), ..HealthTiming::default() }), 60);
    }
}
