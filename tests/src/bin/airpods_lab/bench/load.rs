//! The load at the two ends of a router: as many connections and bytes as pass.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use clap::Subcommand;
use nix::libc::linger;
use nix::sys::socket::{setsockopt, sockopt};

use super::{BenchError, Result};

/// Bytes of one write: as many as a socket's buffer accepts at once.
const CHUNK: usize = 1 << 17;

/// The far end's first byte once it has accepted a connection.
const GREETING: [u8; 1] = *b"!";

/// One end of the load.
#[derive(Clone, Copy, Debug, Subcommand)]
pub(crate) enum End {
    /// Accepts connections and reads what comes until it is killed
    Serve {
        /// Where to listen
        at: SocketAddr,
    },
    /// Opens connections, each until it is accepted, and prints how many it opened in a second
    Connect {
        /// Whom to connect to
        to: SocketAddr,
        /// For how long
        milliseconds: u64,
    },
    /// Sends over one connection, and prints how many megabytes (10^6 bytes) arrived in a second
    Send {
        /// Whom to send to
        to: SocketAddr,
        /// For how long
        milliseconds: u64,
    },
}

fn io(doing: &'static str) -> impl Fn(std::io::Error) -> BenchError {
    move |source| BenchError::Io { doing, source }
}

/// Runs one end.
///
/// # Errors
/// When the other end cannot be reached.
pub(crate) fn load(end: End) -> Result<()> {
    match end {
        End::Serve { at } => serve(at),
        End::Connect { to, milliseconds } => {
            println!("{:.0}", connect(to, Duration::from_millis(milliseconds))?);
            Ok(())
        }
        End::Send { to, milliseconds } => {
            println!("{:.0}", send(to, Duration::from_millis(milliseconds))? / 1e6);
            Ok(())
        }
    }
}

fn serve(at: SocketAddr) -> Result<()> {
    let listener = TcpListener::bind(at).map_err(io("listen"))?;
    println!("ready");
    for stream in listener.incoming() {
        let mut stream = stream.map_err(io("accept"))?;
        let mut first = [0];
        // A client that only connects resets the connection. A client that sends is read in a
        // thread of its own.
        let greeted = stream.write_all(&GREETING);
        if greeted.and_then(|()| stream.read(&mut first)).is_ok_and(|length| length == 1) {
            thread::spawn(move || drain(stream));
        }
    }
    Ok(())
}

/// Reads to the end, then reports the number of bytes.
fn drain(mut stream: TcpStream) {
    let mut buffer = vec![0; CHUNK];
    let mut bytes: u64 = 0;
    while let Ok(length @ 1..) = stream.read(&mut buffer) {
        bytes += length as u64;
    }
    let _ = stream.write_all(&bytes.to_be_bytes());
}

/// Connects, and waits until the far end has accepted. If connections came faster than they are
/// accepted, the kernel would drop a SYN. The result would then only show the second until its
/// retransmission.
fn accepted(to: SocketAddr) -> Result<TcpStream> {
    let mut stream = TcpStream::connect(to).map_err(io("connect"))?;
    stream.read_exact(&mut [0; GREETING.len()]).map_err(io("read the greeting"))?;
    Ok(stream)
}

/// Connections in a second.
fn connect(to: SocketAddr, time: Duration) -> Result<f64> {
    let begin = Instant::now();
    let mut opened = 0_u32;
    while begin.elapsed() < time {
        let stream = accepted(to)?;
        // A reset leaves no port in TIME_WAIT; there are too few ports for that.
        let reset = linger { l_onoff: 1, l_linger: 0 };
        setsockopt(&stream, sockopt::Linger, &reset).map_err(|errno| io("set SO_LINGER")(errno.into()))?;
        opened += 1;
    }
    Ok(f64::from(opened) / begin.elapsed().as_secs_f64())
}

/// Bytes in a second, as the other end counts them.
fn send(to: SocketAddr, time: Duration) -> Result<f64> {
    let mut stream = accepted(to)?;
    let chunk = vec![0; CHUNK];
    let begin = Instant::now();
    while begin.elapsed() < time {
        stream.write_all(&chunk).map_err(io("send"))?;
    }
    stream.shutdown(std::net::Shutdown::Write).map_err(io("end the sending"))?;
    let mut count = [0; 8];
    stream.read_exact(&mut count).map_err(io("read what arrived"))?;
    #[allow(clippy::cast_precision_loss)]
    let bytes = u64::from_be_bytes(count) as f64;
    Ok(bytes / begin.elapsed().as_secs_f64())
}
