//! The kernel's sockets as a [`Transport`]: non-blocking, polled every few milliseconds.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrStorage, connect, setsockopt, socket, sockopt};
use rustix::net::sockopt::{Ipv4PathMtuDiscovery, set_ip_mtu_discover, set_socket_linger};

use super::exchange::{Moment, Observation, Opening, fixed_headers};
use super::run::Transport;
use super::tcp_info::{CLOSED, ESTABLISHED, TcpInfo};

/// The largest MSS that the kernel accepts (`MAX_TCP_WINDOW` of `net/tcp.h`), which means no bound.
const MAX_MSS: u32 = 32767;

/// The smallest MSS that the kernel accepts (`TCP_MIN_MSS` of `net/tcp.h`).
const MIN_MSS: u16 = 88;

/// Time between two polls. A train takes 3 ms for each packet, and polling ten connections takes
/// 0.1 ms.
const INTERVAL: Duration = Duration::from_millis(2);

/// Sockets to one address.
pub(super) struct Sockets<'a> {
    to: SocketAddr,
    begun: Instant,
    /// Set when the check has to end.
    stop: &'a AtomicBool,
    /// When the last poll was due, and by how much polls have recently been late.
    due: Instant,
    late: Duration,
}

impl<'a> Sockets<'a> {
    pub(super) fn new(to: SocketAddr, begun: Instant, stop: &'a AtomicBool) -> Self {
        Self { to, begun, stop, due: Instant::now(), late: Duration::ZERO }
    }

    fn try_open(&self, opening: Opening) -> nix::Result<TcpStream> {
        let family = if self.to.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        let fd: OwnedFd = socket(family, SockType::Stream, flags, None)?;
        let segment = |size: u16| u32::from(size.saturating_sub(fixed_headers(self.to.is_ipv6())).max(MIN_MSS));
        if let Some(size) = opening.announced {
            setsockopt(&fd, sockopt::TcpNoDelay, &true)?;
            setsockopt(&fd, sockopt::TcpMaxSeg, &segment(size))?;
            if self.to.is_ipv4() {
                // DF regardless of `net.ipv4.ip_no_pmtu_disc`: a packet that may be fragmented on
                // its way proves nothing.
                set_ip_mtu_discover(&fd, Ipv4PathMtuDiscovery::DO).map_err(errno)?;
            }
        }
        match connect(std::os::fd::AsRawFd::as_raw_fd(&fd), &SockaddrStorage::from(self.to)) {
            Ok(()) | Err(Errno::EINPROGRESS) => {}
            Err(errno) => return Err(errno),
        }
        if opening.announced.is_some() {
            // The SYN is out with the first value. The kernel reads this one when the SYN-ACK
            // arrives, and it bounds what we send.
            let bound = opening.sent.map_or(MAX_MSS, segment);
            setsockopt(&fd, sockopt::TcpMaxSeg, &bound)?;
        }
        Ok(TcpStream::from(fd))
    }
}

fn errno(error: rustix::io::Errno) -> Errno {
    Errno::from_raw(error.raw_os_error())
}

/// A connection.
pub(super) struct Socket {
    stream: TcpStream,
    info: TcpInfo,
    error: Option<Errno>,
}

impl Transport for Sockets<'_> {
    type Socket = Socket;

    fn now(&self) -> Moment {
        self.begun.elapsed()
    }

    fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn pause(&mut self) {
        self.due = Instant::now() + INTERVAL;
        std::thread::sleep(INTERVAL);
        let late = self.due.elapsed();
        // A machine that was slow once is often slow again: the value decays by half in some 50
        // polls.
        self.late = late.max(self.late.saturating_sub(self.late / 64));
    }

    fn open(&mut self, opening: Opening) -> Result<Socket, Errno> {
        let stream = self.try_open(opening)?;
        Ok(Socket { stream, info: TcpInfo::default(), error: None })
    }

    fn observe(&mut self, socket: &mut Socket, received: &mut Vec<u8>) -> Observation {
        // Data is read first, so that `TCP_INFO` is no older than the data.
        let mut closed = false;
        let connected = socket.info.state >= ESTABLISHED && socket.info.state != super::tcp_info::SYN_SENT;
        if connected && socket.error.is_none() {
            closed = read(socket, received);
        }
        match TcpInfo::of(&socket.stream) {
            Ok(info) => socket.info = info,
            Err(errno) => socket.error = socket.error.or(Some(errno)),
        }
        if socket.error.is_none() {
            let pending = socket.stream.take_error().ok().flatten().and_then(|error| error.raw_os_error());
            socket.error = pending.map(Errno::from_raw);
        }
        if socket.error.is_none() && socket.info.state == CLOSED {
            socket.error = Some(Errno::ECONNRESET);
        }
        Observation { now: self.now(), info: socket.info, error: socket.error, closed, slack: self.late * 4 }
    }

    fn send(&mut self, socket: &mut Socket, bytes: &[u8]) -> Result<(), Errno> {
        match socket.stream.write(bytes) {
            Ok(written) if written == bytes.len() => Ok(()),
            Ok(_) => Err(Errno::ENOBUFS),
            Err(error) => Err(error.raw_os_error().map_or(Errno::EIO, Errno::from_raw)),
        }
    }

    fn reset(&mut self, socket: Socket) {
        // Zero linger makes the close a reset (socket(7), `SO_LINGER`). Otherwise the kernel would
        // go on sending what is queued.
        let _ = set_socket_linger(&socket.stream, Some(Duration::ZERO));
    }
}

/// Reads everything that has arrived. `true` if the server has sent a FIN.
fn read(socket: &mut Socket, received: &mut Vec<u8>) -> bool {
    let mut buffer = [0; 16 << 10];
    loop {
        match socket.stream.read(&mut buffer) {
            Ok(0) => return true,
            Ok(length) => received.extend_from_slice(buffer.get(..length).unwrap_or_default()),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => {
                socket.error = Some(error.raw_os_error().map_or(Errno::EIO, Errno::from_raw));
                return false;
            }
        }
    }
}
