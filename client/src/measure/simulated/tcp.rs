//! TCP of one end. The sender sends and retransmits as Linux does: SACK, RACK, the timer with its
//! back-off, segments that are merged or cut when they are retransmitted. The receiver keeps what
//! has arrived.

use std::time::Duration;

/// A segment that is not acknowledged.
#[derive(Clone, Debug)]
struct Segment {
    start: u64,
    length: u16,
    sacked: bool,
    sent_at: Duration,
    times: u32,
    /// RACK has retransmitted it since the timer did.
    rack_retransmitted: bool,
}

/// A segment on its way.
#[derive(Clone, Copy, Debug)]
pub(super) struct InFlight {
    pub(super) start: u64,
    pub(super) length: u16,
}

/// The sending half.
#[derive(Clone, Debug)]
pub(super) struct Sender {
    queue: Vec<Segment>,
    next: u64,
    pub(super) acked: u64,
    pub(super) mss: u16,
    /// The bytes of the MSS that SACK blocks currently take.
    pub(super) blocks: u16,
    pub(super) retransmits: u8,
    pub(super) sent_again: u32,
    pub(super) segments: u32,
    /// Segments that arrived after later ones and were sent once.
    pub(super) reordered: u32,
    rtt: Duration,
    pub(super) timer: Option<Duration>,
    /// RACK's timer.
    pub(super) rack_timer: Option<Duration>,
    /// It tries small segments after three timeouts (`tcp_mtu_probing=1`).
    probes: bool,
}

impl Sender {
    pub(super) fn new(mss: u16, rtt: Duration, probes: bool) -> Self {
        Self {
            queue: Vec::new(),
            next: 0,
            acked: 0,
            mss,
            blocks: 0,
            retransmits: 0,
            sent_again: 0,
            segments: 0,
            reordered: 0,
            rtt,
            timer: None,
            rack_timer: None,
            probes,
        }
    }

    /// After one sample the timeout is three round trips: one, and a margin of two that is at least
    /// 200 ms (RFC 6298, `tcp_rto_min`).
    fn timeout(&self) -> Duration {
        (self.rtt + Duration::from_millis(200).max(self.rtt * 2)) * (1 << self.retransmits.min(6))
    }

    pub(super) fn unacked(&self) -> (u32, u32) {
        let sacked = self.queue.iter().filter(|segment| segment.sacked).count();
        (u32::try_from(self.queue.len()).unwrap(), u32::try_from(sacked).unwrap())
    }

    /// Writes bytes, which leave at once.
    pub(super) fn write(&mut self, length: usize, now: Duration) -> Vec<InFlight> {
        let (mut left, mut out) = (length, Vec::new());
        while left > 0 {
            let length = u16::try_from(left.min(usize::from(self.mss - self.blocks))).unwrap();
            let segment =
                Segment { start: self.next, length, sacked: false, sent_at: now, times: 1, rack_retransmitted: false };
            out.push(InFlight { start: segment.start, length });
            self.next += u64::from(length);
            self.queue.push(segment);
            left -= usize::from(length);
        }
        self.segments += u32::try_from(out.len()).unwrap();
        self.timer.get_or_insert(now + self.timeout());
        out
    }

    /// Takes an acknowledgement of everything before `upto`, and of these SACK blocks.
    pub(super) fn acknowledge(&mut self, upto: u64, sacked: &[(u64, u64)], now: Duration) {
        let covered = |segment: &Segment| {
            let end = segment.start + u64::from(segment.length);
            end <= upto || sacked.iter().any(|(from, to)| *from <= segment.start && end <= *to)
        };
        let latest = self.queue.iter().filter(|segment| segment.sacked).map(|segment| segment.start).max();
        let late = |segment: &&Segment| {
            segment.times == 1
                && !segment.sacked
                && latest.is_some_and(|latest| segment.start < latest)
                && covered(segment)
        };
        self.reordered += u32::try_from(self.queue.iter().filter(late).count()).unwrap();
        if upto > self.acked {
            self.acked = upto;
            self.retransmits = 0;
            self.queue.retain(|segment| segment.start + u64::from(segment.length) > upto);
            self.timer = (!self.queue.is_empty()).then(|| now + self.timeout());
        }
        let mut latest = None;
        for segment in &mut self.queue {
            let end = segment.start + u64::from(segment.length);
            if sacked.iter().any(|(from, to)| *from <= segment.start && end <= *to) {
                segment.sacked = true;
            }
            if segment.sacked {
                latest = latest.max(Some(segment.sent_at));
            }
        }
        let behind = |segment: &Segment| {
            !segment.sacked && !segment.rack_retransmitted && latest.is_some_and(|latest| segment.sent_at < latest)
        };
        if self.queue.iter().any(behind) {
            self.rack_timer.get_or_insert(now + self.rtt / 4 + Duration::from_millis(1));
        }
    }

