//! The kernel's sockets as a [`Transport`]: non-blocking, polled every few milliseconds. Also what
//! the kernel reports about a connection (`TCP_INFO`).

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{
    AddressFamily, GetSockOpt, SockFlag, SockType, SockaddrStorage, connect, setsockopt, socket, sockopt,
};
use rustix::net::sockopt::{Ipv4PathMtuDiscovery, set_ip_mtu_discover, set_socket_linger};

use super::exchange::{Moment, Observation, Opening, fixed_headers};
use super::run::Transport;

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
        let connected = socket.info.state >= ESTABLISHED && socket.info.state != SYN_SENT;
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

/// The option `TCP_INFO` (tcp(7)), read as [`Raw`].
#[derive(Clone, Copy)]
struct Info;

nix::getsockopt_impl!(Info, libc::IPPROTO_TCP, libc::TCP_INFO, Raw, sockopt::GetStruct<Raw>);

/// `struct tcp_info` of `linux/tcp.h`, up to `tcpi_snd_wnd`: its length in Linux 5.4. Every later
/// kernel fills this much, even if its own structure is longer. nix panics if the kernel fills less
/// than the whole, as an older one would with libc's newer structure.
#[repr(C)]
#[derive(Clone, Copy)]
struct Raw {
    state: u8,
    ca_state: u8,
    retransmits: u8,
    probes: u8,
    backoff: u8,
    options: u8,
    window_scales: u8,
    flags: u8,
    rto: u32,
    ato: u32,
    snd_mss: u32,
    rcv_mss: u32,
    unacked: u32,
    sacked: u32,
    lost: u32,
    retrans: u32,
    fackets: u32,
    last_data_sent: u32,
    last_ack_sent: u32,
    last_data_recv: u32,
    last_ack_recv: u32,
    pmtu: u32,
    rcv_ssthresh: u32,
    rtt: u32,
    rttvar: u32,
    snd_ssthresh: u32,
    snd_cwnd: u32,
    advmss: u32,
    reordering: u32,
    rcv_rtt: u32,
    rcv_space: u32,
    total_retrans: u32,
    pacing_rate: u64,
    max_pacing_rate: u64,
    bytes_acked: u64,
    bytes_received: u64,
    segs_out: u32,
    segs_in: u32,
    notsent_bytes: u32,
    min_rtt: u32,
    data_segs_in: u32,
    data_segs_out: u32,
    delivery_rate: u64,
    busy_time: u64,
    rwnd_limited: u64,
    sndbuf_limited: u64,
    delivered: u32,
    delivered_ce: u32,
    bytes_sent: u64,
    bytes_retrans: u64,
    dsack_dups: u32,
    reord_seen: u32,
    rcv_ooopack: u32,
    snd_wnd: u32,
}

const _: () = assert!(size_of::<Raw>() == 232);

/// `TCPI_OPT_TIMESTAMPS` and `TCPI_OPT_SACK` of `linux/tcp.h`.
pub(super) const TIMESTAMPS: u8 = 1;
pub(super) const SACK: u8 = 2;

/// `TCP_ESTABLISHED`, `TCP_SYN_SENT`, `TCP_CLOSE` of `net/tcp_states.h`.
pub(super) const ESTABLISHED: u8 = 1;
pub(super) const SYN_SENT: u8 = 2;
pub(super) const CLOSED: u8 = 7;

/// The fields that measuring needs. Sizes are in bytes, times in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct TcpInfo {
    /// `ESTABLISHED` and so on.
    pub(super) state: u8,
    /// Timer retransmissions in a row of the segment at the head of the queue.
    pub(super) retransmits: u8,
    /// `TIMESTAMPS` and `SACK`.
    pub(super) options: u8,
    /// The largest payload of a segment that we send, without the room that timestamps take.
    pub(super) snd_mss: u32,
    /// The largest payload of a segment that has arrived; a guess of at most 536 before one has.
    pub(super) rcv_mss: u32,
    /// Segments that are sent and not acknowledged.
    pub(super) unacked: u32,
    /// Segments among them that the peer has acknowledged by SACK.
    pub(super) sacked: u32,
    /// The path MTU that the kernel uses.
    pub(super) pmtu: u32,
    /// The smoothed round trip.
    pub(super) rtt: u32,
    /// The congestion window, in segments.
    pub(super) snd_cwnd: u32,
    /// The MSS that our SYN announced, without the room that timestamps take.
    pub(super) advmss: u32,
    /// Retransmitted segments.
    pub(super) total_retrans: u32,
    /// Bytes that the peer has acknowledged.
    pub(super) bytes_acked: u64,
    /// Bytes that are written but not sent.
    pub(super) notsent: u32,
    /// The shortest round trip; `u32::MAX` before there is one.
    pub(super) min_rtt: u32,
    /// Segments with data that have arrived.
    pub(super) data_segs_in: u32,
    /// Segments with data that were sent.
    pub(super) data_segs_out: u32,
    /// Segments that arrived out of order, before a missing one.
    pub(super) rcv_ooopack: u32,
    /// Segments that the peer got twice.
    pub(super) dsack_dups: u32,
    /// How often a segment of ours overtook another.
    pub(super) reord_seen: u32,
}

impl TcpInfo {
    /// Reads it from a socket.
    pub(super) fn of(socket: &impl AsFd) -> nix::Result<Self> {
        Info.get(socket).map(|raw| Self {
            state: raw.state,
            retransmits: raw.retransmits,
            options: raw.options,
            snd_mss: raw.snd_mss,
            rcv_mss: raw.rcv_mss,
            unacked: raw.unacked,
            sacked: raw.sacked,
            pmtu: raw.pmtu,
            rtt: raw.rtt,
            snd_cwnd: raw.snd_cwnd,
            advmss: raw.advmss,
            total_retrans: raw.total_retrans,
            bytes_acked: raw.bytes_acked,
            notsent: raw.notsent_bytes,
            min_rtt: raw.min_rtt,
            data_segs_in: raw.data_segs_in,
            data_segs_out: raw.data_segs_out,
            rcv_ooopack: raw.rcv_ooopack,
            dsack_dups: raw.dsack_dups,
            reord_seen: raw.reord_seen,
        })
    }

    /// Whether both ends put timestamps into every segment, which takes 12 bytes of its room.
    pub(super) fn has_timestamps(&self) -> bool {
        self.options & TIMESTAMPS != 0
    }

    /// Whether the peer sends SACK blocks.
    pub(super) fn has_sack(&self) -> bool {
        self.options & SACK != 0
    }
}
