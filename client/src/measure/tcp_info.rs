//! The kernel's information about a connection: `TCP_INFO`.

use std::os::fd::AsFd;

use nix::libc;
use nix::sys::socket::GetSockOpt;

/// The option `TCP_INFO` (tcp(7)), read as [`Raw`].
#[derive(Clone, Copy)]
struct Info;

nix::getsockopt_impl!(Info, libc::IPPROTO_TCP, libc::TCP_INFO, Raw, nix::sys::socket::sockopt::GetStruct<Raw>);

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
