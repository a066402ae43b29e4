//! The plan of a world to build.

/// The fate of packets that are too big.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BlackHole {
    /// Nothing unusual: "fragmentation needed" and "packet too big" arrive.
    None,
    /// The VPN server's reports are dropped: the common case. Packets from the server are lost if
    /// they are bigger than the tunnel's MTU.
    #[default]
    A,
    /// As `A`, and the host's reports to its containers are dropped too: both directions are lost.
    AB,
    /// As `A`, and beyond the tunnel's entry the path is narrower than the tunnel's MTU. No host
    /// reports it.
    NarrowPath {
        /// The path's real MTU, in bytes, as IP packets count inside the tunnel.
        mtu: u16,
    },
}

/// The plan of a world to build.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorldPlan {
    /// The tunnel link's name on the host.
    pub link: String,
    /// The tunnel link's MTU in bytes.
    pub mtu: u16,
    /// The kind of black hole.
    pub hole: BlackHole,
}

impl Default for WorldPlan {
    fn default() -> Self {
        Self { link: "wg0".into(), mtu: 1380, hole: BlackHole::A }
    }
}

impl WorldPlan {
    /// The default plan (`wg0`, MTU 1380) with another hole.
    #[must_use]
    pub fn with_hole(hole: BlackHole) -> Self {
        Self { hole, ..Self::default() }
    }
}
