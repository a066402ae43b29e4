//! Three namespaces in a row: a client, the host with the clamps, and a peer behind its links.

use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use airpods_lab::{Capture, Family, Netns, Place, Syn};

use crate::host::Host;

/// The peer's port.
const PORT: u16 = 8000;

/// The host between a client behind `lan` and a peer behind each of the named links. The MTU of
/// `lan` is 1500 bytes. The links have 1280 on the host's side and 1500 on the peer's. So both ends
/// announce the MSS for 1500: 1460 and 1440.
pub(crate) struct Router {
    pub(crate) client: Netns,
    pub(crate) host: Host,
    pub(crate) peer: Netns,
    _listener: TcpListener,
}

impl Router {
    /// Link number n of `links` leads to `10.2.n.2` and `fd02:n::2`.
    pub(crate) fn new(links: &[&str]) -> Self {
        let (client, host, peer) = (Netns::new().unwrap(), Host::new(), Netns::new().unwrap());
        for net in [&client, &host.net, &peer] {
            // Without this, IPv6 neighbour discovery fails for a second and SYNs are sent twice.
            net.sh("for of in all default; do echo 0 > /proc/sys/net/ipv6/conf/$of/accept_dad; done").unwrap();
        }
        host.net.sh("echo 1 > /proc/sys/net/ipv4/ip_forward; echo 1 > /proc/sys/net/ipv6/conf/all/forwarding").unwrap();
        host.net.veth_to(&client, "lan", "eth0").unwrap();
        host.net.sh("ip addr add 10.1.0.1/24 dev lan; ip addr add fd01::1/64 dev lan nodad").unwrap();
        client
            .sh("ip addr add 10.1.0.2/24 dev eth0; ip addr add fd01::2/64 dev eth0 nodad
                 ip route add default via 10.1.0.1; ip -6 route add default via fd01::1")
            .unwrap();
        for (n, link) in links.iter().enumerate() {
            host.net.veth_to(&peer, link, &format!("far{n}")).unwrap();
            host.net
                .sh(&format!(
                    "ip addr add 10.2.{n}.1/24 dev {link}; ip addr add fd02:{n}::1/64 dev {link} nodad
                     ip link set {link} mtu 1280"
                ))
                .unwrap();
            peer.sh(&format!("ip addr add 10.2.{n}.2/24 dev far{n}; ip addr add fd02:{n}::2/64 dev far{n} nodad"))
                .unwrap();
        }
        peer.sh("ip route add 10.1.0.0/24 via 10.2.0.1; ip -6 route add fd01::/64 via fd02:0::1").unwrap();
        peer.sh("for d in /proc/sys/net/ipv4/conf/*/rp_filter; do echo 0 > $d; done").unwrap();
        host.net.sh("for d in /proc/sys/net/ipv4/conf/*/rp_filter; do echo 0 > $d; done").unwrap();
        let listener = peer.run(|| TcpListener::bind(("::", PORT))).unwrap();
        Self { client, host, peer, _listener: listener }
    }

    /// The peer's address behind a link.
    pub(crate) fn address(link: usize, family: Family) -> SocketAddr {
        let address: IpAddr = match family {
            Family::V4 => format!("10.2.{link}.2").parse().unwrap(),
            Family::V6 => format!("fd02:{link}::2").parse().unwrap(),
        };
        SocketAddr::new(address, PORT)
    }

    /// Connects from a namespace, and returns the established connection.
    pub(crate) fn connect(from: &Netns, to: SocketAddr) -> TcpStream {
        from.run(move || TcpStream::connect_timeout(&to, Duration::from_secs(3))).unwrap()
    }

    /// Connects from the client. Returns the MSS in the SYN that reached the peer, and in the
    /// SYN-ACK that reached the client.
    pub(crate) fn handshake(&self, link: usize, family: Family) -> (u16, u16) {
        let at_peer = Capture::start(&self.peer, &format!("far{link}")).unwrap();
        let at_client = Capture::start(&self.client, "eth0").unwrap();
        let stream = Self::connect(&self.client, Self::address(link, family));
        let port = stream.local_addr().unwrap().port();
        let syn = at_peer.expect(|syn| !syn.ack && syn.source.port() == port).unwrap();
        let answer = at_client.expect(|syn| syn.ack && syn.destination.port() == port).unwrap();
        let mss = |syn: Syn| syn.mss.expect("both ends announce an MSS");
        (mss(syn), mss(answer))
    }
}
