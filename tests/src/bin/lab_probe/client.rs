//! The client: sends one request, checks the answer, and gives up when nothing moves any more.
//! Silence marks a black hole: a slow machine is slow, but not silent.

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use http::Uri;
use nix::sys::socket::{setsockopt, sockopt::SndBuf};
use rustls::pki_types::ServerName;
use rustls::{ClientConnection, StreamOwned};

use crate::Result;
use crate::server::{digest, payload};
use crate::tls::{Hello, client_config};

#[derive(clap::Args)]
pub(crate) struct Request {
    url: Uri,
    /// The certificate authority to trust
    #[arg(long, default_value = "/etc/lab/ca.pem")]
    ca: PathBuf,
    /// Seconds without progress after which to give up
    #[arg(long, default_value_t = 5.0)]
    timeout: f64,
    /// The size of the TLS hello
    #[arg(long, value_enum, default_value = "big")]
    hello: Hello,
    /// Print the body instead of a report
    #[arg(long)]
    body: bool,
    /// Report in words instead of JSON
    #[arg(long)]
    words: bool,
}

struct Answer {
    status: u16,
    sha256: Option<String>,
    body: Vec<u8>,
}

pub(crate) fn get(request: &Request) -> Result<()> {
    let start = Instant::now();
    let answer = exchange(request, "GET", &[])?;
    if request.body {
        return Ok(io::stdout().write_all(&answer.body)?);
    }
    let sum = digest(&answer.body);
    if answer.sha256.as_ref().is_some_and(|expected| *expected != sum) {
        return Err("the download is damaged".into());
    }
    report(request, &answer, answer.body.len(), &sum, start);
    Ok(())
}

pub(crate) fn put(request: &Request, bytes: usize) -> Result<()> {
    let start = Instant::now();
    let body = payload(bytes);
    let answer = exchange(request, "PUT", &body)?;
    let sum = digest(&body);
    if answer.body != sum.as_bytes() {
        return Err("the upload arrived damaged".into());
    }
    report(request, &answer, bytes, &sum, start);
    Ok(())
}

fn report(request: &Request, answer: &Answer, bytes: usize, sha256: &str, start: Instant) {
    let seconds = start.elapsed().as_secs_f64();
    if request.words {
        println!("all {bytes} bytes in {seconds:.2} s, and the SHA-256 is right: {}…", &sha256[..16]);
        return;
    }
    let status = answer.status;
    println!("{}", serde_json::json!({ "status": status, "bytes": bytes, "sha256": sha256, "seconds": seconds }));
}

/// The kernel's send buffer for an upload, in bytes. It is small so that the program notices
/// progress.
const SEND_BUFFER: usize = 64 << 10;

fn connect(address: &SocketAddr, timeout: Duration) -> io::Result<TimeoutStream> {
    let stream = TcpStream::connect_timeout(address, timeout)?;
    setsockopt(&stream, SndBuf, &SEND_BUFFER)?;
    stream.set_read_timeout(Some(timeout))?;
    stream.set_write_timeout(Some(timeout))?;
    Ok(TimeoutStream(stream))
}

/// A socket with timeouts, which it reports as `TimedOut`.
struct TimeoutStream(TcpStream);

impl Read for TimeoutStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer).map_err(readable)
    }
}

impl Write for TimeoutStream {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.0.write(buffer).map_err(readable)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// The kernel reports a socket's timeout as `EAGAIN`.
fn readable(error: io::Error) -> io::Error {
    if error.kind() == io::ErrorKind::WouldBlock { io::Error::new(io::ErrorKind::TimedOut, "timed out") } else { error }
}

fn exchange(request: &Request, method: &str, body: &[u8]) -> Result<Answer> {
    let timeout = Duration::try_from_secs_f64(request.timeout)?;
    let host = request.url.host().ok_or("the URL names no host")?;
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let secure = request.url.scheme_str() == Some("https");
    let port = request.url.port_u16().unwrap_or(if secure { 443 } else { 80 });
    let address = (bare, port)
        .to_socket_addrs()
        .map_err(|error| format!("cannot resolve `{bare}`: {error}"))?
        .next()
        .ok_or_else(|| format!("`{bare}` has no address"))?;
    let stream = connect(&address, timeout).map_err(|error| format!("cannot connect to {address}: {error}"))?;
    let path = request.url.path_and_query().map_or("/", |path| path.as_str());
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    if !secure {
        return converse(stream, &head, body);
    }
    let name = match bare.parse::<IpAddr>() {
        Ok(address) => ServerName::IpAddress(address.into()),
        Err(_) => ServerName::try_from(bare.to_owned())?,
    };
    let mut stream = StreamOwned::new(ClientConnection::new(client_config(&request.ca, request.hello)?, name)?, stream);
    while stream.conn.is_handshaking() {
        stream.conn.complete_io(&mut stream.sock).map_err(|error| format!("TLS handshake, 0 bytes so far: {error}"))?;
    }
    converse(stream, &head, body)
}

fn converse(mut stream: impl Read + Write, head: &str, body: &[u8]) -> Result<Answer> {
    stream
        .write_all(head.as_bytes())
        .and_then(|()| stream.write_all(body))
        .and_then(|()| stream.flush())
        .map_err(|error| format!("sending: {error}"))?;
    let mut bytes = Vec::new();
    let mut chunk = vec![0; 64 << 10];
    loop {
        if let Some(answer) = parse(&bytes)? {
            return Ok(answer);
        }
        match stream.read(&mut chunk) {
            Ok(0) => return Err("the answer ended early".into()),
            Ok(size) => bytes.extend_from_slice(&chunk[..size]),
            Err(error) => return Err(format!("receiving, {} bytes so far: {error}", bytes.len()).into()),
        }
    }
}

/// Parses the answer; `None` while it is incomplete.
fn parse(bytes: &[u8]) -> Result<Option<Answer>> {
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut parsed = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(start) = parsed.parse(bytes)? else { return Ok(None) };
    let body = &bytes[start..];
    let length = content_length(parsed.headers).ok_or("the answer has no length")?;
    let sha256 = header(parsed.headers, "x-sha256");
    let status = parsed.code.unwrap_or_default();
    Ok((body.len() >= length).then(|| Answer { status, sha256, body: body[..length].to_vec() }))
}

pub(crate) fn content_length(headers: &[httparse::Header]) -> Option<usize> {
    header(headers, "content-length")?.parse().ok()
}

fn header(headers: &[httparse::Header], name: &str) -> Option<String> {
    let found = headers.iter().find(|header| header.name.eq_ignore_ascii_case(name))?;
    String::from_utf8(found.value.to_vec()).ok()
}
