//! Asks a service over HTTP how it is.

use std::time::{Duration, Instant};

use http_body_util::Empty;
use hyper::body::Bytes;
use hyper::{Request, header};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::plan::{HealthCheck, HttpCheck};
use crate::podman::Podman;

/// A service's answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status; none of a command.
    pub code: Option<u16>,
    /// Whether it means that the service is well.
    pub healthy: bool,
    /// How long it took.
    pub latency: Duration,
}

impl Answer {
    /// The service's answer, for a sentence.
    #[must_use]
    pub fn told(&self) -> String {
        match self.code {
            Some(code) => format!("HTTP {code}"),
            None if self.healthy => "healthy".to_owned(),
            None => "the command failed".to_owned(),
        }
    }
}

/// Asks a service once, over HTTP or by the command of its container. The error says why there was no answer.
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

/// Asks once. The error says why there was no answer.
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

/// The cause at the bottom, which names the trouble: "connection refused" rather than "error trying to connect".
fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let mut error = error;
    while let Some(cause) = error.source() {
        error = cause;
    }
    error.to_string()
}
