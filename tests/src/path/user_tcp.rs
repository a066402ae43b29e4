//! A server whose TCP is not Linux's: smoltcp, in user space, on a TUN link of its own. It answers
//! the first data of every connection with a canned first flight of TLS. It needs no cryptography,
//! because measuring a path decrypts nothing.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, OwnedFd};

use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{self, DeviceCapabilities, Medium};
use smoltcp::socket::tcp;
use smoltcp::time::Instant;
use smoltcp::wire::{HardwareAddress, IpCidr};

use super::End;
use super::link::Link;
use super::worker::Worker;
use crate::error::Result;

/// The number of connections that it holds at once.
const PLACES: usize = 48;
/// The size of each connection's send and receive buffer, in bytes.
const BUFFER: usize = 16 << 10;

/// Makes the link and serves on port 443 of both addresses, which the caller routes into the link.
/// The link vanishes with the value.
pub(super) fn serve(end: &End, v4: Ipv4Addr, v6: Ipv6Addr) -> Result<Worker> {
    let device = Device { tun: Link::tun(end)?, mtu: usize::from(end.mtu) };
    Worker::start("user-tcp", move |stopped| run(device, v4, v6, stopped))
}

fn run(mut device: Device, v4: Ipv4Addr, v6: Ipv6Addr, stopped: &OwnedFd) {
    let mut interface = Interface::new(Config::new(HardwareAddress::Ip), &mut device, Instant::now());
    interface.update_ip_addrs(|addresses| {
        // Cannot fail: the list has room for two addresses.
        let _ = addresses.push(IpCidr::new(v4.into(), 32));
        let _ = addresses.push(IpCidr::new(v6.into(), 128));
    });
    // A TUN link has no link-layer addresses, so any next hop will do.
    let _ = interface.routes_mut().add_default_ipv4_route(v4);
    let _ = interface.routes_mut().add_default_ipv6_route(v6);
    let mut sockets = SocketSet::new(Vec::new());
    let buffer = || tcp::SocketBuffer::new(vec![0; BUFFER]);
    let handles: Vec<SocketHandle> = (0..PLACES).map(|_| sockets.add(tcp::Socket::new(buffer(), buffer()))).collect();
    let flight = flight();
    let mut answered = [false; PLACES];
    loop {
        interface.poll(Instant::now(), &mut device, &mut sockets);
        for (handle, answered) in handles.iter().zip(&mut answered) {
            attend(sockets.get_mut(*handle), answered, &flight);
        }
        interface.poll(Instant::now(), &mut device, &mut sockets);
        let timeout = interface.poll_delay(Instant::now(), &sockets);
        let timeout = timeout.map(|delay| TimeSpec::from_duration(delay.into()));
        let mut polled = [device.tun.as_fd(), stopped.as_fd()].map(|fd| PollFd::new(fd, PollFlags::POLLIN));
        let _ = ppoll(&mut polled, timeout, None);
        if polled[1].any().unwrap_or(true) {
            return;
        }
    }
}

/// Listens, answers the first data of a connection once, and discards the rest.
fn attend(socket: &mut tcp::Socket, answered: &mut bool, flight: &[u8]) {
    if !socket.is_open() {
        *answered = false;
        let _ = socket.listen(443);
    }
    let heard = socket.can_recv() && socket.recv(|bytes| (bytes.len(), bytes.len())).is_ok_and(|bytes| bytes > 0);
    if heard && !*answered {
        *answered = socket.send_slice(flight).is_ok();
    }
    if *answered && !socket.may_recv() {
        socket.close();
    }
}

/// Records like those of TLS 1.3: a `ServerHello` of the usual size, the cipher change that
/// middleboxes expect, and 2.9 kB of encrypted certificates.
fn flight() -> Vec<u8> {
    let record = |kind: u8, content: &[u8]| {
        let length = u16::try_from(content.len()).unwrap_or(u16::MAX).to_be_bytes();
        [&[kind, 3, 3], &length[..], content].concat()
    };
    let mut hello = vec![0x5a; 122];
    // A ServerHello of 118 bytes; its version field is TLS 1.2.
    hello[..6].copy_from_slice(&[2, 0, 0, 118, 3, 3]);
    [record(22, &hello), record(20, &[1]), record(23, &[0xa5; 2900])].concat()
}

/// A TUN link as a smoltcp device.
struct Device {
    tun: Link,
    mtu: usize,
}

impl phy::Device for Device {
    type RxToken<'a> = Received;
    type TxToken<'a> = Sender<'a>;

    fn receive(&mut self, _now: Instant) -> Option<(Received, Sender<'_>)> {
        let mut bytes = vec![0; self.mtu];
        let size = self.tun.recv(&mut bytes).ok()?.len();
        bytes.truncate(size);
        Some((Received(bytes), Sender(&self.tun)))
    }

    fn transmit(&mut self, _now: Instant) -> Option<Sender<'_>> {
        Some(Sender(&self.tun))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ip;
        capabilities.max_transmission_unit = self.mtu;
        capabilities
    }
}

struct Received(Vec<u8>);

impl phy::RxToken for Received {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, take: F) -> R {
        take(&self.0)
    }
}

struct Sender<'a>(&'a Link);

impl phy::TxToken for Sender<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, fill: F) -> R {
        let mut bytes = vec![0; length];
        let result = fill(&mut bytes);
        // A packet that the link refuses is lost, and TCP retransmits it.
        let _ = self.0.send(&bytes);
        result
    }
}
