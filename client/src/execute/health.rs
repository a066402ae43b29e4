//! Asks a service over HTTP how it is.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use http_body_util::Empty;
use hyper::body::Bytes;
use hyper::{Request, header};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::plan::HealthCheck;

/// What a service answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status.
    pub code: u16,
    /// How long it took.
    pub latency: Duration,
}

/// Asks once, on 127.0.0.1. The error says why there was no answer.
pub async fn probe(check: &HealthCheck, timeout: Duration) -> Result<Answer, String> {
    let start = Instant::now();
    match tokio::time::timeout(timeout, ask(check)).await {
        Ok(Ok(code)) => Ok(Answer { code, latency: start.elapsed() }),
        Ok(Err(error)) => Err(innermost(&*error)),
        Err(_) => Err(format!("no answer within {:.1} s", timeout.as_secs_f64())),
    }
}

async fn ask(check: &HealthCheck) -> Result<u16, Box<dyn std::error::Error + Send + Sync>> {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, check.port)).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let request = Request::get(&check.path)
        .header(header::HOST, format!("127.0.0.1:{}", check.port))
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
