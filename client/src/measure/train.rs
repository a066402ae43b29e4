//! The packets of a train: their content, and what is known about each.

use std::time::Duration;

use super::socket::TcpInfo;

/// The TLS record that the train consists of. The server sees only its beginning, since it is never
/// completed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Record {
    /// Encrypted data after a hello, 16,640 bytes: the most that a record may have (RFC 8446,
    /// section 5.2).
    Data,
    /// A `ClientHello` of 16,384 bytes, for servers that do not accept encrypted data.
    Hello,
}

impl Record {
    fn beginning(self) -> &'static [u8] {
        match self {
            Self::Data => &[0x17, 3, 3, 0x41, 0],
            Self::Hello => &[0x16, 3, 1, 0x40, 0, 1, 0, 0x3f, 0xfc],
        }
    }
}

/// A train on its way.
#[derive(Clone, Debug)]
pub(super) struct Train {
    pub(super) sizes: Vec<u16>,
    /// The end of each packet, counted in bytes from the train's beginning; the two small ones
    /// last.
    pub(super) ends: Vec<u64>,
    pub(super) chunks: Vec<Vec<u8>>,
    /// Whether each write left as one packet.
    pub(super) whole: Vec<bool>,
    pub(super) sent: usize,
    pub(super) sent_at: Duration,
    /// `data_segs_out` and `total_retrans` before the latest write, until its packet is counted.
    pub(super) uncounted: Option<(u32, u32)>,
    pub(super) acked_before: u64,
    /// `total_retrans` before the train.
    pub(super) sent_again_before: u32,
    /// The smallest packet that the kernel's path MTU and segment size have allowed since the train
    /// began.
    pub(super) ceiling: u16,
    pub(super) proven: Option<u16>,
    /// `rcv_ooopack` before the train.
    pub(super) early_before: u32,
    /// Our packets may carry SACK blocks. A small one is then larger than planned, and a full one
    /// is cut, so a missing packet refutes no size.
    pub(super) may_carry_sack: bool,
    pub(super) head: Head,
}

/// The state of the packet at the head of the queue.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Head {
    pub(super) acked: u64,
    pub(super) sent_again_before: u32,
    pub(super) sent_again_at: Option<Duration>,
    pub(super) twice_by_timer_at: Option<Duration>,
}

/// The two small packets behind the train, in bytes of payload.
const SMALL_PACKETS: [usize; 2] = [61, 67];

/// Time between two packets of a train: a policer would treat a shorter one as a burst.
const PACKET_INTERVAL: Duration = Duration::from_millis(3);

impl Train {
    /// A train of packets of these sizes; `headers` bytes of each are headers.
    pub(super) fn new(sizes: Vec<u16>, headers: u16, record: Record, now: Duration) -> Self {
        let lengths = sizes.iter().map(|size| usize::from(size.saturating_sub(headers))).chain(SMALL_PACKETS);
        let mut beginning = record.beginning();
        let chunks: Vec<Vec<u8>> = lengths
            .map(|length| {
                let mut chunk = vec![0; length];
                fastrand::fill(&mut chunk);
                let marked = beginning.len().min(length);
                chunk.splice(..marked, std::mem::take(&mut beginning).iter().copied().take(marked));
                chunk
            })
            .collect();
        let ends = chunks.iter().scan(0, |end, chunk| {
            *end += chunk.len() as u64;
            Some(*end)
        });
        Self {
            ends: ends.collect(),
            whole: vec![false; chunks.len()],
            sizes,
            chunks,
            sent: 0,
            sent_at: now,
            uncounted: None,
            acked_before: 0,
            sent_again_before: 0,
            ceiling: 0,
            proven: None,
            early_before: 0,
            may_carry_sack: false,
            head: Head::default(),
        }
    }

    /// Notes whether the latest write left as exactly one packet.
    pub(super) fn count(&mut self, segments: u32, again: u32, unsent: u32) {
        if let Some((segments_before, again_before)) = self.uncounted.filter(|_| unsent == 0) {
            let new = segments.wrapping_sub(segments_before).wrapping_sub(again.wrapping_sub(again_before));
            if let Some(whole) = self.sent.checked_sub(1).and_then(|last| self.whole.get_mut(last)) {
                *whole = new == 1;
            }
            self.uncounted = None;
        }
    }

    /// Proves the largest size that arrived and left whole, while the kernel allowed packets of
    /// that size.
    ///
    /// The kernel cuts a retransmitted packet if ours carry SACK blocks by then
    /// (`tcp_current_mss`). So after a retransmission, if anything arrived out of order, nothing
    /// more is proven.
    pub(super) fn prove(&mut self, arrived: usize, info: &TcpInfo) {
        if info.total_retrans != self.sent_again_before && info.rcv_ooopack > 0 {
            return;
        }
        let sizes = self.sizes.iter().zip(&self.whole).take(arrived);
        let proven = sizes.filter(|(size, whole)| **whole && **size <= self.ceiling).map(|(size, _)| *size).max();
        self.proven = self.proven.max(proven);
    }

    /// The next packet, if it is time for it.
    pub(super) fn next(&self, info: &TcpInfo, now: Duration) -> Option<Vec<u8>> {
        let room = info.unacked.saturating_sub(info.sacked) < info.snd_cwnd.max(2);
        let due = self.sent == 0 || now.saturating_sub(self.sent_at) >= PACKET_INTERVAL;
        let clear = self.uncounted.is_none() && info.notsent == 0;
        self.chunks.get(self.sent).filter(|_| room && due && clear).cloned()
    }
}
