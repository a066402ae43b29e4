//! HTTP over podman's socket: one connection per call, which costs 0.1 ms and needs no state.

use std::path::{Path, PathBuf};

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::{Method, Request, Response, StatusCode, header};
use hyper_util::rt::TokioIo;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::net::UnixStream;

use crate::podman::{PodmanError, Result};

/// The version of the API asked for. podman serves requests for 4.0.0 in all of 4.x and 5.x.
const API: &str = "/v4.0.0/libpod";

/// What may stand in a path as it is; image names hold `/` and `:`.
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

/// The user who listens on a socket, podman or the systemd that starts it.
pub(super) async fn listener(socket: &Path) -> Result<u32> {
    let stream = UnixStream::connect(socket).await.map_err(broken)?;
    Ok(stream.peer_cred().map_err(broken)?.uid())
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
        let stream = UnixStream::connect(&self.socket).await.map_err(broken)?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        tokio::spawn(connection);
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
        let response = sender.send_request(request).await.map_err(broken)?;
        // 304 says that a container already is as asked: started, or stopped.
        if response.status().is_success() || response.status() == StatusCode::NOT_MODIFIED {
            return Ok(response);
        }
        let status = response.status().as_u16();
        let body = whole(response).await?;
        let message = match serde_json::from_slice::<Refusal>(&body) {
            Ok(refusal) => refusal.message,
            Err(_) => String::from_utf8_lossy(&body).trim().to_owned(),
        };
        Err(PodmanError::Refused { status, message })
    }

    /// Reads one value.
    pub(super) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        let response = self.send::<()>(Method::GET, path, None).await?;
        let body = whole(response).await?;
        serde_json::from_slice(&body).map_err(|source| PodmanError::Answer { what: path.to_owned(), source })
    }

    /// Sends a value and reads the answer to its end.
    pub(super) async fn post<B: Serialize>(&self, path: &str, body: Option<&B>) -> Result<Bytes> {
        whole(self.send(Method::POST, path, body).await?).await
    }

    /// Removes something.
    pub(super) async fn delete(&self, path: &str) -> Result<Bytes> {
        whole(self.send::<()>(Method::DELETE, path, None).await?).await
    }
}

/// An answer to its end.
pub(super) async fn whole(response: Response<Incoming>) -> Result<Bytes> {
    Ok(response.into_body().collect().await.map_err(broken)?.to_bytes())
}

/// The next piece of an answer that comes in pieces.
pub(super) async fn next(response: &mut Response<Incoming>) -> Result<Option<Bytes>> {
    loop {
        match response.frame().await {
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

/// Anything that breaks a connection.
fn broken(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> PodmanError {
    PodmanError::Connection(error.into())
}
