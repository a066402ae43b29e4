//! The fewest steps that bring the services up by podman's API. It starts podman's API service,
//! makes the network, and makes and starts the containers side by side, one call each. Nothing is
//! checked before or after.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use super::IMAGE;
use super::commands::SERVICES;
use crate::bench::{BenchError, Result, in_a_sandbox};

const SOCKET: &str = "/tmp/rest-minimum.sock";

/// Brings the services up.
///
/// # Errors
/// [`BenchError`], when podman refuses.
pub(crate) fn minimum() -> Result<()> {
    in_a_sandbox()?;
    let _service = Service::start(SOCKET)?;
    call("/networks/create", &json!({ "name": "bench", "driver": "bridge", "dns_enabled": true }))?;
    std::thread::scope(|scope| {
        let launches: Vec<_> = SERVICES.iter().map(|(name, port)| scope.spawn(move || launch(name, *port))).collect();
        launches.into_iter().try_for_each(|launch| launch.join().unwrap_or(Err(failed("a thread"))))
    })
}

fn launch(name: &str, port: u16) -> Result<()> {
    let container = json!({
        "name": name,
        "image": IMAGE,
        "command": ["serve-http", port.to_string()],
        "netns": { "nsmode": "bridge" },
        "Networks": { "bench": { "aliases": [name] } },
        "portmappings": [{ "host_port": port, "container_port": port }],
        "resource_limits": { "pids": { "limit": 2048 } },
        "restart_policy": "unless-stopped",
    });
    call("/containers/create", &container)?;
    call(&format!("/containers/{name}/start"), &Value::Null)
}

/// A `podman system service` that ends with its value.
pub(super) struct Service {
    process: Child,
    socket: &'static str,
}

impl Service {
    /// Starts it. It answers on `socket` when this returns.
    pub(super) fn start(socket: &'static str) -> Result<Self> {
        let mut podman = Command::new("podman");
        podman.args(["system", "service", "--time=0", &format!("unix://{socket}")]);
        let child = podman.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let process = child.map_err(|source| BenchError::Io { doing: "start podman", source })?;
        let service = Self { process, socket };
        while UnixStream::connect(socket).is_err() {
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(service)
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // Ignore the errors: the process is gone in either case.
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_file(Path::new(self.socket));
    }
}

fn call(path: &str, body: &Value) -> Result<()> {
    let io = |source| BenchError::Io { doing: "speak to podman", source };
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let mut stream = UnixStream::connect(SOCKET).map_err(io)?;
    let request = format!(
        "POST /v4.0.0/libpod{path} HTTP/1.1\r\nHost: podman\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).map_err(io)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).map_err(io)?;
    let status = answer.split(' ').nth(1).unwrap_or_default();
    if status.starts_with('2') {
        return Ok(());
    }
    eprintln!("{answer}");
    Err(failed(path))
}

fn failed(what: &str) -> BenchError {
    BenchError::Failed { line: format!("POST {what}") }
}
