//! HTTP over podman's socket: one connection per call, which costs 0.1 ms and needs no state.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::{Method, Request, Response, StatusCode, header};
use hyper_util::rt::TokioIo;
use nix::unistd::Uid;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::net::UnixStream;

use crate::podman::{PodmanError, Result};

/// The version of the API asked for. podman serves requests for 4.0.0 in all of 4.x and 5.x.
const API: &str = "/v4.0.0/libpod";

/// The characters to escape in a path; image names hold `/` and `:`, which stay as they are.
const PATH: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~').remove(b'/').remove(b':');

/// A name as part of a path or of a query.
pub(super) fn escape(name: &str) -> String {
    utf8_percent_encode(name, PATH).to_string()
}

/// The other end of podman's socket.
#[derive(Debug, Clone)]
pub(super) struct Http {
    pub(super) socket: PathBuf,
}

/// podman's form of an error.
#[derive(Debug, Deserialize)]
struct Refusal {
    message: String,
}

/// The size limit of an answer in bytes. A listing has about 2 KiB for each container.
const LARGEST: usize = 64 << 20;

/// How long podman may take to answer a question. It usually takes milliseconds, but minutes to
/// measure a large storage on a slow disk.
pub(super) const READ: Duration = Duration::from_secs(5 * 60);

/// How long podman may take to change something. Each container of a pod may take up to five
/// minutes to stop.
const CHANGE_TIMEOUT: Duration = Duration::from_secs(30 * 60);

/// How long podman may be silent within a streamed answer. It unpacks an image layer in silence.
pub(super) const IDLE_TIMEOUT: Duration = Duration::from_secs(30 * 60);

/// Connects, and checks the listening process: podman, or the systemd that starts it, as this user
/// or as root. Another user's process would receive the secrets of a launch, such as the web UI's.
async fn connect(socket: &Path) -> Result<(UnixStream, Listener)> {
    let stream = UnixStream::connect(socket).await.map_err(broken)?;
    let peer = stream.peer_cred().map_err(broken)?;
    let (uid, shares_pids) = (peer.uid(), peer.pid().is_some_and(|pid| pid > 0));
    if is_trusted(uid, Uid::effective().as_raw()) {
        Ok((stream, Listener { uid, shares_pids }))
    } else {
        Err(PodmanError::ForeignListener { socket: socket.to_owned(), uid })
    }
}

/// Whether this user may trust the listening process.
fn is_trusted(listener: u32, own: u32) -> bool {
    listener == own || listener == 0
}

/// The listener on a socket.
#[derive(Debug, Clone, Copy)]
pub(super) struct Listener {
    pub(super) uid: u32,
    /// Whether it is in this process's pid namespace, so that its process ids are valid here. For a
    /// process of another namespace the kernel reports no pid (unix(7)).
    pub(super) shares_pids: bool,
}

/// Finds out which process listens on a socket.
pub(super) async fn listener(socket: &Path) -> Result<Listener> {
    connect(socket).await.map(|(_, listener)| listener)
}

/// The result of `work`, or an error after `limit`.
async fn within<T>(limit: Duration, what: &str, work: impl Future<Output = Result<T>>) -> Result<T> {
    let late = |_| PodmanError::Timeout { what: what.to_owned(), seconds: limit.as_secs() };
    tokio::time::timeout(limit, work).await.map_err(late)?
}

impl Http {
    /// Sends a request to libpod and checks the status of the answer.
    pub(super) async fn send<B: Serialize>(
        &self,
        method: Method,
        path: &str,
        body: Option<&B>,
    ) -> Result<Response<Incoming>> {
        self.send_raw(method, &format!("{API}{path}"), body).await
    }

    /// Sends a request to any path and checks the status of the answer.
    pub(super) async fn send_raw<B: Serialize>(
        &self,
        method: Method,
        path: &str,
        body: Option<&B>,
    ) -> Result<Response<Incoming>> {
        let (stream, _) = connect(&self.socket).await?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        // hyper needs the connection polled beside the request. The task ends with the connection.
        tokio::spawn(connection);
        let limit = if method == Method::GET { READ } else { CHANGE_TIMEOUT };
        let bytes = match body {
            Some(body) => {
                serde_json::to_vec(body).map_err(|source| PodmanError::Answer { what: path.into(), source })?
            }
            None => Vec::new(),
        };
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "podman")
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(bytes)))
            .map_err(broken)?;
        let answer = async { sender.send_request(request).await.map_err(broken) };
        let response = within(limit, path, answer).await?;
        // 304: the container already is in the requested state, started or stopped.
        if response.status().is_success() || response.status() == StatusCode::NOT_MODIFIED {
            return Ok(response);
        }
        let status = response.status().as_u16();
        let body = whole(path, response).await?;
        let message = match serde_json::from_slice::<Refusal>(&body) {
            Ok(refusal) => refusal.message,
            Err(_) => String::from_utf8_lossy(&body).trim().to_owned(),
        };
        Err(PodmanError::Refused { status, message })
    }

    /// Reads and parses one answer.
    pub(super) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        let response = self.send::<()>(Method::GET, path, None).await?;
        let body = whole(path, response).await?;
        serde_json::from_slice(&body).map_err(|source| PodmanError::Answer { what: path.to_owned(), source })
    }

    /// Sends a value and reads the answer to its end.
    pub(super) async fn post<B: Serialize>(&self, path: &str, body: Option<&B>) -> Result<Bytes> {
        whole(path, self.send(Method::POST, path, body).await?).await
    }

    /// Removes something.
    pub(super) async fn delete(&self, path: &str) -> Result<Bytes> {
        whole(path, self.send::<()>(Method::DELETE, path, None).await?).await
    }
}

/// Reads an answer to its end, with limits on size and time.
async fn whole(path: &str, response: Response<Incoming>) -> Result<Bytes> {
    let body = Limited::new(response.into_body(), LARGEST);
    let collected = async {
        match body.collect().await {
            Ok(body) => Ok(body.to_bytes()),
            Err(error) if error.is::<LengthLimitError>() => Err(PodmanError::AnswerTooLong { what: path.to_owned() }),
            Err(error) => Err(broken(error)),
        }
    };
    within(READ, path, collected).await
}

/// The next piece of a streamed answer.
///
/// `silence` is how long it may take. A followed log may be silent for ever.
pub(super) async fn next(what: &str, response: &mut Response<Incoming>, silence: Duration) -> Result<Option<Bytes>> {
    loop {
        let frame = within(silence, what, async { Ok(response.frame().await) }).await?;
        match frame {
            None => return Ok(None),
            Some(Err(error)) => return Err(broken(error)),
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    return Ok(Some(data));
                }
            }
        }
    }
}

/// The error of a broken connection.
fn broken(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> PodmanError {
    PodmanError::Connection(error.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_podman_that_does_not_answer_is_given_up_and_named_as_silent() {
        let waited = within(Duration::from_millis(1), "/info", std::future::pending::<Result<()>>()).await;
        assert!(matches!(waited, Err(PodmanError::Timeout { .. })), "{waited:?}");
    }

    #[test]
    fn only_this_user_and_root_may_listen_where_podman_is_expected() {
        for (listener, own, trusted) in [(1000, 1000, true), (0, 1000, true), (1001, 1000, false), (1000, 0, false)] {
            assert_eq!(is_trusted(listener, own), trusted, "{listener} for {own}");
        }
    }
}
