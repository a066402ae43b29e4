//! The world behind the VPN:
//!
//! ```text
//!   sandbox (the host)            VPN server "gateway"            "internet"
//!   bridges, containers
//!   wg0 198.51.100.2 ============ peer0 198.51.100.1
//!   wire 203.0.113.2 ------------ wire 203.0.113.1
//!                                 far 192.0.2.1 ----------------- eth0 192.0.2.80, .53
//! ```
//!
//! IPv6 has the same shape. All addresses are of the documentation ranges (RFC 5737, RFC 3849). All
//! traffic except the wire's own goes through the tunnel. Tables `inet lab` block ICMP.

mod carrier;
mod plan;
mod transfer;
mod wiring;

pub use carrier::Carrier;
pub use plan::{BlackHole, WorldPlan};
pub use transfer::{Direction, Transfer, Trials};

use std::net::IpAddr;
use std::sync::atomic::{AtomicU16, Ordering};

use crate::background::Background;
use crate::capture::{FAMILIES, Family};
use crate::error::Result;
use crate::image::Image;
use crate::place::Place;
use crate::programs::Program;
use crate::sandbox::{Sandbox, User};
use wiring::{default_routes, dig, narrow, route, tunnel_routes, wire};

/// A sandbox behind a VPN. Its servers are up when [`World::new`] returns.
#[derive(Debug)]
pub struct World {
    servers: Vec<Background>,
    tunnel: Vec<Background>,
    gateway: User,
    internet: User,
    carrier: Carrier,
    plan: WorldPlan,
    visited: AtomicU16,
    // Dropped last, because the others run in it.
    sandbox: Sandbox,
}

/// The name of the internet's HTTPS server, in the internet's DNS and in its certificate.
pub const SITE: &str = "download.example";
/// Its certificate authority's certificate, in the sandbox and in the images of [`World::image`].
/// The probe's default.
pub const CA: &str = "/etc/lab/ca.pem";
/// Where [`World::new`] puts the probe in the sandbox.
pub const PROBE: &str = "/usr/local/bin/lab-probe";
const SITE_V4: &str = "192.0.2.80";
const SITE_V6: &str = "2001:db8:80::80";
/// The number of further addresses of each family that the site has.
pub const FRESH: u16 = 64;
const RESOLVER: &str = "192.0.2.53";

impl World {
    /// Builds a world: sandbox, VPN server, internet, tunnel, black hole, servers. About 0.3 s.
    ///
    /// # Errors
    /// When a program is not built or installed, or a command fails; the command is in the message.
    pub fn new(plan: WorldPlan) -> Result<Self> {
        let sandbox = Sandbox::new()?;
        let gateway = sandbox.add_netns("gateway")?;
        let internet = sandbox.add_netns("internet")?;
        wire(&sandbox, &gateway)?;
        let (carrier, tunnel) = carrier::connect(&sandbox, &gateway, &plan.link)?;
        route(&sandbox, &gateway, &internet, &plan)?;
        dig(&sandbox, &gateway, plan.hole)?;
        let mut world =
            Self { servers: Vec::new(), tunnel, gateway, internet, carrier, plan, visited: AtomicU16::new(0), sandbox };
        world.serve()?;
        Ok(world)
    }

    /// The host.
    #[must_use]
    pub fn sandbox(&self) -> &Sandbox {
        &self.sandbox
    }

    /// The VPN server.
    #[must_use]
    pub fn gateway(&self) -> &User {
        &self.gateway
    }

    /// The machine beyond it.
    #[must_use]
    pub fn internet(&self) -> &User {
        &self.internet
    }

    /// The tunnel's implementation on this machine.
    #[must_use]
    pub fn carrier(&self) -> Carrier {
        self.carrier
    }

    /// The plan it was built from.
    #[must_use]
    pub fn plan(&self) -> &WorldPlan {
        &self.plan
    }

    /// An `https://` URL of the internet by address, for `path` with its slash. Each call returns
    /// another of [`FRESH`] addresses. A machine that has learnt the path MTU to an address
    /// announces a smaller MSS to it, which would look like a cure.
    #[must_use]
    pub fn url(&self, family: Family, path: &str) -> String {
        let number = self.visited.fetch_add(1, Ordering::Relaxed) % FRESH;
        format!("https://{}{path}", fresh_address(family, number))
    }

    /// A host name of the internet, in its DNS with both families and in the certificate. Each call
    /// returns another one, as with [`World::url`], and none whose address `url` has returned.
    #[must_use]
    pub fn mirror(&self) -> String {
        mirror(self.visited.fetch_add(1, Ordering::Relaxed) % FRESH)
    }

    /// An image whose containers serve HTTP on `port` and trust this world's HTTPS server.
    ///
    /// # Errors
    /// When the certificate cannot be read.
    pub fn image(&self, tag: &str, port: u16) -> Result<Image> {
        Ok(Image::serving(tag, port).with_file(CA, self.sandbox.read_file(CA)?))
    }

    /// Limits the path beyond the tunnel to packets of this many bytes, in both directions. The
    /// limit is unreported unless the plan's hole is [`BlackHole::None`].
    ///
    /// # Errors
    /// The error text of `ip`.
    pub fn narrow(&self, mtu: u16) -> Result<()> {
        narrow(&self.gateway, mtu)
    }

    /// Takes the tunnel link down or up, as a VPN client does on a reconnect without forgetting the
    /// link.
    ///
    /// # Errors
    /// The error text of `ip`.
    pub fn set_tunnel_up(&self, up: bool) -> Result<()> {
        let link = &self.plan.link;
        self.sandbox.sh(&format!("ip link set {link} {}", if up { "up" } else { "down" }))?;
        if up { self.sandbox.sh(&default_routes(link)).map(drop) } else { Ok(()) }
    }

