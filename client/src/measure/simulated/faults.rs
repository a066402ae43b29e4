//! The behaviour of a simulated path and of the machines at its ends.

use std::time::Duration;

/// A path and its ends. Sizes are those of whole IP packets, in bytes.
#[expect(clippy::struct_excessive_bools, reason = "each is an observation of its own, and all combinations occur")]
#[derive(Clone, Debug)]
pub(in crate::measure) struct Faults {
    pub(in crate::measure) ipv6: bool,
    /// The true path MTUs, up and down. `falls` has the moment at which they change, and the new
    /// ones.
    pub(in crate::measure) up: u16,
    pub(in crate::measure) down: u16,
    pub(in crate::measure) falls: Option<(Duration, u16, u16)>,
    /// The path MTU, both ways, of the path that half of the connections take.
    pub(in crate::measure) second: Option<u16>,
    /// A router reports a packet that is too large to its sender.
    pub(in crate::measure) reports_up: bool,
    pub(in crate::measure) reports_down: bool,
    /// The probability that a packet is lost, from 0 to 1.
    pub(in crate::measure) loss: f64,
    pub(in crate::measure) rtt: Duration,
    /// The largest additional delay of a packet, which reorders packets.
    pub(in crate::measure) jitter: Duration,
    /// The rate in bytes per second and the burst in bytes, for each direction.
    pub(in crate::measure) policer: Option<(u32, u32)>,
    /// The MSS to which a clamp lowers the SYN (for packets down) and the SYN-ACK (for packets up).
    pub(in crate::measure) clamp_syn: Option<u16>,
    pub(in crate::measure) clamp_syn_ack: Option<u16>,
    /// Our kernel sends no more than it announces.
    pub(in crate::measure) tied: bool,
    /// The MTU of our link, and the path MTU that our kernel has learnt.
    pub(in crate::measure) link: u16,
    pub(in crate::measure) learnt: Option<u16>,
    /// The server: its MSS, the bytes of its answer, the time before it answers, and its TCP
    /// features.
    pub(in crate::measure) server_mss: u16,
    pub(in crate::measure) flight: u32,
    pub(in crate::measure) thinks: Duration,
    pub(in crate::measure) server_probes: bool,
    pub(in crate::measure) sack: bool,
    pub(in crate::measure) timestamps: bool,
    /// How many of a thousand observations our machine makes late, and by how much.
    pub(in crate::measure) stalls: u32,
    pub(in crate::measure) stall: Duration,
}

impl Default for Faults {
    fn default() -> Self {
        Self {
            ipv6: false,
            up: 1500,
            down: 1500,
            falls: None,
            second: None,
            reports_up: false,
            reports_down: false,
            loss: 0.0,
            rtt: Duration::from_millis(30),
            jitter: Duration::ZERO,
            policer: None,
            clamp_syn: None,
            clamp_syn_ack: None,
            tied: false,
            link: 1500,
            learnt: None,
            server_mss: 1460,
            flight: 3000,
            thinks: Duration::from_millis(1),
            server_probes: false,
            sack: true,
            timestamps: true,
            stalls: 0,
            stall: Duration::ZERO,
        }
    }
}

impl Faults {
    /// The path MTU at a moment, up or down.
    pub(super) fn mtu(&self, up: bool, now: Duration) -> u16 {
        match self.falls {
            Some((at, to_up, to_down)) if now >= at => {
                if up {
                    to_up
                } else {
                    to_down
                }
            }
            _ => {
                if up {
                    self.up
                } else {
                    self.down
                }
            }
        }
    }

    /// The largest that the path ever took.
    pub(in crate::measure) fn most(&self, up: bool) -> u16 {
        self.mtu(up, Duration::ZERO).max(self.mtu(up, Duration::MAX))
    }

    /// The headers of a segment with data.
    pub(super) fn headers(&self) -> u16 {
        (if self.ipv6 { 60 } else { 40 }) + if self.timestamps { 12 } else { 0 }
    }
}