    /// RACK: segments that were sent before one that arrived count as lost.
    pub(super) fn rack_retransmit(&mut self, now: Duration) -> Vec<InFlight> {
        self.rack_timer = None;
        let latest = self.queue.iter().filter(|segment| segment.sacked).map(|segment| segment.sent_at).max();
        let mut out = Vec::new();
        let mut at = 0;
        while at < self.queue.len() && out.len() < 3 {
            let segment = &self.queue[at];
            if !segment.sacked && !segment.rack_retransmitted && latest.is_some_and(|latest| segment.sent_at < latest) {
                out.extend(self.again(at, now, true));
            }
            at += 1;
        }
        self.timer = Some(now + self.timeout());
        out
    }

    /// The timer has run out.
    pub(super) fn expire(&mut self, now: Duration) -> Vec<InFlight> {
        self.retransmits = self.retransmits.saturating_add(1);
        if self.probes && self.retransmits >= 3 {
            self.mss = self.mss.min(1024 - 52);
        }
        for segment in &mut self.queue {
            segment.rack_retransmitted = false;
        }
        let Some(head) = self.queue.iter().position(|segment| !segment.sacked) else {
            self.timer = None;
            return Vec::new();
        };
        let out = self.again(head, now, false);
        self.timer = Some(now + self.timeout());
        out
    }

    /// Retransmits a segment: cut, if it is too large by now; merged with those behind it, if it is
    /// small.
    fn again(&mut self, at: usize, now: Duration, rack_retransmitted: bool) -> Vec<InFlight> {
        let most = self.mss - self.blocks;
        while self.queue[at].length > most {
            let mut rest = self.queue[at].clone();
            rest.start += u64::from(most);
            rest.length -= most;
            self.queue[at].length = most;
            self.queue.insert(at + 1, rest);
        }
        while let Some(next) = self.queue.get(at + 1)
            && self.queue[at].length < most
            && !next.sacked
            && self.queue[at].length + next.length <= most
        {
            let next = self.queue.remove(at + 1);
            self.queue[at].length += next.length;
        }
        let segment = &mut self.queue[at];
        (segment.sent_at, segment.rack_retransmitted) = (now, rack_retransmitted);
        segment.times += 1;
        self.sent_again += 1;
        self.segments += 1;
        vec![InFlight { start: segment.start, length: segment.length }]
    }

    /// The path MTU fell: everything that is too large is cut and retransmitted at once
    /// (`tcp_simple_retransmit`).
    pub(super) fn shrink(&mut self, mss: u16, now: Duration) -> Vec<InFlight> {
        let before = self.mss;
        self.mss = before.min(mss);
        let mut out = Vec::new();
        let mut at = 0;
        while at < self.queue.len() {
            // The rest of a segment that was cut is sent as well.
            if !self.queue[at].sacked && self.queue[at].length > self.mss && before > self.mss {
                out.extend(self.again(at, now, true));
                if self.queue.get(at + 1).is_some_and(|rest| rest.length <= self.mss) {
                    out.extend(self.again(at + 1, now, true));
                }
            }
            at += 1;
        }
        out
    }
}

/// The receiving half.
#[derive(Clone, Debug, Default)]
pub(super) struct Receiver {
    pub(super) next: u64,
    pieces: Vec<(u64, u64)>,
    pub(super) early: u32,
    pub(super) segments: u32,
    /// Segments that had arrived before.
    pub(super) duplicates: u32,
    pub(super) largest: u16,
}

impl Receiver {
    /// Takes a segment. Returns the number of in-order bytes that it adds.
    pub(super) fn take(&mut self, segment: InFlight) -> u64 {
        let before = self.next;
        let end = segment.start + u64::from(segment.length);
        self.segments += 1;
        self.largest = self.largest.max(segment.length);
        let is_known = end <= self.next || self.pieces.iter().any(|(from, to)| *from <= segment.start && end <= *to);
        self.duplicates += u32::from(is_known);
        if segment.start > self.next {
            self.early += 1;
            self.pieces.push((segment.start, end));
        } else {
            self.next = self.next.max(end);
        }
        self.pieces.sort_unstable();
        let mut merged: Vec<(u64, u64)> = Vec::new();
        for (from, to) in self.pieces.drain(..) {
            if from <= self.next {
                self.next = self.next.max(to);
            } else {
                match merged.last_mut() {
                    Some(last) if from <= last.1 => last.1 = last.1.max(to),
                    _ => merged.push((from, to)),
                }
            }
        }
        self.pieces = merged;
        self.next - before
    }

    pub(super) fn pieces(&self) -> Vec<(u64, u64)> {
        self.pieces.clone()
    }
}