    /// Kills the program behind the tunnel (wireguard-go) or deletes the link (kernel WireGuard):
    /// the link vanishes.
    ///
    /// # Errors
    /// The error text of `ip`.
    pub fn destroy_tunnel(&mut self) -> Result<()> {
        self.tunnel.clear();
        let link = &self.plan.link;
        self.sandbox.sh(&format!("ip link del {link} 2>/dev/null || ! ip link show {link} 2>/dev/null")).map(drop)
    }

    /// Makes the tunnel again after [`World::destroy_tunnel`]: the same name with another index.
    ///
    /// # Errors
    /// When a command fails.
    pub fn rebuild_tunnel(&mut self) -> Result<()> {
        let _ = self.gateway.sh("ip link del peer0");
        let (carrier, tunnel) = carrier::connect(&self.sandbox, &self.gateway, &self.plan.link)?;
        (self.carrier, self.tunnel) = (carrier, tunnel);
        tunnel_routes(&self.sandbox, &self.gateway, &self.plan)
    }

    /// A machine behind a bridge of MTU 1500 on the host, like a container, but without podman, and
    /// so faster. The name is that of the namespace; the bridge is `br-NAME`. The VPN server knows
    /// the way back, so nothing is masqueraded.
    ///
    /// # Errors
    /// When the name is taken. Up to 10 letters.
    pub fn add_machine(&self, name: &str) -> Result<User> {
        let machine = self.sandbox.add_netns(name)?;
        let number = self.sandbox.sh("ip -o link show type bridge | wc -l")?;
        self.sandbox.sh(&format!(
            "ip link add br-{name} type bridge
             ip addr add 10.99.{number}.1/24 dev br-{name}
             ip addr add fd99:{number}::1/64 dev br-{name} nodad
             ip link add v-{name} type veth peer name eth0 netns {name}
             ip link set v-{name} master br-{name} up
             ip link set br-{name} up"
        ))?;
        machine.sh(&format!(
            "ip addr add 10.99.{number}.2/24 dev eth0
             ip addr add fd99:{number}::2/64 dev eth0 nodad
             ip link set eth0 up
             ip route add default via 10.99.{number}.1
             ip -6 route add default via fd99:{number}::1"
        ))?;
        Ok(machine)
    }

    /// The queries to the internet's name server, one line each: `TYPE NAME from ADDRESS`.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn dns_queries(&self) -> Result<Vec<String>> {
        let log = self.sandbox.read_file("/var/log/lab/internet-dns.log")?;
        Ok(log.lines().filter(|line| line.contains(" from ")).map(ToOwned::to_owned).collect())
    }

    /// Starts a further name server in the internet, at `address` (which it gets), answering
    /// `NAME=ADDRESS` records.
    ///
    /// # Errors
    /// When it does not get ready.
    pub fn add_resolver(&mut self, address: IpAddr, records: &[&str]) -> Result<()> {
        let bits = if address.is_ipv4() { "/32" } else { "/128 nodad" };
        self.internet.sh(&format!("ip addr add {address}{bits} dev eth0"))?;
        let listen = std::net::SocketAddr::new(address, 53).to_string();
        let mut command = self.internet.command(PROBE);
        command.args(["serve-dns", &listen]).args(records.iter().flat_map(|record| ["--record", record]));
        let log = format!("dns-{address}").replace(':', "-");
        self.servers.push(Background::start_ready(&mut command, &self.sandbox.log_path(&log))?.0);
        Ok(())
    }

    fn serve(&mut self) -> Result<()> {
        self.sandbox.install(Program::Probe, PROBE)?;
        self.sandbox.sh("mkdir -p /etc/lab")?;
        self.sandbox.write_file("/etc/resolv.conf", format!("nameserver {RESOLVER}\n"))?;
        let start = |arguments: &[&str], log: &str| {
            let mut command = self.internet.command(PROBE);
            Background::start_ready(command.args(arguments), &self.sandbox.log_path(log)).map(|(server, _)| server)
        };
        let any_mirror = format!("*.{SITE}");
        let names: Vec<String> = [SITE, &any_mirror, SITE_V4, SITE_V6]
            .map(String::from)
            .into_iter()
            .chain(
                FAMILIES
                    .into_iter()
                    .flat_map(|family| (0..FRESH).map(move |number| bare(&fresh_address(family, number)).to_owned())),
            )
            .collect();
        let mut https = vec!["serve-https", "443", "--ca-out", CA];
        https.extend(names.iter().flat_map(|name| ["--name", name]));
        let mirrors = FAMILIES.into_iter().flat_map(|family| {
            (0..FRESH).map(move |number| format!("{}={}", mirror(number), bare(&fresh_address(family, number))))
        });
        let zone: Vec<String> =
            [format!("{SITE}={SITE_V4}"), format!("{SITE}={SITE_V6}")].into_iter().chain(mirrors).collect();
        let resolver = format!("{RESOLVER}:53");
        let mut dns = vec!["serve-dns", &resolver];
        dns.extend(zone.iter().flat_map(|record| ["--record", record]));
        self.servers = vec![
            start(&https, "internet-https")?,
            start(&["serve-http", "80"], "internet-http")?,
            start(&dns, "internet-dns")?,
        ];
        Ok(())
    }
}

/// An address of the site, as a URL writes it.
fn fresh_address(family: Family, number: u16) -> String {
    match family {
        Family::V4 => format!("192.0.2.{}", 128 + number),
        Family::V6 => format!("[2001:db8:81::{number:x}]"),
    }
}

/// An address without the brackets that a URL puts around it.
fn bare(address: &str) -> &str {
    address.trim_matches(['[', ']'])
}

fn mirror(number: u16) -> String {
    format!("mirror-{number}.{SITE}")
}
