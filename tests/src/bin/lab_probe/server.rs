//! The servers: a service for containers, and the HTTPS server of the internet. One thread and one
//! request per connection.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;

use rustls::{ServerConnection, StreamOwned};
use sha2::{Digest, Sha256};

use crate::Result;
use crate::tls::Authority;

/// The default size of a download: 1 MB.
const DOWNLOAD: usize = 1 << 20;
/// Upper bound on the head of a request, in bytes. The laboratory's requests are shorter.
const HEAD_LIMIT: u64 = 64 << 10;

pub(crate) fn serve_http(port: u16) -> Result<()> {
    let listener = listen(port)?;
    loop {
        let (stream, peer) = listener.accept()?;
        std::thread::spawn(move || answer(stream, peer));
    }
}

pub(crate) fn serve_https(port: u16, authority: &Authority, ca_out: &Path) -> Result<()> {
    std::fs::write(ca_out, authority.pem())?;
    let config = authority.server_config()?;
    let listener = listen(port)?;
    loop {
        let (stream, peer) = listener.accept()?;
        let connection = ServerConnection::new(Arc::clone(&config))?;
        std::thread::spawn(move || answer(StreamOwned::new(connection, stream), peer));
    }
}

/// Listens for both families on one socket, which is Linux's default, or for IPv4 alone if there is
/// no IPv6.
fn listen(port: u16) -> Result<TcpListener> {
    let listener = TcpListener::bind((std::net::Ipv6Addr::UNSPECIFIED, port))
        .or_else(|_| TcpListener::bind((std::net::Ipv4Addr::UNSPECIFIED, port)))?;
    println!("listening on {}", listener.local_addr()?);
    io::stdout().flush()?;
    Ok(listener)
}

fn answer(stream: impl Read + Write, peer: SocketAddr) {
    let mut stream = BufReader::new(stream);
    let outcome = read_request(&mut stream)
        .and_then(|request| {
            let (headers, body) = respond(&request, peer);
            let head =
                format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n{headers}\r\n", body.len());
            let out = stream.get_mut();
            out.write_all(head.as_bytes()).and_then(|()| out.write_all(&body)).and_then(|()| out.flush())?;
            Ok(format!("{} {}", request.method, request.target))
        })
        .unwrap_or_else(|error| format!("failed: {error}"));
    eprintln!("{peer} {outcome}");
}

struct Request {
    method: String,
    target: String,
    body: Vec<u8>,
}

fn read_request(stream: &mut impl BufRead) -> Result<Request> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if stream.by_ref().take(HEAD_LIMIT).read_until(b'\n', &mut head)? == 0 || head.len() as u64 > HEAD_LIMIT {
            return Err("the request ended early".into());
        }
    }
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut parsed = httparse::Request::new(&mut headers);
    parsed.parse(&head)?;
    let mut body = vec![0; crate::client::content_length(parsed.headers).unwrap_or(0)];
    stream.read_exact(&mut body)?;
    let text = |part: Option<&str>| part.unwrap_or_default().to_owned();
    Ok(Request { method: text(parsed.method), target: text(parsed.path), body })
}

/// Further header lines and the body.
fn respond(request: &Request, peer: SocketAddr) -> (String, Vec<u8>) {
    let (path, query) = request.target.split_once('?').unwrap_or((&request.target, ""));
    match path {
        "/download" => {
            let size = query.strip_prefix("bytes=").and_then(|size| size.parse().ok()).unwrap_or(DOWNLOAD);
            let body = payload(size);
            (format!("X-Sha256: {}\r\n", digest(&body)), body)
        }
        "/upload" => (String::new(), digest(&request.body).into_bytes()),
        "/whoami" => {
            let host = nix::unistd::gethostname().unwrap_or_default();
            (String::new(), format!("{} {}\n", host.display(), peer.ip().to_canonical()).into_bytes())
        }
        _ => (String::new(), b"ok\n".to_vec()),
    }
}

/// Bytes that no compression shortens much: a linear congruential generator's.
pub(crate) fn payload(size: usize) -> Vec<u8> {
    let mut state: u32 = 1;
    (0..size)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state.to_be_bytes()[0]
        })
        .collect()
}

/// SHA-256 in hexadecimal.
pub(crate) fn digest(bytes: &[u8]) -> String {
    format!("{:x}", Sha256::digest(bytes))
}
