//! The link at one end of a path. Packets are read and written without a link-layer header, for TUN
//! and TAP alike.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use tun_rs::{DeviceBuilder, Layer, SyncDevice};

use super::{End, in_network};
use crate::error::{Doing, Result};

/// The MAC addresses of a TAP link and of its peer.
const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
const PEER: [u8; 6] = [2, 0, 0, 0, 0, 2];

/// The length of an Ethernet header: two addresses and the protocol.
const HEADER: usize = 14;

/// A link with non-blocking reads. It vanishes when its descriptor is closed.
pub(super) struct Link {
    device: SyncDevice,
    tap: bool,
}

impl Link {
    pub(super) fn tun(end: &End) -> Result<Self> {
        Self::made(end, false)
    }

    pub(super) fn tap(end: &End) -> Result<Self> {
        Self::made(end, true)
    }

    fn made(end: &End, tap: bool) -> Result<Self> {
        let (link, mtu) = (end.link.to_owned(), end.mtu);
        in_network(end.network, move || {
            let builder = DeviceBuilder::new().name(&link).mtu(mtu).enable(false);
            let builder = if tap { builder.layer(Layer::L2).mac_addr(MAC) } else { builder };
            let device = builder.build_sync().doing(|| format!("make the link `{link}`"))?;
            device.set_nonblocking(true).doing(|| format!("prepare the link `{link}`"))?;
            Ok(Self { device, tap })
        })
    }

    /// Hands the kernel an IP packet.
    pub(super) fn send(&self, packet: &[u8]) -> io::Result<usize> {
        if !self.tap {
            return self.device.send(packet);
        }
        // The first four bits of a packet are the IP version. The protocols are ETH_P_IP and
        // ETH_P_IPV6 (linux/if_ether.h).
        let protocol: [u8; 2] = if packet.first().is_some_and(|first| first >> 4 == 6) { [0x86, 0xdd] } else { [8, 0] };
        self.device.send(&[&MAC, &PEER, &protocol[..], packet].concat())
    }

    /// The next IP packet from the kernel.
    pub(super) fn recv<'b>(&self, buffer: &'b mut [u8]) -> io::Result<&'b [u8]> {
        let size = self.device.recv(buffer)?;
        let header = if self.tap { HEADER } else { 0 };
        Ok(buffer.get(header..size).unwrap_or_default())
    }
}

impl AsFd for Link {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.device.as_fd()
    }
}
